//! Membership by the rules of the design, section 5. Virtual time, many seeds.

mod common;

use std::time::Duration;

use common::World;
use smokesignal_proto::{Config, RequestFailure, RequestId};

const SECOND: Duration = Duration::from_secs(1);

fn settled(world: &World, min: usize, max: usize) -> bool {
    world.nodes.keys().all(|ix| (min..=max).contains(&world.degree(*ix))) && world.one_component()
}

/// "Every node deg >= min(min, n-1) within 10 s of joining", "deg <= max + 2 always, <= max quiet".
#[test]
fn nodes_that_know_one_address_gather() {
    for seed in 0..10 {
        for n in [2, 3, 5, 8, 16, 40] {
            let mut world = World::new(seed);
            world.gather(n, &Config::default());
            world.until("gathered", SECOND * 10, |world| settled(world, 3.min(n - 1), 7));
            world.run(SECOND * 20);
            assert!(settled(&world, 3.min(n - 1), 5), "stays so\n{}", world.picture());
        }
    }
}

/// "When all is quiet: q in active(p) <=> p in active(q). No self links, no double links."
#[test]
fn links_exist_on_both_sides_or_on_none() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.gather(20, &Config::default());
        world.run(SECOND * 30);
        for (ix, node) in &world.nodes {
            let peers: Vec<_> = node.peers().map(|(_, peer)| peer).collect();
            assert_eq!(peers.len(), world.peers(*ix).len(), "no double links");
            for other in world.nodes.keys() {
                let (a, b) = (
                    world.peers(*ix).contains(&world.id(*other)),
                    world.peers(*other).contains(&world.id(*ix)),
                );
                assert!(a == b && !(a && ix == other), "{ix} and {other}\n{}", world.picture());
            }
        }
    }
}

/// "Rule: link split. No starvation": a 7th node joins six that are all full.
#[test]
fn a_full_group_lets_one_more_in() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let config = Config { min_peers: 5, max_peers: 5, ..Config::default() };
        world.gather(6, &config);
        world.until("all full", SECOND * 20, |world| settled(world, 5, 5));
        world.start(6, config, &[0]);
        world.until("the 7th is in", SECOND * 5, |world| world.degree(6) >= 2);
        world.run(SECOND * 20);
        assert!(settled(&world, 4, 5), "{}", world.picture());
    }
}

/// "No node isolated > 30 s while any of its contacts or seeds lives."
#[test]
fn half_of_the_nodes_die_the_seed_too_and_the_rest_is_whole_again() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.gather(16, &Config::default());
        world.until("gathered", SECOND * 10, |world| settled(world, 3, 7));
        world.run(SECOND * 10);
        (0..8).for_each(|ix| world.kill(ix));
        world.until("healed", SECOND * 10, |world| settled(world, 3, 7));
    }
}

/// "a silently dead peer is noticed in seconds"
#[test]
fn a_frozen_node_is_noticed_and_comes_back() {
    let mut world = World::new(1);
    world.gather(8, &Config::default());
    world.until("gathered", SECOND * 10, |world| settled(world, 3, 5));
    let frozen = world.id(3);
    world.freeze(3);
    world.until("noticed", SECOND * 4, |world| {
        world.nodes.keys().all(|ix| *ix == 3 || !world.peers(*ix).contains(&frozen))
    });
    world.run(SECOND * 30);
    world.thaw(3);
    world.until("back", SECOND * 20, |world| settled(world, 3, 5));
}

/// "rejoining through seeds for ever": the seed starts minutes after the others.
#[test]
fn a_seed_that_comes_late_is_found() {
    let mut world = World::new(1);
    for ix in 1..5 {
        world.start(ix, Config::default(), &[0]);
    }
    world.run(SECOND * 300);
    world.start(0, Config::default(), &[]);
    world.until("gathered", SECOND * 25, |world| settled(world, 3, 4));
}

