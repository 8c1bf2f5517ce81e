//! The messages among the test vectors are what this implementation sends, and what it understands.
//! Frames of streams, HELLO and network ids are compared where they are made.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "../src/vectors.rs"]
mod vectors;

use std::collections::BTreeMap;
use std::sync::Arc;

use smokesignal_proto::{
    Address, Age, Ask, Beat, Confirmation, Control, DigestEnd, DisconnectReason, Instant, Keypair, LifeSign,
    Mark, Message, MessageKind, Part, Priority, Record, SeedReport, SeedState, SeedStatus, Segment,
    SegmentKind, SegmentProof, SoughtSeed, decode, encode,
};
use vectors::{hex, vectors};

const NETWORK: [u8; 32] = [0; 32];
const INCARNATION: u64 = 1_700_000_000_000;
const WALK: u64 = 300;
const TOKEN: u64 = 1 << 40;
const QUERY: u64 = 1 << 41;
const SEED: u64 = 0xea4a_6c63_e29c_520a;
/// The short name of the seed `127.0.0.1:8495` while it is missing.
const ADDRESS: u64 = 0x3c8c_1aa0_6e4a_0bf1;
/// When all segments were signed, in seconds since 1970.
const SIGNED_AT: u64 = 1_800_000_000;
const NONCE: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const BODY: &[u8] = b"\x05hello\0\x02hi";

fn keypair() -> Keypair {
    Keypair::from_seed(&[7; 32])
}

fn other_keypair() -> Keypair {
    Keypair::from_seed(&[8; 32])
}

fn record() -> Record {
    let addresses = vec!["127.0.0.1:8495".parse().unwrap(), "[::1]:8495".parse().unwrap()];
    Record::sign(&keypair(), &NETWORK, addresses, 7)
}

fn other_record() -> Record {
    Record::sign(&other_keypair(), &NETWORK, vec!["127.0.0.1:8496".parse().unwrap()], 8)
}

/// Returns a record with addresses of kinds that nobody knows today.
fn later_record() -> Record {
    let other = |kind, bytes: Vec<u8>| Address::Other { kind, bytes: bytes.into() };
    let ip = Address::Ip("127.0.0.1:8495".parse().unwrap());
    let addresses = vec![other(200, (0..96).collect()), ip, other(255, Vec::new())];
    Record::sign_all(&keypair(), &NETWORK, addresses, 7)
}

/// Joins, walks, splits and links.
fn membership() -> Vec<(&'static str, Control)> {
    let (walk, token, incarnation) = (WALK, TOKEN, INCARNATION);
    let split = Some((other_record(), token));
    let both = || vec![record(), other_record()];
    let neighbor = |priority, token| Control::Neighbor { record: record(), incarnation, priority, token };
    vec![
        ("Join", Control::Join { record: record(), want: 3 }),
        ("Join: addresses of other kinds", Control::Join { record: later_record(), want: 3 }),
        ("Welcome", Control::Welcome { records: vec![record()] }),
        ("Walk", Control::Walk { walk, ttl: 6, record: record() }),
        ("Offer", Control::Offer { walk, record: record(), split: None }),
        ("Offer: with a split", Control::Offer { walk, record: record(), split }),
        ("SplitPrepare", Control::SplitPrepare { token, joiner: other_keypair().id() }),
        ("SplitAnswer", Control::SplitAnswer { token, ok: true }),
        ("SplitCommit", Control::SplitCommit { token }),
        ("Neighbor", neighbor(Priority::Need, None)),
        ("Neighbor: with a token", neighbor(Priority::Low, Some(token))),
        ("Accept", Control::Accept { record: record(), incarnation, sent: 70_000 }),
        ("Refuse", Control::Refuse { records: both() }),
        ("Active", Control::Active { sent: 70_000 }),
        (
            "Disconnect",
            Control::Disconnect { reason: DisconnectReason::Surplus, records: vec![other_record()] },
        ),
        ("Move", Control::Move),
        ("MoveAnswer", Control::MoveAnswer { records: vec![other_record()] }),
        ("Bridge", Control::Bridge { ttl: 6, records: both() }),
        ("Shuffle", Control::Shuffle { walk, ttl: 6, records: both() }),
        ("ShuffleReply", Control::ShuffleReply { walk, records: vec![other_record()] }),
    ]
}

