//! Views of what a node knows and holds, for checkers, tests and diagnosis. They change nothing.

use super::Node;
use crate::id::NodeId;
use crate::limits::{Confirmed, Held, StreamView};
use crate::record::Record;
use crate::streams::OWN;
use crate::time::Instant;

impl Node {
    /// Returns how far the readers of this node's messages are.
    pub fn confirmed(&mut self, now: Instant) -> Confirmed {
        let summary = self.spread.readers(&self.context.at(now), &self.streams);
        let own = self.streams.get(OWN);
        let position = self.spread.own_position();
        let message = if position >= own.have {
            self.publisher.published()
        } else {
            own.ring.get(position + 1).map_or(0, |next| next.first_message - 1)
        };
        let unconfirmed = own.ring.bytes_after(position) + self.publisher.bytes();
        let mut confirmed = Confirmed { message, unconfirmed, ..Confirmed::default() };
        if let Some(summary) = summary {
            (confirmed.nodes, confirmed.behind) = (summary.nodes as usize, summary.behind as usize);
            (confirmed.gaps, confirmed.missed) = (summary.gaps as usize, summary.missed);
            confirmed.slowest = summary.slowest;
        }
        confirmed
    }

    /// Returns everything that has a limit, with that limit. `amount <= limit` holds between any
    /// two calls.
    pub fn held(&self) -> Vec<Held> {
        let config = &self.context.config;
        let mut held = vec![Held {
            what: "bytes accepted and not written",
            amount: self.publisher.bytes(),
            limit: config.write_buffer.max(config.max_message),
        }];
        self.membership.held(config, &mut held);
        self.streams.held(config, &mut held);
        self.spread.held(config, &mut held);
        self.flows.held(&mut held);
        self.joints.held(&mut held);
        self.netsplit.held(&mut held);
        self.lookups.held(&mut held);
        self.queries.held(config, &mut held);
        self.departure.held(&mut held);
        self.claims.held(config, &mut held);
        self.liveness.held(&mut held);
        held.push(Held { what: "streams behind", amount: self.lags.len(), limit: config.max_streams });
        held
    }

    /// Returns what this node knows of the writer's stream; `None` if it knows nothing.
    pub fn stream_of(&self, writer: &NodeId) -> Option<StreamView> {
        let ix = self.streams.find(writer)?;
        let stream = self.streams.get(ix);
        Some(StreamView {
            incarnation: stream.incarnation,
            have: stream.have,
            floor: stream.floor(),
            proven: stream.proven,
            lag: self.lags.of(ix, stream),
            parent: self.spread.parent(ix),
            links: self.spread.views(ix),
        })
    }

    /// Returns how many links were chosen because they are near, and how many random ones this node
    /// keeps.
    pub fn near_and_kept(&self) -> (usize, usize) {
        self.membership.near_and_kept()
    }

    /// Returns the records of all nodes that it may dial or name to others.
    pub fn known_records(&self) -> impl Iterator<Item = &Record> {
        self.membership.known_records()
    }
}
