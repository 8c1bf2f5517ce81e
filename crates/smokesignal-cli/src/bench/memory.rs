//! `--memory`: the memory of a node while it is idle, after a load, and after a cool-down in which
//! the retained messages expire.
//!
//! All nodes are in this process, so the memory of a node is the growth of the process since before
//! the first node, divided by their number. It is resident memory, so it includes what was freed
//! and what the allocator has not returned to the system yet.

use serde::Serialize;
use smokesignal_load::{measure, resident_bytes};
use tokio::time::sleep;

use super::args::Args;
use super::bar::Bar;
use super::broadcast::check;
use super::case::Case;
use super::library::JoinedNetwork;
use super::net::Net;
use super::report::{Column, Record, Report, bytes, column, known, number, ratio};

/// The figures of one row. Memory is the growth of the process since before the first node, per
/// node.
#[derive(Debug, Serialize)]
struct Memory {
    nodes: usize,
    writers: usize,
    /// Bytes per message.
    size: usize,
    links: usize,
    /// How long the writers wrote, in seconds, warm-up included.
    load_s: f64,
    /// Payload that each node has read, in 10^6 bytes.
    mb_per_node: f64,
    /// Messages read, divided by those that should have been read.
    ratio: f64,
    /// Length of the cool-down, in seconds.
    cool_down_s: f64,
    /// Memory of a node that has joined and is idle, in KiB.
    idle_kib_per_node: Option<f64>,
    /// Memory of a node when the last message has been read, in KiB.
    loaded_kib_per_node: Option<f64>,
    /// Memory of a node after the cool-down, in KiB.
    cooled_kib_per_node: Option<f64>,
}

/// Measures one row and prints it. Fails if a message was lost, repeated or out of order.
pub(super) async fn run(args: &Args, case: &Case, report: &Report<'_>, bar: &Bar) -> Result<(), String> {
    let before = resident_bytes();
    let grown = || {
        let bytes = resident_bytes().zip(before).map(|(now, before)| now as f64 - before as f64);
        bytes.map(|bytes| bytes / 1024.0 / case.nodes as f64)
    };
    // Settled first: the connections through which the nodes joined would count as idle memory.
    bar.phase("joining");
    let progress = |joined| bar.detail(format!("{joined} nodes have joined"));
    let net = Net::join(case.nodes, args.kind(), progress).await?;
    net.settle(bar).await;
    let idle = grown();
    let workload = case.workload(args);
    let outcome = measure(&JoinedNetwork(&net), &workload, |phase| bar.load(phase, &workload)).await;
    let outcome = outcome.map_err(|error| error.to_string())?;
    let loaded = grown();
    bar.phase(format!("cooling down for {} s", args.cool_down.as_secs_f64()));
    sleep(args.cool_down).await;
    let memory = Memory {
        nodes: case.nodes,
        writers: case.writers,
        size: case.size,
        links: net.links(),
        load_s: (args.warm_up + args.seconds).as_secs_f64(),
        mb_per_node: outcome.delivered as f64 * case.size as f64 / case.nodes as f64 / 1e6,
        ratio: outcome.ratio,
        cool_down_s: args.cool_down.as_secs_f64(),
        idle_kib_per_node: idle,
        loaded_kib_per_node: loaded,
        cooled_kib_per_node: grown(),
    };
    net.stop().await;
    report.row(&memory)?;
    check(&outcome)
}

impl Record for Memory {
    fn columns(&self) -> Vec<Column> {
        vec![
            column("nodes", 5, self.nodes),
            column("links", 5, self.links),
            column("writers", 7, self.writers),
            column("size", 8, bytes(self.size)),
            column("MB read/node", 12, number(self.mb_per_node)),
            column("ratio", 7, ratio(self.ratio)),
            column("idle KiB/node", 13, known(self.idle_kib_per_node)),
            column("loaded KiB/node", 15, known(self.loaded_kib_per_node)),
            column("cooled KiB/node", 15, known(self.cooled_kib_per_node)),
        ]
    }
}
