//! Probes: dials out of band that find out which partition a node is part of. It answers with its
//! beacon.
//!
//! Missing seeds are dialled in turns, which the beacon gives (`netsplit/turns.rs`). Besides, three
//! nodes of a partition probe in each round, chosen by chance: a node that does not answer any
//! more, or any known node. After links were lost every node probes the nodes it knows, one in a
//! tick; after a mass failure that is how the survivors find each other.

use std::time::Duration;

use super::Membership;
use super::state::conn::Phase;
use super::state::dials::Purpose;
use crate::context::Cx;
use crate::id::NodeId;
use crate::ids::{LinkId, Target};
use crate::message::{Control, Priority};
use crate::output::CloseReason;
use crate::record::Record;

/// One in this number of probes is for a missing seed. Default 300: one in 8 minutes.
const SEED_PROBES: usize = 300;
/// With fewer nodes that do not answer any more, fewer probes are for them.
const MANY_DEAD: usize = 8;

impl Membership {
    /// Dials all known seeds if links fell silent in this tick; of all nodes that notice a cut, a
    /// few do.
    pub(crate) fn probe_after_silence(&mut self, cx: &mut Cx<'_>, probers: u32) {
        if !self.probing.take_silent() || cx.rng.below(probers.div_ceil(3) as usize) != 0 {
            return;
        }
        for ix in 0..self.seeds.len() {
            if self.seeds.is_known(ix) && !self.dials.is_dialling_seed(ix) {
                self.dial_seed(cx, ix);
            }
        }
    }

    /// Returns whether this node probes in this `period`: with a chance of one in `one_in`, so that
    /// about three nodes of a partition do.
    pub(crate) fn is_probing(&mut self, cx: &mut Cx<'_>, one_in: u32, period: Duration) -> bool {
        !cx.me.is_leaving() && self.degree() > 0 && self.probing.take_turn(cx, one_in, period)
    }

    /// Notes which seeds are missing: those that the partition lacks, as `is_missing` says, and
    /// those that have not answered yet. Returns their names for the beacon, which gives turns to
    /// dial them. A node without a link dials all of its seeds itself.
    pub(crate) fn miss_seeds(&mut self, is_missing: impl Fn(&NodeId) -> bool) -> Vec<u64> {
        let (conns, alone) = (&self.conns, self.degree() == 0);
        let is_missing = |id: &NodeId| conns.link_to(id).is_none() && (alone || is_missing(id));
        let missing = self.seeds.miss(is_missing);
        if alone { Vec::new() } else { missing }
    }

    /// Asks those seeds for their beacon that answered before this node was part of a partition, or
    /// for long enough, unless they are known to be part of it.
    pub(crate) fn check_seeds(&mut self, cx: &mut Cx<'_>, is_here: impl Fn(&NodeId) -> bool) {
        if self.degree() == 0 || cx.me.is_leaving() {
            return;
        }
        for (ix, peer) in self.seeds.take_unchecked() {
            if self.conns.link_to(&peer).is_some() || is_here(&peer) || self.dials.is_dialling_seed(ix) {
                continue;
            }
            match self.conns.contact_with(ix) {
                Some(link) => cx.out.send(link, Control::Probe),
                None => self.dial_seed(cx, ix),
            }
        }
    }

    /// It is this node's turn to dial a seed that its partition lacks.
    pub(crate) fn take_turn(&mut self, cx: &mut Cx<'_>, seed: u64) {
        let Some(ix) = self.seeds.missing(seed) else { return };
        if !self.dials.is_dialling_seed(ix) && !cx.me.is_leaving() {
            self.dial_seed(cx, ix);
        }
    }

