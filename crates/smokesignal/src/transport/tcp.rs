//! TLS over TCP: the transport for real networks.
//!
//! One task accepts TCP connections and starts a handshake for each of them, under a deadline and
//! in a bounded number. Authenticated connections wait in a queue for [`Endpoint::accept`]. Dials
//! run in the caller's task, under deadlines of their own.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tracing::{Instrument as _, debug, warn};

use super::{BoxFuture, Connection, Credentials, DialError, Endpoint, Transport};
use crate::lock::Lock;
use smokesignal_proto::NodeId;

/// TCP with TLS 1.3, where both sides prove their id.
///
/// Strangers are cheap: a connection that is not authenticated within 5 s, or sends more than 4 KiB
/// before, is closed. 64 may be in this state at a time; with more, the oldest loses.
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
    /// Maximum number of inbound connections that are not authenticated yet. Default 64 (4 KiB
    /// each: 256 KiB at most).
    pending: usize,
    /// Deadline for the TCP connection of a dial. Default 2 s: one lost SYN (repeated after 1 s)
    /// does not matter.
    connect: Duration,
    /// Deadline for the dialled node to authenticate. Default 3 s.
    dial_handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (connect, dial_handshake) = (Duration::from_secs(2), Duration::from_secs(3));
        Self { inbound_handshake: Duration::from_secs(5), pending: 64, connect, dial_handshake }
    }
}

/// Connections that the system holds until they are accepted. 1024: a whole network may dial one
/// seed at the same time.
const BACKLOG: u32 = 1024;

/// Authenticated connections that wait for `accept`. With more they wait in their handshake, under
/// its deadline.
const ACCEPTED_MAX: usize = 64;

/// Pause when the system cannot accept, mostly for lack of file descriptors. 50 ms: short to a
/// dialler, long to a processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes handed to the kernel but not yet on the wire. 256 KiB: urgent messages never wait behind
/// more than that. With half of it the two ends of a stream on loopback wait for each other, and
/// carry less than half as much.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NOT_SENT_MAX: u32 = 256 * 1024;

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
        let greeter =
            Greeter { me: me.clone(), limits, queue, handshakes: JoinSet::new(), pending: VecDeque::new() };
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
                tokio::time::sleep(ACCEPT_PAUSE).await;
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
    /// Handles of the handshakes, the oldest first.
    pending: VecDeque<(SocketAddr, AbortHandle)>,
}

impl Greeter {
    fn greet(&mut self, stream: TcpStream, remote: SocketAddr) {
        self.make_room();
        tune(&stream, remote);
        let (me, queue, deadline) = (self.me.clone(), self.queue.clone(), self.limits.inbound_handshake);
        let handshake = async move {
            let authenticated = async {
                let connection = me.accept(stream, remote).await?;
                // An error means that the endpoint was closed meanwhile.
                queue.send(connection).await.map_err(|_| DialError::Refused)
            };
            let outcome = timeout(deadline, authenticated).await;
            if let Err(reason) = outcome.unwrap_or(Err(DialError::TimedOut)) {
                debug!(%remote, %reason, "refused an inbound connection");
            }
        };
        self.pending.push_back((remote, self.handshakes.spawn(handshake.in_current_span())));
    }

    fn make_room(&mut self) {
        while let Some(ended) = self.handshakes.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                warn!(%error, "a handshake failed");
            }
        }
        self.pending.retain(|(_, handshake)| !handshake.is_finished());
        while self.pending.len() >= self.limits.pending
            && let Some((remote, oldest)) = self.pending.pop_front()
        {
            // The oldest loses: an honest node would be done by now.
            debug!(%remote, reason = "too many at the same time, and it was the slowest", "refused an inbound connection");
            oldest.abort();
        }
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

    #[tokio::test]
    async fn an_honest_node_gets_in_while_64_strangers_hang() {
        let endpoint = endpoint(1, NEVER);
        let mut strangers = Vec::new();
        for _ in 0..64 {
            strangers.push(TcpStream::connect(endpoint.local_addr()).await.unwrap());
        }
        assert_still_serves(&endpoint).await;
        // The oldest lost its place, the next one did not.
        assert_eq!(until_closed(&mut strangers[0]).await, 0);
        let second = strangers[1].try_read(&mut [0; 1]).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
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
        let error = dial(address, None, node(1), Limits::default()).await.unwrap_err();
        assert!(error.to_string().contains("closed the connection"), "{error}");
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
