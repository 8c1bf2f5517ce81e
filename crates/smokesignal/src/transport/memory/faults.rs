//! What goes wrong in a simulated network: cuts, frozen nodes, broken connections.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tokio::time::Instant;

use super::{MemoryNetwork, World};

impl MemoryNetwork {
    /// Cuts the network in parts, as if cables were pulled: between nodes of different groups nothing arrives any more,
    /// nothing breaks by itself, and dials time out. Whoever is in no group, or in several, reaches all of them.
    ///
    /// Takes the place of an earlier cut.
    pub fn partition(&self, groups: &[&[SocketAddr]]) {
        let groups = groups.iter().map(|group| group.iter().copied().collect()).collect();
        self.change(|faults| faults.groups = groups);
    }

    /// Ends the [partition](Self::partition). Connections that no end has given up work on, and what was lost meanwhile
    /// arrives; so does the close of one end, of which the other could not hear. Frozen nodes stay frozen.
    pub fn heal(&self) {
        self.change(|faults| faults.groups.clear());
    }

    /// From now on nothing reaches this node and nothing leaves it, as if its process were stopped. Its own timers run
    /// on, so that it may give up its peers as they give up it.
    pub fn freeze(&self, node: SocketAddr) {
        self.change(|faults| {
            faults.frozen.insert(node);
        });
    }

    /// Ends a [freeze](Self::freeze). What was held up arrives, as after [`heal`](Self::heal).
    pub fn thaw(&self, node: SocketAddr) {
        self.change(|faults| {
            faults.frozen.remove(&node);
        });
    }

    /// Breaks all connections of this node, at once and at both ends, even across a cut. What was on the way is lost.
    pub fn reset(&self, node: SocketAddr) {
        let mut world = self.world.lock();
        world.wires.values_mut().filter(|wire| wire.nodes.contains(&node)).for_each(super::Wire::reset);
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        let mut world = self.world.lock();
        let World { wires, faults, delays, .. } = &mut *world;
        change(faults);
        let now = Instant::now();
        for wire in wires.values_mut() {
            match (wire.cut, faults.block(wire.nodes[0], wire.nodes[1])) {
                (false, true) => wire.cut(now),
                (true, false) => wire.mend(now, delays),
                (true, true) | (false, false) => {}
            }
        }
    }
}

/// As many as the test names.
#[derive(Debug, Default)]
pub(super) struct Faults {
    groups: Vec<BTreeSet<SocketAddr>>,
    frozen: BTreeSet<SocketAddr>,
}

impl Faults {
    pub(super) fn block(&self, a: SocketAddr, b: SocketAddr) -> bool {
        let grouped = |node| self.groups.iter().any(|group| group.contains(&node));
        let together = || self.groups.iter().any(|group| group.contains(&a) && group.contains(&b));
        self.frozen.contains(&a) || self.frozen.contains(&b) || (grouped(a) && grouped(b) && !together())
    }
}
