//! What a scenario found, for people and for machines.

use serde::Serialize;

use crate::check::Violation;

/// The outcome of one scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its name.
    pub scenario: String,
    /// Nodes at the beginning.
    pub nodes: usize,
    /// Runs it again, event by event.
    pub rng_seed: u64,
    /// Virtual seconds, of all runs of the scenario together.
    pub virtual_s: f64,
    /// Real seconds.
    pub wall_s: f64,
    /// Events, of all runs together.
    pub events: u64,
    /// Events per real second.
    pub events_per_s: f64,
    /// Equal for equal runs, as 16 hex digits.
    pub trace_hash: String,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// The invariants that did not hold: one per run at most.
    pub violations: Vec<Violation>,
    /// Curves for a plot.
    #[serde(skip)]
    pub curves: Vec<Curve>,
}

/// One measured number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it should be, where the project has set itself a goal.
    pub goal: Option<String>,
    /// Whether it is.
    pub met: Option<bool>,
}

/// A line of a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// In the legend.
    pub name: String,
    /// What the numbers are.
    pub axes: Axes,
    /// `(x, y)`, by x.
    pub points: Vec<(f64, f64)>,
}

/// What a curve shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// Share of the deliveries made within so many milliseconds.
    Latency,
    /// Links per node, over seconds since the fault.
    Links,
}

impl Figure {
    /// A number without a goal.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, goal: None, met: None }
    }

    /// It should not be larger.
    pub fn at_most(self, limit: f64) -> Self {
        let met = self.value <= limit;
        Self { goal: Some(format!("<= {limit}")), met: Some(met), ..self }
    }

    /// It should not be smaller.
    pub fn at_least(self, limit: f64) -> Self {
        let met = self.value >= limit;
        Self { goal: Some(format!(">= {limit}")), met: Some(met), ..self }
    }
}

impl Report {
    /// Whether every goal was met and no invariant was violated.
    pub fn all_good(&self) -> bool {
        self.violations.is_empty() && self.figures.iter().all(|figure| figure.met != Some(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_at_its_limit_and_not_beyond() {
        assert_eq!(Figure::new("a", 5.0, "s").at_most(5.0).met, Some(true));
        assert_eq!(Figure::new("a", 5.1, "s").at_most(5.0).met, Some(false));
        assert_eq!(Figure::new("a", 100.0, "%").at_least(100.0).met, Some(true));
        assert_eq!(Figure::new("a", f64::NAN, "s").at_most(5.0).met, Some(false));
    }
}
