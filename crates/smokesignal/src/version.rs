//! The versions of the protocol that a node speaks.
//!
//! Each side says in HELLO which range of versions it speaks, and both speak the highest one that
//! is in both ranges. Where there is none the connection ends, and each side knows from the other's
//! HELLO which of the two is to be upgraded.

use std::fmt;

/// The range of versions of the protocol that a node speaks.
///
/// ```
/// use smokesignal::Versions;
///
/// let theirs = Versions { oldest: 2, newest: 4 };
/// assert_eq!(theirs.to_string(), "versions 2 to 4");
/// assert_eq!(Versions { oldest: 1, newest: 3 }.common(theirs), Some(3));
/// assert_eq!(Versions { oldest: 1, newest: 1 }.common(theirs), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Versions {
    /// The oldest version.
    pub oldest: u8,
    /// The newest version, not below the oldest one.
    pub newest: u8,
}

impl Versions {
    /// What this program speaks.
    pub const OURS: Self = Self { oldest: 1, newest: if cfg!(smokesignal_next) { 2 } else { 1 } };

    /// Returns the newest version that is in both ranges.
    pub fn common(self, other: Self) -> Option<u8> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self { oldest, newest } if oldest == newest => write!(f, "version {newest}"),
            Self { oldest, newest } => write!(f, "versions {oldest} to {newest}"),
        }
    }
}

/// Two nodes that speak no common version of the protocol.
///
/// ```
/// use smokesignal::{VersionMismatch, Versions};
///
/// let theirs = Versions { oldest: 2, newest: 4 };
/// let mismatch = VersionMismatch { ours: Versions { oldest: 1, newest: 1 }, theirs };
/// assert!(mismatch.is_ours_older());
/// assert_eq!(
///     mismatch.to_string(),
///     "it speaks versions 2 to 4 of the protocol, and this node version 1; upgrade this node"
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error(
    "it speaks {theirs} of the protocol, and this node {ours}; upgrade {} node",
    if self.is_ours_older() { "this" } else { "the other" }
)]
pub struct VersionMismatch {
    /// What this node speaks.
    pub ours: Versions,
    /// What the other node speaks.
    pub theirs: Versions,
}

impl VersionMismatch {
    /// Returns whether this node is the one to be upgraded; otherwise it is the other one.
    pub const fn is_ours_older(self) -> bool {
        self.ours.newest < self.theirs.oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_of_both_ranges_is_spoken() {
        let range = |oldest, newest| Versions { oldest, newest };
        for (ours, theirs, common) in [
            (range(1, 1), range(1, 1), Some(1)),
            (range(1, 3), range(2, 5), Some(3)),
            (range(1, 9), range(4, 4), Some(4)),
            (range(1, 2), range(3, 4), None),
            (range(255, 255), range(0, 254), None),
        ] {
            assert_eq!((ours.common(theirs), theirs.common(ours)), (common, common), "{ours} and {theirs}");
        }
    }

    #[test]
    fn of_two_that_cannot_meet_both_name_the_same_one_to_be_upgraded() {
        let (old, new) = (Versions { oldest: 1, newest: 2 }, Versions { oldest: 3, newest: 4 });
        let here = VersionMismatch { ours: old, theirs: new };
        let there = VersionMismatch { ours: new, theirs: old };
        assert!(here.to_string().ends_with("upgrade this node"), "{here}");
        assert!(there.to_string().ends_with("upgrade the other node"), "{there}");
    }
}
