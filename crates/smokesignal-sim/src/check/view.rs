//! The read-only view of a world that the checks get.
//!
//! It holds shared references to the parts of the world, whose `&self` methods answer questions.
//! The methods here are shorthands that several checks use, and [`View::violated`], through which
//! every violation is made.

use smokesignal_proto::{Config, Node, StreamView};

use super::Violation;
use crate::cluster::Cluster;
use crate::fault::Faults;
use crate::graph::Graph;
use crate::invariant::Invariant;
use crate::lookup::Lookups;
use crate::net::Net;
use crate::setup::Setup;
use crate::workload::{Read, Traffic, Writer};

/// A world at one moment. It lends the world's parts, and lets nobody change them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    /// Virtual time in microseconds.
    pub(crate) now: u64,
    /// The configuration, and what the run expects.
    pub(crate) setup: &'a Setup,
    /// The nodes: their starts, their clocks, and the cores themselves.
    pub(crate) cluster: &'a Cluster,
    /// The hosts and connections. A connection may exist that its nodes do not count as a link.
    pub(crate) net: &'a Net,
    /// The books: what was written, and what each node has read of it.
    pub(crate) traffic: &'a Traffic,
    /// The rules, and when they last disturbed somebody.
    pub(crate) faults: &'a Faults,
    /// The lookups that wait for an answer.
    pub(crate) lookups: &'a Lookups,
}

impl<'a> View<'a> {
    /// Makes a violation, unless the run ignores this invariant or the node is hostile: hostile
    /// nodes may see what they like.
    pub(super) fn violated(&self, invariant: Invariant, node: usize, what: String) -> Result<(), Violation> {
        if self.setup.expect.ignore.contains(&invariant) || !self.cluster.is_honest(node) {
            return Ok(());
        }
        let replay = self.setup.expect.replay.clone();
        Err(Violation { invariant, what, node, at_us: self.now, replay })
    }

    /// Returns the configuration that the nodes were started with.
    pub(super) const fn config(&self) -> &'a Config {
        &self.setup.config
    }

    /// Returns the numbers of all nodes, dead ones included.
    pub(super) fn nodes(&self) -> std::ops::Range<usize> {
        0..self.cluster.len()
    }

    /// Returns a node, or `None` while it is dead.
    pub(super) fn node(&self, ix: usize) -> Option<&'a Node> {
        self.cluster.node(ix)
    }

    /// Returns the numbers of the nodes whose processes run.
    pub(super) fn awake(&self) -> impl Iterator<Item = usize> {
        let net = self.net;
        self.nodes().filter(move |ix| net.is_awake(*ix))
    }

    /// Returns the writer number of a node, if it is one.
    pub(super) fn writer_number(&self, id: &smokesignal_proto::NodeId) -> Option<u32> {
        self.traffic.number(self.cluster.number(id)?)
    }

    /// Returns the writer with this number.
    pub(super) fn writer(&self, number: u32) -> &'a Writer {
        &self.traffic.writers()[number as usize]
    }

    /// Returns what a node has read of a writer: nothing, if it has never heard of it.
    pub(super) fn read(&self, node: usize, writer: u32) -> Read {
        self.traffic.read(node, writer).cloned().unwrap_or_default()
    }

    /// Returns what a node holds of the stream that node `writer` writes.
    pub(super) fn stream(&self, node: usize, writer: usize) -> Option<StreamView> {
        self.node(node)?.stream_of(&self.cluster.id(writer))
    }

    /// Returns the links that stand now.
    pub(super) fn graph(&self) -> Graph {
        Graph::of(self.cluster, self.net)
    }
}
