//! Writes the report: the part of `docs/benchmarks.md` between two markers. The rest of that file
//! is written by hand.

use std::error::Error;
use std::fs;
use std::path::Path;

use crate::plots;
use crate::results::Results;
use crate::rows::Group;
use crate::systems::{SYSTEMS, WARM_UP};
use crate::table::{idle_table, table};

const FILE: &str = "benchmarks.md";
const BEGIN: &str = "<!-- compare: begin -->";
const END: &str = "<!-- compare: end -->";

/// Writes the report between the markers. Creates the file if it does not exist.
pub(crate) fn write(results: &Results, docs: &Path) -> Result<(), Box<dyn Error>> {
    let file = docs.join(FILE);
    let before = fs::read_to_string(&file).unwrap_or_else(|_| format!("# Benchmarks\n\n{BEGIN}\n{END}\n"));
    let after = replaced(&before, &report(results))
        .ok_or_else(|| format!("{} lacks the line {BEGIN} or the line {END} below it", file.display()))?;
    Ok(fs::write(&file, after)?)
}

/// Returns the text with the report between the markers, or `None` if it has no markers.
fn replaced(text: &str, report: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", report.trim()))
}

fn report(results: &Results) -> String {
    let mut text = preface(results) + &versions(results);
    for group in [Group::Throughput, Group::Rate, Group::Large, Group::Growth, Group::Direct, Group::Idle] {
        let rows: Vec<_> = results.rows().into_iter().filter(|row| row.group == group).collect();
        if rows.is_empty() {
            continue;
        }
        text += &format!("\n## {}\n\n{}\n", heading(group), explanation(group));
        if let Some((name, alt)) = plots::of(group) {
            text += &format!("\n![{alt}](plots/{name})\n");
        }
        if group == Group::Idle {
            text += &format!("\n{}", idle_table(results, &rows));
            continue;
        }
        for row in rows {
            text += &format!("\n### {}\n\n{}", row.title(), table(results, &row));
        }
    }
    text
}

fn preface(results: &Results) -> String {
    let machine = &results.machine;
    format!(
        "Measured on {}: {}, {} cores, {} GiB of memory, {}, {}. All nodes of a system are in one process and talk over \
         loopback; the systems take turns, {} each, {} s measured after {WARM_UP} of warm-up. A figure is the median, with the \
         least and the most in brackets. *Of tls-tree* is each run against that of tls-tree in the same round. {} runs were \
         repeated because something else used the machine.\n",
        results.date,
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.compiler,
        if results.repeats == 1 { "once".to_owned() } else { format!("{} times", results.repeats) },
        results.seconds,
        results.runs.iter().map(|run| run.disturbed).sum::<usize>(),
    )
}

fn versions(results: &Results) -> String {
    let version = |name: &str| {
        let run = results.runs.iter().find(|run| run.system == name && run.version.is_some());
        run.and_then(|run| run.version.clone())
    };
    let known = |system: &crate::systems::System| Some(format!("{} {}", system.name, version(system.name)?));
    // The ceilings are part of this repository, and have no version of their own.
    let all: Vec<_> = SYSTEMS.iter().filter_map(known).filter(|text| !text.ends_with(" 0.0.0")).collect();
    if all.is_empty() { String::new() } else { format!("\nVersions: {}.\n", all.join(", ")) }
}

fn heading(group: Group) -> &'static str {
    match group {
        Group::Throughput => "Throughput",
        Group::Rate => "Latency at a fixed rate",
        Group::Large => "Large messages",
        Group::Growth => "Fewer and more nodes",
        Group::Direct => "Direct connections",
        Group::Idle => "Idle nodes",
    }
}

