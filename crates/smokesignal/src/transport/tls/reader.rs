//! The direction inwards: what the socket holds is taken at once, into memory that all connections of a thread share, opened
//! where it lies, and copied into the caller's buffer.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use rustls::{AlertDescription, Error};
use tokio::io::{AsyncRead, ReadBuf};

use super::keys::{ALERT, DATA, HANDSHAKE, Keys, OVERHEAD, broken, record_len};

/// Taken from the socket at once: 128 KiB, two full segments, and with what is made of it it fits into a core's cache.
const READ_MAX: usize = 128 * 1024;
/// And at least, whatever the caller has room for.
const READ_MIN: usize = 4 * 1024;
/// Records in a row that carry no data: updates of the key, tickets, empty ones. As many updates as BoringSSL takes.
const IDLE_MAX: u8 = 32;

const KEY_UPDATE: u8 = 24;
const NEW_SESSION_TICKET: u8 = 4;

thread_local! {
    /// Taken out while it is used: a connection may run inside another one. It holds what some connection read last; the
    /// next one overwrites all that it looks at.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Reads an encrypted stream.
pub(crate) struct Reader<R> {
    pub(super) io: R,
    pub(super) opening: Opening,
}

impl<R: AsyncRead + Unpin> AsyncRead for Reader<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, opening } = &mut *self;
        let before = buf.filled().len();
        loop {
            opening.give_kept(buf);
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match &mut opening.state {
                State::Open => ready!(opening.read_more(io, cx, buf)),
                State::Ended => return Poll::Ready(Ok(())),
                State::Broken(kind, error) => {
                    return Poll::Ready(Err(error.take().unwrap_or_else(|| (*kind).into())));
                }
            }
        }
    }
}

pub(super) struct Opening {
    pub(super) keys: Keys,
    /// Taken from the socket and not opened: the beginning of a record, or what came with the handshake.
    sealed: Vec<u8>,
    /// Opened, and the caller had no room for it.
    plain: Vec<u8>,
    given: usize,
    /// Records in a row that carried no data.
    idle: u8,
    pub(super) asked: Arc<AtomicBool>,
    state: State,
}

enum State {
    Open,
    /// The other side has said that nothing more will come.
    Ended,
    /// Nothing that comes now can be believed. The error is told once what was right before it has been read.
    Broken(io::ErrorKind, Option<io::Error>),
}

impl Opening {
    /// `read`: what was read behind the handshake. `asked` is set where the other side wants the key of the other direction
    /// to be updated, too.
    pub(super) fn new(keys: Keys, read: Vec<u8>, asked: Arc<AtomicBool>) -> Self {
        Self { keys, sealed: read, plain: Vec::new(), given: 0, idle: 0, asked, state: State::Open }
    }

