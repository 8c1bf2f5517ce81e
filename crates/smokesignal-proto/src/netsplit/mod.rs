//! The beacon of a partition: its root, its size, and the seeds that are part of it.
//!
//! The node with the smallest id is the root. It signs a numbered beat, which every node passes on
//! once, so that each node knows the root, and a dead root is missed everywhere at the same time.
//! The links over which beats arrive first form a tree. Along it each node reports upwards how many
//! nodes are below it and what they know of the seeds (a convergecast), and the next beat carries
//! the sums to all nodes. The cost is one or two small messages per link and period, however large
//! the network is. The same tree shares the work of dialling missing seeds (`turns.rs`).
//!
//! A netsplit is a seed that was part of the partition, is not any more, and does not answer dials
//! (`watch.rs`). A seed whose host refuses the connection is only down. `docs/design/partition.md`
//! has an example.

mod turns;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::context::{Cx, Me};
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::limits::Held;
use crate::message::{Beat, Control, MAX_SEEDS, SeedReport, SeedStatus, SoughtSeed};
use crate::output::Fact;
use crate::rng::Rng;
use crate::time::Instant;

pub(crate) use turns::address_key;
use turns::{SOUGHT_PAUSE, Turns, Way};
pub(crate) use watch::SeedFact;
use watch::Watch;

/// Maximum number of dead roots that are remembered, so that an old beat does not bring them back.
/// The smallest id loses.
const MAX_DEAD: usize = 64;
/// After this time no node has a dead root's old beats any more, and it may have been started again
/// with a clock that was set back.
const DEAD_FOR: Duration = Duration::from_secs(60);
/// Reports of several children within this time are passed on together.
const REPORT_PAUSE: Duration = Duration::from_millis(50);
/// At least one in this number of nodes probes: enough for 12 000 nodes at three in a round.
const MAX_PROBERS: u32 = 4096;
/// Copies of a beat within this time after the first may still lower its age.
const LATE_COPY: Duration = Duration::from_millis(500);
/// New beats that one neighbour may send in a row. Default 16: as many roots as may meet in a
/// merging network.
const BEATS_DUE: u32 = 16;
/// Minimum time between two answers to beats of a larger root, and between two urgent beats.
const ANSWER_PAUSE: Duration = Duration::from_millis(250);

/// The state of the beacon.
#[derive(Debug)]
pub(crate) struct Netsplit {
    /// Its own random numbers, so that beats and membership do not influence each other.
    rng: Rng,
    best: Best,
    /// Number of beats that this node has signed.
    beats: u64,
    next_beat: Instant,
    /// The neighbour that is nearer to the root.
    up: Option<LinkId>,
    /// When a report was last passed on.
    told: Instant,
    /// The last beat of each dead root, and since when it is dead.
    dead: BTreeMap<NodeId, (u64, u64, Instant)>,
    sides: BTreeMap<LinkId, Side>,
    watch: Watch,
    turns: Turns,
}

/// The latest beat of this node's root.
#[derive(Debug)]
struct Best {
    beat: Arc<Beat>,
    /// Its age when it arrived.
    age: Duration,
    received: Instant,
    /// When this node adopted the root.
    since: Instant,
}

/// What this node knows of one neighbour.
#[derive(Debug)]
struct Side {
    /// The tag of the root whose beats it gets from this node, if it does.
    child: Option<u32>,
    subtree: u32,
    seeds: Vec<SeedReport>,
    /// The seeds that it and all nodes below it look for.
    sought: Vec<SoughtSeed>,
    /// The last beat of the present root that came from it.
    beat: u64,
    /// The last beat of it that this node sent.
    sent: u64,
    /// Its distance from the root at that beat.
    hops: u8,
    /// Whether the link was chosen because it is near, and so may be exchanged soon.
    near: bool,
    answered: Instant,
    told: Option<Report>,
    /// The number of new beats that it may still send, and since when.
    beats_due: (u32, Instant),
}

