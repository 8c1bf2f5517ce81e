//! Zenoh: a full mesh of peers, each linked to each other by TCP on the loopback interface, without
//! encryption.
//!
//! Settings that differ from zenoh's defaults, and why:
//! - No discovery by multicast or gossip: each peer gets the addresses of the peers before it.
//! - A starting peer waits 20 ms for its links instead of up to 500 ms; the program waits for all
//!   links itself.
//! - A publisher waits when a link is full (`CongestionControl::Block`), so that nothing is lost.
//!
//! Zenoh runs on its own threads, beside those of the workload. A put blocks its thread while a
//! link is full.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::{Error, Running, Sink, System, Writer};
use tokio::time::sleep;
use zenoh::Config;
use zenoh::pubsub::Publisher;
use zenoh::qos::CongestionControl;
use zenoh::sample::{Locality, Sample};

const KEY: &str = "bench";
/// All peers have to be linked within this time.
const LINKED_WITHIN: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    harness::run("zenoh-peers", "1.10.2", Zenoh)
}

struct Zenoh;

#[derive(Debug)]
struct NotLinked {
    peers: usize,
    of: usize,
}

impl std::error::Error for NotLinked {}

impl std::fmt::Display for NotLinked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { peers, of } = self;
        write!(f, "a node is linked to {peers} of {of} others after {} s", LINKED_WITHIN.as_secs())
    }
}

impl System for Zenoh {
    type Running = Nodes;

    async fn start(&self, sinks: Vec<Sink>) -> Result<Nodes, Error> {
        let addresses = free_addresses(sinks.len())?;
        let mut nodes = Vec::new();
        for (number, sink) in sinks.into_iter().enumerate() {
            nodes.push(Node::start(&addresses[..number], addresses[number], sink).await?);
        }
        let give_up = Instant::now() + LINKED_WITHIN;
        for node in &nodes {
            loop {
                let (peers, of) = (node.session.info().peers_zid().await.count(), nodes.len() - 1);
                if peers == of {
                    break;
                }
                if Instant::now() > give_up {
                    return Err(NotLinked { peers, of }.into());
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(Nodes(nodes))
    }
}

/// Returns addresses that were free a moment ago: only zenoh's unstable interface reports the port
/// it got.
fn free_addresses(nodes: usize) -> Result<Vec<SocketAddr>, Error> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = (0..nodes).map(|_| bind()).collect::<Result<Vec<_>, _>>()?;
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

struct Node {
    session: zenoh::Session,
    publisher: Arc<Publisher<'static>>,
}

impl Node {
    async fn start(known: &[SocketAddr], own: SocketAddr, sink: Sink) -> Result<Self, Error> {
        let session = zenoh::open(config(known, own)?).await?;
        session
            .declare_subscriber(KEY)
            .allowed_origin(Locality::Remote)
            .callback(move |sample: Sample| sink.lock().arrived(&sample.payload().to_bytes()))
            .background()
            .await?;
        let publisher = session
            .declare_publisher(KEY)
            .congestion_control(CongestionControl::Block)
            .allowed_destination(Locality::Remote)
            .await?;
        Ok(Self { session, publisher: Arc::new(publisher) })
    }
}

fn config(known: &[SocketAddr], own: SocketAddr) -> Result<Config, Error> {
    let known: Vec<String> = known.iter().map(|address| format!("\"tcp/{address}\"")).collect();
    let mut config = Config::default();
    config.insert_json5("mode", "\"peer\"")?;
    config.insert_json5("listen/endpoints", &format!("[\"tcp/{own}\"]"))?;
    config.insert_json5("connect/endpoints", &format!("[{}]", known.join(",")))?;
    config.insert_json5("scouting/delay", "20")?;
    config.insert_json5("scouting/multicast/enabled", "false")?;
    config.insert_json5("scouting/gossip/enabled", "false")?;
    Ok(config)
}

struct Nodes(Vec<Node>);

impl Running for Nodes {
    type Writer = NodeWriter;

    fn writer(&self, node: usize) -> NodeWriter {
        NodeWriter(Arc::clone(&self.0[node].publisher))
    }

    async fn stop(self) {
        for node in self.0 {
            // A session that has ended otherwise has ended as well.
            let _ = node.session.close().await;
        }
    }
}

/// The writing side of a node.
struct NodeWriter(Arc<Publisher<'static>>);

impl Writer for NodeWriter {
    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        self.0.put(message).await
    }
}
