//! Reaching any node by its id, in virtual time.

mod common;

use std::time::Duration;

use common::{World, keypair};
use smokesignal_proto::{Config, LinkId, Relay, RequestId, Unreachable};

const SECOND: Duration = Duration::from_secs(1);

fn gathered(n: usize, config: &Config) -> World {
    let mut world = World::new(1);
    world.gather(n, config);
    world.run(SECOND * 30);
    world
}

/// Asks, and returns what came of it and how long it took.
fn reach(
    world: &mut World,
    from: usize,
    id: smokesignal_proto::NodeId,
) -> (Result<(), Unreachable>, Duration) {
    let (begin, count) = (world.now, world.reached.len());
    world.with(from, |node, now| node.reach(RequestId(7), id, now));
    world.until("answered", SECOND * 10, |world| world.reached.len() > count);
    let (at, request, outcome) = world.reached[count];
    assert_eq!((at, request), (from, RequestId(7)));
    (outcome.map(drop), world.now - begin)
}

/// Delays are 1 to 20 ms one way, a dial takes one there and back.
#[test]
fn every_node_reaches_every_other_and_no_view_changes() {
    let mut world = gathered(40, &Config::default());
    let before: Vec<_> = (0..40).map(|ix| world.peers(ix)).collect();
    for to in 1..40 {
        let id = world.id(to);
        let (outcome, took) = reach(&mut world, 0, id);
        assert_eq!(outcome, Ok(()), "{to}");
        assert!(took < Duration::from_millis(100), "{to}: {took:?}");
    }
    assert_eq!((0..40).map(|ix| world.peers(ix)).collect::<Vec<_>>(), before);
    // There is a connection now, or a link, and so it takes no time.
    let id = world.id(39);
    assert_eq!(reach(&mut world, 0, id), (Ok(()), Duration::ZERO));
}

/// Nobody remembers anybody but its neighbours: the whole network is asked, once.
#[test]
fn a_node_that_is_not_known_is_found_by_asking() {
    let config = Config { passive_view: 1, ..Config::default() };
    let mut world = gathered(60, &config);
    for to in 1..60 {
        let id = world.id(to);
        let (outcome, took) = reach(&mut world, 0, id);
        assert_eq!(outcome, Ok(()), "{to}");
        assert!(took < Duration::from_millis(500), "{to}: {took:?}");
    }
}

#[test]
fn a_lookup_for_an_absent_node_fails_in_time() {
    let mut world = gathered(20, &Config::default());
    let (outcome, took) = reach(&mut world, 0, keypair(99).id());
    assert_eq!(outcome, Err(Unreachable::NotFound));
    assert!((5..6).contains(&took.as_secs()), "{took:?}");
    let me = world.id(0);
    assert_eq!(reach(&mut world, 0, me), (Err(Unreachable::Myself), Duration::ZERO));
    // One that was there and is dead.
    let id = world.id(7);
    world.kill(7);
    world.run(SECOND);
    assert!(reach(&mut world, 0, id).0.is_err());
}

#[test]
fn a_connection_for_streams_lives_until_it_is_closed_or_silent() {
    let mut world = gathered(40, &Config::default());
    let to = (1..40).find(|to| !world.peers(0).contains(&world.id(*to))).unwrap();
    let id = world.id(to);
    assert_eq!(reach(&mut world, 0, id).0, Ok(()));
    let link = world.reached.last().unwrap().2.unwrap();
    // Kept alive by both sides.
    world.run(SECOND * 60);
    assert_eq!(reach(&mut world, 0, id).1, Duration::ZERO);
    assert_eq!(world.reached.last().unwrap().2, Ok(link));
    let back = world.id(0);
    assert_eq!(reach(&mut world, to, back).1, Duration::ZERO, "it serves both sides");
    world.with(0, |node, now| node.close_streams(link, now));
    world.run(SECOND);
    let took = reach(&mut world, 0, id).1;
    assert!(took > Duration::ZERO);
    let link = world.reached.last().unwrap().2.unwrap();
    world.freeze(to);
    world.run(SECOND * 5);
    let held = world.nodes[&0].held();
    let serving = held.iter().find(|held| held.what == "connections for streams").unwrap();
    assert_eq!(serving.amount, 0, "{link:?} is silent");
}

