//! Plays a case: lets nodes write as its plan says, and judges what comes of it.

use std::time::Duration;

use super::measure::{Goal, Measure};
use crate::scenario::lab::Lab;
use crate::stats::Histogram;
use crate::workload::Workload;
use crate::world::World;

const S: Duration = Duration::from_secs(1);
/// Steps in which a world advances while its backlogs are watched.
const STEP: Duration = Duration::from_millis(100);
/// The time in which the lines fill, before anything is compared.
const WARM_UP: Duration = Duration::from_secs(1);
/// The most time that is given to what is under way when the writing ends, and the time without
/// any delivery after which nothing more is expected.
const DRAIN: Duration = Duration::from_secs(600);
const SILENCE: Duration = Duration::from_secs(60);
/// A backlog may be one message more than its limit: 16 kB.
const MESSAGE: f64 = 16e3;
/// The time for the last message of each writer.
const LAST_WORD: Duration = Duration::from_secs(30);

/// The writers, what they write, and the readers and the node whose figures count.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) writers: Vec<usize>,
    pub(super) workload: Workload,
    /// The readers that are judged.
    pub(super) judged: Vec<usize>,
    /// The node whose line and links are measured; `None` counts the links of all nodes.
    pub(super) narrow: Option<usize>,
    /// When that node is frozen and goes on, counted from the beginning of the writing.
    pub(super) frozen: Option<(Duration, Duration)>,
    /// Bytes per second that the program of that node reads at most.
    pub(super) program: Option<u64>,
}

impl Plan {
    /// Creates a plan without faults.
    pub(super) const fn of(writers: Vec<usize>, workload: Workload, judged: Vec<usize>) -> Self {
        Self { writers, workload, judged, narrow: None, frozen: None, program: None }
    }

    /// The same, with this node as the one that is measured.
    pub(super) fn with_narrow(self, ix: usize) -> Self {
        Self { narrow: Some(ix), ..self }
    }
}

/// Where it is narrow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bottleneck {
    /// Whether it is the way down to the node, or the way up.
    pub(super) is_down: bool,
    /// Its rate, and how much can come at most, in bits per second.
    pub(super) rate: u64,
    pub(super) most: u64,
}

/// What came of a case.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Bits per second that the judged readers read while the writing went on, in the mean.
    rate: f64,
    pub(super) others_rate: f64,
    /// The same of the others for as long before a node was frozen, and while it was.
    pub(super) others_before: f64,
    pub(super) others_frozen: f64,
    /// The longest time, in milliseconds, in which one of the others read nothing.
    pub(super) others_silence: f64,
    /// The share of the slow line that was in use meanwhile, down and up.
    used: [f64; 2],
    /// Milliseconds from writing to reading, at the judged readers and at the others.
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) others_p99: f64,
    /// Links lost at the node with the slow line.
    links_lost: u64,
    /// Bytes of the segments that reached the node with the slow line or the readers in vain.
    useless: u64,
    /// Messages that were reported as missed: by the judged readers, and by the others.
    pub(super) missed: u64,
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
pub(super) fn play(lab: &mut Lab<'_, '_>, world: &mut World, plan: &Plan) -> Outcome {
    let Plan { workload, judged, .. } = plan;
    let narrow = plan.narrow.unwrap_or(0);
    world.measure();
    world.count_by_node();
    if let Some(rate) = plan.program {
        world.tally(narrow).read_slowly(rate);
    }
    world.write_from(plan.writers.clone(), *workload);
    let is_other = |ix: &usize| !judged.contains(ix) && !plan.writers.contains(ix);
    let others: Vec<_> = (0..world.cluster().len()).filter(is_other).collect();
    let carried = world.carried(narrow);
    let mut outcome = Outcome::default();
    outcome.watch(lab, world, plan, &others);
    let (read, read_by_others) = (world.read_by(judged), world.read_by(&others));
    let seconds = workload.lasts.as_secs_f64();
    let rate = |bytes: u64, readers: usize| bytes as f64 * 8.0 / seconds / readers.max(1) as f64;
    (outcome.rate, outcome.others_rate) = (rate(read, judged.len()), rate(read_by_others, others.len()));
    let used = world.carried(narrow);
    outcome.used = [0, 1].map(|way| rate(used[way] - carried[way], 1));
    outcome.accepted = world.written() * workload.size as u64;
    outcome.links_lost = match plan.narrow {
        Some(ix) => world.tally(ix).links_lost,
        None => (0..world.cluster().len()).map(|ix| world.tally(ix).links_lost).sum::<u64>().div_ceil(2),
    };
    drain(lab, world, judged, &mut outcome);
    outcome.judge(world, judged);
    outcome
}

impl Outcome {
    /// Lets the writing go on to its end, and looks at it step by step.
    fn watch(&mut self, lab: &mut Lab<'_, '_>, world: &mut World, plan: &Plan, others: &[usize]) {
        let (begin, narrow) = (world.now(), plan.narrow.unwrap_or(0));
        while world.now() < begin + plan.workload.lasts && world.violation().is_none() {
            let before = world.read_by(others) as f64;
            lab.pass(world, "write", STEP);
            self.backlog = self.backlog.max(world.backlog(plan.workload.size));
            let Some((from, to)) = plan.frozen else { continue };
            let (at, more) = (world.now() - begin, world.read_by(others) as f64 - before);
            if at > WARM_UP && at <= from {
                self.others_before += more / (from - WARM_UP).as_secs_f64();
            } else if at > from && at <= to {
                self.others_frozen += more / (to - from).as_secs_f64();
            }
            if at == from {
                world.freeze_node(narrow);
            } else if at == to {
                world.thaw_node(narrow);
            }
        }
        let silence = others.iter().map(|ix| world.tally(*ix).silence).max();
        self.others_silence = silence.unwrap_or(0) as f64 / 1e3;
    }
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
    world.write_once_more(0);
    lab.pass(world, "write once more", LAST_WORD);
    outcome.lost = if took < DRAIN { world.unaccounted() } else { 0 };
}

impl Outcome {
    /// Adds what the nodes have counted.
    fn judge(&mut self, world: &mut World, judged: &[usize]) {
        let mut latency = [Histogram::default(), Histogram::default()];
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
        let ms = |of: &Histogram, share| of.percentile(share) as f64 / 1e3;
        (self.p50, self.p99) = (ms(&latency[0], 0.5), ms(&latency[0], 0.99));
        self.others_p99 = ms(&latency[1], 0.99);
        self.netsplits = world.stats.netsplits;
    }
}

impl Outcome {
    /// Returns what is reported of a run.
    pub(super) fn measures(&self, at: &Bottleneck) -> Vec<Measure> {
        use Goal::{AtLeast, AtMost, None};
        let Bottleneck { is_down, rate, most } = *at;
        let of_line = |bits: f64| bits / rate as f64;
        let used = of_line(self.used[usize::from(is_down)]);
        let backlog = (2 * rate / 8).max(1 << 20) as f64 + MESSAGE;
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
