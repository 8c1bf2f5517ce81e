//! Two ends of a stream that hand each other their frames, without a connection.

use super::window::{FIRST_WINDOW, LEAST_COST, MAX_WINDOW, NEIGHBOUR_WINDOW};
use super::*;
use crate::stream::budget::Pool;
use crate::wire::frame::{Frame, MAX_STREAM_DATA};

fn new(window: usize, pool: &Arc<Pool>) -> Arc<Stream> {
    Stream::new(1, window, Arc::new(SendQueue::new(Arc::default())), Budget::new(pool, pool, window))
}

fn pair() -> (Arc<Stream>, Arc<Stream>) {
    let pool = Pool::new(usize::MAX);
    (new(FIRST_WINDOW, &pool), new(FIRST_WINDOW, &pool))
}

fn take(stream: &Arc<Stream>) -> Vec<StreamFrame> {
    let mut frames = Vec::new();
    stream.take(64 * 1024, &mut frames);
    let part = |frame| match frame {
        Frame::Stream(1, part) => part,
        other => panic!("{other:?}"),
    };
    frames.into_iter().map(part).collect()
}

/// Delivers what both sides have to send, until neither has anything. Returns the bytes that `a`
/// sent.
fn deliver(a: &Arc<Stream>, b: &Arc<Stream>) -> usize {
    let mut bytes = 0;
    loop {
        let (there, back) = (take(a), take(b));
        if there.is_empty() && back.is_empty() {
            return bytes;
        }
        let data =
            |part: &StreamFrame| if let StreamFrame::Data { data, .. } = part { data.len() } else { 0 };
        bytes += there.iter().map(data).sum::<usize>();
        assert!(there.into_iter().all(|part| b.receive(part)));
        assert!(back.into_iter().all(|part| a.receive(part)));
    }
}

fn recv(stream: &Arc<Stream>) -> Poll<Result<Option<Bytes>, StreamErrorKind>> {
    stream.poll_recv(&Context::from_waker(Waker::noop()), usize::MAX)
}

fn send(stream: &Arc<Stream>, data: &mut Bytes) -> Poll<Result<(), StreamErrorKind>> {
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
            deliver(&a, &b);
            chunk = recv(&b);
        }
        assert_eq!(chunk, Poll::Ready(Ok(Some(Bytes::from(vec![7; size])))));
    }
}

#[test]
fn an_unread_stream_holds_at_most_one_window() {
    let (a, b) = pair();
    sent(&a, vec![1; 10 * NEIGHBOUR_WINDOW]);
    assert_eq!(deliver(&a, &b), FIRST_WINDOW);
    assert!(send(&a, &mut Bytes::from("next")).is_pending(), "the next write waits");
}

/// The window doubles up to its limit while the reader keeps up, and stays if the reader is slow.
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
                at_once += if let StreamFrame::Data { data, .. } = &part { data.len() } else { 0 };
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
        deliver(&a, &b);
        let read = b.poll_read(&Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut space));
        assert!(matches!(read, Poll::Ready(Ok(()))));
    }
    assert_eq!(b.state.lock().recv.window_size(), 2 * FIRST_WINDOW);
    b.send_queue.close();
    drop(b);
    assert_eq!(pool.used(), 0);
}

/// A chunk is put together for a reader of chunks, but not beyond the budget.
#[test]
fn a_chunk_beyond_the_budget_resets_the_stream_as_busy() {
    let pool = Pool::new(8 * FIRST_WINDOW);
    let (a, b) = (pair().0, new(FIRST_WINDOW, &pool));
    sent(&a, vec![1; 32 * FIRST_WINDOW]);
    let mut end = Poll::Pending;
    while end.is_pending() {
        deliver(&a, &b);
        end = recv(&b);
    }
    assert_eq!(end, Poll::Ready(Err(StreamErrorKind::Busy)));
    deliver(&a, &b);
    assert_eq!(recv(&a), Poll::Ready(Err(StreamErrorKind::Busy)));
    let flushed = a.poll_flush(&Context::from_waker(Waker::noop()));
    assert!(matches!(flushed, Poll::Ready(Err(_))), "what was not sent is not lost silently");
    b.send_queue.close();
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
            assert!(deliver(&a, &b) > 0, "it goes on");
            chunk = recv(&b);
        }
        assert_eq!(chunk, Poll::Ready(Ok(Some(vec![number as u8; size].into()))));
    }
    assert_eq!(pool.used(), 2 * FIRST_WINDOW);
}

