//! Packs what the application wrote into the bodies of segments: small messages together, large
//! ones in fragments.
//!
//! A segment holds messages of one kind only, each behind its length. A message that does not fit
//! into a segment is sliced, without a copy, into fragments that have a segment each; what is
//! written after it waits for its last fragment, because messages keep their order.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::config::{MAX_MESSAGES, MAX_SEGMENT};
use crate::segment::{MessageKind, SegmentKind};
use crate::time::Instant;
use crate::varint;

/// A varint of a length up to 64 KiB, at most.
const LENGTH: usize = 3;

/// What becomes a segment.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) kind: SegmentKind,
    pub(crate) message_kind: MessageKind,
    /// Number of the first message in it.
    pub(crate) first_message: u64,
    pub(crate) body: Bytes,
    /// When its first message was written.
    pub(crate) written: Instant,
}

/// The messages that wait to be packed.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Each has the time at which it was written.
    pending: VecDeque<(MessageKind, Bytes, Instant)>,
    bytes: usize,
    /// How much of the front message has left as fragments.
    offset: usize,
    /// Messages that have left completely.
    written: u64,
}

impl Writer {
    /// Returns the bytes waiting.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frees memory that a busy time has left.
    pub(crate) fn trim(&mut self) {
        self.pending.shrink_to(2 * self.pending.len());
    }

    /// Returns the messages waiting, the half-packed one included.
    pub(crate) fn messages(&self) -> usize {
        self.pending.len()
    }

    /// Returns how many messages have been packed completely.
    pub(crate) fn packed(&self) -> u64 {
        self.written
    }

    /// Queues a message and returns its number in this incarnation.
    pub(crate) fn push(&mut self, kind: MessageKind, message: Bytes, written: Instant) -> u64 {
        self.bytes += message.len();
        self.pending.push_back((kind, message, written));
        self.written + self.pending.len() as u64
    }

    /// Packs the next segment; `None` when nothing waits.
    pub(crate) fn next(&mut self) -> Option<Packed> {
        let (message_kind, first, written) = self.pending.front()?;
        let (message_kind, first_message, written) = (*message_kind, self.written + 1, *written);
        if self.offset > 0 || first.len() + LENGTH > MAX_SEGMENT {
            let (kind, body) = self.fragment();
            return Some(Packed { kind, message_kind, first_message, body, written });
        }
        // Allocates no more than is filled: the body is retained as it is.
        let (count, size) = self.fitting(message_kind);
        let mut body = BytesMut::with_capacity(size);
        for (_, message, _) in self.pending.drain(..count) {
            varint::put(&mut body, message.len() as u64);
            body.put_slice(&message);
            self.bytes -= message.len();
        }
        self.written += count as u64;
        let kind = SegmentKind::Whole { messages: count as u32 };
        Some(Packed { kind, message_kind, first_message, body: body.freeze(), written })
    }

    /// Returns how many of the messages at the front are of this kind and fit into a segment, and
    /// how many bytes they take there.
    fn fitting(&self, of: MessageKind) -> (usize, usize) {
        let (mut count, mut size) = (0, 0);
        for (kind, message, _) in self.pending.iter().take(MAX_MESSAGES as usize) {
            if *kind != of || size + LENGTH + message.len() > MAX_SEGMENT {
                break;
            }
            (count, size) = (count + 1, size + varint::len(message.len()) + message.len());
        }
        (count, size)
    }

    fn fragment(&mut self) -> (SegmentKind, Bytes) {
        let (_, message, _) = &self.pending[0];
        let end = message.len().min(self.offset + MAX_SEGMENT);
        let body = message.slice(self.offset..end);
        let kind = SegmentKind::Fragment { first: self.offset == 0, last: end == message.len() };
        self.bytes -= body.len();
        self.offset = end;
        if end == message.len() {
            self.offset = 0;
            self.written += 1;
            self.pending.pop_front();
        }
        (kind, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{self, Messages};

    #[test]
    fn small_messages_share_a_segment_and_keep_their_bounds() {
        let mut writer = Writer::default();
        for message in ["a", "", "ccc"] {
            writer.push(MessageKind::Application, message.into(), Instant::ZERO);
        }
        let Packed { kind, first_message, body, .. } = writer.next().unwrap();
        assert_eq!((kind, first_message), (SegmentKind::Whole { messages: 3 }, 1));
        assert_eq!(Messages::in_body(body, 3).collect::<Vec<_>>(), ["a", "", "ccc"]);
        assert!(writer.next().is_none());
    }

    #[test]
    fn a_segment_has_no_more_messages_than_a_reader_accepts() {
        let mut writer = Writer::default();
        for _ in 0..=MAX_MESSAGES {
            writer.push(MessageKind::Application, Bytes::new(), Instant::ZERO);
        }
        let packed: Vec<_> = std::iter::from_fn(|| writer.next()).collect();
        let counts: Vec<_> =
            packed.iter().map(|packed| messages::count(&packed.body, packed.message_kind)).collect();
        assert_eq!(counts, [Some(MAX_MESSAGES), Some(1)]);
        let more = vec![0; MAX_MESSAGES as usize + 1];
        assert_eq!(messages::count(&more, MessageKind::Application), None);
    }

    #[test]
    fn messages_of_two_kinds_never_share_a_segment() {
        let mut writer = Writer::default();
        let kinds = [MessageKind::Application, MessageKind::Application, MessageKind::Query];
        for kind in kinds {
            writer.push(kind, "12345678".into(), Instant::ZERO);
        }
        writer.push(MessageKind::Application, "last".into(), Instant::ZERO);
        let packed: Vec<_> = std::iter::from_fn(|| writer.next()).collect();
        let of = |packed: &Packed| (packed.message_kind, packed.kind);
        let whole = |kind, messages| (kind, SegmentKind::Whole { messages });
        let expected = [
            whole(MessageKind::Application, 2),
            whole(MessageKind::Query, 1),
            whole(MessageKind::Application, 1),
        ];
        assert_eq!(packed.iter().map(of).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_large_message_travels_in_pieces_between_its_neighbours() {
        let mut writer = Writer::default();
        let mut push = |message: Bytes| writer.push(MessageKind::Application, message, Instant::ZERO);
        push("before".into());
        assert_eq!(push(vec![7; 2 * MAX_SEGMENT + 1].into()), 2);
        push("after".into());
        let parts: Vec<_> = std::iter::from_fn(|| writer.next()).collect();
        let numbers: Vec<_> = parts.iter().map(|part| part.first_message).collect();
        assert_eq!(numbers, [1, 2, 2, 2, 3]);
        assert_eq!(parts[1].kind, SegmentKind::Fragment { first: true, last: false });
        assert_eq!(parts[3].kind, SegmentKind::Fragment { first: false, last: true });
        assert_eq!(parts[1..4].iter().map(|part| part.body.len()).sum::<usize>(), 2 * MAX_SEGMENT + 1);
        assert_eq!((writer.bytes(), writer.messages()), (0, 0));
    }
}
