//! One small error per operation. The docs say what is true afterwards; each text names the value
//! and what to do about it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smokesignal_proto::NodeId;

use crate::printable::printable;
use crate::version::VersionMismatch;

/// [`NodeBuilder::build`](crate::NodeBuilder::build) refused the options. Nothing was opened or
/// started.
///
/// ```
/// use smokesignal::{BuildError, Node};
///
/// let error = Node::builder().min_peers(6).max_peers(5).build().unwrap_err();
/// assert_eq!(error, BuildError::MinAboveMax { min: 6, max: 5 });
/// assert_eq!(error.to_string(), "min_peers 6 is above max_peers 5; lower min_peers or raise max_peers");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// `max_peers` is 0.
    #[error(
        "max_peers is 0, and a node without peers reaches nobody; use 1 or more, better 2: a node with one peer forwards nothing"
    )]
    MaxPeersZero,
    /// `min_peers` is larger than `max_peers`.
    #[error("min_peers {min} is above max_peers {max}; lower min_peers or raise max_peers")]
    MinAboveMax {
        /// The `min_peers` given.
        min: usize,
        /// The `max_peers` given.
        max: usize,
    },
    /// `min_peers` is 0.
    #[error("min_peers is 0, and a node without peers reaches nobody; use 1 or more")]
    MinPeersZero,
    /// A seed is not of the form `HOST:PORT`.
    #[error("`{0}` is not a seed address; write HOST:PORT, for example 192.168.2.100:8495 or [::1]:8495")]
    BadSeed(String),
    /// The address to be advertised is not of the form `HOST:PORT`, or cannot be dialled.
    #[error(
        "`{0}` cannot be advertised; write what others can dial as HOST:PORT, for example 203.0.113.7:8495"
    )]
    BadAdvertise(String),
    /// There are more addresses to be advertised than a node passes on.
    #[error("{0} addresses cannot be advertised, 4 at most; keep the best ones")]
    TooManyAdvertised(usize),
    /// `ping_timeout` is outside 100 ms to 1 h.
    #[error("ping_timeout {0:?} is outside 100 ms to 1 h; 3 s is the default")]
    BadPingTimeout(std::time::Duration),
    /// `reader_timeout` is 0.
    #[error(
        "reader_timeout is 0, and no reader is that fast; use a time above 0, for example 60 s, or leave it out for no limit"
    )]
    ReaderTimeoutZero,
    /// `max_message` is 0 or above 1 GiB.
    #[error("max_message {0} is outside 1 byte to 1 GiB; 16 MiB is the default")]
    BadMaxMessage(usize),
    /// The retained bytes are fewer than two messages of the largest size, or than 2 MiB.
    #[error(
        "retention of {bytes} bytes is too small for max_message {max_message}; use {least} or more: two messages of that size, and 2 MiB in any case"
    )]
    RetentionTooSmall {
        /// The bytes given.
        bytes: usize,
        /// The fewest bytes that are accepted.
        least: usize,
        /// The largest message.
        max_message: usize,
    },
    /// The age up to which messages are retained is below 1 s.
    #[error("retention age {0:?} is too short; use 1 s or more, 60 s is the default")]
    RetentionTooShort(std::time::Duration),
    /// The upload limit is so low that neighbours would take the node for dead.
    #[error(
        "upload_limit of {limit} bytes per second is too low for ping_timeout {ping_timeout:?}; use {least} or more, raise ping_timeout, or leave it out for no limit"
    )]
    UploadLimitTooLow {
        /// The bytes per second given.
        limit: u64,
        /// The fewest that are accepted.
        least: u64,
        /// The time after which a silent node counts as dead.
        ping_timeout: std::time::Duration,
    },
    /// The network secret is shorter than 16 bytes.
    #[error("the network secret has {0} bytes; use at least 16, better 32 random ones")]
    SecretTooShort(usize),
}

