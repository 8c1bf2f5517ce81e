//! `swarm`: many small networks, each drawn from its own seed.
//!
//! A seed draws how many nodes there are, how far apart they are, what they write and what goes
//! wrong. Then the network is played, all faults end, and all has to be right. Every 100th run is
//! played twice, and the two must be the same, event by event.

use std::time::Duration;

use super::{Lab, Progress};
use crate::check::Violation;
use crate::fault::{Fault, Rule};
use crate::hostile::Behaviour;
use crate::invariant::Invariant;
use crate::kernel::{Rng, mix};
use crate::net::Latency;
use crate::report::Figure;
use crate::setup::{Expect, Setup};
use crate::workload::Workload;
use crate::world::World;

/// One of this many seeds is played twice.
const REPLAY: u64 = 100;
/// Keeps the randomness of the draw apart from that of the world: a new kind of fault does not
/// change how a network without it runs.
const DRAW: u64 = 0x0053_5741_524D;
/// Keeps the randomness of the pins apart from that of the faults.
const PINS: u64 = 0x5749_5348;
/// The same for whether nodes have lines.
const LINES: u64 = 0x4C49_4E45;
/// Messages above this size are written rarely: a megabyte a second over a slow line would only
/// test patience.
const LARGE: usize = 10_000;

/// A network that is drawn from a seed.
#[derive(Debug, Clone)]
pub struct Draw {
    /// The beginning of the world.
    pub setup: Setup,
    /// Number of nodes.
    pub nodes: usize,
    /// How many of them join per second.
    pub joins_per_second: f64,
    /// What is written.
    pub workload: Workload,
    /// What goes wrong.
    pub rules: Vec<Rule>,
    /// How long all this goes on.
    pub time: Duration,
    /// The time that the network needs in the end, on top of the usual.
    pub patience: Duration,
}

impl Draw {
    /// Returns what this seed draws. `nodes` replaces the drawn number of nodes, and nothing else.
    pub fn new(rng_seed: u64, nodes: Option<usize>) -> Self {
        let mut rng = Rng::new(mix(rng_seed ^ DRAW));
        let drawn = 8 + rng.below(57);
        let option = nodes.map_or(String::new(), |nodes| format!(" --nodes {nodes}"));
        let replay = format!("smokesignal sim swarm --rng-seed {rng_seed} --seeds 1{option}");
        let nodes = nodes.unwrap_or(drawn);
        let time = Duration::from_secs(rng.between(60, 120) * if rng.happens(0.1) { 5 } else { 1 });
        let latency = [Latency::Lan, Latency::Wan, Latency::Cities][rng.below(3)];
        let seeds = 1 + rng.below(3);
        let mut rules: Vec<_> = (0..rng.below(4)).map(|_| rule(&mut rng, nodes, time)).collect();
        let workload = workload(&mut rng, time);
        let joins_per_second = [2.0, 20.0, 200.0][rng.below(3)];
        let separated = rules.iter().any(|rule| separates(&rule.fault));
        let expect = Expect { replay, ..expect(&rules, separated) };
        rules.extend(pins(rng_seed, time));
        let lines = has_lines(rng_seed);
        // A slow line may take two minutes for what is behind when the writing ends.
        let patience = if lines {
            120
        } else if separated {
            60
        } else {
            20
        };
        Self {
            setup: Setup { latency, seeds, lines, expect, ..Setup::new(rng_seed) },
            nodes,
            joins_per_second,
            workload,
            rules,
            time,
            patience: Duration::from_secs(patience),
        }
    }

    /// Plays the network to its end, or to the first violation.
    pub fn play(&self) -> World {
        let joining = Duration::from_secs_f64(self.nodes as f64 / self.joins_per_second);
        let mut world = World::new(self.setup.clone());
        world.join(self.nodes, self.joins_per_second);
        world.run(joining + Duration::from_secs(8));
        world.measure();
        world.write(self.workload);
        for rule in &self.rules {
            world.add_rule(rule.clone());
        }
        world.run(self.time + Duration::from_secs(1));
        world.check_quiescence(self.patience);
        world
    }
}

fn workload(rng: &mut Rng, lasts: Duration) -> Workload {
    let writers = 1 + rng.below(5);
    let per_second = [0.5, 2.0, 10.0][rng.below(3)];
    let size = [24, 200, 2_000, 100_000][rng.below(4)];
    let per_second = if size > LARGE { 0.5 } else { per_second };
    Workload { writers, per_second, size, lasts }
}

/// Draws a fault that begins in the first half of the run, and does not go on for longer than half
/// of it.
fn rule(rng: &mut Rng, nodes: usize, time: Duration) -> Rule {
    /// Restarts are short: while a node is down, its seeds may be down too, and nobody can join.
    const RESTART: Duration = Duration::from_secs(8);
    let fault = fault(rng, nodes);
    let after = rng.duration(Duration::ZERO, time / 2);
    let lasts = rng.duration(Duration::from_secs(1), time / 2);
    let is_restart = matches!(fault, Fault::Restart { .. });
    Rule::lasting(after, if is_restart { lasts.min(RESTART) } else { lasts }, fault)
}

