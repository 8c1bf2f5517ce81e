//! `smokesignal demo [N]`: the whole of it in one process. N nodes gather, everyone broadcasts, some are killed in
//! the middle of it, the network closes the holes, nobody misses anything; then everyone leaves.

mod member;
mod show;
mod swarm;

use std::time::{Duration, Instant};

use self::show::{Row, Show};
use self::swarm::Swarm;
use crate::outcome::{Exit, Failure, block_on};
use crate::output::print;
use crate::signals::Signals;
use crate::{limits, log};

/// Time for one phase: a floor, and more for each node. Generous: a debug build on a busy machine has to make it.
const PHASE: Duration = Duration::from_secs(60);
const PHASE_PER_NODE: Duration = Duration::from_millis(200);
/// Messages that arrive somewhere, in the first round and per second of the second one: what two slow cores can do.
/// From this follows how much each node writes. A guess.
const ARRIVALS: usize = 20_000;

/// Show a network in this process: gather, broadcast, kill some, refill
///
/// Every node counts what it gets from every other. A third of the nodes, the seed among them, are killed while all
/// write. The summary goes to stdout; the exit code is 0 only if all of it held.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Nodes, 3 to 500
    #[arg(value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(3..=500))]
    nodes: u16,
    /// Plain lines instead of a live picture
    #[arg(long)]
    headless: bool,
    /// Log more to stderr: -v what happens, -vv details, -vvv everything
    #[arg(short, long, env = "SMOKESIGNAL_VERBOSE", action = clap::ArgAction::Count)]
    verbose: u8,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    // Killed nodes are worth a warning elsewhere; here they are the plan.
    if args.verbose > 0 || std::env::var_os("RUST_LOG").is_some() {
        log::start(args.verbose);
    }
    limits::allow_sockets_for(args.nodes.into())?;
    block_on(demo(args))
}

async fn demo(args: &Args) -> Result<Exit, Failure> {
    let mut signals = Signals::install()?;
    let show = Show::new(args.headless);
    let mut swarm = Swarm::new(args.nodes.into());
    let mut rows = Vec::new();
    let interrupted = tokio::select! {
        () = play(&mut swarm, &show, &mut rows) => false,
        () = signals.next() => true,
    };
    show.end();
    signals.or_exit(swarm.stop_all()).await;
    if interrupted {
        return Ok(Exit::Interrupted);
    }
    print(&show::table(args.nodes.into(), &rows))?;
    match rows.iter().find_map(|row| row.failed.as_ref().map(|why| (row.phase, why))) {
        None => Ok(Exit::Done),
        Some((phase, why)) => Err(Failure::Failed(format!("the demo failed at `{phase}`: {why}"))),
    }
}

/// The phases one after the other, until one fails.
async fn play(swarm: &mut Swarm, show: &Show, rows: &mut Vec<Row>) {
    let n = swarm.size();
    let patience = PHASE + PHASE_PER_NODE * u32::try_from(n).unwrap_or(u32::MAX);
    let each = (ARRIVALS / (n * n)).clamp(2, 20) as u64;
    let pace = Duration::from_secs_f64((n * n) as f64 / ARRIVALS as f64)
        .clamp(Duration::from_millis(10), Duration::from_secs(5));

    macro_rules! phase {
        ($name:literal, $work:expr) => {
            show.begin($name);
            let began = Instant::now();
            let result = match tokio::time::timeout(patience, $work).await {
                Ok(Ok(held)) => Ok(held),
                Ok(Err(why)) => Err(why),
                Err(_) => Err(format!("not done after {} s: {}", patience.as_secs(), swarm.state())),
            };
            let row = Row::new($name, began.elapsed(), result);
            show.done(&row);
            let failed = row.failed.is_some();
            rows.push(row);
            if failed {
                return;
            }
        };
    }
    phase!("gather", swarm.gather(show));
    phase!("broadcast", swarm.broadcast(each, show));
    phase!("kill", swarm.kill_mid_stream(pace, show));
    phase!("refill", swarm.refill(show));
    phase!("complete", swarm.complete(show));
    phase!("leave", swarm.leave(show));
}