/// [`Node::start`](crate::Node::start) failed. The node is stopped and may be started again.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use smokesignal::{Node, StartError, transport::MemoryNetwork};
///
/// let network = MemoryNetwork::new();
/// let [one, two] = [1, 2].map(|_| Node::builder().transport(network.clone()).port(8495).build());
/// let (one, two) = (one?, two?);
/// one.start().await?;
/// assert!(matches!(two.start().await, Err(StartError::PortInUse(_))));
/// one.stop().await;
/// two.start().await?; // It may be tried again.
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another program listens there.
    #[error("{0} is in use by another program; choose another port, or 0 for any free one")]
    PortInUse(SocketAddr),
    /// The address is not one of this machine's.
    #[error("{0} is not an address of this machine; `smokesignal localip SUBNET` prints one that is")]
    NotLocal(IpAddr),
    /// Listening failed for another reason.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The host name to be advertised has no address.
    #[error(
        "the host name in {address}, which is to be advertised, could not be resolved ({cause}); is it spelt right?"
    )]
    Advertise {
        /// The name that was to be advertised.
        address: String,
        /// The resolver's error.
        cause: String,
    },
    /// The node runs already.
    #[error("the node runs already; call stop() first")]
    AlreadyRunning,
}

/// A connection to a node could not be made. The peer list is as before.
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
/// use smokesignal::ConnectError;
///
/// let error = ann.add_peer("127.0.0.1:1").await.unwrap_err();
/// assert_eq!(error, ConnectError::Myself("127.0.0.1:1".into()));
/// let error = ann.add_peer("127.0.0.1:9").await.unwrap_err();
/// assert_eq!(error.to_string(), "127.0.0.1:9 refused the connection; is a node running there?");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The text is not `HOST:PORT`.
    #[error("`{0}` is not an address; write HOST:PORT")]
    BadAddress(String),
    /// The host name has no address.
    #[error("the host name in {address} could not be resolved ({cause}); is it spelt right?")]
    Resolve {
        /// The address as it was given.
        address: String,
        /// The resolver's error.
        cause: String,
    },
    /// Nothing listens there.
    #[error("{0} refused the connection; is a node running there?")]
    Refused(String),
    /// The address did not answer in time.
    #[error("{0} did not answer in time; is the address right, and does a firewall let it through?")]
    TimedOut(String),
    /// The other side closed the connection before the handshake was over: it has no place for one
    /// more, or stops, or is not a node. Seeds are tried again.
    #[error(
        "{0} closed the connection before the handshake ended; it may be full or busy, so try again later (the node tries its seeds again by itself)"
    )]
    ClosedEarly(String),
    /// The address was reached, but the handshake failed.
    #[error("{address} is not a smokesignal node of this network ({cause})")]
    Handshake {
        /// The address as it was given.
        address: String,
        /// The failed step.
        cause: String,
    },
    /// The other side holds another network secret, or only one side has one.
    #[error("{0} holds a different network secret, or none; give both nodes the same secret file")]
    WrongSecret(String),
    /// A node answered, and the two speak no common version of the protocol.
    #[error("{address} is a node of another version: {versions}")]
    NoCommonVersion {
        /// The address as it was given.
        address: String,
        /// What the two nodes speak.
        versions: VersionMismatch,
    },
    /// Another node answered at the address.
    #[error("expected node {expected} at {address}, reached {found}")]
    WrongNode {
        /// The address as it was given.
        address: String,
        /// The node that should have answered.
        expected: NodeId,
        /// The node that did.
        found: NodeId,
    },
    /// The address is the node's own.
    #[error("{0} is this node itself; name another node")]
    Myself(String),
    /// The node answered but has no room (it holds `max_peers` and two more).
    #[error("{0} has no room for another peer; raise its max_peers or try again later")]
    Full(String),
    /// The connection broke while the link was being made.
    #[error("{0} closed the connection; try again")]
    Closed(String),
    /// The local node is not running.
    #[error("the node is not running; call start() first")]
    NotRunning,
    /// Another failure of the network.
    #[error("cannot reach {address}: {cause}")]
    Io {
        /// The address as it was given.
        address: String,
        /// The system's error.
        cause: String,
    },
}

