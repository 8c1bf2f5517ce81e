//! The test vectors of docs/protocol.md are what this implementation sends, and what it understands.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fmt::Write as _;
use std::sync::Arc;

use smokesignal_proto::{
    Ask, Beat, Control, DigestEnd, Keypair, Mark, Message, Record, SeedReport, SeedState, SeedStatus,
    Segment, SegmentKind, decode, encode,
};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");
const NETWORK: [u8; 32] = [0; 32];

/// The messages of section 7, block by block.
fn vectors() -> Vec<Vec<Message>> {
    let keypair = Keypair::from_seed(&[7; 32]);
    let origin = keypair.id();
    let incarnation = 1_700_000_000_000;
    let seed = 0xea4a_6c63_e29c_520a;
    let quiet = Control::Ping { degree: 3, child: None, subtree: 0, seeds: Vec::new() };
    let report = SeedReport { seed, present: false, unreachable: 2, other_size: Some(300), beat: 5 };
    let child = Control::Ping { degree: 300, child: Some(0xea4a_6c63), subtree: 9, seeds: vec![report] };
    let statuses = vec![
        SeedStatus { seed: 1, state: SeedState::Elsewhere { size: 300 } },
        SeedStatus { seed, state: SeedState::Present },
    ];
    let beat = Arc::new(Beat::sign(&keypair, &NETWORK, incarnation, 5, 8, statuses));
    let mark = Mark { origin, incarnation: 1, have: 9, floor: 4, floor_message: 6, next_message: 12 };
    let body = b"\x05hello\0\x02hi";
    let unsigned = Segment {
        origin,
        incarnation: 1,
        seq: 2,
        first_message: 3,
        kind: SegmentKind::Whole { messages: 3 },
        body: body[..].into(),
        seal: None,
    };
    let mut signed = unsigned.clone();
    signed.sign(&keypair, &NETWORK);
    assert!(signed.verify(&NETWORK));
    let mut pair = [unsigned.clone(), Segment { seq: 3, first_message: 6, ..unsigned.clone() }];
    Segment::sign_all(&mut pair, &keypair, &NETWORK);
    let [_, second] = pair;
    assert!(second.verify(&NETWORK));
    let addresses = vec!["127.0.0.1:8495".parse().unwrap(), "[::1]:8495".parse().unwrap()];
    let records = vec![Record::sign(&keypair, &NETWORK, addresses, 7)];
    vec![
        vec![quiet.into(), child.into()],
        vec![Control::Beacon { beat, age_ms: 200, hops: 2 }.into(), Control::Probe.into()],
        vec![
            Control::Graft { asks: vec![Ask { origin, incarnation, from: 5, or_later: false }] }.into(),
            Control::Prune { origin, incarnation }.into(),
        ],
        vec![Control::Digest { marks: vec![mark], end: Some(DigestEnd { settled: true }) }.into()],
        vec![unsigned, signed, second].into_iter().map(|segment| Message::Data(Arc::new(segment))).collect(),
        vec![Control::Welcome { records }.into()],
    ]
}

#[test]
fn the_test_vectors_of_the_document_are_what_is_sent() {
    let (_, section) = DOCUMENT.split_once("## 7. Test vectors").unwrap();
    let documented: Vec<String> = section
        .split("```text\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap().split_whitespace().collect())
        .collect();
    let sent: Vec<String> = vectors().iter().map(|block| block.iter().map(frame).collect()).collect();
    assert_eq!(documented, sent, "\n{sent:#?}");
}

/// The message in a frame of kind 0, in hex.
fn frame(message: &Message) -> String {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    let mut hex = format!("{:08x}", bytes.len());
    bytes.iter().for_each(|byte| write!(hex, "{byte:02x}").unwrap());
    assert_eq!(decode(bytes.into()).as_ref(), Ok(message));
    hex
}
