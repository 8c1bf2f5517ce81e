//! How far this node is behind in what others write, for those who read the metrics.
//!
//! The core knows it for each stream. Ten times a second at most the driver asks it about the
//! writers that it has heard of in the last minute, and publishes the result; it does so for as
//! long as something is missing, and otherwise when a writer is new, or it is awake anyway.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use smokesignal_proto::{self as proto, Instant, NodeId};

use super::Driver;
use crate::metrics::Behind;

/// Writers that are remembered. Beyond that, the one that was heard of longest ago loses. A guess:
/// asking about all of them takes 0.1 ms.
const REMEMBERED: usize = 256;
/// Writers that are published: those that this node is behind for longest. A guess.
const PUBLISHED: usize = 32;
/// A writer that was not heard of for this long, and of which nothing is missing, is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Time between two looks.
const EVERY: Duration = Duration::from_millis(100);

/// The writers that were heard of lately.
#[derive(Debug)]
pub(super) struct Writers {
    /// Each writer, and the time of the last news of it.
    heard: BTreeMap<NodeId, Instant>,
    /// The last one, and when it was noted: most messages in a row are of one writer.
    last: Option<(NodeId, Instant)>,
    /// When to look again, and whether that is worth waking up for: something is missing, or a
    /// writer is new.
    next: Instant,
    is_due: bool,
}

impl Writers {
    pub(super) fn new() -> Self {
        Self { heard: BTreeMap::new(), last: None, next: Instant::ZERO, is_due: false }
    }

    /// Notes that something of this writer has arrived, or is missing.
    pub(super) fn heard_of(&mut self, writer: NodeId, now: Instant) {
        if self.last.is_some_and(|(last, at)| last == writer && now - at < EVERY) {
            return;
        }
        self.last = Some((writer, now));
        let is_new = self.heard.insert(writer, now).is_none();
        self.is_due |= is_new;
        if is_new && self.heard.len() > REMEMBERED {
            let oldest = self.heard.iter().min_by_key(|(_, at)| **at).map(|(writer, _)| *writer);
            oldest.and_then(|writer| self.heard.remove(&writer));
        }
    }

    /// Returns when to look again although nothing happens until then.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.is_due.then_some(self.next)
    }

    /// Returns how far the node is behind in each stream, the worst first, if it is time to look.
    fn look(
        &mut self,
        now: Instant,
        lag_of: impl Fn(&NodeId) -> Option<proto::Lag>,
    ) -> Option<Vec<(NodeId, Option<proto::Lag>)>> {
        if now < self.next {
            return None;
        }
        self.next = now + EVERY;
        let mut lags = Vec::with_capacity(self.heard.len());
        self.heard.retain(|writer, heard| {
            let lag = lag_of(writer);
            if lag.is_some() {
                *heard = now;
            }
            let is_kept = now - *heard < FORGOTTEN;
            if is_kept {
                lags.push((*writer, lag));
            }
            is_kept
        });
        self.is_due = lags.iter().any(|(_, lag)| lag.is_some());
        lags.sort_by_key(|(_, lag)| {
            lag.map_or((true, Instant::ZERO, Reverse(0)), |lag| (false, lag.since, Reverse(lag.bytes)))
        });
        lags.truncate(PUBLISHED);
        Some(lags)
    }
}

impl Driver {
    /// Publishes how far this node is behind in what others write, if it is time for that.
    pub(super) fn note_lags(&mut self, now: Instant) {
        let core = &self.core;
        let lag_of = |writer: &NodeId| core.stream_of(writer).and_then(|view| view.lag);
        let Some(lags) = self.writers.look(now, lag_of) else { return };
        let clock = self.clock;
        let published = lags.into_iter().map(|(writer, lag)| match lag {
            Some(lag) => {
                let since = Some(clock.deadline(lag.since));
                Behind { writer, messages: lag.messages, bytes: lag.bytes, since }
            }
            None => Behind { writer, messages: 0, bytes: 0, since: None },
        });
        self.shared.counters.set_writers(published.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(number: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    fn lag(since: Instant, bytes: u64) -> Option<proto::Lag> {
        Some(proto::Lag { since, messages: 1, bytes })
    }

    #[test]
    fn the_writers_that_are_furthest_behind_are_published() {
        let mut writers = Writers::new();
        (0..100).for_each(|number| writers.heard_of(writer(number), at(1000)));
        // The later ones are behind for longer, the last two for equally long.
        let lags = writers.look(at(2000), |id| {
            let number = (0..100).find(|number| writer(*number) == *id)?;
            (number >= 90).then(|| lag(at(1000 - u64::from(number.min(98))), u64::from(number)))?
        });
        let lags = lags.unwrap();
        assert_eq!(lags.len(), PUBLISHED);
        let first: Vec<_> = lags.iter().map(|(id, _)| *id).take(10).collect();
        assert_eq!(first, [99, 98, 97, 96, 95, 94, 93, 92, 91, 90].map(writer));
        assert!(lags[10..].iter().all(|(_, lag)| lag.is_none()));
        assert_eq!(writers.next_deadline(), Some(at(2000) + EVERY));
        assert!(writers.look(at(2050), |_| None).is_none(), "too early");
        assert!(writers.look(at(2100), |_| None).is_some());
        assert_eq!(writers.next_deadline(), None);
    }

    #[test]
    fn the_writer_heard_of_longest_ago_is_forgotten_first_and_a_quiet_one_after_a_minute() {
        let mut writers = Writers::new();
        (0..=256).for_each(|number| writers.heard_of(writer(number), at(1000 + u64::from(number))));
        assert_eq!(writers.heard.len(), REMEMBERED);
        assert!(!writers.heard.contains_key(&writer(0)));
        let in_a_minute = at(2000) + FORGOTTEN;
        let lags = writers.look(in_a_minute, |id| (*id == writer(7)).then(|| lag(at(0), 1))?).unwrap();
        assert_eq!(lags, [(writer(7), lag(at(0), 1))]);
        assert_eq!(writers.heard.len(), 1);
    }
}
