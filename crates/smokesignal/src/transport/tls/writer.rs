//! The outgoing direction of TLS.
//!
//! A vectored write is copied once, into memory that all connections of a thread share, sealed
//! there in records, and handed to the socket in one system call. If the socket takes only a part,
//! the rest stays with the connection and is written before anything else.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use rustls::AlertDescription;
use tokio::io::AsyncWrite;

use super::keys::{ALERT, DATA, HANDSHAKE, Keys, RECORD_MAX};

/// Maximum size of one sealed batch: everything that a link hands over in one write.
const WRITE_MAX: usize = 256 * 1024;

/// A `KeyUpdate` that requests none in return (RFC 8446, section 4.6.3).
pub(super) const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const WARNING: u8 = 1;

thread_local! {
    /// The write buffer of this thread, empty. A connection keeps it while the socket has not taken
    /// everything, and returns it afterwards.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Writes an encrypted stream. It accepts nothing while bytes of an earlier write are left; what it
/// accepts may still need a flush.
pub(crate) struct Writer<W> {
    pub(super) io: W,
    pub(super) sealing: Sealing,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Writer<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { io, sealing } = &mut *self;
        ready!(sealing.write_out(io, cx))?;
        if sealing.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        sealing.wire = SCRATCH.take();
        let taken = sealing.seal(bufs);
        // Sealed bytes count as written. The flush writes the rest, and reports an error again.
        let _taken_anyway = sealing.write_out(io, cx);
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, sealing } = &mut *self;
        ready!(sealing.write_out(io, cx))?;
        Pin::new(io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, sealing } = &mut *self;
        sealing.close();
        ready!(sealing.write_out(io, cx))?;
        match ready!(Pin::new(io).poll_shutdown(cx)) {
            // The other side closed first.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            outcome => Poll::Ready(outcome),
        }
    }
}

pub(super) struct Sealing {
    pub(super) keys: Keys,
    /// Sealed bytes, and how many of them the socket has taken.
    wire: Vec<u8>,
    written: usize,
    asked: Arc<AtomicBool>,
    closing: bool,
}

impl Sealing {
    /// Creates a writer. `asked` is set when the other side requests an update of this direction's
    /// key.
    pub(super) fn new(keys: Keys, asked: Arc<AtomicBool>) -> Self {
        Self { keys, wire: Vec::new(), written: 0, asked, closing: false }
    }

    /// Seals `close_notify`.
    pub(super) fn close(&mut self) {
        if !std::mem::replace(&mut self.closing, true) {
            let alert = [WARNING, u8::from(AlertDescription::CloseNotify)];
            self.keys.seal(ALERT, [&alert[..]], &mut self.wire);
        }
    }

    /// Seals the beginning of these slices, as much as fits into one batch.
    fn seal(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        let most = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(WRITE_MAX);
        let mut pieces = Pieces { bufs, at: 0 };
        let mut taken = 0;
        while taken < most {
            if self.keys.is_worn() || self.asked.load(Ordering::Relaxed) {
                self.update();
            }
            let record = RECORD_MAX.min(most - taken);
            self.keys.seal(DATA, pieces.take(record), &mut self.wire);
            taken += record;
        }
        taken
    }

    fn update(&mut self) {
        self.asked.store(false, Ordering::Relaxed);
        self.keys.seal(HANDSHAKE, [&KEY_UPDATE[..]], &mut self.wire);
        self.keys.update();
    }

    /// Writes the sealed bytes, as far as the socket takes them.
    fn write_out<W: AsyncWrite + Unpin>(&mut self, io: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(poll_write_all(io, cx, &self.wire, &mut self.written))?;
        self.written = 0;
        if self.wire.capacity() > 0 {
            let mut wire = std::mem::take(&mut self.wire);
            wire.clear();
            let other = SCRATCH.take();
            SCRATCH.set(if wire.capacity() > other.capacity() { wire } else { other });
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes the rest of what was written in part, until everything is written.
pub(super) fn poll_write_all<W: AsyncWrite + Unpin>(
    io: &mut W,
    cx: &mut Context<'_>,
    bytes: &[u8],
    written: &mut usize,
) -> Poll<io::Result<()>> {
    while *written < bytes.len() {
        match ready!(Pin::new(&mut *io).poll_write(cx, &bytes[*written..]))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            more => *written += more,
        }
    }
    Poll::Ready(Ok(()))
}

/// Yields the bytes of several slices in order.
struct Pieces<'a, 'b> {
    bufs: &'a [IoSlice<'b>],
    /// The position in the first slice.
    at: usize,
}

impl<'a> Pieces<'a, '_> {
    /// Returns the slices that hold the next `length` bytes.
    fn take(&mut self, mut count: usize) -> impl Iterator<Item = &'a [u8]> {
        std::iter::from_fn(move || {
            if count == 0 {
                return None;
            }
            let rest = &self.bufs.first()?[self.at..];
            let piece = &rest[..count.min(rest.len())];
            count -= piece.len();
            self.at += piece.len();
            if piece.len() == rest.len() {
                (self.bufs, self.at) = (&self.bufs[1..], 0);
            }
            Some(piece)
        })
    }
}