impl Side {
    /// Returns whether the neighbour may send another new beat. A root beats every `beat_period`,
    /// and after `ANSWER_PAUSE` when it has news; a neighbour that sends more makes beats up.
    fn may_tell(&mut self, now: Instant) -> bool {
        let (due, since) = self.beats_due;
        let more = u32::try_from((now - since).as_millis() / ANSWER_PAUSE.as_millis()).unwrap_or(BEATS_DUE);
        let since = if more > 0 { now } else { since };
        let due = due.saturating_add(more).min(BEATS_DUE);
        self.beats_due = (due.saturating_sub(1), since);
        due > 0
    }
}

/// A node's report about itself and all nodes below it, for the neighbour nearer to the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The tag of the root it is for, or none if the receiver is not on the path to it.
    pub(crate) child: Option<u32>,
    pub(crate) subtree: u32,
    pub(crate) seeds: Vec<SeedReport>,
}

/// A beat as a neighbour, or a node that was probed, passed it on.
#[derive(Debug)]
pub(crate) struct ToldBeat {
    pub(crate) beat: Arc<Beat>,
    pub(crate) age_ms: u32,
    pub(crate) hops: u8,
}

impl ToldBeat {
    fn age(&self) -> Duration {
        Duration::from_millis(self.age_ms.into())
    }
}

/// Returns enough of a root's id to identify it in a report.
fn tag(root: &NodeId) -> u32 {
    root.as_bytes().iter().take(4).fold(0, |tag, byte| tag << 8 | u32::from(*byte))
}

impl Best {
    /// Takes another neighbour's age of the same beat. The first neighbour may have exaggerated it,
    /// to have a living root declared dead; a smaller age cannot keep a dead root for longer than
    /// its age limit.
    fn is_no_older_than(&mut self, age: Duration, now: Instant) {
        let since = now - self.received;
        if since < LATE_COPY {
            self.age = self.age.min(age.saturating_sub(since));
        }
    }

    fn age(&self, now: Instant) -> Duration {
        self.age + (now - self.received)
    }
}

impl Netsplit {
    pub(crate) fn new(me: &Me, config: &Config, rng_seed: u64, now: Instant) -> Self {
        let beat = Beat::sign(me.keypair(), &config.network, me.incarnation(), 0, 1, Vec::new());
        Self {
            rng: Rng::new(rng_seed),
            best: Best { beat: Arc::new(beat), age: Duration::ZERO, received: now, since: now },
            beats: 0,
            next_beat: now + config.beat_period,
            up: None,
            told: now,
            dead: BTreeMap::new(),
            sides: BTreeMap::new(),
            watch: Watch::default(),
            turns: Turns::default(),
        }
    }

    /// See [`crate::Node::held`].
    pub(crate) fn held(&self, held: &mut Vec<Held>) {
        let seeds = self.sides.values().map(|side| side.seeds.len()).chain([self.best.beat.seeds.len()]);
        held.extend([
            Held { what: "dead roots", amount: self.dead.len(), limit: MAX_DEAD },
            Held { what: "seeds watched", amount: seeds.max().unwrap_or(0), limit: MAX_SEEDS },
        ]);
    }

    /// Returns the number of nodes in this node's partition, itself included, as far as it knows.
    pub(crate) fn size(&self, me: &Me) -> u32 {
        if self.is_root(me) { self.report(me).subtree } else { self.best.beat.size }
    }

    pub(crate) fn root(&self) -> NodeId {
        self.best.beat.root
    }

    fn is_root(&self, me: &Me) -> bool {
        self.best.beat.root == me.id()
    }

    /// Returns the latest beat, for a neighbour or a node that probes.
    pub(crate) fn beacon(&self, cx: &Cx<'_>) -> Control {
        let age_ms = u32::try_from(self.best.age(cx.now).as_millis()).unwrap_or(u32::MAX);
        Control::Beacon { beat: Arc::clone(&self.best.beat), age_ms, hops: self.hops(cx.me) }
    }