/// A thousand wishes for one node are one search, and too many fail immediately.
#[test]
fn requests_for_one_node_share_a_lookup_and_are_limited() {
    let mut world = gathered(20, &Config::default());
    let id = keypair(99).id();
    world.with(0, |node, now| (0..1000).for_each(|request| node.reach(RequestId(request), id, now)));
    world.run(Duration::from_millis(1));
    let busy = world.reached.iter().filter(|(.., outcome)| *outcome == Err(Unreachable::Busy)).count();
    assert_eq!(busy, 1000 - 256);
    world.run(SECOND * 6);
    assert_eq!(world.reached.len(), 1000);
    world.with(0, |node, now| {
        (1000..2000).for_each(|ix| node.reach(RequestId(ix as u64), keypair(ix).id(), now));
    });
    world.run(SECOND * 6);
    assert_eq!(world.reached.len(), 2000);
    assert!(world.nodes[&0].held().iter().all(|held| held.amount <= held.limit));
}

/// Rule: who has answered and cannot be dialled is reached through the nodes that its answer came
/// through; and nobody waits for the dial to fail, which takes 2 s.
#[test]
fn a_node_that_cannot_be_dialled_is_reached_through_others() {
    let mut world = gathered(40, &Config { passive_view: 1, ..Config::default() });
    world.hidden.extend(1..40);
    let mut longest = 0;
    for to in 1..40 {
        let id = world.id(to);
        let (outcome, took) = reach(&mut world, 0, id);
        assert_eq!(outcome, Ok(()), "{to}");
        assert!(took < Duration::from_millis(1500), "{to}: {took:?}");
        let link = world.reached.last().unwrap().2.unwrap();
        longest = longest.max(world.hops(link));
        let back = world.id(0);
        assert_eq!(reach(&mut world, to, back).1, Duration::ZERO, "it serves both sides");
    }
    assert!(longest >= 3, "{longest}");
}

#[test]
fn a_node_that_must_not_dial_is_relayed_as_well() {
    let config = Config { dial_for_streams: false, ..Config::default() };
    let mut world = gathered(40, &config);
    for to in 1..40 {
        let id = world.id(to);
        let neighbour = world.peers(0).contains(&id);
        assert_eq!(reach(&mut world, 0, id).0, Ok(()), "{to}");
        let link = world.reached.last().unwrap().2.unwrap();
        assert_eq!(world.hops(link) == 0, neighbour);
    }
}

#[test]
fn a_relayed_connection_ends_with_its_relays_and_another_path_is_found() {
    // No link on its path is exchanged for a near one.
    let config = Config { dial_for_streams: false, reorder: false, ..Config::default() };
    let mut world = gathered(60, &config);
    let to = (1..60).find(|to| {
        let id = world.id(*to);
        reach(&mut world, 0, id).0.unwrap();
        world.hops(world.reached.last().unwrap().2.unwrap()) >= 3
    });
    let to = to.unwrap();
    let link = world.reached.last().unwrap().2.unwrap();
    world.run(SECOND * 10);
    assert!(world.hops(link) >= 3, "it stays");
    let carrier = *world.carriers(link).first().unwrap();
    world.kill(carrier);
    world.run(SECOND);
    assert_eq!(world.hops(link), 0);
    let id = world.id(to);
    assert_eq!(reach(&mut world, 0, id).0, Ok(()));
    assert_ne!(world.reached.last().unwrap().2, Ok(link));
}

/// Only along the way of a search that has passed, and only for whom it looked for.
#[test]
fn no_node_relays_what_no_node_has_looked_for() {
    let world = gathered(20, &Config::default());
    let (link, _) = world.nodes[&0].peers().next().unwrap();
    for to in 0..20 {
        let expected = if to == 0 { Relay::Accept } else { Relay::Refuse };
        let id = world.id(to);
        assert_eq!(world.nodes[&0].relay(link, 7, &id), expected);
        assert_eq!(world.nodes[&0].relay(LinkId(u64::MAX), 7, &id), Relay::Refuse, "no neighbour");
    }
}
