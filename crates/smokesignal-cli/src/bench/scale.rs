//! `--scale`: the cost of idle nodes.
//!
//! The nodes join, one message is broadcast, and when the connections through which they joined are
//! closed, the process is observed for a while in which nothing is written.
//!
//! What is left then is the price of being a member: keeping links alive, heartbeats, timers. All
//! figures per node are those of the process divided by the number of nodes.

use std::time::Duration;

use serde::Serialize;
use smokesignal::{Broadcast, Incoming, Node};
use smokesignal_load::{Usage, resident_bytes};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::args::Args;
use super::bar::Bar;
use super::case::Case;
use super::net::Net;
use super::process;
use super::report::{Column, Record, Report, column, known, number, ratio};

/// The message has to reach all nodes within this time. A guess: far more than repairs need.
const REACH: Duration = Duration::from_secs(30);

/// The figures of one row.
#[derive(Debug, Serialize)]
struct Scale {
    nodes: usize,
    links: usize,
    /// The most nodes that joined at the same time.
    joining: usize,
    fewest_peers: usize,
    most_peers: usize,
    /// Time from the start of the first node until each had enough peers, in seconds.
    join_s: f64,
    /// Processor time of the process meanwhile, in seconds.
    join_cpu_s: f64,
    /// Nodes that have read a message of the first node.
    reached: usize,
    /// Time from writing that message until the last node had read it, in seconds. `None` if a node
    /// never read it.
    reach_s: Option<f64>,
    /// `reached`, divided by the number of nodes other than the first.
    reach_ratio: f64,
    /// Time until only links were left of all connections, in seconds.
    settle_s: f64,
    /// Length of the idle time, in seconds.
    idle_s: f64,
    /// Processor time in the idle time, as a share of one core.
    idle_cpu: f64,
    /// How often threads were woken in the idle time, per node and second. Nodes share the threads.
    wake_ups_per_node_s: Option<f64>,
    /// Tasks of the event loop, those of the connections included.
    tasks_per_node: f64,
    /// Open files, most of which are sockets. Both ends of a link are in this process.
    files_per_node: Option<f64>,
    /// Memory of the process, in KiB.
    rss_kib: Option<f64>,
    /// Growth of the memory since before the first node, per node, in KiB.
    rss_kib_per_node: Option<f64>,
    /// Growth of the memory since before the first node, per link, in KiB.
    rss_kib_per_link: Option<f64>,
}

/// Measures one row and prints it. Fails if the message did not reach all nodes.
pub(super) async fn run(args: &Args, case: &Case, report: &Report<'_>, bar: &Bar) -> Result<(), String> {
    let scale = measure(args, case, bar).await?;
    report.row(&scale)?;
    if scale.reached + 1 == scale.nodes {
        return Ok(());
    }
    let (reached, others, limit) = (scale.reached, scale.nodes - 1, REACH.as_secs());
    Err(format!("the message reached only {reached} of {others} nodes within {limit} s"))
}

/// Takes all figures in order: joining, the message, settling, the idle time.
async fn measure(args: &Args, case: &Case, bar: &Bar) -> Result<Scale, String> {
    let count = case.nodes;
    let before = Before::take();
    bar.phase("joining");
    let net =
        Net::join(count, args.kind(), |joined| bar.detail(format!("{joined} nodes have joined"))).await?;
    let (join_s, join_cpu) = (before.at.elapsed().as_secs_f64(), Usage::now().cpu - before.usage.cpu);
    bar.phase("broadcasting one message");
    let (reach_s, reached) = reach(&net.nodes, case.size).await?;
    let settle_s = net.settle(bar).await;
    bar.phase(format!("idle for {} s", args.seconds.as_secs_f64()));
    let idle = Idle::watch(args.seconds).await;

    // From here on the figures are taken while all nodes still run.
    let links = net.links();
    let peers = || net.nodes.iter().map(|node| node.peers().len());
    let each = |total: f64| total / count as f64;
    let rss = resident_bytes().map(|bytes| bytes as f64 / 1024.0);
    let grown = rss.zip(before.rss).map(|(after, before)| after - before as f64 / 1024.0);
    let files = process::open_files().zip(before.files);
    Ok(Scale {
        nodes: count,
        joining: args.joining,
        links,
        fewest_peers: peers().min().unwrap_or(0),
        most_peers: peers().max().unwrap_or(0),
        join_s,
        join_cpu_s: join_cpu.as_secs_f64(),
        reached,
        reach_s,
        reach_ratio: reached as f64 / (count - 1) as f64,
        settle_s,
        idle_s: idle.seconds,
        idle_cpu: idle.cpu,
        wake_ups_per_node_s: idle.wake_ups_per_s.map(each),
        tasks_per_node: each(process::tasks().saturating_sub(before.tasks) as f64),
        files_per_node: files.map(|(after, before)| each(after.saturating_sub(before) as f64)),
        rss_kib: rss,
        rss_kib_per_node: grown.map(each),
        rss_kib_per_link: grown.map(|grown| grown / links as f64),
    })
}

