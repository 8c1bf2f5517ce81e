//! A node.

use std::sync::Arc;
use std::time::Duration;

use napi::Result;
use napi::bindgen_prelude::{ClassInstance, Uint8Array};
use napi_derive::napi;
use smokesignal::{Node, NodeBuilder, NodeId, NodeStream, Peer, ReadFrom};
use tracing::Instrument as _;

use crate::bell::Bell;
use crate::broadcast::{Reader, Writer};
use crate::events::NativeEvents;
use crate::failure::{Failure, thrown};
use crate::identity::NativeIdentity;
use crate::log::{Logging, NativeLine};
use crate::memory::NativeMemoryNetwork;
use crate::op::{Op, Outcome};
use crate::question::{Answers, Desk, Questions};
use crate::runtime;
use crate::stream::Stream;

/// Options, checked by `lib/options.js`; what is not set has the library's default.
#[napi(object)]
pub struct NativeOptions {
    pub address: String,
    pub port: u16,
    pub seeds: Vec<String>,
    pub advertise: Vec<String>,
    pub min_peers: u32,
    /// Nothing: no limit.
    pub max_peers: Option<u32>,
    /// In milliseconds.
    pub ping_timeout: f64,
    pub max_message: Option<f64>,
    pub key_file: Option<String>,
    pub network_secret: Option<Uint8Array>,
    pub unsigned: bool,
    /// So many messages of each writer before now; nothing: from now on.
    pub backlog: Option<f64>,
    /// All that is retained.
    pub from_oldest: bool,
    pub relay_only: bool,
    pub prefer_near_peers: bool,
    pub rng_seed: Option<f64>,
    /// The least level that the logger has a method for.
    pub log_level: Option<String>,
}

#[napi]
pub struct NativeNode {
    node: Node,
    logging: Logging,
}

