//! One node and hand-made neighbours: what lies, storms and awkward moments do to it. Each was a
//! fault once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::sync::Arc;

use bytes::Bytes;
use smokesignal_proto::*;

/// The node under test and what it has said.
struct Bench {
    node: Node,
    now: Instant,
}

fn key(n: u16) -> Keypair {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&n.to_le_bytes());
    Keypair::from_seed(&seed)
}

fn record(n: u16) -> Record {
    let address = format!("127.0.0.1:{}", 1000 + n).parse().unwrap();
    Record::sign(&key(n), &[0; 32], vec![address], 1)
}

fn mark(origin: u16, incarnation: u64, have: u64, floor: u64, floor_message: u64) -> Mark {
    Mark { origin: key(origin).id(), incarnation, have, floor, floor_message, next_message: 0 }
}

fn segment(origin: u16, incarnation: u64, seq: u64, kind: SegmentKind, body: Bytes) -> Message {
    let keypair = key(origin);
    let (origin, first_message, seal) = (keypair.id(), seq, None);
    let message_kind = MessageKind::Application;
    let mut segment = Segment { origin, incarnation, seq, first_message, kind, message_kind, body, seal };
    segment.sign(&keypair, &[0; 32]);
    Message::Data(Arc::new(segment))
}

fn tiny(origin: u16, incarnation: u64, seq: u64) -> Message {
    segment(origin, incarnation, seq, SegmentKind::Whole { messages: 1 }, Bytes::from_static(b"\x01a"))
}

impl Bench {
    /// Node 1 with these neighbours, which have announced no streams.
    fn new(neighbours: &[u16]) -> Self {
        let mut node = Node::new(key(1), Config::default(), 1, Instant::ZERO);
        node.set_addresses(vec!["127.0.0.1:9".parse().unwrap()]);
        let mut bench = Self { node, now: Instant::ZERO };
        for n in neighbours {
            bench.link_and_drain(*n);
        }
        bench
    }

    fn link(&mut self, n: u16, marks: Vec<Mark>) {
        let (link, peer) = (LinkId(n.into()), key(n).id());
        self.node.handle_connected(link, peer, None, self.now);
        let (record, priority) = (record(n), Priority::Need);
        self.tell(n, Control::Neighbor { record, incarnation: 1, priority, token: None });
        self.tell(n, Control::Active);
        self.tell(n, Control::Digest { marks, end: Some(DigestEnd { settled: true }) });
    }

    /// The same, and the node has said what it has to say to it.
    fn link_and_drain(&mut self, n: u16) {
        self.link(n, Vec::new());
        self.drain(None);
    }

    fn tell(&mut self, n: u16, message: impl Into<Message>) {
        self.node.handle_message(LinkId(n.into()), message.into(), self.now);
    }

    fn marks(&mut self, n: u16, marks: Vec<Mark>) {
        self.tell(n, Control::Digest { marks, end: None });
    }

    /// All outputs; what is sent counts as written immediately, except to `stuck`.
    fn drain(&mut self, stuck: Option<u16>) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.node.poll_output(self.now) {
            if let Output::Send { link, message } = &output
                && stuck.is_none_or(|n| *link != LinkId(n.into()))
            {
                self.node.handle_sent(*link, message.cost(), self.now);
            }
            outputs.push(output);
        }
        outputs
    }

    /// Lets time pass; the neighbours named stay alive.
    fn pass(&mut self, seconds: u64, alive: &[u16]) -> Vec<Output> {
        let mut outputs = Vec::new();
        for _ in 0..seconds * 4 {
            self.now = self.now + std::time::Duration::from_millis(250);
            alive.iter().for_each(|n| {
                self.tell(*n, Control::Ping { degree: 4, child: None, subtree: 0, seeds: Vec::new() });
            });
            self.node.handle_timeout(self.now);
            outputs.extend(self.drain(None));
        }
        outputs
    }
}

fn breaks_a_rule(output: &Output) -> bool {
    matches!(output, Output::Close { reason, .. } if reason.is_violation())
}

fn closed(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Close { .. } | Output::PeerDown { .. }))
}

fn data(outputs: &[Output], n: u16) -> Vec<(u64, u64)> {
    let numbers = |output: &Output| match output {
        Output::Send { link, message: Message::Data(segment) } if *link == LinkId(n.into()) => {
            Some((segment.incarnation, segment.seq))
        }
        _ => None,
    };
    outputs.iter().filter_map(numbers).collect()
}

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
    bench.node.broadcast("a".into()).unwrap();
    assert_eq!(data(&bench.drain(None), 2), [(1, 1)]);
    bench.marks(2, vec![mark(1, 9, 0, 1, 1), mark(1, 1, (1 << 62) - 1, (1 << 62) - 1, 5)]);
    let outputs = bench.pass(12, &[2]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Gap { .. })));
    bench.node.broadcast("b".into()).unwrap();
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
            let accept = Control::Accept { record: record(n), incarnation: 1 };
            bench.node.handle_message(LinkId(next), accept.into(), bench.now);
        }
        most = most.max(bench.node.peers().count());
    }
    // They are silent, and so lost again and again.
    assert!((3..=5).contains(&most), "{most}");
}

