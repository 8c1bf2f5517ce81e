//! What a node knows and holds, laid open to checkers, tests and diagnosis. Nothing here changes anything.

use super::{LinkId, Node};
use crate::id::NodeId;
use crate::record::Record;

/// Something a node keeps, and how much of it there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// What, in a word or two.
    pub what: &'static str,
    /// How much there is, in pieces or in bytes as `what` says.
    pub amount: usize,
    /// How much there may be.
    pub limit: usize,
}

/// What a node knows of one writer's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamView {
    /// Which start of the writer.
    pub incarnation: u64,
    /// Read, or skipped, up to this segment.
    pub have: u64,
    /// The oldest segment that is still here; `have + 1` if there is none.
    pub floor: u64,
    /// A signed segment of it was seen.
    pub proven: bool,
    /// Where it comes from.
    pub parent: Option<LinkId>,
    /// By link.
    pub links: Vec<StreamLink>,
}

/// What a node knows of a neighbour and one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLink {
    /// Which neighbour.
    pub link: LinkId,
    /// How far it is, by its own word.
    pub claims: u64,
    /// The last segment that was sent to it, or that it began with.
    pub sent: u64,
    /// New segments are sent to it without being asked for, unless it has them by then.
    pub push: bool,
    /// It was told not to send them.
    pub pruned: bool,
}

impl Node {
    /// Everything that has a limit, with that limit. `amount <= limit` holds between any two calls.
    pub fn held(&self) -> Vec<Held> {
        let mut held = vec![Held {
            what: "bytes accepted and not written",
            amount: self.writer.bytes(),
            limit: self.config.write_buffer.max(self.config.max_message),
        }];
        self.membership.held(&mut held);
        self.streams.held(&self.config, &mut held);
        self.spread.held(&self.config, &mut held);
        self.netsplit.held(&mut held);
        self.reach.held(&self.config, &mut held);
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
