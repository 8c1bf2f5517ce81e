//! The seeds: which are part of the partition, which are lost, and when that is a netsplit.
//!
//! Every node contributes facts about its own seeds. Reports merge on their way to the root, the
//! root judges each seed, and its beats carry the result. Each node compares the result with the
//! seeds that it knew as present, and reports a netsplit or its end.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Config;
use crate::context::Cx;
use crate::id::NodeId;
use crate::message::{Beat, MAX_SEEDS, SeedReport, SeedState, SeedStatus};
use crate::output::Output;
use crate::time::Instant;

/// Dials that must have failed, counted over the whole partition, before a seed is called lost.
const FAILURES: u8 = 2;
/// Number of beats after which bad news are void. Default 6, 10 s: as long as a node itself
/// believes the result of a dial.
const NEWS: u64 = 6;
/// The recent maximum of the size is the one of this time.
const LATELY: Duration = Duration::from_secs(20);
/// All seeds must be present for this long before a netsplit is over; meanwhile the nodes are
/// counted.
const SETTLED: Duration = Duration::from_secs(1);

/// What this node knows of one of its seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeedFact {
    pub(crate) id: NodeId,
    /// Number of recent dials without an answer.
    pub(crate) unreachable: u8,
    /// Whether a recent dial was answered by a node of this partition.
    pub(crate) present: bool,
    /// The size of another partition, a node of which has recently answered two dials some seconds
    /// apart.
    pub(crate) other_size: Option<u32>,
    /// When the latest bad news was found.
    pub(crate) seen: Instant,
}

impl SeedFact {
    fn report(&self) -> SeedReport {
        let Self { present, unreachable, other_size, .. } = *self;
        let unreachable = unreachable.min(FAILURES);
        SeedReport { seed: self.id.prefix(), present, unreachable, other_size, beat: 0 }
    }
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    facts: Vec<SeedFact>,
    /// The beats at which the bad news of the facts were found. Bounded by this node's seeds.
    dates: BTreeMap<u64, (Instant, u64)>,
    /// When each of this node's seeds was last part of the partition. Bounded by these seeds.
    seen: BTreeMap<u64, Instant>,
    /// The recent maximum of the size: after a cut the count shrinks before the reason is known.
    largest: (Instant, u32),
    /// The present size, and since when it has been stable: while nodes come and go some are
    /// counted twice.
    steady: (Instant, u32),
    /// The last judgement of each seed, if this node is the root.
    judged: BTreeMap<u64, SeedState>,
    split: Option<Ongoing>,
}

#[derive(Debug)]
struct Ongoing {
    seeds: Vec<u64>,
    since: Instant,
    /// When all of them were back.
    back: Option<Instant>,
}

impl Watch {
    pub(super) fn learn(&mut self, facts: Vec<SeedFact>, beat: u64) {
        let ours = |seed: &u64| facts.iter().any(|fact| fact.id.prefix() == *seed);
        self.seen.retain(|seed, _| ours(seed));
        self.dates.retain(|seed, _| ours(seed));
        for fact in &facts {
            let date = self.dates.entry(fact.id.prefix()).or_insert((fact.seen, beat));
            if date.0 != fact.seen {
                *date = (fact.seen, beat);
            }
        }
        self.facts = facts;
    }

