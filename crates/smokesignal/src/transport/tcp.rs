//! TLS over TCP: the transport for real networks.
//!
//! One task accepts TCP connections and starts a handshake for each of them, under a deadline and
//! in a bounded number; [`door`](super::door) decides who loses when there are more. Authenticated
//! connections wait in a queue for [`Endpoint::accept`]. Dials run in the caller's task, under
//! deadlines of their own.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, debug, warn};

use super::door::{Door, NoPlace, Places, Prefix, Stranger};
use super::{BoxFuture, Connection, Credentials, DialError, Endpoint, Transport};
use crate::lock::Lock;
use smokesignal_proto::NodeId;

/// TCP with TLS 1.3, where both sides prove their id.
///
/// Strangers are cheap: a connection that is not authenticated within 5 s, or sends more than 4 KiB
/// before, is closed. 256 may be in this state at a time, 64 of them from one network (/24 of IPv4,
/// /56 of IPv6). With more, the loser is of the network that has the most of them, and of those one
/// that has said nothing yet: a flood from one network keeps nobody out who comes from another one.
///
/// ```
/// use smokesignal::{Node, transport::TcpTransport};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder().transport(TcpTransport::new()).build()?; // The default.
/// # let _ = node;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct TcpTransport {
    limits: Limits,
}

impl TcpTransport {
    /// Returns the transport that nodes use by default.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Transport for TcpTransport {
    fn bind(&self, address: SocketAddr, me: Credentials) -> BoxFuture<'_, io::Result<Arc<dyn Endpoint>>> {
        Box::pin(
            async move { Ok(Arc::new(TcpEndpoint::new(address, me, self.limits)?) as Arc<dyn Endpoint>) },
        )
    }
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Deadline for an inbound connection to authenticate, with TLS and HELLO. Default 5 s; honest
    /// nodes take milliseconds, or a second over a bad radio link.
    inbound_handshake: Duration,
    /// Maximum number of inbound connections that are not authenticated yet. Default 256, of which
    /// one network may have 64. One that has said nothing costs a socket and less than 2 KiB, one
    /// amid its handshake less than 32 KiB, 4 of them bytes that it has sent: 8 MiB at most.
    pending: Places,
    /// The network of an address.
    prefix: fn(IpAddr) -> Prefix,
    /// Deadline for the TCP connection of a dial. Default 2 s: one lost SYN (repeated after 1 s)
    /// does not matter.
    connect: Duration,
    /// Deadline for the dialled node to authenticate. Default 3 s.
    dial_handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (connect, dial_handshake) = (Duration::from_secs(2), Duration::from_secs(3));
        let (inbound_handshake, pending) = (Duration::from_secs(5), Places { all: 256, share: 64 });
        Self { inbound_handshake, pending, prefix: Prefix::of, connect, dial_handshake }
    }
}

/// Connections that the system holds until they are accepted. 1024: a whole network may dial one
/// seed at the same time.
const BACKLOG: u32 = 1024;

/// Authenticated connections that wait for `accept`. With more they wait in their handshake, under
/// its deadline.
const ACCEPTED_MAX: usize = 64;

/// Pause when the system cannot accept, mostly for lack of file descriptors, and no stranger holds
/// one. 50 ms: short to a dialler, long to a processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes handed to the kernel but not yet on the wire. 256 KiB: urgent messages never wait behind
/// more than that. With half of it the two ends of a stream on loopback wait for each other, and
/// carry less than half as much.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NOT_SENT_MAX: u32 = 256 * 1024;

/// Why a connection loses its place, or gets none.
const NO_PLACE: &str = "too many of its network at the same time";

struct TcpEndpoint {
    local: SocketAddr,
    me: Credentials,
    limits: Limits,
    listener: Listener,
    accepting: AbortHandle,
    accepted: tokio::sync::Mutex<mpsc::Receiver<Connection>>,
}

