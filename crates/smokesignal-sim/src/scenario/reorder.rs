//! `reorder`: nodes in twelve cities and in three regions, with and without links to near nodes.
//! What do they gain, and what do they cost?

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
/// The time in which every node has measured some dozen others; in a large network as long as it
/// takes to find the first near ones.
const MIXING: Duration = Duration::from_secs(1800);
const MIXING_OF_MANY: Duration = Duration::from_secs(300);
/// How long the streams are measured that were there from the beginning.
const OLD: Duration = Duration::from_secs(20);
/// From this number of nodes on, less is written and the time is shorter.
const MANY: usize = 2_000;
/// How long nodes are replaced, a tenth per minute.
const CHURN: Duration = Duration::from_secs(60);

/// Plays `reorder`: the same network twice, and the only difference is the option.
pub(super) fn reorder(lab: &mut Lab<'_, '_>) {
    // 30 % sooner in three regions is what others report (Perigee, arXiv 2006.14186).
    for (place, latency, goal) in [("cities", Latency::Cities, 1.0), ("regions", Latency::Regions, 0.7)] {
        let p50 = [("random", false), ("near", true)]
            .map(|(name, reorder)| play(lab, &format!("{place}, {name}"), latency, reorder));
        let name = format!("{place}: latency p50 with near links, of that without");
        lab.figure(Figure::new(name, p50[1] / p50[0], "x").at_most(goal));
    }
}

/// Plays one network, and returns its median latency.
fn play(lab: &mut Lab<'_, '_>, name: &str, latency: Latency, reorder: bool) -> f64 {
    let many = lab.nodes >= MANY;
    let config = Config { reorder, ..Config::default() };
    let setup = Setup { latency, config, ..lab.setup(Expect::default()) };
    let mut world = lab.gather(World::new(setup));
    let mixing = if many { MIXING_OF_MANY } else { MIXING };
    let (writers, per_second, lasts) = if many { (5, 1.0, 20 * S) } else { (20, 10.0, 30 * S) };
    // Streams that are older than the near links.
    let old = Workload { writers, per_second: 0.5, size: 200, lasts: mixing + OLD };
    world.write_from(half(&world, 0, writers), old);
    mix(lab, &mut world, name, mixing);
    shape(lab, &world, name);
    old_streams(lab, &mut world, name);
    lab.pass(&mut world, name, 5 * S);
    world.write_from(half(&world, 1, writers), Workload { writers, per_second, size: 200, lasts });
    lab.pass(&mut world, name, 5 * S);
    world.measure();
    lab.pass(&mut world, name, 10 * S);
    let ms = |share| world.stats.latency.percentile(share) as f64 / 1e3;
    let p50 = ms(0.5);
    lab.figure(Figure::new(format!("{name}: latency p50"), p50, "ms"));
    lab.figure(Figure::new(format!("{name}: latency p99"), ms(0.99), "ms"));
    churn(lab, &mut world, name);
    reach(lab, &mut world, name);
    lab.end(&world);
    p50
}

/// Returns this many nodes at most, of those with even numbers or of the others. Neighbouring
/// numbers are in different regions.
fn half(world: &World, first: usize, most: usize) -> Vec<usize> {
    world.alive().into_iter().skip(first).step_by(2).take(most).collect()
}

/// Measures the streams that are older than the near links: their trees have to follow these.
fn old_streams(lab: &mut Lab<'_, '_>, world: &mut World, name: &str) {
    world.measure();
    lab.pass(world, name, OLD);
    let ms = |micros: u64| micros as f64 / 1e3;
    let (flood, p50) = (ms(flood_median(world)), ms(world.stats.latency.percentile(0.5)));
    lab.figure(Figure::new(format!("{name}: flooding p50, old streams"), flood, "ms"));
    // Delays jitter by up to 10 %, and what has joined last was not compared yet.
    lab.figure(Figure::new(format!("{name}: latency p50, old streams"), p50, "ms").at_most(flood * 1.15));
}

