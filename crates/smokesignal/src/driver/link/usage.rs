//! How much of its read buffers a link keeps in use.
//!
//! A large segment stays where it was read ([`buffer_pool`](crate::wire::buffer_pool)), and keeps
//! a buffer of 256 KiB alive for as long as it is retained. That costs little as long as most of
//! the buffer is retained, too. But a neighbour may send other things between two such segments:
//! stream data, frames of unknown kinds, segments that come twice. Then the buffers take up to
//! eight times the size of the segments. So a link's segments are copied into memory of their own
//! until half of what it reads has turned out to be worth keeping, and again whenever less is.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::lock::Lock;

/// After this many bytes, those before count half: 1 MiB, four buffers.
const WINDOW: usize = 1 << 20;

/// How much of its read buffers a link has used lately, and how much of that is retained.
#[derive(Debug)]
pub(super) struct Usage {
    sums: Lock<(usize, usize)>,
    copies: AtomicBool,
}

impl Default for Usage {
    fn default() -> Self {
        Self { sums: Lock::default(), copies: AtomicBool::new(true) }
    }
}

impl Usage {
    /// Notes that this many bytes of buffers were filled, or given back unused, and how many bytes
    /// of them are retained segments.
    pub(super) fn note(&self, used: usize, retained: usize) {
        let mut sums = self.sums.lock();
        let (used, retained) = (sums.0 + used, sums.1 + retained);
        self.copies.store(used < WINDOW / 2 || 2 * retained < used, Ordering::Relaxed);
        let half = if used > WINDOW { 2 } else { 1 };
        *sums = (used / half, retained / half);
    }

    /// Returns whether segments have to be copied out of the buffers.
    pub(super) fn copies(&self) -> bool {
        self.copies.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(usage: &Usage, used: usize, retained: usize) -> bool {
        usage.note(used, retained);
        usage.copies()
    }

    #[test]
    fn segments_stay_in_the_buffers_of_a_link_that_brings_little_else() {
        let usage = Usage::default();
        let copied: Vec<_> = (0..32).map(|_| pass(&usage, 65_536, 60_000)).collect();
        assert_eq!(copied.iter().filter(|copied| **copied).count(), 7, "up to half of the window");
        assert!(!usage.copies());
    }

    #[test]
    fn segments_are_copied_where_most_of_what_comes_is_thrown_away() {
        let usage = Usage::default();
        assert!((0..1000).all(|_| pass(&usage, 262_144, 40_000)));
        // A link that was useful before is not trusted for long.
        let copied = (0..1000).map(|_| pass(&usage, 65_536, 65_536)).last();
        assert_eq!(copied, Some(false));
        let uncopied = (0..1000).filter(|_| !pass(&usage, 262_144, 40_000)).count();
        assert!(uncopied <= 8, "{uncopied} buffers kept for a part of them");
    }
}
