//! What happens to the node, as a stream of events.

use crate::{ConnectError, Peer};

/// Something that happened to the node. More kinds may be added.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The first peer is there: the node is part of the network.
    Connect,
    /// The last peer has gone. The node keeps trying its seeds.
    Disconnect,
    /// A link to this peer was made.
    PeerAdded(Peer),
    /// The link to this peer is gone.
    PeerRemoved(Peer),
    /// A seed could not be reached. Said once for each new cause; the node keeps trying.
    SeedUnreachable {
        /// The seed, as it was given.
        seed: String,
        /// Why.
        error: ConnectError,
    },
    /// The reader was too slow: this many events were dropped here, the oldest first.
    Missed(u64),
}

/// The events of a node, from [`Node::events`](crate::Node::events).
#[derive(Debug)]
pub struct Events {}

impl Events {
    /// The next event; `None` once the node is dropped.
    pub async fn recv(&mut self) -> Option<Event> {
        todo!()
    }
}
