//! `line`: what comes over lines that are slow, or that a writer overruns.
//!
//! Each case is an everyday situation with its own network. Its figures tell how much of a line
//! carries messages, how late these are, and what is lost: links, messages that are reported as
//! missed, and messages that are not even that. `docs/simulation.md` compares them with real
//! processes. Most cases are played nine times with different randomness.
//!
//! The cases are in `cases.rs`. `outcome.rs` plays them and judges what comes of it, and
//! `measure.rs` makes figures of several runs.

mod cases;
mod measure;
mod outcome;

use super::lab::Lab;
use measure::Measure;

/// How often a case is played, unless it is a large one.
const RUNS: usize = 9;

/// A situation, with a name.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    runs: usize,
    play: fn(&mut Lab<'_, '_>) -> Vec<Measure>,
}

/// All cases, in the order in which `line` plays them.
pub const CASES: [Case; 9] = [
    case(
        "slow-reader",
        "one of seven has 1 Mbit/s and 400 ms of queue; six write 2.56 Mbit/s",
        cases::slow_reader,
    ),
    case(
        "dsl-reader",
        "one of seven has 4 Mbit/s and 2 s of queue; six write 2.56 Mbit/s",
        cases::dsl_reader,
    ),
    case("slow-writer", "a writer with 1 Mbit/s writes 3.8 Mbit/s", cases::slow_writer),
    case("eager-writer", "a writer with 1 Mbit/s writes as fast as it may", cases::eager_writer),
    case(
        "slow-program",
        "40 Mbit/s, full speed, and one of two programs reads a tenth of it",
        cases::slow_program,
    ),
    case("frozen-reader", "20 Mbit/s, full speed, and one of seven is frozen for 10 s", cases::frozen_reader),
    case(
        "regions",
        "20 nodes in three regions, 2 Mbit/s up and 16 down, each writes 40 kbit/s",
        cases::three_regions,
    ),
    large("megabyte", "1 MB to 1 000 nodes (--nodes) with 50 Mbit/s, round trips of 50 ms", cases::megabyte),
    large("megabyte-near", "the same with round trips of 2 ms", cases::megabyte_near),
];

const fn case(name: &'static str, about: &'static str, play: fn(&mut Lab<'_, '_>) -> Vec<Measure>) -> Case {
    Case { name, about, runs: RUNS, play }
}

/// A case that is played once.
const fn large(name: &'static str, about: &'static str, play: fn(&mut Lab<'_, '_>) -> Vec<Measure>) -> Case {
    Case { name, about, runs: 1, play }
}

impl Case {
    /// Finds a case by its name.
    pub fn find(name: &str) -> Option<Self> {
        CASES.into_iter().find(|case| case.name == name)
    }
}

/// Plays the case that the run asks for, or all of them.
pub(super) fn line(lab: &mut Lab<'_, '_>) {
    let wanted = lab.run.case;
    for case in CASES.into_iter().filter(|case| wanted.is_none_or(|wanted| wanted.name == case.name)) {
        lab.start_over();
        let runs: Vec<_> = (0..case.runs).map(|_| (case.play)(lab)).collect();
        for (at, measure) in runs[0].iter().enumerate() {
            let values = runs.iter().map(|run| run[at].value).collect();
            lab.figure(measure.of_runs(case.name, values));
        }
    }
}
