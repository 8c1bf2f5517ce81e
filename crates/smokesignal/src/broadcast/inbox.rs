//! The inboxes of one node: what its handles have not read yet.
//!
//! The driver [delivers](Inboxes::deliver) what arrives in batches, so a lock is taken once per
//! batch and reader, not once per message. A reader that keeps up reads in the order of arrival;
//! one that does not is handed the batches of its writers in turns, so that a writer of much, or of
//! very many empty messages, does not delay what the others have written.
//!
//! An inbox is bounded: a reader that is too slow loses the oldest messages of the writer of which
//! most is waiting, and is handed a gap with their number instead. Well before that it is *behind*,
//! and the writers wait for it; the driver learns that from a count, which costs it no lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use smokesignal_proto::NodeId;
use tokio::sync::Notify;

use crate::broadcast::incoming::{Batch, Incoming, OVERHEAD};
use crate::lock::Lock;

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

/// What the queue of a writer counts for, besides its batches. 512 bytes: what it takes.
const QUEUE: usize = 512;
/// Writers of which an inbox remembers what was dropped. 4 096: a quarter of those that a node
/// knows, some 300 KiB. With more, the one of which the fewest messages were dropped loses its gap.
const DROPPED: usize = 4096;

/// The inboxes of all handles that read.
#[derive(Debug)]
pub(crate) struct Inboxes {
    readers: Lock<Vec<Weak<Reader>>>,
    shared: Arc<Shared>,
    /// The largest inbox, in bytes.
    limit: usize,
}

impl Inboxes {
    /// Makes room for messages of up to `max_message` bytes. `wake` is notified when a reader that
    /// was behind has caught up.
    pub(crate) fn new(max_message: usize, wake: Arc<Notify>) -> Self {
        let limit = INBOX.max(LARGEST * (max_message + OVERHEAD + QUEUE));
        let shared = Arc::new(Shared { behind: AtomicUsize::new(0), wake });
        Self { readers: Lock::default(), shared, limit }
    }

