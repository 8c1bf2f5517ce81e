//! Connections for streams: a stream that is opened to a node, and what becomes of a connection that the network does not
//! need any more.

use std::time::Duration;

use smokesignal_proto::{CloseReason, LinkId, RequestId, Unreachable};
use tokio::time::Instant;

use super::{Driver, Open};
use crate::error::OpenError;
use crate::stream::mux::NoStream;

/// A connection that was made for streams is closed when none has used it for this long; a stream that the application
/// has dropped is given up when the other side has taken nothing of its last data for this long.
const IDLE: Duration = Duration::from_secs(30);

impl Driver {
    pub(super) fn open(&mut self, wish: Open) {
        self.next_request += 1;
        let (request, id) = (RequestId(self.next_request), wish.id);
        self.opens.insert(request, wish);
        self.core.reach(request, id, self.now());
    }

    /// The network needs the link no more. If streams use it, it goes on for them.
    pub(super) fn given_up(&mut self, link: LinkId, reason: CloseReason) {
        self.peer_down(link, reason);
        let now = self.now();
        let kept = self.links.get(&link).is_some_and(|entry| {
            entry.handle.streams.set_link(false);
            entry.handle.streams.is_used() && self.core.keep_for_streams(link, entry.id, entry.dialled, now)
        });
        if !kept {
            return self.forget(link);
        }
        self.links[&link].handle.streams.neighbour.connection_lost();
        self.serving.insert(link, None);
    }

    /// There is a connection for a stream, or none can be had.
    pub(super) fn reached(&mut self, request: RequestId, outcome: Result<LinkId, Unreachable>) {
        let Some(open) = self.opens.remove(&request) else { return };
        let id = open.id;
        let outcome = match outcome {
            Ok(link) => {
                let streams = self.links.get(&link).map(|entry| &entry.handle.streams);
                match streams.map(|streams| streams.open(&open.name)) {
                    Some(Ok(stream)) => Ok(stream),
                    Some(Err(NoStream::Gone)) => return self.again.push((link, open)),
                    Some(Err(NoStream::TooMany)) | None => Err(OpenError::TooMany(id)),
                }
            }
            Err(Unreachable::Myself) => Err(OpenError::Myself(id)),
            Err(Unreachable::NotFound) => Err(OpenError::NotFound { id, waited: self.find_timeout }),
            Err(Unreachable::NoWay) => Err(OpenError::Unreachable(id)),
            Err(Unreachable::Busy) => Err(OpenError::Busy),
        };
        if open.answer.send(outcome).is_err() {
            tracing::debug!(?id, "nobody waits for the stream any more");
        }
    }

    /// Ends connections that streams do not use any more.
    pub(super) fn close_idle(&mut self) {
        let now = Instant::now();
        if now >= self.check_stuck {
            self.check_stuck = now + IDLE / 6;
            self.links.values().for_each(|link| link.handle.streams.abandon(now, IDLE));
            self.shared.streams.buffers.trim();
            self.shared.mailbox.trim();
        }
        let mut idle = Vec::new();
        for (link, since) in &mut self.serving {
            if self.links.get(link).is_some_and(|entry| entry.handle.streams.is_used()) {
                *since = None;
            } else if now - *since.get_or_insert(now) > IDLE {
                idle.push(*link);
            }
        }
        idle.into_iter().for_each(|link| self.core.close_streams(link, self.now()));
    }
}
