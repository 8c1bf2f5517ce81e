//! What goes over one connection: overlay messages, and the data, credit and end of streams.
//!
//! A frame is one byte of kind, three bytes of length (big endian), and that many bytes. Stream frames begin with the
//! stream's number (four bytes, big endian): 0 is the neighbour's own duplex stream, odd ones were opened by the side that
//! dialled, even ones by the other.

use crate::wire::buffer_pool::Memory;
use bytes::{Buf, Bytes, BytesMut};
use smokesignal_proto::{CodecError, MAX_FRAME, Message, NodeId, decode, encode_head};

/// Bytes of stream data in one frame at most, so that it delays overlay messages no longer than a segment does.
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

/// Bytes in the name of a stream at most.
pub(crate) const MAX_NAME: usize = 255;
/// Bytes in the reason of a reset at most.
pub(crate) const MAX_REASON: usize = 255;

/// A segment's body is copied out of the read buffer up to this size: a small one that is retained for a minute must
/// not keep the whole buffer of 256 KiB alive. Stream data always is: it may stay unread for ever.
const COPY_BELOW: usize = 32 * 1024;

/// One frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Message(Message),
    /// Of the stream with this number.
    Stream(u32, Part),
}

/// What a stream frame says.
#[derive(Debug, PartialEq)]
pub(crate) enum Part {
    /// The stream begins, and asks for whoever accepts this name.
    Open(String),
    /// The stream begins, and is to be carried to this node, which the search with this number has found.
    Carry { query: u64, target: NodeId },
    /// Bytes of the stream; `end`: a write ended here.
    Data { data: Bytes, end: bool },
    /// The receiver has room for this many more bytes.
    Credit(u32),
    /// The sender has more than it has credit for.
    Blocked,
    /// No more data will come.
    Fin,
    /// The sender reads no more: what is still written is thrown away.
    Stop,
    /// The stream is over at once, in both directions.
    Reset(Reset),
}

/// Why a stream was ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reset {
    /// Nobody accepts streams of this name.
    Refused,
    /// There are too many streams, or too many that nobody has taken yet.
    Busy,
    /// The application at the other end says why.
    Reason(String),
}

/// The bytes are no frames: close the connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of kind {0}")]
    UnknownKind(u8),
    #[error("a frame of {0} bytes; the limit is {MAX_FRAME}")]
    TooLong(usize),
    #[error("a malformed stream frame")]
    BadStream,
    #[error(transparent)]
    Message(#[from] CodecError),
}

/// Appends the frame to `out`; its body, where it has one, is given to `add`, which appends it or sees to it that it
/// follows.
pub(crate) fn put(frame: &Frame, out: &mut Vec<u8>, add: impl FnOnce(&mut Vec<u8>, &Bytes)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let (kind, body) = match frame {
        Frame::Message(message) => (MESSAGE, encode_head(message, out)),
        Frame::Stream(number, part) => {
            out.extend_from_slice(&number.to_be_bytes());
            put_part(part, out)
        }
    };
    let length = (out.len() - start - HEADER + body.map_or(0, Bytes::len)) as u32;
    out[start..start + HEADER].copy_from_slice(&(u32::from(kind) << 24 | length).to_be_bytes());
    if let Some(body) = body {
        add(out, body);
    }
}

