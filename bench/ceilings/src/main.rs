//! The ceilings: what hand-written code reaches that only carries bytes. There is no protocol: the
//! network is fixed before it starts, no node comes or goes, nothing is signed, nothing is
//! repaired.
//!
//! - `tcp-tree`: a tree over bare TCP.
//! - `tls-tree`: the same tree, each link TLS 1.3.
//! - `tls-flood`: a random graph over TLS 1.3; each node forwards what is new to it over all links
//!   but the one it came from.

mod flood;
mod frame;
mod link;
mod outgoing;
mod tls;
mod topology;
mod tree;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use harness::{Args, Error, Running, Sink, System, Writer};
use tokio::task::JoinSet;

use crate::frame::Format;
use crate::link::Wire;
use crate::outgoing::Outgoing;
use crate::topology::Topology;

fn main() -> ExitCode {
    let args = Args::read("ceilings", env!("CARGO_PKG_VERSION"), &["tls-tree", "tcp-tree", "tls-flood"]);
    let (topology, wire) = match args.variant() {
        "tcp-tree" => (Topology::Tree, Wire::Tcp),
        "tls-tree" => (Topology::Tree, Wire::Tls),
        _ => (Topology::Graph, Wire::Tls),
    };
    args.run(&Ceiling { topology, wire })
}

struct Ceiling {
    topology: Topology,
    wire: Wire,
}

/// One node: where it reads to, and its links.
struct Node {
    number: usize,
    sink: Sink,
    links: Vec<Arc<Outgoing>>,
    /// Messages received, known ones included.
    copies: AtomicU64,
}

struct Nodes {
    nodes: Vec<Arc<Node>>,
    format: Format,
    /// The flood's memory of each node, where there is one.
    seen: Vec<Arc<flood::Seen>>,
    tasks: JoinSet<()>,
}

impl System for Ceiling {
    type Running = Nodes;

    async fn start(&self, sinks: Vec<Sink>) -> Result<Nodes, Error> {
        let count = sinks.len();
        let (format, most) = match self.topology {
            Topology::Tree => (Format::Plain, outgoing::LIMIT),
            // In a cycle of full buffers each node would wait for the next one, so the workload's
            // window is the limit.
            Topology::Graph => (Format::Numbered, usize::MAX),
        };
        let mut links: Vec<Vec<Arc<Outgoing>>> = vec![Vec::new(); count];
        let mut ends = Vec::new();
        for (a, b) in self.topology.edges(count) {
            let (end_a, end_b) = link::connect(self.wire).await?;
            for (node, end) in [(a, end_a), (b, end_b)] {
                let outgoing = Arc::new(Outgoing::new(most));
                ends.push((node, links[node].len(), end, Arc::clone(&outgoing)));
                links[node].push(outgoing);
            }
        }
        let node =
            |(number, (sink, links))| Arc::new(Node { number, sink, links, copies: AtomicU64::new(0) });
        let nodes: Vec<_> = sinks.into_iter().zip(links).enumerate().map(node).collect();
        let seen: Vec<_> = (0..count).map(|_| Arc::new(flood::Seen::new(count))).collect();
        let mut tasks = JoinSet::new();
        for (node, number, end, outgoing) in ends {
            let (source, drain) = end;
            tasks.spawn(async move { drain.run(&outgoing).await });
            let (node, seen) = (Arc::clone(&nodes[node]), Arc::clone(&seen[node]));
            match format {
                Format::Plain => tasks.spawn(source.run(tree::Reader::new(node, number))),
                Format::Numbered => tasks.spawn(source.run(flood::Reader::new(node, seen, number))),
            };
        }
        Ok(Nodes { nodes, format, seen, tasks })
    }
}

impl Running for Nodes {
    type Writer = Pen;

    fn writer(&self, node: usize) -> Pen {
        Pen { node: Arc::clone(&self.nodes[node]), format: self.format, seen: Arc::clone(&self.seen[node]) }
    }

    fn copies(&self) -> Option<u64> {
        Some(self.nodes.iter().map(|node| node.copies.load(Ordering::Relaxed)).sum())
    }

    async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

struct Pen {
    node: Arc<Node>,
    format: Format,
    seen: Arc<flood::Seen>,
}

impl Writer for Pen {
    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        for (piece, more) in frame::pieces(&message) {
            match self.format {
                Format::Plain => {
                    let head = frame::head(self.node.number, piece.len(), more);
                    for link in &self.node.links {
                        link.push(&[&head, piece]);
                    }
                }
                Format::Numbered => self.seen.write(&self.node, piece, more),
            }
        }
        for link in &self.node.links {
            link.room().await;
        }
        Ok(())
    }
}
