//! The world: a kernel, and its guests.
//!
//! [`World`] owns the parts and takes event after event from the kernel's queue to the part that it
//! is for. The parts do not know each other: [`Net`] moves bytes, [`Cluster`] holds the nodes,
//! [`Traffic`] what is written and read, [`Faults`] what goes wrong, [`Lookups`] who looks for
//! whom, and [`Checks`] look on. What leads from one part to another is here, in one file per
//! subject:
//!
//! Take a message from node 3 to node 7. The core's output `Send` is performed in `nodes.rs` and
//! handed to `network.rs`, which asks `Net` to put it on its way. `Net` draws the delay and
//! schedules a `Parcel` event. When the event is due, `Net` decides whether the parcel arrives,
//! waits, or breaks its connection. If it arrives, `network.rs` counts it and gives it to node 7 as
//! an input, and the outputs of node 7 are performed in the same way.
//!
//! | file | subject |
//! |---|---|
//! | `nodes.rs` | a node starts, wakes, gets an input; its outputs are performed |
//! | `network.rs` | a node dials, sends, receives, closes; a connection breaks |
//! | `relays.rs` | a connection runs over other nodes |
//! | `faults.rs` | a fault strikes, takes a step, is put right |
//! | `traffic.rs` | a writer writes; a message is delivered or missed |
//! | `lookups.rs` | a node looks for another |
//! | `quiescence.rs` | the network is quiescent, and everything has to be right |

mod faults;
mod lookups;
mod network;
mod nodes;
mod quiescence;
mod relays;
#[cfg(test)]
mod tests;
mod traffic;

use std::time::Duration;

use crate::check::{Checks, Observed, View, Violation};
use crate::cluster::Cluster;
use crate::fault::{Faults, Rule};
use crate::graph::Graph;
use crate::kernel::{Event, Kernel, Rng, micros};
use crate::lookup::{Lookups, Outcomes};
use crate::net::{Line, Net, Shake};
use crate::setup::Setup;
use crate::stats::Stats;
use crate::tally::{NodeTally, Tally};
use crate::workload::Traffic;

/// Every second the checks look at all nodes.
const SECOND: u64 = 1_000_000;

/// Many real nodes in one thread.
#[derive(Debug)]
pub struct World {
    /// The beginning: what every node starts with, and what is expected.
    setup: Setup,
    /// The clock, the queue, the randomness and the trace.
    kernel: Kernel,
    /// The hosts and their connections.
    net: Net,
    /// The nodes.
    cluster: Cluster,
    /// The writers, and the books of the readers.
    traffic: Traffic,
    /// The rules that bring faults.
    faults: Faults,
    /// The lookups, and what came of them.
    lookups: Lookups,
    /// The checks, which see everything and change nothing.
    checks: Checks,
    /// What was counted since [`World::measure`].
    pub stats: Stats,
    /// What was counted by node, where a scenario asks for it.
    tally: Option<Tally>,
    /// The first violation, which has stopped the world.
    violation: Option<Violation>,
    /// When a link was made or lost last, in virtual microseconds.
    links_changed_at: u64,
    /// Space to encode messages in, where their bytes are counted.
    encoded: Vec<u8>,
}

impl World {
    /// Creates an empty world.
    pub fn new(setup: Setup) -> Self {
        let mut kernel = Kernel::new(setup.rng_seed, setup.trace);
        kernel.schedule(SECOND, Event::Second);
        Self {
            kernel,
            net: Net::new(setup.latency, setup.rng_seed),
            cluster: Cluster::new(setup.rng_seed),
            traffic: Traffic::default(),
            faults: Faults::default(),
            lookups: Lookups::default(),
            checks: Checks::new(),
            stats: Stats::default(),
            tally: None,
            violation: None,
            links_changed_at: 0,
            encoded: Vec::new(),
            setup,
        }
    }

    /// Lets nodes join, `per_second` of them each second. The first nodes of a world are its seeds.
    pub fn join(&mut self, nodes: usize, per_second: f64) {
        self.join_without(nodes, per_second, usize::MAX);
    }

    /// The same, but one of them is not started: [`World::start`] does so later.
    pub(crate) fn join_without(&mut self, nodes: usize, per_second: f64, late: usize) {
        for number in 0..nodes {
            let ix = self.add_node();
            if ix != late {
                let at = (number as f64 * 1e6 / per_second) as u64;
                self.kernel.schedule_in(at, Event::Join(ix as u32));
            }
        }
    }

    /// Gives a node a line, which all connections share that it makes from now on.
    pub fn set_line(&mut self, ix: usize, line: Line) {
        self.net.set_line(ix, line);
    }

    /// Adds a fault. Its time is counted from now.
    pub fn add_rule(&mut self, rule: Rule) {
        self.faults.add(&mut self.kernel, rule);
    }

    /// Lets time pass. Stops early at the first violation of an invariant.
    pub fn run(&mut self, time: Duration) {
        let end = self.kernel.now() + micros(time);
        while self.violation.is_none() {
            let Some(event) = self.kernel.next_until(end) else { return };
            self.happen(event);
        }
    }

    /// Lets time pass until `done` holds, which is asked every `step`. Returns how long that took,
    /// or `None` if it took longer than `limit` or a violation came first.
    pub fn run_until_when(
        &mut self,
        step: Duration,
        limit: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let begin = self.now();
        loop {
            if done(self) {
                return Some(self.now() - begin);
            }
            if self.now() - begin >= limit || self.violation.is_some() {
                return None;
            }
            self.run(step);
        }
    }

    /// Starts a measurement: everything is counted from now on.
    pub fn measure(&mut self) {
        self.stats = Stats { since: self.kernel.now(), ..Stats::default() };
    }

