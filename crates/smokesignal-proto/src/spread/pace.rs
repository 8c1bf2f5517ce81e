//! How far a writer may be ahead of its readers.
//!
//! The writer's window is two seconds of what its readers confirm, at least 1 MiB, and never more
//! than the room that each node on its tree offers. While the window is full the writer waits. With
//! [`Pace::Most`] it has one budget for waiting on a minority: half a second, refilled at 5 % of
//! passing time, one for all of them. Where it is spent, the writer raises the floor of its
//! stream: readers below it are behind, and it does not wait for them until they have caught up. A
//! writer that is faster than the network itself is slowed to the pace of the faster half, and
//! nobody falls behind because of that. Nor where many write much: as long as the lines are busy
//! with their streams, a reader may be later than others by as much more as it gets of them.

use std::time::Duration;

use super::confirm::Summary;
use super::{Link, Spread};
use crate::config::{Config, Pace};
use crate::context::Cx;
use crate::ring::Ring;
use crate::streams::{OWN, Streams};
use crate::time::Instant;

/// The time of confirmed progress that the window holds.
const AHEAD: Duration = Duration::from_secs(2);
/// The window is at least this large, unless a reader offers less room.
const LEAST: usize = 1024 * 1024;
/// More than any reader has room for.
const MOST: usize = 1 << 30;
/// Progress is measured over this time.
const SAMPLE: Duration = Duration::from_millis(250);
/// A budget below this is spent.
const WORTH_WAITING: Duration = Duration::from_millis(10);
/// A writer that waits looks again after this long at least.
const LOOK: Duration = Duration::from_millis(500);
/// A reader lags if it is this much later than half of the readers, and four round trips on top:
/// nodes far down in the tree of a fast writer are many bytes behind, and not slow. 100 ms.
/// Where several writers share the readers' room, each line is one stream's for its share of the
/// time only, and what takes 100 ms takes that many times as long.
const LAGS_FROM: Duration = Duration::from_millis(100);
/// The lines are busy with the streams of others while these bring at least an eighth of the most
/// that they have brought within 10 s. If they bring less, some reader holds up all.
const BUSY_SHARE: u64 = 8;
const BUSY_WITHIN: Duration = Duration::from_secs(10);
/// Readers that have confirmed nothing for this long stand still.
const STILL: Duration = Duration::from_secs(2);

/// The writer's account of its readers.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Whether a report has arrived since the last look.
    pub(super) dirty: bool,
    /// The segment up to which the stream is confirmed.
    pub(super) position: u64,
    summary: Option<Summary>,
    /// When the position moved last.
    moved: Instant,
    window: Window,
    others: Others,
    /// What is left for waiting on a minority, and when it was last refilled.
    budget: Duration,
    refilled: Instant,
    /// When the writer was last found waiting for its readers.
    blocked: Option<Instant>,
    /// When to look again although nothing arrives.
    look_at: Option<Instant>,
}

impl Pacer {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            dirty: false,
            position: 0,
            summary: None,
            moved: now,
            window: Window::new(),
            others: Others::new(now),
            budget: config.slow_budget,
            refilled: now,
            blocked: None,
            look_at: None,
        }
    }

    /// Ends the wait for now, and takes from the budget how long the writer has waited for a
    /// minority, whatever ends the wait.
    pub(super) fn stop_waiting(&mut self, cx: &Cx<'_>) {
        self.look_at = None;
        if let Some(since) = self.blocked.take() {
            self.may_wait(cx, cx.now - since);
        }
    }

    /// Begins to wait, until a report arrives, or for this long at most.
    fn wait(&mut self, now: Instant, for_minority: bool, look: Duration) {
        self.blocked = for_minority.then_some(now);
        let can_end = for_minority && self.budget >= WORTH_WAITING;
        self.look_at = Some(now + if can_end { self.budget.min(look) } else { look });
    }

    /// Refills the budget for waiting with 5 % of the time that passed, takes the time from it for
    /// which the writer waited, and returns whether it may wait on.
    fn may_wait(&mut self, cx: &Cx<'_>, waited: Duration) -> bool {
        let passed = cx.now - std::mem::replace(&mut self.refilled, cx.now);
        self.budget = (self.budget + passed / 20).min(cx.config.slow_budget).saturating_sub(waited);
        self.budget >= WORTH_WAITING
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.look_at
    }
}

