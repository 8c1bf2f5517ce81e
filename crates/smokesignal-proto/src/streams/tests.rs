//! Streams keep their order, deliver at most once, and count what they skip.

use super::*;
use crate::context::Context;
use crate::id::Keypair;
use crate::output::Entry;

const WRITER: NodeId = NodeId::from_bytes([1; 32]);

struct Bench {
    streams: Streams,
    context: Context,
}

impl Bench {
    fn new(config: Config) -> Self {
        let mut context = Context::new(Keypair::from_seed(&[9; 32]), config, 1);
        let mut streams = Streams::new(context.me.id(), 1, Instant::ZERO);
        streams.admit(&context.at(Instant::ZERO), WRITER, Position::beginning(1));
        Self { streams, context }
    }

    fn feed(&mut self, segment: Segment) -> Verdict {
        self.feed_to(1, segment)
    }

    fn feed_to(&mut self, ix: StreamIx, segment: Segment) -> Verdict {
        self.streams.accept(&mut self.context.at(Instant::ZERO), ix, &Arc::new(segment), Age::default())
    }

    /// Begins another writer's stream after segment 9, of which all up to segment 12 is held back.
    fn hold_back_another(&mut self) -> StreamIx {
        let from = Position { incarnation: 1, have: 9, next_message: None };
        let other = NodeId::from_bytes([2; 32]);
        let ix = self.streams.admit(&self.context.at(Instant::ZERO), other, from).unwrap();
        self.streams.hold_back(ix, 10, 12, Instant::ZERO);
        ix
    }

    fn deliveries(&mut self) -> Vec<String> {
        let text = |output| match output {
            Output::Deliver { seq, messages, .. } => {
                let text = |(seq, data): (u64, Bytes)| format!("{seq}:{}", String::from_utf8_lossy(&data));
                (seq..).zip(messages).map(text).collect::<Vec<_>>()
            }
            Output::Gap { missed, .. } => vec![format!("gap {missed}")],
            Output::Unknown { kind, messages, .. } => vec![format!("{messages} of kind {kind}")],
            other => panic!("{other:?}"),
        };
        self.outputs().into_iter().flat_map(text).collect()
    }

    fn outputs(&mut self) -> Vec<Output> {
        let output = |entry| match entry {
            Entry::Output(output) => output,
            Entry::Fact(fact) => panic!("{fact:?}"),
        };
        std::iter::from_fn(|| self.context.out.pop()).map(output).collect()
    }
}

fn whole(seq: u64, first_message: u64, messages: &[&str]) -> Segment {
    let mut body = Vec::new();
    for message in messages {
        body.push(message.len() as u8);
        body.extend_from_slice(message.as_bytes());
    }
    segment(seq, first_message, SegmentKind::Whole { messages: messages.len() as u32 }, body)
}

fn piece(seq: u64, message: u64, first: bool, last: bool, body: &str) -> Segment {
    segment(seq, message, SegmentKind::Fragment { first, last }, body.into())
}

fn segment(seq: u64, first_message: u64, kind: SegmentKind, body: Vec<u8>) -> Segment {
    let (message_kind, body, seal) = (MessageKind::Application, body.into(), None);
    Segment { origin: WRITER, incarnation: 1, seq, first_message, kind, message_kind, body, seal }
}

/// "Every node delivers the messages of one writer in order, each at most once".
#[test]
fn only_the_next_segment_advances_a_stream() {
    let mut bench = Bench::new(Config::default());
    assert_eq!(bench.feed(whole(2, 2, &["b"])), Verdict::Ahead);
    assert_eq!(bench.feed(whole(1, 1, &["a"])), Verdict::New);
    assert_eq!(bench.feed(whole(1, 1, &["a"])), Verdict::Duplicate);
    assert_eq!(bench.feed(whole(2, 2, &["b", "c"])), Verdict::New);
    assert_eq!(bench.deliveries(), ["1:a", "2:b", "3:c"]);
}

/// "Identical payloads are different messages".
#[test]
fn identical_payloads_are_different_messages() {
    let mut bench = Bench::new(Config::default());
    bench.feed(whole(1, 1, &["x", "x"]));
    bench.feed(whole(2, 3, &["x"]));
    assert_eq!(bench.deliveries(), ["1:x", "2:x", "3:x"]);
}

#[test]
fn fragments_become_one_message_again() {
    let mut bench = Bench::new(Config::default());
    bench.feed(piece(1, 1, true, false, "one "));
    assert_eq!(bench.outputs(), []);
    bench.feed(piece(2, 1, false, true, "message"));
    bench.feed(whole(3, 2, &["next"]));
    assert_eq!(bench.deliveries(), ["1:one message", "2:next"]);
}

