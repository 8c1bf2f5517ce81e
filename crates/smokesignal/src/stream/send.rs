//! The sending half: what the application has written, and what of it the other side's credit
//! allows to be sent.
//!
//! Writes are queued, up to 512 KiB. When the stream has its turn on the connection, the half gives
//! out frames of up to 16 KiB within its credit, and the end of the stream behind the last of them.
//! Out of credit it reports so once and waits.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::state::{Lost, SendState};
use super::window::{LEAST_COST, SendWindow, cost};
use super::{pending, wake};
use crate::error::StreamErrorKind;
use crate::wire::buffer_pool::{BUFFER_SIZE, BufferPools};
use crate::wire::frame::{MAX_STREAM_DATA, StreamFrame};

/// Limit of the bytes that are written and not yet sent; beyond it, writes wait. 512 KiB: enough
/// for a writer and a connection that run on two processors to wait for each other rarely.
const SEND_BUFFER: usize = 512 * 1024;
/// Writes from this size on share pooled buffers of 256 KiB; smaller ones are copied on their own.
/// A slice keeps its whole buffer alive: if small writes were put there, a stream that the other
/// side does not read could hold a full buffer for a few bytes. 64 KiB, a quarter of a buffer.
const POOL_COPY_FROM: usize = BUFFER_SIZE / 4;

/// The sending half of a stream.
#[derive(Debug)]
pub(super) struct SendHalf {
    state: SendState,
    window: SendWindow,
    /// Data that waits to be sent, and whether a write ends with it.
    outgoing: VecDeque<(Bytes, bool)>,
    /// Bytes in `outgoing`, an empty write counted as one.
    unsent: usize,
    /// The buffer that large writes are copied into, while any are unsent.
    write_buffer: Option<BytesMut>,
    /// Set once the application has dropped the stream.
    drain: Option<Drain>,
    writers: Vec<Waker>,
}

/// How the sending of a dropped stream proceeds.
#[derive(Debug, Default)]
struct Drain {
    /// The smallest number of unsent bytes so far, and when it was reached.
    least: Option<(usize, Instant)>,
}

/// What [`SendHalf::take`] has given out.
#[derive(Debug)]
pub(super) struct Taken {
    /// What it takes of the connection's turn, in bytes.
    pub(super) cost: usize,
    /// Whether there is more that may be sent now.
    pub(super) more: bool,
}

impl SendHalf {
    pub(super) const fn new(window: usize) -> Self {
        Self {
            state: SendState::Open,
            window: SendWindow::new(window),
            outgoing: VecDeque::new(),
            unsent: 0,
            write_buffer: None,
            drain: None,
            writers: Vec::new(),
        }
    }

    pub(super) const fn state(&self) -> &SendState {
        &self.state
    }

    pub(super) fn wake(&mut self) {
        wake(&mut self.writers);
    }

    // For the application.