/// The bytes that the writer may be ahead of its readers: a window that grows by what is confirmed
/// while it is full, until the rate at which full windows are confirmed is known. So it doubles
/// each time that all of it has been read (TCP's slow start, Jacobson, 1988), and where many begin
/// to write together, each learns of the others before it is far ahead.
#[derive(Debug)]
struct Window {
    bytes: usize,
    /// Since when the window was full at each look, and the bytes confirmed since.
    full_since: Option<Instant>,
    confirmed: usize,
}

impl Window {
    const fn new() -> Self {
        Self { bytes: LEAST, full_since: None, confirmed: 0 }
    }

    /// Notes that the readers have confirmed more.
    fn confirmed(&mut self, now: Instant, bytes: usize) {
        let Some(since) = self.full_since else { return };
        self.confirmed += bytes;
        let elapsed = now - since;
        if elapsed >= SAMPLE {
            let ahead = self.confirmed as u128 * AHEAD.as_micros() / elapsed.as_micros();
            self.bytes = usize::try_from(ahead).unwrap_or(usize::MAX).clamp(LEAST, MOST);
            (self.full_since, self.confirmed) = (Some(now), 0);
        } else {
            self.bytes = (self.bytes + bytes).min(MOST);
        }
    }

    /// Notes whether the writer has to wait.
    fn look(&mut self, now: Instant, full: bool) {
        if !full {
            (self.full_since, self.confirmed) = (None, 0);
        } else if self.full_since.is_none() {
            self.full_since = Some(now);
        }
    }
}

/// What the streams of others bring to this node, which shows whether the lines are busy.
#[derive(Debug)]
struct Others {
    /// When the measurement began, and what had arrived then.
    since: Instant,
    bytes: u64,
    /// What has arrived in the last interval of [`SAMPLE`], and the most that did lately.
    rate: u64,
    best: u64,
    best_at: Instant,
}

impl Others {
    const fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0, rate: 0, best: 0, best_at: now }
    }

    /// Notes how much has arrived in all.
    fn look(&mut self, now: Instant, bytes: u64) {
        let elapsed = now - self.since;
        if elapsed < SAMPLE {
            return;
        }
        let arrived = u128::from(bytes - self.bytes) * SAMPLE.as_micros() / elapsed.as_micros();
        self.rate = u64::try_from(arrived).unwrap_or(u64::MAX);
        if self.rate >= self.best || now - self.best_at > BUSY_WITHIN {
            (self.best, self.best_at) = (self.rate, now);
        }
        (self.since, self.bytes) = (now, bytes);
    }

    fn is_busy(&self) -> bool {
        self.rate > 0 && self.rate.saturating_mul(BUSY_SHARE) >= self.best
    }
}

impl Spread {
    /// Returns the segment up to which the node's own stream is confirmed.
    pub(crate) fn own_position(&self) -> u64 {
        self.pace.position
    }

    /// Returns how far the readers of the node's own stream are.
    pub(crate) fn readers(&mut self, cx: &Cx<'_>, streams: &Streams) -> Option<Summary> {
        // Neighbours that report nothing count by what this node has sent them, which changes all
        // the time.
        if std::mem::take(&mut self.pace.dirty) || self.silent > 0 {
            let own = streams.get(OWN);
            self.pace.summary = self.summary(cx, streams, OWN);
            let position = self.pace.summary.map_or_else(|| self.without_children(), |all| all.position);
            if position != self.pace.position {
                let bytes =
                    own.ring.bytes_after(self.pace.position).saturating_sub(own.ring.bytes_after(position));
                self.pace.window.confirmed(cx.now, bytes);
                (self.pace.position, self.pace.moved) = (position, cx.now);
            }
        }
        self.pace.summary
    }

    /// Returns how far the readers are where all neighbours get the stream from each other: as far
    /// as each of them is, by its answer to a digest.
    fn without_children(&self) -> u64 {
        let links = self.links.values().filter(|link| link.ended);
        let known = links.map(Link::knows_own);
        self.pace.position.max(known.min().unwrap_or(0))
    }

