//! What happens to the node, as reports; and what neighbours write to us directly.

use smokesignal::{Event, Events, Peer};

use super::wire::{Emitter, Payload, PeerInfo, Report};
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
            tokio::spawn(emit_direct(peer, emitter.clone()));
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

async fn emit_direct(peer: Peer, emitter: Emitter) {
    let from = peer.id().to_string();
    while let Some(data) = peer.recv().await {
        emitter.emit(&Report::Direct { from: from.clone(), payload: Payload::of(&data) }).await;
    }
}
