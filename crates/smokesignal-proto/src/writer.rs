//! Packs what the application wrote into the bodies of segments: small messages together, large ones in fragments.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::config::MAX_SEGMENT;
use crate::segment::SegmentKind;
use crate::varint;

/// A varint of a length up to 64 KiB, at most.
const LENGTH: usize = 3;

/// The messages that wait to be packed.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pending: VecDeque<Bytes>,
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
    pub(crate) fn push(&mut self, message: Bytes) -> u64 {
        self.bytes += message.len();
        self.pending.push_back(message);
        self.written + self.pending.len() as u64
    }

    /// Returns the next segment's kind, first message number and body; `None` when nothing waits.
    pub(crate) fn next(&mut self) -> Option<(SegmentKind, u64, Bytes)> {
        let first_message = self.written + 1;
        if self.offset > 0 || self.pending.front()?.len() + LENGTH > MAX_SEGMENT {
            let (kind, body) = self.fragment();
            return Some((kind, first_message, body));
        }
        // Allocates no more than is filled: the body is retained as it is.
        let (count, size) = self.fitting();
        let mut body = BytesMut::with_capacity(size);
        for message in self.pending.drain(..count) {
            varint::put(&mut body, message.len() as u64);
            body.put_slice(&message);
            self.bytes -= message.len();
        }
        self.written += count as u64;
        Some((SegmentKind::Whole { messages: count as u32 }, first_message, body.freeze()))
    }

    /// Returns how many of the messages at the front fit into a segment, and how many bytes they take there.
    fn fitting(&self) -> (usize, usize) {
        let (mut count, mut size) = (0, 0);
        for message in &self.pending {
            if size + LENGTH + message.len() > MAX_SEGMENT {
                break;
            }
            (count, size) = (count + 1, size + varint::len(message.len()) + message.len());
        }
        (count, size)
    }

    fn fragment(&mut self) -> (SegmentKind, Bytes) {
        let message = &self.pending[0];
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
    use crate::messages::Messages;

    #[test]
    fn small_messages_share_a_segment_and_keep_their_bounds() {
        let mut writer = Writer::default();
        for message in ["a", "", "ccc"] {
            writer.push(message.into());
        }
        let (kind, first, body) = writer.next().unwrap();
        assert_eq!((kind, first), (SegmentKind::Whole { messages: 3 }, 1));
        assert_eq!(Messages::in_body(body, 3).collect::<Vec<_>>(), ["a", "", "ccc"]);
        assert!(writer.next().is_none());
    }

    #[test]
    fn a_large_message_travels_in_pieces_between_its_neighbours() {
        let mut writer = Writer::default();
        writer.push("before".into());
        assert_eq!(writer.push(vec![7; 2 * MAX_SEGMENT + 1].into()), 2);
        writer.push("after".into());
        let parts: Vec<_> = std::iter::from_fn(|| writer.next()).collect();
        let numbers: Vec<_> = parts.iter().map(|part| part.1).collect();
        assert_eq!(numbers, [1, 2, 2, 2, 3]);
        assert_eq!(parts[1].0, SegmentKind::Fragment { first: true, last: false });
        assert_eq!(parts[3].0, SegmentKind::Fragment { first: false, last: true });
        assert_eq!(parts[1..4].iter().map(|part| part.2.len()).sum::<usize>(), 2 * MAX_SEGMENT + 1);
        assert_eq!((writer.bytes(), writer.messages()), (0, 0));
    }
}
