//! `line`: what comes over lines that are slow, or that a writer overruns.
//!
//! Each case is an everyday situation with its own network. Its figures tell how much of a line
//! carries messages, how late these are, and what is lost: links, messages that are reported as
//! missed, and messages that are not even that. `docs/simulation.md` compares them with real
//! processes. Each case is played five times with different randomness.

use std::time::Duration;

use super::lab::Lab;
use crate::net::{Latency, Line};
use crate::report::Figure;
use crate::setup::{Expect, Setup};
use crate::workload::Workload;
use crate::world::World;

/// How often each case is played.
const RUNS: usize = 5;
const S: Duration = Duration::from_secs(1);
/// Steps in which a world advances while its backlogs are watched.
const STEP: Duration = Duration::from_millis(100);
/// One way between two namespaces of one machine, in microseconds.
const NEAR: u64 = 100;
const MBIT: u64 = 1_000_000;
/// The usual message: 16 kB.
const MESSAGE: usize = 16_000;
/// Messages per second of a writer that writes as fast as it may: 20 MB/s, more than any line here
/// carries.
const EAGER: f64 = 1_250.0;
/// The most time that is given to what is under way when the writing ends, and the time without
/// any delivery after which nothing more is expected.
const DRAIN: Duration = Duration::from_secs(600);
const SILENCE: Duration = Duration::from_secs(60);
/// The time for the last message of each writer.
const LAST_WORD: Duration = Duration::from_secs(30);

/// A situation, with a name.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    play: fn(&mut Lab<'_, '_>) -> Vec<Measure>,
}

/// All cases, in the order in which `line` plays them.
pub const CASES: [Case; 5] = [
    case("slow-reader", "one of seven has 1 Mbit/s and 400 ms of queue; six write 2.56 Mbit/s", slow_reader),
    case("dsl-reader", "one of seven has 4 Mbit/s and 2 s of queue; six write 2.56 Mbit/s", dsl_reader),
    case("slow-writer", "a writer with 1 Mbit/s writes 3.8 Mbit/s", slow_writer),
    case("eager-writer", "a writer with 1 Mbit/s writes as fast as it may", eager_writer),
    case("slow-program", "40 Mbit/s, full speed, and one of two programs reads a tenth of it", slow_program),
];

const fn case(name: &'static str, about: &'static str, play: fn(&mut Lab<'_, '_>) -> Vec<Measure>) -> Case {
    Case { name, about, play }
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
        let runs: Vec<_> = (0..RUNS).map(|_| (case.play)(lab)).collect();
        for (at, measure) in runs[0].iter().enumerate() {
            let values = runs.iter().map(|run| run[at].value).collect();
            lab.figure(measure.of_runs(case.name, values));
        }
    }
}

/// A number that a run has measured.
#[derive(Debug, Clone, Copy)]
struct Measure {
    what: &'static str,
    value: f64,
    unit: &'static str,
    /// Whether the largest of all runs counts, and not the median.
    is_worst: bool,
    goal: Goal,
}

#[derive(Debug, Clone, Copy)]
enum Goal {
    None,
    AtLeast(f64),
    AtMost(f64),
}

impl Measure {
    /// Makes a measure of which the median counts.
    const fn median(what: &'static str, value: f64, unit: &'static str, goal: Goal) -> Self {
        Self { what, value, unit, is_worst: false, goal }
    }

    /// Makes a measure of which the largest value counts.
    const fn worst(what: &'static str, value: f64, unit: &'static str, goal: Goal) -> Self {
        Self { what, value, unit, is_worst: true, goal }
    }

    /// Returns the figure of a case with these values in its runs. A time that never came is the
    /// largest of all.
    fn of_runs(&self, case: &str, mut values: Vec<f64>) -> Figure {
        values.sort_by(f64::total_cmp);
        let at = if self.is_worst { values.len() - 1 } else { values.len() / 2 };
        let figure = Figure::new(format!("{case}: {}", self.what), values[at], self.unit);
        match self.goal {
            Goal::None => figure,
            Goal::AtLeast(limit) => figure.at_least(limit),
            Goal::AtMost(limit) => figure.at_most(limit),
        }
    }
}