/// "missed" counts messages, also where many shared a segment that is no longer retained.
#[test]
fn an_expired_segment_is_remembered_by_its_messages() {
    let mut bench = Bench::new(&[2]);
    for seq in 1..=3 {
        assert_eq!(bench.node.broadcast("a".into()), Ok(seq));
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
    let Message::Data(honest) = tiny(50, 1, 1) else { unreachable!() };
    let forged = Segment { body: Bytes::from_static(b"\x01b"), ..(*honest).clone() };
    let unsigned = Segment { seal: None, ..(*honest).clone() };
    for (n, lie) in [(2, forged), (3, unsigned)] {
        bench.tell(n, Message::Data(Arc::new(lie)));
        let outputs = bench.drain(None);
        assert!(outputs.iter().any(breaks_a_rule));
        assert!(!outputs.iter().any(|output| matches!(output, Output::Deliver { .. })));
    }
    bench.link_and_drain(4);
    bench.tell(4, Message::Data(honest));
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

impl Bench {
    /// A joiner that has not heard of any stream.
    fn joiner(config: Config) -> Self {
        let mut node = Node::new(key(1), config, 1, Instant::ZERO);
        node.set_addresses(vec!["127.0.0.1:9".parse().unwrap()]);
        node.join("127.0.0.1:5".into(), Instant::ZERO);
        Self { node, now: Instant::ZERO }
    }

    /// A part of a message that never ends, or ends with this part.
    fn part(&mut self, n: u16, origin: u16, seq: u64, last: bool) {
        let keypair = key(origin);
        let kind = SegmentKind::Fragment { first: seq == 1, last };
        let (origin, body) = (keypair.id(), vec![0; MAX_SEGMENT].into());
        let (incarnation, first_message, seal) = (1, 1, None);
        let message_kind = MessageKind::Application;
        let mut segment = Segment { origin, incarnation, seq, first_message, kind, message_kind, body, seal };
        segment.sign(&keypair, &[0; 32]);
        self.tell(n, Message::Data(Arc::new(segment)));
    }
}

/// Returns whether the node asked `n` for "this, or the oldest you have".
fn was_asked_to_skip(outputs: &[Output], n: u16) -> bool {
    outputs.iter().any(|output| {
        matches!(output, Output::Send { link, message: Message::Control(control) }
            if *link == LinkId(n.into()) && matches!(&**control, Control::Graft { asks } if asks[0].or_later))
    })
}

/// A mark is a claim: an incarnation that does not exist must not make the real one the older one.
#[test]
fn a_claimed_incarnation_silences_no_writer() {
    let mut bench = Bench::new(&[2, 3]);
    bench.marks(2, vec![mark(9, (1 << 62) - 1, 1, 1, 1)]);
    (1..=5).for_each(|seq| bench.tell(3, tiny(9, 5, seq)));
    assert_eq!(told(&bench.drain(None)), messages(1..=5));
}

/// Nor must one of our own make us choose numbers that nobody accepts.
#[test]
fn a_claimed_incarnation_of_our_own_is_believed_only_if_it_can_be() {
    let mut bench = Bench::new(&[2, 3]);
    bench.marks(2, vec![mark(1, (1 << 62) - 1, 1, 1, 1)]);
    bench.node.broadcast(Bytes::from_static(b"x")).unwrap();
    assert_eq!(data(&bench.drain(None), 3), [(1, 1)]);
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
    for writer in 20..24 {
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
    bench.node.handle_connected(LinkId(2), key(2).id(), None, bench.now);
    let (record, priority) = (record(2), Priority::Need);
    bench.tell(2, Control::Neighbor { record, incarnation: 1, priority, token: None });
    bench.tell(2, Control::Active);
    bench.marks(2, vec![mark(8, 1, 500, 400, 400)]);
    bench.pass(2, &[2]);
    let end = Some(DigestEnd { settled: true });
    bench.tell(2, Control::Digest { marks: vec![mark(9, 1, 500, 400, 400)], end });
    let outputs = bench.pass(15, &[2]);
    assert!(!was_asked_to_skip(&outputs, 2));
    assert_eq!(told(&outputs), [""; 0]);
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

/// A key with a smaller id than the node's own: a root for it.
fn root() -> Keypair {
    (100..).map(key).find(|root| root.id() < key(1).id()).unwrap()
}

fn beat(number: u64) -> Arc<Beat> {
    Arc::new(Beat::sign(&root(), &[0; 32], 1, number, 8, Vec::new()))
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

fn controls(outputs: &[Output], is: impl Fn(&Control) -> bool) -> usize {
    let counts = |output: &&Output| matches!(output, Output::Send { message: Message::Control(control), .. } if is(control));
    outputs.iter().filter(counts).count()
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

/// On a slow line a batch takes longer than a link may stand still.
#[test]
fn a_link_that_takes_a_batch_in_parts_is_not_stalled_and_one_that_takes_nothing_is() {
    let mut bench = Bench::new(&[2]);
    bench.node.broadcast(vec![0; 60_000].into()).unwrap();
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