/// The beacon, and the search for a node.
fn beacon() -> Vec<(&'static str, Control)> {
    let report = SeedReport { seed: SEED, present: false, unreachable: 2, other_size: Some(300), beat: 5 };
    let beat = |number, size, states: [(u64, SeedState); 2]| {
        let states = states.map(|(seed, state)| SeedStatus { seed, state });
        Arc::new(Beat::sign(&keypair(), &NETWORK, INCARNATION, number, size, states.to_vec()))
    };
    let present = beat(5, 8, [(1, SeedState::Elsewhere { size: 300 }), (SEED, SeedState::Present)]);
    let absent = beat(6, 1, [(1, SeedState::Absent), (2, SeedState::Lost)]);
    vec![
        ("Ping", Control::Ping { degree: 3, child: None, subtree: 0, seeds: Vec::new() }),
        (
            "Ping: a child",
            Control::Ping { degree: 300, child: Some(0xea4a_6c63), subtree: 9, seeds: vec![report] },
        ),
        ("Beacon", Control::Beacon { beat: present, age_ms: 200, hops: 2 }),
        ("Beacon: absent and lost seeds", Control::Beacon { beat: absent, age_ms: 0, hops: 0 }),
        ("Probe", Control::Probe),
        ("Streams", Control::Streams),
        ("Find", Control::Find { query: QUERY, target: other_keypair().id(), ttl: 20 }),
        ("Located", Control::Located { query: QUERY, record: record() }),
        ("Sought", Control::Sought { seeds: vec![SoughtSeed { seed: ADDRESS, by: 300 }] }),
        ("Turn", Control::Turn { seed: ADDRESS }),
        (
            "Ack",
            Control::Ack {
                read: 70_000,
                limit: 135_536,
                held: true,
                soon: true,
                clock: 40_000,
                echo: Some((1_000, 30)),
            },
        ),
    ]
}

/// How far a node is, and what it asks for.
fn digests() -> Vec<(&'static str, Control)> {
    let (origin, incarnation) = (keypair().id(), INCARNATION);
    let mark = Mark { origin, incarnation: 1, have: 9, floor: 4, floor_message: 6, next_message: 12 };
    let ask = Ask { origin, incarnation, from: 5, or_later: false };
    let confirmation = Confirmation {
        writer: origin.prefix(),
        incarnation: 1,
        position: 38,
        half: 40,
        lowest: 30,
        nodes: 20,
        behind: 2,
        gaps: 1,
        missed: 7,
        room: 32_768,
        slowest: other_keypair().id().prefix(),
    };
    vec![
        ("Digest", Control::Digest { marks: vec![mark], end: Some(DigestEnd { settled: true }) }),
        ("Digest: without an end", Control::Digest { marks: vec![mark], end: None }),
        ("Graft", Control::Graft { asks: vec![ask] }),
        ("Prune", Control::Prune { origin, incarnation }),
        ("Confirm", Control::Confirm { reports: vec![confirmation] }),
        ("Pace", Control::Pace { origin, incarnation: 1, floor: 37, patient: true }),
        ("Redirect", Control::Redirect { origin, incarnation: 1 }),
        ("Prove", Control::Prove { writers: vec![origin, other_keypair().id()] }),
        ("Proofs", Control::Proofs { proofs: proofs() }),
        ("Twin", Control::Twin { process: 1 << 63, incarnation: INCARNATION, uptime_ms: 70_000 }),
        ("Challenge", Control::Challenge { writer: origin, nonce: NONCE }),
        (
            "Alive",
            Control::Alive { sign: LifeSign::sign(&keypair(), &NETWORK, INCARNATION, SIGNED_AT, NONCE) },
        ),
    ]
}

/// The proofs of a signed pair of segments, and of a fragment.
fn proofs() -> Vec<SegmentProof> {
    let named = ["segment: 2 of a signed pair", "segment: 3 of a signed pair", "segment: fragment 1 of 3"];
    let segments: BTreeMap<_, _> = segments().into_iter().collect();
    named.iter().filter_map(|name| SegmentProof::of(&segments[name])).collect()
}

