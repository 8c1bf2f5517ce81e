//! Settling: a node with seeds is new until a neighbour that is not new has named all streams to
//! it.
//!
//! A new node starts a writer that it meets where its neighbour is, and a settled one reads it from
//! its first message. The caller learns of new peers only once the node is settled, and what its
//! neighbours claim is proven, for the proof may be of a later segment than the claim: whatever is
//! written after a node says that it is connected, that node reads.

use super::Node;
use crate::ids::LinkId;
use crate::output::Output;
use crate::time::Instant;

/// Whether the node is settled, and the outputs that it holds until then.
#[derive(Debug, Default)]
pub(super) struct Settling {
    new: bool,
    /// Whether outputs are held: until the node is settled, and what neighbours claim is proven.
    holds: bool,
    first_link: Option<Instant>,
    held: Vec<Output>,
}

impl Settling {
    /// The node enters a network that has existed before.
    pub(super) fn begin(&mut self) {
        (self.new, self.holds) = (true, true);
    }

    pub(super) fn is_settled(&self) -> bool {
        !self.new
    }

    pub(super) fn link_up(&mut self, now: Instant) {
        self.first_link.get_or_insert(now);
    }

    /// Passes an output on, or holds it.
    pub(super) fn pass(&mut self, output: Output) -> Option<Output> {
        if !self.holds {
            return Some(output);
        }
        self.held.push(output);
        None
    }

    /// The link is gone. Returns whether the caller has not learnt of its peer yet, and so need not
    /// learn of its end.
    pub(super) fn forget(&mut self, link: LinkId) -> bool {
        let is_held = |held: &Output| matches!(held, Output::PeerUp { link: held, .. } if *held == link);
        let at = self.held.iter().position(is_held);
        at.map(|at| self.held.remove(at)).is_some()
    }
}

impl Node {
    /// From here on a writer that was never heard of is new to all, and read from its first message
    /// on.
    pub(super) fn settle(&mut self) {
        if self.settling.is_settled() {
            return;
        }
        self.settling.new = false;
        self.tell_all_settled();
    }

    /// The caller learns of the peers that were held back.
    fn release(&mut self) {
        if std::mem::take(&mut self.settling.holds) {
            self.out.extend(std::mem::take(&mut self.settling.held));
        }
    }

    /// Tells the neighbours that the node has settled and has named all streams to them, once it
    /// can.
    pub(super) fn tell_all_settled(&mut self) {
        // Until a claim is proven, reading may begin with what is written meanwhile.
        if self.has_named_all() {
            self.release();
        }
        let links: Vec<_> = self.peers().map(|(link, _)| link).collect();
        links.into_iter().for_each(|link| self.tell_settled(link));
    }

    /// Returns whether the node knows all streams, and names all to its neighbours: what is only
    /// claimed it names to nobody, and waits for the proofs.
    pub(super) fn has_named_all(&self) -> bool {
        self.settling.is_settled() && !self.claims.are_pending()
    }

    /// The same for one neighbour.
    pub(super) fn tell_settled(&mut self, link: LinkId) {
        if self.has_named_all() {
            self.spread.tell_settled(link);
        }
    }

    /// Settles without a neighbour's word: some time after the first link, or where there is no
    /// other node to learn from.
    pub(super) fn settle_in_time(&mut self, now: Instant) {
        // Not in the middle of a long first digest, which may take some seconds.
        let longest = if self.spread.is_being_told() { 10 } else { 1 };
        let wait = longest * self.context.config.settle_after;
        let waited = self.settling.first_link.is_some_and(|first| now - first > wait);
        // A node whose seeds are all itself begins the network.
        if waited || !self.membership.has_seeds() {
            self.settle();
            self.release();
        }
    }
}