impl TcpEndpoint {
    fn new(address: SocketAddr, me: Credentials, limits: Limits) -> io::Result<Self> {
        let listener = listen(address)?;
        let local = listener.local_addr()?;
        let listener = Listener(Arc::new(Lock::new(Some(listener))));
        let (queue, accepted) = mpsc::channel(ACCEPTED_MAX);
        let (handshakes, door) = (JoinSet::new(), Door::new(limits.pending, limits.prefix));
        let greeter = Greeter { me: me.clone(), limits, queue, handshakes, door };
        let accepting = tokio::spawn(accept_all(listener.clone(), greeter).in_current_span()).abort_handle();
        Ok(Self { local, me, limits, listener, accepting, accepted: tokio::sync::Mutex::new(accepted) })
    }
}

impl Endpoint for TcpEndpoint {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn accept(&self) -> BoxFuture<'_, Option<Connection>> {
        Box::pin(async move { self.accepted.lock().await.recv().await })
    }

    fn dial(
        &self,
        address: SocketAddr,
        expect: Option<NodeId>,
    ) -> BoxFuture<'static, Result<Connection, DialError>> {
        Box::pin(dial(address, expect, self.me.clone(), self.limits))
    }

    fn close(&self) {
        self.listener.close();
        self.accepting.abort(); // and with it all handshakes, which it owns
    }
}

impl Drop for TcpEndpoint {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for TcpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpEndpoint({:?} at {})", self.me.id(), self.local)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without it a restarted node would wait a minute for its port. On Windows the option has
    // another meaning.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn dial(
    address: SocketAddr,
    expect: Option<NodeId>,
    me: Credentials,
    limits: Limits,
) -> Result<Connection, DialError> {
    let in_time = |_elapsed| DialError::TimedOut;
    let stream = timeout(limits.connect, TcpStream::connect(address)).await.map_err(in_time)??;
    tune(&stream, address);
    timeout(limits.dial_handshake, me.connect(stream, address, expect)).await.map_err(in_time)?
}

/// Configures the socket: small frames leave immediately, and large ones do not pile up in the
/// kernel before them.
fn tune(stream: &TcpStream, remote: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%remote, %error, "TCP_NODELAY was refused: small messages will be slower");
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(NOT_SENT_MAX) {
        debug!(%remote, %error, "TCP_NOTSENT_LOWAT was refused: urgent messages may wait behind large ones");
    }
}

/// The listening socket, which can be closed while another task waits for it.
#[derive(Clone)]
struct Listener(Arc<Lock<Option<TcpListener>>>);

impl Listener {
    /// Resolves to the next connection, or to `None` once closed.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<(TcpStream, SocketAddr)>>> {
        match &*self.0.lock() {
            Some(listener) => Poll::Ready(Some(ready!(listener.poll_accept(cx)))),
            None => Poll::Ready(None),
        }
    }

    fn close(&self) {
        self.0.lock().take();
    }
}

