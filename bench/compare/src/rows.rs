//! The rows of the comparison: the workloads that are measured.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::number::bytes;

/// A group of rows that belong together in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Group {
    /// Throughput, through a window of messages under way.
    Throughput,
    /// Latency at 200 messages per second.
    Rate,
    /// One large message at a time.
    Large,
    /// Throughput with fewer and with more nodes.
    Growth,
    /// One connection between two nodes, without broadcast.
    Direct,
    /// The cost of idle nodes.
    Idle,
}

/// One workload.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) group: Group,
    pub(crate) nodes: usize,
    pub(crate) writers: usize,
    pub(crate) size: usize,
    /// Messages per second; `None` means as fast as possible.
    pub(crate) rate: Option<f64>,
}

const NODES: usize = 20;
pub(crate) const SIZES: [usize; 3] = [64, 1024, 16 * 1024];
pub(crate) const WRITERS: [usize; 2] = [1, NODES];
/// Bytes per message in the rows with more and fewer nodes.
const GROWTH_SIZE: usize = 1024;
const RATE: f64 = 200.0;
const LARGE: usize = 16 * 1024 * 1024;
/// Numbers of idle nodes, all in one process.
const IDLE: [usize; 4] = [10, 100, 300, 1_000];
/// Bytes per write to a direct connection.
const DIRECT: usize = 64 * 1024;

/// Returns all rows, in the order in which they run and are reported.
pub(crate) fn all() -> Vec<Row> {
    let row = Row { group: Group::Throughput, nodes: NODES, writers: 1, size: GROWTH_SIZE, rate: None };
    let mut rows = Vec::new();
    for writers in WRITERS {
        rows.extend(SIZES.map(|size| Row { writers, size, ..row }));
    }
    rows.push(Row { group: Group::Rate, size: SIZES[0], rate: Some(RATE), ..row });
    rows.push(Row { group: Group::Large, size: LARGE, ..row });
    rows.extend([NODES / 2, NODES * 2].map(|nodes| Row { group: Group::Growth, nodes, ..row }));
    rows.push(Row { group: Group::Direct, nodes: 2, size: DIRECT, ..row });
    rows.extend(IDLE.map(|nodes| Row { group: Group::Idle, nodes, size: SIZES[0], ..row }));
    rows
}

impl Row {
    /// Returns whether this is one of the rows that differ only in the number of nodes. One of them
    /// belongs to the group of throughput, too.
    pub(crate) fn is_growth(&self) -> bool {
        matches!(self.group, Group::Throughput | Group::Growth)
            && self.writers == 1
            && self.size == GROWTH_SIZE
    }

    /// Returns the heading of the row in the report.
    pub(crate) fn title(&self) -> String {
        let writers =
            if self.writers == 1 { "1 writer".to_owned() } else { format!("{} writers", self.writers) };
        let size = bytes(self.size);
        match (self.group, self.rate) {
            (Group::Direct, _) => format!("2 nodes, direct: writes of {size}"),
            (Group::Idle, _) => format!("{} idle nodes", self.nodes),
            (Group::Large, _) => format!("{} nodes, {writers}, {size}, one message at a time", self.nodes),
            (_, Some(rate)) => format!("{} nodes, {writers}, {size}, {rate} messages/s", self.nodes),
            (_, None) => format!("{} nodes, {writers}, {size}", self.nodes),
        }
    }
}
