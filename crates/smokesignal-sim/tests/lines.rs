//! Slow lines: what `sim line` finds has to meet the project's goals, in the median of nine runs.
//!
//! Here are the cases in which one node has a slow line; the other cases, and real processes on
//! shaped lines, are in `docs/simulation.md`.

use smokesignal_sim::{Case, Run, Scenario};

/// Plays the case, and panics unless each of these figures has a goal and meets it.
fn meets(case: &str, goals: &[&str]) {
    let (progress, ignore, case_played) = (&mut |_| {}, Vec::new(), Case::find(case));
    let mut run = Run {
        rng_seed: 1,
        nodes: None,
        seeds: 0,
        case: case_played,
        features: 0,
        ignore,
        trace: None,
        progress,
    };
    let report = Scenario::find("line").expect("it exists").run(&mut run);
    assert_eq!(report.violations, [], "rng seed 1");
    for goal in goals {
        let name = format!("{case}: {goal}");
        let figure = report.figures.iter().find(|figure| figure.name == name);
        let figure = figure.unwrap_or_else(|| panic!("no figure is called {name}"));
        assert_eq!(figure.met, Some(true), "rng seed 1: {figure:?}");
    }
}

const CARRIED: &str = "payload that arrives, of what can come";
const LINKS: &str = "links lost";
const OTHERS: &str = "messages missed by the others";
const UNTOLD: &str = "messages lost without a report";

#[test]
fn a_reader_behind_a_slow_line_gets_what_it_carries_and_loses_no_link() {
    meets("slow-reader", &[CARRIED, LINKS, OTHERS, UNTOLD]);
}

#[test]
fn a_line_that_suffices_brings_everything() {
    meets("dsl-reader", &[CARRIED, LINKS, OTHERS, UNTOLD]);
}

#[test]
fn a_writer_behind_a_slow_line_sends_each_byte_once() {
    meets("slow-writer", &[CARRIED, LINKS, OTHERS, UNTOLD]);
}
