//! The broadcast stream: what you write reaches everyone, what you read is what everyone else wrote.

pub(crate) mod query;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use smokesignal_proto::Messages;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::error::{OpenError, SendError, TrySendError};
use crate::node::Node;
use crate::stream::handle::NodeStream;
use query::{Question, Read};
use smokesignal_proto::NodeId;

/// Bytes written and not yet taken by the node's links. Enough for a link's round trip, small enough to wait early.
const OUTBOX: usize = 1024 * 1024;
/// Messages that are written without giving way to other tasks: a full segment of 64 B.
const IN_A_ROW: u32 = 1024;
/// Messages of the largest size that a handle keeps.
const LARGEST: usize = 4;
/// What a queued message counts for beyond its payload, in bytes.
const OVERHEAD: usize = 96;

/// What [`Broadcast::recv`] yields.
///
/// ```
/// use smokesignal::Incoming;
///
/// /// What a program that copies state does.
/// fn apply(incoming: Incoming) -> &'static str {
///     match incoming {
///         Incoming::Message { .. } => "apply the change",
///         Incoming::Gap { .. } => "fetch the whole state again, over a stream",
///     }
/// }
/// # let from = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c".parse().unwrap();
/// assert_eq!(apply(Incoming::Gap { from, missed: 3 }), "fetch the whole state again, over a stream");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// One message, exactly as it was written.
    Message {
        /// Who wrote it.
        from: NodeId,
        /// Its number: 1, 2, 3, … in each start of the writer. Numbers of its [questions](Node::ask) are left out.
        seq: u64,
        /// The payload.
        data: Bytes,
    },
    /// Messages of this writer that could not be had: it outran the network, or this reader was too slow.
    Gap {
        /// Whose messages.
        from: NodeId,
        /// How many.
        missed: u64,
    },
}

impl Incoming {
    /// Opens a stream to the writer, who takes it with [`Node::replies`]. A stream of the name `reply`, otherwise as
    /// [`Node::open`].
    ///
    /// # Errors
    /// As [`Node::open`]; the writer may have left meanwhile.
    pub async fn reply(&self, node: &Node) -> Result<NodeStream, OpenError> {
        let (Self::Message { from, .. } | Self::Gap { from, .. }) = self;
        node.open(*from, REPLY).await
    }
}

/// The name of the streams that reply to a message.
pub(crate) const REPLY: &str = "reply";

/// The network as a duplex stream, from [`Node::broadcast`](crate::Node::broadcast).
///
/// Every node reads the messages of one writer in the order written, each at most once. If reader and writer stay
/// connected through live nodes and the writer does not outrun what the network retains, every message arrives.
/// Whatever is skipped is reported as a gap that names writer and count. There is no order between different writers.
///
/// [`send`](Self::send) and [`recv`](Self::recv) keep message bounds; [`AsyncRead`] and [`AsyncWrite`] see plain bytes
/// (each write is one message all the same). A gap shows as one read error; reading goes on after it.
///
/// Reading begins when the handle is made: hold it from the start if nothing may be missed. A handle not read keeps the
/// latest four messages of the largest size, or 64 MiB of smaller ones; to write only, use [`sender`](Self::sender) and drop it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let network = smokesignal::transport::MemoryNetwork::new();
/// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
/// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
/// use smokesignal::Incoming;
///
/// let mut inbox = bob.broadcast(); // Created before start(), it misses nothing.
/// ann.start().await?;
/// bob.start().await?;
/// ann.broadcast().send("hello").await?; // Waits for the first peer.
/// let Some(Incoming::Message { from, seq, data }) = inbox.recv().await else { panic!("a message") };
/// assert_eq!((from, seq, &data[..]), (ann.id(), 1, &b"hello"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Broadcast {
    reader: Arc<Reader>,
    sender: BroadcastSender,
    /// Taken from the reader, and not read yet.
    batch: Option<Batch>,
    /// The rest of a message read by bytes.
    rest: Bytes,
}

