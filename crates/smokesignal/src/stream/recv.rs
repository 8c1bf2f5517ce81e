//! The reading half: what has arrived, put together for the application, and the credit that reading it gives back.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;

use super::{End, Fragment, MAX_WINDOW, State, Stream, pending};
use crate::error::StreamError;
use crate::wire::frame::Reset;

impl Stream {
    pub(crate) fn poll_read(
        self: &Arc<Self>,
        cx: &Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.state.lock();
        let before = buf.filled().len();
        let mut consumed = 0;
        // What a `recv` that was given up had put together comes first.
        let head = state.partial.len().min(buf.remaining());
        if head > 0 {
            buf.put_slice(&state.partial.split_to(head));
            if state.partial.is_empty() {
                state.partial = BytesMut::new();
                consumed += self.release_partial(&mut state);
            }
        }
        while buf.remaining() > 0
            && let Some(mut piece) = state.incoming.pop_front()
        {
            let part = piece.data.split_to(piece.data.len().min(buf.remaining()));
            buf.put_slice(&part);
            if piece.data.is_empty() {
                consumed += piece.cost;
            } else {
                let paid = part.len().min(piece.cost);
                (consumed, piece.cost) = (consumed + paid, piece.cost - paid);
                state.incoming.push_front(piece);
            }
        }
        self.consume(&mut state, consumed);
        if buf.filled().len() > before || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match state.incoming_end {
            End::Open => pending(&mut state.readers, cx),
            End::Finished | End::Stopped => Poll::Ready(Ok(())),
            End::Broken => Poll::Ready(Err(state.error().into())),
        }
    }

    /// What has come next, as it came, and whether a write ended there; `None` at the end.
    pub(crate) fn poll_fragment(
        self: &Arc<Self>,
        cx: &Context<'_>,
    ) -> Poll<Result<Option<(Bytes, bool)>, StreamError>> {
        let mut state = self.state.lock();
        if let Some(Fragment { data, end, cost }) = state.incoming.pop_front() {
            self.consume(&mut state, cost);
            return Poll::Ready(Ok(Some((data, end))));
        }
        match state.incoming_end {
            End::Open => pending(&mut state.readers, cx),
            End::Finished | End::Stopped => Poll::Ready(Ok(None)),
            End::Broken => Poll::Ready(Err(state.error())),
        }
    }

    /// One write of the other side, whole; `None` at the end.
    pub(crate) fn poll_recv(
        self: &Arc<Self>,
        cx: &Context<'_>,
        limit: usize,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        let mut state = self.state.lock();
        let mut consumed = 0;
        while let Some(Fragment { data, end, cost }) = state.incoming.pop_front() {
            if end && state.partial.is_empty() {
                self.consume(&mut state, consumed + cost);
                return Poll::Ready(Ok(Some(data)));
            }
            // The head of a small chunk stays within the window, that of a large one needs more than it.
            let (held, beyond) = state.partial_cost;
            if beyond == 0 && held + cost <= state.window * 3 / 4 {
                state.partial_cost.0 += cost;
            } else if self.budget.as_ref().is_none_or(|budget| budget.grow(held + cost)) {
                state.partial_cost = (0, beyond + held + cost);
                consumed += held + cost;
            } else {
                self.abort_with(&mut state, StreamError::Busy, Reset::Busy);
                return Poll::Ready(Err(StreamError::Busy));
            }
            state.partial.extend_from_slice(&data);
            if end || state.partial.len() >= limit {
                let (whole, held) = self.take_partial(&mut state);
                self.consume(&mut state, consumed + held);
                return Poll::Ready(Ok(Some(whole)));
            }
        }
        self.consume(&mut state, consumed);
        match state.incoming_end {
            End::Open => return pending(&mut state.readers, cx),
            End::Finished if !state.partial.is_empty() => {
                return Poll::Ready(Ok(Some(self.take_partial(&mut state).0)));
            }
            End::Finished | End::Stopped => return Poll::Ready(Ok(None)),
            End::Broken => {}
        }
        if !state.partial.is_empty() {
            let lost = self.take_partial(&mut state).0.len();
            tracing::warn!(lost, "the stream ended in the middle of a chunk; its beginning is dropped");
        }
        Poll::Ready(Err(state.error()))
    }

    /// The chunk that was put together, and what of the window it has taken.
    pub(super) fn take_partial(&self, state: &mut State) -> (Bytes, usize) {
        // Not split off: what would be left would keep the memory.
        (std::mem::take(&mut state.partial).freeze(), self.release_partial(state))
    }

    fn release_partial(&self, state: &mut State) -> usize {
        let (window, beyond) = std::mem::take(&mut state.partial_cost);
        if let Some(budget) = &self.budget {
            budget.give_back(beyond);
        }
        window
    }

    fn consume(self: &Arc<Self>, state: &mut State, bytes: usize) {
        state.consumed += bytes;
        self.maybe_grow(state);
        if state.consumed >= state.credit_step() {
            self.schedule(state);
        }
    }

    /// A writer that has to wait although everything is read at once needs a larger window.
    pub(super) fn maybe_grow(self: &Arc<Self>, state: &mut State) {
        if !state.starved || !state.incoming.is_empty() || state.incoming_end != End::Open {
            return;
        }
        state.starved = false;
        // Who has not used up the window that it has gets no larger one.
        let used_up = state.received >= state.window;
        let more = state.window.min(MAX_WINDOW - state.window.min(MAX_WINDOW));
        if used_up && more > 0 && self.budget.as_ref().is_some_and(|budget| budget.grow(more)) {
            (state.window, state.received) = (state.window + more, 0);
            state.consumed += more;
        }
        // What was read so far helps the writer more than all that could be gathered.
        if state.consumed > 0 {
            state.hurry = true;
            self.schedule(state);
        }
    }
}
