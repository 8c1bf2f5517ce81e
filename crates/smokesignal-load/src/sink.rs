//! The receiving side: each node hands what it reads to its sink.
//!
//! A sink keeps, per writer, the number up to which it has read everything and the set of numbers
//! beyond it that came early. From that it tells a new message from a repeated one and one in order
//! from one out of order, and it records the latency of new messages.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;

use crate::message::{Header, clock};
use crate::progress::Progress;

/// The longest latency that is distinguished, in nanoseconds: one minute. Longer ones count as
/// this.
const LONGEST_LATENCY: u64 = 60_000_000_000;

/// Takes the messages that one node reads.
#[derive(Debug, Clone)]
pub struct Sink {
    received: Arc<Mutex<Received>>,
}

impl Sink {
    pub(crate) fn new(node: usize, progress: Arc<Progress>) -> Self {
        let writers = progress.writers();
        let received = Received {
            node,
            progress,
            from: (0..writers).map(|_| FromWriter::default()).collect(),
            latency: histogram(),
            repeated: 0,
            disordered: 0,
        };
        Self { received: Arc::new(Mutex::new(received)) }
    }

    /// Locks the sink, so that a batch of messages needs a single lock.
    pub fn lock(&self) -> Inbox<'_> {
        Inbox(self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A locked [`Sink`].
#[derive(Debug)]
pub struct Inbox<'a>(MutexGuard<'a, Received>);

impl Inbox<'_> {
    /// Records that the node has read this message. Ignores messages of other programs.
    pub fn arrived(&mut self, message: &[u8]) {
        if let Some(header) = Header::read(message) {
            self.0.arrived(header);
        }
    }

    /// Records that the system has reported `messages` as missed by this node.
    pub fn missed(&mut self, messages: u64) {
        self.0.progress.record_missed(messages);
    }

    pub(crate) fn totals(&self) -> Totals {
        let received = &*self.0;
        Totals {
            latency: received.latency.clone(),
            different: received.from.iter().map(FromWriter::different).sum(),
            repeated: received.repeated,
            disordered: received.disordered,
        }
    }
}

/// All that one node, or all of them together, have read.
pub(crate) struct Totals {
    pub(crate) latency: Histogram<u64>,
    pub(crate) different: u64,
    pub(crate) repeated: u64,
    pub(crate) disordered: u64,
}

impl Totals {
    /// Adds up what these nodes have read.
    pub(crate) fn of(sinks: &[Sink]) -> Result<Self, hdrhistogram::AdditionError> {
        let mut sum = Self { latency: histogram(), different: 0, repeated: 0, disordered: 0 };
        for node in sinks.iter().map(|sink| sink.lock().totals()) {
            sum.latency.add(&node.latency)?;
            sum.different += node.different;
            sum.repeated += node.repeated;
            sum.disordered += node.disordered;
        }
        Ok(sum)
    }
}

/// What one node has received.
#[derive(Debug)]
struct Received {
    /// The number of the node.
    node: usize,
    /// Shared with the writers, which wait for their slowest reader.
    progress: Arc<Progress>,
    /// What has arrived from each writer, by its number.
    from: Vec<FromWriter>,
    /// The latency of new messages, in nanoseconds.
    latency: Histogram<u64>,
    /// Messages that had arrived before.
    repeated: u64,
    /// Messages that arrived before an earlier one of the same writer.
    disordered: u64,
}

/// What has arrived from one writer.
#[derive(Debug, Default)]
struct FromWriter {
    /// The lowest number that has not arrived.
    next: u64,
    /// The numbers above `next` that have arrived.
    ahead: BTreeSet<u64>,
}

impl FromWriter {
    /// Returns how many different messages have arrived.
    fn different(&self) -> u64 {
        self.next + self.ahead.len() as u64
    }
}

impl Received {
    /// Records a message: repeated, in order or ahead of a missing one. Only new messages count as
    /// progress and for latency.
    fn arrived(&mut self, header: Header) {
        let writer = header.writer as usize;
        let Some(from) = self.from.get_mut(writer) else { return };
        if header.probe {
            return self.progress.record_probe(self.node, writer);
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
        self.progress.record(self.node, writer, header.seq);
        if self.progress.counts_for_latency(header.due, header.seq) {
            let latency = clock().saturating_sub(header.due);
            self.latency.saturating_record(latency.clamp(1, LONGEST_LATENCY));
        }
    }
}

/// Creates an empty histogram of latencies.
fn histogram() -> Histogram<u64> {
    // Three digits from one microsecond up; shorter latencies are rounded to that.
    Histogram::new_with_bounds(1_000, LONGEST_LATENCY, 3).expect("the bounds are constant and valid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Pace;

    fn message(seq: u64, writer: u32) -> bytes::Bytes {
        Header { due: 0, seq, writer, probe: false }.message(&[])
    }

    #[test]
    fn losses_repetitions_and_disorder_are_counted() {
        let progress = Arc::new(Progress::new(2, 1, Pace::Window(1)));
        let sink = Sink::new(1, Arc::clone(&progress));
        for seq in [0, 1, 1, 4, 3, 3, 6] {
            sink.lock().arrived(&message(seq, 0));
        }
        sink.lock().arrived(&message(0, 7));
        let totals = sink.lock().totals();
        assert_eq!((totals.different, totals.repeated, totals.disordered), (5, 2, 3));
        sink.lock().missed(2);
        assert_eq!((progress.delivered(), progress.accounted(), progress.slowest(0)), (5, 7, 7));
        sink.lock().arrived(&message(2, 0));
        assert_eq!(sink.lock().totals().different, 6);
    }
}
