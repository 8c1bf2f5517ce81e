//! What goes out over one connection with one write: many frames, of which large bodies are not copied.

use std::io::{self, IoSlice};

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::frame::{self, Frame};

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
}

impl Train {
    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.large.clear();
        self.small.clear();
        self.small.shrink_to(KEPT);
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

    /// Writes everything, in as few pieces as the connection takes it.
    pub(crate) async fn write_to(&self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let pieces = self.pieces();
        if !writer.is_write_vectored() && pieces.len() > 1 {
            return writer.write_all(&pieces.concat()).await;
        }
        let mut slices: Vec<_> = pieces.into_iter().map(IoSlice::new).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let most = left.len().min(SLICES);
            match writer.write_vectored(&left[..most]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => IoSlice::advance_slices(&mut left, written),
            }
        }
        Ok(())
    }

    fn pieces(&self) -> Vec<&[u8]> {
        let mut pieces = Vec::with_capacity(2 * self.large.len() + 1);
        let mut begin = 0;
        for (end, body) in &self.large {
            pieces.extend([&self.small[begin..*end], body]);
            begin = *end;
        }
        pieces.push(&self.small[begin..]);
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}
