//! What a node holds and knows, in a form that checkers, tests and diagnosis can read.
//!
//! Each organ reports the collections it owns as [`Held`], each with its limit, so that one check
//! covers all of them: `amount <= limit` holds between any two calls. A [`StreamView`] is a copy:
//! nothing here can change a node.

use crate::ids::LinkId;
use crate::lag::Lag;

/// A collection that a node keeps, its size, and the limit of that size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Names the collection in a few words.
    pub what: &'static str,
    /// The present size, in pieces or in bytes as `what` says.
    pub amount: usize,
    /// The largest size allowed.
    pub limit: usize,
}

/// How far the readers of a node's own messages are, by their own reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confirmed {
    /// All messages up to this one were read by every node that is waited for.
    pub message: u64,
    /// Bytes that were written after it.
    pub unconfirmed: usize,
    /// Nodes that report, this one not included.
    pub nodes: usize,
    /// Those of them that are not waited for, because they fell too far behind.
    pub behind: usize,
    /// How many of the nodes have missed messages.
    pub gaps: usize,
    /// The most messages that one of them has missed.
    pub missed: u64,
    /// A node that has read least, among those that are waited for: the first 8 bytes of its id, as
    /// one number. 0 if there is none.
    pub slowest: u64,
}

/// What a node knows of one writer's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamView {
    /// The start of the writer that the stream belongs to.
    pub incarnation: u64,
    /// The node has read or skipped everything up to this segment.
    pub have: u64,
    /// The oldest segment that is retained; `have + 1` if none is.
    pub floor: u64,
    /// Whether a signed segment of this incarnation has been verified.
    pub proven: bool,
    /// What the node lacks of the stream, by what its neighbours report.
    pub lag: Option<Lag>,
    /// The link that the stream comes over.
    pub parent: Option<LinkId>,
    /// One entry for each link that has said something about the stream.
    pub links: Vec<StreamLink>,
}

/// What a node knows of one neighbour and one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLink {
    /// The link to the neighbour.
    pub link: LinkId,
    /// How far the neighbour is, by its own account.
    pub claims: u64,
    /// The last segment that was sent to it, or that it began with.
    pub sent: u64,
    /// Whether the link is eager: new segments are sent without a request, unless the neighbour has
    /// them by then.
    pub push: bool,
    /// Whether this node has asked the neighbour not to send the stream.
    pub pruned: bool,
}
