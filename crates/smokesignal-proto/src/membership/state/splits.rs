//! The splits that this node takes part in: as an end of the link that is being split, or as the
//! joiner.

use std::collections::BTreeMap;

use crate::context::Cx;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::message::Priority;
use crate::time::Instant;

/// Splits that one node takes part in at the same time; a further one is answered no.
pub(crate) const MAX_SPLITS: usize = 16;

/// A link being split for a joiner, seen from one of its two ends.
#[derive(Debug)]
struct Split {
    /// The link to the other end.
    link: LinkId,
    joiner: NodeId,
    until: Instant,
    /// Set at the walk's end, which makes the offer; not at its neighbour, which agreed.
    offer: Option<SplitOffer>,
}

/// What the walk's end needs to make its offer.
#[derive(Debug, Clone)]
pub(crate) struct SplitOffer {
    /// The link that the walk came from.
    pub(crate) back: LinkId,
    pub(crate) walk: u64,
    pub(crate) joiner: NodeId,
    pub(crate) priority: Priority,
    /// Neighbours that said no.
    pub(crate) refused: Vec<LinkId>,
}

/// A split this node was offered, as the joiner.
#[derive(Debug)]
struct PendingSplit {
    /// The two ends, the walk's end first: it gets `SplitCommit` when both links are up.
    ends: [NodeId; 2],
    until: Instant,
}

/// All splits under way, by their tokens.
#[derive(Debug, Default)]
pub(crate) struct Splits {
    splits: BTreeMap<u64, Split>,
    pending: BTreeMap<u64, PendingSplit>,
}

impl Splits {
    /// Returns the larger of the two collections' sizes; both have the same limit.
    pub(crate) fn len(&self) -> usize {
        self.splits.len().max(self.pending.len())
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.splits.retain(|_, split| split.until > now);
        self.pending.retain(|_, pending| pending.until > now);
    }

    // As an end of the link.

    /// Returns whether no link of this node is being split.
    pub(crate) fn is_idle(&self) -> bool {
        self.splits.is_empty()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.splits.len() < MAX_SPLITS
    }

    pub(crate) fn is_for(&self, joiner: &NodeId) -> bool {
        self.splits.values().any(|split| split.joiner == *joiner)
    }

    pub(crate) fn is_splitting(&self, link: LinkId) -> bool {
        self.splits.values().any(|split| split.link == link)
    }

    /// Returns whether the joiner may use this token: this node has agreed to the split, or
    /// proposed it.
    pub(crate) fn expects(&self, token: u64, joiner: &NodeId) -> bool {
        self.splits.get(&token).is_some_and(|split| split.joiner == *joiner)
    }

    /// Notes that the neighbour at `link` was asked to agree to this offer.
    pub(crate) fn propose(&mut self, cx: &Cx<'_>, token: u64, link: LinkId, offer: SplitOffer) {
        let (joiner, until) = (offer.joiner, cx.now + cx.config.split_timeout);
        self.splits.insert(token, Split { link, joiner, until, offer: Some(offer) });
    }

    /// Notes that this node has agreed to let the joiner in between itself and the neighbour at
    /// `link`.
    pub(crate) fn agree(&mut self, cx: &Cx<'_>, token: u64, link: LinkId, joiner: NodeId) {
        let until = cx.now + cx.config.split_timeout;
        self.splits.insert(token, Split { link, joiner, until, offer: None });
    }

    /// Returns the offer that the neighbour at `link` is to agree to.
    pub(crate) fn offer(&self, token: u64, link: LinkId) -> Option<&SplitOffer> {
        self.splits.get(&token).filter(|split| split.link == link)?.offer.as_ref()
    }

    /// Takes the offer, because the neighbour said no.
    pub(crate) fn take_offer(&mut self, token: u64) -> Option<SplitOffer> {
        self.splits.remove(&token)?.offer
    }

    /// Takes a split that the joiner says is done. Returns the link that it replaces.
    pub(crate) fn commit(&mut self, token: u64, joiner: &NodeId) -> Option<LinkId> {
        let valid = |split: &Split| split.joiner == *joiner && split.offer.is_some();
        if self.splits.get(&token).is_some_and(valid) {
            self.splits.remove(&token).map(|split| split.link)
        } else {
            None
        }
    }

    /// The link is gone: what was proposed to the neighbour there is void.
    pub(crate) fn link_down(&mut self, link: LinkId) {
        self.splits.retain(|_, split| split.link != link || split.offer.is_none());
    }

    // As the joiner.

    /// Returns how many places between two nodes this node is about to take.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn enter(&mut self, cx: &Cx<'_>, token: u64, ends: [NodeId; 2]) {
        self.pending.insert(token, PendingSplit { ends, until: cx.now + cx.config.split_timeout });
    }

    /// The dial or the request with this token has failed: the place cannot be taken.
    pub(crate) fn give_way(&mut self, token: Option<u64>) {
        self.pending.retain(|known, _| Some(*known) != token);
    }

    /// Takes the split with this end whose two ends are both linked with, as `is_linked` says.
    /// Returns its token and the end that gets `SplitCommit`.
    pub(crate) fn complete(
        &mut self,
        end: &NodeId,
        is_linked: impl Fn(&NodeId) -> bool,
    ) -> Option<(u64, NodeId)> {
        let done = |pending: &PendingSplit| pending.ends.contains(end) && pending.ends.iter().all(&is_linked);
        let token = self.pending.iter().find(|(_, pending)| done(pending)).map(|(token, _)| *token)?;
        self.pending.remove(&token).map(|pending| (token, pending.ends[0]))
    }
}
