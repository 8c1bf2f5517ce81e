//! Nearer neighbours: a node moves from a far neighbour to one of that neighbour's neighbours, if
//! it is nearer. Off by default.
//!
//! The link between those two stays meanwhile (they promise it), so that no path is lost. Each node
//! keeps two links that were never chosen by distance, so that the network does not fall apart into
//! a few dense corners. X-BOT (Leitão et al., 2009) swaps two links of four nodes; three nodes are
//! enough where not all are full.

use std::time::Duration;

use super::Membership;
use super::state::conn::Conn;
use super::state::dials::Purpose;
use crate::context::Cx;
use crate::ids::{LinkId, Target};
use crate::message::{Control, DisconnectReason, MAX_RECORDS, Priority};
use crate::output::CloseReason;
use crate::record::Record;

/// Links of each node that were not chosen by distance, at least.
const RANDOM_LINKS: usize = 2;
/// The new neighbour's round trip must be below this share of the old one's: moving is not free.
const NEARER: f64 = 0.6;
/// A link must have existed for this long before it is exchanged for a nearer one.
const STEADY: Duration = Duration::from_secs(30);

impl Membership {
    /// Now and then asks the farthest neighbour whether there is a nearer one behind it.
    pub(super) fn optimise(&mut self, cx: &mut Cx<'_>) {
        if !cx.config.reorder || !self.optimisation.take_turn(cx) {
            return;
        }
        let leased = self.optimisation.is_leased(cx.now);
        if leased || self.degree() < cx.config.min_peers || !self.splits.is_idle() {
            return;
        }
        let movable = |conn: &Conn| conn.is_spare(cx.now) && conn.age(cx.now) > STEADY && !conn.is_near();
        let links = self.conns.active().filter(|(_, conn)| movable(conn));
        let farthest = links.max_by_key(|(link, conn)| (conn.rtt(), *link)).map(|(link, _)| link);
        let Some(link) = farthest.filter(|link| self.is_random_enough_without(*link)) else { return };
        self.optimisation.ask(link);
        cx.out.send(link, Control::Move);
    }

    fn is_random_enough_without(&self, link: LinkId) -> bool {
        self.conns.active().filter(|(id, conn)| *id != link && !conn.is_near()).count() >= RANDOM_LINKS
    }

    /// A neighbour would like to move to one of this node's neighbours: it may if there are links
    /// enough without it.
    pub(super) fn on_move(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        let ours = self.conns.get(link).is_some_and(|conn| conn.is_spare(cx.now));
        let spare = self.degree() > cx.config.min_peers && self.is_random_enough_without(link);
        let calm = cx.config.reorder && self.splits.is_idle() && self.optimisation.may_lease(cx.now);
        let mut records = Vec::new();
        if ours && spare && calm && !cx.me.is_leaving() {
            self.optimisation.lease(cx.now);
            let others = self.conns.active().filter(|(id, conn)| *id != link && !conn.is_pinned());
            records = others.filter_map(|(_, conn)| conn.record().cloned()).take(MAX_RECORDS).collect();
        }
        cx.out.send(link, Control::MoveAnswer { records });
    }

    pub(super) fn on_move_answer(&mut self, cx: &mut Cx<'_>, link: LinkId, records: &[Record]) {
        self.learn(cx, link, records);
        if self.optimisation.asked() != Some(link) {
            return;
        }
        let strangers: Vec<_> =
            records.iter().filter(|record| !self.is_known_link(cx.me, &record.id)).collect();
        let target =
            cx.rng.pick(&strangers).and_then(|record| Some((record.id, self.known.address_of(record)?)));
        match target {
            Some((id, address)) => {
                self.dial(cx, Purpose::Nearer(link), Target::Address(address), Some(id));
            }
            None => self.optimisation.settle(),
        }
    }

    /// The stranger was reached; `round_trip` tells how near it is.
    pub(super) fn maybe_move(&mut self, cx: &mut Cx<'_>, link: LinkId, from: LinkId, round_trip: Duration) {
        let far = self.conns.get(from).filter(|conn| conn.is_active()).map(Conn::rtt);
        if far.is_some_and(|far| round_trip < far.mul_f64(NEARER)) {
            self.ask_for_link(cx, link, Priority::Low, None);
        } else {
            self.optimisation.settle();
            self.drop_link(cx, link, CloseReason::NotNearer);
        }
    }

    /// The nearer link is up: the far one may go.
    pub(super) fn moved(&mut self, cx: &mut Cx<'_>, link: LinkId, from: LinkId) {
        self.optimisation.gained(cx);
        self.conns.set_near(link);
        let exists = self.conns.get(from).is_some_and(|conn| conn.is_active() && !conn.is_pinned());
        if exists && self.is_random_enough_without(from) {
            self.say_goodbye(cx, from, DisconnectReason::Nearer);
        }
    }
}