    /// Returns for how long the readers have confirmed nothing, although there is something to
    /// confirm.
    fn still_for(&self, now: Instant, ring: &Ring) -> Duration {
        (now - self.pace.moved).min(ring.age_after(self.pace.position, now))
    }

    /// Returns in what time the slowest reader counts as lagging, if half of them stay at `half`.
    fn lags_in(&self, now: Instant, ring: &Ring, half: u64) -> Duration {
        let later = ring.age_after(self.pace.position, now).saturating_sub(ring.age_after(half, now));
        let round_trip = self.links.values().map(|link| link.rtt).max().unwrap_or_default();
        let writers = if self.pace.others.is_busy() { self.sharers() } else { 1 };
        (writers * LAGS_FROM + 4 * round_trip).saturating_sub(later)
    }

    /// Drops the slowest reader where the writer would wait for everyone, and it has confirmed
    /// nothing for too long. Returns the first bytes of its id.
    pub(crate) fn drop_slowest(&mut self, cx: &Cx<'_>, streams: &Streams) -> Option<u64> {
        let timeout = cx.config.reader_timeout.filter(|_| cx.config.pace == Pace::All)?;
        let Summary { slowest, behind, nodes, .. } = self.readers(cx, streams)?;
        if behind == nodes || self.still_for(cx.now, &streams.get(OWN).ring) < timeout {
            return None;
        }
        self.raise_floor(cx, OWN, self.pace.position + 1, true);
        self.readers(cx, streams);
        Some(slowest)
    }

    /// Returns whether the window has room for more of the node's own stream.
    pub(super) fn window_has_room(&mut self, cx: &Cx<'_>, streams: &Streams) -> bool {
        let summary = self.readers(cx, streams);
        let ring = &streams.get(OWN).ring;
        let window = self.window(summary);
        let unconfirmed = ring.bytes_after(self.pace.position);
        // It is full where a report let the writer on a moment ago, too.
        self.pace.window.look(cx.now, unconfirmed >= window / 2);
        self.pace.others.look(cx.now, streams.bytes_arrived());
        if unconfirmed < window {
            return true;
        }
        let half = summary.map_or(self.pace.position, |summary| summary.half);
        let is_still = self.still_for(cx.now, ring) >= STILL;
        let is_far = unconfirmed - ring.bytes_after(half) >= window / 4;
        let lags_in = is_far.then(|| self.lags_in(cx.now, ring, half));
        let lags = lags_in == Some(Duration::ZERO);
        let for_minority = cx.config.pace == Pace::Most && (is_still || lags);
        if for_minority && !self.pace.may_wait(cx, Duration::ZERO) {
            // Those far behind, and not everyone who is a little slower than half at the moment.
            let margin = (unconfirmed - ring.bytes_after(half)) / 4 * 3;
            let floor = match lags {
                true => segment_before(ring, self.pace.position, half, margin),
                false => self.pace.position + 1,
            };
            self.raise_floor(cx, OWN, floor, false);
            self.readers(cx, streams);
            // Nobody reads: that is not worth waiting for, either.
            let nobody = is_still && self.pace.summary.is_some_and(|all| all.behind == all.nodes);
            if nobody || ring.bytes_after(self.pace.position) < window {
                return true;
            }
        }
        let look = lags_in.filter(|_| !lags).map_or(LOOK, |left| left.min(LOOK));
        self.pace.wait(cx.now, for_minority, look);
        false
    }

    /// The same where the writer waits for its own links only.
    pub(super) fn own_links_have_room(&mut self, cx: &Cx<'_>, streams: &Streams) -> bool {
        let ring = &streams.get(OWN).ring;
        let columns = self.links.values().filter_map(|link| link.streams.get(OWN));
        let sent = columns.filter(|column| column.push).map(|column| column.sent.max(column.peer_have));
        if sent.min().is_none_or(|sent| ring.bytes_after(sent) < cx.config.write_window)
            || !self.pace.may_wait(cx, Duration::ZERO)
        {
            return true;
        }
        self.pace.wait(cx.now, true, LOOK);
        false
    }

