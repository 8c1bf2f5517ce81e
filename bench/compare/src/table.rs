//! Writes a row of the comparison as a Markdown table, with a line per system.

use harness::Outcome;

use crate::number::{median, spread};
use crate::results::{Idle, Results, Run};
use crate::rows::{Group, Row};
use crate::systems::{CEILING, DIRECT_CEILING, OURS, SYSTEMS};

/// Returns the table of a row, with a line for each system that ran, and its failures below.
pub(crate) fn table(results: &Results, row: &Row) -> String {
    let columns: Vec<Column> = match row.group {
        Group::Direct => direct_columns(),
        Group::Rate => rate_columns(),
        _ => throughput_columns(),
    };
    let systems = SYSTEMS.iter().map(|system| system.name);
    let lines = systems.filter(|system| results.of(row, system).next().is_some());
    let text = written("system", &columns, results, lines.map(|system| (system.to_owned(), row, system)));
    text + &failures(results, row)
}

/// Returns the table of idle nodes, with a line per number of nodes.
pub(crate) fn idle_table(results: &Results, rows: &[Row]) -> String {
    let columns = [
        figure("joined s", of_idle(|idle| idle.join_s)),
        figure("a message reaches all ms", of_idle(|idle| idle.reach_s * 1e3)),
        figure("share of a core", of_idle(|idle| idle.idle_cpu)),
        figure("threads woken per node and s", of_idle(|idle| idle.wake_ups_per_node_s)),
        figure("tasks per node", of_idle(|idle| idle.tasks_per_node)),
        figure("files per node", of_idle(|idle| idle.files_per_node)),
        figure("KiB per node", of_idle(|idle| idle.rss_kib_per_node)),
        whole("reached", of_idle(|idle| idle.reach_ratio)),
    ];
    let text = written("nodes", &columns, results, rows.iter().map(|row| (row.nodes.to_string(), row, OURS)));
    rows.iter().map(|row| failures(results, row)).fold(text, |text, failures| text + &failures)
}

/// Writes a table. Each line has a name, and shows a system in a row.
fn written<'a>(
    first: &str,
    columns: &[Column],
    results: &Results,
    lines: impl Iterator<Item = (String, &'a Row, &'a str)>,
) -> String {
    let headings: String = columns.iter().map(|column| format!(" | {}", column.heading)).collect();
    let mut text = format!("| {first}{headings} |\n| ---{} |\n", " | --:".repeat(columns.len()));
    for (name, row, system) in lines {
        let cells: String =
            columns.iter().map(|column| format!(" | {}", (column.cell)(results, row, system))).collect();
        text += &format!("| {name}{cells} |\n");
    }
    text
}

/// A column, with the function that computes its cells.
struct Column {
    heading: &'static str,
    cell: Cell,
}

/// Returns the text of a column for a system in a row.
type Cell = Box<dyn Fn(&Results, &Row, &str) -> String>;

fn throughput_columns() -> Vec<Column> {
    let mut columns = vec![
        figure("deliveries/s", of(|outcome| outcome.deliveries_per_s)),
        ratio("of tls-tree", CEILING, of(|outcome| outcome.deliveries_per_s)),
        brief("MB/s", of(|outcome| outcome.mb_per_s)),
    ];
    columns.extend(common_columns());
    columns
}

fn rate_columns() -> Vec<Column> {
    let mut columns = vec![
        figure("p50 ms", of(|outcome| outcome.latency.p50 / 1e3)),
        ratio("of tls-tree", CEILING, of(|outcome| outcome.latency.p50)),
        figure("p99 ms", of(|outcome| outcome.latency.p99 / 1e3)),
    ];
    columns.extend(common_columns());
    columns
}

fn common_columns() -> Vec<Column> {
    vec![
        figure("CPU s/million", of(|outcome| outcome.cpu_s_per_million)),
        brief("copies", |run| run.broadcast()?.copies_per_delivery),
        brief("KiB/node", |run| run.broadcast()?.rss_kib_per_node),
        whole("delivered", of(|outcome| outcome.ratio)),
        Column { heading: "lost / twice / out of order", cell: Box::new(broken) },
    ]
}

