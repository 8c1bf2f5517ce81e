//! How much a link is handed before it reports progress: on a slow line no more than it takes in a
//! second, so that control messages, which queue behind it, arrive in time. (Full buffers as the
//! cause of delay: Gettys and Nichols, "Bufferbloat", 2011.)
//!
//! The window is the measured rate times one second. It doubles when the line takes more than it is
//! given, within fixed limits.

use std::time::Duration;

use crate::config::Config;
use crate::time::Instant;

/// The time within which data handed to a link should leave.
const QUEUE: Duration = Duration::from_secs(1);
/// A line's rate is measured over at least this time.
const MEASURE: Duration = Duration::from_millis(250);
/// The smallest window, large enough to measure a line's rate. A segment larger than the window
/// goes alone.
const LEAST: usize = 4 * 1024;

/// The window of one link.
#[derive(Debug)]
pub(super) struct Window {
    bytes: usize,
    /// When the measurement began, and what the line has taken since.
    since: Instant,
    taken: usize,
}

impl Window {
    pub(super) fn new(now: Instant, config: &Config) -> Self {
        Self { bytes: config.link_window, since: now, taken: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins a measurement: the line was idle, and is given something.
    pub(super) fn begins(&mut self, now: Instant) {
        (self.since, self.taken) = (now, 0);
    }

    /// Notes that the line has taken `cost`; `all` says that it has taken everything it was given.
    pub(super) fn sent(&mut self, cost: usize, all: bool, now: Instant, config: &Config) {
        self.taken += cost;
        let elapsed = now - self.since;
        if elapsed >= MEASURE {
            let bytes = self.taken as u128 * QUEUE.as_micros() / elapsed.as_micros();
            self.bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            self.begins(now);
        } else if all {
            self.bytes = self.bytes.saturating_mul(2); // It takes more than it is given.
        }
        self.bytes = self.bytes.clamp(LEAST.min(config.link_window), config.link_window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_line_is_given_a_second_s_worth_and_a_fast_one_all() {
        let config = Config::default();
        let mut window = Window::new(Instant::ZERO, &config);
        let mut now = Instant::ZERO;
        for _ in 0..10 {
            now = now + Duration::from_millis(100);
            window.sent(1_000, false, now, &config);
        }
        assert!((9_000..=11_000).contains(&window.bytes()), "{}", window.bytes());
        for _ in 0..10 {
            window.begins(now);
            now = now + Duration::from_millis(1);
            window.sent(10_000, true, now, &config);
        }
        assert_eq!(window.bytes(), config.link_window);
    }
}
