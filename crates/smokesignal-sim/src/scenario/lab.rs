//! What the scenarios share: worlds one after the other, their sums, and the figures.

use std::time::{Duration, Instant};

use super::Run;
use crate::chance::mix;
use crate::check::{Expect, Violation};
use crate::report::{Axes, Curve, Figure, Report};
use crate::world::{Setup, World};

/// How far a scenario is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What it does.
    pub what: String,
    /// Steps done and steps in all, where it knows them.
    pub steps: Option<(u64, u64)>,
}

/// Where a scenario is played.
pub(crate) struct Lab<'a, 'b> {
    pub(crate) name: &'static str,
    pub(crate) nodes: usize,
    pub(crate) run: &'a mut Run<'b>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) curves: Vec<Curve>,
    began: Instant,
    worlds: u64,
    virtual_time: Duration,
    events: u64,
    hash: u64,
    violations: Vec<Violation>,
}

/// Joins per second.
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

    /// An empty world; each one of a scenario has its own chance.
    pub(crate) fn world(&mut self, expect: Expect) -> World {
        self.worlds += 1;
        let replay = self.replay();
        let setup = Setup::new(mix(self.run.rng_seed ^ self.worlds << 32));
        World::new(Setup {
            expect: Expect { replay, ignore: self.run.ignore.clone(), ..expect },
            trace: self.run.trace,
            ..setup
        })
    }

    fn replay(&self) -> String {
        let nodes = self.run.nodes.map_or(String::new(), |nodes| format!(" --nodes {nodes}"));
        format!("smokesignal sim {} --rng-seed {}{nodes}", self.name, self.run.rng_seed)
    }

    /// A network in which all have found their place.
    pub(crate) fn gathered(&mut self, expect: Expect) -> World {
        let world = self.world(expect);
        self.gather(world)
    }

    pub(crate) fn gather(&mut self, mut world: World) -> World {
        world.join(self.nodes, JOINS);
        let time = Duration::from_secs_f64(self.nodes as f64 / JOINS);
        self.pass(&mut world, "gather", time);
        // Until all have their links, and one round of shuffles on top.
        let min = world.setup.config.min_peers.min(self.nodes.saturating_sub(1));
        world.run_until_when(Duration::from_millis(500), Duration::from_secs(30), |world| {
            world.below(min) == 0
        });
        self.pass(&mut world, "settle", Duration::from_secs(12));
        world
    }

    /// Lets time pass, and says so.
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

    /// The distribution of delivery times as a curve.
    pub(crate) fn latency_curve(&mut self, name: &str, world: &World) {
        let points = world.stats.latency.cumulative();
        let points = points.into_iter().map(|(micros, share)| (micros as f64 / 1e3, share * 100.0)).collect();
        self.curves.push(Curve { name: name.to_owned(), axes: Axes::Latency, points });
    }

    /// The world has done its duty: what it says goes into the report.
    pub(crate) fn end(&mut self, world: &World) {
        self.add(world.now(), world.events(), world.trace_hash(), world.violation().cloned());
    }

    pub(crate) fn add(&mut self, time: Duration, events: u64, hash: u64, violation: Option<Violation>) {
        self.virtual_time += time;
        self.events += events;
        self.hash = mix(self.hash ^ hash);
        self.violations.extend(violation);
    }

    pub(crate) fn report(mut self) -> Report {
        // What was measured up to a violation shows nothing met; the swarm's figures are about the violations.
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

/// Whose messages reached whom.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delivery {
    pub(crate) expected: u64,
    pub(crate) delivered: u64,
    pub(crate) missed: u64,
}

impl Delivery {
    pub(crate) fn percent(self) -> f64 {
        if self.expected == 0 { f64::NAN } else { self.delivered as f64 * 100.0 / self.expected as f64 }
    }
}

impl World {
    /// Living, honest nodes with fewer links to living nodes, whatever they believe themselves.
    pub(crate) fn below(&self, min: usize) -> usize {
        let graph = self.graph();
        (0..self.members.len())
            .filter(|ix| self.members[*ix].alive() && self.members[*ix].honest() && graph.degree(*ix) < min)
            .count()
    }

    /// Links per living node.
    pub(crate) fn mean_degree(&self) -> f64 {
        let (graph, alive) = (self.graph(), self.alive());
        alive.iter().map(|ix| graph.degree(*ix)).sum::<usize>() as f64 / alive.len().max(1) as f64
    }

    /// What the living writers wrote, and what became of it at living nodes that were there from the start of the
    /// measurement on.
    pub(crate) fn delivery(&self) -> Delivery {
        let mut sum = Delivery::default();
        let judged = |ix: &usize| {
            let member = &self.members[*ix];
            member.awake() && member.honest() && member.started_at <= self.stats.since
        };
        let receivers: Vec<_> = (0..self.members.len()).filter(judged).collect();
        for (number, ix) in self.writers.iter().enumerate() {
            let writer_ix = *ix as usize;
            let writer = &self.members[writer_ix];
            let Some(state) = writer.writer.as_ref().filter(|_| judged(&writer_ix)) else { continue };
            for receiver in receivers.iter().filter(|receiver| **receiver != writer_ix) {
                sum.expected += state.written;
                if let Some(read) = self.members[*receiver].reads.get(number) {
                    sum.delivered += read.delivered;
                    sum.missed += read.missed;
                }
            }
        }
        sum
    }
}
