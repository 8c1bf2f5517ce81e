//! `reorder`: nodes in twelve cities, with and without moving to nearer neighbours. What does it
//! gain, and what does it cost?

use std::time::Duration;

use smokesignal_proto::Config;

use super::lab::Lab;
use crate::fault::{Fault, Rule};
use crate::net::Latency;
use crate::report::Figure;
use crate::setup::{Expect, Setup};
use crate::workload::Workload;
use crate::world::World;

const S: Duration = Duration::from_secs(1);
/// The time in which every node has tried some dozen times to find a nearer neighbour.
const MIXING: Duration = Duration::from_secs(1800);

/// Plays `reorder`: the same network twice, and the only difference is the option.
pub(super) fn reorder(lab: &mut Lab<'_, '_>) {
    let mut p50 = Vec::new();
    for (name, reorder) in [("as joined", false), ("reordered", true)] {
        let config = Config { reorder, ..Config::default() };
        let setup = Setup { latency: Latency::Cities, config, ..lab.setup(Expect::default()) };
        let mut world = lab.gather(World::new(setup));
        lab.pass(&mut world, name, MIXING);
        let graph = world.graph();
        lab.figure(
            Figure::new(format!("{name}: components"), graph.components().len() as f64, "").at_most(1.0),
        );
        lab.figure(Figure::new(format!("{name}: diameter"), graph.diameter() as f64, "hops"));
        world.write(Workload { writers: 20, per_second: 10.0, size: 200, lasts: 60 * S });
        lab.pass(&mut world, name, 5 * S);
        world.measure();
        lab.pass(&mut world, name, 10 * S);
        let ms = |share| world.stats.latency.percentile(share) as f64 / 1e3;
        p50.push(ms(0.5));
        lab.figure(Figure::new(format!("{name}: latency p50"), ms(0.5), "ms"));
        lab.figure(Figure::new(format!("{name}: latency p99"), ms(0.99), "ms"));
        reach(lab, &mut world, name);
        lab.end(&world);
    }
    lab.figure(Figure::new("reordered: latency p50 against as joined", p50[1] / p50[0], "x").at_most(1.0));
}

/// Kills half of the nodes. Moving to nearer neighbours must not lower the share of the others that
/// is in one component right after it, or what they get in the end.
fn reach(lab: &mut Lab<'_, '_>, world: &mut World, name: &str) {
    world.add_rule(Rule::once(Duration::ZERO, Fault::Kill { share: 0.5, silent: false }));
    world.run(Duration::from_millis(100));
    let alive = world.alive().len();
    let largest = world.graph().components().into_iter().max().unwrap_or(0);
    let share = largest as f64 * 100.0 / alive as f64;
    lab.figure(Figure::new(format!("{name}: in one component right after half has died"), share, "%"));
    lab.pass(world, name, 60 * S);
    lab.figure(Figure::new(format!("{name}: delivered"), world.delivery().percent(), "%").at_least(100.0));
}
