//! When the next shuffle is due: often after the neighbourhood has changed, ever more rarely while
//! it is calm, because a shuffle is the largest message of an idle network.

use std::time::Duration;

use crate::config::Config;
use crate::context::Cx;
use crate::time::Instant;

/// The timer of shuffles.
#[derive(Debug)]
pub(crate) struct Shuffle {
    next: Instant,
    wait: Duration,
}

impl Shuffle {
    pub(crate) fn new(now: Instant, config: &Config) -> Self {
        Self { next: now + config.shuffle, wait: config.shuffle }
    }

    /// Returns how far the shuffle that is due now walks, if one is. The first ones walk far; later
    /// the views have been mixed, and near ones do.
    pub(crate) fn take_turn(&mut self, cx: &mut Cx<'_>) -> Option<u8> {
        if cx.now < self.next {
            return None;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(cx.config.shuffle_calm);
        self.next = cx.now + cx.rng.duration(wait * 8 / 10, wait * 12 / 10);
        Some(if wait <= 4 * cx.config.shuffle { cx.config.walk_ttl } else { 2 })
    }

    /// The neighbourhood has changed: the next shuffle comes soon, and others after it.
    pub(crate) fn reset(&mut self, cx: &Cx<'_>) {
        self.wait = cx.config.shuffle;
        self.next = self.next.min(cx.now + cx.config.shuffle);
    }

    /// Two partitions have merged: each node shuffles at another moment of the next ten seconds.
    pub(crate) fn spread(&mut self, cx: &mut Cx<'_>) {
        let soon = cx.now + cx.rng.duration(Duration::ZERO, 4 * cx.config.shuffle);
        (self.next, self.wait) = (self.next.min(soon), cx.config.shuffle);
    }
}
