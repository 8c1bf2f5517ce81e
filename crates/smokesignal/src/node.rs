//! node
use crate::*;
use std::net::SocketAddr;
/// A node of the network. Clones are the same node; when the last one is dropped without stop(), the node ends abruptly (as if killed).
#[derive(Debug, Clone)]
pub struct Node {}
impl Node {
    /// options
    pub fn builder() -> Builder { todo!() }
    /// Binds and enters the network. Returns once it listens.
    pub async fn start(&self) -> Result<(), StartError> { todo!() }
    /// Flushes what was accepted, leaves properly, closes. May be started again.
    pub async fn stop(&self) { todo!() }
    /// id
    pub fn id(&self) -> NodeId { todo!() }
    /// Where it listens, None while stopped
    pub fn local_addr(&self) -> Option<SocketAddr> { todo!() }
    /// A new independent reader+writer: reads what arrives from this call on.
    pub fn broadcast(&self) -> Broadcast { todo!() }
    /// peers
    pub fn peers(&self) -> Peers { todo!() }
    /// A new subscriber. The first subscriber gets everything since build().
    pub fn events(&self) -> Events { todo!() }
    /// Connects to the node at HOST:PORT.
    pub async fn add_peer(&self, _addr: impl Into<String>) -> Result<Peer, ConnectError> { todo!() }
}
