//! `smokesignal bench`: measures the library on this machine, with real nodes in one process.
//!
//! The options that take lists make one [`Case`] per combination. A single case runs in this
//! process; of several cases each runs in a process of its own ([`isolated`]). There are four
//! benchmarks: [`broadcast`] (the default), [`direct`], [`scale`] and [`memory`]. Each measures one
//! case and prints one row ([`report`]).
//!
//! A row that fails its check (a lost message, for example) is printed all the same, so that its
//! figures can be read, and the exit code is 1. Figures go to stdout; the progress line and the
//! reasons of failures go to stderr.

mod args;
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

pub(crate) use self::args::Args;
use self::bar::Bar;
use self::case::Case;
use self::report::Report;
use crate::outcome::{Exit, Failure, block_on};
use crate::signals::Signals;
use crate::{limits, log};

/// Runs the benchmark that the options describe.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    // By default nothing is logged: the warnings about nodes that end are expected here.
    if args.verbose > 0 || std::env::var_os("RUST_LOG").is_some() {
        log::start(args.verbose);
    }
    args.kind().check()?;
    let mut cases = case::all(args)?;
    let count = cases.len();
    // This is the process of a single row, started by `isolated`. It has the options of the whole
    // run, so it makes the same list and takes its own case.
    if let Some(row) = args.row {
        cases = cases.get(row).copied().into_iter().collect();
    }
    limits::allow_sockets_for(cases.iter().map(|case| case.nodes).max().unwrap_or(0))?;
    block_on(async {
        let mut signals = Signals::install()?;
        tokio::select! {
            result = bench(args, &cases, count) => result,
            // All nodes are in this process, so none of them has to say goodbye.
            _exit = signals.next() => Ok(Exit::Interrupted),
        }
    })
}

/// Measures the only case here, or starts a process for each of several. `count` is the number of
/// rows of the whole run, for the progress line.
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
