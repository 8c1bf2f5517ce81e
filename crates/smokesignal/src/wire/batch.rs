//! Frames that go out with one vectored write.
//!
//! Headers and small bodies are encoded one after the other into one vector. A large body is not
//! copied: the batch keeps a reference to it and the place in the vector that it belongs to. The
//! slices between these places and the bodies make up the vectored write. A write that the
//! connection takes only in part resumes at the byte where it stopped.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use crate::wire::frame::{self, Frame};

/// Bodies from this size on are written from where they are. Below it a copy costs less than one
/// more slice in the system call.
const BY_REFERENCE: usize = 4 * 1024;
/// Capacity for small frames that is kept from one write to the next: enough for what an idle link
/// sends.
const KEPT: usize = 2 * 1024;
/// Maximum number of slices in one write.
const SLICES: usize = 64;

/// Frames to be written, in the order in which they were pushed.
#[derive(Debug, Default)]
pub(crate) struct WriteBatch {
    /// Headers and small bodies, one after the other.
    small: Vec<u8>,
    /// Large bodies, each with the number of bytes of `small` that go before it.
    large: Vec<(usize, Bytes)>,
    /// Bytes of the whole batch that the connection has taken.
    written: usize,
}

impl WriteBatch {
    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty()
    }

    pub(crate) fn push(&mut self, frame: &Frame) {
        frame::encode(frame, &mut self.small, |small, body| {
            if body.len() < BY_REFERENCE {
                small.extend_from_slice(body);
            } else {
                self.large.push((small.len(), body.clone()));
            }
        });
    }

    /// Returns the length of the batch in bytes, written or not.
    pub(crate) fn len(&self) -> usize {
        self.small.len() + self.large.iter().map(|(_, body)| body.len()).sum::<usize>()
    }

    /// Returns how many bytes of it the connection has taken.
    pub(crate) const fn written(&self) -> usize {
        self.written
    }

    /// Writes the batch up to byte `end`, and empties it if that is its end. While it is pending,
    /// the batch keeps what is left.
    pub(crate) fn poll_write(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
        end: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut slices = self.slices(end);
        let mut left = &mut slices[..];
        let mut written = self.written;
        IoSlice::advance_slices(&mut left, written);
        let outcome = loop {
            let polled = match &*left {
                [] => break Poll::Ready(Ok(())),
                [only] => Pin::new(&mut *writer).poll_write(cx, only),
                // Joining the slices costs less than one write for each of them.
                many if !writer.is_write_vectored() => Pin::new(&mut *writer).poll_write(cx, &joined(many)),
                many => {
                    let count = many.len().min(SLICES);
                    Pin::new(&mut *writer).poll_write_vectored(cx, &many[..count])
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
        if end == usize::MAX || written == self.len() {
            self.clear();
        }
        Poll::Ready(Ok(()))
    }

    fn clear(&mut self) {
        self.large.clear();
        self.small.clear();
        self.small.shrink_to(KEPT);
        self.written = 0;
    }

    /// Returns the batch up to byte `end`.
    fn slices<'a>(&'a self, end: usize) -> Vec<IoSlice<'a>> {
        let mut slices = Vec::with_capacity(2 * self.large.len() + 1);
        let (mut begin, mut room) = (0, end);
        let mut push = |piece: &'a [u8]| {
            let piece = &piece[..piece.len().min(room)];
            room -= piece.len();
            if !piece.is_empty() {
                slices.push(IoSlice::new(piece));
            }
        };
        for (at, body) in &self.large {
            push(&self.small[begin..*at]);
            push(body);
            begin = *at;
        }
        push(&self.small[begin..]);
        slices
    }
}

fn joined(slices: &[IoSlice<'_>]) -> Vec<u8> {
    let mut all = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
    slices.iter().for_each(|slice| all.extend_from_slice(slice));
    all
}