    /// Starts to count by node as well.
    pub(crate) fn count_by_node(&mut self) {
        self.tally = Some(Tally::default());
    }

    /// Returns what was counted of a node.
    pub(crate) fn tally(&mut self, ix: usize) -> &mut NodeTally {
        let now = self.kernel.now();
        let node = self.tally.get_or_insert_default().node(ix);
        node.catch_up(now);
        node
    }

    /// Returns the node that a node has a stream from, if it has a parent in the writer's tree.
    pub(crate) fn parent_of(&self, ix: usize, writer: usize) -> Option<usize> {
        let stream = self.cluster.node(ix)?.stream_of(&self.cluster.id(writer))?;
        self.net.other_end(ix, stream.parent?)
    }

    /// Returns how many bytes have passed up and down a node's line.
    pub(crate) fn carried(&self, ix: usize) -> [u64; 2] {
        self.net.carried(ix)
    }

    /// Returns the virtual time since the beginning.
    pub const fn now(&self) -> Duration {
        Duration::from_micros(self.kernel.now())
    }

    /// Returns how many events were handled so far.
    pub const fn events(&self) -> u64 {
        self.kernel.events()
    }

    /// Returns a hash over everything that happened: equal for equal runs.
    pub const fn trace_hash(&self) -> u64 {
        self.kernel.trace_hash()
    }

    /// Returns the violation that stopped the world.
    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Returns the numbers of the nodes that are alive.
    pub fn alive(&self) -> Vec<usize> {
        self.cluster.alive()
    }

    /// Returns how many links a node counts, those to dead nodes included.
    pub fn peers_of(&self, ix: usize) -> usize {
        self.cluster.degree(ix)
    }

    /// Returns the links that stand now. A link that only one side counts is not part of it.
    pub fn graph(&self) -> Graph {
        Graph::of(&self.cluster, &self.net)
    }

    /// Returns the setup that the world began with.
    pub(crate) const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The source of all randomness of this world.
    pub(crate) const fn rng(&mut self) -> &mut Rng {
        self.kernel.rng()
    }

    /// Returns the nodes.
    pub(crate) const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Returns what was written and read.
    pub(crate) const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Returns what came of all lookups so far.
    pub(crate) const fn lookup_outcomes(&self) -> &Outcomes {
        self.lookups.outcomes()
    }

    /// Returns whether a node's process runs.
    pub(crate) fn is_awake(&self, ix: usize) -> bool {
        self.net.is_awake(ix)
    }

    /// Sets whether nobody can dial a node.
    pub(crate) fn set_undialable(&mut self, ix: usize, undialable: bool) {
        self.net.set_undialable(ix, undialable);
    }

    /// Limits what each node can send over each connection, in bytes per second.
    pub(crate) fn limit_uploads(&mut self, bytes: u64) {
        for ix in 0..self.cluster.len() {
            self.net.limit_upload(ix, Some(bytes), self.kernel.now());
        }
    }

    /// Returns the nodes that the first rule, while it is active, has struck.
    pub(crate) fn struck_first(&self) -> &[usize] {
        self.faults.nodes_struck(0)
    }

    /// Makes another node the writer with this number.
    pub(crate) fn move_writer(&mut self, number: u32, to: usize) {
        self.traffic.move_writer(number, to);
    }

    /// Takes an event to the part of the world that it is for.
    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(ix) => self.on_wake(ix as usize),
            Event::Parcel { slot, from, hops, parcel } => self.on_parcel(slot, from, hops, parcel),
            Event::Sent { slot, from, cost } => self.on_sent(slot, from, cost),
            Event::Chunk { slot, from, bytes } => self.on_chunk(slot, from, bytes),
            Event::Arrived { slot, from, bytes } => self.on_arrived(slot, from, bytes),
            Event::Room { ix, down } => self.on_line_room(ix, down),
            Event::Resume { slot, from } => self.on_resume(slot, from),
            Event::Lingered { slot, from } => self.on_lingered(slot, from),
            Event::Shake { slot, step, start, dial } => self.on_shake(Shake { slot, start, dial }, step),
            Event::Deadline { slot, start, dial } => self.on_deadline(Shake { slot, start, dial }),
            Event::Dialled { slot, start, dial } => self.on_dialled(slot, start, dial),
            Event::DialFailed { ix, start, dial, failure } => {
                self.on_dial_failed(ix as usize, start, dial, failure);
            }
            Event::Join(ix) => self.start(ix as usize),
            Event::Write(number) => self.on_write(number),
            Event::RuleBegins(rule) => self.on_rule_begins(rule),
            Event::RuleContinues(rule) => self.on_rule_continues(rule),
            Event::RuleEnds(rule) => self.on_rule_ends(rule),
            Event::StreamsEnd { ix, link } => self.on_streams_end(ix as usize, link),
            Event::Second => self.on_second(),
        }
    }

    /// Lets the checks look at everything, and ends what is not needed any longer.
    fn on_second(&mut self) {
        self.kernel.schedule_in(SECOND, Event::Second);
        self.forget_lost_lookups();
        self.observe(&Observed::Second);
        self.end_idle_links();
    }

    /// Shows the checks what happens. The first violation stops the world.
    pub(crate) fn observe(&mut self, event: &Observed<'_>) {
        let mut checks = std::mem::take(&mut self.checks);
        let outcome = checks.on_event(&self.view(), event);
        self.checks = checks;
        if self.violation.is_none() {
            self.violation = outcome.err();
        }
    }

    /// Returns the world as the checks see it.
    pub(crate) const fn view(&self) -> View<'_> {
        View {
            now: self.kernel.now(),
            setup: &self.setup,
            cluster: &self.cluster,
            net: &self.net,
            traffic: &self.traffic,
            faults: &self.faults,
            lookups: &self.lookups,
        }
    }
}