    pub(crate) fn link_up(&mut self, cx: &mut Cx<'_>, link: LinkId, near: bool) {
        let side = Side {
            child: None,
            subtree: 0,
            seeds: Vec::new(),
            sought: Vec::new(),
            beat: 0,
            sent: 0,
            hops: 0,
            near,
            answered: cx.now,
            told: None,
            beats_due: (BEATS_DUE, cx.now),
        };
        self.sides.insert(link, side);
        cx.out.send(link, self.beacon(cx));
    }

    pub(crate) fn link_down(&mut self, link: LinkId) {
        self.sides.remove(&link);
        if self.up == Some(link) {
            self.up = None;
        }
    }

    /// Returns whether reports travel over the link, in either direction: if it ended, the nodes on
    /// one side of it would be missed in the count until the next beat.
    pub(crate) fn carries_reports(&self, link: LinkId) -> bool {
        self.up == Some(link) || self.children().any(|(child, _)| child == link)
    }

    /// Takes a beat from a neighbour. Returns whether its signature, if it had to be checked, is
    /// right.
    pub(crate) fn on_beacon(&mut self, cx: &mut Cx<'_>, link: LinkId, told: &ToldBeat) -> bool {
        let (beat, hops, now) = (&told.beat, told.hops, cx.now);
        let age = told.age();
        let number = (beat.incarnation, beat.beat);
        let is_dead = |(incarnation, beat, since): &(u64, u64, Instant)| {
            (*incarnation, *beat) >= number && now - *since < DEAD_FOR
        };
        let is_dead = self.dead.get(&beat.root).is_some_and(is_dead);
        if beat.root == cx.me.id() || age > cx.config.root_max_age || is_dead {
            return true;
        }
        let meets = self.meets(cx, beat, age);
        let ours = &self.best.beat;
        if beat.root > ours.root {
            if meets {
                cx.out.note(Fact::Met { link, former: None });
            }
            self.answer(cx, link);
            return true;
        }
        let same = beat.root == ours.root;
        if same && number <= (ours.incarnation, ours.beat) {
            if number == (ours.incarnation, ours.beat) {
                self.best.is_no_older_than(age, now);
            }
            self.came_over(cx, link, beat, hops);
            return true;
        }
        if self.sides.get_mut(&link).is_some_and(|side| !side.may_tell(now)) {
            return true;
        }
        if !beat.verify(&cx.config.network) {
            return false;
        }
        if meets {
            let root = Some(tag(&ours.root));
            let is_former = |side: &Side| side.beat > 0 || side.child == root;
            let former = self.sides.iter().filter(|(other, side)| **other != link && is_former(side));
            cx.out.note(Fact::Met { link, former: Some(former.map(|(link, _)| *link).collect()) });
        }
        let urgent = !same || beat.seeds != ours.seeds;
        if same && beat.incarnation == ours.incarnation {
            (self.best.beat, self.best.age, self.best.received) = (Arc::clone(beat), age, now);
        } else {
            self.change_root(cx, Arc::clone(beat), age);
        }
        self.came_over(cx, link, beat, hops);
        self.pass_on(cx, urgent);
        self.take_stock(cx);
        true
    }

    /// Returns whether this beat is of another living partition, as far as a neighbour may be
    /// believed. A single node is none.
    fn meets(&self, cx: &Cx<'_>, beat: &Beat, age: Duration) -> bool {
        let fresh = 2 * cx.config.beat_period;
        let both_live = age < fresh && self.best.age(cx.now) < fresh;
        beat.root != self.best.beat.root && both_live && beat.size > 1 && self.size(cx.me) > 1
    }

