//! Carrying bytes between two nodes that know each other's id.
//!
//! A [`Transport`] binds an address and returns an [`Endpoint`], which dials and accepts
//! [`Connection`]s. It does not interpret the bytes. There are two transports: [`TcpTransport`] for
//! real networks, and [`MemoryNetwork`], a simulated one with delays and faults for tests of this
//! library and of programs that use it. To write another one, carry the bytes and let
//! [`Credentials::connect`] and [`Credentials::accept`] authenticate the other end.

mod door;
pub(crate) mod hello;
pub(crate) mod incompatible;
mod memory;
mod tcp;
pub(crate) mod tls;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use ring::hmac;
use tokio::io::{AsyncRead, AsyncWrite};

use self::hello::{Metered, Role};
use self::incompatible::Incompatible;
use self::tls::{Tls, TlsError};
use crate::identity::Identity;
use crate::version::VersionMismatch;
use smokesignal_proto::NodeId;

pub use smokesignal_proto::Features;

pub use memory::MemoryNetwork;
pub use tcp::TcpTransport;

/// A future on the heap, so that a transport can be chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way to carry bytes between nodes.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{io, net::SocketAddr, sync::Arc};
///
/// use smokesignal::transport::{BoxFuture, Credentials, Endpoint, MemoryNetwork, Transport};
///
/// /// Carries bytes as another transport does, and prints which node listens where.
/// #[derive(Debug)]
/// struct Chatty(MemoryNetwork);
///
/// impl Transport for Chatty {
///     fn bind(&self, at: SocketAddr, me: Credentials) -> BoxFuture<'_, io::Result<Arc<dyn Endpoint>>> {
///         println!("{} listens at {at}", me.id());
///         self.0.bind(at, me)
///     }
/// }
///
/// let node = smokesignal::Node::builder().transport(Chatty(MemoryNetwork::new())).build()?;
/// node.start().await?;
/// # Ok(())
/// # }
/// ```
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Starts to listen at `address` as the node `me`. Port 0 means any free port.
    ///
    /// An address that is taken gives [`AddrInUse`](io::ErrorKind::AddrInUse), one that is not this
    /// machine's
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable).
    fn bind(&self, address: SocketAddr, me: Credentials) -> BoxFuture<'_, io::Result<Arc<dyn Endpoint>>>;
}

/// One node's place in a network: where it is reached, and how it reaches others. Dropping it
/// closes it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use smokesignal::{Identity, transport::{Credentials, MemoryNetwork, Transport}};
/// # let network = MemoryNetwork::new();
/// # let [ann, bob] = [1, 2].map(|seed| Credentials::new(Identity::from_seed([seed; 32]), None));
/// let here = network.bind("10.0.0.1:0".parse()?, ann.clone()).await?;
/// let there = network.bind("10.0.0.2:0".parse()?, bob.clone()).await?;
/// let dial = there.dial(here.local_addr(), Some(ann.id()));
/// let (dialled, accepted) = tokio::join!(dial, here.accept());
/// assert_eq!(dialled?.peer, ann.id());
/// assert_eq!(accepted.expect("it was not closed").peer, bob.id());
/// # Ok(())
/// # }
/// ```
pub trait Endpoint: Send + Sync + fmt::Debug + 'static {
    /// Returns the address where it listens, with the port that was chosen.
    fn local_addr(&self) -> SocketAddr;

    /// Returns the next authenticated connection that another node made to this one; `None` after
    /// [`close`](Self::close).
    ///
    /// Strangers and failed handshakes are dropped inside and never seen here. Nothing is lost if
    /// the future is dropped.
    fn accept(&self) -> BoxFuture<'_, Option<Connection>>;

    /// Connects to the node at `address`, or fails within a few seconds. Works after
    /// [`close`](Self::close), too.
    ///
    /// If a node other than `expect` answers, it learns nothing, and the result is
    /// [`DialError::WrongNode`].
    fn dial(
        &self,
        address: SocketAddr,
        expect: Option<NodeId>,
    ) -> BoxFuture<'static, Result<Connection, DialError>>;

    /// Stops listening. The address is free immediately; open connections stay.
    fn close(&self);
}