fn direct_columns() -> Vec<Column> {
    vec![
        figure("MB/s", |run| Some(run.direct()?.mb_per_s)),
        ratio("of bare-tls", DIRECT_CEILING, |run| Some(run.direct()?.mb_per_s)),
        figure("round trip p50 µs", |run| Some(run.direct()?.round_trip.p50)),
        figure("p99 µs", |run| Some(run.direct()?.round_trip.p99)),
    ]
}

/// Lifts a figure of a broadcast to a figure of a run.
fn of(figure: impl Fn(&Outcome) -> f64 + 'static) -> impl Fn(&Run) -> Option<f64> + 'static {
    move |run| run.broadcast().map(&figure)
}

/// Lifts a figure of idle nodes to a figure of a run.
fn of_idle(figure: impl Fn(&Idle) -> f64 + 'static) -> impl Fn(&Run) -> Option<f64> + 'static {
    move |run| run.idle().map(&figure)
}

/// Creates a column with the median and the range.
fn figure(heading: &'static str, figure: impl Fn(&Run) -> Option<f64> + 'static) -> Column {
    Column {
        heading,
        cell: Box::new(move |results, row, system| spread(results.spread(row, system, &figure))),
    }
}

/// Creates a column with the median alone.
fn brief(heading: &'static str, figure: impl Fn(&Run) -> Option<f64> + 'static) -> Column {
    Column {
        heading,
        cell: Box::new(move |results, row, system| median(results.spread(row, system, &figure))),
    }
}

/// Creates a column with a share in percent: that of the worst run, rounded down, so that only a
/// complete one is 100 %.
fn whole(heading: &'static str, figure: impl Fn(&Run) -> Option<f64> + 'static) -> Column {
    let percent = |part: f64| format!("{} %", (part * 1e5).floor() / 1e3);
    Column {
        heading,
        cell: Box::new(move |results, row, system| {
            let worst = results.spread(row, system, &figure);
            worst.map_or_else(|| "–".to_owned(), |worst| percent(worst.least))
        }),
    }
}

/// Creates a column with the median of the ratio to another system.
fn ratio(
    heading: &'static str,
    other: &'static str,
    figure: impl Fn(&Run) -> Option<f64> + 'static,
) -> Column {
    Column {
        heading,
        cell: Box::new(move |results, row, system| median(results.ratio(row, system, other, &figure))),
    }
}

/// Returns the losses, repetitions and messages out of order, summed over all runs.
fn broken(results: &Results, row: &Row, system: &str) -> String {
    let outcomes = || results.of(row, system).filter_map(Run::broadcast);
    if outcomes().next().is_none() {
        return "–".to_owned();
    }
    let lost: u64 = outcomes().map(|outcome| outcome.expected.saturating_sub(outcome.delivered)).sum();
    let repeated: u64 = outcomes().map(|outcome| outcome.repeated).sum();
    let disordered: u64 = outcomes().map(|outcome| outcome.disordered).sum();
    if lost + repeated + disordered == 0 {
        "0".to_owned()
    } else {
        format!("{lost} / {repeated} / {disordered}")
    }
}

/// Lists the failures, once for each system and text.
fn failures(results: &Results, row: &Row) -> String {
    let mut failures: Vec<(&str, &str, usize)> = Vec::new();
    for run in results.runs.iter().filter(|run| run.row == *row) {
        let Some(error) = run.error.as_deref() else { continue };
        match failures.iter_mut().find(|(system, text, _)| (*system, *text) == (run.system.as_str(), error)) {
            Some((_, _, times)) => *times += 1,
            None => failures.push((&run.system, error, 1)),
        }
    }
    let line = |(system, error, times)| {
        format!("- {system} failed in {times} of {} runs: {error}\n", results.repeats)
    };
    let lines: String = failures.into_iter().map(line).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}
