//! The library as a system that `smokesignal-load` can measure: adapters from its nodes to the
//! traits of that crate.
//!
//! [`FreshNetwork`] joins and stops its nodes within the measurement, so that joining is measured,
//! too. [`JoinedNetwork`] borrows nodes that go on afterwards, for the figures before and after.

use bytes::Bytes;
use smokesignal::{Broadcast, BroadcastSender, Incoming, Metrics, Node};
use smokesignal_load::{Error, Inbox, Running, Sink, System, Writer};
use tokio::task::JoinSet;

use super::net::{Net, NodeKind};

/// A network that is started for the measurement and stopped after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct FreshNetwork(pub(super) NodeKind);

impl System for FreshNetwork {
    type Running = MeasuredNetwork;

    async fn start(&self, sinks: Vec<Sink>) -> Result<MeasuredNetwork, Error> {
        let net = Net::join(sinks.len(), self.0, |_| {}).await?;
        Ok(MeasuredNetwork::new(net, sinks, true))
    }
}

/// A network that exists already, and goes on after the measurement.
#[derive(Debug)]
pub(super) struct JoinedNetwork<'a>(pub(super) &'a Net);

impl System for JoinedNetwork<'_> {
    type Running = MeasuredNetwork;

    async fn start(&self, sinks: Vec<Sink>) -> Result<MeasuredNetwork, Error> {
        Ok(MeasuredNetwork::new(self.0.clone(), sinks, false))
    }
}

/// A network with a reading task at each node.
#[derive(Debug)]
pub(super) struct MeasuredNetwork {
    net: Net,
    readers: JoinSet<()>,
    /// Whether the nodes are stopped after the measurement.
    stop_nodes: bool,
}

impl MeasuredNetwork {
    /// Starts a reading task per node. Its sink has the same index as the node.
    fn new(net: Net, sinks: Vec<Sink>, stop_nodes: bool) -> Self {
        let mut readers = JoinSet::new();
        for (node, sink) in net.nodes.iter().zip(sinks) {
            readers.spawn(read(node.broadcast(), sink));
        }
        Self { net, readers, stop_nodes }
    }
}

impl Running for MeasuredNetwork {
    type Writer = NodeWriter;

    fn writer(&self, node: usize) -> NodeWriter {
        NodeWriter(self.net.nodes[node].broadcast().sender())
    }

    fn copies(&self) -> Option<u64> {
        let metrics = self.net.nodes.iter().map(Node::metrics);
        let arrived = |metrics: Metrics| metrics.messages_received + metrics.duplicates_received;
        Some(metrics.map(arrived).sum())
    }

    /// Ends the measurement. The sinks have everything by then, so the readers may be cut off.
    async fn stop(self) {
        if self.stop_nodes {
            self.net.stop().await;
        }
        // Dropping the readers ends them.
        drop(self.readers);
    }
}

/// The writing side of a node.
#[derive(Debug)]
pub(super) struct NodeWriter(BroadcastSender);

impl Writer for NodeWriter {
    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        Ok(self.0.send(message).await?)
    }
}

/// The most messages that are read with one call. A guess.
const BATCH: usize = 1024;

/// Passes everything that a node reads to its sink, in batches.
async fn read(mut broadcast: Broadcast, sink: Sink) {
    let mut batch = Vec::with_capacity(BATCH);
    while broadcast.recv_many(&mut batch, BATCH).await > 0 {
        // One lock per batch, because a lock for each message would be part of what is measured.
        let mut inbox = sink.lock();
        batch.drain(..).for_each(|incoming| record(&mut inbox, &incoming));
    }
}

/// Records a message or a gap. Other events do not concern the workload.
fn record(inbox: &mut Inbox<'_>, incoming: &Incoming) {
    match incoming {
        Incoming::Message { data, .. } => inbox.arrived(data),
        Incoming::Gap { missed, .. } => inbox.missed(*missed),
        Incoming::End { .. } | Incoming::Restarted { .. } => {}
    }
}
