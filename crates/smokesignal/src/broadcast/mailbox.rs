//! Where the application's broadcast handles and the node's driver meet.
//!
//! The [`Mailbox`] has one outbox and one inbox per reading handle. A write takes room in the
//! outbox, counted in bytes by a semaphore, and wakes the driver; the driver
//! [drains](Mailbox::drain) the outbox as far as the links take it, which gives the room back. The
//! driver [delivers] what arrives in batches of consecutive messages, so a lock is taken once per
//! batch and reader, not once per message. An inbox is bounded: a reader that is too slow loses its
//! oldest messages and is handed a gap with their number instead.
//!
//! [delivers]: Mailbox::deliver

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use smokesignal_proto::{MessageKind, Messages, NodeId};
use tokio::sync::{Notify, Semaphore, TryAcquireError, mpsc, oneshot};

use crate::broadcast::envelope::{Outgoing, Question, split_channel};
use crate::error::SendError;
use crate::lock::Lock;

/// Room in the outbox: 1 MiB of messages that were written and not yet taken by the node's links.
/// That is enough for a link's round trip, and small enough to make writers wait early.
const OUTBOX: usize = 1024 * 1024;
/// Number of messages that are written without yielding to other tasks: a full segment of 64 B
/// each.
const IN_A_ROW: u32 = 1024;
/// Number of messages of the largest size that an inbox holds, as many as the core assembles at the
/// same time: a reader that is one turn late must not lose one.
const LARGEST: usize = 4;
/// Limit of an inbox in bytes, unless [`LARGEST`] messages need more.
const INBOX: usize = 64 * 1024 * 1024;
/// A handle that is read, and has this much to read, is behind, and the writers wait for it. This
/// and what they may write until they learn of it are less than [`INBOX`].
const BEHIND: usize = 8 * 1024 * 1024;
/// A handle that was behind has caught up once less than this is left.
const CAUGHT_UP: usize = BEHIND / 2;
/// Bytes that a queued message counts beyond its payload.
const OVERHEAD: usize = 96;

/// What [`Broadcast::recv`](crate::Broadcast::recv) yields.
///
/// ```
/// use smokesignal::Incoming;
///
/// /// What a program that copies state does.
/// fn apply(incoming: Incoming) -> &'static str {
///     match incoming {
///         Incoming::Message { .. } => "apply the change",
///         Incoming::Gap { .. } => "fetch the whole state again, over a stream",
///         Incoming::End { .. } => "the state is whole",
///         Incoming::Restarted { .. } => "begin with an empty state",
///     }
/// }
/// # let from = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c".parse().unwrap();
/// assert_eq!(apply(Incoming::Gap { from, missed: 3 }), "fetch the whole state again, over a stream");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// One message, exactly as it was written.
    Message {
        /// The writer.
        from: NodeId,
        /// The message's number: 1, 2, 3, … in each start of the writer. The numbers of its
        /// [questions](crate::Node::ask) are left out.
        seq: u64,
        /// The payload.
        data: Bytes,
    },
    /// Messages of this writer that were lost: it outran the network, or this reader was too slow.
    Gap {
        /// The writer.
        from: NodeId,
        /// The number of lost messages.
        missed: u64,
    },
    /// This writer has [ended](crate::Broadcast::end) its stream, or was stopped: until it starts
    /// again there is nothing more to read of it. Missing messages were reported as a gap before. A
    /// node that was killed has no end.
    End {
        /// The writer.
        from: NodeId,
    },
    /// This writer, of which this node has read before, has started again: its next message has the
    /// number 1. What its former start wrote is complete only if that had an [end](Self::End).
    Restarted {
        /// The writer.
        from: NodeId,
    },
}

/// Consecutive messages of one writer, a gap, or what has become of its stream.
#[derive(Debug, Clone)]
pub(crate) enum Batch {
    Messages {
        /// `None` is the application's broadcast stream.
        channel: Option<Bytes>,
        from: NodeId,
        seq: u64,
        messages: Messages,
    },
    /// Every reader is handed a gap: the lost messages may have been for any of them.
    Gap { from: NodeId, missed: u64 },
    /// An end or a new start, for those who read the application's stream; `None` once it is taken.
    Notice(Option<Incoming>),
}