    /// Notes that a beat came over this link, and adapts the path to the root. The path changes
    /// only if another is shorter, or the present one lags by a whole beat. Nodes that change it
    /// are missed in the count for a moment, so near links, which come and go, do not attract it,
    /// apart from those to the root. Because every beat carries the length anew, no cycle lasts.
    fn came_over(&mut self, cx: &mut Cx<'_>, link: LinkId, beat: &Beat, hops: u8) {
        let Some(side) = self.sides.get_mut(&link) else { return };
        if beat.beat < side.beat || beat.incarnation != self.best.beat.incarnation {
            return;
        }
        (side.beat, side.hops) = (beat.beat, hops);
        // All neighbours of a root report to it, see `has_gathered`.
        let attracts = !side.near || hops == 0;
        let current = self.best.beat.beat;
        let lags = |side: &Side| side.beat.saturating_add(1) < current;
        let up = self.up.and_then(|up| self.sides.get(&up));
        if beat.beat == current && up.is_none_or(|side| lags(side) || (hops < side.hops && attracts)) {
            self.up = Some(link);
            self.tell_up(cx);
        }
    }

    /// Returns the number of links between this node and the root.
    fn hops(&self, me: &Me) -> u8 {
        let up = self.up.and_then(|up| self.sides.get(&up));
        if self.is_root(me) { 0 } else { up.map_or(u8::MAX, |side| side.hops.saturating_add(1)) }
    }

    fn answer(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        let Some(side) = self.sides.get_mut(&link) else { return };
        if cx.now - side.answered >= ANSWER_PAUSE {
            side.answered = cx.now;
            cx.out.send(link, self.beacon(cx));
        }
    }

    fn change_root(&mut self, cx: &mut Cx<'_>, beat: Arc<Beat>, age: Duration) {
        let now = cx.now;
        let other = beat.root != self.best.beat.root;
        if other && self.size(cx.me) > 1 && self.best.age(now) < 2 * cx.config.beat_period {
            cx.out.note(Fact::Merged);
        }
        self.best = Best { beat, age, received: now, since: now };
        self.begin_anew();
    }

    /// Starts over with another root, or the same one restarted: its beats are numbered from 1.
    fn begin_anew(&mut self) {
        self.up = None;
        self.watch.begin_anew(self.best.beat.beat);
        self.sides.values_mut().for_each(|side| (side.beat, side.sent) = (0, 0));
    }

    pub(crate) fn on_report(&mut self, cx: &mut Cx<'_>, link: LinkId, report: Report) {
        let Some(side) = self.sides.get_mut(&link) else { return };
        (side.child, side.subtree, side.seeds) = (report.child, report.subtree, report.seeds);
        if side.child.is_some() && self.up == Some(link) {
            self.up = None; // Each of the two takes the other for nearer to the root: the next beat decides.
        }
        // Reports travel upwards immediately, but not one by one: when two partitions meet, the
        // root must hear of it soon.
        if cx.now - self.told >= REPORT_PAUSE {
            self.told = cx.now;
            self.tell_up(cx);
        }
    }

    /// Passes the beat on: to the neighbours that get their beats from this node, or to all if it
    /// is `urgent`. The others most likely have it already; of two such nodes the one that ticks
    /// first sends it, so that it crosses each link once. The neighbour on the path to the root is
    /// left out: it has to send beats, and would stop if this node were faster once.
    fn pass_on(&mut self, cx: &mut Cx<'_>, urgent: bool) {
        let (beacon, number) = (self.beacon(cx), self.best.beat.beat);
        let root = tag(&self.best.beat.root);
        let up = self.up;
        for (link, side) in self.sides.iter_mut().filter(|(link, _)| Some(**link) != up) {
            if side.beat < number && side.sent < number && (urgent || side.child == Some(root)) {
                side.sent = number;
                cx.out.send(*link, beacon.clone());
            }
        }
    }

    /// Returns the report for this neighbour's next keepalive.
    pub(crate) fn report_for(&mut self, me: &Me, link: LinkId) -> Report {
        let report = if self.up == Some(link) { self.report(me) } else { Report::default() };
        if let Some(side) = self.sides.get_mut(&link) {
            side.told = Some(report.clone());
        }
        report
    }

    /// Returns the report about this node and all below it.
    fn report(&self, me: &Me) -> Report {
        let root = tag(&self.best.beat.root);
        let children = || self.children().map(|(_, side)| side);
        let below = children().fold(0u32, |sum, side| sum.saturating_add(side.subtree));
        let seeds = self.watch.merge(me.id(), &self.best.beat, children().flat_map(|side| &side.seeds));
        Report { child: Some(root), subtree: below.saturating_add(1), seeds }
    }

