//! What a run has shown, on stdout: a table for people, JSON or CSV for programs.

use serde::Serialize;

use super::csv;
use super::show::Bar;
use crate::output::print;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Table,
    Json,
    Csv,
}

/// What one run has shown. Programs get all of it, people the columns.
pub(super) trait Record: Serialize {
    fn columns(&self) -> Vec<Column>;
}

/// A column of the table and what is in it for one row.
#[derive(Debug)]
pub(super) struct Column {
    heading: &'static str,
    /// In characters at least; a heading may be wider.
    width: usize,
    text: String,
}

pub(super) fn column(heading: &'static str, width: usize, text: impl ToString) -> Column {
    Column { heading, width, text: text.to_string() }
}

/// A row for programs: what was measured, before what it has shown.
#[derive(Serialize)]
struct Row<'a, R> {
    system: &'static str,
    version: &'static str,
    mode: &'static str,
    #[serde(flatten)]
    record: &'a R,
}

/// Where the row goes.
#[derive(Debug)]
pub(super) struct Report<'a> {
    format: Format,
    mode: &'static str,
    bar: &'a Bar,
}

impl<'a> Report<'a> {
    pub(super) fn new(format: Format, mode: &'static str, bar: &'a Bar) -> Self {
        Self { format, mode, bar }
    }

    pub(super) fn row<R: Record>(&self, record: &R) -> Result<(), String> {
        let row = Row { system: "smokesignal", version: env!("CARGO_PKG_VERSION"), mode: self.mode, record };
        let failed = |error| format!("cannot write the row: {error}");
        let text = match self.format {
            Format::Table => table(&record.columns()),
            Format::Json => serde_json::to_string(&row).map_err(failed)? + "\n",
            Format::Csv => csv::lines(&row).map_err(failed)?,
        };
        self.bar.hide(|| print(&text)).map_err(|failure| failure.to_string())
    }
}

/// The headings and the row.
fn table(columns: &[Column]) -> String {
    let line = |text: fn(&Column) -> &str| {
        let cells = columns.iter().map(|column| {
            let width = column.width.max(column.heading.chars().count());
            format!("{:>width$}", text(column))
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    line(|column| column.heading) + &line(|column| &column.text)
}

/// As many digits as are worth reading.
pub(super) fn number(value: f64) -> String {
    match value {
        value if !value.is_finite() => "-".to_owned(),
        value if value.abs() >= 100.0 => format!("{value:.0}"),
        value if value.abs() >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// The same for what not every system tells.
pub(super) fn known(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), number)
}

/// Rounded down: only what is whole shows as 1.
pub(super) fn ratio(ratio: f64) -> String {
    format!("{:.5}", (ratio * 1e5).floor() / 1e5)
}

/// `64 B`, `16 KiB`: the unit that leaves no fraction.
pub(super) fn bytes(size: usize) -> String {
    match size {
        size if size > 0 && size.is_multiple_of(1 << 20) => format!("{} MiB", size >> 20),
        size if size > 0 && size.is_multiple_of(1 << 10) => format!("{} KiB", size >> 10),
        size => format!("{size} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_at_the_right() {
        let columns = [column("nodes", 4, 2), column("MB/s", 8, "1.25")];
        assert_eq!(table(&columns), "nodes      MB/s\n    2      1.25\n");
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(1234.5, "1234"), (12.34, "12.3"), (0.123, "0.12"), (f64::NAN, "-")] {
            assert_eq!(number(value), text);
        }
        assert_eq!(
            (bytes(64), bytes(16 << 10), bytes(1 << 20)),
            ("64 B".into(), "16 KiB".into(), "1 MiB".into())
        );
    }
}