impl Batch {
    /// Takes the next message, or the gap.
    pub(crate) fn next(&mut self) -> Option<Incoming> {
        match self {
            Self::Messages { from, seq, messages, .. } => {
                let data = messages.next()?;
                *seq += 1;
                Some(Incoming::Message { from: *from, seq: *seq - 1, data })
            }
            Self::Gap { missed: 0, .. } => None,
            Self::Gap { from, missed } => Some(Incoming::Gap { from: *from, missed: std::mem::take(missed) }),
            Self::Notice(notice) => notice.take(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Messages { messages, .. } => messages.len() == 0,
            Self::Gap { missed, .. } => *missed == 0,
            Self::Notice(notice) => notice.is_none(),
        }
    }

    fn writer(&self) -> Option<NodeId> {
        match self {
            Self::Messages { from, .. } | Self::Gap { from, .. } => Some(*from),
            Self::Notice(notice) => notice.as_ref().map(Incoming::writer),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Messages { messages, .. } => OVERHEAD + messages.bytes(),
            Self::Gap { .. } | Self::Notice(_) => OVERHEAD,
        }
    }

    fn is_for(&self, reader: Option<&str>) -> bool {
        match self {
            Self::Messages { channel, .. } => channel.as_deref() == reader.map(str::as_bytes),
            Self::Gap { .. } => true,
            Self::Notice(_) => reader.is_none(),
        }
    }
}

/// What one handle has not read yet.
#[derive(Debug)]
pub(crate) struct Reader {
    channel: Option<Arc<str>>,
    inbox: Lock<Inbox>,
    shared: Arc<Shared>,
}

/// What readers share with the driver.
#[derive(Debug, Default)]
struct Shared {
    /// Number of readers that are behind.
    behind: AtomicUsize,
    /// Wakes the driver: something was written, or a reader has caught up.
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inbox {
    queue: VecDeque<Batch>,
    bytes: usize,
    /// Whether anybody has ever read from the handle. One that is never read holds up nobody.
    is_read: bool,
    is_behind: bool,
    /// What was dropped from the front of the queue, by writer. It is older than all that is
    /// queued.
    dropped: BTreeMap<NodeId, Dropped>,
    ended: bool,
    waker: Option<Waker>,
}

/// The contents of dropped batches of one writer, as the reader learns of them.
#[derive(Debug, Default)]
struct Dropped {
    /// Number of messages.
    missed: u64,
    ended: bool,
    restarted: bool,
}

impl Dropped {
    fn add(&mut self, batch: &Batch) {
        match batch {
            Batch::Messages { messages, .. } => self.missed += messages.len() as u64,
            Batch::Gap { missed, .. } => self.missed += missed,
            Batch::Notice(notice) => {
                self.ended |= matches!(notice, Some(Incoming::End { .. }));
                self.restarted |= matches!(notice, Some(Incoming::Restarted { .. }));
            }
        }
    }

    /// Takes the next thing to tell.
    fn next(&mut self, from: NodeId) -> Option<Batch> {
        if self.missed > 0 {
            return Some(Batch::Gap { from, missed: std::mem::take(&mut self.missed) });
        }
        let end = std::mem::take(&mut self.ended).then_some(Incoming::End { from });
        let start = || std::mem::take(&mut self.restarted).then_some(Incoming::Restarted { from });
        end.or_else(start).map(|notice| Batch::Notice(Some(notice)))
    }
}

impl Reader {
    /// Takes the next batch, and `None` once the node is stopped and everything is read.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        let mut inbox = self.inbox.lock();
        if let Some(batch) = self.take_from(&mut inbox) {
            return Poll::Ready(Some(batch));
        }
        if inbox.ended {
            return Poll::Ready(None);
        }
        inbox.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes the next batch if there is one already.
    pub(crate) fn try_take(&self) -> Option<Batch> {
        self.take_from(&mut self.inbox.lock())
    }

