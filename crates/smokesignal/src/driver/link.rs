//! One connection, and the task that runs it.
//!
//! The task reads frames and hands them on: messages in batches to the driver as [`Report`]s,
//! stream frames to the connection's multiplexer. It writes what the driver has queued first and
//! then stream data, a bounded amount in one turn. It waits neither for the driver's state nor for
//! another link.
//!
//! A few small messages do not wake the task: [`LinkHandle::flush`] writes them from the driver if
//! the connection takes them immediately. The writing half lives in the shared queue for that, and
//! the task takes it out while it writes.
//!
//! The connections of a node with an upload limit write in another way: [`limited`].

mod limited;
mod usage;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use smokesignal_proto::{Features, LinkId, Message};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

use self::usage::Usage;
use crate::lock::Lock;
use crate::stream::mux::Mux;
use crate::transport::Connection;
use crate::upload::UploadLimit;
use crate::wire::buffer_pool::{BUFFER_SIZE, BufferPool};
use crate::wire::frame::{self, COPIED_BELOW, Frame, FrameError};
use crate::wire::traffic::Traffic;
use crate::wire::writer::{FrameWriter, Progress};

/// Maximum room for one read: half a pooled buffer, two full segments.
const READ_MOST: usize = BUFFER_SIZE / 2;
/// From this size on, the room for a read is in a buffer of the pool.
const POOL_FROM: usize = 16 * 1024;
/// Minimum room for one read: 4 KiB, all that an idle link needs.
const READ_LEAST: usize = 4 * 1024;
/// Maximum stream data in one write, after the overlay's messages: 64 KiB.
const STREAM_TURN: usize = 64 * 1024;
/// Cost of written messages from which on the driver is woken: the smallest window of a link, so
/// that no window stays closed. It learns of smaller amounts when it wakes for another reason.
const REPORT_SENT_FROM: usize = 4 * 1024;
/// Cost of messages below which the driver writes them itself. More is encrypted by the link's
/// task, in parallel with other links.
const DIRECT: usize = 4 * 1024;
/// Interval of reports of a link that carries stream data only: it is alive.
const HEARD_EVERY: Duration = Duration::from_millis(200);
/// Maximum time for a closed link to write what is queued, and again the time to read on after the
/// last byte, because closing earlier would discard what the other side has not read yet.
const LINGER: Duration = Duration::from_secs(2);

/// What a link reports to the driver.
#[derive(Debug)]
pub(crate) enum Report {
    /// These messages arrived; none if only stream data did. `used` bytes of read buffers were
    /// filled, or given back unused, since the last report.
    Messages { messages: Vec<Message>, used: usize },
    /// This many optional frames arrived that this program does not know.
    Skipped(u64),
    /// Enough was written that the driver should look at [`LinkHandle::take_sent`].
    Sent,
    /// The other side broke the rules.
    Violation(String),
    /// The connection is gone.
    Gone,
}

/// The driver's end of a link. Dropping it closes the connection in good order.
#[derive(Debug)]
pub(crate) struct LinkHandle {
    out: Arc<Outgoing>,
    usage: Usage,
    pub(crate) streams: Arc<Mux>,
}

#[derive(Debug)]
struct Outgoing {
    /// What both ends understand beyond the version of the protocol.
    features: Features,
    queue: Lock<Queue>,
    /// The limit that all connections of the node share. A relayed connection has none: its bytes
    /// count where they leave, on the connection that carries them.
    limit: Option<Arc<UploadLimit>>,
    /// Whether it waits for its turn under that limit.
    waits_for_turn: AtomicBool,
    /// Whether something was written since the driver looked: most links have nothing to tell, and
    /// the driver asks all of them each time it wakes.
    has_sent: AtomicBool,
    progress: Arc<Progress>,
    traffic: Arc<Traffic>,
    /// Whether segments are copied out of the read buffers. They are at first.
    copies: AtomicBool,
    /// The driver has dropped its end.
    closing: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    messages: Vec<Message>,
    closing: bool,
    /// The cost of what was written since the driver looked, and the time of the last write.
    sent: Option<(usize, Instant)>,
    /// Whether the driver is woken after every write.
    every_write: bool,
    /// The writing half, unless the link's task holds it.
    writer: Option<FrameWriter>,
}

