//! What happens to the node, as reports; and what nodes write to us directly.

use smokesignal::{Event, Events, NodeId, Peer};
use tokio::sync::mpsc;

use super::wire::{Emitter, Payload, PeerInfo, Report};
use crate::direct::Received;
use crate::options::{events_missed, seed_unreachable};

/// Resolves when the node is gone.
pub(super) async fn emit_all(events: &mut Events, emitter: &Emitter) {
    while let Some(event) = events.recv().await {
        emit(event, emitter).await;
    }
}

pub(super) async fn emit(event: Event, emitter: &Emitter) {
    match event {
        Event::Connect => emitter.emit(&Report::Connect).await,
        Event::Disconnect => emitter.emit(&Report::Disconnect).await,
        Event::PeerAdded(peer) => {
            emitter.emit(&Report::PeerAdded(PeerInfo::of(&peer))).await;
            // One task per peer, so at most max_peers (and the few above it); it ends with the link.
            tokio::spawn(emit_of_peer(peer, emitter.clone()));
        }
        Event::PeerRemoved(peer) => emitter.emit(&Report::PeerRemoved { id: peer.id().to_string() }).await,
        Event::SeedUnreachable { seed, error } => emitter.error(seed_unreachable(&seed, &error)).await,
        Event::Netsplit { seed, size, size_before, other_size } => {
            let seed = seed.to_string();
            emitter.emit(&Report::Netsplit { seed, size, size_before, other_size }).await;
        }
        Event::NetsplitResolved { duration, size } => {
            let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            emitter.emit(&Report::NetsplitResolved { duration_ms, size }).await;
        }
        Event::Missed(count) => emitter.error(events_missed(count)).await,
        other => tracing::debug!(?other, "an event without a report"),
    }
}

/// What nodes write to us, for as long as there are any.
pub(super) async fn emit_all_direct(received: &mut mpsc::Receiver<Received>, emitter: &Emitter) {
    while let Some((from, data)) = received.recv().await {
        emit_direct(from, &data, emitter).await;
    }
    std::future::pending::<()>().await;
}

pub(super) async fn emit_direct(from: NodeId, data: &[u8], emitter: &Emitter) {
    emitter.emit(&Report::Direct { from: from.to_string(), payload: Payload::of(data) }).await;
}

/// Programs that use the library may write to the peer itself.
async fn emit_of_peer(peer: Peer, emitter: Emitter) {
    while let Some(data) = peer.recv().await {
        emit_direct(peer.id(), &data, &emitter).await;
    }
}
