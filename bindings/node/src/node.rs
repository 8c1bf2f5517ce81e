//! A node: builds it from JavaScript's options, and gives out its readers, writers and operations.

use std::sync::Arc;
use std::time::Duration;

use napi::Result;
use napi::bindgen_prelude::{ClassInstance, Uint8Array};
use napi_derive::napi;
use smokesignal::{
    LinkMetrics, Metrics, Node, NodeBuilder, NodeId, NodeStream, Pace, Peer, Preset, ReadFrom, WriterMetrics,
};
use tracing::Instrument as _;

use crate::accept::Acceptor;
use crate::broadcast::{MessageReader, MessageWriter};
use crate::events::NativeEvents;
use crate::failure::{Failure, thrown};
use crate::identity::NativeIdentity;
use crate::log::{Logging, NativeLine};
use crate::memory_network::NativeMemoryNetwork;
use crate::operation::{Operation, Outcome};
use crate::question::{Answers, QuestionQueue, Questions};
use crate::runtime;
use crate::stream::Stream;
use crate::wake_queue::WakeQueue;

/// Options, checked by `lib/options.js`. Those that are not set have the library's default.
#[napi(object)]
pub struct NativeOptions {
    /// The IP address to listen at.
    pub address: String,
    /// The port to listen at; 0 means any free one.
    pub port: u16,
    /// The seeds, as `HOST:PORT`.
    pub seeds: Vec<String>,
    /// The addresses that others dial, as `HOST:PORT`.
    pub advertise: Vec<String>,
    /// The number of peers below which the node looks for more.
    pub min_peers: u32,
    /// The largest number of peers. `None` means no limit.
    pub max_peers: Option<u32>,
    /// The distances to tune the node to: `lan`, `internet`, or anything else for the default.
    pub preset: String,
    /// How long a peer may be silent, in milliseconds.
    pub ping_timeout: f64,
    /// How long a stop waits where nothing moves, in milliseconds.
    pub leave_timeout: f64,
    /// The largest message, in bytes.
    pub max_message: Option<f64>,
    /// How much is retained of what all writers wrote.
    pub retention: NativeRetention,
    /// The readers that writes wait for: `all`, `none`, or anything else for the default.
    pub pace: String,
    /// How long a writer that waits for all waits for a reader that stands still, in milliseconds;
    /// `None` means no limit.
    pub reader_timeout: Option<f64>,
    /// The bytes per second that all connections together may send; `None` means no limit.
    pub upload_limit: Option<f64>,
    /// The file of the key pair, which is created if there is none.
    pub key_file: Option<String>,
    /// The secret that all nodes of the network share.
    pub network_secret: Option<Uint8Array>,
    /// Whether messages are sent without signatures.
    pub unsigned: bool,
    /// How many earlier messages of each writer to read. `None` reads from now on.
    pub backlog: Option<f64>,
    /// Whether to read everything that the network retains.
    pub from_oldest: bool,
    /// Whether the node never dials for a stream.
    pub relay_only: bool,
    /// Whether far peers are replaced by nearer ones.
    pub prefer_near_peers: bool,
    /// The seed of the node's random choices; `None` draws one.
    pub rng_seed: Option<f64>,
    /// The least severe level that the logger has a method for.
    pub log_level: Option<String>,
}

/// What a node retains of messages, for others.
#[napi(object)]
pub struct NativeRetention {
    /// Bytes in all.
    pub bytes: f64,
    /// The age in milliseconds; `Infinity` means no limit.
    pub age: f64,
}

/// The library's [`Metrics`], whose documentation explains them. JavaScript's numbers are exact up
/// to 2^53.
#[napi(object)]
pub struct NativeMetrics {
    pub network_size: f64,
    pub peers: f64,
    pub messages_waiting: f64,
    pub bytes_retained: f64,
    pub bytes_unread: f64,
    pub readers: f64,
    pub readers_behind: f64,
    pub bytes_unconfirmed: f64,
    pub slowest_reader: Option<String>,
    pub messages_sent: f64,
    pub bytes_sent: f64,
    pub messages_received: f64,
    pub bytes_received: f64,
    pub messages_missed: f64,
    pub duplicates_received: f64,
    pub messages_unknown: f64,
    pub frames_unknown: f64,
    pub links: Vec<NativeLinkMetrics>,
    pub writers: Vec<NativeWriterMetrics>,
}

