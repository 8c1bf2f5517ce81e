//! A duplex stream over a link, with credit: what is not read stays with the writer, and delays nothing else on the link.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;
use tokio::sync::Notify;

use crate::SendError;
use crate::frame::{Frame, MAX_STREAM_DATA};

/// Bytes in flight or unread in one direction at most: fills a link of 100 MB/s at 2.5 ms, and bounds memory.
pub(crate) const WINDOW: usize = 256 * 1024;
/// Bytes written and not yet sent at most; then writes wait.
const SEND_BUFFER: usize = 256 * 1024;
/// Consumed bytes are returned as credit once they are this many, so that small reads cost no frame each.
const CREDIT_STEP: usize = WINDOW / 4;

/// One stream, shared by its handles, the link's reader and the link's writer.
#[derive(Debug)]
pub(crate) struct Stream {
    state: Mutex<State>,
    /// Wakes the link's writer.
    wake: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    incoming: VecDeque<(Bytes, bool)>,
    /// Bytes the other side may still send.
    allowed: usize,
    /// Bytes read by the application and not yet returned as credit.
    consumed: usize,
    /// The head of a write that [`Stream::poll_recv`] is putting together.
    partial: BytesMut,
    incoming_end: End,
    outgoing: VecDeque<(Bytes, bool)>,
    outgoing_bytes: usize,
    credit: usize,
    fin: Fin,
    readers: Vec<Waker>,
    writers: Vec<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// The other side has said that no more will come.
    Finished,
    /// The link ended without that.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    Open,
    /// No more writes; said once all is sent.
    Wanted,
    Sent,
    /// The link is gone.
    Gone,
}

