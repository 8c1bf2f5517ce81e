//! Netsplits are noticed, reported and healed; and never where there was none.

mod common;

use std::time::Duration;

use common::{World, keypair};
use smokesignal_proto::{Config, Control, Output, SeedReport};

const SECOND: Duration = Duration::from_secs(1);

/// Links stay where they are: a node that moves to another one is missed in the count until it has
/// gone round.
fn steady() -> Config {
    Config { reorder: false, ..Config::default() }
}

/// `n` nodes with the first as their seed, counted.
fn whole(seed: u64, n: usize) -> World {
    let mut world = World::new(seed);
    world.gather(n, &steady());
    world.until("whole", SECOND * 30, |world| counted(world, n));
    world.run(SECOND * 4);
    world
}

fn counted(world: &World, n: usize) -> bool {
    world.one_component() && world.nodes.values().all(|node| node.network_size() == n as u32)
}

fn group(from: usize, to: usize) -> Vec<usize> {
    (from..to).collect()
}

fn told(world: &World, ix: usize) -> Vec<&Output> {
    world.splits.iter().filter(|(at, ..)| *at == ix).map(|(.., split)| split).collect()
}

fn write_all(world: &mut World, word: &str) {
    for ix in world.nodes.keys().copied().collect::<Vec<_>>() {
        assert!(world.write(ix, format!("{word} {ix}")).is_some());
    }
}

/// "Size by convergecast is exact."
#[test]
fn every_node_knows_how_many_they_are() {
    for n in [1, 2, 5, 40] {
        let mut world = whole(n as u64, n);
        if n > 4 {
            world.kill(n - 1);
            world.kill(n - 2);
            world.until("counted again", SECOND * 15, |world| counted(world, n - 2));
        }
        assert!(world.splits.is_empty(), "{:?}", world.splits);
    }
}

/// "Detected p50 <= 8 s, p99 <= 15 s; resolved p99 <= 10 s", by every node of the side that lost
/// its seed, once.
#[test]
fn the_side_without_the_seed_reports_the_netsplit_and_its_end() {
    for (seed, n) in [(1, 8), (2, 16), (3, 40), (4, 16), (5, 16)] {
        let mut world = whole(seed, n);
        world.cut(&[&group(0, n / 2), &group(n / 2, n)]);
        let start = world.now;
        world.until("noticed", SECOND * 15, |world| (n / 2..n).all(|ix| !told(world, ix).is_empty()));
        println!("{n}: noticed after {:?}", world.now - start);
        world.run(SECOND * 30);
        world.heal();
        let start = world.now;
        world.until("resolved", SECOND * 10, |world| (n / 2..n).all(|ix| told(world, ix).len() == 2));
        println!("{n}: resolved after {:?}", world.now - start);
        world.until("whole again", SECOND * 15, |world| counted(world, n));
        world.run(SECOND * 20);
        for ix in 0..n {
            match *told(&world, ix) {
                [] => assert!(ix < n / 2),
                [Output::Netsplit { size_before, .. }, Output::NetsplitResolved { duration, .. }] => {
                    assert_eq!(*size_before, n as u32, "{ix} {:?}", world.splits);
                    assert!(*duration > SECOND * 30);
                }
                ref other => panic!("{ix} reported {other:?}"),
            }
        }
        assert!(world.nodes.keys().all(|ix| world.degree(*ix) <= 5), "{}", world.picture());
    }
}

/// "No `netsplit` in a component that stayed connected", even if roots die; a dead seed is not a
/// netsplit.
#[test]
fn deaths_are_not_a_netsplit() {
    for seed in 0..5 {
        let mut world = whole(seed, 20);
        for ix in 15..20 {
            world.kill(ix);
            world.run(SECOND * 6);
        }
        world.kill(0);
        world.run(SECOND * 60);
        assert!(world.splits.is_empty(), "{:?}", world.splits);
        assert!(counted(&world, 14), "{}", world.picture());
    }
}

/// Two halves that know no living seed still know each other: "the graveyard".
#[test]
fn halves_without_seeds_find_each_other_again() {
    for seed in 0..3 {
        let mut world = whole(seed, 16);
        world.kill(0);
        world.run(SECOND * 20);
        world.cut(&[&group(1, 8), &group(8, 16)]);
        world.run(SECOND * 120);
        world.heal();
        world.until("whole again", SECOND * 120, |world| counted(world, 15));
    }
}

/// Afterwards everyone hears everyone, each message once.
#[test]
fn what_is_written_after_the_split_reaches_all_and_nothing_comes_twice() {
    let mut world = whole(7, 12);
    write_all(&mut world, "before");
    world.run(SECOND);
    world.cut(&[&group(0, 6), &group(6, 12)]);
    world.run(SECOND * 20);
    write_all(&mut world, "apart");
    world.run(SECOND * 10);
    world.heal();
    world.until("whole again", SECOND * 20, |world| counted(world, 12));
    write_all(&mut world, "after");
    let expected = |ix| ["before", "apart", "after"].map(|word| format!("{word} {ix}").into());
    for writer in 0..12 {
        world.until("all read", SECOND * 20, |world| {
            (0..12).all(|reader| reader == writer || world.has_read(reader, writer, &expected(writer)))
        });
    }
    assert!(world.gaps.is_empty(), "{:?}", world.gaps);
}

