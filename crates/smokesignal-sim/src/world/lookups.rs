//! Nodes that look for other nodes: the request goes to the core, and its answer into the books.

use smokesignal_proto::{LinkId, NodeId, RequestId, Unreachable};

use super::World;
use crate::check::Observed;
use crate::lookup::{Lookup, Outcome};

impl World {
    /// Lets a node look for another one, or for an id that no node has.
    pub(crate) fn look_up(&mut self, ix: usize, target: Option<usize>) {
        let start = self.cluster.starts(ix);
        let lookup = Lookup { node: ix, start, target, since: self.kernel.now() };
        let request = self.lookups.begin(lookup);
        let nobody = || NodeId::from_bytes([self.lookups.count_begun() as u8; 32]);
        let id = target.map_or_else(nobody, |target| self.cluster.id(target));
        self.with(ix, |node, now| node.reach(request, id, now));
    }

    /// Notes the answer to a lookup, and how its target was reached.
    pub(super) fn on_reached(&mut self, ix: usize, request: RequestId, outcome: Result<LinkId, Unreachable>) {
        let lookup = self.lookups.answered(request);
        let slot = outcome.as_ref().ok().and_then(|link| self.net.slot(*link));
        let node = slot.map(|slot| self.net.link(slot).other(ix));
        let reached = outcome.map(|_| node).map_err(|_| ());
        self.observe(&Observed::LookupAnswered { node: ix, request, lookup, reached });
        let Some(lookup) = lookup else { return };
        let took = self.kernel.now() - lookup.since;
        let outcome = match (slot, lookup.target) {
            (Some(_), _) if took == 0 => Outcome::Connected,
            (Some(slot), _) => match self.net.relayed_over(slot) {
                Some(links) => Outcome::Relayed { links },
                None => Outcome::Dialled,
            },
            (None, Some(target)) if self.net.is_awake(target) && self.cluster.is_honest(target) => {
                Outcome::Failed
            }
            (None, _) => Outcome::Absent,
        };
        self.lookups.count(outcome, took);
    }

    /// Forgets the lookups of nodes that have died, or do not run now.
    pub(super) fn forget_lost_lookups(&mut self) {
        let (net, cluster) = (&self.net, &self.cluster);
        self.lookups
            .retain(|lookup| net.is_awake(lookup.node) && cluster.starts(lookup.node) == lookup.start);
    }
}
