//! How often a writer may sign: a few signatures together, then one every few milliseconds.
//!
//! This is the generic cell rate algorithm of ITU-T I.371. It keeps one number, the theoretical
//! arrival time: when all signatures made so far would have been made at the steady rate. A
//! signature is allowed while that time is at most one burst ahead. The limit protects the readers:
//! a signature costs its writer little, and each of them a check.

use crate::config::Config;
use crate::time::Instant;

/// The rate limit of one writer's signatures.
#[derive(Debug, Default)]
pub(crate) struct SignatureRate {
    /// When the signatures made so far would all have been made at the steady rate; at most one
    /// burst ahead.
    theoretical_arrival: Instant,
}

impl SignatureRate {
    /// Returns when the next signature may be made.
    pub(crate) fn next(&self, config: &Config) -> Instant {
        let ahead = config.sign_every * config.sign_burst.saturating_sub(1);
        Instant::ZERO + self.theoretical_arrival.since(Instant::ZERO + ahead)
    }

    /// Counts a signature. Signatures forced by `sign_bytes` leave no debt beyond one interval.
    pub(crate) fn signed(&mut self, now: Instant, config: &Config) {
        let latest = now + config.sign_every * config.sign_burst;
        self.theoretical_arrival = (self.theoretical_arrival.max(now) + config.sign_every).min(latest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_signatures_is_made_together_and_then_one_each_4_ms() {
        let config = Config::default();
        let (mut rate, mut now, mut at) = (SignatureRate::default(), Instant::ZERO, Vec::new());
        let begin = now;
        for _ in 0..11 {
            now = now.max(rate.next(&config));
            rate.signed(now, &config);
            at.push((now - begin).as_millis());
        }
        assert_eq!(at, [0, 0, 0, 0, 0, 0, 0, 0, 4, 8, 12]);
        // Signatures that did not wait leave no debt.
        (0..1000).for_each(|_| rate.signed(now, &config));
        assert_eq!(rate.next(&config), now + config.sign_every);
        // Idle time is saved up, but not beyond a burst.
        now = now + config.sign_every * 100;
        for _ in 0..8 {
            assert!(rate.next(&config) <= now);
            rate.signed(now, &config);
        }
        assert!(rate.next(&config) > now);
    }
}
