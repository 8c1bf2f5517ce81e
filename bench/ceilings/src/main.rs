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
use crate::link::{Drain, Source, Wire};
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
        let (ends, links) = self.connect(count).await?;
        let node =
            |(number, (sink, links))| Arc::new(Node { number, sink, links, copies: AtomicU64::new(0) });
        let nodes: Vec<_> = sinks.into_iter().zip(links).enumerate().map(node).collect();
        let seen: Vec<_> = (0..count).map(|_| Arc::new(flood::Seen::new(count))).collect();
        let format = self.format();
        let mut tasks = JoinSet::new();
        for End { node, link, source, drain, outgoing } in ends {
            tasks.spawn(async move { drain.run(&outgoing).await });
            let (node, seen) = (Arc::clone(&nodes[node]), Arc::clone(&seen[node]));
            match format {
                Format::Plain => tasks.spawn(source.run(tree::Reader::new(node, link))),
                Format::Numbered => tasks.spawn(source.run(flood::Reader::new(node, seen, link))),
            };
        }
        Ok(Nodes { nodes, format, seen, tasks })
    }
}

/// One end of a link.
struct End {
    /// The node that it belongs to.
    node: usize,
    /// Its number among the links of that node.
    link: usize,
    source: Source,
    drain: Drain,
    outgoing: Arc<Outgoing>,
}

impl Ceiling {
    /// Makes all links. Returns their ends, and the outgoing buffers of each node.
    async fn connect(&self, nodes: usize) -> Result<(Vec<End>, Vec<Vec<Arc<Outgoing>>>), Error> {
        let mut links: Vec<Vec<Arc<Outgoing>>> = vec![Vec::new(); nodes];
        let mut ends = Vec::new();
        for (a, b) in self.topology.edges(nodes) {
            let (end_a, end_b) = link::connect(self.wire).await?;
            for (node, (source, drain)) in [(a, end_a), (b, end_b)] {
                let outgoing = Arc::new(Outgoing::new(self.limit()));
                let link = links[node].len();
                links[node].push(Arc::clone(&outgoing));
                ends.push(End { node, link, source, drain, outgoing });
            }
        }
        Ok((ends, links))
    }

    const fn format(&self) -> Format {
        match self.topology {
            Topology::Tree => Format::Plain,
            Topology::Graph => Format::Numbered,
        }
    }

    /// Returns the most bytes that may wait before a link.
    const fn limit(&self) -> usize {
        match self.topology {
            Topology::Tree => outgoing::LIMIT,
            // In a cycle of full buffers each node would wait for the next one, so the workload's
            // window is the limit.
            Topology::Graph => usize::MAX,
        }
    }
}

impl Running for Nodes {
    type Writer = NodeWriter;

    fn writer(&self, node: usize) -> NodeWriter {
        NodeWriter {
            node: Arc::clone(&self.nodes[node]),
            format: self.format,
            seen: Arc::clone(&self.seen[node]),
        }
    }

    fn copies(&self) -> Option<u64> {
        Some(self.nodes.iter().map(|node| node.copies.load(Ordering::Relaxed)).sum())
    }

    async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// The writing side of a node.
struct NodeWriter {
    node: Arc<Node>,
    format: Format,
    seen: Arc<flood::Seen>,
}

impl Writer for NodeWriter {
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
