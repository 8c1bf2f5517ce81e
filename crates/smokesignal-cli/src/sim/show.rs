//! What a person sees of a simulation: a progress bar while it runs, then a table.
//!
//! The bar goes to stderr, and only if that is a terminal. Tables are made as text, for stdout. The
//! first line of a table has what it takes to repeat the run (scenario, nodes, seed) and a hash of
//! everything that happened: two runs with the same hash were the same, event by event.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use smokesignal_sim::{CASES, Figure, Progress, Report, SCENARIOS};

/// A progress bar of a scenario, on stderr; empty if none is shown.
#[derive(Debug)]
pub(super) struct Bar(Option<ProgressBar>);

impl Bar {
    /// Starts the bar as a spinner, because a scenario need not know how many steps it has.
    pub(super) fn new(name: &'static str, wanted: bool) -> Self {
        let live = wanted && std::io::stderr().is_terminal();
        Self(live.then(|| {
            let bar = ProgressBar::no_length().with_style(style("{prefix} {spinner} {msg} ({elapsed})"));
            bar.set_prefix(name);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        }))
    }

    /// Shows how far the scenario has come. The first report with a number of steps turns the
    /// spinner into a bar with an estimate of the time that is left.
    pub(super) fn show(&self, progress: Progress) {
        let Some(bar) = &self.0 else { return };
        if let Some((done, all)) = progress.steps {
            if bar.length().is_none() {
                bar.set_style(style("{prefix} {bar:30} {pos}/{len} {msg} ({elapsed}, {eta} to go)"));
                bar.set_length(all);
            }
            bar.set_position(done);
        }
        bar.set_message(progress.what);
    }

    /// Removes the bar, so that the table takes its place.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Parses a template of indicatif. The templates are constants, so the fallback is never used.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Makes the list of all scenarios.
pub(super) fn list() -> String {
    // 0 means that each seed draws its own number of nodes.
    let nodes = |nodes: usize| if nodes == 0 { "8 to 64".to_owned() } else { nodes.to_string() };
    let line = |name: &str, nodes: &str, about: &str| format!("{name:<14} {nodes:>8}  {about}\n");
    let scenarios = SCENARIOS.iter().map(|one| line(one.name, &nodes(one.nodes), one.about));
    let cases = CASES.iter().map(|one| line(&format!("  {}", one.name), "", one.about));
    let cases = std::iter::once(line("", "", "cases of line:")).chain(cases);
    std::iter::once(line("name", "nodes", "what it asks")).chain(scenarios).chain(cases).collect()
}

/// Makes the table of a report: one line per figure, and one per violation. A goal has the unit of
/// its figure. M stands for a million events.
pub(super) fn table(report: &Report) -> String {
    let width = report.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0).max(6);
    let mut table = format!(
        "{}: {} nodes, seed {}, {:.0} virtual s in {:.1} s, {:.2} M events ({:.2} M/s), trace {}\n",
        report.scenario,
        report.nodes,
        report.rng_seed,
        report.virtual_s,
        report.wall_s,
        report.events as f64 / 1e6,
        report.events_per_s / 1e6,
        report.trace_hash
    );
    table += &format!("  {:<width$}  {:>12} {:<8}  {:<10}  met\n", "figure", "value", "unit", "goal");
    for figure in &report.figures {
        let (goal, met) = (figure.goal.as_deref().unwrap_or("-"), met(figure));
        table += &format!(
            "  {:<width$}  {:>12} {:<8}  {goal:<10}  {met}\n",
            figure.name,
            number(figure.value),
            figure.unit
        );
    }
    for violation in &report.violations {
        table += &format!("  VIOLATED {violation}\n");
    }
    table
}

/// Returns the last column. A figure without a goal can neither meet nor miss it.
fn met(figure: &Figure) -> &'static str {
    match figure.met {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    }
}

/// Formats a number with the digits that are worth reading. A figure that is not a number is the
/// time of something that never happened.
fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "never".to_owned(),
        value if value.fract() == 0.0 => format!("{value:.0}"),
        value if value.abs() >= 1000.0 => format!("{value:.0}"),
        value => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_a_time_that_never_came_is_never() {
        for (value, text) in
            [(0.0, "0"), (100.0, "100"), (99.9994, "99.999"), (0.0203, "0.020"), (f64::NAN, "never")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn every_scenario_is_listed() {
        let list = list();
        assert!(SCENARIOS.iter().all(|scenario| list.contains(scenario.name)));
        assert!(CASES.iter().all(|case| list.contains(case.name)));
    }
}
