//! Many small networks: each seed draws how many nodes there are, how far apart, what they write and what goes wrong.
//! Every 100th run is played twice, and the two must be the same, event by event.

use std::time::Duration;

use crate::chance::{Chance, mix};
use crate::check::{Expect, Violation};
use crate::hostile::Behaviour;
use crate::latency::Latency;
use crate::report::Figure;
use crate::rule::{Fault, Rule};
use crate::scenario::{Lab, Progress};
use crate::workload::Workload;
use crate::world::{Setup, World};

/// Every so many seeds one is replayed.
const REPLAY: u64 = 100;

/// What one seed draws.
#[derive(Debug, Clone)]
pub struct Draw {
    /// How the world begins.
    pub setup: Setup,
    /// How many nodes.
    pub nodes: usize,
    /// How many of them enter per second.
    pub joins_per_second: f64,
    /// What is written.
    pub workload: Workload,
    /// What goes wrong.
    pub rules: Vec<Rule>,
    /// How long all this goes on.
    pub time: Duration,
    /// How much longer than others the network may need in the end.
    pub patience: Duration,
}

impl Draw {
    /// What this seed draws; with `nodes`, all but their number.
    pub fn new(rng_seed: u64, nodes: Option<usize>) -> Self {
        // The world's own chance is another one, so that a new kind of fault does not change all others.
        let mut chance = Chance::new(mix(rng_seed ^ 0x0053_5741_524D));
        let drawn = 8 + chance.below(57);
        let size = nodes.map_or(String::new(), |nodes| format!(" --nodes {nodes}"));
        let nodes = nodes.unwrap_or(drawn);
        let time = Duration::from_secs(chance.between(60, 120) * if chance.with(0.1) { 5 } else { 1 });
        let mut setup = Setup::new(rng_seed);
        setup.latency = [Latency::Lan, Latency::Wan, Latency::Cities][chance.below(3)];
        setup.seeds = 1 + chance.below(3);
        let mut rules = Vec::new();
        for _ in 0..chance.below(4) {
            let fault = fault(&mut chance, nodes);
            let after = chance.duration(Duration::ZERO, time / 2);
            let lasts = chance.duration(Duration::from_secs(1), time / 2);
            // Nobody could join any more, and nobody would have to.
            let lasts = if matches!(fault, Fault::Restart { .. }) {
                lasts.min(Duration::from_secs(8))
            } else {
                lasts
            };
            rules.push(Rule::lasting(after, lasts, fault));
        }
        let workload = Workload {
            writers: 1 + chance.below(5),
            per_second: [0.5, 2.0, 10.0][chance.below(3)],
            size: [24, 200, 2_000, 100_000][chance.below(4)],
            lasts: time,
        };
        // A megabyte a second over a slow line would only test patience.
        let workload =
            if workload.size > 10_000 { Workload { per_second: 0.5, ..workload } } else { workload };
        let any = |what: fn(&Fault) -> bool| rules.iter().any(|rule| what(&rule.fault));
        let separated = any(|fault| {
            matches!(
                fault,
                Fault::Partition { .. } | Fault::Kill { silent: true, .. } | Fault::KillSeeds { .. }
            )
        });
        setup.expect = Expect {
            gaps: !rules.is_empty(),
            netsplits: any(|fault| {
                matches!(
                    fault,
                    Fault::Partition { .. }
                        | Fault::KillSeeds { .. }
                        | Fault::Freeze { .. }
                        | Fault::Kill { .. }
                        | Fault::Restart { .. }
                )
            }),
            failure_free: rules.is_empty(),
            refill: (!separated).then_some(Duration::from_secs(30)),
            ignore: Vec::new(),
            replay: format!("smokesignal sim swarm --rng-seed {rng_seed} --seeds 1{size}"),
        };
        let joins_per_second = [2.0, 20.0, 200.0][chance.below(3)];
        // No fault, and from a chance of its own, so that the faults stay as they were.
        let mut wishes = Chance::new(mix(rng_seed ^ 0x5749_5348));
        if wishes.with(0.25) {
            let after = wishes.duration(Duration::ZERO, time / 2);
            rules.push(Rule::once(after, Fault::Wish { share: 0.1 }));
        }
        let patience = Duration::from_secs(if separated { 60 } else { 20 });
        Self { setup, nodes, joins_per_second, workload, rules, time, patience }
    }

    /// Plays it to the end, or to the first violation.
    pub fn play(&self) -> World {
        let mut world = World::new(self.setup.clone());
        world.join(self.nodes, self.joins_per_second);
        world
            .run(Duration::from_secs_f64(self.nodes as f64 / self.joins_per_second) + Duration::from_secs(8));
        world.measure();
        world.write(self.workload);
        for rule in &self.rules {
            world.add_rule(rule.clone());
        }
        world.run(self.time + Duration::from_secs(1));
        world.check_quiet(self.patience);
        world
    }
}

fn fault(chance: &mut Chance, nodes: usize) -> Fault {
    let share = [0.1, 0.3, 0.5][chance.below(3)];
    let bytes = [5_000, 50_000][chance.below(2)];
    match chance.below(11) {
        0 => Fault::Kill { share, silent: false },
        1 => Fault::Kill { share, silent: true },
        2 => Fault::KillSeeds { silent: chance.with(0.5) },
        3 => Fault::Restart { share },
        4 => Fault::Freeze { nodes: 1 + chance.below(nodes / 4) },
        5 => Fault::Partition { ways: 2 + chance.below(3) as u8 },
        6 => Fault::Churn { per_minute: [0.1, 0.5][chance.below(2)] },
        7 => Fault::Resets { per_minute: [0.2, 2.0][chance.below(2)] },
        8 if chance.with(0.5) => Fault::SlowLine { share, bytes },
        8 => Fault::SlowReader { share, bytes },
        9 => {
            let behaviour = Behaviour::ALL[chance.below(Behaviour::ALL.len())];
            Fault::Hostile { share: 0.1, behaviour: Some(behaviour) }
        }
        _ => Fault::ClockJump {
            share,
            by: chance.duration(Duration::from_millis(100), Duration::from_secs(100)),
        },
    }
}

/// The scenario: seeds in a row, from the given one on.
pub(crate) fn swarm(lab: &mut Lab<'_, '_>) {
    let (first, count, nodes) = (lab.run.rng_seed, lab.run.seeds, lab.run.nodes);
    let (mut deliveries, mut bad, mut replayed) = (0, 0, 0);
    for done in 0..count {
        let rng_seed = first.wrapping_add(done);
        let mut draw = Draw::new(rng_seed, nodes);
        draw.setup.expect.ignore.clone_from(&lab.run.ignore);
        draw.setup.trace = lab.run.trace;
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
        invariant: "replay".to_owned(),
        what: format!("two runs differ: {:016x} and {:016x}", one.trace_hash(), other.trace_hash()),
        node: 0,
        at_us: 0,
        replay: draw.setup.expect.replay.clone(),
    }
}
