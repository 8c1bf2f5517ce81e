//! What goes out over one connection with one write: many frames, of which large bodies are not copied.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use crate::wire::frame::{self, Frame};

/// A body from this size on is written from where it is. Below, copying is cheaper than one more piece.
const BY_REFERENCE: usize = 4 * 1024;
/// Memory for the small ones that is kept from one write to the next: enough for what an idle link sends.
const KEPT: usize = 2 * 1024;
/// Pieces in one write.
const SLICES: usize = 64;

/// Frames to be written, in this order.
#[derive(Debug, Default)]
pub(crate) struct Train {
    /// Headers and small frames, one after the other.
    small: Vec<u8>,
    /// Large bodies, and how much of `small` goes before each.
    large: Vec<(usize, Bytes)>,
    /// Bytes that the connection has taken.
    written: usize,
}

impl Train {
    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty()
    }

    pub(crate) fn push(&mut self, frame: &Frame) {
        frame::put(frame, &mut self.small, |small, body| {
            if body.len() < BY_REFERENCE {
                small.extend_from_slice(body);
            } else {
                self.large.push((small.len(), body.clone()));
            }
        });
    }

    /// Writes everything, in as few pieces as the connection takes it, and is empty then.
    pub(crate) fn poll_write(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pieces = self.pieces();
        let mut left = &mut pieces[..];
        let mut written = self.written;
        IoSlice::advance_slices(&mut left, written);
        let outcome = loop {
            let polled = match &*left {
                [] => break Poll::Ready(Ok(())),
                [only] => Pin::new(&mut *writer).poll_write(cx, only),
                // What comes in one piece is cheaper than many writes.
                many if !writer.is_write_vectored() => Pin::new(&mut *writer).poll_write(cx, &joined(many)),
                many => {
                    let most = many.len().min(SLICES);
                    Pin::new(&mut *writer).poll_write_vectored(cx, &many[..most])
                }
            };
            match polled {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(more)) => {
                    written += more;
                    IoSlice::advance_slices(&mut left, more);
                }
                other => break other.map_ok(|_| ()),
            }
        };
        self.written = written;
        ready!(outcome)?;
        self.clear();
        Poll::Ready(Ok(()))
    }

    fn clear(&mut self) {
        self.large.clear();
        self.small.clear();
        self.small.shrink_to(KEPT);
        self.written = 0;
    }

    fn pieces(&self) -> Vec<IoSlice<'_>> {
        let mut pieces = Vec::with_capacity(2 * self.large.len() + 1);
        let mut begin = 0;
        for (end, body) in &self.large {
            pieces.extend([IoSlice::new(&self.small[begin..*end]), IoSlice::new(body)]);
            begin = *end;
        }
        pieces.push(IoSlice::new(&self.small[begin..]));
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

fn joined(pieces: &[IoSlice<'_>]) -> Vec<u8> {
    let mut all = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
    pieces.iter().for_each(|piece| all.extend_from_slice(piece));
    all
}
