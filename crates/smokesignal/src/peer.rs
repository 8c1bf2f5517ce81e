//! A direct neighbour, and the duplex stream to it.

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
use crate::error::SendError;
use crate::stream::Stream;
use crate::stream::handle::NodeStream;
use crate::stream::mux::{Mux, NoStream};
use smokesignal_proto::NodeId;

/// What was written before a close may take this long to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A direct neighbour, which is a duplex stream, too.
///
/// [`send`](Self::send) and [`recv`](Self::recv) keep the bounds of writes; [`AsyncRead`] and [`AsyncWrite`] see plain
/// bytes. Both directions have back-pressure: what is not read stays with its writer and delays nothing else.
///
/// Clones are the same stream. `shutdown` ends one direction; dropping handles ends nothing. The stream ends with its
/// link: in good order (`close`, or the other node stops) as an end of file, otherwise as `ConnectionReset`.
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
/// assert!(same.recv().await.is_some());
/// peer.close(); // The two leave each other alone for 30 s.
/// same.closed().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Peer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: NodeId,
    address: SocketAddr,
    streams: Arc<Mux>,
    stream: Arc<Stream>,
    closed: watch::Receiver<bool>,
    commands: mpsc::WeakUnboundedSender<Command>,
    max_message: usize,
}

impl Peer {
    pub(crate) fn new(
        streams: Arc<Mux>,
        address: SocketAddr,
        closed: watch::Receiver<bool>,
        commands: mpsc::WeakUnboundedSender<Command>,
    ) -> Self {
        let (id, max_message) = (streams.peer(), streams.max_message());
        let stream = Arc::clone(&streams.neighbour);
        Self(Arc::new(Inner { id, address, streams, stream, closed, commands, max_message }))
    }

    /// Who it is.
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// Where it listens.
    pub fn remote_addr(&self) -> SocketAddr {
        self.0.address
    }

    /// Writes one chunk, which the other side's [`recv`](Self::recv) gives whole. Waits while the other side reads too
    /// slowly. Chunks of several senders do not mix; if the future is dropped, nothing was sent.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] above `max_message`; [`SendError::Closed`] when the link is gone.
    pub async fn send(&self, data: impl Into<Bytes>) -> Result<(), SendError> {
        let mut data = data.into();
        let (size, limit) = (data.len(), self.0.max_message);
        if size > limit {
            return Err(SendError::TooLarge { size, limit });
        }
        let sent = std::future::poll_fn(|cx| self.0.stream.poll_send(cx, &mut data, true)).await;
        sent.map_err(|_| SendError::Closed)
    }

    /// The next chunk, whole; `None` at the end of the stream. Nothing is lost if the future is dropped.
    pub async fn recv(&self) -> Option<Bytes> {
        let received = std::future::poll_fn(|cx| self.0.stream.poll_recv(cx, self.0.max_message)).await;
        received.ok().flatten() // A broken link is the end, too; the read face tells the two apart.
    }

    /// Ends the link. What was written before is sent first; the two nodes leave each other alone for half a minute. Nothing
    /// happens if the link is gone, though there may be a new one to the same node.
    pub fn close(&self) {
        if self.is_closed() {
            return;
        }
        self.0.stream.finish();
        let peer = self.clone();
        let close = async move {
            let finished = std::future::poll_fn(|cx| peer.0.stream.poll_finished(cx));
            if tokio::time::timeout(CLOSE_TIMEOUT, finished).await.is_err() {
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

    /// Resolves when the link is gone.
    pub async fn closed(&self) {
        let mut closed = self.0.closed.clone();
        // An error means that the link's task is gone, and the link with it.
        let gone = closed.wait_for(|closed| *closed).await;
        drop(gone);
    }

    /// Whether the link is gone.
    pub fn is_closed(&self) -> bool {
        *self.0.closed.borrow() || self.0.closed.has_changed().is_err()
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
        self.0.stream.finish();
        self.0.stream.poll_flush(cx)
    }
}
