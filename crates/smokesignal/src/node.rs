//! A node of the network.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ring::{hmac, rand::SecureRandom as _};
use smokesignal_proto::{self as proto, Config, Keypair, MAX_ADDRESSES};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use tracing::Instrument as _;

use crate::broadcast::Broadcast;
use crate::broadcast::query::{self, MARKED, MAX_CHANNEL, Questions};
use crate::broadcast::query::{Answers, ResponderGuard};
use crate::broadcast::{Mailbox, REPLY};
use crate::driver::dial::resolve;
use crate::driver::{Command, Driver, Limits, Shared};
use crate::error::{AcceptError, ConnectError, OpenError, SendError, StartError};
use crate::event::EventBus;
use crate::event::Events;
use crate::identity::Identity;
use crate::options::{NodeBuilder, Secret, is_host_and_port};
use crate::peer::Peer;
use crate::peers::Peers;
use crate::stream::accept::Acceptor;
use crate::stream::handle::NodeStream;
use crate::stream::mux::{NoStream, SharedStreams};
use crate::transport::{Credentials, Endpoint};
use crate::wire::frame::MAX_NAME;
use smokesignal_proto::NodeId;

/// A node of the network. Clones are the same node.
///
/// Stop it with [`stop`](Self::stop). When the last clone is dropped without that, the node ends at once, as if it had
/// been killed: nothing is flushed, and its peers see a broken connection.
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
/// ann.stop().await; // Hands over what was written; dropping all clones would not.
/// bob.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Node(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: NodeBuilder,
    identity: Identity,
    credentials: Credentials,
    shared: Shared,
    questions: Arc<Questions>,
    running: Mutex<Option<Running>>,
    /// The same, for those that cannot wait.
    commands: std::sync::Mutex<Option<(mpsc::UnboundedSender<Command>, SocketAddr)>>,
}

#[derive(Debug)]
struct Running {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.bus.close();
    }
}

/// Does not keep the node alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakNode(Weak<Inner>);

impl WeakNode {
    pub(crate) fn upgrade(&self) -> Option<Node> {
        self.0.upgrade().map(Node)
    }
}

