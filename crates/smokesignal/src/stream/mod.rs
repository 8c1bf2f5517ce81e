//! Duplex streams over one connection, each with flow control of its own.
//!
//! A [`Stream`] is shared by three parties: the application's handles
//! ([`NodeStream`](handle::NodeStream)), the connection's reader, which calls
//! [`receive`](Stream::receive), and the connection's writer, which calls [`take`](Stream::take)
//! when the stream has its turn in the [`SendQueue`](send_queue::SendQueue). Its two directions are
//! independent halves: [`recv`] queues what has arrived and [`send`] what was written. Each half
//! owns its state ([`state`] has a drawing) and its flow-control window ([`window`]). One write is
//! a *chunk* for the other side's `recv`, which returns it whole. On the connection it travels as
//! *fragments*, frames of up to 16 KiB, of which the last one is marked as the end. Here the two
//! stand under one lock, which is held for a few lines and never while anything waits.
//!
//! [`mux`] has all streams of a connection and lets them take turns, [`accept`] gives out those
//! that other nodes open, and [`budget`] limits the memory of them all.

pub(crate) mod accept;
pub(crate) mod budget;
pub(crate) mod handle;
pub(crate) mod mux;
mod recv;
pub(crate) mod relay_request;
mod send;
pub(crate) mod send_queue;
mod state;
mod window;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use self::recv::{NextChunk, RecvHalf};
use self::send::SendHalf;
use self::send_queue::SendQueue;
use self::state::RecvState;
use crate::error::StreamErrorKind;
use crate::lock::Lock;
use crate::stream::budget::Budget;
use crate::wire::frame::{Frame, Reset, StreamFrame};

/// One stream, shared by its handles, the connection's reader and its writer.
#[derive(Debug)]
pub(crate) struct Stream {
    number: u32,
    state: Lock<State>,
    send_queue: Arc<SendQueue>,
}

#[derive(Debug)]
struct State {
    recv: RecvHalf,
    send: SendHalf,
    /// Frames that are sent before all else and cost no credit.
    control: Vec<StreamFrame>,
    /// Whether a frame of the other side has arrived that is not a reset. The first one is usually
    /// the credit of 0 bytes that [`Acceptor::recv`](accept::Acceptor::recv) sends.
    accepted: bool,
    /// Whether the stream waits for its turn in the send queue.
    queued: bool,
}

impl Stream {
    /// Makes a stream whose windows have `window` bytes in both directions. Its receiving window
    /// grows as far as the `budget` allows. Without a budget, as for the neighbour's own stream,
    /// the window never grows, and the reader's limit alone bounds a chunk that is put together.
    pub(crate) fn new(
        number: u32,
        window: usize,
        send_queue: Arc<SendQueue>,
        budget: Option<Budget>,
    ) -> Arc<Self> {
        let state = State {
            recv: RecvHalf::new(window, budget),
            send: SendHalf::new(window),
            control: Vec::new(),
            accepted: false,
            queued: false,
        };
        Arc::new(Self { number, state: Lock::new(state), send_queue })
    }

    /// Returns the bytes that were written and not sent.
    pub(crate) fn unsent(&self) -> usize {
        self.state.lock().send.unsent()
    }

    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// Queues the stream for its turn, because it has something to send.
    fn schedule(self: &Arc<Self>, state: &mut State) {
        if !std::mem::replace(&mut state.queued, true) {
            self.send_queue.push(Arc::clone(self));
        }
        self.send_queue.wake.notify_one();
    }

    fn schedule_credit(self: &Arc<Self>, state: &mut State) {
        if state.recv.credit_is_due() {
            self.schedule(state);
        }
    }

    // For the application: opening and ending.

    /// Sends a frame before all else.
    pub(crate) fn announce(self: &Arc<Self>, frame: StreamFrame) {
        let mut state = self.state.lock();
        state.control.push(frame);
        self.schedule(&mut state);
    }

