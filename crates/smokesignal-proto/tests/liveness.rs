//! Recorded streams are not read as live ones, and wrong clocks cost no message.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "bench/mod.rs"]
mod bench;
mod common;

use std::time::Duration;

use bench::{Bench, closed, key, mark, tiny};
use bytes::Bytes;
use common::World;
use smokesignal_proto::*;

/// The hand-made segments are signed in 1970.
const NOW: u64 = 1_800_000_000;
const WRITER: u16 = 50;

/// A node with these neighbours and a clock that is right.
fn bench(neighbours: &[u16]) -> Bench {
    let mut bench = Bench::new(neighbours);
    bench.node.set_unix_time(NOW, bench.now);
    bench
}

fn delivered(outputs: &[Output]) -> Vec<u64> {
    let seqs = outputs.iter().filter_map(|output| match output {
        Output::Deliver { seq, messages, .. } => Some(*seq..*seq + messages.len() as u64),
        _ => None,
    });
    seqs.flatten().collect()
}

fn gaps(outputs: &[Output]) -> Vec<u64> {
    let gap = |output: &Output| match output {
        Output::Gap { missed, .. } => Some(*missed),
        _ => None,
    };
    outputs.iter().filter_map(gap).collect()
}

/// The control messages to neighbour `n`.
fn controls(outputs: &[Output], n: u16) -> Vec<Control> {
    let to = |output: &Output| match output {
        Output::Send { link, message: Message::Control(control) } if *link == LinkId(n.into()) => {
            Some((**control).clone())
        }
        _ => None,
    };
    outputs.iter().filter_map(to).collect()
}

/// The challenges to neighbour `n`: for which writer, and the number.
fn challenges(outputs: &[Output], n: u16) -> Vec<(NodeId, Nonce)> {
    let challenge = |control| match control {
        Control::Challenge { writer, nonce } => Some((writer, nonce)),
        _ => None,
    };
    controls(outputs, n).into_iter().filter_map(challenge).collect()
}

fn alive(writer: u16, incarnation: u64, nonce: Nonce) -> Control {
    Control::Alive { sign: LifeSign::sign(&key(writer), &[0; 32], incarnation, 0, nonce) }
}

fn was_passed_on(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Send { message: Message::Data(..), .. }))
}

#[test]
fn a_recording_is_neither_read_nor_passed_on_and_is_a_gap_in_the_end() {
    let mut bench = bench(&[2, 3]);
    (1..=3).for_each(|seq| bench.tell(2, tiny(WRITER, 1, seq)));
    let outputs = bench.drain(None);
    assert_eq!(delivered(&outputs), []);
    assert!(!was_passed_on(&outputs) && !closed(&outputs));
    assert_eq!(challenges(&outputs, 2).len(), 1, "one number for all of them");
    assert_eq!(challenges(&outputs, 3), []);
    let later = bench.pass(32, &[2, 3]);
    assert!(challenges(&later, 2).len() >= 10, "it is asked again");
    assert_eq!(gaps(&later), [3]);
    // The neighbour goes on, and what was reported is not reported again.
    (1..=4).for_each(|seq| bench.tell(2, tiny(WRITER, 1, seq)));
    let more = bench.pass(32, &[2, 3]);
    (1..=4).for_each(|seq| bench.tell(2, tiny(WRITER, 1, seq)));
    let more: Vec<_> = more.into_iter().chain(bench.pass(32, &[2, 3])).collect();
    assert_eq!(delivered(&more), []);
    assert_eq!(gaps(&more), [1]);
}

/// The writer begins anew before anybody has proven that it lived: the first messages are lost.
#[test]
fn a_later_start_ends_the_search_for_an_earlier_one_with_a_gap() {
    let mut bench = bench(&[2]);
    (1..=3).for_each(|seq| bench.tell(2, tiny(WRITER, 1, seq)));
    bench.tell(2, tiny(WRITER, 2, 1));
    assert_eq!(gaps(&bench.drain(None)), [3]);
    // The earlier one is over.
    bench.tell(2, tiny(WRITER, 1, 4));
    assert_eq!(gaps(&bench.pass(29, &[2])), []);
    assert_eq!(gaps(&bench.pass(3, &[2])), [1]);
}

/// Found by `sim liars`: the gap came although the stream had been read for half a minute.
#[test]
fn a_stream_that_another_neighbour_proves_is_not_in_doubt_any_more() {
    let mut bench = bench(&[2, 3]);
    bench.tell(2, tiny(3, 1, 1));
    assert_eq!(challenges(&bench.drain(None), 3).len(), 1);
    bench.tell(3, tiny(3, 1, 1));
    let outputs = bench.drain(None);
    assert_eq!(delivered(&outputs), [1]);
    let outputs = bench.pass(40, &[2, 3]);
    assert_eq!((gaps(&outputs), challenges(&outputs, 3)), (Vec::new(), Vec::new()));
}

