//! Segments in parts: on a slow line a whole one would keep urgent messages waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::age::Age;
use crate::codec::{self, CodecError, MAX_FRAME};
use crate::ids::LinkId;
use crate::limits::Held;
use crate::message::{Message, Part};
use crate::segment::Segment;

/// A message that is being cut into parts.
#[derive(Debug)]
pub(crate) struct Cut {
    rest: Bytes,
}

impl Cut {
    pub(crate) fn new(message: &Message) -> Self {
        let mut bytes = Vec::with_capacity(message.cost());
        codec::encode(message, &mut bytes);
        Self { rest: bytes.into() }
    }

    /// Returns the next part, of this size at most.
    pub(crate) fn next(&mut self, most: usize) -> Option<Message> {
        if self.rest.is_empty() {
            return None;
        }
        let piece = self.rest.split_to(most.min(self.rest.len()));
        Some(Message::Part(Part { piece, last: self.rest.is_empty() }))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }
}

/// The parts that have arrived, for each link.
#[derive(Debug, Default)]
pub(crate) struct Joints(BTreeMap<LinkId, BytesMut>);

impl Joints {
    /// Adds a part. Returns the segment that it completes.
    ///
    /// # Errors
    /// The parts are longer than a segment can be, or are something else.
    pub(crate) fn join(
        &mut self,
        link: LinkId,
        part: Part,
    ) -> Result<Option<(Arc<Segment>, Age)>, CodecError> {
        let joined = self.0.entry(link).or_default();
        if joined.len() + part.piece.len() > MAX_FRAME {
            return Err(CodecError::TooLong(joined.len() + part.piece.len()));
        }
        joined.extend_from_slice(&part.piece);
        if !part.last {
            return Ok(None);
        }
        let whole = self.0.remove(&link).unwrap_or_default();
        match codec::decode(whole.freeze())? {
            Message::Data(segment, age) => Ok(Some((segment, age))),
            Message::Control(_) | Message::Part(_) => Err(CodecError::Malformed("message in parts")),
        }
    }

    /// Returns whether a segment has begun to arrive over this link.
    pub(crate) fn has_begun(&self, link: LinkId) -> bool {
        self.0.contains_key(&link)
    }

    pub(crate) fn link_down(&mut self, link: LinkId) {
        self.0.remove(&link);
    }

    /// See [`crate::Node::held`].
    pub(crate) fn held(&self, held: &mut Vec<Held>) {
        let amount = self.0.values().map(BytesMut::len).max().unwrap_or(0);
        held.push(Held {
            what: "bytes of a segment that comes in parts over one link",
            amount,
            limit: MAX_FRAME,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Keypair;
    use crate::message::Control;
    use crate::segment::{MessageKind, SegmentKind};

    const LINK: LinkId = LinkId(1);

    fn segment() -> Message {
        let keypair = Keypair::from_seed(&[7; 32]);
        let (kind, message_kind) =
            (SegmentKind::Fragment { first: true, last: true }, MessageKind::Application);
        let body = vec![9; 10_000].into();
        let origin = keypair.id();
        let (incarnation, seq, first_message, seal) = (1, 2, 3, None);
        let mut segment = Segment { origin, incarnation, seq, first_message, kind, message_kind, body, seal };
        segment.sign(&keypair, &[0; 32], 1_800_000_000);
        Message::Data(Arc::new(segment), Age::from_wire(300, 5))
    }

    #[test]
    fn a_segment_in_parts_of_any_size_is_the_same_segment() {
        for size in [1, 100, 2048, 9_999, usize::MAX] {
            let (mut cut, mut joints, mut whole) = (Cut::new(&segment()), Joints::default(), None);
            while let Some(Message::Part(part)) = cut.next(size) {
                assert_eq!(whole, None);
                assert!(part.piece.len() <= size);
                whole = joints.join(LINK, part).unwrap();
            }
            assert_eq!(
                whole.map(|(segment, age)| Message::Data(segment, age)),
                Some(segment()),
                "parts of {size} bytes"
            );
            assert!(cut.is_done());
        }
    }

    #[test]
    fn parts_that_are_longer_than_a_segment_or_something_else_are_refused() {
        let mut joints = Joints::default();
        let part = |size| Part { piece: vec![1; size].into(), last: false };
        assert_eq!(joints.join(LINK, part(MAX_FRAME)), Ok(None));
        assert_eq!(joints.join(LINK, part(1)), Err(CodecError::TooLong(MAX_FRAME + 1)));
        let mut held = Vec::new();
        joints.held(&mut held);
        assert!(held[0].amount <= held[0].limit);
        joints.link_down(LINK);
        let other: Message = Control::Probe.into();
        let Some(Message::Part(other)) = Cut::new(&other).next(usize::MAX) else { unreachable!() };
        assert_eq!(joints.join(LINK, other), Err(CodecError::Malformed("message in parts")));
    }
}
