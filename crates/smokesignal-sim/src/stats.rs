//! The counters of a world.
//!
//! A [`Histogram`] keeps the distribution of a value in constant space: its buckets are as wide as
//! 1/32 of the values in them, as in HdrHistogram, so that a percentile is exact to about 3 %.

use serde::Serialize;

/// Bits that a bucket keeps of a value: 2^5 = 32 buckets per doubling.
const FINE: u32 = 5;
const BUCKETS: usize = (64 - FINE as usize + 1) << FINE;

/// How often each value occurred, in buckets whose width grows with the value.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a value.
    pub(crate) fn add(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// Adds the counts of another histogram.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// Returns how many values were counted.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Returns the largest value, exactly.
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// Returns the value that this share of the values does not exceed, or 0 without values.
    pub fn percentile(&self, share: f64) -> u64 {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return lower_bound(at + 1).saturating_sub(1).min(self.max);
            }
        }
        self.max
    }

    /// Returns `(value, share of all values up to it)` for each bucket in use, for a plot.
    pub fn cumulative(&self) -> Vec<(u64, f64)> {
        let mut seen = 0;
        let mut points = Vec::new();
        for (at, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            seen += count;
            points
                .push((lower_bound(at + 1).saturating_sub(1).min(self.max), seen as f64 / self.total as f64));
        }
        points
    }
}

/// Returns the bucket that a value belongs to.
fn bucket(value: u64) -> usize {
    let shift = (63 - FINE).saturating_sub((value | 1 << FINE).leading_zeros());
    (((shift as u64) << FINE) + (value >> shift)) as usize
}

/// Returns the smallest value of a bucket.
fn lower_bound(bucket: usize) -> u64 {
    let shift = (bucket >> FINE).saturating_sub(1);
    ((bucket - (shift << FINE)) as u64) << shift
}

/// Sums since the measurement began.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// When the measurement began, in virtual microseconds.
    pub since: u64,
    /// Microseconds from writing to delivery, of the messages written since then.
    pub latency: Histogram,
    /// Hops of the first copy of each segment at each node.
    pub hops: Histogram,
    /// By node number, whether its deliveries and messages count in `latency`. `None` counts all.
    pub judged: Option<Vec<bool>>,
    /// Copies of segments that arrived.
    pub copies: u64,
    /// Copies that were the first at their node.
    pub firsts: u64,
    /// Messages delivered to nodes other than their writer.
    pub deliveries: u64,
    /// Messages reported as missed.
    pub missed: u64,
    /// Protocol messages that arrived, by kind.
    pub kinds: Kinds,
    /// Bytes of all messages with their TLS, TCP and IP headers, where the world counts them.
    pub wire_bytes: u64,
    /// Dials.
    pub dials: u64,
    /// Dials to a seed.
    pub seed_dials: u64,
    /// Those of them while the seed's process did not run.
    pub missing_seed_dials: u64,
    /// Connections that a node closed because the other side violated the protocol.
    pub broken_rules: u64,
    /// Netsplits that nodes have reported.
    pub netsplits: u64,
    /// Microseconds from the cut of the network to the report.
    pub detected: Histogram,
    /// Microseconds from the end of the cut to the report of the end.
    pub resolved: Histogram,
}

/// Protocol messages by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Kinds {
    /// Segments.
    pub data: u64,
    /// Digests, grafts and the like.
    pub repair: u64,
    /// Beacons and pings.
    pub keepalive: u64,
    /// The beacons among them.
    pub beats: u64,
    /// Joins, walks, shuffles and everything else about links.
    pub membership: u64,
}

impl Stats {
    /// Returns the redundant copies per useful one.
    pub fn redundancy(&self) -> f64 {
        if self.firsts == 0 { 0.0 } else { (self.copies - self.firsts) as f64 / self.firsts as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_three_percent() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000 {
            histogram.add(value);
        }
        for share in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let (found, exact) = (histogram.percentile(share) as f64, share * 100_000.0);
            assert!((found - exact).abs() <= exact * 0.035, "{share}: {found}");
        }
        assert_eq!(histogram.percentile(1.0), 100_000);
        assert_eq!(Histogram::default().percentile(0.5), 0);
    }

    #[test]
    fn every_value_has_its_bucket() {
        for value in (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, (1 << bit) + 1]).chain([u64::MAX]) {
            let at = bucket(value);
            assert!(at < BUCKETS && lower_bound(at) <= value, "{value}");
            assert!(at + 1 == BUCKETS || lower_bound(at + 1) > value, "{value}");
        }
    }
}