    fn take_from(&self, inbox: &mut Inbox) -> Option<Batch> {
        inbox.is_read = true;
        let batch = inbox.pop();
        if inbox.bytes < CAUGHT_UP && std::mem::take(&mut inbox.is_behind) {
            self.shared.catch_up();
        }
        batch
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.inbox.lock().is_behind {
            self.shared.catch_up();
        }
    }
}

impl Shared {
    fn catch_up(&self) {
        if self.behind.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.wake.notify_one();
        }
    }
}

impl Inbox {
    fn pop(&mut self) -> Option<Batch> {
        while let Some(mut first) = self.dropped.first_entry() {
            let from = *first.key();
            match first.get_mut().next(from) {
                Some(batch) => return Some(batch),
                None => drop(first.remove()),
            }
        }
        let batch = self.queue.pop_front()?;
        self.bytes -= batch.size();
        Some(batch)
    }

    /// Queues a batch, and drops and counts the oldest ones above the limit. `lost` gets those that
    /// the program would have read.
    fn push(&mut self, batch: Batch, limit: usize, lost: &mut Vec<(NodeId, u64)>) {
        self.bytes += batch.size();
        self.queue.push_back(batch);
        while self.bytes > limit
            && let Some(oldest) = self.queue.pop_front()
        {
            self.bytes -= oldest.size();
            if let Some(from) = oldest.writer() {
                let dropped = self.dropped.entry(from).or_default();
                let before = dropped.missed;
                dropped.add(&oldest);
                if self.is_read && matches!(oldest, Batch::Messages { .. }) {
                    lost.push((from, dropped.missed - before));
                }
            }
        }
    }
}

/// The outbox and the inboxes of one node.
#[derive(Debug)]
pub(crate) struct Mailbox {
    state: Lock<State>,
    shared: Arc<Shared>,
    /// Counts writes, see [`IN_A_ROW`].
    writes: AtomicU32,
    /// Whether somebody waits for the end of the stream whom the driver does not know yet.
    has_finishing: AtomicBool,
    max_message: usize,
    inbox_limit: usize,
}

#[derive(Debug)]
struct State {
    outbox: VecDeque<Outgoing>,
    /// Bytes of room in the outbox. Each start of the node makes a new one, each stop closes it.
    room: Arc<Semaphore>,
    readers: Vec<Weak<Reader>>,
    /// Whether the application has ended its stream, until the next start.
    ended: bool,
    /// Writers of bytes that wait for room.
    writers: Vec<Waker>,
    /// Callers that wait until the stream was read to its end.
    finishing: Vec<oneshot::Sender<usize>>,
    /// Where the questions of other nodes go, while this node answers any.
    questions: Option<mpsc::Sender<Question>>,
}

impl State {
    /// Returns whether this message would come after the end of the application's messages.
    fn has_ended(&self, message: &Outgoing) -> bool {
        self.ended && message.kind == MessageKind::Application
    }
}

impl Mailbox {
    pub(crate) fn new(max_message: usize) -> Self {
        let room = Arc::new(Semaphore::new(OUTBOX));
        let (readers, writers) = (Vec::new(), Vec::new());
        let outbox = VecDeque::new();
        let finishing = Vec::new();
        let state = State { outbox, room, readers, ended: false, writers, finishing, questions: None };
        let inbox_limit = INBOX.max(LARGEST * (max_message + OVERHEAD));
        let (shared, writes, has_finishing) = (Arc::default(), AtomicU32::new(0), AtomicBool::new(false));
        Self { state: Lock::new(state), shared, writes, has_finishing, max_message, inbox_limit }
    }

    // The application's side.

    pub(crate) const fn max_message(&self) -> usize {
        self.max_message
    }

