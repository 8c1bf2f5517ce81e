//! A writer counts its readers exactly: those that have not reported yet, and those that have left.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::World;
use smokesignal_proto::{Config, Farewell, Node, Pace};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// The writer, which comes last.
const WRITER: usize = 19;

/// Nineteen nodes that have been up for a while, and one that has just announced its first peer.
fn just_connected(seed: u64, config: &Config) -> World {
    let mut world = World::new(seed);
    world.gather(WRITER, config);
    world.until("gathered", SECOND * 10, |world| {
        world.nodes.keys().all(|ix| world.degree(*ix) >= 3) && world.one_component()
    });
    world.run(SECOND * 3);
    world.start(WRITER, config.clone(), &[0]);
    world.until("connected", SECOND * 10, |world| world.connected.contains(&WRITER));
    world
}

/// Returns how many readers have read at least this many of the writer's messages.
fn readers_of(world: &World, messages: usize) -> usize {
    let read = |reader| world.read.get(&(reader, world.id(WRITER))).map_or(0, Vec::len);
    (0..WRITER).filter(|reader| read(*reader) >= messages).count()
}

fn all_pace() -> Config {
    Config { pace: Pace::All, ..Config::default() }
}

/// Nothing is confirmed that some node lacks, from the first report on.
#[test]
fn what_a_writer_that_waits_for_all_takes_for_confirmed_all_nodes_have() {
    let messages = 20;
    for seed in 0..20 {
        for size in [10, 30_000] {
            let mut world = just_connected(seed, &all_pace());
            let (mut written, mut confirmed, begin) = (0, 0, world.now);
            while confirmed < messages {
                let is_time = world.now - begin >= MS * 5 * written;
                if is_time && written < messages && world.write(WRITER, vec![0; size]).is_some() {
                    written += 1;
                }
                world.run(MS / 4);
                confirmed = world.with(WRITER, Node::confirmed).message as u32;
                let have = readers_of(&world, confirmed as usize);
                assert_eq!(have, WRITER, "seed {seed}, {size} bytes: {confirmed} are confirmed");
                assert!(world.now - begin < SECOND * 5, "seed {seed}, {size} bytes: {confirmed}");
            }
        }
    }
}

/// Returns what the writer knows of its readers in the end. `leave` says whether the readers leave
/// when they have read it to the end.
fn farewell(world: &mut World, messages: usize, size: usize, leave: bool) -> Farewell {
    for number in 0..messages {
        world.write(WRITER, vec![number as u8; size]).expect("room");
    }
    world.with(WRITER, Node::leave);
    let mut gone = BTreeSet::new();
    let end = world.now + SECOND * 60;
    while !world.left.contains_key(&WRITER) {
        assert!(world.now < end, "the writer does not leave\n{}", world.picture());
        world.run(MS / 10);
        let ended: Vec<_> = world.told_ends.iter().map(|(reader, _)| *reader).filter(|_| leave).collect();
        for reader in ended.into_iter().filter(|reader| gone.insert(*reader)) {
            world.with(reader, Node::leave);
        }
    }
    assert_eq!(readers_of(world, messages), WRITER);
    world.left[&WRITER]
}

#[test]
fn a_writer_that_writes_as_soon_as_it_is_connected_counts_all_of_its_readers_once() {
    let mut wrong = Vec::new();
    for seed in 0..20 {
        for (messages, size) in [(1, 100), (30, 10_000)] {
            for leave in [false, true] {
                let mut world = just_connected(seed, &all_pace());
                let farewell = farewell(&mut world, messages, size, leave);
                if farewell != (Farewell { confirmed: WRITER, ..Farewell::default() }) {
                    wrong.push((seed, messages, leave, farewell));
                }
            }
        }
    }
    wrong.iter().for_each(|wrong| println!("{wrong:?}"));
    assert!(wrong.is_empty(), "{} of 80", wrong.len());
}
