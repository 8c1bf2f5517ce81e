//! Prints the result of a run: a table for people, JSON or CSV for programs.
//!
//! People get rounded figures, in columns of a width that suits the usual values. Programs get all
//! fields of the row in full precision (its struct states their units), and `null` or an empty cell
//! for what the operating system does not report.

use serde::Serialize;

use super::bar::Bar;
use super::csv;
use crate::output::print;

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Table,
    Json,
    Csv,
}

/// The result of a run. Programs get all of its fields, and people get its columns.
pub(super) trait Record: Serialize {
    /// Returns the columns of the table.
    fn columns(&self) -> Vec<Column>;
}

/// A column of the table, with its value in one row.
#[derive(Debug)]
pub(super) struct Column {
    heading: &'static str,
    /// The least width in characters; a heading may be wider.
    width: usize,
    text: String,
}

/// Creates a column.
pub(super) fn column(heading: &'static str, width: usize, text: impl ToString) -> Column {
    Column { heading, width, text: text.to_string() }
}

/// A row for programs: what was measured, followed by the result.
#[derive(Serialize)]
struct Row<'a, R> {
    /// The name of what was measured, because rows of other systems may be in the same file.
    system: &'static str,
    version: &'static str,
    mode: &'static str,
    #[serde(flatten)]
    record: &'a R,
}

/// Prints rows in the chosen format.
#[derive(Debug)]
pub(super) struct Report<'a> {
    format: Format,
    mode: &'static str,
    bar: &'a Bar,
}

impl<'a> Report<'a> {
    /// Creates a report for nodes of this mode, `signed` or otherwise.
    pub(super) fn new(format: Format, mode: &'static str, bar: &'a Bar) -> Self {
        Self { format, mode, bar }
    }

    /// Prints the result of a run.
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

/// Returns the header line and the line of the row.
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

/// Formats a number with as many digits as are worth reading.
pub(super) fn number(value: f64) -> String {
    match value {
        value if !value.is_finite() => "-".to_owned(),
        value if value.abs() >= 100.0 => format!("{value:.0}"),
        value if value.abs() >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// Formats a number that is not known on every system.
pub(super) fn known(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), number)
}

/// Formats a ratio, rounded down, so that only a complete one is shown as 1.
pub(super) fn ratio(ratio: f64) -> String {
    format!("{:.5}", (ratio * 1e5).floor() / 1e5)
}

/// Formats a size in the largest unit without a fraction, such as `64 B` or `16 KiB`.
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
    fn the_columns_of_a_table_are_aligned_to_the_right() {
        let columns = [column("nodes", 4, 2), column("MB/s", 8, "1.25")];
        assert_eq!(table(&columns), "nodes      MB/s\n    2      1.25\n");
    }

    #[test]
    fn numbers_and_sizes_are_short() {
        for (value, text) in [(1234.5, "1234"), (12.34, "12.3"), (0.123, "0.12"), (f64::NAN, "-")] {
            assert_eq!(number(value), text);
        }
        assert_eq!(
            (bytes(64), bytes(16 << 10), bytes(1 << 20)),
            ("64 B".into(), "16 KiB".into(), "1 MiB".into())
        );
    }
}
