//! Opens streams to any node of the network.
//!
//! A neighbour's stream opens over the link that exists, without asking the driver. For every other
//! node the driver has the core locate it and dials it, or has the stream relayed.

use std::sync::{Arc, Weak};

use smokesignal_proto::NodeId;
use tokio::sync::oneshot;

use crate::command::{Command, Commands};
use crate::error::OpenError;
use crate::metrics::Counters;
use crate::peers::Peers;
use crate::stream::handle::NodeStream;
use crate::stream::mux::NoStream;

/// Opens streams on behalf of one node, without keeping the node alive.
#[derive(Debug, Clone)]
pub(crate) struct Opener {
    me: NodeId,
    peers: Peers,
    counters: Arc<Counters>,
    commands: Weak<Commands>,
}

impl Opener {
    pub(crate) fn new(me: NodeId, peers: Peers, counters: Arc<Counters>, commands: &Arc<Commands>) -> Self {
        Self { me, peers, counters, commands: Arc::downgrade(commands) }
    }

    /// Returns whether there is a link to this node, so that opening a stream needs no dial.
    pub(crate) fn is_linked(&self, id: &NodeId) -> bool {
        self.peers.get(id).is_some_and(|peer| !peer.is_closed())
    }

    /// Returns the number of nodes in the network, as far as this one knows.
    pub(crate) fn network_size(&self) -> usize {
        self.counters.network_size()
    }

    /// Opens a stream of any name, also of one that only the library uses.
    pub(crate) async fn open(&self, id: NodeId, name: &str) -> Result<NodeStream, OpenError> {
        if id == self.me {
            return Err(OpenError::Myself(id));
        }
        if let Some(peer) = self.peers.get(&id).filter(|peer| !peer.is_closed()) {
            match peer.open(name) {
                Ok(stream) => return Ok(stream),
                Err(NoStream::TooMany) => return Err(OpenError::TooMany(id)),
                Err(NoStream::Gone) => {} // The driver will notice and find another path.
            }
        }
        let (answer, opened) = oneshot::channel();
        let command = Command::Open { id, name: name.to_owned(), answer };
        if !self.commands.upgrade().is_some_and(|commands| commands.send(command)) {
            return Err(OpenError::NotRunning);
        }
        opened.await.unwrap_or(Err(OpenError::NotRunning))
    }
}
