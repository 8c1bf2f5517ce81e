//! Messages of all kinds, made of an input's numbers and signed by the keys that the test has: so
//! the core believes them, and the fuzzer reaches what lies behind the checks of signatures.

use std::sync::Arc;

use bytes::Bytes;
use smokesignal_proto::{
    Age, Ask, Beat, Confirmation, Control, DigestEnd, DisconnectReason, Instant, Keypair, Mark, Message,
    MessageKind, NodeId, Part, Priority, Record, SeedReport, SeedState, SeedStatus, Segment, SegmentKind,
    SegmentProof, SoughtSeed,
};

use crate::input::Input;

/// Items in a list at most: enough for what a short input can fill.
const ITEMS: usize = 5;

/// Makes a message of the input, which comes from `peer`.
pub(super) fn message(keys: &[Keypair], peer: NodeId, network: &[u8; 32], input: &mut Input<'_>) -> Message {
    let mut maker = Maker { keys, peer, network, input };
    match maker.input.below(40) {
        kind @ 0..=12 => maker.membership(kind).into(),
        kind @ 13..=25 => maker.spread(kind).into(),
        26 => Message::Part(maker.part()),
        _ => maker.data(),
    }
}

struct Maker<'m, 'i> {
    keys: &'m [Keypair],
    peer: NodeId,
    network: &'m [u8; 32],
    input: &'m mut Input<'i>,
}

impl Maker<'_, '_> {
    fn number(&mut self) -> u64 {
        self.input.number()
    }

    fn flag(&mut self) -> bool {
        self.input.byte() & 1 == 1
    }

    fn key(&mut self) -> usize {
        self.input.below(self.keys.len())
    }

