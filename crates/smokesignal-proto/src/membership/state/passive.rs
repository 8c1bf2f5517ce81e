//! The nodes that are known and not linked: the passive view (HyParView, section 4.1) and the
//! graveyard behind it.
//!
//! An entry that does not answer is tried ever more rarely and, the third time in a row, moves to
//! the graveyard. Entries from there are tried when no other node is left, and now and then by
//! probes: after a long partition no other node may be left.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::Config;
use crate::id::NodeId;
use crate::record::Record;
use crate::rng::Rng;
use crate::time::Instant;

/// Known nodes that are not neighbours.
#[derive(Debug, Default)]
pub(crate) struct Passive {
    known: BTreeMap<NodeId, Known>,
    /// Nodes that did not answer, the oldest in front. Kept because after a long netsplit nobody
    /// else is left.
    graveyard: VecDeque<Record>,
}

#[derive(Debug)]
struct Known {
    record: Record,
    /// The node that named it first.
    teller: NodeId,
    not_before: Instant,
    failures: u32,
}

impl Passive {
    /// Returns how many nodes are known, and how many of them do not answer.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.known.len(), self.graveyard.len())
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.known.values().map(|known| &known.record).chain(&self.graveyard)
    }

    /// Returns whether exactly this record was learnt before, and so has been verified.
    pub(crate) fn has(&self, record: &Record) -> bool {
        self.known.get(&record.id).is_some_and(|known| known.record == *record)
    }

    /// Remembers a node, or its newer record. When full a random entry loses; a node that has named
    /// a quarter of all entries loses one of its own, so that nobody replaces what others know.
    pub(crate) fn learn(&mut self, record: &Record, teller: &NodeId, rng: &mut Rng, config: &Config) {
        if let Some(known) = self.known.get_mut(&record.id) {
            if record.version > known.record.version {
                known.record = record.clone();
                (known.not_before, known.failures) = (Instant::ZERO, 0);
            }
            return;
        }
        self.graveyard.retain(|dead| dead.id != record.id);
        if self.known.len() >= config.passive_view {
            self.make_room(teller, rng, config);
        }
        let (record, not_before) = (record.clone(), Instant::ZERO);
        self.known.insert(record.id, Known { record, teller: *teller, not_before, failures: 0 });
    }

    fn make_room(&mut self, teller: &NodeId, rng: &mut Rng, config: &Config) {
        let told = |known: &&Known| known.teller == *teller;
        let same = self.known.values().filter(told).count();
        let loser = if same >= config.passive_view / 4 {
            self.known.values().filter(told).nth(rng.below(same))
        } else {
            self.known.values().nth(rng.below(self.known.len()))
        };
        if let Some(id) = loser.map(|known| known.record.id) {
            self.known.remove(&id);
        }
    }

    pub(crate) fn forget(&mut self, id: &NodeId) {
        self.known.remove(id);
    }

    /// Notes that the node has answered.
    pub(crate) fn proved(&mut self, id: &NodeId) {
        if let Some(known) = self.known.get_mut(id) {
            known.failures = 0;
        }
    }

    /// Returns whether the node did not answer the last time.
    pub(crate) fn has_failed(&self, id: &NodeId) -> bool {
        self.known.get(id).is_some_and(|known| known.failures > 0)
    }

    /// Leaves the node alone for a while: it lives, and has refused.
    pub(crate) fn avoid(&mut self, id: &NodeId, until: Instant) {
        if let Some(known) = self.known.get_mut(id) {
            known.not_before = known.not_before.max(until);
        }
    }

    /// Notes that the node did not answer. The third time in a row it goes to the graveyard.
    pub(crate) fn failed(&mut self, id: &NodeId, now: Instant, config: &Config) {
        let Some(known) = self.known.get_mut(id) else { return };
        known.failures += 1;
        known.not_before = now + Duration::from_secs(1 << known.failures.min(5));
        if known.failures >= 3
            && let Some(dead) = self.known.remove(id)
        {
            self.graveyard.push_back(dead.record);
            if self.graveyard.len() > config.graveyard {
                self.graveyard.pop_front();
            }
        }
    }

    /// Returns up to `count` random entries that may be dialled now and pass `suits`.
    pub(crate) fn candidates(
        &self,
        count: usize,
        now: Instant,
        rng: &mut Rng,
        suits: impl Fn(&Record) -> bool,
    ) -> Vec<Record> {
        let usable = |known: &&Known| known.not_before <= now && suits(&known.record);
        let mut found: Vec<_> = self.known.values().filter(usable).collect();
        rng.shuffle(&mut found);
        // A node that did not answer comes last: after a mass failure there is no time to ask the
        // dead twice.
        found.sort_by_key(|known| known.failures);
        found.into_iter().take(count).map(|known| known.record.clone()).collect()
    }

    /// Returns whether there is a node to try now that passes `suits`.
    pub(crate) fn has_candidate(&self, now: Instant, suits: impl Fn(&Record) -> bool) -> bool {
        self.known.values().any(|known| known.not_before <= now && suits(&known.record))
    }

    /// Returns the node dead for longest, and puts it back to the end of the line.
    pub(crate) fn exhume(&mut self) -> Option<Record> {
        self.graveyard.rotate_left(usize::from(!self.graveyard.is_empty()));
        self.graveyard.back().cloned()
    }

    /// Returns up to `count` random records, for others.
    pub(crate) fn sample(&self, count: usize, rng: &mut Rng) -> Vec<Record> {
        let mut all: Vec<_> = self.known.values().filter(|known| known.failures == 0).collect();
        rng.shuffle(&mut all);
        all.into_iter().take(count).map(|known| known.record.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Keypair;

    fn record(seed: u8) -> Record {
        Record::sign(&Keypair::from_seed(&[seed; 32]), &[0; 32], vec!["127.0.0.1:9".parse().unwrap()], 1)
    }

    #[test]
    fn views_are_bounded() {
        let config = Config { passive_view: 4, graveyard: 2, ..Config::default() };
        let (mut passive, mut rng) = (Passive::default(), Rng::new(1));
        for seed in 0..20 {
            passive.learn(&record(seed), &record(0).id, &mut rng, &config);
            assert!(passive.counts().0 <= 4);
        }
        for seed in 0..20 {
            (0..3).for_each(|_| passive.failed(&record(seed).id, Instant::ZERO, &config));
        }
        assert_eq!((passive.counts().0, passive.graveyard.len()), (0, 2));
        assert!(passive.exhume().is_some());
    }

    #[test]
    fn one_failed_dial_does_not_forget_a_node_three_do() {
        let config = Config::default();
        let (mut passive, mut rng) = (Passive::default(), Rng::new(1));
        passive.learn(&record(1), &record(0).id, &mut rng, &config);
        passive.failed(&record(1).id, Instant::ZERO, &config);
        assert!(passive.candidates(9, Instant::ZERO, &mut rng, |_| true).is_empty());
        let later = Instant::from_micros(2_000_000);
        assert_eq!(passive.candidates(9, later, &mut rng, |_| true).len(), 1);
        (0..2).for_each(|_| passive.failed(&record(1).id, later, &config));
        assert_eq!(passive.counts().0, 0);
        assert_eq!(passive.exhume().unwrap().id, record(1).id);
    }
}