impl Outgoing {
    /// Notes what was written. Returns whether the driver should look at it now.
    fn note_sent(&self, queue: &mut Queue, cost: usize) -> bool {
        if cost == 0 {
            return false;
        }
        let sent = queue.sent.map_or(0, |(sent, _)| sent) + cost;
        queue.sent = Some((sent, Instant::now()));
        self.has_sent.store(true, Ordering::Release);
        sent >= REPORT_SENT_FROM || queue.every_write
    }

    /// Takes the cost of what was written, and when, since the last call.
    fn take_sent(&self) -> Option<(usize, Instant)> {
        let has_sent = self.has_sent.load(Ordering::Relaxed) && self.has_sent.swap(false, Ordering::Acquire);
        has_sent.then(|| self.queue.lock().sent.take())?
    }
}

impl LinkHandle {
    /// Returns what both ends understand beyond the version of the protocol.
    pub(crate) fn features(&self) -> Features {
        self.out.features
    }

    /// Returns what passes over the link.
    pub(crate) fn traffic(&self) -> &Arc<Traffic> {
        &self.out.traffic
    }

    /// Queues a message; it leaves with the next [`flush`](Self::flush). The core bounds what it
    /// hands out, see `Config::link_window`.
    pub(crate) fn send(&self, message: Message) {
        self.out.traffic.queued(message.cost());
        self.out.queue.lock().messages.push(message);
    }

    /// Has everything written that is queued: here, or by the link's task. Returns whether enough
    /// was written since the driver [looked](Self::take_sent) that it should look again.
    pub(crate) fn flush(&self) -> bool {
        let mut queue = self.out.queue.lock();
        if queue.messages.is_empty() {
            return false;
        }
        let Queue { messages, writer, .. } = &mut *queue;
        // A relayed connection writes to a stream of another link, which never takes it
        // immediately.
        let free = writer.as_mut().filter(|writer| writer.is_done() && !self.streams.is_relayed());
        let small = |messages: &[Message]| messages.iter().map(Message::cost).sum::<usize>() < DIRECT;
        let limit = self.out.limit.as_ref();
        let direct = small(messages) && (limit.is_none() || limited::are_urgent(messages));
        let Some(writer) = free.filter(|_| direct) else {
            self.streams.send_queue.wake.notify_one();
            return false;
        };
        writer.push(messages);
        if limit.is_some_and(|limit| !limit.try_urgent(writer.left())) {
            self.streams.send_queue.wake.notify_one();
            return false;
        }
        // If the write is pending or fails, the link's task meets the same condition and handles
        // it.
        match writer.poll_write(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(cost)) => self.out.note_sent(&mut queue, cost),
            Poll::Ready(Err(_)) | Poll::Pending => {
                self.streams.send_queue.wake.notify_one();
                false
            }
        }
    }

    /// Takes the cost of what was written since the last call, and the time of the last write. The
    /// cost is 0 if the connection has taken only a part of what it was given, or waits for its
    /// turn under the node's upload limit.
    pub(crate) fn take_sent(&self) -> Option<(usize, Instant)> {
        let waits = self.out.waits_for_turn.load(Ordering::Relaxed).then(Instant::now);
        let part = self.out.progress.take().max(waits).map(|at| (0, at));
        self.out.take_sent().or(part)
    }

    /// Notes how many bytes of read buffers a report has used, and how many bytes of them are
    /// retained segments.
    pub(crate) fn note_usage(&mut self, used: usize, retained: usize) {
        self.out.copies.store(self.usage.note(used, retained), Ordering::Relaxed);
    }

    /// Has [`Report::Sent`] follow every write from now on.
    pub(crate) fn report_every_write(&self) {
        self.out.queue.lock().every_write = true;
    }
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        self.out.queue.lock().closing = true;
        self.streams.send_queue.wake.notify_one();
        self.out.closing.notify_one();
    }
}

