//! Which link is the fastest for a stream, after its tree has formed.
//!
//! A tree that was built once would not use a link that is newer, or has become faster. Copies of a
//! segment over all links would show it, but they cost most where they harm most, on slow lines. So
//! at one segment in [`EVERY`] all nodes announce it to all neighbours, as soon as they have it, by
//! a digest of some 100 bytes. Announcements are of one size, and so the neighbour whose
//! announcement is first is the one that has the shortest way, whatever the segments are like.
//! A node whose own line is busy does not announce: its segments take longer than that shows. Nor
//! does the writer, which has each segment before it is on its way, and so its digests do not
//! count.

use std::time::Duration;

use super::{Advice, Link, Spread};
use crate::context::Cx;
use crate::ids::LinkId;
use crate::streams::StreamIx;
use crate::time::Instant;

/// One in this many segments of a stream is announced. 16: a writer of one message in two seconds
/// has three announcements in 100 s.
const EVERY: u64 = 16;
/// Minimum time between two such announcements of a stream. 10 s: a tenth of the time that a tree
/// may be a slow one.
const PAUSE: Duration = Duration::from_secs(10);
/// A link is faster than the parent if its announcement is sooner by this much. 10 ms: a change
/// costs copies of what is under way, which links of about the same speed are not worth.
const FASTER_BY: Duration = Duration::from_millis(10);

/// The announcements of one stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Race {
    /// When this node announced last, or passed the first multiple.
    begun: Option<Instant>,
    /// Multiples of [`EVERY`] that this node has passed.
    passed: u64,
    /// The link whose announcement was first, of which multiple, and when.
    first: Option<(LinkId, u64, Instant)>,
}

impl Race {
    /// Returns whether this node announces the segment. All nodes decide alike.
    pub(super) fn begins(&mut self, have: u64, now: Instant) -> bool {
        let passes = have / EVERY > std::mem::replace(&mut self.passed, have / EVERY);
        if !passes {
            return false;
        }
        let begins = self.begun.is_some_and(|begun| now - begun >= PAUSE);
        if begins || self.begun.is_none() {
            self.begun = Some(now);
        }
        begins
    }

    /// Takes an announcement. Returns the link that is faster than the parent, if this shows it.
    fn hear(&mut self, link: LinkId, parent: LinkId, have: u64, now: Instant) -> Option<LinkId> {
        let multiple = have / EVERY;
        let Some((first, heard, at)) = self.first.filter(|(_, heard, _)| *heard >= multiple) else {
            self.first = Some((link, multiple, now));
            return None;
        };
        if link != parent || first == parent || heard > multiple {
            return None;
        }
        self.first = Some((parent, multiple, at));
        (now - at > FASTER_BY).then_some(first)
    }

    /// Forgets what was announced, because the parent is another one.
    pub(super) fn forget(&mut self) {
        self.first = None;
    }
}

impl Link {
    /// Sends the neighbour a digest of the stream immediately, unless its line is slow.
    pub(super) fn announce(&mut self, cx: &Cx<'_>, ix: StreamIx) {
        if !self.ended || self.digest_next.is_some() || self.digest_after > cx.now {
            return;
        }
        self.stream(ix).announced = true;
        self.make_dirty(cx, ix);
        self.digest_at = Some(cx.now);
    }
}

impl Spread {
    /// Takes a neighbour's announcement of a stream. If it shows that a link is faster than the
    /// parent, returns that link, which is the parent now, and what to send.
    pub(crate) fn compare(
        &mut self,
        cx: &Cx<'_>,
        (link, ix): (LinkId, StreamIx),
        have: u64,
    ) -> Option<(LinkId, Advice)> {
        let tree = self.parentage(ix);
        let parent = tree.parent?;
        let faster = tree.race.hear(link, parent, have, cx.now)?;
        if cx.now - tree.switched <= cx.config.switch_after || !self.links.contains_key(&faster) {
            return None;
        }
        self.choose(cx, ix, faster);
        Some((faster, Advice { prune: self.prune(cx, parent, ix), graft: true }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: LinkId = LinkId(1);
    const OTHER: LinkId = LinkId(2);

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_link_is_faster_if_its_announcement_comes_clearly_before_that_of_the_parent() {
        let heard = |first: LinkId, second: LinkId, later: u64| {
            let mut race = Race::default();
            assert_eq!(race.hear(first, PARENT, 16, at(1000)), None, "nothing to compare it with");
            race.hear(second, PARENT, 16, at(1000 + later))
        };
        assert_eq!(heard(OTHER, PARENT, 11), Some(OTHER));
        assert_eq!(heard(OTHER, PARENT, 10), None, "both are about as fast");
        assert_eq!(heard(PARENT, OTHER, 500), None);
        assert_eq!(heard(OTHER, LinkId(3), 500), None, "the parent has not announced it yet");
    }

    #[test]
    fn an_announcement_of_other_segments_is_not_compared() {
        let mut race = Race::default();
        race.hear(OTHER, PARENT, 16, at(0));
        assert_eq!(race.hear(PARENT, PARENT, 32, at(50)), None, "it is the first of the next one");
        assert_eq!(race.hear(PARENT, PARENT, 16, at(60)), None, "it is late for the last one");
        race.hear(OTHER, PARENT, 48, at(100));
        race.forget();
        assert_eq!(race.hear(PARENT, PARENT, 48, at(150)), None, "there was another parent");
    }

    #[test]
    fn a_node_announces_one_in_sixteen_segments_at_most_once_in_ten_seconds() {
        let mut race = Race::default();
        let announced = |race: &mut Race, seqs: std::ops::RangeInclusive<u64>, ms| {
            seqs.filter(|seq| race.begins(*seq, at(ms))).collect::<Vec<_>>()
        };
        assert_eq!(announced(&mut race, 1..=40, 0), [0_u64; 0], "its tree has just formed");
        assert_eq!(announced(&mut race, 41..=60, 9_999), [0_u64; 0]);
        assert_eq!(announced(&mut race, 61..=100, 10_000), [64]);
        assert_eq!(announced(&mut race, 101..=150, 19_999), [0_u64; 0]);
        assert_eq!(announced(&mut race, 151..=200, 20_000), [160]);
    }
}
