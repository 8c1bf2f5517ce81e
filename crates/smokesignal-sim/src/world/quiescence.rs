//! The end of a run: the network is quiescent, and everything has to be right.
//!
//! First the network gets time to repair what is missing. Then 5 s are watched, in which no segment
//! may arrive. Then the links get time to settle, because some invariants hold only when none
//! changes.

use std::time::Duration;

use super::World;
use crate::check::Observed;
use crate::hostile::Behaviour;

/// The time after the last write and the last fault within which everything has to be right: 10 s.
/// Networks that were cut need longer; see `patience`.
const QUIESCENCE: Duration = Duration::from_secs(10);
/// The time for which the quiescent network is watched.
const WATCH: Duration = Duration::from_secs(5);
/// The most time that is given to links until they stay as they are: the time for which a bridge is
/// held, and some more.
const SETTLE: Duration = Duration::from_secs(90);
/// The time after the last change of links at which the count of the nodes is right again: the
/// maximum age of a root, and 2 s.
const STABLE: u64 = 6_500_000;

impl World {
    /// Lets the network come to rest for 10 s and `patience` on top, and then checks what has to
    /// hold in a quiescent network. The caller has ended all writing and all faults.
    pub fn check_quiescence(&mut self, patience: Duration) {
        self.run(QUIESCENCE + patience);
        let (kinds, seed_dials) = (self.stats.kinds, self.stats.seed_dials);
        self.run(WATCH);
        // Among hostile nodes, who reaches whom is a figure of `hostile-20` and not a promise.
        let alive = self.cluster.alive();
        let hostile: Vec<_> = alive.into_iter().filter_map(|ix| self.cluster.behaviour(ix)).collect();
        if self.violation.is_some() {
            return;
        }
        if !hostile.is_empty() {
            // Liars pass on what they have: no honest node is excused for what it believed.
            if hostile.iter().all(|behaviour| Behaviour::LIARS.contains(behaviour)) {
                self.observe(&Observed::AtRestAmongLiars);
            }
            return;
        }
        let segments = self.stats.kinds.data - kinds.data;
        let beacons = self.stats.kinds.beats - kinds.beats;
        let seed_dials = self.stats.seed_dials - seed_dials;
        self.observe(&Observed::Quiescent { segments, within: WATCH });
        self.let_links_settle();
        self.observe(&Observed::AtRest { beacons, seed_dials, within: WATCH });
    }

    /// Lets time pass until no node has a link too many, and the last change of links is some time
    /// ago. A link that joins two components may be held for a minute.
    fn let_links_settle(&mut self) {
        let max = self.setup.config.max_peers;
        self.run_until_when(Duration::from_secs(1), SETTLE, |world| {
            let has_surplus = |ix: usize| world.is_awake(ix) && world.cluster.degree(ix) > max;
            let settled = world.kernel.now() - world.links_changed_at > STABLE;
            settled && !(0..world.cluster.len()).any(has_surplus)
        });
    }
}
