//! Nodes join, die and turn hostile: `join`, `kill-*`, `seeds-dead-95`, `hostile-20`, `churn`,
//! `restart`.
//!
//! Most of these gather a network, let some nodes write, let a fault strike, and measure what the
//! others get: how much was delivered, how late, and how soon all have their links again.

use std::time::Duration;

use super::lab::{JOINS, Lab};
use crate::fault::{Fault, Rule};
use crate::report::{Axes, Curve, Figure};
use crate::setup::Expect;
use crate::workload::Workload;
use crate::world::World;

const S: Duration = Duration::from_secs(1);
/// The one seed of these networks.
const SEED: usize = 0;

/// Returns the seconds of a time, or NaN for one that never came.
fn seconds(time: Option<Duration>) -> f64 {
    time.map_or(f64::NAN, |time| time.as_secs_f64())
}

/// Plays `join`: how soon everybody is linked, and what shape the overlay has.
pub(super) fn join(lab: &mut Lab<'_, '_>) {
    let mut world = lab.world(Expect { failure_free: true, refill: Some(10 * S), ..Expect::default() });
    world.join(lab.nodes, JOINS);
    let mut seed_max = 0;
    let steps = (lab.nodes as f64 / JOINS * 10.0).ceil() as u32;
    for _ in 0..steps {
        lab.pass(&mut world, "join", S / 10);
        seed_max = seed_max.max(world.peers_of(SEED));
    }
    let min = world.setup().config.min_peers.min(lab.nodes - 1);
    let linked = world.run_until_when(S / 10, 30 * S, |world| world.below(min) == 0);
    lab.pass(&mut world, "mix", 20 * S);
    seed_max = seed_max.max(world.peers_of(SEED));
    let graph = world.graph();
    lab.figure(Figure::new("without a link", world.below(1) as f64, "nodes").at_most(0.0));
    lab.figure(Figure::new("below min_peers", world.below(min) as f64, "nodes").at_most(0.0));
    lab.figure(
        Figure::new("after the last join, until all have min_peers", seconds(linked), "s").at_most(5.0),
    );
    lab.figure(Figure::new("links of the seed, at most", seed_max as f64, "").at_most(5.0 + 2.0));
    lab.figure(Figure::new("components", graph.components().len() as f64, "").at_most(1.0));
    let limit = if lab.nodes <= 10_000 { 12.0 } else { 15.0 };
    lab.figure(Figure::new("diameter", graph.diameter() as f64, "hops").at_most(limit));
    lab.figure(Figure::new("links per node", world.mean_degree(), ""));
    // The overlay is mixed nearly as well as a random graph. If it were not, nodes would have to
    // exchange links at random from time to time.
    let random = graph.random_twin(world.setup().rng_seed).spectral_gap();
    let gap = graph.spectral_gap() / random;
    lab.figure(Figure::new("spectral gap, of that of a random graph", gap, "").at_least(0.3));
    world.check_quiescence(Duration::ZERO);
    lab.end(&world);
}

pub(super) fn kill_10(lab: &mut Lab<'_, '_>) {
    kill(lab, 0.10);
}

pub(super) fn kill_30(lab: &mut Lab<'_, '_>) {
    kill(lab, 0.30);
}

pub(super) fn kill_50(lab: &mut Lab<'_, '_>) {
    kill(lab, 0.50);
}

pub(super) fn kill_80(lab: &mut Lab<'_, '_>) {
    kill(lab, 0.80);
}

pub(super) fn kill_95(lab: &mut Lab<'_, '_>) {
    kill(lab, 0.95);
}

