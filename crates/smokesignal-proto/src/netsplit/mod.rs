//! ARE WE WHOLE: one beacon per component, its size, and which seeds are part of it.
//!
//! The node with the smallest id is its component's root. It signs a numbered beat; every node passes a new beat on
//! once, so that each knows the root, and a root that has died is missed everywhere at the same time. The links by
//! which beats come first form a tree; along it each node reports upwards how many nodes are below it and what they
//! know of the seeds (a convergecast), and the next beat tells the sums to all. Cost: one or two small messages per
//! link and period, however large the network.
//!
//! A seed that was part of the component, is not any more, and cannot be reached by dialling either, is what a
//! netsplit looks like from the inside (`watch.rs`). A seed whose host refuses the connection is only down.

mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::id::{Keypair, NodeId};
use crate::ids::LinkId;
use crate::limits::Held;
use crate::message::{Beat, Control, MAX_SEEDS, SeedReport, SeedStatus};
use crate::rng::Rng;
use crate::time::Instant;

pub(crate) use watch::SeedFact;
use watch::Watch;

/// Roots known to be dead, so that an old beat does not bring them back. The smallest id loses.
const MAX_DEAD: usize = 64;
/// After that nobody has its old beats any more; and it may be started again with a clock that was set back.
const DEAD_FOR: Duration = Duration::from_secs(60);
/// Reports of several children are passed on together.
const REPORT_PAUSE: Duration = Duration::from_millis(50);
/// Of so many nodes at most one looks around: enough for 12 000 nodes at three in a round.
const MAX_PROBERS: u32 = 4096;
/// Copies of a beat that come so much later than the first still tell how old it is.
const LATE_COPY: Duration = Duration::from_millis(500);
/// New beats that one neighbour may tell in a row. Default 16: as many roots as may meet in a merging network.
const BEATS_DUE: u32 = 16;
/// A worse root is answered with ours, and news are reported upwards, not more often than this.
const ANSWER_PAUSE: Duration = Duration::from_millis(250);

/// What becomes of it. `node.rs` passes it on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    Send(LinkId, Control),
    /// The seed with this id is not part of the component any more.
    Netsplit {
        seed: NodeId,
        size: u32,
        size_before: u32,
        other_size: Option<u32>,
    },
    Resolved {
        duration: Duration,
        size: u32,
    },
    /// Two components have become one.
    Merged,
}

/// The organ.
#[derive(Debug)]
pub(crate) struct Netsplit {
    me: NodeId,
    keypair: Arc<Keypair>,
    config: Config,
    rng: Rng,
    best: Best,
    /// Own beats so far.
    beats: u64,
    next_beat: Instant,
    /// The neighbour that is nearer to the root.
    up: Option<LinkId>,
    /// When a report was passed on last.
    told: Instant,
    /// The last beat of each, and since when it is dead.
    dead: BTreeMap<NodeId, (u64, u64, Instant)>,
    sides: BTreeMap<LinkId, Side>,
    watch: Watch,
    pub(crate) news: Vec<News>,
}

/// The beat we live by.
#[derive(Debug)]
struct Best {
    beat: Arc<Beat>,
    /// How old it was when it arrived.
    age: Duration,
    received: Instant,
    /// Since when this root is ours.
    since: Instant,
}

/// What we know of one neighbour.
#[derive(Debug)]
struct Side {
    /// It gets its beats, of the root with this tag, from us.
    child: Option<u32>,
    subtree: u32,
    seeds: Vec<SeedReport>,
    /// The last beat of the present root that came from it.
    beat: u64,
    /// The last beat of it that we sent.
    sent: u64,
    /// How far from the root it was then.
    hops: u8,
    answered: Instant,
    told: Option<Report>,
    /// New beats that it may still tell, and since when that is so.
    beats_due: (u32, Instant),
}

impl Side {
    /// A root beats every `beat_period`, and at once, but not sooner than after `ANSWER_PAUSE`, when it has news. Whoever
    /// tells more makes them up.
    fn may_tell(&mut self, now: Instant) -> bool {
        let (due, since) = self.beats_due;
        let more = u32::try_from((now - since).as_millis() / ANSWER_PAUSE.as_millis()).unwrap_or(BEATS_DUE);
        let since = if more > 0 { now } else { since };
        let due = due.saturating_add(more).min(BEATS_DUE);
        self.beats_due = (due.saturating_sub(1), since);
        due > 0
    }
}

