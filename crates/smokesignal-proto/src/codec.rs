//! Bytes to [`Message`] and back. Total on hostile input: no panic, no allocation beyond a small
//! multiple of the input, every count checked against its limit.
//!
//! A control message is byte 0 and the postcard form of [`Control`]. A segment is byte 1, the
//! varints age and time (both in milliseconds, see `age.rs`), a flags byte (bit 0 fragment, bit 1
//! its first, bit 2 its last, bit 3 signed, bits 4 to 7 the kind of its messages), the origin's 32
//! bytes, the varints incarnation, seq and first message, the seal if there is one, and the body. A
//! part is byte 2, a byte that is 1 in the last one, and its piece of a segment. A seal is the
//! signature's 64 bytes, the varint time (in seconds since 1970), a byte (bits 0 to 2: the number
//! of hashes; bit 3 + n: the n-th stands on the left), and the hashes of 32 bytes.
//!
//! Control messages are rare and small, so they are plain data behind a derived format. Segments
//! are most of the traffic and up to 64 KiB: their head is read by hand, and their body stays where
//! it arrived, shared by the ring, the links and the reader. Everything that a later stage relies
//! on is checked here: the range of numbers, the bounds of the messages in a body, and the head
//! that their kind demands.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::age::Age;
use crate::config::MAX_SEGMENT;
use crate::hash_tree::{InclusionProof, MAX_PROOF};
use crate::id::{NodeId, Signature};
use crate::message::{Control, MAX_MARKS, MAX_PROOFS, MAX_RECORDS, MAX_SEEDS, Message, Part};
use crate::messages;
use crate::proof::SegmentProof;
use crate::segment::{MessageKind, Seal, Segment, SegmentKind};
use crate::varint;

/// Bytes of one encoded message at most: a full segment and its header.
pub const MAX_FRAME: usize = MAX_SEGMENT + 320;

/// Bytes of a segment without its body, at most: six varints of up to ten bytes among them.
const MAX_HEAD: usize = 2 + 6 * 10 + 32 + 65 + 32 * MAX_PROOF;

const CONTROL: u8 = 0;
const DATA: u8 = 1;
const PART: u8 = 2;
/// The variants of [`Control`], which are numbered from 0.
const CONTROLS: u64 = if cfg!(smokesignal_next) { 38 } else { 37 };
const FRAGMENT: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;
const SIGNED: u8 = 8;
/// Where the bits of the messages' kind begin.
const KIND: u8 = 4;
/// In a seal, the bits that say how many hashes there are.
const COUNT_BITS: u8 = 3;

/// The bytes are not a message that this program understands. Their sender is broken, hostile or of
/// a later version: close the connection, but see [`CodecError::Unknown`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Longer than [`MAX_FRAME`].
    #[error("a message of {0} bytes; the limit is {MAX_FRAME}")]
    TooLong(usize),
    /// Cut short, or not as it has to be.
    #[error("a malformed {0}")]
    Malformed(&'static str),
    /// Of a kind that this program does not know. Where the sender has marked the message optional,
    /// skip it and keep the connection.
    #[error("the unknown {what} {number}")]
    Unknown {
        /// Names the kind of message.
        what: &'static str,
        /// Its number.
        number: u64,
    },
    /// More items than allowed.
    #[error("{count} {what} in one message; the limit is {limit}")]
    TooMany {
        /// Names the items.
        what: &'static str,
        /// The number of items.
        count: usize,
        /// The number that is allowed.
        limit: usize,
    },
}

/// Appends the message to `out`.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    if let Some(body) = encode_head(message, out) {
        out.extend_from_slice(body);
    }
}

