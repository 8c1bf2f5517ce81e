//! Connections that other nodes relay, because one end cannot dial the other.
//!
//! Such a connection has a slot like any other, and beside it a [`RelayPath`]: the links that it
//! runs over and the nodes that pass its bytes on. It is held up while one of these is, and it ends
//! with the first link that ends.

use std::collections::{BTreeMap, BTreeSet};

use smokesignal_proto::LinkId;

use super::{Dial, Net, Process, Relaying};
use crate::kernel::{Event, Kernel};

/// All relayed connections.
#[derive(Debug, Default)]
pub(super) struct Relays {
    paths: BTreeMap<u32, RelayPath>,
    /// Links that were demoted, and stay open for what runs over them.
    kept: BTreeSet<LinkId>,
}

/// The path of a relayed connection.
#[derive(Debug)]
pub(crate) struct RelayPath {
    /// The links, from the dialler on.
    pub(crate) links: Vec<LinkId>,
    /// The nodes between them.
    pub(crate) relays: Vec<usize>,
    /// One-way delay of the whole way, in microseconds.
    pub(crate) delay: u64,
}

impl Net {
    /// Opens a connection over a path.
    pub(crate) fn open_relayed(&mut self, kernel: &mut Kernel, dial: Dial, to: usize, path: RelayPath) {
        let Dial { id, from, start } = dial;
        let delay = path.delay;
        let slot = self.open(from, to, delay, kernel.now());
        self.relays.paths.insert(slot, path);
        // TLS alone: one round trip, and half of one for the proof of the secret.
        kernel.schedule_in(3 * delay, Event::Dialled { slot, start, dial: id });
    }

    /// Returns over how many links a connection is relayed, or `None` if it was dialled.
    pub(crate) fn relayed_over(&self, slot: u32) -> Option<usize> {
        self.relays.paths.get(&slot).map(|path| path.links.len())
    }

    /// Returns whether a host passes nothing on.
    pub(crate) fn blocks(&self, ix: usize) -> bool {
        let host = &self.hosts[ix];
        host.process == Process::Frozen || host.relaying == Relaying::Blocks
    }

    /// Returns whether packets between the ends of this connection do not arrive.
    pub(super) fn is_held_up(&self, slot: u32) -> bool {
        let Some(path) = self.relays.paths.get(&slot) else {
            let [a, b] = self.ends(slot);
            return self.is_cut(a, b);
        };
        let is_cut = |link: &LinkId| {
            let ends = self.links.slot(*link).map(|slot| self.ends(slot));
            ends.is_some_and(|[a, b]| self.is_cut(a, b))
        };
        path.relays.iter().any(|ix| self.blocks(*ix)) || path.links.iter().any(is_cut)
    }

    /// Returns whether a relay changes bytes, which the next bytes to arrive reveal.
    pub(super) fn is_tampered_with(&self, slot: u32) -> bool {
        let tampers = |ix: &usize| self.hosts[*ix].relaying == Relaying::Tampers;
        self.relays.paths.get(&slot).is_some_and(|path| path.relays.iter().any(tampers))
    }

    /// Returns the connections that run over this link.
    pub(crate) fn relayed_over_link(&self, link: LinkId) -> Vec<u32> {
        let over = self.relays.paths.iter().filter(|(_, path)| path.links.contains(&link));
        over.map(|(slot, _)| *slot).collect()
    }

    pub(crate) fn forget_path(&mut self, slot: u32) {
        self.relays.paths.remove(&slot);
    }

    /// Remembers that this demoted link is open only for what runs over it.
    pub(crate) fn keep_for_relaying(&mut self, link: LinkId) {
        self.relays.kept.insert(link);
    }

    /// Forgets, and returns, the kept links that no connection runs over any longer.
    pub(crate) fn take_idle_links(&mut self) -> Vec<LinkId> {
        let paths = self.relays.paths.values();
        let used: BTreeSet<_> = paths.flat_map(|path| path.links.iter().copied()).collect();
        let idle: Vec<_> = self.relays.kept.difference(&used).copied().collect();
        self.relays.kept.retain(|link| used.contains(link));
        idle
    }
}