/// The writers, what they write, and the readers and the node whose figures count.
#[derive(Debug)]
struct Plan {
    writers: Vec<usize>,
    workload: Workload,
    /// The readers that are judged.
    judged: Vec<usize>,
    /// The node whose line and links are measured.
    narrow: usize,
}

/// The node with the slow line, and the number of nodes in its network. The first node is the seed.
const SLOW: usize = 6;
const NODES: usize = 7;

fn slow_reader(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    read_slowly(lab, Line::symmetric(MBIT, Duration::from_millis(400)))
}

fn dsl_reader(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    read_slowly(lab, Line::symmetric(4 * MBIT, Duration::from_secs(2)))
}

/// All others write 20 messages per second together, and one has a slow line.
fn read_slowly(lab: &mut Lab<'_, '_>, line: Line) -> Vec<Measure> {
    let mut world = gathered(lab, NODES, Latency::Even { micros: NEAR }, |ix| (ix == SLOW).then_some(line));
    let workload = workload(20.0 / SLOW as f64, MESSAGE, 30 * S);
    let plan = Plan { writers: (0..SLOW).collect(), workload, judged: vec![SLOW], narrow: SLOW };
    let outcome = play(lab, &mut world, &plan);
    let most = line.down.min(20 * MESSAGE as u64 * 8);
    lab.end(&world);
    outcome.measures(&Bottleneck { is_down: true, rate: line.down, most })
}

fn slow_writer(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    write_slowly(lab, workload(3.8 * MBIT as f64 / 8.0 / MESSAGE as f64, MESSAGE, 30 * S))
}

fn eager_writer(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    write_slowly(lab, workload(EAGER, MESSAGE, 25 * S))
}

/// A node with a slow line is the only writer.
fn write_slowly(lab: &mut Lab<'_, '_>, workload: Workload) -> Vec<Measure> {
    let line = Line::symmetric(MBIT, Duration::from_millis(400));
    let mut world = gathered(lab, NODES, Latency::Even { micros: NEAR }, |ix| (ix == SLOW).then_some(line));
    let plan = Plan { writers: vec![SLOW], workload, judged: (0..SLOW).collect(), narrow: SLOW };
    let outcome = play(lab, &mut world, &plan);
    lab.end(&world);
    outcome.measures(&Bottleneck { is_down: false, rate: line.up, most: line.up })
}

/// The program of one of two readers takes a tenth of what the lines carry.
fn slow_program(lab: &mut Lab<'_, '_>) -> Vec<Measure> {
    const SLOW: usize = 2;
    let line = Line::symmetric(40 * MBIT, S / 10);
    let slow = line.down / 10;
    let mut world = gathered(lab, 3, Latency::Even { micros: NEAR }, |_| Some(line));
    world.tally(SLOW).read_slowly(slow / 8);
    let workload = workload(EAGER, MESSAGE, 60 * S);
    let plan = Plan { writers: vec![1], workload, judged: vec![SLOW], narrow: SLOW };
    let outcome = play(lab, &mut world, &plan);
    lab.end(&world);
    let mut measures = outcome.measures(&Bottleneck { is_down: true, rate: line.down, most: slow });
    let others = outcome.others_rate / line.down as f64;
    measures.push(Measure::median("payload that the other reader gets, of its line", others, "", Goal::None));
    measures
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
    world.count_by_node();
    world.join(nodes, 5.0);
    for ix in 0..nodes {
        if let Some(line) = line(ix) {
            world.set_line(ix, line);
        }
    }
    let min = world.setup().config.min_peers.min(nodes - 1);
    world.run(Duration::from_secs_f64(nodes as f64 / 5.0));
    world.run_until_when(S / 2, 30 * S, |world| world.below(min) == 0);
    lab.pass(&mut world, "settle", 12 * S);
    world
}