/// The beginning of a chunk holds most of the window, and what was read before it is not enough to
/// be returned unasked.
#[test]
fn a_blocked_writer_gets_even_a_little_credit() {
    let pool = Pool::new(2 * FIRST_WINDOW);
    let b = new(FIRST_WINDOW, &pool);
    let data = |size: usize, end| StreamFrame::Data { data: vec![1; size].into(), end };
    let (read, head) = (FIRST_WINDOW / 4 - 1, FIRST_WINDOW * 3 / 4);
    assert!(b.receive(data(read, true)));
    assert!(recv(&b).is_ready());
    assert_eq!(take(&b), []);
    assert!(b.receive(data(head / 2, false)) && b.receive(data(head / 2, false)));
    assert_eq!(recv(&b), Poll::Pending);
    assert!(b.receive(StreamFrame::Blocked));
    assert_eq!(take(&b), [StreamFrame::Credit(read as u32)]);
}

/// An application that changes from chunks to bytes in the middle of a chunk misses nothing.
#[test]
fn a_cancelled_recv_leaves_its_bytes_to_the_next_read() {
    let (a, b) = pair();
    sent(&a, [vec![1; MAX_STREAM_DATA], vec![2; FIRST_WINDOW]].concat());
    deliver(&a, &b);
    assert_eq!(recv(&b), Poll::Pending);
    deliver(&a, &b);
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
    deliver(&a, &b);
    assert_eq!(b.state.lock().recv.fragments(), FIRST_WINDOW / LEAST_COST);
    let mut read = 0;
    while read < 10_000 {
        while recv(&b).is_ready() {
            read += 1;
        }
        deliver(&a, &b);
    }
}

/// A sender that has sent nothing does not get a larger window.
#[test]
fn a_window_does_not_grow_because_a_sender_asks_for_it() {
    let (_, b) = pair();
    (0..10).for_each(|_| assert!(b.receive(StreamFrame::Blocked)));
    assert_eq!(b.state.lock().recv.window_size(), FIRST_WINDOW);
}

#[test]
fn more_than_the_credit_is_a_violation() {
    let (_, b) = pair();
    let chunk = || StreamFrame::Data { data: vec![0; MAX_STREAM_DATA].into(), end: true };
    for _ in 0..FIRST_WINDOW / MAX_STREAM_DATA {
        assert!(b.receive(chunk()));
    }
    assert!(!b.receive(chunk()));
    assert!(!b.receive(StreamFrame::Credit(u32::MAX)));
    assert!(!b.receive(StreamFrame::Open("twice".into())));
}

#[test]
fn the_end_comes_after_the_data_and_a_lost_connection_is_not_an_end() {
    let (a, b) = pair();
    sent(&a, "last");
    a.finish();
    deliver(&a, &b);
    assert_eq!(recv(&b), Poll::Ready(Ok(Some("last".into()))));
    assert_eq!(recv(&b), Poll::Ready(Ok(None)));
    assert_eq!(send(&a, &mut Bytes::from("late")), Poll::Ready(Err(StreamErrorKind::Closed)));
    assert!(!a.is_over() && !b.is_over(), "the other half goes on");
    assert!(!b.receive(StreamFrame::Fin), "a second end is a violation");
    a.connection_lost();
    let mut space = [0; 4];
    let mut buf = ReadBuf::new(&mut space);
    let end = a.poll_read(&Context::from_waker(Waker::noop()), &mut buf);
    assert!(matches!(end, Poll::Ready(Err(error)) if error == StreamErrorKind::ConnectionLost));
}

