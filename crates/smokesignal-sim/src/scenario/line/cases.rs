//! The cases: their networks, what happens in them, and which of their figures count.

use std::time::Duration;

use super::measure::{Goal, Measure};
use super::outcome::{Bottleneck, Plan, play};
use crate::net::{Latency, Line};
use crate::scenario::lab::Lab;
use crate::setup::{Expect, Setup};
use crate::workload::Workload;
use crate::world::World;

const S: Duration = Duration::from_secs(1);
/// One way between two namespaces of one machine, in microseconds.
const NEAR: u64 = 100;
const MBIT: u64 = 1_000_000;
/// The usual message: 16 kB.
const MESSAGE: usize = 16_000;
/// Messages per second of a writer that writes as fast as it may: 20 MB/s, more than any line here
/// carries.
const EAGER: f64 = 1_250.0;
/// Nodes that join per second, at least.
const JOINS_LEAST: f64 = 5.0;
/// The node with the slow line, and the number of nodes in its network. The first node is the seed.
const SLOW: usize = 6;
const NODES: usize = 7;

pub(super) fn slow_reader(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    read_slowly(lab, Line::symmetric(MBIT, Duration::from_millis(400)))
}

pub(super) fn dsl_reader(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    read_slowly(lab, Line::symmetric(4 * MBIT, Duration::from_secs(2)))
}

/// All others write 20 messages per second together, and one has a slow line.
fn read_slowly(lab: &mut Lab<'_, '_>, line: Line) -> Vec<Measure> {
    let mut world = gathered(lab, NODES, Latency::Even { micros: NEAR }, |ix| (ix == SLOW).then_some(line));
    let workload = workload(20.0 / SLOW as f64, MESSAGE, 30 * S);
    let plan = Plan::of((0..SLOW).collect(), workload, vec![SLOW]).with_narrow(SLOW);
    let outcome = play(lab, &mut world, &plan);
    let most = line.down.min(20 * MESSAGE as u64 * 8);
    lab.end(&world);
    outcome.measures(&Bottleneck { is_down: true, rate: line.down, most })
}

pub(super) fn slow_writer(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    write_slowly(lab, workload(3.8 * MBIT as f64 / 8.0 / MESSAGE as f64, MESSAGE, 30 * S))
}

pub(super) fn eager_writer(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    write_slowly(lab, workload(EAGER, MESSAGE, 25 * S))
}

/// A node with a slow line is the only writer.
fn write_slowly(lab: &mut Lab<'_, '_>, workload: Workload) -> Vec<Measure> {
    let line = Line::symmetric(MBIT, Duration::from_millis(400));
    let mut world = gathered(lab, NODES, Latency::Even { micros: NEAR }, |ix| (ix == SLOW).then_some(line));
    let plan = Plan::of(vec![SLOW], workload, (0..SLOW).collect()).with_narrow(SLOW);
    let outcome = play(lab, &mut world, &plan);
    lab.end(&world);
    outcome.measures(&Bottleneck { is_down: false, rate: line.up, most: line.up })
}

/// The program of one of two readers takes a tenth of what the lines carry.
pub(super) fn slow_program(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    const SLOW: usize = 2;
    let line = Line::symmetric(40 * MBIT, S / 10);
    let slow = line.down / 10;
    let mut world = gathered(lab, 3, Latency::Even { micros: NEAR }, |_| Some(line));
    let plan = Plan::of(vec![1], workload(EAGER, MESSAGE, 60 * S), vec![SLOW]).with_narrow(SLOW);
    let plan = Plan { program: Some(slow / 8), ..plan };
    let outcome = play(lab, &mut world, &plan);
    lab.end(&world);
    let mut measures = outcome.measures(&Bottleneck { is_down: true, rate: line.down, most: slow });
    measures.retain(|one| !one.is_about(&["bytes on the line", "afterwards"]));
    let others = outcome.others_rate / line.down as f64;
    measures.push(Measure::median("payload that the other reader gets, of its line", others, "", Goal::None));
    measures
}

/// One of the readers is frozen for a while.
pub(super) fn frozen_reader(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    let line = Line::symmetric(20 * MBIT, S / 10);
    let mut world = gathered(lab, NODES, Latency::Even { micros: NEAR }, |_| Some(line));
    let plan = Plan::of(vec![1], workload(EAGER, MESSAGE, 30 * S), vec![SLOW]).with_narrow(SLOW);
    let plan = Plan { frozen: Some((10 * S, 20 * S)), ..plan };
    let outcome = play(lab, &mut world, &plan);
    lab.end(&world);
    let kept = outcome.others_frozen / outcome.others_before;
    let silence = outcome.others_silence;
    let mut measures = outcome.measures(&Bottleneck { is_down: true, rate: line.down, most: line.down });
    // The frozen one is behind, and has lost its links.
    measures.retain(|one| !one.is_about(&["payload", "bytes on the line", "links lost", "latency"]));
    // 5 % over 10 s, and half a second once.
    measures.push(Measure::median("what the others read meanwhile, of before", kept, "", Goal::AtLeast(0.9)));
    measures.push(Measure::worst("longest silence at the others", silence, "ms", Goal::AtMost(500.0)));
    measures.push(Measure::median("latency p99 of the others", outcome.others_p99, "ms", Goal::None));
    measures
}

