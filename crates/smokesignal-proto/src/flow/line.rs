//! How much may be under way over one direction of a node's line, all links together.
//!
//! A line belongs to the node, not to a link: three links that each keep one line busy fill its
//! queue three times over. So a [`Line`] measures what the line carries, over
//! all links, and bounds what is under way by time: as much as the line carries in a round trip,
//! with 130 ms on top, in which a queue in front of the line may build up. On a slow line that is
//! little, so that what is urgent arrives in time; on a fast one it is more than anybody can use.
//!
//! The rate is the highest of those measured in the last second (as in BBR, Cardwell et al., 2016),
//! because the measurements of a moment in which little was sent say nothing about the line. It
//! falls only while the budget is used up all the time. As long as that has never been the case the
//! line may be fast: the budget grows fourfold each time that a burst uses it up.

use std::time::Duration;

use crate::time::Instant;

/// The budget of a line of which nothing is known yet. 64 KiB: one segment, and half a second of 1
/// Mbit/s. It grows when it is used up, until the line has been found to be what is slow. With 256
/// KiB, 1 MB reaches the last of 1 000 nodes with 50 Mbit/s a tenth sooner, but a line of 256
/// kbit/s is 8 s behind, once.
const START: usize = 64 * 1024;
/// While nothing is known of the line, a budget that was used up grows by this factor, and a link's
/// window by this factor at most in a round trip. 4: in half as many round trips as with 2.
const GROWTH: usize = 4;
/// The factor for a link's window once the line is known: 2.
const KNOWN_GROWTH: u64 = 2;
/// The least budget. 6 KiB: a fifth of a second of 256 kbit/s, and more than two parts.
const LEAST: usize = 6 * 1024;
/// The largest budget. 16 MiB: a tenth of a second of 1.3 Gbit/s, and less than a fast machine's
/// sockets hold.
pub(super) const MOST: usize = 16 * 1024 * 1024;
/// The time over which a rate is measured.
const MEASURE: Duration = Duration::from_millis(250);
/// A budget that was used up for this part of a measurement was used up all the time.
pub(super) const FULL_SHARE: f64 = 0.8;
/// A line that was full for two measurements counts as full for this long, because what is written
/// comes in bursts. 2 s.
const FULL_FOR: Duration = Duration::from_secs(2);
/// A line with a larger budget than this is not full: it is the machine that is busy. 4 MiB: 180
/// Mbit/s.
const FULL_MOST: usize = 4 * 1024 * 1024;
/// The number of measurements of which the highest counts.
const MEASUREMENTS: usize = 4;
/// While the queue in front of the line drains, this part of the budget may be under way. A
/// quarter: with a round trip of 50 ms the queue is empty then.
const DRAINED: usize = 4;
/// A round trip counts as this long at least: 50 ms, because the other side confirms what it has
/// read in steps.
pub(super) const BASE_LEAST: Duration = Duration::from_millis(50);
/// The time that may be under way on top of a round trip. 130 ms: with a round trip of 50 ms an
/// urgent message arrives within 250 ms, two parts of an eighth of the budget included.
pub(super) const QUEUE: Duration = Duration::from_millis(130);

/// The budget of one direction of a line.
#[derive(Debug)]
pub(crate) struct Line {
    budget: usize,
    /// Bytes per second that the line has proven to carry.
    rate: u64,
    /// The last measurements, the newest at the end; `None`: not yet.
    measured: [Option<Measurement>; MEASUREMENTS],
    /// The measurement that is being made.
    since: Instant,
    moved: usize,
    /// Since when the line holds somebody up, since something moved last, and for how long it did
    /// in this measurement.
    full: Option<Instant>,
    last: Instant,
    full_for: Duration,
    /// The time until which the line counts as full.
    full_until: Instant,
    /// While the rate is unknown: the bytes that have moved since the budget grew, and whether that
    /// was in this measurement.
    starting: Option<(usize, bool)>,
    /// Whether its queue is to drain, see `flow/survey.rs`.
    drains: bool,
    /// Whether the budget was used up, for a moment at least, since something moved last.
    used_up: bool,
}

/// What was seen of the line in [`MEASURE`].
#[derive(Debug, Clone, Copy)]
struct Measurement {
    rate: u64,
    /// Whether the budget was used up all the time.
    full: bool,
}

