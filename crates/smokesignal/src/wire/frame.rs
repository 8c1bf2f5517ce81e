//! One frame: the unit that a connection carries.
//!
//! A frame is one byte of kind, three bytes of length (big endian), and a body of that length. It
//! is either a message of the overlay or belongs to a stream. Stream frames begin with the stream's
//! number (four bytes, big endian): 0 is the neighbour's own duplex stream, odd numbers were opened
//! by the side that dialled, even ones by the other.
//!
//! The highest bit of the kind says that the frame is [optional](OPTIONAL): a node that does not
//! know its kind, or the message in it, skips it. Any other frame that a node does not know ends
//! the connection, and so it is sent only to a node that has offered the feature that it belongs
//! to.
//!
//! [`decode`] checks kind and length as soon as the header is there, before it waits for the body,
//! so a hostile length costs no memory.

use bytes::{Buf, Bytes, BytesMut};
use smokesignal_proto::{CodecError, MAX_FRAME, Message, NodeId, decode as decode_message, encode_head};

use crate::wire::buffer_pool::BufferPools;

/// Maximum length of the data in one stream frame: 16 KiB, so that it delays overlay messages no
/// longer than a segment does.
pub(crate) const MAX_STREAM_DATA: usize = 16 * 1024;

const HEADER: usize = 4;
const MESSAGE: u8 = 0;
const DATA: u8 = 1;
const DATA_END: u8 = 2;
const CREDIT: u8 = 3;
const FIN: u8 = 4;
const OPEN: u8 = 5;
const RESET: u8 = 6;
const STOP: u8 = 7;
const BLOCKED: u8 = 8;
const CARRY: u8 = 9;

/// The bit of optional frames in the kind (as in PNG, where a bit of a chunk's type says whether a
/// reader may skip it).
const OPTIONAL: u8 = 0x80;
/// A message that may be skipped. The kinds above it are free.
const OPTIONAL_MESSAGE: u8 = OPTIONAL | MESSAGE;
/// Stands for an optional frame that the next version of this program adds.
#[cfg(smokesignal_next)]
const NEXT: u8 = OPTIONAL | 77;
/// Stands for one that belongs to a feature: sent only where both ends have offered it.
#[cfg(smokesignal_next)]
const NEXT_FEATURE: u8 = 77;

/// Maximum length of a stream's name, in bytes.
pub(crate) const MAX_NAME: usize = 255;
/// Maximum length of a reset's reason, in bytes.
pub(crate) const MAX_REASON: usize = 255;

/// A message below this size is copied out of the read buffer: a small segment that is retained for
/// a minute must not keep a whole buffer of 256 KiB alive. Stream data is always copied, because it
/// may stay unread for ever.
pub(crate) const COPIED_BELOW: usize = 32 * 1024;

/// One frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    /// A message of the overlay.
    Message(Message),
    /// A frame of the stream with this number.
    Stream(u32, StreamFrame),
    /// An optional frame that this program does not know, or one with a message that it does not
    /// know: to be skipped.
    Skipped { kind: u8, payload: Bytes },
    /// Stands for what the next version adds.
    #[cfg(smokesignal_next)]
    Next { optional: bool },
}

/// What a stream frame says.
#[derive(Debug, PartialEq)]
pub(crate) enum StreamFrame {
    /// The stream begins and asks for the acceptor of this name.
    Open(String),
    /// The stream begins and is to be relayed to `target`, which the lookup `query` has found.
    Carry { query: u64, target: NodeId },
    /// Bytes of the stream. `end` marks the last bytes of one write.
    Data { data: Bytes, end: bool },
    /// The receiver has room for this number of further bytes.
    Credit(u32),
    /// The sender has more data than credit.
    Blocked,
    /// The sender has sent all of its data.
    Fin,
    /// The sender of this frame reads no more; it discards what still arrives.
    Stop,
    /// The stream ends immediately, in both directions.
    Reset(Reset),
}

/// Why a stream was reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reset {
    /// The name has no acceptor.
    Refused,
    /// Too many streams are open, or wait to be accepted.
    Busy,
    /// The application at the other end gives this reason.
    Reason(String),
}

/// The bytes are not valid frames; the connection has to be closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    #[error("a frame of {0} bytes exceeds the limit of {MAX_FRAME}")]
    TooLong(usize),
    #[error("malformed stream frame")]
    BadStream,
    #[error(transparent)]
    Message(#[from] CodecError),
}