/// Makes the link's handle and the future that runs it until the connection is gone.
///
/// Then the future itself fails all streams, without waiting for the driver, and reports
/// [`Report::Gone`]. If the driver drops the handle, queued messages and stream data are still
/// written, for at most [`LINGER`], before the connection is closed.
pub(crate) fn open(
    link: LinkId,
    connection: Connection,
    streams: Arc<Mux>,
    limit: Option<Arc<UploadLimit>>,
    reports: mpsc::Sender<(LinkId, Report)>,
) -> (LinkHandle, impl Future<Output = ()> + Send + 'static) {
    let Connection { reader, writer, features, .. } = connection;
    let (progress, traffic) = (Arc::<Progress>::default(), Arc::<Traffic>::default());
    let writer = FrameWriter::new(writer, Arc::clone(&progress), Arc::clone(&traffic));
    let queue = Queue { writer: Some(writer), ..Queue::default() };
    let limit = limit.filter(|_| !streams.is_relayed());
    let out = Arc::new(Outgoing {
        features,
        queue: Lock::new(queue),
        limit,
        waits_for_turn: AtomicBool::new(false),
        has_sent: AtomicBool::new(false),
        progress,
        traffic,
        copies: AtomicBool::new(true),
        closing: Notify::new(),
    });
    let handle = LinkHandle { out: Arc::clone(&out), usage: Usage::default(), streams: Arc::clone(&streams) };
    let guard = CloseOnDrop { streams: Arc::clone(&streams), out: Arc::clone(&out) };
    let run = async move {
        let guard = guard;
        let reading = read(link, reader, (&streams, &out), reports.clone());
        let writing = async {
            match out.limit.as_ref().map(UploadLimit::share) {
                None => write(link, &out, &streams, reports.clone()).await,
                Some(share) => limited::write(link, &out, share, &streams, reports.clone()).await,
            }
        };
        // A closed link must not live on because the other side takes nothing.
        let overdue = async {
            out.closing.notified().await;
            sleep(LINGER).await;
        };
        tokio::pin!(reading, writing);
        // A broken reader ends both; a writer that closes in good order lets the reader drain.
        tokio::select! {
            biased; // So that a simulated run can be repeated.
            () = overdue => tracing::debug!(?link, "the other side took nothing more"),
            in_order = writer_unless_reader(writing.as_mut(), reading.as_mut()) => {
                if in_order && timeout(LINGER, &mut reading).await.is_err() {
                    tracing::debug!(?link, "the other side did not close in time");
                }
            }
        }
        drop(guard);
        // The driver may have gone first.
        let told = reports.send((link, Report::Gone)).await;
        drop(told);
    };
    (handle, run)
}

/// Returns the writer's result, or false if the reader ends first. Both share the budget that tokio
/// gives a task, so they take turns in being polled first: neither starves the other, and unlike
/// with a random order a run can be repeated.
async fn writer_unless_reader(
    mut writing: Pin<&mut impl Future<Output = bool>>,
    mut reading: Pin<&mut impl Future<Output = ()>>,
) -> bool {
    let mut writer_first = false;
    poll_fn(|cx| {
        writer_first = !writer_first;
        if writer_first && let Poll::Ready(in_order) = writing.as_mut().poll(cx) {
            return Poll::Ready(in_order);
        }
        if reading.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        if writer_first { Poll::Pending } else { writing.as_mut().poll(cx) }
    })
    .await
}

/// Ends the connection and its streams together with the link's task, also if the task is aborted
/// before its first poll.
struct CloseOnDrop {
    streams: Arc<Mux>,
    out: Arc<Outgoing>,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.out.queue.lock().writer = None;
        self.streams.connection_lost();
    }
}

