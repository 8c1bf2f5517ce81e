//! Views of what a node knows and holds, for checkers, tests and diagnosis. They change nothing.

use super::Node;
use crate::id::NodeId;
use crate::limits::{Held, StreamView};
use crate::record::Record;

impl Node {
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
            parent: self.spread.parent(ix),
            links: self.spread.views(ix),
        })
    }

    /// Returns the records of all nodes that it may dial or name to others.
    pub fn known_records(&self) -> impl Iterator<Item = &Record> {
        self.membership.known_records()
    }
}
