//! A neighbour's request to relay a stream to another node.

use smokesignal_proto::{LinkId, NodeId};

use crate::stream::handle::NodeStream;

/// A stream that a neighbour has opened and that is to be relayed towards `target`, or ends here if
/// `target` is this node.
#[derive(Debug)]
pub(crate) struct RelayRequest {
    /// The link that the request came over.
    pub(crate) via: LinkId,
    /// The lookup that found the target; it names the next hop.
    pub(crate) query: u64,
    pub(crate) target: NodeId,
    pub(crate) stream: NodeStream,
}