/// Where it is narrow.
#[derive(Debug, Clone, Copy)]
struct Bottleneck {
    /// Whether it is the way down to the node, or the way up.
    is_down: bool,
    /// Its rate, and how much can come at most, in bits per second.
    rate: u64,
    most: u64,
}

/// What came of a case.
#[derive(Debug, Default)]
struct Outcome {
    /// Bits per second that the judged readers read while the writing went on, in the mean.
    rate: f64,
    others_rate: f64,
    /// The share of the slow line that was in use meanwhile, down and up.
    used: [f64; 2],
    /// Milliseconds from writing to reading, at the judged readers and at the others.
    p50: f64,
    p99: f64,
    others_p99: f64,
    /// Links lost at the node with the slow line.
    links_lost: u64,
    /// Bytes of the segments that reached the node with the slow line or the readers in vain.
    useless: u64,
    /// Messages that were reported as missed: by the judged readers, and by the others.
    missed: u64,
    others_missed: u64,
    /// Messages that were neither read nor reported as missed when nothing arrived any more, and
    /// after the writers had written once more.
    left: u64,
    lost: u64,
    /// The most that a writer had accepted and nobody else had, in bytes.
    backlog: u64,
    /// Bytes accepted from the writers.
    accepted: u64,
    /// Bits per second that the judged readers read afterwards, until nothing more came.
    rate_after: f64,
    drained: Option<Duration>,
    netsplits: u64,
}

/// Lets nodes write and judges what comes of it.
fn play(lab: &mut Lab<'_, '_>, world: &mut World, plan: &Plan) -> Outcome {
    let Plan { workload, judged, narrow, .. } = plan;
    world.measure();
    let carried = world.carried(*narrow);
    world.write_from(plan.writers.clone(), *workload);
    let mut outcome = Outcome::default();
    let end = world.now() + workload.lasts;
    while world.now() < end && world.violation().is_none() {
        lab.pass(world, "write", STEP);
        outcome.backlog = outcome.backlog.max(world.backlog(workload.size));
    }
    let nodes = 0..world.cluster().len();
    let is_other = |ix: &usize| !judged.contains(ix) && !plan.writers.contains(ix);
    let others: Vec<_> = nodes.filter(is_other).collect();
    let (read, read_by_others) = (world.read_by(judged), world.read_by(&others));
    let seconds = workload.lasts.as_secs_f64();
    let rate = |bytes: u64, readers: usize| bytes as f64 * 8.0 / seconds / readers.max(1) as f64;
    (outcome.rate, outcome.others_rate) = (rate(read, judged.len()), rate(read_by_others, others.len()));
    let used = world.carried(*narrow);
    outcome.used = [0, 1].map(|way| rate(used[way] - carried[way], 1));
    outcome.accepted = world.written() * workload.size as u64;
    outcome.links_lost = world.tally(*narrow).links_lost;
    drain(lab, world, judged, &mut outcome);
    outcome.judge(world, judged);
    outcome
}

/// Lets everything arrive that still does.
fn drain(lab: &mut Lab<'_, '_>, world: &mut World, judged: &[usize], outcome: &mut Outcome) {
    let (begin, read) = (world.now(), world.read_by(judged));
    let (mut left, mut changed_at) = (world.unaccounted(), begin);
    while world.now() < begin + DRAIN && world.now() < changed_at + SILENCE && left > 0 {
        lab.pass(world, "drain", S);
        if world.violation().is_some() {
            break;
        }
        let before = std::mem::replace(&mut left, world.unaccounted());
        if left != before {
            changed_at = world.now();
        }
    }
    let took = changed_at - begin;
    if !took.is_zero() {
        let more = (world.read_by(judged) - read) as f64;
        outcome.rate_after = more * 8.0 / took.as_secs_f64() / judged.len() as f64;
    }
    outcome.drained = (left == 0).then_some(took);
    outcome.left = left;
    // A gap is reported once something comes after it.
    world.write_once_more();
    lab.pass(world, "write once more", LAST_WORD);
    outcome.lost = if took < DRAIN { world.unaccounted() } else { 0 };
}

