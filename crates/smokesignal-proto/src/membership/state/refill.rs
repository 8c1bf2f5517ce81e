//! When a node looks for more links, and when it ends one it has too many.
//!
//! The wait between two attempts doubles as long as nothing comes of them, and begins anew when the
//! links change. A node whose neighbours claim segments that none of them delivers looks for links
//! beyond `min_peers`, and in the end gives one of those neighbours up: they may all be busy, or
//! all hostile.

use std::time::Duration;

use crate::context::Cx;
use crate::time::Instant;

/// With all the links it may have and none that brings what it claims, a node ends one after this
/// long. Default 15 s: a neighbour has been asked once more by then.
const UNSERVED: Duration = Duration::from_secs(15);

/// The timers of looking for links and of ending surplus ones.
#[derive(Debug)]
pub(crate) struct Refill {
    next: Instant,
    wait: Duration,
    /// Since when the neighbours do not bring what they claim to have.
    unserved_since: Option<Instant>,
    /// The time from which on there were more links than `max_peers`.
    over_since: Option<Instant>,
}

impl Refill {
    pub(crate) fn new(now: Instant, wait: Duration) -> Self {
        Self { next: now, wait, unserved_since: None, over_since: None }
    }

    /// Returns the wait that has just passed, if it is time to look for more links. The next one is
    /// twice as long.
    pub(crate) fn take_turn(&mut self, cx: &mut Cx<'_>) -> Option<Duration> {
        if cx.now < self.next {
            return None;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(cx.config.refill_backoff.1);
        self.next = cx.now + cx.rng.duration(wait / 2, wait);
        Some(wait)
    }

    /// A dial for a link has failed: the next attempt is due.
    pub(crate) fn hasten(&mut self, now: Instant) {
        self.next = now;
    }

    /// A link has come up.
    pub(crate) fn link_up(&mut self, cx: &Cx<'_>) {
        self.wait = cx.config.refill_backoff.0;
        self.next = self.next.min(cx.now + self.wait);
    }

    /// A link has ended.
    pub(crate) fn link_down(&mut self, cx: &Cx<'_>) {
        (self.wait, self.next) = (cx.config.refill_backoff.0, cx.now);
    }

    /// Returns whether the neighbours do not bring what they claim to have.
    pub(crate) fn is_unserved(&self) -> bool {
        self.unserved_since.is_some()
    }

    pub(crate) fn served(&mut self) {
        self.unserved_since = None;
    }

    /// Notes that the neighbours do not bring what they claim to have. Returns whether one of them
    /// should be replaced, where `full` says that there is no room for another. The caller calls
    /// [`Refill::replaced`] if it does so.
    pub(crate) fn unserved(&mut self, full: bool, now: Instant) -> bool {
        let since = *self.unserved_since.get_or_insert(now);
        full && now - since > UNSERVED
    }

    pub(crate) fn replaced(&mut self, now: Instant) {
        self.unserved_since = Some(now);
    }

    /// Returns how long there have been too many links.
    pub(crate) fn surplus_for(&mut self, now: Instant) -> Duration {
        now - *self.over_since.get_or_insert(now)
    }

    pub(crate) fn no_surplus(&mut self) {
        self.over_since = None;
    }
}
