//! `smokesignal bench`: what the library does on this machine, with real nodes in this process over loopback.

mod alone;
mod broadcast;
mod case;
mod csv;
mod direct;
mod library;
mod memory;
mod net;
mod parse;
mod process;
mod report;
mod scale;
mod show;

use std::time::Duration;

use self::case::Case;
use self::net::Kind;
use self::report::{Format, Report};
use self::show::Bar;
use crate::outcome::{Exit, Failure, block_on};
use crate::signals::Signals;
use crate::{limits, log, options};

/// Measure the network on this machine: throughput, latency, losses, processor time, memory
///
/// All nodes are real ones in one process, linked over loopback by TCP and TLS, on as many threads as there are cores. By
/// default some of them broadcast and all read; --direct, --scale and --memory measure other things. Options that take
/// lists measure all combinations: a row for each, in a process of its own. The exit code is 1 if a message was lost, read
/// twice or out of order; stderr says in which row, and how many.
#[derive(Debug, clap::Args)]
#[command(after_long_help = include_str!("bench/columns.txt"))]
pub(crate) struct Args {
    /// Streams between two neighbours instead of broadcast: bytes a second, and the time of a question and its answer
    #[arg(long, conflicts_with_all = ["scale", "memory", "nodes", "writers", "rate", "window", "warm_up"])]
    direct: bool,
    /// What many nodes cost that do nothing: they join, one message goes to all, they are idle for --seconds
    #[arg(long, conflicts_with_all = ["memory", "writers", "rate", "window", "warm_up"])]
    scale: bool,
    /// What nodes keep in memory: idle, after --seconds of load, and after a cool-down
    #[arg(long)]
    memory: bool,
    /// Nodes of the network, a list; the first one is the seed of all
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "20",
          value_parser = clap::value_parser!(u32).range(2..=100_000))]
    nodes: Vec<u32>,
    /// How many of them write, a list
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    writers: Vec<u32>,
    /// Bytes in a message, a list: 64, 1KiB, 16MiB. With --direct the bytes in a write [default: 64, with --direct 64KiB]
    #[arg(long, value_name = "BYTES,...", value_delimiter = ',', value_parser = parse::size)]
    size: Vec<usize>,
    /// Messages a second by all writers together, a list; without it they write as fast as they are read
    #[arg(long, value_name = "PER_S,...", value_delimiter = ',', value_parser = parse::rate)]
    rate: Vec<f64>,
    /// Messages of each writer that are on their way at most, a list [default: 8 MiB in all, as 8 to 65536 messages of
    /// each writer]
    #[arg(long, value_name = "N,...", value_delimiter = ',', conflicts_with = "rate",
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    window: Vec<u64>,
    /// Written before the measuring begins; seconds, or a time as 500ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse::time)]
    warm_up: Duration,
    /// How long is measured; seconds, or a time as 500ms
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = parse::some_time)]
    seconds: Duration,
    /// With --direct: how many streams at once, a list
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1", requires = "direct",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    streams: Vec<u32>,
    /// With --memory: idle for so long after the load; what is retained for others expires in 60 s
    #[arg(long, value_name = "TIME", default_value = "90s", requires = "memory", value_parser = parse::time)]
    cool_down: Duration,
    /// Do not sign messages
    #[arg(long, alias = "trusted")]
    unsigned_messages: bool,
    /// Nodes look for more peers below this number
    #[arg(long, value_name = "N", default_value_t = 3)]
    min_peers: usize,
    /// Nodes keep at most this many peers, 2 or more; `none` is no limit
    #[arg(long, value_name = "N|none", default_value = "5", value_parser = options::number_or_none)]
    max_peers: usize,
    /// So many nodes join at the same time at most; a thousand at once are too much for one machine
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = parse::at_least_one)]
    joining: usize,
    /// One JSON object for each row instead of a table
    #[arg(long)]
    json: bool,
    /// CSV with a line of headings instead of a table
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Only this row, counted from 0: what a run of many rows starts for each of them
    #[arg(long, hide = true)]
    row: Option<usize>,
    /// Log more to stderr: -v what happens, -vv details, -vvv everything
    #[arg(short, long, env = "SMOKESIGNAL_VERBOSE", action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Args {
    fn kind(&self) -> Kind {
        let Self { min_peers, max_peers, unsigned_messages, joining, .. } = *self;
        Kind { min_peers, max_peers, unsigned_messages, joining }
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
    // Nodes that end are worth a warning elsewhere; here they are the plan.
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
            // The nodes know nobody outside of this process: they need not leave properly.
            () = signals.next() => Ok(Exit::Interrupted),
        }
    })
}

async fn bench(args: &Args, cases: &[Case], count: usize) -> Result<Exit, Failure> {
    let [case] = cases else { return alone::each(cases.len(), args.format()).await };
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
