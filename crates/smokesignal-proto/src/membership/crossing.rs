//! Requests of the user that crossed with one of the other side: both dialled at the same time, and one connection stays. The
//! one that was asked over may be the other one, so that its end says nothing yet.

use std::time::Duration;

use super::{Effect, Membership};
use crate::id::NodeId;
use crate::ids::{LinkId, RequestId};
use crate::output::RequestFailure;
use crate::time::Instant;

/// What the other side has sent over its own connection by then is there: it sent it before, or at the same time. 500 ms: a
/// round trip across the world, twice.
const PATIENCE: Duration = Duration::from_millis(500);

/// Without a link to this peer in time the request has failed.
#[derive(Debug)]
pub(super) struct Crossed {
    request: RequestId,
    peer: NodeId,
    failure: RequestFailure,
    until: Instant,
}

impl Membership {
    /// The connection that was asked over will be no link: answers at once where there is one, or waits for it a moment.
    pub(super) fn settle(&mut self, request: RequestId, peer: NodeId, failure: RequestFailure, now: Instant) {
        match self.link_to(&peer) {
            _ if self.leaving => self.out.push(Effect::Requested(request, Err(failure))),
            Some((link, _)) => self.wish_for(link, request),
            None => self.crossed.push(Crossed { request, peer, failure, until: now + PATIENCE }),
        }
    }

    /// There is a link to this peer now.
    pub(super) fn settle_crossed(&mut self, link: LinkId, peer: &NodeId) {
        for crossed in self.crossed.extract_if(.., |crossed| crossed.peer == *peer).collect::<Vec<_>>() {
            self.wish_for(link, crossed.request);
        }
    }

    pub(super) fn expire_crossed(&mut self, now: Instant) {
        let leaving = self.leaving;
        for crossed in self.crossed.extract_if(.., |crossed| crossed.until <= now || leaving) {
            self.out.push(Effect::Requested(crossed.request, Err(crossed.failure)));
        }
    }
}
