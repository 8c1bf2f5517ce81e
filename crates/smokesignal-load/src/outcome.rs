//! What a run has shown.

use serde::{Deserialize, Serialize};

/// What a run has shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Nodes of the network.
    pub nodes: usize,
    /// How many of them wrote.
    pub writers: usize,
    /// Bytes in a message.
    pub size: usize,
    /// Messages under way for each writer, where there was a window.
    pub window: Option<u64>,
    /// Messages a second by all writers, where there was a rate.
    pub rate: Option<f64>,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Messages written in all, warm-up included.
    pub sent: u64,
    /// Different messages read in all, by all readers.
    pub delivered: u64,
    /// Messages that should have been read.
    pub expected: u64,
    /// `delivered` of `expected`.
    pub ratio: f64,
    /// Messages that readers were told they had missed.
    pub gaps: u64,
    /// Messages read more than once.
    pub repeated: u64,
    /// Messages read before one of the same writer that was written earlier.
    pub disordered: u64,
    /// While it was measured, summed over all readers.
    pub deliveries_per_s: f64,
    /// The same in millions of bytes of payload.
    pub mb_per_s: f64,
    /// From due to read.
    pub latency: Latency,
    /// Copies of messages received for each delivery, if the system counts them.
    pub copies_per_delivery: Option<f64>,
    /// Processor time of the whole process, in seconds, for a million deliveries.
    pub cpu_s_per_million: f64,
    /// Memory of the process after the run, for each node, in KiB.
    pub rss_kib_per_node: Option<f64>,
    /// From the start of the first node until all were connected, in seconds.
    pub join_s: f64,
}

/// Latency in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// Nine of ten are faster.
    pub p90: f64,
    /// 99 of 100 are faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}
