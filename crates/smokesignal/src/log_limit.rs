//! A limit for lines of the log that others can cause.
//!
//! A stranger that can make a node write one line can make it write a million, which hides all
//! other lines and fills a disk. A few in a minute say as much; how many were left out is one line
//! more.

use std::time::Duration;

use tokio::time::Instant;

/// Lines in each [`PERIOD`]. A guess: enough to see that it is not one peer, few enough to read.
const LINES: u32 = 10;
const PERIOD: Duration = Duration::from_secs(60);

/// Counts the lines of one kind.
#[derive(Debug)]
pub(crate) struct LogLimit {
    /// The beginning of the present period.
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl LogLimit {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), lines: 0, left_out: 0 }
    }

    /// Returns whether one more line may be written, and counts it.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        if now - self.since >= PERIOD {
            (self.since, self.lines) = (now, 0);
        }
        let allowed = self.lines < LINES;
        if allowed {
            self.lines += 1;
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
        allowed
    }

    /// Returns how many lines were left out, once the period in which that was is over.
    pub(crate) fn left_out(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.left_out > 0 && now - self.since >= PERIOD;
        is_due.then(|| std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_lines_are_written_in_a_minute_and_the_others_are_counted() {
        let mut limit = LogLimit::new();
        let begin = Instant::now();
        for _ in 0..2 {
            let written = (0..1000).filter(|_| limit.allows(Instant::now())).count();
            assert_eq!(written, LINES as usize);
            assert_eq!(limit.left_out(Instant::now()), None);
            tokio::time::advance(PERIOD).await;
            assert_eq!(limit.left_out(Instant::now()), Some(1000 - u64::from(LINES)));
            assert_eq!(limit.left_out(Instant::now()), None);
        }
        assert_eq!(begin.elapsed(), 2 * PERIOD);
    }
}