/// "Whatever is skipped is reported as a Gap naming exactly the missing range".
#[test]
fn a_skip_counts_messages_not_segments() {
    let mut bench = Bench::new(Config::default());
    bench.feed(whole(1, 1, &["a"]));
    bench.streams.skip(1, 5);
    bench.feed(whole(5, 40, &["z"]));
    assert_eq!(bench.deliveries(), ["1:a", "gap 38", "40:z"]);
}

#[test]
fn a_message_whose_head_or_middle_was_skipped_is_counted_once() {
    let mut bench = Bench::new(Config::default());
    bench.feed(piece(1, 1, true, false, "lost "));
    bench.streams.skip(1, 3);
    bench.feed(piece(3, 1, false, false, "tail"));
    bench.feed(piece(4, 1, false, true, "tail"));
    bench.feed(whole(5, 2, &["whole"]));
    assert_eq!(bench.deliveries(), ["gap 1", "2:whole"]);
}

/// "A node that joins starts with what is written from then on".
#[test]
fn a_late_joiner_in_the_middle_of_a_large_message_reports_no_gap() {
    let mut bench = Bench::new(Config::default());
    let late = NodeId::from_bytes([2; 32]);
    let from = Position { incarnation: 1, have: 9, next_message: None };
    let ix = bench.streams.admit(&bench.context.at(Instant::ZERO), late, from).unwrap();
    for part in [piece(10, 7, false, false, "t"), piece(11, 7, false, true, "t"), whole(12, 8, &["mine"])] {
        bench.streams.accept(&mut bench.context.at(Instant::ZERO), ix, &Arc::new(part), Age::default());
    }
    assert_eq!(bench.deliveries(), ["8:mine"]);
}

#[test]
fn a_message_above_the_limit_is_a_gap_and_frees_its_memory() {
    let mut bench = Bench::new(Config { max_message: 6, ..Config::default() });
    bench.feed(piece(1, 1, true, false, "1234"));
    bench.feed(piece(2, 1, false, false, "5678"));
    bench.feed(piece(3, 1, false, true, "9"));
    bench.feed(whole(4, 2, &["ok"]));
    assert_eq!(bench.deliveries(), ["gap 1", "2:ok"]);
    assert_eq!(bench.streams.partial_total, 0);
}

/// "all rings 64 MiB (evict from the largest origin first)".
#[test]
fn rings_stay_within_their_limits_and_the_oldest_loses() {
    let mut bench = Bench::new(Config { ring_bytes: 1000, ring_total: 1500, ..Config::default() });
    for seq in 1..=20 {
        bench.feed(whole(seq, seq, &["0123456789"]));
    }
    let stream = bench.streams.get(1);
    assert!(stream.ring.bytes() <= 1000);
    assert_eq!(stream.mark().floor, stream.floor());
    assert!(stream.ring.get(20).is_some() && stream.ring.get(1).is_none());
    assert_eq!(bench.streams.ring_total, bench.streams.get(1).ring.bytes());
}

/// "tombstones cover idle streams".
#[test]
fn a_forgotten_stream_is_not_read_twice() {
    let mut bench = Bench::new(Config { max_streams: 2, ..Config::default() });
    bench.feed(whole(1, 1, &["a"]));
    let other = NodeId::from_bytes([2; 32]);
    let admit = |bench: &mut Bench, origin, incarnation| {
        let cx = &bench.context.at(Instant::ZERO);
        bench.streams.admit(cx, origin, Position::beginning(incarnation))
    };
    assert_eq!(admit(&mut bench, other, 1), Some(1));
    assert_eq!(bench.streams.find(&WRITER), None);
    assert_eq!(admit(&mut bench, WRITER, 0), None);
    let ix = admit(&mut bench, WRITER, 1).unwrap();
    assert!(bench.streams.get(ix).proven, "what comes again does not set it back");
    assert_eq!(bench.feed(whole(1, 1, &["a"])), Verdict::Duplicate);
    assert_eq!(bench.deliveries(), ["1:a"]);
}

/// A writer that lies about the kind in the middle of a message: what it is nobody can say.
#[test]
fn a_message_whose_fragments_are_of_two_kinds_is_a_gap() {
    let mut bench = Bench::new(Config::default());
    bench.feed(piece(1, 1, true, false, "12345678 who"));
    bench.feed(Segment { message_kind: MessageKind::Query, ..piece(2, 1, false, true, " is there?") });
    bench.feed(whole(3, 2, &["next"]));
    assert_eq!(bench.deliveries(), ["gap 1", "2:next"]);
}

