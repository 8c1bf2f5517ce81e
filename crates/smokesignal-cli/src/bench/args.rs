//! The options of `smokesignal bench`.

use std::time::Duration;

use super::net::NodeKind;
use super::parse;
use super::report::Format;
use crate::options;

/// Measure real nodes on this machine: throughput, latency, losses, processor time, memory
///
/// Runs all nodes in one process, connected by TCP and TLS over loopback, on a thread per core. By
/// default, some nodes broadcast and all others read; --direct, --scale and --memory measure other
/// things. Options that take a list (values separated by commas) measure all combinations, one row
/// and one process for each. Exits with 1 if a message was lost, read twice or out of order, and
/// prints to stderr in which row and how many.
#[derive(Debug, clap::Args)]
#[command(after_long_help = include_str!("columns.txt"))]
pub(crate) struct Args {
    /// Measure streams between two neighbours: bytes per second and round-trip time
    #[arg(long, conflicts_with_all = ["scale", "memory", "nodes", "writers", "rate", "window", "warm_up"])]
    pub(super) direct: bool,
    /// Measure idle nodes: join, broadcast one message, then stay idle for --seconds
    #[arg(long, conflicts_with_all = ["memory", "writers", "rate", "window", "warm_up"])]
    pub(super) scale: bool,
    /// Measure memory per node: idle, after --seconds of load, and after --cool-down
    #[arg(long)]
    pub(super) memory: bool,
    /// Number of nodes; a list. The first node is the seed of the others
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "20",
          value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(super) nodes: Vec<u32>,
    /// Number of nodes that write; a list
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) writers: Vec<u32>,
    /// Bytes per message, or per write with --direct; a list such as 64,1KiB,16MiB [default: 64,
    /// with --direct 64KiB]
    #[arg(long, value_name = "BYTES,...", value_delimiter = ',', value_parser = parse::size)]
    pub(super) size: Vec<usize>,
    /// Messages per second, summed over all writers; a list. Default: as fast as --window allows
    #[arg(long, value_name = "PER_S,...", value_delimiter = ',', value_parser = parse::rate)]
    pub(super) rate: Vec<f64>,
    /// Most messages of each writer that are not yet read by all; a list [default: 8 MiB of
    /// messages, summed over all writers]
    #[arg(long, value_name = "N,...", value_delimiter = ',', conflicts_with = "rate",
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(super) window: Vec<u64>,
    /// Write for this long before measuring: seconds, or a time such as 500ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse::time)]
    pub(super) warm_up: Duration,
    /// Measure for this long: seconds, or a time such as 500ms
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = parse::measured_time)]
    pub(super) seconds: Duration,
    /// Number of concurrent streams, with --direct; a list
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1", requires = "direct",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) streams: Vec<u32>,
    /// Stay idle for this long after the load, with --memory. Retained messages expire after 60s
    #[arg(long, value_name = "TIME", default_value = "90s", requires = "memory", value_parser = parse::time)]
    pub(super) cool_down: Duration,
    /// Do not sign messages
    #[arg(long, alias = "trusted")]
    pub(super) unsigned_messages: bool,
    /// Let nodes look for more peers while they have fewer than this
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) min_peers: usize,
    /// Let nodes keep at most this many peers, --min-peers or more; `none` means no limit
    #[arg(long, value_name = "N|none", default_value = "5", value_parser = options::number_or_none)]
    pub(super) max_peers: usize,
    /// Most nodes that join at the same time. A thousand would overload one machine
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = parse::at_least_one)]
    pub(super) joining: usize,
    /// Print one JSON object per row instead of a table
    #[arg(long)]
    pub(super) json: bool,
    /// Print CSV with a header line instead of a table
    #[arg(long, conflicts_with = "json")]
    pub(super) csv: bool,
    /// Measure only this row, counted from 0. A run of several rows passes it to the process of
    /// each row.
    #[arg(long, hide = true)]
    pub(super) row: Option<usize>,
    /// Log to stderr what happens; -vv adds details, -vvv adds everything else
    #[arg(short, long, env = "SMOKESIGNAL_VERBOSE", action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

impl Args {
    /// Returns the options of the nodes.
    pub(super) fn kind(&self) -> NodeKind {
        let Self { min_peers, max_peers, unsigned_messages, joining, .. } = *self;
        NodeKind { min_peers, max_peers, unsigned_messages, joining }
    }

    /// Returns the format of the output.
    pub(super) fn format(&self) -> Format {
        match (self.json, self.csv) {
            (true, _) => Format::Json,
            (_, true) => Format::Csv,
            _ => Format::Table,
        }
    }
}
