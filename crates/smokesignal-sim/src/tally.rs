//! What single nodes write, read and lose, for scenarios that compare nodes with their lines.
//!
//! The counters of [`Stats`](crate::stats::Stats) are sums over the network. A [`Tally`] counts by
//! node, in bytes, and only in worlds that ask for it. It also plays the reading program: one
//! that takes a limited amount per second has an inbox, as in the library, from which the oldest
//! messages are dropped once it is full.

use std::collections::VecDeque;

use smokesignal_proto::CloseReason;

use crate::stats::Histogram;

/// Bytes that an inbox of the library holds.
const INBOX: u64 = 64 * 1024 * 1024;

/// The counts of all nodes since the beginning of a measurement, by node number.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    nodes: Vec<NodeTally>,
}

/// The counts of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeTally {
    /// Bytes of messages that its program has read.
    pub(crate) read: u64,
    /// Microseconds from writing to reading.
    pub(crate) latency: Histogram,
    /// Messages that it missed, as reported, and those that its full inbox dropped.
    pub(crate) missed: u64,
    /// The messages among them that its inbox dropped.
    pub(crate) dropped: u64,
    /// Bytes of segments that arrived and were of no use: known already, or too early.
    pub(crate) useless: u64,
    /// Links that it lost although both ends live.
    pub(crate) links_lost: u64,
    /// When its program last read a message, and the longest time without, in microseconds.
    pub(crate) read_at: u64,
    pub(crate) silence: u64,
    /// The inbox of a program that reads slowly.
    inbox: Option<Inbox>,
}

impl Tally {
    /// Returns the counts of a node.
    pub(crate) fn node(&mut self, ix: usize) -> &mut NodeTally {
        if self.nodes.len() <= ix {
            self.nodes.resize(ix + 1, NodeTally::default());
        }
        &mut self.nodes[ix]
    }
}

impl NodeTally {
    /// Lets the node's program read at most this many bytes per second.
    pub(crate) fn read_slowly(&mut self, rate: u64) {
        self.inbox = Some(Inbox { rate, free_at: 0, bytes: 0, queue: VecDeque::new() });
    }

    /// Counts a message that its node delivers.
    pub(crate) fn delivered(&mut self, bytes: u64, written_at: u64, now: u64) {
        let Some(mut inbox) = self.inbox.take() else { return self.read(bytes, (now, now - written_at)) };
        self.read_until(&mut inbox, now);
        inbox.bytes += bytes;
        inbox.queue.push_back(Unread { bytes, written_at, since: now });
        while inbox.bytes > INBOX
            && let Some(oldest) = inbox.queue.pop_front()
        {
            inbox.bytes -= oldest.bytes;
            self.missed += 1;
            self.dropped += 1;
        }
        self.inbox = Some(inbox);
    }

    /// Lets a slow program read what it has read by this time.
    pub(crate) fn catch_up(&mut self, now: u64) {
        if let Some(mut inbox) = self.inbox.take() {
            self.read_until(&mut inbox, now);
            self.inbox = Some(inbox);
        }
    }

    fn read_until(&mut self, inbox: &mut Inbox, now: u64) {
        while let Some(read) = inbox.read_next(now) {
            self.read(read.bytes, (inbox.free_at, inbox.free_at - read.written_at));
        }
    }

    fn read(&mut self, bytes: u64, (at, took): (u64, u64)) {
        if self.read > 0 {
            self.silence = self.silence.max(at.saturating_sub(self.read_at));
        }
        self.read_at = at;
        self.read += bytes;
        self.latency.add(took);
    }

    /// Counts a link that the node has lost.
    pub(crate) const fn peer_down(&mut self, reason: CloseReason) {
        use CloseReason::{Broken, ControlOverflow, Silent, Stalled};
        if matches!(reason, Broken | ControlOverflow | Silent | Stalled) {
            self.links_lost += 1;
        }
    }

    /// Counts a copy of a segment that is of no use.
    pub(crate) const fn useless_copy(&mut self, bytes: u64) {
        self.useless += bytes;
    }
}

/// What a slow program has not read.
#[derive(Debug, Clone)]
struct Inbox {
    /// Bytes per second that the program takes.
    rate: u64,
    /// When it has taken all that it has begun to take.
    free_at: u64,
    bytes: u64,
    queue: VecDeque<Unread>,
}

#[derive(Debug, Clone, Copy)]
struct Unread {
    bytes: u64,
    written_at: u64,
    since: u64,
}

impl Inbox {
    /// Returns the next message, if the program has begun to read it by this time.
    fn read_next(&mut self, now: u64) -> Option<Unread> {
        let first = *self.queue.front()?;
        let begun = self.free_at.max(first.since);
        if begun > now {
            return None;
        }
        self.free_at = begun + first.bytes * 1_000_000 / self.rate.max(1);
        self.bytes -= first.bytes;
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_program_reads_at_its_rate_and_its_full_inbox_drops_the_oldest() {
        let mut node = NodeTally::default();
        node.read_slowly(1_000_000);
        for second in 0..100 {
            node.delivered(2_000_000, second * 1_000_000, second * 1_000_000);
        }
        node.catch_up(100_000_000);
        let kept = INBOX / 2_000_000;
        assert!((100_000_000..=102_000_000).contains(&node.read), "{}", node.read);
        assert!((100 - 50 - kept).abs_diff(node.dropped) <= 2, "{}", node.dropped);
        assert!(node.latency.max() > 33_000_000, "{}", node.latency.max());
    }
}
