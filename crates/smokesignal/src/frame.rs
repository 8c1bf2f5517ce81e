//! What goes over one connection: overlay messages, and the data, credit and end of streams.
//!
//! A frame is one byte of kind, three bytes of length (big endian), and that many bytes. Stream frames begin with the
//! stream's number (four bytes, big endian); 0 is the neighbour's own duplex stream, the only one so far.

use bytes::{Buf, Bytes, BytesMut};
use smokesignal_proto::{CodecError, MAX_FRAME, Message, decode, encode};

/// Bytes of stream data in one frame at most, so that it delays overlay messages no longer than a segment does.
pub(crate) const MAX_STREAM_DATA: usize = 16 * 1024;

const HEADER: usize = 4;
const MESSAGE: u8 = 0;
const DATA: u8 = 1;
const DATA_END: u8 = 2;
const CREDIT: u8 = 3;
const FIN: u8 = 4;

/// A segment's body is copied out of the read buffer up to this size: a small one that is retained for a minute must
/// not keep the whole buffer alive.
const COPY_BELOW: usize = 8 * 1024;

/// One frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Message(Message),
    /// Bytes of the stream; `end`: a write ended here.
    Data {
        data: Bytes,
        end: bool,
    },
    /// The receiver has room for this many more bytes.
    Credit(u32),
    /// No more data will come.
    Fin,
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

pub(crate) fn put(frame: &Frame, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let kind = match frame {
        Frame::Message(message) => {
            encode(message, out);
            MESSAGE
        }
        Frame::Data { data, end } => {
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(data);
            if *end { DATA_END } else { DATA }
        }
        Frame::Credit(bytes) => {
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&bytes.to_be_bytes());
            CREDIT
        }
        Frame::Fin => {
            out.extend_from_slice(&[0; 4]);
            FIN
        }
    };
    let length = (out.len() - start - HEADER) as u32;
    out[start..start + HEADER].copy_from_slice(&(u32::from(kind) << 24 | length).to_be_bytes());
}

/// The next whole frame in the buffer. The length is checked before anything is waited for.
pub(crate) fn take(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(header) = buffer.first_chunk::<HEADER>() else { return Ok(None) };
    let header = u32::from_be_bytes(*header);
    let (kind, length) = ((header >> 24) as u8, (header & 0x00ff_ffff) as usize);
    if kind > FIN {
        return Err(FrameError::UnknownKind(kind));
    }
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    if buffer.len() < HEADER + length {
        buffer.reserve(HEADER + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEADER);
    let payload = buffer.split_to(length);
    let payload = if length < COPY_BELOW { Bytes::copy_from_slice(&payload) } else { payload.freeze() };
    if kind == MESSAGE {
        return Ok(Some(Frame::Message(decode(payload)?)));
    }
    stream_frame(kind, payload).map(Some)
}

fn stream_frame(kind: u8, mut payload: Bytes) -> Result<Frame, FrameError> {
    if payload.len() < 4 || payload.get_u32() != 0 {
        return Err(FrameError::BadStream);
    }
    match (kind, payload.len()) {
        (DATA | DATA_END, ..=MAX_STREAM_DATA) => Ok(Frame::Data { data: payload, end: kind == DATA_END }),
        (CREDIT, 4) => Ok(Frame::Credit(payload.get_u32())),
        (FIN, 0) => Ok(Frame::Fin),
        _ => Err(FrameError::BadStream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smokesignal_proto::Control;

    #[test]
    fn frames_survive_the_wire_in_any_pieces() {
        let frames = [
            Frame::Message(Control::Ping { degree: 3, child: None, subtree: 0, seeds: Vec::new() }.into()),
            Frame::Data { data: "hello".into(), end: true },
            Frame::Data { data: Bytes::new(), end: false },
            Frame::Credit(77),
            Frame::Fin,
        ];
        let mut wire = Vec::new();
        frames.iter().for_each(|frame| put(frame, &mut wire));
        let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
        for byte in wire {
            buffer.extend_from_slice(&[byte]);
            read.extend(take(&mut buffer).unwrap());
        }
        assert_eq!(read, frames);
    }

    #[test]
    fn what_is_no_frame_is_refused_before_it_is_waited_for() {
        let refused = |bytes: &[u8]| take(&mut BytesMut::from(bytes)).is_err();
        assert!(refused(&[9, 0, 0, 0]));
        assert!(refused(&[0, 0xff, 0xff, 0xff]));
        assert!(refused(&[3, 0, 0, 4, 0, 0, 0, 0]));
        assert!(refused(&[4, 0, 0, 4, 0, 0, 0, 1]));
        assert!(refused(&[0, 0, 0, 1, 7]));
    }
}
