//! A duplex stream over a connection, with credit: what is not read stays with the writer, and delays nothing else on
//! the connection. The window begins small and doubles for as long as it is what holds the writer up.

pub(crate) mod accept;
pub(crate) mod budget;
pub(crate) mod handle;
pub(crate) mod mux;
mod recv;
pub(crate) mod relay_request;
mod send;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::StreamError;
use crate::lock::Lock;
use crate::stream::budget::Budget;
use crate::wire::buffer_pool::BufferPools;
use crate::wire::frame::{Reset, StreamFrame};

/// The neighbour's own stream, see [`Peer`](crate::Peer), may have this much in flight or unread in each direction from
/// the beginning: fills a link of 100 MB/s at 2.5 ms.
pub(crate) const NEIGHBOUR_WINDOW: usize = 256 * 1024;
/// The same for a named stream. A thousand of them on one connection are 32 MiB.
pub(crate) const FIRST_WINDOW: usize = 32 * 1024;
/// What a window grows to at most: 400 MB/s at 10 ms, 40 MB/s at 100 ms.
pub(crate) const MAX_WINDOW: usize = 4 * 1024 * 1024;

/// What an empty or small piece of data takes of a window at least: about what keeping it costs.
const LEAST_COST: usize = 64;

/// One stream, shared by its handles, the connection's reader and its writer.
#[derive(Debug)]
pub(crate) struct Stream {
    number: u32,
    state: Lock<State>,
    send_queue: Arc<SendQueue>,
    budget: Option<Budget>,
}

/// The streams of one connection that have something to send, and what wakes its writer.
#[derive(Debug)]
pub(crate) struct SendQueue {
    /// `None` once the connection is gone: who waited here would keep itself alive.
    turns: Lock<Option<VecDeque<Arc<Stream>>>>,
    pub(crate) wake: Notify,
    pub(crate) buffers: Arc<BufferPools>,
}

#[derive(Debug)]
struct State {
    incoming: VecDeque<Fragment>,
    /// What the other side may have on its way or unread here.
    window: usize,
    /// Bytes the other side may still send.
    allowed: usize,
    /// Bytes read by the application and not yet returned as credit.
    consumed: usize,
    /// The other side has said that the window is too small for it.
    starved: bool,
    /// What has come since the window was last enlarged.
    received: usize,
    /// Credit is to be returned at once.
    hurry: bool,
    /// The other side has said anything yet.
    accepted: bool,
    /// The head of a write that [`Stream::poll_recv`] is putting together.
    partial: BytesMut,
    /// What it takes: of the window, whose credit is not returned yet, and beyond that of the budget.
    partial_cost: (usize, usize),
    incoming_end: End,
    /// To be sent before all else.
    announce: Vec<StreamFrame>,
    outgoing: VecDeque<(Bytes, bool)>,
    outgoing_bytes: usize,
    /// The buffer that large writes are copied into, while any are unsent.
    write_buffer: Option<BytesMut>,
    credit: usize,
    /// The other side knows that there is more than its credit.
    told_blocked: bool,
    fin: Fin,
    /// Something was written that was not sent and never will be.
    lost: bool,
    /// Why reads or writes fail.
    over: Option<StreamError>,
    /// The application has dropped it.
    dropped: bool,
    /// So much was unsent then, and had not become less since.
    unsent: Option<(usize, Instant)>,
    /// It has its turn coming.
    queued: bool,
    readers: Vec<Waker>,
    writers: Vec<Waker>,
}

/// Data that has arrived and was not read.
#[derive(Debug)]
struct Fragment {
    data: Bytes,
    /// A write ended here.
    end: bool,
    /// What it takes of the window.
    cost: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// The other side has said that no more will come.
    Finished,
    /// Nobody reads here any more.
    Stopped,
    /// The stream ended without that; `State::over` says why.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    Open,
    /// No more writes; said once all is sent.
    Wanted,
    Sent,
    /// Nothing can be sent any more; `State::over` says why.
    Gone,
}

impl SendQueue {
    pub(crate) fn new(buffers: Arc<BufferPools>) -> Self {
        Self { turns: Lock::new(Some(VecDeque::new())), wake: Notify::new(), buffers }
    }