/// Appends the frame's header to `out`. A frame with a body hands it to `add`, which either appends
/// the body to `out` or arranges for it to be written next.
pub(crate) fn encode(frame: &Frame, out: &mut Vec<u8>, add: impl FnOnce(&mut Vec<u8>, &Bytes)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let (kind, body) = match frame {
        Frame::Message(message) if message.is_optional() => (OPTIONAL_MESSAGE, encode_head(message, out)),
        Frame::Message(message) => (MESSAGE, encode_head(message, out)),
        Frame::Stream(number, frame) => {
            out.extend_from_slice(&number.to_be_bytes());
            encode_stream_frame(frame, out)
        }
        Frame::Skipped { kind, payload } => (*kind | OPTIONAL, Some(payload)),
        #[cfg(smokesignal_next)]
        Frame::Next { optional } => (if *optional { NEXT } else { NEXT_FEATURE }, None),
    };
    let length = (out.len() - start - HEADER + body.map_or(0, Bytes::len)) as u32;
    out[start..start + HEADER].copy_from_slice(&(u32::from(kind) << 24 | length).to_be_bytes());
    if let Some(body) = body {
        add(out, body);
    }
}

fn encode_stream_frame<'a>(frame: &'a StreamFrame, out: &mut Vec<u8>) -> (u8, Option<&'a Bytes>) {
    let kind = match frame {
        StreamFrame::Data { data, end } => return (if *end { DATA_END } else { DATA }, Some(data)),
        StreamFrame::Open(name) => {
            out.extend_from_slice(name.as_bytes());
            OPEN
        }
        StreamFrame::Carry { query, target } => {
            out.extend_from_slice(&query.to_be_bytes());
            out.extend_from_slice(target.as_bytes());
            CARRY
        }
        StreamFrame::Credit(bytes) => {
            out.extend_from_slice(&bytes.to_be_bytes());
            CREDIT
        }
        StreamFrame::Blocked => BLOCKED,
        StreamFrame::Fin => FIN,
        StreamFrame::Stop => STOP,
        StreamFrame::Reset(reset) => {
            let (code, reason) = match reset {
                Reset::Refused => (0, ""),
                Reset::Busy => (1, ""),
                Reset::Reason(reason) => (2, reason.as_str()),
            };
            out.push(code);
            out.extend_from_slice(reason.as_bytes());
            RESET
        }
    };
    (kind, None)
}

/// Takes the next frame out of the buffer; returns `None` if it is not complete yet.
///
/// # Errors
/// The bytes are not a frame. Kind and length are checked before the body is complete.
pub(crate) fn decode(buffer: &mut BytesMut, buffers: &BufferPools) -> Result<Option<Frame>, FrameError> {
    let Some(header) = buffer.first_chunk::<HEADER>() else { return Ok(None) };
    let header = u32::from_be_bytes(*header);
    let (kind, length) = ((header >> 24) as u8, (header & 0x00ff_ffff) as usize);
    if !is_known(kind) && kind & OPTIONAL == 0 {
        return Err(FrameError::UnknownKind(kind));
    }
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    if buffer.len() < HEADER + length {
        return Ok(None);
    }
    buffer.advance(HEADER);
    let payload = buffer.split_to(length);
    match kind {
        MESSAGE => Ok(Frame::Message(decode_message(take(payload, buffers))?)),
        OPTIONAL_MESSAGE => optional_message(take(payload, buffers)),
        #[cfg(smokesignal_next)]
        NEXT | NEXT_FEATURE if payload.is_empty() => Ok(Frame::Next { optional: kind == NEXT }),
        #[cfg(smokesignal_next)]
        NEXT | NEXT_FEATURE => Err(FrameError::BadStream),
        kind if kind & OPTIONAL != 0 => Ok(Frame::Skipped { kind, payload: payload.freeze() }),
        kind => stream_frame(kind, &payload, buffers),
    }
    .map(Some)
}

#[cfg(not(smokesignal_next))]
const fn is_known(kind: u8) -> bool {
    kind <= CARRY
}

#[cfg(smokesignal_next)]
const fn is_known(kind: u8) -> bool {
    kind <= CARRY || kind == NEXT_FEATURE
}

fn take(payload: BytesMut, buffers: &BufferPools) -> Bytes {
    if payload.len() < COPIED_BELOW { buffers.copy(&payload) } else { payload.freeze() }
}

fn optional_message(payload: Bytes) -> Result<Frame, FrameError> {
    match decode_message(payload.clone()) {
        Ok(message) => Ok(Frame::Message(message)),
        Err(CodecError::Unknown { .. }) => Ok(Frame::Skipped { kind: OPTIONAL_MESSAGE, payload }),
        Err(error) => Err(error.into()),
    }
}