impl Line {
    /// Returns a line of which nothing is known.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            budget: START,
            rate: 0,
            measured: [None; MEASUREMENTS],
            since: now,
            moved: 0,
            full: None,
            last: now,
            full_for: Duration::ZERO,
            full_until: now,
            starting: Some((0, false)),
            drains: false,
            used_up: false,
        }
    }

    /// Returns how many bytes may be under way.
    pub(crate) fn budget(&self) -> usize {
        if self.drains { (self.budget / DRAINED).max(LEAST.min(self.budget)) } else { self.budget }
    }

    /// Returns the bytes per second that the line has proven to carry.
    pub(super) const fn rate(&self) -> u64 {
        self.rate
    }

    /// Lets the queue in front of the line drain, if it is full, or fill again.
    pub(super) fn drain(&mut self, drains: bool, now: Instant) {
        let drains = drains && self.is_full() && self.starting.is_none();
        if self.drains && !drains {
            self.begin(now);
        }
        self.drains = drains;
    }

    /// Returns whether the budget was used up for the last second: the line is what holds this node
    /// up.
    pub(crate) fn is_full(&self) -> bool {
        self.was_full(MEASUREMENTS)
    }

    /// Returns whether the line was full in the last seconds.
    pub(crate) fn was_full_lately(&self, now: Instant) -> bool {
        now < self.full_until && self.budget <= FULL_MOST
    }

    fn was_full(&self, measurements: usize) -> bool {
        let mut last = self.measured.iter().rev().take(measurements);
        last.all(|measured| measured.is_some_and(|measured| measured.full))
    }

    /// Returns whether nothing is known of the line yet.
    pub(crate) const fn is_starting(&self) -> bool {
        self.starting.is_some()
    }

    /// Returns by which factor what a link brings may grow in a round trip.
    pub(super) const fn growth(&self) -> u64 {
        if self.is_starting() { GROWTH as u64 } else { KNOWN_GROWTH }
    }

    /// Notes that the budget is used up, for a moment at least.
    pub(crate) const fn note_used_up(&mut self) {
        self.used_up = true;
    }

    /// Notes that the line holds somebody up until something moves.
    pub(crate) fn note_full(&mut self, now: Instant) {
        self.full.get_or_insert(now);
    }

    /// Notes that the line has carried this many bytes: they were acknowledged, or have arrived.
    /// `base` is the round trip of the links without a queue.
    pub(crate) fn moved(&mut self, bytes: usize, base: Duration, now: Instant) {
        if self.drains {
            (self.last, self.full) = (now, None);
            return; // It says nothing about the line.
        }
        if self.full.is_none() && now - self.last >= MEASURE {
            self.begin(now);
        }
        self.moved += bytes;
        if let Some((moved, grown)) = &mut self.starting {
            *moved += bytes;
            if self.used_up && *moved >= self.budget {
                (self.budget, *moved, *grown) = ((GROWTH * self.budget).min(MOST), 0, true);
            }
        }
        if let Some(since) = self.full.take() {
            self.full_for += now - since.max(self.since);
        }
        (self.last, self.used_up) = (now, false);
        let elapsed = now - self.since;
        if elapsed >= MEASURE {
            self.measure(elapsed, base, now);
            (self.since, self.moved, self.full_for) = (now, 0, Duration::ZERO);
        }
    }

    /// Begins a measurement: nothing has been under way.
    pub(crate) const fn begin(&mut self, now: Instant) {
        (self.since, self.last, self.moved, self.full_for) = (now, now, 0, Duration::ZERO);
    }

    fn measure(&mut self, elapsed: Duration, base: Duration, now: Instant) {
        let rate = self.moved as u128 * 1_000_000 / elapsed.as_micros().max(1);
        let full = self.full_for >= elapsed.mul_f64(FULL_SHARE);
        let measurement = Measurement { rate: u64::try_from(rate).unwrap_or(u64::MAX), full };
        self.measured.rotate_left(1);
        self.measured[MEASUREMENTS - 1] = Some(measurement);
        if self.starting.is_none() && self.was_full(2) {
            self.full_until = now + FULL_FOR;
        }
        let highest = self.measured.iter().flatten().map(|measured| measured.rate).max().unwrap_or(0);
        self.rate = if self.is_full() { highest } else { self.rate.max(highest) };
        let lasts = (base.max(BASE_LEAST) + QUEUE).as_micros();
        let budget = u128::from(self.rate) * lasts / 1_000_000;
        let budget = usize::try_from(budget).unwrap_or(MOST).clamp(LEAST, MOST);
        if let Some((_, grown)) = &mut self.starting
            && budget < self.budget
        {
            // A line that is not used up, or carries more than before, may carry still more.
            if std::mem::take(grown) || !full {
                return;
            }
            self.starting = None;
        }
        self.budget = budget;
    }
}
