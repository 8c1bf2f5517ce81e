//! `smokesignal demo [N]`: a network in one process.
//!
//! The demo is a sequence of phases: N nodes gather, everyone broadcasts, a third of the nodes is
//! killed while all write, the survivors refill their links, everyone completes what was written,
//! and all leave. [`swarm`] has one method per phase, which waits until what the phase promises has
//! happened, or fails. [`member`] is a node that checks everything it reads. [`report`] shows the
//! progress and prints the summary. A phase that takes longer than its time limit fails the demo.

mod member;
mod report;
mod swarm;

use std::time::{Duration, Instant};

use self::report::{LiveView, Row};
use self::swarm::Swarm;
use crate::outcome::{Exit, Failure, block_on};
use crate::output::print;
use crate::signals::Signals;
use crate::{limits, log};

/// The time limit of a phase: this, and [`PHASE_PER_NODE`] for each node. A guess, generous enough
/// for a debug build on a busy machine. After it the demo ends with exit code 1.
const PHASE: Duration = Duration::from_secs(60);
/// What each node adds to the time limit of a phase.
const PHASE_PER_NODE: Duration = Duration::from_millis(200);
/// Deliveries in the first round, and per second in the second one. How much each node writes
/// follows from this. A guess: what two slow cores can do.
const DELIVERIES: usize = 20_000;

/// Show a network in one process: gather, broadcast, kill nodes, recover
///
/// Every node counts what it receives from every other one. A third of the nodes, including the
/// seed, is killed while all write. Prints a summary to stdout, and exits with 0 only if every
/// phase passed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Number of nodes, 3 to 500
    #[arg(value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(3..=500))]
    nodes: u16,
    /// Print plain lines instead of a live picture
    #[arg(long)]
    headless: bool,
    /// Log to stderr what happens; -vv adds details, -vvv adds everything else
    #[arg(short, long, env = "SMOKESIGNAL_VERBOSE", action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Raises the limit of open files if necessary, and runs the demo.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    // By default nothing is logged: the warnings about killed nodes are expected here.
    if args.verbose > 0 || std::env::var_os("RUST_LOG").is_some() {
        log::start(args.verbose);
    }
    limits::allow_sockets_for(args.nodes.into())?;
    block_on(demo(args))
}

/// Runs the phases, stops all nodes, and prints the summary.
async fn demo(args: &Args) -> Result<Exit, Failure> {
    let mut signals = Signals::install()?;
    let view = LiveView::new(args.headless);
    let mut swarm = Swarm::new(args.nodes.into());
    let mut rows = Vec::new();
    let interrupted = tokio::select! {
        () = run_phases(&mut swarm, &view, &mut rows) => false,
        _exit = signals.next() => true,
    };
    view.close();
    signals.or_exit(swarm.stop_all()).await;
    if interrupted {
        return Ok(Exit::Interrupted);
    }
    print(&report::table(args.nodes.into(), &rows))?;
    match rows.iter().find_map(|row| row.failed.as_ref().map(|why| (row.phase, why))) {
        None => Ok(Exit::Done),
        Some((phase, why)) => Err(Failure::Failed(format!("the phase `{phase}` failed: {why}"))),
    }
}

/// Runs the phases in order until one fails. Adds a row for each.
async fn run_phases(swarm: &mut Swarm, view: &LiveView, rows: &mut Vec<Row>) {
    let n = swarm.size();
    // Each of the n nodes writes to n - 1 others, so `each` messages per node are about `each` * n²
    // deliveries. The bounds keep a small demo short and let a large one write something.
    let limit = PHASE + PHASE_PER_NODE * u32::try_from(n).unwrap_or(u32::MAX);
    let each = (DELIVERIES / (n * n)).clamp(2, 20) as u64;
    let interval = Duration::from_secs_f64((n * n) as f64 / DELIVERIES as f64)
        .clamp(Duration::from_millis(10), Duration::from_secs(5));

    // A macro, because each phase borrows the swarm while the error of a timeout needs it again.
    macro_rules! phase {
        ($name:literal, $work:expr) => {
            view.begin_phase($name);
            let began = Instant::now();
            let result = match tokio::time::timeout(limit, $work).await {
                Ok(Ok(passed)) => Ok(passed),
                Ok(Err(why)) => Err(why),
                Err(_) => Err(format!("not done after {} s: {}", limit.as_secs(), swarm.state())),
            };
            let row = Row::new($name, began.elapsed(), result);
            view.end_phase(&row);
            let failed = row.failed.is_some();
            rows.push(row);
            if failed {
                return;
            }
        };
    }
    phase!("gather", swarm.gather(view));
    phase!("broadcast", swarm.broadcast(each, view));
    phase!("kill", swarm.kill_mid_stream(interval, view));
    phase!("refill", swarm.refill(view));
    phase!("complete", swarm.complete(view));
    phase!("leave", swarm.leave(view));
}