/// The activity of the process while nothing is written.
struct Idle {
    seconds: f64,
    /// Processor time as a share of one core.
    cpu: f64,
    wake_ups_per_s: Option<f64>,
}

impl Idle {
    /// Observes the process for this long.
    async fn watch(time: Duration) -> Self {
        let (begun, usage, sleeps) = (Instant::now(), Usage::now(), process::sleeps());
        sleep(time).await;
        let (seconds, used) = (begun.elapsed().as_secs_f64(), Usage::now().cpu - usage.cpu);
        let sleeps = process::sleeps().zip(sleeps).map(|(after, before)| after.saturating_sub(before));
        let wake_ups_per_s = sleeps.map(|sleeps| sleeps as f64 / seconds);
        Self { seconds, cpu: used.as_secs_f64() / seconds, wake_ups_per_s }
    }
}

/// The state of the process before the first node.
struct Before {
    at: Instant,
    usage: Usage,
    rss: Option<u64>,
    files: Option<usize>,
    tasks: usize,
}

impl Before {
    /// Reads all counters now.
    fn take() -> Self {
        let (usage, rss, files) = (Usage::now(), resident_bytes(), process::open_files());
        Self { at: Instant::now(), usage, rss, files, tasks: process::tasks() }
    }
}

/// Lets the first node write a message. Returns how many seconds passed until all others had read
/// it, or `None` if some did not, and how many have read it.
async fn reach(nodes: &[Node], size: usize) -> Result<(Option<f64>, usize), String> {
    let mut readers = JoinSet::new();
    for node in &nodes[1..] {
        readers.spawn(reads_message(node.broadcast()));
    }
    // The readers exist before the message is written, so that none of them can miss it.
    let begun = Instant::now();
    let sent = nodes[0].broadcast().sender().send(vec![b'x'; size]).await;
    sent.map_err(|error| error.to_string())?;
    let (mut reached, all) = (0, readers.len());
    let reading = async {
        while let Some(read) = readers.join_next().await {
            reached += usize::from(read.unwrap_or(false));
        }
    };
    // Nodes that have not read it by then have missed it; their tasks end with `readers`.
    let in_time = timeout(REACH, reading).await.is_ok();
    let reach_s = (in_time && reached == all).then(|| begun.elapsed().as_secs_f64());
    Ok((reach_s, reached))
}

/// Returns whether a message arrives, and not a gap or the end of the node.
async fn reads_message(mut broadcast: Broadcast) -> bool {
    matches!(broadcast.recv().await, Some(Incoming::Message { .. }))
}

impl Record for Scale {
    fn columns(&self) -> Vec<Column> {
        vec![
            column("nodes", 6, self.nodes),
            column("links", 6, self.links),
            column("peers", 6, format!("{}-{}", self.fewest_peers, self.most_peers)),
            column("join s", 6, number(self.join_s)),
            column("join CPU s", 6, number(self.join_cpu_s)),
            column("reach ms", 8, known(self.reach_s.map(|seconds| seconds * 1000.0))),
            column("ratio", 7, ratio(self.reach_ratio)),
            column("idle CPU", 8, format!("{:.1} %", self.idle_cpu * 100.0)),
            column("wakes/node/s", 6, known(self.wake_ups_per_node_s)),
            column("tasks/node", 6, number(self.tasks_per_node)),
            column("files/node", 6, known(self.files_per_node)),
            column("KiB/node", 8, known(self.rss_kib_per_node)),
            column("KiB/link", 8, known(self.rss_kib_per_link)),
            column("MiB in all", 8, known(self.rss_kib.map(|kib| kib / 1024.0))),
        ]
    }
}
