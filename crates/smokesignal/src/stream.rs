//! A duplex stream over a connection, with credit: what is not read stays with the writer, and delays nothing else on
//! the connection. The window begins small and doubles for as long as it is what holds the writer up.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::StreamError;
use crate::budget::Budget;
use crate::chunks::{CHUNK, Memory};
use crate::frame::{Frame, MAX_STREAM_DATA, Part, Reset};

/// The neighbour's own stream, see [`Peer`](crate::Peer), may have this much in flight or unread in each direction from
/// the beginning: fills a link of 100 MB/s at 2.5 ms.
pub(crate) const NEIGHBOUR_WINDOW: usize = 256 * 1024;
/// The same for a named stream. A thousand of them on one connection are 32 MiB.
pub(crate) const FIRST_WINDOW: usize = 32 * 1024;
/// What a window grows to at most: 400 MB/s at 10 ms, 40 MB/s at 100 ms.
pub(crate) const MAX_WINDOW: usize = 4 * 1024 * 1024;
/// Bytes written and not yet sent at most; then writes wait. 512 KiB: enough for a writer and a connection that run on two
/// processors to wait for each other rarely.
const SEND_BUFFER: usize = 512 * 1024;
/// A write from this size on is copied into a chunk, at most as much at once as fits into one. 64 KiB, a quarter of it: a
/// stream that is not read on the other side must not keep much more than it has written.
const COPY_TO_CHUNK: usize = CHUNK / 4;

/// What an empty or small piece of data takes of a window at least: about what keeping it costs.
const LEAST_COST: usize = 64;

/// One stream, shared by its handles, the connection's reader and its writer.
#[derive(Debug)]
pub(crate) struct Stream {
    number: u32,
    state: Mutex<State>,
    ready: Arc<Ready>,
    budget: Option<Budget>,
}

/// The streams of one connection that have something to send, and what wakes its writer.
#[derive(Debug)]
pub(crate) struct Ready {
    /// `None` once the connection is gone: who waited here would keep itself alive.
    turns: Mutex<Option<VecDeque<Arc<Stream>>>>,
    pub(crate) wake: Notify,
    pub(crate) memory: Arc<Memory>,
}

#[derive(Debug)]
struct State {
    incoming: VecDeque<Piece>,
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
    answered: bool,
    /// The head of a write that [`Stream::poll_recv`] is putting together.
    partial: BytesMut,
    /// What it takes: of the window, whose credit is not returned yet, and beyond that of the budget.
    partial_cost: (usize, usize),
    incoming_end: End,
    /// To be sent before all else.
    announce: Vec<Part>,
    outgoing: VecDeque<(Bytes, bool)>,
    outgoing_bytes: usize,
    /// What large writes are copied into, while any are unsent.
    chunk: Option<BytesMut>,
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
struct Piece {
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

impl Ready {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { turns: Mutex::new(Some(VecDeque::new())), wake: Notify::new(), memory }
    }

    /// The stream whose turn it is.
    pub(crate) fn next(&self) -> Option<Arc<Stream>> {
        self.lock().as_mut()?.pop_front()
    }

