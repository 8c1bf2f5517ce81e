//! Gossipsub of libp2p: over TCP (Noise, Yamux) or QUIC, each message signed or not.
//!
//! Each node is connected to at most four others, by two random rings through all nodes: a
//! connected random graph. The settings that differ from the defaults are in `config.rs`.

mod config;
mod node;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use harness::{Args, Error, Running, Sink, System, Writer};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use config::Settings;
use node::Node;

const VARIANTS: [&str; 4] = ["tcp-signed", "tcp-unsigned", "quic-signed", "quic-unsigned"];
/// All nodes have to know their neighbours' subscriptions within this time.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(30);
/// A few heartbeats, in which the mesh is made.
const MESH: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let args = Args::read("gossipsub", "0.50.1", &VARIANTS);
    let variant = args.variant();
    let settings = Settings { quic: variant.starts_with("quic"), signed: variant.ends_with("-signed") };
    args.run(&Gossipsub(settings))
}

struct Gossipsub(Settings);

impl System for Gossipsub {
    type Running = Nodes;

    async fn start(&self, sinks: Vec<Sink>) -> Result<Nodes, Error> {
        let links = links(sinks.len());
        let mut nodes: Vec<Node> = Vec::new();
        for (number, sink) in sinks.into_iter().enumerate() {
            let to = links.iter().filter(|link| link.1 == number);
            let to = to.map(|link| nodes[link.0].address.clone()).collect();
            let degree = links.iter().filter(|link| link.0 == number || link.1 == number).count();
            nodes.push(Node::start(self.0, to, degree, sink).await?);
        }
        for node in &mut nodes {
            timeout(SUBSCRIBED_WITHIN, node.subscribed.changed()).await??;
        }
        sleep(MESH).await;
        Ok(Nodes(nodes))
    }
}

/// Pairs of nodes to be connected, the smaller number first.
fn links(nodes: usize) -> BTreeSet<(usize, usize)> {
    let ring = |seed: u64| {
        let mut order: Vec<usize> = (0..nodes).collect();
        // Always the same seed: runs differ in what is measured, not in the graph.
        order.sort_by_key(|number| {
            let mut hasher = DefaultHasher::new();
            (seed, number).hash(&mut hasher);
            hasher.finish()
        });
        (0..nodes).map(move |at| (order[at], order[(at + 1) % nodes]))
    };
    ring(1).chain(ring(2)).map(|(one, other)| (one.min(other), one.max(other))).collect()
}

struct Nodes(Vec<Node>);

impl Running for Nodes {
    type Writer = NodeWriter;

    fn writer(&self, node: usize) -> NodeWriter {
        NodeWriter(self.0[node].publish.clone())
    }

    fn copies(&self) -> Option<u64> {
        let received = |node: &Node| node.named.load(Relaxed).saturating_sub(node.written.load(Relaxed));
        Some(self.0.iter().map(received).sum())
    }

    async fn stop(self) {
        for node in self.0 {
            node.task.abort();
        }
    }
}

/// The writing side of a node.
struct NodeWriter(mpsc::Sender<Bytes>);

impl Writer for NodeWriter {
    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        Ok(self.0.send(message).await?)
    }
}
