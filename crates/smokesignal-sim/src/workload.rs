//! The messages of a world: what is written, and what was read of it.
//!
//! A message carries its writer, the writer's start, its number and the time of writing, and is
//! filled with a byte that follows from these ([`Head`]). A reader can therefore check every
//! message without a second copy of it. [`Traffic`] schedules the writes and keeps the books: per
//! writer what it has written, per reader and writer what has arrived ([`Read`]).

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::kernel::{Event, Kernel, micros};

/// Steady writing.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Number of writing nodes.
    pub writers: usize,
    /// Messages per second and writer.
    pub per_second: f64,
    /// Bytes per message, at least 24.
    pub size: usize,
    /// How long the writing goes on.
    pub lasts: Duration,
}

/// Bytes of a message's head.
const HEAD: usize = 24;
/// The time after which a writer that may not write tries again: 5 ms. A guess, far below what is
/// measured.
const RETRY: u64 = 5_000;
/// Segments of one writer whose hop count a node remembers. Repairs of older ones count no hops.
const HOPS: usize = 16;

/// The head of a message: all that it says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The number of its writer, and which start of it.
    pub(crate) writer: u32,
    pub(crate) start: u32,
    /// Its own number, from 1 on.
    pub(crate) number: u64,
    /// When it was written, in virtual microseconds.
    pub(crate) written_at: u64,
}

impl Head {
    /// Makes the message, of at least 24 bytes.
    pub(crate) fn message(&self, size: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(size.max(HEAD));
        bytes.put_u32(self.writer);
        bytes.put_u32(self.start);
        bytes.put_u64(self.number);
        bytes.put_u64(self.written_at);
        bytes.resize(size.max(HEAD), self.filler());
        bytes.freeze()
    }

    /// Reads the head of a message, without a look at the rest.
    pub(crate) fn of(message: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_be_bytes(message.get(at..at + 8)?.try_into().ok()?));
        let writer = word(0)?;
        Some(Self {
            writer: (writer >> 32) as u32,
            start: writer as u32,
            number: word(8)?,
            written_at: word(16)?,
        })
    }

    /// Reads the head of a message whose every byte is as it was written.
    pub(crate) fn of_unaltered(message: &[u8]) -> Option<Self> {
        let head = Self::of(message)?;
        message[HEAD..].iter().all(|byte| *byte == head.filler()).then_some(head)
    }

    fn filler(&self) -> u8 {
        (self.number as u8) ^ (self.writer as u8) ^ 0x5A
    }
}

/// All writers and all that was read.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    workload: Option<Workload>,
    /// When the writing ends, in virtual microseconds.
    ends_at: u64,
    /// All writers, by writer number.
    writers: Vec<Writer>,
    /// The writer number of each node that writes, by node number.
    numbers: Vec<Option<u32>>,
    /// What each node has read, by node number and writer number.
    reads: Vec<Vec<Read>>,
    /// What was written before each node was connected, by node number: none of it is due there.
    /// `None` until the node reports its first link.
    before: Vec<Option<Before>>,
}

/// The start of each writer, and the messages that it had written in that start, by writer number.
type Before = Vec<(u64, u64)>;

/// A writer and the count of its messages.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    /// The node that it is.
    pub(crate) node: usize,
    /// Messages written in the present start, and the time of the last one.
    pub(crate) written: u64,
    pub(crate) written_at: u64,
}

/// The books of one reader about one writer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Read {
    /// Which start of the writer; 0 before the first message.
    pub(crate) start: u64,
    /// First and last message delivered, and how many.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) delivered: u64,
    /// Messages reported as missed: in all, and since the last delivery.
    pub(crate) missed: u64,
    pub(crate) pending_gap: u64,
    /// Messages reported as missed before the first delivery.
    missed_first: u64,
    /// Incarnation and number of the newest segment that arrived in order.
    incarnation: u64,
    segment: u64,
    /// For each of the last segments its number (56 bits) and the hops of its first copy (8 bits),
    /// at the segment number modulo their count.
    hops: [u64; HOPS],
}