fn smallest(n: usize) -> usize {
    (0..n).min_by_key(|ix| keypair(*ix).id()).unwrap_or_default()
}

/// The root is killed and started again before anybody has missed it: its beats are numbered from 1
/// again, and are passed on all the same.
#[test]
fn a_root_that_is_started_again_at_once_is_heard() {
    let n = 16;
    let root = smallest(n);
    let mut world = whole(1, n);
    world.run(SECOND * 60);
    world.kill(root);
    world.run(Duration::from_millis(300));
    world.start(root, Config { incarnation: 2, ..steady() }, &[usize::from(root == 0)]);
    world.until("counted", SECOND * 20, |world| counted(world, n));
    // Giving up a surplus link moves a few nodes to another parent, and they are missed in the
    // count until it has gone round.
    let settled = |world: &World| (0..n).all(|ix| world.degree(ix) <= Config::default().max_peers);
    world.until("settled", SECOND * 40, |world| settled(world) && counted(world, n));
    for _ in 0..60 {
        world.run(SECOND / 2);
        assert!(counted(&world, n), "{}", world.picture());
    }
    assert_eq!(world.splits, []);
}

/// A root is started anew with a clock that was set back, so that its incarnation is below that of
/// its former start. It goes above that one, not in its stream alone: with the lower number its
/// beats would be old ones for a minute, and its record would never replace the former one.
#[test]
fn a_root_whose_clock_was_set_back_beats_and_is_known_by_its_new_number() {
    let n = 12;
    let root = smallest(n);
    for seed in 0..8 {
        let mut world = whole(seed, n);
        let restart = |world: &mut World, incarnation| {
            world.kill(root);
            world.start(root, Config { incarnation, ..steady() }, &[usize::from(root == 0)]);
            world.until("counted", SECOND * 20, |world| counted(world, n));
        };
        restart(&mut world, 1000);
        world.write(root, "before");
        world.run(SECOND * 2);
        restart(&mut world, 7);
        let id = world.id(root);
        assert!((0..n).all(|ix| world.nodes[&ix].root() == id));
        // The record travels with the root's own words: when it makes links, and in its shuffles.
        let is_known = |world: &World| {
            let mut others = world.nodes.iter().filter(|(ix, _)| **ix != root);
            others
                .any(|(_, node)| node.known_records().any(|record| (record.id, record.version) == (id, 1001)))
        };
        world.until("known", SECOND * 60, is_known);
    }
}

/// What a root said of a seed is forgotten with it: when it is the root once more it looks anew.
#[test]
fn an_old_verdict_is_not_reported_again() {
    let n = 12;
    let root = smallest(n);
    let mut world = World::new(3);
    for ix in 0..n {
        let seeds: &[usize] = if ix == root { &[] } else { &[root] };
        world.start(ix, Config::default(), seeds);
    }
    world.until("whole", SECOND * 30, |world| counted(world, n));
    world.run(SECOND * 60);
    world.freeze(root);
    world.run(SECOND * 20);
    world.thaw(root);
    world.until("whole again", SECOND * 60, |world| counted(world, n));
    world.run(SECOND * 60);
    let before = world.splits.len();
    assert!(before > 0, "the frozen seed was missed");
    world.kill(root); // Its host refuses connections: it is only down.
    world.run(SECOND * 60);
    assert_eq!(world.splits[before..], []);
}

/// A member that says it has eight seeds nobody else has, with the smallest numbers, pushes out no
/// real one.
#[test]
fn made_up_seeds_hide_no_netsplit() {
    let mut world = whole(3, 12);
    let liar = world.id(7);
    let lie = |world: &mut World, seconds: u32| {
        for _ in 0..seconds * 4 {
            for ix in (6..12).filter(|ix| *ix != 7) {
                let Some((link, _)) = world.nodes[&ix].peers().find(|(_, peer)| *peer == liar) else {
                    continue;
                };
                let root = world.nodes[&ix].root();
                let tag = root.as_bytes().iter().take(4).fold(0, |tag, byte| tag << 8 | u32::from(*byte));
                let (unreachable, other_size, beat) = (0, None, 0);
                let report = |seed| SeedReport { seed, present: true, unreachable, other_size, beat };
                let seeds = (0..8).map(report).collect();
                let ping = Control::Ping { degree: 3, child: Some(tag), subtree: 1, seeds };
                world.with(ix, |node, now| node.handle_message(link, ping.into(), now));
            }
            world.run(SECOND / 4);
        }
    };
    lie(&mut world, 5);
    world.cut(&[&group(0, 6), &group(6, 12)]);
    lie(&mut world, 40);
    assert!((6..12).all(|ix| !told(&world, ix).is_empty()), "{:?}", world.splits);
}
