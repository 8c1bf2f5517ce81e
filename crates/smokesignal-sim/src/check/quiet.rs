//! What has to hold once nobody writes and nothing fails any more: A5, A6, A11, B1, B3, B4, C1, C2, C9 and C10.

use std::time::Duration;

use smokesignal_proto::Node;

use crate::world::{World, micros};

/// Quiet and stable for this long, everyone has everything: 10 s (A6). Cut nodes first have to find back: see `patience`.
const QUIET: Duration = Duration::from_secs(10);
/// The quiet is watched for this long.
const WATCH: Duration = Duration::from_secs(5);
/// Three probes in this time are to be expected of a component (B4). They go out by lot, and more than 14 once in a
/// million times (Poisson).
const MOST_PROBES: u64 = 14;
/// And who was linked to a seed that died goes on calling it: at most 7 nodes, each every 7.5 s on average.
const MOST_CALLS: u64 = 14;

/// Links may take so long to be as they stay: the hold of a bridge, and then some.
const SETTLE: Duration = Duration::from_secs(90);
/// B1 is about a component that has been stable for so long: the age of a root, and 2 s.
const STABLE: u64 = 6_500_000;

impl World {
    /// Lets the network come to rest for 10 s and `patience` on top, then checks what holds in the quiet. The
    /// caller has ended all writing and all faults.
    pub fn check_quiet(&mut self, patience: Duration) {
        self.run(QUIET + patience);
        let (before, dials) = (self.stats.kinds, self.stats.seed_dials);
        self.run(WATCH);
        if self.violation.is_some() {
            return;
        }
        let all_honest = self.members.iter().all(|member| !member.alive() || member.honest());
        let after = self.stats.kinds;
        if all_honest && after.data != before.data {
            let what = format!("{} segments arrived in {WATCH:?} of quiet", after.data - before.data);
            self.violate("A11", 0, what);
        }
        // Among the hostile, who reaches whom is a figure of `hostile-20`, not a promise.
        if all_honest {
            self.let_links_settle();
            self.check_everyone_has_everything();
            self.check_symmetry();
            self.check_beats();
            self.check_distances();
            self.check_sources();
            self.check_costs(after.beats - before.beats, self.stats.seed_dials - dials);
        }
    }

    /// A link that joined two components may be held for a minute, and is one too many until then; and for a beat or
    /// two after a link has changed the count may be wrong.
    fn let_links_settle(&mut self) {
        let max = self.setup.config.max_peers;
        self.run_until_when(Duration::from_secs(1), SETTLE, |world| {
            let surplus = world.members.iter().any(|member| member.awake() && member.degree() > max);
            !surplus && world.now - world.links_changed_at > STABLE
        });
    }

    /// A6, and with it that what was delivered and what was missed are all there is (A3).
    fn check_everyone_has_everything(&mut self) {
        let graph = self.graph();
        for (number, writer_ix) in self.writers.clone().into_iter().enumerate() {
            let writer_ix = writer_ix as usize;
            let member = &self.members[writer_ix];
            let judged = member.awake() && member.honest();
            let Some(written) = member.writer.as_ref().filter(|_| judged).map(|writer| writer.written) else {
                continue;
            };
            let start = member.start;
            let reached = graph.reached_from(writer_ix);
            for ix in reached.iter().enumerate().filter(|(ix, reached)| **reached && *ix != writer_ix) {
                if !self.has_everything(ix.0, number as u32, start, written) {
                    return;
                }
            }
        }
    }

    fn has_everything(&mut self, ix: usize, writer: u32, start: u64, written: u64) -> bool {
        let member = &mut self.members[ix];
        if !member.awake() || !member.honest() || written == 0 {
            return true;
        }
        let read = member.read(writer);
        if read.start == 0 {
            return true; // Who came after the last message owes nothing.
        }
        let (last, gap) = (read.last, read.pending_gap);
        let complete = read.start == start && last + gap == written;
        // Gaps before the first delivery count too: what is there may be more than what is due.
        let adds_up = read.delivered + read.missed > last.saturating_sub(read.first);
        let has = complete && adds_up;
        if !has {
            let what = format!(
                "of writer {writer} it has up to {last} of start {} and a gap of {gap}, written are {written} of \
                 start {start}",
                read.start
            );
            self.violate("A6", ix, what);
        }
        has
    }

