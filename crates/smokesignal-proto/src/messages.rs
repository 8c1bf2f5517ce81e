//! Consecutive messages of one writer, as they lie in the body of a segment: taken apart only when
//! they are read.
//!
//! A busy writer packs hundreds of small messages into a segment. To make an object of each would
//! cost more than all else that a node does with them; so a [`Messages`] is the body and a count,
//! and each step of the iterator is a slice of it.

use bytes::{Buf as _, Bytes};

use crate::config::MAX_MESSAGES;
use crate::segment::MessageKind;
use crate::varint;

/// Consecutive messages of one writer. They share the memory that they arrived in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Messages {
    body: Bytes,
    left: usize,
    /// Each stands after its length as a varint; otherwise there is one, and it is the body.
    framed: bool,
}

impl Messages {
    /// A single one.
    pub fn one(message: Bytes) -> Self {
        Self { body: message, left: 1, framed: false }
    }

    /// The messages in the body of a segment of whole messages, of which [`count`] says the number.
    pub(crate) fn in_body(body: Bytes, messages: u32) -> Self {
        Self { body, left: messages as usize, framed: true }
    }

    /// Bytes that they keep in memory.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// All of them, to look at.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let (framed, mut rest) = (self.framed, &self.body[..]);
        (0..self.left).map(move |_| if framed { split_first(&mut rest).unwrap_or_default() } else { rest })
    }
}

impl Iterator for Messages {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.left = self.left.checked_sub(1)?;
        if !self.framed {
            return Some(std::mem::take(&mut self.body));
        }
        let (length, size) = varint::read(&self.body)?;
        self.body.advance(size);
        if self.left == 0 {
            return Some(std::mem::take(&mut self.body));
        }
        Some(self.body.split_to(length as usize))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Messages {}

/// Returns how many messages the body of a segment of whole messages holds; `None` if it is not
/// made of whole messages of this kind, or of more than [`MAX_MESSAGES`]. Allocates nothing.
pub(crate) fn count(body: &[u8], kind: MessageKind) -> Option<u32> {
    let (mut rest, mut count) = (body, 0);
    while !rest.is_empty() {
        let message = split_first(&mut rest)?;
        if !kind.is_headed(message) {
            return None;
        }
        count += 1;
    }
    let most = if kind == MessageKind::End { 1 } else { MAX_MESSAGES };
    (1..=most).contains(&count).then_some(count)
}

/// The first message; `rest` goes on behind it.
#[inline]
fn split_first<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, size) = varint::read(rest)?;
    let (message, behind) = rest[size..].split_at_checked(usize::try_from(length).ok()?)?;
    *rest = behind;
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_apart_as_they_were_put_together() {
        let long = [7; 300];
        let body = [&[1][..], b"a", &[0], &[0xac, 2], &long, &[2], b"bc"].concat();
        assert_eq!(count(&body, MessageKind::Application), Some(4));
        let messages = Messages::in_body(body.into(), 4);
        let all = [&b"a"[..], b"", &long, b"bc"];
        assert_eq!(messages.iter().collect::<Vec<_>>(), all);
        assert_eq!(messages.len(), 4);
        assert_eq!(messages.collect::<Vec<_>>(), all);
        assert_eq!(Messages::one("x".into()).collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn what_is_not_made_of_whole_messages_is_refused() {
        for body in [&b""[..], &[2, b'a'], &[0x80], &[1, b'a', 3, b'b'], &[0xff; 11]] {
            assert_eq!(count(body, MessageKind::Application), None, "{body:?}");
        }
    }
}