impl Node {
    /// A builder with the default options.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    pub(crate) fn new(options: NodeBuilder) -> Self {
        let identity = options.identity.clone().unwrap_or_else(Identity::generate);
        let secret = options.secret.as_ref().map(|Secret(secret)| secret.as_slice());
        let credentials = Credentials::new(identity.clone(), secret);
        let mailbox = Arc::new(Mailbox::new(options.max_message));
        let streams = SharedStreams::new(options.max_message);
        let (bus, peers) = (Arc::new(EventBus::new()), Peers::default());
        let (size, copies) = (Arc::default(), Arc::default());
        let shared = Shared { mailbox, bus, peers, streams, size, copies };
        let (running, commands) = (Mutex::new(None), std::sync::Mutex::new(None));
        let questions = Arc::default();
        Self(Arc::new(Inner { options, identity, credentials, shared, questions, running, commands }))
    }

    /// Listens and enters the network. Returns once it listens; the first peer is announced by
    /// [`Event::Connect`](crate::Event::Connect), and what is written meanwhile waits for it.
    ///
    /// # Errors
    /// The text names address and cause. The node is stopped then and may be started again.
    pub async fn start(&self) -> Result<(), StartError> {
        let mut running = self.0.running.lock().await;
        if running.as_ref().is_some_and(|running| !running.task.is_finished()) {
            return Err(StartError::AlreadyRunning);
        }
        let options = &self.0.options;
        let address = SocketAddr::new(options.address, options.port);
        let bound = options.transport.bind(address, self.0.credentials.clone()).await;
        let endpoint = bound.map_err(|error| explain(address, error))?;
        let local = endpoint.local_addr();
        let advertised = self.advertised(local.port()).await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let driver = self.driver(endpoint, advertised, (sender.downgrade(), receiver))?;
        self.0.shared.mailbox.open();
        *self.commands() = Some((sender, local));
        // Where a program has several nodes, the span in which one was started tells whose log lines are whose.
        *running = Some(Running { task: tokio::spawn(driver.run().in_current_span()) });
        if options.max_peers == 1 {
            tracing::warn!("max_peers is 1: this node passes nothing on, and the network ends here");
        }
        tracing::info!(id = ?self.id(), %local, "listening");
        Ok(())
    }

    /// What others are told to dial in place of where the node listens; nothing if that will do.
    async fn advertised(&self, port: u16) -> Result<Vec<SocketAddr>, StartError> {
        let mut addresses = Vec::new();
        for text in &self.0.options.advertise {
            // 0 stands for the port where the node listens.
            let name = text.strip_suffix(":0").map_or_else(|| text.clone(), |host| format!("{host}:{port}"));
            let found = resolve(&name).await;
            let found = found.map_err(|cause| StartError::Advertise { address: text.clone(), cause })?;
            addresses.extend(found);
        }
        addresses.truncate(MAX_ADDRESSES);
        Ok(addresses)
    }

    fn driver(
        &self,
        endpoint: Arc<dyn Endpoint>,
        advertised: Vec<SocketAddr>,
        commands: (mpsc::WeakUnboundedSender<Command>, mpsc::UnboundedReceiver<Command>),
    ) -> Result<Driver, StartError> {
        let options = &self.0.options;
        let epoch = Instant::now();
        let keypair = Keypair::from_seed(self.0.identity.seed());
        let local = endpoint.local_addr();
        let random = self.random().map_err(|source| StartError::Listen { address: local, source })?;
        let config = self.config();
        let limits = Limits {
            max_message: options.max_message,
            find_timeout: config.find_timeout,
            relay_idle: 2 * options.ping_timeout,
        };
        let mut core = proto::Node::new(keypair, config, random, proto::Instant::ZERO);
        core.set_addresses(reachable_at(local));
        if !advertised.is_empty() {
            core.advertise(advertised);
        }
        for seed in &options.seeds {
            core.join(seed.clone(), proto::Instant::ZERO);
        }
        let (shared, seeds) = (self.0.shared.clone(), options.seeds.clone());
        let place = (endpoint, self.0.credentials.clone());
        Ok(Driver::new(core, epoch, shared, place, seeds, limits, commands))
    }

    /// What the core's chance begins with.
    fn random(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        if let Some(seed) = self.0.options.rng_seed {
            // Nodes with the same seed shall not all choose the same.
            bytes.copy_from_slice(&self.id().as_bytes()[..8]);
            return Ok(seed ^ u64::from_le_bytes(bytes));
        }
        let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| io::Error::other("the system gives no random numbers"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn config(&self) -> Config {
        let options = &self.0.options;
        let mut config = Config {
            incarnation: next_incarnation(),
            min_peers: options.min_peers,
            max_peers: options.max_peers,
            max_message: options.max_message + MARKED,
            signed: !options.unsigned_messages,
            read_from: options.read_from,
            reorder: options.prefer_near_peers,
            dial_for_streams: !options.relay_only,
            ..Config::default().with_ping_timeout(options.ping_timeout)
        };
        config.ring_bytes = config.ring_bytes.max(2 * options.max_message);
        config.ring_total = config.ring_total.max(config.ring_bytes);
        config.partial_total = config.partial_total.max(4 * options.max_message);
        let secret = options.secret.as_ref().map(|Secret(secret)| &secret[..]);
        config.network = network_id(secret, options.unsigned_messages);
        config
    }

    /// Hands what was written to the peers, says goodbye and closes. Nothing happens if the node is stopped already.
    /// Takes a few round trips, and at most 13 s where a peer takes nothing. [`start`](Self::start) works again after.
    pub async fn stop(&self) {
        let mut running = self.0.running.lock().await;
        // Taken out only at the end: a stop that is given up half way can be called again.
        let Some(Running { task }) = running.as_mut() else { return };
        let (done, stopped) = oneshot::channel();
        let sent =
            self.commands().as_ref().is_some_and(|(commands, _)| commands.send(Command::Stop(done)).is_ok());
        if sent && stopped.await.is_err() {
            tracing::debug!("the node ended while it was being stopped");
        }
        if let Err(error) = task.await {
            tracing::error!(%error, "the node's task failed");
        }
        *running = None;
        *self.commands() = None;
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.0.identity.id()
    }

    /// Where the node listens; `None` while it is stopped.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.commands().as_ref().map(|(_, address)| *address)
    }

    /// How many nodes this node's network has, itself included; 0 while it is stopped. Counted, not guessed: it follows
    /// the truth within a few seconds.
    pub fn network_size(&self) -> usize {
        self.0.shared.size.load(Ordering::Relaxed)
    }

    /// Copies of messages that this node has received since it was started last, those that it knew already included. Beside
    /// what it has read, it shows how much the network repeats itself.
    pub fn copies_received(&self) -> u64 {
        self.0.shared.copies.load(Ordering::Relaxed)
    }

    /// The network as a duplex stream. Each handle reads everything that arrives after it was made.
    pub fn broadcast(&self) -> Broadcast {
        Broadcast::new(&self.0.shared.mailbox, None)
    }

    /// A broadcast stream of its own: what is written to it is read by the handles of the same channel alone, in all nodes,
    /// and by nobody who reads [`broadcast`](Self::broadcast). All that is said there holds for it, too; its messages are
    /// numbered together with the node's others, and a gap may concern it or not. A name has 1 to 32 bytes.
    ///
    /// For the Node.js binding's socket.io adapter; not part of the interface until messages have kinds on the wire.
    ///
    /// # Panics
    /// For a name of another length.
    #[doc(hidden)]
    pub fn channel(&self, name: &str) -> Broadcast {
        assert!((1..=MAX_CHANNEL).contains(&name.len()), "a channel's name has 1 to {MAX_CHANNEL} bytes");
        Broadcast::new(&self.0.shared.mailbox, Some(name.into()))
    }

    /// The present neighbours.
    pub fn peers(&self) -> Peers {
        self.0.shared.peers.clone()
    }

    /// What happens from now on; the first reader gets all that has happened since the node was built.
    pub fn events(&self) -> Events {
        self.0.shared.bus.subscribe()
    }

    /// Makes a link to the node at `HOST:PORT`, if need be beyond `max_peers` (by two at most). Such a link is never
    /// given up for others.
    ///
    /// # Errors
    /// The text names the address and what to do. The peer list is as before.
    pub async fn add_peer(&self, address: impl Into<String>) -> Result<Peer, ConnectError> {
        let address = address.into();
        if !is_host_and_port(&address) {
            return Err(ConnectError::BadAddress(address));
        }
        let (answer, answered) = oneshot::channel();
        let command = Command::AddPeer { address: address.clone(), answer };
        let sent = self.commands().as_ref().is_some_and(|(commands, _)| commands.send(command).is_ok());
        if !sent {
            return Err(ConnectError::NotRunning);
        }
        answered.await.unwrap_or(Err(ConnectError::Closed(address)))
    }

    /// Opens a stream to the node with this id, whose application has to [`accept`](Self::accept) the name. Returns as soon
    /// as there is a way to that node: what is written goes out at once, and a refusal shows in the first read or a later
    /// write ([`NodeStream::accepted`] waits for it).
    ///
    /// # Errors
    /// The text says what to do. Nothing was sent.
    pub async fn open(&self, id: NodeId, name: &str) -> Result<NodeStream, OpenError> {
        if !(1..=MAX_NAME).contains(&name.len()) {
            return Err(OpenError::BadName(name.len()));
        }
        self.open_any(id, name).await
    }

    pub(crate) async fn open_any(&self, id: NodeId, name: &str) -> Result<NodeStream, OpenError> {
        if id == self.id() {
            return Err(OpenError::Myself(id));
        }
        if let Some(peer) = self.0.shared.peers.get(&id).filter(|peer| !peer.is_closed()) {
            match peer.open(name) {
                Ok(stream) => return Ok(stream),
                Err(NoStream::TooMany) => return Err(OpenError::TooMany(id)),
                Err(NoStream::Gone) => {} // The driver will know in a moment, and find another way.
            }
        }
        let (answer, answered) = oneshot::channel();
        let command = Command::Open { id, name: name.to_owned(), answer };
        let sent = self.commands().as_ref().is_some_and(|(commands, _)| commands.send(command).is_ok());
        if !sent {
            return Err(OpenError::NotRunning);
        }
        answered.await.unwrap_or(Err(OpenError::NotRunning))
    }

    /// Takes the streams that other nodes open to this one with this name, from now on, also after a stop and a new start.
    ///
    /// # Errors
    /// Another [`Acceptor`] has the name, or it is empty or too long.
    pub fn accept(&self, name: &str) -> Result<Acceptor, AcceptError> {
        if !(1..=MAX_NAME).contains(&name.len()) {
            return Err(AcceptError::BadName(name.len()));
        }
        self.0.shared.streams.acceptors.accept(name.to_owned())
    }

    /// The streams that others open to [reply](crate::Incoming::reply) to what this node has written.
    ///
    /// # Errors
    /// Another [`Acceptor`] has the name `reply`.
    pub fn replies(&self) -> Result<Acceptor, AcceptError> {
        self.accept(REPLY)
    }

    /// Asks everyone, and gives the answers as they come until `timeout` is over: 1 024 at most, of 1 MiB each at most.
    /// Nodes that do not [answer](Self::answer) do not notice. Each answer comes over a stream of its own, and more than 128 at
    /// one moment, or that are not taken within 10 s, are refused: ask what some of the nodes have an answer to, not all of
    /// thousands, and read the answers at once.
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
    /// As [`Broadcast::send`]. Nobody was asked.
    pub async fn ask(
        &self,
        question: impl Into<Bytes>,
        timeout: std::time::Duration,
    ) -> Result<Answers, SendError> {
        let mut number = [0; 8];
        let filled = ring::rand::SystemRandom::new().fill(&mut number);
        filled.map_err(|_| SendError::Closed)?;
        let number = u64::from_be_bytes(number);
        let acceptors = &self.0.shared.streams.acceptors;
        self.0.questions.ask(self, acceptors, number, question.into(), timeout).await
    }

    /// Answers what others [ask](Self::ask): `handler` gets who asks and what, and gives an answer of 1 MiB at most, or none.
    /// 64 questions are answered at once, and 256 wait; more are not answered. For as long as the result lives. Call it
    /// within a tokio runtime.
    ///
    /// # Errors
    /// [`AcceptError::ResponderExists`] if this node answers already.
    pub fn answer<F, A>(&self, handler: F) -> Result<ResponderGuard, AcceptError>
    where
        F: Fn(NodeId, Bytes) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Bytes>> + Send + 'static,
    {
        query::answer(WeakNode(Arc::downgrade(&self.0)), &self.0.shared.mailbox, handler)
    }

    fn commands(&self) -> std::sync::MutexGuard<'_, Option<(mpsc::UnboundedSender<Command>, SocketAddr)>> {
        self.0.commands.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Returns the network's id, which every signature contains. Networks with and without signed
/// messages do not mix, so their ids differ.
fn network_id(secret: Option<&[u8]>, unsigned_messages: bool) -> [u8; 32] {
    let mut id = [0; 32];
    if let Some(secret) = secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        id.copy_from_slice(hmac::sign(&key, b"smokesignal network id").as_ref());
    }
    if unsigned_messages {
        id.iter_mut().for_each(|byte| *byte = !*byte);
    }
    id
}

