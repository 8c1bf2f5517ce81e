//! The beginning of a world, and what is expected of it.

use std::time::Duration;

use smokesignal_proto::{Config, Features};

use crate::invariant::Invariant;
use crate::kernel::mix;
use crate::net::Latency;

/// The beginning of a world.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The seed of all randomness.
    pub rng_seed: u64,
    /// How long messages travel.
    pub latency: Latency,
    /// Number of seeds: the first nodes, whose addresses all others know.
    pub seeds: usize,
    /// Whether every node has a line, drawn as people have them.
    pub lines: bool,
    /// Whether the time of day is wrong at every node, by up to 50 years.
    pub wrong_clocks: bool,
    /// The features that all nodes offer each other.
    pub features: Features,
    /// The configuration of every node.
    pub config: Config,
    /// What may happen, and what must not.
    pub expect: Expect,
    /// The virtual time from which on everything that happens is printed to stderr.
    pub trace: Option<Duration>,
    /// Whether every message is encoded to know its true size. This is slow.
    pub count_bytes: bool,
}

/// The events that are allowed in a run, and the time that the network has to recover.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// Gaps are allowed: nodes are cut off for longer than others retain, or read too slowly.
    pub gaps: bool,
    /// Netsplits are allowed: the network is cut, or loses its seeds.
    pub netsplits: bool,
    /// Nothing fails: the network is one component all the time.
    pub failure_free: bool,
    /// The time within which a node has `min_peers` again, counted from the last fault. `None`
    /// checks nothing.
    pub refill: Option<Duration>,
    /// Invariants that do not stop the run, to see what lies beyond a known violation.
    pub ignore: Vec<Invariant>,
    /// The command that repeats the run; violations print it.
    pub replay: String,
}

/// The time of day when a world begins, in seconds since 1970.
const BEGINNING: u64 = 1_800_000_000;
/// Fifty years, in seconds.
const WRONG_BY: u64 = 50 * 365 * 24 * 3_600;

impl Setup {
    /// Returns the time of day in seconds since 1970, as a node sees it at this virtual time in
    /// microseconds.
    pub(crate) fn unix_time(&self, ix: usize, now: u64) -> u64 {
        let wrong_by =
            if self.wrong_clocks { mix(self.rng_seed ^ mix(ix as u64)) % (2 * WRONG_BY) } else { WRONG_BY };
        BEGINNING - WRONG_BY + wrong_by + now / 1_000_000
    }

    /// One seed, 10 ms to 50 ms from node to node, the core's defaults, and no exceptions.
    pub fn new(rng_seed: u64) -> Self {
        Self {
            rng_seed,
            latency: Latency::Wan,
            seeds: 1,
            lines: false,
            wrong_clocks: false,
            features: Features::OURS,
            config: Config::default(),
            expect: Expect::default(),
            trace: None,
            count_bytes: false,
        }
    }
}
