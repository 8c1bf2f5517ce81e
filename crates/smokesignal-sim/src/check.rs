//! The invariants that are checked while a world runs. A violation stops the world.
//!
//! | Checked | when |
//! |---|---|
//! | A1 numbers of one writer strictly increase, A2 bytes are as written, A3 deliveries and gaps add up | every delivery |
//! | A4 no gap of a living writer, where [`Expect::gaps`] is not set | every gap |
//! | A9 a writer with a healthy link may write again in time | every blocked write |
//! | B5 no netsplit without a cut, B8 netsplit and resolved alternate | every such event |
//! | C2 at most max + 2 links, C6 no link to oneself and no double ones | every new link |
//! | C7 at most 8 dials at once | every dial |
//! | C3 soon enough links again, C4 one component without faults, C5 nobody alone for long | every second |
//! | A7 no circle of parents with somebody behind, A8 every limit, A12 nobody believes its neighbour to have what it has not, A13 nobody is past what the writer has signed, B2 a dead root is forgotten, C8 known nodes have said so themselves | every second, some of the nodes, see `inside.rs` |
//! | C11 a link that somebody wished for is not ended for others | every lost link |
//! | S1 every search for a node is answered, once and within three times the time there is, S2 whoever is reached is who was looked for | every answer, every second |
//! | A5 a stream comes over one link, A6 everyone has everything, A11 nothing but upkeep flows, B1 one root, and an exact count, B3 so many beats, B4 so many dials to the seeds, C1 links are symmetric, C2 at most max links, C9 diameter, C10 seed's links | in the quiet at the end, see [`World::check_quiet`] |
//!
//! A10 and C12 compare two runs: they are figures of the scenarios `slow` and `reorder`. B6 and B7 are checked in
//! `netsplit`; B9 is B3 and the count of messages there.

mod deliveries;
mod inside;
mod peers;
mod quiet;

use std::time::Duration;

use serde::Serialize;

pub(crate) use inside::Suspects;

use crate::world::World;

/// What may happen in this run, and how soon things have to be right again.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// Messages may be missed: nodes are cut off for longer than others retain, or read too slowly.
    pub gaps: bool,
    /// The network is cut: `netsplit` is told for good reason.
    pub netsplits: bool,
    /// Nothing fails: the network is one component all the time.
    pub failure_free: bool,
    /// A node has its `min_peers` again after this long: after the last fault, and in a row. `None` is not checked.
    pub refill: Option<Duration>,
    /// Invariants that do not stop the run, by name: to get past what is known already.
    pub ignore: Vec<String>,
    /// How to run this again.
    pub replay: String,
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Its name, as in the design.
    pub invariant: String,
    /// What was seen.
    pub what: String,
    /// Which node saw it.
    pub node: usize,
    /// When, in virtual microseconds.
    pub at_us: u64,
    /// The command that shows it again.
    pub replay: String,
}

/// Whether a node takes the network for whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whole {
    /// It told a netsplit.
    No,
    /// It told that the netsplit is over.
    Yes,
}

impl World {
    /// Stops the world; the first violation counts. Hostile nodes may see what they like.
    pub(crate) fn violate(&mut self, invariant: &str, node: usize, what: String) {
        let ignored = self.setup.expect.ignore.iter().any(|name| name == invariant);
        if ignored || self.violation.is_some() || !self.members[node].honest() {
            return;
        }
        self.violation = Some(Violation {
            invariant: invariant.to_owned(),
            what,
            node,
            at_us: self.now,
            replay: self.setup.expect.replay.clone(),
        });
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { invariant, what, node, at_us, replay } = self;
        write!(
            f,
            "{invariant} violated at {:.6} s by node {node}: {what}; again: {replay}",
            *at_us as f64 / 1e6
        )
    }
}

#[cfg(test)]
mod tests {
    use smokesignal_proto::{CloseReason, DisconnectReason};

    use super::*;
    use crate::workload::{Head, Workload};
    use crate::world::Setup;

    /// Three nodes; number 0 writes as writer 0.
    fn world(expect: Expect) -> World {
        written_in(expect, Duration::ZERO)
    }

    fn written_in(expect: Expect, lasts: Duration) -> World {
        let mut world = World::new(Setup { expect, ..Setup::new(1) });
        world.join(3, 1000.0);
        world.run(Duration::from_millis(10));
        world.write(Workload { writers: 3, per_second: 1.0, size: 24, lasts });
        world.run(2 * lasts);
        world
    }

    /// Node `ix` is told of messages of writer 0: `(number, what the message says of itself)`.
    fn deliver(world: &mut World, messages: &[(u64, u64)]) -> Option<String> {
        let writer = world.writers[0] as usize;
        let (from, ix) = (world.members[writer].id, (writer + 1) % 3);
        for (seq, number) in messages {
            let message = Head { writer: 0, start: 1, number: *number, written_at: 0 }.message(40);
            world.check_delivery(ix, from, *seq, &message);
        }
        world.violation().map(|violation| violation.invariant.clone())
    }

    #[test]
    fn deliveries_out_of_order_changed_or_with_holes_are_seen() {
        let invariant = |messages: &[_]| deliver(&mut world(Expect::default()), messages);
        assert_eq!(invariant(&[(5, 5), (6, 6), (7, 7)]), None);
        assert_eq!(invariant(&[(5, 5), (5, 5)]).as_deref(), Some("A1"));
        assert_eq!(invariant(&[(5, 5), (4, 4)]).as_deref(), Some("A1"));
        assert_eq!(invariant(&[(5, 6)]).as_deref(), Some("A2"));
        assert_eq!(invariant(&[(5, 5), (7, 7)]).as_deref(), Some("A3"));
    }