fn fault(rng: &mut Rng, nodes: usize) -> Fault {
    let share = [0.1, 0.3, 0.5][rng.below(3)];
    let bytes = [5_000, 50_000][rng.below(2)];
    match rng.below(11) {
        0 => Fault::Kill { share, silent: false },
        1 => Fault::Kill { share, silent: true },
        2 => Fault::KillSeeds { silent: rng.happens(0.5) },
        3 => Fault::Restart { share },
        4 => Fault::Freeze { nodes: 1 + rng.below(nodes / 4) },
        5 => Fault::Partition { ways: 2 + rng.below(3) as u8 },
        6 => Fault::Churn { per_minute: [0.1, 0.5][rng.below(2)] },
        7 => Fault::Resets { per_minute: [0.2, 2.0][rng.below(2)] },
        8 if rng.happens(0.5) => Fault::SlowLine { share, bytes },
        8 => Fault::SlowReader { share, bytes },
        9 => {
            let behaviour = Behaviour::DRAWN[rng.below(Behaviour::DRAWN.len())];
            Fault::Hostile { share: 0.1, behaviour: Some(behaviour) }
        }
        _ => {
            let by = rng.duration(Duration::from_millis(100), Duration::from_secs(100));
            Fault::ClockJump { share, by }
        }
    }
}

/// Draws whether some nodes pin a link. A pin is not a fault, and is drawn apart from the faults.
fn pins(rng_seed: u64, time: Duration) -> Option<Rule> {
    let mut rng = Rng::new(mix(rng_seed ^ PINS));
    rng.happens(0.25).then(|| {
        let after = rng.duration(Duration::ZERO, time / 2);
        Rule::once(after, Fault::Pin { share: 0.1 })
    })
}

/// Draws whether the nodes have lines as people have them: a quarter of the networks. It is drawn
/// apart from all else, and what the other networks draw has not changed by it.
fn has_lines(rng_seed: u64) -> bool {
    Rng::new(mix(rng_seed ^ LINES)).happens(0.25)
}

/// Returns what is to be expected of a network with these faults.
fn expect(rules: &[Rule], separated: bool) -> Expect {
    Expect {
        gaps: !rules.is_empty(),
        netsplits: rules.iter().any(|rule| loses_seeds(&rule.fault)),
        failure_free: rules.is_empty(),
        refill: (!separated).then_some(Duration::from_secs(30)),
        ..Expect::default()
    }
}

/// Returns whether nodes may take longer to find each other after this fault.
const fn separates(fault: &Fault) -> bool {
    matches!(fault, Fault::Partition { .. } | Fault::Kill { silent: true, .. } | Fault::KillSeeds { .. })
}

/// Returns whether a seed may be lost by this fault, for which a netsplit is reported.
const fn loses_seeds(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Partition { .. }
            | Fault::KillSeeds { .. }
            | Fault::Freeze { .. }
            | Fault::Kill { .. }
            | Fault::Restart { .. }
    )
}

/// Plays the scenario: as many seeds as wanted, from the given one on.
pub(super) fn swarm(lab: &mut Lab<'_, '_>) {
    let (first, count, nodes) = (lab.run.rng_seed, lab.run.seeds, lab.run.nodes);
    let (mut deliveries, mut bad, mut replayed) = (0, 0, 0);
    for done in 0..count {
        let rng_seed = first.wrapping_add(done);
        let mut draw = Draw::new(rng_seed, nodes);
        draw.setup.expect.ignore.clone_from(&lab.run.ignore);
        draw.setup.trace = lab.run.trace;
        draw.setup.features = lab.run.offered();
        draw.setup.expect.replay += &lab.run.features_option();
        (lab.run.progress)(Progress { what: format!("seed {rng_seed}"), steps: Some((done, count)) });
        let world = draw.play();
        deliveries += world.stats.deliveries;
        bad += u64::from(world.violation().is_some());
        lab.end(&world);
        if done % REPLAY == REPLAY - 1 || (count == 1 && lab.run.trace.is_none()) {
            replayed += 1;
            let again = draw.play();
            if again.trace_hash() != world.trace_hash() {
                lab.add(Duration::ZERO, 0, 0, Some(not_the_same(&draw, &world, &again)));
            }
        }
    }
    lab.figure(Figure::new("seeds", count as f64, ""));
    lab.figure(Figure::new("seeds with a violation", bad as f64, "").at_most(0.0));
    lab.figure(Figure::new("replayed and compared", replayed as f64, ""));
    lab.figure(Figure::new("deliveries checked", deliveries as f64, ""));
}

fn not_the_same(draw: &Draw, one: &World, other: &World) -> Violation {
    Violation {
        invariant: Invariant::REPEATABLE,
        what: format!("two runs differ: {:016x} and {:016x}", one.trace_hash(), other.trace_hash()),
        node: 0,
        at_us: 0,
        replay: draw.setup.expect.replay.clone(),
    }
}