    /// Nothing will be sent any more.
    pub(crate) fn close(&self) {
        let streams = self.lock().take();
        drop(streams);
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Arc<Stream>>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// `window` in both directions; it grows as far as the `budget` allows.
    pub(crate) fn new(number: u32, window: usize, ready: Arc<Ready>, budget: Option<Budget>) -> Arc<Self> {
        let state = State {
            incoming: VecDeque::new(),
            window,
            allowed: window,
            consumed: 0,
            starved: false,
            received: 0,
            hurry: false,
            answered: false,
            partial: BytesMut::new(),
            partial_cost: (0, 0),
            incoming_end: End::Open,
            announce: Vec::new(),
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            chunk: None,
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
        Arc::new(Self { number, state: Mutex::new(state), ready, budget })
    }

    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to send.
    fn kick(self: &Arc<Self>, state: &mut State) {
        if !std::mem::replace(&mut state.queued, true)
            && let Some(turns) = self.ready.lock().as_mut()
        {
            turns.push_back(Arc::clone(self));
        }
        self.ready.wake.notify_one();
    }

    // For the application.

    /// Says so before anything else: that the stream begins.
    pub(crate) fn announce(self: &Arc<Self>, part: Part) {
        let mut state = self.lock();
        state.announce.push(part);
        self.kick(&mut state);
    }

    pub(crate) fn poll_read(
        self: &Arc<Self>,
        cx: &Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.lock();
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
    pub(crate) fn poll_piece(
        self: &Arc<Self>,
        cx: &Context<'_>,
    ) -> Poll<Result<Option<(Bytes, bool)>, StreamError>> {
        let mut state = self.lock();
        if let Some(Piece { data, end, cost }) = state.incoming.pop_front() {
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
        let mut state = self.lock();
        let mut consumed = 0;
        while let Some(Piece { data, end, cost }) = state.incoming.pop_front() {
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
                self.give_up(&mut state);
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

    /// Ready once the end of the stream, and so all before it, is with the connection; or nothing can be sent any more.
    pub(crate) fn poll_finished(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        match state.fin {
            Fin::Sent | Fin::Gone => Poll::Ready(()),
            Fin::Open | Fin::Wanted => pending(&mut state.writers, cx),
        }
    }

    /// Ready once the other side has answered in any way, or refused.
    pub(crate) fn poll_answered(&self, cx: &Context<'_>) -> Poll<Result<(), StreamError>> {
        let mut state = self.lock();
        match &state.over {
            Some(error @ (StreamError::Refused | StreamError::Busy | StreamError::Cut)) => {
                Poll::Ready(Err(error.clone()))
            }
            Some(_) => Poll::Ready(Ok(())),
            None if state.answered => Poll::Ready(Ok(())),
            None => pending(&mut state.readers, cx),
        }
    }

    /// The chunk that was put together, and what of the window it has taken.
    fn take_partial(&self, state: &mut State) -> (Bytes, usize) {
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

    /// There is no room for what the other side sends.
    fn give_up(self: &Arc<Self>, state: &mut State) {
        state.break_off(StreamError::Busy);
        state.incoming.clear();
        self.take_partial(state);
        state.announce.push(Part::Reset(Reset::Busy));
        self.kick(state);
    }

    fn consume(self: &Arc<Self>, state: &mut State, bytes: usize) {
        state.consumed += bytes;
        self.maybe_grow(state);
        if state.consumed >= state.credit_step() {
            self.kick(state);
        }
    }

    /// A writer that has to wait although everything is read at once needs a larger window.
    fn maybe_grow(self: &Arc<Self>, state: &mut State) {
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
            self.kick(state);
        }
    }

    pub(crate) fn poll_write(self: &Arc<Self>, cx: &Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
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
        let part = buf.len().min(room).min(CHUNK);
        let data = state.copy(&buf[..part], &self.ready.memory);
        state.queue(data, true);
        self.kick(&mut state);
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
        let mut state = self.lock();
        if state.fin != Fin::Open {
            return Poll::Ready(Err(state.write_error()));
        }
        let room = SEND_BUFFER.saturating_sub(state.outgoing_bytes);
        if room == 0 {
            return pending(&mut state.writers, cx);
        }
        state.queue(std::mem::take(data), end);
        self.kick(&mut state);
        Poll::Ready(Ok(()))
    }

    /// Ready once all that was written is with the connection.
    pub(crate) fn poll_flush(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if state.lost {
            return Poll::Ready(Err(state.write_error().into()));
        }
        if state.outgoing.is_empty() { Poll::Ready(Ok(())) } else { pending(&mut state.writers, cx) }
    }

    /// Whether all that was written could be sent.
    pub(crate) fn check_sent(&self) -> Result<(), StreamError> {
        let state = self.lock();
        if state.lost { Err(state.write_error()) } else { Ok(()) }
    }

    /// No more writes; the other side reads the end of the stream after what was written.
    pub(crate) fn finish(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.fin == Fin::Open {
            state.fin = Fin::Wanted;
            self.kick(&mut state);
        }
    }

    /// No more reads: what arrives is thrown away, and the other side is told.
    pub(crate) fn stop_reading(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.incoming_end == End::Open {
            state.incoming_end = End::Stopped;
            state.announce.push(Part::Stop);
            self.kick(&mut state);
        }
        state.incoming.clear();
        self.take_partial(&mut state);
    }

    /// The application has dropped it: what it has written is still sent.
    pub(crate) fn let_go(self: &Arc<Self>) {
        self.lock().dropped = true;
        self.finish();
        self.stop_reading();
    }

    /// Ends both directions at once: the other side is told why, what it has not read is lost.
    pub(crate) fn reset(self: &Arc<Self>, reset: Reset) {
        let mut state = self.lock();
        if state.is_over() {
            return;
        }
        state.break_off(StreamError::Closed);
        state.incoming.clear();
        state.announce.push(Part::Reset(reset));
        self.kick(&mut state);
    }

    // For the connection.

    /// A frame of the stream. False: the other side broke the rules.
    pub(crate) fn receive(self: &Arc<Self>, part: Part) -> bool {
        let mut state = self.lock();
        state.answered = true;
        match part {
            Part::Open(_) | Part::Carry { .. } => return false,
            Part::Data { data, end } => {
                let cost = cost(data.len());
                // After a stop or a reset of ours there may be data on its way, within its credit.
                if cost > state.allowed || state.incoming_end == End::Finished {
                    return false;
                }
                state.allowed -= cost;
                state.received = state.received.saturating_add(cost);
                if state.incoming_end == End::Open {
                    state.incoming.push_back(Piece { data, end, cost });
                }
            }
            Part::Credit(bytes) => {
                state.credit = state.credit.saturating_add(bytes as usize);
                if state.credit > MAX_WINDOW {
                    return false;
                }
                state.told_blocked = false;
                if !state.outgoing.is_empty() {
                    self.kick(&mut state);
                }
            }
            Part::Blocked => {
                state.starved = true;
                self.maybe_grow(&mut state);
            }
            Part::Fin => {
                if state.incoming_end == End::Open {
                    state.incoming_end = End::Finished;
                }
            }
            Part::Stop => {
                if matches!(state.fin, Fin::Open | Fin::Wanted) {
                    state.over.get_or_insert(StreamError::Stopped);
                    state.fin = Fin::Gone;
                    state.drop_outgoing();
                }
            }
            Part::Reset(reset) => state.break_off(match reset {
                Reset::Refused => StreamError::Refused,
                Reset::Busy => StreamError::Busy,
                Reset::Reason(reason) => StreamError::Reset(reason),
            }),
        }
        wake(&mut state.readers);
        wake(&mut state.writers);
        true
    }

    /// What is to be sent now, up to about `limit` bytes. True: there is more.
    pub(crate) fn take(self: &Arc<Self>, limit: usize, frames: &mut Vec<Frame>) -> usize {
        let mut state = self.lock();
        state.queued = false;
        let before = frames.len();
        let mut put = |part| frames.push(Frame::Stream(self.number, part));
        state.announce.drain(..).for_each(&mut put);
        if state.incoming_end == End::Open && (state.consumed >= state.credit_step() || state.hurry) {
            let bytes = std::mem::take(&mut state.consumed);
            (state.allowed, state.hurry) = (state.allowed + bytes, false);
            if bytes > 0 {
                put(Part::Credit(bytes as u32));
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
            put(Part::Data { data: head, end: end && done });
        }
        if state.outgoing.is_empty() && state.fin == Fin::Wanted {
            state.fin = Fin::Sent;
            put(Part::Fin);
        }
        if state.outgoing.is_empty()
            && let Some(chunk) = state.chunk.take()
        {
            self.ready.memory.chunks.put(chunk);
        }
        if blocked && !std::mem::replace(&mut state.told_blocked, true) {
            put(Part::Blocked);
        }
        if !state.outgoing.is_empty() && !blocked {
            self.kick(&mut state);
        }
        if frames.len() > before {
            wake(&mut state.writers);
        }
        taken
    }

    /// The application has dropped it, and for so long the other side has taken nothing of what is unsent.
    pub(crate) fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        let mut state = self.lock();
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
    pub(crate) fn cut(&self) {
        let mut state = self.lock();
        if !state.is_over() {
            state.break_off(StreamError::Cut);
        }
        wake(&mut state.readers);
        wake(&mut state.writers);
    }

    /// Nothing more is to come or to be sent.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        state.is_over() && state.announce.is_empty()
    }
}

impl State {
    /// A copy of what the application writes.
    fn copy(&mut self, data: &[u8], memory: &Memory) -> Bytes {
        if data.len() < COPY_TO_CHUNK {
            return memory.copy(data);
        }
        if self.chunk.as_ref().is_none_or(|chunk| chunk.capacity() - chunk.len() < data.len())
            && let Some(full) = self.chunk.replace(memory.chunks.take())
        {
            memory.chunks.put(full);
        }
        let chunk = self.chunk.get_or_insert_default();
        chunk.extend_from_slice(data);
        chunk.split().freeze()
    }

    fn queue(&mut self, data: Bytes, end: bool) {
        self.outgoing_bytes += data.len().max(1);
        self.outgoing.push_back((data, end));
    }

    /// Consumed bytes are returned as credit once they are this many, so that small reads cost no frame each.
    const fn credit_step(&self) -> usize {
        self.window / 4
    }

    fn is_over(&self) -> bool {
        self.incoming_end != End::Open && matches!(self.fin, Fin::Sent | Fin::Gone)
    }

    fn break_off(&mut self, error: StreamError) {
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
        self.over.clone().unwrap_or(StreamError::Cut)
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
mod tests {
    use super::*;
    use crate::budget::Pool;

    fn new(window: usize, pool: &Arc<Pool>) -> Arc<Stream> {
        Stream::new(1, window, Arc::new(Ready::new(Arc::default())), Budget::new(pool, pool, window))
    }

    fn pair() -> (Arc<Stream>, Arc<Stream>) {
        let pool = Pool::new(usize::MAX);
        (new(FIRST_WINDOW, &pool), new(FIRST_WINDOW, &pool))
    }

    fn take(stream: &Arc<Stream>) -> Vec<Part> {
        let mut frames = Vec::new();
        stream.take(64 * 1024, &mut frames);
        let part = |frame| match frame {
            Frame::Stream(1, part) => part,
            other => panic!("{other:?}"),
        };
        frames.into_iter().map(part).collect()
    }

    /// Carries what both sides have to send, until neither has anything. Returns how many bytes `a` sent.
    fn carry(a: &Arc<Stream>, b: &Arc<Stream>) -> usize {
        let mut bytes = 0;
        loop {
            let (there, back) = (take(a), take(b));
            if there.is_empty() && back.is_empty() {
                return bytes;
            }
            let data = |part: &Part| if let Part::Data { data, .. } = part { data.len() } else { 0 };
            bytes += there.iter().map(data).sum::<usize>();
            assert!(there.into_iter().all(|part| b.receive(part)));
            assert!(back.into_iter().all(|part| a.receive(part)));
        }
    }

    fn recv(stream: &Arc<Stream>) -> Poll<Result<Option<Bytes>, StreamError>> {
        stream.poll_recv(&Context::from_waker(Waker::noop()), usize::MAX)
    }

    fn send(stream: &Arc<Stream>, data: &mut Bytes) -> Poll<Result<(), StreamError>> {
        stream.poll_send(&Context::from_waker(Waker::noop()), data, true)
    }

    fn sent(stream: &Arc<Stream>, data: impl Into<Bytes>) {
        assert_eq!(send(stream, &mut data.into()), Poll::Ready(Ok(())));
    }

    #[test]
    fn one_write_is_one_chunk_of_any_size() {
        let (a, b) = pair();
        for size in [0, 1, MAX_STREAM_DATA, 3 * NEIGHBOUR_WINDOW + 5] {
            let mut chunk = Poll::Pending;
            sent(&a, vec![7; size]);
            while chunk.is_pending() {
                carry(&a, &b);
                chunk = recv(&b);
            }
            assert_eq!(chunk, Poll::Ready(Ok(Some(Bytes::from(vec![7; size])))));
        }
    }

    #[test]
    fn an_unread_stream_holds_at_most_one_window() {
        let (a, b) = pair();
        sent(&a, vec![1; 10 * NEIGHBOUR_WINDOW]);
        assert_eq!(carry(&a, &b), FIRST_WINDOW);
        assert!(send(&a, &mut Bytes::from("next")).is_pending(), "the next write waits");
    }

    /// The window doubles while the reader keeps up, to its limit; and not if the reader is what is slow.
    #[test]
    fn the_window_grows_for_a_reader_that_keeps_up() {
        let (a, b) = pair();
        sent(&a, vec![1; 32 * MAX_WINDOW]);
        let mut rounds = Vec::new();
        while rounds.last() != Some(&MAX_WINDOW) {
            let mut at_once = 0;
            loop {
                // All that the window allows, before anything is read.
                let parts = take(&a);
                if parts.is_empty() {
                    break;
                }
                for part in parts {
                    at_once += if let Part::Data { data, .. } = &part { data.len() } else { 0 };
                    assert!(b.receive(part));
                }
            }
            rounds.push(at_once);
            assert!(rounds.len() < 20, "{rounds:?}");
            assert_eq!(recv(&b), Poll::Pending, "it is read, but the chunk has not ended");
            take(&b).into_iter().for_each(|part| assert!(a.receive(part)));
        }
        assert_eq!(&rounds[..3], [FIRST_WINDOW, 2 * FIRST_WINDOW, 4 * FIRST_WINDOW]);
    }

    #[test]
    fn the_window_does_not_grow_beyond_the_budget() {
        // It is the connection's pool and the node's, too.
        let pool = Pool::new(8 * FIRST_WINDOW);
        let (a, b) = (pair().0, new(FIRST_WINDOW, &pool));
        sent(&a, vec![1; 32 * FIRST_WINDOW]);
        let mut space = vec![0; 8 * FIRST_WINDOW];
        for _ in 0..8 {
            carry(&a, &b);
            let read = b.poll_read(&Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut space));
            assert!(matches!(read, Poll::Ready(Ok(()))));
        }
        assert_eq!(b.lock().window, 2 * FIRST_WINDOW);
        b.ready.close();
        drop(b);
        assert_eq!(pool.used(), 0);
    }

    /// A chunk is kept whole for who reads chunks, but not beyond the budget.
    #[test]
    fn a_chunk_that_is_too_much_for_the_budget_ends_the_stream_and_says_so() {
        let pool = Pool::new(8 * FIRST_WINDOW);
        let (a, b) = (pair().0, new(FIRST_WINDOW, &pool));
        sent(&a, vec![1; 32 * FIRST_WINDOW]);
        let mut end = Poll::Pending;
        while end.is_pending() {
            carry(&a, &b);
            end = recv(&b);
        }
        assert_eq!(end, Poll::Ready(Err(StreamError::Busy)));
        carry(&a, &b);
        assert_eq!(recv(&a), Poll::Ready(Err(StreamError::Busy)));
        let flushed = a.poll_flush(&Context::from_waker(Waker::noop()));
        assert!(matches!(flushed, Poll::Ready(Err(_))), "what was not sent is not lost silently");
        b.ready.close();
        drop(b);
        assert_eq!(pool.used(), 0);
    }

    /// With no budget left the window itself is room enough for a chunk that comes in pieces.
    #[test]
    fn small_chunks_need_no_budget() {
        let pool = Pool::new(2 * FIRST_WINDOW);
        let (a, b) = (pair().0, new(FIRST_WINDOW, &pool));
        for number in 0..100_usize {
            let size = MAX_STREAM_DATA + number * 80;
            sent(&a, vec![number as u8; size]);
            let mut chunk = Poll::Pending;
            while chunk.is_pending() {
                assert!(carry(&a, &b) > 0, "it goes on");
                chunk = recv(&b);
            }
            assert_eq!(chunk, Poll::Ready(Ok(Some(vec![number as u8; size].into()))));
        }
        assert_eq!(pool.used(), 2 * FIRST_WINDOW);
    }

    /// The head of a chunk holds most of the window, and what was read before it is not enough to be returned unasked.
    #[test]
    fn a_writer_that_is_blocked_is_given_what_little_there_is() {
        let pool = Pool::new(2 * FIRST_WINDOW);
        let b = new(FIRST_WINDOW, &pool);
        let data = |size: usize, end| Part::Data { data: vec![1; size].into(), end };
        let (read, head) = (FIRST_WINDOW / 4 - 1, FIRST_WINDOW * 3 / 4);
        assert!(b.receive(data(read, true)));
        assert!(recv(&b).is_ready());
        assert_eq!(take(&b), []);
        assert!(b.receive(data(head / 2, false)) && b.receive(data(head / 2, false)));
        assert_eq!(recv(&b), Poll::Pending);
        assert!(b.receive(Part::Blocked));
        assert_eq!(take(&b), [Part::Credit(read as u32)]);
    }

    /// Whoever changes from chunks to bytes in the middle of a chunk misses nothing.
    #[test]
    fn a_recv_that_was_given_up_leaves_its_bytes_to_the_next_read() {
        let (a, b) = pair();
        sent(&a, [vec![1; MAX_STREAM_DATA], vec![2; FIRST_WINDOW]].concat());
        carry(&a, &b);
        assert_eq!(recv(&b), Poll::Pending);
        carry(&a, &b);
        let mut space = vec![0; MAX_STREAM_DATA + FIRST_WINDOW];
        let mut buf = ReadBuf::new(&mut space);
        assert!(b.poll_read(&Context::from_waker(Waker::noop()), &mut buf).is_ready());
        assert_eq!(buf.filled(), [vec![1; MAX_STREAM_DATA], vec![2; FIRST_WINDOW]].concat());
    }

    /// Millions of empty writes would take far more memory than their bytes.
    #[test]
    fn small_writes_use_up_the_window_as_well() {
        let (a, b) = pair();
        (0..10_000).for_each(|_| sent(&a, ""));
        carry(&a, &b);
        assert_eq!(b.lock().incoming.len(), FIRST_WINDOW / LEAST_COST);
        let mut read = 0;
        while read < 10_000 {
            while recv(&b).is_ready() {
                read += 1;
            }
            carry(&a, &b);
        }
    }

    /// Who has sent nothing is not given more.
    #[test]
    fn a_window_is_not_enlarged_for_the_asking() {
        let (_, b) = pair();
        (0..10).for_each(|_| assert!(b.receive(Part::Blocked)));
        assert_eq!(b.lock().window, FIRST_WINDOW);
    }

    #[test]
    fn more_than_the_credit_is_a_violation() {
        let (_, b) = pair();
        let chunk = || Part::Data { data: vec![0; MAX_STREAM_DATA].into(), end: true };
        for _ in 0..FIRST_WINDOW / MAX_STREAM_DATA {
            assert!(b.receive(chunk()));
        }
        assert!(!b.receive(chunk()));
        assert!(!b.receive(Part::Credit(u32::MAX)));
        assert!(!b.receive(Part::Open("twice".into())));
    }

    #[test]
    fn the_end_comes_after_the_data_and_a_cut_is_no_end() {
        let (a, b) = pair();
        sent(&a, "last");
        a.finish();
        carry(&a, &b);
        assert_eq!(recv(&b), Poll::Ready(Ok(Some("last".into()))));
        assert_eq!(recv(&b), Poll::Ready(Ok(None)));
        assert_eq!(send(&a, &mut Bytes::from("late")), Poll::Ready(Err(StreamError::Closed)));
        assert!(!a.is_over() && !b.is_over(), "the other half goes on");
        a.cut();
        let mut space = [0; 4];
        let mut buf = ReadBuf::new(&mut space);
        let end = a.poll_read(&Context::from_waker(Waker::noop()), &mut buf);
        assert!(matches!(end, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset));
    }

    #[test]
    fn a_reset_tells_why_and_a_stop_fails_writes_only() {
        let (a, b) = pair();
        sent(&a, "before");
        carry(&a, &b);
        sent(&a, "never sent");
        a.reset(Reset::Reason("enough".into()));
        carry(&a, &b);
        assert_eq!(recv(&b), Poll::Ready(Ok(Some("before".into()))), "what had arrived is given");
        assert_eq!(recv(&b), Poll::Ready(Err(StreamError::Reset("enough".into()))));
        assert_eq!(send(&b, &mut "x".into()), Poll::Ready(Err(StreamError::Reset("enough".into()))));
        assert!(a.is_over() && b.is_over());

        let (a, b) = pair();
        sent(&a, vec![0; 10 * FIRST_WINDOW]);
        carry(&a, &b);
        b.stop_reading();
        carry(&a, &b);
        assert_eq!(send(&a, &mut "x".into()), Poll::Ready(Err(StreamError::Stopped)));
        sent(&b, "the other way");
        carry(&a, &b);
        assert_eq!(recv(&a), Poll::Ready(Ok(Some("the other way".into()))));
    }
}