/// What one node tells its neighbour nearer to the root about itself and all nodes below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The root it speaks of, or none if the receiver is not the way to it.
    pub(crate) child: Option<u32>,
    pub(crate) subtree: u32,
    pub(crate) seeds: Vec<SeedReport>,
}

/// Enough of a root's id to tell what a report is about.
fn tag(root: &NodeId) -> u32 {
    root.as_bytes().iter().take(4).fold(0, |tag, byte| tag << 8 | u32::from(*byte))
}

impl Best {
    /// Another neighbour says how old the same beat is. The first to bring it may have lied, and so buried a living
    /// root; a dead one lives no longer by this than its last beat may be old.
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
    pub(crate) fn new(keypair: Arc<Keypair>, config: Config, rng_seed: u64, now: Instant) -> Self {
        let beat = Beat::sign(&keypair, &config.network, config.incarnation, 0, 1, Vec::new());
        Self {
            me: keypair.id(),
            keypair,
            rng: Rng::new(rng_seed),
            best: Best { beat: Arc::new(beat), age: Duration::ZERO, received: now, since: now },
            beats: 0,
            next_beat: now + config.beat_period,
            up: None,
            told: now,
            dead: BTreeMap::new(),
            sides: BTreeMap::new(),
            watch: Watch::default(),
            news: Vec::new(),
            config,
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

    /// Nodes in this node's component, itself included, as far as it knows.
    pub(crate) fn size(&self) -> u32 {
        if self.is_root() { self.report().subtree } else { self.best.beat.size }
    }

    pub(crate) fn root(&self) -> NodeId {
        self.best.beat.root
    }

    fn is_root(&self) -> bool {
        self.best.beat.root == self.me
    }

    /// The best beat, for a neighbour or a prober.
    pub(crate) fn beacon(&self, now: Instant) -> Control {
        let age_ms = u32::try_from(self.best.age(now).as_millis()).unwrap_or(u32::MAX);
        Control::Beacon { beat: Arc::clone(&self.best.beat), age_ms, hops: self.hops() }
    }

    pub(crate) fn link_up(&mut self, link: LinkId, now: Instant) {
        let side = Side {
            child: None,
            subtree: 0,
            seeds: Vec::new(),
            beat: 0,
            sent: 0,
            hops: 0,
            answered: now,
            told: None,
            beats_due: (BEATS_DUE, now),
        };
        self.sides.insert(link, side);
        let beacon = self.beacon(now);
        self.news.push(News::Send(link, beacon));
    }

    pub(crate) fn link_down(&mut self, link: LinkId) {
        self.sides.remove(&link);
        if self.up == Some(link) {
            self.up = None;
        }
    }

    /// False: the beat is not its root's word.
    pub(crate) fn on_beacon(
        &mut self,
        link: LinkId,
        beat: &Arc<Beat>,
        age_ms: u32,
        hops: u8,
        now: Instant,
    ) -> bool {
        let age = Duration::from_millis(age_ms.into());
        let number = (beat.incarnation, beat.beat);
        let is_dead = |(incarnation, beat, since): &(u64, u64, Instant)| {
            (*incarnation, *beat) >= number && now - *since < DEAD_FOR
        };
        let is_dead = self.dead.get(&beat.root).is_some_and(is_dead);
        if beat.root == self.me || age > self.config.root_max_age || is_dead {
            return true;
        }
        let ours = &self.best.beat;
        if beat.root > ours.root {
            self.answer(link, now);
            return true;
        }
        let same = beat.root == ours.root;
        if same && number <= (ours.incarnation, ours.beat) {
            if number == (ours.incarnation, ours.beat) {
                self.best.is_no_older_than(age, now);
            }
            self.came_over(link, beat, hops);
            return true;
        }
        if self.sides.get_mut(&link).is_some_and(|side| !side.may_tell(now)) {
            return true;
        }
        if !beat.verify(&self.config.network) {
            return false;
        }
        let urgent = !same || beat.seeds != ours.seeds;
        if same && beat.incarnation == ours.incarnation {
            (self.best.beat, self.best.age, self.best.received) = (Arc::clone(beat), age, now);
        } else {
            self.change_root(Arc::clone(beat), age, now);
        }
        self.came_over(link, beat, hops);
        self.pass_on(urgent, now);
        self.take_stock(now);
        true
    }

    /// The way to the root stays as it is unless another is shorter, or it lags by a whole beat. Because the length is
    /// told anew with each beat, no circle lasts.
    fn came_over(&mut self, link: LinkId, beat: &Beat, hops: u8) {
        let Some(side) = self.sides.get_mut(&link) else { return };
        if beat.beat < side.beat || beat.incarnation != self.best.beat.incarnation {
            return;
        }
        (side.beat, side.hops) = (beat.beat, hops);
        let current = self.best.beat.beat;
        let lags = |side: &Side| side.beat.saturating_add(1) < current;
        let up = self.up.and_then(|up| self.sides.get(&up));
        if beat.beat == current && up.is_none_or(|side| lags(side) || hops < side.hops) {
            self.up = Some(link);
            self.tell_up();
        }
    }

    /// Links between this node and the root.
    fn hops(&self) -> u8 {
        let up = self.up.and_then(|up| self.sides.get(&up));
        if self.is_root() { 0 } else { up.map_or(u8::MAX, |side| side.hops.saturating_add(1)) }
    }

    fn answer(&mut self, link: LinkId, now: Instant) {
        let Some(side) = self.sides.get_mut(&link) else { return };
        if now - side.answered >= ANSWER_PAUSE {
            side.answered = now;
            let beacon = self.beacon(now);
            self.news.push(News::Send(link, beacon));
        }
    }

    fn change_root(&mut self, beat: Arc<Beat>, age: Duration, now: Instant) {
        let other = beat.root != self.best.beat.root;
        if other && self.size() > 1 && self.best.age(now) < 2 * self.config.beat_period {
            self.news.push(News::Merged);
        }
        self.best = Best { beat, age, received: now, since: now };
        self.begin_anew();
    }

    /// Another root, or the same one started again: its beats are numbered from 1.
    fn begin_anew(&mut self) {
        self.up = None;
        self.watch.begin_anew(self.best.beat.beat);
        self.sides.values_mut().for_each(|side| (side.beat, side.sent) = (0, 0));
    }

    pub(crate) fn on_report(&mut self, link: LinkId, report: Report, now: Instant) {
        let Some(side) = self.sides.get_mut(&link) else { return };
        (side.child, side.subtree, side.seeds) = (report.child, report.subtree, report.seeds);
        if side.child.is_some() && self.up == Some(link) {
            self.up = None; // Two nodes that each take the other for nearer to the root: the next beat tells.
        }
        // News travel upwards at once, but not one by one: when two components meet the root must hear of it soon.
        if now - self.told >= REPORT_PAUSE {
            self.told = now;
            self.tell_up();
        }
    }

    /// Sends the beat to those who wait for it: at once to those who get it from us, or to all if it is `urgent`. All
    /// others most likely have it already; whichever of us two ticks first tells the other, so that it crosses each
    /// link once. The way to the root is told nothing: it is to tell us, and would keep silent if we were faster once.
    fn pass_on(&mut self, urgent: bool, now: Instant) {
        let (beacon, number) = (self.beacon(now), self.best.beat.beat);
        let root = tag(&self.best.beat.root);
        let up = self.up;
        for (link, side) in self.sides.iter_mut().filter(|(link, _)| Some(**link) != up) {
            if side.beat < number && side.sent < number && (urgent || side.child == Some(root)) {
                side.sent = number;
                self.news.push(News::Send(*link, beacon.clone()));
            }
        }
    }

    /// What to say to this neighbour in a keepalive.
    pub(crate) fn report_for(&mut self, link: LinkId) -> Report {
        let report = if self.up == Some(link) { self.report() } else { Report::default() };
        if let Some(side) = self.sides.get_mut(&link) {
            side.told = Some(report.clone());
        }
        report
    }

    /// This node and all below it.
    fn report(&self) -> Report {
        let root = tag(&self.best.beat.root);
        let children = || self.sides.values().filter(|side| side.child == Some(root));
        let below = children().fold(0u32, |sum, side| sum.saturating_add(side.subtree));
        let seeds = self.watch.merge(self.me, &self.best.beat, children().flat_map(|side| &side.seeds));
        Report { child: Some(root), subtree: below.saturating_add(1), seeds }
    }

    /// Tells the neighbours nearer to the root, now and before, what has changed. `degree` is filled in by `node.rs`.
    fn tell_up(&mut self) {
        let links: Vec<_> = self.sides.keys().copied().collect();
        for link in links {
            let before = self.sides.get(&link).and_then(|side| side.told.clone());
            let report = self.report_for(link);
            if report != before.unwrap_or_default() {
                let Report { child, subtree, seeds } = report;
                self.news.push(News::Send(link, Control::Ping { degree: 0, child, subtree, seeds }));
            }
        }
    }

    /// Once in every tick of the node. `facts`: what the node itself knows of its seeds.
    pub(crate) fn tick(&mut self, facts: Vec<SeedFact>, now: Instant) {
        self.watch.learn(facts, self.best.beat.beat);
        let age = self.best.age(now);
        if !self.is_root() && age > self.config.root_max_age {
            self.bury_root(now);
        }
        if self.is_root() {
            let size = self.report().subtree;
            let gathered = self.has_gathered(now);
            let seeds = self.watch.judge(&self.report().seeds, gathered);
            let news = seeds != self.best.beat.seeds;
            if now >= self.next_beat || (news && now - self.best.received >= ANSWER_PAUSE) {
                self.beat(size, seeds, now);
            }
        }
        self.pass_on(true, now);
        self.tell_up();
        self.take_stock(now);
    }

    /// Whether the reports of all have come in. All neighbours of a root get their beats from it; as long as one does not
    /// say so, they may be of a component that this node has lost touch with because its line is too slow.
    fn has_gathered(&self, now: Instant) -> bool {
        let root = Some(tag(&self.me));
        let agreed = self.sides.values().all(|side| side.child == root);
        agreed && (self.sides.is_empty() || now - self.best.since >= self.config.beat_period)
    }

    fn bury_root(&mut self, now: Instant) {
        let dead = &self.best.beat;
        self.dead.insert(dead.root, (dead.incarnation, dead.beat, now));
        if self.dead.len() > MAX_DEAD {
            self.dead.pop_first();
        }
        let beat = self.own_beat(1, Vec::new());
        self.best = Best { beat, age: Duration::ZERO, received: now, since: now };
        self.next_beat = now + self.rng.duration(Duration::ZERO, ANSWER_PAUSE);
        self.begin_anew();
    }

    fn own_beat(&mut self, size: u32, seeds: Vec<SeedStatus>) -> Arc<Beat> {
        self.beats += 1;
        let (network, incarnation) = (&self.config.network, self.config.incarnation);
        Arc::new(Beat::sign(&self.keypair, network, incarnation, self.beats, size, seeds))
    }

    fn beat(&mut self, size: u32, seeds: Vec<SeedStatus>, now: Instant) {
        let period = self.config.beat_period;
        self.next_beat = now + self.rng.duration(period * 19 / 20, period * 21 / 20);
        let beat = self.own_beat(size, seeds);
        self.best = Best { beat, age: Duration::ZERO, received: now, since: self.best.since };
        self.pass_on(true, now);
    }

    fn take_stock(&mut self, now: Instant) {
        let news = self.watch.take_stock(&self.best.beat, self.size(), now, &self.config);
        self.news.extend(news);
    }

    /// Whether this beat, heard out of band, is of another living component.
    pub(crate) fn is_other(&self, beat: &Beat, age_ms: u32, now: Instant) -> bool {
        let fresh = 2 * self.config.beat_period;
        let steady = self.is_root() || now - self.best.since > self.config.beat_period;
        beat.root != self.best.beat.root
            && beat.verify(&self.config.network)
            && Duration::from_millis(age_ms.into()) < fresh
            && self.best.age(now) < fresh
            && steady
    }

    /// Whether this beat, heard out of band, is of this very component.
    pub(crate) fn is_ours(&self, beat: &Beat, age_ms: u32) -> bool {
        let fresh = 2 * self.config.beat_period;
        beat.root == self.best.beat.root && Duration::from_millis(age_ms.into()) < fresh
    }

    /// Whether the last beat says that this seed is part of the component.
    pub(crate) fn has_seed(&self, seed: &NodeId) -> bool {
        self.watch.is_present(&self.best.beat, seed)
    }

    /// Whether a seed is missing since a short while, and nobody knows why.
    pub(crate) fn misses_a_seed(&self, now: Instant) -> bool {
        self.watch.misses_one(&self.best.beat, now)
    }

    /// One of how many nodes should look around out of band: three in a component, in each round.
    pub(crate) fn probers(&self) -> u32 {
        // A member that spoils the count must not put an end to looking around.
        self.size().div_ceil(3).clamp(1, MAX_PROBERS)
    }
}