    /// Sends changed reports to the present and the former neighbour on the path to the root.
    /// `node.rs` fills in the `degree`.
    fn tell_up(&mut self, cx: &mut Cx<'_>) {
        let links: Vec<_> = self.sides.keys().copied().collect();
        for link in links {
            let before = self.sides.get(&link).and_then(|side| side.told.clone());
            let report = self.report_for(cx.me, link);
            if report != before.unwrap_or_default() {
                let Report { child, subtree, seeds } = report;
                cx.out.send(link, Control::Ping { degree: 0, child, subtree, seeds });
            }
        }
    }

    /// Notes which of its seeds this node lacks, by [`address_key`]: once in every tick. The root
    /// gives turns to dial them. Returns those that this node itself is to dial.
    pub(crate) fn seek(&mut self, cx: &mut Cx<'_>, own: Vec<u64>) -> Vec<u64> {
        self.turns.learn(own);
        self.report_sought(cx);
        if !self.is_root(cx.me) {
            return Vec::new();
        }
        let due = self.turns.due(&self.sought(), &mut self.rng, cx.now);
        due.into_iter().filter(|seed| self.give_turn(cx, *seed)).collect()
    }

    /// Takes what a neighbour and all nodes below it look for.
    pub(crate) fn on_sought(&mut self, cx: &mut Cx<'_>, link: LinkId, seeds: Vec<SoughtSeed>) {
        let Some(side) = self.sides.get_mut(&link) else { return };
        side.sought = seeds;
        if cx.now - self.turns.reported_at >= SOUGHT_PAUSE {
            self.report_sought(cx);
        }
    }

    /// Takes a turn, which counts from the neighbour nearer to the root only. Returns whether it
    /// ends here: this node is to dial the seed.
    pub(crate) fn on_turn(&mut self, cx: &mut Cx<'_>, link: LinkId, seed: u64) -> bool {
        self.up == Some(link) && self.give_turn(cx, seed)
    }

    /// Gives a turn to a neighbour below this node that looks for the seed, or to this node itself.
    /// Returns whether it is this node's.
    fn give_turn(&mut self, cx: &mut Cx<'_>, seed: u64) -> bool {
        let by = |side: &Side| side.sought.iter().find(|sought| sought.seed == seed).map_or(0, |s| s.by);
        let below: Vec<_> = self.children().map(|(link, side)| (link, by(side))).collect();
        match self.turns.way(seed, &below, &mut self.rng) {
            Some(Way::Here) => return true,
            Some(Way::Down(link)) => cx.out.send(link, Control::Turn { seed }),
            None => {}
        }
        false
    }

    fn report_sought(&mut self, cx: &mut Cx<'_>) {
        let seeds = self.sought();
        if let Some(up) = self.up
            && self.turns.report(up, &seeds, cx.now)
        {
            cx.out.send(up, Control::Sought { seeds });
        }
    }

    /// Returns the seeds that this node and all nodes below it look for.
    fn sought(&self) -> Vec<SoughtSeed> {
        self.turns.sought(self.children().flat_map(|(_, side)| &side.sought))
    }

    /// Returns the neighbours that get the beats of the present root from this node.
    fn children(&self) -> impl Iterator<Item = (LinkId, &Side)> {
        let root = Some(tag(&self.best.beat.root));
        self.sides.iter().filter(move |(_, side)| side.child == root).map(|(link, side)| (*link, side))
    }

