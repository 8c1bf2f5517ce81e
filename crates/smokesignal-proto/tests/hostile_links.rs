//! One node and hand-made neighbours: lies, storms and awkward moments about links, beats, seeds
//! and searches. Each was a fault once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod bench;

use std::sync::Arc;
use std::time::Duration;

use bench::{Bench, breaks_a_rule, closed, key, record};
use smokesignal_proto::*;

/// "At most two links above `max_peers`, always": a lonely node asks many at the same time, and all
/// agree.
#[test]
fn a_lonely_node_that_everyone_accepts_takes_no_more_than_it_may() {
    let mut bench = Bench::new(&[2]);
    let records = (20..40).map(record).collect();
    bench.tell(2, Control::ShuffleReply { walk: 9, records });
    bench.node.handle_disconnected(LinkId(2), bench.now);
    let (mut next, mut most) = (100, 0);
    for _ in 0..40 {
        bench.now = bench.now + std::time::Duration::from_millis(250);
        bench.node.handle_timeout(bench.now);
        for output in bench.drain(None) {
            let Output::Dial { dial, expect: Some(peer), .. } = output else { continue };
            next += 1;
            let n = (20..40).find(|n| key(*n).id() == peer).unwrap_or(2);
            bench.node.handle_connected(LinkId(next), peer, Some(dial), bench.now);
            let accept = Control::Accept { record: record(n), incarnation: 1, sent: 0 };
            bench.node.handle_message(LinkId(next), accept.into(), bench.now);
        }
        most = most.max(bench.node.peers().count());
    }
    // They are silent, and so lost again and again.
    assert!((3..=5).contains(&most), "{most}");
}

/// Anybody can claim that a user asked for a link: names that come again and again with that claim,
/// and say that they have no other link, do not take a node's neighbours from it.
#[test]
fn claims_of_a_user_s_wish_leave_a_node_most_of_its_neighbours() {
    let honest = [2, 3, 4, 5, 6];
    let mut bench = Bench::new(&honest);
    let ping = |degree| Control::Ping { degree, child: None, subtree: 0, seeds: Vec::new() };
    for round in 0..40 {
        for n in 10..17 {
            let id = 100 * (round + 1) + n;
            bench.node.handle_connected(LinkId(id.into()), key(n).id(), None, bench.now);
            let (record, priority) = (record(n), Priority::Explicit);
            bench.tell(id, Control::Neighbor { record, incarnation: 1, priority, token: None });
            bench.tell(id, Control::Active { sent: 0 });
            bench.tell(id, ping(1));
        }
        for _ in 0..8 {
            bench.now = bench.now + std::time::Duration::from_millis(250);
            honest.iter().for_each(|n| bench.tell(*n, ping(4)));
            (1..=round + 1)
                .flat_map(|round| (10..17).map(move |n| 100 * round + n))
                .for_each(|id| bench.tell(id, ping(1)));
            bench.node.handle_timeout(bench.now);
            bench.drain(None);
        }
    }
    let peers: Vec<_> = bench.node.peers().map(|(_, peer)| peer).collect();
    let left = honest.iter().filter(|n| peers.contains(&key(**n).id())).count();
    assert!(left >= 3, "{left} of five honest neighbours are left");
    assert!(peers.len() <= 7);
}

/// A node dials on another's word only if it has asked for it.
#[test]
fn offers_that_nobody_asked_for_make_a_node_dial_nobody() {
    for neighbours in [0, 2] {
        let mut bench = Bench::new(&[2, 3][..neighbours]);
        // A connection that is not a link yet, and a link.
        bench.node.handle_connected(LinkId(9), key(9).id(), None, bench.now);
        let froms: Vec<u16> = [9, 2, 3].into_iter().take(1 + neighbours).collect();
        let mut dials = 0;
        for n in 0..2_000_u16 {
            let offer = |split| Control::Offer { walk: u64::from(n), record: record(1_000 + n), split };
            for from in &froms {
                bench.tell(*from, offer(None));
                bench.tell(*from, offer(Some((record(4_000 + n), n.into()))));
            }
            let mut outputs = bench.drain(None);
            if n % 40 == 0 {
                outputs.extend(bench.pass(1, &froms));
            }
            for output in outputs {
                if let Output::Dial { dial, .. } = output {
                    dials += 1;
                    bench.node.handle_dial_failed(dial, DialFailure::Unanswered, bench.now);
                }
            }
        }
        // In 50 s of looking for peers it dials what its own walks have found.
        assert!(dials <= 100, "{dials} dials with {neighbours} neighbours");
    }
}