/// Appends the message to `out`, except for the body of a segment, which has to follow: large ones
/// need not be copied.
pub fn encode_head<'a>(message: &'a Message, out: &mut Vec<u8>) -> Option<&'a Bytes> {
    match message {
        Message::Control(control) => {
            out.push(CONTROL);
            let bytes = postcard::to_allocvec(&**control).expect("writing plain data to memory cannot fail");
            out.extend_from_slice(&bytes);
            None
        }
        Message::Data(segment, age) => {
            let (age, at) = age.to_wire();
            out.reserve(MAX_HEAD);
            out.push(DATA);
            varint::put(out, age);
            varint::put(out, at);
            let signed = if segment.seal.is_some() { SIGNED } else { 0 };
            out.push(segment.flags() | signed);
            out.extend_from_slice(segment.origin.as_bytes());
            varint::put(out, segment.incarnation);
            varint::put(out, segment.seq);
            varint::put(out, segment.first_message);
            if let Some(Seal { signature, signed_at, proof }) = &segment.seal {
                out.extend_from_slice(signature.as_bytes());
                varint::put(out, *signed_at);
                out.push(proof.hashes.len() as u8 | proof.left << COUNT_BITS);
                proof.hashes.iter().for_each(|hash| out.extend_from_slice(hash));
            }
            Some(&segment.body)
        }
        Message::Part(part) => {
            out.extend_from_slice(&[PART, u8::from(part.last)]);
            Some(&part.piece)
        }
    }
}

/// Returns the message in `frame`. A segment's body shares the frame's memory.
pub fn decode(mut frame: Bytes) -> Result<Message, CodecError> {
    if frame.len() > MAX_FRAME {
        return Err(CodecError::TooLong(frame.len()));
    }
    if frame.is_empty() {
        return Err(CodecError::Malformed("empty message"));
    }
    match frame.get_u8() {
        CONTROL => decode_control(&frame).map(Message::from),
        DATA => {
            let age = decode_age(&mut frame).ok_or(CodecError::Malformed("segment"))?;
            Ok(Message::Data(Arc::new(decode_segment(frame)?), age))
        }
        PART => match frame.split_first() {
            Some((last @ 0..=1, piece)) if !piece.is_empty() => {
                Ok(Message::Part(Part { last: *last == 1, piece: frame.slice(1..) }))
            }
            _ => Err(CodecError::Malformed("part")),
        },
        kind => Err(CodecError::Unknown { what: "message kind", number: kind.into() }),
    }
}

fn decode_control(frame: &[u8]) -> Result<Control, CodecError> {
    match varint::read(frame) {
        Some((number, _)) if number >= CONTROLS => {
            return Err(CodecError::Unknown { what: "control message", number });
        }
        _ => {}
    }
    let (control, rest) =
        postcard::take_from_bytes::<Control>(frame).map_err(|_| CodecError::Malformed("control message"))?;
    if !rest.is_empty() {
        return Err(CodecError::Malformed("control message with a tail"));
    }
    let (what, count, limit) = match &control {
        Control::Welcome { records }
        | Control::Refuse { records }
        | Control::Disconnect { records, .. }
        | Control::Shuffle { records, .. }
        | Control::Bridge { records, .. }
        | Control::MoveAnswer { records }
        | Control::ShuffleReply { records, .. } => ("records", records.len(), MAX_RECORDS),
        Control::Digest { marks, .. } => ("marks", marks.len(), MAX_MARKS),
        Control::Graft { asks } => ("asks", asks.len(), MAX_MARKS),
        Control::Confirm { reports } => ("reports", reports.len(), MAX_MARKS),
        Control::Prove { writers } => ("writers", writers.len(), MAX_PROOFS),
        Control::Proofs { proofs } => ("proofs", proofs.len(), MAX_PROOFS),
        Control::Ping { seeds, .. } => ("seeds", seeds.len(), MAX_SEEDS),
        Control::Beacon { beat, .. } => ("seeds", beat.seeds.len(), MAX_SEEDS),
        Control::Sought { seeds } => ("seeds", seeds.len(), MAX_SEEDS),
        _ => ("items", 0, 0),
    };
    if count > limit {
        return Err(CodecError::TooMany { what, count, limit });
    }
    if let Control::Proofs { proofs } = &control
        && !proofs.iter().all(SegmentProof::is_sane)
    {
        return Err(CodecError::Malformed("proof"));
    }
    Ok(control)
}

fn decode_age(frame: &mut Bytes) -> Option<Age> {
    let (age, first) = varint::read(frame)?;
    let (at, second) = varint::read(&frame[first..])?;
    frame.advance(first + second);
    Some(Age::from_wire(age, at))
}

