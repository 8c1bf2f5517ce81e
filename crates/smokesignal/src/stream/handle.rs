//! The application's handle of a stream.
//!
//! A [`NodeStream`] knows what the [`Stream`] behind it does not: which node is at the other end,
//! under which name it was opened, the largest chunk that may be sent, and the path that the
//! connection takes. So this is where an error gets its subject. Two kinds of handles differ in one
//! thing only: a named stream ends when its handle is dropped, that of a neighbour ends with the
//! link.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::{StreamError, StreamErrorKind};
use crate::stream::Stream;
use crate::wire::frame::{MAX_REASON, Reset, StreamFrame};
use smokesignal_proto::NodeId;

/// The path that a stream's bytes take.
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
/// # let _streams = ann.accept("echo")?;
/// let stream = bob.open(ann.id(), "echo").await?;
/// assert_eq!(stream.path(), smokesignal::Path::Neighbour); // The two are linked.
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Path {
    /// Over the link to a neighbour.
    Neighbour,
    /// Over a connection of its own, made for streams.
    Direct,
    /// Through other nodes, which can neither read nor change the bytes: the node at the other end
    /// is not a neighbour and cannot be dialled.
    Relayed,
}

/// The path of one connection, which all of its streams share.
#[derive(Debug)]
pub(crate) struct Route {
    /// Whether the connection is the link to a neighbour.
    pub(crate) is_link: AtomicBool,
    /// The path while it is not.
    pub(crate) base: Path,
}

impl Route {
    pub(crate) const fn new(base: Path) -> Self {
        Self { is_link: AtomicBool::new(false), base }
    }
}

/// A duplex stream to another node. From [`Node::open`](crate::Node::open) or
/// [`Acceptor::recv`](crate::Acceptor::recv); [`Peer::stream`](crate::Peer::stream) is the one to a
/// neighbour.
///
/// [`send`](Self::send) and [`recv`](Self::recv) keep the bounds of writes; [`AsyncRead`] and
/// [`AsyncWrite`] see plain bytes. Each direction has back-pressure of its own: what is not read
/// stays with its writer and delays nothing else.
///
/// `shutdown` ends one direction, and the other side reads the end of the stream after what was
/// written. Dropping the stream does the same and also stops reading. If the other side then takes
/// nothing for about 30 s, the stream is reset and the rest is dropped. [`reset`](Self::reset) ends
/// both directions immediately. Bytes arrive in order or the stream fails: the end of the stream is
/// reported only if the other side has finished it.
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
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let mut accepted = ann.accept("echo")?;
/// let mut stream = bob.open(ann.id(), "echo").await?;
/// stream.write_all(b"hello").await?;
/// stream.shutdown().await?; // Ends this direction.
///
/// let mut other = accepted.recv().await.expect("ann is running");
/// let mut read = Vec::new();
/// other.read_to_end(&mut read).await?; // Ends because bob has ended it, or fails.
/// assert_eq!(read, b"hello");
/// other.send("and back").await?;
/// assert_eq!(stream.recv().await?.expect("not ended"), "and back");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct NodeStream {
    stream: Arc<Stream>,
    peer: NodeId,
    name: Arc<str>,
    route: Arc<Route>,
    max_message: usize,
    owner: Owner,
}

/// The owner, whose end is the end of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The handle's: dropping it ends the stream.
    Handle,
    /// The link's: the stream of a [`Peer`](crate::Peer) lasts as long as the link.
    Link,
}

impl NodeStream {
    pub(crate) fn new(
        stream: Arc<Stream>,
        (peer, name): (NodeId, Arc<str>),
        route: Arc<Route>,
        max_message: usize,
        owner: Owner,
    ) -> Self {
        Self { stream, peer, name, route, max_message, owner }
    }

    /// Returns the node at the other end.
    pub const fn peer(&self) -> NodeId {
        self.peer
    }

    /// Returns the name that the stream was opened with; it is empty for the stream of a
    /// [`Peer`](crate::Peer).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the path that the stream's bytes take now. It can change: a link may be closed in
    /// favour of another one while the streams over its connection go on.
    pub fn path(&self) -> Path {
        if self.route.is_link.load(Ordering::Relaxed) { Path::Neighbour } else { self.route.base }
    }

    /// Waits until the other side's application has taken the stream. This is optional: writes are
    /// sent immediately, and fail later if the stream is refused.
    ///
    /// # Errors
    /// [`StreamErrorKind::Refused`] if nobody there accepts the name, [`StreamErrorKind::Busy`] if
    /// there are too many streams, [`StreamErrorKind::ConnectionLost`] if the connection broke. The
    /// stream has ended then.
    pub async fn accepted(&self) -> Result<(), StreamError> {
        std::future::poll_fn(|cx| self.stream.poll_accepted(cx)).await.map_err(|kind| self.error(kind))
    }

    /// Writes one chunk, which the other side's [`recv`](Self::recv) returns whole. Waits while the
    /// other side reads too slowly. Chunks of several senders do not mix. If the future is dropped,
    /// nothing was sent.
    ///
    /// The other side puts a chunk above 24 KiB together out of a budget that its streams share
    /// (half of 64 MiB on one connection) and resets the stream as busy once that is used up. Use
    /// reads of bytes where hundreds of streams carry large chunks.
    ///
    /// # Errors
    /// [`StreamErrorKind::TooLarge`] above `max_message`, and then the stream goes on; after any
    /// other error it has ended.
    pub async fn send(&self, data: impl Into<Bytes>) -> Result<(), StreamError> {
        let data = data.into();
        let (size, limit) = (data.len(), self.max_message);
        if size > limit {
            return Err(self.error(StreamErrorKind::TooLarge { size, limit }));
        }
        self.write_fragment(data, true).await
    }

