//! The user's requests that crossed with one of the other side: both nodes dialled, and one
//! connection stays. The request may have been made over the other one, whose end says nothing yet.

use std::time::Duration;

use crate::id::NodeId;
use crate::ids::RequestId;
use crate::output::RequestFailure;
use crate::time::Instant;

/// What the other side has sent over its own connection by then has arrived: it was sent before, or
/// at the same time. Default 500 ms: two round trips across the world.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Request {
    request: RequestId,
    peer: NodeId,
    failure: RequestFailure,
    until: Instant,
}

/// Requests that fail unless a link to their peer comes up in time. As many as the user makes
/// within half a second: the oldest is answered first.
#[derive(Debug, Default)]
pub(crate) struct Crossed(Vec<Request>);

impl Crossed {
    pub(crate) fn wait(&mut self, request: RequestId, peer: NodeId, failure: RequestFailure, now: Instant) {
        self.0.push(Request { request, peer, failure, until: now + PATIENCE });
    }

    /// Takes the requests for this peer: there is a link to it now.
    pub(crate) fn take(&mut self, peer: &NodeId) -> Vec<RequestId> {
        self.0.extract_if(.., |waiting| waiting.peer == *peer).map(|waiting| waiting.request).collect()
    }

    /// Takes the requests that have failed: all of them if the node `is_leaving`.
    pub(crate) fn expire(&mut self, is_leaving: bool, now: Instant) -> Vec<(RequestId, RequestFailure)> {
        let over = |waiting: &mut Request| waiting.until <= now || is_leaving;
        self.0.extract_if(.., over).map(|waiting| (waiting.request, waiting.failure)).collect()
    }
}
