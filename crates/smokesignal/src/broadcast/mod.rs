//! The broadcast stream: what you write reaches every node, what you read is what the others wrote.
//!
//! Every handle meets the node's driver in one [mailbox]: writes go into its [outbox], which the
//! driver empties as fast as the links allow, and the driver puts what arrives into the [inbox] of
//! each reading handle. [`envelope`] tells the application's messages from those that the library
//! writes for itself, and [`query`] builds questions and answers on top of both.

pub(crate) mod envelope;
mod inbox;
pub(crate) mod incoming;
pub(crate) mod mailbox;
mod outbox;
pub(crate) mod query;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::broadcast::envelope::Outgoing;
use crate::broadcast::inbox::Reader;
use crate::broadcast::incoming::{Batch, Incoming};
use crate::broadcast::mailbox::Mailbox;
use crate::broadcast::outbox::Refused;
use crate::error::{SendError, TrySendError};

/// The network as a duplex stream, from [`Node::broadcast`](crate::Node::broadcast).
///
/// Every node reads the messages of one writer in the order written, each at most once. If reader
/// and writer stay connected through live nodes and the writer does not outrun what the network
/// retains, every message arrives. Messages that are skipped are reported as a gap that names
/// writer and count. No order is defined between different writers.
///
/// [`send`](Self::send) and [`recv`](Self::recv) keep the bounds of messages; [`AsyncRead`] and
/// [`AsyncWrite`] see plain bytes, although each write is still one message. When read as bytes, a
/// gap is reported as one read error, and reading goes on after it.
///
/// A handle reads what arrives after it was made, so create it before [`start`](crate::Node::start)
/// if nothing may be missed. A handle that is not read keeps the latest four messages of the
/// largest size, or 64 MiB of smaller ones. To write only, take the [`sender`](Self::sender) and
/// drop the handle.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let network = smokesignal::transport::MemoryNetwork::new();
/// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
/// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
/// use smokesignal::Incoming;
///
/// let mut inbox = bob.broadcast(); // Created before start(), it misses nothing.
/// ann.start().await?;
/// bob.start().await?;
/// ann.broadcast().send("hello").await?; // Kept until there is a peer.
/// let Some(Incoming::Message { from, seq, data, .. }) = inbox.recv().await else { panic!("a message") };
/// assert_eq!((from, seq, &data[..]), (ann.id(), 1, &b"hello"[..]));
/// # Ok(())
/// # }
/// ```
pub struct Broadcast {
    reader: Arc<Reader>,
    sender: BroadcastSender,
    /// Taken from the inbox and not read yet.
    batch: Option<Batch>,
    /// The rest of a message that is being read as bytes.
    rest: Bytes,
}

impl Broadcast {
    /// A handle of this channel; `None` is the application's broadcast stream.
    pub(crate) fn new(mailbox: &Arc<Mailbox>, channel: Option<Arc<str>>) -> Self {
        let reader = mailbox.inboxes.add_reader(channel.clone());
        let sender = BroadcastSender { mailbox: Arc::clone(mailbox), channel };
        Self { reader, sender, batch: None, rest: Bytes::new() }
    }

    /// Writes one message to every node. Waits while there is no room: while the node's links are
    /// full, or once 2 MiB wait for the first peer.
    ///
    /// The message leaves immediately while the signing budget lasts, a burst of 8 signatures.
    /// After that, messages written within about 4 ms share one signature. [Unsigned
    /// messages](crate::NodeBuilder::unsigned_messages) never wait.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] above `max_message`, [`SendError::Closed`] once the node is stopped.
    pub async fn send(&self, data: impl Into<Bytes>) -> Result<(), SendError> {
        self.sender.send(data).await
    }

    /// Writes one message to every node if there is room right now.
    ///
    /// # Errors
    /// [`TrySendError::Full`] gives the message back; the others are those of [`send`](Self::send).
    pub fn try_send(&self, data: impl Into<Bytes>) -> Result<(), TrySendError> {
        self.sender.try_send(data)
    }

    /// Writes one message and waits until it was read, as [`BroadcastSender::send_confirmed`].
    ///
    /// # Errors
    /// As [`BroadcastSender::send_confirmed`].
    pub async fn send_confirmed(&self, data: impl Into<Bytes>) -> Result<usize, SendError> {
        self.sender.send_confirmed(data).await
    }

    /// Ends this node's stream, as [`BroadcastSender::end`].
    ///
    /// # Errors
    /// As [`BroadcastSender::end`].
    pub fn end(&self) -> Result<(), SendError> {
        self.sender.end()
    }

