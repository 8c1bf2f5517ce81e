//! All runs, as they are kept in `docs/benchmarks.json`.

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
/// A measurement that takes this many times as long as it should is not valid.
const LATE: f64 = 1.1;

/// One comparison.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) date: String,
    pub(crate) machine: Machine,
    /// How long each run measured.
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
    /// How often it was run before, while something else used the machine.
    #[serde(default)]
    pub(crate) disturbed: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Measured {
    Broadcast(Outcome),
    Direct(Direct),
    Idle(Idle),
}

/// The result of a direct connection.
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
    /// Share of a core.
    pub(crate) idle_cpu: f64,
    pub(crate) wake_ups_per_node_s: f64,
    pub(crate) tasks_per_node: f64,
    pub(crate) files_per_node: f64,
    pub(crate) rss_kib_per_node: f64,
}

/// The round-trip time in microseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoundTrip {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Measured {
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
    pub(crate) fn broadcast(&self) -> Option<&Outcome> {
        if let Some(Measured::Broadcast(outcome)) = &self.measured { Some(outcome) } else { None }
    }

    /// Returns whether the measuring took longer or shorter than it should have, because the
    /// process did not get the processor.
    pub(crate) fn was_disturbed(&self, seconds: f64) -> bool {
        self.broadcast().is_some_and(|outcome| !(seconds / LATE..=seconds * LATE).contains(&outcome.seconds))
    }

    pub(crate) fn direct(&self) -> Option<&Direct> {
        if let Some(Measured::Direct(direct)) = &self.measured { Some(direct) } else { None }
    }

    pub(crate) fn idle(&self) -> Option<&Idle> {
        if let Some(Measured::Idle(idle)) = &self.measured { Some(idle) } else { None }
    }

    /// Returns one line of progress.
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
    pub(crate) fn read(docs: &Path) -> Result<Self, Box<dyn Error>> {
        let file = docs.join(FILE);
        let text = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    pub(crate) fn write(&self, docs: &Path) -> Result<(), Box<dyn Error>> {
        fs::create_dir_all(docs)?;
        Ok(fs::write(docs.join(FILE), serde_json::to_string_pretty(self)? + "\n")?)
    }

    /// The rows that were run.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for run in &self.runs {
            if !rows.contains(&run.row) {
                rows.push(run.row);
            }
        }
        rows
    }

    /// The runs of one system in one row.
    pub(crate) fn of<'a>(&'a self, row: &'a Row, system: &'a str) -> impl Iterator<Item = &'a Run> + Clone {
        self.runs.iter().filter(move |run| run.row == *row && run.system == system)
    }

    /// One figure of one system in one row, over all repeats.
    pub(crate) fn spread(
        &self,
        row: &Row,
        system: &str,
        figure: impl Fn(&Run) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.of(row, system).filter_map(figure).collect())
    }

    /// The same against another system: each run against the other's of the same repeat.
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
