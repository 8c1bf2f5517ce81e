//! `smokesignal bench`: measures the library on this machine, with real nodes in one process.
//!
//! The options that take lists make one [`Case`] per combination. A single case runs in this
//! process; of several cases each runs in a process of its own ([`isolated`]). There are four
//! benchmarks: [`broadcast`] (the default), [`direct`], [`scale`] and [`memory`]. Each measures one
//! case and prints one row ([`report`]).

mod bar;
mod broadcast;
mod case;
mod csv;
mod direct;
mod isolated;
mod library;
mod memory;
mod net;
mod parse;
mod process;
mod report;
mod scale;

use std::time::Duration;

use self::bar::Bar;
use self::case::Case;
use self::net::NodeKind;
use self::report::{Format, Report};
use crate::outcome::{Exit, Failure, block_on};
use crate::signals::Signals;
use crate::{limits, log, options};

/// Measure real nodes on this machine: throughput, latency, losses, processor time, memory
///
/// Runs all nodes in one process, connected by TCP and TLS over loopback, on a thread per core. By
/// default, some nodes broadcast and all others read; --direct, --scale and --memory measure other
/// things. Options that take a list (values separated by commas) measure all combinations, one row
/// and one process for each. Exits with 1 if a message was lost, read twice or out of order, and
/// prints to stderr in which row and how many.
#[derive(Debug, clap::Args)]
#[command(after_long_help = include_str!("bench/columns.txt"))]
pub(crate) struct Args {
    /// Measure streams between two neighbours: bytes per second and round-trip time
    #[arg(long, conflicts_with_all = ["scale", "memory", "nodes", "writers", "rate", "window", "warm_up"])]
    direct: bool,
    /// Measure idle nodes: join, broadcast one message, then stay idle for --seconds
    #[arg(long, conflicts_with_all = ["memory", "writers", "rate", "window", "warm_up"])]
    scale: bool,
    /// Measure memory per node: idle, after --seconds of load, and after --cool-down
    #[arg(long)]
    memory: bool,
    /// Number of nodes; a list. The first node is the seed of the others
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "20",
          value_parser = clap::value_parser!(u32).range(2..=100_000))]
    nodes: Vec<u32>,
    /// Number of nodes that write; a list
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    writers: Vec<u32>,
    /// Bytes per message, or per write with --direct; a list such as 64,1KiB,16MiB [default: 64,
    /// with --direct 64KiB]
    #[arg(long, value_name = "BYTES,...", value_delimiter = ',', value_parser = parse::size)]
    size: Vec<usize>,
    /// Messages per second, summed over all writers; a list. Default: as fast as --window allows
    #[arg(long, value_name = "PER_S,...", value_delimiter = ',', value_parser = parse::rate)]
    rate: Vec<f64>,
    /// Most messages of each writer that are not yet read by all; a list [default: 8 MiB of
    /// messages, summed over all writers]
    #[arg(long, value_name = "N,...", value_delimiter = ',', conflicts_with = "rate",
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    window: Vec<u64>,
    /// Write for this long before measuring: seconds, or a time such as 500ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse::time)]
    warm_up: Duration,
    /// Measure for this long: seconds, or a time such as 500ms
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = parse::measured_time)]
    seconds: Duration,
    /// Number of concurrent streams, with --direct; a list
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1", requires = "direct",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    streams: Vec<u32>,
    /// Stay idle for this long after the load, with --memory. Retained messages expire after 60s
    #[arg(long, value_name = "TIME", default_value = "90s", requires = "memory", value_parser = parse::time)]
    cool_down: Duration,
    /// Do not sign messages
    #[arg(long, alias = "trusted")]
    unsigned_messages: bool,
    /// Let nodes look for more peers while they have fewer than this
    #[arg(long, value_name = "N", default_value_t = 3)]
    min_peers: usize,
    /// Let nodes keep at most this many peers, 2 or more; `none` means no limit
    #[arg(long, value_name = "N|none", default_value = "5", value_parser = options::number_or_none)]
    max_peers: usize,
    /// Most nodes that join at the same time. A thousand would overload one machine
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = parse::at_least_one)]
    joining: usize,
    /// Print one JSON object per row instead of a table
    #[arg(long)]
    json: bool,
    /// Print CSV with a header line instead of a table
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Measure only this row, counted from 0. A run of several rows passes it to the process of
    /// each row.
    #[arg(long, hide = true)]
    row: Option<usize>,
    /// Log to stderr what happens; -vv adds details, -vvv adds everything else
    #[arg(short, long, env = "SMOKESIGNAL_VERBOSE", action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Args {
    fn kind(&self) -> NodeKind {
        let Self { min_peers, max_peers, unsigned_messages, joining, .. } = *self;
        NodeKind { min_peers, max_peers, unsigned_messages, joining }
    }

    fn format(&self) -> Format {
        match (self.json, self.csv) {
            (true, _) => Format::Json,
            (_, true) => Format::Csv,
            _ => Format::Table,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    // By default nothing is logged: the warnings about nodes that end are expected here.
    if args.verbose > 0 || std::env::var_os("RUST_LOG").is_some() {
        log::start(args.verbose);
    }
    args.kind().check()?;
    let mut cases = case::all(args)?;
    let count = cases.len();
    if let Some(row) = args.row {
        cases = cases.get(row).copied().into_iter().collect();
    }
    limits::allow_sockets_for(cases.iter().map(|case| case.nodes).max().unwrap_or(0))?;
    block_on(async {
        let mut signals = Signals::install()?;
        tokio::select! {
            result = bench(args, &cases, count) => result,
            // All nodes are in this process, so none of them has to say goodbye.
            () = signals.next() => Ok(Exit::Interrupted),
        }
    })
}

async fn bench(args: &Args, cases: &[Case], count: usize) -> Result<Exit, Failure> {
    let [case] = cases else { return isolated::run_each(cases.len(), args.format()).await };
    let name = case.name(args);
    let bar = Bar::new(match args.row {
        Some(row) => format!("row {} of {count}, {name}: ", row + 1),
        None => format!("{name}: "),
    });
    let report = Report::new(args.format(), args.kind().mode(), &bar);
    let result = match args {
        Args { direct: true, .. } => direct::run(args, case, &report, &bar).await,
        Args { scale: true, .. } => scale::run(args, case, &report, &bar).await,
        Args { memory: true, .. } => memory::run(args, case, &report, &bar).await,
        _ => broadcast::run(args, case, &report, &bar).await,
    };
    match result {
        Ok(()) => Ok(Exit::Done),
        Err(why) => Err(Failure::Failed(format!("{name}: {why}"))),
    }
}