/// Plays `kill-*`: once with one writer and once with 50, a share of the nodes dies after 3 s.
fn kill(lab: &mut Lab<'_, '_>, share: f64) {
    for writers in [1, 50] {
        let mut world = lab.gathered(Expect::default());
        world.write(Workload { writers, per_second: 10.0, size: 200, lasts: 13 * S });
        world.measure();
        spare_one_writer(&mut world);
        lab.pass(&mut world, "write", 3 * S);
        world.add_rule(Rule::once(Duration::ZERO, Fault::Kill { share, silent: false }));
        let healed = watch_links(lab, &mut world, &format!("{writers} writers"), 30 * S);
        let rest = (23 * S).saturating_sub(healed.unwrap_or(30 * S));
        lab.pass(&mut world, "write", rest.max(10 * S));
        world.check_quiescence(20 * S);
        let (delivery, stats) = (world.delivery(), &world.stats);
        let ms = |micros: u64| micros as f64 / 1e3;
        let (p50, p99, max) =
            (stats.latency.percentile(0.5), stats.latency.percentile(0.99), stats.latency.max());
        let (redundancy, hops) = (stats.redundancy(), stats.hops.max());
        let of = if writers == 1 { "1 writer" } else { "50 writers" };
        let name = |what: &str| format!("{of}: {what}");
        lab.figure(Figure::new(name("delivered to survivors"), delivery.percent(), "%").at_least(100.0));
        lab.figure(Figure::new(name("missed, reported as gaps"), delivery.missed as f64, "").at_most(0.0));
        lab.figure(Figure::new(name("latency p50"), ms(p50), "ms"));
        let p99 = Figure::new(name("latency p99"), ms(p99), "ms");
        lab.figure(if share <= 0.5 { p99.at_most(1500.0) } else { p99 });
        lab.figure(Figure::new(name("latency max"), ms(max), "ms"));
        let redundancy = Figure::new(name("redundant copies per delivery"), redundancy, "");
        lab.figure(if share <= 0.5 { redundancy.at_most(0.15) } else { redundancy });
        lab.figure(Figure::new(name("hops max"), hops as f64, ""));
        let healed = Figure::new(name("until all have min_peers"), seconds(healed), "s");
        lab.figure(if share <= 0.5 { healed.at_most(5.0) } else { healed });
        lab.figure(Figure::new(name("components"), world.graph().components().len() as f64, "").at_most(1.0));
        lab.latency_curve(&format!("{} {of}", lab.name), &world);
        lab.end(&world);
    }
}

/// Makes the seed a writer, because it survives. Otherwise there may be nothing to measure.
fn spare_one_writer(world: &mut World) {
    if !world.traffic().is_writer(SEED) {
        world.move_writer(0, SEED);
    }
}

/// Records how the number of links recovers. Returns when all have `min_peers` again.
fn watch_links(lab: &mut Lab<'_, '_>, world: &mut World, name: &str, limit: Duration) -> Option<Duration> {
    let min = world.setup().config.min_peers;
    let begin = world.now();
    let mut points = vec![(0.0, world.mean_degree())];
    world.run(Duration::from_micros(1));
    let healed = world.run_until_when(S / 10, limit, |world| {
        points.push(((world.now() - begin).as_secs_f64(), world.mean_degree()));
        world.below(min.min(world.alive().len().saturating_sub(1))) == 0
    });
    lab.curves.push(Curve { name: format!("{} {name}", lab.name), axes: Axes::Links, points });
    healed
}

/// Plays `seeds-dead-95`: the few that are left know hardly anybody who is alive, and no seed.
pub(super) fn seeds_dead(lab: &mut Lab<'_, '_>) {
    let mut world = lab.gathered(Expect { gaps: true, netsplits: true, ..Expect::default() });
    lab.pass(&mut world, "meet", 30 * S);
    world.add_rule(Rule::once(Duration::ZERO, Fault::KillSeeds { silent: true }));
    world.add_rule(Rule::once(Duration::ZERO, Fault::Kill { share: 0.95, silent: true }));
    world.run(Duration::from_micros(1));
    let whole = world.run_until_when(S / 10, 90 * S, |world| world.graph().components().len() == 1);
    let rest = watch_links(lab, &mut world, "links", 90 * S);
    let healed = rest.zip(whole).map(|(rest, whole)| whole + rest);
    lab.figure(Figure::new("survivors", world.alive().len() as f64, "nodes"));
    lab.figure(Figure::new("until one component", seconds(whole), "s").at_most(30.0));
    lab.figure(Figure::new("until all have min_peers", seconds(healed), "s"));
    lab.figure(Figure::new("components", world.graph().components().len() as f64, "").at_most(1.0));
    lab.end(&world);
}