/// A seed that was restarted knows nobody; those who lost it call on it again.
#[test]
fn a_restarted_seed_is_brought_back() {
    let mut world = World::new(1);
    world.gather(9, &Config::default());
    world.until("gathered", SECOND * 10, |world| settled(world, 3, 5));
    world.kill(0);
    world.run(SECOND * 60);
    world.start(0, Config { incarnation: 2, ..Config::default() }, &[]);
    world.until("the seed is back", SECOND * 30, |world| settled(world, 3, 5));
}

/// A node that was started anew and knows nobody but a dead seed is called by those who were its
/// neighbours.
#[test]
fn a_node_started_anew_is_found_although_its_seed_is_dead() {
    for seed in 0..5 {
        let mut world = World::new(seed);
        world.gather(40, &Config::default());
        world.run(SECOND * 60);
        world.kill(0);
        world.kill(7);
        world.run(SECOND * 8);
        world.start(7, Config { incarnation: 2, ..Config::default() }, &[0]);
        world.until("found", SECOND * 30, World::one_component);
    }
}

#[test]
fn a_node_that_is_its_own_seed_waits_for_others() {
    let mut world = World::new(1);
    world.start(0, Config::default(), &[0]);
    world.start(1, Config::default(), &[1, 0]);
    world.until("gathered", SECOND * 10, |world| settled(world, 1, 1));
}

/// "Simultaneous dials: keep the connection dialled by the smaller id."
#[test]
fn two_nodes_that_are_each_others_seed_make_one_link() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.start(0, Config::default(), &[1]);
        world.start(1, Config::default(), &[0]);
        world.until("linked", SECOND * 20, |world| settled(world, 1, 1));
        world.run(SECOND * 10);
        assert!(settled(&world, 1, 1), "{}", world.picture());
    }
}

#[test]
fn a_requested_peer_is_linked_or_the_reason_is_told() {
    let mut world = World::new(1);
    world.start(0, Config::default(), &[]);
    world.start(1, Config::default(), &[]);
    for (request, to) in [(1, 1), (2, 0), (3, 99)] {
        let address = common::address(to).to_string();
        world.with(0, |node, now| node.request_peer(RequestId(request), address, now));
    }
    world.until("answered", SECOND * 5, |world| world.requested.len() == 3);
    world.requested.sort_by_key(|(_, request, _)| request.0);
    assert_eq!(world.requested[0].2, Ok(world.id(1)));
    assert_eq!(world.requested[1].2, Err(RequestFailure::Myself));
    assert!(matches!(world.requested[2].2, Err(RequestFailure::Dial(_))));
}

#[test]
fn a_link_closed_by_the_user_stays_closed_for_a_while() {
    let mut world = World::new(1);
    world.gather(2, &Config::default());
    world.until("linked", SECOND * 5, |world| settled(world, 1, 1));
    let peer = world.id(1);
    world.with(0, |node, now| node.close_peer(&peer, now));
    world.until("closed", SECOND, |world| world.degree(0) + world.degree(1) == 0);
    world.run(SECOND * 20);
    assert_eq!(world.degree(0), 0);
    world.until("linked again", SECOND * 40, |world| settled(world, 1, 1));
}

/// The node that closed the link accepts it: the request of a user outranks the wait.
#[test]
fn a_link_closed_by_one_user_is_made_again_at_the_request_of_another() {
    let mut world = World::new(1);
    world.gather(2, &Config::default());
    world.until("linked", SECOND * 5, |world| settled(world, 1, 1));
    let peer = world.id(1);
    world.with(0, |node, now| node.close_peer(&peer, now));
    world.until("closed", SECOND, |world| world.degree(0) + world.degree(1) == 0);
    let address = common::address(0).to_string();
    world.with(1, |node, now| node.request_peer(RequestId(1), address, now));
    world.until("linked again", SECOND * 2, |world| settled(world, 1, 1));
    assert_eq!(world.requested[0].2, Ok(world.id(0)));
}

/// "max_peers(usize::MAX): no limit", yet the seed is not the centre of a star.
#[test]
fn without_a_limit_the_seed_is_not_the_centre_of_a_star() {
    let mut world = World::new(1);
    world.gather(60, &Config { max_peers: usize::MAX, ..Config::default() });
    world.until("gathered", SECOND * 10, |world| settled(world, 3, 59));
    world.run(SECOND * 20);
    assert!(settled(&world, 3, 16), "{}", world.picture());
}

