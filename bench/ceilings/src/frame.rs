//! What a link carries: frames, each with four bytes of header and a fragment of a message. Large
//! messages are fragmented, so that a node forwards the first fragment before the last one has
//! arrived.

/// With this in front of the pieces or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Head and piece.
    Plain,
    /// Head, the piece's number among those of its origin, and piece.
    Numbered,
}

/// The longest piece of a message, in bytes: two TLS records.
const PIECE: usize = 32 * 1024;
/// Of the head's 32 bits, from the lowest: length, origin, whether more pieces of the message
/// follow.
const LENGTH_BITS: u32 = 20;
const ORIGIN_BITS: u32 = 11;

/// One frame.
pub(crate) struct Frame<'a> {
    pub(crate) origin: usize,
    /// Zero, if the format has no numbers.
    pub(crate) number: u32,
    pub(crate) more: bool,
    pub(crate) piece: &'a [u8],
    /// Bytes of the frame, head included.
    pub(crate) len: usize,
}

impl<'a> Frame<'a> {
    /// The first frame, if it is there as a whole.
    #[inline]
    pub(crate) fn first(bytes: &'a [u8], format: Format) -> Option<Self> {
        let (head, mut rest) = bytes.split_first_chunk()?;
        let head = u32::from_le_bytes(*head);
        let mut number = 0;
        if format == Format::Numbered {
            let (bytes, after) = rest.split_first_chunk()?;
            (number, rest) = (u32::from_le_bytes(*bytes), after);
        }
        let piece = rest.get(..(head & ((1 << LENGTH_BITS) - 1)) as usize)?;
        Some(Self {
            origin: (head >> LENGTH_BITS & ((1 << ORIGIN_BITS) - 1)) as usize,
            number,
            more: head >> (LENGTH_BITS + ORIGIN_BITS) == 1,
            piece,
            len: bytes.len() - rest.len() + piece.len(),
        })
    }
}

/// The head of a frame.
pub(crate) fn head(origin: usize, len: usize, more: bool) -> [u8; 4] {
    (len as u32 | (origin as u32) << LENGTH_BITS | u32::from(more) << (LENGTH_BITS + ORIGIN_BITS))
        .to_le_bytes()
}

/// A message in pieces, each with whether more follow.
pub(crate) fn pieces(message: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let count = message.len().div_ceil(PIECE);
    message.chunks(PIECE).enumerate().map(move |(at, piece)| (piece, at + 1 < count))
}

/// Puts the pieces of one origin together.
#[derive(Default)]
pub(crate) struct Assembly {
    begun: Vec<u8>,
}

impl Assembly {
    /// Gives the message to `read`, once it is whole.
    #[inline]
    pub(crate) fn add(&mut self, piece: &[u8], more: bool, mut read: impl FnMut(&[u8])) {
        if !more && self.begun.is_empty() {
            return read(piece);
        }
        self.begun.extend_from_slice(piece);
        if !more {
            read(&self.begun);
            self.begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_what_was_put_in() {
        let bytes = [&head(2047, 3, true)[..], &7u32.to_le_bytes(), b"abcd"].concat();
        let frame = Frame::first(&bytes, Format::Numbered).unwrap();
        assert_eq!(
            (frame.origin, frame.number, frame.more, frame.piece, frame.len),
            (2047, 7, true, &b"abc"[..], 11)
        );
        assert!(Frame::first(&bytes[..10], Format::Numbered).is_none());
        let plain = [&head(1, 3, false)[..], b"abc"].concat();
        assert_eq!(Frame::first(&plain, Format::Plain).unwrap().len, 7);
    }

    #[test]
    fn pieces_make_the_message_again() {
        let message: Vec<u8> = (0..3 * PIECE + 1).map(|at| at as u8).collect();
        let (mut assembly, mut whole) = (Assembly::default(), Vec::new());
        for (piece, more) in pieces(&message) {
            assembly.add(piece, more, |message| whole.push(message.to_vec()));
        }
        assert_eq!(whole, [message]);
    }
}