fn decode_segment(mut frame: Bytes) -> Result<Segment, CodecError> {
    let malformed = || CodecError::Malformed("segment");
    if frame.len() < 33 {
        return Err(malformed());
    }
    let flags = frame.get_u8();
    let origin = take_array(&mut frame).ok_or_else(malformed)?;
    let incarnation = get_varint(&mut frame).ok_or_else(malformed)?;
    let seq = get_varint(&mut frame).ok_or_else(malformed)?;
    let first_message = get_varint(&mut frame).ok_or_else(malformed)?;
    let seal = if flags & SIGNED == 0 { None } else { Some(decode_seal(&mut frame).ok_or_else(malformed)?) };
    let message_kind = MessageKind::from_bits(flags >> KIND);
    let kind = match flags & (FRAGMENT | FIRST | LAST) {
        0 => SegmentKind::Whole { messages: messages::count(&frame, message_kind).ok_or_else(malformed)? },
        flags if flags & FIRST != 0 && !message_kind.is_headed(&frame) => return Err(malformed()),
        _ if message_kind == MessageKind::End => return Err(malformed()),
        flags if flags & FRAGMENT != 0 => {
            SegmentKind::Fragment { first: flags & FIRST != 0, last: flags & LAST != 0 }
        }
        _ => return Err(malformed()),
    };
    // Numbers near the end of the range would overflow in later sums; nobody writes 2^62 segments.
    let sane = 1..1 << 62;
    let numbers = [seq, first_message, incarnation];
    if !numbers.iter().all(|number| sane.contains(number)) || frame.len() > MAX_SEGMENT {
        return Err(malformed());
    }
    Ok(Segment {
        origin: NodeId::from_bytes(origin),
        incarnation,
        seq,
        first_message,
        kind,
        message_kind,
        body: frame,
        seal,
    })
}

fn decode_seal(frame: &mut Bytes) -> Option<Seal> {
    let signature = Signature::new(take_array(frame)?);
    let signed_at = get_varint(frame)?;
    let [shape] = take_array(frame)?;
    let (count, left) = (usize::from(shape & ((1 << COUNT_BITS) - 1)), shape >> COUNT_BITS);
    if count > MAX_PROOF || left >> count != 0 {
        return None;
    }
    let hashes = (0..count).map(|_| take_array(frame)).collect::<Option<_>>()?;
    Some(Seal { signature, signed_at, proof: InclusionProof { hashes, left } })
}

fn take_array<const N: usize>(frame: &mut Bytes) -> Option<[u8; N]> {
    let array = *frame.first_chunk()?;
    frame.advance(N);
    Some(array)
}

