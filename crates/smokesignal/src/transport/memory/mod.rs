//! A simulated network inside one process, for tests: of this library, and of programs that use it.

mod faults;
mod wire;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use self::faults::Faults;
use self::wire::{Delays, Wire, WireEnd};
use super::{BoxFuture, Connection, Credentials, DialError, Endpoint, Transport};
use crate::NodeId;

/// A simulated network, in this process only. Clones are the same network.
///
/// The addresses need not exist; only the exact address that was bound is reached. Identities and network secrets are
/// compared as a real network would, without encrypting anything.
///
/// # Testing your own program
///
/// In a runtime of one thread with a paused clock (tokio's feature `test-util`), time is virtual: whenever all tasks
/// wait, the clock jumps to the next timer. Many seconds pass in milliseconds, and delays are exact. The network can be
/// [cut in parts](Self::partition) and [healed](Self::heal), nodes can [freeze](Self::freeze) and connections
/// [break](Self::reset). A node is named by the address where it listens.
///
/// ```
/// use std::net::SocketAddr;
/// use std::time::Duration;
///
/// use smokesignal::{Event, Identity, Node, transport::MemoryNetwork};
/// use tokio::time::{Instant, sleep};
///
/// #[tokio::main(flavor = "current_thread", start_paused = true)]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let delay = Duration::from_millis(10);
///     let network = MemoryNetwork::new().latency(delay..=2 * delay).rng_seed(1);
///     let addresses = [1, 2].map(|host| SocketAddr::from(([10, 0, 0, host], 8495)));
///     let node = |n: usize| {
///         let address = addresses[n];
///         let seed = addresses[0].to_string();
///         let identity = Identity::from_seed([n as u8; 32]);
///         let builder = Node::builder().transport(network.clone()).address(address.ip()).port(address.port());
///         builder.seed(seed).identity(identity).rng_seed(1).build()
///     };
///     let (ann, bob) = (node(0)?, node(1)?);
///     let (mut events, mut heard) = (ann.events(), bob.broadcast());
///     ann.start().await?;
///     bob.start().await?;
///     while !matches!(events.recv().await, Some(Event::Connect)) {}
///
///     network.partition(&[&addresses[..1], &addresses[1..]]);
///     ann.broadcast().send("is anybody there?").await?;
///     while !matches!(events.recv().await, Some(Event::Disconnect)) {} // Ann's pings stay unanswered.
///     assert_eq!(heard.try_recv(), None);
///
///     network.heal();
///     println!("{:?}", heard.recv().await);
///     Ok(())
/// }
/// ```
///
/// `cargo run -p smokesignal-p2p --example netsplit` is a longer one.
///
/// # The same run again
///
/// Nodes with [`Builder::identity`](crate::Builder::identity) and [`Builder::rng_seed`](crate::Builder::rng_seed) in a
/// network with [`rng_seed`](Self::rng_seed) do the same at the same virtual time in each run, as long as the program
/// itself does (no `tokio::select!` without `biased`, no walk over a `HashMap`, no thread, no host names as seeds).
///
/// # What is simulated, and what is not
///
/// Each write takes the [latency](Self::latency), and all arrive in order. A direction of a connection holds 256 KiB on
/// the way or unread, then its writer waits. To dial takes one round trip. Faults are those of a network below TCP: what
/// is lost is sent again once the way is free, so that a connection which nobody gave up works on. There is no other
/// loss, no congestion, and no time that a processor takes.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    world: Arc<Mutex<World>>,
}

impl MemoryNetwork {
    /// A network with nobody in it, without delays.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long bytes take from one node to another, drawn anew for each write. Default: no time.
    ///
    /// Holds for what is written from now on, in all clones.
    pub fn latency(self, one_way: RangeInclusive<Duration>) -> Self {
        self.lock().delays.latency = one_way;
        self
    }

    /// Bytes that each direction of a connection carries in a second. Default: no limit.
    ///
    /// Holds for what is written from now on, in all clones.
    pub fn bandwidth(self, bytes_per_second: u64) -> Self {
        self.lock().delays.bandwidth = Some(bytes_per_second);
        self
    }