    /// The stream whose turn it is.
    pub(crate) fn next(&self) -> Option<Arc<Stream>> {
        self.turns.lock().as_mut()?.pop_front()
    }

    /// Nothing will be sent any more.
    pub(crate) fn close(&self) {
        let streams = self.turns.lock().take();
        drop(streams);
    }
}

impl Stream {
    /// `window` in both directions; it grows as far as the `budget` allows.
    pub(crate) fn new(
        number: u32,
        window: usize,
        send_queue: Arc<SendQueue>,
        budget: Option<Budget>,
    ) -> Arc<Self> {
        let state = State {
            incoming: VecDeque::new(),
            window,
            allowed: window,
            consumed: 0,
            starved: false,
            received: 0,
            hurry: false,
            accepted: false,
            partial: BytesMut::new(),
            partial_cost: (0, 0),
            incoming_end: End::Open,
            announce: Vec::new(),
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            write_buffer: None,
            credit: window,
            told_blocked: false,
            fin: Fin::Open,
            lost: false,
            over: None,
            dropped: false,
            unsent: None,
            queued: false,
            readers: Vec::new(),
            writers: Vec::new(),
        };
        Arc::new(Self { number, state: Lock::new(state), send_queue, budget })
    }

    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// There is something to send.
    fn schedule(self: &Arc<Self>, state: &mut State) {
        if !std::mem::replace(&mut state.queued, true)
            && let Some(turns) = self.send_queue.turns.lock().as_mut()
        {
            turns.push_back(Arc::clone(self));
        }
        self.send_queue.wake.notify_one();
    }

    // For the application.

    /// Says so before anything else: that the stream begins.
    pub(crate) fn announce(self: &Arc<Self>, frame: StreamFrame) {
        let mut state = self.state.lock();
        state.announce.push(frame);
        self.schedule(&mut state);
    }

    /// Ready once the end of the stream, and so all before it, is with the connection; or nothing can be sent any more.
    pub(crate) fn poll_finished(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        match state.fin {
            Fin::Sent | Fin::Gone => Poll::Ready(()),
            Fin::Open | Fin::Wanted => pending(&mut state.writers, cx),
        }
    }

    /// Ready once the other side has answered in any way, or refused.
    pub(crate) fn poll_accepted(&self, cx: &Context<'_>) -> Poll<Result<(), StreamError>> {
        let mut state = self.state.lock();
        match &state.over {
            Some(error @ (StreamError::Refused | StreamError::Busy | StreamError::ConnectionLost)) => {
                Poll::Ready(Err(error.clone()))
            }
            Some(_) => Poll::Ready(Ok(())),
            None if state.accepted => Poll::Ready(Ok(())),
            None => pending(&mut state.readers, cx),
        }
    }

    /// No more writes; the other side reads the end of the stream after what was written.
    pub(crate) fn finish(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.fin == Fin::Open {
            state.fin = Fin::Wanted;
            self.schedule(&mut state);
        }
    }

    /// No more reads: what arrives is thrown away, and the other side is told.
    pub(crate) fn stop_reading(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.incoming_end == End::Open {
            state.incoming_end = End::Stopped;
            state.announce.push(StreamFrame::Stop);
            self.schedule(&mut state);
        }
        state.incoming.clear();
        self.take_partial(&mut state);
    }

    /// The application has dropped it: what it has written is still sent.
    pub(crate) fn detach(self: &Arc<Self>) {
        self.state.lock().dropped = true;
        self.finish();
        self.stop_reading();
    }

    /// Ends both directions at once: the other side is told why, what it has not read is lost.
    pub(crate) fn reset(self: &Arc<Self>, reset: Reset) {
        let mut state = self.state.lock();
        if state.is_over() {
            return;
        }
        self.abort_with(&mut state, StreamError::Closed, reset);
    }

    /// Ends both directions: this side sees `error`, the other one the `reset`.
    fn abort_with(self: &Arc<Self>, state: &mut State, error: StreamError, reset: Reset) {
        state.abort(error);
        state.incoming.clear();
        self.take_partial(state);
        state.announce.push(StreamFrame::Reset(reset));
        self.schedule(state);
    }

    // For the connection.

