//! When a node tries to move to a nearer neighbour, and what it has promised to a neighbour that
//! does.

use std::time::Duration;

use crate::context::Cx;
use crate::ids::LinkId;
use crate::time::Instant;

/// A promise to keep all links, so that a neighbour can move, holds for this long.
const LEASE: Duration = Duration::from_secs(10);
/// The time from the end of one promise to the next.
const REST: Duration = Duration::from_secs(30);

/// The timer of moves, the promise given, and the neighbour that was asked.
#[derive(Debug)]
pub(crate) struct Optimisation {
    next: Instant,
    wait: Duration,
    /// A neighbour was allowed to move until then: meanwhile no link is ended for others, and no
    /// other neighbour may move.
    lease: Instant,
    /// The link to the neighbour that was asked for its neighbours.
    asked: Option<LinkId>,
}

impl Optimisation {
    pub(crate) fn new(now: Instant, wait: Duration) -> Self {
        Self { next: now + wait, wait, lease: Instant::ZERO, asked: None }
    }

    /// Returns whether it is time to look for a nearer neighbour. Where nothing is gained that is
    /// ever more rarely.
    pub(crate) fn take_turn(&mut self, cx: &mut Cx<'_>) -> bool {
        if cx.now < self.next {
            return false;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(cx.config.reorder_wait.1);
        self.next = cx.now + cx.rng.duration(wait / 2, wait * 3 / 2);
        self.asked = None;
        true
    }

    pub(crate) fn asked(&self) -> Option<LinkId> {
        self.asked
    }

    pub(crate) fn ask(&mut self, link: LinkId) {
        self.asked = Some(link);
    }

    /// The attempt is over, without a gain.
    pub(crate) fn settle(&mut self) {
        self.asked = None;
    }

    /// A nearer link is up.
    pub(crate) fn gained(&mut self, cx: &Cx<'_>) {
        self.asked = None;
        self.wait = cx.config.reorder_wait.0;
    }

    /// Returns whether a neighbour relies on this node's links just now.
    pub(crate) fn is_leased(&self, now: Instant) -> bool {
        now < self.lease
    }

    /// Returns whether another promise may be given. A neighbour that asks again and again must not
    /// keep this node from letting in others.
    pub(crate) fn may_lease(&self, now: Instant) -> bool {
        let rested = now >= self.lease + REST || self.lease == Instant::ZERO;
        rested && self.asked.is_none()
    }

    pub(crate) fn lease(&mut self, now: Instant) {
        self.lease = now + LEASE;
    }
}