fn stream_frame(kind: u8, mut payload: &[u8], buffers: &BufferPools) -> Result<Frame, FrameError> {
    if payload.len() < 4 {
        return Err(FrameError::BadStream);
    }
    let number = payload.get_u32();
    let frame = match (kind, payload.len()) {
        (DATA | DATA_END, ..=MAX_STREAM_DATA) => {
            StreamFrame::Data { data: buffers.copy(payload), end: kind == DATA_END }
        }
        (CREDIT, 4) => StreamFrame::Credit(payload.get_u32()),
        (BLOCKED, 0) => StreamFrame::Blocked,
        (FIN, 0) => StreamFrame::Fin,
        (STOP, 0) => StreamFrame::Stop,
        (CARRY, 40) => {
            let query = payload.get_u64();
            let target = payload[..].try_into().map(NodeId::from_bytes).map_err(|_| FrameError::BadStream)?;
            StreamFrame::Carry { query, target }
        }
        (OPEN, ..=MAX_NAME) => StreamFrame::Open(text(payload)?),
        (RESET, 1..) if payload.len() <= 1 + MAX_REASON => {
            StreamFrame::Reset(match (payload.get_u8(), payload) {
                (0, []) => Reset::Refused,
                (1, []) => Reset::Busy,
                (2, reason) => Reset::Reason(text(reason)?),
                _ => return Err(FrameError::BadStream),
            })
        }
        _ => return Err(FrameError::BadStream),
    };
    Ok(Frame::Stream(number, frame))
}

