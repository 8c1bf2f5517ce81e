//! The result of a run. Its fields are those of the JSON that `smokesignal bench --json` and the
//! programs of `bench/` print.

use serde::{Deserialize, Serialize};

/// The result of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Number of nodes in the network.
    pub nodes: usize,
    /// Number of nodes that wrote.
    pub writers: usize,
    /// Bytes per message.
    pub size: usize,
    /// Messages under way per writer, if the run had a window.
    pub window: Option<u64>,
    /// Messages per second, summed over all writers, if the run had a rate.
    pub rate: Option<f64>,
    /// Length of the measurement, in seconds.
    pub seconds: f64,
    /// Messages written, warm-up included.
    pub sent: u64,
    /// Different messages read, summed over all readers, warm-up included.
    pub delivered: u64,
    /// Messages that should have been read: `sent` times the number of readers.
    pub expected: u64,
    /// `delivered` divided by `expected`.
    pub ratio: f64,
    /// Messages that the system reported as missed.
    pub gaps: u64,
    /// Messages read again.
    pub repeated: u64,
    /// Messages read before an earlier one of the same writer.
    pub disordered: u64,
    /// Messages read per second of the measurement, summed over all readers.
    pub deliveries_per_s: f64,
    /// Payload of these messages, in 10^6 bytes per second.
    pub mb_per_s: f64,
    /// Time from due to read.
    pub latency: Latency,
    /// Copies of messages received per delivery, if the system counts them.
    pub copies_per_delivery: Option<f64>,
    /// Processor time of the whole process per million deliveries, in seconds.
    pub cpu_s_per_million: f64,
    /// Memory of the process at the end, divided by the number of nodes, in KiB, where the
    /// operating system reports it.
    pub rss_kib_per_node: Option<f64>,
    /// Time from the start of the first node until all were connected, in seconds.
    pub join_s: f64,
}

/// Quantiles of the latency, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// 90 of 100 messages were faster.
    pub p90: f64,
    /// 99 of 100 messages were faster.
    pub p99: f64,
    /// The slowest message.
    pub max: f64,
}