    /// What the network's chance (the latencies) begins with. Default 0: it is the same in each run anyway.
    pub fn rng_seed(self, seed: u64) -> Self {
        self.lock().delays.rng = seed;
        self
    }

    fn listen(&self, mut address: SocketAddr, me: Credentials) -> io::Result<MemoryEndpoint> {
        let mut world = self.lock();
        if address.port() == 0 {
            world.choose_port(&mut address)?;
        }
        let Entry::Vacant(place) = world.listeners.entry(address) else {
            return Err(io::ErrorKind::AddrInUse.into());
        };
        let (queue, accepted) = mpsc::channel(ACCEPTED_MAX);
        place.insert(Listener { me: me.clone(), queue });
        let (network, closed) = (self.clone(), AtomicBool::new(false));
        Ok(MemoryEndpoint { network, address, me, accepted: tokio::sync::Mutex::new(accepted), closed })
    }

    async fn dial(
        self,
        from: SocketAddr,
        me: Credentials,
        to: SocketAddr,
        expect: Option<NodeId>,
    ) -> Result<Connection, DialError> {
        self.travel(from, to).await;
        let listener = self.lock().listeners.get(&to).cloned();
        let answer = match &listener {
            Some(listener) => self.knock(from, &me, to, listener, expect).await,
            None => Err(DialError::Refused),
        };
        self.travel(to, from).await;
        answer
    }

    /// What happens where the dialler has arrived.
    async fn knock(
        &self,
        from: SocketAddr,
        me: &Credentials,
        to: SocketAddr,
        listener: &Listener,
        expect: Option<NodeId>,
    ) -> Result<Connection, DialError> {
        let found = listener.me.id();
        match expect {
            Some(expected) if expected != found => return Err(DialError::WrongNode { expected, found }),
            _ if !me.same_secret(&listener.me) => return Err(DialError::WrongSecret),
            _ => {}
        }
        let (wire, port) = self.lock().add_wire([from, to]);
        let end = |end| WireEnd::new(self.clone(), wire, end);
        let outbound = connection(found, to, end(0));
        let inbound = connection(me.id(), SocketAddr::new(from.ip(), port), end(1));
        match listener.queue.send(inbound).await {
            Ok(()) => Ok(outbound),
            Err(_closed) => Err(DialError::Refused),
        }
    }

    /// One packet's way. What does not get through is sent again.
    async fn travel(&self, from: SocketAddr, to: SocketAddr) {
        loop {
            let delay = {
                let mut world = self.lock();
                if world.faults.block(from, to) { RETRANSMIT_AFTER } else { world.delays.draw() }
            };
            if !delay.is_zero() {
                sleep(delay).await;
            }
            if !self.lock().faults.block(from, to) {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_wire<T>(&self, wire: u64, act: impl FnOnce(&mut Wire, &mut Delays) -> T) -> T {
        let mut world = self.lock();
        let World { wires, delays, .. } = &mut *world;
        let wire = wires.get_mut(&wire).expect("a wire is there as long as one of its ends");
        act(wire, delays)
    }

    fn forget_wire(&self, wire: u64) {
        self.lock().wires.remove(&wire);
    }
}

impl Transport for MemoryNetwork {
    fn bind(&self, address: SocketAddr, me: Credentials) -> BoxFuture<'_, io::Result<Arc<dyn Endpoint>>> {
        Box::pin(async move { Ok(Arc::new(self.listen(address, me)?) as Arc<dyn Endpoint>) })
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryNetwork({} listening)", self.lock().listeners.len())
    }
}

/// Connections that wait for `accept`. With more, the dialler waits, as with a full backlog.
const ACCEPTED_MAX: usize = 64;

/// As for the handshake over TCP.
const DIAL_DEADLINE: Duration = Duration::from_secs(3);

/// TCP tries again after this long to connect (RFC 6298, section 2.1). It doubles the time after each try; we do not.
const RETRANSMIT_AFTER: Duration = Duration::from_secs(1);

/// The ports that systems give to whoever does not ask for one (RFC 6335, section 6).
const FREE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;

/// Bounded by what is alive: an endpoint has one listener, a connection one wire.
struct World {
    delays: Delays,
    faults: Faults,
    listeners: BTreeMap<SocketAddr, Listener>,
    last_port: u16,
    wires: BTreeMap<u64, Wire>,
    last_wire: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            delays: Delays { latency: Duration::ZERO..=Duration::ZERO, bandwidth: None, rng: 0 },
            faults: Faults::default(),
            listeners: BTreeMap::new(),
            last_port: 0,
            wires: BTreeMap::new(),
            last_wire: 0,
        }
    }
}

