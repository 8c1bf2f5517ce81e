//! Leaving: what a node waits for before it says goodbye, and what it knows then of its readers.
//!
//! A node that is to leave ends its stream, and each neighbour that has read the end answers with a
//! mark. The node waits for these marks, and, while no neighbour was handed what it wrote, for a
//! first neighbour. It waits for as long as something moves, and for its patience after that.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::NodeId;
use crate::limits::Held;
use crate::time::Instant;

/// What a leaving node passes on for others it hands over for this long after its own stream: under
/// constant traffic it would never be done, and others can bring the rest.
const HAND_OVER: Duration = Duration::from_millis(500);
/// A node that leaves waits no longer than this for readers that confirm nothing more, unless it
/// waits for all.
const STILL: Duration = Duration::from_millis(1500);
/// Neighbours, also former ones, that are remembered to have read the stream; the latest loses. A
/// node has five neighbours, and the stream ends once in its life.
const MAX_READERS: usize = 4096;

/// How far a node is with leaving.
#[derive(Debug, Default)]
pub(crate) struct Departure {
    phase: Phase,
    /// The last segment of the own stream that some neighbour was known to have read, and the
    /// neighbours that have.
    head: u64,
    readers: BTreeSet<NodeId>,
    /// The last neighbour has left the network in good order, and there was none since.
    deserted: bool,
}

#[derive(Debug, Clone, Copy, Default)]
enum Phase {
    /// The user has not asked for it.
    #[default]
    Staying,
    /// The node waits: for `patience` after the last progress.
    Leaving {
        patience: Duration,
        progress: u64,
        moved: Instant,
        /// Since when nothing but the streams of others holds up the node.
        own_done: Option<Instant>,
    },
    Left,
}

impl Departure {
    /// The user asks the node to leave. A second call can make it less patient.
    pub(crate) fn begin(&mut self, patience: Duration, now: Instant) {
        match &mut self.phase {
            Phase::Staying => {
                self.phase = Phase::Leaving { patience, progress: 0, moved: now, own_done: None };
            }
            Phase::Leaving { patience: before, .. } => *before = patience.min(*before),
            Phase::Left => {}
        }
    }

    pub(crate) fn is_staying(&self) -> bool {
        matches!(self.phase, Phase::Staying)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. })
    }

    pub(crate) fn leave(&mut self) {
        self.phase = Phase::Left;
    }

    /// Notes how far all has moved, a number that only rises, and returns whether the node has
    /// waited long enough without progress.
    pub(crate) fn is_overdue(&mut self, so_far: u64, now: Instant) -> bool {
        let Phase::Leaving { patience, progress, moved, .. } = &mut self.phase else { return false };
        if so_far > *progress {
            (*progress, *moved) = (so_far, now);
        }
        now - *moved >= *patience
    }

    /// Returns whether nothing has moved for long enough that a writer which waits for most readers
    /// waits no more for those that are left.
    pub(crate) fn stands_still(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Leaving { moved, .. } if now - moved >= STILL)
    }

    /// The own stream is read; returns whether the node may leave although it still passes on those
    /// of others.
    pub(crate) fn may_go(&mut self, now: Instant) -> bool {
        let Phase::Leaving { own_done, .. } = &mut self.phase else { return false };
        now - *own_done.get_or_insert(now) >= HAND_OVER
    }

    /// Notes whether the node has become alone because its last neighbour has left the network.
    pub(crate) fn set_deserted(&mut self, deserted: bool) {
        self.deserted = deserted;
    }

    pub(crate) fn is_deserted(&self) -> bool {
        self.deserted
    }

    /// A neighbour has read the own stream up to segment `have`, of `head`.
    pub(crate) fn note_reader(&mut self, peer: NodeId, have: u64, head: u64) {
        if head > self.head {
            self.head = head;
            self.readers.clear();
        }
        if have >= head && self.readers.len() < MAX_READERS {
            self.readers.insert(peer);
        }
    }

    /// Returns how many neighbours, former ones included, have read up to segment `head`.
    pub(crate) fn readers(&self, head: u64) -> usize {
        if head == self.head { self.readers.len() } else { 0 }
    }

    /// See [`crate::Node::held`].
    pub(crate) fn held(&self, held: &mut Vec<Held>) {
        held.push(Held { what: "readers", amount: self.readers.len(), limit: MAX_READERS });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaving_node_waits_as_long_as_something_moves() {
        let mut departure = Departure::default();
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        departure.begin(Duration::from_secs(30), at(0));
        assert!(!departure.is_overdue(1, at(29)));
        assert!(!departure.is_overdue(1, at(58)));
        assert!(!departure.is_overdue(2, at(58)));
        assert!(departure.is_overdue(2, at(88)));
        departure.begin(Duration::ZERO, at(88));
        assert!(departure.is_overdue(3, at(88)), "its user has lost patience");
    }

    #[test]
    fn readers_of_a_shorter_stream_do_not_count() {
        let mut departure = Departure::default();
        let [one, two] = [1, 2].map(|byte| NodeId::from_bytes([byte; 32]));
        departure.note_reader(one, 7, 7);
        departure.note_reader(two, 6, 7);
        assert_eq!((departure.readers(7), departure.readers(8)), (1, 0));
        departure.note_reader(two, 8, 8);
        assert_eq!(departure.readers(8), 1);
    }
}
