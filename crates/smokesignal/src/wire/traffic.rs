//! What passes over one connection: its rates, and the bytes that wait.
//!
//! The link's task and the driver count here, and handles read it without asking either. A
//! [`Meter`] adds bytes up in slots of 100 ms, and its rate is that of the last ten full ones: it
//! neither jumps with each write nor remembers what was a few seconds ago.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::Lock;

/// The length of a slot.
const SLOT: Duration = Duration::from_millis(100);
/// Full slots that a rate is the mean of: a second.
const SLOTS: usize = 10;

/// The figures of one connection.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) sent: Meter,
    pub(crate) received: Meter,
    /// The cost of messages that were handed to the connection and that it has not written.
    unsent: AtomicUsize,
    /// How long the other side took to answer when the link was made.
    pub(crate) round_trip: OnceLock<Duration>,
}

impl Default for Traffic {
    fn default() -> Self {
        let now = Instant::now();
        let [sent, received] = [(), ()].map(|()| Meter::new(now));
        Self { sent, received, unsent: AtomicUsize::new(0), round_trip: OnceLock::new() }
    }
}

impl Traffic {
    pub(crate) fn queued(&self, cost: usize) {
        self.unsent.fetch_add(cost, Ordering::Relaxed);
    }

    pub(crate) fn written(&self, cost: usize) {
        self.unsent.fetch_sub(cost, Ordering::Relaxed);
    }

    pub(crate) fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Relaxed)
    }
}

/// Measures bytes per second.
#[derive(Debug)]
pub(crate) struct Meter {
    epoch: Instant,
    slots: Lock<Slots>,
}

/// The bytes of the last slots; the running one is `now`.
#[derive(Debug, Default)]
struct Slots {
    bytes: [u64; SLOTS + 1],
    now: u64,
}

impl Meter {
    fn new(epoch: Instant) -> Self {
        Self { epoch, slots: Lock::default() }
    }

    /// Counts bytes.
    pub(crate) fn add(&self, bytes: usize) {
        let slot = self.slot();
        self.slots.lock().add(bytes as u64, slot);
    }

    /// Returns the bytes per second, in the last second or since the connection was made.
    pub(crate) fn rate(&self) -> u64 {
        let slot = self.slot();
        self.slots.lock().rate(slot)
    }

    fn slot(&self) -> u64 {
        (self.epoch.elapsed().as_millis() / SLOT.as_millis()) as u64
    }
}

impl Slots {
    fn add(&mut self, bytes: u64, slot: u64) {
        self.advance(slot);
        self.bytes[self.now as usize % self.bytes.len()] += bytes;
    }

    fn rate(&mut self, slot: u64) -> u64 {
        self.advance(slot);
        let full = self.now.min(SLOTS as u64);
        let running = self.bytes[self.now as usize % self.bytes.len()];
        let sum = self.bytes.iter().sum::<u64>() - running;
        sum * 1000 / (full.max(1) * SLOT.as_millis() as u64)
    }

    /// Empties the slots that have begun since. Another thread may have been later, and come first.
    fn advance(&mut self, slot: u64) {
        let begun = slot.saturating_sub(self.now).min(self.bytes.len() as u64);
        self.now = self.now.max(slot);
        for back in 0..begun {
            let index = (self.now - back) as usize % self.bytes.len();
            self.bytes[index] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Rule: the rate is that of the ten full slots before the running one.
        #[test]
        fn the_rate_is_the_mean_of_the_last_full_second(
            adds in prop::collection::vec((0_u64..30, 0_u64..1_000_000), 1..100),
        ) {
            let (mut slots, mut slot, mut all) = (Slots::default(), 0, Vec::new());
            for (later, bytes) in adds {
                slot += later;
                slots.add(bytes, slot);
                all.push((slot, bytes));
                let full = slot.saturating_sub(SLOTS as u64)..slot;
                let sum: u64 = all.iter().filter(|(slot, _)| full.contains(slot)).map(|(_, bytes)| bytes).sum();
                let slots_full = slot.clamp(1, SLOTS as u64);
                prop_assert_eq!(slots.rate(slot), sum * 10 / slots_full);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_of_a_steady_flow_is_right_after_a_tenth_of_a_second_and_falls_to_0() {
        let traffic = Traffic::default();
        for tenth in 0..50 {
            for _ in 0..10 {
                traffic.sent.add(1_000);
                tokio::time::advance(SLOT / 10).await;
            }
            assert_eq!(traffic.sent.rate(), 100_000, "after {tenth} tenths");
        }
        assert_eq!(traffic.received.rate(), 0);
        tokio::time::advance(11 * SLOT).await;
        assert_eq!(traffic.sent.rate(), 0);
    }
}
