//! Looking around out of band: is a seed, or a node we knew once, part of another component now? If so, a link is
//! made that joins the two, and walks on both sides make some more.

use std::time::Duration;

use super::{Membership, Phase, Purpose};
use crate::id::NodeId;
use crate::ids::{LinkId, Target};
use crate::message::{Control, Priority};
use crate::netsplit::SeedFact;
use crate::output::{CloseReason, DialFailure};
use crate::record::Record;
use crate::time::Instant;

/// What a dial has shown counts for this long.
const MEMORY: Duration = Duration::from_secs(10);
/// Another component must be seen twice, this far apart, before it is called one: it may be joining us just now.
const TWICE: Duration = Duration::from_secs(3);
/// Walks that each side of a new bridge sends out, so that four links or so join the two.
const BRIDGE_WALKS: usize = 3;

/// What dialling a seed has shown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Dials in a row without an answer, and when the last one failed.
    unreachable: (u8, Instant),
    /// It answered as one of our component until then.
    present_until: Instant,
    /// It answered as one of another component: first and last time, and that one's size.
    elsewhere: Option<(Instant, Instant, u32)>,
}

impl super::Seed {
    pub(super) fn seen_answering(&mut self) {
        self.seen.unreachable.0 = 0;
    }
}

impl Membership {
    /// What this node knows of its seeds, as far as it knows who they are.
    pub(crate) fn seed_facts(&self, now: Instant) -> Vec<SeedFact> {
        let fact = |seed: &super::Seed| {
            let Seen { unreachable, present_until, elsewhere } = seed.seen;
            let fresh = unreachable.0 > 0 && now - unreachable.1 < MEMORY;
            let other = elsewhere.filter(|(first, last, _)| *last - *first >= TWICE && now - *last < MEMORY);
            Some(SeedFact {
                id: seed.peer?,
                unreachable: if fresh { unreachable.0 } else { 0 },
                present: present_until > now,
                other_size: other.map(|(_, _, size)| size),
                seen: unreachable.1.max(elsewhere.map_or(Instant::ZERO, |(_, last, _)| last)),
            })
        };
        self.seeds.iter().filter(|seed| !seed.own).filter_map(fact).collect()
    }

    pub(super) fn seed_silent(&mut self, ix: usize, failure: DialFailure, now: Instant) {
        let seen = &mut self.seeds[ix].seen;
        // A host that refuses is there; the seed's process is not, and that is no netsplit.
        let count = match failure {
            DialFailure::Refused => 0,
            DialFailure::Unanswered => seen.unreachable.0.saturating_add(1),
        };
        (seen.unreachable, seen.elsewhere) = ((count, now), None);
    }

    /// Calls on the seeds that are missing, now.
    pub(crate) fn probe_missing_seeds(&mut self, is_missing: impl Fn(&NodeId) -> bool, now: Instant) {
        for ix in 0..self.seeds.len() {
            let seed = &self.seeds[ix];
            let busy = self.dials.values().any(|dial| dial.purpose == Purpose::Contact(ix));
            if !seed.own && !busy && seed.peer.is_some_and(|peer| is_missing(&peer)) {
                self.dial_seed(ix, now);
            }
        }
    }

    /// True with a chance of one in `probers`, in each `period`.
    pub(crate) fn is_probing(&mut self, probers: u32, period: Duration, now: Instant) -> bool {
        if now < self.next_probe || self.leaving || self.degree() == 0 {
            return false;
        }
        self.next_probe = now + self.rng.duration(period * 9 / 10, period * 11 / 10);
        self.rng.below(probers as usize) == 0
    }

    /// True with a chance of one in `of`.
    pub(crate) fn lot(&mut self, of: u32) -> bool {
        self.rng.below(of as usize) == 0
    }

    /// Calls on one node that may be cut off from us: a seed that `is_missing`, somebody who does not answer any more,
    /// or anybody.
    pub(crate) fn probe(&mut self, is_missing: impl Fn(&NodeId) -> bool, now: Instant) {
        let missing = |seed: &super::Seed| !seed.own && seed.peer.is_none_or(|peer| is_missing(&peer));
        let seeds: Vec<_> = (0..self.seeds.len()).filter(|ix| missing(&self.seeds[*ix])).collect();
        let lot = self.rng.below(10);
        if lot < 6
            && let Some(ix) = self.rng.pick(&seeds).copied()
        {
            if !self.dials.values().any(|dial| dial.purpose == Purpose::Contact(ix)) {
                self.dial_seed(ix, now);
            }
            return;
        }
        let dead = (lot < 9).then(|| self.passive.exhume()).flatten();
        self.probe_node(dead, now);
    }

