//! How long ago a segment was written, as well as a node can know without trusting clocks.
//!
//! Each node hands a segment over with its age and with the time of its own clock ([`Age`]). While
//! the segment waits in a node, that node's clock counts. The time on the way, every buffer between
//! the two nodes included, is what [`Transits`] finds: no clock shows it, but the two clocks
//! together show how much longer than another one a segment was on its way. The quickest one lately
//! is taken to have needed half of the link's round trip. The first to be compared with is the
//! message that made the link, Accept or Active, which has the neighbour's time, too. So a segment
//! that has waited in front of a frozen node is as old as it is, although nobody counted while it
//! waited.
//!
//! All of it is the neighbours' claim: none can be checked, and no signature covers it. A false
//! claim makes the segments that pass that neighbour look younger or older, up to
//! [`Age::MOST_MS`], and has no other effect.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::LinkId;
use crate::time::Instant;

/// The quickest segment counts for this long at least, in microseconds, and for twice as long at
/// most. 30 s: a neighbour whose clock has stood still brings what looks old for a minute, not for
/// good, and a queue that stays for a minute is part of the way.
const WINDOW: u64 = 30_000_000;

/// How old a segment was at some time: the time since its first message was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Age {
    micros: u64,
    at: Instant,
}

impl Age {
    /// Older ones count as this old: one day, in milliseconds.
    pub const MOST_MS: u32 = 24 * 3600 * 1000;

    /// A segment that is this old, in milliseconds, at this time.
    pub fn new(age_ms: u32, at: Instant) -> Self {
        Self { micros: (u64::from(age_ms) * MILLI).min(MOST), at }
    }

    /// A segment that was written at this time.
    pub const fn written(at: Instant) -> Self {
        Self { micros: 0, at }
    }

    /// Returns how old it is at time `now` of the same clock, in milliseconds.
    pub fn millis(self, now: Instant) -> u32 {
        ((self.moved(now).micros + MILLI / 2) / MILLI) as u32
    }

    /// Returns the same, as it is at time `now` of the same clock.
    pub(crate) fn moved(self, now: Instant) -> Self {
        let passed = now.as_micros().saturating_sub(self.at.as_micros());
        Self { micros: self.micros.saturating_add(passed).min(MOST), at: now }
    }

    /// Returns the age and the time of the clock as they are sent, in milliseconds.
    pub(crate) fn to_wire(self) -> (u64, u64) {
        ((self.micros + MILLI / 2) / MILLI, self.at.as_micros() / MILLI)
    }

    /// Returns the age that a neighbour has sent. Numbers beyond the bounds count as the bounds.
    pub(crate) fn from_wire(age: u64, at: u64) -> Self {
        let micros = age.min(MOST / MILLI) * MILLI;
        Self { micros, at: Instant::from_micros(at.min(LATEST_MS) * MILLI) }
    }
}

/// Returns the time of this node's clock as it is sent in Accept and Active, in milliseconds.
pub(crate) const fn sent_at(now: Instant) -> u64 {
    now.as_micros() / MILLI
}

/// Microseconds in a millisecond.
const MILLI: u64 = 1000;
/// [`Age::MOST_MS`], in microseconds.
const MOST: u64 = Age::MOST_MS as u64 * MILLI;
/// The latest time of a neighbour's clock, in milliseconds: 140 000 years, and differences of two
/// times in microseconds fit an `i64`.
const LATEST_MS: u64 = (1 << 52) - 1;

/// How long segments are on their way, for each link.
#[derive(Debug, Default)]
pub(crate) struct Transits(BTreeMap<LinkId, Transit>);

/// The way of the segments over one link.
#[derive(Debug)]
struct Transit {
    /// Half of the least round trip, as of this window's beginning, in microseconds.
    way: u64,
    /// The least difference between this node's clock at the arrival of a segment, or of what made
    /// the link, and the neighbour's when it was sent; in this window and in the one before.
    least: i64,
    least_before: i64,
    /// When this window began.
    since: Instant,
}

impl Transits {
    /// Takes a link that is new, made by a message that was `sent` at this time of the neighbour's
    /// clock, in milliseconds.
    pub(crate) fn link_up(&mut self, link: LinkId, rtt: Duration, sent: u64, now: Instant) {
        let least = difference(Age::from_wire(0, sent).at, now);
        self.0.insert(link, Transit { way: half(rtt), least, least_before: i64::MAX, since: now });
    }

    pub(crate) fn link_down(&mut self, link: LinkId) {
        self.0.remove(&link);
    }

    /// Takes the age of a segment that has arrived, by the neighbour's clock; returns it by this
    /// node's. `rtt` gives the least round trip, if it was measured since the link came up.
    pub(crate) fn arrived(
        &mut self,
        link: LinkId,
        age: Age,
        now: Instant,
        rtt: impl FnOnce() -> Option<Duration>,
    ) -> Age {
        let Some(transit) = self.0.get_mut(&link) else { return Age { at: now, ..age } };
        let late = transit.lateness(age.at, now, rtt);
        Age { micros: age.micros.saturating_add(transit.way).saturating_add(late).min(MOST), at: now }
    }
}

