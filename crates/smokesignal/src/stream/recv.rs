//! The receiving half: what has arrived, put together for the application.
//!
//! Data arrives in fragments of up to 16 KiB and waits in a queue until the application reads it.
//! Reading releases the window that the data took. [`RecvHalf::next_chunk`] puts the fragments of
//! one write together: the beginning of a chunk stays within the window if it is small, so it needs
//! no further memory; a larger one is charged to the budget that streams share, and its part of the
//! window is released, or the window could never let the rest of it in.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;

use super::budget::Budget;
use super::state::RecvState;
use super::window::{RecvWindow, cost};
use super::{pending, wake};
use crate::error::StreamErrorKind;

/// The receiving half of a stream.
#[derive(Debug)]
pub(super) struct RecvHalf {
    state: RecvState,
    window: RecvWindow,
    budget: Option<Budget>,
    incoming: VecDeque<Fragment>,
    partial: PartialChunk,
    readers: Vec<Waker>,
}

/// Data that has arrived and was not read.
#[derive(Debug)]
struct Fragment {
    data: Bytes,
    /// Whether a write ended here.
    end: bool,
    /// What it takes of the window.
    cost: usize,
}

/// The beginning of a chunk whose end has not arrived.
#[derive(Debug, Default)]
struct PartialChunk {
    data: BytesMut,
    /// What it takes of the window.
    in_window: usize,
    /// What it takes of the budget, beyond the window.
    in_budget: usize,
}

/// What [`RecvHalf::next_chunk`] has found.
#[derive(Debug)]
pub(super) enum NextChunk {
    Chunk(Bytes),
    /// The stream has ended.
    End,
    /// The stream has failed.
    Failed(StreamErrorKind),
    /// More has to arrive first.
    Pending,
    /// The budget does not allow to put a chunk of this size together: the stream has to be reset.
    OverBudget,
}

impl RecvHalf {
    pub(super) fn new(window: usize, budget: Option<Budget>) -> Self {
        Self {
            state: RecvState::Open,
            window: RecvWindow::new(window),
            budget,
            incoming: VecDeque::new(),
            partial: PartialChunk::default(),
            readers: Vec::new(),
        }
    }

    pub(super) const fn state(&self) -> &RecvState {
        &self.state
    }

    pub(super) fn wake(&mut self) {
        wake(&mut self.readers);
    }

