//! `liars`: nodes join, and a writer restarts with its key, among nodes that lie in their digests.
//!
//! Ten networks: without liars, with 5 % and with 20 % liars of all kinds, with 20 % of each kind,
//! and two in which no node knows the time of day, without liars and with 20 % of all kinds. While
//! ten nodes write, an honest node joins through the seed every 3 s. A liar makes a link to it,
//! immediately or within 2 s, so that the lie is what some joiners hear first. One of the writers
//! is killed and started again four times; liars that claim incarnations make links to it, too.
//!
//! A joiner is not excused for what it believed: from its first link on, each message is to be
//! delivered to it or reported as missed. Only the links to honest nodes have to be enough for
//! that: nodes that reach the seed over liars alone are not judged.

use std::time::Duration;

use super::lab::Lab;
use crate::hostile::Behaviour;
use crate::report::Figure;
use crate::setup::Expect;
use crate::workload::Workload;
use crate::world::World;

const S: Duration = Duration::from_secs(1);
/// Times in this scenario are multiples of it.
const STEP: Duration = Duration::from_millis(100);
/// The nodes that write, the first of which restarts.
const WRITERS: usize = 10;
const RESTARTED: u32 = 0;
/// How long they write.
const TIME: Duration = Duration::from_secs(60);
/// Steps between two joiners, and within how many a liar has a link to each.
const JOIN_EVERY: u32 = 30;
const LIE_WITHIN: usize = 20;
/// The step of the first restart, and those between two.
const RESTART_AT: u32 = 100;
const RESTART_EVERY: u32 = 150;
/// Steps within which all have read what the restarted writer has written. It is judged as long
/// after.
const GRACE: u32 = 30;
/// Writers that a node knows at most, so that those which are invented could take all places.
const PLACES: usize = 2_000;

/// The networks: their name, the percentage of liars, and what these do by turns.
const CASES: [(&str, usize, &[Behaviour]); 10] = [
    ("honest", 0, &Behaviour::LIARS),
    ("5 % mixed", 5, &Behaviour::LIARS),
    ("20 % mixed", 20, &Behaviour::LIARS),
    ("20 % claim positions", 20, &[Behaviour::ClaimPositions]),
    ("20 % overstate", 20, &[Behaviour::Overstate]),
    ("20 % claim incarnations", 20, &[Behaviour::ClaimIncarnations]),
    ("20 % invent writers", 20, &[Behaviour::InventWriters]),
    ("20 % play recordings", 20, &[Behaviour::PlayRecordings]),
    (WRONG_CLOCKS.0, 0, &Behaviour::LIARS),
    (WRONG_CLOCKS.1, 20, &Behaviour::LIARS),
];
/// Those in which every clock is wrong by another number of years.
const WRONG_CLOCKS: (&str, &str) = ("wrong clocks", "wrong clocks, 20 % mixed");

/// Plays `liars`.
pub(super) fn liars(lab: &mut Lab<'_, '_>) {
    for (name, percent, kinds) in CASES {
        let mut setup = lab.setup(Expect { gaps: percent > 0, ..Expect::default() });
        setup.config.max_streams = PLACES;
        setup.wrong_clocks = name.starts_with(WRONG_CLOCKS.0);
        let world = lab.gather(World::new(setup));
        let mut play = Play::new(world, percent, kinds);
        lab.pass(&mut play.world, name, 15 * S);
        play.write();
        for step in 0..(TIME.as_millis() / STEP.as_millis()) as u32 {
            play.step(step);
            lab.pass(&mut play.world, name, STEP);
            if play.world.violation().is_some() {
                break;
            }
        }
        play.world.check_quiescence(20 * S);
        play.report(lab, name);
        lab.end(&play.world);
    }
}

/// A network with liars.
struct Play {
    world: World,
    liars: Vec<usize>,
    /// Nodes that join while the others write.
    joiners: Vec<usize>,
    /// Links that liars are going to make: at which step, which liar, and to which node.
    links: Vec<(u32, usize, usize)>,
    /// The messages of the restarted writer that everybody should have when it is judged.
    settled: u64,
    /// Messages of the restarted writer that readers neither read nor reported, and how many
    /// readers read none of a start.
    lost_by_restart: u64,
    deaf_to_restart: u64,
    /// The most writers that an honest node knew and that do not exist.
    most_invented: usize,
}

