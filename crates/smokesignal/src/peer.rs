//! A direct neighbour, and the duplex stream to it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tracing::Instrument as _;

use crate::command::Command;
use crate::error::StreamError;
use crate::metrics::LinkMetrics;
use crate::stream::handle::NodeStream;
use crate::stream::mux::{Mux, NoStream};
use crate::wire::traffic::Traffic;
use smokesignal_proto::NodeId;

/// Time that what was written before a close has to be sent: 5 s.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A direct neighbour, and the duplex stream to it.
///
/// [`send`](Self::send) and [`recv`](Self::recv) keep the bounds of writes; [`AsyncRead`] and
/// [`AsyncWrite`] see plain bytes. Both directions have back-pressure: what is not read stays with
/// its writer and delays nothing else. [`stream`](Self::stream) is the same as a [`NodeStream`],
/// with all its methods.
///
/// Clones are the same stream. `shutdown` ends one direction; dropping handles ends nothing. The
/// stream ends with its link: as the end of the stream if the link was closed in good order
/// ([`close`](Self::close), or the other node has stopped), otherwise as
/// [`StreamErrorKind::ConnectionLost`](crate::StreamErrorKind::ConnectionLost).
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
/// let peer = bob.peers().get(&ann.id()).expect("they are linked");
/// let same = ann.peers().get(&bob.id()).expect("on both sides");
/// peer.send("to my neighbour alone").await?;
/// assert_eq!(same.recv().await?.expect("the stream is open"), "to my neighbour alone");
/// peer.close(); // The two do not link again for 30 s.
/// same.closed().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    streams: Arc<Mux>,
    traffic: Arc<Traffic>,
    stream: NodeStream,
    closed: watch::Receiver<bool>,
    commands: mpsc::WeakUnboundedSender<Command>,
}

impl Peer {
    pub(crate) fn new(
        (streams, traffic): (Arc<Mux>, Arc<Traffic>),
        address: SocketAddr,
        closed: watch::Receiver<bool>,
        commands: mpsc::WeakUnboundedSender<Command>,
    ) -> Self {
        let stream = streams.neighbour_stream();
        Self(Arc::new(Inner { address, streams, traffic, stream, closed, commands }))
    }

    /// Returns the neighbour's id.
    pub fn id(&self) -> NodeId {
        self.0.stream.peer()
    }

    /// Returns the address that the neighbour listens on.
    pub fn remote_addr(&self) -> SocketAddr {
        self.0.address
    }

    /// Returns how fast the link carries, and what waits for it.
    pub fn metrics(&self) -> LinkMetrics {
        let Inner { traffic, streams, .. } = &*self.0;
        LinkMetrics {
            peer: self.id(),
            bytes_sent_per_second: traffic.sent.rate(),
            bytes_received_per_second: traffic.received.rate(),
            round_trip: traffic.round_trip.get().copied(),
            bytes_unsent: traffic.unsent() + streams.unsent(),
        }
    }

    /// Returns the stream to this neighbour. It ends with the link, not with its handles.
    pub fn stream(&self) -> &NodeStream {
        &self.0.stream
    }

    /// Writes one chunk, which the other side's [`recv`](Self::recv) returns whole. Waits while the
    /// other side reads too slowly. Chunks of several senders do not mix; if the future is dropped,
    /// nothing was sent.
    ///
    /// # Errors
    /// [`StreamErrorKind::TooLarge`](crate::StreamErrorKind::TooLarge) above `max_message`; any
    /// other error means that the stream has ended.
    pub async fn send(&self, data: impl Into<Bytes>) -> Result<(), StreamError> {
        self.0.stream.send(data).await
    }

    /// Returns the next chunk, whole; `None` if the link was closed in good order. Nothing is lost
    /// if the future is dropped.
    ///
    /// # Errors
    /// The link broke. All chunks that had arrived whole were returned before; the beginning of an
    /// incomplete one is dropped.
    pub async fn recv(&self) -> Result<Option<Bytes>, StreamError> {
        self.0.stream.recv().await
    }

    /// Closes the link once everything that was written is sent, after 5 s at the latest. The two
    /// nodes do not link again for 30 s. Nothing happens if the link is gone, even if there is a
    /// new one to the same node.
    pub fn close(&self) {
        if self.is_closed() {
            return;
        }
        self.0.stream.finish();
        let peer = self.clone();
        let close = async move {
            // The other side may close the link at the same time: then the end need not arrive.
            let sent = async {
                let stream = &peer.0.stream;
                if stream.finished().await.is_ok() { Ok(()) } else { stream.sent().await }
            };
            if !matches!(tokio::time::timeout(CLOSE_TIMEOUT, sent).await, Ok(Ok(()))) {
                tracing::warn!(peer = ?peer.id(), "closed before the other side took all that was written to it");
            }
            if peer.is_closed() {
                return;
            }
            let sent = peer.0.commands.upgrade().map(|commands| commands.send(Command::ClosePeer(peer.id())));
            if !matches!(sent, Some(Ok(()))) {
                tracing::debug!(peer = ?peer.id(), "closed after the node had stopped");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(close.in_current_span())),
            Err(_) => {
                tracing::error!("Peer::close has to be called within the runtime that the node runs in");
            }
        }
    }

    pub(crate) fn open(&self, name: &str) -> Result<NodeStream, NoStream> {
        self.0.streams.open(name)
    }

    /// Waits until the link is gone.
    pub async fn closed(&self) {
        let mut closed = self.0.closed.clone();
        // An error means that the link's task is gone, and the link with it.
        let gone = closed.wait_for(|closed| *closed).await;
        drop(gone);
    }

    /// Returns whether the link is gone.
    pub fn is_closed(&self) -> bool {
        *self.0.closed.borrow() || self.0.closed.has_changed().is_err()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.id()).field("remote_addr", &self.remote_addr()).finish()
    }
}

impl AsyncRead for Peer {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.stream.poll_read(cx, buf)
    }
}

impl AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.stream.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.stream.poll_shutdown(cx)
    }
}