    /// Ends this node's stream and waits until it was read, as [`BroadcastSender::finish`].
    ///
    /// # Errors
    /// As [`BroadcastSender::finish`].
    pub async fn finish(&self) -> Result<usize, SendError> {
        self.sender.finish().await
    }

    /// Returns the next message, gap, end or new start, and `None` once the node is stopped and
    /// everything is read. Cancel safe: nothing is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Incoming> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Appends the next messages and gaps to `messages`, at most `limit` of them, and returns their
    /// number. Waits for the first one only; returns 0 once the node is stopped and everything is
    /// read. Cancel safe, as [`recv`](Self::recv).
    pub async fn recv_many(&mut self, messages: &mut Vec<Incoming>, limit: usize) -> usize {
        let (before, end) = (messages.len(), messages.len().saturating_add(limit));
        if limit > 0 {
            messages.extend(self.recv().await);
        }
        while messages.len() > before
            && messages.len() < end
            && let Some(batch) = self.try_batch()
        {
            batch.take(end - messages.len(), messages);
        }
        messages.len() - before
    }

    /// Returns the next message or gap if one has arrived already.
    pub fn try_recv(&mut self) -> Option<Incoming> {
        self.try_batch()?.next()
    }

    /// Returns a batch that has arrived already and is not empty.
    fn try_batch(&mut self) -> Option<&mut Batch> {
        while self.batch.as_ref().is_none_or(Batch::is_empty) {
            self.batch = Some(self.reader.try_take()?);
        }
        self.batch.as_mut()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        loop {
            if let Some(incoming) = self.batch.as_mut().and_then(Batch::next) {
                return Poll::Ready(Some(incoming));
            }
            self.batch = ready!(self.reader.poll_take(cx));
            if self.batch.is_none() {
                return Poll::Ready(None);
            }
        }
    }

    /// Returns the writing half, which can be cloned and outlives this handle.
    pub fn sender(&self) -> BroadcastSender {
        self.sender.clone()
    }
}

/// The writing half of [`Broadcast`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let network = smokesignal::transport::MemoryNetwork::new();
/// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
/// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
/// let sender = ann.broadcast().sender(); // The reading half is dropped: nothing is kept for it.
/// let other = sender.clone();
/// let mut inbox = bob.broadcast();
/// ann.start().await?;
/// bob.start().await?;
/// sender.send("one").await?;
/// other.try_send("two")?;
/// for expected in ["one", "two"] {
///     let Some(smokesignal::Incoming::Message { data, .. }) = inbox.recv().await else { panic!() };
///     assert_eq!(data, expected);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BroadcastSender {
    mailbox: Arc<Mailbox>,
    channel: Option<Arc<str>>,
}

impl BroadcastSender {
    pub(crate) fn new(mailbox: &Arc<Mailbox>) -> Self {
        Self { mailbox: Arc::clone(mailbox), channel: None }
    }

    /// Writes one message, as [`Broadcast::send`].
    ///
    /// # Errors
    /// As [`Broadcast::send`].
    pub async fn send(&self, data: impl Into<Bytes>) -> Result<(), SendError> {
        let data = data.into();
        self.mailbox.outbox.send(data.len(), self.enclose(data)).await
    }

    /// Writes one message, and waits until all nodes that this writer waits for have it: see
    /// [`pace`](crate::NodeBuilder::pace). Returns how many that are.
    ///
    /// A node has a message when it has read it and its program is less than 8 MiB behind; a
    /// program that reads nothing does not count against it. The nodes report it themselves, and
    /// their neighbours pass it on, so the number does not prove it. It waits for a first reader,
    /// and has no deadline. If the future is dropped, the message is not taken back.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let network = smokesignal::transport::MemoryNetwork::new();
    /// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
    /// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
    /// ann.start().await?;
    /// bob.start().await?;
    /// assert_eq!(bob.broadcast().send_confirmed("hello").await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Broadcast::send`], and [`SendError::Closed`] if the node is stopped before the message
    /// is confirmed: its [result](crate::Node::stop) says what was read.
    pub async fn send_confirmed(&self, data: impl Into<Bytes>) -> Result<usize, SendError> {
        let data = data.into();
        let (confirm, confirmed) = oneshot::channel();
        let size = data.len();
        let message = Outgoing { confirm: Some(confirm), ..self.enclose(data) };
        self.mailbox.outbox.send(size, message).await?;
        confirmed.await.map_err(|_| SendError::Closed)
    }