    /// Copies as much of `buf` as there is room for and returns its length. The part that was
    /// copied counts as one write: the other side's `recv` returns it as a chunk.
    pub(super) fn poll_write(
        &mut self,
        cx: &Context<'_>,
        buf: &[u8],
        buffers: &BufferPools,
    ) -> Poll<Result<usize, StreamErrorKind>> {
        if !self.state.is_open() {
            return Poll::Ready(Err(self.state.write_failure()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = SEND_BUFFER.saturating_sub(self.unsent);
        if room == 0 {
            return pending(&mut self.writers, cx);
        }
        let length = buf.len().min(room).min(BUFFER_SIZE);
        let data = self.copy(&buf[..length], buffers);
        self.queue(data, true);
        Poll::Ready(Ok(length))
    }

    /// Queues `data` in one piece once there is any room, so that writes neither mix nor stay
    /// half done. `end` is whether the write ends with it.
    pub(super) fn poll_send(
        &mut self,
        cx: &Context<'_>,
        data: &mut Bytes,
        end: bool,
    ) -> Poll<Result<(), StreamErrorKind>> {
        if !self.state.is_open() {
            return Poll::Ready(Err(self.state.write_failure()));
        }
        if self.unsent >= SEND_BUFFER {
            return pending(&mut self.writers, cx);
        }
        self.queue(std::mem::take(data), end);
        Poll::Ready(Ok(()))
    }

    /// Ready once all that was written is with the connection.
    pub(super) fn poll_flush(&mut self, cx: &Context<'_>) -> Poll<Result<(), StreamErrorKind>> {
        self.state.lost_data()?;
        if self.outgoing.is_empty() { Poll::Ready(Ok(())) } else { pending(&mut self.writers, cx) }
    }

    /// Ready once the end of the stream is with the connection, or nothing can be sent any more.
    pub(super) fn poll_finished(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.state.is_over() { Poll::Ready(()) } else { pending(&mut self.writers, cx) }
    }

    /// Ends the writing: the end of the stream follows what was written. Returns whether it was
    /// open until now.
    pub(super) fn finish(&mut self) -> bool {
        let was_open = self.state.is_open();
        if was_open {
            self.state = SendState::Finishing;
        }
        was_open
    }

    /// Notes that the application has dropped the stream; what it has written is still sent.
    pub(super) fn detach(&mut self) {
        self.drain = Some(Drain::default());
    }

    // For the connection.

    /// Adds credit. Returns whether the other side was allowed to grant it.
    #[must_use]
    pub(super) fn receive_credit(&mut self, bytes: usize) -> bool {
        self.window.add(bytes)
    }

    /// Returns whether data waits to be sent.
    pub(super) fn has_data(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Ends this direction if it is open, and drops what was not sent.
    pub(super) fn abort(&mut self, failure: StreamErrorKind) {
        if !self.state.is_over() {
            // A reader that has stopped needs no end; any other one misses it.
            let lost = match () {
                () if self.has_data() => Lost::Data,
                () if self.state.is_finishing() && failure != StreamErrorKind::Stopped => Lost::End,
                () => Lost::Nothing,
            };
            self.state = SendState::Aborted { failure, lost };
        }
        self.outgoing.clear();
        self.write_buffer = None;
        self.unsent = 0;
        self.wake();
    }

    /// Returns whether the application has dropped the stream and the other side has taken nothing
    /// of what is unsent for `patience`.
    pub(super) fn is_stuck(&mut self, now: Instant, patience: Duration) -> bool {
        let (Some(drain), SendState::Finishing) = (&mut self.drain, &self.state) else { return false };
        match drain.least {
            Some((least, since)) if self.unsent >= least => now - since >= patience,
            _ => {
                drain.least = Some((self.unsent, now));
                false
            }
        }
    }

    pub(super) const fn unsent(&self) -> usize {
        self.unsent
    }

    /// Gives out what may be sent now, as frames that cost up to about `limit` bytes.
    pub(super) fn take(
        &mut self,
        limit: usize,
        buffers: &BufferPools,
        mut out: impl FnMut(StreamFrame),
    ) -> Taken {
        let (mut taken, mut blocked) = (0, false);
        // Exactly `limit`, but for a rest that is not worth a frame of its own.
        while taken + LEAST_COST <= limit
            && let Some((mut data, end)) = self.outgoing.pop_front()
        {
            let Some(length) = self.window.spend(data.len().min(MAX_STREAM_DATA).min(limit - taken)) else {
                self.outgoing.push_front((data, end));
                blocked = true;
                break;
            };
            let head = data.split_to(length);
            let done = data.is_empty();
            if !done {
                self.outgoing.push_front((data, end));
            }
            self.unsent -= length.max(1);
            taken += cost(length);
            out(StreamFrame::Data { data: head, end: end && done });
        }
        if self.outgoing.is_empty() {
            if self.state.is_finishing() {
                self.state = SendState::Finished;
                out(StreamFrame::Fin);
            }
            if let Some(buffer) = self.write_buffer.take() {
                buffers.large.put(buffer);
            }
        }
        if blocked && self.window.report_blocked() {
            out(StreamFrame::Blocked);
        }
        Taken { cost: taken, more: self.has_data() && !blocked }
    }

    fn queue(&mut self, data: Bytes, end: bool) {
        self.unsent += data.len().max(1);
        self.outgoing.push_back((data, end));
    }

    /// Copies what the application writes.
    fn copy(&mut self, data: &[u8], buffers: &BufferPools) -> Bytes {
        if data.len() < POOL_COPY_FROM {
            return buffers.copy(data);
        }
        if self.write_buffer.as_ref().is_none_or(|buffer| buffer.capacity() - buffer.len() < data.len())
            && let Some(full) = self.write_buffer.replace(buffers.large.take())
        {
            buffers.large.put(full);
        }
        let buffer = self.write_buffer.get_or_insert_default();
        buffer.extend_from_slice(data);
        buffer.split().freeze()
    }
}
