//! A node's counters and gauges.
//!
//! The driver counts what passes through it in atomics that it shares with the handles, so that
//! reading them costs no message to the driver. What it knows of each writer it copies to a list.
//! The mailbox and the list of peers are asked when somebody reads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use smokesignal_proto::{Confirmed, NodeId};
use tokio::time::Instant;

use crate::broadcast::mailbox::Mailbox;
use crate::lock::Lock;
use crate::peer::Peer;
use crate::peers::Peers;

/// What a node has counted, from [`Node::metrics`](crate::Node::metrics).
///
/// Counters begin at 0 with each start of the node and stay readable after a stop. The values are
/// read one after the other while the node runs, so they may be a moment apart.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let network = smokesignal::transport::MemoryNetwork::new();
/// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
/// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
/// let mut inbox = bob.broadcast();
/// ann.start().await?;
/// bob.start().await?;
/// ann.broadcast().send("hello").await?;
/// inbox.recv().await;
/// let (writer, reader) = (ann.metrics(), bob.metrics());
/// assert_eq!((writer.messages_sent, writer.bytes_sent), (1, 5));
/// assert_eq!((reader.messages_received, reader.messages_missed), (1, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Gauge: nodes in the network, this one included; 0 while it is stopped. A few seconds old.
    pub network_size: usize,
    /// Gauge: neighbours.
    pub peers: usize,
    /// Gauge: messages written and not yet taken by the node's links, see
    /// [`Broadcast::send`](crate::Broadcast::send).
    pub messages_waiting: usize,
    /// Gauge: bytes that this node retains of what all writers wrote, for repairs and late readers;
    /// [`NodeBuilder::retention`](crate::NodeBuilder::retention) limits them. Each segment of up to
    /// 64 KiB counts 128 bytes beside its content. 0 while the node is stopped.
    pub bytes_retained: usize,
    /// Gauge: bytes that wait for the [`Broadcast`](crate::Broadcast) handle that is farthest
    /// behind, 96 for each batch of consecutive messages included. At 64 MiB, or at four messages
    /// of the largest size if that is more, the handle loses the oldest.
    pub bytes_unread: usize,
    /// Gauge: nodes that report how far they have read what this node writes.
    pub readers: usize,
    /// Gauge: those of them that its writes do not wait for, because they fell too far behind.
    pub readers_behind: usize,
    /// Gauge: bytes that this node has written and that not all readers have confirmed, those
    /// behind excepted.
    pub bytes_unconfirmed: usize,
    /// The first 16 digits of the id of the node that has read least, while anything is not
    /// confirmed: the one that a full [`Broadcast::send`](crate::Broadcast::send) waits for.
    pub slowest_reader: Option<String>,
    /// Counter: broadcast messages that this node has sent, [questions](crate::Node::ask) included.
    pub messages_sent: u64,
    /// Counter: bytes of these messages.
    pub bytes_sent: u64,
    /// Counter: broadcast messages of other nodes that arrived here, each counted once, questions
    /// included.
    pub messages_received: u64,
    /// Counter: bytes of these messages, with the length that goes before each on the wire.
    pub bytes_received: u64,
    /// Counter: messages of other nodes that the network could not deliver to this one. A reader
    /// that is too slow loses further ones, which its own gaps report.
    pub messages_missed: u64,
    /// Counter: messages of other nodes that arrived although this node had them already. Divided
    /// by `messages_received`, it is the redundancy of the network: 0 where each message crosses
    /// each node's links once.
    pub duplicates_received: u64,
    /// Gauges: how fast each link carries, and what waits for it; in the order of the neighbours'
    /// ids.
    pub links: Vec<LinkMetrics>,
    /// Gauges: how far this node is behind in what each other node writes. One entry for each
    /// writer of which something has arrived in the last minute, or is missing. The one that this
    /// node is behind for longest comes first; of more than 32 the others are left out. A tenth of
    /// a second old; empty while the node is stopped.
    pub writers: Vec<WriterMetrics>,
    /// Counter: messages of other nodes of a kind that this version of the program does not know.
    /// It passes them on, and its application reads neither them nor a gap.
    pub messages_unknown: u64,
    /// Counter: optional frames of neighbours that this version of the program does not know and
    /// has skipped. Neighbours of a later version send them.
    pub frames_unknown: u64,
}