/// Each query goes to all nodes. A neighbour that sends many must not use up what the others may
/// look for.
#[test]
fn a_neighbour_that_floods_the_network_with_queries_leaves_the_others_their_shares() {
    let mut bench = Bench::new(&[2, 3, 4, 5]);
    let find = |query| Control::Find { query, target: key(99).id(), ttl: 20 };
    let (mut flooded, mut honest) = (0, 0);
    bench.pass(1, &[2, 3, 4, 5]);
    for tick in 0..40_u64 {
        (0..1000).for_each(|query| bench.tell(2, find(1 + (tick << 32 | query))));
        (0..5).for_each(|query| bench.tell(3, find(1 << 60 | tick << 32 | query)));
        let outputs = bench.drain(None);
        let passed_on = |output: &Output| match output {
            Output::Send { link: LinkId(4), message: Message::Control(control) } => match **control {
                Control::Find { query, .. } => Some(query >> 60),
                _ => None,
            },
            _ => None,
        };
        let passed: Vec<_> = outputs.iter().filter_map(passed_on).collect();
        flooded += passed.iter().filter(|honest| **honest == 0).count();
        honest += passed.iter().filter(|honest| **honest == 1).count();
        bench.now = bench.now + Duration::from_millis(500);
        (2..=5).for_each(|n| {
            bench.tell(n, Control::Ping { degree: 4, child: None, subtree: 0, seeds: Vec::new() });
        });
        bench.node.handle_timeout(bench.now);
        bench.drain(None);
    }
    assert_eq!(honest, 40 * 5);
    // Its own share of 8, and what two neighbours that look for nothing leave of theirs.
    assert!(flooded <= 41 * 32, "{flooded}");
}

/// A neighbour makes up walks of bridges, which reach nodes that it has no link to.
#[test]
fn made_up_walks_make_a_node_dial_seldom_and_no_address_twice_in_a_minute() {
    for (one_address, most) in [(false, 43), (true, 3)] {
        let mut bench = Bench::new(&[2, 3, 4]);
        let mut dials = 0;
        for n in 0..120 * 4_u16 {
            let named = record(1_000 + if one_address { 0 } else { n });
            bench.tell(2, Control::Bridge { ttl: 0, records: vec![named] });
            let mut outputs = bench.drain(None);
            dials += outputs.iter().filter(|output| matches!(output, Output::Dial { .. })).count();
            if n % 4 == 0 {
                outputs.extend(bench.pass(1, &[2, 3, 4]));
            }
            for output in outputs {
                if let Output::Dial { dial, .. } = output {
                    bench.node.handle_dial_failed(dial, DialFailure::Unanswered, bench.now);
                }
            }
        }
        // Three at first, and then one in 3 s; the one address once in a minute.
        assert!((1..=most).contains(&dials), "{dials} dials in 120 s");
    }
}

/// A beat of an earlier start with the largest number there is.
#[test]
fn an_old_beat_with_a_huge_number_is_only_old() {
    let mut bench = Bench::new(&[2, 3]);
    let root = (2..60).map(key).min_by_key(Keypair::id).unwrap();
    let beat = |incarnation, number| {
        let beat = Beat::sign(&root, &[0; 32], incarnation, number, 9, Vec::new());
        Control::Beacon { beat: Arc::new(beat), age_ms: 0, hops: 0 }
    };
    bench.tell(2, beat(5, 1));
    bench.tell(3, beat(4, u64::MAX));
    bench.tell(2, beat(5, 2));
    bench.tell(3, beat(5, 3));
    assert!(!closed(&bench.drain(None)));
    assert_eq!(bench.node.network_size(), 9);
}

