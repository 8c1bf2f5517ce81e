//! A named duplex stream to another node.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::StreamError;
use crate::stream::Stream;
use crate::wire::frame::{MAX_REASON, Reset, StreamFrame};
use smokesignal_proto::NodeId;

/// The way that a stream's bytes take.
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

/// A duplex stream to another node. From [`Node::open`](crate::Node::open) or [`Acceptor::recv`](crate::Acceptor::recv).
///
/// [`send`](Self::send) and [`recv`](Self::recv) keep the bounds of writes; [`AsyncRead`] and [`AsyncWrite`] see plain
/// bytes. Both directions have back-pressure of their own: what is not read stays with its writer and delays nothing else.
///
/// `shutdown` ends one direction, and the other side reads the end of the stream after what was written. Dropping the
/// stream does the same, and tells the other side that nobody reads any more; what it does not take within 30 s then is
/// given up. [`reset`](Self::reset) ends it at once.
/// Bytes arrive in order, or the stream fails: they are never wrong, and an end is never told that was not meant.
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
}

impl NodeStream {
    pub(crate) fn new(
        stream: Arc<Stream>,
        peer: NodeId,
        name: Arc<str>,
        route: Arc<Route>,
        max_message: usize,
    ) -> Self {
        Self { stream, peer, name, route, max_message }
    }

    /// The node at the other end.
    pub const fn peer(&self) -> NodeId {
        self.peer
    }

    /// The name it was opened with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The way its bytes take now. The network reorders itself: the link to a neighbour may be given up, while the stream
    /// goes on.
    pub fn path(&self) -> Path {
        if self.route.is_link.load(Ordering::Relaxed) { Path::Neighbour } else { self.route.base }
    }

    /// Waits until the other side's application has taken the stream. There is no need to: writes go out at once, and fail
    /// later if it is refused.
    ///
    /// # Errors
    /// [`StreamError::Refused`] if nobody there accepts the name, [`StreamError::Busy`] if it is too much,
    /// [`StreamError::ConnectionLost`] if the connection broke. The stream is over then.
    pub async fn accepted(&self) -> Result<(), StreamError> {
        std::future::poll_fn(|cx| self.stream.poll_accepted(cx)).await
    }

    /// Writes one chunk, which the other side's [`recv`](Self::recv) gives whole. It puts those above 24 KiB together out of a
    /// budget that its streams share (half of 64 MiB on one connection), and resets the stream as busy where that is used up:
    /// hundreds of streams with large chunks are better read as bytes. Waits while the other side reads too slowly. If the future is dropped, nothing was sent.
    ///
    /// # Errors
    /// [`StreamError::TooLarge`] above `max_message`, and then the stream goes on; any other error is its end.
    pub async fn send(&self, data: impl Into<Bytes>) -> Result<(), StreamError> {
        let mut data = data.into();
        let (size, limit) = (data.len(), self.max_message);
        if size > limit {
            return Err(StreamError::TooLarge { size, limit });
        }
        std::future::poll_fn(|cx| self.stream.poll_send(cx, &mut data, true)).await
    }

    /// The next chunk, whole; `None` at the end of the stream. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// Why the stream ended before its end. What had arrived was given before.
    pub async fn recv(&self) -> Result<Option<Bytes>, StreamError> {
        std::future::poll_fn(|cx| self.stream.poll_recv(cx, self.max_message)).await
    }

    /// No more writes: the other side reads the end of the stream after what was written. Reading goes on.
    pub fn finish(&self) {
        self.stream.finish();
    }

    /// Waits until all that was written, and the end if it was [said](Self::finish), is on its route. It has not been read
    /// then: that only the other side can say.
    ///
    /// # Errors
    /// The stream failed before; something may be lost.
    pub async fn finished(&self) -> Result<(), StreamError> {
        std::future::poll_fn(|cx| self.stream.poll_finished(cx)).await;
        self.stream.check_sent()
    }

    /// Ends both directions at once. The other side's reads and writes fail with `reason`, of which it sees 255 bytes.
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

    /// Tells the other side that the application has it now.
    pub(crate) fn acknowledge(&self) {
        self.stream.announce(StreamFrame::Credit(0));
    }

    /// As [`recv`](Self::recv), but a longer chunk is cut there.
    pub(crate) async fn recv_up_to(&self, limit: usize) -> Result<Option<Bytes>, StreamError> {
        std::future::poll_fn(|cx| self.stream.poll_recv(cx, limit)).await
    }

    /// No more reads.
    pub(crate) fn stop_reading(&self) {
        self.stream.stop_reading();
    }

    /// What has come next, as it came, and whether a write ended there.
    pub(crate) async fn read_fragment(&self) -> Result<Option<(Bytes, bool)>, StreamError> {
        std::future::poll_fn(|cx| self.stream.poll_fragment(cx)).await
    }

    /// Writes a part of a chunk, or its end.
    pub(crate) async fn write_fragment(&self, mut data: Bytes, end: bool) -> Result<(), StreamError> {
        std::future::poll_fn(|cx| self.stream.poll_send(cx, &mut data, end)).await
    }
}

impl Drop for NodeStream {
    fn drop(&mut self) {
        self.stream.detach();
    }
}

impl AsyncRead for NodeStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read(cx, buf)
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.finish();
        self.stream.poll_flush(cx)
    }
}
