//! What people see of the demo: a bar on a terminal, else lines, and the table at the end.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// What a phase has shown.
#[derive(Debug)]
pub(super) struct Held {
    what: String,
    count: String,
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) phase: &'static str,
    time: Duration,
    what: String,
    count: String,
    pub(super) failed: Option<String>,
}

/// The live picture, on stderr.
#[derive(Debug)]
pub(super) struct Show {
    bar: Option<ProgressBar>,
}

impl Held {
    pub(super) fn new(what: String, count: String) -> Self {
        Self { what, count }
    }
}

impl Row {
    pub(super) fn new(phase: &'static str, time: Duration, result: Result<Held, String>) -> Self {
        match result {
            Ok(Held { what, count }) => Self { phase, time, what, count, failed: None },
            Err(why) => Self { phase, time, what: why.clone(), count: String::new(), failed: Some(why) },
        }
    }

    fn result(&self) -> &'static str {
        if self.failed.is_none() { "held" } else { "FAILED" }
    }
}

impl Show {
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

    pub(super) fn begin(&self, phase: &'static str) {
        match &self.bar {
            Some(bar) => {
                bar.reset();
                bar.set_prefix(phase);
            }
            None => notice!("{phase} ..."),
        }
    }

    /// How many steps the phase has.
    pub(super) fn of(&self, steps: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(steps as u64);
        }
    }

    /// How many of them are done.
    pub(super) fn at(&self, step: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(step as u64);
        }
    }

    pub(super) fn done(&self, row: &Row) {
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

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The summary for stdout.
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
    let held = rows.iter().filter(|row| row.failed.is_none()).count();
    let verdict = if held == rows.len() { "all of it held" } else { "it did not hold" };
    table + &format!("{nodes} nodes, {held} phases held, {:.1} s: {verdict}\n", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_what_held_and_what_failed() {
        let held = Held::new("all in one network".to_owned(), "12 nodes".to_owned());
        let mut rows = vec![Row::new("gather", Duration::from_millis(840), Ok(held))];
        let good = table(12, &rows);
        assert!(good.contains("0.8 s  held") && good.ends_with("all of it held\n"), "{good}");
        rows.push(Row::new("broadcast", Duration::from_secs(60), Err("node ab misses 3".to_owned())));
        let bad = table(12, &rows);
        assert!(
            bad.contains("FAILED") && bad.contains("misses 3") && bad.ends_with("did not hold\n"),
            "{bad}"
        );
    }
}