impl Broadcast {
    /// `channel`: `None` for what the application writes to everyone.
    pub(crate) fn new(mailbox: &Arc<Mailbox>, channel: Option<Arc<str>>) -> Self {
        let reader = Arc::new(Reader { channel: channel.clone(), inbox: Mutex::default() });
        let mut state = mailbox.lock();
        state.readers.retain(|reader| reader.strong_count() > 0);
        state.readers.push(Arc::downgrade(&reader));
        drop(state);
        let sender = BroadcastSender { mailbox: Arc::clone(mailbox), channel };
        Self { reader, sender, batch: None, rest: Bytes::new() }
    }

    /// Writes one message to everyone. Waits while the node's links are full, and for the first peer.
    ///
    /// It leaves at once, unless this node has just signed 8 times: then it shares the next signature with what is written
    /// within 4 ms or so (unless messages are [unsigned](crate::NodeBuilder::unsigned_messages)).
    ///
    /// # Errors
    /// [`SendError::TooLarge`] above `max_message`, [`SendError::Closed`] once the node is stopped.
    pub async fn send(&self, data: impl Into<Bytes>) -> Result<(), SendError> {
        self.sender.send(data).await
    }

    /// Writes one message to everyone if there is room right now.
    ///
    /// # Errors
    /// [`TrySendError::Full`] gives the message back; the others are those of [`send`](Self::send).
    pub fn try_send(&self, data: impl Into<Bytes>) -> Result<(), TrySendError> {
        self.sender.try_send(data)
    }

    /// The next message or gap; `None` once the node is stopped and all is read. Nothing is lost if the future is
    /// dropped.
    pub async fn recv(&mut self) -> Option<Incoming> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv), up to `most` at once, appended to `messages`: what is there already is not waited for. Tells
    /// how many; 0 once the node is stopped and all is read.
    pub async fn recv_many(&mut self, messages: &mut Vec<Incoming>, most: usize) -> usize {
        let (before, end) = (messages.len(), messages.len().saturating_add(most));
        if most > 0 {
            messages.extend(self.recv().await);
        }
        while messages.len() > before
            && messages.len() < end
            && let Some(batch) = self.try_batch()
        {
            let room = end - messages.len();
            messages.extend(std::iter::from_fn(|| batch.next()).take(room));
        }
        messages.len() - before
    }

    /// The next message or gap if one is there already.
    pub fn try_recv(&mut self) -> Option<Incoming> {
        self.try_batch()?.next()
    }

    /// One that is there already and has something left.
    fn try_batch(&mut self) -> Option<&mut Batch> {
        while self.batch.as_ref().is_none_or(Batch::is_empty) {
            self.batch = Some(self.reader.lock().pop()?);
        }
        self.batch.as_mut()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        loop {
            if let Some(incoming) = self.batch.as_mut().and_then(Batch::next) {
                return Poll::Ready(Some(incoming));
            }
            self.batch = ready!(self.reader.poll(cx));
            if self.batch.is_none() {
                return Poll::Ready(None);
            }
        }
    }

    /// The writing half, which can be cloned and outlives this handle.
    pub fn sender(&self) -> BroadcastSender {
        self.sender.clone()
    }
}

/// The writing half of [`Broadcast`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let network = smokesignal::transport::MemoryNetwork::new();
/// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
/// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
/// let sender = ann.broadcast().sender(); // The reading half is dropped: nothing is kept for it.
/// let other = sender.clone();
/// let mut inbox = bob.broadcast();
/// ann.start().await?;
/// bob.start().await?;
/// sender.send("one").await?;
/// other.try_send("two")?;
/// for expected in ["one", "two"] {
///     let Some(smokesignal::Incoming::Message { data, .. }) = inbox.recv().await else { panic!() };
///     assert_eq!(data, expected);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BroadcastSender {
    mailbox: Arc<Mailbox>,
    channel: Option<Arc<str>>,
}

impl BroadcastSender {
    /// As [`Broadcast::send`].
    ///
    /// # Errors
    /// As [`Broadcast::send`].
    pub async fn send(&self, data: impl Into<Bytes>) -> Result<(), SendError> {
        let data = data.into();
        self.send_marked(data.len(), self.marked(data)).await
    }

