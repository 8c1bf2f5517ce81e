//! Connections that other nodes relay, because one end cannot dial the other.
//!
//! Such a connection has a slot like any other, and beside it a [`Circuit`]: the links that it runs
//! over and the nodes that pass its bytes on. It is held up while one of these is, and it ends with
//! the first link that ends.

use std::collections::{BTreeMap, BTreeSet};

use smokesignal_proto::LinkId;

use super::{Dial, Net, Process, Relaying};
use crate::kernel::{Event, Kernel};

/// All relayed connections.
#[derive(Debug, Default)]
pub(super) struct Relays {
    circuits: BTreeMap<u32, Circuit>,
    /// Links that were demoted, and stay open for what runs over them.
    kept: BTreeSet<LinkId>,
}

/// The path of a relayed connection.
#[derive(Debug)]
pub(crate) struct Circuit {
    /// The links, from the dialler on.
    pub(crate) links: Vec<LinkId>,
    /// The nodes between them.
    pub(crate) relays: Vec<usize>,
    /// One-way delay of the whole way, in microseconds.
    pub(crate) delay: u64,
}

impl Net {
    /// Opens a connection over a circuit.
    pub(crate) fn open_relayed(&mut self, kernel: &mut Kernel, dial: Dial, to: usize, circuit: Circuit) {
        let Dial { id, from, start } = dial;
        let delay = circuit.delay;
        let slot = self.open(from, to, delay, kernel.now());
        self.relays.circuits.insert(slot, circuit);
        // TLS alone: one round trip, and half of one for the proof of the secret.
        kernel.schedule_in(3 * delay, Event::Dialled { slot, start, dial: id });
    }

    /// Returns over how many links a connection is relayed, or `None` if it was dialled.
    pub(crate) fn relayed_over(&self, slot: u32) -> Option<usize> {
        self.relays.circuits.get(&slot).map(|circuit| circuit.links.len())
    }

    /// Returns whether a host passes nothing on.
    pub(crate) fn blocks(&self, ix: usize) -> bool {
        let host = &self.hosts[ix];
        host.process == Process::Frozen || host.relaying == Relaying::Blocks
    }

    /// Returns whether packets between the ends of this connection do not arrive.
    pub(super) fn is_held_up(&self, slot: u32) -> bool {
        let Some(circuit) = self.relays.circuits.get(&slot) else {
            let [a, b] = self.ends(slot);
            return self.is_cut(a, b);
        };
        let is_cut = |link: &LinkId| {
            let ends = self.links.slot(*link).map(|slot| self.ends(slot));
            ends.is_some_and(|[a, b]| self.is_cut(a, b))
        };
        circuit.relays.iter().any(|ix| self.blocks(*ix)) || circuit.links.iter().any(is_cut)
    }

    /// Returns whether a relay changes bytes, which the next bytes to arrive reveal.
    pub(super) fn is_tampered_with(&self, slot: u32) -> bool {
        let tampers = |ix: &usize| self.hosts[*ix].relaying == Relaying::Tampers;
        self.relays.circuits.get(&slot).is_some_and(|circuit| circuit.relays.iter().any(tampers))
    }

    /// Returns the connections that run over this link.
    pub(crate) fn circuits_over(&self, link: LinkId) -> Vec<u32> {
        let over = self.relays.circuits.iter().filter(|(_, circuit)| circuit.links.contains(&link));
        over.map(|(slot, _)| *slot).collect()
    }

    pub(crate) fn forget_circuit(&mut self, slot: u32) {
        self.relays.circuits.remove(&slot);
    }

    /// Remembers that this demoted link is open only for what runs over it.
    pub(crate) fn keep_for_circuits(&mut self, link: LinkId) {
        self.relays.kept.insert(link);
    }

    /// Forgets, and returns, the kept links that no connection runs over any longer.
    pub(crate) fn take_idle_links(&mut self) -> Vec<LinkId> {
        let circuits = self.relays.circuits.values();
        let used: BTreeSet<_> = circuits.flat_map(|circuit| circuit.links.iter().copied()).collect();
        let idle: Vec<_> = self.relays.kept.difference(&used).copied().collect();
        self.relays.kept.retain(|link| used.contains(link));
        idle
    }
}