    /// Adds an inbox for a handle that reads this channel.
    pub(crate) fn add_reader(&self, channel: Option<Arc<str>>) -> Arc<Reader> {
        let reader = Arc::new(Reader { channel, inbox: Lock::default(), shared: Arc::clone(&self.shared) });
        let mut state = self.state.lock();
        state.readers.retain(|reader| reader.strong_count() > 0);
        state.readers.push(Arc::downgrade(&reader));
        reader
    }

    /// Writes one message, of which `size` bytes are the application's. Waits for room.
    pub(crate) async fn send(&self, size: usize, message: Outgoing) -> Result<(), SendError> {
        self.check(size)?;
        // A writer that never has to wait yields only now and then: of messages written in a row
        // many fit into one segment.
        if self.writes.fetch_add(1, Ordering::Relaxed) % IN_A_ROW == IN_A_ROW - 1 {
            tokio::task::yield_now().await;
        }
        let (message, room) = match self.try_push(message) {
            Ok(()) => return Ok(()),
            Err(Refused::Full(message, room)) => (message, room),
            Err(Refused::ForGood(error)) => return Err(error),
        };
        room.acquire_many(cost(&message)).await.map_err(|_| SendError::Closed)?.forget();
        self.push(&room, message)
    }

    /// Ends the application's messages, after those that were written.
    pub(crate) fn end(&self) -> Result<(), SendError> {
        let mut state = self.state.lock();
        if state.room.is_closed() {
            return Err(SendError::Closed);
        }
        if !std::mem::replace(&mut state.ended, true) {
            self.queue(&mut state, Outgoing::end());
            state.writers.drain(..).for_each(Waker::wake);
        }
        Ok(())
    }

    /// Ends the application's messages, and waits until others have read them, as the driver
    /// decides it. Returns how many have.
    pub(crate) async fn finish(&self) -> Result<usize, SendError> {
        self.end()?;
        let (waiter, finished) = oneshot::channel();
        self.state.lock().finishing.push(waiter);
        self.has_finishing.store(true, Ordering::Relaxed);
        self.wake();
        finished.await.map_err(|_| SendError::Closed)
    }

    pub(crate) fn check(&self, size: usize) -> Result<(), SendError> {
        if size > self.max_message {
            return Err(SendError::TooLarge { size, limit: self.max_message });
        }
        Ok(())
    }