impl Play {
    /// Turns a share of the nodes into liars of these kinds.
    fn new(mut world: World, percent: usize, kinds: &[Behaviour]) -> Self {
        let nodes = world.cluster().len();
        let liars = world.rng().sample((1..nodes).collect(), (nodes * percent).div_ceil(100));
        for (number, ix) in liars.iter().enumerate() {
            world.start_hostile(*ix, kinds[number % kinds.len()]);
        }
        Self {
            world,
            liars,
            joiners: Vec::new(),
            links: Vec::new(),
            settled: 0,
            lost_by_restart: 0,
            deaf_to_restart: 0,
            most_invented: 0,
        }
    }

    /// Lets honest nodes write. The seed is none of them, because the first writer restarts.
    fn write(&mut self) {
        let honest = (1..self.world.cluster().len()).filter(|ix| self.world.cluster().is_honest(*ix));
        let honest = honest.collect();
        let writers = self.world.rng().sample(honest, WRITERS);
        let workload = Workload { writers: WRITERS, per_second: 5.0, size: 200, lasts: TIME };
        self.world.write_from(writers, workload);
    }

    /// Does what is due at this step.
    fn step(&mut self, step: u32) {
        if step % JOIN_EVERY == JOIN_EVERY / 2 {
            self.join(step);
        }
        // What came of the last restart is judged with all else in the end.
        match (step + RESTART_EVERY - RESTART_AT) % RESTART_EVERY {
            0 if step >= RESTART_AT => self.restart(step),
            at if at == RESTART_EVERY - 2 * GRACE => self.settled = self.written_by_restarted(),
            at if at == RESTART_EVERY - GRACE && step > RESTART_AT => self.judge_restart(),
            _ => {}
        }
        let (due, later) = self.links.iter().partition(|(at, ..)| *at <= step);
        self.links = later;
        let due: Vec<_> = due;
        due.into_iter().for_each(|(_, liar, to)| self.world.pin_to(liar, to));
        if step.is_multiple_of(10) {
            self.most_invented = self.most_invented.max(self.invented());
        }
    }

    /// Lets an honest node join. Every other one hears of a liar first.
    fn join(&mut self, step: u32) {
        let joiner = self.world.add_node();
        self.world.start(joiner);
        let number = self.joiners.len();
        let after = if number.is_multiple_of(2) { 0 } else { self.world.rng().below(LIE_WITHIN) };
        let liar = self.liars.get(number % self.liars.len().max(1));
        self.links.extend(liar.map(|liar| (step + after as u32, *liar, joiner)));
        self.joiners.push(joiner);
    }

    /// Starts a writer again. Two liars that claim incarnations make links to it.
    fn restart(&mut self, step: u32) {
        let writer = self.restarted();
        self.world.kill(writer, false);
        self.world.start(writer);
        let claim = |ix: &&usize| self.world.cluster().behaviour(**ix) == Some(Behaviour::ClaimIncarnations);
        let links: Vec<_> = self.liars.iter().filter(claim).take(2).map(|ix| (step, *ix, writer)).collect();
        self.links.extend(links);
    }

    fn restarted(&self) -> usize {
        self.world.traffic().writers()[RESTARTED as usize].node
    }

    fn written_by_restarted(&self) -> u64 {
        self.world.traffic().writers()[RESTARTED as usize].written
    }

    /// Adds what honest readers lack of the present start of the restarted writer.
    fn judge_restart(&mut self) {
        let writer = self.restarted();
        let start = self.world.cluster().starts(writer);
        for ix in self.honest().into_iter().filter(|ix| *ix != writer) {
            let lost = self.world.traffic().unaccounted(ix, RESTARTED, start, self.settled);
            let has_read = self.world.traffic().read(ix, RESTARTED).is_some_and(|read| read.start == start);
            self.lost_by_restart += lost;
            self.deaf_to_restart += u64::from(lost > 0 && !has_read);
        }
    }