impl Stream {
    pub(crate) fn new(wake: Arc<Notify>) -> Self {
        let state = State {
            incoming: VecDeque::new(),
            allowed: WINDOW,
            consumed: 0,
            partial: BytesMut::new(),
            incoming_end: End::Open,
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            credit: WINDOW,
            fin: Fin::Open,
            readers: Vec::new(),
            writers: Vec::new(),
        };
        Self { state: Mutex::new(state), wake }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // For the application.

    pub(crate) fn poll_read(&self, cx: &Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let before = buf.filled().len();
        let mut consumed = 0;
        while buf.remaining() > 0
            && let Some((data, end)) = state.incoming.pop_front()
        {
            let part = data.len().min(buf.remaining());
            buf.put_slice(&data[..part]);
            consumed += cost(part);
            if part < data.len() {
                state.incoming.push_front((data.slice(part..), end));
            }
        }
        self.consume(&mut state, consumed);
        if buf.filled().len() > before || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match state.incoming_end {
            End::Finished => Poll::Ready(Ok(())),
            End::Cut => Poll::Ready(Err(cut())),
            End::Open => pending(&mut state.readers, cx),
        }
    }

    /// One write of the other side, whole.
    pub(crate) fn poll_recv(&self, cx: &Context<'_>, limit: usize) -> Poll<Option<Bytes>> {
        let mut state = self.lock();
        let mut consumed = 0;
        while let Some((data, end)) = state.incoming.pop_front() {
            consumed += cost(data.len());
            if end && state.partial.is_empty() {
                self.consume(&mut state, consumed);
                return Poll::Ready(Some(data));
            }
            state.partial.extend_from_slice(&data);
            if end || state.partial.len() >= limit {
                let whole = state.partial.split().freeze();
                self.consume(&mut state, consumed);
                return Poll::Ready(Some(whole));
            }
        }
        self.consume(&mut state, consumed);
        if state.incoming_end == End::Finished && !state.partial.is_empty() {
            return Poll::Ready(Some(state.partial.split().freeze()));
        }
        if state.incoming_end != End::Open {
            if !state.partial.is_empty() {
                let lost = state.partial.split().len();
                tracing::warn!(lost, "the link ended in the middle of a chunk; its beginning is dropped");
            }
            return Poll::Ready(None);
        }
        pending(&mut state.readers, cx)
    }

    /// Ready once the end of the stream, and so all before it, is with the link; or the link is gone.
    pub(crate) fn poll_finished(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        match state.fin {
            Fin::Sent | Fin::Gone => Poll::Ready(()),
            Fin::Open | Fin::Wanted => pending(&mut state.writers, cx),
        }
    }

    fn consume(&self, state: &mut State, bytes: usize) {
        state.consumed += bytes;
        if state.consumed >= CREDIT_STEP {
            self.wake.notify_one();
        }
    }

    pub(crate) fn poll_write(&self, cx: &Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.fin != Fin::Open {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, SendError::Closed)));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = SEND_BUFFER.saturating_sub(state.outgoing_bytes);
        if room == 0 {
            return pending(&mut state.writers, cx);
        }
        let part = buf.len().min(room);
        state.queue(Bytes::copy_from_slice(&buf[..part]), true);
        self.wake.notify_one();
        Poll::Ready(Ok(part))
    }

    /// Queues `data` in one piece once there is any room, so that writes neither mix nor stay half done.
    pub(crate) fn poll_send(&self, cx: &Context<'_>, data: &mut Bytes) -> Poll<Result<(), SendError>> {
        let mut state = self.lock();
        if state.fin != Fin::Open {
            return Poll::Ready(Err(SendError::Closed));
        }
        let room = SEND_BUFFER.saturating_sub(state.outgoing_bytes);
        if room == 0 {
            return pending(&mut state.writers, cx);
        }
        state.queue(std::mem::take(data), true);
        self.wake.notify_one();
        Poll::Ready(Ok(()))
    }

    /// Ready once all that was written is with the link.
    pub(crate) fn poll_flush(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        match (state.outgoing.is_empty(), state.fin) {
            (true, _) => Poll::Ready(Ok(())),
            (false, Fin::Gone) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            _ => pending(&mut state.writers, cx),
        }
    }

    /// No more writes; the other side reads the end of the stream after what was written.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        if state.fin == Fin::Open {
            state.fin = Fin::Wanted;
            self.wake.notify_one();
        }
    }

    // For the link.

    /// A frame of the stream. False: the other side broke the rules.
    pub(crate) fn receive(&self, frame: Frame) -> bool {
        let mut state = self.lock();
        match frame {
            Frame::Data { data, end } => {
                let cost = cost(data.len());
                if cost > state.allowed || state.incoming_end != End::Open {
                    return false;
                }
                state.allowed -= cost;
                state.incoming.push_back((data, end));
                wake(&mut state.readers);
            }
            Frame::Credit(bytes) => {
                state.credit = state.credit.saturating_add(bytes as usize);
                if state.credit > WINDOW {
                    return false;
                }
                self.wake.notify_one();
            }
            Frame::Fin => {
                state.incoming_end = End::Finished;
                wake(&mut state.readers);
            }
            Frame::Message(_) => return false,
        }
        true
    }

    /// What is to be sent now, up to about `limit` bytes.
    pub(crate) fn take(&self, limit: usize) -> Vec<Frame> {
        let mut state = self.lock();
        let mut frames = Vec::new();
        if state.consumed >= CREDIT_STEP {
            let bytes = std::mem::take(&mut state.consumed);
            state.allowed += bytes;
            frames.push(Frame::Credit(bytes as u32));
        }
        let mut taken = 0;
        while taken < limit
            && let Some((mut data, end)) = state.outgoing.pop_front()
        {
            let part = data.len().min(MAX_STREAM_DATA).min(state.credit);
            if state.credit == 0 {
                state.outgoing.push_front((data, end));
                break;
            }
            let head = data.split_to(part);
            let done = data.is_empty();
            if !done {
                state.outgoing.push_front((data, end));
            }
            state.credit -= cost(part);
            state.outgoing_bytes -= cost(part);
            taken += cost(part);
            frames.push(Frame::Data { data: head, end: end && done });
        }
        if state.outgoing.is_empty() && state.fin == Fin::Wanted {
            state.fin = Fin::Sent;
            frames.push(Frame::Fin);
        }
        if !frames.is_empty() {
            wake(&mut state.writers);
        }
        frames
    }

    /// The link is gone: writes fail, and reads end after what has arrived.
    pub(crate) fn cut(&self) {
        let mut state = self.lock();
        if state.incoming_end == End::Open {
            state.incoming_end = End::Cut;
        }
        state.fin = Fin::Gone;
        wake(&mut state.readers);
        wake(&mut state.writers);
    }
}