    /// Returns the next chunk, whole; `None` if the other side has finished the stream. Nothing is
    /// lost if the future is dropped.
    ///
    /// # Errors
    /// The stream ended before it was finished. All chunks that had arrived whole were returned
    /// before; the beginning of an incomplete one is dropped.
    pub async fn recv(&self) -> Result<Option<Bytes>, StreamError> {
        self.recv_up_to(self.max_message).await
    }

    /// Ends the writing: the other side reads the end of the stream after what was written. Reading
    /// goes on.
    pub fn finish(&self) {
        self.stream.finish();
    }

    /// Waits until everything that was written is handed to the connection. It has not been read
    /// then; only the other side can tell that.
    ///
    /// Unlike [`finished`](Self::finished) it does not fail where only the end of the stream is
    /// lost. The end matters where bytes are sent, not where each message is complete:
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
    /// # let _streams = ann.accept("chat")?;
    /// let stream = bob.open(ann.id(), "chat").await?;
    /// stream.send("hello").await?;
    /// ann.stop().await; // Its end of the stream goes.
    /// stream.finish();
    /// stream.sent().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The stream failed before; something that was written is lost.
    pub async fn sent(&self) -> Result<(), StreamError> {
        std::future::poll_fn(|cx| self.stream.poll_flush(cx)).await.map_err(|kind| self.error(kind))
    }

    /// Waits until everything that was written and the end are handed to the connection; call
    /// [`finish`](Self::finish) first. It has not been read then; only the other side can tell
    /// that.
    ///
    /// # Errors
    /// The stream failed before: something that was written may be lost, or only the end is, see
    /// [`sent`](Self::sent).
    pub async fn finished(&self) -> Result<(), StreamError> {
        std::future::poll_fn(|cx| self.stream.poll_finished(cx)).await;
        self.stream.check_finished().map_err(|kind| self.error(kind))
    }

    /// Ends both directions immediately. The other side's reads and writes fail with the first 255
    /// bytes of `reason`.
    pub fn reset(self, reason: &str) {
        self.abort(reason);
    }

    pub(crate) fn abort(&self, reason: &str) {
        let longest = reason.len().min(MAX_REASON);
        let end = (0..=longest).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        self.stream.reset(Reset::Reason(reason[..end].to_owned()));
    }

    pub(crate) fn refuse(self, reset: Reset) {
        self.stream.reset(reset);
    }

    /// Tells the other side that the application has the stream now.
    pub(crate) fn acknowledge(&self) {
        self.stream.announce(StreamFrame::Credit(0));
    }

    /// As [`recv`](Self::recv), but a chunk is cut after the fragment that reaches `limit`.
    pub(crate) async fn recv_up_to(&self, limit: usize) -> Result<Option<Bytes>, StreamError> {
        let received = std::future::poll_fn(|cx| self.stream.poll_recv(cx, limit)).await;
        received.map_err(|kind| self.error(kind))
    }

    /// Ends the reading.
    pub(crate) fn stop_reading(&self) {
        self.stream.stop_reading();
    }

    /// Returns the next fragment as it arrived, and whether a write ended there.
    pub(crate) async fn read_fragment(&self) -> Result<Option<(Bytes, bool)>, StreamError> {
        let read = std::future::poll_fn(|cx| self.stream.poll_fragment(cx)).await;
        read.map_err(|kind| self.error(kind))
    }

    /// Writes a part of a chunk. `end` is whether the chunk ends with it.
    pub(crate) async fn write_fragment(&self, mut data: Bytes, end: bool) -> Result<(), StreamError> {
        let written = std::future::poll_fn(|cx| self.stream.poll_send(cx, &mut data, end)).await;
        written.map_err(|kind| self.error(kind))
    }

    fn error(&self, kind: StreamErrorKind) -> StreamError {
        StreamError::new(kind, self.peer, Arc::clone(&self.name))
    }

    // `AsyncRead` and `AsyncWrite` without the `&mut`: clones of a `Peer` share one `NodeStream`.

    pub(crate) fn poll_read(&self, cx: &Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read(cx, buf).map_err(|kind| self.error(kind).into())
    }

    pub(crate) fn poll_write(&self, cx: &Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, buf).map_err(|kind| self.error(kind).into())
    }

    pub(crate) fn poll_flush(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx).map_err(|kind| self.error(kind).into())
    }

    pub(crate) fn poll_shutdown(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.stream.finish();
        std::task::ready!(self.stream.poll_finished(cx));
        Poll::Ready(self.stream.check_finished().map_err(|kind| self.error(kind).into()))
    }
}

impl Drop for NodeStream {
    fn drop(&mut self) {
        match self.owner {
            Owner::Handle => self.stream.detach(),
            Owner::Link => {}
        }
    }
}

impl AsyncRead for NodeStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        (*self).poll_read(cx, buf)
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        (*self).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (*self).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (*self).poll_shutdown(cx)
    }
}
