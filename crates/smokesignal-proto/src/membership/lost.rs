//! Neighbours whose link broke without a goodbye are called again for ever, ever more rarely: one that was started anew
//! and whose seeds are dead knows nobody, and in a large network nobody else would look for it.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Membership, Purpose};
use crate::id::NodeId;
use crate::ids::Target;
use crate::record::Record;
use crate::time::Instant;

/// As many lost neighbours are remembered; the one lost first loses.
pub(super) const MAX_LOST: usize = 16;
/// First and last wait between two calls; doubles in between.
const WAIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// The lost neighbours, the one lost first in front.
#[derive(Debug, Default)]
pub(super) struct Lost(VecDeque<Call>);

#[derive(Debug)]
struct Call {
    record: Record,
    wait: Duration,
    not_before: Instant,
}

impl Lost {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.0.iter().map(|call| &call.record)
    }

    /// It is there, or has said goodbye.
    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.0.retain(|call| call.record.id != *peer);
    }
}

impl Membership {
    pub(super) fn mourn(&mut self, record: Record, now: Instant) {
        self.lost.forget(&record.id);
        if self.lost.len() == MAX_LOST {
            self.lost.0.pop_front();
        }
        let not_before = now + self.rng.duration(WAIT.0 / 2, WAIT.0);
        self.lost.0.push_back(Call { record, wait: WAIT.0, not_before });
    }

    /// Calls one of the lost neighbours whose turn it is. Seeds are called more often, by `refill`.
    pub(super) fn call_the_lost(&mut self, now: Instant) {
        if self.dials.len() + 1 >= self.config.max_dials {
            return;
        }
        let Some(ix) = self.lost.0.iter().position(|call| call.not_before <= now) else { return };
        let id = self.lost.0[ix].record.id;
        if self.is_known_link(&id) || self.seeds.iter().any(|seed| seed.peer == Some(id)) {
            self.lost.0.remove(ix);
            return;
        }
        let call = &mut self.lost.0[ix];
        call.wait = (call.wait * 2).min(WAIT.1);
        call.not_before = now + self.rng.duration(call.wait / 2, call.wait);
        if let Some(address) = call.record.dialable_from(&self.addresses) {
            self.dial(Purpose::Probe, Target::Address(address), Some(id), now);
        }
    }
}
