//! The core's clock: microseconds since the driver was made, by the runtime's clock.

use std::time::Duration;

use smokesignal_proto as proto;
use tokio::time::Instant;

/// Maps the runtime's clock, which tests may pause, to that of the core, which starts at zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    epoch: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    pub(super) fn now(self) -> proto::Instant {
        self.at(Instant::now())
    }

    pub(super) fn at(self, time: Instant) -> proto::Instant {
        proto::Instant::from_micros((time - self.epoch).as_micros() as u64)
    }

    /// Returns the time of the runtime's clock at which it is `time` for the core.
    pub(super) fn deadline(self, time: proto::Instant) -> Instant {
        self.epoch + Duration::from_micros(time.as_micros())
    }
}