    fn id(&mut self) -> NodeId {
        let at = self.input.below(self.keys.len() + 1);
        self.keys.get(at).map_or(NodeId::from_bytes([9; 32]), Keypair::id)
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.input.below(ITEMS)).map(|_| item(self)).collect()
    }

    /// The neighbour's own record, which its requests have to carry.
    fn own_record(&mut self) -> Record {
        let key = self.keys.iter().position(|key| key.id() == self.peer).unwrap_or_default();
        self.record_of(key)
    }

    fn record(&mut self) -> Record {
        let key = self.key();
        self.record_of(key)
    }

    fn record_of(&mut self, key: usize) -> Record {
        let version = u64::from(self.input.byte());
        let address = ([127, 0, 0, 1], 8500 + key as u16).into();
        Record::sign(&self.keys[key], self.network, vec![address], version)
    }

    fn records(&mut self) -> Vec<Record> {
        self.list(Self::record)
    }

    fn membership(&mut self, kind: usize) -> Control {
        match kind {
            0 => Control::Join { record: self.own_record(), want: self.input.byte() },
            1 => Control::Welcome { records: self.records() },
            2 => Control::Walk { walk: self.number(), ttl: self.input.byte(), record: self.record() },
            3 => {
                let (walk, record) = (self.number(), self.own_record());
                let split = self.flag().then(|| (self.record(), self.number()));
                Control::Offer { walk, record, split }
            }
            4 => match self.input.byte() % 3 {
                0 => Control::SplitPrepare { token: self.number(), joiner: self.id() },
                1 => Control::SplitAnswer { token: self.number(), ok: self.flag() },
                _ => Control::SplitCommit { token: self.number() },
            },
            5 | 6 => {
                let (record, incarnation) = (self.own_record(), self.number());
                let priority = if self.flag() { Priority::High } else { Priority::Low };
                let token = self.flag().then(|| self.number());
                Control::Neighbor { record, incarnation, priority, token }
            }
            7 => {
                Control::Accept { record: self.own_record(), incarnation: self.number(), sent: self.number() }
            }
            8 => Control::Active { sent: self.number() },
            9 => match self.input.byte() % 5 {
                0 => Control::Refuse { records: self.records() },
                1 => Control::Probe,
                2 => Control::Move,
                3 => Control::MoveAnswer { records: self.records() },
                _ => Control::Bridge { ttl: self.input.byte(), records: self.records() },
            },
            10 => {
                use DisconnectReason::{Closed, Leaving, Nearer, Split, Surplus};
                let reason = [Leaving, Split, Surplus, Closed, Nearer][self.input.below(5)];
                Control::Disconnect { reason, records: self.records() }
            }
            11 => Control::Shuffle { walk: self.number(), ttl: self.input.byte(), records: self.records() },
            _ => Control::ShuffleReply { walk: self.number(), records: self.records() },
        }
    }

    fn spread(&mut self, kind: usize) -> Control {
        match kind {
            13 => {
                let (degree, child) = (self.input.short(), self.flag().then(|| self.number() as u32));
                Control::Ping {
                    degree,
                    child,
                    subtree: self.number() as u32,
                    seeds: self.list(Self::seed_report),
                }
            }
            14 => {
                let (beat, age_ms) = (Arc::new(self.beat()), self.number() as u32);
                Control::Beacon { beat, age_ms, hops: self.input.byte() }
            }
            15 | 16 => {
                let marks = self.list(Self::mark);
                let end = self.flag().then(|| DigestEnd { settled: self.flag() });
                Control::Digest { marks, end }
            }
            17 => Control::Graft { asks: self.list(Self::ask) },
            18 => Control::Prune { origin: self.id(), incarnation: self.number() },
            19 => match self.input.byte() % 5 {
                0 => Control::Streams,
                1 => Control::Find { query: self.number(), target: self.id(), ttl: self.input.byte() },
                2 => Control::Located { query: self.number(), record: self.record() },
                3 => Control::Turn { seed: self.number() },
                _ => {
                    let seeds =
                        self.list(|maker| SoughtSeed { seed: maker.number(), by: maker.number() as u32 });
                    Control::Sought { seeds }
                }
            },
            20 | 21 => {
                let (read, limit, held, soon) = (self.number(), self.number(), self.flag(), self.flag());
                let (clock, echo) = (self.input.short(), (self.input.short(), self.input.short()));
                Control::Ack { read, limit, held, soon, clock, echo: self.flag().then_some(echo) }
            }
            22 => Control::Confirm { reports: self.list(Self::confirmation) },
            23 => {
                let (origin, incarnation) = (self.id(), self.number());
                if self.flag() {
                    return Control::Redirect { origin, incarnation };
                }
                Control::Pace { origin, incarnation, floor: self.number(), patient: self.flag() }
            }
            24 => Control::Prove { writers: self.list(Self::id) },
            _ => Control::Proofs { proofs: self.list(Self::proof).into_iter().flatten().collect() },
        }
    }

    fn seed_report(&mut self) -> SeedReport {
        let (seed, present, unreachable) = (self.number(), self.flag(), self.input.byte());
        let other_size = self.flag().then(|| self.number() as u32);
        SeedReport { seed, present, unreachable, other_size, beat: self.number() }
    }

    fn beat(&mut self) -> Beat {
        let key = self.key();
        let (incarnation, beat, size) = (self.number(), self.number(), self.number() as u32);
        let seeds = self.list(|maker| {
            let states =
                [SeedState::Present, SeedState::Absent, SeedState::Lost, SeedState::Elsewhere { size: 9 }];
            SeedStatus { seed: maker.number(), state: states[maker.input.below(4)] }
        });
        Beat::sign(&self.keys[key], self.network, incarnation, beat, size, seeds)
    }

    fn mark(&mut self) -> Mark {
        Mark {
            origin: self.id(),
            incarnation: self.number(),
            have: self.number(),
            floor: self.number(),
            floor_message: self.number(),
            next_message: self.number(),
        }
    }

    fn ask(&mut self) -> Ask {
        Ask { origin: self.id(), incarnation: self.number(), from: self.number(), or_later: self.flag() }
    }

    fn confirmation(&mut self) -> Confirmation {
        Confirmation {
            writer: self.id().prefix(),
            incarnation: self.number(),
            position: self.number(),
            half: self.number(),
            lowest: self.number(),
            nodes: self.number() as u32,
            behind: self.input.byte().into(),
            gaps: self.input.byte().into(),
            missed: self.number(),
            room: self.number() as u32,
            slowest: self.number(),
        }
    }

    fn proof(&mut self) -> Option<SegmentProof> {
        let key = self.key();
        SegmentProof::of(&self.segment(key, true))
    }

    fn segment(&mut self, key: usize, signed: bool) -> Segment {
        let (incarnation, seq, first_message) = (self.number(), self.number(), self.number());
        let shape = self.input.byte();
        let kind = if shape & 1 == 0 {
            SegmentKind::Whole { messages: u32::from(shape >> 5) + 1 }
        } else {
            SegmentKind::Fragment { first: shape & 2 != 0, last: shape & 4 != 0 }
        };
        let message_kind = match shape >> 3 & 3 {
            1 => MessageKind::Query,
            2 => MessageKind::Other(7),
            _ => MessageKind::Application,
        };
        let mut segment = Segment {
            origin: self.keys[key].id(),
            incarnation,
            seq,
            first_message,
            kind,
            message_kind,
            body: self.body(kind),
            seal: None,
        };
        if signed {
            let signed_at = u64::from(self.input.byte());
            segment.sign(&self.keys[key], self.network, signed_at);
        }
        segment
    }

    /// Messages of up to 64 bytes each, or a fragment of up to 4 KiB.
    fn body(&mut self, kind: SegmentKind) -> Bytes {
        let mut body = Vec::new();
        match kind {
            SegmentKind::Whole { messages } => {
                for _ in 0..messages {
                    let size = self.input.byte() & 63;
                    body.push(size);
                    body.resize(body.len() + usize::from(size), 7);
                }
            }
            SegmentKind::Fragment { .. } => body.resize(self.input.below(256) * 16, 7),
        }
        body.into()
    }

    fn data(&mut self) -> Message {
        let (key, signed, age) = (self.key(), self.input.byte() & 7 != 0, self.number() as u32);
        Message::Data(Arc::new(self.segment(key, signed)), Age::new(age, Instant::ZERO))
    }

    fn part(&mut self) -> Part {
        Part { last: self.flag(), piece: Bytes::copy_from_slice(self.input.piece()) }
    }
}
