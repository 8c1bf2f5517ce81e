//! The writing half: what the application has written, and what of it the other side's credit lets out.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{End, Fin, LEAST_COST, State, Stream, cost, pending, wake};
use crate::error::StreamError;
use crate::wire::buffer_pool::{BUFFER_SIZE, BufferPools};
use crate::wire::frame::{Frame, MAX_STREAM_DATA, StreamFrame};

/// Bytes written and not yet sent at most; then writes wait. 512 KiB: enough for a writer and a connection that run on two
/// processors to wait for each other rarely.
const SEND_BUFFER: usize = 512 * 1024;
/// A write from this size on is copied into a chunk, at most as much at once as fits into one. 64 KiB, a quarter of it: a
/// stream that is not read on the other side must not keep much more than it has written.
const POOL_COPY_FROM: usize = BUFFER_SIZE / 4;

impl Stream {
    pub(crate) fn poll_write(self: &Arc<Self>, cx: &Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.state.lock();
        if state.fin != Fin::Open {
            return Poll::Ready(Err(state.write_error().into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = SEND_BUFFER.saturating_sub(state.outgoing_bytes);
        if room == 0 {
            return pending(&mut state.writers, cx);
        }
        let part = buf.len().min(room).min(BUFFER_SIZE);
        let data = state.copy(&buf[..part], &self.send_queue.buffers);
        state.queue(data, true);
        self.schedule(&mut state);
        Poll::Ready(Ok(part))
    }

    /// Queues `data` in one piece once there is any room, so that writes neither mix nor stay half done. `end`: the write
    /// ends with it.
    pub(crate) fn poll_send(
        self: &Arc<Self>,
        cx: &Context<'_>,
        data: &mut Bytes,
        end: bool,
    ) -> Poll<Result<(), StreamError>> {
        let mut state = self.state.lock();
        if state.fin != Fin::Open {
            return Poll::Ready(Err(state.write_error()));
        }
        let room = SEND_BUFFER.saturating_sub(state.outgoing_bytes);
        if room == 0 {
            return pending(&mut state.writers, cx);
        }
        state.queue(std::mem::take(data), end);
        self.schedule(&mut state);
        Poll::Ready(Ok(()))
    }

    /// Ready once all that was written is with the connection.
    pub(crate) fn poll_flush(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.lock();
        if state.lost {
            return Poll::Ready(Err(state.write_error().into()));
        }
        if state.outgoing.is_empty() { Poll::Ready(Ok(())) } else { pending(&mut state.writers, cx) }
    }

    /// Whether all that was written could be sent.
    pub(crate) fn check_sent(&self) -> Result<(), StreamError> {
        let state = self.state.lock();
        if state.lost { Err(state.write_error()) } else { Ok(()) }
    }

    /// What is to be sent now, up to about `limit` bytes. True: there is more.
    pub(crate) fn take(self: &Arc<Self>, limit: usize, frames: &mut Vec<Frame>) -> usize {
        let mut state = self.state.lock();
        state.queued = false;
        let before = frames.len();
        let mut put = |part| frames.push(Frame::Stream(self.number, part));
        state.announce.drain(..).for_each(&mut put);
        if state.incoming_end == End::Open && (state.consumed >= state.credit_step() || state.hurry) {
            let bytes = std::mem::take(&mut state.consumed);
            (state.allowed, state.hurry) = (state.allowed + bytes, false);
            if bytes > 0 {
                put(StreamFrame::Credit(bytes as u32));
            }
        }
        let (mut taken, mut blocked) = (0, false);
        // Exactly so much, but for a rest that is not worth a frame of its own.
        while taken + LEAST_COST <= limit
            && let Some((mut data, end)) = state.outgoing.pop_front()
        {
            let part = data.len().min(MAX_STREAM_DATA).min(state.credit).min(limit - taken);
            if cost(part) > state.credit {
                state.outgoing.push_front((data, end));
                blocked = true;
                break;
            }
            let head = data.split_to(part);
            let done = data.is_empty();
            if !done {
                state.outgoing.push_front((data, end));
            }
            state.credit -= cost(part);
            state.outgoing_bytes -= part.max(1);
            taken += cost(part);
            put(StreamFrame::Data { data: head, end: end && done });
        }
        if state.outgoing.is_empty() && state.fin == Fin::Wanted {
            state.fin = Fin::Sent;
            put(StreamFrame::Fin);
        }
        if state.outgoing.is_empty()
            && let Some(buffer) = state.write_buffer.take()
        {
            self.send_queue.buffers.large.put(buffer);
        }
        if blocked && !std::mem::replace(&mut state.told_blocked, true) {
            put(StreamFrame::Blocked);
        }
        if !state.outgoing.is_empty() && !blocked {
            self.schedule(&mut state);
        }
        if frames.len() > before {
            wake(&mut state.writers);
        }
        taken
    }
}

impl State {
    /// A copy of what the application writes.
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

    fn queue(&mut self, data: Bytes, end: bool) {
        self.outgoing_bytes += data.len().max(1);
        self.outgoing.push_back((data, end));
    }
}
