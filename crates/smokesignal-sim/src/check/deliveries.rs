//! What arrives: A1, A2, A3, A4, A9, B5 and B8.

use smokesignal_proto::NodeId;

use super::Whole;
use crate::workload::Head;
use crate::world::{World, micros};

/// Time a writer may wait on top of the stall limit: the tick that notices, and the way. 2 s.
const BLOCKED_SLACK: u64 = 2_000_000;

impl World {
    pub(crate) fn check_delivery(&mut self, ix: usize, from: NodeId, seq: u64, data: &[u8]) {
        let Some(writer) = self.writer_number(&from) else {
            return self.violate("A2", ix, format!("a message of {from:?}, which never wrote"));
        };
        let Some(head) = Head::of(data).filter(|head| (head.writer, head.number) == (writer, seq)) else {
            return self.violate(
                "A2",
                ix,
                format!("message {seq} of writer {writer} is not what was written"),
            );
        };
        let now = self.now;
        let since = self.stats.since;
        let started_at = self.members[ix].started_at;
        let read = self.members[ix].read(writer);
        let start = u64::from(head.start);
        let next_start = start > read.start && read.start > 0;
        let expected = read.last + 1 + read.pending_gap;
        let (last, gap, began) = (read.last, read.pending_gap, read.start > 0);
        if began && (start < read.start || (start == read.start && seq <= read.last)) {
            let what = format!("message {seq} of writer {writer}, start {start}, came after {last}");
            return self.violate("A1", ix, what);
        }
        // A first message may be any: who joins starts at now. Across a writer's restart gaps are estimates.
        if began && !next_start && seq != expected {
            let what = format!("message {seq} of writer {writer} came after {last} and a gap of {gap}");
            return self.violate("A3", ix, what);
        }
        if !began || next_start {
            (read.first, read.delivered, read.missed) = (seq, 0, 0);
        }
        (read.start, read.last, read.pending_gap) = (start, seq, 0);
        read.delivered += 1;
        let writer_ix = self.writers[writer as usize] as usize;
        let judged = self.stats.judged.as_ref().is_none_or(|judged| judged[ix] && judged[writer_ix]);
        if judged && head.written_at >= since.max(started_at) {
            self.stats.latency.add(now - head.written_at);
        }
        self.stats.deliveries += 1;
    }

    pub(crate) fn check_gap(&mut self, ix: usize, from: NodeId, missed: u64) {
        self.stats.missed += missed;
        let Some(writer) = self.writer_number(&from) else {
            return self.violate("A3", ix, format!("a gap of {from:?}, which never wrote"));
        };
        let member = &self.members[self.writers[writer as usize] as usize];
        // What only the dead had nobody can give.
        let lives = member.alive() && member.start == 1;
        let read = self.members[ix].read(writer);
        read.missed += missed;
        read.pending_gap += missed;
        read.skipped();
        let last = read.last;
        if lives && !self.setup.expect.gaps {
            self.violate(
                "A4",
                ix,
                format!("a gap of {missed} after message {last} of the living writer {writer}"),
            );
        }
    }

    pub(crate) fn check_blocked(&mut self, ix: usize) {
        let healthy = self.members[ix].links.iter().any(|slot| {
            let link = self.links.get(*slot);
            let other = link.other(ix);
            link.is_open()
                && self.members[other].awake()
                && self.members[other].honest()
                && !self.is_cut(ix, other)
        });
        let limit = 2 * micros(self.setup.config.stall_timeout) + BLOCKED_SLACK;
        let now = self.now;
        let slow = self.members[ix].upload.is_some();
        let Some(writer) = &mut self.members[ix].writer else { return };
        if !healthy || slow {
            writer.blocked_since = Some(now);
        } else if let Some(since) = writer.blocked_since.filter(|since| now - since > limit) {
            let what = format!("may not write since {:.3} s", since as f64 / 1e6);
            self.violate("A9", ix, what);
        }
    }

    /// A node says that the network is split, or whole again.
    pub(crate) fn check_netsplit(&mut self, ix: usize, whole: Whole) {
        let split = whole == Whole::No;
        self.note(15, ix as u64, split.into());
        if std::mem::replace(&mut self.members[ix].netsplit, split) == split {
            return self.violate("B8", ix, format!("told {whole:?} twice in a row"));
        }
        if split {
            self.stats.netsplits += 1;
            self.stats.detected.add(self.now - self.cut_at);
            if !self.setup.expect.netsplits {
                self.violate("B5", ix, "told a netsplit in a network that was not cut".to_owned());
            }
        } else {
            self.stats.resolved.add(self.now.saturating_sub(self.healed_at));
        }
    }
}
