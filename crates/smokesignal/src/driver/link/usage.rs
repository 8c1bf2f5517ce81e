//! How much of its read buffers a link keeps in use.
//!
//! A large segment stays where it was read ([`buffer_pool`](crate::wire::buffer_pool)), and keeps
//! a buffer of 256 KiB alive for as long as it is retained. That costs little as long as most of
//! the buffer is retained, too. But a neighbour may send other things between two such segments:
//! stream data, frames of unknown kinds, segments that come twice. Then the buffers take up to
//! eight times the size of the segments. So a link's segments are copied into memory of their own
//! until half of what it reads has turned out to be worth keeping, and again whenever less is.

/// After this many bytes, those before count half: 1 MiB, four buffers.
const WINDOW: usize = 1 << 20;

/// How many bytes of its read buffers a link has used lately, and how many of them are retained.
#[derive(Debug, Default)]
pub(super) struct Usage {
    used: usize,
    retained: usize,
}

impl Usage {
    /// Notes that this many bytes of buffers were filled, or given back unused, and how many bytes
    /// of them are retained segments. Returns whether segments have to be copied out of the buffers
    /// from now on.
    pub(super) fn note(&mut self, used: usize, retained: usize) -> bool {
        let (used, retained) = (self.used + used, self.retained + retained);
        let half = if used > WINDOW { 2 } else { 1 };
        *self = Self { used: used / half, retained: retained / half };
        used < WINDOW / 2 || 2 * retained < used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_stay_in_the_buffers_of_a_link_that_brings_little_else() {
        let mut usage = Usage::default();
        let copied: Vec<_> = (0..32).map(|_| usage.note(65_536, 60_000)).collect();
        assert_eq!(copied.iter().filter(|copied| **copied).count(), 7, "up to half of the window");
        assert_eq!(copied.last(), Some(&false));
    }

    #[test]
    fn segments_are_copied_where_most_of_what_comes_is_thrown_away() {
        let mut usage = Usage::default();
        assert!((0..1000).all(|_| usage.note(262_144, 40_000)));
        // A link that was useful before is not trusted for long.
        let copied = (0..1000).map(|_| usage.note(65_536, 65_536)).last();
        assert_eq!(copied, Some(false));
        let uncopied = (0..1000).filter(|_| !usage.note(262_144, 40_000)).count();
        assert!(uncopied <= 8, "{uncopied} buffers kept for a part of them");
    }
}