impl Transit {
    /// Returns how much longer than the quickest one lately a segment was on its way that was sent
    /// at `sent`, by the neighbour's clock.
    fn lateness(&mut self, sent: Instant, now: Instant, rtt: impl FnOnce() -> Option<Duration>) -> u64 {
        let difference = difference(sent, now);
        if now.as_micros().saturating_sub(self.since.as_micros()) >= WINDOW {
            (self.least_before, self.least, self.since) = (self.least, difference, now);
            self.way = rtt().map_or(self.way, half);
        }
        self.least = self.least.min(difference);
        difference.saturating_sub(self.least.min(self.least_before)).unsigned_abs()
    }
}

/// Returns how far this node's clock is ahead of the neighbour's, and the way, in microseconds.
const fn difference(sent: Instant, now: Instant) -> i64 {
    now.as_micros().wrapping_sub(sent.as_micros()) as i64
}

/// Returns half of a round trip, in microseconds.
fn half(rtt: Duration) -> u64 {
    rtt.as_micros() as u64 / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(1);

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * MILLI)
    }

    /// Begins with a link that has a round trip of 100 ms, half of which the first message took.
    /// The neighbour's clock is `ahead` by this many milliseconds.
    fn transits(ahead: u64) -> Transits {
        let mut transits = Transits::default();
        transits.link_up(LINK, Duration::from_millis(100), ahead, at(50));
        transits
    }

    #[test]
    fn the_way_is_half_a_round_trip_and_all_that_a_segment_took_longer_than_the_quickest_one() {
        // The neighbour's clock is far ahead, and this one's is not known to it.
        let ahead = 1_000_000_u64;
        let mut transits = transits(ahead);
        let mut arrives = |sent, age, now| {
            let age = Age::from_wire(age, ahead + sent);
            transits.arrived(LINK, age, at(now), || None).millis(at(now))
        };
        assert_eq!(arrives(1_000, 7, 21_050), 20_057, "the first one, frozen for 20 s");
        assert_eq!(arrives(22_000, 7, 22_040), 57, "quicker than what made the link");
        assert_eq!(arrives(23_000, 7, 23_060), 77, "20 ms more");
        assert_eq!(arrives(24_000, 7, 44_040), 20_057, "frozen for 20 s");
        // A quick one of the last window counts, an older one does not.
        assert_eq!(arrives(60_000, 0, 60_070), 80);
        assert_eq!(arrives(90_000, 0, 90_090), 70);
        assert_eq!(arrives(130_000, 0, 130_090), 50);
    }

    #[test]
    fn a_clock_that_stood_still_makes_what_it_sends_old_for_a_minute() {
        let mut transits = transits(0);
        let mut arrives = |sent, now| {
            let age = Age::from_wire(0, sent);
            transits.arrived(LINK, age, at(now), || None).millis(at(now))
        };
        assert_eq!(arrives(10_000, 10_050), 50);
        // The neighbour was suspended for 2 s, and its clock did not count.
        for second in 20..70_u64 {
            let age = arrives(second * 1_000, second * 1_000 + 2_050);
            assert_eq!(age, if second < 58 { 2_050 } else { 50 }, "{second} s");
        }
        // This node was suspended: the next one looks younger, not older.
        assert_eq!(arrives(80_000, 79_050), 50);
    }

    #[test]
    fn a_claim_beyond_all_bounds_is_a_day_and_does_no_harm_to_the_next_one() {
        let mut transits = transits(0);
        for (age, sent) in [(u64::MAX, u64::MAX), (0, u64::MAX), (u64::MAX, 0), (0, 0)] {
            for now in [0, 1, 1 << 40] {
                let age = transits.arrived(LINK, Age::from_wire(age, sent), at(now), || None);
                assert!(age.millis(at(now)) <= Age::MOST_MS);
                assert_eq!(age.millis(Instant::from_micros(u64::MAX)), Age::MOST_MS);
            }
        }
        let (hostile, honest) = (LinkId(3), LinkId(2));
        transits.link_up(hostile, Duration::ZERO, u64::MAX, at(0));
        let age = transits.arrived(hostile, Age::from_wire(0, 0), at(1), || None);
        assert_eq!(age.millis(at(1)), Age::MOST_MS);
        transits.link_up(honest, Duration::ZERO, 0, at(100));
        assert_eq!(transits.arrived(honest, Age::from_wire(5, 100), at(200), || None).millis(at(201)), 6);
        assert_eq!(Age::new(u32::MAX, at(0)).millis(at(5)), Age::MOST_MS);
    }

    #[test]
    fn an_age_survives_the_wire_but_for_less_than_a_millisecond() {
        let age = Age::written(Instant::from_micros(1_000_400)).moved(Instant::from_micros(3_001_000));
        assert_eq!(age.to_wire(), (2_001, 3_001));
        let (ms, at) = age.to_wire();
        assert_eq!(Age::from_wire(ms, at).to_wire(), (ms, at));
        let (ms, at) = Age::from_wire(u64::MAX, u64::MAX).to_wire();
        assert_eq!(Age::from_wire(ms, at).to_wire(), (ms, at));
    }
}
