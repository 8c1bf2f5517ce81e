//! What every organ is given with each call: the time, the configuration, who this node is, its
//! source of chance, and the list that outputs are appended to.
//!
//! The node owns all of it as a [`Context`] and lends it as one argument, a [`Cx`]. So there is one
//! configuration, which nothing can write to, and one place where the incarnation lives: an organ
//! that keeps a copy would go on with an old one.

use crate::config::Config;
use crate::id::{Keypair, NodeId};
use crate::output::Outputs;
use crate::rng::Rng;
use crate::time::Instant;

/// The identity of this node.
#[derive(Debug)]
pub(crate) struct Me {
    keypair: Keypair,
    incarnation: u64,
    leaving: bool,
}

impl Me {
    pub(crate) fn new(keypair: Keypair, config: &Config) -> Self {
        Self { keypair, incarnation: config.incarnation, leaving: false }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.keypair.id()
    }

    pub(crate) fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    /// Returns the number of this start of the node.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Raises the incarnation, because an earlier start had a higher one than the configuration
    /// says.
    pub(crate) fn raise_incarnation(&mut self, incarnation: u64) {
        self.incarnation = self.incarnation.max(incarnation);
    }

    /// Returns whether the node is about to leave.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// A node that leaves makes no new links; one that still looks for a reader does.
    pub(crate) fn set_leaving(&mut self, leaving: bool) {
        self.leaving = leaving;
    }
}

/// What the node lends to its organs; see [`Context::at`].
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) me: Me,
    rng: Rng,
    wall: WallClock,
    pub(crate) out: Outputs,
}

impl Context {
    pub(crate) fn new(keypair: Keypair, config: Config, rng_seed: u64) -> Self {
        let me = Me::new(keypair, &config);
        Self { config, me, rng: Rng::new(rng_seed), wall: WallClock::default(), out: Outputs::default() }
    }

    /// Lends the context for a call at time `now`.
    pub(crate) fn at(&mut self, now: Instant) -> Cx<'_> {
        let Self { config, me, rng, wall, out } = self;
        Cx { now, config, me, rng, wall: *wall, out }
    }

    /// Sets the wall clock to this number of seconds since 1970.
    pub(crate) fn set_unix_time(&mut self, seconds: u64, now: Instant) {
        self.wall = WallClock { seconds, at: now };
    }

    /// Returns the seconds since 1970.
    pub(crate) fn unix_time(&self, now: Instant) -> u64 {
        self.wall.time(now)
    }
}

/// The context of one call.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a Config,
    pub(crate) me: &'a Me,
    pub(crate) rng: &'a mut Rng,
    wall: WallClock,
    pub(crate) out: &'a mut Outputs,
}

impl Cx<'_> {
    /// Returns the seconds since 1970.
    pub(crate) fn unix_time(&self) -> u64 {
        self.wall.time(self.now)
    }
}

/// The wall clock, as it was set last. It may be wrong.
#[derive(Debug, Clone, Copy, Default)]
struct WallClock {
    seconds: u64,
    at: Instant,
}

impl WallClock {
    fn time(self, now: Instant) -> u64 {
        self.seconds.saturating_add((now - self.at).as_secs())
    }
}
