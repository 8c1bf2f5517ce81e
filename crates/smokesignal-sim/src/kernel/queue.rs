//! The queue of events: by time, and those of one moment in the order in which they were pushed.
//!
//! It is a timing wheel (Varghese and Lauck, 1987) with a heap at either end. A push beyond the
//! current bucket appends to a vector, which is O(1). Only the events of the current bucket, a
//! quarter of a millisecond, are in the `near` heap, which therefore stays in the processor's
//! cache; with one heap for everything, 10 000 nodes spend most of their time in it. Events beyond
//! the wheel's reach wait in the `far` heap until the wheel has turned far enough.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Width of a bucket, as a power of two: 2^8 = 256 us.
const WIDTH: u32 = 8;
/// Number of buckets: 2^14 of them reach 4.2 s ahead, farther than nearly all timers of the
/// protocol.
const BUCKETS: u64 = 1 << 14;

/// Events in the order of their time (microseconds); equal times in the order of pushing.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    /// Everything up to the end of the current bucket.
    near: BinaryHeap<Entry<E>>,
    /// The buckets after it, unsorted.
    wheel: Vec<Vec<Entry<E>>>,
    /// One bit for each bucket, set if it holds an entry.
    occupied: Vec<u64>,
    /// Everything that lies beyond the wheel.
    far: BinaryHeap<Entry<E>>,
    /// The number of the current bucket, counted from time 0.
    bucket: u64,
    /// Entries pushed so far.
    order: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: u64,
    /// Which push it was: decides between equal times.
    order: u64,
    event: E,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self {
            near: BinaryHeap::new(),
            wheel: (0..BUCKETS).map(|_| Vec::new()).collect(),
            occupied: vec![0; (BUCKETS / 64) as usize],
            far: BinaryHeap::new(),
            bucket: 0,
            order: 0,
        }
    }

    /// Adds an event. `at` must not lie before the last popped time.
    pub(crate) fn push(&mut self, at: u64, event: E) {
        self.order += 1;
        self.file(Entry { at, order: self.order, event });
    }

    /// Removes and returns the next event that is not later than `end`.
    pub(crate) fn pop_until(&mut self, end: u64) -> Option<(u64, E)> {
        loop {
            if let Some(first) = self.near.peek() {
                if first.at > end {
                    return None;
                }
                return self.near.pop().map(|entry| (entry.at, entry.event));
            }
            let next = self.next_bucket()?;
            if next << WIDTH > end {
                return None;
            }
            self.turn_to(next);
        }
    }

    /// Puts an entry into the heap or bucket that its time belongs to.
    fn file(&mut self, entry: Entry<E>) {
        let bucket = entry.at >> WIDTH;
        if bucket <= self.bucket {
            self.near.push(entry);
        } else if bucket < self.bucket + BUCKETS {
            let slot = (bucket % BUCKETS) as usize;
            self.occupied[slot / 64] |= 1 << (slot % 64);
            self.wheel[slot].push(entry);
        } else {
            self.far.push(entry);
        }
    }

    /// Returns the first bucket after the current one that holds an entry.
    fn next_bucket(&self) -> Option<u64> {
        let far = self.far.peek().map(|entry| entry.at >> WIDTH);
        self.next_occupied().into_iter().chain(far).min()
    }

    /// Looks for it on the wheel, 64 buckets at a time, from the current one on and once around.
    fn next_occupied(&self) -> Option<u64> {
        let start = ((self.bucket + 1) % BUCKETS) as usize;
        let words = self.occupied.len();
        for step in 0..=words {
            let at = (start / 64 + step) % words;
            let mut word = self.occupied[at];
            if step == 0 {
                word &= u64::MAX << (start % 64);
            } else if step == words {
                word &= !(u64::MAX << (start % 64));
            }
            if word != 0 {
                let slot = (at * 64) as u64 + u64::from(word.trailing_zeros());
                let ahead = (slot + BUCKETS - start as u64) % BUCKETS;
                return Some(self.bucket + 1 + ahead);
            }
        }
        None
    }

    /// Makes `bucket` the current one, and moves onto the wheel what comes within its reach.
    fn turn_to(&mut self, bucket: u64) {
        self.bucket = bucket;
        let slot = (bucket % BUCKETS) as usize;
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        // `near` is empty here: building a heap from all entries is cheaper than pushing each.
        self.near = BinaryHeap::from(std::mem::take(&mut self.wheel[slot]));
        while self.far.peek().is_some_and(|entry| (entry.at >> WIDTH) < bucket + BUCKETS) {
            if let Some(entry) = self.far.pop() {
                self.file(entry);
            }
        }
    }
}

// Reversed, because `BinaryHeap` returns its largest entry first.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Rng;

    #[test]
    fn events_come_by_time_and_then_in_the_order_they_were_pushed() {
        let mut rng = Rng::new(1);
        let mut queue = Queue::new();
        let mut sorted = Vec::new();
        let mut now = 0;
        for number in 0..50_000u64 {
            // Near, on the wheel, and beyond it; many at the same time.
            let span = [1, 300, 100_000, 20_000_000][rng.below(4)];
            let at = now + rng.between(0, span);
            queue.push(at, number);
            sorted.push((at, number));
            if rng.happens(0.4) {
                sorted.sort_unstable();
                let expected = sorted.remove(0);
                assert_eq!(queue.pop_until(u64::MAX), Some(expected));
                now = expected.0;
            }
            if sorted.len() > 300 {
                sorted.sort_unstable();
                for expected in sorted.drain(..200) {
                    assert_eq!(queue.pop_until(u64::MAX), Some(expected));
                    now = expected.0;
                }
            }
        }
        sorted.sort_unstable();
        for expected in sorted {
            assert_eq!(queue.pop_until(u64::MAX), Some(expected));
        }
        assert_eq!(queue.pop_until(u64::MAX), None);
    }

    #[test]
    fn nothing_comes_before_its_time() {
        let mut queue = Queue::new();
        queue.push(1000, 'a');
        queue.push(10_000_000, 'b');
        assert_eq!(queue.pop_until(999), None);
        assert_eq!(queue.pop_until(1000), Some((1000, 'a')));
        queue.push(1001, 'c');
        assert_eq!(queue.pop_until(9_999_999), Some((1001, 'c')));
        assert_eq!(queue.pop_until(9_999_999), None);
        queue.push(9_999_999, 'd');
        assert_eq!(queue.pop_until(u64::MAX), Some((9_999_999, 'd')));
        assert_eq!(queue.pop_until(u64::MAX), Some((10_000_000, 'b')));
        assert_eq!(queue.pop_until(u64::MAX), None);
    }
}
