//! One node and hand-made neighbours, each a number: what they say is up to the test.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of it")]

use std::sync::Arc;

use bytes::Bytes;
use smokesignal_proto::*;

/// The node under test and what it has said.
pub struct Bench {
    pub node: Node,
    pub now: Instant,
}

impl Bench {
    /// Node 1 with these neighbours, which have announced no streams.
    pub fn new(neighbours: &[u16]) -> Self {
        let mut bench = Self::with(Config::default());
        for n in neighbours {
            bench.link_and_drain(*n);
        }
        bench
    }

    /// A node that is alone.
    pub fn with(config: Config) -> Self {
        let mut node = Node::new(key(1), config, 1, Instant::ZERO);
        node.set_addresses(vec!["127.0.0.1:9".parse().unwrap()]);
        Self { node, now: Instant::ZERO }
    }

    /// A joiner that has not heard of any stream.
    pub fn joiner(config: Config) -> Self {
        let mut node = Node::new(key(1), config, 1, Instant::ZERO);
        node.set_addresses(vec!["127.0.0.1:9".parse().unwrap()]);
        node.join("127.0.0.1:5".into(), Instant::ZERO);
        Self { node, now: Instant::ZERO }
    }

    /// Makes neighbour `n` a link, with a first digest of these marks.
    pub fn link(&mut self, n: u16, marks: Vec<Mark>) {
        self.link_to(n, key(n).id(), marks);
    }

    /// The same, with the features that the other end offers.
    pub fn link_to(&mut self, n: u16, peer: impl Into<OtherEnd>, marks: Vec<Mark>) {
        self.connect_to(n, peer);
        self.tell(n, Control::Digest { marks, end: Some(DigestEnd { settled: true }) });
    }

    /// Makes neighbour `n` a link; it has not said anything of streams yet.
    pub fn connect(&mut self, n: u16) {
        self.connect_to(n, key(n).id());
    }

    fn connect_to(&mut self, n: u16, peer: impl Into<OtherEnd>) {
        self.node.handle_connected(LinkId(n.into()), peer, None, self.now);
        let (record, priority) = (record(n), Priority::Need);
        self.tell(n, Control::Neighbor { record, incarnation: 1, priority, token: None });
        self.tell(n, Control::Active { sent: self.now.as_micros() / 1000 });
    }

    /// The same, and the node has said what it has to say to it.
    pub fn link_and_drain(&mut self, n: u16) {
        self.link(n, Vec::new());
        self.drain(None);
    }

    /// Neighbour `n` sends a message.
    pub fn tell(&mut self, n: u16, message: impl Into<Message>) {
        self.node.handle_message(LinkId(n.into()), message.into(), self.now);
    }

    /// Neighbour `n` sends a digest.
    pub fn marks(&mut self, n: u16, marks: Vec<Mark>) {
        self.tell(n, Control::Digest { marks, end: None });
    }

    /// Neighbour `n` proves that these writers have written these segments, of these incarnations.
    pub fn prove(&mut self, n: u16, segments: &[(u16, u64, u64)]) {
        let proofs = segments.iter().map(|(origin, incarnation, seq)| proof(*origin, *incarnation, *seq));
        self.tell(n, Control::Proofs { proofs: proofs.collect() });
    }

    /// All outputs; what is sent counts as written immediately, except to `stuck`.
    pub fn drain(&mut self, stuck: Option<u16>) -> Vec<Output> {
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
    pub fn pass(&mut self, seconds: u64, alive: &[u16]) -> Vec<Output> {
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

    /// A part of a message that never ends, or ends with this part.
    pub fn part(&mut self, n: u16, origin: u16, seq: u64, last: bool) {
        let keypair = key(origin);
        let kind = SegmentKind::Fragment { first: seq == 1, last };
        let (origin, body) = (keypair.id(), vec![0; MAX_SEGMENT].into());
        let (incarnation, first_message, seal) = (1, 1, None);
        let message_kind = MessageKind::Application;
        let mut segment = Segment { origin, incarnation, seq, first_message, kind, message_kind, body, seal };
        segment.sign(&keypair, &[0; 32], 0);
        self.tell(n, Message::Data(Arc::new(segment), Age::default()));
    }
}

/// The key of neighbour or writer `n`.
pub fn key(n: u16) -> Keypair {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&n.to_le_bytes());
    Keypair::from_seed(&seed)
}

pub fn record(n: u16) -> Record {
    let address = format!("127.0.0.1:{}", 1000 + n).parse().unwrap();
    Record::sign(&key(n), &[0; 32], vec![address], 1)
}

/// A neighbour's claim about a writer's stream.
pub fn mark(origin: u16, incarnation: u64, have: u64, floor: u64, floor_message: u64) -> Mark {
    Mark { origin: key(origin).id(), incarnation, have, floor, floor_message, next_message: 0 }
}

/// A signed segment, whose number is that of its first message as well.
pub fn segment(origin: u16, incarnation: u64, seq: u64, kind: SegmentKind, body: Bytes) -> Message {
    let keypair = key(origin);
    let (origin, first_message, seal) = (keypair.id(), seq, None);
    let message_kind = MessageKind::Application;
    let mut segment = Segment { origin, incarnation, seq, first_message, kind, message_kind, body, seal };
    segment.sign(&keypair, &[0; 32], 0);
    Message::Data(Arc::new(segment), Age::default())
}

/// A segment with one message of one byte.
pub fn tiny(origin: u16, incarnation: u64, seq: u64) -> Message {
    segment(origin, incarnation, seq, SegmentKind::Whole { messages: 1 }, Bytes::from_static(b"\x01a"))
}

/// The proof of such a segment.
pub fn proof(origin: u16, incarnation: u64, seq: u64) -> SegmentProof {
    let Message::Data(segment, _) = tiny(origin, incarnation, seq) else { unreachable!() };
    SegmentProof::of(&segment).unwrap()
}

pub fn breaks_a_rule(output: &Output) -> bool {
    matches!(output, Output::Close { reason, .. } if reason.is_violation())
}

pub fn closed(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Close { .. } | Output::PeerDown { .. }))
}
