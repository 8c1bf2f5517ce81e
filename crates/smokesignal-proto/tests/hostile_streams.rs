//! One node and hand-made neighbours: lies and awkward moments about streams, their segments, marks
//! and incarnations. Each was a fault once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod bench;

use std::sync::Arc;

use bench::{Bench, breaks_a_rule, closed, key, mark, proof, segment, tiny};
use bytes::Bytes;
use smokesignal_proto::*;

/// Not a storm of grafts: a joiner asks for a few streams at a time.
#[test]
fn a_digest_of_thousands_of_streams_is_asked_for_in_portions() {
    let mut bench = Bench::new(&[2]);
    for chunk in 0..10 {
        bench.marks(2, (0..256).map(|n| mark(1000 + chunk * 256 + n, 1, 1, 1, 1)).collect());
    }
    let outputs = bench.pass(2, &[2]);
    assert!(!closed(&outputs));
    let asks = |output: &Output| match output {
        Output::Send { message: Message::Control(control), .. } => match &**control {
            Control::Graft { asks } => asks.len(),
            _ => 0,
        },
        _ => 0,
    };
    assert!(outputs.iter().map(asks).sum::<usize>() >= 150);
    assert!(outputs.iter().map(asks).max() <= Some(64));
}

/// Trap 7: "never let claims move `have`", here that of the own stream.
#[test]
fn no_neighbour_moves_a_node_in_its_own_stream() {
    let mut bench = Bench::new(&[2]);
    bench.node.broadcast("a".into(), bench.now).unwrap();
    assert_eq!(data(&bench.drain(None), 2), [(1, 1)]);
    bench.marks(2, vec![mark(1, 9, 0, 1, 1), mark(1, 1, (1 << 62) - 1, (1 << 62) - 1, 5)]);
    let outputs = bench.pass(12, &[2]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Gap { .. })));
    bench.node.broadcast("b".into(), bench.now).unwrap();
    assert_eq!(data(&bench.drain(None), 2), [(1, 2)]);
}

#[test]
fn numbers_at_the_end_of_the_range_are_not_believed() {
    let mut bench = Bench::new(&[2]);
    let top = u64::MAX;
    for lie in
        [mark(50, 1, 10, 5, top), mark(50, top, 10, 5, 1), mark(50, 1, top, 5, 1), mark(50, 1, 10, 0, 1)]
    {
        bench.marks(2, vec![lie]);
        bench.pass(3, &[2]);
    }
    bench.tell(2, tiny(50, 1, 1));
    let delivered = |output: &Output| matches!(output, Output::Deliver { seq: 1, .. });
    assert!(bench.drain(None).iter().any(delivered), "the writer is read as if nothing had been said");
    for from in [0, 1, top] {
        bench.tell(
            2,
            Control::Graft { asks: vec![Ask { origin: key(50).id(), incarnation: 1, from, or_later: true }] },
        );
        bench.drain(None);
    }
}

/// Many small segments count for more than their bodies.
#[test]
fn catching_up_on_tiny_segments_stays_within_the_window() {
    let mut bench = Bench::new(&[2]);
    (1..=9000).for_each(|seq| bench.tell(2, tiny(50, 1, seq)));
    bench.drain(None);
    bench.link(3, Vec::new());
    bench.tell(
        3,
        Control::Graft { asks: vec![Ask { origin: key(50).id(), incarnation: 1, from: 1, or_later: false }] },
    );
    let outputs = bench.drain(Some(3));
    let cost = |output: &Output| match output {
        Output::Send { link: LinkId(3), message } => message.cost(),
        _ => 0,
    };
    let unsent: usize = outputs.iter().map(cost).sum();
    assert!(unsent < 2 * Config::default().link_window, "{unsent}");
    bench.tell(3, Control::Ping { degree: 1, child: None, subtree: 0, seeds: Vec::new() });
    assert!(!closed(&bench.drain(Some(3))));
}