    fn marked(&self, data: Bytes) -> Bytes {
        match &self.channel {
            None => query::literal(data),
            Some(channel) => query::on_channel(channel, &data),
        }
    }

    /// What is no message of the application; `size` counts.
    pub(crate) async fn send_marked(&self, size: usize, data: Bytes) -> Result<(), SendError> {
        self.mailbox.check(size)?;
        // Who need not wait gives way to other tasks now and then only: in a row of small messages many go into one segment.
        if self.mailbox.turn.fetch_add(1, Ordering::Relaxed) % IN_A_ROW == IN_A_ROW - 1 {
            tokio::task::yield_now().await;
        }
        let Err((data, room)) = self.mailbox.try_push(data) else { return Ok(()) };
        room.acquire_many(cost(&data)).await.map_err(|_| SendError::Closed)?.forget();
        self.mailbox.push(&room, data)
    }

    /// As [`Broadcast::try_send`].
    ///
    /// # Errors
    /// As [`Broadcast::try_send`].
    pub fn try_send(&self, data: impl Into<Bytes>) -> Result<(), TrySendError> {
        let data = data.into();
        self.mailbox.check(data.len())?;
        match self.mailbox.try_push(self.marked(data.clone())) {
            Ok(()) => Ok(()),
            Err((_, room)) if room.is_closed() => Err(SendError::Closed.into()),
            Err(_) => Err(TrySendError::Full(data)),
        }
    }
}

fn cost(data: &Bytes) -> u32 {
    (data.len() + OVERHEAD).min(OUTBOX) as u32
}

