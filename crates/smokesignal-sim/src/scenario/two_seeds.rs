//! `two-seeds`: a node with a seed in each of two networks joins. When are the two networks one,
//! and does the whole hang on one node?
//!
//! The node is given both seeds when it starts, or the second one when it has been part of the
//! first network for a while.

use std::time::Duration;

use super::lab::Lab;
use crate::report::Figure;
use crate::setup::{Expect, Setup};
use crate::stats::Histogram;
use crate::world::World;

const S: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(50);
/// Nodes in each of the two networks, and the number of worlds of each kind; the scenario's own
/// size comes last.
const SIZES: [(usize, u64); 3] = [(3, 50), (7, 50), (20, 20)];
/// Time between the starts of two nodes.
const JOIN_EVERY: Duration = Duration::from_millis(20);
/// How long the networks have to become one.
const LIMIT: Duration = Duration::from_secs(60);

/// The measurements in all worlds of one kind.
#[derive(Default)]
struct Shown {
    one: Histogram,
    robust: Histogram,
    never: usize,
}

/// Plays `two-seeds`.
pub(super) fn two_seeds(lab: &mut Lab<'_, '_>) {
    let own = (lab.nodes, 10);
    for (nodes, worlds) in SIZES.into_iter().filter(|(nodes, _)| *nodes < own.0).chain([own]) {
        for both in [true, false] {
            let mut shown = Shown::default();
            for _ in 0..worlds {
                play(lab, nodes, both, &mut shown);
            }
            let what = if both { "both seeds at the start" } else { "the second seed later" };
            let figure = |name: &str, micros: u64| {
                Figure::new(format!("{nodes} + {nodes} nodes, {what}: {name}"), micros as f64 / 1e6, "s")
            };
            let Shown { one, robust, never } = shown;
            lab.figure(figure("one network after, p50", one.percentile(0.5)));
            lab.figure(figure("one network after, p99", one.percentile(0.99)).at_most(10.0));
            lab.figure(
                figure("survives the loss of any node after, p99", robust.percentile(0.99)).at_most(10.0),
            );
            let name = format!("{nodes} + {nodes} nodes, {what}: not within {LIMIT:?}");
            lab.figure(Figure::new(name, never as f64, "").at_most(0.0));
        }
    }
}

/// Lets two networks of this size gather, and a node join both.
fn play(lab: &mut Lab<'_, '_>, nodes: usize, both: bool, shown: &mut Shown) {
    let expect = Expect { gaps: true, netsplits: true, ..Expect::default() };
    let mut world = World::new(Setup { seeds: 0, ..lab.setup(expect) });
    let seeds = [0, 1];
    for number in 0..2 * nodes {
        let ix = world.add_node();
        let seed = seeds[number % 2];
        world.start_with_seeds(ix, if ix == seed { &[] } else { std::slice::from_ref(&seeds[number % 2]) });
        lab.pass(&mut world, "gather", JOIN_EVERY);
    }
    lab.pass(&mut world, "gather", 20 * S);
    let joiner = world.add_node();
    if both {
        world.start_with_seeds(joiner, &seeds);
    } else {
        world.start_with_seeds(joiner, &seeds[..1]);
        lab.pass(&mut world, "join", 10 * S);
        world.add_seed(joiner, seeds[1]);
    }
    let began = world.now();
    match world.run_until_when(STEP, LIMIT, |world| world.graph().components().len() == 1) {
        Some(time) => shown.one.add(time.as_micros() as u64),
        None => shown.never += 1,
    }
    world.run_until_when(STEP, LIMIT, is_robust);
    shown.robust.add((world.now() - began).as_micros() as u64);
    lab.pass(&mut world, "after", 5 * S);
    lab.end(&world);
}

/// Returns whether the two networks are still one whichever node is lost. Nodes of both are
/// numbered by turns.
fn is_robust(world: &World) -> bool {
    let graph = world.graph();
    world.alive().into_iter().all(|lost| {
        let of_each = [0, 1].map(|side| if lost == side { side + 2 } else { side });
        graph.reached_past(of_each[0], |ix| ix == lost)[of_each[1]]
    })
}
