//! Writing and reading: from the workload to the nodes, and from the nodes to the books.
//!
//! The checks see a delivery or a gap before it enters the books, and can therefore compare it with
//! what came before.

use smokesignal_proto::NodeId;

use super::World;
use crate::check::Observed;
use crate::workload::{Head, Traffic, Workload};

impl World {
    /// Lets random honest nodes write.
    pub fn write(&mut self, workload: Workload) {
        let honest = self.alive().into_iter().filter(|ix| self.cluster.is_honest(*ix)).collect();
        let nodes = self.kernel.rng().sample(honest, workload.writers);
        self.write_from(nodes, workload);
    }

    /// Lets these nodes write; the workload's own number of writers does not count.
    pub(crate) fn write_from(&mut self, nodes: Vec<usize>, workload: Workload) {
        self.traffic.begin(&mut self.kernel, nodes, workload);
    }

    /// Lets a node write a single message, of this size.
    pub(crate) fn write_once(&mut self, node: usize, size: usize) {
        self.traffic.add_writer(node);
        self.write_once_more(size);
    }

    /// Lets each writer write one more message, of this size.
    pub(crate) fn write_once_more(&mut self, size: usize) {
        self.traffic.write_once_more(&mut self.kernel, size);
    }

    /// Returns how many messages the living writers have written in their present starts.
    pub fn written(&self) -> u64 {
        let living = self.traffic.writers().iter().filter(|one| self.cluster.is_alive(one.node));
        living.map(|writer| writer.written).sum()
    }

    /// Lets a writer write its next message, if its node is awake and may write.
    pub(super) fn on_write(&mut self, writer: u32) {
        let Some((size, next)) = self.traffic.next_write(&mut self.kernel) else { return };
        let (now, ix) = (self.kernel.now(), self.writer_node(writer));
        let can_write = match self.cluster.node(ix) {
            Some(node) if self.net.is_awake(ix) => node.can_write(size),
            _ => return Traffic::retry(&mut self.kernel, writer, next),
        };
        if !can_write {
            self.observe(&Observed::Blocked { writer });
            return Traffic::retry(&mut self.kernel, writer, 0);
        }
        let number = self.traffic.writers()[writer as usize].written + 1;
        let start = self.cluster.starts(ix) as u32;
        let message = Head { writer, start, number, written_at: now }.message(size);
        let given = self.cluster.act(ix, now, |node, now| node.broadcast(message, now));
        let as_number = given == Some(Ok(number));
        if as_number {
            self.traffic.written(writer, now);
        }
        self.observe(&Observed::Wrote { writer, number, as_number });
        self.kernel.schedule_in(next, crate::kernel::Event::Write(writer));
        self.settle(ix);
    }

    /// Notes that a node has delivered a message.
    pub(super) fn on_delivery(&mut self, ix: usize, from: NodeId, seq: u64, data: &[u8]) {
        self.observe(&Observed::Delivered { node: ix, from, seq, data });
        let Some(writer) = self.writer_number(&from).filter(|_| self.violation.is_none()) else {
            return;
        };
        let Some(written_at) = self.traffic.delivered(ix, writer, seq, data) else { return };
        let judged = self.stats.judged.as_ref();
        let judged = judged.is_none_or(|judged| judged[ix] && judged[self.writer_node(writer)]);
        if judged && written_at >= self.stats.since.max(self.cluster.started_at(ix)) {
            self.stats.latency.add(self.kernel.now() - written_at);
        }
        self.stats.deliveries += 1;
        if let Some(tally) = &mut self.tally {
            tally.node(ix).delivered(data.len() as u64, written_at, self.kernel.now());
        }
    }

    /// Notes that a node has reported a gap.
    pub(super) fn on_gap(&mut self, ix: usize, from: NodeId, missed: u64) {
        self.observe(&Observed::Gap { node: ix, from, missed });
        self.stats.missed += missed;
        if let Some(tally) = &mut self.tally {
            tally.node(ix).missed += missed;
        }
        if let Some(writer) = self.writer_number(&from) {
            self.traffic.missed(ix, writer, missed);
        }
    }

    /// Returns the writer number of a node.
    pub(super) fn writer_number(&self, id: &NodeId) -> Option<u32> {
        self.traffic.number(self.cluster.number(id)?)
    }

    /// Returns the node that is the writer with this number.
    pub(super) fn writer_node(&self, writer: u32) -> usize {
        self.traffic.writers()[writer as usize].node
    }
}