/// An open connection to a node whose id is proven.
///
/// The two halves may be used by different tasks. Written bytes leave for certain only with a
/// flush. To close without losing any, call `writer.shutdown()`, then read until the end. An
/// orderly close ends with an end of file; if the other side has died it may be an error instead.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use smokesignal::{Identity, transport::{Credentials, MemoryNetwork, Transport}};
/// # let network = MemoryNetwork::new();
/// # let [ann, bob] = [1, 2].map(|seed| Credentials::new(Identity::from_seed([seed; 32]), None));
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # let here = network.bind("10.0.0.1:0".parse()?, ann.clone()).await?;
/// # let there = network.bind("10.0.0.2:0".parse()?, bob).await?;
/// # let (dialled, accepted) = tokio::join!(there.dial(here.local_addr(), None), here.accept());
/// # let (mut dialled, mut accepted) = (dialled?, accepted.expect("it was not closed"));
/// dialled.writer.write_all(b"hello").await?;
/// dialled.writer.flush().await?;
/// let mut read = [0; 5];
/// accepted.reader.read_exact(&mut read).await?;
/// assert_eq!(&read, b"hello");
/// # Ok(())
/// # }
/// ```
pub struct Connection {
    /// The node at the other end.
    pub peer: NodeId,
    /// The other end's address. On an inbound connection its port is not the one where that node
    /// listens.
    pub remote: SocketAddr,
    /// What both ends understand beyond the version of the protocol.
    pub features: Features,
    /// Bytes from the other side.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// Bytes to the other side.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({:?} at {})", self.peer, self.remote)
    }
}

/// A connection could not be made. Nothing is left open.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use smokesignal::{Identity, transport::{Credentials, MemoryNetwork, Transport}};
/// # let network = MemoryNetwork::new();
/// # let [ann, bob] = [1, 2].map(|seed| Credentials::new(Identity::from_seed([seed; 32]), None));
/// use smokesignal::transport::DialError;
///
/// # let here = network.bind("10.0.0.1:1".parse()?, ann.clone()).await?;
/// # let there = network.bind("10.0.0.2:1".parse()?, bob.clone()).await?;
/// let refused = there.dial("10.0.0.9:1".parse()?, None).await;
/// assert_eq!(refused.unwrap_err(), DialError::Refused);
/// let (wrong, _) = tokio::join!(there.dial(here.local_addr(), Some(bob.id())), async {
///     tokio::time::timeout(std::time::Duration::from_secs(1), here.accept()).await
/// });
/// assert_eq!(wrong.unwrap_err(), DialError::WrongNode { expected: bob.id(), found: ann.id() });
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nothing listens there.
    #[error("it refused the connection")]
    Refused,
    /// No answer, or too slow an answer.
    #[error("it did not answer in time")]
    TimedOut,
    /// Another node answered.
    #[error("expected node {expected}, reached {found}")]
    WrongNode {
        /// The node that should have answered.
        expected: NodeId,
        /// The node that did.
        found: NodeId,
    },
    /// The other side holds another network secret, or only one side has one.
    #[error("it holds a different network secret, or none")]
    WrongSecret,
    /// It is a node, and the two speak no common version of the protocol.
    #[error("{0}")]
    NoCommonVersion(VersionMismatch),
    /// The other side closed the connection before the handshake was over.
    #[error("it closed the connection before the handshake ended; it may be full or busy")]
    ClosedEarly,
    /// Something answered that is not a node with the same protocol. The text says what went wrong.
    #[error("{0}")]
    Handshake(String),
    /// The system reported an error, which is the text.
    #[error("{0}")]
    Io(String),
}

/// What a node proves to another one, and demands of it: its identity and, if the network has one,
/// the network secret.
///
/// ```
/// use smokesignal::{Identity, transport::Credentials};
///
/// let me = Identity::from_seed([1; 32]);
/// let credentials = Credentials::new(me.clone(), Some(b"a secret of 16 bytes or more"));
/// assert_eq!(credentials.id(), me.id());
/// ```
#[derive(Clone)]
pub struct Credentials {
    identity: Identity,
    secret: Option<hmac::Key>,
    tls: Arc<Tls>,
    incompatible: Arc<Incompatible>,
}

impl Credentials {
    /// Returns the credentials of this identity. Nodes refuse each other unless both have the same
    /// `secret`, or both have none.
    ///
    /// Use 32 random bytes: a node that was connected once can try out guesses offline.
    pub fn new(identity: Identity, secret: Option<&[u8]>) -> Self {
        let secret = secret.map(|bytes| hmac::Key::new(hmac::HMAC_SHA256, bytes));
        let tls = Arc::new(Tls::new(&identity));
        Self { identity, secret, tls, incompatible: Arc::default() }
    }

    /// Returns the id of the node that they belong to.
    pub fn id(&self) -> NodeId {
        self.identity.id()
    }

