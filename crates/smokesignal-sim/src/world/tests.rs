//! The checks see what is wrong: each test reports to a real world something that must not happen.

use smokesignal_proto::{CloseReason, DisconnectReason, Features, NodeId};

use super::*;
use crate::invariant::Invariant;
use crate::net::Line;
use crate::setup::Expect;
use crate::workload::{Head, Workload};

/// A world of three nodes, in which all are writers that write nothing.
fn world(expect: Expect) -> World {
    let mut world = World::new(Setup { expect, ..Setup::new(1) });
    world.join(3, 1000.0);
    world.run(Duration::from_millis(10));
    world.write(Workload { writers: 3, per_second: 1.0, size: 24, lasts: Duration::ZERO });
    world
}

/// Writer 0, and a node that reads it.
fn writer_and_reader(world: &World) -> (NodeId, usize) {
    let writer = world.writer_node(0);
    (world.cluster.id(writer), (writer + 1) % 3)
}

fn violated(world: &World) -> Option<Invariant> {
    world.violation().map(|violation| violation.invariant)
}

/// Lets a node deliver messages of writer 0, each as `(number, what it says about itself)`.
fn deliver(world: &mut World, messages: &[(u64, u64)]) -> Option<Invariant> {
    let (from, reader) = writer_and_reader(world);
    for (seq, number) in messages {
        let message = Head { writer: 0, start: 1, number: *number, written_at: 0 }.message(40);
        world.on_delivery(reader, from, *seq, &message);
    }
    violated(world)
}

#[test]
fn deliveries_out_of_order_changed_or_with_holes_are_seen() {
    let invariant = |messages: &[_]| deliver(&mut world(Expect::default()), messages);
    assert_eq!(invariant(&[(5, 5), (6, 6), (7, 7)]), None);
    assert_eq!(invariant(&[(5, 5), (5, 5)]), Some(Invariant::IN_ORDER));
    assert_eq!(invariant(&[(5, 5), (4, 4)]), Some(Invariant::IN_ORDER));
    assert_eq!(invariant(&[(5, 6)]), Some(Invariant::UNALTERED));
    assert_eq!(invariant(&[(5, 5), (7, 7)]), Some(Invariant::ACCOUNTED));
}

#[test]
fn a_gap_has_to_fit_and_to_be_allowed() {
    let gap = |expect, next| {
        let mut world = world(expect);
        let (from, reader) = writer_and_reader(&world);
        deliver(&mut world, &[(1, 1)]);
        world.on_gap(reader, from, 3);
        deliver(&mut world, &[(next, next)])
    };
    let allowed = || Expect { gaps: true, ..Expect::default() };
    assert_eq!(gap(allowed(), 5), None);
    assert_eq!(gap(allowed(), 6), Some(Invariant::ACCOUNTED));
    assert_eq!(gap(Expect::default(), 5), Some(Invariant::NO_NEEDLESS_GAP));
}

#[test]
fn a_connected_node_that_reads_nothing_of_a_writer_is_seen_also_among_liars() {
    let at_rest = |was_connected: bool| {
        let mut world = world(Expect::default());
        world.run(Duration::from_secs(3));
        let (from, reader) = writer_and_reader(&world);
        world.traffic.restart(reader);
        if was_connected {
            world.traffic.connected(reader, |_| 1);
        }
        world.traffic.written(0, 0);
        world.traffic.connected(reader, |_| 1);
        // The third node reads the message.
        let message = Head { writer: 0, start: 1, number: 1, written_at: 0 }.message(40);
        world.on_delivery((reader + 1) % 3, from, 1, &message);
        world.observe(&Observed::AtRestAmongLiars);
        violated(&world)
    };
    assert_eq!(at_rest(false), None, "it came after the message");
    assert_eq!(at_rest(true), Some(Invariant::COMPLETE));
}

#[test]
fn netsplits_alternate_and_need_a_cut() {
    let reported = |expect, events: &[bool]| {
        let mut world = world(expect);
        events.iter().for_each(|over| world.observe(&Observed::Netsplit { node: 1, over: *over }));
        violated(&world)
    };
    let cut = || Expect { netsplits: true, ..Expect::default() };
    assert_eq!(reported(cut(), &[false, true, false]), None);
    assert_eq!(reported(cut(), &[false, false]), Some(Invariant::NETSPLITS_ALTERNATE));
    assert_eq!(reported(cut(), &[true]), Some(Invariant::NETSPLITS_ALTERNATE));
    assert_eq!(reported(Expect::default(), &[false]), Some(Invariant::NO_FALSE_NETSPLIT));
}

