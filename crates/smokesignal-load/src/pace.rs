//! How fast the writers write, and what follows from that for the readers.

/// In a run with a large window, reading the clock for every message would cost more than the
/// system under test: the latency of one message in 64 is recorded.
const SAMPLE: u64 = 64;

/// How fast the writers write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// The most messages that each writer has under way. The next one is written once the slowest
    /// reader has read the oldest of them.
    Window(u64),
    /// Messages per second, summed over all writers, whether or not they are read.
    Rate(f64),
}

impl Pace {
    /// Returns after how many messages a reader wakes the writer.
    ///
    /// With a window that is an eighth of it: waking more often costs time, and waking less often
    /// leaves the window half empty. A writer with a rate does not wait for readers.
    pub(crate) fn step(self) -> u64 {
        match self {
            Self::Window(window) => (window / 8).max(1),
            Self::Rate(_) => u64::MAX,
        }
    }

    /// Returns whether the latency of this message is recorded.
    ///
    /// At a rate, and with a window so small that every message costs a wake-up anyway, all are
    /// recorded. Otherwise a sample is enough.
    pub(crate) fn records_latency(self, seq: u64) -> bool {
        match self {
            Self::Window(window) => window < SAMPLE || seq.is_multiple_of(SAMPLE),
            Self::Rate(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_window_is_sampled_and_a_rate_is_not() {
        assert!(Pace::Window(1024).records_latency(64) && !Pace::Window(1024).records_latency(65));
        assert!(Pace::Window(8).records_latency(65) && Pace::Rate(1.0).records_latency(65));
        assert_eq!((Pace::Window(1024).step(), Pace::Window(4).step()), (128, 1));
    }
}