/// Everybody writes a little, from home and far apart.
pub(super) fn three_regions(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    const NODES: usize = 20;
    let line = Line { up: 2 * MBIT, down: 16 * MBIT, queue: S / 5 };
    let mut world = gathered(lab, NODES, Latency::Regions, |_| Some(line));
    let plan = Plan::of((0..NODES).collect(), workload(5.0, 1_000, 60 * S), (0..NODES).collect());
    let outcome = play(lab, &mut world, &plan);
    lab.end(&world);
    let most = (NODES as u64 - 1) * 40_000;
    let mut measures = outcome.measures(&Bottleneck { is_down: false, rate: line.up, most });
    measures.retain(|one| !one.is_about(&["latency", "messages missed", "afterwards: payload"]));
    let (median, worst, limit) = (Measure::median, Measure::worst, Goal::AtMost(1_500.0));
    measures.push(median("latency p50", outcome.p50, "ms", Goal::None));
    measures.push(worst("latency p99", outcome.p99, "ms", limit));
    measures.push(worst("messages missed", outcome.missed as f64, "", Goal::AtMost(0.0)));
    measures
}

pub(super) fn megabyte(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    spread(lab, Duration::from_millis(50))
}

pub(super) fn megabyte_near(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    spread(lab, Duration::from_millis(2))
}

/// One message of 1 MB goes to everybody.
fn spread(lab: &mut Lab<'_, '_>, round_trip: Duration) -> Vec<Measure> {
    const SIZE: usize = 1_000_000;
    const WRITER: usize = 1;
    let nodes = lab.run.nodes.unwrap_or(1_000);
    let line = Line::symmetric(50 * MBIT, S / 10);
    let micros = round_trip.as_micros() as u64 / 2;
    let mut world = gathered(lab, nodes, Latency::Even { micros }, |_| Some(line));
    world.measure();
    world.count_by_node();
    world.write_once(WRITER, SIZE);
    let readers: Vec<_> = (0..nodes).filter(|ix| *ix != WRITER).collect();
    let all = (readers.len() * SIZE) as u64;
    let step = Duration::from_millis(5);
    let took = world.run_until_when(step, 60 * S, |world| world.stats.deliveries == readers.len() as u64);
    let (depth, fan_out) = tree(&world, WRITER);
    lab.end(&world);
    let transfer = SIZE as f64 * 8.0 / line.up as f64;
    let limit = 1.2 * transfer * fan_out as f64 + 2.0 * depth as f64 * round_trip.as_secs_f64();
    let took = took.map_or(f64::NAN, |took| took.as_secs_f64());
    let useless = readers.iter().map(|ix| world.tally(*ix).useless).sum::<u64>();
    let median = Measure::median;
    vec![
        median("until the last node has it", took, "s", Goal::AtMost((limit * 1e3).round() / 1e3)),
        median("depth of the tree", depth as f64, "hops", Goal::None),
        median("most children of a node", fan_out as f64, "", Goal::None),
        median("one transfer over one line", transfer, "s", Goal::None),
        median("arrived in vain, of what arrived", useless as f64 / all as f64, "", Goal::None),
    ]
}

const fn workload(per_second: f64, size: usize, lasts: Duration) -> Workload {
    Workload { writers: 0, per_second, size, lasts }
}

/// Creates a network whose nodes have found their places over their lines.
fn gathered(
    lab: &mut Lab<'_, '_>,
    nodes: usize,
    latency: Latency,
    line: impl Fn(usize) -> Option<Line>,
) -> World {
    let expect = Expect { gaps: true, netsplits: true, ..Expect::default() };
    let mut world = World::new(Setup { latency, ..lab.setup(expect) });
    let per_second = JOINS_LEAST.max(nodes as f64 / 20.0);
    world.join(nodes, per_second);
    for ix in 0..nodes {
        if let Some(line) = line(ix) {
            world.set_line(ix, line);
        }
    }
    let min = world.setup().config.min_peers.min(nodes - 1);
    world.run(Duration::from_secs_f64(nodes as f64 / per_second));
    world.run_until_when(S / 2, 30 * S, |world| world.below(min) == 0);
    lab.pass(&mut world, "settle", 12 * S);
    world
}

/// Returns the depth of a writer's tree, and the most children that a node has in it. Nodes that
/// have changed their parents just now may be in no tree, or in a circle; they do not count.
fn tree(world: &World, writer: usize) -> (usize, usize) {
    let nodes = world.cluster().len();
    let parents: Vec<_> = (0..nodes).map(|ix| world.parent_of(ix, writer)).collect();
    let mut children = vec![0; nodes];
    parents.iter().flatten().for_each(|parent| children[*parent] += 1);
    let depth = |ix: usize| {
        let mut way = std::iter::successors(Some(ix), |ix| parents[*ix]).take(nodes);
        way.position(|ix| ix == writer)
    };
    let depth = (0..nodes).filter_map(depth).max().unwrap_or(0);
    (depth, children.into_iter().max().unwrap_or(0))
}
