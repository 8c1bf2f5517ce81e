//! Leaving: what was written is handed over and read first, and readers learn of the end.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::World;
use smokesignal_proto::{Config, Farewell, MessageKind, Node, Pace};

const SECOND: Duration = Duration::from_secs(1);

fn gathered(seed: u64, n: usize) -> World {
    let mut world = World::new(seed);
    world.gather(n, &Config::default());
    world.until("gathered", SECOND * 10, |world| {
        world.nodes.keys().all(|ix| world.degree(*ix) >= 3.min(n - 1)) && world.one_component()
    });
    world.run(SECOND);
    world
}

/// Lets a node leave, and returns what it knows of its readers and how long it took.
fn leave(world: &mut World, ix: usize) -> (Farewell, Duration) {
    let begun = world.now;
    world.with(ix, Node::leave);
    world.until("left", SECOND * 60, |world| world.left.contains_key(&ix));
    (world.left[&ix], world.now - begun)
}

/// "A leaving node that nobody needs is gone within 1 s", also if its neighbours have its stream
/// from each other.
#[test]
fn a_leaving_node_is_gone_within_a_second_and_knows_that_all_have_read_it() {
    for seed in 0..20 {
        let mut world = gathered(seed, 10);
        for number in 0..30_u8 {
            world.write(4, vec![number; 20_000]).unwrap();
            world.run(Duration::from_millis(20));
        }
        let (farewell, took) = leave(&mut world, 4);
        assert_eq!(farewell, Farewell { confirmed: 9, ..Farewell::default() });
        assert!(took < SECOND, "{took:?}");
    }
}

/// A node that offers no features reports nothing. Its parent reports for it what it was sent, the
/// end of the stream included.
#[test]
fn a_leaving_node_learns_that_readers_which_report_nothing_have_read_the_end() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.without_features.insert(9);
        world.gather(10, &Config { pace: Pace::All, ..Config::default() });
        world.until("gathered", SECOND * 10, |world| {
            world.nodes.keys().all(|ix| world.degree(*ix) >= 3) && world.one_component()
        });
        for number in 0..10_u8 {
            world.write(4, vec![number; 20]).unwrap();
            world.run(Duration::from_millis(50));
        }
        let (farewell, took) = leave(&mut world, 4);
        assert!(farewell.behind == 0 && took < SECOND, "seed {seed}: {farewell:?} after {took:?}");
    }
}

#[test]
fn a_node_that_has_written_nothing_leaves_immediately() {
    let mut world = gathered(1, 5);
    world.with(3, Node::leave);
    assert_eq!(world.left.get(&3), Some(&Farewell::default()));
    world.run(SECOND);
    assert_eq!(world.told_ends, [], "what never began has no end");
}

/// "Writing before the first peer is there waits (bounded), it does not vanish."
#[test]
fn what_is_written_before_the_first_peer_is_handed_over_before_the_node_leaves() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.start(0, Config::default(), &[]);
        world.start(1, Config::default(), &[0]);
        let written: Vec<Bytes> = (0..3).map(|number| format!("early {number}").into()).collect();
        for message in &written {
            world.write(1, message.clone()).unwrap();
        }
        let (farewell, took) = leave(&mut world, 1);
        assert_eq!(farewell, Farewell { confirmed: 1, ..Farewell::default() });
        assert!(world.has_read(0, 1, &written) && took < SECOND * 2, "{took:?}");
        assert_eq!(world.told_ends, [(0, world.id(1))]);
    }
}

#[test]
fn a_seed_that_comes_up_late_is_waited_for() {
    let mut world = World::new(3);
    world.start(1, Config::default(), &[0]);
    world.write(1, "early").unwrap();
    world.with(1, Node::leave);
    world.run(SECOND * 12);
    world.start(0, Config::default(), &[]);
    world.until("left", SECOND * 20, |world| world.left.contains_key(&1));
    assert!(world.has_read(0, 1, &["early".into()]));
}

#[test]
fn without_anybody_a_node_leaves_after_its_patience_and_says_what_was_lost() {
    let mut world = World::new(5);
    world.start(1, Config::default(), &[0]);
    for message in ["one", "two"] {
        world.write(1, message).unwrap();
    }
    let (farewell, took) = leave(&mut world, 1);
    assert_eq!(farewell, Farewell { unsent: 2, timed_out: true, ..Farewell::default() });
    assert!(took >= SECOND * 30 && took < SECOND * 31, "{took:?}");
}

#[test]
fn a_node_that_knows_nobody_to_dial_does_not_wait_to_be_found() {
    let mut world = World::new(5);
    world.start(1, Config::default(), &[]);
    world.write(1, "to nobody").unwrap();
    world.with(1, Node::leave);
    assert_eq!(world.left.get(&1), Some(&Farewell { unsent: 1, ..Farewell::default() }));
}

/// A network that is shut down node after node does not wait for those that have gone.
#[test]
fn the_last_node_of_a_network_does_not_wait_for_others() {
    let mut world = gathered(6, 3);
    for ix in [0, 2] {
        world.write(ix, "goodbye").unwrap();
        leave(&mut world, ix);
        world.run(SECOND);
        world.kill(ix);
    }
    world.write(1, "to nobody").unwrap();
    let (farewell, took) = leave(&mut world, 1);
    assert_eq!((farewell.unsent, took), (1, Duration::ZERO));
}

