//! When a node looks for a nearer neighbour, what for, and which nodes it has measured lately.

use std::collections::VecDeque;
use std::time::Duration;

use crate::context::Cx;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::time::Instant;

/// Nodes measured lately, which are not measured again; the one measured first loses. More would
/// leave too few to try again in a network of some dozens, where a full node has a place later.
pub(crate) const MAX_TRIED: usize = 24;

/// The timer, what is sought, and the nodes measured.
#[derive(Debug)]
pub(crate) struct Optimisation {
    next: Instant,
    wait: Duration,
    seeking: Seeking,
    tried: VecDeque<NodeId>,
}

/// What a node looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seeking {
    Nothing,
    /// One more neighbour.
    More,
    /// A neighbour in place of this one.
    InPlaceOf(LinkId),
}

impl Optimisation {
    pub(crate) fn new(now: Instant, wait: Duration) -> Self {
        Self { next: now + wait, wait, seeking: Seeking::Nothing, tried: VecDeque::new() }
    }

    /// Returns whether it is time to look for a nearer neighbour. Where nothing is gained that is
    /// ever more rarely.
    pub(crate) fn take_turn(&mut self, cx: &mut Cx<'_>) -> bool {
        if cx.now < self.next {
            return false;
        }
        let wait = self.wait;
        self.wait = (wait * 3 / 2).min(cx.config.reorder_wait.1);
        self.next = cx.now + cx.rng.duration(wait / 2, wait * 3 / 2);
        self.seeking = Seeking::Nothing;
        true
    }

    /// Notes what is sought: a neighbour in place of `spare`, or one more.
    pub(crate) fn seek(&mut self, spare: Option<LinkId>) {
        self.seeking = spare.map_or(Seeking::More, Seeking::InPlaceOf);
    }

    pub(crate) fn is_seeking(&self) -> bool {
        self.seeking != Seeking::Nothing
    }

    /// Returns the link that a nearer one is to replace.
    pub(crate) fn sought(&self) -> Option<LinkId> {
        if let Seeking::InPlaceOf(link) = self.seeking { Some(link) } else { None }
    }

    /// Notes that a near link is up, and begins anew. Returns the link that it replaces.
    pub(crate) fn gained(&mut self, cx: &mut Cx<'_>) -> Option<LinkId> {
        let spare = self.sought();
        self.seeking = Seeking::Nothing;
        self.wait = cx.config.reorder_wait.0;
        self.next = self.next.min(cx.now + self.wait);
        spare
    }

    /// Returns how many nodes were measured lately.
    pub(crate) fn measured(&self) -> usize {
        self.tried.len()
    }

    pub(crate) fn has_tried(&self, peer: &NodeId) -> bool {
        self.tried.contains(peer)
    }

    pub(crate) fn note_tried(&mut self, peer: NodeId) {
        if self.tried.len() == MAX_TRIED {
            self.tried.pop_front();
        }
        self.tried.push_back(peer);
    }
}
