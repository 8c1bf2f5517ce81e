//! peers
use crate::*;
/// live view of the peer list
#[derive(Debug, Clone)]
pub struct Peers {}
impl Peers {
    /// all
    pub fn list(&self) -> Vec<Peer> { todo!() }
    /// whether
    pub fn contains(&self, _id: &NodeId) -> bool { todo!() }
    /// one
    pub fn get(&self, _id: &NodeId) -> Option<Peer> { todo!() }
    /// count
    pub fn len(&self) -> usize { todo!() }
    /// none
    pub fn is_empty(&self) -> bool { todo!() }
}