#[test]
fn a_reset_carries_its_reason_and_a_stop_fails_writes_only() {
    let (a, b) = pair();
    sent(&a, "before");
    deliver(&a, &b);
    sent(&a, "never sent");
    a.reset(Reset::Reason("enough".into()));
    deliver(&a, &b);
    assert_eq!(recv(&b), Poll::Ready(Ok(Some("before".into()))), "what had arrived is given");
    assert_eq!(recv(&b), Poll::Ready(Err(StreamErrorKind::Reset("enough".into()))));
    assert_eq!(send(&b, &mut "x".into()), Poll::Ready(Err(StreamErrorKind::Reset("enough".into()))));
    assert!(a.is_over() && b.is_over());

    let (a, b) = pair();
    sent(&a, vec![0; 10 * FIRST_WINDOW]);
    deliver(&a, &b);
    b.stop_reading();
    deliver(&a, &b);
    assert_eq!(send(&a, &mut "x".into()), Poll::Ready(Err(StreamErrorKind::Stopped)));
    sent(&b, "the other way");
    deliver(&a, &b);
    assert_eq!(recv(&a), Poll::Ready(Ok(Some("the other way".into()))));
}

/// A relay or a TLS connection on top of the stream relies on it.
#[test]
fn a_stream_whose_end_was_not_sent_is_not_finished() {
    let cx = &Context::from_waker(Waker::noop());
    let (a, b) = pair();
    sent(&a, "all of it is sent");
    deliver(&a, &b);
    a.finish();
    assert!(a.poll_finished(cx).is_pending());
    a.connection_lost();
    assert!(a.poll_finished(cx).is_ready());
    assert_eq!(a.check_finished(), Err(StreamErrorKind::ConnectionLost));
    assert_eq!(a.poll_flush(cx), Poll::Ready(Ok(())), "but all that was written was sent");

    let (a, b) = pair();
    sent(&a, "sent");
    deliver(&a, &b);
    sent(&a, "never sent");
    a.finish();
    a.connection_lost();
    for lost in [a.poll_flush(cx), Poll::Ready(a.check_finished())] {
        assert_eq!(lost, Poll::Ready(Err(StreamErrorKind::ConnectionLost)));
    }

    // A reader that has stopped misses nothing.
    let (a, b) = pair();
    a.finish();
    b.stop_reading();
    take(&b).into_iter().for_each(|frame| assert!(a.receive(frame)));
    assert!(a.poll_finished(cx).is_ready());
    assert_eq!(a.check_finished(), Ok(()));
}

/// Nothing tells these fragments from a chunk that was not begun, so they must not be charged to
/// it.
#[test]
fn empty_fragments_without_an_end_take_no_memory_for_good() {
    let pool = Pool::new(8 * FIRST_WINDOW);
    let b = new(FIRST_WINDOW, &pool);
    for _ in 0..10_000 {
        assert!(b.receive(StreamFrame::Data { data: Bytes::new(), end: false }));
        assert_eq!(recv(&b), Poll::Pending);
        take(&b);
    }
    assert_eq!(pool.used(), 2 * FIRST_WINDOW, "the first window, of the connection and of the node");
    assert!(b.receive(StreamFrame::Data { data: "a chunk".into(), end: true }));
    assert_eq!(recv(&b), Poll::Ready(Ok(Some("a chunk".into()))));
}

#[test]
fn a_stream_that_was_taken_stays_accepted_when_it_is_reset_later() {
    let cx = &Context::from_waker(Waker::noop());
    let (taken, refused) = pair();
    assert!(taken.receive(StreamFrame::Credit(0)) && taken.receive(StreamFrame::Reset(Reset::Busy)));
    assert_eq!(taken.poll_accepted(cx), Poll::Ready(Ok(())));
    assert!(refused.receive(StreamFrame::Reset(Reset::Busy)));
    assert_eq!(refused.poll_accepted(cx), Poll::Ready(Err(StreamErrorKind::Busy)));
}
