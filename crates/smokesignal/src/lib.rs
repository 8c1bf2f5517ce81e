#![doc = include_str!("../../../README.md")]

mod broadcast;
mod driver;
mod error;
mod event;
mod frame;
mod identity;
mod link;
mod local_ip;
mod node;
mod options;
mod peer;
mod peers;
mod stream;
mod tls;
pub mod transport;

pub use broadcast::{Broadcast, BroadcastSender, Incoming};
pub use error::{BuildError, ConnectError, IdentityError, LocalIpError, SendError, StartError, TrySendError};
pub use event::{Event, Events};
pub use identity::Identity;
pub use local_ip::local_ip;
pub use node::Node;
pub use options::Builder;
pub use peer::Peer;
pub use peers::Peers;
pub use smokesignal_proto::{NodeId, ParseNodeIdError, Start};
