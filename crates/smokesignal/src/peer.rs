//! peer
use crate::*;
use bytes::Bytes;
use std::net::SocketAddr;
/// A direct neighbour: AsyncRead + AsyncWrite (through &mut self) and chunk-wise. Clones are the same stream.
#[derive(Debug, Clone)]
pub struct Peer {}
impl Peer {
    /// id
    pub fn id(&self) -> NodeId { todo!() }
    /// Where it listens
    pub fn remote_addr(&self) -> SocketAddr { todo!() }
    /// Writes one chunk: arrives as one chunk at the other side's recv(). Waits for credit.
    pub async fn send(&self, _data: impl Into<Bytes>) -> Result<(), SendError> { todo!() }
    /// Next chunk, whole; None at the end of the stream
    pub async fn recv(&self) -> Option<Bytes> { todo!() }
    /// Ends the link
    pub fn close(&self) { todo!() }
    /// Resolves when the link is gone
    pub async fn closed(&self) { todo!() }
}
