//! Traffic without faults: `steady-1`, `steady-50`, `idle`, `speed`.

use std::time::Duration;

use super::lab::{JOINS, Lab};
use crate::report::Figure;
use crate::setup::{Expect, Setup};
use crate::workload::Workload;
use crate::world::World;

const S: Duration = Duration::from_secs(1);

/// Returns what is expected of a network in which nothing fails.
fn calm() -> Expect {
    Expect { failure_free: true, refill: Some(10 * S), ..Expect::default() }
}

pub(super) fn steady_1(lab: &mut Lab<'_, '_>) {
    steady(lab, 1, 0.03);
}

pub(super) fn steady_50(lab: &mut Lab<'_, '_>) {
    steady(lab, 50, 0.08);
}

/// Plays `steady-*`: nodes write at a steady rate, and nothing fails. The trees that form are
/// compared with a flood over the same links.
fn steady(lab: &mut Lab<'_, '_>, writers: usize, redundancy: f64) {
    let mut world = lab.gathered(calm());
    let workload = Workload { writers, per_second: 10.0, size: 200, lasts: 25 * S };
    world.write(workload);
    // The trees have to be found first. What counts is the time after that.
    lab.pass(&mut world, "first writes", 5 * S);
    world.measure();
    lab.pass(&mut world, "write", 20 * S);
    let graph = world.graph();
    let (flood, copies) = (flood_times(&world), graph.flood_redundancy());
    let stats = world.stats.clone();
    world.check_quiescence(Duration::ZERO);
    let ms = |micros: u64| micros as f64 / 1e3;
    let (p50, p99) = (stats.latency.percentile(0.5), stats.latency.percentile(0.99));
    lab.figure(Figure::new("delivered", world.delivery().percent(), "%").at_least(100.0));
    lab.figure(Figure::new("redundant copies per delivery", stats.redundancy(), "").at_most(redundancy));
    lab.figure(Figure::new("redundant copies, flooding", copies, ""));
    lab.figure(Figure::new("latency p50", ms(p50), "ms"));
    lab.figure(Figure::new("latency p99", ms(p99), "ms").at_most(ms(percentile(&flood, 0.99)) * 1.5));
    lab.figure(Figure::new("latency max", ms(stats.latency.max()), "ms"));
    lab.figure(Figure::new("flooding p50", ms(percentile(&flood, 0.5)), "ms"));
    lab.figure(Figure::new("flooding p99", ms(percentile(&flood, 0.99)), "ms"));
    lab.figure(Figure::new("hops p50", stats.hops.percentile(0.5) as f64, ""));
    lab.figure(Figure::new("hops max", stats.hops.max() as f64, "").at_most(14.0));
    let control = (stats.kinds.repair as f64) / stats.firsts.max(1) as f64;
    lab.figure(Figure::new("digests and grafts per delivery", control, "").at_most(2.0));
    lab.curves.clear();
    lab.latency_curve(lab.name, &world);
    lab.end(&world);
}

/// Returns the one-way times of the fastest paths from all writers, sorted. No protocol over this
/// overlay is faster.
fn flood_times(world: &World) -> Vec<u64> {
    let graph = world.graph();
    let mut times: Vec<_> =
        world.traffic().writers().iter().flat_map(|writer| graph.fastest_from(writer.node)).collect();
    times.sort_unstable();
    times
}

/// Returns the value that this share of the sorted values does not exceed.
fn percentile(sorted: &[u64], share: f64) -> u64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(0)
}

/// Plays `idle`: nobody writes, joins or dies, and all bytes are counted.
pub(super) fn idle(lab: &mut Lab<'_, '_>) {
    let setup = Setup { count_bytes: true, ..lab.setup(calm()) };
    let mut world = lab.gather(World::new(setup));
    // A network is idle once nobody has joined or died for a while.
    lab.pass(&mut world, "calm down", 600 * S);
    world.measure();
    let links = world.mean_degree() * lab.nodes as f64 / 2.0;
    lab.pass(&mut world, "idle", 60 * S);
    let per_link = |sum: u64| sum as f64 / 60.0 / links;
    let kinds = world.stats.kinds;
    lab.figure(
        Figure::new("per link, both directions", per_link(world.stats.wire_bytes), "B/s").at_most(200.0),
    );
    lab.figure(Figure::new("keepalives", per_link(kinds.keepalive), "/s"));
    lab.figure(Figure::new("membership", per_link(kinds.membership), "/s"));
    lab.figure(Figure::new("digests and grafts", per_link(kinds.repair), "/s"));
    lab.figure(Figure::new("dials", world.stats.dials as f64 / 60.0, "/s"));
    world.check_quiescence(Duration::ZERO);
    lab.end(&world);
}

/// Plays `speed`: how many events the simulator handles per second of real time.
pub(super) fn speed(lab: &mut Lab<'_, '_>) {
    let mut world = lab.world(calm());
    let began = std::time::Instant::now();
    world.join(lab.nodes, JOINS * 5.0);
    let time = Duration::from_secs_f64(lab.nodes as f64 / JOINS / 5.0);
    lab.pass(&mut world, "gather", time + 10 * S);
    let (events, wall) = (world.events(), began.elapsed().as_secs_f64());
    lab.figure(Figure::new("while gathering", (events as f64 / wall).round(), "events/s"));
    let began = std::time::Instant::now();
    world.write(Workload { writers: 50, per_second: 2.0, size: 200, lasts: 5 * S });
    lab.pass(&mut world, "write", 5 * S);
    let (more, wall) = (world.events() - events, began.elapsed().as_secs_f64());
    lab.figure(Figure::new("while 50 write", (more as f64 / wall).round(), "events/s").at_least(1e6));
    lab.end(&world);
}