/// A write was refused. Nothing of it was sent.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use smokesignal::{Node, SendError};
///
/// let node = Node::builder().max_message(10).build()?;
/// let sent = node.broadcast().send("more than ten bytes").await;
/// assert_eq!(sent, Err(SendError::TooLarge { size: 19, limit: 10 }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The message is larger than `max_message`.
    #[error(
        "the message has {size} bytes, the limit is {limit}; split it, or raise max_message on every node"
    )]
    TooLarge {
        /// Length of the message in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The node was stopped or dropped.
    #[error("the node was stopped or dropped")]
    Closed,
    /// This node has ended its stream.
    #[error("this node has ended its stream; write before end(), or stop the node and start it again")]
    Ended,
    /// Another live process has this node's key and was started later: readers follow that one. See
    /// [`Event::IdentityConflict`](crate::Event). Stays so until this node is started again.
    #[error(
        "another process with this node's key was started later; give each process a key of its own, and \
         start this one again"
    )]
    IdentityInUse,
}

/// A stream could not be opened. Nothing was sent.
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
/// use smokesignal::{Identity, OpenError};
///
/// let nobody = Identity::from_seed([7; 32]).id();
/// assert!(matches!(bob.open(nobody, "echo").await, Err(OpenError::NotFound { .. })));
/// assert!(matches!(bob.open(bob.id(), "echo").await, Err(OpenError::Myself(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The id is the node's own.
    #[error("{0} is this node itself; name another node")]
    Myself(NodeId),
    /// No node of the network has this id, or it did not answer in time.
    #[error("node {id} was not found within {waited:?}; is it running, and in this network?")]
    NotFound {
        /// The id that was looked up.
        id: NodeId,
        /// The time that the lookup took.
        waited: Duration,
    },
    /// The node has answered the lookup, but no connection to it could be made.
    #[error("node {0} exists but cannot be reached; does a firewall keep it from being dialled?")]
    Unreachable(NodeId),
    /// Too many lookups are running.
    #[error("too many lookups are running on this node; try again when some have ended")]
    Busy,
    /// The name is empty or too long.
    #[error("a stream's name has 1 to 255 bytes, this one has {0}")]
    BadName(usize),
    /// The limit of streams to that node is reached.
    #[error("too many streams to node {0} are open; close some first")]
    TooMany(NodeId),
    /// The local node is not running.
    #[error("the node is not running; call start() first")]
    NotRunning,
}

/// A name cannot be accepted.
///
/// ```
/// use smokesignal::{AcceptError, Node};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder().build()?;
/// let _first = node.accept("echo")?;
/// assert_eq!(node.accept("echo").unwrap_err(), AcceptError::Taken("echo".into()));
/// assert_eq!(node.accept("").unwrap_err(), AcceptError::BadName(0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// Another acceptor of this node has it.
    #[error("the name `{0}` is accepted already; drop its acceptor first")]
    Taken(String),
    /// The name is empty or too long.
    #[error("a stream's name has 1 to 255 bytes, this one has {0}")]
    BadName(usize),
    /// Another responder of this node answers questions already.
    #[error("this node answers questions already; drop what the first answer() gave")]
    ResponderExists,
}

/// A stream, or a write to it, has failed. Reads return what had arrived before they fail.
///
/// It says which stream it was; [`kind`](Self::kind) says what has happened. As an [`io::Error`] it
/// is the inner error, whose kind is named at each [`StreamErrorKind`].
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
/// use smokesignal::StreamErrorKind;
///
/// let stream = bob.open(ann.id(), "nobody accepts this").await?;
/// let error = stream.recv().await.unwrap_err();
/// assert_eq!(error.kind(), &StreamErrorKind::Refused);
/// assert_eq!((error.peer(), error.name()), (ann.id(), "nobody accepts this"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    kind: StreamErrorKind,
    peer: NodeId,
    name: Arc<str>,
}

impl StreamError {
    pub(crate) const fn new(kind: StreamErrorKind, peer: NodeId, name: Arc<str>) -> Self {
        Self { kind, peer, name }
    }

    /// Returns what has happened.
    pub const fn kind(&self) -> &StreamErrorKind {
        &self.kind
    }

    /// Returns the node at the other end of the stream.
    pub const fn peer(&self) -> NodeId {
        self.peer
    }

    /// Returns the name that the stream was opened with; it is empty for the stream that a
    /// [`Peer`](crate::Peer) is.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, peer, name } = self;
        match &**name {
            "" => write!(f, "stream with peer {peer}: {kind}"),
            name => write!(f, "stream `{name}` with node {peer}: {kind}"),
        }
    }
}

