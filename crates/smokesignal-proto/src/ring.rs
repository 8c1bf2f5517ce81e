//! The latest segments of one stream, kept so that others can be given what they missed.
//!
//! Links do not queue segments. Each keeps a cursor into this ring, and so one copy serves all of
//! them, however slow each is. The ring counts the bytes ever pushed; the distance between two such
//! counts is how far a reader is behind, without a walk over the segments.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::age::Age;
use crate::message::Message;
use crate::segment::Segment;
use crate::time::Instant;

/// Bytes a retained segment counts for beyond its body: the ring must not fill up with tiny ones.
const OVERHEAD: usize = 128;

/// Consecutive segments, the oldest in front. The oldest loses.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Bytes ever pushed, which gives each segment a position to measure a reader's lag by.
    end: u64,
}

#[derive(Debug)]
struct Entry {
    segment: Arc<Segment>,
    age: Age,
    pushed: Instant,
    end: u64,
}

impl Ring {
    pub(crate) fn push(&mut self, segment: Arc<Segment>, age: Age, now: Instant) {
        self.bytes += cost(&segment);
        self.end += segment.body.len() as u64;
        self.entries.push_back(Entry { segment, age, pushed: now, end: self.end });
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&Arc<Segment>> {
        self.entry(seq).map(|entry| &entry.segment)
    }

    /// Returns the message that hands this segment to a neighbour.
    pub(crate) fn message(&self, seq: u64) -> Option<Message> {
        self.entry(seq).map(|entry| Message::Data(Arc::clone(&entry.segment), entry.age))
    }

    pub(crate) fn front(&self) -> Option<&Arc<Segment>> {
        self.entries.front().map(|entry| &entry.segment)
    }

    pub(crate) fn back(&self) -> Option<&Arc<Segment>> {
        self.entries.back().map(|entry| &entry.segment)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops the oldest segment and says how many bytes that frees.
    pub(crate) fn pop(&mut self) -> usize {
        let freed = self.entries.pop_front().map_or(0, |entry| cost(&entry.segment));
        self.bytes -= freed;
        freed
    }

    /// Drops what is older than `age`, up to the first segment that is still needed.
    pub(crate) fn expire(&mut self, now: Instant, age: Duration, needed: u64) -> usize {
        let mut freed = 0;
        let over = |entry: &Entry| now - entry.pushed > age && entry.segment.seq < needed;
        while self.entries.front().is_some_and(over) {
            freed += self.pop();
        }
        // A busy hour's table is not kept for a quiet one.
        if self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(2 * self.entries.len());
        }
        freed
    }

    pub(crate) fn clear(&mut self) -> usize {
        self.entries.clear();
        std::mem::take(&mut self.bytes)
    }

    /// Returns how long ago the segment after `seq`, or the first one behind it that is retained,
    /// was pushed; zero if there is none.
    pub(crate) fn age_after(&self, seq: u64, now: Instant) -> Duration {
        let Some(front) = self.entries.front() else { return Duration::ZERO };
        let at = usize::try_from((seq + 1).saturating_sub(front.segment.seq)).unwrap_or(usize::MAX);
        self.entries.get(at).map_or(Duration::ZERO, |entry| now - entry.pushed)
    }

    /// Body bytes pushed after segment `seq`, as far as they are retained.
    pub(crate) fn bytes_after(&self, seq: u64) -> usize {
        let Some(front) = self.entries.front() else { return 0 };
        let first = front.segment.seq;
        let begin = if seq < first {
            front.end - front.segment.body.len() as u64
        } else {
            self.entries.get((seq - first) as usize).map_or(self.end, |entry| entry.end)
        };
        (self.end - begin) as usize
    }

    fn entry(&self, seq: u64) -> Option<&Entry> {
        let first = self.entries.front()?.segment.seq;
        let at = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.entries.get(at)
    }
}

fn cost(segment: &Segment) -> usize {
    segment.body.len() + OVERHEAD
}
