//! What the application wrote and the network has not been given yet.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::config::MAX_SEGMENT;
use crate::segment::{Segment, SegmentKind};
use crate::varint;

/// A varint of a length up to 64 KiB, at most.
const LENGTH: usize = 3;

/// Turns messages into the bodies of segments: small ones together, large ones in pieces.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pending: VecDeque<Bytes>,
    bytes: usize,
    /// How much of the front message has left as fragments.
    offset: usize,
    /// Messages that have left whole.
    written: u64,
    /// Segments that are made and not yet given to the network, and their bytes: what waits behind them is made into
    /// segments, and signed, together.
    sealed: VecDeque<Arc<Segment>>,
    sealed_bytes: usize,
}

impl Writer {
    /// Bytes waiting.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.sealed_bytes
    }

    /// Gives back memory that a busy time has left.
    pub(crate) fn trim(&mut self) {
        self.pending.shrink_to(2 * self.pending.len());
        self.sealed.shrink_to(2 * self.sealed.len());
    }

    /// Messages waiting, the half-sent one included.
    pub(crate) fn messages(&self) -> usize {
        let sealed = self.sealed.front().map_or(0, |segment| self.written + 1 - segment.first_message);
        self.pending.len() + sealed as usize
    }

    pub(crate) fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    pub(crate) fn put_sealed(&mut self, segments: Vec<Segment>) {
        self.sealed_bytes += segments.iter().map(|segment| segment.body.len()).sum::<usize>();
        self.sealed.extend(segments.into_iter().map(Arc::new));
    }

    pub(crate) fn take_sealed(&mut self) -> Option<Arc<Segment>> {
        let segment = self.sealed.pop_front()?;
        self.sealed_bytes -= segment.body.len();
        Some(segment)
    }

    /// Queues a message and tells its number in this incarnation.
    pub(crate) fn push(&mut self, message: Bytes) -> u64 {
        self.bytes += message.len();
        self.pending.push_back(message);
        self.written + self.pending.len() as u64
    }

    /// The next segment's kind, first message number and body; `None` when nothing waits.
    pub(crate) fn next(&mut self) -> Option<(SegmentKind, u64, Bytes)> {
        let first_message = self.written + 1;
        if self.offset > 0 || self.pending.front()?.len() + LENGTH > MAX_SEGMENT {
            let (kind, body) = self.fragment();
            return Some((kind, first_message, body));
        }
        // No more than is filled: the body is retained as it is.
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

    /// How many of the messages at the front fit into a segment, and how many bytes they take there.
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
