//! The incoming direction of TLS.
//!
//! One read takes everything that the socket holds, up to a limit, into memory that all connections
//! of a thread share. Complete records are opened in place and copied into the caller's buffer.
//! What is left, a partial record or data without room, is kept with the connection.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use rustls::{AlertDescription, Error};
use tokio::io::{AsyncRead, ReadBuf};

use super::keys::{ALERT, DATA, HANDSHAKE, Keys, OVERHEAD, broken, record_len};

/// Maximum size of one read: 128 KiB, two full segments, which fit into a core's cache together
/// with their plaintext.
const READ_MAX: usize = 128 * 1024;
/// Minimum size of one read, independent of the caller's room.
const READ_MIN: usize = 4 * 1024;
/// Maximum number of records in a row without data: key updates, tickets, empty records. BoringSSL
/// accepts the same number of updates.
const IDLE_MAX: u8 = 32;

const KEY_UPDATE: u8 = 24;
const NEW_SESSION_TICKET: u8 = 4;

thread_local! {
    /// The read buffer of this thread. It is taken out while it is used, because a connection may
    /// run inside another one. It holds what another connection read last; a reader overwrites
    /// every byte that it uses.
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
    /// Bytes read and not opened: the beginning of a record, or bytes that came with the handshake.
    sealed: Vec<u8>,
    /// Plaintext that the caller had no room for.
    plain: Vec<u8>,
    given: usize,
    /// Number of records in a row that carried no data.
    idle: u8,
    pub(super) asked: Arc<AtomicBool>,
    state: State,
}

enum State {
    Open,
    /// Whether the other side has sent `close_notify`.
    Ended,
    /// An error after which nothing can be trusted. It is returned once the valid data before it
    /// has been read.
    Broken(io::ErrorKind, Option<io::Error>),
}

impl Opening {
    /// Creates a reader. `read` is what was read beyond the handshake. `asked` is set when the
    /// other side requests an update of the other direction's key.
    pub(super) fn new(keys: Keys, read: Vec<u8>, asked: Arc<AtomicBool>) -> Self {
        Self { keys, sealed: read, plain: Vec::new(), given: 0, idle: 0, asked, state: State::Open }
    }

    /// Opens what comes next; bytes read after an error are ignored.
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

    /// Reads what the socket holds, but no more than the caller has room for, unless a record needs
    /// `wanted` bytes.
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

    /// Opens all complete records, and returns their length in bytes.
    fn open(&mut self, wire: &mut [u8], buf: &mut ReadBuf<'_>) -> io::Result<usize> {
        let mut at = 0;
        // Data behind the end is ignored.
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

    /// Handles the handshake messages that may follow the handshake, each complete in its record.
    fn take(&mut self, messages: &[u8]) -> io::Result<()> {
        let Some(asked) = key_update(messages)? else { return Ok(()) };
        if asked {
            self.asked.store(true, Ordering::Relaxed);
        }
        self.keys.update();
        Ok(())
    }
}

/// Returns whether the alert is the orderly end; all alerts but `user_canceled` are errors
/// otherwise.
fn is_end(alert: &[u8]) -> io::Result<bool> {
    let &[_, description] = alert else { return Err(broken("no alert")) };
    match AlertDescription::from(description) {
        AlertDescription::CloseNotify => Ok(true),
        AlertDescription::UserCanceled => Ok(false),
        other => Err(io::Error::new(io::ErrorKind::InvalidData, Error::AlertReceived(other))),
    }
}

/// Returns the key update that these messages end with, and whether it requests one in return.
/// Tickets are ignored.
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