impl State {
    fn queue(&mut self, data: Bytes, end: bool) {
        self.outgoing_bytes += cost(data.len());
        self.outgoing.push_back((data, end));
    }
}

/// What a piece of data takes of the window. An empty write takes a byte, or there could be any number of them.
fn cost(length: usize) -> usize {
    length.max(1)
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the link to the peer ended before its stream did")
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

    fn pair() -> (Stream, Stream) {
        let new = || Stream::new(Arc::new(Notify::new()));
        (new(), new())
    }

    /// Carries what both sides have to send, until neither has anything.
    fn carry(a: &Stream, b: &Stream) {
        loop {
            let (there, back) = (a.take(64 * 1024), b.take(64 * 1024));
            if there.is_empty() && back.is_empty() {
                return;
            }
            assert!(there.into_iter().all(|frame| b.receive(frame)));
            assert!(back.into_iter().all(|frame| a.receive(frame)));
        }
    }

    fn recv(stream: &Stream) -> Poll<Option<Bytes>> {
        stream.poll_recv(&Context::from_waker(Waker::noop()), usize::MAX)
    }

    fn send(stream: &Stream, data: &mut Bytes) -> Poll<Result<(), SendError>> {
        stream.poll_send(&Context::from_waker(Waker::noop()), data)
    }

    #[test]
    fn one_write_is_one_chunk_of_any_size() {
        let (a, b) = pair();
        for size in [0, 1, MAX_STREAM_DATA, 3 * WINDOW + 5] {
            let mut chunk = Poll::Pending;
            assert!(send(&a, &mut Bytes::from(vec![7; size])).is_ready());
            while chunk.is_pending() {
                carry(&a, &b);
                chunk = recv(&b);
            }
            assert_eq!(chunk, Poll::Ready(Some(Bytes::from(vec![7; size]))));
        }
    }

    #[test]
    fn an_unread_stream_holds_at_most_one_window() {
        let (a, b) = pair();
        assert!(send(&a, &mut Bytes::from(vec![1; 10 * WINDOW])).is_ready());
        carry(&a, &b);
        let unread: usize = b.lock().incoming.iter().map(|(data, _)| data.len()).sum();
        assert_eq!(unread, WINDOW);
        assert!(send(&a, &mut Bytes::from("next")).is_pending(), "the next write waits");
    }

    #[test]
    fn more_than_the_credit_is_a_violation() {
        let (_, b) = pair();
        let chunk = || Frame::Data { data: vec![0; MAX_STREAM_DATA].into(), end: true };
        for _ in 0..WINDOW / MAX_STREAM_DATA {
            assert!(b.receive(chunk()));
        }
        assert!(!b.receive(chunk()));
        assert!(!b.receive(Frame::Credit(1)));
    }

    #[test]
    fn the_end_comes_after_the_data_and_a_cut_is_no_end() {
        let (a, b) = pair();
        assert!(send(&a, &mut Bytes::from("last")).is_ready());
        a.finish();
        carry(&a, &b);
        assert_eq!(recv(&b), Poll::Ready(Some("last".into())));
        assert_eq!(recv(&b), Poll::Ready(None));
        assert_eq!(send(&a, &mut Bytes::from("late")), Poll::Ready(Err(SendError::Closed)));
        a.cut();
        let mut space = [0; 4];
        let mut buf = ReadBuf::new(&mut space);
        let end = a.poll_read(&Context::from_waker(Waker::noop()), &mut buf);
        assert!(matches!(end, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset));
    }
}