#[napi]
impl NativeNode {
    /// `number` is due when there are log lines.
    #[napi(constructor)]
    pub fn new(
        options: NativeOptions,
        identity: Option<ClassInstance<NativeIdentity>>,
        network: Option<ClassInstance<NativeMemoryNetwork>>,
        bell: &Bell,
        number: u32,
    ) -> Result<Self> {
        let logging = Logging::new(options.log_level.as_deref(), bell.waker(number));
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

    #[napi]
    pub fn take_lines(&self) -> Vec<NativeLine> {
        self.logging.log.as_ref().map(|log| log.take()).unwrap_or_default()
    }

    #[napi(getter)]
    pub fn id(&self) -> String {
        self.node.id().to_string()
    }

    /// The ids of the present peers.
    #[napi]
    pub fn peers(&self) -> Vec<String> {
        self.node.peers().list().iter().map(|peer| peer.id().to_string()).collect()
    }

    /// One of them; its reads and writes wake with `number`.
    #[napi]
    pub fn peer(&self, id: String, bell: &Bell, number: u32) -> Result<Option<Stream>> {
        let peer = self.node.peers().get(&node_id(&id)?);
        Ok(peer.map(|peer| Stream::of_peer(peer, bell.waker(number))))
    }

    #[napi(getter)]
    pub fn address(&self) -> Option<String> {
        self.node.local_addr().map(|address| address.ip().to_string())
    }

    #[napi(getter)]
    pub fn port(&self) -> Option<u16> {
        self.node.local_addr().map(|address| address.port())
    }

    #[napi(getter)]
    pub fn size(&self) -> u32 {
        self.node.network_size() as u32
    }

    #[napi(getter)]
    pub fn copies_received(&self) -> f64 {
        self.node.copies_received() as f64
    }

    #[napi]
    pub fn start(&self, bell: &Bell, number: u32) -> Op {
        let (node, span) = (self.node.clone(), self.logging.span.clone());
        let start = async move { node.start().await };
        Op::new(bell.waker(number), start.instrument(span), |()| Outcome::Done)
    }

    #[napi]
    pub fn stop(&self, bell: &Bell, number: u32) -> Op {
        let (node, span) = (self.node.clone(), self.logging.span.clone());
        let stop = async move {
            node.stop().await;
            Ok::<_, Failure>(())
        };
        Op::new(bell.waker(number), stop.instrument(span), |()| Outcome::Done)
    }

    /// The peer comes as an event, too: what is of interest here is why not.
    #[napi]
    pub fn add_peer(&self, address: String, bell: &Bell, number: u32) -> Op {
        let node = self.node.clone();
        let waker = bell.waker(number);
        let add = async move { node.add_peer(address).await.map(|peer| (peer, waker)) };
        Op::new(bell.waker(number), add, |(peer, waker): (Peer, _)| {
            Outcome::Stream(Box::new(Stream::of_peer(peer, waker)))
        })
    }

    /// `number` is due when this is over, and then whenever the stream is.
    #[napi]
    pub fn open(&self, id: String, name: String, bell: &Bell, number: u32) -> Result<Op> {
        let id = node_id(&id)?;
        let node = self.node.clone();
        let waker = bell.waker(number);
        let open = async move { node.open(id, &name).await.map(|stream| (stream, waker)) };
        Ok(Op::new(bell.waker(number), open, |(stream, waker): (NodeStream, _)| {
            Outcome::Stream(Box::new(Stream::named(stream, waker)))
        }))
    }

    #[napi]
    pub fn accept(&self, name: String, bell: &Bell, number: u32) -> Result<Acceptor> {
        let acceptor = self.node.accept(&name).map_err(thrown)?;
        Ok(Acceptor { acceptor: Some(acceptor), waker: bell.waker(number) })
    }

    /// As [`open`](Self::open); `timeout` in milliseconds.
    #[napi]
    pub fn ask(&self, question: &[u8], timeout: f64, bell: &Bell, number: u32) -> Op {
        let (node, question) = (self.node.clone(), bytes::Bytes::copy_from_slice(question));
        // A time that nobody lives to see is as long as the library makes of it.
        let timeout = Duration::try_from_secs_f64(timeout / 1000.0).unwrap_or(Duration::MAX);
        let waker = bell.waker(number);
        let ask = async move { node.ask(question, timeout).await.map(|answers| (answers, waker)) };
        Op::new(bell.waker(number), ask, |(answers, waker)| Outcome::Answers(Answers::new(answers, waker)))
    }

    #[napi]
    pub fn answer(&self, bell: &Bell, number: u32) -> Result<Questions> {
        let (_entered, _span) = (runtime::enter(), self.logging.span.enter());
        let (desk, waker) = (Arc::new(Desk::default()), bell.waker(number));
        let asked = Arc::clone(&desk);
        let answering =
            self.node.answer(move |from, data| Arc::clone(&asked).answer(from, data, waker.clone()));
        Ok(Questions::new(desk, answering.map_err(thrown)?))
    }

    #[napi]
    pub fn events(&self, bell: &Bell, number: u32) -> NativeEvents {
        NativeEvents::new(self.node.events(), bell.waker(number))
    }

    /// Reads what arrives from now on, of this channel or what is meant for everyone.
    #[napi]
    pub fn reader(&self, channel: Option<String>, bell: &Bell, number: u32) -> Reader {
        let broadcast = channel.map_or_else(|| self.node.broadcast(), |name| self.node.channel(&name));
        Reader::new(broadcast, bell.waker(number))
    }

    #[napi]
    pub fn writer(&self, channel: Option<String>, bell: &Bell, number: u32) -> Writer {
        let broadcast = channel.map_or_else(|| self.node.broadcast(), |name| self.node.channel(&name));
        Writer::new(broadcast.sender(), bell.waker(number))
    }
}

fn node_id(text: &str) -> Result<NodeId> {
    text.parse().map_err(|error| napi::Error::from_reason(format!("{error}")))
}

fn configured(options: &NativeOptions) -> Result<NodeBuilder> {
    let bad = || napi::Error::from_reason(format!("`{}` is no address", options.address));
    let mut builder = Node::builder()
        .address(options.address.parse().map_err(|_| bad())?)
        .port(options.port)
        .min_peers(options.min_peers as usize)
        .max_peers(options.max_peers.map_or(usize::MAX, |count| count as usize))
        .ping_timeout(Duration::try_from_secs_f64(options.ping_timeout / 1000.0).unwrap_or(Duration::MAX))
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

/// Streams of one name that others open.
#[napi]
pub struct Acceptor {
    acceptor: Option<smokesignal::Acceptor>,
    waker: std::task::Waker,
}

#[napi]
impl Acceptor {
    /// The next stream, if there is one; `number` is due whenever it is.
    #[napi]
    pub fn poll(&mut self, bell: &Bell, number: u32) -> Option<Stream> {
        let acceptor = self.acceptor.as_mut()?;
        match runtime::poll_once(acceptor.recv(), &self.waker) {
            std::task::Poll::Ready(stream) => stream.map(|stream| Stream::named(stream, bell.waker(number))),
            std::task::Poll::Pending => None,
        }
    }

    #[napi]
    pub fn close(&mut self) {
        self.acceptor = None;
    }
}
