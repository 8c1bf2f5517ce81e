//! What the driver shares with the application's handles.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smokesignal_proto::{self as proto, NodeId};

use crate::broadcast::mailbox::Mailbox;
use crate::event::{Event, EventBus};
use crate::metrics::Counters;
use crate::peer::Peer;
use crate::peers::Peers;
use crate::stream::mux::SharedStreams;
use crate::version::VersionMismatch;

/// The parts of a node that outlive a stop and a new start. Clones are the same parts.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) events: Arc<EventBus>,
    pub(crate) peers: Peers,
    pub(crate) streams: SharedStreams,
    pub(crate) counters: Arc<Counters>,
}

impl Shared {
    /// Copies the core's figures to where the application's handles read them.
    pub(super) fn count(&self, core: &mut proto::Node, now: proto::Instant) {
        self.counters.set_confirmed(&core.confirmed(now));
        self.counters.set_network_size(core.network_size() as usize);
        self.counters.set_duplicates_received(core.duplicates_received());
        self.counters.set_bytes_retained(core.bytes_retained());
    }

    pub(super) fn peer_added(&self, peer: Peer) {
        if self.peers.add(peer.clone()) {
            self.events.emit(&Event::Connect);
        }
        self.events.emit(&Event::PeerAdded(peer));
    }

    pub(super) fn peer_removed(&self, peer: Peer) {
        let last = self.peers.remove(&peer.id());
        self.events.emit(&Event::PeerRemoved(peer));
        if last {
            self.events.emit(&Event::Disconnect);
        }
    }

    pub(super) fn incompatible(&self, address: IpAddr, versions: VersionMismatch) {
        tracing::warn!(%address, %versions, "a node cannot connect");
        self.events.emit(&Event::Incompatible { address, versions });
    }

    pub(super) fn lagging(&self, from: NodeId, messages: u64, bytes: u64) {
        tracing::info!(?from, messages, bytes, "this node is behind in a stream");
        self.events.emit(&Event::Lagging { from, messages, bytes });
    }

    pub(super) fn caught_up(&self, from: NodeId) {
        tracing::info!(?from, "this node has caught up in a stream");
        self.events.emit(&Event::CaughtUp { from });
    }

    pub(super) fn clock_differs(&self, of: NodeId, ahead_by: i64) {
        tracing::warn!(
            ?of,
            seconds_ahead = ahead_by,
            "the clock of that node or of this one is wrong; until somebody sets it, the first messages \
             between the two arrive later"
        );
    }

    pub(super) fn reader_timed_out(&self, reader: u64) {
        let reader = format!("{reader:016x}");
        tracing::warn!(reader, "a reader has confirmed nothing for too long");
        self.events.emit(&Event::ReaderTimedOut { reader });
    }

    pub(super) fn identity_conflict(&self, id: NodeId, superseded: bool) {
        tracing::warn!(?id, superseded, "another process has this node's key");
        if superseded {
            self.mailbox.outbox.supersede();
        }
        self.events.emit(&Event::IdentityConflict { id, superseded });
    }

    pub(super) fn netsplit(&self, seed: NodeId, size: u32, size_before: u32, other_size: Option<u32>) {
        tracing::warn!(?seed, size, size_before, ?other_size, "netsplit");
        let (size, size_before) = (size as usize, size_before as usize);
        let other_size = other_size.map(|size| size as usize);
        self.events.emit(&Event::Netsplit { seed, size, size_before, other_size });
    }

    pub(super) fn netsplit_resolved(&self, duration: Duration, size: u32) {
        tracing::info!(?duration, size, "netsplit resolved");
        self.events.emit(&Event::NetsplitResolved { duration, size: size as usize });
    }
}