/// "missed" counts messages, also where many shared a segment that is no longer retained.
#[test]
fn an_expired_segment_is_remembered_by_its_messages() {
    let mut bench = Bench::new(&[2]);
    for seq in 1..=3 {
        assert_eq!(bench.node.broadcast("a".into(), bench.now), Ok(seq));
    }
    bench.drain(None);
    bench.pass(65, &[2]);
    bench.link(3, Vec::new());
    let digest = bench.drain(None).into_iter().find_map(|output| match output {
        Output::Send { link: LinkId(3), message: Message::Control(c) } => match *c {
            Control::Digest { marks, .. } => marks.first().copied(),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(digest, Some(Mark { next_message: 4, ..mark(1, 1, 1, 2, 4) }));
}

/// It is sent a message and answers nothing, neither that it reads it nor that it gets it from
/// somebody else, and it lives.
#[test]
fn a_neighbour_that_never_answers_holds_up_a_writer_that_waits_for_all_for_ten_seconds() {
    let mut bench = Bench::with(Config { pace: Pace::All, ..Config::default() });
    let confirmation = Confirmation {
        writer: key(1).id().prefix(),
        incarnation: 1,
        position: 1,
        half: 1,
        lowest: 1,
        nodes: 1,
        behind: 0,
        gaps: 0,
        missed: 0,
        room: 1024,
        slowest: 3,
    };
    for n in [2, 3] {
        bench.link_to(n, OtherEnd { id: key(n).id(), features: Features::CONFIRM }, Vec::new());
    }
    bench.pass(1, &[2, 3]);
    bench.node.broadcast("message".into(), bench.now).unwrap();
    bench.drain(None);
    bench.tell(3, Control::Confirm { reports: vec![confirmation] });
    bench.pass(8, &[2, 3]);
    assert_eq!(bench.node.confirmed(bench.now).message, 0, "it may yet answer");
    bench.pass(4, &[2, 3]);
    let confirmed = bench.node.confirmed(bench.now);
    assert_eq!((confirmed.message, confirmed.nodes), (1, 1));
}

/// "Nothing of an old incarnation may follow the first of a new one", and nothing of it is dropped
/// silently.
#[test]
fn a_restarted_writer_waits_until_slow_neighbours_have_its_former_words() {
    let mut bench = Bench::new(&[2, 3]);
    let whole = SegmentKind::Fragment { first: true, last: true };
    (1..=50).for_each(|seq| bench.tell(2, segment(50, 1, seq, whole, vec![0; 60_000].into())));
    let before = data(&bench.drain(Some(3)), 3);
    assert!(before.len() < 50, "neighbour 3 is slow");
    bench.tell(2, tiny(50, 2, 1));
    let mut after = before;
    for _ in 0..100 {
        bench.node.handle_sent(LinkId(3), 1 << 20, bench.now);
        after.extend(data(&bench.drain(Some(3)), 3));
    }
    assert_eq!(after, (1..=50).map(|seq| (1, seq)).collect::<Vec<_>>());
    bench.pass(2, &[2, 3]);
    bench.tell(2, tiny(50, 2, 1));
    assert_eq!(data(&bench.drain(None), 3), [(2, 1)]);
}

/// "`have` never advances on an unverified segment."
#[test]
fn a_forged_segment_ends_the_link_it_came_over_and_nothing_else() {
    let mut bench = Bench::new(&[2, 3]);
    let Message::Data(honest, age) = tiny(50, 1, 1) else { unreachable!() };
    let forged = Segment { body: Bytes::from_static(b"\x01b"), ..(*honest).clone() };
    let unsigned = Segment { seal: None, ..(*honest).clone() };
    for (n, lie) in [(2, forged), (3, unsigned)] {
        bench.tell(n, Message::Data(Arc::new(lie), age));
        let outputs = bench.drain(None);
        assert!(outputs.iter().any(breaks_a_rule));
        assert!(!outputs.iter().any(|output| matches!(output, Output::Deliver { .. })));
    }
    bench.link_and_drain(4);
    bench.tell(4, Message::Data(honest, age));
    assert!(bench.drain(None).iter().any(|output| matches!(output, Output::Deliver { seq: 1, .. })));
}

/// Trap 7, "never let claims move `have`": a false mark costs nobody a message, and no false gap is
/// reported.
#[test]
fn a_false_mark_makes_no_stream_skip() {
    let mut bench = Bench::new(&[2, 3]);
    bench.tell(2, tiny(50, 1, 1));
    bench.drain(None);
    bench.marks(3, vec![mark(50, 1, 1000, 500, 500), mark(50, 9, 10, 1, 1)]);
    let outputs = bench.pass(30, &[2, 3]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Gap { .. })));
    bench.tell(2, tiny(50, 1, 2));
    assert!(bench.drain(None).iter().any(|output| matches!(output, Output::Deliver { seq: 2, .. })));
}

/// "What nobody retains becomes one gap", once the first segment after it is there.
#[test]
fn a_range_that_nobody_retains_is_skipped_when_what_follows_arrives() {
    let mut bench = Bench::new(&[2, 3, 4]);
    bench.tell(2, tiny(50, 1, 1));
    bench.marks(3, vec![mark(50, 1, 9, 5, 5)]);
    bench.drain(None);
    let outputs = bench.pass(3, &[2, 3, 4]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Gap { .. })));
    (5..10).for_each(|seq| bench.tell(3, tiny(50, 1, seq)));
    let told = |output: &Output| match output {
        Output::Gap { missed, .. } => Some(-(*missed as i64)),
        Output::Deliver { seq, .. } => Some(*seq as i64),
        _ => None,
    };
    let told: Vec<_> = bench.drain(None).iter().filter_map(told).collect();
    assert_eq!(told, [-3, 5, 6, 7, 8, 9]);
}

/// A mark is a claim: an incarnation that does not exist must not make the real one the older one.
#[test]
fn a_claimed_incarnation_silences_no_writer() {
    let mut bench = Bench::new(&[2, 3]);
    bench.marks(2, vec![mark(9, (1 << 62) - 1, 1, 1, 1)]);
    (1..=5).for_each(|seq| bench.tell(3, tiny(9, 5, seq)));
    assert_eq!(told(&bench.drain(None)), messages(1..=5));
}

/// Nor must one of our own make us choose numbers that nobody accepts, or that leave none for the
/// next start: it has to be proven, and the first message waits for that, but not for long.
#[test]
fn a_claimed_incarnation_of_our_own_is_believed_only_with_a_proof() {
    // It also looks for another process with its key, for half a second at most.
    let claimed = |incarnation| {
        let mut bench = Bench::new(&[2, 3]);
        bench.marks(2, vec![mark(1, incarnation, 1, 1, 1)]);
        bench.node.broadcast(Bytes::from_static(b"x"), bench.now).unwrap();
        let outputs = bench.drain(None);
        assert_eq!(data(&outputs, 3), []);
        assert_eq!(asked_to_prove(&outputs, 2), [key(1).id()]);
        bench
    };
    let top = (1 << 62) - 1;
    for incarnation in [2, 500, 1 << 61, top] {
        let mut bench = claimed(incarnation);
        bench.prove(2, &[]);
        assert_eq!(data(&bench.pass(1, &[2, 3]), 3), [(1, 1)], "it cannot prove it");
        let mut bench = claimed(incarnation);
        assert_eq!(data(&bench.pass(3, &[2, 3]), 3), [(1, 1)], "it does not answer");
        let mut bench = claimed(incarnation);
        bench.node.handle_disconnected(LinkId(2), bench.now);
        assert_eq!(data(&bench.pass(1, &[3]), 3), [(1, 1)], "it has gone");
    }
    let mut bench = claimed(1 << 61);
    bench.prove(2, &[(1, 500, 7)]);
    assert_eq!(data(&bench.pass(1, &[2, 3]), 3), [(501, 1)], "what is proven counts, not what is claimed");
    let mut bench = claimed(top);
    bench.prove(2, &[(1, top, 7)]);
    assert_eq!(data(&bench.pass(1, &[2, 3]), 3), [(1, 1)], "there is none after it");
    let mut bench = claimed(500);
    bench.prove(2, &[(9, 500, 7)]);
    assert_eq!(data(&bench.pass(1, &[2, 3]), 3), [(1, 1)], "another writer's");
}