fn text(bytes: &[u8]) -> Result<String, FrameError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| FrameError::BadStream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::vectors::{hex, vectors};
    use smokesignal_proto::Control;

    #[test]
    fn stream_frames_are_those_of_the_test_vectors() {
        let target = Identity::from_seed([8; 32]).id();
        let hello = |end| StreamFrame::Data { data: "hello".into(), end };
        let frames = [
            ("DATA", 0, hello(false)),
            ("DATA_END", 7, hello(true)),
            ("CREDIT", 7, StreamFrame::Credit(8192)),
            ("FIN", 7, StreamFrame::Fin),
            ("OPEN", 7, StreamFrame::Open("direct".into())),
            ("OPEN: an answer", 7, StreamFrame::Open(String::new())),
            ("RESET: refused", 7, StreamFrame::Reset(Reset::Refused)),
            ("RESET: busy", 7, StreamFrame::Reset(Reset::Busy)),
            ("RESET: by the application", 7, StreamFrame::Reset(Reset::Reason("enough".into()))),
            ("STOP", 7, StreamFrame::Stop),
            ("BLOCKED", 7, StreamFrame::Blocked),
            ("CARRY", 8, StreamFrame::Carry { query: 1 << 41, target }),
        ];
        let vectors = vectors();
        for (name, number, frame) in frames {
            let mut wire = Vec::new();
            let frame = Frame::Stream(number, frame);
            encode(&frame, &mut wire, |wire, body| wire.extend_from_slice(body));
            assert_eq!(vectors[name], hex(&wire), "{name}");
            let read = decode(&mut BytesMut::from(&wire[..]), &BufferPools::default()).unwrap();
            assert_eq!(read, Some(frame));
        }
    }

    #[test]
    fn frames_survive_the_wire_when_they_arrive_byte_by_byte() {
        let frames = [
            Frame::Message(Control::Ping { degree: 3, child: None, subtree: 0, seeds: Vec::new() }.into()),
            Frame::Stream(7, StreamFrame::Open("chat".into())),
            Frame::Stream(8, StreamFrame::Carry { query: 1 << 40, target: NodeId::from_bytes([7; 32]) }),
            Frame::Stream(0, StreamFrame::Data { data: "hello".into(), end: true }),
            Frame::Stream(u32::MAX, StreamFrame::Data { data: Bytes::new(), end: false }),
            Frame::Stream(7, StreamFrame::Credit(77)),
            Frame::Stream(7, StreamFrame::Blocked),
            Frame::Stream(7, StreamFrame::Fin),
            Frame::Stream(7, StreamFrame::Stop),
            Frame::Stream(7, StreamFrame::Reset(Reset::Busy)),
            Frame::Stream(7, StreamFrame::Reset(Reset::Reason("enough".into()))),
        ];
        let mut wire = Vec::new();
        frames.iter().for_each(|frame| encode(frame, &mut wire, |wire, body| wire.extend_from_slice(body)));
        let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
        for byte in wire {
            buffer.extend_from_slice(&[byte]);
            read.extend(decode(&mut buffer, &BufferPools::default()).unwrap());
        }
        assert_eq!(read, frames);
    }

    fn decoded(mut wire: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
        while let Some((byte, rest)) = wire.split_first() {
            wire = rest;
            buffer.extend_from_slice(&[*byte]);
            frames.extend(decode(&mut buffer, &BufferPools::default())?);
        }
        Ok(frames)
    }

    fn raw(kind: u8, payload: &[u8]) -> Vec<u8> {
        [&(u32::from(kind) << 24 | payload.len() as u32).to_be_bytes()[..], payload].concat()
    }

    /// "A node skips an optional frame of a kind that it does not know" (docs/protocol.md, 2).
    #[test]
    fn of_unknown_frames_the_optional_ones_are_skipped_and_the_others_refused() {
        let fin = || Frame::Stream(7, StreamFrame::Fin);
        let last = raw(FIN, &[0, 0, 0, 7]);
        for kind in CARRY + 1..OPTIONAL {
            assert!(matches!(decoded(&raw(kind, &[])), Err(FrameError::UnknownKind(_))), "kind {kind}");
        }
        for kind in OPTIONAL + 1..=u8::MAX {
            for payload in [&b""[..], b"anything"] {
                let frames = decoded(&[raw(kind, payload), last.clone()].concat()).unwrap();
                let skipped = Frame::Skipped { kind, payload: Bytes::copy_from_slice(payload) };
                assert_eq!(frames, [skipped, fin()], "kind {kind}");
            }
        }
        let mut longest = BytesMut::from(&raw(OPTIONAL + 1, &[0; MAX_FRAME])[..]);
        let skipped = decode(&mut longest, &BufferPools::default());
        assert!(matches!(skipped, Ok(Some(Frame::Skipped { .. }))));
        assert!(decoded(&raw(OPTIONAL + 1, &[0; MAX_FRAME + 1])[..HEADER]).is_err());
    }

    #[test]
    fn an_optional_message_counts_where_it_is_known_and_is_skipped_where_it_is_not() {
        let mut ping = Vec::new();
        let message: Message = Control::Ping { degree: 3, child: None, subtree: 0, seeds: Vec::new() }.into();
        smokesignal_proto::encode(&message, &mut ping);
        assert_eq!(decoded(&raw(OPTIONAL_MESSAGE, &ping)).unwrap(), [Frame::Message(message)]);
        for unknown in [&[0, 100][..], &[0, 0xff, 0x7f, 1, 2, 3], &[3], &[255, 0]] {
            let payload = Bytes::copy_from_slice(unknown);
            let skipped = Frame::Skipped { kind: OPTIONAL_MESSAGE, payload };
            assert_eq!(decoded(&raw(OPTIONAL_MESSAGE, unknown)).unwrap(), [skipped], "{unknown:?}");
            assert!(decoded(&raw(MESSAGE, unknown)).is_err(), "{unknown:?}");
        }
        ping.pop();
        for malformed in [&ping[..], &[], &[0], &[1]] {
            assert!(decoded(&raw(OPTIONAL_MESSAGE, malformed)).is_err(), "{malformed:?}");
        }
    }

    #[test]
    fn a_malformed_frame_is_refused_before_its_body_is_waited_for() {
        let refused = |bytes: &[u8]| decode(&mut BytesMut::from(bytes), &BufferPools::default()).is_err();
        assert!(refused(&[10, 0, 0, 0]));
        assert!(refused(&[0, 0xff, 0xff, 0xff]));
        assert!(refused(&[3, 0, 0, 4, 0, 0, 0, 0]));
        assert!(refused(&[4, 0, 0, 5, 0, 0, 0, 1, 0]));
        assert!(refused(&[9, 0, 0, 5, 0, 0, 0, 1, 0]), "no target to relay to");
        assert!(refused(&[5, 0, 0, 5, 0, 0, 0, 1, 0xff]), "a name that is not UTF-8");
        assert!(refused(&[6, 0, 0, 5, 0, 0, 0, 1, 9]));
        assert!(refused(&[6, 0, 0, 6, 0, 0, 0, 1, 0, b'x']), "only the application gives a reason");
        assert!(refused(&[6, 0, 0, 6, 0, 0, 0, 1, 1, b'x']), "only the application gives a reason");
        assert!(refused(&[0, 0, 0, 1, 7]));
    }
}