#[derive(Clone)]
struct Listener {
    me: Credentials,
    queue: mpsc::Sender<Connection>,
}

impl World {
    fn next_port(&mut self) -> u16 {
        let next = self.last_port.wrapping_add(1);
        self.last_port = if FREE_PORTS.contains(&next) { next } else { *FREE_PORTS.start() };
        self.last_port
    }

    fn choose_port(&mut self, address: &mut SocketAddr) -> io::Result<()> {
        for _ in FREE_PORTS {
            address.set_port(self.next_port());
            if !self.listeners.contains_key(address) {
                return Ok(());
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "every port of this address is in use"))
    }

    /// Its number, and the port that the dialler's end gets.
    fn add_wire(&mut self, nodes: [SocketAddr; 2]) -> (u64, u16) {
        self.last_wire += 1;
        let cut = self.faults.block(nodes[0], nodes[1]);
        self.wires.insert(self.last_wire, Wire::new(nodes, cut));
        (self.last_wire, self.next_port())
    }
}

fn connection(peer: NodeId, remote: SocketAddr, stream: WireEnd) -> Connection {
    let (reader, writer) = tokio::io::split(stream);
    Connection { peer, remote, reader: Box::new(reader), writer: Box::new(writer) }
}

struct MemoryEndpoint {
    network: MemoryNetwork,
    address: SocketAddr,
    me: Credentials,
    accepted: tokio::sync::Mutex<mpsc::Receiver<Connection>>,
    closed: AtomicBool,
}

impl Endpoint for MemoryEndpoint {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn accept(&self) -> BoxFuture<'_, Option<Connection>> {
        Box::pin(async move { self.accepted.lock().await.recv().await })
    }

    fn dial(
        &self,
        address: SocketAddr,
        expect: Option<NodeId>,
    ) -> BoxFuture<'static, Result<Connection, DialError>> {
        let dial = self.network.clone().dial(self.address, self.me.clone(), address, expect);
        Box::pin(async { timeout(DIAL_DEADLINE, dial).await.unwrap_or(Err(DialError::TimedOut)) })
    }

    fn close(&self) {
        // Only once: afterwards the address may be somebody else's.
        if !self.closed.swap(true, Ordering::Relaxed) {
            let listener = self.network.lock().listeners.remove(&self.address);
            drop(listener); // Without the lock: its queue may hold connections, and their ends take it.
        }
    }
}

impl Drop for MemoryEndpoint {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for MemoryEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryEndpoint({:?} at {})", self.me.id(), self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    fn node(seed: u8) -> Credentials {
        Credentials::new(Identity::from_seed([seed; 32]), None)
    }

    #[tokio::test]
    async fn addresses_need_not_exist_and_networks_are_apart() {
        let (here, elsewhere) = (MemoryNetwork::new(), MemoryNetwork::new());
        let address = "198.51.100.7:13".parse().unwrap();
        let a = here.bind(address, node(1)).await.unwrap();
        let b = here.clone().bind("[2001:db8::1]:0".parse().unwrap(), node(2)).await.unwrap();
        let far = elsewhere.bind("198.51.100.8:0".parse().unwrap(), node(3)).await.unwrap();
        assert_eq!(a.local_addr(), address);
        assert_eq!(b.dial(address, None).await.unwrap().peer, node(1).id());
        assert_eq!(far.dial(address, None).await.unwrap_err(), DialError::Refused);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_accepts_nobody_lets_the_dialler_time_out() {
        let network = MemoryNetwork::new();
        let a = network.bind("127.0.0.1:0".parse().unwrap(), node(1)).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..ACCEPTED_MAX {
            waiting.push(a.dial(a.local_addr(), None).await.unwrap());
        }
        assert_eq!(a.dial(a.local_addr(), None).await.unwrap_err(), DialError::TimedOut);
    }
}