async fn read(
    link: LinkId,
    mut reader: Box<dyn AsyncRead + Send + Unpin>,
    (streams, out): (&Mux, &Outgoing),
    reports: mpsc::Sender<(LinkId, Report)>,
) {
    let (mut buffer, mut room, mut used) = (Buffer::default(), READ_LEAST, 0);
    let mut reported = Instant::now();
    loop {
        used += buffer.make_room(room, &streams.send_queue.buffers.large);
        match reader.read_buf(&mut buffer.bytes).await {
            // The next read is probably about as long as this one.
            Ok(read @ 1..) => {
                room = (2 * read).clamp(room / 2, 4 * room).clamp(READ_LEAST, READ_MOST);
                out.traffic.received.add(read);
                used += read;
            }
            Ok(0) => return,
            Err(error) => return tracing::debug!(?link, %error, "the connection broke"),
        }
        let copies = out.copies.load(Ordering::Relaxed);
        let Batch { messages, skipped } = match batch(&mut buffer.bytes, streams, copies) {
            Ok(batch) => batch,
            Err(error) => {
                let told = reports.send((link, Report::Violation(error.to_string()))).await;
                return drop(told);
            }
        };
        if skipped > 0 && reports.send((link, Report::Skipped(skipped))).await.is_err() {
            return;
        }
        if messages.is_empty() && reported.elapsed() < HEARD_EVERY {
            continue;
        }
        reported = Instant::now();
        let report = Report::Messages { messages, used: std::mem::take(&mut used) };
        if reports.send((link, report)).await.is_err() {
            return;
        }
    }
}

/// Bytes that were read and are not a complete frame yet, and room for more.
#[derive(Default)]
struct Buffer {
    bytes: BytesMut,
    is_pooled: bool,
}

impl Buffer {
    /// Makes room for about `room` bytes, in a buffer of the pool if that is much. A pooled buffer
    /// that is not needed goes back; returns how much of it was not filled.
    fn make_room(&mut self, room: usize, pool: &BufferPool) -> usize {
        let Self { bytes, is_pooled } = self;
        let unused = bytes.is_empty() && bytes.capacity() > 8 * room;
        if !unused && bytes.capacity() - bytes.len() >= room / 2 {
            return 0;
        }
        let large = room >= POOL_FROM;
        let mut next = if large { pool.take() } else { BytesMut::with_capacity(room + bytes.len()) };
        next.extend_from_slice(bytes);
        let full = std::mem::replace(bytes, next);
        if !std::mem::replace(is_pooled, large) {
            return 0;
        }
        let unfilled = full.capacity();
        pool.put(full);
        unfilled
    }
}

/// What has arrived with one read, stream frames apart.
#[derive(Default)]
struct Batch {
    messages: Vec<Message>,
    /// The number of optional frames that this program does not know.
    skipped: u64,
}

/// Takes all complete frames out of the buffer: returns the messages, hands on the stream frames.
/// Segments that lie in the buffer are copied out of it on demand.
fn batch(buffer: &mut BytesMut, streams: &Mux, copies: bool) -> Result<Batch, FrameError> {
    let mut batch = Batch::default();
    while let Some(frame) = frame::decode(buffer, &streams.send_queue.buffers)? {
        match frame {
            Frame::Message(mut message) => {
                if copies {
                    copy_body(&mut message);
                }
                batch.messages.push(message);
            }
            Frame::Stream(number, frame) => {
                if !streams.receive(number, frame) {
                    return Err(FrameError::BadStream);
                }
            }
            Frame::Skipped { .. } => batch.skipped += 1,
            #[cfg(smokesignal_next)]
            Frame::Next { .. } => {}
        }
    }
    Ok(batch)
}

/// Returns the size of the message's body if that lies in the buffer it was read into, or was
/// copied out of it on demand; otherwise 0.
pub(super) fn bytes_in_buffer(message: &Message) -> usize {
    match message {
        Message::Data(segment, _) if segment.body.len() >= COPIED_BELOW => segment.body.len(),
        _ => 0,
    }
}

/// Copies the body of a message that was just decoded out of the buffer it was read into.
fn copy_body(message: &mut Message) {
    if bytes_in_buffer(message) > 0
        && let Message::Data(segment, _) = message
        && let Some(segment) = Arc::get_mut(segment)
    {
        segment.body = Bytes::copy_from_slice(&segment.body);
    }
}

