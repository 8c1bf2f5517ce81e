//! `smokesignal sim`: thousands of nodes in virtual time, in one process, from one seed.
//!
//! The command chooses scenarios and options; the simulator (the crate `smokesignal-sim`) plays
//! them, one after the other, and returns reports. Each is printed as a table or as JSON as soon as
//! its scenario has ended.
//!
//! A violated invariant is a defect of the protocol: exit code 1, after all scenarios have run. A
//! goal is a figure that should be reached, and one that was missed does not change the exit code.

mod show;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use smokesignal_sim::{CASES, Case, Invariant, Report, Run, SCENARIOS, Scenario, svg};

use self::show::Bar;
use crate::outcome::{Exit, Failure};
use crate::output::print;

/// Simulate a network: the real protocol in virtual time, with faults and checks
///
/// A run stops at the first violation of an invariant. The table goes to stdout. The exit code is 1
/// if an invariant was violated; a goal that was missed is marked `no`. The same seed repeats a run
/// event by event.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The scenarios to run; `all` runs all of them, --list shows them
    #[arg(value_name = "NAME", required_unless_present = "list")]
    names: Vec<String>,
    /// Show the scenarios and exit
    #[arg(long)]
    list: bool,
    /// The seed of all randomness; `swarm` counts up from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    rng_seed: u64,
    /// Number of nodes, in place of the scenario's own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=200_000))]
    nodes: Option<u32>,
    /// How many seeds `swarm` tries
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
    /// Let all nodes offer the features with these bits, too, to try them before they are offered
    #[arg(long, value_name = "BITS", default_value_t = 0)]
    features: u64,
    /// Play only this case of `line`; --list shows the cases
    #[arg(long, value_name = "CASE", value_parser = case)]
    case: Option<Case>,
    /// Print one JSON object per scenario instead of tables
    #[arg(long)]
    json: bool,
    /// Draw the curves of all scenarios into this file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Do not stop for this invariant (repeatable), to see what lies beyond a known violation
    #[arg(long, value_name = "INVARIANT", value_parser = invariant)]
    ignore: Vec<Invariant>,
    /// Print everything that happens from this virtual second on to stderr
    #[arg(long, value_name = "SECOND")]
    trace: Option<f64>,
}

/// Plays the scenarios, prints their reports, and draws the plot.
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

/// Parses the name of an invariant, or the code that older versions printed.
fn invariant(name: &str) -> Result<Invariant, String> {
    Invariant::find(name).ok_or_else(|| {
        let names: Vec<_> = Invariant::ALL.iter().map(|one| one.name()).collect();
        format!("there is no such invariant; choose one of {}", names.join(", "))
    })
}

/// Parses the name of a case of `line`.
fn case(name: &str) -> Result<Case, String> {
    Case::find(name).ok_or_else(|| {
        let names: Vec<_> = CASES.iter().map(|one| one.name).collect();
        format!("there is no such case; choose one of {}", names.join(", "))
    })
}

/// Finds the scenarios with these names; `all` among them stands for every scenario. Fails before
/// any of them runs, so that a misspelt name does not cost the time of the others.
fn scenarios(names: &[String]) -> Result<Vec<Scenario>, Failure> {
    if names.iter().any(|name| name == "all") {
        return Ok(SCENARIOS.to_vec());
    }
    let find = |name: &String| {
        let unknown =
            || Failure::Usage(format!("`{name}` is not a scenario; `smokesignal sim --list` shows them"));
        Scenario::find(name).ok_or_else(unknown)
    };
    names.iter().map(find).collect()
}

/// Plays a scenario to its end, or to the first violation that is not ignored. Runs on this thread
/// and shows its progress on stderr.
fn play(args: &Args, scenario: Scenario, trace: Option<Duration>) -> Report {
    // The lines of a trace and a progress bar would overwrite each other.
    let bar = Bar::new(scenario.name, trace.is_none());
    let mut progress = |progress| bar.show(progress);
    let report = scenario.run(&mut Run {
        rng_seed: args.rng_seed,
        nodes: args.nodes.map(|nodes| nodes as usize),
        seeds: args.seeds,
        case: args.case,
        features: args.features,
        ignore: args.ignore.clone(),
        trace,
        progress: &mut progress,
    });
    bar.end();
    report
}

/// Encodes a report as one line.
fn json(report: &Report) -> Result<String, Failure> {
    let line = serde_json::to_string(report);
    line.map(|line| line + "\n").map_err(|error| Failure::Failed(format!("cannot write the report: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_found_by_its_name() {
        assert_eq!(case("slow-writer").map(|case| case.name), Ok("slow-writer"));
        let error = case("slow").unwrap_err();
        assert!(error.contains("slow-writer"), "{error}");
    }

    #[test]
    fn an_invariant_is_ignored_by_its_name_or_its_old_code() {
        assert_eq!(invariant("no-parent-cycle"), Ok(Invariant::NO_PARENT_CYCLE));
        assert_eq!(invariant("A7"), Ok(Invariant::NO_PARENT_CYCLE));
        let error = invariant("no-cycle").unwrap_err();
        assert!(error.contains("no-parent-cycle"), "{error}");
    }
}
