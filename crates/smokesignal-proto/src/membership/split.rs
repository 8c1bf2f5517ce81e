//! A full node makes room: the joiner comes between it and one of its neighbours. Both keep their number of
//! links, the path between them stays, and the joiner has two. Make before break: the old link is closed
//! only when both new ones stand.

use super::{Between, Conn, Membership, Phase, Split, SplitOffer};
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::message::{Control, DisconnectReason, Priority};
use crate::record::Record;
use crate::time::Instant;

/// Splits one node takes part in at once; a further one is answered no.
pub(super) const MAX_SPLITS: usize = 16;

impl Membership {
    /// Room for the node at the other end of `link`, by a split. False: no neighbour can be asked.
    pub(super) fn make_room(&mut self, link: LinkId, priority: Priority, now: Instant) -> bool {
        let Some(joiner) = self.conns.get(&link).map(|conn| conn.peer) else { return false };
        let walk = self.rng.next();
        self.prepare_split(link, walk, joiner, priority, now)
    }

    /// False if there is no neighbour that could be asked.
    pub(super) fn prepare_split(
        &mut self,
        back: LinkId,
        walk: u64,
        joiner: NodeId,
        priority: Priority,
        now: Instant,
    ) -> bool {
        if self.splits.values().any(|split| split.joiner == joiner) {
            return true; // It is being done.
        }
        let token = self.rng.next();
        self.ask_neighbour(token, joiner, SplitOffer { back, walk, priority, refused: Vec::new() }, now)
    }

    fn ask_neighbour(&mut self, token: u64, joiner: NodeId, offer: SplitOffer, now: Instant) -> bool {
        let busy = |link: LinkId| self.splits.values().any(|split| split.link == link);
        let fits = |(id, conn): &(LinkId, &Conn)| {
            !conn.explicit
                && conn.bridge_until <= now
                && conn.peer != joiner
                && !busy(*id)
                && !offer.refused.contains(id)
        };
        let links: Vec<_> = self.active().filter(fits).map(|(id, _)| id).collect();
        let Some(link) = self.rng.pick(&links).copied().filter(|_| self.splits.len() < MAX_SPLITS) else {
            return false;
        };
        let until = now + self.config.split_timeout;
        self.splits.insert(token, Split { link, joiner, until, offer: Some(offer) });
        self.send(link, Control::SplitPrepare { token, joiner });
        true
    }

    pub(super) fn on_split_prepare(&mut self, link: LinkId, token: u64, joiner: NodeId, now: Instant) {
        let free = self.is_active(link)
            && !self.is_known_link(&joiner)
            && !self.conns.get(&link).is_some_and(|conn| conn.explicit || conn.bridge_until > now)
            && !self.splits.values().any(|split| split.link == link || split.joiner == joiner)
            && self.splits.len() < MAX_SPLITS
            && !self.is_leased(now)
            && !self.leaving;
        if free {
            let until = now + self.config.split_timeout;
            self.splits.insert(token, Split { link, joiner, until, offer: None });
        }
        self.send(link, Control::SplitAnswer { token, ok: free });
    }

    pub(super) fn on_split_answer(&mut self, link: LinkId, token: u64, ok: bool, now: Instant) {
        if self.splits.get(&token).is_none_or(|split| split.link != link || split.offer.is_none()) {
            return;
        }
        let other = self.conns.get(&link).and_then(|conn| conn.record.clone());
        if let (true, Some(other)) = (ok, other) {
            let Some(offer) = self.splits.get(&token).and_then(|split| split.offer.as_ref()) else { return };
            let (back, walk) = (offer.back, offer.walk);
            let record = self.record.clone();
            return self.send(back, Control::Offer { walk, record, split: Some((other, token)) });
        }
        let Some(Split { joiner, offer: Some(mut offer), .. }) = self.splits.remove(&token) else { return };
        offer.refused.push(link);
        let (back, walk, priority) = (offer.back, offer.walk, offer.priority);
        if self.ask_neighbour(token, joiner, offer, now) {
            return;
        }
        let asker = self.conns.get(&back).is_some_and(|conn| conn.peer == joiner);
        if priority == Priority::High && asker && self.displace(now) {
            // The joiner is alone and no neighbour would move: it asks again and finds the place.
            let record = self.record.clone();
            self.send(back, Control::Offer { walk, record, split: None });
        }
    }

    /// As the joiner: take the place between two nodes if there is room for two more links.
    pub(super) fn go_between(
        &mut self,
        end: Record,
        other: Record,
        token: u64,
        priority: Priority,
        now: Instant,
    ) {
        let taken = self.is_known_link(&end.id) || self.is_known_link(&other.id) || end.id == other.id;
        let room = self.standing() + 2 * self.betweens.len() + 2 <= self.config.automatic_max();
        let dials = self.dials.len() + 2 < self.config.max_dials;
        if taken || !room || !dials || self.betweens.len() >= MAX_SPLITS {
            return;
        }
        let until = now + self.config.split_timeout;
        self.betweens.insert(token, Between { ends: [end.id, other.id], until });
        self.dial_record(&end, priority, Some(token), now);
        self.dial_record(&other, priority, Some(token), now);
    }

    /// As the joiner: when both links stand, the old one may go.
    pub(super) fn commit_between(&mut self, peer: &NodeId) {
        let stands = |id: &NodeId| self.link_to(id).is_some_and(|(_, conn)| conn.phase == Phase::Active);
        let done = |between: &Between| between.ends.contains(peer) && between.ends.iter().all(stands);
        let Some(token) = self.betweens.iter().find(|(_, between)| done(between)).map(|(token, _)| *token)
        else {
            return;
        };
        let Some(between) = self.betweens.remove(&token) else { return };
        if let Some((link, _)) = self.link_to(&between.ends[0]) {
            self.send(link, Control::SplitCommit { token });
        }
    }

    pub(super) fn on_split_commit(&mut self, link: LinkId, token: u64, now: Instant) {
        let from = self.conns.get(&link).map(|conn| conn.peer);
        let valid = |split: &Split| Some(split.joiner) == from && split.offer.is_some();
        if self.splits.get(&token).is_some_and(valid)
            && let Some(split) = self.splits.remove(&token)
            // It may have been wished for since the other end agreed to give it up.
            && !self.conns.get(&split.link).is_some_and(|conn| conn.explicit)
        {
            self.say_goodbye(split.link, DisconnectReason::Split, now);
        }
    }

    /// Gives up the neighbour that can best do without, for a node that is alone.
    pub(super) fn displace(&mut self, now: Instant) -> bool {
        // A split in progress makes room without cutting a path: whoever asks now may ask again.
        if !self.splits.is_empty() {
            return false;
        }
        let Some(link) = self.spare(now, |_| true) else { return false };
        self.say_goodbye(link, DisconnectReason::Surplus, now);
        true
    }

    /// The link that is easiest to give up: not one the user asked for, not a bridge, the youngest to a neighbour that has
    /// others. All were connected before that one was made.
    pub(super) fn spare(&self, now: Instant, suits: impl Fn(&(LinkId, &Conn)) -> bool) -> Option<LinkId> {
        let free = |(_, conn): &(LinkId, &Conn)| !conn.explicit && conn.bridge_until <= now;
        self.active()
            .filter(free)
            .filter(suits)
            .max_by_key(|(id, conn)| (conn.degree > 1, conn.since, *id))
            .map(|(id, _)| id)
    }
}
