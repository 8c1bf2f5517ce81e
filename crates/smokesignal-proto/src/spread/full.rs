//! A writer behind a full line: each byte leaves it once.
//!
//! While this node's own line is full, in the direction to the others, it sends its own stream to
//! one neighbour, which spreads it: the one that has confirmed the most. The other neighbours that
//! get the stream here are turned away ([`Redirect`]), and find another parent. In digests the node
//! keeps back how far its stream is, or they would request here what their parents are about to get
//! (as superseeding does it in BitTorrent, BEP 16). A neighbour that requests the stream here all
//! the same may have no other way, and gets it.
//!
//! [`Redirect`]: crate::Control::Redirect

use std::cmp::Reverse;
use std::time::Duration;

use super::{Link, Spread};
use crate::context::Cx;
use crate::ids::LinkId;
use crate::streams::OWN;

/// While the line is full, neighbours that get the stream from others learn this often how far it
/// is. 5 s: in case that their parents do not deliver.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// A node looks this often whether the neighbour that spreads its stream still takes it. 100 ms.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A neighbour that was turned away and has come back is not turned away again for this long. 30 s.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

impl Spread {
    /// Returns whether some neighbour is sent the node's own stream, and takes it.
    pub(crate) fn is_own_carried(&self, moves: impl Fn(LinkId) -> bool) -> bool {
        self.links.iter().any(|(id, link)| link.is_sent_own() && moves(*id))
    }

    /// Turns away all neighbours but one from the node's own stream, because the line is full.
    /// Returns those that need a Redirect.
    pub(crate) fn turn_away(
        &mut self,
        cx: &Cx<'_>,
        head: u64,
        moves: impl Fn(LinkId) -> bool,
    ) -> Vec<LinkId> {
        let children = self.links.iter().filter(|(id, link)| link.is_sent_own() && moves(**id));
        let best = children.max_by_key(|(id, link)| (link.knows_own(), Reverse((link.rtt, **id))));
        let Some(best) = best.filter(|(_, link)| link.knows_own() < head).map(|(id, _)| *id) else {
            return Vec::new(); // It has everything: what fills the line is something else.
        };
        let mut away = Vec::new();
        for (id, link) in self.links.iter_mut().filter(|(id, link)| **id != best && link.confirms) {
            let lately = link.turned_away.is_some_and(|at| cx.now - at < AGAIN_AFTER);
            if lately || !link.is_sent_own() {
                continue;
            }
            (link.turned_away, link.own_told_at) = (Some(cx.now), cx.now);
            // It counts until it has found another parent.
            (link.stream(OWN).push, link.stream(OWN).offered) = (false, true);
            link.stream(OWN).offered_at = Some(cx.now);
            link.recall(OWN);
            link.make_dirty(cx, OWN);
            away.push(*id);
        }
        away
    }
}

impl Link {
    fn is_sent_own(&self) -> bool {
        self.ended && self.digest_next.is_none() && self.streams.get(OWN).is_some_and(|column| column.push)
    }

    /// Returns whether the digest that is due leaves out the node's own stream.
    pub(super) fn hold_own_digest(&self, cx: &Cx<'_>) -> bool {
        cx.now < self.own_told_at + TOLD_EVERY
    }
}
