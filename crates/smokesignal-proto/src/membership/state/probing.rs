//! When a node probes known nodes out of band: in turns with all other nodes of the partition, and
//! after links were lost.
//!
//! A lost link may mean that much of the network is gone. So each lost link is a doubt, which one
//! known node that is found alive makes up for; as long as there are doubts, the node probes known
//! nodes one by one. After three at about the same time half of the network or more may be gone:
//! then it probes every known node, because a survivor that knows no living node is found by those
//! that know it, long before it has tried all it knows.

use std::time::Duration;

use crate::context::Cx;
use crate::time::Instant;

/// Doubts at most: this many known nodes must be found alive, however many links were lost.
const MAX_DOUBTS: u32 = 8;
/// With this many doubts the node probes every known node one time.
const MANY_DOUBTS: u32 = 3;

/// The timer of probes, and what speaks for more of them.
#[derive(Debug)]
pub(crate) struct Probing {
    next: Instant,
    /// Links that fell silent since the last tick.
    silent_links: usize,
    /// Links lost and not made up for by a known node that was found alive.
    doubts: u32,
    /// Known nodes still to be probed, even if they are found alive.
    sweep: usize,
}

impl Probing {
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: now, silent_links: 0, doubts: 0, sweep: 0 }
    }

    /// Returns whether it is this node's turn in this `period`: with a chance of one in `probers`.
    pub(crate) fn take_turn(&mut self, cx: &mut Cx<'_>, probers: u32, period: Duration) -> bool {
        if cx.now < self.next {
            return false;
        }
        self.next = cx.now + cx.rng.duration(period * 9 / 10, period * 11 / 10);
        cx.rng.below(probers as usize) == 0
    }

    pub(crate) fn fell_silent(&mut self) {
        self.silent_links += 1;
    }

    /// Returns whether links fell silent since this was asked last.
    pub(crate) fn take_silent(&mut self) -> bool {
        std::mem::take(&mut self.silent_links) > 0
    }

    /// A link broke, and this many nodes are known.
    pub(crate) fn link_broke(&mut self, known: usize) {
        self.doubts = (self.doubts + 1).min(MAX_DOUBTS);
        if self.doubts >= MANY_DOUBTS {
            self.sweep = known;
        }
    }

    /// A node that was dialled is alive.
    pub(crate) fn found_alive(&mut self) {
        self.doubts = self.doubts.saturating_sub(1);
    }

    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubts > 0
    }

    /// Returns whether to probe a known node in this tick.
    pub(crate) fn take_doubt(&mut self) -> bool {
        let due = self.doubts > 0 || self.sweep > 0;
        self.sweep = self.sweep.saturating_sub(1);
        due
    }
}
