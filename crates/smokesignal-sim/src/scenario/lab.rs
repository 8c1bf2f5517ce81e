//! What the scenarios share: worlds one after the other, their sums, and the figures.
//!
//! Each world of a scenario has its own randomness, which follows from the run's seed and the
//! number of the world. [`Lab::end`] adds a world to the sums when it has done its duty.

use std::time::{Duration, Instant};

use super::Run;
use crate::check::Violation;
use crate::kernel::mix;
use crate::report::{Axes, Curve, Figure, Report};
use crate::setup::{Expect, Setup};
use crate::world::World;

/// How far a scenario has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What it does now.
    pub what: String,
    /// Steps done, and steps in all, where they are known.
    pub steps: Option<(u64, u64)>,
}

/// A scenario that is being played.
pub(crate) struct Lab<'a, 'b> {
    /// The name of the scenario.
    pub(crate) name: &'static str,
    /// Number of nodes per world.
    pub(crate) nodes: usize,
    /// The options of the run.
    pub(crate) run: &'a mut Run<'b>,
    /// The figures, in the order of the report.
    pub(crate) figures: Vec<Figure>,
    /// The curves, for a plot.
    pub(crate) curves: Vec<Curve>,
    /// When the scenario began, in real time.
    began: Instant,
    /// Worlds created so far.
    worlds: u64,
    /// The sums over all worlds that have ended.
    virtual_time: Duration,
    events: u64,
    hash: u64,
    /// The violations, at most one per world.
    violations: Vec<Violation>,
}

/// Nodes that join per second.
pub(crate) const JOINS: f64 = 200.0;

impl<'a, 'b> Lab<'a, 'b> {
    pub(crate) fn new(name: &'static str, nodes: usize, run: &'a mut Run<'b>) -> Self {
        Self {
            name,
            nodes,
            run,
            figures: Vec::new(),
            curves: Vec::new(),
            began: Instant::now(),
            worlds: 0,
            virtual_time: Duration::ZERO,
            events: 0,
            hash: 0,
            violations: Vec::new(),
        }
    }

    /// Returns the setup of the next world, with randomness of its own.
    pub(crate) fn setup(&mut self, expect: Expect) -> Setup {
        self.worlds += 1;
        let replay = self.replay();
        Setup {
            expect: Expect { replay, ignore: self.run.ignore.clone(), ..expect },
            trace: self.run.trace,
            features: self.run.offered(),
            ..Setup::new(mix(self.run.rng_seed ^ self.worlds << 32))
        }
    }

    /// Lets the next worlds have the same randomness as the first ones: a case of a scenario that
    /// is played alone is then the same as among others.
    pub(crate) const fn start_over(&mut self) {
        self.worlds = 0;
    }

    /// Creates the next world, which is empty.
    pub(crate) fn world(&mut self, expect: Expect) -> World {
        World::new(self.setup(expect))
    }

    /// Returns the command that repeats this run.
    fn replay(&self) -> String {
        let nodes = self.run.nodes.map_or(String::new(), |nodes| format!(" --nodes {nodes}"));
        let case = self.run.case.map_or(String::new(), |case| format!(" --case {}", case.name));
        let features = self.run.features_option();
        format!("smokesignal sim {}{case} --rng-seed {}{nodes}{features}", self.name, self.run.rng_seed)
    }

    /// Creates a network in which all nodes have found their places.
    pub(crate) fn gathered(&mut self, expect: Expect) -> World {
        let world = self.world(expect);
        self.gather(world)
    }

    /// Lets the scenario's nodes join a world, until all have their links.
    pub(crate) fn gather(&mut self, mut world: World) -> World {
        world.join(self.nodes, JOINS);
        let time = Duration::from_secs_f64(self.nodes as f64 / JOINS);
        self.pass(&mut world, "gather", time);
        // On top of the links, one round of shuffles.
        let min = world.setup().config.min_peers.min(self.nodes.saturating_sub(1));
        world.run_until_when(Duration::from_millis(500), Duration::from_secs(30), |world| {
            world.below(min) == 0
        });
        self.pass(&mut world, "settle", Duration::from_secs(12));
        world
    }