/// A beat is its root's word.
#[test]
fn a_beat_that_does_not_hold_ends_the_link_it_came_over() {
    let mut bench = Bench::new(&[2, 3]);
    let root = (2..60).map(key).min_by_key(Keypair::id).unwrap();
    let beat = Beat::sign(&root, &[9; 32], 1, 1, 1000, Vec::new()); // Of another network.
    bench.tell(2, Control::Beacon { beat: Arc::new(beat), age_ms: 0, hops: 0 });
    assert!(bench.drain(None).iter().any(breaks_a_rule));
    assert_ne!(bench.node.network_size(), 1000);
}

/// "Amplification": a root has something to say four times a second at most.
#[test]
fn beats_are_passed_on_at_a_root_s_rate_only() {
    let mut bench = Bench::new(&[2, 3, 4]);
    for number in 1..1500 {
        let seeds = vec![SeedStatus { seed: number, state: SeedState::Absent }];
        let beat = Arc::new(Beat::sign(&root(), &[0; 32], 1, number, 8, seeds));
        bench.tell(2, Control::Beacon { beat, age_ms: 0, hops: 0 });
    }
    let outputs = bench.drain(Some(3));
    let passed_on = |output: &&Output| matches!(output, Output::Send { link, .. } if *link != LinkId(2));
    assert!(!closed(&outputs));
    let count = outputs.iter().filter(passed_on).count();
    assert!((1..100).contains(&count), "{count}");
}

/// The first neighbour to bring a beat must not bury its root by calling the beat old.
#[test]
fn a_beat_is_as_young_as_anybody_says() {
    let mut bench = Bench::new(&[2, 3]);
    for number in 1..20 {
        bench.tell(2, Control::Beacon { beat: beat(number), age_ms: 4490, hops: 0 });
        bench.tell(3, Control::Beacon { beat: beat(number), age_ms: 10, hops: 0 });
        for _ in 0..2 {
            bench.pass(1, &[2, 3]);
            assert_eq!(bench.node.root(), root().id());
        }
    }
    for _ in 0..10 {
        bench.tell(2, Control::Beacon { beat: beat(19), age_ms: 0, hops: 0 });
        bench.pass(1, &[2, 3]);
    }
    assert_eq!(bench.node.root(), bench.node.id(), "the last beat sent again keeps no dead root alive");
}

/// "Table poisoning": a quarter of what a node knows may come from one neighbour, once it knows
/// enough.
#[test]
fn one_neighbour_does_not_replace_what_others_told() {
    let mut bench = Bench::new(&[2, 3]);
    let honest: Vec<_> = (100..290).map(record).collect();
    for chunk in honest.chunks(32) {
        bench.tell(3, Control::Welcome { records: chunk.to_vec() });
    }
    let known = |bench: &Bench| {
        let is_honest = |record: &&Record| honest.iter().any(|honest| honest.id == record.id);
        bench.node.known_records().filter(is_honest).count()
    };
    assert_eq!(known(&bench), honest.len());
    for chunk in (1000..2000).map(record).collect::<Vec<_>>().chunks(32) {
        bench.tell(2, Control::ShuffleReply { walk: 4711, records: chunk.to_vec() });
    }
    assert!(known(&bench) > honest.len() * 2 / 3, "{}", known(&bench));
}

/// A name may stand for many hosts in turn: that it once led to the node itself says nothing about
/// next time.
#[test]
fn a_seed_name_that_led_to_the_node_itself_is_tried_again() {
    let mut bench = Bench::new(&[]);
    bench.node.join("many.example:8495".to_owned(), bench.now);
    let mut dials = 0;
    for second in 0..120 {
        for output in bench.pass(1, &[]) {
            if let Output::Dial { dial, .. } = output {
                dials += 1;
                bench.node.handle_connected(LinkId(100 + second), key(1).id(), Some(dial), bench.now);
            }
        }
    }
    assert!((4..=20).contains(&dials), "{dials}");
}