    /// Ready once the other side has answered in any way, or refused the stream.
    pub(crate) fn poll_accepted(&self, cx: &Context<'_>) -> Poll<Result<(), StreamErrorKind>> {
        let mut state = self.state.lock();
        match state.recv.state() {
            _ if state.accepted => Poll::Ready(Ok(())),
            RecvState::Aborted(
                failure
                @ (StreamErrorKind::Refused | StreamErrorKind::Busy | StreamErrorKind::ConnectionLost),
            ) => Poll::Ready(Err(failure.clone())),
            RecvState::Aborted(_) => Poll::Ready(Ok(())),
            RecvState::Open | RecvState::Finished | RecvState::Stopped => state.recv.pending(cx),
        }
    }

    /// Ends the writing; the other side reads the end of the stream after what was written.
    pub(crate) fn finish(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.send.finish() {
            self.schedule(&mut state);
        }
    }

    /// Ready once the end of the stream, and so everything before it, is with the connection, or
    /// nothing can be sent any more.
    pub(crate) fn poll_finished(&self, cx: &Context<'_>) -> Poll<()> {
        self.state.lock().send.poll_finished(cx)
    }

    /// Ends the reading: what arrives is dropped, and the other side learns it.
    pub(crate) fn stop_reading(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.recv.stop() {
            state.control.push(StreamFrame::Stop);
            self.schedule(&mut state);
        }
    }

    /// Ends both directions because the application has dropped the stream: what it has written is
    /// still sent.
    pub(crate) fn detach(self: &Arc<Self>) {
        self.state.lock().send.detach();
        self.finish();
        self.stop_reading();
    }

    /// Ends both directions immediately. The other side learns the reason, and what was not sent
    /// or not read is lost.
    pub(crate) fn reset(self: &Arc<Self>, reset: Reset) {
        let mut state = self.state.lock();
        if !state.is_over() {
            self.abort(&mut state, StreamErrorKind::Closed, reset);
        }
    }

    /// Ends both directions: this side sees the `failure`, the other one the `reset`.
    fn abort(self: &Arc<Self>, state: &mut State, failure: StreamErrorKind, reset: Reset) {
        state.abort(&failure);
        state.recv.discard();
        state.control.push(StreamFrame::Reset(reset));
        self.schedule(state);
    }

    // For the application: reading and writing, see the halves.

    pub(crate) fn poll_read(
        self: &Arc<Self>,
        cx: &Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), StreamErrorKind>> {
        let mut state = self.state.lock();
        let read = state.recv.poll_read(cx, buf);
        self.schedule_credit(&mut state);
        read
    }

    /// Returns the next fragment as it arrived, and whether a write ended there; `None` at the end.
    pub(crate) fn poll_fragment(
        self: &Arc<Self>,
        cx: &Context<'_>,
    ) -> Poll<Result<Option<(Bytes, bool)>, StreamErrorKind>> {
        let mut state = self.state.lock();
        let fragment = state.recv.poll_fragment(cx);
        self.schedule_credit(&mut state);
        fragment
    }

    /// Returns one write of the other side, whole; `None` at the end. A chunk that reaches
    /// `limit` is cut after that fragment.
    pub(crate) fn poll_recv(
        self: &Arc<Self>,
        cx: &Context<'_>,
        limit: usize,
    ) -> Poll<Result<Option<Bytes>, StreamErrorKind>> {
        let mut state = self.state.lock();
        let next = state.recv.next_chunk(limit);
        self.schedule_credit(&mut state);
        Poll::Ready(match next {
            NextChunk::Chunk(chunk) => Ok(Some(chunk)),
            NextChunk::End => Ok(None),
            NextChunk::Failed(failure) => Err(failure),
            NextChunk::Pending => return state.recv.pending(cx),
            NextChunk::OverBudget => {
                self.abort(&mut state, StreamErrorKind::Busy, Reset::Busy);
                Err(StreamErrorKind::Busy)
            }
        })
    }