    /// Queues a message if there is room for it now.
    pub(crate) fn try_push(&self, message: Outgoing) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.has_ended(&message) {
            return Err(Refused::ForGood(SendError::Ended));
        }
        match state.room.try_acquire_many(cost(&message)) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::Closed) => return Err(Refused::ForGood(SendError::Closed)),
            Err(TryAcquireError::NoPermits) => return Err(Refused::Full(message, Arc::clone(&state.room))),
        }
        self.queue(&mut state, message);
        Ok(())
    }

    /// Queues a message that has acquired its room, unless the node was stopped meanwhile.
    fn push(&self, room: &Arc<Semaphore>, message: Outgoing) -> Result<(), SendError> {
        let mut state = self.state.lock();
        if room.is_closed() || !Arc::ptr_eq(room, &state.room) {
            return Err(SendError::Closed);
        }
        if state.has_ended(&message) {
            room.add_permits(cost(&message) as usize);
            return Err(SendError::Ended);
        }
        self.queue(&mut state, message);
        Ok(())
    }

    fn queue(&self, state: &mut State, message: Outgoing) {
        // With something queued the driver is notified already, or waits for its links.
        if state.outbox.is_empty() {
            self.wake();
        }
        state.outbox.push_back(message);
    }

    /// Wakes this waker once there is room in the outbox.
    pub(crate) fn wake_for_room(&self, waker: &Waker) {
        self.state.lock().writers.push(waker.clone());
    }

    /// Starts handing questions to this channel; returns false if another one has them already.
    pub(crate) fn answer_questions(&self, questions: mpsc::Sender<Question>) -> bool {
        let mut state = self.state.lock();
        let is_free = state.questions.is_none();
        if is_free {
            state.questions = Some(questions);
        }
        is_free
    }

    pub(crate) fn stop_answering(&self) {
        self.state.lock().questions = None;
    }

    // The driver's side.

    /// Takes the callers that wait for the end of the stream since the last call.
    pub(crate) fn take_finishing(&self) -> Vec<oneshot::Sender<usize>> {
        match self.has_finishing.swap(false, Ordering::Relaxed) {
            true => std::mem::take(&mut self.state.lock().finishing),
            false => Vec::new(),
        }
    }

    /// Wakes the driver.
    pub(crate) fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// Waits until something was written, or a reader that was behind has caught up. Cancel safe.
    pub(crate) async fn changed(&self) {
        self.shared.wake.notified().await;
    }

    /// Returns whether some handle has more to read than a reader that keeps up has.
    pub(crate) fn is_behind(&self) -> bool {
        self.shared.behind.load(Ordering::Relaxed) > 0
    }

    /// Offers written messages to `take`, in order, until it returns false and leaves one in place.
    pub(crate) fn drain(&self, mut take: impl FnMut(&mut Outgoing) -> bool) {
        let mut state = self.state.lock();
        let mut room = 0;
        while let Some(message) = state.outbox.front_mut() {
            let cost = cost(message) as usize;
            if !take(message) {
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

    /// Returns whether a message waits whose size fits.
    pub(crate) fn has_next(&self, fits: impl Fn(usize) -> bool) -> bool {
        self.state.lock().outbox.front().is_some_and(|message| fits(message.data.len()))
    }

    /// Returns the number of messages that wait in the outbox.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().outbox.len()
    }

    /// Returns the bytes that wait for the reader that is farthest behind.
    pub(crate) fn unread(&self) -> usize {
        let readers: Vec<_> = self.state.lock().readers.iter().filter_map(Weak::upgrade).collect();
        readers.iter().map(|reader| reader.inbox.lock().bytes).max().unwrap_or(0)
    }

    /// Releases memory that a burst of writes has left behind.
    pub(crate) fn trim(&self) {
        let mut state = self.state.lock();
        let waiting = state.outbox.len();
        state.outbox.shrink_to(2 * waiting);
    }

    /// Sorts what arrived, all of one kind: adds messages to the batches for the readers, and hands
    /// questions to the responder.
    pub(crate) fn sort(
        &self,
        (from, seq): (NodeId, u64),
        kind: MessageKind,
        messages: Messages,
        batches: &mut Vec<Batch>,
    ) {
        match kind {
            MessageKind::Application => {
                batches.push(Batch::Messages { channel: None, from, seq, messages });
            }
            MessageKind::Channel => {
                for (seq, message) in (seq..).zip(messages) {
                    let Some((channel, data)) = split_channel(message) else { continue };
                    let (channel, messages) = (Some(channel), Messages::one(data));
                    batches.push(Batch::Messages { channel, from, seq, messages });
                }
            }
            MessageKind::Query => messages.for_each(|data| self.ask(from, data)),
            MessageKind::End => {} // The driver makes a notice of it.
            #[cfg(smokesignal_next)]
            MessageKind::Next => {}
            // The core counts them and does not deliver them.
            MessageKind::Other(_) => {}
        }
    }

    fn ask(&self, from: NodeId, data: Bytes) {
        let Some(question) = Question::read(from, data) else { return };
        let questions = self.state.lock().questions.clone();
        if questions.is_some_and(|questions| questions.try_send(question).is_err()) {
            tracing::warn!(?from, "too many questions are waiting; this one is not answered");
        }
    }

    /// Hands batches to every reader that they are for. Returns how many messages, by writer, were
    /// dropped from the inboxes of readers that are too slow.
    pub(crate) fn deliver(&self, batches: &[Batch]) -> Vec<(NodeId, u64)> {
        let mut lost = Vec::new();
        let readers: Vec<_> = self.state.lock().readers.iter().filter_map(Weak::upgrade).collect();
        for reader in readers {
            let mut inbox = reader.inbox.lock();
            let mut waker = None;
            for batch in batches.iter().filter(|batch| batch.is_for(reader.channel.as_deref())) {
                inbox.push(batch.clone(), self.inbox_limit, &mut lost);
                waker = waker.or_else(|| inbox.waker.take());
            }
            if inbox.is_read && !inbox.is_behind && inbox.bytes >= BEHIND {
                inbox.is_behind = true;
                self.shared.behind.fetch_add(1, Ordering::Relaxed);
            }
            drop(inbox);
            waker.into_iter().for_each(Waker::wake);
        }
        lost
    }

    /// Opens the mailbox when the node starts, also after a stop: handles made before work on.
    pub(crate) fn open(&self) {
        let mut state = self.state.lock();
        if state.room.is_closed() {
            state.room = Arc::new(Semaphore::new(OUTBOX));
            state.ended = false;
        }
        for reader in state.readers.iter().filter_map(Weak::upgrade) {
            reader.inbox.lock().ended = false;
        }
    }

    /// Refuses further writes.
    pub(crate) fn refuse_writes(&self) {
        let mut state = self.state.lock();
        state.room.close();
        state.writers.drain(..).for_each(Waker::wake);
    }

    /// Closes the mailbox when the node has stopped: writes fail and reads end. Returns the number
    /// of messages that were still waiting and are lost.
    pub(crate) fn close(&self) -> usize {
        let mut state = self.state.lock();
        state.room.close();
        state.writers.drain(..).for_each(Waker::wake);
        state.finishing.clear();
        let lost = state.outbox.iter().filter(|message| message.kind != MessageKind::End).count();
        state.outbox.clear();
        for reader in state.readers.iter().filter_map(Weak::upgrade) {
            let mut inbox = reader.inbox.lock();
            inbox.ended = true;
            let waker = inbox.waker.take();
            drop(inbox);
            waker.into_iter().for_each(Waker::wake);
        }
        lost
    }
}

/// Why a message was not queued.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is no room now: the message, and the semaphore to wait at.
    Full(Outgoing, Arc<Semaphore>),
    /// There will be none.
    ForGood(SendError),
}