/// The library's [`WriterMetrics`].
#[napi(object)]
pub struct NativeWriterMetrics {
    pub writer: String,
    pub messages_behind: f64,
    pub bytes_behind: f64,
    pub seconds_behind: f64,
}

impl From<WriterMetrics> for NativeWriterMetrics {
    fn from(metrics: WriterMetrics) -> Self {
        Self {
            writer: metrics.writer.to_string(),
            messages_behind: metrics.messages_behind as f64,
            bytes_behind: metrics.bytes_behind as f64,
            seconds_behind: metrics.time_behind.as_secs_f64(),
        }
    }
}

/// The library's [`LinkMetrics`].
#[napi(object)]
pub struct NativeLinkMetrics {
    pub peer: String,
    pub bytes_sent_per_second: f64,
    pub bytes_received_per_second: f64,
    /// The time in milliseconds.
    pub round_trip: Option<f64>,
    pub bytes_unsent: f64,
}

impl From<LinkMetrics> for NativeLinkMetrics {
    fn from(metrics: LinkMetrics) -> Self {
        Self {
            peer: metrics.peer.to_string(),
            bytes_sent_per_second: metrics.bytes_sent_per_second as f64,
            bytes_received_per_second: metrics.bytes_received_per_second as f64,
            round_trip: metrics.round_trip.map(|time| time.as_secs_f64() * 1000.0),
            bytes_unsent: metrics.bytes_unsent as f64,
        }
    }
}

impl From<Metrics> for NativeMetrics {
    fn from(metrics: Metrics) -> Self {
        Self {
            network_size: metrics.network_size as f64,
            peers: metrics.peers as f64,
            messages_waiting: metrics.messages_waiting as f64,
            bytes_retained: metrics.bytes_retained as f64,
            bytes_unread: metrics.bytes_unread as f64,
            readers: metrics.readers as f64,
            readers_behind: metrics.readers_behind as f64,
            bytes_unconfirmed: metrics.bytes_unconfirmed as f64,
            slowest_reader: metrics.slowest_reader,
            messages_sent: metrics.messages_sent as f64,
            bytes_sent: metrics.bytes_sent as f64,
            messages_received: metrics.messages_received as f64,
            bytes_received: metrics.bytes_received as f64,
            messages_missed: metrics.messages_missed as f64,
            duplicates_received: metrics.duplicates_received as f64,
            messages_unknown: metrics.messages_unknown as f64,
            frames_unknown: metrics.frames_unknown as f64,
            links: metrics.links.into_iter().map(NativeLinkMetrics::from).collect(),
            writers: metrics.writers.into_iter().map(NativeWriterMetrics::from).collect(),
        }
    }
}

/// A node and its log.
#[napi]
pub struct NativeNode {
    node: Node,
    logging: Logging,
}

#[napi]
impl NativeNode {
    /// Builds a node. `number` becomes due when there are log lines.
    #[napi(constructor)]
    pub fn new(
        options: NativeOptions,
        identity: Option<ClassInstance<NativeIdentity>>,
        network: Option<ClassInstance<NativeMemoryNetwork>>,
        wake_queue: &WakeQueue,
        number: u32,
    ) -> Result<Self> {
        let logging = Logging::new(options.log_level.as_deref(), wake_queue.waker(number));
        let entered = logging.span.enter();
        let mut builder = configured(&options)?;
        if let Some(path) = &options.key_file {
            builder = builder.identity(smokesignal::Identity::load_or_create(path).map_err(thrown)?);
        }
        if let Some(identity) = identity {
            builder = builder.identity(identity.0.clone());
        }
        if let Some(network) = network {
            builder = builder.transport(network.0.clone());
        }
        let node = builder.build().map_err(thrown)?;
        drop(entered);
        Ok(Self { node, logging })
    }

    /// Returns the log lines since the last call.
    #[napi]
    pub fn take_log_lines(&self) -> Vec<NativeLine> {
        self.logging.log.as_ref().map(|log| log.take()).unwrap_or_default()
    }

    /// The public key in hex.
    #[napi(getter)]
    pub fn id(&self) -> String {
        self.node.id().to_string()
    }

