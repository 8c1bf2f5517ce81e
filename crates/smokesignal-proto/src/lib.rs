//! The smokesignal protocol without sockets, clocks or threads.
//!
//! [`Node`] says which message goes to which neighbour; carrying the bytes is the caller's part.
//! What an application writes travels as numbered *segments*, which together are its writer's
//! *stream*. A *link* is a connection between two neighbours; what goes over it is a [`Message`]: a
//! segment, or a control message.
//!
//! Nodes gather through a contact and keep a few neighbours each; what one writes reaches all the
//! others, each writer's messages in the order written, each once. A message that is lost is
//! reported as part of a gap, which has a count.
//!
//! It is not a log (a late joiner starts at now), there is no order between different writers, and
//! a node that is cut off from all others hears nothing until it is back.
//!
//! Time and chance are arguments: the same seed and the same inputs give the same outputs, byte for
//! byte.
//!
//! ```
//! use smokesignal_proto::{Config, Instant, Keypair, Node, Output};
//!
//! let now = Instant::ZERO;
//! let mut node = Node::new(Keypair::from_seed(&[7; 32]), Config::default(), 1, now);
//! node.join("192.168.2.100:8495".into(), now);
//! node.handle_timeout(now);
//! while let Some(output) = node.poll_output(now) {
//!     // Perform it: send, dial, close, deliver.
//!     assert!(matches!(output, Output::Dial { .. }));
//! }
//! let wake_at = node.poll_timeout(); // Sleep until then, or until something arrives.
//! # assert!(wake_at > now);
//! ```

// `publish` makes segments, `streams` and `ring` keep them, and `spread` sends them over the links
// that `membership` maintains. `netsplit` counts the nodes and watches the seeds, `lookup` finds
// one node, `departure` knows when to leave, and `node` combines the parts. The others are what
// these share.
mod age;
mod codec;
mod config;
mod context;
mod departure;
mod features;
mod flow;
mod hash_tree;
mod id;
mod ids;
mod lag;
mod life;
mod limits;
mod lookup;
mod membership;
mod message;
mod messages;
mod netsplit;
mod node;
mod output;
mod proof;
mod publish;
mod record;
mod ring;
mod rng;
mod segment;
mod signature_rate;
mod spread;
mod streams;
mod time;
mod varint;
mod writer;

pub use age::Age;
pub use codec::{CodecError, MAX_FRAME, decode, encode, encode_head};
pub use config::{Config, MAX_SEGMENT, Pace, ReadFrom};
pub use features::{Features, OtherEnd};
pub use id::{Keypair, NodeId, ParseNodeIdError, Signature};
pub use ids::{DialId, LinkId, RequestId, Target};
pub use lag::Lag;
pub use life::{LifeSign, Nonce};
pub use limits::{Confirmed, Held, StreamLink, StreamView};
pub use message::{
    Ask, Beat, Confirmation, Control, DigestEnd, DisconnectReason, MAX_MARKS, MAX_PROOFS, MAX_RECORDS,
    MAX_SEEDS, Mark, Message, Part, Priority, SeedReport, SeedState, SeedStatus, SoughtSeed,
};
pub use messages::Messages;
pub use node::Node;
pub use output::{CloseReason, DialFailure, Farewell, Full, Output, Relay, RequestFailure, Unreachable};
pub use proof::SegmentProof;
pub use record::{Address, MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_OTHER_ADDRESSES, Record, Statement};
pub use segment::{MessageKind, Seal, Segment, SegmentKind};
pub use time::Instant;
