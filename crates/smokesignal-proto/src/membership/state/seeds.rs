//! The seeds: addresses given by the user, tried for ever, and what dialling each of them has
//! shown. A contact is a node that this one joins through: a seed or, for an isolated node, one
//! that has dialled it.
//!
//! A seed that fails is dialled again after a wait that doubles, with jitter. The latest results of
//! the dials (no answer, an answer from the same partition, an answer from another one) make up the
//! beacon's reports about the seed.

use std::time::Duration;

use crate::context::Cx;
use crate::id::NodeId;
use crate::netsplit::SeedFact;
use crate::output::DialFailure;
use crate::time::Instant;

/// The result of a dial counts for this long.
const MEMORY: Duration = Duration::from_secs(10);
/// Another partition must be seen twice, this far apart, before it is called one: it may be merging
/// just now.
const TWICE: Duration = Duration::from_secs(3);

/// One seed.
#[derive(Debug)]
struct Seed {
    address: String,
    peer: Option<NodeId>,
    failures: u32,
    not_before: Instant,
    /// The address leads to this node itself.
    own: bool,
    /// The link to the seed broke: it must be reached again even if there are enough peers.
    lost: bool,
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
            address,
            peer: None,
            failures: 0,
            not_before: now,
            own: false,
            lost: false,
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

    /// Returns the seeds that may be dialled now. A name that led to this node itself may lead to
    /// another one next time.
    pub(crate) fn ready(&self, now: Instant) -> Vec<usize> {
        (0..self.list.len()).filter(|ix| self.list[*ix].not_before <= now).collect()
    }

    /// Returns whether the seed is due although there are peers: the link to it broke, or its id is
    /// not known yet, so that it could not be missed.
    pub(crate) fn is_due(&self, ix: usize, degree: usize, now: Instant) -> bool {
        let seed = &self.list[ix];
        let unknown = seed.peer.is_none() && seed.failures == 0 && degree > 0;
        (seed.lost || unknown) && !seed.own && seed.not_before <= now
    }

    /// Returns the seeds that may be part of another partition: those that `is_missing`, and those
    /// not known yet.
    pub(crate) fn suspects(&self, is_missing: impl Fn(&NodeId) -> bool) -> Vec<usize> {
        let suspect = |seed: &Seed| !seed.own && seed.peer.is_none_or(|peer| is_missing(&peer));
        (0..self.list.len()).filter(|ix| suspect(&self.list[*ix])).collect()
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

    /// Puts off the next dial, for longer after each failure.
    pub(crate) fn back_off(&mut self, cx: &mut Cx<'_>, ix: usize) {
        let (first, last) = cx.config.seed_backoff;
        let seed = &mut self.list[ix];
        let longest = last.min(first * (1 << seed.failures.min(16)));
        (seed.failures, seed.not_before) =
            (seed.failures + 1, cx.now + cx.rng.duration(longest / 8, longest));
    }

    /// Notes that `peer` has answered at the seed's address.
    pub(crate) fn answered(&mut self, cx: &Cx<'_>, ix: usize, peer: NodeId) {
        let seed = &mut self.list[ix];
        (seed.peer, seed.failures, seed.lost, seed.own) = (Some(peer), 0, false, false);
        seed.not_before = cx.now + cx.config.refill_backoff.1 / 4;
        seed.unreachable.0 = 0;
    }

    /// Notes that the address leads to this node itself.
    pub(crate) fn note_own(&mut self, cx: &Cx<'_>, ix: usize) {
        let seed = &mut self.list[ix];
        (seed.own, seed.not_before) = (true, cx.now + cx.config.seed_backoff.1);
    }

    /// Notes that the seed is a neighbour: it need not be dialled.
    pub(crate) fn note_linked(&mut self, cx: &Cx<'_>, ix: usize) {
        let seed = &mut self.list[ix];
        (seed.lost, seed.not_before) = (false, cx.now + cx.config.seed_backoff.1);
    }

    /// Notes that the seed is asked over a connection that exists.
    pub(crate) fn note_asked(&mut self, cx: &Cx<'_>, ix: usize) {
        self.list[ix].not_before = cx.now + cx.config.refill_backoff.1 / 4;
    }

    /// Notes that the link to `peer` broke: if it is a seed it must be reached again.
    pub(crate) fn link_broke(&mut self, cx: &Cx<'_>, peer: &NodeId) {
        for seed in self.list.iter_mut().filter(|seed| seed.peer == Some(*peer)) {
            (seed.lost, seed.failures, seed.not_before) = (true, 0, cx.now + cx.config.seed_backoff.0);
        }
    }

    /// Notes that the seed has answered as part of this node's partition.
    pub(crate) fn note_present(&mut self, ix: usize, now: Instant) {
        let seed = &mut self.list[ix];
        (seed.lost, seed.elsewhere, seed.present_until) = (false, None, now + MEMORY);
    }

    /// Notes that the seed has answered as part of another partition of this size.
    pub(crate) fn note_elsewhere(&mut self, ix: usize, size: u32, now: Instant) {
        let elsewhere = &mut self.list[ix].elsewhere;
        let lately = elsewhere.filter(|(_, last, _)| now - *last < MEMORY);
        let first = lately.map_or(now, |(first, ..)| first);
        *elsewhere = Some((first, now, size));
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