    /// Authenticates both sides of `stream`, which this node opened to `remote`. The caller sets
    /// the deadline.
    pub async fn connect<S>(
        &self,
        stream: S,
        remote: SocketAddr,
        expect: Option<NodeId>,
    ) -> Result<Connection, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let secured = self.tls.connect(Metered::new(stream), expect).await?;
        self.exchange_hellos(secured, Role::Dialler, remote).await
    }

    /// Authenticates both sides of `stream`, which `remote` opened to this node. The caller sets
    /// the deadline. A node without a common version of the protocol is turned away, and the
    /// application gets an event.
    pub async fn accept<S>(&self, stream: S, remote: SocketAddr) -> Result<Connection, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let accepted = self.accept_relayed(stream, remote).await;
        if let Err(DialError::NoCommonVersion(versions)) = accepted {
            self.incompatible.note(remote.ip(), versions);
        }
        accepted
    }

    /// The same for a stream that other nodes relay, so that `remote` is not the other end's
    /// address.
    pub(crate) async fn accept_relayed<S>(
        &self,
        stream: S,
        remote: SocketAddr,
    ) -> Result<Connection, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let secured = self.tls.accept(Metered::new(stream)).await?;
        self.exchange_hellos(secured, Role::Acceptor, remote).await
    }

    /// Returns the nodes that were turned away for lack of a common version.
    pub(crate) fn incompatible(&self) -> &Arc<Incompatible> {
        &self.incompatible
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = if self.secret.is_some() { "with" } else { "without" };
        write!(f, "Credentials({:?}, {secret} a network secret)", self.id())
    }
}