    pub(crate) fn poll_write(
        self: &Arc<Self>,
        cx: &Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize, StreamErrorKind>> {
        let mut state = self.state.lock();
        let written = state.send.poll_write(cx, buf, &self.send_queue.buffers);
        if matches!(written, Poll::Ready(Ok(_))) {
            self.schedule(&mut state);
        }
        written
    }

    /// Queues `data` in one piece once there is any room. `end` is whether the write ends with it.
    pub(crate) fn poll_send(
        self: &Arc<Self>,
        cx: &Context<'_>,
        data: &mut Bytes,
        end: bool,
    ) -> Poll<Result<(), StreamErrorKind>> {
        let mut state = self.state.lock();
        let sent = state.send.poll_send(cx, data, end);
        if matches!(sent, Poll::Ready(Ok(()))) {
            self.schedule(&mut state);
        }
        sent
    }

    /// Ready once all that was written is with the connection.
    pub(crate) fn poll_flush(&self, cx: &Context<'_>) -> Poll<Result<(), StreamErrorKind>> {
        self.state.lock().send.poll_flush(cx)
    }

    /// Returns the failure that has lost something that was written, or the end, if there was one.
    pub(crate) fn check_finished(&self) -> Result<(), StreamErrorKind> {
        self.state.lock().send.state().lost_anything()
    }

    // For the connection.

    /// Takes a frame of the stream. Returns whether the protocol allows it here.
    #[must_use]
    pub(crate) fn receive(self: &Arc<Self>, frame: StreamFrame) -> bool {
        let mut state = self.state.lock();
        state.accepted |= !matches!(frame, StreamFrame::Reset(_));
        let allowed = match frame {
            StreamFrame::Open(_) | StreamFrame::Carry { .. } => false,
            StreamFrame::Data { data, end } => state.recv.receive(data, end),
            StreamFrame::Fin => state.recv.receive_end(),
            StreamFrame::Blocked => {
                state.recv.receive_blocked();
                self.schedule_credit(&mut state);
                true
            }
            StreamFrame::Credit(bytes) => {
                let allowed = state.send.receive_credit(bytes as usize);
                if state.send.has_data() {
                    self.schedule(&mut state);
                }
                allowed
            }
            StreamFrame::Stop => {
                state.send.abort(StreamErrorKind::Stopped);
                true
            }
            StreamFrame::Reset(reset) => {
                state.abort(&match reset {
                    Reset::Refused => StreamErrorKind::Refused,
                    Reset::Busy => StreamErrorKind::Busy,
                    Reset::Reason(reason) => StreamErrorKind::Reset(reason),
                });
                true
            }
        };
        // Any frame may be the answer that a caller of `poll_accepted` waits for.
        state.recv.wake();
        allowed
    }

    /// Gives out what is to be sent now, up to about `limit` bytes of data. Returns what it takes
    /// of the connection's turn, in bytes.
    pub(crate) fn take(self: &Arc<Self>, limit: usize, frames: &mut Vec<Frame>) -> usize {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.queued = false;
        let before = frames.len();
        let mut out = |frame| frames.push(Frame::Stream(self.number, frame));
        state.control.drain(..).for_each(&mut out);
        if let Some(credit) = state.recv.take_credit() {
            out(StreamFrame::Credit(credit));
        }
        let taken = state.send.take(limit, &self.send_queue.buffers, out);
        if taken.more {
            self.schedule(state);
        }
        if frames.len() > before {
            state.send.wake();
        }
        taken.cost
    }

    /// Returns whether the application has dropped the stream and the other side has taken nothing
    /// of what is unsent for `patience`.
    pub(crate) fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        self.state.lock().send.is_stuck(now, patience)
    }

    /// Ends both directions because the connection is gone: writes fail, and so do reads after what
    /// has arrived.
    pub(crate) fn connection_lost(&self) {
        self.state.lock().abort(&StreamErrorKind::ConnectionLost);
    }

    /// Returns whether nothing more is to come or to be sent.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.is_over() && state.control.is_empty()
    }
}

impl State {
    fn is_over(&self) -> bool {
        !self.recv.state().is_open() && self.send.state().is_over()
    }

    fn abort(&mut self, failure: &StreamErrorKind) {
        self.recv.abort(failure.clone());
        self.send.abort(failure.clone());
    }
}

/// Registers the task with `wakers`, once.
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