    /// Opens what comes next; nothing that is read after an error counts.
    fn read_more<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<()> {
        let read = match record_len(&self.sealed) {
            Ok(Some(len)) if len <= self.sealed.len() => self.open_kept(buf),
            Ok(len) => {
                let wanted = len.map_or(0, |len| len - self.sealed.len());
                ready!(self.take_from_socket(io, cx, wanted, buf))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            self.state = State::Broken(error.kind(), Some(error));
        }
        Poll::Ready(())
    }

    fn open_kept(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let mut wire = std::mem::take(&mut self.sealed);
        self.open(&mut wire, buf).map(|opened| self.keep(&wire[opened..]))
    }

    fn give_kept(&mut self, buf: &mut ReadBuf<'_>) {
        if self.plain.is_empty() {
            return;
        }
        let kept = &self.plain[self.given..];
        let part = kept.len().min(buf.remaining());
        buf.put_slice(&kept[..part]);
        self.given += part;
        if self.given == self.plain.len() {
            (self.plain, self.given) = (Vec::new(), 0);
        }
    }

    /// Takes what the socket holds, but no more than the caller has room for, unless a record needs `wanted` bytes.
    fn take_from_socket<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
        wanted: usize,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let begun = self.sealed.len();
        let fits = (buf.remaining() + OVERHEAD).saturating_sub(begun);
        let end = begun + fits.clamp(READ_MIN, READ_MAX).max(wanted);
        let mut wire = SCRATCH.take();
        if wire.len() < end {
            wire.resize(end, 0);
        }
        let mut taken = ReadBuf::new(&mut wire[begun..end]);
        let polled = Pin::new(io).poll_read(cx, &mut taken);
        let end = begun + taken.filled().len();
        let outcome = match polled {
            Poll::Ready(Ok(())) if end == begun => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(())) => {
                wire[..begun].copy_from_slice(&self.sealed);
                Poll::Ready(self.open(&mut wire[..end], buf).map(|opened| self.keep(&wire[opened..end])))
            }
            other => other,
        };
        SCRATCH.set(wire);
        outcome
    }

    fn keep(&mut self, sealed: &[u8]) {
        if sealed.is_empty() || !matches!(self.state, State::Open) {
            self.sealed = Vec::new();
        } else {
            self.sealed.clear();
            self.sealed.extend_from_slice(sealed);
        }
    }

    /// Opens all whole records, and tells how many bytes they are.
    fn open(&mut self, wire: &mut [u8], buf: &mut ReadBuf<'_>) -> io::Result<usize> {
        let mut at = 0;
        // Behind the end nothing counts.
        while matches!(self.state, State::Open)
            && let Some(len) = record_len(&wire[at..])?
            && let Some(record) = wire.get_mut(at..at + len)
        {
            let (kind, carried) = self.keys.open(record)?;
            self.idle += 1;
            match (kind, carried) {
                (DATA, []) => {}
                (DATA, data) => {
                    self.idle = 0;
                    let (now, later) = data.split_at(data.len().min(buf.remaining()));
                    buf.put_slice(now);
                    self.plain.extend_from_slice(later);
                }
                (ALERT, alert) if is_end(alert)? => self.state = State::Ended,
                (ALERT, _) => {}
                (HANDSHAKE, messages) => self.take(messages)?,
                (other, _) => return Err(broken(&format!("it carries type {other}"))),
            }
            if self.idle > IDLE_MAX {
                return Err(broken("too many in a row without data"));
            }
            at += len;
        }
        Ok(at)
    }

    /// What may come behind the handshake, each message whole in its record.
    fn take(&mut self, messages: &[u8]) -> io::Result<()> {
        let Some(asked) = key_update(messages)? else { return Ok(()) };
        if asked {
            self.asked.store(true, Ordering::Relaxed);
        }
        self.keys.update();
        Ok(())
    }
}

/// Whether the other side has said that it writes no more; all other alerts are errors.
fn is_end(alert: &[u8]) -> io::Result<bool> {
    let &[_, description] = alert else { return Err(broken("no alert")) };
    match AlertDescription::from(description) {
        AlertDescription::CloseNotify => Ok(true),
        AlertDescription::UserCanceled => Ok(false),
        other => Err(io::Error::new(io::ErrorKind::InvalidData, Error::AlertReceived(other))),
    }
}

/// The update of the key that these messages end with, and whether it asks for one in return. Tickets are of no use here.
fn key_update(mut messages: &[u8]) -> io::Result<Option<bool>> {
    loop {
        let Some((&[kind, a, b, c], rest)) = messages.split_first_chunk() else {
            return Err(broken("half a message"));
        };
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        let (body, rest) = rest.split_at_checked(len).ok_or_else(|| broken("half a message"))?;
        match (kind, body, rest) {
            (KEY_UPDATE, &[asked @ 0..=1], []) => return Ok(Some(asked == 1)),
            (NEW_SESSION_TICKET, _, []) => return Ok(None),
            (NEW_SESSION_TICKET, ..) => messages = rest,
            _ => return Err(broken("a message that has no place here")),
        }
    }
}
