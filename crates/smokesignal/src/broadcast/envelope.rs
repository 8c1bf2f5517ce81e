//! How the library's own messages are told from those of the application.
//!
//! A broadcast message that begins with [`MARK`] is not the application's: the byte after the mark
//! says what it is, a question or a message on a channel. An application's message that happens to
//! begin with the mark is sent behind a mark of its own, as [`LITERAL`], so every payload arrives as
//! it was written.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use smokesignal_proto::NodeId;

/// Begins a message that is not the application's.
const MARK: &[u8] = b"\0smokesignal\0";
const LITERAL: u8 = 0;
const QUESTION: u8 = 1;
const CHANNEL: u8 = 2;
/// Maximum length of a channel's name, in bytes.
pub(crate) const MAX_CHANNEL: usize = 32;
/// Maximum number of bytes that an envelope adds to a message: the mark, the kind, and a channel's
/// name with its length. A question's number is shorter.
pub(crate) const MAX_ENVELOPE: usize = MARK.len() + 1 + 1 + MAX_CHANNEL;

/// A question that another node asks.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) from: NodeId,
    /// Names the question in its answers.
    pub(crate) number: u64,
    pub(crate) data: Bytes,
}

/// What a message turned out to be.
pub(crate) enum Opened {
    /// A message of the application.
    Message(Bytes),
    Question(Question),
    /// A message on the channel of this name.
    OnChannel(Bytes, Bytes),
    /// A kind of message that a later version may define.
    Unknown,
}

/// Encloses a message of the application.
pub(crate) fn literal(data: Bytes) -> Bytes {
    if is_marked(&data) { marked(LITERAL, &data) } else { data }
}

/// Encloses a message on a channel, whose name has at most [`MAX_CHANNEL`] bytes.
pub(crate) fn on_channel(channel: &str, data: &[u8]) -> Bytes {
    [MARK, &[CHANNEL, channel.len() as u8], channel.as_bytes(), data].concat().into()
}

/// Encloses a question.
pub(crate) fn question(number: u64, question: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(8 + question.len());
    message.put_u64(number);
    message.put_slice(question);
    marked(QUESTION, &message)
}

fn marked(kind: u8, data: &[u8]) -> Bytes {
    [MARK, &[kind], data].concat().into()
}

/// Returns whether a message has to be [opened](open); all others are the application's as they are.
pub(crate) fn is_marked(data: &[u8]) -> bool {
    data.starts_with(MARK)
}

/// Returns what a message is, without its envelope.
pub(crate) fn open(from: NodeId, mut data: Bytes) -> Opened {
    if !is_marked(&data) {
        return Opened::Message(data);
    }
    data.advance(MARK.len());
    let kind = if data.is_empty() { u8::MAX } else { data.get_u8() };
    match kind {
        LITERAL => Opened::Message(data),
        QUESTION if data.len() >= 8 => Opened::Question(Question { from, number: data.get_u64(), data }),
        CHANNEL if !data.is_empty() => {
            let length = data.get_u8() as usize;
            if length > data.len() {
                return Opened::Unknown;
            }
            let channel = data.split_to(length);
            Opened::OnChannel(channel, data)
        }
        _ => Opened::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_application_writes_is_read_as_it_was() {
        let from = NodeId::from_bytes([1; 32]);
        for data in
            [&b""[..], b"hello", MARK, b"\0smokesignal\0\0x", b"\0smokesignal\0\x0112345678", b"\0smoke"]
        {
            let Opened::Message(read) = open(from, literal(Bytes::copy_from_slice(data))) else {
                panic!("{data:?}")
            };
            assert_eq!(read, data);
        }
        assert!(matches!(open(from, MARK.into()), Opened::Unknown));
        assert!(matches!(open(from, marked(QUESTION, b"1234567")), Opened::Unknown));
        assert!(matches!(open(from, marked(QUESTION, b"12345678")), Opened::Question(_)));
    }

    #[test]
    fn a_message_on_a_channel_is_read_there_and_a_malformed_one_nowhere() {
        let from = NodeId::from_bytes([1; 32]);
        for data in [&b""[..], b"hello", MARK] {
            let Opened::OnChannel(channel, read) = open(from, on_channel("one", data)) else {
                panic!("{data:?}")
            };
            assert_eq!((&channel[..], &read[..]), (&b"one"[..], data));
        }
        for malformed in [&b""[..], b"\x01", b"\x05four"] {
            assert!(matches!(open(from, marked(CHANNEL, malformed)), Opened::Unknown), "{malformed:?}");
        }
    }
}
