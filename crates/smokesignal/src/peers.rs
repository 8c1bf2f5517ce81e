//! The peer list: a map of the current neighbours that the driver and all handles share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::lock::Lock;
use crate::peer::Peer;
use smokesignal_proto::NodeId;

/// The node's neighbours, from [`Node::peers`](crate::Node::peers). The list is live: it always has
/// the current ones.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let network = smokesignal::transport::MemoryNetwork::new();
/// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
/// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
/// # let mut connected = bob.events();
/// # ann.start().await?;
/// # bob.start().await?;
/// # while !matches!(connected.recv().await, Some(smokesignal::Event::Connect)) {}
/// let peers = ann.peers(); // Always shows the present ones.
/// assert_eq!(peers.len(), 1);
/// assert!(peers.contains(&bob.id()));
/// for peer in peers.list() {
///     println!("{} listens at {}", peer.id(), peer.remote_addr());
/// }
/// bob.stop().await;
/// # let mut events = ann.events();
/// # while !matches!(events.recv().await, Some(smokesignal::Event::Disconnect)) {}
/// assert!(peers.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Peers(Arc<Lock<BTreeMap<NodeId, Peer>>>);

impl Peers {
    /// Returns all neighbours, in the order of their ids.
    pub fn list(&self) -> Vec<Peer> {
        self.0.lock().values().cloned().collect()
    }

    /// Returns whether this node is a neighbour.
    pub fn contains(&self, id: &NodeId) -> bool {
        self.0.lock().contains_key(id)
    }

    /// Returns the neighbour with this id.
    pub fn get(&self, id: &NodeId) -> Option<Peer> {
        self.0.lock().get(id).cloned()
    }

    /// Returns the number of neighbours.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Returns whether the node has no neighbour.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Adds a neighbour and returns whether it is the first one.
    pub(crate) fn add(&self, peer: Peer) -> bool {
        let mut peers = self.0.lock();
        peers.insert(peer.id(), peer);
        peers.len() == 1
    }

    /// Removes a neighbour and returns whether it was the last one.
    pub(crate) fn remove(&self, id: &NodeId) -> bool {
        let mut peers = self.0.lock();
        peers.remove(id).is_some() && peers.is_empty()
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.lock().keys()).finish()
    }
}
