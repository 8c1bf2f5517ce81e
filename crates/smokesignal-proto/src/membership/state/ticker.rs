//! The node's tick, a few times a second, with jitter. Upkeep runs on it and not on events, so that
//! a mass failure does not make all nodes act in the same moment.

use std::time::Duration;

use crate::config::Config;
use crate::context::Cx;
use crate::time::Instant;

/// When the last tick was and the next one is.
#[derive(Debug)]
pub(crate) struct Ticker {
    next: Instant,
    last: Instant,
}

/// A tick.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tick {
    /// The time since the last one.
    pub(crate) elapsed: Duration,
    /// Whether this node itself had stopped for a while: suspended, or starved of the processor.
    pub(crate) slept: bool,
}

impl Ticker {
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: now, last: now }
    }

    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Makes the next tick due at `now`.
    pub(crate) fn hasten(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Begins the tick that is due and decides on the next one.
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>) -> Tick {
        let Config { tick, ping_timeout, .. } = *cx.config;
        let elapsed = cx.now - self.last;
        let slept = cx.now - self.next > ping_timeout / 2;
        self.last = cx.now;
        self.next = cx.now + cx.rng.duration(tick * 7 / 10, tick * 13 / 10);
        Tick { elapsed, slept }
    }
}
