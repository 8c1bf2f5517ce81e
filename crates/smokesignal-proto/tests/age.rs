//! Readers distinguish old news from new, without a clock that two nodes share.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod bench;
mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use bench::{Bench, key, tiny};
use common::World;
use smokesignal_proto::{Age, Config, Instant, LinkId, Message, NodeId, Output, SegmentKind};

const SECOND: Duration = Duration::from_secs(1);
/// The ways of this world differ by up to 19 ms each, and so does the round trip that is measured.
const HOP_MS: i64 = 25;

/// Writes messages and knows when each was written.
struct Log {
    world: World,
    written: BTreeMap<(NodeId, u64), Instant>,
}

impl Log {
    fn new(world: World) -> Self {
        Self { world, written: BTreeMap::new() }
    }

    fn write(&mut self, writer: usize, size: usize) {
        let seq = self.world.write(writer, vec![7; size]).unwrap();
        self.written.insert((self.world.id(writer), seq), self.world.now);
    }

    /// Writes a message every 50 ms.
    fn write_for(&mut self, writer: usize, time: Duration) {
        let end = self.world.now + time;
        while self.world.now < end {
            self.write(writer, 100);
            self.world.run(Duration::from_millis(50));
        }
    }

    /// Returns the ages that this node learned, in milliseconds, with how old the messages were.
    fn ages(&self, reader: usize) -> Vec<(i64, i64)> {
        let of_reader = self.world.ages.iter().filter(|(ix, ..)| *ix == reader);
        let ages = of_reader.map(|(_, at, from, seq, age)| {
            let truth = *at - self.written[&(*from, *seq)];
            (i64::from(*age), truth.as_millis() as i64)
        });
        ages.collect()
    }
}

/// Node 0 stands between a writer and a reader that have no other neighbour.
fn chain(seed: u64) -> Log {
    let mut world = World::new(seed);
    let peers = |most| Config { min_peers: most, max_peers: most, ..Config::default() };
    world.start(0, peers(2), &[]);
    world.start(1, peers(1), &[0]);
    world.start(2, peers(1), &[0]);
    world.until("a chain", SECOND * 30, |world| {
        world.degree(0) == 2 && world.degree(1) == 1 && world.degree(2) == 1
    });
    world.run(SECOND * 2);
    Log::new(world)
}

#[test]
fn every_reader_learns_how_old_a_message_is_however_far_its_writer() {
    for seed in 1..=3 {
        let mut world = World::new(seed);
        world.gather(12, &Config { min_peers: 2, max_peers: 3, ..Config::default() });
        let all_linked = |world: &World| world.one_component() && (0..12).all(|ix| world.degree(ix) >= 2);
        world.until("gathered", SECOND * 60, all_linked);
        world.run(SECOND * 5);
        let mut log = Log::new(world);
        // The second of a series is quicker than the one that found the way.
        for round in 0..30 {
            log.write(round % 3, if round % 10 == 9 { 300_000 } else { 1_000 });
            log.world.run(Duration::from_millis(200));
        }
        log.world.run(SECOND * 2);
        for reader in 0..12 {
            let ages = log.ages(reader);
            assert!(ages.len() >= 20, "node {reader} has read {}", ages.len());
            for (age, truth) in ages {
                // The network's diameter is 5 at most.
                assert!((age - truth).abs() <= 5 * HOP_MS, "node {reader}: {age} ms, in truth {truth} ms");
            }
        }
    }
}

