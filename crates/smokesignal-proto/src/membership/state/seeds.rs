//! The seeds: addresses given by the user, tried for ever, and what dialling each of them has
//! shown. A contact is a node that this one joins through: a seed or, for an isolated node, one
//! that has dialled it.
//!
//! A node without a link dials each of its seeds again after a wait that doubles, with jitter, to
//! its limit, and then for ever. A node with links leaves that to its partition, which dials a
//! missing seed in turns (`netsplit/turns.rs`). It dials a seed on its own account once, to learn
//! its id, and after the link to the seed broke, until the partition knows that the seed is
//! missing: of the seed's former neighbours one at a time, by lot. The latest results of the dials
//! (no answer, an answer from the same partition, an answer from another one) make up the beacon's
//! reports about the seed.

use std::net::SocketAddr;
use std::time::Duration;

use crate::context::Cx;
use crate::id::NodeId;
use crate::netsplit::{SeedFact, address_key};
use crate::output::DialFailure;
use crate::record::Record;
use crate::time::Instant;

/// The result of a dial counts for this long.
const MEMORY: Duration = Duration::from_secs(10);
/// Another partition must be seen twice, this far apart, before it is called one: it may be merging
/// just now.
const TWICE: Duration = Duration::from_secs(3);

/// The wait between two dials of a seed that this node was linked to: the least, and the most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(1700), Duration::from_millis(2400));

/// An address that led to this node itself is tried again after this time: a name may lead to
/// another node by then.
const OWN_AGAIN: Duration = Duration::from_secs(15);

/// One seed.
#[derive(Debug)]
struct Seed {
    address: String,
    /// The same, unless it is a name.
    socket: Option<SocketAddr>,
    /// Its name for the beacon.
    key: u64,
    peer: Option<NodeId>,
    /// The partition lacks it, or its id is not known.
    missing: bool,
    /// It has answered, and this node has not found out yet whether they are of one partition.
    unchecked: bool,
    failures: u32,
    not_before: Instant,
    /// The address leads to this node itself.
    own: bool,
    /// The link to the seed broke, and the seed had this many: it must be reached again even if
    /// there are enough peers.
    lost: Option<usize>,
    /// Dials in a row without an answer, and when the last one failed.
    unreachable: (u8, Instant),
    /// The seed answered as part of this node's partition until then.
    present_until: Instant,
    /// The seed answered as part of another partition: the first and last time, and the size of
    /// that one.
    elsewhere: Option<(Instant, Instant, u32)>,
}

/// All seeds, and when one may be tried next by an isolated node.
#[derive(Debug)]
pub(crate) struct Seeds {
    list: Vec<Seed>,
    next_contact: Instant,
}

impl Seeds {
    pub(crate) fn new(now: Instant) -> Self {
        Self { list: Vec::new(), next_contact: now }
    }