impl Traffic {
    /// Adds the books of a node that joins the world.
    pub(crate) fn add_node(&mut self) {
        self.numbers.push(None);
        self.reads.push(Vec::new());
        self.before.push(None);
    }

    /// Forgets what a node has written and read: it starts again.
    pub(crate) fn restart(&mut self, node: usize) {
        self.reads[node].clear();
        self.before[node] = None;
        if let Some(number) = self.numbers[node] {
            self.writers[number as usize].written = 0;
        }
    }

    /// Lets these nodes write. Their first messages are spread over one period.
    pub(crate) fn begin(&mut self, kernel: &mut Kernel, nodes: Vec<usize>, workload: Workload) {
        for node in nodes {
            let number = self.add_writer(node);
            let first = kernel.rng().between(0, (1e6 / workload.per_second) as u64);
            kernel.schedule_in(first, Event::Write(number));
        }
        self.ends_at = kernel.now() + micros(workload.lasts);
        self.workload = Some(workload);
    }

    /// Makes a node a writer that has not written yet. Returns its number.
    pub(crate) fn add_writer(&mut self, node: usize) -> u32 {
        let number = self.writers.len() as u32;
        self.numbers[node] = Some(number);
        self.writers.push(Writer { node, written: 0, written_at: 0 });
        number
    }

    /// Lets each writer write one more message, of this size.
    pub(crate) fn write_once_more(&mut self, kernel: &mut Kernel, size: usize) {
        let once = Workload { writers: 0, per_second: 0.001, size, lasts: Duration::from_secs(1) };
        self.ends_at = kernel.now() + micros(once.lasts);
        self.workload = Some(once);
        (0..self.writers.len() as u32).for_each(|number| kernel.schedule_in(0, Event::Write(number)));
    }

    /// Returns the size of the next message and the time until the one after it, or `None` once the
    /// writing is over.
    pub(crate) fn next_write(&self, kernel: &mut Kernel) -> Option<(usize, u64)> {
        let workload = self.workload.filter(|_| kernel.now() < self.ends_at)?;
        let period = 1e6 / workload.per_second;
        // 10 % up or down, so that writers do not march in step.
        let next = kernel.rng().between((period * 0.9) as u64, (period * 1.1) as u64 + 1);
        Some((workload.size, next))
    }

    /// Schedules the next try of a writer that may not write now.
    pub(crate) fn retry(kernel: &mut Kernel, number: u32, at_least: u64) {
        kernel.schedule_in(at_least.max(RETRY), Event::Write(number));
    }

    /// Notes that a writer has written its next message.
    pub(crate) fn written(&mut self, number: u32, now: u64) {
        let writer = &mut self.writers[number as usize];
        writer.written += 1;
        writer.written_at = now;
    }

    /// Makes another node the writer with this number.
    pub(crate) fn move_writer(&mut self, number: u32, to: usize) {
        let from = std::mem::replace(&mut self.writers[number as usize].node, to);
        self.numbers[from] = None;
        self.numbers[to] = Some(number);
    }

    /// Notes a delivery. Returns when the message was written, if the message can be understood.
    pub(crate) fn delivered(&mut self, node: usize, writer: u32, seq: u64, data: &[u8]) -> Option<u64> {
        let head = Head::of(data)?;
        let start = u64::from(head.start);
        let read = self.read_mut(node, writer);
        if read.start == 0 || start > read.start {
            (read.first, read.delivered, read.missed) = (seq, 0, 0);
            read.missed_first = read.pending_gap;
        }
        (read.start, read.last, read.pending_gap) = (start, seq, 0);
        read.delivered += 1;
        Some(head.written_at)
    }

    /// Notes that a node has reported a gap.
    pub(crate) fn missed(&mut self, node: usize, writer: u32, missed: u64) {
        let read = self.read_mut(node, writer);
        read.missed += missed;
        read.pending_gap += missed;
        // The stream continues at a segment that nobody knows yet.
        read.segment = 0;
    }