fn explanation(group: Group) -> &'static str {
    match group {
        Group::Throughput => {
            "Each writer writes the next message when the slowest reader has read the first of its window. Deliveries are \
             summed over all readers; lost, twice and out of order over all runs; *delivered* is the worst run."
        }
        Group::Rate => {
            "From when a message was due to when it was read, over all readers. Here *of tls-tree* is the median latency."
        }
        Group::Large => "The next message is written when the slowest reader has read the one before.",
        Group::Growth => "The same as throughput with 20 nodes, 1 writer and 1 KiB.",
        Group::Direct => "One connection between two nodes; 64 bytes go there and back for the round trip.",
        Group::Idle => {
            "smokesignal alone, signed, in one process: all join through the first, a message goes to all, and then nothing is \
             written. The nodes are measured once the number of their tasks no longer changes."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::results::{Measured, Run};
    use crate::rows;

    fn results() -> Results {
        let machine = Machine {
            processor: "Fast 1".to_owned(),
            cores: 2,
            memory_gib: 24,
            kernel: "Linux 6.1".to_owned(),
            compiler: "rustc 1.90.0".to_owned(),
        };
        let row = rows::all()[0];
        let run = |system: &str, repeat, deliveries: f64| {
            let outcome = serde_json::json!({
                "nodes": 20, "writers": 1, "size": 64, "window": 8, "rate": null, "seconds": 5.0, "sent": 10,
                "delivered": 189, "expected": 190, "ratio": 189.0 / 190.0, "gaps": 1, "repeated": 2, "disordered": 0,
                "deliveries_per_s": deliveries, "mb_per_s": 1.0, "copies_per_delivery": null,
                "latency": {"p50": 1.0, "p90": 1.0, "p99": 1.0, "max": 1.0},
                "cpu_s_per_million": 0.5, "rss_kib_per_node": 100.0, "join_s": 0.1
            });
            let measured = Some(Measured::of(outcome).unwrap());
            Run {
                row,
                repeat,
                system: system.to_owned(),
                version: Some("1.0.0".to_owned()),
                measured,
                error: None,
                disturbed: 0,
            }
        };
        let failed = Run { measured: None, error: Some("no way".to_owned()), ..run("zenoh-peers", 0, 0.0) };
        let mut runs = vec![failed];
        for (repeat, ceiling, ours) in [(0, 4e6, 1e6), (1, 8e6, 6e6), (2, 6e6, 3e6)] {
            runs.extend([run("tls-tree", repeat, ceiling), run("smokesignal", repeat, ours)]);
        }
        Results { date: "2025-01-31".to_owned(), machine, seconds: 5.0, repeats: 3, runs }
    }

    #[test]
    fn only_the_text_between_the_markers_is_replaced() {
        let text = format!("mine\n{BEGIN}\nold\n{END}\nmine too\n");
        let new = replaced(&text, "new\n").unwrap();
        assert_eq!(new, format!("mine\n{BEGIN}\n\nnew\n\n{END}\nmine too\n"));
        assert_eq!(replaced(&new, "new\n").unwrap(), new);
        assert_eq!(replaced("mine", "new"), None);
    }

    #[test]
    fn a_ratio_compares_with_the_ceiling_of_the_same_round() {
        let report = report(&results());
        // The ratios of the three rounds are 0.25, 0.75 and 0.5, of which the median is 0.5.
        assert!(report.contains("| smokesignal | 3.00 M (1.00 M–6.00 M) | 0.500 |"), "{report}");
        assert!(report.contains("| tls-tree | 6.00 M (4.00 M–8.00 M) | 1.00 |"), "{report}");
        assert!(report.contains("| 99.473 % | 3 / 6 / 0 |"), "{report}");
    }

    #[test]
    fn a_run_that_took_too_long_or_too_short_was_disturbed() {
        let results = results();
        assert!(results.runs[1].was_disturbed(4.0));
        assert!(!results.runs[1].was_disturbed(4.9));
        assert!(results.runs[1].was_disturbed(6.0));
        assert!(!results.runs[0].was_disturbed(4.0));
    }

    #[test]
    fn idle_nodes_of_all_numbers_are_in_one_table() {
        let mut results = results();
        let idle = |nodes: usize| {
            let measured = serde_json::json!({
                "nodes": nodes, "join_s": 1.5, "reach_s": 0.25, "reach_ratio": 1.0, "idle_cpu": 0.02,
                "wake_ups_per_node_s": 4.0, "tasks_per_node": 7.0, "files_per_node": 6.0, "rss_kib_per_node": 300.0
            });
            let row = rows::all().into_iter().find(|row| row.group == Group::Idle && row.nodes == nodes);
            let (row, system) = (row.unwrap(), "smokesignal".to_owned());
            Run { row, system, measured: Some(Measured::of(measured).unwrap()), ..results.runs[1].clone() }
        };
        let runs = [10, 1_000].map(idle);
        results.runs.extend(runs);
        let report = report(&results);
        assert!(
            report.contains("| 10 | 1.50 | 250 | 0.020 | 4.00 | 7.00 | 6.00 | 300 | 100 % |\n| 1000 |"),
            "{report}"
        );
    }

    #[test]
    fn a_system_that_failed_is_in_the_table_with_its_reason() {
        let report = report(&results());
        assert!(report.contains("| zenoh-peers | – | – |"), "{report}");
        assert!(report.contains("- zenoh-peers failed in 1 of 3 runs: no way"), "{report}");
    }
}
