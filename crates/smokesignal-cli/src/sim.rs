//! `smokesignal sim`: the protocol in virtual time, thousands of nodes in one process, each run from one seed.

mod show;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use smokesignal_sim::{Report, Run, SCENARIOS, Scenario, svg};

use self::show::Bar;
use crate::outcome::{Exit, Failure};
use crate::output::print;

/// Simulate the network: the real protocol, virtual time, faults, and checks that stop at the first broken promise
///
/// The table goes to stdout. The exit code is 1 if an invariant was violated; a goal that was missed is marked `no`.
/// The same seed repeats a run event by event.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which scenarios; `all` is all of them, see --list
    #[arg(value_name = "NAME", required_unless_present = "list")]
    names: Vec<String>,
    /// Show the scenarios and end
    #[arg(long)]
    list: bool,
    /// Everything random follows from this number; `swarm` counts up from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    rng_seed: u64,
    /// So many nodes instead of the scenario's own number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=200_000))]
    nodes: Option<u32>,
    /// How many seeds `swarm` tries
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
    /// One JSON object for each scenario instead of tables
    #[arg(long)]
    json: bool,
    /// Draw the curves of all scenarios into this file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Do not stop for this invariant, repeatable: to get past what is known
    #[arg(long, value_name = "INVARIANT")]
    ignore: Vec<String>,
    /// Print all that happens from this virtual second on to stderr
    #[arg(long, value_name = "SECOND")]
    trace: Option<f64>,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    if args.list {
        print(&show::list())?;
        return Ok(Exit::Done);
    }
    let scenarios = scenarios(&args.names)?;
    let trace = match args.trace.map(Duration::try_from_secs_f64).transpose() {
        Ok(trace) => trace,
        Err(error) => return Err(Failure::Usage(format!("--trace: {error}; write for example 12.5"))),
    };
    let mut reports = Vec::new();
    for scenario in scenarios {
        let report = play(args, scenario, trace);
        print(&if args.json { json(&report)? } else { show::table(&report) })?;
        reports.push(report);
    }
    if let Some(file) = &args.plot {
        fs::write(file, svg(&reports)).map_err(|error| {
            Failure::Failed(format!("cannot write the plot {}: {error}; name another file", file.display()))
        })?;
    }
    let violations: usize = reports.iter().map(|report| report.violations.len()).sum();
    match violations {
        0 => Ok(Exit::Done),
        1 => Err(Failure::Failed("1 invariant was violated".to_owned())),
        _ => Err(Failure::Failed(format!("{violations} invariants were violated"))),
    }
}

fn scenarios(names: &[String]) -> Result<Vec<Scenario>, Failure> {
    if names.iter().any(|name| name == "all") {
        return Ok(SCENARIOS.to_vec());
    }
    let find = |name: &String| {
        let unknown =
            || Failure::Usage(format!("`{name}` is no scenario; `smokesignal sim --list` shows them"));
        Scenario::find(name).ok_or_else(unknown)
    };
    names.iter().map(find).collect()
}

fn play(args: &Args, scenario: Scenario, trace: Option<Duration>) -> Report {
    // Lines of a trace and a bar would overwrite each other.
    let bar = Bar::new(scenario.name, trace.is_none());
    let mut progress = |progress| bar.show(progress);
    let report = scenario.run(&mut Run {
        rng_seed: args.rng_seed,
        nodes: args.nodes.map(|nodes| nodes as usize),
        seeds: args.seeds,
        ignore: args.ignore.clone(),
        trace,
        progress: &mut progress,
    });
    bar.end();
    report
}

fn json(report: &Report) -> Result<String, Failure> {
    let line = serde_json::to_string(report);
    line.map(|line| line + "\n").map_err(|error| Failure::Failed(format!("cannot write the report: {error}")))
}