fn put_part<'a>(part: &'a Part, out: &mut Vec<u8>) -> (u8, Option<&'a Bytes>) {
    let kind = match part {
        Part::Data { data, end } => return (if *end { DATA_END } else { DATA }, Some(data)),
        Part::Open(name) => {
            out.extend_from_slice(name.as_bytes());
            OPEN
        }
        Part::Carry { query, target } => {
            out.extend_from_slice(&query.to_be_bytes());
            out.extend_from_slice(target.as_bytes());
            CARRY
        }
        Part::Credit(bytes) => {
            out.extend_from_slice(&bytes.to_be_bytes());
            CREDIT
        }
        Part::Blocked => BLOCKED,
        Part::Fin => FIN,
        Part::Stop => STOP,
        Part::Reset(reset) => {
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

/// The next whole frame in the buffer. The length is checked before anything is waited for.
pub(crate) fn take(buffer: &mut BytesMut, memory: &Memory) -> Result<Option<Frame>, FrameError> {
    let Some(header) = buffer.first_chunk::<HEADER>() else { return Ok(None) };
    let header = u32::from_be_bytes(*header);
    let (kind, length) = ((header >> 24) as u8, (header & 0x00ff_ffff) as usize);
    if kind > CARRY {
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
    if kind == MESSAGE {
        let payload = if length < COPY_BELOW { memory.copy(&payload) } else { payload.freeze() };
        return Ok(Some(Frame::Message(decode(payload)?)));
    }
    stream_frame(kind, &payload, memory).map(Some)
}

fn stream_frame(kind: u8, mut payload: &[u8], memory: &Memory) -> Result<Frame, FrameError> {
    if payload.len() < 4 {
        return Err(FrameError::BadStream);
    }
    let number = payload.get_u32();
    let part = match (kind, payload.len()) {
        (DATA | DATA_END, ..=MAX_STREAM_DATA) => {
            Part::Data { data: memory.copy(payload), end: kind == DATA_END }
        }
        (CREDIT, 4) => Part::Credit(payload.get_u32()),
        (BLOCKED, 0) => Part::Blocked,
        (FIN, 0) => Part::Fin,
        (STOP, 0) => Part::Stop,
        (CARRY, 40) => {
            let query = payload.get_u64();
            let target = payload[..].try_into().map(NodeId::from_bytes).map_err(|_| FrameError::BadStream)?;
            Part::Carry { query, target }
        }
        (OPEN, ..=MAX_NAME) => Part::Open(text(payload)?),
        (RESET, 1..) if payload.len() <= 1 + MAX_REASON => Part::Reset(match (payload.get_u8(), payload) {
            (0, []) => Reset::Refused,
            (1, []) => Reset::Busy,
            (2, reason) => Reset::Reason(text(reason)?),
            _ => return Err(FrameError::BadStream),
        }),
        _ => return Err(FrameError::BadStream),
    };
    Ok(Frame::Stream(number, part))
}

fn text(bytes: &[u8]) -> Result<String, FrameError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| FrameError::BadStream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smokesignal_proto::Control;

    #[test]
    fn frames_survive_the_wire_in_any_pieces() {
        let frames = [
            Frame::Message(Control::Ping { degree: 3, child: None, subtree: 0, seeds: Vec::new() }.into()),
            Frame::Stream(7, Part::Open("chat".into())),
            Frame::Stream(8, Part::Carry { query: 1 << 40, target: NodeId::from_bytes([7; 32]) }),
            Frame::Stream(0, Part::Data { data: "hello".into(), end: true }),
            Frame::Stream(u32::MAX, Part::Data { data: Bytes::new(), end: false }),
            Frame::Stream(7, Part::Credit(77)),
            Frame::Stream(7, Part::Blocked),
            Frame::Stream(7, Part::Fin),
            Frame::Stream(7, Part::Stop),
            Frame::Stream(7, Part::Reset(Reset::Busy)),
            Frame::Stream(7, Part::Reset(Reset::Reason("enough".into()))),
        ];
        let mut wire = Vec::new();
        frames.iter().for_each(|frame| put(frame, &mut wire, |wire, body| wire.extend_from_slice(body)));
        let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
        for byte in wire {
            buffer.extend_from_slice(&[byte]);
            read.extend(take(&mut buffer, &Memory::default()).unwrap());
        }
        assert_eq!(read, frames);
    }

    #[test]
    fn what_is_no_frame_is_refused_before_it_is_waited_for() {
        let refused = |bytes: &[u8]| take(&mut BytesMut::from(bytes), &Memory::default()).is_err();
        assert!(refused(&[10, 0, 0, 0]));
        assert!(refused(&[0, 0xff, 0xff, 0xff]));
        assert!(refused(&[3, 0, 0, 4, 0, 0, 0, 0]));
        assert!(refused(&[4, 0, 0, 5, 0, 0, 0, 1, 0]));
        assert!(refused(&[9, 0, 0, 5, 0, 0, 0, 1, 0]), "carried to nobody");
        assert!(refused(&[5, 0, 0, 5, 0, 0, 0, 1, 0xff]), "a name that is no text");
        assert!(refused(&[6, 0, 0, 5, 0, 0, 0, 1, 9]));
        assert!(refused(&[6, 0, 0, 6, 0, 0, 0, 1, 0, b'x']), "only the application gives a reason");
        assert!(refused(&[6, 0, 0, 6, 0, 0, 0, 1, 1, b'x']), "only the application gives a reason");
        assert!(refused(&[0, 0, 0, 1, 7]));
    }
}