/// Writes until the driver closes the link, and returns true; or until the connection breaks, and
/// returns false.
async fn write(link: LinkId, out: &Outgoing, streams: &Mux, reports: mpsc::Sender<(LinkId, Report)>) -> bool {
    loop {
        let (mut writer, closing) = {
            let mut queue = out.queue.lock();
            // It is gone only if the link has ended.
            let Some(mut writer) = queue.writer.take() else { return false };
            #[cfg(smokesignal_next)]
            if !queue.messages.is_empty() {
                writer.push_frame(&Frame::Next { optional: true });
                if out.features.contains(Features::NEXT) {
                    writer.push_frame(&Frame::Next { optional: false });
                }
            }
            writer.push(&mut queue.messages);
            (writer, queue.closing)
        };
        streams.take(STREAM_TURN).iter().for_each(|frame| writer.push_frame(frame));
        if writer.is_done() {
            if closing {
                return writer.close().await.is_ok();
            }
            out.queue.lock().writer = Some(writer);
            streams.send_queue.wake.notified().await;
            continue;
        }
        let cost = match poll_fn(|cx| writer.poll_write(cx)).await {
            Ok(cost) => cost,
            Err(error) => {
                tracing::debug!(?link, %error, "cannot write to the connection");
                return false;
            }
        };
        let tell = {
            let mut queue = out.queue.lock();
            queue.writer = Some(writer);
            out.note_sent(&mut queue, cost)
        };
        if tell && reports.send((link, Report::Sent)).await.is_err() && !closing {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use smokesignal_proto::{Age, Control, MessageKind, Segment, SegmentKind};
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::identity::Identity;
    use crate::stream::handle::Path;
    use crate::stream::mux::{SharedStreams, Side};
    use crate::wire::buffer_pool::BufferPools;

    /// Makes a link over a connection that buffers `room` bytes, and the connection's other end.
    fn linked(room: usize) -> (LinkHandle, DuplexStream) {
        let (handle, far, mut reported) = reporting(room);
        tokio::spawn(async move { while reported.recv().await.is_some() {} });
        (handle, far)
    }

    /// The same, with what the link reports.
    fn reporting(room: usize) -> (LinkHandle, DuplexStream, mpsc::Receiver<(LinkId, Report)>) {
        let (near, far) = duplex(room);
        let (reader, writer) = tokio::io::split(near);
        let connection = Connection {
            features: Features::OURS,
            reader: Box::new(reader),
            writer: Box::new(writer),
            peer: Identity::from_seed([2; 32]).id(),
            remote: SocketAddr::from(([127, 0, 0, 1], 1)),
        };
        let streams =
            Mux::new(LinkId(1), connection.peer, Side::Dialler, Path::Direct, SharedStreams::new(1 << 20));
        let (reports, reported) = mpsc::channel(64);
        let (handle, run) = open(LinkId(1), connection, streams, None, reports);
        tokio::spawn(run);
        (handle, far, reported)
    }

    /// Returns a segment with a body of this size, as a frame.
    fn segment(seq: u64, size: usize) -> Vec<u8> {
        let segment = Segment {
            origin: Identity::from_seed([3; 32]).id(),
            incarnation: 1,
            seq,
            first_message: 1,
            kind: SegmentKind::Fragment { first: seq == 1, last: false },
            message_kind: MessageKind::Application,
            body: vec![seq as u8; size].into(),
            seal: None,
        };
        let mut wire = Vec::new();
        let frame = Frame::Message(Message::Data(Arc::new(segment), Age::default()));
        frame::encode(&frame, &mut wire, |wire, body| wire.extend_from_slice(body));
        wire
    }

    #[tokio::test]
    async fn what_is_retained_keeps_no_more_than_twice_its_size_alive_whatever_comes_between() {
        const SIZE: usize = 40_000;
        let useless: [&dyn Fn(u64) -> Vec<u8>; 2] = [
            // Frames of a kind that nobody knows, and segments that come twice.
            &|_| [&(0xd0 << 24 | 40_000_u32).to_be_bytes()[..], &[0; 40_000]].concat(),
            &|seq| segment(seq, SIZE),
        ];
        for useless in useless {
            let (mut handle, mut far, mut reported) = reporting(1 << 20);
            let mut wire = Vec::new();
            for seq in 1..=100 {
                wire.extend(segment(seq, SIZE));
                (0..5).for_each(|_| wire.extend(useless(seq)));
            }
            // The connection stays open for as long as the task's result is there.
            let sent = tokio::spawn(async move { far.write_all(&wire).await.map(|()| far) });
            let mut retained: Vec<Bytes> = Vec::new();
            while retained.len() < 100 {
                let Some((_, report)) = reported.recv().await else { panic!("the link has ended") };
                let Report::Messages { messages, used } = report else { continue };
                let before = retained.len();
                for message in messages {
                    let Message::Data(segment, _) = message else { panic!("{message:?}") };
                    if segment.seq > retained.len() as u64 {
                        retained.push(segment.body.clone());
                    }
                }
                handle.note_usage(used, (retained.len() - before) * SIZE);
            }
            let in_use = handle.streams.send_queue.buffers.large.bytes_in_use();
            assert!(in_use <= 100 * SIZE, "{in_use} bytes of buffers beside what was copied");
            drop(sent);
        }
    }

    fn message(number: u64) -> Message {
        Control::SplitCommit { token: number }.into()
    }

    /// Reads `count` messages and returns the tokens in them.
    async fn read_tokens(far: &mut DuplexStream, count: usize) -> Vec<u64> {
        let (mut bytes, mut tokens, buffers) = (BytesMut::new(), Vec::new(), BufferPools::default());
        while tokens.len() < count {
            assert!(far.read_buf(&mut bytes).await.unwrap() > 0, "ended after {tokens:?}");
            while let Some(frame) = frame::decode(&mut bytes, &buffers).unwrap() {
                let Frame::Message(Message::Control(control)) = frame else { panic!("{frame:?}") };
                let Control::SplitCommit { token } = *control else { panic!("{control:?}") };
                tokens.push(token);
            }
        }
        tokens
    }

    #[tokio::test]
    async fn a_small_message_is_written_by_the_driver_without_waking_the_task() {
        let (handle, mut far) = linked(1024);
        handle.send(message(1));
        assert_eq!(handle.take_sent(), None, "not before the flush");
        handle.flush();
        // No other task has run.
        assert_eq!(handle.take_sent().map(|(cost, _)| cost), Some(message(1).cost()));
        assert_eq!(read_tokens(&mut far, 1).await, [1]);
    }

    #[tokio::test]
    async fn a_connection_that_takes_a_few_bytes_at_a_time_gets_everything_in_order() {
        for room in [1, 3, 7, 100, 5000] {
            let (handle, mut far) = linked(room);
            let reading = tokio::spawn(async move { read_tokens(&mut far, 1000).await });
            let mut cost = 0;
            for number in 0..1000 {
                handle.send(message(number));
                // Sometimes several messages share a flush, and sometimes the other tasks run
                // between.
                if number % 7 < 5 {
                    handle.flush();
                }
                if number % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                cost += message(number).cost();
            }
            handle.flush();
            assert_eq!(reading.await.unwrap(), (0..1000).collect::<Vec<_>>(), "room for {room} bytes");
            let mut told = 0;
            while told < cost {
                told += handle.take_sent().map_or(0, |(cost, _)| cost);
                tokio::task::yield_now().await;
            }
            assert_eq!(told, cost);
        }
    }

    #[tokio::test]
    async fn a_write_that_is_taken_in_parts_shows_progress_before_it_is_done() {
        let (handle, mut far) = linked(100);
        (0..1000).for_each(|number| handle.send(message(number)));
        handle.flush();
        let (mut read, mut told) = (0, 0);
        while told < 10 {
            let part = timeout(LINGER, far.read(&mut [0; 50])).await;
            read += part.expect("it is written").unwrap();
            assert!(read < 5_000, "of 9 kB and more, without progress");
            if let Some((cost, _)) = handle.take_sent() {
                assert_eq!(cost, 0);
                told += 1;
            }
        }
    }

    #[tokio::test]
    async fn what_was_queued_leaves_before_the_link_is_closed() {
        let (handle, mut far) = linked(1024);
        (0..10).for_each(|number| handle.send(message(number)));
        drop(handle);
        assert_eq!(read_tokens(&mut far, 10).await.len(), 10);
        assert_eq!(far.read_buf(&mut BytesMut::new()).await.unwrap(), 0);
    }
}