    /// After links were lost: one known node after the other, until enough of them were found alive. After a mass failure
    /// that is how the survivors, each with enough links to some others, find all others.
    pub(super) fn probe_in_doubt(&mut self, now: Instant) {
        if (self.doubts > 0 || self.sweep > 0) && self.degree() > 0 {
            self.sweep = self.sweep.saturating_sub(1);
            self.probe_node(None, now);
        }
    }

    /// Calls on this node, or anybody.
    fn probe_node(&mut self, record: Option<Record>, now: Instant) {
        let mut rng = self.rng.clone();
        let anybody = || self.passive.candidates(1, now, &mut rng, |id| !self.is_known_link(id)).pop();
        let record = record.or_else(anybody);
        self.rng = rng;
        let Some(record) = record.filter(|record| !self.is_known_link(&record.id)) else { return };
        // One place is kept for the seeds.
        if self.dials.len() + 1 < self.config.max_dials
            && let Some(address) = record.dialable_from(&self.addresses)
        {
            self.dial(Purpose::Probe, Target::Address(address), Some(record.id), now);
        }
    }

    /// Whether the connection is one that a beacon is awaited on.
    pub(crate) fn is_probe(&self, link: LinkId) -> bool {
        self.conns.get(&link).is_some_and(|conn| {
            conn.phase == Phase::Session && matches!(conn.purpose, Purpose::Contact(_) | Purpose::Probe)
        })
    }

    /// Who was called on is one of us: good to know, and no more to do.
    pub(crate) fn found_one_of_us(&mut self, link: LinkId, now: Instant) {
        let Some(conn) = self.conns.get(&link) else { return };
        match conn.purpose {
            Purpose::Contact(ix) => {
                let seed = &mut self.seeds[ix];
                (seed.lost, seed.seen.elsewhere, seed.seen.present_until) = (false, None, now + MEMORY);
            }
            Purpose::Probe => {
                self.lost.forget(&conn.peer);
                self.drop_link(link, CloseReason::SamePartition, now);
            }
            _ => {}
        }
    }

    /// Who was called on is of another component: a link makes the two one.
    pub(crate) fn found_others(&mut self, link: LinkId, size: u32, now: Instant) {
        let Some(conn) = self.conns.get(&link) else { return };
        if let Purpose::Contact(ix) = conn.purpose {
            let seen = &mut self.seeds[ix].seen;
            let lately = seen.elsewhere.filter(|(_, last, _)| now - *last < MEMORY);
            let first = lately.map_or(now, |(first, ..)| first);
            seen.elsewhere = Some((first, now, size));
        }
        if self.standing() >= self.config.hard_max() && !self.displace(now) {
            return;
        }
        if let Some(conn) = self.conns.get_mut(&link) {
            conn.bridge_first = true;
        }
        self.ask_for_link(link, Priority::Bridge, None, now);
    }

    /// The new link, which we asked for, joins two components: tell the other one whom it can reach now.
    pub(super) fn bridged(&mut self, link: LinkId, now: Instant) {
        let Some(conn) = self.conns.get_mut(&link) else { return };
        conn.bridge_until = now + self.config.bridge_hold;
        if !std::mem::take(&mut conn.bridge_first) {
            return;
        }
        let peer = conn.peer;
        let records = self.sample(8, 8, &peer);
        if !records.is_empty() {
            self.send(link, Control::Bridge { ttl: self.config.walk_ttl, records });
        }
    }

    pub(super) fn on_bridge(&mut self, from: LinkId, ttl: u8, records: Vec<Record>, now: Instant) {
        let fresh = self.conns.get_mut(&from).is_some_and(|conn| {
            conn.bridge_until > now && std::mem::take(&mut conn.bridge_first) && ttl >= self.config.walk_ttl
        });
        self.learn(from, &records);
        if fresh {
            for _ in 0..BRIDGE_WALKS {
                if let Some(hop) = self.next_hop(from, &self.me.clone()) {
                    self.send(
                        hop,
                        Control::Bridge { ttl: ttl.min(self.config.walk_ttl) - 1, records: records.clone() },
                    );
                }
            }
            return;
        }
        match self.next_hop(from, &self.me.clone()) {
            Some(hop) if ttl > 0 => {
                let ttl = ttl.min(self.config.walk_ttl) - 1;
                self.send(hop, Control::Bridge { ttl, records });
            }
            _ => self.build_bridge(&records, now),
        }
    }

    fn build_bridge(&mut self, records: &[Record], now: Instant) {
        let unknown: Vec<_> = records.iter().filter(|record| !self.is_known_link(&record.id)).collect();
        let Some(record) = self.rng.pick(&unknown).map(|record| (*record).clone()) else { return };
        if self.committed() < self.config.hard_max() && self.dials.len() < self.config.max_dials {
            self.dial_record(&record, Priority::Bridge, None, now);
        }
    }
}