/// "Voice and positions after a freeze of 20 s": the stale ones are known, also those that waited
/// in front of the node, where nobody counts.
#[test]
fn what_a_frozen_reader_finds_is_as_old_as_it_is() {
    // Also on a link that has carried no message before.
    for (frozen_for, before) in [(2, SECOND), (20, SECOND), (2, Duration::ZERO), (20, Duration::ZERO)] {
        let mut log = chain(1);
        log.write_for(1, before);
        log.world.freeze(2);
        log.write_for(1, SECOND * frozen_for);
        let thawed = log.world.now;
        log.world.thaw(2);
        log.write_for(1, SECOND * 10);
        let ages = log.ages(2);
        let oldest = ages.iter().map(|(age, _)| *age).max().unwrap();
        assert!(oldest >= 1_000 * i64::from(frozen_for) - 200, "{oldest} ms after {frozen_for} s");
        for (age, truth) in &ages {
            assert!((age - truth).abs() <= 3 * HOP_MS, "{age} ms, in truth {truth} ms");
        }
        // It skips to now.
        let fresh = ages.iter().filter(|(age, _)| *age < 1_000).count();
        assert!(fresh >= 100, "{fresh} fresh ones");
        assert!(log.world.now - thawed >= SECOND * 10);
    }
}

#[test]
fn a_frozen_relay_makes_what_it_passes_on_as_old_as_it_is() {
    for (frozen_for, before) in [(2, SECOND), (20, SECOND), (2, Duration::ZERO), (20, Duration::ZERO)] {
        let mut log = chain(2);
        log.write_for(1, before);
        log.world.freeze(0);
        log.write_for(1, SECOND * frozen_for);
        log.world.thaw(0);
        log.write_for(1, SECOND * 20);
        let ages = log.ages(2);
        let oldest = ages.iter().map(|(age, _)| *age).max().unwrap();
        assert!(oldest >= 1_500, "{oldest} ms after {frozen_for} s");
        for (age, truth) in ages {
            assert!((age - truth).abs() <= 3 * HOP_MS, "{age} ms, in truth {truth} ms");
        }
    }
}

#[test]
fn a_message_that_waits_for_the_first_peer_gets_older() {
    let mut world = World::new(3);
    world.start(0, Config::default(), &[]);
    world.start(1, Config::default(), &[0]);
    world.freeze(0);
    world.run(SECOND);
    let mut log = Log::new(world);
    log.write(1, 100);
    log.world.run(SECOND * 5);
    log.world.thaw(0);
    log.world.until("read", SECOND * 30, |world| !world.ages.is_empty());
    let [(age, truth)] = log.ages(0)[..] else { panic!("one message") };
    assert!(truth >= 5_000 && (age - truth).abs() <= HOP_MS, "{age} ms, in truth {truth} ms");
}

/// A node can make what it passes on look older or younger, a day at most, and nothing else.
#[test]
fn a_hostile_claim_is_bounded_and_concerns_no_other_link() {
    let mut bench = Bench::new(&[2, 3, 4]);
    let claims = [
        Age::new(u32::MAX, Instant::from_micros(u64::MAX)),
        Age::new(0, Instant::ZERO),
        Age::new(u32::MAX, Instant::ZERO),
        Age::new(0, Instant::from_micros(u64::MAX)),
    ];
    for (seq, claim) in (1..).zip(claims) {
        bench.now = bench.now + SECOND;
        let Message::Data(segment, _) = tiny(50, 1, seq) else { unreachable!() };
        bench.tell(2, Message::Data(segment, claim));
        // Its clock is an hour ahead.
        let honest = Age::new(40, bench.now + SECOND * 3600);
        let Message::Data(segment, _) = tiny(51, 1, seq) else { unreachable!() };
        bench.tell(3, Message::Data(segment, honest));
        let outputs = bench.drain(None);
        let told = |writer: u16| {
            let writer = key(writer).id();
            outputs.iter().find_map(|output| match output {
                Output::Deliver { from, age_ms, .. } if *from == writer => Some(*age_ms),
                _ => None,
            })
        };
        assert!(told(50).unwrap() <= Age::MOST_MS);
        assert_eq!(told(51), Some(40));
        let passed_on = outputs.iter().filter_map(|output| match output {
            Output::Send { link: LinkId(4), message: Message::Data(segment, age) } => Some((segment, age)),
            _ => None,
        });
        for (segment, age) in passed_on {
            assert!(matches!(segment.kind, SegmentKind::Whole { .. }));
            assert!(age.millis(bench.now) <= Age::MOST_MS);
        }
    }
}
