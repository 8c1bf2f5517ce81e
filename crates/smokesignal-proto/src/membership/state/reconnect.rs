//! Neighbours whose link broke without a goodbye are probed, ever more rarely, until they answer.
//! One in the same partition is then forgotten here, without a new link; one in another partition
//! gets a bridge (`probe.rs`). This finds a neighbour that was started anew and whose seeds are
//! dead: it knows no other node, and in a large network no other node would look for it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::context::Cx;
use crate::id::NodeId;
use crate::record::Record;
use crate::time::Instant;

/// Lost neighbours that are remembered; the one lost first loses.
pub(crate) const MAX_LOST: usize = 16;
/// First and last wait between two dials; doubles in between.
const WAIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// The lost neighbours, the one lost first in front.
#[derive(Debug, Default)]
pub(crate) struct Reconnect(VecDeque<Lost>);

#[derive(Debug)]
struct Lost {
    record: Record,
    wait: Duration,
    not_before: Instant,
}

impl Reconnect {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.0.iter().map(|lost| &lost.record)
    }

    pub(crate) fn remember(&mut self, cx: &mut Cx<'_>, record: Record) {
        self.forget(&record.id);
        if self.0.len() == MAX_LOST {
            self.0.pop_front();
        }
        let not_before = cx.now + cx.rng.duration(WAIT.0 / 2, WAIT.0);
        self.0.push_back(Lost { record, wait: WAIT.0, not_before });
    }

    /// The node is a neighbour again, or has said goodbye.
    pub(crate) fn forget(&mut self, peer: &NodeId) {
        self.0.retain(|lost| lost.record.id != *peer);
    }

    /// Returns a lost neighbour that is to be dialled now. One that `is_sought` otherwise is
    /// forgotten.
    pub(crate) fn next(&mut self, cx: &mut Cx<'_>, is_sought: impl Fn(&Record) -> bool) -> Option<Record> {
        let ix = self.0.iter().position(|lost| lost.not_before <= cx.now)?;
        let lost = &mut self.0[ix];
        if is_sought(&lost.record) {
            self.0.remove(ix);
            return None;
        }
        lost.wait = (lost.wait * 2).min(WAIT.1);
        lost.not_before = cx.now + cx.rng.duration(lost.wait / 2, lost.wait);
        Some(lost.record.clone())
    }
}
