//! Nearer neighbours: a node moves from a far neighbour to one of that neighbour's neighbours, if it is nearer.
//!
//! The link between those two stays meanwhile (they promise it), so that the path is never lost; and each node keeps two
//! links that were never chosen by distance, so that the network stays one and not a few dense corners. X-BOT (Leitão et
//! al., 2009) swaps two links of four nodes; three nodes are enough where not all are full.

use std::time::Duration;

use super::{Conn, Membership, Phase, Purpose};
use crate::ids::{LinkId, Target};
use crate::message::{Control, DisconnectReason, Priority};
use crate::output::CloseReason;
use crate::record::Record;
use crate::time::Instant;

/// Links of each node that were not chosen by distance, at least.
const RANDOM_LINKS: usize = 2;
/// The new neighbour must be so much nearer: moving is not free.
const NEARER: f64 = 0.6;
/// A link must have stood for this long before it is given up for a nearer one.
const STEADY: Duration = Duration::from_secs(30);
/// For so long the promise holds.
const LEASE: Duration = Duration::from_secs(10);
/// From the end of one promise to the next.
const REST: Duration = Duration::from_secs(30);

/// What reordering remembers.
#[derive(Debug)]
pub(super) struct Reorder {
    next: Instant,
    wait: Duration,
    /// A neighbour was allowed to move until then: meanwhile no link is given up, and nobody else may.
    lease: Instant,
    /// The neighbour we asked.
    asked: Option<LinkId>,
}

impl Reorder {
    pub(super) fn new(now: Instant, wait: Duration) -> Self {
        Self { next: now + wait, wait, lease: Instant::ZERO, asked: None }
    }
}

impl Membership {
    /// Now and then: ask the farthest neighbour whether there is a nearer one behind it.
    pub(super) fn reorder(&mut self, now: Instant) {
        if !self.config.reorder || now < self.reorder.next {
            return;
        }
        // Where nothing is to be gained it is tried more and more rarely.
        let wait = self.reorder.wait;
        self.reorder.wait = (wait * 2).min(self.config.reorder_wait.1);
        self.reorder.next = now + self.rng.duration(wait / 2, wait * 3 / 2);
        self.reorder.asked = None;
        if now < self.reorder.lease || self.degree() < self.config.min_peers || !self.splits.is_empty() {
            return;
        }
        let far = self.movable(now).max_by_key(|(id, conn)| (conn.rtt, *id)).map(|(id, _)| id);
        let Some(link) = far.filter(|link| self.is_random_enough_without(*link)) else { return };
        self.reorder.asked = Some(link);
        self.send(link, Control::Move);
    }

    /// Links that may be given up for nearer ones.
    fn movable(&self, now: Instant) -> impl Iterator<Item = (LinkId, &Conn)> {
        let movable = move |conn: &Conn| {
            !conn.explicit && conn.bridge_until <= now && now - conn.since > STEADY && !conn.near
        };
        self.active().filter(move |(_, conn)| movable(conn))
    }

    fn is_random_enough_without(&self, link: LinkId) -> bool {
        self.active().filter(|(id, conn)| *id != link && !conn.near).count() >= RANDOM_LINKS
    }

    /// A neighbour would like to move to one of ours: allowed if we have links enough without it.
    pub(super) fn on_move(&mut self, link: LinkId, now: Instant) {
        let ours = self.conns.get(&link).is_some_and(|conn| !conn.explicit && conn.bridge_until <= now);
        let spare = self.degree() > self.config.min_peers && self.is_random_enough_without(link);
        // Whoever asks again and again must not keep this node from letting in others.
        let rested = now >= self.reorder.lease + REST || self.reorder.lease == Instant::ZERO;
        let calm = self.config.reorder && rested && self.splits.is_empty() && self.reorder.asked.is_none();
        let mut records = Vec::new();
        if ours && spare && calm && !self.leaving {
            self.reorder.lease = now + LEASE;
            let others = self.active().filter(|(id, conn)| *id != link && !conn.explicit);
            records = others.filter_map(|(_, conn)| conn.record.clone()).take(crate::MAX_RECORDS).collect();
        }
        self.send(link, Control::MoveAnswer { records });
    }

    pub(super) fn on_move_answer(&mut self, link: LinkId, records: Vec<Record>, now: Instant) {
        self.learn(link, &records);
        if self.reorder.asked != Some(link) {
            return;
        }
        let strangers: Vec<_> = records.iter().filter(|record| !self.is_known_link(&record.id)).collect();
        let target = self
            .rng
            .pick(&strangers)
            .and_then(|record| Some((record.id, record.dialable_from(&self.addresses)?)));
        match target {
            Some((id, address)) => {
                self.dial(Purpose::Nearer(link), Target::Address(address), Some(id), now);
            }
            None => self.reorder.asked = None,
        }
    }

    /// The stranger was reached; `round_trip` tells how near it is.
    pub(super) fn maybe_move(&mut self, link: LinkId, from: LinkId, round_trip: Duration, now: Instant) {
        let far = self.conns.get(&from).filter(|conn| conn.phase == Phase::Active).map(|conn| conn.rtt);
        if far.is_some_and(|far| round_trip < far.mul_f64(NEARER)) {
            self.ask_for_link(link, Priority::Low, None, now);
        } else {
            self.reorder.asked = None;
            self.drop_link(link, CloseReason::NotNearer, now);
        }
    }

    /// The nearer link stands: the far one may go.
    pub(super) fn moved(&mut self, link: LinkId, from: LinkId, now: Instant) {
        self.reorder.asked = None;
        self.reorder.wait = self.config.reorder_wait.0;
        if let Some(conn) = self.conns.get_mut(&link) {
            conn.near = true;
        }
        let still = self.conns.get(&from).is_some_and(|conn| conn.phase == Phase::Active && !conn.explicit);
        if still && self.is_random_enough_without(from) {
            self.say_goodbye(from, DisconnectReason::Nearer, now);
        }
    }

    /// Whether a link may be given up now for other reasons: not while a neighbour relies on it.
    pub(super) fn is_leased(&self, now: Instant) -> bool {
        now < self.reorder.lease
    }
}
