// The guide is the package's README. Links in it lead to docs.rs, for those who read it elsewhere;
// these definitions come first and win here, and rustdoc checks them.
//! [`Broadcast`]: crate::Broadcast
//! [`Broadcast::end`]: crate::Broadcast::end
//! [`Broadcast::finish`]: crate::Broadcast::finish
//! [`Broadcast::send`]: crate::Broadcast::send
//! [`Broadcast::send_confirmed`]: crate::Broadcast::send_confirmed
//! [`Broadcast::try_send`]: crate::Broadcast::try_send
//! [`Event::Connect`]: crate::Event::Connect
//! [`Event::Disconnect`]: crate::Event::Disconnect
//! [`Event::Incompatible`]: crate::Event::Incompatible
//! [`Event::Missed`]: crate::Event::Missed
//! [`Event::Netsplit`]: crate::Event::Netsplit
//! [`Event::NetsplitResolved`]: crate::Event::NetsplitResolved
//! [`Event::PeerAdded`]: crate::Event::PeerAdded
//! [`Event::PeerRemoved`]: crate::Event::PeerRemoved
//! [`Event::SeedUnreachable`]: crate::Event::SeedUnreachable
//! [`Identity`]: crate::Identity
//! [`Incoming::reply`]: crate::Incoming::reply
//! [`MemoryNetwork`]: crate::transport::MemoryNetwork
//! [`Node`]: crate::Node
//! [`Node::add_peer`]: crate::Node::add_peer
//! [`Node::answer`]: crate::Node::answer
//! [`Node::ask`]: crate::Node::ask
//! [`Node::events`]: crate::Node::events
//! [`Node::metrics`]: crate::Node::metrics
//! [`Node::network_size`]: crate::Node::network_size
//! [`Node::open`]: crate::Node::open
//! [`Node::replies`]: crate::Node::replies
//! [`Node::start`]: crate::Node::start
//! [`Node::stop`]: crate::Node::stop
//! [`NodeBuilder`]: crate::NodeBuilder
//! [`NodeId`]: crate::NodeId
//! [`NodeStream`]: crate::NodeStream
//! [`NodeStream::accepted`]: crate::NodeStream::accepted
//! [`NodeStream::path`]: crate::NodeStream::path
//! [`Peer`]: crate::Peer
//! [`Peer::close`]: crate::Peer::close
//! [`Peer::metrics`]: crate::Peer::metrics
//! [`Peers`]: crate::Peers
//! [`StreamErrorKind::Refused`]: crate::StreamErrorKind::Refused
//! [`local_ip`]: crate::local_ip()
//! [`leave_timeout`]: crate::NodeBuilder::leave_timeout
//! [`read_from`]: crate::NodeBuilder::read_from
//! [`retention`]: crate::NodeBuilder::retention
#![doc = ""]
#![doc = include_str!("../README.md")]

mod broadcast;
mod command;
mod driver;
mod error;
mod event;
mod identity;
mod incarnation;
mod local_ip;
mod lock;
mod log_limit;
mod metrics;
mod node;
mod opener;
mod options;
mod peer;
mod peers;
mod printable;
mod stopped;
mod stream;
pub mod transport;
mod upload;
#[cfg(test)]
mod vectors;
mod version;
mod wire;

pub use broadcast::incoming::Incoming;
pub use broadcast::query::{Answer, Answers, ResponderGuard};
pub use broadcast::{Broadcast, BroadcastSender};
pub use error::{
    AcceptError, BuildError, ConnectError, IdentityError, LocalIpError, OpenError, SendError, StartError,
    StreamError, StreamErrorKind, TrySendError,
};
pub use event::{Event, Events};
pub use identity::Identity;
pub use local_ip::local_ip;
pub use metrics::{LinkMetrics, Metrics, WriterMetrics};
pub use node::Node;
pub use options::{NodeBuilder, Preset};
pub use peer::Peer;
pub use peers::Peers;
pub use printable::printable;
pub use smokesignal_proto::{NodeId, Pace, ParseNodeIdError, ReadFrom};
pub use stopped::Stopped;
pub use stream::accept::Acceptor;
pub use stream::handle::{NodeStream, Path};
pub use version::{VersionMismatch, Versions};