/// Returns the median one-way time of the fastest paths from all writers, in microseconds. No
/// protocol over this overlay is faster.
fn flood_median(world: &World) -> u64 {
    let graph = world.graph();
    let writers = world.traffic().writers().iter();
    let mut times: Vec<_> = writers.flat_map(|writer| graph.fastest_from(writer.node)).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

/// Lets the network mix, and counts how often some node knows a wrong number of nodes.
fn mix(lab: &mut Lab<'_, '_>, world: &mut World, name: &str, time: Duration) {
    for half in ["first", "second"] {
        let (mut looks, mut wrong, mut ends) = (0, 0, 0);
        let end = world.now() + time / 2;
        while world.now() < end && world.violation().is_none() {
            lab.pass(world, name, S);
            let alive = world.alive();
            let sizes = alive.iter().filter_map(|ix| world.cluster().node(*ix));
            let off = sizes.filter(|node| node.network_size() as usize != alive.len()).count();
            looks += 1;
            wrong += usize::from(off > 0);
            ends += off;
        }
        let share = wrong as f64 * 100.0 / looks as f64;
        lab.figure(Figure::new(format!("{name}: seconds with a wrong count, {half} half"), share, "%"));
        let share = ends as f64 * 100.0 / looks as f64 / world.alive().len() as f64;
        lab.figure(Figure::new(format!("{name}: nodes with a wrong count, {half} half"), share, "%"));
    }
}

/// Shows the shape of the network.
fn shape(lab: &mut Lab<'_, '_>, world: &World, name: &str) {
    let (graph, alive) = (world.graph(), world.alive());
    let links: Vec<_> = alive.iter().filter_map(|ix| world.cluster().node(*ix)).collect();
    let near: usize = links.iter().map(|node| node.near_and_kept().0).sum();
    let few = links.iter().filter(|node| node.near_and_kept().1 < 2).count();
    lab.figure(Figure::new(format!("{name}: components"), graph.components().len() as f64, "").at_most(1.0));
    lab.figure(Figure::new(format!("{name}: diameter"), graph.diameter() as f64, "hops"));
    lab.figure(Figure::new(format!("{name}: links per node"), world.mean_degree(), ""));
    lab.figure(Figure::new(format!("{name}: near links per node"), near as f64 / alive.len() as f64, ""));
    let few = few as f64 * 100.0 / alive.len() as f64;
    lab.figure(
        Figure::new(format!("{name}: nodes that keep less than two random links"), few, "%").at_most(0.0),
    );
}

/// Replaces nodes for a while: all nodes have to stay in one component, apart from those that have
/// just come.
fn churn(lab: &mut Lab<'_, '_>, world: &mut World, name: &str) {
    world.add_rule(Rule::lasting(Duration::ZERO, CHURN, Fault::Churn { per_minute: 0.1 }));
    let (end, mut least) = (world.now() + CHURN, 100.0_f64);
    while world.now() < end && world.violation().is_none() {
        lab.pass(world, name, 5 * S);
        least = least.min(largest_share(world));
    }
    lab.pass(world, name, 10 * S);
    lab.figure(Figure::new(format!("{name}: in one component, at least, during churn"), least, "%"));
    let parts = world.graph().components().len();
    lab.figure(Figure::new(format!("{name}: components after churn"), parts as f64, "").at_most(1.0));
}

/// Kills half of the nodes. Near links must not lower the share of the others that is in one
/// component right after it, or what they get in the end.
fn reach(lab: &mut Lab<'_, '_>, world: &mut World, name: &str) {
    world.add_rule(Rule::once(Duration::ZERO, Fault::Kill { share: 0.5, silent: false }));
    world.run(Duration::from_millis(100));
    let share = largest_share(world);
    lab.figure(Figure::new(format!("{name}: in one component right after half has died"), share, "%"));
    lab.pass(world, name, 60 * S);
    lab.figure(Figure::new(format!("{name}: delivered"), world.delivery().percent(), "%").at_least(100.0));
}

/// Returns the share of the living nodes that is in the largest component.
fn largest_share(world: &World) -> f64 {
    let largest = world.graph().components().into_iter().max().unwrap_or(0);
    largest as f64 * 100.0 / world.alive().len() as f64
}
