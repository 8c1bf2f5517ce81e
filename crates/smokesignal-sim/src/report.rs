//! The outcome of a scenario, for people and for machines.
//!
//! A [`Report`] holds figures, some of them with a goal, and the violations. The program prints it
//! as a table or, without the curves, as a line of JSON.

use serde::Serialize;

use crate::check::Violation;

/// The outcome of one scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The name of the scenario.
    pub scenario: String,
    /// Number of nodes at the beginning.
    pub nodes: usize,
    /// The seed that repeats the run, event by event.
    pub rng_seed: u64,
    /// Virtual seconds, of all worlds of the scenario together.
    pub virtual_s: f64,
    /// Real seconds.
    pub wall_s: f64,
    /// Events, of all worlds together.
    pub events: u64,
    /// Events per real second.
    pub events_per_s: f64,
    /// A hash over everything that happened, as 16 hex digits: equal for equal runs.
    pub trace_hash: String,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// The invariants that did not hold: one per world at most.
    pub violations: Vec<Violation>,
    /// Curves for a plot.
    #[serde(skip)]
    pub curves: Vec<Curve>,
}

/// One measured number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// How much it is.
    pub value: f64,
    /// The unit of the value.
    pub unit: &'static str,
    /// What the value should be, where the project has set itself a goal.
    pub goal: Option<String>,
    /// Whether the goal is met.
    pub met: Option<bool>,
}

/// A line of a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// The meaning of its numbers.
    pub axes: Axes,
    /// `(x, y)`, in the order of x.
    pub points: Vec<(f64, f64)>,
}

/// The meaning of the numbers of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// Percentage of the deliveries, over the milliseconds that they took.
    Latency,
    /// Links per node, over seconds since the fault.
    Links,
}

impl Figure {
    /// Creates a figure without a goal.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, goal: None, met: None }
    }

    /// Sets the goal that the value is not larger than `limit`.
    pub fn at_most(self, limit: f64) -> Self {
        let met = self.value <= limit;
        Self { goal: Some(format!("<= {limit}")), met: Some(met), ..self }
    }

    /// Sets the goal that the value is not smaller than `limit`.
    pub fn at_least(self, limit: f64) -> Self {
        let met = self.value >= limit;
        Self { goal: Some(format!(">= {limit}")), met: Some(met), ..self }
    }
}

impl Report {
    /// Returns whether every goal was met and no invariant was violated.
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
