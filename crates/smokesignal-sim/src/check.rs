//! The invariants that are checked while a world runs. A violation stops the world.
//!
//! | Checked | when |
//! |---|---|
//! | A1 numbers of one writer strictly increase, A2 bytes are as written, A3 deliveries and gaps add up | every delivery |
//! | A4 no gap of a living writer, where [`Expect::gaps`] is not set | every gap |
//! | A9 a writer with a healthy link may write again in time | every blocked write |
//! | B5 no netsplit without a cut, B8 netsplit and resolved alternate | every such event |
//! | C2 at most max + 2 links, C6 no link to oneself and no double ones | every new link |
//! | C7 at most 8 dials at once | every dial |
//! | C3 soon enough links again, C4 one component without faults, C5 nobody alone for long | every second |
//! | A6 everyone has everything, A11 nothing but upkeep flows, C1 links are symmetric, C2 at most max links, C9 diameter, C10 seed's links | in the quiet at the end, see [`World::check_quiet`] |
//!
//! Not visible from outside of a node, and left to the core's own tests: A5 (parents), A7 (parent cycles), A8 but for
//! the number of links, A12 (what a node believes of its peers), A13 (marks of unverified segments; their deliveries
//! are seen as A2), B1 to B4 (roots and beacons), C8 (views), C11 and C12. A10 is a figure of the scenario `slow`.

mod deliveries;
mod peers;
mod quiet;

use std::time::Duration;

use serde::Serialize;

use crate::world::World;

/// What may happen in this run, and how soon things have to be right again.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// Messages may be missed: nodes are cut off for longer than others retain, or read too slowly.
    pub gaps: bool,
    /// The network is cut: `netsplit` is told for good reason.
    pub netsplits: bool,
    /// Nothing fails: the network is one component all the time.
    pub failure_free: bool,
    /// A node has its `min_peers` again after this long: after the last fault, and in a row. `None` is not checked.
    pub refill: Option<Duration>,
    /// Invariants that do not stop the run, by name: to get past what is known already.
    pub ignore: Vec<String>,
    /// How to run this again.
    pub replay: String,
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Its name, as in the design.
    pub invariant: String,
    /// What was seen.
    pub what: String,
    /// Which node saw it.
    pub node: usize,
    /// When, in virtual microseconds.
    pub at_us: u64,
    /// The command that shows it again.
    pub replay: String,
}

/// Whether a node takes the network for whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// It told a netsplit.
    No,
    /// It told that the netsplit is over.
    Yes,
}

impl World {
    /// Stops the world; the first violation counts. Hostile nodes may see what they like.
    pub(crate) fn violate(&mut self, invariant: &str, node: usize, what: String) {
        let ignored = self.setup.expect.ignore.iter().any(|name| name == invariant);
        if ignored || self.violation.is_some() || !self.members[node].honest() {
            return;
        }
        self.violation = Some(Violation {
            invariant: invariant.to_owned(),
            what,
            node,
            at_us: self.now,
            replay: self.setup.expect.replay.clone(),
        });
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { invariant, what, node, at_us, replay } = self;
        write!(
            f,
            "{invariant} violated at {:.6} s by node {node}: {what}; again: {replay}",
            *at_us as f64 / 1e6
        )
    }
}