    pub(crate) fn add(&mut self, address: String, now: Instant) {
        self.list.push(Seed {
            socket: address.parse().ok(),
            key: address_key(&address),
            address,
            peer: None,
            missing: false,
            unchecked: false,
            failures: 0,
            not_before: now,
            own: false,
            lost: None,
            unreachable: (0, Instant::ZERO),
            present_until: Instant::ZERO,
            elsewhere: None,
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn address(&self, ix: usize) -> String {
        self.list[ix].address.clone()
    }

    pub(crate) fn peer(&self, ix: usize) -> Option<NodeId> {
        self.list[ix].peer
    }

    /// Returns whether there is a seed that is not this node itself.
    pub(crate) fn has_others(&self) -> bool {
        self.list.iter().any(|seed| !seed.own)
    }

    pub(crate) fn is_seed(&self, peer: &NodeId) -> bool {
        self.list.iter().any(|seed| seed.peer == Some(*peer))
    }

    /// Returns the place in the list of the seed that has answered with this id.
    pub(crate) fn position(&self, peer: &NodeId) -> Option<usize> {
        self.list.iter().position(|seed| seed.peer == Some(*peer))
    }

    /// Returns the seeds that may be dialled now; those that are missing only if this node is
    /// `alone`. A name that led to this node itself may lead to another one next time.
    pub(crate) fn ready(&self, alone: bool, now: Instant) -> Vec<usize> {
        let ready = |seed: &Seed| seed.not_before <= now && (alone || !seed.missing);
        (0..self.list.len()).filter(|ix| ready(&self.list[*ix])).collect()
    }

    /// Returns whether the seed is due although there are peers: the link to it broke, or its id is
    /// not known yet, so that it could not be missed.
    pub(crate) fn is_due(&mut self, cx: &mut Cx<'_>, ix: usize, degree: usize) -> bool {
        let seed = &mut self.list[ix];
        if seed.own || seed.not_before > cx.now || degree == 0 {
            return false;
        }
        let Some(links) = seed.lost else { return seed.peer.is_none() && seed.failures == 0 };
        if seed.missing {
            seed.lost = None; // From now on the partition dials it in turns.
            return false;
        }
        seed.not_before = cx.now + cx.rng.duration(AGAIN.0, AGAIN.1);
        cx.rng.below(links) == 0
    }

    /// Notes which seeds are missing: those that `is_missing`, and those that have not answered
    /// yet, so that their ids are not known. Returns their names for the beacon.
    pub(crate) fn miss(&mut self, is_missing: impl Fn(&NodeId) -> bool) -> Vec<u64> {
        for seed in &mut self.list {
            let missing = seed.peer.map_or(seed.failures > 0, |peer| is_missing(&peer));
            seed.missing = missing && !seed.own;
        }
        self.list.iter().filter(|seed| seed.missing).map(|seed| seed.key).collect()
    }

    /// Returns the place in the list of the missing seed with this name.
    pub(crate) fn missing(&self, key: u64) -> Option<usize> {
        self.list.iter().position(|seed| seed.missing && seed.key == key)
    }

    /// Returns the places of all missing seeds.
    pub(crate) fn all_missing(&self) -> Vec<usize> {
        (0..self.list.len()).filter(|ix| self.list[*ix].missing).collect()
    }

    /// Returns whether this node is a seed that is missing. A missing seed is dialled as a seed
    /// only, and not as any other node that is known as well.
    pub(crate) fn is_missing(&self, record: &Record) -> bool {
        let same = |seed: &Seed| {
            seed.peer == Some(record.id)
                || seed.socket.is_some_and(|at| record.socket_addrs().any(|ip| ip == at))
        };
        self.list.iter().any(|seed| seed.missing && same(seed))
    }

    /// Returns whether the seed's id is known, and is not this node's own.
    pub(crate) fn is_known(&self, ix: usize) -> bool {
        let seed = &self.list[ix];
        !seed.own && seed.peer.is_some()
    }

    /// Returns whether an isolated node may try its next contact.
    pub(crate) fn take_turn(&mut self, cx: &Cx<'_>) -> bool {
        let turn = cx.now >= self.next_contact;
        if turn {
            self.next_contact = cx.now + cx.config.contact_stagger;
        }
        turn
    }

    /// Notes that a dial of the seed has failed.
    pub(crate) fn unanswered(&mut self, ix: usize, failure: DialFailure, now: Instant) {
        let seed = &mut self.list[ix];
        // A host that refuses is there; the seed's process is not, and that is not a netsplit.
        let count = match failure {
            DialFailure::Refused => 0,
            DialFailure::Unanswered => seed.unreachable.0.saturating_add(1),
        };
        (seed.unreachable, seed.elsewhere) = ((count, now), None);
    }

    /// Puts off the next dial, for longer after each failure; this dial `took` some
    /// of the wait.
    pub(crate) fn back_off(&mut self, cx: &mut Cx<'_>, ix: usize, took: Duration) {
        let (first, last) = cx.config.seed_backoff;
        let seed = &mut self.list[ix];
        let longest = last.min(first * (1 << seed.failures.min(16)));
        // Three waits at the limit are longer than twice the limit.
        let shortest = if longest == last { last * 7 / 10 } else { longest / 8 };
        let wait = cx.rng.duration(shortest, longest).saturating_sub(took);
        (seed.failures, seed.not_before) = (seed.failures + 1, cx.now + wait);
    }

    /// Notes that `peer` has answered at the seed's address.
    pub(crate) fn answered(&mut self, cx: &Cx<'_>, ix: usize, peer: NodeId) {
        let seed = &mut self.list[ix];
        (seed.peer, seed.failures, seed.lost, seed.own) = (Some(peer), 0, None, false);
        seed.not_before = cx.now + cx.config.refill_backoff.1 / 4;
        (seed.unreachable.0, seed.unchecked) = (0, true);
    }

    /// Notes that the address leads to this node itself.
    pub(crate) fn note_own(&mut self, cx: &Cx<'_>, ix: usize) {
        let seed = &mut self.list[ix];
        (seed.own, seed.not_before) = (true, cx.now + OWN_AGAIN);
    }

    /// Notes that the seed is a neighbour: it need not be dialled.
    pub(crate) fn note_linked(&mut self, cx: &Cx<'_>, ix: usize) {
        let seed = &mut self.list[ix];
        (seed.lost, seed.not_before) = (None, cx.now + cx.config.seed_backoff.1);
        seed.unchecked = false;
    }

    /// Notes that the seed is asked over a connection that exists.
    pub(crate) fn note_asked(&mut self, cx: &Cx<'_>, ix: usize) {
        self.list[ix].not_before = cx.now + cx.config.refill_backoff.1 / 4;
    }

    /// Notes that the link to `peer` broke, which had this many links: if it is a seed it must be
    /// reached again.
    pub(crate) fn link_broke(&mut self, cx: &Cx<'_>, peer: &NodeId, links: usize) {
        for seed in self.list.iter_mut().filter(|seed| seed.peer == Some(*peer)) {
            (seed.lost, seed.failures) = (Some(links), 0);
            seed.not_before = cx.now + cx.config.seed_backoff.0;
        }
    }

    /// Notes that the seed has answered as part of this node's partition.
    pub(crate) fn note_present(&mut self, ix: usize, now: Instant) {
        let seed = &mut self.list[ix];
        (seed.lost, seed.elsewhere, seed.present_until) = (None, None, now + MEMORY);
        seed.unchecked = false;
    }

    /// Notes that the seed has answered as part of another partition of this size.
    pub(crate) fn note_elsewhere(&mut self, ix: usize, size: u32, now: Instant) {
        self.list[ix].unchecked = false;
        let elsewhere = &mut self.list[ix].elsewhere;
        let lately = elsewhere.filter(|(_, last, _)| now - *last < MEMORY);
        let first = lately.map_or(now, |(first, ..)| first);
        *elsewhere = Some((first, now, size));
    }

    /// Takes the seeds that have answered, and may be part of another partition.
    pub(crate) fn take_unchecked(&mut self) -> Vec<(usize, NodeId)> {
        let seeds = self.list.iter_mut().enumerate();
        let unchecked = seeds.filter(|(_, seed)| seed.unchecked);
        unchecked
            .filter_map(|(ix, seed)| {
                seed.unchecked = false;
                Some((ix, seed.peer?))
            })
            .collect()
    }

    /// Returns what this node knows of its seeds, as far as it knows their ids.
    pub(crate) fn facts(&self, now: Instant) -> Vec<SeedFact> {
        let fact = |seed: &Seed| {
            let (count, at) = seed.unreachable;
            let fresh = count > 0 && now - at < MEMORY;
            let seen_twice =
                |(first, last, _): &(Instant, Instant, u32)| *last - *first >= TWICE && now - *last < MEMORY;
            Some(SeedFact {
                id: seed.peer?,
                unreachable: if fresh { count } else { 0 },
                present: seed.present_until > now,
                other_size: seed.elsewhere.filter(seen_twice).map(|(_, _, size)| size),
                seen: at.max(seed.elsewhere.map_or(Instant::ZERO, |(_, last, _)| last)),
            })
        };
        self.list.iter().filter(|seed| !seed.own).filter_map(fact).collect()
    }
}
