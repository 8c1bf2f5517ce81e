//! A row of the comparison as a table: a line for each system.

use harness::Outcome;

use crate::number::{self, median, spread};
use crate::results::{Idle, Results, Run};
use crate::rows::{Group, Row};
use crate::systems::{CEILING, DIRECT_CEILING, OURS, SYSTEMS};

/// The table of one row, with a line for each system that was to run.
pub(crate) fn table(results: &Results, row: &Row) -> String {
    let columns: Vec<Column> = match row.group {
        Group::Direct => direct_columns(),
        Group::Rate => rate_columns(),
        _ => throughput_columns(),
    };
    let mut lines = vec!["| system".to_owned(), "| ---".to_owned()];
    for column in &columns {
        lines[0] += &format!(" | {}", column.heading);
        lines[1] += " | --:";
    }
    for system in SYSTEMS.iter().map(|system| system.name) {
        if results.of(row, system).next().is_none() {
            continue;
        }
        let mut line = format!("| {system}");
        for column in &columns {
            line += &format!(" | {}", (column.cell)(results, row, system));
        }
        lines.push(line);
    }
    lines.join(" |\n") + " |\n" + &failures(results, row)
}

/// Idle nodes: a line for each number of them.
pub(crate) fn idle_table(results: &Results, rows: &[Row]) -> String {
    type Figure = fn(&Idle) -> f64;
    let figures: [(&str, Figure); 7] = [
        ("joined s", |idle| idle.join_s),
        ("a message reaches all ms", |idle| idle.reach_s * 1e3),
        ("share of a core", |idle| idle.idle_cpu),
        ("threads woken per node and s", |idle| idle.wake_ups_per_node_s),
        ("tasks per node", |idle| idle.tasks_per_node),
        ("files per node", |idle| idle.files_per_node),
        ("KiB per node", |idle| idle.rss_kib_per_node),
    ];
    let mut text = "| nodes".to_owned();
    figures.iter().for_each(|(heading, _)| text += &format!(" | {heading}"));
    text += &format!(" | reached |\n| --:{} | --: |\n", " | --:".repeat(figures.len()));
    for row in rows {
        text += &format!("| {}", row.nodes);
        for (_, figure) in figures {
            let spread = results.spread(row, OURS, |run| run.idle().map(figure));
            text += &format!(" | {}", number::spread(spread));
        }
        let reached = results.spread(row, OURS, |run| Some(run.idle()?.reach_ratio));
        text +=
            &format!(" | {} |\n", reached.map_or_else(|| "–".to_owned(), |reached| percent(reached.least)));
    }
    rows.iter().map(|row| failures(results, row)).fold(text, |text, failures| text + &failures)
}

struct Column {
    heading: &'static str,
    cell: Cell,
}

/// What a column says of a system in a row.
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
        Column { heading: "delivered", cell: Box::new(delivered) },
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

fn of(figure: impl Fn(&Outcome) -> f64 + 'static) -> impl Fn(&Run) -> Option<f64> + 'static {
    move |run| run.broadcast().map(&figure)
}

/// The median and the spread.
fn figure(heading: &'static str, figure: impl Fn(&Run) -> Option<f64> + 'static) -> Column {
    Column {
        heading,
        cell: Box::new(move |results, row, system| spread(results.spread(row, system, &figure))),
    }
}

/// The median alone.
fn brief(heading: &'static str, figure: impl Fn(&Run) -> Option<f64> + 'static) -> Column {
    Column {
        heading,
        cell: Box::new(move |results, row, system| median(results.spread(row, system, &figure))),
    }
}

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

/// The worst of all runs, rounded down: only what is whole is 100 %.
fn delivered(results: &Results, row: &Row, system: &str) -> String {
    let worst = results.spread(row, system, |run| Some(run.broadcast()?.ratio));
    worst.map_or_else(|| "–".to_owned(), |worst| percent(worst.least))
}

fn percent(part: f64) -> String {
    format!("{} %", (part * 1e5).floor() / 1e3)
}

/// The sums of all runs.
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

/// What went wrong, once for each system and text.
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