impl AsyncRead for Broadcast {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.poll_recv(cx)) {
                Some(Incoming::Message { data, .. }) => self.rest = data,
                Some(Incoming::Gap { from, missed }) => {
                    let text = format!("{missed} messages of {from} could not be had");
                    return Poll::Ready(Err(io::Error::other(text)));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let part = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.split_to(part));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Broadcast {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mailbox = &self.sender.mailbox;
        let length = buf.len().min(mailbox.max_message);
        let mut data = Bytes::copy_from_slice(&buf[..length]);
        // The second try is for room that came between the first one and the registration. Nothing is reserved: a
        // write that is given up must not stand in the way of others.
        for last in [false, true] {
            match self.sender.try_send(data) {
                Ok(()) => return Poll::Ready(Ok(length)),
                Err(TrySendError::Full(back)) => data = back,
                Err(TrySendError::Send(_)) => return Poll::Ready(Err(closed())),
            }
            if !last {
                mailbox.lock().writers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }

    /// Written messages are on their way already.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends nothing: the network goes on. [`Node::stop`](crate::Node::stop) flushes and leaves.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, SendError::Closed)
}

/// What one handle has not read yet. When full the oldest loses and is counted.
#[derive(Debug)]
struct Reader {
    channel: Option<Arc<str>>,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    queue: VecDeque<Batch>,
    bytes: usize,
    /// Messages dropped from the front, by writer: older than all that is queued.
    dropped: BTreeMap<NodeId, u64>,
    ended: bool,
    waker: Option<Waker>,
}

/// Consecutive messages of one writer, or a gap.
#[derive(Debug, Clone)]
pub(crate) enum Batch {
    Messages {
        /// `None`: what is meant for everyone.
        channel: Option<Bytes>,
        from: NodeId,
        seq: u64,
        messages: Messages,
    },
    /// What was missed may have been for any reader.
    Gap { from: NodeId, missed: u64 },
}

impl Batch {
    fn next(&mut self) -> Option<Incoming> {
        match self {
            Self::Messages { from, seq, messages, .. } => {
                let data = messages.next()?;
                *seq += 1;
                Some(Incoming::Message { from: *from, seq: *seq - 1, data })
            }
            Self::Gap { missed: 0, .. } => None,
            Self::Gap { from, missed } => Some(Incoming::Gap { from: *from, missed: std::mem::take(missed) }),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Messages { messages, .. } => messages.len() == 0,
            Self::Gap { missed, .. } => *missed == 0,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Messages { messages, .. } => OVERHEAD + messages.bytes(),
            Self::Gap { .. } => OVERHEAD,
        }
    }

    fn is_for(&self, reader: Option<&str>) -> bool {
        match self {
            Self::Messages { channel, .. } => channel.as_deref() == reader.map(str::as_bytes),
            Self::Gap { .. } => true,
        }
    }
}

impl Reader {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        let mut inbox = self.lock();
        if let Some(batch) = inbox.pop() {
            return Poll::Ready(Some(batch));
        }
        if inbox.ended {
            return Poll::Ready(None);
        }
        inbox.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Inbox {
    fn pop(&mut self) -> Option<Batch> {
        if let Some((from, missed)) = self.dropped.pop_first() {
            return Some(Batch::Gap { from, missed });
        }
        let batch = self.queue.pop_front()?;
        self.bytes -= batch.size();
        Some(batch)
    }

    fn push(&mut self, batch: Batch, limit: usize) {
        self.bytes += batch.size();
        self.queue.push_back(batch);
        while self.bytes > limit
            && let Some(oldest) = self.queue.pop_front()
        {
            self.bytes -= oldest.size();
            let (from, missed) = match oldest {
                Batch::Messages { from, messages, .. } => (from, messages.len() as u64),
                Batch::Gap { from, missed } => (from, missed),
            };
            *self.dropped.entry(from).or_default() += missed;
        }
    }
}

/// Where the application's handles and the node's driver meet.
#[derive(Debug)]
pub(crate) struct Mailbox {
    state: Mutex<MailboxState>,
    /// Tells the driver that something was written.
    pub(crate) written: Notify,
    /// Counts writes.
    turn: AtomicU32,
    max_message: usize,
    inbox_limit: usize,
}

#[derive(Debug)]
struct MailboxState {
    outbox: VecDeque<Bytes>,
    /// Bytes of room in the outbox. A new one for each start of the node, closed when it stops.
    room: Arc<Semaphore>,
    readers: Vec<Weak<Reader>>,
    /// Byte-wise writers that wait for room.
    writers: Vec<Waker>,
    /// Where questions go that others ask.
    questions: Option<mpsc::Sender<Question>>,
}

impl Mailbox {
    pub(crate) fn new(max_message: usize) -> Self {
        let room = Arc::new(Semaphore::new(OUTBOX));
        let (readers, writers) = (Vec::new(), Vec::new());
        let state = MailboxState { outbox: VecDeque::new(), room, readers, writers, questions: None };
        // As many of the largest as the core puts together at once: a reader that is one turn late must not lose one.
        let inbox_limit = (64 * 1024 * 1024).max(LARGEST * (max_message + OVERHEAD));
        let (written, turn) = (Notify::new(), AtomicU32::new(0));
        Self { state: Mutex::new(state), written, turn, max_message, inbox_limit }
    }

    fn lock(&self) -> MutexGuard<'_, MailboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, size: usize) -> Result<(), SendError> {
        if size > self.max_message {
            return Err(SendError::TooLarge { size, limit: self.max_message });
        }
        Ok(())
    }

    /// Queues a message if there is room for it now; gives it back with what to wait at for room.
    fn try_push(&self, data: Bytes) -> Result<(), (Bytes, Arc<Semaphore>)> {
        let mut state = self.lock();
        match state.room.try_acquire_many(cost(&data)) {
            Ok(permit) => permit.forget(),
            Err(_) => return Err((data, Arc::clone(&state.room))),
        }
        self.queue(&mut state, data);
        Ok(())
    }

    /// Queues a message that has its room, unless the node was stopped meanwhile.
    fn push(&self, room: &Arc<Semaphore>, data: Bytes) -> Result<(), SendError> {
        let mut state = self.lock();
        if room.is_closed() || !Arc::ptr_eq(room, &state.room) {
            return Err(SendError::Closed);
        }
        self.queue(&mut state, data);
        Ok(())
    }

    fn queue(&self, state: &mut MailboxState, data: Bytes) {
        // Otherwise it is told already, or has no room for those before this one.
        if state.outbox.is_empty() {
            self.written.notify_one();
        }
        state.outbox.push_back(data);
    }

    /// Offers written messages, in order, until `take` leaves one where it is.
    pub(crate) fn drain(&self, mut take: impl FnMut(&mut Bytes) -> bool) {
        let mut state = self.lock();
        let mut room = 0;
        while let Some(data) = state.outbox.front_mut() {
            let cost = cost(data) as usize;
            if !take(data) {
                break;
            }
            room += cost;
            state.outbox.pop_front();
        }
        if room > 0 {
            state.room.add_permits(room);
            state.writers.drain(..).for_each(Waker::wake);
        }
    }

    /// Whether something waits, and its size is one that fits.
    pub(crate) fn has_next(&self, fits: impl Fn(usize) -> bool) -> bool {
        self.lock().outbox.front().is_some_and(|data| fits(data.len()))
    }

    /// Gives back memory that a busy time has left.
    pub(crate) fn trim(&self) {
        let mut state = self.lock();
        let waiting = state.outbox.len();
        state.outbox.shrink_to(2 * waiting);
    }

    pub(crate) fn has_written(&self) -> usize {
        self.lock().outbox.len()
    }

    /// Where questions go from now on; false if they go elsewhere already.
    pub(crate) fn set_questions(&self, questions: Option<mpsc::Sender<Question>>) -> bool {
        let mut state = self.lock();
        if questions.is_some() && state.questions.is_some() {
            return false;
        }
        state.questions = questions;
        true
    }

    /// What was read: messages are for the readers, a question for whoever answers.
    pub(crate) fn arrived(&self, from: NodeId, seq: u64, messages: Messages, arrived: &mut Vec<Batch>) {
        if !messages.iter().any(query::is_marked) {
            return arrived.push(Batch::Messages { channel: None, from, seq, messages });
        }
        for (seq, data) in (seq..).zip(messages) {
            match query::read(from, data) {
                Read::Message(data) => {
                    arrived.push(Batch::Messages { channel: None, from, seq, messages: Messages::one(data) });
                }
                Read::OnChannel(channel, data) => {
                    let (channel, messages) = (Some(channel), Messages::one(data));
                    arrived.push(Batch::Messages { channel, from, seq, messages });
                }
                Read::Question(question) => {
                    let questions = self.lock().questions.clone();
                    if questions.is_some_and(|questions| questions.try_send(question).is_err()) {
                        tracing::warn!(?from, "too many questions are waiting; this one is not answered");
                    }
                }
                Read::Unknown => tracing::debug!(?from, "a message of a kind that is not known here"),
            }
        }
    }

    /// Hands batches to every reader.
    pub(crate) fn deliver(&self, batches: &[Batch]) {
        let readers: Vec<_> = self.lock().readers.iter().filter_map(Weak::upgrade).collect();
        for reader in readers {
            let mut inbox = reader.lock();
            let mut waker = None;
            for batch in batches.iter().filter(|batch| batch.is_for(reader.channel.as_deref())) {
                inbox.push(batch.clone(), self.inbox_limit);
                waker = waker.or_else(|| inbox.waker.take());
            }
            drop(inbox);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// The node starts (again): handles made before work on.
    pub(crate) fn open(&self) {
        let mut state = self.lock();
        if state.room.is_closed() {
            state.room = Arc::new(Semaphore::new(OUTBOX));
        }
        for reader in state.readers.iter().filter_map(Weak::upgrade) {
            reader.lock().ended = false;
        }
    }

    /// No more writes are taken.
    pub(crate) fn refuse_writes(&self) {
        let mut state = self.lock();
        state.room.close();
        state.writers.drain(..).for_each(Waker::wake);
    }

    /// The node has stopped: writes fail, reads end. Says how many messages were still waiting.
    pub(crate) fn close(&self) -> usize {
        let mut state = self.lock();
        state.room.close();
        state.writers.drain(..).for_each(Waker::wake);
        let lost = state.outbox.len();
        state.outbox.clear();
        for reader in state.readers.iter().filter_map(Weak::upgrade) {
            let mut inbox = reader.lock();
            inbox.ended = true;
            let waker = inbox.waker.take();
            drop(inbox);
            waker.into_iter().for_each(Waker::wake);
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, len: usize) -> Batch {
        let messages = Messages::one(vec![0; len].into());
        Batch::Messages { channel: None, from: NodeId::from_bytes([1; 32]), seq, messages }
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_much_it_missed() {
        let mailbox = Arc::new(Mailbox::new(1000));
        let mut slow = Broadcast::new(&mailbox, None);
        for seq in 1..=100 {
            mailbox.deliver(&[message(seq, 1024 * 1024)]);
        }
        let Some(Incoming::Gap { missed, .. }) = slow.recv().await else { panic!("a gap comes first") };
        let Some(Incoming::Message { seq, .. }) = slow.recv().await else { panic!("then the rest") };
        assert_eq!(seq, missed + 1);
        mailbox.close();
        let mut read = 1;
        while slow.recv().await.is_some() {
            read += 1;
        }
        assert_eq!(missed + read, 100);
    }

    /// Found by measuring: with room for two, three writers of 16 MiB lost 3 % of their messages at readers that were reading.
    #[tokio::test]
    async fn the_largest_messages_of_four_writers_may_come_at_once() {
        const LARGE: usize = 16 * 1024 * 1024;
        let mailbox = Arc::new(Mailbox::new(LARGE));
        let mut reader = Broadcast::new(&mailbox, None);
        mailbox.deliver(&[1, 2, 3, 4].map(|seq| message(seq, LARGE)));
        for expected in 1..=4 {
            let Some(Incoming::Message { seq, .. }) = reader.recv().await else { panic!("a gap") };
            assert_eq!(seq, expected);
        }
    }

    #[tokio::test]
    async fn a_channel_is_read_by_its_own_readers_alone_and_a_gap_by_all() {
        let mailbox = Arc::new(Mailbox::new(1000));
        let [mut all, mut one, mut two] =
            [None, Some("one".into()), Some("two".into())].map(|channel| Broadcast::new(&mailbox, channel));
        let (from, mut arrived) = (NodeId::from_bytes([1; 32]), Vec::new());
        let written =
            [query::literal("all".into()), query::on_channel("one", b"a"), query::on_channel("two", b"b")];
        for (seq, data) in (1..).zip(written) {
            mailbox.arrived(from, seq, Messages::one(data), &mut arrived);
        }
        arrived.push(Batch::Gap { from, missed: 7 });
        mailbox.deliver(&arrived);
        for (reader, seq, data) in [(&mut all, 1, "all"), (&mut one, 2, "a"), (&mut two, 3, "b")] {
            assert_eq!(reader.recv().await, Some(Incoming::Message { from, seq, data: data.into() }));
            assert_eq!(reader.recv().await, Some(Incoming::Gap { from, missed: 7 }));
            assert_eq!(reader.try_recv(), None);
        }
    }

    #[test]
    fn writes_are_bounded_and_come_out_in_order() {
        let mailbox = Arc::new(Mailbox::new(OUTBOX));
        let stream = Broadcast::new(&mailbox, None);
        let mut accepted = 0;
        while stream.try_send(vec![accepted; 100_000]).is_ok() {
            accepted += 1;
        }
        assert_eq!(accepted, 10);
        let mut first = None;
        mailbox.drain(|data| {
            let wanted = first.is_none();
            if wanted {
                first = Some(std::mem::take(data));
            }
            wanted
        });
        assert_eq!(first.unwrap(), vec![0; 100_000]);
        stream.try_send(vec![10; 100_000]).unwrap();
        assert_eq!(mailbox.has_written(), 10);
        let error = stream.try_send(vec![0; OUTBOX + 1]).unwrap_err();
        assert_eq!(error, SendError::TooLarge { size: OUTBOX + 1, limit: OUTBOX }.into());
        mailbox.close();
        assert_eq!(stream.try_send("late"), Err(SendError::Closed.into()));
    }
}
