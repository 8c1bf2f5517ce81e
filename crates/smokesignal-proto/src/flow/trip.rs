//! The round trip of a link: the least one that was seen, renewed while the link is busy.
//!
//! Each acknowledgement carries its sender's clock, and the last one of the other side with the
//! time since it arrived (as the timestamps of TCP, RFC 7323): so both sides measure the round trip
//! whenever they exchange acknowledgements, and waiting for one does not count.
//!
//! The way may get longer: a route changes, or somebody else fills the queue of a home line. Then
//! a survey (`survey.rs`) finds the round trip anew.

use std::time::Duration;

use super::line::BASE_LEAST;
use crate::time::Instant;

/// A round trip that is longer by this much may be a queue, or a longer way. 30 ms.
const DOUBTFUL: Duration = Duration::from_millis(30);
/// The longest round trip that is believed. 2 s: what is longer is a queue.
const MOST: Duration = Duration::from_secs(2);
/// A clock that came longer ago is not echoed: it would be ambiguous. 30 s, of the 65 that it
/// counts.
const ECHO_MOST: Duration = Duration::from_secs(30);

/// The clocks in an acknowledgement: milliseconds, modulo 2^16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Clocks {
    /// The sender's clock.
    pub(crate) clock: u16,
    /// The clock that the other side sent last, and the milliseconds since it arrived.
    pub(crate) echo: Option<(u16, u16)>,
}

/// The round trip of one link.
#[derive(Debug)]
pub(super) struct RoundTrip {
    least: Duration,
    /// The least one since a survey has begun to ask.
    renewed: Option<Duration>,
    /// The least one before a longer one replaced it, until that has proven itself.
    before: Option<Duration>,
    /// The last one.
    last: Duration,
    /// Clocks before this are of no use to the survey, while it asks.
    asked: Option<Instant>,
    /// The other side's clock, and when it came.
    heard: Option<(u16, Instant)>,
    /// The last clock of this side that was echoed: each is measured once.
    echoed: Option<u16>,
}

impl RoundTrip {
    pub(super) const fn new(first: Duration) -> Self {
        Self {
            least: first,
            renewed: None,
            before: None,
            last: first,
            asked: None,
            heard: None,
            echoed: None,
        }
    }

    /// Returns the round trip without a queue of this node's.
    pub(super) const fn get(&self) -> Duration {
        self.least
    }

    /// Returns the last round trip, with the queues on the way.
    pub(super) fn last(&self) -> Duration {
        self.last.clamp(self.least, MOST.max(self.least))
    }

    /// Returns the same as `get`, without a longer one that has not proven itself.
    pub(super) fn proven(&self) -> Duration {
        self.before.unwrap_or(self.least).min(self.least)
    }

    /// Returns the clocks to send.
    pub(super) fn clocks(&self, now: Instant) -> Clocks {
        let waited = self.heard.map(|(clock, at)| (clock, now - at));
        let echo = waited.filter(|(_, waited)| *waited < ECHO_MOST);
        Clocks { clock: clock(now), echo: echo.map(|(clock, waited)| (clock, waited.as_millis() as u16)) }
    }

    /// Takes the clocks that the other side has sent.
    pub(super) fn hear(&mut self, clocks: Clocks, now: Instant) {
        self.heard = Some((clocks.clock, now));
        let Some((echo, waited)) = clocks.echo else { return };
        if self.echoed == Some(echo) {
            return;
        }
        self.echoed = Some(echo);
        let elapsed = Duration::from_millis(u64::from(clock(now).wrapping_sub(echo)));
        let trip = elapsed.saturating_sub(Duration::from_millis(u64::from(waited)));
        if elapsed >= ECHO_MOST {
            return;
        }
        self.at_most(trip);
        self.last = trip;
        if self.asked.is_some_and(|asked| elapsed <= now - asked) {
            self.renewed = Some(self.renewed.map_or(trip, |least| least.min(trip)));
        }
    }

    /// Begins to measure the round trip anew.
    pub(super) const fn renew(&mut self, now: Instant) {
        (self.asked, self.renewed) = (Some(now), None);
    }

    /// Returns what was measured anew.
    pub(super) const fn renewed(&self) -> Option<Duration> {
        self.renewed
    }

    /// Takes what was measured anew. Returns whether it is longer than before.
    pub(super) fn settle(&mut self) -> bool {
        self.asked = None;
        let Some(trip) = self.renewed.take() else { return false };
        if trip <= self.least + DOUBTFUL {
            self.at_most(trip);
            return false;
        }
        self.before = Some(std::mem::replace(&mut self.least, trip.min(MOST)));
        true
    }

    /// Keeps the longer round trip, or takes it back.
    pub(super) fn judge(&mut self, keeps: bool) {
        if let Some(before) = self.before.take()
            && !keeps
        {
            self.at_most(before);
        }
    }

    /// Returns whether the last round trip was longer than the least one.
    pub(super) fn was_long(&self) -> bool {
        self.last > self.least.max(BASE_LEAST) + DOUBTFUL
    }

    /// Notes that a round trip takes this long at most.
    pub(super) fn at_most(&mut self, trip: Duration) {
        self.least = self.least.min(trip);
    }
}

fn clock(now: Instant) -> u16 {
    ((now - Instant::ZERO).as_millis() & 0xffff) as u16
}