#[test]
fn a_netsplit_that_is_not_reported_or_does_not_end_is_seen() {
    let mut cut = world(Expect { netsplits: true, ..Expect::default() });
    cut.observe(&Observed::LongCut);
    assert_eq!(violated(&cut), None, "nobody is cut off");
    cut.net.set_side(1, 1);
    cut.observe(&Observed::LongCut);
    assert_eq!(violated(&cut), Some(Invariant::NETSPLIT_REPORTED));

    let mut healed = world(Expect { netsplits: true, ..Expect::default() });
    healed.observe(&Observed::Healed);
    assert_eq!(violated(&healed), None);
    healed.observe(&Observed::Netsplit { node: 1, over: false });
    healed.observe(&Observed::Healed);
    assert_eq!(violated(&healed), Some(Invariant::MERGE_REPORTED));
}

#[test]
fn too_many_dials_stop_the_world_with_all_that_is_needed_to_see_it_again() {
    let replay = "smokesignal sim x --rng-seed 1";
    let mut world = world(Expect { replay: replay.to_owned(), ..Expect::default() });
    (0..9).for_each(|_| world.cluster.dial_begins(2));
    world.observe(&Observed::Dials { node: 2 });
    let (before, violation) = (world.now(), world.violation().unwrap().to_string());
    assert!(violation.contains("dial-limit") && violation.contains("node 2"), "{violation}");
    assert!(violation.ends_with(replay), "{violation}");
    world.run(Duration::from_secs(1));
    assert_eq!(world.now(), before);
}

#[test]
fn a_node_that_is_alone_for_too_long_is_seen() {
    let mut world = world(Expect::default());
    let knows_no_seed = world.add_node();
    world.setup.seeds = 0;
    world.start(knows_no_seed);
    world.setup.seeds = 1;
    world.run(Duration::from_secs(40));
    assert_eq!(violated(&world), Some(Invariant::NOT_ALONE));
}

#[test]
fn a_blocked_writer_is_seen_once_it_could_have_got_rid_of_its_neighbours() {
    let mut world = world(Expect::default());
    world.run(Duration::from_secs(2));
    world.observe(&Observed::Blocked { writer: 0 });
    world.run(Duration::from_secs(8));
    world.observe(&Observed::Blocked { writer: 0 });
    assert_eq!(violated(&world), None);
    world.run(Duration::from_secs(1));
    world.observe(&Observed::Blocked { writer: 0 });
    assert_eq!(violated(&world), Some(Invariant::WRITER_RESUMES));
}

#[test]
fn a_pinned_link_may_break_but_not_be_closed_for_others() {
    let lost = |reason| {
        let mut world = world(Expect::default());
        let peer = Some(world.cluster.id(1));
        world.observe(&Observed::PinRequested { node: 0 });
        world.observe(&Observed::PinAnswered { node: 0, peer });
        world.run(Duration::from_secs(2));
        world.observe(&Observed::PeerDown { node: 0, peer, reason });
        violated(&world)
    };
    assert_eq!(lost(CloseReason::Broken), None);
    let surplus = CloseReason::EndedByPeer(DisconnectReason::Surplus);
    assert_eq!(lost(surplus), Some(Invariant::PINNED_LINKS_KEPT));
}

#[test]
fn an_ignored_invariant_stops_nothing() {
    let ignore = vec![Invariant::IN_ORDER];
    let mut world = world(Expect { ignore, ..Expect::default() });
    assert_eq!(deliver(&mut world, &[(5, 5), (5, 5)]), None);
}

#[test]
fn what_a_hostile_node_sees_stops_nothing() {
    let mut world = world(Expect::default());
    let (_, reader) = writer_and_reader(&world);
    world.cluster.set_hostile(reader, crate::hostile::Behaviour::Lie);
    assert_eq!(deliver(&mut world, &[(5, 5), (5, 5)]), None);
}

#[test]
fn a_segment_that_arrives_in_parts_counts_as_one_copy() {
    let mut world = World::new(Setup { features: Features::FLOW, ..Setup::new(1) });
    world.join(2, 1000.0);
    (0..2).for_each(|ix| world.set_line(ix, Line::symmetric(1_000_000, Duration::from_millis(400))));
    world.run(Duration::from_secs(15));
    world.measure();
    let lasts = Duration::from_secs(5);
    world.write(Workload { writers: 1, per_second: 20.0, size: 16_000, lasts });
    world.run(Duration::from_secs(60));
    assert_eq!((world.stats.deliveries, world.stats.missed), (world.written(), 0));
    let (copies, firsts, arrived) = (world.stats.copies, world.stats.firsts, world.stats.kinds.data);
    assert_eq!((copies, world.stats.hops.total()), (firsts, firsts), "two nodes have one way");
    assert!(arrived > 2 * copies, "{arrived} messages brought {copies} segments");
}

#[test]
fn a_single_message_is_written_once() {
    let mut world = World::new(Setup::new(1));
    world.join(2, 1000.0);
    world.run(Duration::from_secs(5));
    world.write_once(1, 100);
    world.run(Duration::from_secs(5));
    assert_eq!((world.written(), world.stats.deliveries), (1, 1));
}
