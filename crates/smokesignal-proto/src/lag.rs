//! How far this node is behind in each stream, by what its neighbours report.
//!
//! A neighbour's mark says how far it is. The node notes what it lacks then, and when it heard of
//! it; what has arrived is struck off again. The lag is the age of the oldest entry that is left.
//! The application learns once when it exceeds a second, and once when it is below 200 ms again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::message::Mark;
use crate::streams::{Stream, StreamIx};
use crate::time::Instant;

/// A node that lacks something for longer lags.
const LAGS: Duration = Duration::from_secs(1);
/// One that lags no longer than this has caught up.
const KEEPS_UP: Duration = Duration::from_millis(200);
/// Marks that come sooner after another one are not noted by themselves.
const SPACING: Duration = Duration::from_millis(50);
/// Entries of one stream. Above that every second one goes.
const MAX_ENTRIES: usize = 64;

/// What this node lacks of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// When the node heard of the first of it.
    pub since: Instant,
    /// How many messages.
    pub messages: u64,
    /// Their size in bytes, an estimate from the segments that the node has.
    pub bytes: u64,
}

/// The streams in which this node lacks something.
#[derive(Debug, Default)]
pub(crate) struct Lags {
    behind: BTreeMap<StreamIx, Behind>,
    next: Option<Instant>,
}

#[derive(Debug, Default)]
struct Behind {
    /// When a neighbour had how much, both rising.
    claims: VecDeque<(Instant, u64)>,
    /// The highest of them: a segment, and the number of the message after it (0: not known).
    head: (u64, u64),
    /// Whether the application has learned that the node lags.
    reported: bool,
}

/// What changes for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Lags(StreamIx),
    CaughtUp(StreamIx),
}

impl Lags {
    /// Notes that a neighbour has more of the stream than this node, which is at `have`.
    pub(crate) fn claimed(&mut self, ix: StreamIx, mark: &Mark, have: u64, now: Instant) {
        if mark.have <= have {
            return;
        }
        let behind = self.behind.entry(ix).or_default();
        behind.head = behind.head.max((mark.have, mark.next_message));
        if behind.claims.back().is_none_or(|(at, claim)| mark.have > *claim && now - *at >= SPACING) {
            behind.claims.push_back((now, mark.have));
        }
        if behind.claims.len() > MAX_ENTRIES {
            let mut number = 0;
            behind.claims.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
        self.schedule(now);
    }

    /// Notes that this node has everything of the stream up to `have`.
    pub(crate) fn arrived(&mut self, ix: StreamIx, have: u64) {
        let Some(behind) = self.behind.get_mut(&ix) else { return };
        while behind.claims.front().is_some_and(|(_, claim)| *claim <= have) {
            behind.claims.pop_front();
        }
        if behind.claims.is_empty() && !behind.reported {
            self.behind.remove(&ix);
        }
    }

    /// Drops what neighbours have claimed and do not keep.
    pub(crate) fn drop_void(&mut self, now: Instant, is_void: impl Fn(StreamIx) -> bool) {
        if self.next.is_some_and(|next| next <= now) {
            let void = self.behind.iter_mut().filter(|(ix, _)| is_void(**ix));
            void.for_each(|(_, behind)| behind.claims.clear());
        }
    }

    /// Another stream is in this place now.
    pub(crate) fn forget(&mut self, ix: StreamIx) {
        self.behind.remove(&ix);
    }

    /// Returns what the application is to learn, once for each time that the node falls behind.
    pub(crate) fn changes(&mut self, now: Instant) -> Vec<Change> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.next = None;
        let mut changes = Vec::new();
        for (ix, behind) in &mut self.behind {
            let lag = behind.time(now);
            if !behind.reported && lag >= LAGS {
                behind.reported = true;
                changes.push(Change::Lags(*ix));
            } else if behind.reported && lag < KEEPS_UP {
                behind.reported = false;
                changes.push(Change::CaughtUp(*ix));
            }
        }
        self.behind.retain(|_, behind| behind.reported || !behind.claims.is_empty());
        self.schedule(now);
        changes
    }

    /// Returns when to call [`Lags::changes`].
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Returns what is missing of the stream; `None` if nothing is.
    pub(crate) fn of(&self, ix: StreamIx, stream: &Stream) -> Option<Lag> {
        let behind = self.behind.get(&ix)?;
        let (since, _) = *behind.claims.front()?;
        let (head, next_message) = behind.head;
        let segments = head.saturating_sub(stream.have);
        let (retained, bytes) = (stream.have + 1 - stream.floor(), stream.ring.bytes() as u64);
        let bytes = segments.saturating_mul(bytes / retained.max(1));
        let messages = match (next_message, stream.next_message()) {
            (theirs, Some(ours)) if theirs > ours => theirs - ours,
            _ => segments,
        };
        Some(Lag { since, messages, bytes })
    }

    /// See [`crate::Node::held`].
    pub(crate) fn len(&self) -> usize {
        self.behind.len()
    }

    fn schedule(&mut self, now: Instant) {
        if self.next.is_none() && !self.behind.is_empty() {
            self.next = Some(now + KEEPS_UP / 2);
        }
    }
}

impl Behind {
    fn time(&self, now: Instant) -> Duration {
        self.claims.front().map_or(Duration::ZERO, |(at, _)| now - *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    fn mark(have: u64) -> Mark {
        let origin = NodeId::from_bytes([1; 32]);
        Mark { origin, incarnation: 1, have, floor: 1, floor_message: 1, next_message: have + 1 }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn a_lag_is_reported_once_and_its_end_once() {
        let mut lags = Lags::default();
        let mut reported = Vec::new();
        // Ten segments a second are written and six arrive, for three seconds; then all arrives.
        for step in 0..50_u64 {
            let (head, have) = (step.min(30), if step < 30 { step * 6 / 10 } else { 18 + 3 * (step - 30) });
            lags.claimed(3, &mark(head), have.min(head), at(step * 100));
            lags.arrived(3, have.min(head));
            reported.extend(lags.changes(at(step * 100)).into_iter().map(|change| (step, change)));
        }
        let [(first, Change::Lags(3)), (last, Change::CaughtUp(3))] = reported[..] else {
            panic!("{reported:?}");
        };
        assert!((20..30).contains(&first) && (31..40).contains(&last), "{reported:?}");
        assert_eq!((lags.len(), lags.next_deadline().is_some_and(|next| next < at(5000))), (0, false));
    }

    #[test]
    fn a_reader_that_keeps_up_is_not_reported() {
        let mut lags = Lags::default();
        for step in 0..100 {
            lags.claimed(1, &mark(step + 1), step, at(step * 100));
            lags.arrived(1, step + 1);
            assert_eq!(lags.changes(at(step * 100 + 99)), []);
        }
    }

    #[test]
    fn what_is_noted_of_one_stream_has_a_limit() {
        let mut lags = Lags::default();
        (0..1000).for_each(|step| lags.claimed(1, &mark(step + 1), 0, at(step * 100)));
        assert!(lags.behind[&1].claims.len() <= MAX_ENTRIES);
        let lag = lags.behind[&1].time(at(100_000));
        assert!(lag > Duration::from_secs(90), "{lag:?}");
    }
}
