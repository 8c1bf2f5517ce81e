//! A node's line: what all its connections share on their way to the network and back.
//!
//! A [`Line`] has two ways, up and down. Each is a first-in-first-out queue that is emptied at a
//! constant rate, such as that of a home router or of the provider's end. A way has room for more
//! as long as what it holds would leave it within the line's `queue`. What is still under way to
//! the far end of a connection counts there as well, so that a queue never overflows: TCP is taken
//! to be ideal, and loses nothing. Connections that find no room wait in turns, and each turn is
//! good for one chunk. That makes the shares fair.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use smokesignal_proto::LinkId;

use crate::kernel::micros;

/// The connection of a node to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Bits per second from the node.
    pub up: u64,
    /// Bits per second to the node.
    pub down: u64,
    /// The time that the fullest queue takes to leave, each way.
    pub queue: Duration,
}

impl Line {
    /// Creates a line that is as fast up as down.
    pub const fn symmetric(bits: u64, queue: Duration) -> Self {
        Self { up: bits, down: bits, queue }
    }
}

/// Both ways of a node's line.
#[derive(Debug)]
pub(super) struct Ways {
    pub(super) up: Way,
    pub(super) down: Way,
}

impl Ways {
    pub(super) fn new(line: Line) -> Self {
        Self { up: Way::new(line.up, line.queue), down: Way::new(line.down, line.queue) }
    }

    /// Returns the way down or the way up.
    pub(super) const fn way(&mut self, down: bool) -> &mut Way {
        if down { &mut self.down } else { &mut self.up }
    }
}

/// One way of a line. Times are in virtual microseconds.
#[derive(Debug)]
pub(super) struct Way {
    /// Bytes per second, as the line was made, and as a fault has left it.
    full_rate: u64,
    rate: u64,
    /// The time that the fullest queue takes to leave.
    queue: u64,
    /// When everything that the queue holds now will have left it.
    busy_until: u64,
    /// Bytes that have left their senders and have not reached this queue.
    coming: u64,
    /// The longest delay on the way to this queue.
    reach: u64,
    /// Directions of connections that wait for room, by their sending sides.
    waiting: VecDeque<(LinkId, usize)>,
    /// When the next look for room is scheduled, or 0.
    looks_at: u64,
    /// Bytes that have entered the queue since the beginning.
    carried: u64,
}

impl Way {
    fn new(bits: u64, queue: Duration) -> Self {
        let rate = (bits / 8).max(1);
        Self {
            full_rate: rate,
            rate,
            queue: micros(queue),
            busy_until: 0,
            coming: 0,
            reach: 0,
            waiting: VecDeque::new(),
            looks_at: 0,
            carried: 0,
        }
    }

    /// Bytes per second.
    pub(super) const fn rate(&self) -> u64 {
        self.rate
    }

    /// The time that the fullest queue takes to leave.
    pub(super) const fn queue(&self) -> u64 {
        self.queue
    }

    /// Bytes that have entered the queue since the beginning.
    pub(super) const fn carried(&self) -> u64 {
        self.carried
    }

    /// Notes that a connection comes to this queue with this delay.
    pub(super) fn reached_over(&mut self, delay: u64) {
        self.reach = self.reach.max(delay);
    }

    /// Slows the way down to this many bytes per second, or gives it back its own rate. What is in
    /// the queue leaves at the new rate.
    pub(super) fn limit(&mut self, bytes: Option<u64>, now: u64) {
        let rate = bytes.map_or(self.full_rate, |bytes| bytes.clamp(1, self.full_rate));
        let left = u128::from(self.busy_until.saturating_sub(now)) * u128::from(self.rate);
        self.busy_until = now + (left / u128::from(rate)) as u64;
        self.rate = rate;
    }

    /// Returns whether a sender may send a chunk into this queue.
    pub(super) fn has_room(&self, now: u64) -> bool {
        self.room_at() <= now && self.time(self.coming) <= self.queue + self.reach
    }

    /// Returns whether nobody waits for room.
    pub(super) fn is_free(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Notes that a chunk has left its sender for this queue.
    pub(super) fn announce(&mut self, bytes: u64) {
        self.coming += bytes;
    }

    /// Notes that an announced chunk is here.
    pub(super) fn expect_less(&mut self, bytes: u64) {
        self.coming -= bytes;
    }

    /// Puts bytes into the queue. Returns when the last of them leaves it.
    pub(super) fn enter(&mut self, bytes: u64, now: u64) -> u64 {
        self.busy_until = self.busy_until.max(now) + self.time(bytes);
        self.carried += bytes;
        self.busy_until
    }

    /// Lets a direction wait for its turn.
    pub(super) fn wait(&mut self, link: LinkId, from: usize) {
        self.waiting.push_back((link, from));
    }

    /// Returns the direction whose turn it is, if there is room for its chunk.
    pub(super) fn next(&mut self, now: u64) -> Option<(LinkId, usize)> {
        self.has_room(now).then(|| self.waiting.pop_front()).flatten()
    }

    /// Returns when to look for room next, if somebody waits and nothing else leads to a look
    /// before. Chunks that are under way do, when they arrive.
    pub(super) fn next_look(&mut self, now: u64) -> Option<u64> {
        let at = self.room_at();
        if self.waiting.is_empty() || at <= now || (self.looks_at > now && self.looks_at <= at) {
            return None;
        }
        self.looks_at = at;
        Some(at)
    }

    /// Returns when the queue is short enough for another chunk.
    fn room_at(&self) -> u64 {
        (self.busy_until + self.time(self.coming)).saturating_sub(self.queue + self.reach)
    }

    fn time(&self, bytes: u64) -> u64 {
        bytes * 1_000_000 / self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A way with 1 Mbit/s and 400 ms of queue.
    fn way() -> Way {
        Way::new(1_000_000, Duration::from_millis(400))
    }

    #[test]
    fn a_queue_takes_what_leaves_within_its_time() {
        let mut way = way();
        let mut taken = 0;
        while way.has_room(0) {
            way.enter(1_250, 0);
            taken += 1_250;
        }
        assert_eq!(taken, 50_000 + 1_250, "400 ms, and what is being sent");
        assert!(!way.has_room(9_999) && way.has_room(10_000));
        assert_eq!(way.enter(1_250, 10_000), 420_000, "behind what is there");
    }

    #[test]
    fn what_is_under_way_to_a_queue_counts_as_if_it_were_there() {
        let mut way = way();
        way.announce(50_001);
        assert!(!way.has_room(0) && !way.has_room(10_000_000));
        way.wait(LinkId(1), 0);
        assert_eq!(way.next_look(0), Some(8), "50 001 bytes take 400 008 us");
        way.expect_less(50_001);
        way.enter(50_001, 0);
        assert_eq!(way.next(7), None);
        assert_eq!(way.next(8), Some((LinkId(1), 0)));
    }

    #[test]
    fn a_slower_line_sends_its_queue_at_its_new_rate() {
        let mut way = way();
        way.enter(12_500, 0);
        way.limit(Some(62_500), 50_000);
        assert_eq!(way.enter(0, 50_000), 150_000);
        way.limit(None, 100_000);
        assert_eq!(way.enter(0, 100_000), 125_000);
    }
}