/// 0.25 s, doubled up to 10 s: half a second after it was called, and 4 to 6 times before the
/// connection has lasted for 10 s.
#[test]
fn a_lonely_node_asks_one_caller_for_a_place_less_and_less_often() {
    let mut bench = Bench::new(&[]);
    bench.node.handle_connected(LinkId(2), key(2).id(), None, bench.now);
    let mut asked = Vec::new();
    for quarter in 0..40 {
        bench.now = bench.now + std::time::Duration::from_millis(250);
        bench.node.handle_timeout(bench.now);
        let outputs = bench.drain(None);
        if controls(&outputs, |control| matches!(control, Control::Join { .. })) > 0 {
            asked.push(quarter);
        }
    }
    assert!((4..=6).contains(&asked.len()), "asked in the quarter seconds {asked:?}");
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.is_sorted() && waits.last() >= Some(&12), "{waits:?} quarter seconds apart");
}

/// A stranger asks and asks and reads nothing: what is kept for it is bounded, by time and by size.
#[test]
fn a_stranger_that_reads_nothing_costs_little() {
    let mut bench = Bench::new(&[2, 3]);
    let stranger = LinkId(9);
    bench.node.handle_connected(stranger, key(9).id(), None, bench.now);
    (0..10_000).for_each(|_| bench.tell(9, Control::Probe));
    let outputs = bench.drain(Some(9));
    assert!(controls(&outputs, |control| matches!(control, Control::Beacon { .. })) <= 64);
    // The same over a connection for streams, which lives as long as it is heard.
    bench.tell(9, Control::Streams);
    let mut kept = 0;
    for _ in 0..240 {
        (0..100).for_each(|_| bench.tell(9, Control::Join { record: record(9), want: 3 }));
        bench.now = bench.now + std::time::Duration::from_millis(250);
        bench.node.handle_timeout(bench.now);
        let outputs = bench.drain(Some(9));
        if outputs.iter().any(|output| matches!(output, Output::Close { link, .. } if *link == stranger)) {
            break;
        }
        let cost = |output: &Output| match output {
            Output::Send { link, message } if *link == stranger => message.cost(),
            _ => 0,
        };
        kept += outputs.iter().map(cost).sum::<usize>();
    }
    assert!(kept <= 256 * 1024 + 8 * 1024, "{kept} bytes wait for somebody who reads nothing");
}

/// Searches for nodes that do not exist go through the whole network. They must not keep others
/// from joining.
#[test]
fn a_flood_of_searches_leaves_room_for_walks_and_is_answered_once() {
    let mut bench = Bench::new(&[2, 3, 4]);
    bench.drain(None);
    (0..400).for_each(|query| bench.tell(2, Control::Find { query, target: key(99).id(), ttl: 20 }));
    (0..5).for_each(|walk| bench.tell(2, Control::Walk { walk, ttl: 6, record: record(50) }));
    let outputs = bench.drain(None);
    let found = controls(&outputs, |control| matches!(control, Control::Find { .. }));
    assert!((1..=2 * 64).contains(&found), "{found} searches passed on over two links");
    assert_eq!(
        controls(&outputs, |control| matches!(control, Control::Walk { .. } | Control::Offer { .. })),
        5
    );
    // Not by somebody else.
    bench.tell(3, Control::Located { query: 0, record: record(98) });
    for _ in 0..100 {
        bench.tell(3, Control::Located { query: 0, record: record(99) });
    }
    assert_eq!(controls(&bench.drain(None), |control| matches!(control, Control::Located { .. })), 1);
}

/// A key with a smaller id than the node's own: a root for it.
fn root() -> Keypair {
    (100..).map(key).find(|root| root.id() < key(1).id()).unwrap()
}

fn beat(number: u64) -> Arc<Beat> {
    Arc::new(Beat::sign(&root(), &[0; 32], 1, number, 8, Vec::new()))
}

fn controls(outputs: &[Output], is: impl Fn(&Control) -> bool) -> usize {
    let counts = |output: &&Output| matches!(output, Output::Send { message: Message::Control(control), .. } if is(control));
    outputs.iter().filter(counts).count()
}