/// How fast a link carries at the moment, and what waits for it: from [`Metrics::links`] and
/// [`Peer::metrics`](crate::Peer::metrics). All of it is gauges.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::time::Duration;
/// # let network = smokesignal::transport::MemoryNetwork::new().latency(Duration::from_millis(10)..=Duration::from_millis(10));
/// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
/// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
/// # let mut connected = bob.events();
/// # ann.start().await?;
/// # bob.start().await?;
/// # while !matches!(connected.recv().await, Some(smokesignal::Event::Connect)) {}
/// for link in bob.metrics().links {
///     assert_eq!((link.peer, link.bytes_unsent), (ann.id(), 0));
///     assert_eq!(link.round_trip, Some(Duration::from_millis(20)));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkMetrics {
    /// The neighbour.
    pub peer: NodeId,
    /// Bytes per second sent to it, in the last second: messages, what is forwarded, and streams,
    /// without TLS records.
    pub bytes_sent_per_second: u64,
    /// Bytes per second received from it, likewise.
    pub bytes_received_per_second: u64,
    /// How long the neighbour took to answer when the link was made. It is measured once and not
    /// renewed: what happens on the way later does not show. `None` where no answer was seen.
    pub round_trip: Option<Duration>,
    /// Bytes that wait in this process for the link: messages that were handed to it and not
    /// written, each with some 100 bytes beside its content, and what streams have written.
    /// Messages that the node retains and has not handed to the link do not count, nor do bytes in
    /// the system's socket.
    pub bytes_unsent: usize,
}

/// How far this node is behind in what another one writes: from [`Metrics::writers`]. All of it is
/// gauges, and what the neighbours say that they have. See also
/// [`Event::Lagging`](crate::Event::Lagging).
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::time::Duration;
/// # let network = smokesignal::transport::MemoryNetwork::new();
/// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
/// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
/// # ann.start().await?;
/// # bob.start().await?;
/// ann.broadcast().send("hello").await?;
/// # tokio::time::sleep(Duration::from_secs(1)).await;
/// for writer in bob.metrics().writers {
///     assert_eq!((writer.writer, writer.messages_behind), (ann.id(), 0));
///     assert_eq!(writer.time_behind, Duration::ZERO);
/// }
/// # assert_eq!(bob.metrics().writers.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriterMetrics {
    /// The writer.
    pub writer: NodeId,
    /// Messages that a neighbour has and this node lacks. Where their number is not known, of the
    /// segments of up to 64 KiB that they travel in.
    pub messages_behind: u64,
    /// Their size in bytes: an estimate from what the node retains of the writer, so 0 where that
    /// is nothing.
    pub bytes_behind: u64,
    /// For how long the first of them has been missing; zero where nothing is.
    pub time_behind: Duration,
}

/// What the driver knows of a writer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind {
    pub(crate) writer: NodeId,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// The time from which on something has been missing.
    pub(crate) since: Option<Instant>,
}

impl Behind {
    fn metrics(&self) -> WriterMetrics {
        WriterMetrics {
            writer: self.writer,
            messages_behind: self.messages,
            bytes_behind: self.bytes,
            time_behind: self.since.map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }
}

/// The figures behind [`Metrics`], as far as the driver counts them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    network_size: AtomicUsize,
    bytes_retained: AtomicUsize,
    readers: AtomicUsize,
    readers_behind: AtomicUsize,
    bytes_unconfirmed: AtomicUsize,
    slowest_reader: AtomicU64,
    messages_sent: AtomicU64,
    bytes_sent: AtomicU64,
    messages_received: AtomicU64,
    bytes_received: AtomicU64,
    messages_missed: AtomicU64,
    duplicates_received: AtomicU64,
    messages_unknown: AtomicU64,
    frames_unknown: AtomicU64,
    writers: Lock<Vec<Behind>>,
}