/// A joiner reads nothing of it either, although a proof has shown how far the stream is.
#[test]
fn a_recording_is_not_read_by_a_joiner() {
    let mut bench = Bench::joiner(Config::default());
    bench.node.set_unix_time(NOW, bench.now);
    bench.link(2, vec![mark(WRITER, 1, 5, 6, 6)]);
    bench.prove(2, &[(WRITER, 1, 5)]);
    (6..=8).for_each(|seq| bench.tell(2, tiny(WRITER, 1, seq)));
    let outputs = bench.drain(None);
    assert_eq!(delivered(&outputs), []);
    assert_eq!(challenges(&outputs, 2).len(), 1);
}

#[test]
fn a_writer_with_a_wrong_clock_is_read_once_it_has_signed_a_number() {
    let mut bench = bench(&[2, 3]);
    (1..=3).for_each(|seq| bench.tell(2, tiny(WRITER, 1, seq)));
    let challenge = challenges(&bench.drain(None), 2)[0];
    assert_eq!(challenge.0, key(WRITER).id());
    // What does not fit changes nothing.
    bench.tell(3, alive(WRITER, 1, challenge.1));
    bench.tell(2, alive(WRITER, 1, [9; 16]));
    assert_eq!(controls(&bench.drain(None), 2), []);
    bench.tell(2, alive(WRITER, 1, challenge.1));
    let outputs = bench.drain(None);
    let ask = Ask { origin: key(WRITER).id(), incarnation: 1, from: 1, or_later: true };
    assert!(controls(&outputs, 2).contains(&Control::Graft { asks: vec![ask] }), "{outputs:?}");
    let of = key(WRITER).id();
    let skew = outputs.iter().find(|output| matches!(output, Output::ClockDiffers { .. }));
    assert_eq!(skew, Some(&Output::ClockDiffers { of, ahead_by: -(NOW as i64) }));
    (1..=3).for_each(|seq| bench.tell(2, tiny(WRITER, 1, seq)));
    let outputs = bench.drain(None);
    assert_eq!(delivered(&outputs), [1, 2, 3]);
    assert!(was_passed_on(&outputs));
    // From now on its time does not matter.
    bench.pass(180, &[2, 3]);
    bench.tell(2, tiny(WRITER, 1, 4));
    let outputs = bench.drain(None);
    assert_eq!((delivered(&outputs), challenges(&outputs, 2)), (vec![4], Vec::new()));
}

#[test]
fn a_forged_sign_of_life_ends_the_link() {
    let mut bench = bench(&[2]);
    bench.tell(2, tiny(WRITER, 1, 1));
    let (writer, nonce) = challenges(&bench.drain(None), 2)[0];
    let mut sign = LifeSign::sign(&key(2), &[0; 32], 1, 0, nonce);
    sign.writer = writer;
    bench.tell(2, Control::Alive { sign });
    assert!(closed(&bench.drain(None)));
}

/// Its connection proves that it lives.
#[test]
fn a_neighbour_s_own_messages_are_read_whatever_its_clock_says() {
    let mut bench = bench(&[2, 3]);
    bench.tell(2, tiny(2, 1, 1));
    let outputs = bench.drain(None);
    assert_eq!((delivered(&outputs), challenges(&outputs, 2)), (vec![1], Vec::new()));
    // Another neighbour may bring them first: then the writer itself is asked.
    bench.tell(2, tiny(3, 1, 1));
    let outputs = bench.drain(None);
    assert_eq!((delivered(&outputs), challenges(&outputs, 2)), (Vec::new(), Vec::new()));
    assert_eq!(challenges(&outputs, 3).len(), 1);
}

#[test]
fn a_challenge_goes_to_where_the_stream_comes_from_and_its_answer_back() {
    let mut bench = Bench::new(&[2, 3, 4]);
    bench.tell(2, tiny(WRITER, 1, 1));
    bench.drain(None);
    let (writer, nonce) = (key(WRITER).id(), [7; 16]);
    bench.tell(3, Control::Challenge { writer, nonce });
    bench.tell(4, Control::Challenge { writer, nonce });
    let outputs = bench.drain(None);
    assert_eq!(
        challenges(&outputs, 2),
        [(writer, nonce)],
        "once, although two neighbours have sent that number"
    );
    // From the parent itself it would go in a circle; of a writer that it has not read it knows
    // nothing.
    bench.tell(2, Control::Challenge { writer, nonce: [8; 16] });
    bench.tell(3, Control::Challenge { writer: key(60).id(), nonce: [9; 16] });
    let outputs = bench.drain(None);
    assert!([2, 3, 4].iter().all(|n| challenges(&outputs, *n).is_empty()));
    bench.tell(2, alive(WRITER, 1, nonce));
    let outputs = bench.drain(None);
    assert!(controls(&outputs, 3).contains(&alive(WRITER, 1, nonce)));
    assert!(!controls(&outputs, 4).contains(&alive(WRITER, 1, nonce)));
    // A challenge to itself is signed, at a limited rate.
    let me = key(1).id();
    for number in 0..1000_u128 {
        bench.tell(3, Control::Challenge { writer: me, nonce: number.to_be_bytes() });
    }
    let answers = controls(&bench.drain(None), 3);
    let signs: Vec<_> = answers
        .into_iter()
        .filter_map(|control| match control {
            Control::Alive { sign } => Some(sign),
            _ => None,
        })
        .collect();
    assert!(signs.iter().all(|sign| sign.writer == me && sign.verify(&[0; 32])));
    assert_eq!(signs.len(), 256 - 2, "of 256 a second two were for others");
}

