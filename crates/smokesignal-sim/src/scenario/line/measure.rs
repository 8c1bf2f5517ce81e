//! What a run of a case has measured, and the figure that several runs make of it.

use crate::report::Figure;

/// A number that a run has measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    what: &'static str,
    pub(super) value: f64,
    unit: &'static str,
    /// Whether the largest of all runs counts, and not the median.
    is_worst: bool,
    goal: Goal,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    None,
    AtLeast(f64),
    AtMost(f64),
}

impl Measure {
    /// Makes a measure of which the median counts.
    pub(super) const fn median(what: &'static str, value: f64, unit: &'static str, goal: Goal) -> Self {
        Self { what, value, unit, is_worst: false, goal }
    }

    /// Makes a measure of which the largest value counts.
    pub(super) const fn worst(what: &'static str, value: f64, unit: &'static str, goal: Goal) -> Self {
        Self { what, value, unit, is_worst: true, goal }
    }

    /// Returns whether the name begins with one of these.
    pub(super) fn is_about(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.what.starts_with(name))
    }

    /// Returns the figure of a case with these values in its runs. A time that never came is the
    /// largest of all.
    pub(super) fn of_runs(&self, case: &str, mut values: Vec<f64>) -> Figure {
        values.sort_by(f64::total_cmp);
        let at = if self.is_worst { values.len() - 1 } else { values.len() / 2 };
        let figure = Figure::new(format!("{case}: {}", self.what), values[at], self.unit);
        match self.goal {
            Goal::None => figure,
            Goal::AtLeast(limit) => figure.at_least(limit),
            Goal::AtMost(limit) => figure.at_most(limit),
        }
    }
}