impl From<TlsError> for DialError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::WrongNode { expected, found } => Self::WrongNode { expected, found },
            TlsError::ClosedEarly => Self::ClosedEarly,
            TlsError::Handshake(cause) => Self::Handshake(cause),
            TlsError::Io(error) => error.into(),
        }
    }
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Rules for every transport, checked for each of them.
#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const ANY: &str = "127.0.0.1:0";

    fn transports() -> [Arc<dyn Transport>; 2] {
        [Arc::new(TcpTransport::new()), Arc::new(MemoryNetwork::new())]
    }

    fn credentials(seed: u8, secret: Option<&[u8]>) -> Credentials {
        Credentials::new(Identity::from_seed([seed; 32]), secret)
    }

    async fn bind(transport: &dyn Transport, seed: u8, secret: Option<&[u8]>) -> Arc<dyn Endpoint> {
        transport.bind(ANY.parse().unwrap(), credentials(seed, secret)).await.unwrap()
    }

    fn id(seed: u8) -> NodeId {
        Identity::from_seed([seed; 32]).id()
    }

    async fn connect(a: &dyn Endpoint, b: &dyn Endpoint) -> (Connection, Connection) {
        let (dialled, accepted) = tokio::join!(a.dial(b.local_addr(), None), b.accept());
        (dialled.unwrap(), accepted.unwrap())
    }

    async fn send(connection: &mut Connection, bytes: &[u8]) {
        connection.writer.write_all(bytes).await.unwrap();
        connection.writer.flush().await.unwrap();
    }

    async fn receive(connection: &mut Connection, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        connection.reader.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn both_sides_know_each_other_and_bytes_go_both_ways() {
        for transport in transports() {
            let (a, b) = (bind(&*transport, 1, None).await, bind(&*transport, 2, None).await);
            let (mut dialled, mut accepted) = connect(&*a, &*b).await;
            assert_eq!((dialled.peer, accepted.peer), (id(2), id(1)));
            assert_eq!(dialled.remote, b.local_addr());
            assert_eq!(accepted.remote.ip(), a.local_addr().ip());
            send(&mut dialled, b"ping").await;
            assert_eq!(receive(&mut accepted, 4).await, b"ping");
            send(&mut accepted, b"pong").await;
            assert_eq!(receive(&mut dialled, 4).await, b"pong");
        }
    }

    #[tokio::test]
    async fn a_megabyte_arrives_whole_while_the_other_direction_is_used_too() {
        for transport in transports() {
            let (a, b) = (bind(&*transport, 1, None).await, bind(&*transport, 2, None).await);
            let (dialled, accepted) = connect(&*a, &*b).await;
            let sent: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
            let mut tasks = tokio::task::JoinSet::new();
            for connection in [dialled, accepted] {
                let (mut reader, mut writer, sent) = (connection.reader, connection.writer, sent.clone());
                tasks.spawn(async move {
                    let mut received = Vec::new();
                    let write = async {
                        writer.write_all(&sent).await?;
                        writer.shutdown().await
                    };
                    tokio::try_join!(write, reader.read_to_end(&mut received)).unwrap();
                    assert!(received == sent);
                });
            }
            tasks.join_all().await;
        }
    }

    #[tokio::test]
    async fn a_shut_down_writer_is_an_end_of_file_and_the_other_direction_lives_on() {
        for transport in transports() {
            let (a, b) = (bind(&*transport, 1, None).await, bind(&*transport, 2, None).await);
            let (mut dialled, mut accepted) = connect(&*a, &*b).await;
            dialled.writer.write_all(b"last words").await.unwrap();
            dialled.writer.shutdown().await.unwrap();
            let mut heard = Vec::new();
            accepted.reader.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"last words");
            send(&mut accepted, b"heard").await;
            assert_eq!(receive(&mut dialled, 5).await, b"heard");
        }
    }

    #[tokio::test]
    async fn a_dialled_id_that_does_not_match_is_refused_with_both_names() {
        for transport in transports() {
            let (a, b) = (bind(&*transport, 1, None).await, bind(&*transport, 2, None).await);
            let error = a.dial(b.local_addr(), Some(id(3))).await.unwrap_err();
            assert_eq!(error, DialError::WrongNode { expected: id(3), found: id(2) });
            let (dialled, accepted) = tokio::join!(a.dial(b.local_addr(), Some(id(2))), b.accept());
            assert_eq!((dialled.unwrap().peer, accepted.unwrap().peer), (id(2), id(1)));
        }
    }

    #[tokio::test]
    async fn only_nodes_with_the_same_secret_meet() {
        let (right, wrong) =
            (Some(&b"the secret of our network"[..]), Some(&b"the secret of another one"[..]));
        for transport in transports() {
            let secret = bind(&*transport, 1, right).await;
            let open = bind(&*transport, 2, None).await;
            for (stranger, target) in [(wrong, &secret), (None, &secret), (wrong, &open)] {
                let stranger = bind(&*transport, 3, stranger).await;
                let error = stranger.dial(target.local_addr(), None).await.unwrap_err();
                assert_eq!(error, DialError::WrongSecret);
            }
            // The friend is the first node that the acceptor hears of.
            let friend = bind(&*transport, 4, right).await;
            let (dialled, accepted) = connect(&*friend, &*secret).await;
            assert_eq!((dialled.peer, accepted.peer), (id(1), id(4)));
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_the_connection_is_refused() {
        for transport in transports() {
            let (a, b) = (bind(&*transport, 1, None).await, bind(&*transport, 2, None).await);
            b.close();
            assert_eq!(a.dial(b.local_addr(), None).await.unwrap_err(), DialError::Refused);
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error() {
        for transport in transports() {
            let a = bind(&*transport, 1, None).await;
            let error = transport.bind(a.local_addr(), credentials(2, None)).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[tokio::test]
    async fn closing_frees_the_address_at_once_and_keeps_open_connections() {
        for transport in transports() {
            let (a, b) = (bind(&*transport, 1, None).await, bind(&*transport, 2, None).await);
            let (mut dialled, mut accepted) = connect(&*a, &*b).await;
            b.close();
            let again = transport.bind(b.local_addr(), credentials(3, None)).await.unwrap();
            assert!(b.accept().await.is_none());
            b.close();
            send(&mut dialled, b"still here").await;
            assert_eq!(receive(&mut accepted, 10).await, b"still here");
            let (to_new, _) = connect(&*a, &*again).await;
            assert_eq!(to_new.peer, id(3));
            let address = again.local_addr();
            drop(again);
            assert_eq!(a.dial(address, None).await.unwrap_err(), DialError::Refused);
        }
    }

    #[tokio::test]
    async fn waiting_for_a_connection_may_be_given_up_and_taken_up_again() {
        for transport in transports() {
            let (a, b) = (bind(&*transport, 1, None).await, bind(&*transport, 2, None).await);
            let given_up = tokio::time::timeout(std::time::Duration::ZERO, b.accept()).await;
            assert!(given_up.is_err());
            let dial = tokio::spawn(a.dial(b.local_addr(), Some(id(2))));
            assert_eq!(b.accept().await.unwrap().peer, id(1));
            dial.await.unwrap().unwrap();
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = format!("{:?}", credentials(1, Some(b"the secret of our network")));
        assert!(text.contains("with a network secret") && !text.contains("our network"), "{text}");
    }
}
