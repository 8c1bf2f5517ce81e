//! A simulated network inside one process, for tests: of this library, and of programs that use it.

mod end;
mod endpoint;
mod faults;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use self::endpoint::{Listener, MemoryEndpoint};
use self::faults::Faults;
use self::wire::{Delays, Wire};
use super::{BoxFuture, Credentials, Endpoint, Transport};
use crate::lock::Lock;

/// A simulated network, in this process only. Clones are the same network.
///
/// The addresses need not exist; only the exact address that was bound is reached. Identities and
/// network secrets are compared as a real network would, without encrypting anything.
///
/// # Testing your own program
///
/// In a runtime of one thread with a paused clock (tokio's feature `test-util`), time is virtual:
/// whenever all tasks wait, the clock jumps to the next timer. Many seconds pass in milliseconds,
/// and delays are exact. The network can be [cut in parts](Self::partition) and
/// [healed](Self::heal), nodes can [freeze](Self::freeze) and connections [break](Self::reset). A
/// node is named by the address where it listens. To kill one, drop its last handle.
///
/// ```
/// use std::net::SocketAddr;
/// use std::time::Duration;
///
/// use smokesignal::{Event, Identity, Incoming, Node, transport::MemoryNetwork};
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
///     assert!(matches!(heard.recv().await, Some(Incoming::Message { .. })));
///     Ok(())
/// }
/// ```
///
/// `cargo run -p smokesignal-p2p --example netsplit` is a longer one.
///
/// # The same run again
///
/// Nodes with [`NodeBuilder::identity`](crate::NodeBuilder::identity) and
/// [`NodeBuilder::rng_seed`](crate::NodeBuilder::rng_seed) in a network with
/// [`rng_seed`](Self::rng_seed) do the same at the same virtual time in each run, as long as the
/// program itself does (no `tokio::select!` without `biased`, no iteration over a `HashMap`, no
/// thread, no host names as seeds).
///
/// # What is simulated, and what is not
///
/// Each write takes the [latency](Self::latency), and all arrive in order. A direction of a
/// connection holds 256 KiB in flight or unread, then its writer waits. A dial takes one round
/// trip. Faults are those of a network below TCP: lost bytes are sent again once the path is free,
/// so that a connection which neither end closed goes on. No other loss, no congestion and no
/// processor time are simulated.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    world: Arc<Lock<World>>,
}

impl MemoryNetwork {
    /// Creates an empty network without delays.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long bytes take from one node to another, drawn anew for each write. Default: no
    /// time.
    ///
    /// It applies to writes from now on, in all clones.
    pub fn latency(self, one_way: RangeInclusive<Duration>) -> Self {
        self.world.lock().delays.latency = one_way;
        self
    }

    /// Sets how many bytes each direction of a connection carries per second. Default: no limit.
    ///
    /// It applies to writes from now on, in all clones.
    pub fn bandwidth(self, bytes_per_second: u64) -> Self {
        self.world.lock().delays.bandwidth = Some(bytes_per_second);
        self
    }

    /// Seeds the random latencies of the network. Default 0: they are the same in each run anyway.
    pub fn rng_seed(self, seed: u64) -> Self {
        self.world.lock().delays.rng = seed;
        self
    }

    fn with_wire<T>(&self, wire: u64, act: impl FnOnce(&mut Wire, &mut Delays) -> T) -> T {
        let mut world = self.world.lock();
        let World { wires, delays, .. } = &mut *world;
        let wire = wires.get_mut(&wire).expect("a wire is there as long as one of its ends");
        act(wire, delays)
    }

    fn forget_wire(&self, wire: u64) {
        self.world.lock().wires.remove(&wire);
    }
}

impl Transport for MemoryNetwork {
    fn bind(&self, address: SocketAddr, me: Credentials) -> BoxFuture<'_, io::Result<Arc<dyn Endpoint>>> {
        Box::pin(async move { Ok(Arc::new(MemoryEndpoint::bind(self, address, me)?) as Arc<dyn Endpoint>) })
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryNetwork({} listening)", self.world.lock().listeners.len())
    }
}

/// The ports that a system chooses from if a program does not ask for one (RFC 6335, section 6).
const FREE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;

/// The state of the network. It is bounded by what is alive: an endpoint has one listener, a
/// connection one wire.
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

    /// Adds a connection. Returns its number, and the port of the dialler's end.
    fn add_wire(&mut self, nodes: [SocketAddr; 2]) -> (u64, u16) {
        self.last_wire += 1;
        let cut = self.faults.block(nodes[0], nodes[1]);
        self.wires.insert(self.last_wire, Wire::new(nodes, cut));
        (self.last_wire, self.next_port())
    }
}