    /// Waits for neighbours that all get the stream from each other: none of them reports by
    /// itself, so this node sends them digests, which they answer.
    pub(super) fn ask_lazy_neighbours(&mut self, cx: &Cx<'_>) {
        let is_eager = |link: &Link| link.streams.get(OWN).is_none_or(|column| column.push);
        if !self.links.values().any(is_eager) {
            self.links.values_mut().for_each(|link| link.make_dirty(cx, OWN));
            if self.pace.look_at.is_none() {
                self.pace.wait(cx.now, false, LOOK);
            }
        }
    }

    /// Asks the neighbours where none of them reports, and something is not confirmed yet: they may
    /// not have been as far when they were asked last.
    pub(crate) fn ask_again(&mut self, cx: &Cx<'_>, streams: &Streams) {
        if self.pace.position < streams.get(OWN).have
            && self.readers(cx, streams).is_none_or(|readers| readers.nodes == 0)
        {
            self.links.values_mut().for_each(|link| link.make_dirty(cx, OWN));
        }
    }

    /// Returns the bytes that may be unconfirmed.
    fn window(&self, summary: Option<Summary>) -> usize {
        let room = summary.map_or(u32::MAX, |summary| summary.room).min(self.own_room());
        self.pace.window.bytes.min((room as usize).saturating_mul(1024))
    }
}

/// Returns the last segment from `from` on, not beyond `half`, after which at least `bytes` more
/// than after `half` follow.
fn segment_before(ring: &Ring, from: u64, half: u64, bytes: usize) -> u64 {
    let (mut low, mut high) = (from, half);
    let goal = ring.bytes_after(half) + bytes;
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if ring.bytes_after(middle) >= goal { low = middle } else { high = middle - 1 }
    }
    low.max(from + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::id::Keypair;

    /// A report may let the writer on after each wait, from a reader that is slow and never stands
    /// still: the waits count all the same.
    #[test]
    fn a_wait_for_a_minority_is_taken_from_the_budget_whatever_ends_it() {
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let mut context = Context::new(Keypair::from_seed(&[1; 32]), Config::default(), 1);
        let mut pacer = Pacer::new(&Config::default(), at(0));
        let mut waits = 0;
        while pacer.budget >= WORTH_WAITING {
            let now = at(20 * waits);
            pacer.wait(now, true, LOOK);
            assert!(pacer.next_deadline().is_some_and(|look| look > now));
            pacer.stop_waiting(&context.at(now + Duration::from_millis(20)));
            waits += 1;
        }
        assert!((25..30).contains(&waits), "{waits} waits of 20 ms");
        pacer.wait(at(1000), false, LOOK);
        pacer.stop_waiting(&context.at(at(2000)));
        assert!(pacer.budget < WORTH_WAITING, "a wait for the network costs nothing");
        assert!(pacer.may_wait(&context.at(at(2000)), Duration::ZERO), "and 5 % of the time comes back");
    }

    /// There may be a report each 10 ms, and what is under way is not more because of that.
    #[test]
    fn a_full_window_grows_by_what_is_confirmed_however_many_reports_say_so() {
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let mut window = Window::new();
        for report in 0..8 {
            window.look(at(10 * report), true);
            window.confirmed(at(10 * report), LEAST / 8);
        }
        assert_eq!(window.bytes, 2 * LEAST);
    }

    #[test]
    fn lines_that_bring_an_eighth_of_what_they_did_are_not_busy() {
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let mut others = Others::new(at(0));
        assert!(!others.is_busy(), "nobody else writes");
        let mut arrived = 0;
        let mut look = |others: &mut Others, tick: u64, bytes: u64| {
            arrived += bytes;
            others.look(at(250 * tick), arrived);
            others.is_busy()
        };
        assert!((1..5).all(|tick| look(&mut others, tick, 8000)));
        assert!(look(&mut others, 5, 1000), "they are while they bring as much");
        assert!(!look(&mut others, 6, 900), "one slow reader holds up all");
        assert!(!look(&mut others, 7, 0), "all wait for one that stands still");
        assert!(look(&mut others, 50, 900 * 43), "there has not been more for ten seconds");
    }
}