fn get_varint(from: &mut Bytes) -> Option<u64> {
    let (value, size) = varint::read(from)?;
    from.advance(size);
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Keypair;
    use crate::life::LifeSign;
    use crate::message::{
        Ask, Beat, Confirmation, DigestEnd, DisconnectReason, Mark, Priority, SeedReport, SeedState,
        SeedStatus, SoughtSeed,
    };
    use crate::record::Record;

    fn record() -> Record {
        let addresses = vec!["127.0.0.1:8495".parse().unwrap(), "[::1]:8495".parse().unwrap()];
        Record::sign(&Keypair::from_seed(&[1; 32]), &[0; 32], addresses, u64::MAX)
    }

    /// The proof of the last of 16 segments, with the largest numbers.
    fn proof() -> SegmentProof {
        let keypair = Keypair::from_seed(&[1; 32]);
        let number = (1 << 62) - 1;
        let mut batch = vec![
            Segment {
                origin: keypair.id(),
                incarnation: number,
                seq: number,
                first_message: number,
                kind: SegmentKind::Whole { messages: 1 },
                message_kind: MessageKind::Application,
                body: vec![0].into(),
                seal: None,
            };
            16
        ];
        Segment::sign_all(&mut batch, &keypair, &[0; 32], 1_800_000_000);
        SegmentProof::of(&batch[15]).unwrap()
    }

    fn samples() -> Vec<Message> {
        let id = NodeId::from_bytes([3; 32]);
        let mark =
            Mark { origin: id, incarnation: 1, have: 9, floor: 4, floor_message: 77, next_message: 90 };
        let confirmation = Confirmation {
            writer: u64::MAX,
            incarnation: u64::MAX,
            position: 1 << 40,
            half: u64::MAX,
            lowest: 1 << 39,
            nodes: u32::MAX,
            behind: 2,
            gaps: 1,
            missed: u64::MAX,
            room: 32 * 1024,
            slowest: 1 << 63,
        };
        let report =
            SeedReport { seed: 1 << 63, present: false, unreachable: 2, other_size: Some(70_000), beat: 300 };
        let states =
            [SeedState::Present, SeedState::Absent, SeedState::Lost, SeedState::Elsewhere { size: 9 }];
        let seeds = states.iter().map(|state| SeedStatus { seed: 5, state: *state }).collect();
        let beat = Beat::sign(&Keypair::from_seed(&[1; 32]), &[0; 32], 7, 8, 9, seeds);
        let segment = |kind, body: &'static [u8]| {
            let body = Bytes::from_static(body);
            let mut segment = Segment {
                origin: id,
                incarnation: 300,
                seq: 1,
                first_message: 1 << 40,
                kind,
                message_kind: MessageKind::Application,
                body,
                seal: None,
            };
            if matches!(kind, SegmentKind::Whole { .. }) {
                segment.sign(&Keypair::from_seed(&[1; 32]), &[0; 32], 7);
            }
            Message::Data(Arc::new(segment), Age::from_wire(300, 1 << 40))
        };
        vec![
            Control::Join { record: record(), want: 3 }.into(),
            Control::Welcome { records: vec![record(); MAX_RECORDS] }.into(),
            Control::Walk { walk: 1, ttl: 6, record: record() }.into(),
            Control::Offer { walk: 1, record: record(), split: Some((record(), 5)) }.into(),
            Control::SplitPrepare { token: 5, joiner: id }.into(),
            Control::SplitAnswer { token: 5, ok: true }.into(),
            Control::SplitCommit { token: 5 }.into(),
            Control::Neighbor { record: record(), incarnation: 1, priority: Priority::High, token: None }
                .into(),
            Control::Accept { record: record(), incarnation: 1, sent: 1 << 40 }.into(),
            Control::Refuse { records: vec![] }.into(),
            Control::Active { sent: 1 << 40 }.into(),
            Control::Disconnect { reason: DisconnectReason::Leaving, records: vec![record()] }.into(),
            Control::Ping { degree: 4, child: Some(1 << 31), subtree: 9, seeds: vec![report] }.into(),
            Control::Beacon { beat: Arc::new(beat), age_ms: 1700, hops: 3 }.into(),
            Control::Probe.into(),
            Control::Move.into(),
            Control::MoveAnswer { records: vec![record()] }.into(),
            Control::Bridge { ttl: 6, records: vec![record()] }.into(),
            Control::Shuffle { walk: 2, ttl: 3, records: vec![record()] }.into(),
            Control::ShuffleReply { walk: 2, records: vec![] }.into(),
            Control::Digest { marks: vec![mark; MAX_MARKS], end: Some(DigestEnd { settled: true }) }.into(),
            Control::Graft {
                asks: vec![Ask { origin: id, incarnation: 1, from: 5, or_later: true }; MAX_MARKS],
            }
            .into(),
            Control::Prune { origin: id, incarnation: 1 }.into(),
            Control::Streams.into(),
            Control::Find { query: u64::MAX, target: id, ttl: 20 }.into(),
            Control::Located { query: 1, record: record() }.into(),
            Control::Sought { seeds: vec![SoughtSeed { seed: u64::MAX, by: u32::MAX }; MAX_SEEDS] }.into(),
            Control::Turn { seed: 1 << 63 }.into(),
            Control::Confirm { reports: vec![confirmation; MAX_MARKS] }.into(),
            Control::Pace { origin: id, incarnation: 1, floor: 70_000, patient: true }.into(),
            Control::Redirect { origin: id, incarnation: 1 }.into(),
            Control::Prove { writers: vec![id; MAX_PROOFS] }.into(),
            Control::Proofs { proofs: vec![proof(); MAX_PROOFS] }.into(),
            Control::Twin { process: u64::MAX, incarnation: 1, uptime_ms: 70_000 }.into(),
            Control::Challenge { writer: id, nonce: [9; 16] }.into(),
            Control::Alive {
                sign: LifeSign::sign(&Keypair::from_seed(&[1; 32]), &[0; 32], 1, u64::MAX, [9; 16]),
            }
            .into(),
            segment(SegmentKind::Whole { messages: 2 }, b"\x02hi\x00"),
            segment(SegmentKind::Fragment { first: true, last: false }, b"piece"),
        ]
    }

    fn encoded(message: &Message) -> Bytes {
        let mut out = Vec::new();
        encode(message, &mut out);
        out.into()
    }

    #[test]
    fn every_message_survives_the_wire_and_fits_a_frame() {
        for message in samples() {
            let bytes = encoded(&message);
            assert!(bytes.len() <= MAX_FRAME);
            assert_eq!(decode(bytes), Ok(message));
        }
    }

    #[test]
    fn the_largest_segment_with_the_largest_numbers_fits_a_frame() {
        let number = (1 << 62) - 1;
        let kind = SegmentKind::Fragment { first: false, last: false };
        let proof = InclusionProof { hashes: vec![[1; 32]; MAX_PROOF], left: 0 };
        let segment = Segment {
            origin: NodeId::from_bytes([3; 32]),
            incarnation: number,
            seq: number,
            first_message: number,
            kind,
            message_kind: MessageKind::Application,
            body: vec![0; MAX_SEGMENT].into(),
            seal: Some(Seal { signature: Signature::new([1; 64]), signed_at: u64::MAX, proof }),
        };
        let bytes = encoded(&Message::Data(Arc::new(segment), Age::from_wire(u64::MAX, u64::MAX)));
        assert!(bytes.len() <= MAX_SEGMENT + MAX_HEAD && bytes.len() <= MAX_FRAME, "{}", bytes.len());
        assert!(decode(bytes).is_ok());
    }

    #[test]
    fn a_message_cut_short_anywhere_is_refused() {
        for message in samples() {
            let bytes = encoded(&message);
            let fragment =
                matches!(&message, Message::Data(s, _) if matches!(s.kind, SegmentKind::Fragment { .. }));
            let cuts = if fragment { 1..40 } else { 1..bytes.len() };
            for cut in cuts {
                // A cut of a whole-message body may fall between two messages, which is a shorter
                // body.
                if let Ok(shorter) = decode(bytes.slice(..cut)) {
                    assert!(matches!(shorter, Message::Data(..)), "{message:?} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn counts_above_their_limit_are_refused() {
        let records = Message::from(Control::Welcome { records: vec![record(); MAX_RECORDS + 1] });
        assert!(matches!(decode(encoded(&records)), Err(CodecError::TooMany { what: "records", .. })));
        assert!(matches!(decode(vec![0; MAX_FRAME + 1].into()), Err(CodecError::TooLong(_))));
    }

    /// The number that `CONTROLS` states is that of the first message that nobody knows.
    #[test]
    fn a_message_of_a_later_version_is_told_from_a_malformed_one() {
        for number in 0..=127 {
            let unknown = matches!(decode(vec![CONTROL, number].into()), Err(CodecError::Unknown { .. }));
            assert_eq!(unknown, u64::from(number) >= CONTROLS, "control message {number}");
            let alone = postcard::from_bytes::<Control>(&[&[number][..], &[0; 400]].concat());
            assert_eq!(alone.is_ok(), u64::from(number) < CONTROLS, "control message {number}");
        }
        for class in 3..=255 {
            let what = decode(vec![class, 0].into()).unwrap_err().to_string();
            assert_eq!(what, format!("the unknown message kind {class}"));
        }
        // A number that is longer than it need be is the same number; one that is cut short is not
        // a number.
        let long = decode(vec![CONTROL, 0x80 | 99, 0].into()).unwrap_err();
        assert_eq!(long, CodecError::Unknown { what: "control message", number: 99 });
        assert!(matches!(decode(vec![CONTROL, 0x80].into()), Err(CodecError::Malformed(_))));
    }

    #[test]
    fn a_length_beyond_the_input_allocates_nothing() {
        // Welcome (variant 1) that claims 2^35 records, and a message that claims 2^63 bytes.
        assert!(decode(Bytes::from_static(&[0, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 1])).is_err());
        let long = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
        assert_eq!(messages::count(&long, MessageKind::Application), None);
    }

    /// A query has a number, and a message on a channel names it, or the segment is refused: here,
    /// not where it is read.
    #[test]
    fn a_segment_whose_messages_lack_the_head_of_their_kind_is_refused() {
        let decoded = |message_kind, kind, body: &'static [u8]| {
            let origin = NodeId::from_bytes([3; 32]);
            let (body, seal) = (Bytes::from_static(body), None);
            let segment =
                Segment { origin, incarnation: 1, seq: 1, first_message: 1, kind, message_kind, body, seal };
            decode(encoded(&Message::Data(Arc::new(segment), Age::from_wire(300, 1 << 40)))).is_ok()
        };
        let whole = SegmentKind::Whole { messages: 1 };
        let first = SegmentKind::Fragment { first: true, last: false };
        let next = SegmentKind::Fragment { first: false, last: true };
        use MessageKind::{Application, Channel, End, Query};
        for (kind, good, bad) in [
            (Application, &b"\0smokesignal\0"[..], None),
            (Query, b"12345678", Some(&b"1234567"[..])),
            (Channel, b"\x03one", Some(b"\x04one")),
            (Channel, b"\x03one and a message", Some(b"\0")),
        ] {
            let framed = |message: &[u8]| [&[message.len() as u8], message].concat().leak();
            assert!(decoded(kind, whole, framed(good)) && decoded(kind, first, good), "{kind:?} {good:?}");
            if let Some(bad) = bad {
                assert!(!decoded(kind, whole, framed(bad)) && !decoded(kind, first, bad), "{kind:?} {bad:?}");
                assert!(decoded(kind, next, bad), "only the first fragment has the head");
            }
        }
        assert!(decoded(End, whole, b"\0"), "an end is one empty message");
        for bad in [&b""[..], b"\x01a", b"\0\0"] {
            assert!(!decoded(End, whole, bad), "{bad:?}");
        }
        assert!(!decoded(End, first, b"") && !decoded(End, next, b"a"), "an end has no pieces");
    }

    /// A segment of a kind that nobody knows today is passed on by nodes of today: it has to be the
    /// same afterwards, and its messages have to be counted.
    #[test]
    fn a_segment_of_an_unknown_kind_survives_the_wire_and_its_messages_are_counted() {
        // From 8 on: those below will be taken first.
        for number in 8..16 {
            let kinds = [
                (SegmentKind::Whole { messages: 2 }, &b"\x02hi\x00"[..]),
                (SegmentKind::Fragment { first: true, last: false }, b""),
            ];
            for (kind, body) in kinds {
                let message_kind = MessageKind::Other(number);
                let (origin, body) = (NodeId::from_bytes([3; 32]), Bytes::from_static(body));
                let (incarnation, seq, first_message, seal) = (1, 1, 1, None);
                let segment =
                    Segment { origin, incarnation, seq, first_message, kind, message_kind, body, seal };
                let message = Message::Data(Arc::new(segment), Age::from_wire(300, 1 << 40));
                assert_eq!(decode(encoded(&message)), Ok(message));
            }
        }
        let whole = samples().into_iter().find(|message| matches!(message, Message::Data(..))).unwrap();
        let mut not_whole = encoded(&whole).to_vec();
        // Behind the class, the age of 2 bytes and the time of 6.
        not_whole[9] |= 9 << KIND;
        assert!(decode(not_whole.clone().into()).is_ok());
        not_whole.pop();
        not_whole.push(7);
        assert!(decode(not_whole.into()).is_err(), "a message of 7 bytes of which none is there");
    }

    proptest! {
        /// "Every byte from the network is hostile until checked" (INVARIANTS.md, 5).
        #[test]
        fn hostile_bytes_never_panic_and_what_decodes_encodes_again(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(message) = decode(bytes.into()) {
                prop_assert_eq!(decode(encoded(&message)), Ok(message));
            }
        }

        #[test]
        fn flipped_bits_in_real_messages_never_panic(which in 0..samples().len(), at in any::<u16>(), value in any::<u8>()) {
            let mut bytes = encoded(&samples()[which]).to_vec();
            let at = usize::from(at) % bytes.len();
            bytes[at] = value;
            if let Ok(message) = decode(bytes.into()) {
                prop_assert_eq!(decode(encoded(&message)), Ok(message));
            }
        }
    }
}
