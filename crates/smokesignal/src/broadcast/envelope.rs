//! What a broadcast message is for, and the head that such a message begins with.
//!
//! The core carries the kind of a message beside its bytes ([`MessageKind`]) and refuses segments
//! whose messages lack the head of their kind. So a message of the application is written and read
//! as it is; a question begins with its number, and a message on a channel with the channel's name.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use smokesignal_proto::{Instant, MessageKind, NodeId};
use tokio::sync::oneshot;

/// Maximum length of a channel's name, in bytes.
pub(crate) const MAX_CHANNEL: usize = MessageKind::MAX_CHANNEL;
/// Maximum number of bytes that a head adds to a message.
pub(crate) const MAX_ENVELOPE: usize = MessageKind::MAX_HEAD;

/// A message on its way to the core: its bytes begin with the head of its kind.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) kind: MessageKind,
    pub(crate) data: Bytes,
    /// When the driver first saw it, if it could not take it then.
    pub(crate) seen: Option<Instant>,
    /// Where it is reported how many nodes have read it.
    pub(crate) confirm: Option<oneshot::Sender<usize>>,
}

impl Outgoing {
    /// A message of the application.
    pub(crate) const fn message(data: Bytes) -> Self {
        Self { kind: MessageKind::Application, data, seen: None, confirm: None }
    }

    /// A message on a channel, whose name has at most [`MAX_CHANNEL`] bytes.
    pub(crate) fn on_channel(channel: &str, data: &[u8]) -> Self {
        let data = [&[channel.len() as u8], channel.as_bytes(), data].concat().into();
        Self { kind: MessageKind::Channel, data, seen: None, confirm: None }
    }

    /// The end of the application's messages.
    pub(crate) const fn end() -> Self {
        Self { kind: MessageKind::End, data: Bytes::new(), seen: None, confirm: None }
    }

    /// A question.
    pub(crate) fn question(number: u64, question: &[u8]) -> Self {
        let mut data = BytesMut::with_capacity(8 + question.len());
        data.put_u64(number);
        data.put_slice(question);
        Self { kind: MessageKind::Query, data: data.freeze(), seen: None, confirm: None }
    }
}

/// A question that another node asks.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) from: NodeId,
    /// Names the question in its answers.
    pub(crate) number: u64,
    pub(crate) data: Bytes,
}

impl Question {
    /// Reads a message of the kind `Query`; `None` without a number, which the core lets not pass.
    pub(crate) fn read(from: NodeId, mut data: Bytes) -> Option<Self> {
        let number = data.try_get_u64().ok()?;
        Some(Self { from, number, data })
    }
}

/// Reads the channel's name and the message from one of the kind `Channel`; `None` where the name
/// is cut short, which the core lets not pass.
pub(crate) fn split_channel(mut message: Bytes) -> Option<(Bytes, Bytes)> {
    let length = usize::from(message.try_get_u8().ok()?);
    (length <= message.len()).then(|| (message.split_to(length), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_as_it_was_asked() {
        let from = NodeId::from_bytes([1; 32]);
        let Outgoing { kind, data, .. } = Outgoing::question(7, b"who is there?");
        assert_eq!(kind, MessageKind::Query);
        let Question { number, data, .. } = Question::read(from, data).unwrap();
        assert_eq!((number, &data[..]), (7, &b"who is there?"[..]));
        assert!(Question::read(from, Bytes::from_static(b"1234567")).is_none());
    }

    #[test]
    fn a_message_on_a_channel_is_read_there_and_a_malformed_one_nowhere() {
        for data in [&b""[..], b"hello", b"\0"] {
            let (channel, read) = split_channel(Outgoing::on_channel("one", data).data).unwrap();
            assert_eq!((&channel[..], &read[..]), (&b"one"[..], data));
        }
        for malformed in [&b""[..], b"\x01", b"\x05four"] {
            assert!(split_channel(Bytes::from_static(malformed)).is_none(), "{malformed:?}");
        }
    }
}
