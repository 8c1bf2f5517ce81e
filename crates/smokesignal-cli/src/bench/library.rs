//! The library as a system that `smokesignal-load` can measure.

use bytes::Bytes;
use smokesignal::{Broadcast, BroadcastSender, Incoming, Node};
use smokesignal_load::{Error, Inbox, Running, Sink, System, Writer};
use tokio::task::JoinSet;

use super::net::{Kind, Net};

/// New nodes, started for the measurement and stopped after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fresh(pub(super) Kind);

impl System for Fresh {
    type Running = Attached;

    async fn start(&self, sinks: Vec<Sink>) -> Result<Attached, Error> {
        let net = Net::join(sinks.len(), self.0, |_| {}).await?;
        Ok(Attached::new(net, sinks, true))
    }
}

/// Nodes that are joined already and live on after the measurement.
#[derive(Debug)]
pub(super) struct Joined<'a>(pub(super) &'a Net);

impl System for Joined<'_> {
    type Running = Attached;

    async fn start(&self, sinks: Vec<Sink>) -> Result<Attached, Error> {
        Ok(Attached::new(self.0.clone(), sinks, false))
    }
}

/// A network with a reader at each node.
#[derive(Debug)]
pub(super) struct Attached {
    net: Net,
    readers: JoinSet<()>,
    stop_nodes: bool,
}

impl Attached {
    fn new(net: Net, sinks: Vec<Sink>, stop_nodes: bool) -> Self {
        let mut readers = JoinSet::new();
        for (node, sink) in net.nodes.iter().zip(sinks) {
            readers.spawn(read(node.broadcast(), sink));
        }
        Self { net, readers, stop_nodes }
    }
}

impl Running for Attached {
    type Writer = Pen;

    fn writer(&self, node: usize) -> Pen {
        Pen(self.net.nodes[node].broadcast().sender())
    }

    fn copies(&self) -> Option<u64> {
        Some(self.net.nodes.iter().map(Node::copies_received).sum())
    }

    async fn stop(self) {
        if self.stop_nodes {
            self.net.stop().await;
        }
        // The readers end as they are dropped.
        drop(self.readers);
    }
}

/// What one node writes with.
#[derive(Debug)]
pub(super) struct Pen(BroadcastSender);

impl Writer for Pen {
    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        Ok(self.0.send(message).await?)
    }
}

/// Messages read at once at most.
const BATCH: usize = 1024;

/// Gives the sink whatever one node reads, in batches.
async fn read(mut broadcast: Broadcast, sink: Sink) {
    let mut batch = Vec::with_capacity(BATCH);
    while broadcast.recv_many(&mut batch, BATCH).await > 0 {
        let mut inbox = sink.lock();
        batch.drain(..).for_each(|incoming| give(&mut inbox, &incoming));
    }
}

fn give(inbox: &mut Inbox<'_>, incoming: &Incoming) {
    match incoming {
        Incoming::Message { data, .. } => inbox.arrived(data),
        Incoming::Gap { missed, .. } => inbox.missed(*missed),
    }
}
