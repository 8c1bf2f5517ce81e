//! Who is let in: how many joins are served, which joiners are remembered, and which pairs leave
//! each other alone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Config;
use crate::context::Cx;
use crate::id::NodeId;
use crate::time::Instant;

/// Half of the joins seen are forgotten after each such time.
const LATELY: Duration = Duration::from_secs(60);

/// The rate limit of joins, and the cool-down of closed pairs.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Joins that may be served now; a token bucket.
    tokens: u32,
    /// Lookups that a neighbour may send beyond its share.
    spare_lookups: u32,
    /// Joins that were asked for here, the older ones counted less.
    joins_lately: usize,
    next_halving: Instant,
    /// Nodes whose link a user closed, and until when no new one is made. The smallest id loses: it
    /// may be linked with again too early.
    cooldown: BTreeMap<NodeId, Instant>,
}

impl Admission {
    pub(crate) fn new(now: Instant, config: &Config) -> Self {
        let (tokens, next_halving) = (2 * config.joins_per_second, now + LATELY);
        let spare_lookups = config.lookups_per_tick;
        Self { tokens, spare_lookups, joins_lately: 0, next_halving, cooldown: BTreeMap::new() }
    }

    /// Returns whether this join may be served.
    pub(crate) fn admit_join(&mut self) -> bool {
        let admitted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        admitted
    }

    /// Returns whether a lookup beyond its neighbour's share may be served: as many as all of them
    /// have left of theirs in the tick before. So one that floods the network leaves the others
    /// their shares, here and at the nodes behind, and one that has much to look for alone may.
    pub(crate) fn admit_spare_lookup(&mut self) -> bool {
        let admitted = self.spare_lookups > 0;
        self.spare_lookups = self.spare_lookups.saturating_sub(1);
        admitted
    }

    /// Notes how many lookups the neighbours have left of their shares.
    pub(crate) fn renew_lookups(&mut self, unused: u32, config: &Config) {
        self.spare_lookups = unused.min(config.lookups_per_tick);
    }

    /// Returns whether a joiner is to be remembered: a sample of all who joined lately (Vitter,
    /// 1985), not the last ones only. When hundreds join in a second, each would learn of the
    /// others alone, and the network would grow into a long row of crowds.
    pub(crate) fn samples_joiner(&mut self, cx: &mut Cx<'_>) -> bool {
        self.joins_lately += 1;
        cx.rng.below(self.joins_lately) < cx.config.passive_view
    }

    /// Renews the tokens of the time that has passed.
    pub(crate) fn tick(&mut self, elapsed: Duration, now: Instant, config: &Config) {
        let refill = (config.joins_per_second as f64 * elapsed.as_secs_f64()).ceil() as u32;
        if now >= self.next_halving {
            (self.joins_lately, self.next_halving) = (self.joins_lately / 2, now + LATELY);
        }
        self.tokens = self.tokens.saturating_add(refill).min(2 * config.joins_per_second);
    }

    pub(crate) fn cooling_down(&self) -> usize {
        self.cooldown.len()
    }

    /// Keeps the pair apart for a while.
    pub(crate) fn cool_down(&mut self, cx: &Cx<'_>, peer: NodeId) {
        self.cooldown.retain(|_, until| *until > cx.now);
        if self.cooldown.len() >= cx.config.passive_view {
            self.cooldown.pop_first();
        }
        self.cooldown.insert(peer, cx.now + cx.config.pair_backoff);
    }

    pub(crate) fn is_cooling_down(&self, peer: &NodeId, now: Instant) -> bool {
        self.cooldown.get(peer).is_some_and(|until| *until > now)
    }
}