    /// Merges the reports of all children with this node's own facts, and adds that this node is
    /// present if it is a seed of others. Old news are void: a slow line delivers them when they
    /// may no longer be true. This node's own seeds come first, then those that the root knows; of
    /// the others the ones with the largest numbers lose.
    pub(super) fn merge<'a>(
        &self,
        me: NodeId,
        beat: &Beat,
        children: impl Iterator<Item = &'a SeedReport>,
    ) -> Vec<SeedReport> {
        let mut all: BTreeMap<u64, SeedReport> = BTreeMap::new();
        let own = self.facts.iter().map(|fact| {
            let date = self.dates.get(&fact.id.prefix()).map_or(0, |(_, beat)| *beat);
            SeedReport { beat: date, ..fact.report() }
        });
        let old = |report: &SeedReport| beat.beat.abs_diff(report.beat) > NEWS;
        for report in own.chain(children.copied()) {
            let present = report.present;
            let void = SeedReport { seed: report.seed, present, unreachable: 0, other_size: None, beat: 0 };
            let report = if old(&report) { void } else { report };
            let merged = all.entry(report.seed).or_insert(void);
            merged.present |= report.present;
            merged.unreachable = merged.unreachable.saturating_add(report.unreachable).min(FAILURES);
            merged.other_size = merged.other_size.max(report.other_size);
            if report.unreachable > 0 || report.other_size.is_some() {
                merged.beat = merged.beat.max(report.beat);
            }
        }
        let me = me.prefix();
        if beat.seeds.iter().any(|status| status.seed == me) || all.contains_key(&me) {
            all.insert(me, SeedReport { seed: me, present: true, unreachable: 0, other_size: None, beat: 0 });
        }
        let own = |seed| seed == me || self.facts.iter().any(|fact| fact.id.prefix() == seed);
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_by_key(|report| (!own(report.seed), state(beat, report.seed).is_none(), report.seed));
        all.truncate(MAX_SEEDS);
        all.sort_by_key(|report| report.seed);
        all
    }

    /// Judges each seed, as the root. Until the reports have `gathered` no seed is called lost.
    pub(super) fn judge(&mut self, reports: &[SeedReport], gathered: bool) -> Vec<SeedStatus> {
        let mut judged = BTreeMap::new();
        for report in reports {
            let before = self.judged.get(&report.seed).copied().unwrap_or(SeedState::Absent);
            let was_lost = matches!(before, SeedState::Lost | SeedState::Elsewhere { .. });
            let state = match report.other_size {
                _ if report.present => SeedState::Present,
                Some(size) if gathered => SeedState::Elsewhere { size },
                _ if was_lost => before, // Stays until the seed is present.
                _ if gathered && report.unreachable >= FAILURES => SeedState::Lost,
                _ => SeedState::Absent,
            };
            judged.insert(report.seed, state);
        }
        self.judged = judged;
        self.judged.iter().map(|(seed, state)| SeedStatus { seed: *seed, state: *state }).collect()
    }

    /// Starts over with another root, which numbers its own beats; this node's judgements are void.
    pub(super) fn begin_anew(&mut self, beat: u64) {
        self.judged.clear();
        self.dates.values_mut().for_each(|(_, date)| *date = beat);
    }

    pub(super) fn is_present(&self, beat: &Beat, seed: &NodeId) -> bool {
        state(beat, seed.prefix()) == Some(SeedState::Present)
    }

    /// Returns whether the seed has been absent for long enough. One that was present a moment ago
    /// is not missed: two partitions may be meeting, and one of them has yet to hear of the other's
    /// seeds.
    fn is_missed(&self, seed: u64, now: Instant, config: &Config) -> bool {
        self.seen.get(&seed).is_some_and(|seen| now - *seen >= 2 * config.beat_period)
    }

    /// Derives the application's events from a beat. A seed that was never part of the partition
    /// cannot be lost.
    pub(super) fn take_stock(&mut self, cx: &Cx<'_>, beat: &Beat, size: u32) -> Option<Output> {
        let (now, config) = (cx.now, cx.config);
        if size != self.steady.1 {
            self.steady = (now, size);
        }
        let counted = now - self.steady.0 >= 2 * SETTLED;
        if counted && (size >= self.largest.1 || now - self.largest.0 > LATELY) {
            self.largest = (now, size);
        }
        let mut lost = Vec::new();
        for fact in &self.facts {
            let seed = fact.id.prefix();
            match state(beat, seed) {
                Some(SeedState::Present) => drop(self.seen.insert(seed, now)),
                Some(SeedState::Lost) if self.is_missed(seed, now, config) => lost.push((fact.id, None)),
                Some(SeedState::Elsewhere { size }) if self.is_missed(seed, now, config) => {
                    lost.push((fact.id, Some(size)));
                }
                _ => {}
            }
        }
        if let Some(ongoing) = &mut self.split {
            // A seed that is no longer one of this node's, because its address leads to another
            // node now, does not delay the end.
            let ours = |seed: &&u64| self.seen.contains_key(seed);
            let back = |seed: &u64| state(beat, *seed) == Some(SeedState::Present);
            let whole = lost.is_empty() && ongoing.seeds.iter().filter(ours).all(back);
            if !whole {
                ongoing.back = None;
                return None;
            }
            let back = *ongoing.back.get_or_insert(now);
            if now - back < SETTLED {
                return None;
            }
            let duration = back - ongoing.since;
            self.split = None;
            return Some(Output::NetsplitResolved { duration, size });
        }
        let (seed, other_size) = *lost.first()?;
        let (since, size_before) = (self.seen[&seed.prefix()], self.largest.1);
        self.split =
            Some(Ongoing { seeds: lost.iter().map(|(id, _)| id.prefix()).collect(), since, back: None });
        Some(Output::Netsplit { seed, size, size_before, other_size })
    }
}

fn state(beat: &Beat, seed: u64) -> Option<SeedState> {
    beat.seeds.iter().find(|status| status.seed == seed).map(|status| status.state)
}