    /// Lets time pass, and reports the progress.
    pub(crate) fn pass(&mut self, world: &mut World, what: &str, time: Duration) {
        let end = world.now() + time;
        while world.now() < end && world.violation().is_none() {
            let what = format!("{what}, {:.0} s", world.now().as_secs_f64());
            (self.run.progress)(Progress { what, steps: None });
            world.run(Duration::from_secs(1).min(end - world.now()));
        }
    }

    pub(crate) fn figure(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Adds the distribution of delivery times as a curve.
    pub(crate) fn latency_curve(&mut self, name: &str, world: &World) {
        let points = world.stats.latency.cumulative();
        let points = points.into_iter().map(|(micros, share)| (micros as f64 / 1e3, share * 100.0)).collect();
        self.curves.push(Curve { name: name.to_owned(), axes: Axes::Latency, points });
    }

    /// Adds a world that has done its duty to the sums.
    pub(crate) fn end(&mut self, world: &World) {
        self.add(world.now(), world.events(), world.trace_hash(), world.violation().cloned());
    }

    /// Adds to the sums.
    pub(crate) fn add(&mut self, time: Duration, events: u64, hash: u64, violation: Option<Violation>) {
        self.virtual_time += time;
        self.events += events;
        self.hash = mix(self.hash ^ hash);
        self.violations.extend(violation);
    }

    /// Makes the report of the whole run.
    pub(crate) fn report(mut self) -> Report {
        // Figures that were measured up to a violation do not show that a goal is met. Those of the
        // swarm, which makes its worlds itself, are about the violations and stay.
        if !self.violations.is_empty() && self.worlds > 0 {
            self.figures
                .iter_mut()
                .filter(|figure| figure.met == Some(true))
                .for_each(|figure| figure.met = None);
        }
        let wall = self.began.elapsed().as_secs_f64();
        Report {
            scenario: self.name.to_owned(),
            nodes: self.nodes,
            rng_seed: self.run.rng_seed,
            virtual_s: self.virtual_time.as_secs_f64(),
            wall_s: wall,
            events: self.events,
            events_per_s: (self.events as f64 / wall).round(),
            trace_hash: format!("{:016x}", self.hash),
            figures: self.figures,
            violations: self.violations,
            curves: self.curves,
        }
    }
}

/// How many messages were due, and what became of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delivery {
    /// Messages that were due.
    pub(crate) expected: u64,
    /// Messages that were delivered.
    pub(crate) delivered: u64,
    /// Messages that were reported as missed.
    pub(crate) missed: u64,
}

impl Delivery {
    /// Returns the share of the due messages that was delivered, in percent.
    pub(crate) fn percent(self) -> f64 {
        if self.expected == 0 { f64::NAN } else { self.delivered as f64 * 100.0 / self.expected as f64 }
    }
}

impl World {
    /// Returns how many living, honest nodes have fewer links than this to living nodes, whatever
    /// they count themselves.
    pub(crate) fn below(&self, min: usize) -> usize {
        let graph = self.graph();
        let is_low = |ix: &usize| self.cluster().is_honest(*ix) && graph.degree(*ix) < min;
        self.alive().into_iter().filter(is_low).count()
    }

    /// Returns the mean number of links per living node.
    pub(crate) fn mean_degree(&self) -> f64 {
        let (graph, alive) = (self.graph(), self.alive());
        alive.iter().map(|ix| graph.degree(*ix)).sum::<usize>() as f64 / alive.len().max(1) as f64
    }

    /// Returns what the living writers wrote, and what became of it at the living nodes that were
    /// there when the measurement began.
    pub(crate) fn delivery(&self) -> Delivery {
        let mut sum = Delivery::default();
        let is_judged = |ix: usize| {
            let cluster = self.cluster();
            self.is_awake(ix) && cluster.is_honest(ix) && cluster.started_at(ix) <= self.stats.since
        };
        let judged: Vec<_> = (0..self.cluster().len()).filter(|ix| is_judged(*ix)).collect();
        for (number, writer) in self.traffic().writers().iter().enumerate() {
            if !is_judged(writer.node) {
                continue;
            }
            for reader in judged.iter().filter(|reader| **reader != writer.node) {
                sum.expected += writer.written;
                if let Some(read) = self.traffic().read(*reader, number as u32) {
                    sum.delivered += read.delivered;
                    sum.missed += read.missed;
                }
            }
        }
        sum
    }
}