/// Somebody has recorded a later start of a writer than the one that this node reads.
#[test]
fn a_recording_of_a_later_start_does_not_silence_the_present_one() {
    let mut bench = Bench::new(&[2, 3]);
    bench.tell(2, tiny(WRITER, 1, 1));
    assert_eq!(delivered(&bench.drain(None)), [1]);
    bench.node.set_unix_time(NOW, bench.now);
    bench.tell(3, tiny(WRITER, 9, 1));
    bench.tell(2, tiny(WRITER, 1, 2));
    let outputs: Vec<_> = bench.drain(None).into_iter().chain(bench.pass(10, &[2, 3])).collect();
    assert_eq!(delivered(&outputs), [2]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Restarted { .. })));
    // It was not a recording: the writer has begun anew, with a wrong clock.
    let (_, nonce) = challenges(&outputs, 3)[0];
    bench.tell(3, alive(WRITER, 9, nonce));
    bench.tell(3, tiny(WRITER, 9, 1));
    let outputs: Vec<_> = bench.drain(None).into_iter().chain(bench.pass(10, &[2, 3])).collect();
    assert!(outputs.iter().any(|output| matches!(output, Output::Restarted { .. })));
    assert_eq!(delivered(&outputs), [1]);
}

/// A node that reads what was written before it joined gets it from writers that have gone, too.
#[test]
fn what_is_read_from_before_a_node_joined_may_have_been_recorded() {
    let mut bench = Bench::joiner(Config { read_from: ReadFrom::Oldest, ..Config::default() });
    bench.node.set_unix_time(NOW, bench.now);
    bench.link(2, vec![mark(WRITER, 1, 3, 1, 1)]);
    bench.prove(2, &[(WRITER, 1, 3)]);
    (1..=3).for_each(|seq| bench.tell(2, tiny(WRITER, 1, seq)));
    assert_eq!(delivered(&bench.drain(None)), [1, 2, 3]);
    // But not what somebody offers later.
    bench.pass(3, &[2]);
    bench.tell(2, tiny(60, 1, 1));
    assert_eq!(delivered(&bench.drain(None)), []);
}

/// The neighbour with most writers in doubt pushes out its own.
#[test]
fn writers_in_doubt_are_limited() {
    let mut bench = bench(&[2, 3]);
    bench.tell(3, tiny(WRITER, 1, 1));
    (1000..3000).for_each(|writer| bench.tell(2, tiny(writer, 1, 1)));
    let outputs = bench.drain(None);
    let held = bench.node.held();
    // Those that had to go are gaps, and none is lost without a word.
    assert_eq!(gaps(&outputs).into_iter().sum::<u64>(), 2001 - 1024);
    let doubts = held.iter().find(|held| held.what == "writers in doubt").unwrap();
    assert_eq!((doubts.amount, doubts.limit), (1024, 1024));
    let (_, nonce) = challenges(&outputs, 3)[0];
    bench.tell(3, alive(WRITER, 1, nonce));
    bench.tell(3, tiny(WRITER, 1, 1));
    assert_eq!(delivered(&bench.drain(None)), [1]);
}

/// Every clock is wrong by another number of years, and all read all.
#[test]
fn wrong_clocks_cost_no_message() {
    for seed in 1..=4 {
        let mut world = World::new(seed);
        world.gather(24, &Config::default());
        for ix in 0..24 {
            let time = (ix as u64).wrapping_mul(0x9e37_79b9) % (100 * 31_536_000);
            world.with(ix, |node, now| node.set_unix_time(time, now));
        }
        world.run(Duration::from_secs(5));
        let words: Vec<Bytes> = (0..3).map(|word| format!("word {word}").into()).collect();
        for word in &words {
            (0..24).for_each(|ix| assert!(world.write(ix, word.clone()).is_some()));
            world.run(Duration::from_millis(200));
        }
        world.until(
            &format!("everybody has read everything, seed {seed}"),
            Duration::from_secs(20),
            |world| {
                (0..24).all(|reader| {
                    (0..24).all(|writer| reader == writer || world.has_read(reader, writer, &words))
                })
            },
        );
    }
}
