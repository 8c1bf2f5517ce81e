#![doc = include_str!("../../../README.md")]

mod accept;
mod ask;
mod broadcast;
mod budget;
mod carry;
mod chunks;
mod dial;
mod driver;
mod error;
mod event;
mod frame;
mod identity;
mod link;
mod local_ip;
mod mux;
mod node;
mod node_stream;
mod options;
mod peer;
mod peers;
mod pen;
mod stream;
mod tls;
mod train;
pub mod transport;

pub use accept::Acceptor;
pub use ask::{Answer, Answers, ResponderGuard};
pub use broadcast::{Broadcast, BroadcastSender, Incoming};
pub use error::{
    AcceptError, BuildError, ConnectError, IdentityError, LocalIpError, OpenError, SendError, StartError,
    StreamError, TrySendError,
};
pub use event::{Event, Events};
pub use identity::Identity;
pub use local_ip::local_ip;
pub use node::Node;
pub use node_stream::{NodeStream, Path};
pub use options::NodeBuilder;
pub use peer::Peer;
pub use peers::Peers;
pub use smokesignal_proto::{NodeId, ParseNodeIdError, ReadFrom};
