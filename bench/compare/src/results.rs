//! The results of all runs, as they are kept in `docs/benchmarks.json`.

use std::error::Error;
use std::fs;
use std::path::Path;

use harness::Outcome;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::machine::Machine;
use crate::number::short;
use crate::rows::Row;
use crate::stats::Spread;

const FILE: &str = "benchmarks.json";
/// A run whose measurement took longer or shorter than planned by this factor was disturbed. A
/// guess.
const TOLERANCE: f64 = 1.1;

/// The results of one comparison.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) date: String,
    pub(crate) machine: Machine,
    /// Length of each measurement, in seconds.
    pub(crate) seconds: f64,
    pub(crate) repeats: usize,
    pub(crate) runs: Vec<Run>,
}

/// One run of one system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) row: Row,
    pub(crate) repeat: usize,
    pub(crate) system: String,
    pub(crate) version: Option<String>,
    pub(crate) measured: Option<Measured>,
    pub(crate) error: Option<String>,
    /// Number of earlier attempts, which another program disturbed.
    #[serde(default)]
    pub(crate) disturbed: usize,
}

/// The figures of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Measured {
    Broadcast(Outcome),
    Direct(Direct),
    Idle(Idle),
}

/// The figures of a direct connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Direct {
    pub(crate) mb_per_s: f64,
    pub(crate) round_trip: RoundTrip,
}

/// The cost of idle nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) nodes: usize,
    pub(crate) join_s: f64,
    pub(crate) reach_s: f64,
    pub(crate) reach_ratio: f64,
    /// Processor time as a share of one core.
    pub(crate) idle_cpu: f64,
    pub(crate) wake_ups_per_node_s: f64,
    pub(crate) tasks_per_node: f64,
    pub(crate) files_per_node: f64,
    pub(crate) rss_kib_per_node: f64,
}

/// Quantiles of the round-trip time, in microseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoundTrip {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Measured {
    /// Reads the figures from the output of a system. The fields tell which kind they are.
    pub(crate) fn of(value: Value) -> serde_json::Result<Self> {
        if value.get("round_trip").is_some() {
            return serde_json::from_value(value).map(Self::Direct);
        }
        if value.get("idle_cpu").is_some() {
            return serde_json::from_value(value).map(Self::Idle);
        }
        serde_json::from_value(value).map(Self::Broadcast)
    }
}

impl Run {
    /// Returns the figures if this is a broadcast.
    pub(crate) fn broadcast(&self) -> Option<&Outcome> {
        if let Some(Measured::Broadcast(outcome)) = &self.measured { Some(outcome) } else { None }
    }

    /// Returns whether the measurement took too long or too short, because the process did not get
    /// the processor in time.
    pub(crate) fn was_disturbed(&self, seconds: f64) -> bool {
        let planned = seconds / TOLERANCE..=seconds * TOLERANCE;
        self.broadcast().is_some_and(|outcome| !planned.contains(&outcome.seconds))
    }

    /// Returns the figures if this is a direct connection.
    pub(crate) fn direct(&self) -> Option<&Direct> {
        if let Some(Measured::Direct(direct)) = &self.measured { Some(direct) } else { None }
    }

    /// Returns the figures if these are idle nodes.
    pub(crate) fn idle(&self) -> Option<&Idle> {
        if let Some(Measured::Idle(idle)) = &self.measured { Some(idle) } else { None }
    }

    /// Returns one line for the person who watches the comparison.
    pub(crate) fn summary(&self) -> String {
        let measured = match &self.measured {
            Some(Measured::Broadcast(outcome)) => format!("{} deliveries/s", short(outcome.deliveries_per_s)),
            Some(Measured::Direct(direct)) => format!("{} MB/s", short(direct.mb_per_s)),
            Some(Measured::Idle(idle)) => format!("{} of a core", short(idle.idle_cpu)),
            None => "nothing".to_owned(),
        };
        self.error.iter().fold(measured, |measured, error| format!("{measured}; {error}"))
    }
}

impl Results {
    /// Reads the results of the last comparison.
    pub(crate) fn read(docs: &Path) -> Result<Self, Box<dyn Error>> {
        let file = docs.join(FILE);
        let text = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Writes the results, and replaces those of the last comparison.
    pub(crate) fn write(&self, docs: &Path) -> Result<(), Box<dyn Error>> {
        fs::create_dir_all(docs)?;
        Ok(fs::write(docs.join(FILE), serde_json::to_string_pretty(self)? + "\n")?)
    }

    /// Returns all rows that were run, in order.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for run in &self.runs {
            if !rows.contains(&run.row) {
                rows.push(run.row);
            }
        }
        rows
    }

    /// Returns the runs of a system in a row.
    pub(crate) fn of<'a>(&'a self, row: &'a Row, system: &'a str) -> impl Iterator<Item = &'a Run> + Clone {
        self.runs.iter().filter(move |run| run.row == *row && run.system == system)
    }

    /// Returns the spread of a figure over all runs of a system in a row.
    pub(crate) fn spread(
        &self,
        row: &Row,
        system: &str,
        figure: impl Fn(&Run) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.of(row, system).filter_map(figure).collect())
    }

    /// Returns the spread of the ratio to another system's figure. Each run is compared with the
    /// other system's run of the same round, so that a slow hour of the machine affects both.
    pub(crate) fn ratio(
        &self,
        row: &Row,
        system: &str,
        other: &str,
        figure: impl Fn(&Run) -> Option<f64>,
    ) -> Option<Spread> {
        let ratio = |run: &Run| {
            let other = self.of(row, other).find(|other| other.repeat == run.repeat)?;
            Some(figure(run)? / figure(other)?)
        };
        Spread::of(self.of(row, system).filter_map(ratio).collect())
    }
}
