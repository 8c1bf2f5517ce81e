//! What has to hold once nobody writes and nothing fails any more: A6, A11, C1, C2, C9 and C10.

use std::time::Duration;

use smokesignal_proto::Node;

use crate::world::World;

/// Quiet and stable for this long, everyone has everything: 10 s (A6). Cut nodes first have to find back: see `patience`.
const QUIET: Duration = Duration::from_secs(10);
/// The quiet is watched for this long.
const WATCH: Duration = Duration::from_secs(5);

impl World {
    /// Lets the network come to rest for 10 s and `patience` on top, then checks what holds in the quiet. The
    /// caller has ended all writing and all faults.
    pub fn check_quiet(&mut self, patience: Duration) {
        self.run(QUIET + patience);
        let before = self.stats.kinds;
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
        self.check_everyone_has_everything();
        if all_honest {
            self.check_symmetry();
            self.check_distances();
        }
    }

    /// A6, and with it that what was delivered and what was missed are all there is (A3).
    fn check_everyone_has_everything(&mut self) {
        let reached: Vec<_> = {
            let graph = self.graph();
            self.writers.iter().map(|ix| graph.reached_from(*ix as usize)).collect()
        };
        for number in 0..self.writers.len() {
            let writer_ix = self.writers[number] as usize;
            let member = &self.members[writer_ix];
            let Some(writer) = member.writer.as_ref().filter(|_| member.awake() && member.honest()) else {
                continue;
            };
            let (written, start) = (writer.written, member.start);
            for ix in 0..self.members.len() {
                let member = &mut self.members[ix];
                let concerned = ix != writer_ix && member.awake() && member.honest() && reached[number][ix];
                if !concerned || written == 0 {
                    continue;
                }
                let read = member.read(number as u32);
                let all = read.start == start && read.last + read.pending_gap == written;
                let adds_up = read.delivered + read.missed >= read.last + 1 - read.first.min(read.last + 1);
                // Who came after the last message owes nothing; nor does who never saw the stream.
                if (read.start > 0 && !all) || !adds_up {
                    let what = format!(
                        "of writer {number} it has up to {} of start {}, written are {written} of start {start}",
                        read.last, read.start
                    );
                    self.violate("A6", ix, what);
                    return;
                }
            }
        }
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
