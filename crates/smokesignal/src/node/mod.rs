//! A node of the network: what an application holds.
//!
//! A [`Node`] is a handle. Building one makes everything that outlives a stop and a new start: the
//! identity, the mailbox of the broadcast stream, the event bus, the peer list and the acceptors.
//! [`start`](Node::start) binds the address and spawns the driver, which shares these with the
//! handles; [`setup`] makes the protocol's core and its configuration. Every method either reads
//! what is shared or sends a command to the driver.

mod setup;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smokesignal_proto::{MAX_ADDRESSES, NodeId};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use crate::broadcast::envelope::MAX_CHANNEL;
use crate::broadcast::incoming::Incoming;
use crate::broadcast::mailbox::Mailbox;
use crate::broadcast::query::{self, Answers, Questions, ResponderGuard};
use crate::broadcast::{Broadcast, BroadcastSender};
use crate::command::{self, Command, Commands};
use crate::driver::Shared;
use crate::driver::dial::resolve;
use crate::error::{AcceptError, BuildError, ConnectError, OpenError, SendError, StartError};
use crate::event::{EventBus, Events};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::opener::Opener;
use crate::options::{NodeBuilder, Secret, is_host_and_port};
use crate::peer::Peer;
use crate::peers::Peers;
use crate::stopped::Stopped;
use crate::stream::accept::Acceptor;
use crate::stream::handle::NodeStream;
use crate::stream::mux::SharedStreams;
use crate::transport::Credentials;
use crate::wire::frame::MAX_NAME;

/// The name of the streams that reply to a message.
const REPLY: &str = "reply";

/// A node of the network. Clones are the same node.
///
/// Stop it with [`stop`](Self::stop). When the last clone is dropped without that, the node ends
/// immediately, as if it had been killed: nothing is flushed, and its peers see a broken
/// connection.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let network = smokesignal::transport::MemoryNetwork::new();
/// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
/// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
/// let mut inbox = bob.broadcast();
/// ann.start().await?;
/// bob.start().await?;
/// ann.broadcast().send("hello").await?;
/// assert!(inbox.recv().await.is_some());
/// assert!(ann.peers().contains(&bob.id()));
/// let stopped = ann.stop().await; // Hands over what was written; dropping all clones would not.
/// assert_eq!(stopped.confirmed, 1);
/// bob.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    options: NodeBuilder,
    identity: Identity,
    credentials: Credentials,
    shared: Shared,
    questions: Arc<Questions>,
    /// The driver's task, from a start to the stop that has awaited its end.
    driver: Mutex<Option<JoinHandle<()>>>,
    commands: Arc<Commands>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.events.close();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.id()).field("local_addr", &self.local_addr()).finish()
    }
}

impl NodeBuilder {
    /// Checks the options and makes the node, which does nothing before [`start`](Node::start).
    ///
    /// # Errors
    /// One for each option that makes no sense; the text names the value and the cure.
    pub fn build(self) -> Result<Node, BuildError> {
        self.check()?;
        Ok(Node::new(self))
    }
}