    #[test]
    fn a_gap_has_to_fit_and_to_be_allowed() {
        let gap = |expect, next| {
            let mut world = world(expect);
            let writer = world.writers[0] as usize;
            let from = world.members[writer].id;
            deliver(&mut world, &[(1, 1)]);
            world.check_gap((writer + 1) % 3, from, 3);
            deliver(&mut world, &[(next, next)])
        };
        let allowed = || Expect { gaps: true, ..Expect::default() };
        assert_eq!(gap(allowed(), 5), None);
        assert_eq!(gap(allowed(), 6).as_deref(), Some("A3"));
        assert_eq!(gap(Expect::default(), 5).as_deref(), Some("A4"));
    }

    #[test]
    fn netsplits_alternate_and_need_a_cut() {
        let told = |expect, events: &[Whole]| {
            let mut world = world(expect);
            events.iter().for_each(|whole| world.check_netsplit(1, *whole));
            world.violation().map(|violation| violation.invariant.clone())
        };
        let cut = || Expect { netsplits: true, ..Expect::default() };
        assert_eq!(told(cut(), &[Whole::No, Whole::Yes, Whole::No]), None);
        assert_eq!(told(cut(), &[Whole::No, Whole::No]).as_deref(), Some("B8"));
        assert_eq!(told(cut(), &[Whole::Yes]).as_deref(), Some("B8"));
        assert_eq!(told(Expect::default(), &[Whole::No]).as_deref(), Some("B5"));
    }

    #[test]
    fn too_many_dials_stop_the_world_with_all_that_is_needed_to_see_it_again() {
        let expect = Expect { replay: "smokesignal sim x --rng-seed 1".to_owned(), ..Expect::default() };
        let mut world = world(expect);
        world.members[2].dials = 9;
        world.check_dials(2);
        let (before, violation) = (world.now(), world.violation().unwrap().to_string());
        assert!(violation.contains("C7") && violation.contains("node 2"), "{violation}");
        assert!(violation.ends_with("smokesignal sim x --rng-seed 1"), "{violation}");
        world.run(Duration::from_secs(1));
        assert_eq!(world.now(), before);
    }

    #[test]
    fn who_is_alone_for_too_long_is_seen() {
        let mut world = world(Expect::default());
        // A node that knows no seed.
        let ix = world.add_member() as usize;
        world.setup.seeds = 0;
        world.start(ix);
        world.setup.seeds = 1;
        world.run(Duration::from_secs(40));
        assert_eq!(world.violation().map(|violation| violation.invariant.as_str()), Some("C5"));
    }

    #[test]
    fn whoever_is_past_the_writer_is_seen() {
        let mut world = written_in(Expect::default(), Duration::from_secs(3));
        let writer = world.writers[0] as usize;
        let id = world.members[writer].id;
        let view = |ix: usize| world.members[ix].node.as_ref().and_then(|node| node.stream_of(&id));
        let mut views: Vec<_> = (0..3).map(view).collect();
        let other = (writer + 1) % 3;
        world.check_proof(writer, &views);
        assert_eq!(world.violation(), None);
        views[other].as_mut().unwrap().have += 1;
        world.check_proof(writer, &views);
        assert_eq!(world.violation().unwrap().invariant, "A13");
    }

    #[test]
    fn a_belief_or_a_circle_counts_when_it_stays() {
        let looked = |times: u64| {
            let mut world = world(Expect::default());
            (0..times).for_each(|_| world.suspect(1, vec![("A12", 0, 1, 0)]));
            world.suspect(2, vec![("A12", 0, 1, 0)]);
            world.violation().is_some()
        };
        assert!(!looked(5) && looked(6));
    }

    #[test]
    fn a_circle_with_somebody_behind_is_found() {
        let world = written_in(Expect::default(), Duration::from_secs(3));
        let id = world.members[world.writers[0] as usize].id;
        let view = |ix: usize| world.members[ix].node.as_ref().and_then(|node| node.stream_of(&id));
        let mut views: Vec<_> = (0..3).map(view).collect();
        let to = |ix: usize, other: usize| {
            let ends = |slot: &&u32| world.links.get(**slot).other(ix) == other;
            world.members[ix].links.iter().find(ends).map(|slot| world.links.id(*slot))
        };
        let circle = |views: &[_]| {
            let mut found = Vec::new();
            world.look_at_cycles(views, &mut found);
            found
        };
        for (ix, view) in views.iter_mut().enumerate() {
            view.as_mut().unwrap().parent = to(ix, (ix + 1) % 3);
        }
        assert_eq!(circle(&views), [], "all are as far");
        views[1].as_mut().unwrap().have -= 1;
        assert!(circle(&views).iter().all(|(what, ix, ..)| (*what, *ix) == ("A7", 1)));
        assert_eq!(circle(&views).len(), 1);
        views[2].as_mut().unwrap().parent = None;
        assert_eq!(circle(&views), [], "no circle");
    }

    #[test]
    fn a_wished_link_may_break_but_not_be_given_up() {
        let lost = |reason| {
            let mut world = world(Expect::default());
            let peer = world.members[1].id;
            world.members[0].explicit.push((peer, 0));
            world.run(Duration::from_secs(2));
            world.check_lost_peer(0, Some(peer), reason);
            world.violation().map(|violation| violation.invariant.clone())
        };
        assert_eq!(lost(CloseReason::Broken), None);
        assert_eq!(lost(CloseReason::EndedByPeer(DisconnectReason::Surplus)).as_deref(), Some("C11"));
    }

    #[test]
    fn an_ignored_invariant_stops_nothing() {
        let mut world = world(Expect { ignore: vec!["A1".to_owned()], ..Expect::default() });
        assert_eq!(deliver(&mut world, &[(5, 5), (5, 5)]), None);
    }
}
