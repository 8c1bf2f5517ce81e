//! `late-seed`: a seed comes up after all others. How soon is it met, by a node that is alone and
//! by networks of all sizes, and how often do they dial it meanwhile?

use std::collections::VecDeque;
use std::time::Duration;

use super::lab::{JOINS, Lab};
use crate::report::Figure;
use crate::setup::{Expect, Setup};
use crate::stats::Histogram;
use crate::world::World;

const S: Duration = Duration::from_secs(1);
/// The seed that comes up late. Node 1 is the other one, and node 2 the first ordinary node.
const LATE: usize = 0;
/// Numbers of nodes besides the late seed, and of worlds each; the scenario's own size comes last.
const SIZES: [(usize, u64); 5] = [(1, 10), (2, 10), (3, 10), (10, 10), (100, 5)];
/// How often the seed comes up in one world, where it knows nobody and waits to be found. At first
/// it was never there, then it comes back: from a host that refused connections, and from one that
/// did not answer, by turns.
const ROUNDS: usize = 20;
/// How long the seed is away, and up to as long again.
const AWAY: Duration = Duration::from_secs(30);
/// Dials are counted in sliding windows of this length.
const WINDOW: Duration = Duration::from_secs(5);
/// How often the counter of dials is read.
const STEP: Duration = Duration::from_millis(100);

/// The measurements in all worlds of one size.
#[derive(Default)]
struct Shown {
    met: Histogram,
    never: usize,
    dials: Histogram,
}

/// Plays `late-seed`.
pub(super) fn late_seed(lab: &mut Lab<'_, '_>) {
    let own = (lab.nodes, 2);
    for (nodes, worlds) in SIZES.into_iter().filter(|(nodes, _)| *nodes < own.0).chain([own]) {
        let mut shown = Shown::default();
        for _ in 0..worlds {
            play(lab, nodes, &mut shown);
        }
        let who = if nodes == 1 { "alone".to_owned() } else { format!("{nodes} nodes") };
        let s = |micros: u64| micros as f64 / 1e6;
        let Shown { met, never, dials } = shown;
        lab.figure(Figure::new(format!("{who}: seed met after, p50"), s(met.percentile(0.5)), "s"));
        lab.figure(
            Figure::new(format!("{who}: seed met after, p99"), s(met.percentile(0.99)), "s").at_most(5.0),
        );
        lab.figure(Figure::new(format!("{who}: seed met after, max"), s(met.max()), "s"));
        lab.figure(Figure::new(format!("{who}: not met"), never as f64, "").at_most(0.0));
        lab.figure(
            Figure::new(format!("{who}: dials of the seed in 5 s, at most"), dials.max() as f64, "")
                .at_most(3.0),
        );
    }
}

/// Lets a network of this size meet the late seed many times.
fn play(lab: &mut Lab<'_, '_>, nodes: usize, shown: &mut Shown) {
    // A node that is alone knows only the seed that is not there.
    let seeds = if nodes == 1 { 1 } else { 2 };
    let expect = Expect { gaps: true, netsplits: true, ..Expect::default() };
    let mut world = World::new(Setup { seeds, ..lab.setup(expect) });
    world.join_without(nodes + 1, JOINS, LATE);
    lab.pass(&mut world, "gather", Duration::from_secs_f64(nodes as f64 / JOINS) + 10 * S);
    for round in 0..ROUNDS {
        let what = format!("{nodes} nodes, round {round}");
        let more = world.rng().below(1000) as u32;
        lab.pass(&mut world, &what, AWAY + AWAY * more / 1000 - 3 * WINDOW);
        count_dials(&mut world, 3 * WINDOW, &mut shown.dials);
        world.start_with_seeds(LATE, &[]);
        let met = world.run_until_when(STEP / 2, 60 * S, |world| world.graph().degree(LATE) > 0);
        match met {
            Some(time) => shown.met.add(time.as_micros() as u64),
            None => shown.never += 1,
        }
        lab.pass(&mut world, &what, 15 * S);
        world.kill(LATE, round % 2 == 1);
        lab.pass(&mut world, &what, 10 * S);
    }
    lab.end(&world);
}

/// Lets time pass and counts the dials of the missing seed in each window.
fn count_dials(world: &mut World, time: Duration, dials: &mut Histogram) {
    let steps = (WINDOW.as_millis() / STEP.as_millis()) as usize;
    let mut window: VecDeque<u64> = VecDeque::new();
    let end = world.now() + time;
    while world.now() < end {
        window.push_back(world.stats.missing_seed_dials);
        world.run(STEP);
        if window.len() == steps {
            let before = window.pop_front().unwrap_or_default();
            dials.add(world.stats.missing_seed_dials - before);
        }
    }
}