/// The room that a message takes in the outbox. An end takes none: it is there once, and does not
/// wait.
fn cost(message: &Outgoing) -> u32 {
    if message.kind == MessageKind::End {
        return 0;
    }
    (message.data.len() + OVERHEAD).min(OUTBOX) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::Broadcast;

    fn message(seq: u64, len: usize) -> Batch {
        let messages = Messages::one(vec![0; len].into());
        Batch::Messages { channel: None, from: NodeId::from_bytes([1; 32]), seq, messages }
    }

    #[tokio::test]
    async fn a_slow_reader_is_handed_the_number_of_messages_it_missed() {
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

    /// Found by measuring: with room for two, three writers of 16 MiB lost 3 % of their messages at
    /// readers that were reading.
    #[tokio::test]
    async fn the_largest_messages_of_four_writers_may_arrive_together() {
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
        let (from, mut batches) = (NodeId::from_bytes([1; 32]), Vec::new());
        let written = [
            Outgoing::message("all".into()),
            Outgoing::on_channel("one", b"a"),
            Outgoing::on_channel("two", b"b"),
        ];
        for (seq, Outgoing { kind, data, .. }) in (1..).zip(written) {
            mailbox.sort((from, seq), kind, Messages::one(data), &mut batches);
        }
        batches.push(Batch::Gap { from, missed: 7 });
        mailbox.deliver(&batches);
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
        mailbox.drain(|message| {
            let wanted = first.is_none();
            if wanted {
                first = Some(std::mem::take(&mut message.data));
            }
            wanted
        });
        assert_eq!(first.unwrap(), vec![0; 100_000]);
        stream.try_send(vec![10; 100_000]).unwrap();
        assert_eq!(mailbox.waiting(), 10);
        let error = stream.try_send(vec![0; OUTBOX + 1]).unwrap_err();
        assert_eq!(error, SendError::TooLarge { size: OUTBOX + 1, limit: OUTBOX }.into());
        mailbox.close();
        assert_eq!(stream.try_send("late"), Err(SendError::Closed.into()));
    }
}