/// The present time in ms since 1970, or a later number if another start in this process has that one already: an
/// identity may be started again within the same millisecond, above all where time is virtual.
fn next_incarnation() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let next = |last: u64| unix.max(last + 1);
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
    next(last.unwrap_or_else(|last| last))
}

fn explain(address: SocketAddr, source: io::Error) -> StartError {
    match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse(address),
        io::ErrorKind::AddrNotAvailable => StartError::NotLocal(address.ip()),
        _ => StartError::Listen { address, source },
    }
}

/// What others may dial: the address itself, or for 0.0.0.0 and `::` those of this machine, far-reaching ones first.
fn reachable_at(local: SocketAddr) -> Vec<SocketAddr> {
    if !local.ip().is_unspecified() {
        return vec![local];
    }
    let fits = |ip: &IpAddr| local.is_ipv6() || ip.is_ipv4();
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list this machine's addresses; others will know the loopback one only");
        Vec::new()
    });
    let mut addresses: Vec<_> = interfaces.iter().map(if_addrs::Interface::ip).filter(fits).collect();
    addresses.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    if addresses.is_empty() {
        addresses.push(IpAddr::from([127, 0, 0, 1]));
    }
    addresses.into_iter().take(MAX_ADDRESSES).map(|ip| SocketAddr::new(ip, local.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{hex, vectors};

    #[test]
    fn network_ids_are_those_of_the_test_vectors() {
        let secret = Some(&b"the secret of our network"[..]);
        let vectors = vectors();
        assert_eq!(vectors["network id: open"], hex(&network_id(None, false)));
        assert_eq!(vectors["network id: secret"], hex(&network_id(secret, false)));
        assert_eq!(vectors["network id: open, unsigned"], hex(&network_id(None, true)));
        assert_eq!(vectors["network id: secret, unsigned"], hex(&network_id(secret, true)));
    }
}
