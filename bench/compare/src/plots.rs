//! The plots of the report: chooses the figures that each of them shows.

use std::error::Error;
use std::fs;
use std::path::Path;

use crate::number::bytes;
use crate::plot::{Line, Panel, svg};
use crate::results::{Results, Run};
use crate::rows::{Group, Row, SIZES, WRITERS};
use crate::systems::SYSTEMS;

/// Returns the file name and the description of a group's plot.
pub(crate) fn of(group: Group) -> Option<(&'static str, &'static str)> {
    match group {
        Group::Throughput => Some(("throughput.svg", "Throughput by the size of messages")),
        Group::Rate => Some(("latency.svg", "Latency by percentile")),
        Group::Growth => Some(("cost.svg", "Processor time and memory against the number of nodes")),
        Group::Idle => Some(("idle.svg", "What an idle node costs against the number of nodes")),
        Group::Large | Group::Direct => None,
    }
}

/// Draws the plots of all rows that were run.
pub(crate) fn write(results: &Results, docs: &Path) -> Result<(), Box<dyn Error>> {
    let folder = docs.join("plots");
    fs::create_dir_all(&folder)?;
    let panels = [
        (Group::Throughput, WRITERS.map(|writers| throughput(results, writers)).to_vec()),
        (Group::Rate, vec![latency(results)]),
        (Group::Growth, growth(results).to_vec()),
        (Group::Idle, idle(results).to_vec()),
    ];
    for (group, panels) in panels {
        let Some((name, _)) = of(group) else { continue };
        if panels.iter().any(|panel| !panel.lines.is_empty()) {
            fs::write(folder.join(name), svg(&panels))?;
        }
    }
    Ok(())
}

fn throughput(results: &Results, writers: usize) -> Panel {
    let mut rows = results.rows();
    rows.retain(|row| row.group == Group::Throughput && row.writers == writers);
    let figure = |run: &Run| Some(run.broadcast()?.deliveries_per_s);
    let of = if writers == 1 { "1 writer".to_owned() } else { format!("{writers} writers") };
    Panel {
        title: format!("Throughput, {of}"),
        across: "bytes in a message",
        up: "deliveries/s",
        steps: SIZES.map(bytes).to_vec(),
        lines: lines(|system| {
            SIZES.map(|size| {
                let row = rows.iter().find(|row| row.size == size)?;
                Some(results.spread(row, system, figure)?.median)
            })
        }),
    }
}

fn latency(results: &Results) -> Panel {
    let row = results.rows().into_iter().find(|row| row.group == Group::Rate);
    let figures: [fn(&Run) -> Option<f64>; 4] = [
        |run| Some(run.broadcast()?.latency.p50 / 1e3),
        |run| Some(run.broadcast()?.latency.p90 / 1e3),
        |run| Some(run.broadcast()?.latency.p99 / 1e3),
        |run| Some(run.broadcast()?.latency.max / 1e3),
    ];
    Panel {
        title: row.map_or_else(|| "Latency".to_owned(), |row| format!("Latency, {}", row.title())),
        across: "percentile",
        up: "ms from due to read",
        steps: ["50", "90", "99", "max"].map(str::to_owned).to_vec(),
        lines: lines(|system| {
            figures.map(|figure| Some(results.spread(row.as_ref()?, system, figure)?.median))
        }),
    }
}

fn growth(results: &Results) -> [Panel; 2] {
    let panel = |title, up, figure| by_nodes(results, Row::is_growth, title, up, figure);
    [
        panel("Processor time", "CPU s per million deliveries", |run| {
            Some(run.broadcast()?.cpu_s_per_million)
        }),
        panel("Memory", "KiB per node", |run| run.broadcast()?.rss_kib_per_node),
    ]
}

fn idle(results: &Results) -> [Panel; 4] {
    let panel = |title, up, figure| by_nodes(results, |row| row.group == Group::Idle, title, up, figure);
    [
        panel("Memory, idle", "KiB per node", |run| Some(run.idle()?.rss_kib_per_node)),
        panel("Processor time, idle", "µs per node and second", |run| {
            let idle = run.idle()?;
            Some(idle.idle_cpu * 1e6 / idle.nodes as f64)
        }),
        panel("Threads woken, idle", "per node and second", |run| Some(run.idle()?.wake_ups_per_node_s)),
        panel("All nodes have joined", "s", |run| Some(run.idle()?.join_s)),
    ]
}

/// Returns a panel that shows a figure against the number of nodes.
fn by_nodes(
    results: &Results,
    belongs: impl Fn(&Row) -> bool,
    title: &str,
    up: &'static str,
    figure: fn(&Run) -> Option<f64>,
) -> Panel {
    let mut rows: Vec<Row> = results.rows();
    rows.retain(belongs);
    rows.sort_by_key(|row| row.nodes);
    Panel {
        title: title.to_owned(),
        across: "nodes",
        up,
        steps: rows.iter().map(|row| row.nodes.to_string()).collect(),
        lines: lines(|system| {
            rows.iter().map(|row| Some(results.spread(row, system, figure)?.median)).collect::<Vec<_>>()
        }),
    }
}

/// Returns a line for each system that has any value.
fn lines<V: IntoIterator<Item = Option<f64>>>(values: impl Fn(&str) -> V) -> Vec<Line> {
    let line = |(number, system): (usize, &crate::systems::System)| Line {
        name: system.name,
        style: number,
        values: values(system.name).into_iter().collect(),
    };
    SYSTEMS.iter().enumerate().map(line).filter(|line| line.values.iter().any(Option::is_some)).collect()
}
