//! Pinned links: those that the user of either side asked for. Neither side ends one for the sake
//! of others. One that breaks is not pinned again by itself: the user has to ask anew.
//!
//! A request dials the address and asks for a link with the priority `Explicit`. If the two nodes
//! are linked already, or the other one has dialled at the same time, the link that exists is
//! pinned, and this node announces it to the other side.

use super::Membership;
use super::state::dials::Purpose;
use crate::context::Cx;
use crate::id::NodeId;
use crate::ids::{LinkId, RequestId, Target};
use crate::message::Priority;
use crate::output::{Output, RequestFailure};

impl Membership {
    /// The user asks for a link to this address.
    pub(crate) fn request(&mut self, cx: &mut Cx<'_>, request: RequestId, address: String) {
        self.dial(cx, Purpose::Pin(request), Target::Name(address), None);
    }

    /// Pins a link that exists, or will in a moment, and answers the request.
    pub(super) fn pin(&mut self, cx: &mut Cx<'_>, link: LinkId, request: RequestId) {
        let Some((peer, active)) = self.conns.get(link).map(|conn| (conn.peer(), conn.is_active())) else {
            return;
        };
        let earlier = self.conns.pin(link, request);
        if active {
            cx.out.push(Output::Requested { request, outcome: Ok(peer) });
            self.announce_pin(cx, link);
        } else if let Some(request) = earlier {
            cx.out.push(Output::Requested { request, outcome: Ok(peer) });
        }
    }

    /// Tells the other side that the link is pinned.
    pub(super) fn announce_pin(&self, cx: &mut Cx<'_>, link: LinkId) {
        self.send_neighbor(cx, link, Priority::Explicit, None);
    }

    /// The connection that was asked over will not be a link. Answers the request if there is
    /// another one, or waits for it for a moment.
    pub(super) fn settle_request(
        &mut self,
        cx: &mut Cx<'_>,
        request: RequestId,
        peer: NodeId,
        failure: RequestFailure,
    ) {
        match self.conns.link_to(&peer) {
            _ if cx.me.is_leaving() => cx.out.push(Output::Requested { request, outcome: Err(failure) }),
            Some((link, _)) => self.pin(cx, link, request),
            None => self.crossed.wait(request, peer, failure, cx.now),
        }
    }

    /// There is a link to this peer now.
    pub(super) fn settle_crossed(&mut self, cx: &mut Cx<'_>, link: LinkId, peer: &NodeId) {
        for request in self.crossed.take(peer) {
            self.pin(cx, link, request);
        }
    }

    pub(super) fn expire_crossed(&mut self, cx: &mut Cx<'_>) {
        for (request, failure) in self.crossed.expire(cx.me.is_leaving(), cx.now) {
            cx.out.push(Output::Requested { request, outcome: Err(failure) });
        }
    }
}
