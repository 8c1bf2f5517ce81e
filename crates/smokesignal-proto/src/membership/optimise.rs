//! Nearer neighbours: in the places that its random links leave free, a node keeps links to nodes
//! that are near, so that messages cross the long distances less often. On by default.
//!
//! A link is *random* if it comes from joining or from looking for peers, and *near* if it was
//! chosen here, by its round trip; both of its ends know. Each node keeps two random links, which
//! it chooses itself: one that it has dialled, and one that another node has dialled, or else the
//! next of its own. It prefers links that stay anyway, and then the oldest. They are never
//! exchanged for nearer ones, by either end, so that the network does not fall apart into regions,
//! and a node that is near cannot take their place. Nor is a link exchanged over which nodes are
//! counted (`netsplit/`): those on one side of it would be missed in the count until the next beat.
//!
//! Now and then a node asks the other end of a random link that it does not keep whether that one
//! does (`Move`). If neither does, either may exchange it. And it measures the round trip to one
//! more node, by a dial: to a neighbour of a near neighbour, or to any node that it knows. It asks
//! for a link if there is a place and the node is nearer than most of its random links or as near
//! as any, or if the node is much nearer than the farthest link that may be exchanged, which it
//! ends then. The node that is asked agrees if it has a place, or a random link to exchange. A near
//! link gives way to any other: a full node that is asked for a place by a node that needs one ends
//! its farthest near link. So near links take up room that nobody else needs.
//!
//! X-BOT (Leitão et al., 2009) exchanges links, by agreements of four nodes; Perigee (Mao et al.,
//! 2020) keeps the links that bring messages first.

use std::time::Duration;

use super::Membership;
use super::state::conn::{Conn, Release};
use super::state::dials::Purpose;
use crate::context::Cx;
use crate::ids::{LinkId, Target};
use crate::message::{Control, DisconnectReason, MAX_RECORDS, Priority};
use crate::output::CloseReason;
use crate::record::Record;

/// Random links of its own choice that each node keeps.
const RANDOM_LINKS: usize = 2;
/// A near link's round trip must be below this share of the median of the random links' ones, or of
/// that of the link it replaces: moving is not free.
const NEARER: f64 = 0.7;
/// A node whose round trip is below this multiple of the nearest link's is as near as that one.
const AS_NEAR: f64 = 1.25;
/// Nodes that are measured together.
const AT_ONCE: usize = 2;
/// A link must have existed for this long before it is exchanged for a nearer one.
const STEADY: Duration = Duration::from_secs(30);

impl Membership {
    /// Now and then looks for a nearer neighbour, or for a random one if too few are left.
    pub(super) fn optimise(&mut self, cx: &mut Cx<'_>) {
        if !cx.config.reorder || !self.optimisation.take_turn(cx) {
            return;
        }
        if self.degree() < cx.config.min_peers || !self.splits.is_idle() {
            return;
        }
        if self.lacks_random(cx) {
            return self.ask_neighbours(cx);
        }
        if let Some(link) = self.releasable(cx) {
            cx.out.send(link, Control::Move);
        }
        let full = self.committed() >= cx.config.automatic_max();
        let spare = full.then(|| self.dispensable(cx)).flatten();
        if full && spare.is_none() {
            return;
        }
        self.optimisation.seek(spare);
        let near = self.conns.active().filter(|(_, conn)| conn.is_near()).map(|(link, _)| link);
        let near: Vec<_> = near.collect();
        match cx.rng.pick(&near).copied() {
            Some(link) if cx.rng.below(4) > 0 => cx.out.send(link, Control::Move),
            _ => self.try_known(cx),
        }
    }

    /// Returns the random links that this node keeps: one that it has dialled itself, and one that
    /// others have dialled, or else the next of its own; first those that stay anyway, then the
    /// oldest.
    fn kept(&self) -> Vec<LinkId> {
        let mut random: Vec<_> = self.conns.active().filter(|(_, conn)| is_keepable(conn)).collect();
        random.sort_by_key(|(link, conn)| (!is_fixed(conn), conn.since(), *link));
        let (own, others): (Vec<_>, Vec<_>) = random.into_iter().partition(|(_, conn)| conn.is_dialled());
        let first = own.first().into_iter().chain(others.first());
        let rest = own.iter().skip(1).chain(others.iter().skip(1));
        first.chain(rest).map(|(link, _)| *link).take(RANDOM_LINKS).collect()
    }