/// Plays `hostile-20`: a fifth of the nodes turns hostile, and honest ones write to each other.
pub(super) fn hostile(lab: &mut Lab<'_, '_>) {
    let mut world = lab.gathered(Expect { gaps: true, ..Expect::default() });
    world.add_rule(Rule::once(Duration::ZERO, Fault::Hostile { share: 0.2, behaviour: None }));
    lab.pass(&mut world, "admit the hostile", 15 * S);
    world.measure();
    world.write(Workload { writers: 20, per_second: 10.0, size: 200, lasts: 20 * S });
    lab.pass(&mut world, "write", 20 * S);
    world.check_quiescence(20 * S);
    let delivery = world.delivery();
    lab.figure(Figure::new("delivered, honest to honest", delivery.percent(), "%").at_least(99.99));
    lab.figure(Figure::new("missed, reported as gaps", delivery.missed as f64, ""));
    let ms = |share| world.stats.latency.percentile(share) as f64 / 1e3;
    let (p50, p99) = (ms(0.5), ms(0.99));
    lab.figure(Figure::new("latency p50", p50, "ms"));
    lab.figure(Figure::new("latency p99", p99, "ms"));
    lab.figure(Figure::new(
        "connections closed for protocol violations",
        world.stats.broken_rules as f64,
        "",
    ));
    lab.latency_curve(lab.name, &world);
    lab.end(&world);
}

/// Plays `churn`: for 5 minutes nodes die and join, and nobody may report a netsplit.
pub(super) fn churn(lab: &mut Lab<'_, '_>) {
    let mut world = lab.gathered(Expect::default());
    let time = 300 * S;
    world.write(Workload { writers: 5, per_second: 2.0, size: 200, lasts: time });
    world.measure();
    world.add_rule(Rule::lasting(Duration::ZERO, time, Fault::Churn { per_minute: 0.1 }));
    lab.pass(&mut world, "churn", time + S);
    world.check_quiescence(10 * S);
    let hours = lab.nodes as f64 * time.as_secs_f64() / 3600.0;
    let delivery = world.delivery();
    lab.figure(
        Figure::new("netsplits reported, per node and hour", world.stats.netsplits as f64 / hours, "")
            .at_most(0.0),
    );
    lab.figure(Figure::new("node-hours", hours, "h"));
    lab.figure(Figure::new("delivered to the nodes that stayed", delivery.percent(), "%").at_least(100.0));
    lab.figure(Figure::new("missed, reported as gaps", world.stats.missed as f64, "").at_most(0.0));
    let (p99, max) = (world.stats.latency.percentile(0.99), world.stats.latency.max());
    lab.figure(Figure::new("latency p99", p99 as f64 / 1e3, "ms"));
    lab.figure(Figure::new("latency max", max as f64 / 1e3, "ms"));
    lab.latency_curve(lab.name, &world);
    lab.end(&world);
}

/// Plays `restart`: half of the nodes is down for 2 s and comes back with its keys.
pub(super) fn restart(lab: &mut Lab<'_, '_>) {
    let mut world = lab.gathered(Expect { gaps: true, ..Expect::default() });
    world.write(Workload { writers: 20, per_second: 5.0, size: 200, lasts: 20 * S });
    world.measure();
    lab.pass(&mut world, "write", 5 * S);
    world.add_rule(Rule::lasting(Duration::ZERO, 2 * S, Fault::Restart { share: 0.5 }));
    lab.pass(&mut world, "restart", 15 * S);
    world.check_quiescence(20 * S);
    let delivery = world.delivery();
    lab.figure(Figure::new("delivered to the nodes that stayed", delivery.percent(), "%").at_least(100.0));
    lab.figure(Figure::new("components", world.graph().components().len() as f64, "").at_most(1.0));
    lab.figure(Figure::new("latency max", world.stats.latency.max() as f64 / 1e3, "ms"));
    lab.end(&world);
}
