//! The faults of a simulated network: cuts, frozen nodes, broken connections.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tokio::time::Instant;

use super::{MemoryNetwork, World};

impl MemoryNetwork {
    /// Cuts the network in parts, as if cables were pulled: between nodes of different groups
    /// nothing arrives any more, nothing breaks by itself, and dials time out. A node in no group,
    /// or in several, reaches all nodes.
    ///
    /// Replaces an earlier cut.
    pub fn partition(&self, groups: &[&[SocketAddr]]) {
        let groups = groups.iter().map(|group| group.iter().copied().collect()).collect();
        self.change(|faults| faults.groups = groups);
    }

    /// Ends the [partition](Self::partition). Connections that neither end has closed go on, and
    /// lost bytes arrive; so does the close of an end that could not reach the other one. Frozen
    /// nodes stay frozen.
    pub fn heal(&self) {
        self.change(|faults| faults.groups.clear());
    }

    /// Freezes this node: nothing reaches it and nothing leaves it, as if its process were
    /// suspended. Its own timers run on, so that it may drop its peers as they drop it.
    pub fn freeze(&self, node: SocketAddr) {
        self.change(|faults| {
            faults.frozen.insert(node);
        });
    }

    /// Ends a [freeze](Self::freeze). Delayed bytes arrive, as after [`heal`](Self::heal).
    pub fn thaw(&self, node: SocketAddr) {
        self.change(|faults| {
            faults.frozen.remove(&node);
        });
    }

    /// Breaks all connections of this node immediately and at both ends, even across a cut. Bytes
    /// in flight are lost.
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

/// The groups of the partition, bounded by what the test names.
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