    /// Returns whether too few random links are left, or none that this node has dialled itself.
    pub(super) fn lacks_random(&self, cx: &Cx<'_>) -> bool {
        let own = |link: &LinkId| self.conns.get(*link).is_some_and(Conn::is_dialled);
        let kept = self.kept();
        cx.config.reorder && (kept.len() < RANDOM_LINKS.min(cx.config.min_peers) || !kept.iter().any(own))
    }

    /// Returns how many random links this node keeps.
    pub(super) fn kept_count(&self) -> usize {
        self.kept().len()
    }

    /// Returns the farthest random link that this node does not keep, and whose other end was not
    /// asked yet whether it does.
    fn releasable(&self, cx: &Cx<'_>) -> Option<LinkId> {
        let kept = self.kept();
        let fits = |link: LinkId, conn: &Conn| {
            let steady = conn.is_spare(cx.now) && conn.age(cx.now) > STEADY;
            let random = !conn.is_near() && conn.release() == Release::Unknown;
            steady && random && !kept.contains(&link)
        };
        let links = self.conns.active().filter(|(link, conn)| fits(*link, conn));
        links.max_by_key(|(link, conn)| (conn.rtt(), *link)).map(|(link, _)| link)
    }

    /// Returns the farthest link that this node may exchange for a nearer one.
    fn dispensable(&self, cx: &Cx<'_>) -> Option<LinkId> {
        self.farthest(cx, |conn| conn.is_near() || conn.release() == Release::Granted)
    }

    /// Returns the farthest random link that neither end keeps.
    fn released(&self, cx: &Cx<'_>) -> Option<LinkId> {
        self.farthest(cx, |conn| !conn.is_near() && conn.release() == Release::Granted)
    }

    /// Returns the farthest link that `suits` and has existed for a while, and that its other end
    /// does not need.
    fn farthest(&self, cx: &Cx<'_>, suits: impl Fn(&Conn) -> bool) -> Option<LinkId> {
        let fits = |conn: &Conn| {
            let steady = conn.is_spare(cx.now) && conn.age(cx.now) > STEADY;
            let needless = conn.degree() > cx.config.min_peers && !conn.carries_reports();
            steady && needless && suits(conn)
        };
        let links = self.conns.active().filter(|(_, conn)| fits(conn));
        links.max_by_key(|(link, conn)| (conn.rtt(), *link)).map(|(link, _)| link)
    }

    /// Measures the round trip to some known node.
    fn try_known(&mut self, cx: &mut Cx<'_>) {
        let (me, tried) = (cx.me, &self.optimisation);
        let fits = |record: &Record| {
            !self.is_known_link(me, &record.id)
                && !tried.has_tried(&record.id)
                && !self.seeds.is_missing(record)
        };
        let records = self.known.passive().candidates(AT_ONCE, cx.now, cx.rng, fits);
        records.iter().for_each(|record| self.measure(cx, record));
    }

    fn measure(&mut self, cx: &mut Cx<'_>, record: &Record) {
        // One place is kept for the seeds.
        if self.dials.room(cx.config) > 1
            && let Some(address) = self.known.address_of(record)
        {
            self.optimisation.note_tried(record.id);
            self.dial(cx, Purpose::Nearer, Target::Address(address), Some(record.id));
        }
    }

    /// A neighbour looks for nodes that are near to it. Over a random link it asks as well whether
    /// it may exchange the link: it may unless this node keeps it, or needs it.
    pub(super) fn on_move(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        let Some(conn) = self.conns.get(link) else { return };
        let near = conn.is_near();
        let spare = conn.is_spare(cx.now) && self.degree() > cx.config.min_peers;
        let free = cx.config.reorder && spare && !cx.me.is_leaving() && !self.kept().contains(&link);
        let mut records = Vec::new();
        if near || free {
            let others = self.conns.active().filter(|(id, conn)| *id != link && !conn.is_pinned());
            records = others.filter_map(|(_, conn)| conn.record().cloned()).take(MAX_RECORDS).collect();
        }
        if !near && !records.is_empty() {
            self.conns.set_release(link, Release::Granted);
        }
        cx.out.send(link, Control::MoveAnswer { records });
    }