impl std::error::Error for StreamError {}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error.kind {
            StreamErrorKind::Refused | StreamErrorKind::Busy => io::ErrorKind::ConnectionRefused,
            StreamErrorKind::Reset(_) | StreamErrorKind::ConnectionLost => io::ErrorKind::ConnectionReset,
            StreamErrorKind::Stopped | StreamErrorKind::Closed => io::ErrorKind::BrokenPipe,
            StreamErrorKind::TooLarge { .. } => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

/// What has happened to a stream. From [`StreamError::kind`].
///
/// ```
/// use smokesignal::StreamErrorKind;
///
/// let error = StreamErrorKind::TooLarge { size: 20, limit: 10 };
/// assert_eq!(
///     error.to_string(),
///     "the chunk has 20 bytes, the limit is 10; split it, or raise max_message on every node"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamErrorKind {
    /// The other node accepts no streams of this name. `ConnectionRefused`.
    #[error("the other node accepts no streams of this name")]
    Refused,
    /// The other node has as many streams as it can hold, or as its application takes.
    /// `ConnectionRefused`.
    #[error("the other node has too many streams; try again later")]
    Busy,
    /// The other side has reset the stream and gives this reason, which is as it arrived: show the
    /// error, or what [`printable`](crate::printable()) makes of the reason. `ConnectionReset`.
    #[error("the other side has reset the stream: {}", printable(.0))]
    Reset(String),
    /// The connection ended before the stream did. `ConnectionReset`.
    #[error("the connection to the other node ended before the stream did")]
    ConnectionLost,
    /// The other side has stopped reading. `BrokenPipe`.
    #[error("the other side has stopped reading")]
    Stopped,
    /// This side has ended the stream. `BrokenPipe`.
    #[error("the stream was ended on this side")]
    Closed,
    /// The chunk is larger than `max_message`; nothing was sent, and the stream goes on.
    /// `InvalidInput`.
    #[error("the chunk has {size} bytes, the limit is {limit}; split it, or raise max_message on every node")]
    TooLarge {
        /// Length of the chunk in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

/// A write that may not wait was refused. Nothing of it was sent.
///
/// ```
/// use smokesignal::{Node, TrySendError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder().build()?;
/// let network = node.broadcast();
/// let back = loop {
///     match network.try_send(vec![0; 100_000]) {
///         Ok(()) => {} // Kept until there is a peer.
///         Err(TrySendError::Full(message)) => break message, // 1 MiB waits already.
///         Err(error) => return Err(error.into()),
///     }
/// };
/// assert_eq!(back.len(), 100_000);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// The node's links are full. The message is handed back.
    #[error("the node's links are full; wait with send(), or try later")]
    Full(Bytes),
    /// As for [`SendError`].
    #[error(transparent)]
    Send(#[from] SendError),
}

/// [`local_ip`](crate::local_ip()) found no address.
///
/// ```
/// use smokesignal::{LocalIpError, local_ip};
///
/// assert_eq!(local_ip("not a subnet"), Err(LocalIpError::BadSubnet("not a subnet".into())));
/// assert!(matches!(local_ip("203.0.113.0/24"), Err(LocalIpError::NoneFound { .. })));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalIpError {
    /// The text is neither an address nor a subnet.
    #[error(
        "`{0}` is not a subnet; write 192.168.2.0/24, 192.168.2.1/255.255.255.0, fd00::/8 or one address"
    )]
    BadSubnet(String),
    /// No interface of this machine has an address in the subnet.
    #[error("no address of this machine is in {subnet}; it has {found}")]
    NoneFound {
        /// The subnet as it was given.
        subnet: String,
        /// The addresses of this machine.
        found: String,
    },
    /// The interfaces could not be listed.
    #[error("cannot list this machine's network interfaces: {0}")]
    Interfaces(String),
}

/// A key file could not be used.
///
/// ```
/// use smokesignal::{Identity, IdentityError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("node.key");
/// std::fs::write(&file, "not a key")?;
/// let error = Identity::load(&file).unwrap_err();
/// assert!(matches!(error, IdentityError::Malformed { .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Reading or writing the file failed.
    #[error("cannot use the key file {path}: {source}")]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file does not contain a key.
    #[error("{path} is not a key file: expected one line of 64 hex digits; delete it to have a new one made")]
    Malformed {
        /// The path of the file.
        path: PathBuf,
    },
}
