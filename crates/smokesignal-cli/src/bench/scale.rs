//! `--scale`: what many nodes cost that do nothing, after they have joined and one message has reached all.

use std::time::Duration;

use serde::Serialize;
use smokesignal::{Broadcast, Incoming, Node};
use smokesignal_load::{Usage, resident_bytes};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::Args;
use super::case::Case;
use super::net::Net;
use super::process;
use super::report::{Column, Record, Report, column, known, number, ratio};
use super::show::Bar;

/// One message has to reach all within this time.
const REACH: Duration = Duration::from_secs(30);

/// What so many nodes have shown.
#[derive(Debug, Serialize)]
struct Scale {
    nodes: usize,
    /// Both ends are here: a link is counted once.
    links: usize,
    /// So many nodes joined at the same time at most.
    joining: usize,
    fewest_peers: usize,
    most_peers: usize,
    /// From the start of the first node until each had enough peers, in seconds.
    join_s: f64,
    join_cpu_s: f64,
    /// Nodes that have read one message of the first node.
    reached: usize,
    /// From when a message was written until the last node had it, in seconds; nothing where some node never had it.
    reach_s: Option<f64>,
    /// `reached` of all others.
    reach_ratio: f64,
    /// Until only the links were left of the connections, in seconds.
    settle_s: f64,
    /// How long they did nothing, in seconds.
    idle_s: f64,
    /// Processor time then, as a share of one core.
    idle_cpu: f64,
    /// How often a thread of the process was woken, for each node and second: nodes share the threads.
    wake_ups_per_node_s: Option<f64>,
    tasks_per_node: f64,
    files_per_node: Option<f64>,
    /// Memory of the process.
    rss_kib: Option<f64>,
    /// How much more that is than before the first node, for each node.
    rss_kib_per_node: Option<f64>,
    /// The same for each link.
    rss_kib_per_link: Option<f64>,
}

pub(super) async fn run(args: &Args, case: &Case, report: &Report<'_>, bar: &Bar) -> Result<(), String> {
    let scale = measure(args, case, bar).await?;
    report.row(&scale)?;
    if scale.reached + 1 == scale.nodes {
        return Ok(());
    }
    Err(format!("a message reached {} of {} nodes in {} s", scale.reached, scale.nodes - 1, REACH.as_secs()))
}

async fn measure(args: &Args, case: &Case, bar: &Bar) -> Result<Scale, String> {
    let count = case.nodes;
    let before = Before::take();
    bar.phase("the nodes join");
    let net =
        Net::join(count, args.kind(), |joined| bar.detail(format!("{joined} nodes have joined"))).await?;
    let (join_s, join_cpu) = (before.at.elapsed().as_secs_f64(), Usage::now().cpu - before.usage.cpu);
    bar.phase("one message goes to all");
    let (reach_s, reached) = reach(&net.nodes, case.size).await?;
    let settle_s = net.settle(bar).await;
    bar.phase(format!("idle for {} s", args.seconds.as_secs_f64()));
    let idle = Idle::watch(args.seconds).await;

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

/// What the process does while the nodes do nothing.
struct Idle {
    seconds: f64,
    /// The share of one core.
    cpu: f64,
    wake_ups_per_s: Option<f64>,
}

impl Idle {
    async fn watch(time: Duration) -> Self {
        let (begun, usage, sleeps) = (Instant::now(), Usage::now(), process::sleeps());
        sleep(time).await;
        let (seconds, used) = (begun.elapsed().as_secs_f64(), Usage::now().cpu - usage.cpu);
        let sleeps = process::sleeps().zip(sleeps).map(|(after, before)| after.saturating_sub(before));
        let wake_ups_per_s = sleeps.map(|sleeps| sleeps as f64 / seconds);
        Self { seconds, cpu: used.as_secs_f64() / seconds, wake_ups_per_s }
    }
}

/// The process without nodes.
struct Before {
    at: Instant,
    usage: Usage,
    rss: Option<u64>,
    files: Option<usize>,
    tasks: usize,
}

impl Before {
    fn take() -> Self {
        let (usage, rss, files) = (Usage::now(), resident_bytes(), process::open_files());
        Self { at: Instant::now(), usage, rss, files, tasks: process::tasks() }
    }
}

/// The first node writes one message. When the last of the others had it, and how many had it.
async fn reach(nodes: &[Node], size: usize) -> Result<(Option<f64>, usize), String> {
    let mut readers = JoinSet::new();
    for node in &nodes[1..] {
        readers.spawn(hear(node.broadcast()));
    }
    let begun = Instant::now();
    let sent = nodes[0].broadcast().sender().send(vec![b'x'; size]).await;
    sent.map_err(|error| error.to_string())?;
    let (mut reached, all) = (0, readers.len());
    let hearing = async {
        while let Some(heard) = readers.join_next().await {
            reached += usize::from(heard.unwrap_or(false));
        }
    };
    // Who has not heard it by then has missed it; the readers end here.
    let in_time = timeout(REACH, hearing).await.is_ok();
    let reach_s = (in_time && reached == all).then(|| begun.elapsed().as_secs_f64());
    Ok((reach_s, reached))
}

/// Whether the first that comes is a message.
async fn hear(mut broadcast: Broadcast) -> bool {
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