impl Node {
    /// Returns a builder with the default options.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    fn new(options: NodeBuilder) -> Self {
        let identity = options.identity.clone().unwrap_or_else(Identity::generate);
        let secret = options.secret.as_ref().map(|Secret(secret)| secret.as_slice());
        let credentials = Credentials::new(identity.clone(), secret);
        let shared = Shared {
            mailbox: Arc::new(Mailbox::new(options.max_message)),
            events: Arc::new(EventBus::new()),
            peers: Peers::default(),
            streams: SharedStreams::new(options.max_message),
            counters: Arc::default(),
        };
        let (driver, commands, questions) = (Mutex::new(None), Arc::default(), Arc::default());
        Self(Arc::new(Inner { options, identity, credentials, shared, questions, driver, commands }))
    }

    /// Binds the address and enters the network. Returns once the node listens. The first peer is
    /// announced by [`Event::Connect`](crate::Event::Connect); messages written before wait for it.
    ///
    /// # Errors
    /// The text names address and cause. The node is stopped then and may be started again.
    pub async fn start(&self) -> Result<(), StartError> {
        let mut driver = self.0.driver.lock().await;
        if driver.as_ref().is_some_and(|task| !task.is_finished()) {
            return Err(StartError::AlreadyRunning);
        }
        let options = &self.0.options;
        let address = SocketAddr::new(options.address, options.port);
        let bound = options.transport.bind(address, self.0.credentials.clone()).await;
        let endpoint = bound.map_err(|error| explain(address, error))?;
        let local = endpoint.local_addr();
        let advertised = self.advertised(local.port()).await?;
        let (commands, inbox) = command::channel();
        let ready = self.make_driver(endpoint, advertised, inbox)?;
        self.0.shared.mailbox.open();
        self.0.commands.open(commands, local);
        // In a program with several nodes, the span in which one was started tells whose log lines
        // are whose.
        *driver = Some(tokio::spawn(ready.run().in_current_span()));
        if options.max_peers == 1 {
            tracing::warn!("max_peers is 1: this node forwards nothing, and the network ends here");
        }
        tracing::info!(id = ?self.id(), %local, "listening");
        Ok(())
    }

    /// Resolves the addresses that others are to dial; none means the one where the node listens.
    async fn advertised(&self, port: u16) -> Result<Vec<SocketAddr>, StartError> {
        let mut addresses = Vec::new();
        for text in &self.0.options.advertise {
            // Port 0 stands for the port where the node listens.
            let name = text.strip_suffix(":0").map_or_else(|| text.clone(), |host| format!("{host}:{port}"));
            let found = resolve(&name).await;
            let found = found.map_err(|cause| StartError::Advertise { address: text.clone(), cause })?;
            addresses.extend(found);
        }
        addresses.truncate(MAX_ADDRESSES);
        Ok(addresses)
    }

    /// Ends this node's stream, waits until its neighbours have read it, says goodbye to them and
    /// closes. Returns who has read what was written. Does nothing if the node is stopped already.
    /// [`start`](Self::start) works again afterwards.
    ///
    /// Messages written before there was a peer wait for the first one. A node with nothing to
    /// hand over has left after a few round trips; otherwise it waits for as long as its neighbours
    /// make progress, and then for [`leave_timeout`](crate::NodeBuilder::leave_timeout). A stop
    /// whose future is dropped can be called again.
    pub async fn stop(&self) -> Stopped {
        self.stop_within(self.0.options.leave_timeout).await
    }

    /// Stops as [`stop`](Self::stop) does, with another `patience` in place of
    /// [`leave_timeout`](crate::NodeBuilder::leave_timeout): for how long it waits where nothing
    /// moves. A second call, during the first one, can shorten its patience.
    pub async fn stop_within(&self, patience: Duration) -> Stopped {
        let (done, stopped) = oneshot::channel();
        // Sent before the lock is taken, which an earlier call may hold.
        let sent = self.0.commands.send(Command::Stop { patience, done });
        let mut driver = self.0.driver.lock().await;
        // Taken out at the very end, so that a stop whose future is dropped can be repeated.
        let Some(task) = driver.as_mut() else { return stopped.await.unwrap_or_default() };
        let stopped = if sent { stopped.await.ok() } else { None };
        if let Err(error) = task.await {
            tracing::error!(%error, "the node's task failed");
        }
        *driver = None;
        self.0.commands.close();
        stopped.unwrap_or_default()
    }

    /// Returns this node's id.
    pub fn id(&self) -> NodeId {
        self.0.identity.id()
    }

    /// Returns where the node listens, and `None` while it is stopped.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.0.commands.local_addr()
    }

    /// Returns the number of nodes in the network, this one included, and 0 while it is stopped.
    /// The nodes are counted along the tree of the root's heartbeat; the result is a few seconds
    /// old.
    pub fn network_size(&self) -> usize {
        self.0.shared.counters.network_size()
    }

    /// Returns what this node has counted since its last start, and its present gauges.
    pub fn metrics(&self) -> Metrics {
        let shared = &self.0.shared;
        shared.counters.read(&shared.peers, &shared.mailbox)
    }

    /// Returns the network as a duplex stream. Each handle reads everything that arrives after it
    /// was made.
    pub fn broadcast(&self) -> Broadcast {
        Broadcast::new(&self.0.shared.mailbox, None)
    }

    /// Returns a separate broadcast stream: only handles of the same channel read what is written
    /// to it, in all nodes, and [`broadcast`](Self::broadcast) never yields it. Its messages are
    /// numbered together with the node's other ones, and a gap may concern any of them. The name
    /// has 1 to 32 bytes.
    ///
    /// This exists for the socket.io adapter of the Node.js binding and is not part of the
    /// interface.
    ///
    /// # Panics
    /// For a name of another length.
    #[doc(hidden)]
    pub fn channel(&self, name: &str) -> Broadcast {
        assert!((1..=MAX_CHANNEL).contains(&name.len()), "a channel's name has 1 to {MAX_CHANNEL} bytes");
        Broadcast::new(&self.0.shared.mailbox, Some(name.into()))
    }

    /// Returns the list of current neighbours.
    pub fn peers(&self) -> Peers {
        self.0.shared.peers.clone()
    }

    /// Subscribes to events. The first subscriber also gets everything since the node was built.
    pub fn events(&self) -> Events {
        self.0.shared.events.subscribe()
    }

    /// Connects to the node at `HOST:PORT` and pins it as a neighbour. May exceed `max_peers` by
    /// two; a pinned neighbour is never replaced by another one here. The other node keeps two
    /// neighbours that the users of others have pinned; further ones are ordinary to it.
    ///
    /// # Errors
    /// The text names the address and the cure. The peer list is unchanged.
    pub async fn add_peer(&self, address: impl Into<String>) -> Result<Peer, ConnectError> {
        let address = address.into();
        if !is_host_and_port(&address) {
            return Err(ConnectError::BadAddress(address));
        }
        let (answer, added) = oneshot::channel();
        if !self.0.commands.send(Command::AddPeer { address: address.clone(), answer }) {
            return Err(ConnectError::NotRunning);
        }
        let id = added.await.unwrap_or_else(|_| Err(ConnectError::Closed(address.clone())))?;
        self.0.shared.peers.get(&id).ok_or(ConnectError::Closed(address))
    }

    /// Opens a stream to the node with this id, whose application must [`accept`](Self::accept) the
    /// name. Returns as soon as that node is reached: writes go out immediately, and a refusal is
    /// reported by the first read or a later write. [`NodeStream::accepted`] waits for the
    /// decision.
    ///
    /// # Errors
    /// The text names the cure. Nothing was sent.
    pub async fn open(&self, id: NodeId, name: &str) -> Result<NodeStream, OpenError> {
        if !(1..=MAX_NAME).contains(&name.len()) {
            return Err(OpenError::BadName(name.len()));
        }
        self.opener().open(id, name).await
    }

    /// Accepts streams that other nodes open to this one with this name, from now on, also after a
    /// stop and a new start.
    ///
    /// # Errors
    /// Another [`Acceptor`] has the name, or it is empty or too long.
    pub fn accept(&self, name: &str) -> Result<Acceptor, AcceptError> {
        if !(1..=MAX_NAME).contains(&name.len()) {
            return Err(AcceptError::BadName(name.len()));
        }
        self.0.shared.streams.acceptors.accept(name.to_owned())
    }

    /// Accepts the streams that other nodes open to [reply](crate::Incoming::reply) to a message of
    /// this node.
    ///
    /// # Errors
    /// Another [`Acceptor`] has the name `reply`.
    pub fn replies(&self) -> Result<Acceptor, AcceptError> {
        self.accept(REPLY)
    }

    /// Asks every node and yields the answers as they arrive, until `timeout` is over: at most 1
    /// 024, of at most 1 MiB each.
    ///
    /// Nodes without a [responder](Self::answer) ignore the question. Each answer arrives over a
    /// stream of its own. More than 128 at one moment, and those that are not taken within 10 s,
    /// are refused: use it where few nodes will answer, and read the answers promptly. In a network
    /// of more than 64 nodes, those that are not neighbours wait before they connect to this node,
    /// each for a random time of up to 2 ms for each node of the network, and 1 s at most.
    ///
    /// ```no_run
    /// # async fn example(node: smokesignal::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// let _answering = node.answer(|_from, question| async move {
    ///     (question == "who has 7.txt?" && std::path::Path::new("7.txt").exists()).then(|| "I".into())
    /// })?;
    /// let mut answers = node.ask("who has 7.txt?", std::time::Duration::from_secs(2)).await?;
    /// while let Some(answer) = answers.recv().await {
    ///     println!("{} has it", answer.from);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Broadcast::send`]. No node was asked.
    pub async fn ask(
        &self,
        question: impl Into<Bytes>,
        timeout: std::time::Duration,
    ) -> Result<Answers, SendError> {
        let sender = BroadcastSender::new(&self.0.shared.mailbox);
        let acceptors = &self.0.shared.streams.acceptors;
        self.0.questions.ask(sender, acceptors, question.into(), timeout).await
    }

    /// Answers what other nodes [ask](Self::ask), until the returned guard is dropped. `handler`
    /// gets the asking node and the question, and returns an answer of at most 1 MiB, or `None`.
    ///
    /// 64 questions are worked on at the same time and 256 wait; further ones are not answered.
    ///
    /// # Errors
    /// [`AcceptError::ResponderExists`] if this node answers already.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn answer<F, A>(&self, handler: F) -> Result<ResponderGuard, AcceptError>
    where
        F: Fn(NodeId, Bytes) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Bytes>> + Send + 'static,
    {
        query::answer(self.opener(), &self.0.shared.mailbox, handler)
    }

    fn opener(&self) -> Opener {
        let shared = &self.0.shared;
        Opener::new(self.id(), shared.peers.clone(), Arc::clone(&shared.counters), &self.0.commands)
    }
}

impl Incoming {
    /// Opens a stream to the writer, who accepts it with [`Node::replies`]. It is a stream of the
    /// name `reply`, and otherwise as from [`Node::open`].
    ///
    /// # Errors
    /// As [`Node::open`]; the writer may have left meanwhile.
    pub async fn reply(&self, node: &Node) -> Result<NodeStream, OpenError> {
        node.open(self.writer(), REPLY).await
    }
}

fn explain(address: SocketAddr, source: io::Error) -> StartError {
    match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse(address),
        io::ErrorKind::AddrNotAvailable => StartError::NotLocal(address.ip()),
        _ => StartError::Listen { address, source },
    }
}
