//! The receiving side: each node gives what it reads to its sink.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use crate::message::{Header, clock};

/// When all messages count for latency one would spend more on the clock than on the system: without a rate, one in 64.
const SAMPLE: u64 = 64;
/// A minute in nanoseconds: later than that counts as that.
const LATEST: u64 = 60_000_000_000;

/// Where one node puts what it reads.
#[derive(Debug, Clone)]
pub struct Sink {
    received: Arc<Mutex<Received>>,
}

impl Sink {
    pub(crate) fn new(node: usize, board: Arc<Board>) -> Self {
        let writers = board.writers.len();
        let received = Received {
            node,
            board,
            from: (0..writers).map(|_| Writer::default()).collect(),
            latency: histogram(),
            repeated: 0,
            disordered: 0,
        };
        Self { received: Arc::new(Mutex::new(received)) }
    }

    /// For a batch of messages: cheaper than one by one.
    pub fn lock(&self) -> Inbox<'_> {
        Inbox(self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A sink that takes messages.
#[derive(Debug)]
pub struct Inbox<'a>(MutexGuard<'a, Received>);

impl Inbox<'_> {
    /// The node has read this message.
    pub fn arrived(&mut self, message: &[u8]) {
        if let Some(header) = Header::read(message) {
            self.0.arrived(header);
        }
    }

    /// The node was told that it has missed so many messages.
    pub fn missed(&mut self, messages: u64) {
        self.0.board.missed.fetch_add(messages, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        let received = &*self.0;
        Totals {
            latency: received.latency.clone(),
            different: received.from.iter().map(Writer::different).sum(),
            repeated: received.repeated,
            disordered: received.disordered,
        }
    }
}

/// What one node has read in all.
pub(crate) struct Totals {
    pub(crate) latency: Histogram<u64>,
    pub(crate) different: u64,
    pub(crate) repeated: u64,
    pub(crate) disordered: u64,
}

#[derive(Debug)]
struct Received {
    node: usize,
    board: Arc<Board>,
    from: Vec<Writer>,
    latency: Histogram<u64>,
    repeated: u64,
    disordered: u64,
}

/// What has come from one writer.
#[derive(Debug, Default)]
struct Writer {
    /// All below have come.
    next: u64,
    /// Those above `next` that have come already.
    ahead: BTreeSet<u64>,
}

impl Writer {
    fn different(&self) -> u64 {
        self.next + self.ahead.len() as u64
    }
}

impl Received {
    fn arrived(&mut self, header: Header) {
        let writer = header.writer as usize;
        let Some(from) = self.from.get_mut(writer) else { return };
        let cell = &self.board.cells[self.node * self.board.writers.len() + writer];
        if header.probe {
            return cell.heard.store(true, Ordering::Release);
        }
        if header.seq == from.next {
            from.next += 1;
            while !from.ahead.is_empty() && from.ahead.remove(&from.next) {
                from.next += 1;
            }
        } else if header.seq < from.next || !from.ahead.insert(header.seq) {
            self.repeated += 1;
            return;
        } else {
            self.disordered += 1;
        }
        // Only this node writes here, so that no atomic addition is needed.
        cell.count.store(cell.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let mark = header.seq + 1;
        if mark > cell.mark.load(Ordering::Relaxed) {
            cell.mark.store(mark, Ordering::Release);
            if mark.is_multiple_of(self.board.step) {
                self.board.writers[writer].notify_one();
            }
        }
        if header.due >= self.board.measured_from.load(Ordering::Relaxed)
            && (self.board.every_latency || header.seq.is_multiple_of(SAMPLE))
        {
            self.latency.saturating_record(clock().saturating_sub(header.due).clamp(1, LATEST));
        }
    }
}

pub(crate) fn histogram() -> Histogram<u64> {
    // Three digits from a microsecond on; below that nothing is promised.
    Histogram::new_with_bounds(1_000, LATEST, 3).expect("the bounds are constant and valid")
}

/// What the writers see of the readers.
#[derive(Debug)]
pub(crate) struct Board {
    /// One for each reader and writer, a reader's side by side.
    cells: Vec<Cell>,
    /// Woken each `step` messages that one reader has read.
    pub(crate) writers: Vec<Notify>,
    step: u64,
    /// Messages that readers were told they have missed.
    pub(crate) missed: AtomicU64,
    /// Messages due from then on count for latency.
    pub(crate) measured_from: AtomicU64,
    every_latency: bool,
}

#[derive(Debug, Default)]
struct Cell {
    /// Above the highest number read.
    mark: AtomicU64,
    /// Different messages read.
    count: AtomicU64,
    heard: AtomicBool,
}

impl Board {
    pub(crate) fn new(nodes: usize, writers: usize, step: u64, every_latency: bool) -> Self {
        Self {
            cells: (0..nodes * writers).map(|_| Cell::default()).collect(),
            writers: (0..writers).map(|_| Notify::new()).collect(),
            step: step.max(1),
            missed: AtomicU64::new(0),
            measured_from: AtomicU64::new(u64::MAX),
            every_latency,
        }
    }

    fn readers_of(&self, writer: usize) -> impl Iterator<Item = &Cell> {
        let of_writer = self.cells.iter().skip(writer).step_by(self.writers.len());
        of_writer.enumerate().filter(move |(node, _)| *node != writer).map(|(_, cell)| cell)
    }

    /// How far the slowest reader of this writer is.
    pub(crate) fn slowest(&self, writer: usize) -> u64 {
        self.readers_of(writer).map(|cell| cell.mark.load(Ordering::Acquire)).min().unwrap_or(u64::MAX)
    }

    /// Readers that have heard this writer.
    pub(crate) fn heard(&self, writer: usize) -> usize {
        self.readers_of(writer).filter(|cell| cell.heard.load(Ordering::Acquire)).count()
    }

    /// Messages read, or told as missed.
    pub(crate) fn accounted(&self) -> u64 {
        self.delivered() + self.missed.load(Ordering::Relaxed)
    }

    /// Different messages read so far, by all readers.
    pub(crate) fn delivered(&self) -> u64 {
        let counts = |writer| self.readers_of(writer).map(|cell| cell.count.load(Ordering::Relaxed));
        (0..self.writers.len()).flat_map(counts).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, writer: u32) -> bytes::Bytes {
        Header { due: 0, seq, writer, probe: false }.message(&[])
    }

    #[test]
    fn losses_repetitions_and_disorder_are_counted() {
        let board = Arc::new(Board::new(2, 1, 1, true));
        let sink = Sink::new(1, Arc::clone(&board));
        for seq in [0, 1, 1, 4, 3, 3, 6] {
            sink.lock().arrived(&message(seq, 0));
        }
        sink.lock().arrived(&message(0, 7));
        let totals = sink.lock().totals();
        assert_eq!((totals.different, totals.repeated, totals.disordered), (5, 2, 3));
        sink.lock().missed(2);
        assert_eq!((board.delivered(), board.accounted(), board.slowest(0)), (5, 7, 7));
        sink.lock().arrived(&message(2, 0));
        assert_eq!(sink.lock().totals().different, 6);
    }

    #[test]
    fn a_writer_s_own_node_does_not_count_as_a_reader() {
        let board = Arc::new(Board::new(3, 2, 1, true));
        for (node, writer) in [(1, 0), (2, 0), (0, 1)] {
            Sink::new(node, Arc::clone(&board)).lock().arrived(&message(0, writer));
        }
        assert_eq!((board.slowest(0), board.slowest(1), board.delivered()), (1, 0, 3));
    }
}