/// The gap is that of the writer whose message is dropped. The backlog that is held back meanwhile,
/// in which gaps do not count, is another writer's.
#[test]
fn a_half_message_that_makes_way_for_a_held_back_writer_is_a_gap_of_its_own_writer() {
    let mut bench = Bench::new(Config { partial_total: 10, ..Config::default() });
    bench.feed(piece(1, 1, true, false, "half "));
    let other = bench.hold_back_another();
    bench.feed_to(other, piece(10, 7, true, false, "123456"));
    assert_eq!(bench.outputs(), [Output::Gap { from: WRITER, missed: 1 }]);
    bench.feed(piece(2, 1, false, true, "rest"));
    bench.feed_to(other, piece(11, 7, false, true, "789"));
    assert_eq!(bench.outputs(), [], "what is lost is counted once, and the backlog is held back");
    bench.feed(whole(3, 2, &["next"]));
    bench.feed_to(other, whole(12, 8, &["now"]));
    assert_eq!(bench.deliveries(), ["2:next", "7:123456789", "8:now"]);
}

/// After `ring_age` no node retains the rest.
#[test]
fn a_half_message_whose_rest_never_comes_is_a_gap_while_another_writer_is_held_back() {
    let mut bench = Bench::new(Config { ring_age: Duration::from_secs(1), ..Config::default() });
    bench.feed(piece(1, 1, true, false, "half "));
    let other = bench.hold_back_another();
    bench.feed_to(other, whole(10, 7, &["held back"]));
    let at = |millis: u64| Instant::from_micros(millis * 1000);
    bench.streams.expire(&mut bench.context.at(at(1000)), &[]);
    assert_eq!(bench.outputs(), [], "it may still come");
    bench.streams.expire(&mut bench.context.at(at(1001)), &[]);
    assert_eq!(bench.outputs(), [Output::Gap { from: WRITER, missed: 1 }]);
    assert_eq!(bench.streams.partial_total, 0);
    bench.streams.expire(&mut bench.context.at(at(2000)), &[]);
    assert_eq!(bench.deliveries(), ["7:held back"], "that writer's time is over, too");
    bench.feed(whole(2, 2, &["next"]));
    assert_eq!(bench.deliveries(), ["2:next"]);
}

fn of_kind(number: u8, segment: Segment) -> Segment {
    Segment { message_kind: MessageKind::Other(number), ..segment }
}

/// The segments are retained and their messages counted like those of all kinds.
#[test]
fn messages_of_an_unknown_kind_are_neither_read_nor_a_gap() {
    let mut bench = Bench::new(Config::default());
    for segment in [
        whole(1, 1, &["one"]),
        of_kind(9, whole(2, 2, &["x", "y"])),
        whole(3, 4, &["four"]),
        of_kind(15, piece(4, 5, true, false, "a large ")),
        of_kind(15, piece(5, 5, false, false, "message ")),
        of_kind(15, piece(6, 5, false, true, "of a later version")),
        whole(7, 6, &["six"]),
        of_kind(12, piece(8, 7, true, true, "whole")),
        // Its writer has ended in the middle of a large one.
        of_kind(12, piece(9, 8, true, false, "half")),
        whole(10, 9, &["nine"]),
    ] {
        assert_eq!(bench.feed(segment), Verdict::New);
    }
    let told =
        ["1:one", "2 of kind 9", "4:four", "1 of kind 15", "6:six", "1 of kind 12", "1 of kind 12", "9:nine"];
    assert_eq!(bench.deliveries(), told);
    let stream = bench.streams.get(1);
    assert_eq!((stream.have, stream.floor(), stream.mark().next_message), (10, 1, 10));
    assert_eq!(bench.streams.partial_total, 0, "nothing of them is put together");
}

#[test]
fn what_is_lost_before_or_within_an_unknown_kind_is_a_gap_all_the_same() {
    let mut bench = Bench::new(Config::default());
    bench.feed(whole(1, 1, &["one"]));
    bench.feed(of_kind(9, whole(2, 4, &["x"])));
    assert_eq!(bench.deliveries(), ["1:one", "gap 2", "1 of kind 9"]);
    // The beginning of message 5 was skipped.
    bench.feed(of_kind(9, piece(3, 5, false, true, "the end")));
    bench.feed(whole(4, 6, &["six"]));
    assert_eq!(bench.deliveries(), ["gap 1", "6:six"]);
    // A large message is of one kind from end to end.
    bench.feed(piece(5, 7, true, false, "known, "));
    bench.feed(of_kind(9, piece(6, 7, false, true, "and unknown")));
    bench.feed(whole(7, 8, &["eight"]));
    assert_eq!(bench.deliveries(), ["gap 1", "8:eight"]);
    // A message that was read before is not counted again.
    bench.feed(of_kind(9, whole(8, 8, &["x", "y"])));
    assert_eq!(bench.deliveries(), ["1 of kind 9"]);
}
