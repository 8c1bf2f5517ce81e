//! What a node knows and holds, laid open to checkers, tests and diagnosis. Nothing here changes
//! anything.

use super::Node;
use crate::id::NodeId;
use crate::limits::{Held, StreamView};
use crate::record::Record;

impl Node {
    /// Everything that has a limit, with that limit. `amount <= limit` holds between any two calls.
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
        self.netsplit.held(&mut held);
        self.lookups.held(&mut held);
        self.queries.held(config, &mut held);
        held
    }

    /// What is known of this writer's stream; `None` if nothing is.
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

    /// The records of all nodes it may dial or name to others.
    pub fn known_records(&self) -> impl Iterator<Item = &Record> {
        self.membership.known_records()
    }
}