impl Counters {
    /// Begins again at 0, when the node starts.
    pub(crate) fn reset(&self) {
        self.set_network_size(0);
        self.set_bytes_retained(0);
        self.set_confirmed(&Confirmed::default());
        self.set_writers(Vec::new());
        for counter in [
            &self.messages_sent,
            &self.bytes_sent,
            &self.messages_received,
            &self.bytes_received,
            &self.messages_missed,
            &self.duplicates_received,
            &self.messages_unknown,
            &self.frames_unknown,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn network_size(&self) -> usize {
        self.network_size.load(Ordering::Relaxed)
    }

    pub(crate) fn set_network_size(&self, nodes: usize) {
        self.network_size.store(nodes, Ordering::Relaxed);
    }

    pub(crate) fn set_bytes_retained(&self, bytes: usize) {
        self.bytes_retained.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_confirmed(&self, confirmed: &Confirmed) {
        self.readers.store(confirmed.nodes, Ordering::Relaxed);
        self.readers_behind.store(confirmed.behind, Ordering::Relaxed);
        self.bytes_unconfirmed.store(confirmed.unconfirmed, Ordering::Relaxed);
        self.slowest_reader.store(confirmed.slowest, Ordering::Relaxed);
    }

    pub(crate) fn set_writers(&self, writers: Vec<Behind>) {
        *self.writers.lock() = writers;
    }

    pub(crate) fn set_duplicates_received(&self, messages: u64) {
        self.duplicates_received.store(messages, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, messages: u64, bytes: u64) {
        self.messages_sent.fetch_add(messages, Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns whether any message was sent since the node was started.
    pub(crate) fn has_sent(&self) -> bool {
        self.messages_sent.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn received(&self, messages: u64, bytes: u64) {
        self.messages_received.fetch_add(messages, Ordering::Relaxed);
        self.bytes_received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn unknown_messages(&self, messages: u64) {
        self.messages_unknown.fetch_add(messages, Ordering::Relaxed);
    }

    pub(crate) fn unknown_frames(&self, frames: u64) {
        self.frames_unknown.fetch_add(frames, Ordering::Relaxed);
    }

    pub(crate) fn missed(&self, messages: u64) {
        // Gaps are claims of their writers, and may be of any length.
        let add = |missed: u64| Some(missed.saturating_add(messages));
        let _before = self.messages_missed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Returns the counters, and the gauges that the list of peers and the mailbox know.
    pub(crate) fn read(&self, peers: &Peers, mailbox: &Mailbox) -> Metrics {
        let bytes_unconfirmed = self.bytes_unconfirmed.load(Ordering::Relaxed);
        let slowest = self.slowest_reader.load(Ordering::Relaxed);
        Metrics {
            network_size: self.network_size(),
            peers: peers.len(),
            messages_waiting: mailbox.outbox.waiting(),
            bytes_retained: self.bytes_retained.load(Ordering::Relaxed),
            bytes_unread: mailbox.inboxes.unread(),
            readers: self.readers.load(Ordering::Relaxed),
            readers_behind: self.readers_behind.load(Ordering::Relaxed),
            bytes_unconfirmed,
            slowest_reader: (bytes_unconfirmed > 0 && slowest > 0).then(|| format!("{slowest:016x}")),
            messages_sent: self.messages_sent.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            messages_received: self.messages_received.load(Ordering::Relaxed),
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
            messages_missed: self.messages_missed.load(Ordering::Relaxed),
            duplicates_received: self.duplicates_received.load(Ordering::Relaxed),
            links: peers.list().iter().map(Peer::metrics).collect(),
            writers: self.writers.lock().iter().map(Behind::metrics).collect(),
            messages_unknown: self.messages_unknown.load(Ordering::Relaxed),
            frames_unknown: self.frames_unknown.load(Ordering::Relaxed),
        }
    }
}