    /// Returns the honest nodes that are connected to the seed by a way over honest nodes.
    fn honest(&self) -> Vec<usize> {
        let is_liar = |ix| !self.world.cluster().is_honest(ix);
        let reached = self.world.graph().reached_past(0, is_liar);
        (0..reached.len()).filter(|ix| reached[*ix]).collect()
    }

    /// Returns the most streams that an honest node holds of writers that do not exist. Any node of
    /// the world might write.
    fn invented(&self) -> usize {
        let real = self.world.cluster().len();
        let streams = |ix: usize| {
            let held = self.world.cluster().node(ix)?.held();
            held.iter().find(|held| held.what == "streams").map(|held| held.amount)
        };
        self.honest().into_iter().filter_map(streams).max().unwrap_or(0).saturating_sub(real)
    }

    /// Returns the messages that a node neither read nor reported, and whether it has read nothing
    /// of some writer although it should have.
    fn losses(&self, ix: usize) -> (u64, bool) {
        let traffic = self.world.traffic();
        let (mut lost, mut deaf) = (0, false);
        for (number, writer) in traffic.writers().iter().enumerate() {
            if writer.node == ix {
                continue;
            }
            let start = self.world.cluster().starts(writer.node);
            let of_this = traffic.unaccounted(ix, number as u32, start, writer.written);
            let has_read = traffic.read(ix, number as u32).is_some_and(|read| read.start > 0);
            lost += of_this;
            deaf |= of_this > 0 && !has_read;
        }
        (lost, deaf || !traffic.was_connected(ix))
    }

    /// Adds the figures.
    fn report(&self, lab: &mut Lab<'_, '_>, name: &str) {
        let (joiners, others): (Vec<_>, Vec<_>) =
            self.honest().into_iter().partition(|ix| self.joiners.contains(ix));
        let losses = |of: &[usize]| of.iter().map(|ix| self.losses(*ix)).collect::<Vec<_>>();
        let (of_joiners, of_others) = (losses(&joiners), losses(&others));
        let lost = |losses: &[(u64, bool)]| losses.iter().map(|(lost, _)| *lost as f64).sum();
        let deaf = of_joiners.iter().filter(|(_, deaf)| *deaf).count() as f64;
        let (lied_to, least) = self.links_of_joiners();
        let missed = self.honest().into_iter().map(|ix| self.world.traffic().missed_by(ix)).sum::<u64>();
        let mut figure = |what: &str, value: f64, unit, limit: Option<f64>| {
            let figure = Figure::new(format!("{name}: {what}"), value, unit);
            lab.figure(match limit {
                Some(limit) => figure.at_most(limit),
                None => figure,
            });
        };
        let (none, few) = (Some(0.0), Some((PLACES / 4) as f64));
        figure("joiners", joiners.len() as f64, "nodes", None);
        figure("linked to a liar in the end", lied_to as f64, "nodes", None);
        figure("honest links of a joiner, at least", least as f64, "", None);
        figure("joiners that read nothing of some writer", deaf, "nodes", none);
        figure("joiners lost, without a gap", lost(&of_joiners), "messages", none);
        figure("others lost, without a gap", lost(&of_others), "messages", none);
        figure("reported as gaps", missed as f64, "messages", None);
        figure("readers that a restart did not reach", self.deaf_to_restart as f64, "", none);
        figure("lost by restarts, without a gap", self.lost_by_restart as f64, "messages", none);
        figure("invented writers that a node knew", self.most_invented as f64, "", few);
        figure("closed for violations", self.world.stats.broken_rules as f64, "connections", None);
    }

    /// Returns how many joiners have a link to a liar, and how many honest links each has at least.
    fn links_of_joiners(&self) -> (usize, usize) {
        let graph = self.world.graph();
        let links = |ix: &usize, honest: bool| {
            let neighbours = graph.neighbours(*ix).into_iter();
            neighbours.filter(|other| self.world.cluster().is_honest(*other) == honest).count()
        };
        let lied_to = self.joiners.iter().filter(|ix| links(ix, false) > 0).count();
        let least = self.joiners.iter().map(|ix| links(ix, true)).min();
        (lied_to, least.unwrap_or(0))
    }
}