    /// Probes one node that may be part of another partition: one that does not answer any more, or
    /// any known one. Now and then it is a missing seed: should some member spoil the turns, it is
    /// still dialled for ever.
    pub(crate) fn probe(&mut self, cx: &mut Cx<'_>) {
        let choice = cx.rng.below(SEED_PROBES);
        if choice == 0 {
            if let Some(ix) = cx.rng.pick(&self.seeds.all_missing()).copied()
                && !self.dials.is_dialling_seed(ix)
            {
                self.dial_seed(cx, ix);
            }
            return;
        }
        // A few dead nodes are not worth all probes.
        let dead = choice < SEED_PROBES * 9 / 10 && cx.rng.below(MANY_DEAD) < self.known.passive().counts().1;
        let dead = dead.then(|| self.known.passive_mut().exhume()).flatten();
        self.probe_node(cx, dead);
    }

    /// After links were lost: probes one known node after the other, until enough of them were
    /// found alive.
    pub(super) fn probe_in_doubt(&mut self, cx: &mut Cx<'_>) {
        if self.degree() > 0 && self.probing.take_doubt() {
            self.probe_node(cx, None);
        }
    }

    /// Dials one of the lost neighbours whose turn it is. Seeds are dialled more often, as seeds.
    pub(super) fn retry_lost(&mut self, cx: &mut Cx<'_>) {
        if self.dials.room(cx.config) <= 1 {
            return;
        }
        let (conns, dials, seeds, me) = (&self.conns, &self.dials, &self.seeds, cx.me);
        let is_sought = |record: &Record| {
            let id = &record.id;
            let is_seed = seeds.is_seed(id) || seeds.is_missing(record);
            is_seed || *id == me.id() || conns.link_to(id).is_some() || dials.is_dialling(id)
        };
        let Some(record) = self.reconnect.next(cx, is_sought) else { return };
        if let Some(address) = self.known.address_of(&record) {
            self.dial(cx, Purpose::Probe, Target::Address(address), Some(record.id));
        }
    }

    /// Probes this node, or any known one.
    fn probe_node(&mut self, cx: &mut Cx<'_>, record: Option<Record>) {
        let me = cx.me;
        let unlinked =
            |record: &Record| !self.is_known_link(me, &record.id) && !self.seeds.is_missing(record);
        let passive = self.known.passive();
        let record = record.or_else(|| passive.candidates(1, cx.now, cx.rng, unlinked).pop());
        let Some(record) = record.filter(unlinked) else { return };
        // One place is kept for the seeds.
        if self.dials.room(cx.config) > 1
            && let Some(address) = self.known.address_of(&record)
        {
            self.dial(cx, Purpose::Probe, Target::Address(address), Some(record.id));
        }
    }

    /// Returns whether a beacon is awaited on this connection.
    pub(crate) fn is_probe(&self, link: LinkId) -> bool {
        self.conns.get(link).is_some_and(|conn| {
            conn.phase() == Phase::Session && matches!(conn.purpose(), Purpose::Contact(_) | Purpose::Probe)
        })
    }

    /// The node that was probed is part of this partition: good to know, and nothing more to do.
    pub(crate) fn found_same_partition(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        let Some(conn) = self.conns.get(link) else { return };
        match *conn.purpose() {
            Purpose::Contact(ix) => self.seeds.note_present(ix, cx.now),
            Purpose::Probe => {
                self.reconnect.forget(&conn.peer());
                self.drop_link(cx, link, CloseReason::SamePartition);
            }
            _ => {}
        }
    }

    /// The node that was probed is part of another partition, of this size: a link merges the two.
    pub(crate) fn found_other_partition(&mut self, cx: &mut Cx<'_>, link: LinkId, size: u32) {
        let Some(conn) = self.conns.get(link) else { return };
        if let Purpose::Contact(ix) = *conn.purpose() {
            self.seeds.note_elsewhere(ix, size, cx.now);
        }
        if self.conns.standing() >= cx.config.hard_max() && !self.displace(cx) {
            return;
        }
        self.conns.set_bridge_first(link);
        self.ask_for_link(cx, link, Priority::Bridge, None);
    }
}
