//! Splits: a full node lets a joiner in between itself and one of its neighbours. Both keep their
//! number of links, the path between them stays, and the joiner has two.
//!
//! The walk's end asks a neighbour (`SplitPrepare`, `SplitAnswer`) and offers the joiner both ends
//! of the link. The joiner links with both and reports it (`SplitCommit`); only then is the old
//! link closed.

use super::Membership;
use super::state::conn::Conn;
use super::state::splits::{MAX_SPLITS, SplitOffer};
use crate::context::Cx;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::message::{Control, DisconnectReason, Priority};
use crate::record::Record;

impl Membership {
    // As the walk's end.

    /// Looks for room for the node at the other end of `link`, by a split. Returns whether a
    /// neighbour could be asked.
    pub(super) fn make_room(&mut self, cx: &mut Cx<'_>, link: LinkId, priority: Priority) -> bool {
        let Some(joiner) = self.conns.peer(link) else { return false };
        // The joiner has chosen this node; a walk would have led anywhere.
        let (back, walk, refused) = (link, cx.rng.next(), self.conns.own_choice().into_iter().collect());
        self.prepare_split(cx, SplitOffer { back, walk, joiner, priority, refused })
    }

    /// Prepares a split for the joiner. Returns whether a neighbour could be asked, or was asked
    /// before.
    pub(super) fn prepare_split(&mut self, cx: &mut Cx<'_>, offer: SplitOffer) -> bool {
        if self.splits.is_for(&offer.joiner) {
            return true;
        }
        let token = cx.rng.next();
        self.ask_for_split(cx, token, offer)
    }

    fn ask_for_split(&mut self, cx: &mut Cx<'_>, token: u64, offer: SplitOffer) -> bool {
        let fits = |(link, conn): &(LinkId, &Conn)| {
            conn.is_spare(cx.now)
                && conn.peer() != offer.joiner
                && !self.splits.is_splitting(*link)
                && !offer.refused.contains(link)
        };
        let links: Vec<_> = self.conns.active().filter(fits).map(|(link, _)| link).collect();
        let Some(link) = cx.rng.pick(&links).copied().filter(|_| self.splits.has_room()) else {
            return false;
        };
        let joiner = offer.joiner;
        self.splits.propose(cx, token, link, offer);
        cx.out.send(link, Control::SplitPrepare { token, joiner });
        true
    }

    pub(super) fn on_split_answer(&mut self, cx: &mut Cx<'_>, link: LinkId, token: u64, ok: bool) {
        let Some((back, walk)) = self.splits.offer(token, link).map(|offer| (offer.back, offer.walk)) else {
            return;
        };
        let other = self.conns.get(link).and_then(|conn| conn.record().cloned());
        if let (true, Some(other)) = (ok, other) {
            let record = self.known.own_record();
            return cx.out.send(back, Control::Offer { walk, record, split: Some((other, token)) });
        }
        let Some(mut offer) = self.splits.take_offer(token) else { return };
        let (joiner, priority) = (offer.joiner, offer.priority);
        offer.refused.push(link);
        if self.ask_for_split(cx, token, offer) {
            return;
        }
        let asker = self.conns.peer(back) == Some(joiner);
        if priority == Priority::High && asker && self.displace(cx) {
            // The joiner is alone and no neighbour would move: it asks again and finds the place.
            let record = self.known.own_record();
            cx.out.send(back, Control::Offer { walk, record, split: None });
        }
    }

    pub(super) fn on_split_commit(&mut self, cx: &mut Cx<'_>, link: LinkId, token: u64) {
        let joiner = self.conns.peer(link);
        if let Some(old) = joiner.and_then(|joiner| self.splits.commit(token, &joiner))
            // It may have been pinned since the other end agreed to end it.
            && !self.conns.get(old).is_some_and(Conn::is_pinned)
        {
            self.say_goodbye(cx, old, DisconnectReason::Split);
        }
    }

    // As its neighbour.

    pub(super) fn on_split_prepare(&mut self, cx: &mut Cx<'_>, link: LinkId, token: u64, joiner: NodeId) {
        let spare = |conn: &Conn| conn.is_active() && conn.is_spare(cx.now);
        let free = self.conns.get(link).is_some_and(spare)
            && !self.is_known_link(cx.me, &joiner)
            && !self.splits.is_splitting(link)
            && !self.splits.is_for(&joiner)
            && self.splits.has_room()
            && !cx.me.is_leaving();
        if free {
            self.splits.agree(cx, token, link, joiner);
        }
        cx.out.send(link, Control::SplitAnswer { token, ok: free });
    }

    // As the joiner.

    /// Takes the place between two nodes if there is room for two more links. The first one is the
    /// walk's end.
    pub(super) fn enter_split(
        &mut self,
        cx: &mut Cx<'_>,
        (end, other): (&Record, &Record),
        token: u64,
        priority: Priority,
    ) {
        let known = |id: &NodeId| self.is_known_link(cx.me, id);
        let taken = known(&end.id) || known(&other.id) || end.id == other.id;
        let pending = self.splits.pending();
        let room = self.conns.standing() + 2 * pending + 2 <= cx.config.automatic_max();
        let dials = self.dials.room(cx.config) > 2;
        if taken || !room || !dials || pending >= MAX_SPLITS {
            return;
        }
        self.splits.enter(cx, token, [end.id, other.id]);
        self.dial_record(cx, end, priority, Some(token));
        self.dial_record(cx, other, priority, Some(token));
    }

    /// Says that both links are up, once they are: the old one may go.
    pub(super) fn commit_split(&mut self, cx: &mut Cx<'_>, end: &NodeId) {
        let conns = &self.conns;
        let is_linked = |id: &NodeId| conns.link_to(id).is_some_and(|(_, conn)| conn.is_active());
        let Some((token, end)) = self.splits.complete(end, is_linked) else { return };
        if let Some((link, _)) = self.conns.link_to(&end) {
            cx.out.send(link, Control::SplitCommit { token });
        }
    }

    // Room without a split.

    /// Ends the link to the neighbour that can best do without it, for a node that is alone.
    /// Returns whether there is one.
    pub(super) fn displace(&mut self, cx: &mut Cx<'_>) -> bool {
        // A split in progress makes room without cutting a path: the node may ask again.
        if !self.splits.is_idle() {
            return false;
        }
        let Some(link) = self.spare(cx, |_| true) else { return false };
        self.say_goodbye(cx, link, DisconnectReason::Surplus);
        true
    }

    /// Returns the link that is easiest to do without: not a pinned one, a bridge or the one of
    /// this node's own choice, rather a near one, the youngest to a neighbour that has others. All
    /// nodes were connected before that one was made.
    pub(super) fn spare(&self, cx: &Cx<'_>, suits: impl Fn(&Conn) -> bool) -> Option<LinkId> {
        let own_choice = self.conns.own_choice();
        self.conns
            .active()
            .filter(|(link, conn)| conn.is_spare(cx.now) && Some(*link) != own_choice && suits(conn))
            .max_by_key(|(link, conn)| {
                (conn.is_near(), conn.degree() > 1, !conn.carries_reports(), conn.since(), *link)
            })
            .map(|(link, _)| link)
    }
}