    /// Returns the ids of the present peers.
    #[napi]
    pub fn peers(&self) -> Vec<String> {
        self.node.peers().list().iter().map(|peer| peer.id().to_string()).collect()
    }

    /// Returns the stream to a peer, if it is still there. Its reads and writes make `number` due.
    #[napi]
    pub fn peer(&self, id: String, wake_queue: &WakeQueue, number: u32) -> Result<Option<Stream>> {
        let peer = self.node.peers().get(&node_id(&id)?);
        Ok(peer.map(|peer| Stream::of_peer(peer, wake_queue.waker(number))))
    }

    /// Where the node listens, while it runs.
    #[napi(getter)]
    pub fn address(&self) -> Option<String> {
        self.node.local_addr().map(|address| address.ip().to_string())
    }

    /// The port where it listens, while it runs.
    #[napi(getter)]
    pub fn port(&self) -> Option<u16> {
        self.node.local_addr().map(|address| address.port())
    }

    /// The number of nodes in the network, this one included; 0 while it is stopped.
    #[napi(getter)]
    pub fn size(&self) -> u32 {
        self.node.network_size() as u32
    }

    /// Returns what the node has counted since its last start.
    #[napi]
    pub fn metrics(&self) -> NativeMetrics {
        self.node.metrics().into()
    }

    /// Starts the node. As for every [`Operation`], `number` becomes due when it has to be polled.
    #[napi]
    pub fn start(&self, wake_queue: &WakeQueue, number: u32) -> Operation {
        let (node, span) = (self.node.clone(), self.logging.span.clone());
        let start = async move { node.start().await };
        Operation::new(wake_queue.waker(number), start.instrument(span), |()| Outcome::Done)
    }

    /// Stops the node.
    #[napi]
    pub fn stop(&self, wake_queue: &WakeQueue, number: u32) -> Operation {
        let (node, span) = (self.node.clone(), self.logging.span.clone());
        let stop = async move { Ok::<_, Failure>(node.stop().await) };
        Operation::new(wake_queue.waker(number), stop.instrument(span), Outcome::Stopped)
    }

    /// Connects to `HOST:PORT`. The peer arrives as an event as well; the operation tells why not.
    #[napi]
    pub fn add_peer(&self, address: String, wake_queue: &WakeQueue, number: u32) -> Operation {
        let node = self.node.clone();
        let waker = wake_queue.waker(number);
        let add = async move { node.add_peer(address).await.map(|peer| (peer, waker)) };
        Operation::new(wake_queue.waker(number), add, |(peer, waker): (Peer, _)| {
            Outcome::Stream(Box::new(Stream::of_peer(peer, waker)))
        })
    }

    /// Opens a stream. Afterwards `number` belongs to that stream.
    #[napi]
    pub fn open(&self, id: String, name: String, wake_queue: &WakeQueue, number: u32) -> Result<Operation> {
        let id = node_id(&id)?;
        let node = self.node.clone();
        let waker = wake_queue.waker(number);
        let open = async move { node.open(id, &name).await.map(|stream| (stream, waker)) };
        Ok(Operation::new(wake_queue.waker(number), open, |(stream, waker): (NodeStream, _)| {
            Outcome::Stream(Box::new(Stream::named(stream, waker)))
        }))
    }

    /// Accepts streams of this name. `number` becomes due when another node opens one.
    #[napi]
    pub fn accept(&self, name: String, wake_queue: &WakeQueue, number: u32) -> Result<Acceptor> {
        let acceptor = self.node.accept(&name).map_err(thrown)?;
        Ok(Acceptor::new(acceptor, wake_queue.waker(number)))
    }

    /// Asks a question; answers are collected for `timeout` milliseconds. Afterwards `number`
    /// belongs to the answers.
    #[napi]
    pub fn ask(&self, question: &[u8], timeout: f64, wake_queue: &WakeQueue, number: u32) -> Operation {
        let (node, question) = (self.node.clone(), bytes::Bytes::copy_from_slice(question));
        let timeout = milliseconds(timeout);
        let waker = wake_queue.waker(number);
        let ask = async move { node.ask(question, timeout).await.map(|answers| (answers, waker)) };
        Operation::new(wake_queue.waker(number), ask, |(answers, waker)| {
            Outcome::Answers(Answers::new(answers, waker))
        })
    }

