//! How far each reader is with each writer: shared by the sinks, which write it, and the writers,
//! which pace themselves by it.
//!
//! Every pair of a node and a writer has a cell of its own, which only that node's sink writes. So
//! a sink needs no lock and no atomic addition to record a message, and a writer finds its slowest
//! reader by looking at one cell per node.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::pace::Pace;

/// Counts what all nodes have read.
#[derive(Debug)]
pub(crate) struct Progress {
    /// One cell per node and writer; those of one node are adjacent.
    cells: Vec<Cell>,
    /// One per writer: notified whenever a reader has read another `step` messages of it.
    steps: Vec<Notify>,
    step: u64,
    pace: Pace,
    /// Messages that the system reported as missed.
    missed: AtomicU64,
    /// Messages due at this time of [`clock`](crate::message::clock) or later count for latency.
    measured_from: AtomicU64,
}

#[derive(Debug, Default)]
struct Cell {
    /// One more than the highest number read.
    mark: AtomicU64,
    /// Different messages read.
    count: AtomicU64,
    /// Whether a probe of the writer has arrived.
    heard: AtomicBool,
}

impl Progress {
    /// Creates the record of a run in which nothing has been read yet.
    pub(crate) fn new(nodes: usize, writers: usize, pace: Pace) -> Self {
        Self {
            cells: (0..nodes * writers).map(|_| Cell::default()).collect(),
            steps: (0..writers).map(|_| Notify::new()).collect(),
            step: pace.step(),
            pace,
            missed: AtomicU64::new(0),
            measured_from: AtomicU64::new(u64::MAX),
        }
    }

    /// Returns the number of writers.
    pub(crate) fn writers(&self) -> usize {
        self.steps.len()
    }

    /// Records that `node` has read a probe of `writer`.
    pub(crate) fn record_probe(&self, node: usize, writer: usize) {
        self.cell(node, writer).heard.store(true, Ordering::Release);
    }

    /// Records that `node` has read message `seq` of `writer` for the first time.
    pub(crate) fn record(&self, node: usize, writer: usize, seq: u64) {
        let cell = self.cell(node, writer);
        cell.count.store(cell.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let mark = seq + 1;
        if mark > cell.mark.load(Ordering::Relaxed) {
            cell.mark.store(mark, Ordering::Release);
            if mark.is_multiple_of(self.step) {
                self.steps[writer].notify_one();
            }
        }
    }

    /// Records that the system reported `messages` as missed.
    pub(crate) fn record_missed(&self, messages: u64) {
        self.missed.fetch_add(messages, Ordering::Relaxed);
    }

    /// Starts the measurement of latency with the messages due at `now` or later.
    pub(crate) fn measure_from(&self, now: u64) {
        self.measured_from.store(now, Ordering::Relaxed);
    }

    /// Returns whether the latency of this message is to be recorded.
    pub(crate) fn counts_for_latency(&self, due: u64, seq: u64) -> bool {
        due >= self.measured_from.load(Ordering::Relaxed) && self.pace.records_latency(seq)
    }

    /// Resolves when a reader of this writer has come a step further since the call.
    pub(crate) fn next_step(&self, writer: usize) -> Notified<'_> {
        self.steps[writer].notified()
    }

    /// Returns how many messages of this writer its slowest reader has read.
    pub(crate) fn slowest(&self, writer: usize) -> u64 {
        self.readers_of(writer).map(|cell| cell.mark.load(Ordering::Acquire)).min().unwrap_or(u64::MAX)
    }

    /// Returns how many readers have received a probe of this writer.
    pub(crate) fn heard(&self, writer: usize) -> usize {
        self.readers_of(writer).filter(|cell| cell.heard.load(Ordering::Acquire)).count()
    }

    /// Returns how many different messages all readers have read.
    pub(crate) fn delivered(&self) -> u64 {
        let counts = |writer| self.readers_of(writer).map(|cell| cell.count.load(Ordering::Relaxed));
        (0..self.writers()).flat_map(counts).sum()
    }

    /// Returns how many messages the system reported as missed.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Returns how many messages have been read or reported as missed.
    pub(crate) fn accounted(&self) -> u64 {
        self.delivered() + self.missed()
    }

    fn cell(&self, node: usize, writer: usize) -> &Cell {
        &self.cells[node * self.writers() + writer]
    }

    /// The cells of all nodes but the writer's own.
    fn readers_of(&self, writer: usize) -> impl Iterator<Item = &Cell> {
        let of_writer = self.cells.iter().skip(writer).step_by(self.writers());
        of_writer.enumerate().filter(move |(node, _)| *node != writer).map(|(_, cell)| cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_does_not_count_as_a_reader_of_itself() {
        let progress = Progress::new(3, 2, Pace::Window(1));
        for (node, writer) in [(1, 0), (2, 0), (0, 1)] {
            progress.record(node, writer, 0);
        }
        assert_eq!((progress.slowest(0), progress.slowest(1), progress.delivered()), (1, 0, 3));
    }
}
