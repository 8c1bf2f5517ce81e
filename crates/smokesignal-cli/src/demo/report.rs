//! The output of the demo: a progress bar on a terminal, or lines elsewhere, and the table at the
//! end.
//!
//! All progress goes to stderr, and the table alone to stdout. A step of the bar is a node that has
//! done what the phase waits for: it has enough peers, or has read everything.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The result of a phase that has passed.
#[derive(Debug)]
pub(super) struct Passed {
    /// What the phase has shown, as a sentence without its full stop.
    what: String,
    /// The figures behind it, such as `12 nodes`.
    count: String,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) phase: &'static str,
    /// How long the phase took.
    time: Duration,
    /// What the phase has shown, or why it failed.
    what: String,
    /// The figures behind it.
    count: String,
    /// Why the phase failed.
    pub(super) failed: Option<String>,
}

/// The progress of the demo, on stderr.
#[derive(Debug)]
pub(super) struct LiveView {
    /// `None` if lines are printed instead.
    bar: Option<ProgressBar>,
}

impl Passed {
    /// States what has been shown, and the figures behind it.
    pub(super) fn new(what: String, count: String) -> Self {
        Self { what, count }
    }
}

impl Row {
    /// Creates the row of a phase that took this time.
    pub(super) fn new(phase: &'static str, time: Duration, result: Result<Passed, String>) -> Self {
        match result {
            Ok(Passed { what, count }) => Self { phase, time, what, count, failed: None },
            Err(why) => Self { phase, time, what: why.clone(), count: String::new(), failed: Some(why) },
        }
    }

    /// Returns the word in the last column.
    fn result(&self) -> &'static str {
        if self.failed.is_none() { "passed" } else { "FAILED" }
    }
}

impl LiveView {
    /// Creates a progress bar, or with `headless` or without a terminal a view that prints lines.
    pub(super) fn new(headless: bool) -> Self {
        let live = !headless && std::io::stderr().is_terminal();
        let bar = live.then(|| {
            let template = "{prefix:>10} {bar:30} {pos}/{len} {elapsed}";
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style)
        });
        Self { bar }
    }

    /// Shows that a phase begins.
    pub(super) fn begin_phase(&self, phase: &'static str) {
        match &self.bar {
            Some(bar) => {
                bar.reset();
                bar.set_prefix(phase);
            }
            None => notice!("{phase} ..."),
        }
    }

    /// Sets how many steps the phase has.
    pub(super) fn set_steps(&self, steps: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(steps as u64);
        }
    }

    /// Sets how many steps are done.
    pub(super) fn set_done(&self, step: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(step as u64);
        }
    }

    /// Shows the result of a phase.
    pub(super) fn end_phase(&self, row: &Row) {
        let count = if row.count.is_empty() { String::new() } else { format!("{}: ", row.count) };
        let text = format!(
            "{:<9} {:>6.1} s  {:<6}  {count}{}",
            row.phase,
            row.time.as_secs_f64(),
            row.result(),
            row.what
        );
        match &self.bar {
            Some(bar) => bar.println(text),
            None => notice!("{text}"),
        }
    }

    /// Removes the progress bar.
    pub(super) fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Returns the summary for stdout: a line per phase, and a verdict. Phases after a failed one have
/// not run, and have no line. The times are those of the phases, without the stop at the end.
pub(super) fn table(nodes: usize, rows: &[Row]) -> String {
    let width =
        |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0).max(5);
    let (what, count) = (width(|row| &row.what), width(|row| &row.count));
    let line = |phase: &str, checked: &str, counted: &str, time: &str, result: &str| {
        format!("{phase:<9}  {checked:<what$}  {counted:<count$}  {time:>8}  {result}\n")
    };
    let mut table = line("phase", "what", "count", "time", "result");
    for row in rows {
        let time = format!("{:.1} s", row.time.as_secs_f64());
        table += &line(row.phase, &row.what, &row.count, &time, row.result());
    }
    let time: Duration = rows.iter().map(|row| row.time).sum();
    let passed = rows.iter().filter(|row| row.failed.is_none()).count();
    let verdict = if passed == rows.len() { "the demo passed" } else { "the demo FAILED" };
    table + &format!("{nodes} nodes, {passed} phases passed, {:.1} s: {verdict}\n", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_which_phases_passed_and_which_failed() {
        let passed = Passed::new("all in one network".to_owned(), "12 nodes".to_owned());
        let mut rows = vec![Row::new("gather", Duration::from_millis(840), Ok(passed))];
        let good = table(12, &rows);
        assert!(good.contains("0.8 s  passed") && good.ends_with("the demo passed\n"), "{good}");
        rows.push(Row::new("broadcast", Duration::from_secs(60), Err("node ab misses 3".to_owned())));
        let bad = table(12, &rows);
        assert!(
            bad.contains("s  FAILED") && bad.contains("misses 3") && bad.ends_with("the demo FAILED\n"),
            "{bad}"
        );
    }
}