/// Accepts connections and never waits for one of them to authenticate.
async fn accept_all(listener: Listener, mut greeter: Greeter) {
    let mut failing = false;
    while let Some(next) = poll_fn(|cx| listener.poll_accept(cx)).await {
        match next {
            Ok((stream, remote)) => {
                failing = false;
                greeter.greet(stream, SocketAddr::new(remote.ip().to_canonical(), remote.port()));
            }
            // That connection broke before it was accepted.
            Err(error) if is_about_one_connection(&error) => debug!(%error, "refused an inbound connection"),
            Err(error) => {
                if !failing {
                    warn!(%error, "cannot accept connections; trying again until it works");
                }
                failing = true;
                if greeter.evict() {
                    // Its socket is closed when its task has had a turn.
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Authenticates the inbound connections.
struct Greeter {
    me: Credentials,
    limits: Limits,
    queue: mpsc::Sender<Connection>,
    /// The handshakes. Dropping it ends all of them.
    handshakes: JoinSet<()>,
    /// Their places.
    door: Door<Handshake>,
}

/// A handshake that is under way.
struct Handshake {
    remote: SocketAddr,
    task: AbortHandle,
    has_spoken: Arc<AtomicBool>,
}

impl Handshake {
    fn end(&self) {
        self.task.abort();
        debug!(remote = %self.remote, reason = NO_PLACE, "refused an inbound connection");
    }
}

impl Stranger for Handshake {
    fn has_left(&self) -> bool {
        self.task.is_finished()
    }

    fn has_spoken(&self) -> bool {
        self.has_spoken.load(Ordering::Relaxed)
    }
}

impl Greeter {
    fn greet(&mut self, stream: TcpStream, remote: SocketAddr) {
        self.note_ended();
        let Self { me, limits, queue, handshakes, door } = self;
        let enter = || {
            let (me, queue, deadline) = (me.clone(), queue.clone(), limits.inbound_handshake);
            let has_spoken = Arc::new(AtomicBool::new(false));
            let spoken = Arc::clone(&has_spoken);
            let handshake = async move {
                let authenticated = async {
                    hear(&stream).await?;
                    spoken.store(true, Ordering::Relaxed);
                    tune(&stream, remote);
                    // On the heap, so that who says nothing costs little.
                    let connection = Box::pin(me.accept(stream, remote)).await?;
                    // An error means that the endpoint was closed meanwhile.
                    queue.send(connection).await.map_err(|_| DialError::Refused)
                };
                let outcome = timeout(deadline, authenticated).await;
                if let Err(reason) = outcome.unwrap_or(Err(DialError::TimedOut)) {
                    debug!(%remote, %reason, "refused an inbound connection");
                }
            };
            Handshake { remote, task: handshakes.spawn(handshake.in_current_span()), has_spoken }
        };
        match door.enter(remote.ip(), Instant::now(), enter) {
            Ok(loser) => loser.iter().for_each(Handshake::end),
            Err(NoPlace) => debug!(%remote, reason = NO_PLACE, "refused an inbound connection"),
        }
    }

    /// Ends a handshake, to free its socket. Returns whether there was one.
    fn evict(&mut self) -> bool {
        let loser = self.door.evict();
        loser.iter().for_each(Handshake::end);
        loser.is_some()
    }

    /// Reports handshakes that have panicked.
    fn note_ended(&mut self) {
        while let Some(ended) = self.handshakes.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                warn!(%error, "a handshake failed");
            }
        }
    }
}

/// Waits for the first byte, and leaves it unread.
async fn hear(stream: &TcpStream) -> Result<(), DialError> {
    match stream.peek(&mut [0]).await {
        Ok(1..) => Ok(()),
        // An honest dialler never changes its mind without a word.
        Ok(0) | Err(_) => Err(DialError::ClosedEarly),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::identity::Identity;

    /// A deadline longer than any test may take.
    const NEVER: Duration = Duration::from_secs(60);
    const SOON: Duration = Duration::from_millis(200);

    fn node(seed: u8) -> Credentials {
        Credentials::new(Identity::from_seed([seed; 32]), None)
    }

    fn endpoint(seed: u8, inbound_handshake: Duration) -> TcpEndpoint {
        let limits = Limits { inbound_handshake, ..Limits::default() };
        TcpEndpoint::new("127.0.0.1:0".parse().unwrap(), node(seed), limits).unwrap()
    }

    /// Returns everything that the other side sends until it closes in any way.
    async fn until_closed(stream: &mut TcpStream) -> usize {
        let mut buffer = [0; 4096];
        let mut read = 0;
        loop {
            match timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.expect("was not closed") {
                Ok(0) | Err(_) => return read,
                Ok(n) => read += n,
            }
        }
    }

    async fn assert_still_serves(endpoint: &TcpEndpoint) {
        let friend = self::endpoint(9, NEVER);
        let (dialled, accepted) =
            tokio::join!(friend.dial(endpoint.local_addr(), Some(endpoint.me.id())), endpoint.accept());
        assert_eq!((dialled.unwrap().peer, accepted.unwrap().peer), (endpoint.me.id(), node(9).id()));
    }

    #[tokio::test]
    async fn garbage_is_closed_at_once() {
        let endpoint = endpoint(1, NEVER);
        for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0; 64], &[0xff; 3000]] {
            let mut stranger = TcpStream::connect(endpoint.local_addr()).await.unwrap();
            stranger.write_all(garbage).await.unwrap();
            until_closed(&mut stranger).await;
        }
        assert_still_serves(&endpoint).await;
    }

    #[tokio::test]
    async fn no_more_than_4_kib_are_taken_from_a_stranger() {
        let endpoint = endpoint(1, NEVER);
        let mut stranger = TcpStream::connect(endpoint.local_addr()).await.unwrap();
        // A TLS record of 16 KiB with the start of a ClientHello of that size, which never ends.
        let start = [0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3];
        stranger.write_all(&[&start[..], &[7; 4096]].concat()).await.unwrap();
        assert_eq!(until_closed(&mut stranger).await, 0);
        assert_still_serves(&endpoint).await;
    }

    #[tokio::test]
    async fn the_silent_and_the_slow_are_closed_at_the_deadline() {
        let endpoint = endpoint(1, SOON);
        let mut silent = TcpStream::connect(endpoint.local_addr()).await.unwrap();
        let slow = TcpStream::connect(endpoint.local_addr()).await.unwrap();
        let (mut slow, mut writer) = slow.into_split();
        let drip = async {
            writer.write_all(&[0x16, 3, 1, 1, 0]).await?;
            loop {
                tokio::time::sleep(SOON / 10).await;
                writer.write_all(&[1]).await?;
            }
        };
        let mut byte = [0; 1];
        tokio::select! {
            broken = drip => { let _: io::Result<()> = broken; }
            _ = slow.read(&mut byte) => {}
        }
        assert_eq!(until_closed(&mut silent).await, 0);
        assert_still_serves(&endpoint).await;
    }

    /// Connections that say `greeting` and then nothing more, from one address.
    #[cfg(target_os = "linux")] // Elsewhere only one address is loopback.
    struct Flood {
        from: &'static str,
        to: SocketAddr,
        greeting: &'static [u8],
        open: JoinSet<()>,
    }

    #[cfg(target_os = "linux")]
    impl Flood {
        async fn connect(from: &str, to: SocketAddr) -> TcpStream {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
            socket.connect(to).await.unwrap()
        }

        /// Opens more connections than its network has places, and waits until all have been taken:
        /// as many as there are places too few for are closed then.
        async fn rise(&mut self) {
            let places = Limits::default().pending.share;
            for _ in 0..3 * places {
                let mut stream = Self::connect(self.from, self.to).await;
                stream.write_all(self.greeting).await.unwrap();
                self.open.spawn(async move {
                    let _closed = stream.read(&mut [0]).await;
                });
            }
            while self.open.len() > places {
                self.open.join_next().await;
            }
        }

        /// Carries a connection to the flooded node. The flood rises each time that bytes are on
        /// their way, the first ones only if `before_the_first`.
        async fn delay(&mut self, listener: TcpListener, from: &str, before_the_first: bool) {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = Self::connect(from, self.to).await;
            let (mut out, mut back) = ([0; 4096], [0; 4096]);
            let mut rises = before_the_first;
            loop {
                let (read, forth) = tokio::select! {
                    read = near.read(&mut out) => (read, true),
                    read = far.read(&mut back) => (read, false),
                };
                let Ok(read @ 1..) = read else { return };
                if rises {
                    self.rise().await;
                }
                rises = true;
                let (bytes, onward) = if forth { (&out, &mut far) } else { (&back, &mut near) };
                if onward.write_all(&bytes[..read]).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Lets a node join through a slow line, at the end of which a flood of such connections comes
    /// from `flooded`.
    #[cfg(target_os = "linux")]
    async fn joins_in_a_flood(flooded: &'static str, joiner: &str, greeting: &'static [u8]) {
        let limits = Limits { inbound_handshake: NEVER, prefix: Prefix::network, ..Limits::default() };
        let target = TcpEndpoint::new("127.0.0.1:0".parse().unwrap(), node(1), limits).unwrap();
        let to = target.local_addr();
        let mut flood = Flood { from: flooded, to, greeting, open: JoinSet::new() };
        flood.rise().await;
        let line = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = line.local_addr().unwrap();
        let limits = Limits { dial_handshake: NEVER, ..limits };
        let joining = async { tokio::join!(dial(address, None, node(2), limits), target.accept()) };
        tokio::select! {
            (dialled, accepted) = joining => {
                assert_eq!((dialled.unwrap().peer, accepted.unwrap().peer), (node(1).id(), node(2).id()));
            }
            () = flood.delay(line, joiner, flooded != joiner) => panic!("the joiner lost its place"),
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_flood_from_one_network_keeps_nobody_out_who_comes_from_another_one() {
        joins_in_a_flood("127.0.1.1", "127.0.2.1", b"").await;
        joins_in_a_flood("127.0.1.1", "127.0.2.1", b"\x16").await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_flood_of_silent_connections_keeps_not_even_their_neighbours_out() {
        joins_in_a_flood("127.0.1.1", "127.0.1.1", b"").await;
    }

    #[tokio::test]
    async fn an_honest_node_gets_in_while_strangers_hang_at_every_place_of_its_network() {
        let endpoint = endpoint(1, NEVER);
        let mut strangers = Vec::new();
        for _ in 0..endpoint.limits.pending.share {
            strangers.push(TcpStream::connect(endpoint.local_addr()).await.unwrap());
        }
        assert_still_serves(&endpoint).await;
        // One of them lost its place, the others did not.
        let mut closed = 0;
        while closed == 0 {
            let is_closed = |stranger: &TcpStream| matches!(stranger.try_read(&mut [0; 1]), Ok(0));
            closed = strangers.iter().filter(|stranger| is_closed(stranger)).count();
            tokio::task::yield_now().await;
        }
        assert_eq!(closed, 1);
    }

    #[tokio::test]
    async fn closing_ends_pending_handshakes() {
        let endpoint = endpoint(1, NEVER);
        let mut stranger = TcpStream::connect(endpoint.local_addr()).await.unwrap();
        assert_still_serves(&endpoint).await; // so the stranger has been taken
        drop(endpoint);
        assert_eq!(until_closed(&mut stranger).await, 0);
    }

    #[tokio::test]
    async fn what_is_no_node_or_does_not_answer_cannot_be_dialled() {
        let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = stranger.local_addr().unwrap();
        let web_server = tokio::spawn(async move {
            let (mut stream, _) = stranger.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            until_closed(&mut stream).await;
            stranger
        });
        let error = endpoint(1, NEVER).dial(address, None).await.unwrap_err();
        assert!(error.to_string().contains("does not speak TLS"), "{error}");

        let silent = web_server.await.unwrap();
        let limits = Limits { dial_handshake: SOON, ..Limits::default() };
        assert_eq!(dial(address, None, node(1), limits).await.unwrap_err(), DialError::TimedOut);
        let rude = tokio::spawn(async move {
            silent.accept().await.unwrap();
            silent.accept().await.unwrap();
        });
        let closed = dial(address, None, node(1), Limits::default()).await;
        assert_eq!(closed.unwrap_err(), DialError::ClosedEarly);
        rude.await.unwrap();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn sockets_send_at_once_and_hold_little_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        tune(&stream, address);
        assert!(stream.nodelay().unwrap());
        assert_eq!(socket2::SockRef::from(&stream).tcp_notsent_lowat().unwrap(), NOT_SENT_MAX);
    }
}