    /// Runs once in every tick of the node. `facts` is what the node itself knows of its seeds.
    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>, facts: Vec<SeedFact>) {
        self.watch.learn(facts, self.best.beat.beat);
        let age = self.best.age(cx.now);
        if !self.is_root(cx.me) && age > cx.config.root_max_age {
            self.bury_root(cx);
        }
        if self.is_root(cx.me) {
            let report = self.report(cx.me);
            let gathered = self.has_gathered(cx);
            let seeds = self.watch.judge(&report.seeds, gathered);
            let news = seeds != self.best.beat.seeds;
            if cx.now >= self.next_beat || (news && cx.now - self.best.received >= ANSWER_PAUSE) {
                self.beat(cx, report.subtree, seeds);
            }
        }
        self.pass_on(cx, true);
        self.tell_up(cx);
        self.take_stock(cx);
    }

    /// Returns whether the reports of all nodes have arrived. All neighbours of a root get their
    /// beats from it; while one has not confirmed that, it may be part of a partition that this
    /// node has lost touch with because its line is too slow.
    fn has_gathered(&self, cx: &Cx<'_>) -> bool {
        let root = Some(tag(&cx.me.id()));
        let agreed = self.sides.values().all(|side| side.child == root);
        agreed && (self.sides.is_empty() || cx.now - self.best.since >= cx.config.beat_period)
    }

    fn bury_root(&mut self, cx: &Cx<'_>) {
        let (dead, now) = (&self.best.beat, cx.now);
        self.dead.insert(dead.root, (dead.incarnation, dead.beat, now));
        if self.dead.len() > MAX_DEAD {
            self.dead.pop_first();
        }
        let beat = self.own_beat(cx, 1, Vec::new());
        self.best = Best { beat, age: Duration::ZERO, received: now, since: now };
        self.next_beat = now + self.rng.duration(Duration::ZERO, ANSWER_PAUSE);
        self.begin_anew();
    }

    fn own_beat(&mut self, cx: &Cx<'_>, size: u32, seeds: Vec<SeedStatus>) -> Arc<Beat> {
        self.beats += 1;
        let (me, network) = (cx.me, &cx.config.network);
        Arc::new(Beat::sign(me.keypair(), network, me.incarnation(), self.beats, size, seeds))
    }

    fn beat(&mut self, cx: &mut Cx<'_>, size: u32, seeds: Vec<SeedStatus>) {
        let period = cx.config.beat_period;
        self.next_beat = cx.now + self.rng.duration(period * 19 / 20, period * 21 / 20);
        let beat = self.own_beat(cx, size, seeds);
        self.best = Best { beat, age: Duration::ZERO, received: cx.now, since: self.best.since };
        self.pass_on(cx, true);
    }

    fn take_stock(&mut self, cx: &mut Cx<'_>) {
        let size = self.size(cx.me);
        if let Some(output) = self.watch.take_stock(cx, &self.best.beat, size) {
            cx.out.push(output);
        }
    }

    /// Returns whether this node has been part of its partition for a while.
    pub(crate) fn is_steady(&self, cx: &Cx<'_>) -> bool {
        self.is_root(cx.me) || cx.now - self.best.since > cx.config.beat_period
    }

    /// Returns whether this beat, heard out of band, is of another living partition.
    pub(crate) fn is_other(&self, cx: &Cx<'_>, told: &ToldBeat) -> bool {
        let (now, fresh) = (cx.now, 2 * cx.config.beat_period);
        told.beat.root != self.best.beat.root
            && told.beat.verify(&cx.config.network)
            && told.age() < fresh
            && self.best.age(now) < fresh
            && self.is_steady(cx)
    }

    /// Returns whether this beat, heard out of band, is of this node's own partition.
    pub(crate) fn is_ours(&self, cx: &Cx<'_>, told: &ToldBeat) -> bool {
        told.beat.root == self.best.beat.root && told.age() < 2 * cx.config.beat_period
    }

    /// Returns whether the last beat says that this seed is part of the partition.
    pub(crate) fn has_seed(&self, seed: &NodeId) -> bool {
        self.watch.is_present(&self.best.beat, seed)
    }

    /// Returns one of how many nodes should probe out of band, so that three in a partition do so
    /// in each round.
    pub(crate) fn probers(&self, me: &Me) -> u32 {
        // A member that spoils the count must not put an end to probing.
        self.size(me).div_ceil(3).clamp(1, MAX_PROBERS)
    }
}