fn segments() -> Vec<(&'static str, Segment)> {
    let unsigned = Segment {
        origin: keypair().id(),
        incarnation: 1,
        seq: 2,
        first_message: 3,
        kind: SegmentKind::Whole { messages: 3 },
        message_kind: MessageKind::Application,
        body: BODY.into(),
        seal: None,
    };
    let mut signed = unsigned.clone();
    signed.sign(&keypair(), &NETWORK, SIGNED_AT);
    let mut pair = [unsigned.clone(), Segment { seq: 3, first_message: 6, ..unsigned.clone() }];
    Segment::sign_all(&mut pair, &keypair(), &NETWORK, SIGNED_AT);
    let [first, second] = pair;
    let fragment = |seq, first, last, body: &'static [u8]| {
        let kind = SegmentKind::Fragment { first, last };
        let mut fragment = Segment { seq, first_message: 9, kind, body: body.into(), ..unsigned.clone() };
        fragment.sign(&keypair(), &NETWORK, SIGNED_AT);
        fragment
    };
    let one = |message_kind, body: &'static [u8]| {
        let kind = SegmentKind::Whole { messages: 1 };
        let mut one =
            Segment { seq: 7, first_message: 10, kind, message_kind, body: body.into(), ..unsigned.clone() };
        one.sign(&keypair(), &NETWORK, SIGNED_AT);
        one
    };
    vec![
        ("segment: query", one(MessageKind::Query, b"\x0c\0\0\0\0\0\0\0\x07who?")),
        ("segment: channel", one(MessageKind::Channel, b"\x07\x04chathi")),
        ("segment: end", one(MessageKind::End, b"\0")),
        ("segment: of an unknown kind", {
            let kind = SegmentKind::Whole { messages: 2 };
            let unknown = one(MessageKind::Other(9), b"\x07unknown\0");
            let mut unknown = Segment { kind, ..unknown };
            unknown.sign(&keypair(), &NETWORK, SIGNED_AT);
            unknown
        }),
        ("segment: fragment 1 of 3", fragment(4, true, false, b"a large message")),
        ("segment: fragment 2 of 3", fragment(5, false, false, b", ")),
        ("segment: fragment 3 of 3", fragment(6, false, true, b"in three pieces")),
        ("segment: signed", signed),
        ("segment: 2 of a signed pair", first),
        ("segment: 3 of a signed pair", second),
        ("segment: unsigned", unsigned),
    ]
}

fn messages() -> Vec<(&'static str, Message)> {
    let controls = membership().into_iter().chain(beacon()).chain(digests());
    let mut messages: Vec<_> = controls.map(|(name, control)| (name, control.into())).collect();
    let age = Age::new(300, Instant::from_micros(70_000_000));
    for (name, segment) in segments() {
        assert!(segment.seal.is_none() || segment.verify(&NETWORK), "{name}");
        messages.push((name, Message::Data(Arc::new(segment), age)));
    }
    let part = |piece: &'static [u8], last| Message::Part(Part { piece: piece.into(), last });
    messages.extend([("part", part(b"hello", false)), ("part: the last one", part(b"hi", true))]);
    messages
}

#[test]
fn the_messages_of_the_test_vectors_are_what_is_sent_and_understood() {
    let vectors = vectors();
    for (name, message) in messages() {
        assert_eq!(vectors.get(name), Some(&frame(&message)), "`{name}`, {message:?}");
    }
}

/// Frames of kind 0 that no other test looks at.
#[test]
fn no_message_of_the_test_vectors_is_left_out() {
    let known: Vec<_> = messages().into_iter().map(|(name, _)| name).collect();
    let is_message =
        |bytes: &str| bytes.len() >= 10 && bytes.starts_with("00") && bytes.len() / 2 - 4 == length_of(bytes);
    let left_out: Vec<_> = vectors()
        .into_iter()
        .filter(|(name, bytes)| is_message(bytes) && !known.contains(&name.as_str()))
        .collect();
    assert!(left_out.is_empty(), "{left_out:?}");
}

#[test]
fn the_ids_and_hashes_of_the_test_vectors_are_ours() {
    let vectors = vectors();
    assert_eq!(vectors["node id"], hex(keypair().id().as_bytes()));
    assert_eq!(vectors["other node id"], hex(other_keypair().id().as_bytes()));
    // The proof of each segment of a pair is the other one's leaf.
    assert!(vectors["segment: 2 of a signed pair"].contains(&vectors["leaf: segment 3"]));
    assert!(vectors["segment: 3 of a signed pair"].contains(&vectors["leaf: segment 2"]));
}

/// The length in a frame's head.
fn length_of(frame: &str) -> usize {
    usize::from_str_radix(&frame[2..8], 16).unwrap()
}

/// The message in a frame of kind 0, in hex.
fn frame(message: &Message) -> String {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    let head = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let frame = hex(&[&head[..], &bytes].concat());
    assert_eq!(decode(bytes.into()).as_ref(), Ok(message));
    frame
}
