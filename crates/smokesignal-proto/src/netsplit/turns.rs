//! Turns: a partition shares the work of dialling the seeds that it lacks.
//!
//! Each node reports to the neighbour nearer to the root which of its seeds are missing, and how
//! many of the nodes below it look for each (a convergecast, as for the count). For each missing
//! seed the root gives a turn every [`EVERY`], which goes down the tree to one of these nodes: at
//! each branch by lot, in proportion to their number. The node that it ends at dials the seed. So a
//! partition of any size dials a missing seed at a steady pace, and each time from another node: if
//! one of them can reach the seed, it is found.
//!
//! A turn that is lost with a link, or with a member that does not pass it on, is made up for by
//! the next one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::LinkId;
use crate::message::{MAX_SEEDS, SoughtSeed};
use crate::rng::Rng;
use crate::time::Instant;

/// Time between two turns for one seed, give or take 4 %. Default 2.8 s: at most three dials in
/// 5 s, those of the beginning and half a second that a turn may take on its way included; and a
/// seed that comes up is met within 4 s.
const EVERY: Duration = Duration::from_millis(2800);
/// Turns that are given when a seed is found missing: two dials without an answer, counted over the
/// partition, are what it takes to call it lost.
const AT_FIRST: usize = 2;
/// One in this number of lots is drawn without regard to what the neighbours claim, so that a
/// member that makes up nodes below it does not get all turns.
const REGARDLESS: usize = 4;
/// Reports of several children within this time are passed on together.
pub(super) const SOUGHT_PAUSE: Duration = Duration::from_millis(50);

/// Returns the short name of a seed that is looked for: of its address, because its id may not be
/// known.
pub(crate) fn address_key(address: &str) -> u64 {
    let hash = blake3::hash(address.as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

/// The seeds that this node lacks, and the root's clock of turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// This node's own missing seeds, sorted.
    own: Vec<u64>,
    /// The last report to a neighbour nearer to the root, and when it was sent.
    reported: (Option<LinkId>, Vec<SoughtSeed>),
    pub(super) reported_at: Instant,
    /// When the next turn for each missing seed is due, if this node is the root.
    next: BTreeMap<u64, Instant>,
}

/// Where a turn goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// This node dials the seed.
    Here,
    /// The neighbour over this link passes it on.
    Down(LinkId),
}

impl Turns {
    /// Notes which of its own seeds this node lacks.
    pub(super) fn learn(&mut self, mut own: Vec<u64>) {
        own.sort_unstable();
        own.dedup();
        self.own = own;
    }