    /// Notes that a node reports a link. From the first one on, all that is written is due there.
    /// `starts` returns how often a node was started.
    pub(crate) fn connected(&mut self, node: usize, starts: impl Fn(usize) -> u64) {
        let writers = &self.writers;
        let now = || writers.iter().map(|writer| (starts(writer.node), writer.written)).collect();
        self.before[node].get_or_insert_with(now);
    }

    /// Returns whether a node has reported a link since it was started.
    pub(crate) fn was_connected(&self, node: usize) -> bool {
        self.before[node].is_some()
    }

    /// Returns how many of the first `written` messages of a writer's start are due at a node and
    /// were neither delivered nor reported as missed. A gap of more than was written accounts for
    /// nothing. That those between the first and the last delivery add up is checked at each
    /// delivery.
    pub(crate) fn unaccounted(&self, node: usize, writer: u32, start: u64, written: u64) -> u64 {
        let Some(before) = &self.before[node] else { return 0 };
        let before =
            before.get(writer as usize).filter(|(of, _)| *of == start).map_or(0, |(_, before)| *before);
        let read = self.read(node, writer).cloned().unwrap_or_default();
        let missed_after = |last: u64| {
            let is_true = last + read.pending_gap <= self.writers[writer as usize].written;
            if is_true { read.pending_gap } else { 0 }
        };
        if read.start != start {
            return written.saturating_sub(before + missed_after(before));
        }
        let missed_first = if read.missed_first < read.first { read.missed_first } else { 0 };
        let at_the_beginning = read.first.saturating_sub(1 + before + missed_first);
        at_the_beginning + written.saturating_sub(read.last + missed_after(read.last))
    }

    /// Returns how many messages a node has reported as missed, of the starts that it reads now.
    pub(crate) fn missed_by(&self, node: usize) -> u64 {
        self.reads[node].iter().map(|read| read.missed_first + read.missed).sum()
    }

    /// Returns what a node has read of a writer, for changes.
    pub(crate) fn read_mut(&mut self, node: usize, writer: u32) -> &mut Read {
        let reads = &mut self.reads[node];
        let at = writer as usize;
        if reads.len() <= at {
            reads.resize(at + 1, Read::default());
        }
        &mut reads[at]
    }

    /// Returns what a node has read of a writer, or `None` if it has never heard of it.
    pub(crate) fn read(&self, node: usize, writer: u32) -> Option<&Read> {
        self.reads[node].get(writer as usize)
    }

    /// Returns the writer number of a node.
    pub(crate) fn number(&self, node: usize) -> Option<u32> {
        self.numbers[node]
    }

    pub(crate) fn is_writer(&self, node: usize) -> bool {
        self.numbers[node].is_some()
    }

    /// Returns all writers, by number.
    pub(crate) fn writers(&self) -> &[Writer] {
        &self.writers
    }
}

impl Read {
    /// Notes a copy of a segment that came over `hops` links. Returns whether it is the first copy
    /// that the node can use.
    pub(crate) fn copy_arrived(&mut self, incarnation: u64, segment: u64, hops: u8) -> bool {
        if incarnation < self.incarnation {
            return false;
        }
        let fresh = self.segment == 0 || incarnation > self.incarnation;
        if !fresh && segment != self.segment + 1 {
            return false;
        }
        (self.incarnation, self.segment) = (incarnation, segment);
        self.hops[segment as usize % HOPS] = segment << 8 | u64::from(hops);
        true
    }

