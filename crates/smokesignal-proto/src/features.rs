//! Feature bits: what a node understands beyond the version of the protocol that is spoken.
//!
//! Both ends of a connection send the bits of all that they understand, in HELLO, and use what both
//! have sent: [`Features::common`]. A bit that a node does not know is left out by that, so that a
//! node of today and one of tomorrow use what the older one knows. A frame, a message or a field
//! that belongs to a feature is sent only to a node that has offered it; or it is marked optional,
//! and skipped by a node that does not know it (see `docs/protocol.md`, section 2).
//!
//! To add one: take the next free bit, add it to [`Features::OURS`], and note it in the document. A
//! bit is never used again for something else.

use std::fmt;
use std::ops::BitOr;

use crate::id::NodeId;

/// A set of features of the protocol.
///
/// ```
/// use smokesignal_proto::Features;
///
/// let theirs = Features::from_bits(u64::MAX); // A node of a later version, which knows everything.
/// assert_eq!(Features::OURS.common(theirs), Features::OURS);
/// assert!(theirs.contains(Features::OURS) && !Features::NONE.contains(theirs));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u64);

impl Features {
    /// No feature: the version alone.
    pub const NONE: Self = Self(0);
    /// The node confirms what it reads, and joins segments that come in parts:
    /// [`Control::Ack`](crate::Control::Ack) and [`Message::Part`](crate::Message::Part).
    pub const FLOW: Self = Self(1);
    /// Readers report to their parents how far they are, and a writer waits for them:
    /// [`Control::Confirm`](crate::Control::Confirm) and [`Control::Pace`](crate::Control::Pace).
    pub const CONFIRM: Self = Self(1 << 1);
    /// Stands for whatever the next version of this program adds: a test runs both side by side.
    #[cfg(smokesignal_next)]
    pub const NEXT: Self = Self(1 << 47);

    /// All features that this program understands.
    #[cfg(not(smokesignal_next))]
    pub const OURS: Self = Self(Self::FLOW.0 | Self::CONFIRM.0);
    /// All features that this program understands.
    #[cfg(smokesignal_next)]
    pub const OURS: Self = Self(Self::FLOW.0 | Self::CONFIRM.0 | Self::NEXT.0);

    /// Bits that never stand for a feature. Each node sets one of them in HELLO, another one in
    /// each connection, so that no node comes to rely on a bit that it does not know being 0 (as
    /// RFC 8701 does it in TLS).
    pub const RESERVED: Self = Self(0xffff << 48);

    /// Returns the features with these bits, unknown ones included.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the bits, as they are on the wire.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns whether these features include all of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns what is in both sets.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Features({:#x})", self.0)
    }
}

/// The other end of a connection, as the handshake has shown it.
///
/// An id alone stands for a node that offers no features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherEnd {
    /// The node, which has proved its id.
    pub id: NodeId,
    /// The features that both ends have offered.
    pub features: Features,
}

impl From<NodeId> for OtherEnd {
    fn from(id: NodeId) -> Self {
        Self { id, features: Features::NONE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_bit_is_no_feature() {
        assert_eq!(Features::OURS.common(Features::RESERVED), Features::NONE);
        assert_eq!(Features::RESERVED.bits().count_ones(), 16);
    }

    #[test]
    fn only_what_both_ends_offer_is_common() {
        let [one, two, three] = [1, 2, 4].map(Features::from_bits);
        assert_eq!((one | two).common(two | three), two);
        assert!((one | two).contains(one) && !one.contains(one | two));
        assert!(one.contains(Features::NONE));
    }
}