impl Outcome {
    /// Adds what the nodes have counted.
    fn judge(&mut self, world: &mut World, judged: &[usize]) {
        let mut latency = [crate::stats::Histogram::default(), crate::stats::Histogram::default()];
        for ix in 0..world.cluster().len() {
            let is_judged = judged.contains(&ix);
            let node = world.tally(ix);
            latency[usize::from(!is_judged)].merge(&node.latency);
            if is_judged {
                self.missed += node.missed;
            } else {
                self.others_missed += node.missed;
            }
            self.useless += node.useless;
        }
        let ms = |of: &crate::stats::Histogram, share| of.percentile(share) as f64 / 1e3;
        (self.p50, self.p99) = (ms(&latency[0], 0.5), ms(&latency[0], 0.99));
        self.others_p99 = ms(&latency[1], 0.99);
        self.netsplits = world.stats.netsplits;
    }
}

impl Outcome {
    /// Returns what is reported of a run.
    fn measures(&self, at: &Bottleneck) -> Vec<Measure> {
        use Goal::{AtLeast, AtMost, None};
        let Bottleneck { is_down, rate, most } = *at;
        let of_line = |bits: f64| bits / rate as f64;
        let used = of_line(self.used[usize::from(is_down)]);
        let backlog = (2 * rate / 8).max(1 << 20) as f64 + MESSAGE as f64;
        let drained = self.drained.map_or(f64::NAN, |time| time.as_secs_f64());
        let (median, worst) = (Measure::median, Measure::worst);
        vec![
            median("payload that arrives, of what can come", self.rate / most as f64, "", AtLeast(0.85)),
            median("bytes on the line, of its rate", used, "", None),
            median("latency p50", self.p50, "ms", None),
            median("latency p99", self.p99, "ms", None),
            median("latency p99 of the others", self.others_p99, "ms", None),
            median("links lost", self.links_lost as f64, "", AtMost(0.0)),
            median("arrived in vain", self.useless as f64 / 1e6, "MB", None),
            median("accepted from the writers", self.accepted as f64 / 1e6, "MB", None),
            worst("backlog at a writer", self.backlog as f64 / 1e6, "MB", AtMost(backlog / 1e6)),
            median("messages missed", self.missed as f64, "", None),
            worst("messages missed by the others", self.others_missed as f64, "", AtMost(0.0)),
            worst("missed, and reported only with the next message", self.left as f64, "", AtMost(0.0)),
            worst("messages lost without a report", self.lost as f64, "", AtMost(0.0)),
            median("afterwards: payload, of the line", of_line(self.rate_after), "", None),
            median("afterwards: until all is there or missed", drained, "s", None),
            worst("netsplits reported", self.netsplits as f64, "", AtMost(0.0)),
        ]
    }
}

impl World {
    /// Returns how many bytes these nodes have read.
    fn read_by(&mut self, nodes: &[usize]) -> u64 {
        nodes.iter().map(|ix| self.tally(*ix).read).sum()
    }

    /// Returns the most bytes that a writer has accepted and no other node has read, for messages
    /// of this size.
    fn backlog(&self, size: usize) -> u64 {
        let backlogs = self.traffic().writers().iter().enumerate().map(|(number, writer)| {
            let reads = (0..self.cluster().len()).filter_map(|ix| self.traffic().read(ix, number as u32));
            writer.written - reads.map(|read| read.last).max().unwrap_or(0)
        });
        backlogs.max().unwrap_or(0) * size as u64
    }

    /// Returns how many messages, at all readers together, have neither been read nor been reported
    /// as missed.
    fn unaccounted(&self) -> u64 {
        let mut sum = 0;
        for (number, writer) in self.traffic().writers().iter().enumerate() {
            for ix in (0..self.cluster().len()).filter(|ix| *ix != writer.node) {
                let read = self.traffic().read(ix, number as u32);
                let known = read.map_or(0, |read| read.delivered + read.missed);
                sum += writer.written.saturating_sub(known);
            }
        }
        sum
    }
}