    fn check_symmetry(&mut self) {
        for ix in 0..self.members.len() {
            let Some(node) = self.members[ix].node.as_ref().filter(|_| !self.members[ix].frozen) else {
                continue;
            };
            let max = self.setup.config.max_peers;
            let peers: Vec<_> = node.peers().map(|(_, peer)| peer).collect();
            let me = node.id();
            if peers.len() > max {
                let what = format!("it has {} links in the quiet, {max} is the limit", peers.len());
                return self.violate(if ix < self.setup.seeds { "C10" } else { "C2" }, ix, what);
            }
            let knows = |node: &Node| node.peers().any(|(_, peer)| peer == me);
            let one_sided = peers.iter().find(|peer| {
                let other = self.numbers.get(*peer).and_then(|ix| self.members[*ix as usize].node.as_ref());
                !other.is_some_and(|node| knows(node))
            });
            if let Some(peer) = one_sided.copied() {
                return self.violate(
                    "C1",
                    ix,
                    format!("it counts {peer:?} as a peer, but not the other way round"),
                );
            }
        }
    }

    /// B1: all nodes of a component have the same root, and have counted it.
    fn check_beats(&mut self) {
        let graph = self.graph();
        let awake: Vec<_> = (0..self.members.len()).filter(|ix| self.members[*ix].awake()).collect();
        // What goes over a line that is much too slow comes too late.
        let slow = |ix: &usize| self.members[*ix].upload.is_some();
        if self.violation.is_some() || awake.iter().any(slow) {
            return;
        }
        let view = |ix: usize| self.members[ix].node.as_ref().map(|node| (node.root(), node.network_size()));
        for ix in &awake {
            let reached = graph.reached_from(*ix);
            let others = reached.iter().enumerate().filter(|(_, reached)| **reached).map(|(other, _)| other);
            let size = others.clone().count();
            let root =
                others.filter_map(|other| self.members[other].node.as_ref()).map(|node| node.id()).min();
            let (found, counted) = view(*ix).unzip();
            if found != root || counted != Some(size as u32) {
                let what = format!("root {found:?}, {counted:?} nodes; it should be {root:?} and {size}");
                return self.violate("B1", *ix, what);
            }
        }
    }

    /// A5: no stream comes over two links.
    fn check_sources(&mut self) {
        for writer in self.writers.clone() {
            let from = |ix: usize| self.sources(ix, writer as usize);
            let awake = (0..self.members.len()).filter(|ix| self.members[*ix].awake());
            if let Some((ix, from)) = awake.map(|ix| (ix, from(ix))).find(|(_, from)| from.len() > 1) {
                let parent = |ix: &usize| {
                    let node = self.members[*ix].node.as_ref()?;
                    let slot = self.links.slot(node.stream_of(&self.members[writer as usize].id)?.parent?)?;
                    Some((*ix, self.links.get(slot).other(*ix)))
                };
                let ways: Vec<_> = from.iter().chain([&ix]).map(parent).collect();
                let what =
                    format!("the stream of node {writer} comes to it from {from:?}; parents: {ways:?}");
                return self.violate("A5", ix, what);
            }
        }
    }

    /// B3: two beats for each link and period at most; B4: the seeds are not overrun by probes.
    fn check_costs(&mut self, beats: u64, seed_dials: u64) {
        let graph = self.graph();
        let links: usize = self.alive().iter().map(|ix| graph.degree(*ix)).sum::<usize>() / 2;
        let periods = micros(WATCH).div_ceil(micros(self.setup.config.beat_period)) + 1;
        let limit = 2 * links as u64 * periods;
        if beats > limit {
            self.violate("B3", 0, format!("{beats} beats in {WATCH:?} over {links} links, {limit} are due"));
        }
        let components = graph.components().len() as u64;
        if seed_dials > (MOST_PROBES + MOST_CALLS * self.setup.seeds as u64) * components {
            let what = format!("{seed_dials} dials to the seeds in {WATCH:?} by {components} components");
            self.violate("B4", 0, what);
        }
    }

    /// C9 holds for networks that are large enough for chance to even out.
    fn check_distances(&mut self) {
        let nodes = self.alive().len();
        if nodes < 64 {
            return;
        }
        let (diameter, limit) = (self.graph().diameter(), (2.0 * (nodes as f64).log2()).floor() as usize);
        if diameter > limit {
            self.violate("C9", 0, format!("the diameter is {diameter}, 2 log2 of {nodes} nodes is {limit}"));
        }
    }
}