    /// Adds an inbox for a handle that reads this channel.
    pub(crate) fn add_reader(&self, channel: Option<Arc<str>>) -> Arc<Reader> {
        let reader = Arc::new(Reader { channel, inbox: Lock::default(), shared: Arc::clone(&self.shared) });
        let mut readers = self.readers.lock();
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(&reader));
        reader
    }

    /// Returns whether some handle has more to read than a reader that keeps up has.
    pub(crate) fn is_behind(&self) -> bool {
        self.shared.behind.load(Ordering::Relaxed) > 0
    }

    /// Returns the bytes that wait for the reader that is farthest behind.
    pub(crate) fn unread(&self) -> usize {
        let unread = |reader: &Arc<Reader>| {
            let inbox = reader.inbox.lock();
            inbox.bytes - QUEUE * inbox.queues.len()
        };
        self.alive().iter().map(unread).max().unwrap_or(0)
    }

    /// Hands batches to every reader that they are for. Returns how many messages, by writer, were
    /// dropped from the inboxes of readers that are too slow.
    pub(crate) fn deliver(&self, batches: &[Batch]) -> Vec<(NodeId, u64)> {
        let mut lost = Vec::new();
        for reader in self.alive() {
            let mut inbox = reader.inbox.lock();
            let mut waker = None;
            for batch in batches.iter().filter(|batch| batch.is_for(reader.channel.as_deref())) {
                inbox.push(batch.clone(), self.limit, &mut lost);
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

    /// Opens the inboxes when the node starts, also after a stop: handles made before work on.
    pub(crate) fn open(&self) {
        self.alive().iter().for_each(|reader| reader.inbox.lock().ended = false);
    }

    /// Closes the inboxes when the node has stopped: reads end once everything is read.
    pub(crate) fn close(&self) {
        for reader in self.alive() {
            let mut inbox = reader.inbox.lock();
            inbox.ended = true;
            let waker = inbox.waker.take();
            drop(inbox);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Returns the readers whose handles are there.
    fn alive(&self) -> Vec<Arc<Reader>> {
        self.readers.lock().iter().filter_map(Weak::upgrade).collect()
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
#[derive(Debug)]
struct Shared {
    /// Number of readers that are behind.
    behind: AtomicUsize,
    /// Wakes the driver: a reader has caught up.
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inbox {
    /// What waits, by writer; none is empty.
    queues: BTreeMap<Option<NodeId>, Queue>,
    /// The writers of which something waits, in the order of their turns, and the next number.
    turns: BTreeMap<u64, Option<NodeId>>,
    next_turn: u64,
    /// The same, by what waits.
    by_size: BTreeSet<(usize, Option<NodeId>)>,
    bytes: usize,
    /// Whether anybody has ever read from the handle. One that is never read holds up nobody.
    is_read: bool,
    is_behind: bool,
    /// What was dropped from the fronts of the queues, by writer. It is older than all that is
    /// queued. At most [`DROPPED`].
    dropped: BTreeMap<NodeId, Dropped>,
    ended: bool,
    waker: Option<Waker>,
}

/// What waits of one writer, in order.
#[derive(Debug)]
struct Queue {
    batches: VecDeque<Batch>,
    bytes: usize,
    turn: u64,
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
            Batch::Messages { messages, .. } => self.miss(messages.len() as u64),
            Batch::Gap { missed, .. } => self.miss(*missed),
            Batch::Notice(notice) => {
                self.ended |= matches!(notice, Some(Incoming::End { .. }));
                self.restarted |= matches!(notice, Some(Incoming::Restarted { .. }));
            }
        }
    }

    /// Gaps are claims of their writers, and may be of any length.
    fn miss(&mut self, messages: u64) {
        self.missed = self.missed.saturating_add(messages);
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
        let (_, writer) = self.turns.first_key_value()?;
        let writer = *writer;
        let batch = self.take_of(writer)?;
        if let Some(queue) = self.queues.get_mut(&writer) {
            self.turns.remove(&queue.turn);
            queue.turn = self.next_turn;
            self.turns.insert(queue.turn, writer);
            self.next_turn += 1;
        }
        Some(batch)
    }

    /// Takes the oldest batch of a writer.
    fn take_of(&mut self, writer: Option<NodeId>) -> Option<Batch> {
        let queue = self.queues.get_mut(&writer)?;
        let batch = queue.batches.pop_front()?;
        self.by_size.remove(&(queue.bytes, writer));
        self.bytes -= batch.size();
        queue.bytes -= batch.size();
        if queue.batches.is_empty() {
            self.bytes -= queue.bytes;
            self.turns.remove(&queue.turn);
            self.queues.remove(&writer);
        } else {
            self.by_size.insert((queue.bytes, writer));
        }
        Some(batch)
    }

    /// Queues a batch behind those of its writer.
    fn append(&mut self, batch: Batch) {
        let (writer, size) = (batch.writer(), batch.size());
        let queue = self.queues.entry(writer).or_insert_with(|| {
            let turn = self.next_turn;
            self.turns.insert(turn, writer);
            self.next_turn += 1;
            self.bytes += QUEUE;
            Queue { batches: VecDeque::with_capacity(1), bytes: QUEUE, turn }
        });
        self.by_size.remove(&(queue.bytes, writer));
        queue.bytes += size;
        self.by_size.insert((queue.bytes, writer));
        queue.batches.push_back(batch);
        self.bytes += size;
    }

    /// Queues a batch, and drops and counts the oldest ones above the limit. `lost` gets those that
    /// the program would have read.
    fn push(&mut self, batch: Batch, limit: usize, lost: &mut Vec<(NodeId, u64)>) {
        self.append(batch);
        while self.bytes > limit
            && let Some((_, most)) = self.by_size.last().copied()
            && let Some(oldest) = self.take_of(most)
        {
            if let Some(from) = oldest.writer() {
                self.make_room_for(from);
                let dropped = self.dropped.entry(from).or_default();
                let before = dropped.missed;
                dropped.add(&oldest);
                if self.is_read && matches!(oldest, Batch::Messages { .. }) {
                    lost.push((from, dropped.missed - before));
                }
            }
        }
    }

    /// Makes room to remember what is dropped of this writer.
    fn make_room_for(&mut self, writer: NodeId) {
        if self.dropped.len() < DROPPED || self.dropped.contains_key(&writer) {
            return;
        }
        let least = self.dropped.iter().min_by_key(|(_, dropped)| dropped.missed).map(|(from, _)| *from);
        if let Some((from, Dropped { missed, .. })) = least.and_then(|from| self.dropped.remove_entry(&from))
        {
            tracing::debug!(
                ?from,
                missed,
                "a slow reader has missed messages of too many writers; this gap is not reported"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broadcast::Broadcast;
    use crate::broadcast::incoming::Written;
    use crate::broadcast::mailbox::Mailbox;
    use smokesignal_proto::Messages;
    use tokio::time::Instant;

    fn message(seq: u64, len: usize) -> Batch {
        let messages = Messages::one(vec![0; len].into());
        let written = Written { age: Duration::ZERO, until: Instant::now() };
        Batch::Messages { channel: None, from: NodeId::from_bytes([1; 32]), seq, messages, written }
    }

    #[tokio::test]
    async fn a_slow_reader_is_handed_the_number_of_messages_it_missed() {
        let mailbox = Arc::new(Mailbox::new(1000));
        let mut slow = Broadcast::new(&mailbox, None);
        for seq in 1..=100 {
            mailbox.inboxes.deliver(&[message(seq, 1024 * 1024)]);
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

    /// A writer with very many messages would delay what all others have written.
    #[tokio::test]
    async fn a_reader_that_is_behind_reads_its_writers_in_turns_and_each_in_order() {
        let mailbox = Arc::new(Mailbox::new(1000));
        let mut slow = Broadcast::new(&mailbox, None);
        let of = |writer: u8, seq| match message(seq, 10) {
            Batch::Messages { channel, seq, messages, written, .. } => {
                Batch::Messages { channel, from: NodeId::from_bytes([writer; 32]), seq, messages, written }
            }
            other => other,
        };
        let first: Vec<_> = (1..=1000).map(|seq| of(1, seq)).collect();
        mailbox.inboxes.deliver(&first);
        mailbox.inboxes.deliver(&[of(2, 1), of(3, 1), of(2, 2)]);
        let mut read = Vec::new();
        for _ in 0..6 {
            let Some(Incoming::Message { from, seq, .. }) = slow.recv().await else { panic!("a message") };
            read.push((from.as_bytes()[0], seq));
        }
        assert_eq!(read, [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (1, 3)]);
    }

    #[tokio::test]
    async fn of_an_inbox_that_is_full_the_writer_with_most_loses() {
        let mailbox = Arc::new(Mailbox::new(1000));
        let mut slow = Broadcast::new(&mailbox, None);
        let quiet = NodeId::from_bytes([2; 32]);
        let batch = match message(1, 10) {
            Batch::Messages { channel, seq, messages, written, .. } => {
                Batch::Messages { channel, from: quiet, seq, messages, written }
            }
            other => other,
        };
        mailbox.inboxes.deliver(&[batch]);
        (1..=100).for_each(|seq| mailbox.inboxes.deliver(&[message(seq, LARGE)]).clear());
        mailbox.close();
        let (mut missed, mut of_quiet) = (Vec::new(), 0);
        while let Some(incoming) = slow.recv().await {
            match incoming {
                Incoming::Gap { from, .. } => missed.push(from),
                Incoming::Message { from, .. } => of_quiet += usize::from(from == quiet),
                _ => {}
            }
        }
        assert_eq!((missed, of_quiet), (vec![NodeId::from_bytes([1; 32])], 1));
    }

    /// The length of a message that soon fills an inbox.
    const LARGE: usize = 1024 * 1024;

    #[tokio::test]
    async fn of_writers_without_number_those_of_which_most_was_dropped_are_remembered() {
        let mailbox = Arc::new(Mailbox::new(1000));
        let mut slow = Broadcast::new(&mailbox, None);
        let gap = |writer: usize, missed| {
            let mut id = [9; 32];
            id[..8].copy_from_slice(&writer.to_be_bytes());
            Batch::Gap { from: NodeId::from_bytes(id), missed }
        };
        // Together beyond every number; and of all writers as much waits as an inbox holds twice.
        let most = 2 * INBOX / (OVERHEAD + QUEUE);
        let large = |writer| std::iter::repeat_n(gap(writer, u64::MAX), 8);
        mailbox.inboxes.deliver(&large(0).chain([gap(1, 2)]).collect::<Vec<_>>());
        for writers in [2..most / 2, most / 2..most] {
            mailbox.inboxes.deliver(&writers.map(|writer| gap(writer, 1)).collect::<Vec<_>>());
        }
        mailbox.close();
        let mut gaps = Vec::new();
        while let Some(incoming) = slow.recv().await {
            if let Incoming::Gap { missed, .. } = incoming {
                gaps.push(missed);
            }
        }
        let waiting = INBOX / (OVERHEAD + QUEUE);
        assert!((waiting..=waiting + DROPPED).contains(&gaps.len()), "{} gaps", gaps.len());
        assert_eq!(gaps[0], u64::MAX);
    }

    /// Found by measuring: with room for two, three writers of 16 MiB lost 3 % of their messages at
    /// readers that were reading.
    #[tokio::test]
    async fn the_largest_messages_of_four_writers_may_arrive_together() {
        const SIZE: usize = 16 * 1024 * 1024;
        let mailbox = Arc::new(Mailbox::new(SIZE));
        let mut reader = Broadcast::new(&mailbox, None);
        mailbox.inboxes.deliver(&[1, 2, 3, 4].map(|seq| message(seq, SIZE)));
        for expected in 1..=4 {
            let Some(Incoming::Message { seq, .. }) = reader.recv().await else { panic!("a gap") };
            assert_eq!(seq, expected);
        }
    }
}
