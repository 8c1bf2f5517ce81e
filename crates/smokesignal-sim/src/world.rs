//! The world: nodes, the connections between them, virtual time, and everything that happens, in one order.
//!
//! How a node is driven is in `drive.rs`, what a connection does in `network.rs`, what can go wrong in `rule.rs`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use smokesignal_proto::{Config, DialFailure, DialId, LinkId, Node, NodeId};

use crate::chance::{Chance, mix};
use crate::check::{Expect, Suspects, Violation};
use crate::hostile::Loot;
use crate::latency::Latency;
use crate::link::{Links, Parcel};
use crate::member::{Member, address, keypair};
use crate::queue::Queue;
use crate::rule::Rule;
use crate::seek::Seeking;
use crate::stats::Stats;
use crate::workload::Workload;

/// What a world begins with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Everything random follows from it.
    pub rng_seed: u64,
    /// How long messages travel.
    pub latency: Latency,
    /// The first so many nodes are the seeds that all others know.
    pub seeds: usize,
    /// What every node runs by.
    pub config: Config,
    /// What must not happen.
    pub expect: Expect,
    /// Print all that happens from this virtual time on, to stderr.
    pub trace: Option<Duration>,
    /// Encode every message to know its true size; slow.
    pub count_bytes: bool,
}

impl Setup {
    /// One seed, 10 ms to 50 ms, the defaults of the core, nothing unusual expected.
    pub fn new(rng_seed: u64) -> Self {
        Self {
            rng_seed,
            latency: Latency::Wan,
            seeds: 1,
            config: Config::default(),
            expect: Expect::default(),
            trace: None,
            count_bytes: false,
        }
    }
}

/// Many real nodes in one thread.
#[derive(Debug)]
pub struct World {
    pub(crate) setup: Setup,
    pub(crate) now: u64,
    pub(crate) queue: Queue<Event>,
    pub(crate) chance: Chance,
    pub(crate) members: Vec<Member>,
    pub(crate) links: Links,
    /// Which number a node has. Asked, never iterated.
    pub(crate) numbers: HashMap<NodeId, u32, BuildHasherDefault<IdHasher>>,
    pub(crate) rules: Vec<Rule>,
    /// Rules that go on at the moment.
    pub(crate) active_rules: u32,
    /// When the world last did something to somebody.
    pub(crate) disturbed_at: u64,
    /// When the network was cut and whole again last.
    pub(crate) cut_at: u64,
    pub(crate) healed_at: u64,
    pub(crate) workload: Option<Workload>,
    /// The members that write, by writer number.
    pub(crate) writers: Vec<u32>,
    /// What replaying nodes kept, by their number. Asked, never iterated.
    pub(crate) loot: HashMap<u32, Loot>,
    /// What was counted since [`World::measure`].
    pub stats: Stats,
    pub(crate) violation: Option<Violation>,
    pub(crate) suspects: Suspects,
    pub(crate) seeking: Seeking,
    pub(crate) links_changed_at: u64,
    /// A living seed could be reached since then.
    pub(crate) seed_since: Option<u64>,
    pub(crate) events: u64,
    pub(crate) hash: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A node's own timer.
    Wake(u32),
    /// A parcel arrives; `from` is the sending side.
    Parcel {
        slot: u32,
        from: u8,
        hops: u8,
        parcel: Parcel,
    },
    /// The line has taken a message.
    Sent {
        slot: u32,
        from: u8,
        cost: u32,
    },
    /// The dialler has its connection.
    Dialled {
        slot: u32,
        start: u64,
        dial: DialId,
    },
    DialFailed {
        ix: u32,
        start: u64,
        dial: DialId,
        failure: DialFailure,
    },
    Join(u32),
    /// The writer with this number writes.
    Write(u32),
    RuleBegins(u32),
    RuleGoesOn(u32),
    RuleEnds(u32),
    /// A connection that serves streams is used no more.
    TalkOver {
        ix: u32,
        link: LinkId,
    },
    /// The checkers look at everything.
    Check,
}

/// Every second the checkers look at all nodes.
pub(crate) const CHECK_EVERY: u64 = 1_000_000;

impl World {
    /// An empty world.
    pub fn new(setup: Setup) -> Self {
        let mut world = Self {
            chance: Chance::new(setup.rng_seed),
            setup,
            now: 0,
            queue: Queue::new(),
            members: Vec::new(),
            links: Links::default(),
            numbers: HashMap::default(),
            rules: Vec::new(),
            active_rules: 0,
            disturbed_at: 0,
            cut_at: 0,
            healed_at: 0,
            workload: None,
            writers: Vec::new(),
            loot: HashMap::new(),
            stats: Stats::default(),
            violation: None,
            suspects: Suspects::default(),
            seeking: Seeking::default(),
            links_changed_at: 0,
            seed_since: None,
            events: 0,
            hash: 0,
            bytes: Vec::new(),
        };
        world.queue.push(CHECK_EVERY, Event::Check);
        world
    }