/// A neighbour that takes nothing is lost after the ping timeout. Those who had the stream from it
/// have found another parent by then, and do not count as behind.
#[test]
fn a_frozen_neighbour_does_not_hold_up_a_leaving_node_for_its_patience() {
    let mut frozen_parents = 0;
    for seed in 0..20 {
        let mut world = gathered(seed, 8);
        world.write(2, "before").unwrap();
        world.run(SECOND);
        let stream = world.nodes[&2].stream_of(&world.id(2)).unwrap();
        let reads_here = |link| stream.links.iter().any(|view| view.link == link && view.push);
        let reader = world.nodes[&2].peers().find(|(link, _)| reads_here(*link)).unwrap().1;
        let frozen = (0..8).find(|ix| world.id(*ix) == reader).unwrap();
        let others: Vec<_> = (0..8).filter(|ix| ![2, frozen].contains(ix)).collect();
        let parent = |ix: &usize| world.nodes[ix].stream_of(&world.id(2)).unwrap().parent;
        let passes_on = |ix| world.nodes[&frozen].peers().any(|(link, _)| parent(ix) == Some(link));
        frozen_parents += usize::from(others.iter().any(passes_on));
        world.freeze(frozen);
        world.write(2, "after").unwrap();
        let (farewell, took) = leave(&mut world, 2);
        assert_eq!(farewell, Farewell { confirmed: 6, ..Farewell::default() }, "seed {seed}");
        assert!(took < SECOND * 5, "seed {seed}: {took:?}");
        let both = ["before".into(), "after".into()];
        assert!(others.iter().all(|ix| world.has_read(*ix, 2, &both)), "seed {seed}");
    }
    assert!(frozen_parents >= 10, "only {frozen_parents} had readers");
}

/// Readers that leave at the end of a stream, as `pipe --until-end` does, take their part of the
/// tree with them. The writer counts all of them.
#[test]
fn readers_that_leave_after_the_end_count_for_the_writer() {
    for seed in 0..10 {
        let mut world = gathered(seed, 20);
        for number in 0..30_u8 {
            world.write(4, vec![number; 20_000]).unwrap();
            world.run(Duration::from_millis(5));
        }
        world.with(4, Node::leave);
        let mut leaving = std::collections::BTreeSet::from([4]);
        while leaving.len() < 20 {
            world.run(Duration::from_millis(1));
            let ended: Vec<_> = world.told_ends.iter().map(|(reader, _)| *reader).collect();
            for reader in ended.into_iter().filter(|reader| leaving.insert(*reader)) {
                world.with(reader, Node::leave);
            }
        }
        world.until("left", SECOND * 10, |world| world.left.contains_key(&4));
        assert_eq!(world.left[&4], Farewell { confirmed: 19, ..Farewell::default() }, "seed {seed}");
    }
}

#[test]
fn readers_are_told_the_end_of_a_stream_once_and_after_its_messages() {
    for seed in 0..5 {
        let mut world = gathered(seed, 12);
        let written: Vec<Bytes> = (0..20).map(|number| format!("message {number}").into()).collect();
        for message in &written {
            world.write(5, message.clone()).unwrap();
        }
        world.with(5, |node, now| node.broadcast_as(MessageKind::End, Bytes::new(), now)).unwrap();
        world.until("read", SECOND * 5, |world| world.told_ends.len() == 11);
        for reader in (0..12).filter(|reader| *reader != 5) {
            assert!(world.has_read(reader, 5, &written));
        }
        // The end is there already; a question after it does not begin a new stream.
        world.with(5, |node, now| node.broadcast_as(MessageKind::Query, "12345678?".into(), now)).unwrap();
        let (farewell, _) = leave(&mut world, 5);
        assert!(farewell.confirmed > 0 && farewell.behind == 0, "{farewell:?}");
        world.run(SECOND);
        assert_eq!(world.told_ends.len(), 11);
        assert_eq!(world.gaps, []);
    }
}

/// A writer that starts again begins a new stream after its end.
#[test]
fn a_new_start_of_a_writer_is_told_after_its_end() {
    let mut world = gathered(2, 6);
    world.write(3, "first").unwrap();
    leave(&mut world, 3);
    world.run(SECOND);
    world.kill(3);
    world.run(SECOND);
    assert_eq!((world.told_ends.len(), world.restarts.len()), (5, 0));
    let config = Config { incarnation: 2, ..Config::default() };
    world.start(3, config, &[0]);
    world.until("linked", SECOND * 10, |world| world.degree(3) >= 3);
    world.write(3, "second").unwrap();
    let both = ["first".into(), "second".into()];
    let others = [0, 1, 2, 4, 5];
    world.until("read", SECOND * 10, |world| others.iter().all(|ix| world.has_read(*ix, 3, &both)));
    assert_eq!((world.told_ends.len(), world.restarts.len()), (5, 5));
}

/// A reader cannot take what arrived of a killed node for the whole.
#[test]
fn a_killed_writer_has_no_end() {
    let mut world = gathered(4, 6);
    world.write(3, "first").unwrap();
    world.run(SECOND);
    world.kill(3);
    world.run(SECOND * 10);
    assert_eq!(world.told_ends, []);
}
