//! Prints the events of the node, and the direct messages of other nodes, as JSON events.
//!
//! Direct messages come from two sources that look the same to a program: streams named `direct`,
//! which `run --json` and `pipe --to` use, and the stream that each neighbour has anyway, which
//! programs that use the library write to. Events that a program cannot act on (seeds that do not
//! answer, dropped events) are printed as `error`.

use smokesignal::{Event, Events, NodeId, Peer};
use tokio::sync::mpsc;

use super::print::{Emitter, JsonEvent, Payload, PeerInfo};
use crate::direct::DirectMessage;
use crate::options::{events_missed, seed_unreachable};

/// Prints all events of the node, until the node has stopped.
pub(super) async fn emit_all(events: &mut Events, emitter: &Emitter) {
    while let Some(event) = events.recv().await {
        emit(event, emitter).await;
    }
}

/// Prints an event of the node.
pub(super) async fn emit(event: Event, emitter: &Emitter) {
    match event {
        Event::Connect => emitter.emit(&JsonEvent::Connect).await,
        Event::Disconnect => emitter.emit(&JsonEvent::Disconnect).await,
        Event::PeerAdded(peer) => {
            emitter.emit(&JsonEvent::PeerAdded(PeerInfo::of(&peer))).await;
            // One task per peer, so there are about `max_peers` of them. Each ends with its link.
            tokio::spawn(emit_of_peer(peer, emitter.clone()));
        }
        Event::PeerRemoved(peer) => emitter.emit(&JsonEvent::PeerRemoved { id: peer.id().to_string() }).await,
        Event::SeedUnreachable { seed, error } => emitter.error(seed_unreachable(&seed, &error)).await,
        Event::Incompatible { address, versions } => {
            emitter.emit(&JsonEvent::incompatible(address, versions)).await;
        }
        Event::Netsplit { seed, size, size_before, other_size } => {
            let seed = seed.to_string();
            emitter.emit(&JsonEvent::Netsplit { seed, size, size_before, other_size }).await;
        }
        Event::NetsplitResolved { duration, size } => {
            let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            emitter.emit(&JsonEvent::NetsplitResolved { duration_ms, size }).await;
        }
        Event::Lagging { from, messages, bytes } => {
            emitter.emit(&JsonEvent::Lagging { from: from.to_string(), messages, bytes }).await;
        }
        Event::CaughtUp { from } => emitter.emit(&JsonEvent::CaughtUp { from: from.to_string() }).await,
        Event::ReaderTimedOut { reader } => emitter.emit(&JsonEvent::ReaderTimedOut { reader }).await,
        Event::IdentityConflict { id, superseded } => {
            emitter.emit(&JsonEvent::IdentityConflict { id: id.to_string(), superseded }).await;
        }
        Event::Missed(count) => emitter.error(events_missed(count)).await,
        other => tracing::debug!(?other, "this event has no JSON form"),
    }
}

/// Prints the direct messages of other nodes. Never resolves.
pub(super) async fn emit_all_direct(received: &mut mpsc::Receiver<DirectMessage>, emitter: &Emitter) {
    while let Some((from, data)) = received.recv().await {
        emit_direct(from, &data, emitter).await;
    }
    std::future::pending::<()>().await;
}

/// Prints a direct message.
pub(super) async fn emit_direct(from: NodeId, data: &[u8], emitter: &Emitter) {
    emitter.emit(&JsonEvent::Direct { from: from.to_string(), payload: Payload::of(data) }).await;
}

/// Prints what a neighbour writes to its stream to this node, as programs that use the library do.
async fn emit_of_peer(peer: Peer, emitter: Emitter) {
    loop {
        match peer.recv().await {
            Ok(Some(data)) => {
                emit_direct(peer.id(), &data, &emitter).await;
            }
            Ok(None) => return,
            Err(error) => return tracing::debug!(peer = %peer.id(), %error, "the link has broken"),
        }
    }
}
