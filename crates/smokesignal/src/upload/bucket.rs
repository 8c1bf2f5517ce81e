//! A token bucket, without a clock of its own.
//!
//! It is kept as the one time until which everything that was taken is paid for (the theoretical
//! arrival time of GCRA, ITU-T I.371, which is a token bucket that needs no counting). Taking bytes
//! moves that time on by what they cost at the bucket's rate. A bucket that is paid for may be
//! taken from; one that was not used for a while has saved up a burst, and no more than that.

use std::time::Duration;

const NANOS: u128 = 1_000_000_000;

/// A token bucket. Times are counted from any moment before the first one.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Bytes per second, 1 at least.
    rate: u64,
    /// The time for which bytes are saved up while nothing is taken.
    burst: Duration,
    /// When everything that was taken is paid for.
    paid: Duration,
}

impl Bucket {
    /// Makes a bucket that fills with `rate` bytes per second and holds what comes in `burst`. It
    /// is empty at `now`.
    pub(crate) fn new(rate: u64, burst: Duration, now: Duration) -> Self {
        Self { rate: rate.max(1), burst, paid: now }
    }

    /// Takes bytes, whether the bucket has them or not. The next ones have to wait for these.
    pub(crate) fn take(&mut self, bytes: usize, now: Duration) {
        // Rounded up: many small ones are not cheaper than a large one.
        let cost = (bytes as u128 * NANOS).div_ceil(u128::from(self.rate));
        let cost = Duration::from_nanos(u64::try_from(cost).unwrap_or(u64::MAX));
        self.paid = self.paid.max(now.saturating_sub(self.burst)).saturating_add(cost);
    }

    /// Returns when everything that was taken is paid for: from then on more may be taken.
    pub(crate) const fn ready_at(&self) -> Duration {
        self.paid
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes that come in a time, rounded up.
    fn fill(rate: u64, time: Duration) -> u64 {
        (u128::from(rate) * time.as_nanos()).div_ceil(NANOS) as u64
    }

    proptest! {
        /// Rule: in any stretch of time no more leaves than the rate allows, a burst and the last
        /// take.
        #[test]
        fn no_stretch_of_time_gets_more_than_rate_and_burst(
            rate in 1_u64..200_000_000,
            burst in 0_u64..1_000,
            takes in prop::collection::vec((1_usize..100_000, 0_u64..5_000), 1..100),
        ) {
            let burst = Duration::from_millis(burst);
            let mut bucket = Bucket::new(rate, burst, Duration::ZERO);
            let (mut now, mut taken) = (Duration::ZERO, Vec::new());
            for (bytes, idle) in takes {
                now = (now + Duration::from_millis(idle)).max(bucket.ready_at());
                bucket.take(bytes, now);
                taken.push((now, bytes as u64));
            }
            for (first, (begin, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (at, bytes) in &taken[first..] {
                    // The bytes that were taken before this take are paid for.
                    prop_assert!(sum <= fill(rate, *at - *begin + burst) + 1, "{sum} bytes until {at:?}");
                    sum += bytes;
                }
            }
        }

        /// Rule: a sender that always has something loses nothing, even if it is late by the burst.
        #[test]
        fn a_busy_sender_that_is_late_by_less_than_the_burst_gets_the_whole_rate(
            rate in 1_000_u64..200_000_000,
            takes in prop::collection::vec((1_usize..100_000, 0_u64..=100), 1..200),
        ) {
            let burst = Duration::from_millis(100);
            let mut bucket = Bucket::new(rate, burst, Duration::ZERO);
            let (mut sum, mut rounded) = (0, Duration::ZERO);
            for (bytes, late) in takes {
                let now = bucket.ready_at() + Duration::from_millis(late);
                let least = fill(rate, now.saturating_sub(burst + rounded));
                prop_assert!(sum + 1 >= least, "{sum} bytes until {now:?}");
                bucket.take(bytes, now);
                sum += bytes as u64;
                // The cost of each take is rounded up.
                rounded += Duration::from_nanos(1);
            }
        }

        /// Rule: what is taken in debt is paid for before anything else.
        #[test]
        fn a_debt_is_paid_before_more_is_taken(rate in 1_u64..200_000_000, debt in 1_usize..10_000_000) {
            let mut bucket = Bucket::new(rate, Duration::from_millis(50), Duration::ZERO);
            bucket.take(debt, Duration::ZERO);
            prop_assert!(fill(rate, bucket.ready_at()) >= debt as u64);
        }
    }

    #[test]
    fn a_bucket_starts_empty_and_saves_up_a_burst() {
        let (second, burst) = (Duration::from_secs(1), Duration::from_millis(100));
        let mut bucket = Bucket::new(1_000, burst, Duration::ZERO);
        bucket.take(1_000, Duration::ZERO);
        assert_eq!(bucket.ready_at(), second);
        bucket.take(200, 10 * second);
        assert_eq!(bucket.ready_at(), 10 * second + burst);
    }
}