    /// Registers the task to be woken by the next frame.
    pub(super) fn pending<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        pending(&mut self.readers, cx)
    }

    // For the connection.

    /// Takes data that has arrived. Returns whether the other side was allowed to send it.
    #[must_use]
    pub(super) fn receive(&mut self, data: Bytes, end: bool) -> bool {
        let cost = cost(data.len());
        if matches!(self.state, RecvState::Finished) || !self.window.receive(cost) {
            return false;
        }
        // After a stop or an abort, data may still be on its way, within its credit.
        if self.state.is_open() {
            self.incoming.push_back(Fragment { data, end, cost });
        }
        true
    }

    /// Notes that the other side has finished. Returns whether it was allowed to.
    #[must_use]
    pub(super) fn receive_end(&mut self) -> bool {
        match self.state {
            RecvState::Open => self.state = RecvState::Finished,
            RecvState::Finished => return false,
            // A stop or an abort of this side has crossed with it.
            RecvState::Stopped | RecvState::Aborted(_) => {}
        }
        true
    }

    /// Notes that the other side is out of credit.
    pub(super) fn receive_blocked(&mut self) {
        self.window.report_blocked();
        self.answer_blocked();
    }

    /// Returns the credit that is to be sent now.
    pub(super) fn take_credit(&mut self) -> Option<u32> {
        if self.state.is_open() { self.window.take_credit() } else { None }
    }

    /// Returns whether there is credit to be sent.
    pub(super) const fn credit_is_due(&self) -> bool {
        self.state.is_open() && self.window.credit_is_due()
    }

    /// Ends this direction if it is open. Data that has arrived stays readable.
    pub(super) fn abort(&mut self, failure: StreamErrorKind) {
        if self.state.is_open() {
            self.state = RecvState::Aborted(failure);
        }
        self.wake();
    }

    // For the application.

    /// Stops reading and drops what has arrived. Returns whether the direction was open, and so the
    /// other side has to know.
    pub(super) fn stop(&mut self) -> bool {
        let was_open = self.state.is_open();
        if was_open {
            self.state = RecvState::Stopped;
        }
        self.discard();
        was_open
    }

    /// Drops what has arrived and was not read.
    pub(super) fn discard(&mut self) {
        self.incoming.clear();
        self.take_partial();
    }

    /// Fills `buf` with what has arrived, without regard to the bounds of writes. At the end of the
    /// stream it is left as it is.
    pub(super) fn poll_read(
        &mut self,
        cx: &Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), StreamErrorKind>> {
        let before = buf.filled().len();
        // The beginning of a chunk that a cancelled `recv` has put together comes first.
        let head = self.partial.data.len().min(buf.remaining());
        if head > 0 {
            buf.put_slice(&self.partial.data.split_to(head));
            if self.partial.data.is_empty() {
                self.partial.data = BytesMut::new();
                self.release_partial();
            }
        }
        while buf.remaining() > 0
            && let Some(mut fragment) = self.incoming.pop_front()
        {
            let part = fragment.data.split_to(fragment.data.len().min(buf.remaining()));
            buf.put_slice(&part);
            if fragment.data.is_empty() {
                self.window.release(fragment.cost);
            } else {
                let paid = part.len().min(fragment.cost);
                self.window.release(paid);
                fragment.cost -= paid;
                self.incoming.push_front(fragment);
            }
        }
        self.answer_blocked();
        if buf.filled().len() > before || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match self.state.end() {
            Some(end) => Poll::Ready(end),
            None => self.pending(cx),
        }
    }

    /// Returns the next fragment as it arrived, and whether a write ended there; `None` at the end.
    pub(super) fn poll_fragment(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<Result<Option<(Bytes, bool)>, StreamErrorKind>> {
        if let Some(Fragment { data, end, cost }) = self.incoming.pop_front() {
            self.window.release(cost);
            self.answer_blocked();
            return Poll::Ready(Ok(Some((data, end))));
        }
        match self.state.end() {
            Some(end) => Poll::Ready(end.map(|()| None)),
            None => self.pending(cx),
        }
    }

    /// Puts the next chunk together: one write of the other side, whole. A chunk that is longer
    /// than `limit` is cut after the fragment that reaches it.
    pub(super) fn next_chunk(&mut self, limit: usize) -> NextChunk {
        while let Some(fragment) = self.incoming.pop_front() {
            if fragment.end && self.partial.data.is_empty() {
                self.window.release(fragment.cost);
                self.answer_blocked();
                return NextChunk::Chunk(fragment.data);
            }
            if fragment.data.is_empty() && !fragment.end {
                self.window.release(fragment.cost); // Adds nothing to the chunk and may cost nothing.
                continue;
            }
            if !self.charge_partial(fragment.cost) {
                return NextChunk::OverBudget;
            }
            self.partial.data.extend_from_slice(&fragment.data);
            if fragment.end || self.partial.data.len() >= limit {
                let chunk = self.take_partial();
                self.answer_blocked();
                return NextChunk::Chunk(chunk);
            }
        }
        self.answer_blocked();
        match self.state.end() {
            None => NextChunk::Pending,
            Some(Ok(())) if self.partial.data.is_empty() => NextChunk::End,
            // The end came in the middle of a write, which this implementation never sends.
            Some(Ok(())) => NextChunk::Chunk(self.take_partial()),
            Some(Err(failure)) => {
                let lost = self.take_partial().len();
                if lost > 0 {
                    tracing::warn!(
                        lost,
                        "the stream failed in the middle of a chunk; its beginning is dropped"
                    );
                }
                NextChunk::Failed(failure)
            }
        }
    }

    /// Charges a fragment that is added to the partial chunk: to the window while the chunk is
    /// small, else to the budget. Returns whether there was room.
    fn charge_partial(&mut self, cost: usize) -> bool {
        let PartialChunk { in_window, in_budget, .. } = self.partial;
        if in_budget == 0 && self.window.can_hold(in_window + cost) {
            self.partial.in_window += cost;
            return true;
        }
        // All that the chunk has taken of the window moves to the budget.
        let moved = in_window + cost;
        if self.budget.as_ref().is_some_and(|budget| !budget.grow(moved)) {
            return false;
        }
        self.partial.in_window = 0;
        self.partial.in_budget = in_budget + moved;
        self.window.release(moved);
        true
    }

    fn take_partial(&mut self) -> Bytes {
        // Not split off: what is left would keep the memory.
        let data = std::mem::take(&mut self.partial.data).freeze();
        self.release_partial();
        data
    }

    /// Returns what the partial chunk has taken of window and budget.
    fn release_partial(&mut self) {
        let PartialChunk { in_window, in_budget, .. } = std::mem::take(&mut self.partial);
        if let Some(budget) = &self.budget {
            budget.give_back(in_budget);
        }
        self.window.release(in_window);
    }

    /// Lets the window grow for a sender that is out of credit, if everything is read.
    fn answer_blocked(&mut self) {
        if self.incoming.is_empty() && self.state.is_open() {
            let budget = self.budget.as_ref();
            self.window.answer_blocked(|bytes| budget.is_some_and(|budget| budget.grow(bytes)));
        }
    }

    #[cfg(test)]
    pub(super) const fn window_size(&self) -> usize {
        self.window.size()
    }

    #[cfg(test)]
    pub(super) fn fragments(&self) -> usize {
        self.incoming.len()
    }
}