    pub(super) fn on_move_answer(&mut self, cx: &mut Cx<'_>, link: LinkId, records: &[Record]) {
        self.learn(cx, link, records);
        if self.conns.get(link).is_some_and(|conn| !conn.is_near()) {
            let release = if records.is_empty() { Release::Refused } else { Release::Granted };
            return self.conns.set_release(link, release);
        }
        if !self.optimisation.is_seeking() {
            return;
        }
        let fits = |record: &&Record| {
            !self.is_known_link(cx.me, &record.id) && !self.optimisation.has_tried(&record.id)
        };
        let mut strangers: Vec<_> = records.iter().filter(fits).collect();
        if strangers.is_empty() {
            return self.try_known(cx);
        }
        cx.rng.shuffle(&mut strangers);
        strangers.into_iter().take(AT_ONCE).for_each(|record| self.measure(cx, record));
    }

    /// The node that was dialled to be measured has answered, after this round trip.
    pub(super) fn maybe_near(&mut self, cx: &mut Cx<'_>, link: LinkId, round_trip: Duration) {
        let limit = match self.optimisation.sought() {
            _ if !self.optimisation.is_seeking() => None,
            Some(spare) => {
                let conn = self.conns.get(spare).filter(|conn| conn.is_active());
                conn.map(|conn| conn.rtt().mul_f64(NEARER))
            }
            None => self.near_enough(),
        };
        if limit.is_some_and(|limit| round_trip < limit) {
            self.ask_for_link(cx, link, Priority::Low, None);
        } else {
            self.drop_link(cx, link, CloseReason::NotNearer);
        }
    }

    /// Returns the round trip below which one more node is near: nearer than the median of the
    /// random links, or about as near as the nearest link.
    fn near_enough(&self) -> Option<Duration> {
        let random = self.conns.active().filter(|(_, conn)| !conn.is_near());
        let mut random: Vec<_> = random.map(|(_, conn)| conn.rtt()).collect();
        random.sort_unstable();
        let median = random.get(random.len() / 2)?.mul_f64(NEARER);
        let nearest = self.conns.active().map(|(_, conn)| conn.rtt()).min()?;
        Some(median.max(nearest.mul_f64(AS_NEAR)))
    }

    /// Returns whether a full node has a place for a near link: a random link that neither end
    /// keeps.
    pub(super) fn may_exchange(&self, cx: &Cx<'_>) -> bool {
        self.released(cx).is_some()
    }

    /// The near link is up at the node that has asked for it: the one that it replaces may go.
    pub(super) fn moved(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.conns.set_near(link);
        let spare = self.optimisation.gained(cx);
        if spare.is_some() && spare == self.dispensable(cx) {
            self.make_way(cx, spare);
        }
    }

    /// A near link is up at the node that was asked for it.
    pub(super) fn near_link_up(&mut self, cx: &mut Cx<'_>) {
        let spare = self.released(cx);
        self.make_way(cx, spare);
    }

    fn make_way(&mut self, cx: &mut Cx<'_>, spare: Option<LinkId>) {
        if let Some(spare) = spare.filter(|_| self.degree() > cx.config.automatic_max()) {
            self.say_goodbye(cx, spare, DisconnectReason::Nearer);
        }
    }

    /// Returns the farthest near link, if there is one whose other end has links enough: it gives
    /// way to a random one.
    fn yielding(&self, cx: &Cx<'_>) -> Option<LinkId> {
        let fits =
            |conn: &Conn| conn.is_near() && conn.is_spare(cx.now) && conn.degree() > cx.config.min_peers;
        let links = self.conns.active().filter(|(_, conn)| fits(conn));
        links.max_by_key(|(link, conn)| (!conn.carries_reports(), conn.rtt(), *link)).map(|(link, _)| link)
    }

    /// Returns whether there is a place for one more random link, or a near link that gives way.
    pub(super) fn has_place(&self, cx: &Cx<'_>) -> bool {
        let (committed, limit) = (self.committed(), cx.config.automatic_max());
        committed < limit || (committed == limit && self.yielding(cx).is_some())
    }

    /// Ends a near link of a full node, so that a random one has a place. Returns whether there was
    /// one.
    pub(super) fn yield_place(&mut self, cx: &mut Cx<'_>) -> bool {
        let link = self.yielding(cx);
        if let Some(link) = link {
            self.say_goodbye(cx, link, DisconnectReason::Surplus);
        }
        link.is_some()
    }
}

/// Returns whether this node may keep the link as a random one.
fn is_keepable(conn: &Conn) -> bool {
    !conn.is_near() && !conn.is_pinned() && conn.release() != Release::Granted
}

/// Returns whether a random link stays anyway: the other end keeps it, or the count of nodes
/// travels over it. The more of these a node keeps, the more others may become near ones.
fn is_fixed(conn: &Conn) -> bool {
    conn.carries_reports() || conn.release() == Release::Refused
}
