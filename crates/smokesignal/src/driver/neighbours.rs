//! What becomes of connections: links that come up and go, and connections that serve streams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smokesignal_proto::{self as proto, CloseReason, DialFailure, DialId, LinkId, NodeId, OtherEnd, Target};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Driver;
use super::dial::Dialled;
use super::links::Link;
use crate::peer::Peer;
use crate::stream::handle::Path;
use crate::stream::mux::Side;
use crate::stream::relay_request::RelayRequest;
use crate::transport::Connection;
use crate::wire::frame::Reset;

impl Driver {
    /// Runs a connection that another node has made, directly or through relays.
    pub(super) fn accepted(&mut self, connection: Connection, path: Path) {
        let other_end = OtherEnd { id: connection.peer, features: connection.features };
        let link = self.links.open(connection, Side::Acceptor, path);
        if path == Path::Relayed {
            self.core.handle_relayed(link, other_end, self.clock.now());
        } else {
            self.core.handle_connected(link, other_end, None, self.clock.now());
        }
    }

    /// Runs a connection that this node has dialled, or reports the failure.
    pub(super) fn dialled(&mut self, dialled: Dialled) {
        let Dialled { dial, path, .. } = dialled;
        match self.dialing.finish(dialled, &self.shared.events) {
            Ok(connection) => {
                self.asked_dials.succeeded(dial);
                let other_end = OtherEnd { id: connection.peer, features: connection.features };
                let link = self.links.open(connection, Side::Dialler, path);
                self.core.handle_connected(link, other_end, Some(dial), self.clock.now());
            }
            Err(failure) => {
                self.core.handle_dial_failed(dial, failure, self.clock.now());
                // A request that fails with this dial is answered with its cause.
                self.perform_all();
                self.dialing.forget(dial);
            }
        }
    }

    /// Dials a target, unless it is the address of an asker and there are too many such dials.
    pub(super) fn dial(
        &mut self,
        dial: DialId,
        target: Target,
        expect: Option<NodeId>,
        timeout: Option<Duration>,
    ) {
        if let (Target::Address(address), Some(id)) = (&target, expect)
            && self.requests.is_only_answered(&id)
            && !self.asked_dials.admit(dial, *address, Instant::now())
        {
            tracing::debug!(?id, %address, "did not dial an asker: too many such dials have failed");
            return self.core.handle_dial_failed(dial, DialFailure::Unanswered, self.clock.now());
        }
        self.dialing.dial(dial, target, expect, timeout);
    }

    /// Connects to a node through the neighbour at `via`.
    pub(super) fn dial_relayed(&mut self, dial: DialId, via: LinkId, query: u64, id: NodeId) {
        let Some(link) = self.links.get(via) else {
            return self.core.handle_dial_failed(dial, DialFailure::Unanswered, self.clock.now());
        };
        let stream = link.streams().request_relay(query, id);
        self.dialing.dial_relayed(dial, stream, link.remote, id);
    }

    /// Relays a stream of a neighbour, takes it as a connection to this node, or refuses it.
    pub(super) fn relay(&mut self, request: RelayRequest) {
        match self.core.relay(request.via, request.query, &request.target) {
            proto::Relay::Accept => {
                let Some(link) = self.links.get(request.via) else { return };
                self.relays.accept(request, link.remote);
            }
            proto::Relay::Forward(link) => {
                let (query, target) = (request.query, request.target);
                let onward = self.links.get(link).map(Link::streams);
                self.relays.forward(request, || onward?.request_relay(query, target));
            }
            proto::Relay::Refuse => request.stream.refuse(Reset::Refused),
        }
    }

    pub(super) fn peer_up(&mut self, link: LinkId, id: NodeId, address: Option<SocketAddr>) {
        let Some(entry) = self.links.get_mut(link) else { return };
        let (closed, watch) = watch::channel(false);
        let streams = Arc::clone(entry.streams());
        streams.set_link(true);
        let address = address.unwrap_or(entry.remote);
        let connection = (streams, Arc::clone(entry.handle.traffic()));
        let peer = Peer::new(connection, address, watch, self.commands.sender());
        entry.peer = Some((peer.clone(), closed));
        tracing::info!(peer = ?id, %address, "peer added");
        self.shared.peer_added(peer);
    }

    pub(super) fn peer_down(&mut self, link: LinkId, reason: CloseReason) {
        let Some((peer, closed)) = self.links.get_mut(link).and_then(|entry| entry.peer.take()) else {
            return;
        };
        tracing::info!(peer = ?peer.id(), %reason, "peer removed");
        closed.send_replace(true);
        self.shared.peer_removed(peer);
    }

    /// Closes a link that the network has replaced, unless streams use it: then it goes on for
    /// them.
    pub(super) fn demoted(&mut self, link: LinkId, reason: CloseReason) {
        self.peer_down(link, reason);
        let now = self.clock.now();
        let kept = self.links.get(link).is_some_and(|entry| {
            let dialled = entry.side == Side::Dialler;
            let other_end = OtherEnd { id: entry.id, features: entry.handle.features() };
            entry.streams().set_link(false);
            entry.streams().is_used() && self.core.keep_for_streams(link, other_end, dialled, now)
        });
        if !kept {
            return self.forget(link);
        }
        if let Some(entry) = self.links.get(link) {
            entry.streams().neighbour.connection_lost();
        }
        self.links.set_stream_only(link);
    }

    pub(super) fn close(&mut self, link: LinkId, reason: CloseReason) {
        match self.links.get(link) {
            Some(link) if reason.is_violation() && self.violations.allows(Instant::now()) => {
                let details = link.malformed.as_deref();
                tracing::warn!(peer = ?link.id, %reason, details, "dropped a peer that broke the rules");
            }
            Some(link) => tracing::debug!(peer = ?link.id, %reason, "closing a connection"),
            None => {}
        }
        self.forget(link);
    }

    /// Drops the driver's end of a connection; its task writes what is queued and closes it.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.peer_down(link, CloseReason::Broken);
        self.links.remove(link);
        self.retry_streams(link);
    }
}
