//! A node's place in a simulated network.
//!
//! A dial sends a SYN to the listener at the address, again and again while the network is cut, and
//! gets a wire if the listener accepts. Identities and secrets are compared on arrival.

use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::MemoryNetwork;
use super::end::WireEnd;
use crate::transport::{BoxFuture, Connection, Credentials, DialError, Endpoint};
use smokesignal_proto::{Features, NodeId};

/// Connections that wait for `accept`. With more, the dialler waits, as with a full backlog.
const ACCEPTED_MAX: usize = 64;

/// The deadline of a dial, as for the handshake over TCP.
const DIAL_DEADLINE: Duration = Duration::from_secs(3);

/// Interval between two attempts to connect, as in TCP (RFC 6298, section 2.1), which doubles it
/// after each attempt; this does not.
const RETRANSMIT_AFTER: Duration = Duration::from_secs(1);

pub(super) struct MemoryEndpoint {
    network: MemoryNetwork,
    address: SocketAddr,
    me: Credentials,
    accepted: tokio::sync::Mutex<mpsc::Receiver<Connection>>,
    closed: AtomicBool,
}

/// The place where dials arrive.
#[derive(Clone)]
pub(super) struct Listener {
    me: Credentials,
    queue: mpsc::Sender<Connection>,
}

/// A dial on its way: between which addresses, by which node, and which node it expects.
struct Dial {
    from: SocketAddr,
    me: Credentials,
    to: SocketAddr,
    expect: Option<NodeId>,
}

impl Dial {
    /// Checks that the node that was found is the one that was expected, and in the same network.
    fn check(&self, other: &Credentials) -> Result<(), DialError> {
        let found = other.id();
        match self.expect {
            Some(expected) if expected != found => Err(DialError::WrongNode { expected, found }),
            _ if !self.me.same_secret(other) => Err(DialError::WrongSecret),
            _ => Ok(()),
        }
    }
}

impl MemoryEndpoint {
    pub(super) fn bind(
        network: &MemoryNetwork,
        mut address: SocketAddr,
        me: Credentials,
    ) -> io::Result<Self> {
        let mut world = network.world.lock();
        if address.port() == 0 {
            world.choose_port(&mut address)?;
        }
        let Entry::Vacant(place) = world.listeners.entry(address) else {
            return Err(io::ErrorKind::AddrInUse.into());
        };
        let (queue, accepted) = mpsc::channel(ACCEPTED_MAX);
        place.insert(Listener { me: me.clone(), queue });
        let (network, closed) = (network.clone(), AtomicBool::new(false));
        Ok(Self { network, address, me, accepted: tokio::sync::Mutex::new(accepted), closed })
    }
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
        let dial = Dial { from: self.address, me: self.me.clone(), to: address, expect };
        let dial = self.network.clone().dial(dial);
        Box::pin(async { timeout(DIAL_DEADLINE, dial).await.unwrap_or(Err(DialError::TimedOut)) })
    }

    fn close(&self) {
        // Only once: afterwards the address may belong to another node.
        if !self.closed.swap(true, Ordering::Relaxed) {
            let listener = self.network.world.lock().listeners.remove(&self.address);
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

impl MemoryNetwork {
    async fn dial(self, dial: Dial) -> Result<Connection, DialError> {
        self.travel(dial.from, dial.to).await;
        let listener = self.world.lock().listeners.get(&dial.to).cloned();
        let answer = match &listener {
            Some(listener) => self.connect(&dial, listener).await,
            None => Err(DialError::Refused),
        };
        self.travel(dial.to, dial.from).await;
        answer
    }

    /// Connects a dialler that has arrived at the listener, unless either rejects the other.
    async fn connect(&self, dial: &Dial, listener: &Listener) -> Result<Connection, DialError> {
        dial.check(&listener.me)?;
        let (wire, port) = self.world.lock().add_wire([dial.from, dial.to]);
        let end = |end| WireEnd::new(self.clone(), wire, end);
        let outbound = connection(listener.me.id(), dial.to, end(0));
        let inbound = connection(dial.me.id(), SocketAddr::new(dial.from.ip(), port), end(1));
        match listener.queue.send(inbound).await {
            Ok(()) => Ok(outbound),
            Err(_closed) => Err(DialError::Refused),
        }
    }

    /// Waits until a packet has got through; it is sent again while the path is cut.
    async fn travel(&self, from: SocketAddr, to: SocketAddr) {
        loop {
            let delay = {
                let mut world = self.world.lock();
                if world.faults.block(from, to) { RETRANSMIT_AFTER } else { world.delays.draw() }
            };
            if !delay.is_zero() {
                sleep(delay).await;
            }
            if !self.world.lock().faults.block(from, to) {
                return;
            }
        }
    }
}

fn connection(peer: NodeId, remote: SocketAddr, stream: WireEnd) -> Connection {
    let (reader, writer) = tokio::io::split(stream);
    // Both ends are this program.
    let features = Features::OURS;
    Connection { peer, remote, features, reader: Box::new(reader), writer: Box::new(writer) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::transport::Transport as _;

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
