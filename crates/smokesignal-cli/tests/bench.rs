//! Small runs of `smokesignal bench`: the figures and the formats it prints.
#![cfg(unix)]

mod common;

use common::{TextCommand, run};
use serde_json::Value;

/// Runs a benchmark that has to succeed, and returns its stdout.
#[track_caller]
fn bench(args: &[&str]) -> String {
    let finished = run(&[&["bench"], args].concat());
    assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
    finished.stdout
}

/// Runs a benchmark with `--json`, and returns its rows.
#[track_caller]
fn rows(args: &[&str]) -> Vec<Value> {
    let text = bench(&[args, &["--json"]].concat());
    text.lines().map(|line| serde_json::from_str(line).expect("a line is a JSON object")).collect()
}

#[track_caller]
fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap_or_else(|| panic!("{field} is not a number: {row}"))
}

#[test]
fn a_small_broadcast_loses_nothing() {
    let rows = rows(&["--nodes", "4", "--warm-up", "0", "--seconds", "0.3", "--rate", "100"]);
    let [row] = &rows[..] else { panic!("one row, not {rows:?}") };
    assert_eq!((&row["system"], &row["mode"]), (&"smokesignal".into(), &"signed".into()));
    assert_eq!(row["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((number(row, "ratio"), number(row, "nodes"), number(row, "rate")), (1.0, 4.0, 100.0));
    assert_eq!((number(row, "gaps"), number(row, "repeated"), number(row, "disordered")), (0.0, 0.0, 0.0));
    assert!(number(row, "sent") >= 30.0 && number(row, "delivered") == 3.0 * number(row, "sent"), "{row}");
    assert!(number(&row["latency"], "p50") > 0.0 && row["window"].is_null(), "{row}");
}

#[test]
fn lists_are_measured_in_all_combinations_and_printed_under_a_single_header() {
    let args =
        ["--nodes", "2,3", "--warm-up", "0", "--seconds", "0.1", "--rate", "50,100", "--unsigned-messages"];
    let csv = bench(&[&args[..], &["--csv"]].concat());
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let (headings, rows) = lines.split_first().expect("a line of headings");
    assert!(rows.iter().all(|row| row.len() == headings.len()), "{csv}");
    let cell = |row: &Vec<&str>, name: &str| {
        row[headings.iter().position(|heading| *heading == name).expect("the column is there")].to_owned()
    };
    let measured: Vec<_> = rows.iter().map(|row| (cell(row, "nodes"), cell(row, "rate"))).collect();
    let expected = [("2", "50"), ("2", "100"), ("3", "50"), ("3", "100")];
    assert_eq!(measured, expected.map(|(nodes, rate)| (nodes.to_owned(), rate.to_owned())));
    assert!(rows.iter().all(|row| cell(row, "mode") == "unsigned" && cell(row, "ratio") == "1"), "{csv}");
}

#[test]
fn the_default_format_is_an_aligned_table() {
    let table = bench(&["--nodes", "2,3", "--seconds", "0.1", "--warm-up", "0", "--window", "8"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].contains("deliveries/s") && lines[0].contains("p99 ms"), "{table}");
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{table}");
}

#[test]
fn direct_measures_streams_that_share_a_link() {
    let rows = rows(&["--direct", "--seconds", "0.2", "--streams", "3", "--size", "1KiB"]);
    let [row] = &rows[..] else { panic!("one row, not {rows:?}") };
    assert_eq!((number(row, "streams"), number(row, "size")), (3.0, 1024.0));
    assert!(number(row, "bytes") > 0.0 && number(row, "mb_per_s") > 0.0, "{row}");
    assert!((0.0..=1.0).contains(&number(row, "fairness")), "{row}");
    assert!(number(row, "round_trips") > 0.0 && number(&row["round_trip"], "p99") > 0.0, "{row}");
}

#[test]
fn scale_counts_nodes_links_and_tasks() {
    let rows = rows(&["--scale", "--nodes", "5", "--seconds", "0.2", "--joining", "2"]);
    let [row] = &rows[..] else { panic!("one row, not {rows:?}") };
    assert_eq!((number(row, "reached"), number(row, "reach_ratio")), (4.0, 1.0));
    assert!(number(row, "fewest_peers") >= 3.0 && number(row, "links") >= 8.0, "{row}");
    // A driver, and a task that reads and one that writes for each end of a link.
    assert!(number(row, "tasks_per_node") >= 1.0, "{row}");
}

#[test]
fn memory_is_measured_under_load() {
    let load = ["--warm-up", "0", "--seconds", "0.2", "--rate", "100"];
    let rows = rows(&[&["--memory", "--nodes", "3", "--cool-down", "0"], &load[..]].concat());
    let [row] = &rows[..] else { panic!("one row, not {rows:?}") };
    assert_eq!(number(row, "ratio"), 1.0);
    if cfg!(target_os = "linux") {
        assert!(number(row, "loaded_kib_per_node") > 0.0, "{row}");
    }
}

#[test]
fn the_error_names_a_wrong_value_and_the_allowed_ones() {
    for (args, parts) in [
        (&["--size", "5"][..], &["5", "24 to 16MiB"][..]),
        (&["--size", "64k"], &["64k", "1KiB"]),
        (&["--nodes", "1"], &["1", "2.."]),
        (&["--nodes", "4,x"], &["x"]),
        (&["--rate", "0"], &["0", "messages per second"]),
        (&["--seconds", "soon"], &["soon", "500ms"]),
        (&["--nodes", "4", "--writers", "5"], &["4 nodes", "5 writers", "--nodes"]),
        (&["--min-peers", "6"], &["6", "5"]),
        (&["--rate", "5", "--window", "5"], &["--rate", "--window"]),
        (&["--direct", "--scale"], &["--direct", "--scale"]),
        (&["--direct", "--writers", "2"], &["--direct", "--writers"]),
        (&["--streams", "2"], &["--direct"]),
        (&["--json", "--csv"], &["--json", "--csv"]),
    ] {
        let finished = run(&[&["bench"], args].concat());
        assert_eq!(finished.code, Some(2), "{args:?}: {}", finished.stderr);
        assert_eq!(finished.stdout, "", "{args:?}: stdout is for data");
        assert!(parts.iter().all(|part| finished.stderr.contains(part)), "{args:?}: {}", finished.stderr);
    }
}

#[test]
fn an_interrupted_benchmark_exits_with_130() {
    for nodes in ["3", "3,4"] {
        let mut bench = TextCommand::start(&["bench", "--nodes", nodes, "--seconds", "1h", "-v"]);
        bench.wait_stderr("a node that listens", |text| text.contains("listening").then_some(()));
        bench.signal("INT");
        let (code, stderr) = bench.exit_code();
        assert_eq!(code, Some(130), "{stderr}");
    }
}
