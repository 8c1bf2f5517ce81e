//! `compare`: measures smokesignal and other systems with the same workloads.
//!
//! It builds all systems, and for each row (a workload) lets them run in turns, so that a slow hour
//! of the machine hits all of them alike. Every run is a process that prints one JSON object. All
//! runs are kept in `docs/benchmarks.json`, from which the tables of `docs/benchmarks.md` and the
//! plots in `docs/plots` are written.

mod build;
mod child;
mod machine;
mod markdown;
mod number;
mod plot;
mod plots;
mod results;
mod rows;
mod stats;
mod systems;
mod table;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::time::sleep;

use crate::build::Built;
use crate::machine::Machine;
use crate::results::{Results, Run};
use crate::rows::{Group, Row};
use crate::systems::{SYSTEMS, System};

/// Attempts at a run that another program disturbs. A run that is still late after the last attempt
/// is kept, because then the system itself causes the delay. A guess.
const ATTEMPTS: usize = 3;

/// Builds all systems, runs them in turns, and writes docs/benchmarks.json, docs/benchmarks.md and
/// docs/plots.
#[derive(Debug, Parser)]
struct Options {
    /// Number of runs of each system in each row.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Pause after each round through the systems, such as 2s.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pause: Duration,
    /// Measure for this many seconds in each run.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Run each row once, for 2 seconds, to check that everything works.
    #[arg(long, conflicts_with_all = ["repeats", "seconds"])]
    quick: bool,
    /// Run only these systems. Ratios need tls-tree, so it has to be among them.
    #[arg(long, value_delimiter = ',', value_name = "SYSTEM", value_parser = systems::names())]
    only: Vec<String>,
    /// Run only these groups of rows.
    #[arg(long, value_delimiter = ',', value_name = "GROUP")]
    rows: Vec<Group>,
    /// Run nothing, and write the report again from docs/benchmarks.json.
    #[arg(long)]
    report_only: bool,
    /// Do not build the systems first.
    #[arg(long)]
    no_build: bool,
    /// The folder of the report, relative to `bench`.
    #[arg(long, default_value = "../docs")]
    docs: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match compare(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    // All paths are relative to `bench`, the parent of this package.
    if let Some(package) = std::env::var_os("CARGO_MANIFEST_DIR") {
        std::env::set_current_dir(PathBuf::from(package).join(".."))?;
    }
    if !options.report_only {
        run_all(options).await?;
    }
    let results = Results::read(&options.docs)?;
    plots::write(&results, &options.docs)?;
    markdown::write(&results, &options.docs)
}

async fn run_all(options: &Options) -> Result<(), Box<dyn Error>> {
    let (repeats, seconds) = if options.quick { (1, 2.0) } else { (options.repeats, options.seconds) };
    let wanted =
        |system: &&System| options.only.is_empty() || options.only.iter().any(|name| name == system.name);
    let systems: Vec<&System> = SYSTEMS.iter().filter(wanted).collect();
    let built = if options.no_build { Built::default() } else { Built::all(&systems).await };
    let mut results =
        Results { date: machine::today(), machine: Machine::this(), seconds, repeats, runs: Vec::new() };
    let rows =
        rows::all().into_iter().filter(|row| options.rows.is_empty() || options.rows.contains(&row.group));
    for row in rows {
        for repeat in 0..repeats {
            for system in systems.iter().filter(|system| system.does(&row)) {
                let run = run_undisturbed(system, row, repeat, seconds, &built).await;
                eprintln!("{}, {repeat}, {}: {}", row.title(), system.name, run.summary());
                results.runs.push(run);
            }
            sleep(options.pause).await;
        }
        // After each row, so that a later failure loses nothing.
        results.write(&options.docs)?;
    }
    Ok(())
}

/// Runs a system, again if another program used the machine meanwhile.
async fn run_undisturbed(system: &System, row: Row, repeat: usize, seconds: f64, built: &Built) -> Run {
    let mut disturbed = 0;
    loop {
        let run = run_one(system, row, repeat, seconds, built).await;
        if disturbed == ATTEMPTS - 1 || !run.was_disturbed(seconds) {
            return Run { disturbed, ..run };
        }
        disturbed += 1;
    }
}

async fn run_one(system: &System, row: Row, repeat: usize, seconds: f64, built: &Built) -> Run {
    let output = match built.failure(system) {
        Some(failure) => child::Parsed { error: Some(failure), ..child::Parsed::default() },
        None => child::run(system.command(&row, seconds)).await,
    };
    Run {
        row,
        repeat,
        system: system.name.to_owned(),
        version: output.version,
        measured: output.measured,
        error: output.error,
        disturbed: 0,
    }
}