    /// Writes one message, as [`Broadcast::try_send`].
    ///
    /// # Errors
    /// As [`Broadcast::try_send`].
    pub fn try_send(&self, data: impl Into<Bytes>) -> Result<(), TrySendError> {
        let data = data.into();
        self.mailbox.outbox.check(data.len())?;
        match self.mailbox.outbox.try_push(self.enclose(data.clone())) {
            Ok(()) => Ok(()),
            Err(Refused::ForGood(error)) => Err(error.into()),
            Err(Refused::Full(..)) => Err(TrySendError::Full(data)),
        }
    }

    /// Ends what this node writes, on all its handles, until it is stopped and started again: after
    /// all that was written before, readers are given [`Incoming::End`]. [`AsyncWrite`]'s shutdown
    /// does the same, and so does [`Node::stop`](crate::Node::stop) where something was written.
    /// The node goes on reading, passing on, and asking questions. A second end does nothing.
    ///
    /// Returns immediately. A later write fails with [`SendError::Ended`].
    ///
    /// # Errors
    /// [`SendError::Closed`] once the node is stopped: then its stream has ended anyway.
    pub fn end(&self) -> Result<(), SendError> {
        match &self.channel {
            None => self.mailbox.outbox.end(),
            Some(_) => Ok(()), // The application's other writes are not affected.
        }
    }

    /// [Ends](Self::end) what this node writes, and waits until all nodes that it waits for have
    /// read it to the end: see [`pace`](crate::NodeBuilder::pace). Returns how many have.
    ///
    /// As [`Node::stop`](crate::Node::stop), it waits for a first neighbour if there was none, for
    /// as long as something moves, and then for
    /// [`leave_timeout`](crate::NodeBuilder::leave_timeout). With [`Pace::Most`](crate::Pace) it
    /// waits 1.5 s for readers that confirm nothing more, once the neighbours have all of it. With
    /// [`Pace::None`](crate::Pace), and where nobody reports how far it is, it waits for the
    /// neighbours alone: those that were there when the first of them was handed the end. A count
    /// below that of the other nodes means that it did not wait for some, or that some have left.
    /// Before the node is started, the wait begins with the start. If the future is dropped, the
    /// stream has ended all the same.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let network = smokesignal::transport::MemoryNetwork::new();
    /// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
    /// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
    /// ann.start().await?;
    /// bob.start().await?;
    /// let network = bob.broadcast();
    /// network.send("hello").await?;
    /// assert_eq!(network.finish().await?, 1); // Ann has read it.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SendError::Closed`] if the node is stopped, also meanwhile: its result says who has read.
    pub async fn finish(&self) -> Result<usize, SendError> {
        match &self.channel {
            None => self.mailbox.outbox.finish().await,
            Some(_) => Ok(0),
        }
    }

    /// Writes the question `data`, of which `size` bytes are the application's.
    pub(crate) async fn send_question(&self, number: u64, question: &Bytes) -> Result<(), SendError> {
        self.mailbox.outbox.send(question.len(), Outgoing::question(number, question)).await
    }

    fn enclose(&self, data: Bytes) -> Outgoing {
        match &self.channel {
            None => Outgoing::message(data),
            Some(channel) => Outgoing::on_channel(channel, &data),
        }
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast").field("channel", &self.sender.channel).finish_non_exhaustive()
    }
}

impl fmt::Debug for BroadcastSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastSender").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl AsyncRead for Broadcast {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.poll_recv(cx)) {
                Some(Incoming::Message { data, .. }) => self.rest = data,
                Some(Incoming::Gap { from, missed }) => {
                    let text = format!("{missed} messages of {from} could not be had");
                    return Poll::Ready(Err(io::Error::other(text)));
                }
                // Bytes of all writers are read together, and others may go on.
                Some(Incoming::End { .. } | Incoming::Restarted { .. }) => {}
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Broadcast {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let outbox = &self.sender.mailbox.outbox;
        let length = buf.len().min(outbox.max_message());
        let mut data = Bytes::copy_from_slice(&buf[..length]);
        // The second try finds room that came between the first try and the registration. Nothing
        // is reserved, so a write whose future is dropped does not hold up the writes of others.
        for last in [false, true] {
            match self.sender.try_send(data) {
                Ok(()) => return Poll::Ready(Ok(length)),
                Err(TrySendError::Full(back)) => data = back,
                Err(TrySendError::Send(error)) => return Poll::Ready(Err(closed(error))),
            }
            if !last {
                outbox.wake_for_room(cx.waker());
            }
        }
        Poll::Pending
    }

    /// Returns immediately: written messages are on their way already.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// [Ends](Broadcast::end) this node's stream, and nothing else: reading and the network go on.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.end() {
            // The stream has ended with the node.
            Ok(()) | Err(SendError::Closed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(closed(error))),
        }
    }
}

fn closed(error: SendError) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}