    /// A frame of the stream. False: the other side broke the rules.
    pub(crate) fn receive(self: &Arc<Self>, frame: StreamFrame) -> bool {
        let mut state = self.state.lock();
        state.accepted = true;
        match frame {
            StreamFrame::Open(_) | StreamFrame::Carry { .. } => return false,
            StreamFrame::Data { data, end } => {
                let cost = cost(data.len());
                // After a stop or a reset of ours there may be data on its way, within its credit.
                if cost > state.allowed || state.incoming_end == End::Finished {
                    return false;
                }
                state.allowed -= cost;
                state.received = state.received.saturating_add(cost);
                if state.incoming_end == End::Open {
                    state.incoming.push_back(Fragment { data, end, cost });
                }
            }
            StreamFrame::Credit(bytes) => {
                state.credit = state.credit.saturating_add(bytes as usize);
                if state.credit > MAX_WINDOW {
                    return false;
                }
                state.told_blocked = false;
                if !state.outgoing.is_empty() {
                    self.schedule(&mut state);
                }
            }
            StreamFrame::Blocked => {
                state.starved = true;
                self.maybe_grow(&mut state);
            }
            StreamFrame::Fin => match state.incoming_end {
                End::Open => state.incoming_end = End::Finished,
                End::Finished => return false,
                // A stop or a reset of ours crossed with it.
                End::Stopped | End::Broken => {}
            },
            StreamFrame::Stop => {
                if matches!(state.fin, Fin::Open | Fin::Wanted) {
                    state.over.get_or_insert(StreamError::Stopped);
                    state.fin = Fin::Gone;
                    state.drop_outgoing();
                }
            }
            StreamFrame::Reset(reset) => state.abort(match reset {
                Reset::Refused => StreamError::Refused,
                Reset::Busy => StreamError::Busy,
                Reset::Reason(reason) => StreamError::Reset(reason),
            }),
        }
        wake(&mut state.readers);
        wake(&mut state.writers);
        true
    }

    /// The application has dropped it, and for so long the other side has taken nothing of what is unsent.
    pub(crate) fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.dropped || state.fin != Fin::Wanted {
            return false;
        }
        let unsent = state.outgoing_bytes;
        match state.unsent {
            Some((before, since)) if unsent >= before => now - since >= patience,
            _ => {
                state.unsent = Some((unsent, now));
                false
            }
        }
    }

    /// The connection is gone: writes fail, and so do reads after what has arrived.
    pub(crate) fn connection_lost(&self) {
        let mut state = self.state.lock();
        if !state.is_over() {
            state.abort(StreamError::ConnectionLost);
        }
        wake(&mut state.readers);
        wake(&mut state.writers);
    }

    /// Nothing more is to come or to be sent.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.is_over() && state.announce.is_empty()
    }
}

impl State {
    /// Consumed bytes are returned as credit once they are this many, so that small reads cost no frame each.
    const fn credit_step(&self) -> usize {
        self.window / 4
    }

    fn is_over(&self) -> bool {
        self.incoming_end != End::Open && matches!(self.fin, Fin::Sent | Fin::Gone)
    }

    fn abort(&mut self, error: StreamError) {
        if self.incoming_end == End::Open {
            self.incoming_end = End::Broken;
        }
        if self.fin != Fin::Sent {
            self.fin = Fin::Gone;
        }
        self.over = Some(error);
        self.drop_outgoing();
        wake(&mut self.readers);
        wake(&mut self.writers);
    }

    fn drop_outgoing(&mut self) {
        self.lost |= !self.outgoing.is_empty();
        self.outgoing.clear();
        self.outgoing_bytes = 0;
    }

    fn error(&self) -> StreamError {
        self.over.clone().unwrap_or(StreamError::ConnectionLost)
    }

    fn write_error(&self) -> StreamError {
        self.over.clone().unwrap_or(StreamError::Closed)
    }
}

/// What a piece of data takes of the window: a small one costs more than its bytes, or there could be millions of them.
fn cost(length: usize) -> usize {
    length.max(LEAST_COST)
}

fn pending<T>(wakers: &mut Vec<Waker>, cx: &Context<'_>) -> Poll<T> {
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
    Poll::Pending
}

fn wake(wakers: &mut Vec<Waker>) {
    wakers.drain(..).for_each(Waker::wake);
}

#[cfg(test)]
mod tests;