/// INVARIANTS.md, 2.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut world = World::new(seed);
        world.gather(12, &Config::default());
        world.run(SECOND * 5);
        world.write(3, "hello");
        world.kill(0);
        world.run(SECOND * 10);
        world.trace
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

/// "Leave that introduces neighbours": all leave but a few, and these are never in two parts.
#[test]
fn a_leaving_node_closes_the_gap_between_its_neighbours() {
    for seed in 0..5 {
        let mut world = World::new(seed);
        world.gather(30, &Config::default());
        world.until("gathered", SECOND * 10, |world| settled(world, 3, 5));
        for ix in 0..20 {
            world.with(ix, smokesignal_proto::Node::leave);
            world.until("left", SECOND * 10, |world| world.left.contains_key(&ix));
            world.kill(ix);
            world.run(Duration::from_millis(100));
            assert!(world.one_component(), "after {ix} left: {}", world.picture());
        }
        world.until("enough peers", SECOND * 10, |world| settled(world, 3, 5));
    }
}

/// "Explicit peers never evicted". The link exists already, so the other end has to learn of the
/// pin: when there are more links than it may have, those that neither user asked for end. But
/// anybody can claim a user's wish: two such links are kept, and no more.
#[test]
fn a_pinned_link_is_not_ended_as_surplus_but_only_two_are_that_others_pinned() {
    let config = Config { min_peers: 1, max_peers: 2, ..Config::default() };
    let mut world = World::new(12);
    world.gather(5, &config);
    let is_linked = |world: &World, ix: usize| world.peers(0).contains(&world.id(ix));
    world.until("gathered", SECOND * 10, |world| (1..5).filter(|ix| is_linked(world, *ix)).count() == 2);
    let first = (1..5).find(|ix| is_linked(&world, *ix)).unwrap();
    let others: Vec<_> = (1..5).filter(|ix| !is_linked(&world, *ix)).collect();
    for ix in [first, others[0]] {
        let address = common::address(0).to_string();
        world.with(ix, |node, now| node.request_peer(RequestId(ix as u64), address, now));
        world.run(SECOND);
    }
    world.until("the surplus is gone", SECOND * 30, |world| world.degree(0) <= 2);
    world.run(SECOND * 30);
    assert!([first, others[0]].iter().all(|ix| is_linked(&world, *ix)), "{}", world.picture());
    let address = common::address(0).to_string();
    world.with(others[1], |node, now| node.request_peer(RequestId(9), address, now));
    world.run(SECOND * 30);
    world.until("the third is surplus", SECOND * 30, |world| world.degree(0) <= 2);
    assert!([first, others[0]].iter().all(|ix| is_linked(&world, *ix)), "{}", world.picture());
}

/// Links to near nodes take up only what nobody needs.
#[test]
fn near_links_give_way_to_a_joiner_and_each_node_keeps_two_random_ones() {
    for seed in 0..5 {
        let mut world = World::new(seed);
        world.gather(16, &Config::default());
        world.run(SECOND * 300);
        for ix in world.nodes.keys() {
            let (_, kept) = world.nodes[ix].near_and_kept();
            assert_eq!(kept, 2, "node {ix}\n{}", world.picture());
        }
        let near = |world: &World| world.nodes.values().map(|node| node.near_and_kept().0).sum::<usize>();
        let before = near(&world);
        assert!(before >= 8, "{before} ends of near links");
        world.start(16, Config::default(), &[0]);
        world.until("the joiner has links enough", SECOND * 5, |world| world.degree(16) >= 3);
        world.run(SECOND * 10);
        assert!(settled(&world, 3, 5), "{}", world.picture());
    }
}

/// "Off" means that no link is chosen by its round trip.
#[test]
fn without_the_option_no_link_is_near() {
    let mut world = World::new(0);
    world.gather(16, &Config { reorder: false, ..Config::default() });
    world.run(SECOND * 300);
    assert!(world.nodes.values().all(|node| node.near_and_kept().0 == 0));
}
