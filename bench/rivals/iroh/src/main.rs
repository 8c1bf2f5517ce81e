//! iroh-gossip: one topic over QUIC on the loopback interface, with iroh's TLS.
//!
//! Settings that differ from iroh's defaults, and why:
//! - No relays, no port mapping, no discovery: all addresses are known from memory, nothing leaves
//!   the machine.
//! - The largest message is raised, from 4 KiB.
//! - A reader may be behind by [`READER_QUEUE`], so that it is never the reader that loses a
//!   message.
//!
//! What cannot be set: a node's events go through a queue of 256; a reader that is further behind
//! learns that it has lost something, but not how much. Each such notice counts as one missed
//! message. The sending queues hold 64 messages, and a node waits for the slowest of its
//! neighbours.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use bytes::Bytes;
use harness::{Error, Running, Sink, System, Writer};
use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::{PortmapperConfig, presets};
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode};
use iroh_gossip::api::{Event, GossipReceiver, GossipSender, JoinOptions};
use iroh_gossip::net::{GOSSIP_ALPN, Gossip};
use iroh_gossip::proto::TopicId;
use n0_future::StreamExt as _;
use tokio::task::JoinSet;

const TOPIC: TopicId = TopicId::from_bytes([7; 32]);
/// Only a limit, nothing is allocated: above the largest message that is measured, 16 MiB.
const LARGEST: usize = 17 << 20;
/// Messages that may wait for a reader.
const READER_QUEUE: usize = 65_536;

fn main() -> ExitCode {
    harness::run("iroh-gossip", "0.101.0", Iroh)
}

struct Iroh;

impl System for Iroh {
    type Running = Nodes;

    async fn start(&self, sinks: Vec<Sink>) -> Result<Nodes, Error> {
        let known = MemoryLookup::new();
        let mut nodes = Vec::new();
        let (mut seed, mut first) = (None, None);
        for sink in sinks {
            let node = Node::start(&known).await?;
            let options =
                JoinOptions { bootstrap: seed.into_iter().collect(), subscription_capacity: READER_QUEUE };
            let (sender, mut receiver) = node.gossip.subscribe_with_opts(TOPIC, options).await?.split();
            if seed.is_none() {
                (seed, first) = (Some(node.id), Some((receiver, sink)));
            } else {
                receiver.joined().await?;
                tokio::spawn(read(receiver, sink));
            }
            nodes.push(Joined { node, sender });
        }
        if let Some((mut receiver, sink)) = first {
            receiver.joined().await?;
            tokio::spawn(read(receiver, sink));
        }
        Ok(Nodes(nodes))
    }
}

struct Node {
    id: EndpointId,
    gossip: Gossip,
    router: Router,
}

impl Node {
    async fn start(known: &MemoryLookup) -> Result<Self, Error> {
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .portmapper_config(PortmapperConfig::Disabled)
            .address_lookup(known.clone())
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::LOCALHOST, 0))?
            .bind()
            .await?;
        let bound = endpoint.bound_sockets().into_iter();
        known.add_endpoint_info(bound.fold(EndpointAddr::new(endpoint.id()), EndpointAddr::with_ip_addr));
        let gossip = Gossip::builder().max_message_size(LARGEST).spawn(endpoint.clone());
        let id = endpoint.id();
        let router = Router::builder(endpoint).accept(GOSSIP_ALPN, gossip.clone()).spawn();
        Ok(Self { id, gossip, router })
    }
}

async fn read(mut receiver: GossipReceiver, sink: Sink) {
    while let Some(Ok(event)) = receiver.next().await {
        match event {
            Event::Received(message) => sink.lock().arrived(&message.content),
            Event::Lagged => sink.lock().missed(1),
            Event::NeighborUp(_) | Event::NeighborDown(_) => {}
        }
    }
}

struct Joined {
    node: Node,
    sender: GossipSender,
}

struct Nodes(Vec<Joined>);

impl Running for Nodes {
    type Writer = NodeWriter;

    fn writer(&self, node: usize) -> NodeWriter {
        NodeWriter(self.0[node].sender.clone())
    }

    fn copies(&self) -> Option<u64> {
        Some(self.0.iter().map(|joined| joined.node.gossip.metrics().msgs_data_recv.get()).sum())
    }

    async fn stop(self) {
        let mut ends = JoinSet::new();
        for joined in self.0 {
            ends.spawn(async move {
                // A node that ends late or with an error ends with the process.
                let _ = joined.node.router.shutdown().await;
            });
        }
        ends.join_all().await;
    }
}

/// The writing side of a node.
struct NodeWriter(GossipSender);

impl Writer for NodeWriter {
    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        Ok(self.0.broadcast(message).await?)
    }
}
