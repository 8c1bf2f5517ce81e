//! `compare`: runs all systems in turns, keeps every run in `docs/benchmarks.json`, and writes from
//! it the tables of `docs/benchmarks.md` and the plots in `docs/plots`.

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

/// A system that delays the measuring by its own load does so each time.
const ATTEMPTS: usize = 3;

/// Builds all systems, runs them in turns, and writes docs/benchmarks.json, docs/benchmarks.md and
/// docs/plots.
#[derive(Debug, Parser)]
struct Options {
    /// How often each system runs each row.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Waited after each round through the systems.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pause: Duration,
    /// How long each run measures.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Each row once, for two seconds: shows whether everything works.
    #[arg(long, conflicts_with_all = ["repeats", "seconds"])]
    quick: bool,
    /// Only these systems. The comparison needs tls-tree among them.
    #[arg(long, value_delimiter = ',', value_name = "SYSTEM", value_parser = systems::names())]
    only: Vec<String>,
    /// Only these rows.
    #[arg(long, value_delimiter = ',', value_name = "GROUP")]
    rows: Vec<Group>,
    /// Runs nothing: writes the report again from docs/benchmarks.json.
    #[arg(long)]
    report_only: bool,
    /// Builds nothing.
    #[arg(long)]
    no_build: bool,
    /// The folder of the report, seen from `bench`.
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
    // All paths are seen from `bench`, where cargo tells that this package lies.
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
        // A later failure loses nothing.
        results.write(&options.docs)?;
    }
    Ok(())
}

/// Runs it again if something else used the machine meanwhile.
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
    let said = match built.failure(system) {
        Some(failure) => child::Said { error: Some(failure), ..child::Said::default() },
        None => child::run(system.command(&row, seconds)).await,
    };
    Run {
        row,
        repeat,
        system: system.name.to_owned(),
        version: said.version,
        measured: said.measured,
        error: said.error,
        disturbed: 0,
    }
}