    /// Returns the seeds that this node and all nodes below it look for. Of too many, those with
    /// the largest numbers lose.
    pub(super) fn sought<'a>(&self, below: impl Iterator<Item = &'a SoughtSeed>) -> Vec<SoughtSeed> {
        let mut all: BTreeMap<u64, u32> = self.own.iter().map(|seed| (*seed, 1)).collect();
        for SoughtSeed { seed, by } in below {
            let sum = all.entry(*seed).or_insert(0);
            *sum = sum.saturating_add(*by);
        }
        all.into_iter().map(|(seed, by)| SoughtSeed { seed, by }).take(MAX_SEEDS).collect()
    }

    /// Returns whether a report to the neighbour nearer to the root is due, and notes that it is
    /// sent.
    pub(super) fn report(&mut self, up: LinkId, sought: &[SoughtSeed], now: Instant) -> bool {
        let (to, last) = &self.reported;
        let known: &[SoughtSeed] = if *to == Some(up) { last } else { &[] };
        let news = known != sought;
        if news {
            self.reported_at = now;
        }
        self.reported = (Some(up), sought.to_vec());
        news
    }

    /// Returns the seeds for which the root has to give turns now, as often as there are turns.
    pub(super) fn due(&mut self, sought: &[SoughtSeed], rng: &mut Rng, now: Instant) -> Vec<u64> {
        // A seed that is found, and missed again soon after, does not begin anew.
        self.next.retain(|seed, at| *at > now || sought.iter().any(|sought| sought.seed == *seed));
        let mut due = Vec::new();
        for SoughtSeed { seed, .. } in sought {
            let at = self.next.get(seed);
            if at.is_some_and(|at| *at > now) {
                continue;
            }
            due.extend(std::iter::repeat_n(*seed, if at.is_none() { AT_FIRST } else { 1 }));
            let wait = rng.duration(EVERY * 24 / 25, EVERY * 26 / 25);
            self.next.insert(*seed, now + wait);
        }
        due
    }

    /// Draws the way of a turn for this seed among this node, if it looks for the seed, and the
    /// neighbours below it with their numbers. `None` if nobody looks for it here.
    pub(super) fn way(&self, seed: u64, below: &[(LinkId, u32)], rng: &mut Rng) -> Option<Way> {
        let here = self.own.binary_search(&seed).is_ok().then_some((Way::Here, 1));
        let down = below.iter().filter(|(_, by)| *by > 0).map(|(link, by)| (Way::Down(*link), *by));
        let ways: Vec<_> = here.into_iter().chain(down).collect();
        if rng.below(REGARDLESS) == 0 {
            return rng.pick(&ways).map(|(way, _)| *way);
        }
        let sum = ways.iter().map(|(_, by)| *by as usize).sum();
        let mut lot = rng.below(sum);
        let drawn = ways.iter().find(|(_, by)| {
            let hit = lot < *by as usize;
            lot = lot.saturating_sub(*by as usize);
            hit
        });
        drawn.map(|(way, _)| *way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Instant {
        Instant::from_micros((seconds * 1e6) as u64)
    }

    #[test]
    fn a_root_gives_at_most_three_turns_in_five_seconds_and_at_least_one_in_four() {
        let (mut turns, mut rng) = (Turns::default(), Rng::new(1));
        let sought = [SoughtSeed { seed: 7, by: 1000 }];
        let mut given = Vec::new();
        for tick in 0..40_000 {
            let now = seconds(f64::from(tick) * 0.25);
            given.extend(turns.due(&sought, &mut rng, now).iter().map(|_| f64::from(tick) * 0.25));
        }
        assert_eq!(given[..2], [0.0, 0.0]);
        for begin in &given {
            let within = given.iter().filter(|at| (*begin..*begin + 5.0).contains(at)).count();
            assert!(within <= 3, "{within} turns from {begin} s on");
        }
        assert!(given.windows(2).all(|pair| pair[1] - pair[0] <= 4.0));
    }

    #[test]
    fn turns_are_drawn_in_proportion_and_a_braggart_does_not_get_them_all() {
        let (mut turns, mut rng) = (Turns::default(), Rng::new(1));
        turns.learn(vec![7]);
        let mut count = |below: &[(LinkId, u32)], way| {
            (0..1000).filter(|_| turns.way(7, below, &mut rng) == Some(way)).count()
        };
        let honest = [(LinkId(1), 8), (LinkId(2), 1)];
        assert!((600..=800).contains(&count(&honest, Way::Down(LinkId(1)))));
        assert!((100..=260).contains(&count(&honest, Way::Here)));
        let braggart = [(LinkId(1), u32::MAX), (LinkId(2), 1)];
        assert!((50..=120).contains(&count(&braggart, Way::Here)));
        assert_eq!(turns.way(8, &[(LinkId(1), 0)], &mut rng), None);
    }

    #[test]
    fn the_numbers_of_all_nodes_below_are_added_and_the_list_is_bounded() {
        let mut turns = Turns::default();
        turns.learn(vec![20, 3, 3]);
        let below = |seed, by| SoughtSeed { seed, by };
        let children = [below(3, 4), below(9, u32::MAX), below(9, 1)];
        assert_eq!(turns.sought(children.iter()), [below(3, 5), below(9, u32::MAX), below(20, 1)]);
        let many: Vec<_> = (0..100).map(|seed| below(seed, 1)).collect();
        assert_eq!(turns.sought(many.iter()).len(), MAX_SEEDS);
    }
}
