//! The broadcast stream.
use crate::{NodeId, SendError, TrySendError};
use bytes::Bytes;

/// What `recv` yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// One message, whole.
    Message { /** writer */ from: NodeId, /** number */ seq: u64, /** payload */ data: Bytes },
    /// This many messages of this writer could not be had.
    Gap { /** writer */ from: NodeId, /** how many */ missed: u64 },
}
/// The broadcast stream: AsyncRead + AsyncWrite and message-wise.
#[derive(Debug)]
pub struct Broadcast {}
impl Broadcast {
    /// Waits while the node's links are full.
    pub async fn send(&self, _data: impl Into<Bytes>) -> Result<(), SendError> { todo!() }
    /// Does not wait.
    pub fn try_send(&self, _data: impl Into<Bytes>) -> Result<(), TrySendError> { todo!() }
    /// Next message or gap; None when the node stopped
    pub async fn recv(&mut self) -> Option<Incoming> { todo!() }
    /// A writing half that can be cloned.
    pub fn sender(&self) -> BroadcastSender { todo!() }
}
/// The writing half.
#[derive(Debug, Clone)]
pub struct BroadcastSender {}
impl BroadcastSender {
    /// Waits while the node's links are full.
    pub async fn send(&self, _data: impl Into<Bytes>) -> Result<(), SendError> { todo!() }
    /// Does not wait.
    pub fn try_send(&self, _data: impl Into<Bytes>) -> Result<(), TrySendError> { todo!() }
}