    /// Returns after how many hops the node had this segment first.
    pub(crate) fn hops_of(&self, segment: u64) -> Option<u8> {
        let entry = self.hops[segment as usize % HOPS];
        (entry >> 8 == segment).then_some(entry as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_message_is_recognised() {
        let head = Head { writer: 3, start: 1, number: 77, written_at: 123_456 };
        let message = head.message(100);
        assert_eq!((message.len(), Head::of_unaltered(&message)), (100, Some(head)));
        let mut changed = message.to_vec();
        changed[99] ^= 1;
        assert_eq!(Head::of_unaltered(&changed), None);
        assert_eq!(Head::of_unaltered(&message[..20]), None);
    }

    #[test]
    fn only_the_first_copy_in_order_is_of_use() {
        let mut read = Read::default();
        assert!(read.copy_arrived(1, 5, 3), "the first ever");
        assert!(!read.copy_arrived(1, 5, 2), "a second copy");
        assert!(!read.copy_arrived(1, 7, 2), "too early");
        assert!(read.copy_arrived(1, 6, 4));
        assert_eq!((read.hops_of(5), read.hops_of(6), read.hops_of(7)), (Some(3), Some(4), None));
        assert!(read.copy_arrived(2, 1, 1), "a new start of the writer");
    }

    /// Creates the books of a writer of 10 messages, and of a reader that is connected once 4 of
    /// them are written.
    fn connected_after_four() -> (Traffic, u32) {
        let mut traffic = Traffic::default();
        (0..2).for_each(|_| traffic.add_node());
        let writer = traffic.add_writer(0);
        (0..4).for_each(|_| traffic.written(writer, 0));
        traffic.connected(1, |_| 1);
        (0..6).for_each(|_| traffic.written(writer, 0));
        (traffic, writer)
    }

    fn read(traffic: &mut Traffic, writer: u32, start: u32, number: u64) {
        let message = Head { writer, start, number, written_at: 0 }.message(24);
        traffic.delivered(1, writer, number, &message);
    }

    #[test]
    fn a_reader_is_due_what_was_written_after_it_was_connected() {
        let (mut traffic, writer) = connected_after_four();
        assert_eq!(traffic.unaccounted(1, writer, 1, 4), 0);
        assert_eq!(traffic.unaccounted(1, writer, 1, 10), 6, "it has read nothing");
        traffic.connected(1, |_| 2);
        assert_eq!(traffic.unaccounted(1, writer, 1, 10), 6, "another link changes nothing");
        read(&mut traffic, writer, 1, 7);
        assert_eq!(traffic.unaccounted(1, writer, 1, 10), 2 + 3, "5 and 6, and 8 to 10");
        traffic.missed(1, writer, 3);
        assert_eq!(traffic.unaccounted(1, writer, 1, 10), 2, "a gap accounts for 8 to 10");
    }

    #[test]
    fn a_gap_before_the_first_delivery_accounts_for_what_is_missing_there() {
        let (mut traffic, writer) = connected_after_four();
        traffic.missed(1, writer, 2);
        assert_eq!(traffic.unaccounted(1, writer, 1, 10), 4);
        read(&mut traffic, writer, 1, 7);
        assert_eq!(traffic.unaccounted(1, writer, 1, 7), 0);
        assert_eq!(traffic.missed_by(1), 2);
    }

    #[test]
    fn a_gap_of_more_than_was_written_accounts_for_nothing() {
        let (mut traffic, writer) = connected_after_four();
        traffic.missed(1, writer, 1_024);
        assert_eq!(traffic.unaccounted(1, writer, 1, 10), 6);
        read(&mut traffic, writer, 1, 7);
        assert_eq!(traffic.unaccounted(1, writer, 1, 7), 2);
        traffic.missed(1, writer, 1_024);
        assert_eq!(traffic.unaccounted(1, writer, 1, 10), 2 + 3);
    }

    #[test]
    fn of_a_writer_s_later_start_everything_is_due() {
        let (mut traffic, writer) = connected_after_four();
        read(&mut traffic, writer, 1, 5);
        assert_eq!(traffic.unaccounted(1, writer, 2, 10), 10);
        read(&mut traffic, writer, 2, 1);
        assert_eq!(traffic.unaccounted(1, writer, 2, 10), 9);
    }
}
