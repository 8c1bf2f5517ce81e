//! Nodes on a simulated network, in virtual time.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::time::Duration;

use smokesignal::transport::MemoryNetwork;
use smokesignal::{Identity, Node, NodeBuilder, NodeId, NodeStream};
use tokio::time::timeout;

pub const SECOND: Duration = Duration::from_secs(1);
pub const MS_10: Duration = Duration::from_millis(10);

pub fn id(host: u8) -> NodeId {
    Identity::from_seed([host; 32]).id()
}

/// A node at 10.0.0.`host` whose seed is the node at 10.0.0.`seed`.
pub async fn node(network: &MemoryNetwork, host: u8, seed: u8) -> Node {
    start(builder(network, host, seed)).await
}

pub fn builder(network: &MemoryNetwork, host: u8, seed: u8) -> NodeBuilder {
    Node::builder()
        .transport(network.clone())
        .identity(Identity::from_seed([host; 32]))
        .address([10, 0, 0, host].into())
        .port(8495)
        .rng_seed(u64::from(host))
        .seed(format!("10.0.0.{seed}:8495"))
}

pub async fn start(builder: NodeBuilder) -> Node {
    let node = builder.build().unwrap();
    node.start().await.unwrap();
    node
}

pub async fn connected(node: &Node) {
    let mut events = node.events();
    while node.peers().is_empty() {
        assert!(events.recv().await.is_some());
    }
}

pub async fn pair() -> (Node, Node) {
    let network = MemoryNetwork::new().rng_seed(1).latency(MS_10..=MS_10);
    let (one, two) = (node(&network, 1, 2).await, node(&network, 2, 1).await);
    connected(&one).await;
    connected(&two).await;
    (one, two)
}

/// A stream from `one` to `two`, and its other end.
pub async fn stream(one: &Node, two: &Node) -> (NodeStream, NodeStream) {
    let mut acceptor = two.accept("test").unwrap();
    let here = one.open(two.id(), "test").await.unwrap();
    let there = acceptor.recv().await.unwrap();
    (here, there)
}

/// Twelve nodes: each has five neighbours at most.
pub async fn network() -> (MemoryNetwork, Vec<Node>) {
    network_of(12, |builder| builder).await
}

pub async fn network_of(
    count: u8,
    options: impl Fn(NodeBuilder) -> NodeBuilder,
) -> (MemoryNetwork, Vec<Node>) {
    let network = MemoryNetwork::new().rng_seed(1).latency(MS_10..=MS_10);
    let mut nodes = Vec::new();
    for host in 1..=count {
        nodes.push(start(options(builder(&network, host, 1))).await);
    }
    let least = usize::from(count - 1).min(2);
    let whole = async {
        while !nodes.iter().all(|node| node.network_size() == nodes.len() && node.peers().len() >= least) {
            tokio::time::sleep(MS_10).await;
        }
    };
    timeout(30 * SECOND, whole).await.unwrap();
    (network, nodes)
}

/// Writes back all that comes over streams of this name.
pub fn echo(node: &Node) {
    let mut acceptor = node.accept("echo").unwrap();
    tokio::spawn(async move {
        while let Some(stream) = acceptor.recv().await {
            tokio::spawn(async move {
                while let Ok(Some(chunk)) = stream.recv().await {
                    if stream.send(chunk).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}