/// A joiner that believed a position would never read the writer again, and would pass the lie on.
#[test]
fn a_position_that_nobody_can_prove_makes_no_joiner_deaf_and_is_told_to_nobody() {
    for have in [60, 1 << 40, 1 << 61] {
        let mut bench = Bench::joiner(Config::default());
        bench.connect(4);
        bench.tell(4, Control::Digest { marks: Vec::new(), end: Some(DigestEnd { settled: false }) });
        bench.link(2, vec![mark(50, 1, have, have + 1, 1)]);
        bench.link(3, vec![mark(50, 1, 50, 51, 1)]);
        let outputs = bench.drain(None);
        assert_eq!(asked_to_prove(&outputs, 2), [key(50).id()]);
        for n in [2, 3, 4] {
            assert_eq!(named(&outputs, n), [(vec![1], Some(false))], "have {have}: to neighbour {n}");
        }
        bench.prove(2, &[]);
        let outputs = bench.drain(None);
        assert_eq!(asked_to_prove(&outputs, 3), [key(50).id()], "another neighbour is asked");
        bench.prove(3, &[(50, 1, 50)]);
        let outputs = bench.drain(None);
        for (n, expected) in [(2, vec![]), (3, vec![]), (4, vec![(50, 50)])] {
            assert_eq!(positions(&outputs, n), expected, "have {have}: to neighbour {n}");
            let writers = expected.iter().map(|(writer, _)| *writer).collect();
            assert_eq!(named(&outputs, n), [(writers, Some(true))]);
        }
        bench.tell(3, tiny(50, 1, 51));
        assert_eq!(told(&bench.drain(None)), messages(51..=51));
    }
}

/// The smallest claim decides: what comes after it is read.
#[test]
fn a_joiner_begins_at_the_smallest_of_several_claims() {
    for order in [[(2, 60), (3, 50)], [(3, 50), (2, 60)]] {
        let mut bench = Bench::joiner(Config::default());
        for (n, have) in order {
            bench.connect(n);
            bench.marks(n, vec![mark(50, 1, have, 41, 41)]);
        }
        bench.drain(None);
        bench.prove(order[0].0, &[(50, 1, 60)]);
        for n in [2, 3] {
            bench.tell(n, Control::Digest { marks: Vec::new(), end: Some(DigestEnd { settled: true }) });
        }
        bench.drain(None);
        (51..=61).for_each(|seq| bench.tell(2, tiny(50, 1, seq)));
        assert_eq!(told(&bench.drain(None)), messages(51..=61));
    }
}