    /// Answers the questions of others. `number` becomes due when there is one.
    #[napi]
    pub fn answer(&self, wake_queue: &WakeQueue, number: u32) -> Result<Questions> {
        let (_entered, _span) = (runtime::enter(), self.logging.span.enter());
        let (queue, waker) = (Arc::new(QuestionQueue::default()), wake_queue.waker(number));
        let asked = Arc::clone(&queue);
        let answering =
            self.node.answer(move |from, data| Arc::clone(&asked).answer(from, data, waker.clone()));
        Ok(Questions::new(queue, answering.map_err(thrown)?))
    }

    /// Returns the node's events. `number` becomes due when there is one.
    #[napi]
    pub fn events(&self, wake_queue: &WakeQueue, number: u32) -> NativeEvents {
        NativeEvents::new(self.node.events(), wake_queue.waker(number))
    }

    /// Returns a reader of what arrives from now on: on this channel, or on the application's
    /// broadcast.
    #[napi]
    pub fn reader(&self, channel: Option<String>, wake_queue: &WakeQueue, number: u32) -> MessageReader {
        let broadcast = channel.map_or_else(|| self.node.broadcast(), |name| self.node.channel(&name));
        MessageReader::new(broadcast, wake_queue.waker(number))
    }

    /// Returns a writer to this channel, or to the application's broadcast.
    #[napi]
    pub fn writer(&self, channel: Option<String>, wake_queue: &WakeQueue, number: u32) -> MessageWriter {
        let broadcast = channel.map_or_else(|| self.node.broadcast(), |name| self.node.channel(&name));
        MessageWriter::new(broadcast.sender(), wake_queue.waker(number))
    }
}

/// Returns a time. One beyond the range of `Duration`, such as `Infinity`, is the longest there is.
fn milliseconds(time: f64) -> Duration {
    Duration::try_from_secs_f64(time / 1000.0).unwrap_or(Duration::MAX)
}

/// Parses the id of a node.
fn node_id(text: &str) -> Result<NodeId> {
    text.parse::<NodeId>().map_err(thrown)
}

/// Returns the library's builder with these options.
fn configured(options: &NativeOptions) -> Result<NodeBuilder> {
    let bad = || {
        let text = format!("`{}` is not an IP address; write one such as 10.0.0.1", options.address);
        napi::Error::from_reason(text)
    };
    let mut builder = Node::builder()
        .address(options.address.parse().map_err(|_| bad())?)
        .port(options.port)
        .min_peers(options.min_peers as usize)
        .max_peers(options.max_peers.map_or(usize::MAX, |count| count as usize))
        .preset(match options.preset.as_str() {
            "lan" => Preset::Lan,
            "internet" => Preset::Internet,
            _ => Preset::Default,
        })
        .pace(match options.pace.as_str() {
            "all" => Pace::All,
            "none" => Pace::None,
            _ => Pace::Most,
        })
        .ping_timeout(milliseconds(options.ping_timeout))
        .leave_timeout(milliseconds(options.leave_timeout))
        .retention(options.retention.bytes as usize, milliseconds(options.retention.age))
        .relay_only(options.relay_only)
        .prefer_near_peers(options.prefer_near_peers)
        .unsigned_messages(options.unsigned);
    for seed in &options.seeds {
        builder = builder.seed(seed);
    }
    for address in &options.advertise {
        builder = builder.advertise(address);
    }
    if let Some(bytes) = options.max_message {
        builder = builder.max_message(bytes as usize);
    }
    if let Some(timeout) = options.reader_timeout {
        builder = builder.reader_timeout(milliseconds(timeout));
    }
    if let Some(limit) = options.upload_limit {
        builder = builder.upload_limit(limit as u64);
    }
    if let Some(secret) = &options.network_secret {
        builder = builder.network_secret(secret.as_ref());
    }
    if options.from_oldest {
        builder = builder.read_from(ReadFrom::Oldest);
    } else if let Some(count) = options.backlog {
        builder = builder.read_from(ReadFrom::Last(count as u64));
    }
    if let Some(seed) = options.rng_seed {
        builder = builder.rng_seed(seed as u64);
    }
    Ok(builder)
}
