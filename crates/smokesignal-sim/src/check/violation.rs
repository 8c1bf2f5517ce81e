//! An invariant that did not hold.

use std::fmt;

use serde::Serialize;

use crate::invariant::Invariant;

/// An invariant that did not hold, with what is needed to see it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
    /// The node at which it was seen.
    pub node: usize,
    /// When, in virtual microseconds.
    pub at_us: u64,
    /// The command that repeats the run.
    pub replay: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, what, node, at_us, replay } = self;
        write!(
            f,
            "{invariant} ({}) at {:.6} s, node {node}: {what}; again: {replay}",
            invariant.sentence(),
            *at_us as f64 / 1e6
        )
    }
}