/// Names of writers cost nothing: they give way, and are passed on to nobody.
#[test]
fn writers_that_do_not_exist_take_few_places_and_none_for_long() {
    let mut bench = Bench::new(&[2, 3]);
    (1..=3).for_each(|seq| bench.tell(3, tiny(9, 1, seq)));
    let invented = |n: u32| {
        let mut bytes = [0xee; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Mark { origin: NodeId::from_bytes(bytes), ..mark(0, 1, 5, 1, 1) }
    };
    for digest in 0..80 {
        bench.marks(2, (0..256).map(|n| invented(digest * 256 + n)).collect());
        bench.drain(None);
    }
    let held = |bench: &Bench, what: &str| {
        bench.node.held().iter().find(|held| held.what == what).map(|held| held.amount).unwrap()
    };
    assert_eq!(held(&bench, "claims"), 4096);
    assert!(held(&bench, "streams") <= 4096 + 2);
    bench.marks(3, vec![mark(70, 1, 5, 1, 1)]);
    assert!(bench.node.stream_of(&key(70).id()).is_some(), "another neighbour's claim has a place");
    let outputs = bench.pass(32, &[2, 3]);
    assert_eq!(held(&bench, "claims"), 0);
    assert!(named(&outputs, 3).is_empty());
    bench.link(4, Vec::new());
    let named = named(&bench.drain(None), 4);
    assert_eq!(named, [(vec![1, 9], Some(true))]);
}

/// A node can prove what it has read, also when it retains nothing of it any more; and nobody can
/// make it prove more than its limit.
#[test]
fn proofs_are_given_of_all_that_was_read_and_at_a_limited_rate() {
    let mut bench = Bench::new(&[2, 3]);
    (1..=3).for_each(|seq| bench.tell(3, tiny(9, 1, seq)));
    bench.drain(None);
    for _ in 0..2 {
        bench.tell(2, Control::Prove { writers: vec![key(8).id(), key(9).id(), key(1).id()] });
        let proven = proofs(&bench.drain(None), 2);
        assert_eq!(proven, [vec![proof(9, 1, 3)]]);
        bench.pass(90, &[2, 3]);
        assert_eq!(bench.node.bytes_retained(), 0);
    }
    let mut given = 0;
    for _ in 0..300 {
        bench.tell(2, Control::Prove { writers: vec![key(9).id(); MAX_PROOFS] });
        given += proofs(&bench.drain(None), 2).concat().len();
    }
    assert_eq!(given, 16 * 1024);
}

/// Proofs that were not asked for, or do not hold, prove nothing; the latter end the link.
#[test]
fn a_forged_proof_ends_the_link_and_one_that_nobody_asked_for_changes_nothing() {
    let mut bench = Bench::joiner(Config::default());
    bench.link(2, vec![mark(50, 1, 60, 61, 1)]);
    bench.drain(None);
    bench.prove(2, &[(51, 1, 7)]);
    bench.drain(None);
    assert_eq!(bench.node.stream_of(&key(51).id()), None);
    let mut bench = Bench::joiner(Config::default());
    bench.link(3, vec![mark(52, 1, 60, 61, 1)]);
    bench.drain(None);
    let Message::Data(mut forged, _) = tiny(52, 1, 60) else { unreachable!() };
    Arc::make_mut(&mut forged).seq = 61;
    bench.tell(3, Control::Proofs { proofs: vec![SegmentProof::of(&forged).unwrap()] });
    assert!(bench.drain(None).iter().any(breaks_a_rule));
    assert!(bench.node.stream_of(&key(52).id()).is_none_or(|stream| !stream.proven));
}

/// How the messages are numbered only their writer can say.
#[test]
fn a_joiner_reads_the_backlog_whatever_a_mark_says_about_its_numbers() {
    for start in [ReadFrom::Oldest, ReadFrom::Last(20)] {
        let mut bench = Bench::joiner(Config { read_from: start, ..Config::default() });
        bench.link(2, vec![Mark { next_message: 1 << 61, ..mark(9, 1, 5, 1, 1 << 61) }]);
        bench.link(3, vec![mark(9, 1, 5, 1, 1)]);
        bench.drain(None);
        (1..=20).for_each(|seq| bench.tell(3, tiny(9, 1, seq)));
        let mut outputs = bench.drain(None);
        outputs.extend(bench.pass(5, &[2, 3]));
        assert_eq!(told(&outputs), messages(1..=20), "{start:?}");
    }
}

/// Its neighbour has much more than it sends; then it sends everything.
#[test]
fn a_node_that_falls_behind_reports_it_once_and_that_it_has_caught_up() {
    let mut bench = Bench::new(&[2]);
    (1..=5).for_each(|seq| bench.tell(2, tiny(9, 1, seq)));
    let mut outputs = bench.drain(None);
    for seq in 6..=9 {
        bench.marks(2, vec![Mark { next_message: 106, ..mark(9, 1, 105, 1, 1) }]);
        outputs.extend(bench.pass(1, &[2]));
        bench.tell(2, tiny(9, 1, seq));
    }
    let lag = bench.node.stream_of(&key(9).id()).unwrap().lag.unwrap();
    assert_eq!((lag.since, lag.messages), (Instant::ZERO, 96));
    (10..=105).for_each(|seq| bench.tell(2, tiny(9, 1, seq)));
    outputs.extend(bench.pass(1, &[2]));
    let from = key(9).id();
    outputs.retain(|output| matches!(output, Output::Lagging { .. } | Output::CaughtUp { .. }));
    let [Output::Lagging { from: slow, messages: 100, bytes }, Output::CaughtUp { from: ready }] =
        outputs[..]
    else {
        panic!("{outputs:?}");
    };
    assert!(slow == from && ready == from && bytes > 0, "{outputs:?}");
    assert_eq!(bench.node.stream_of(&from).unwrap().lag, None);
}

/// Its only neighbour gets the stream from another node, and is not as far when it is asked first.
#[test]
fn a_writer_without_any_child_asks_its_neighbours_until_they_have_read() {
    let mut bench = Bench::new(&[]);
    let peer = OtherEnd { id: key(2).id(), features: Features::CONFIRM };
    bench.link_to(2, peer, Vec::new());
    bench.drain(None);
    let (me, incarnation) = (key(1).id(), 1);
    bench.node.broadcast("the first".into(), bench.now).unwrap();
    bench.drain(None);
    bench.tell(2, Control::Prune { origin: me, incarnation });
    while bench.node.can_write(100_000) {
        bench.node.broadcast(vec![0; 100_000].into(), bench.now).unwrap();
        bench.drain(None);
    }
    let digests = |outputs: &[Output]| {
        let is_digest = |output: &&Output| {
            matches!(output, Output::Send { message: Message::Control(control), .. }
                if matches!(&**control, Control::Digest { end: None, marks } if marks[0].origin == me))
        };
        outputs.iter().filter(is_digest).count()
    };
    for second in 0..3 {
        let count = digests(&bench.pass(1, &[2]));
        assert!((1..=10).contains(&count), "{count} digests in second {second}");
    }
    let have = |bench: &Bench| bench.node.stream_of(&me).unwrap().have;
    let position = have(&bench);
    let (half, lowest, writer) = (position, position, me.prefix());
    let (nodes, behind, gaps, missed, room, slowest) = (1, 0, 0, 0, 1024, 0);
    let report = Confirmation {
        writer,
        incarnation,
        position,
        half,
        lowest,
        nodes,
        behind,
        gaps,
        missed,
        room,
        slowest,
    };
    bench.tell(2, Control::Confirm { reports: vec![report] });
    bench.drain(None);
    assert!(have(&bench) > position, "the writer goes on");
}

/// A report goes out as soon as a segment is here, and neighbour 3, which reports nothing, is sent
/// the segment only then.
#[test]
fn what_a_neighbour_that_reports_nothing_is_sent_is_reported_after_it() {
    let mut bench = Bench::new(&[3]);
    bench.link_to(2, OtherEnd { id: key(2).id(), features: Features::CONFIRM }, Vec::new());
    for seq in 1..=3 {
        bench.part(2, 9, seq, false);
        bench.drain(None);
        assert_eq!(last_report(&bench.pass(2, &[2, 3])), Some((seq, 2)));
    }
    let (origin, incarnation) = (key(9).id(), 1);
    bench.tell(3, Control::Prune { origin, incarnation });
    assert_eq!(last_report(&bench.pass(2, &[2, 3])), Some((3, 1)), "it gets the stream elsewhere");
    let asks = vec![Ask { origin, incarnation, from: 4, or_later: false }];
    bench.tell(3, Control::Graft { asks });
    bench.part(2, 9, 4, false);
    bench.drain(None);
    assert_eq!(last_report(&bench.pass(2, &[2, 3])), Some((4, 2)));
    bench.node.handle_disconnected(LinkId(3), bench.now);
    assert_eq!(last_report(&bench.pass(2, &[2])), Some((4, 1)), "it is gone");
}

/// It has asked for what is not retained here, and asks another node once it has the digest.
#[test]
fn a_neighbour_that_reports_nothing_and_was_sent_a_digest_holds_no_position() {
    let mut bench = Bench::new(&[3]);
    bench.link_to(2, OtherEnd { id: key(2).id(), features: Features::CONFIRM }, Vec::new());
    let (origin, incarnation) = (key(9).id(), 1);
    bench.part(2, 9, 1, false);
    bench.tell(3, Control::Prune { origin, incarnation });
    bench.part(2, 9, 2, false);
    assert_eq!(last_report(&bench.pass(130, &[2, 3])), Some((2, 1)));
    let asks = vec![Ask { origin, incarnation, from: 1, or_later: false }];
    bench.tell(3, Control::Graft { asks });
    let outputs = bench.pass(2, &[2, 3]);
    assert!(outputs.iter().any(|output| matches!(
        output,
        Output::Send { link: LinkId(3), message: Message::Control(control) }
            if matches!(**control, Control::Digest { .. })
    )));
    assert_eq!(last_report(&outputs), Some((2, 1)), "it gets the stream elsewhere");
    bench.part(2, 9, 3, false);
    assert_eq!(last_report(&bench.pass(2, &[2, 3])), Some((3, 1)));
}

/// Neighbour 3 has requested the stream here, and got it from another node first: it is not sent
/// what it has, and reports to the other one. It says how far it is by a digest, or by a segment.
#[test]
fn what_a_child_that_never_reports_says_of_itself_is_reported() {
    let mut bench = Bench::new(&[]);
    for n in [2, 3] {
        bench.link_to(n, OtherEnd { id: key(n).id(), features: Features::CONFIRM }, Vec::new());
    }
    bench.part(2, 9, 1, false);
    bench.drain(None);
    let asks = vec![Ask { origin: key(9).id(), incarnation: 1, from: 2, or_later: false }];
    bench.tell(3, Control::Graft { asks });
    bench.part(2, 9, 2, false);
    bench.drain(None);
    assert_eq!(last_report(&bench.pass(2, &[2, 3])), Some((1, 2)));
    bench.marks(3, vec![mark(9, 1, 2, 1, 1)]);
    assert_eq!(last_report(&bench.pass(2, &[2, 3])), Some((2, 2)));
    bench.part(2, 9, 3, false);
    bench.drain(None);
    assert_eq!(last_report(&bench.pass(2, &[2, 3])), None);
    bench.part(3, 9, 3, false);
    assert_eq!(last_report(&bench.pass(2, &[2, 3])), Some((3, 2)));
}

/// Returns the position and the number of nodes in the last report.
fn last_report(outputs: &[Output]) -> Option<(u64, u32)> {
    let report = |output: &Output| match output {
        Output::Send { message: Message::Control(control), .. } => match &**control {
            Control::Confirm { reports } => reports.last().map(|last| (last.position, last.nodes)),
            _ => None,
        },
        _ => None,
    };
    outputs.iter().rev().find_map(report)
}

/// A keeper that was asked to skip may not go beyond what others retain.
#[test]
fn a_skip_leaves_out_no_more_than_it_must() {
    let mut bench = Bench::new(&[2, 3]);
    (1..=10).for_each(|seq| bench.tell(3, tiny(9, 1, seq)));
    bench.drain(None);
    bench.marks(3, vec![mark(9, 1, 999, 15, 15)]);
    bench.marks(2, vec![mark(9, 1, 1000, 12, 12)]);
    for _ in 0..130 {
        bench.now = bench.now + std::time::Duration::from_millis(100);
        bench.node.handle_timeout(bench.now);
        if was_asked_to_skip(&bench.drain(None), 2) {
            bench.tell(2, tiny(9, 1, 999));
            assert_eq!(told(&bench.drain(None)), [""; 0]);
            return;
        }
        for n in [2, 3] {
            bench.tell(n, Control::Ping { degree: 4, child: None, subtree: 0, seeds: Vec::new() });
        }
    }
    panic!("neighbour 2 was never asked");
}

/// Writers that begin large messages and never end them take no room from those who do.
#[test]
fn unfinished_messages_make_way_for_others() {
    let mut bench = Bench::new(&[2, 3]);
    for writer in 20..36 {
        (1..=256).for_each(|seq| bench.part(2, writer, seq, false));
        bench.drain(None);
    }
    (1..=3).for_each(|seq| bench.part(3, 9, seq, seq == 3));
    assert_eq!(told(&bench.drain(None)), ["gap1", "m1"], "one of the unfinished is dropped");
}

/// A claim is not a count of messages.
#[test]
fn a_gap_at_a_restart_is_not_as_large_as_somebody_claims() {
    let mut bench = Bench::new(&[2, 3]);
    (1..=5).for_each(|seq| bench.tell(3, tiny(9, 1, seq)));
    bench.drain(None);
    bench.marks(2, vec![mark(9, 1, (1 << 62) - 1, 1, 1)]);
    bench.tell(3, tiny(9, 2, 1));
    let mut outputs = Vec::new();
    for _ in 0..12 {
        outputs.extend(bench.pass(1, &[2, 3]));
        bench.tell(3, tiny(9, 2, 1));
    }
    outputs.extend(bench.drain(None));
    let missed = |output: &Output| match output {
        Output::Gap { missed, .. } => *missed,
        _ => 0,
    };
    assert!(outputs.iter().map(missed).sum::<u64>() <= 1024, "{:?}", told(&outputs));
}

/// Proofs show how much there was of an incarnation that is over.
#[test]
fn a_gap_at_a_restart_counts_what_is_proven_and_not_what_is_claimed() {
    let cases = [
        (vec![(9, 2, 1), (9, 1, 5)], vec!["m1"]),
        (vec![(9, 2, 1), (9, 1, 8)], vec!["gap3", "m1"]),
        // A claim may be true although nobody has proven it: it is a gap of about its size.
        (vec![(9, 2, 1)], vec!["gap3", "m1"]),
    ];
    for (proven, expected) in cases {
        let mut bench = Bench::new(&[2, 3]);
        (1..=5).for_each(|seq| bench.tell(3, tiny(9, 1, seq)));
        // The neighbour retains no segment.
        bench.marks(2, vec![mark(9, 1, 8, 9, 9)]);
        bench.drain(None);
        bench.tell(3, tiny(9, 2, 1));
        assert_eq!(asked_to_prove(&bench.drain(None), 2), [key(9).id()]);
        bench.prove(2, &proven);
        let mut outputs = Vec::new();
        for _ in 0..12 {
            bench.tell(3, tiny(9, 2, 1));
            outputs.extend(bench.pass(1, &[2, 3]));
        }
        assert_eq!(told(&outputs), expected, "{proven:?}");
        // It can prove both to others.
        bench.tell(3, Control::Prove { writers: vec![key(9).id()] });
        assert_eq!(proofs(&bench.drain(None), 3), [[proof(9, 2, 1), proof(9, 1, 5)]]);
    }
}

/// It may have only neighbours at first that bring nothing.
#[test]
fn a_joiner_counts_what_it_misses_after_a_position_that_was_proven() {
    let mut bench = Bench::joiner(Config::default());
    bench.link(2, vec![mark(50, 1, 1 << 61, (1 << 61) + 1, 1)]);
    assert_eq!(asked_to_prove(&bench.drain(None), 2), [key(50).id()]);
    bench.prove(2, &[(50, 1, 5)]);
    bench.drain(None);
    bench.link(3, vec![mark(50, 1, 9, 9, 9)]);
    let mut outputs = Vec::new();
    for _ in 0..15 {
        bench.tell(3, tiny(50, 1, 9));
        outputs.extend(bench.pass(1, &[2, 3]));
    }
    assert_eq!(told(&outputs), ["gap3", "m9"]);
}

/// A neighbour that claims much and gives little does not stay a stream's source while another is
/// really ahead.
#[test]
fn a_source_that_only_drips_is_replaced_by_one_that_delivers() {
    let mut bench = Bench::new(&[2, 3]);
    (1..=10).for_each(|seq| bench.tell(2, tiny(9, 1, seq)));
    bench.drain(None);
    bench.marks(2, vec![mark(9, 1, 1 << 61, 1, 1)]);
    let (mut next, mut head, mut asked) = (11, 10, 0);
    for _ in 0..100 {
        bench.now = bench.now + std::time::Duration::from_millis(100);
        head += 100;
        bench.marks(3, vec![mark(9, 1, head, 1, 1)]);
        bench.node.handle_timeout(bench.now);
        for output in bench.drain(None) {
            match output {
                Output::Deliver { seq, .. } => next = seq + 1,
                Output::Send { link: LinkId(3), message: Message::Control(control) } => {
                    asked += usize::from(matches!(*control, Control::Graft { .. }));
                }
                _ => {}
            }
        }
        bench.tell(2, tiny(9, 1, next));
        for n in [2, 3] {
            bench.tell(n, Control::Ping { degree: 4, child: None, subtree: 0, seeds: Vec::new() });
        }
    }
    assert!(asked > 0);
}

/// Nobody is blamed for ever for having been busy.
#[test]
fn a_neighbour_that_was_slow_is_asked_again() {
    let mut bench = Bench::new(&[2, 3]);
    (1..=10).for_each(|seq| bench.tell(3, tiny(9, 1, seq)));
    bench.drain(None);
    bench.marks(3, vec![mark(9, 1, 20, 1, 1)]);
    bench.pass(5, &[2, 3]);
    let grafts = |output: &Output| matches!(output, Output::Send { link: LinkId(3), message: Message::Control(c) } if matches!(**c, Control::Graft { .. }));
    assert!(bench.pass(15, &[2, 3]).iter().any(grafts));
}

/// A first digest of many parts may take longer than a joiner waits otherwise.
#[test]
fn a_joiner_is_not_settled_in_the_middle_of_a_digest() {
    let mut bench = Bench::joiner(Config::default());
    bench.connect(2);
    bench.marks(2, vec![mark(8, 1, 500, 400, 400)]);
    bench.pass(2, &[2]);
    let end = Some(DigestEnd { settled: true });
    bench.tell(2, Control::Digest { marks: vec![mark(9, 1, 500, 400, 400)], end });
    let outputs = bench.pass(15, &[2]);
    assert!(!was_asked_to_skip(&outputs, 2));
    assert_eq!(told(&outputs), [""; 0]);
}

/// A settled digest makes a neighbour that is new settle, too. It reads all streams that it first
/// hears of later from the beginning, and counts what nobody retains of them as gaps.
#[test]
fn a_node_that_settles_has_named_all_streams_to_neighbours_that_are_new() {
    let streams = || vec![mark(50, 1, 9, 7, 7), mark(51, 1, 20, 21, 1)];
    let unsettled = |marks| Control::Digest { marks, end: Some(DigestEnd { settled: false }) };
    let begin = || {
        let mut bench = Bench::joiner(Config::default());
        bench.connect(2);
        bench
    };
    // It settles after its first digest, before it, and before the end of the neighbour's.
    let mut bench = begin();
    bench.tell(2, unsettled(Vec::new()));
    assert_eq!(named(&bench.drain(None), 2), [(vec![1], Some(false))]);
    bench.link(3, streams());
    bench.drain(None);
    bench.prove(3, &[(50, 1, 9), (51, 1, 20)]);
    assert_eq!(named(&bench.drain(None), 2), [(vec![50, 51], Some(true))]);
    bench.tell(3, tiny(50, 1, 10));
    assert_eq!(data(&bench.drain(None), 2), [(1, 10)], "it is sent what follows");

    let mut bench = begin();
    bench.tell(2, unsettled(Vec::new()));
    bench.link(3, streams());
    assert_eq!(named(&bench.drain(None), 2), [(vec![1], Some(false))], "nothing is proven yet");
    bench.prove(3, &[(50, 1, 9), (51, 1, 20)]);
    assert_eq!(named(&bench.drain(None), 2), [(vec![50, 51], Some(true))]);

    let mut bench = begin();
    assert_eq!(named(&bench.drain(None), 2), [(vec![1], Some(false))]);
    bench.link(3, streams());
    bench.drain(None);
    bench.prove(3, &[(50, 1, 9), (51, 1, 20)]);
    assert_eq!(named(&bench.drain(None), 2), []);
    bench.tell(2, unsettled(vec![mark(50, 1, 8, 7, 7)]));
    assert_eq!(named(&bench.drain(None), 2), [(vec![51], Some(true))]);
    // Once is enough.
    bench.pass(2, &[2, 3]);
    bench.link(4, vec![mark(52, 1, 3, 1, 1)]);
    bench.tell(2, unsettled(Vec::new()));
    assert!(named(&bench.drain(None), 2).iter().all(|(_, end)| end.is_none()));
}

/// "Nothing of an old incarnation may follow the first of a new one", not even before that one has
/// come.
#[test]
fn a_former_start_is_over_as_soon_as_the_next_is_known() {
    let mut bench = Bench::new(&[2, 3]);
    (1..=3).for_each(|seq| bench.tell(2, tiny(9, 1, seq)));
    bench.tell(2, tiny(9, 2, 5));
    bench.drain(None);
    bench.pass(8, &[2, 3]);
    bench.tell(3, tiny(9, 1, 1));
    assert_eq!(told(&bench.drain(None)), [""; 0]);
    (1..=2).for_each(|seq| bench.tell(3, tiny(9, 2, seq)));
    assert_eq!(told(&bench.drain(None)), messages(1..=2));
}

/// A writer that starts again is read from its beginning, also by a node that is new, if it has
/// read the former start.
#[test]
fn a_joiner_reads_the_next_start_of_a_writer_that_it_has_read_from_its_beginning() {
    let unsettled = |marks| Control::Digest { marks, end: Some(DigestEnd { settled: false }) };
    for (has_read, from) in [(true, 1), (false, 6)] {
        let mut bench = Bench::joiner(Config::default());
        bench.connect(2);
        bench.tell(2, unsettled(vec![mark(50, 1, 9, 7, 7)]));
        if has_read {
            bench.tell(2, tiny(50, 1, 10));
        }
        bench.drain(None);
        bench.connect(3);
        bench.tell(3, unsettled(vec![mark(50, 2, 5, 1, 1)]));
        let asks = vec![Ask { origin: key(50).id(), incarnation: 2, from, or_later: true }];
        let graft = Message::from(Control::Graft { asks });
        let asked = |output: &Output| matches!(output, Output::Send { link: LinkId(3), message } if *message == graft);
        assert!(bench.drain(None).iter().any(asked), "has read: {has_read}");
    }
}

fn controls(outputs: &[Output], n: u16) -> impl Iterator<Item = &Control> {
    outputs.iter().filter_map(move |output| match output {
        Output::Send { link, message: Message::Control(control) } if *link == LinkId(n.into()) => {
            Some(&**control)
        }
        _ => None,
    })
}

/// The writers whose proof the node wants from neighbour `n`.
fn asked_to_prove(outputs: &[Output], n: u16) -> Vec<NodeId> {
    let writers = |control: &Control| match control {
        Control::Prove { writers } => writers.clone(),
        _ => Vec::new(),
    };
    controls(outputs, n).flat_map(writers).collect()
}

/// The answers that neighbour `n` was given.
fn proofs(outputs: &[Output], n: u16) -> Vec<Vec<SegmentProof>> {
    let proofs = |control: &Control| match control {
        Control::Proofs { proofs } => Some(proofs.clone()),
        _ => None,
    };
    controls(outputs, n).filter_map(proofs).collect()
}

/// The positions in streams of others that the node has sent to neighbour `n`, by their writers.
fn positions(outputs: &[Output], n: u16) -> Vec<(u16, u64)> {
    let marks = controls(outputs, n).flat_map(|control| match control {
        Control::Digest { marks, .. } => marks.clone(),
        _ => Vec::new(),
    });
    let writer = |mark: &Mark| (1..100).find(|n| key(*n).id() == mark.origin).unwrap();
    marks.map(|mark| (writer(&mark), mark.have)).filter(|(writer, _)| *writer != 1).collect()
}

fn data(outputs: &[Output], n: u16) -> Vec<(u64, u64)> {
    let numbers = |output: &Output| match output {
        Output::Send { link, message: Message::Data(segment, _) } if *link == LinkId(n.into()) => {
            Some((segment.incarnation, segment.seq))
        }
        _ => None,
    };
    outputs.iter().filter_map(numbers).collect()
}

/// The digests to this neighbour: the writers that they name, and what their ends say.
fn named(outputs: &[Output], n: u16) -> Vec<(Vec<u16>, Option<bool>)> {
    let writer = |mark: &Mark| (1..100).find(|n| key(*n).id() == mark.origin).unwrap();
    let digest = |output: &Output| match output {
        Output::Send { link, message: Message::Control(control) } if *link == LinkId(n.into()) => {
            match &**control {
                Control::Digest { marks, end } => {
                    Some((marks.iter().map(writer).collect(), end.map(|end| end.settled)))
                }
                _ => None,
            }
        }
        _ => None,
    };
    outputs.iter().filter_map(digest).collect()
}

/// The outputs for the application, in short: `m7` a message, `gap3` a gap; and connections that
/// were closed.
fn told(outputs: &[Output]) -> Vec<String> {
    let told = |output: &Output| match output {
        Output::Deliver { seq, .. } => Some(format!("m{seq}")),
        Output::Gap { missed, .. } => Some(format!("gap{missed}")),
        Output::Close { reason, .. } => Some(reason.to_string()),
        _ => None,
    };
    outputs.iter().filter_map(told).collect()
}

fn messages(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|seq| format!("m{seq}")).collect()
}

