//! A network inside one process, for tests.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{BoxFuture, Connection, Credentials, DialError, Endpoint, Transport};
use crate::NodeId;

/// A network that exists only in this process. Clones are the same network.
///
/// The addresses need not exist; only the exact address that was bound is reached. Identities and network secrets are
/// compared as a real network would, without encrypting anything.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    hub: Arc<Mutex<Hub>>,
}

impl MemoryNetwork {
    /// A network with nobody in it.
    pub fn new() -> Self {
        Self::default()
    }

    fn listen(&self, mut address: SocketAddr, me: Credentials) -> io::Result<MemoryEndpoint> {
        let mut hub = self.lock();
        if address.port() == 0 {
            hub.choose_port(&mut address)?;
        }
        let Entry::Vacant(place) = hub.listeners.entry(address) else {
            return Err(io::ErrorKind::AddrInUse.into());
        };
        let (queue, accepted) = mpsc::channel(ACCEPTED_MAX);
        place.insert(Listener { me: me.clone(), queue });
        let (network, closed) = (self.clone(), AtomicBool::new(false));
        Ok(MemoryEndpoint { network, address, me, accepted: tokio::sync::Mutex::new(accepted), closed })
    }

    async fn connect(
        self,
        from: SocketAddr,
        me: Credentials,
        address: SocketAddr,
        expect: Option<NodeId>,
    ) -> Result<Connection, DialError> {
        let (listener, port) = {
            let mut hub = self.lock();
            (hub.listeners.get(&address).cloned().ok_or(DialError::Refused)?, hub.next_port())
        };
        let found = listener.me.id();
        match expect {
            Some(expected) if expected != found => return Err(DialError::WrongNode { expected, found }),
            _ if !me.same_secret(&listener.me) => return Err(DialError::WrongSecret),
            _ => {}
        }
        let (ours, theirs) = tokio::io::duplex(IN_FLIGHT);
        let inbound = connection(me.id(), SocketAddr::new(from.ip(), port), theirs);
        match tokio::time::timeout(DIAL_DEADLINE, listener.queue.send(inbound)).await {
            Ok(Ok(())) => Ok(connection(found, address, ours)),
            Ok(Err(_closed)) => Err(DialError::Refused),
            Err(_elapsed) => Err(DialError::TimedOut),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Bytes on the way in each direction before a writer waits: 64 KiB, about a small socket buffer.
const IN_FLIGHT: usize = 64 * 1024;

/// Connections that wait for `accept`. With more, the dialler waits, as with a full backlog.
const ACCEPTED_MAX: usize = 64;

/// As for the handshake over TCP.
const DIAL_DEADLINE: Duration = Duration::from_secs(3);

/// The ports that systems give to whoever does not ask for one (RFC 6335, section 6).
const FREE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;

/// Bounded by the endpoints alive, each of which has one entry.
#[derive(Default)]
struct Hub {
    listeners: BTreeMap<SocketAddr, Listener>,
    last_port: u16,
}

#[derive(Clone)]
struct Listener {
    me: Credentials,
    queue: mpsc::Sender<Connection>,
}

impl Hub {
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
}

fn connection(peer: NodeId, remote: SocketAddr, stream: tokio::io::DuplexStream) -> Connection {
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
        Box::pin(self.network.clone().connect(self.address, self.me.clone(), address, expect))
    }

    fn close(&self) {
        // Only once: afterwards the address may be somebody else's.
        if !self.closed.swap(true, Ordering::Relaxed) {
            self.network.lock().listeners.remove(&self.address);
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
