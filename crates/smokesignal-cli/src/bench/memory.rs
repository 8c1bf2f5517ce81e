//! `--memory`: what nodes keep. Their memory before the load, right after it, and when what is retained for others has
//! expired.

use serde::Serialize;
use smokesignal_load::{measure, resident_bytes};
use tokio::time::sleep;

use super::Args;
use super::broadcast::check;
use super::case::Case;
use super::library::Joined;
use super::net::Net;
use super::report::{Column, Record, Report, bytes, column, known, number, ratio};
use super::show::Bar;

/// What the nodes have kept. All memory is what the process has more than before the first node, for each node.
#[derive(Debug, Serialize)]
struct Memory {
    nodes: usize,
    writers: usize,
    size: usize,
    links: usize,
    /// How long they wrote, in seconds, warm-up included.
    load_s: f64,
    /// Millions of bytes of payload that one node has read.
    mb_per_node: f64,
    ratio: f64,
    cool_down_s: f64,
    /// Joined and idle, in KiB.
    idle_kib_per_node: Option<f64>,
    /// When the last message was read.
    loaded_kib_per_node: Option<f64>,
    /// After the cool-down.
    cooled_kib_per_node: Option<f64>,
}

pub(super) async fn run(args: &Args, case: &Case, report: &Report<'_>, bar: &Bar) -> Result<(), String> {
    let before = resident_bytes();
    let grown = || {
        let bytes = resident_bytes().zip(before).map(|(now, before)| now as f64 - before as f64);
        bytes.map(|bytes| bytes / 1024.0 / case.nodes as f64)
    };
    bar.phase("the nodes join");
    let tell = |joined| bar.detail(format!("{joined} nodes have joined"));
    let net = Net::join(case.nodes, args.kind(), tell).await?;
    net.settle(bar).await;
    let idle = grown();
    let workload = case.workload(args);
    let outcome = measure(&Joined(&net), &workload, |phase| bar.load(phase, &workload)).await;
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