    /// `nodes` nodes enter, so many a second; the seeds come first.
    pub fn join(&mut self, nodes: usize, per_second: f64) {
        for number in 0..nodes {
            let ix = self.add_member();
            self.queue.push(self.now + (number as f64 * 1e6 / per_second) as u64, Event::Join(ix));
        }
    }

    /// Rules begin at their time, counted from now.
    pub fn add_rule(&mut self, rule: Rule) {
        let number = self.rules.len() as u32;
        self.queue.push(self.now + micros(rule.after), Event::RuleBegins(number));
        self.rules.push(rule);
    }

    /// Lets time pass; stops early where an invariant is violated.
    pub fn run(&mut self, time: Duration) {
        self.run_until(self.now + micros(time));
    }

    /// Lets time pass until `done`, asked every `step`; `None` if that took longer than `limit` or a checker stopped it.
    pub fn run_until_when(
        &mut self,
        step: Duration,
        limit: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let begin = self.now;
        loop {
            if done(self) {
                return Some(Duration::from_micros(self.now - begin));
            }
            if self.now - begin >= micros(limit) || self.violation.is_some() {
                return None;
            }
            self.run(step);
        }
    }

    fn run_until(&mut self, end: u64) {
        while self.violation.is_none() {
            let Some((at, event)) = self.queue.pop_until(end) else {
                self.now = end;
                return;
            };
            self.now = at;
            self.events += 1;
            self.happen(event);
        }
    }

    /// Counts from now on.
    pub fn measure(&mut self) {
        self.stats = Stats { since: self.now, ..Stats::default() };
    }

    /// Virtual time since the beginning.
    pub const fn now(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Events so far.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// A hash over all that happened: equal for equal runs.
    pub const fn trace_hash(&self) -> u64 {
        self.hash
    }

    /// The invariant that stopped the world.
    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Numbers of the nodes that are alive.
    pub fn alive(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|ix| self.members[*ix].alive()).collect()
    }

    /// Links that this node counts, dead ones included.
    pub fn peers_of(&self, ix: usize) -> usize {
        self.members[ix].degree()
    }

    /// A line for whoever looks for a fault in a run; made only where somebody looks.
    pub(crate) fn tell(&self, ix: usize, line: impl FnOnce() -> String) {
        if self.setup.trace.is_some_and(|from| micros(from) <= self.now) {
            eprintln!("{:>12.6} {ix:>5} {}", self.now as f64 / 1e6, line());
        }
    }

    pub(crate) fn note(&mut self, kind: u64, a: u64, b: u64) {
        let word = self.now ^ mix(kind << 56 ^ a << 32 ^ b);
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    /// A node that has not been started yet.
    pub(crate) fn add_member(&mut self) -> u32 {
        let ix = self.members.len();
        let member = Member::new(ix, self.setup.rng_seed);
        self.numbers.insert(member.id, ix as u32);
        self.members.push(member);
        ix as u32
    }

    /// Starts a node, for the first time or again with the same key.
    pub(crate) fn start(&mut self, ix: usize) {
        let seeds = self.setup.seeds;
        let mut config = self.setup.config.clone();
        let member = &mut self.members[ix];
        member.start += 1;
        config.incarnation = member.start;
        if let Some(behaviour) = member.hostile {
            behaviour.adjust(&mut config);
        }
        member.started_at = self.now;
        member.reads.clear();
        member.backlog.clear();
        member.dials = 0;
        (member.wishes, member.explicit) = (0, Vec::new());
        (member.alone_since, member.low_since) = (None, None);
        (member.frozen, member.unplugged, member.netsplit) = (false, false, false);
        if let Some(writer) = &mut member.writer {
            (writer.written, writer.blocked_since) = (0, None);
        }
        let now = smokesignal_proto::Instant::from_micros(self.now + member.clock_ahead);
        let mut node = Node::new(keypair(ix, self.setup.rng_seed), config, self.chance.bits(), now);
        node.set_addresses(vec![address(ix)]);
        for seed in 0..seeds {
            node.join(address(seed).to_string(), now);
        }
        member.node = Some(Box::new(node));
        member.wakes_at = u64::MAX;
        let start = self.members[ix].start;
        self.note(1, ix as u64, start);
        self.settle(ix);
    }
}

pub(crate) const fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// Node ids are public keys, which are random already.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks_exact(8).take(1) {
            self.0 ^= chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