/// Returns whether the node asked `n` for "this, or the oldest you have".
fn was_asked_to_skip(outputs: &[Output], n: u16) -> bool {
    outputs.iter().any(|output| {
        matches!(output, Output::Send { link, message: Message::Control(control) }
            if *link == LinkId(n.into()) && matches!(&**control, Control::Graft { asks } if asks[0].or_later))
    })
}

/// On a slow line a batch takes longer than a link may stand still.
#[test]
fn a_link_that_takes_a_batch_in_parts_is_not_stalled_and_one_that_takes_nothing_is() {
    let mut bench = Bench::new(&[2]);
    bench.node.broadcast(vec![0; 60_000].into(), bench.now).unwrap();
    let stalled = |output: &Output| matches!(output, Output::Close { reason: CloseReason::Stalled, .. });
    let mut pass = |seconds: u64, takes_parts: bool| {
        (0..seconds * 4).any(|_| {
            bench.now = bench.now + std::time::Duration::from_millis(250);
            bench.tell(2, Control::Ping { degree: 4, child: None, subtree: 0, seeds: Vec::new() });
            if takes_parts {
                bench.node.handle_sent(LinkId(2), 0, bench.now);
            }
            bench.node.handle_timeout(bench.now);
            bench.drain(Some(2)).iter().any(stalled)
        })
    };
    assert!(!pass(10, true), "it moves");
    assert!(pass(4, false), "it stands still");
}

/// Some 40 bytes would fetch all that is retained, each time that they come.
#[test]
fn a_neighbour_that_requests_a_stream_again_and_again_gets_what_is_retained_about_twice() {
    let mut bench = Bench::with(Config { ring_total: 1024 * 1024, ..Config::default() });
    bench.link_and_drain(2);
    bench.link_and_drain(3);
    for seq in 1..=10 {
        let kind = SegmentKind::Fragment { first: seq == 1, last: false };
        bench.tell(2, segment(9, 1, seq, kind, vec![0; MAX_SEGMENT].into()));
    }
    let bytes = |outputs: &[Output]| -> usize {
        let cost = |output: &Output| match output {
            Output::Send { link: LinkId(3), message } if matches!(message, Message::Data(..)) => {
                message.cost()
            }
            _ => 0,
        };
        outputs.iter().map(cost).sum()
    };
    let mut sent = bytes(&bench.drain(None));
    let retained = sent;
    assert!(retained > 10 * MAX_SEGMENT);
    for _ in 0..100 {
        let ask = Ask { origin: key(9).id(), incarnation: 1, from: 1, or_later: true };
        bench.tell(3, Control::Graft { asks: vec![ask] });
        sent += bytes(&bench.drain(None));
    }
    // 1 MiB of repetitions, and the last one whole.
    assert!((2 * retained..1024 * 1024 + 2 * retained).contains(&sent), "{sent} bytes, {retained} retained");
}

/// The node retains what one writer has written, although many names write as much each.
#[test]
fn many_names_do_not_take_the_place_of_what_one_writer_has_written() {
    let mut bench = Bench::with(Config { ring_total: 1024 * 1024, ..Config::default() });
    bench.link_and_drain(2);
    bench.link_and_drain(3);
    let body = || vec![0; 20_000].into();
    let kind = |seq| SegmentKind::Fragment { first: seq == 1, last: false };
    (1..=20).for_each(|seq| bench.tell(2, segment(9, 1, seq, kind(seq), body())));
    (100..300).for_each(|name| bench.tell(2, segment(name, 1, 1, kind(1), body())));
    bench.drain(None);
    let ask = Ask { origin: key(9).id(), incarnation: 1, from: 1, or_later: true };
    bench.tell(3, Control::Graft { asks: vec![ask] });
    let of_writer = |output: &Output| match output {
        Output::Send { link: LinkId(3), message: Message::Data(segment, _) } => {
            (segment.origin == key(9).id()).then_some(segment.seq)
        }
        _ => None,
    };
    let seqs: Vec<_> = bench.drain(None).iter().filter_map(of_writer).collect();
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
}
