//! A node of the demo, with a ledger of everything it has read.
//!
//! Each node numbers its messages from 1. A reader therefore knows which number has to come next
//! from each writer, and its ledger records every message that came twice, out of order or without
//! the one before it. A message is its number, as 8 bytes in big-endian order.
//!
//! A gap is not a fault of the reader, because the library has reported it. Whether it is allowed
//! depends on the writer: a living one must not have any ([`super::swarm`] decides that).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smokesignal::{Broadcast, BroadcastSender, Events, Incoming, Node, NodeId, Peer};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Faults that a ledger keeps; later ones are not recorded. A guess: the first ones show the cause.
const FAULTS: usize = 5;

/// A running node. Dropping it ends the node abruptly, as `kill -9` would end a process.
pub(super) struct Member {
    node: Node,
    sender: BroadcastSender,
    /// The number of the last message that this node has written.
    pub(super) written: u64,
    ledger: Arc<Mutex<Ledger>>,
    /// Changes with every message read.
    progress: watch::Receiver<()>,
    tasks: [JoinHandle<()>; 2],
}

/// What a node has read.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The number of the last message of each writer. Writers count from 1.
    last: HashMap<NodeId, u64>,
    /// Messages read in total.
    pub(super) total: u64,
    /// Messages of each writer that were reported as a gap.
    gaps: HashMap<NodeId, u64>,
    /// Broken promises, at most [`FAULTS`].
    pub(super) faults: Vec<String>,
}

impl Member {
    /// Starts a node that joins through the seed. Every event of the node increments `changed`.
    pub(super) async fn start(seed: Option<SocketAddr>, changed: watch::Sender<u64>) -> Result<Self, String> {
        let mut builder = Node::builder();
        if let Some(seed) = seed {
            builder = builder.seed(seed.to_string());
        }
        let node = builder.build().map_err(|error| error.to_string())?;
        let (events, broadcast) = (node.events(), node.broadcast());
        let sender = broadcast.sender();
        node.start().await.map_err(|error| error.to_string())?;
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let (read, progress) = watch::channel(());
        let tasks = [
            tokio::spawn(count_events(events, changed)),
            tokio::spawn(read_all(broadcast, Arc::clone(&ledger), read)),
        ];
        Ok(Self { node, sender, written: 0, ledger, progress, tasks })
    }

    /// Returns the id of the node.
    pub(super) fn id(&self) -> NodeId {
        self.node.id()
    }

    /// Returns where the node listens.
    pub(super) fn address(&self) -> Result<SocketAddr, String> {
        self.node.local_addr().ok_or_else(|| format!("node {} does not listen", self.id().short()))
    }

    /// Returns the ids of its peers.
    pub(super) fn peers(&self) -> Vec<NodeId> {
        self.node.peers().list().iter().map(Peer::id).collect()
    }

    /// Locks the ledger of the node.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `count` messages as fast as the network accepts them, and returns the number of the
    /// last one.
    pub(super) async fn write(sender: BroadcastSender, written: u64, count: u64) -> Result<u64, String> {
        for number in written + 1..=written + count {
            send(&sender, number).await?;
        }
        Ok(written + count)
    }

    /// Writes a message in each interval until `end` is true, and returns the number of the last
    /// one.
    pub(super) async fn write_until(
        sender: BroadcastSender,
        mut written: u64,
        every: Duration,
        mut end: watch::Receiver<bool>,
    ) -> Result<u64, String> {
        let mut ticks = interval(every);
        // A node that was held up does not make up for it by a burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Also resolves when the other side is dropped.
                _ = end.wait_for(|end| *end) => return Ok(written),
                _ = ticks.tick() => {}
            }
            written += 1;
            send(&sender, written).await?;
        }
    }

    /// Returns a handle that broadcasts as this node.
    pub(super) fn sender(&self) -> BroadcastSender {
        self.sender.clone()
    }

    /// Waits until this node has read each of these writers up to the given number.
    pub(super) async fn wait_until_read(&self, expected: &HashMap<NodeId, u64>) -> Result<(), String> {
        let mut progress = self.progress.clone();
        progress
            .wait_for(|()| self.ledger().has_all(expected, self.id()))
            .await
            .map(drop)
            .map_err(|_| format!("node {} stopped unexpectedly", self.id().short()))
    }

    /// Returns how many of these messages this node has not read yet.
    pub(super) fn missing(&self, expected: &HashMap<NodeId, u64>) -> u64 {
        self.ledger().missing(expected, self.id())
    }

    /// Stops the node properly.
    pub(super) async fn stop(&self) {
        self.node.stop().await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Ledger {
    /// Returns whether this node, `me`, has read each writer up to the given number. A node does
    /// not read itself.
    fn has_all(&self, expected: &HashMap<NodeId, u64>, me: NodeId) -> bool {
        expected.iter().all(|(writer, number)| *writer == me || self.last_of(*writer) >= *number)
    }

    /// Returns how many messages are still missing.
    fn missing(&self, expected: &HashMap<NodeId, u64>, me: NodeId) -> u64 {
        let of = |(writer, number): (&NodeId, &u64)| number.saturating_sub(self.last_of(*writer));
        expected.iter().filter(|(writer, _)| **writer != me).map(of).sum()
    }

    /// Returns the number of the last message of a writer, or 0.
    fn last_of(&self, writer: NodeId) -> u64 {
        self.last.get(&writer).copied().unwrap_or(0)
    }

    /// Returns how many messages of these writers were reported as a gap.
    pub(super) fn gaps_of(&self, writers: &HashMap<NodeId, u64>) -> u64 {
        self.gaps.iter().filter(|(writer, _)| writers.contains_key(writer)).map(|(_, missed)| missed).sum()
    }

    /// Records a message, and a fault unless it is the next one of its writer.
    fn message(&mut self, from: NodeId, data: &[u8]) {
        let Ok(number) = <[u8; 8]>::try_from(data).map(u64::from_be_bytes) else {
            let (size, from) = (data.len(), from.short());
            return self.fault(format!("read {size} bytes from {from} that it never wrote"));
        };
        let expected = self.last_of(from) + 1;
        if number < expected {
            self.fault(format!("read message {number} of {} twice or too late", from.short()));
        } else if number > expected {
            let from = from.short();
            self.fault(format!("read message {number} of {from} where {expected} was expected"));
        }
        // Counts on from the message that came, so that one loss is one fault and not a series.
        self.last.insert(from, number.max(expected - 1));
        self.total += 1;
    }

    /// Records a gap. The messages in it count as read, so that the next one is in order.
    fn gap(&mut self, from: NodeId, missed: u64) {
        *self.gaps.entry(from).or_default() += missed;
        *self.last.entry(from).or_default() += missed;
    }

    /// Records a fault.
    fn fault(&mut self, text: String) {
        if self.faults.len() < FAULTS {
            self.faults.push(text);
        }
    }
}

/// Broadcasts the message with this number.
async fn send(sender: &BroadcastSender, number: u64) -> Result<(), String> {
    sender.send(number.to_be_bytes().to_vec()).await.map_err(|error| error.to_string())
}

/// Increments `changed` with each event, until the node has stopped.
async fn count_events(mut events: Events, changed: watch::Sender<u64>) {
    while events.recv().await.is_some() {
        changed.send_modify(|count| *count += 1);
    }
}

/// Records everything that the node reads, until the node has stopped.
async fn read_all(mut broadcast: Broadcast, ledger: Arc<Mutex<Ledger>>, read: watch::Sender<()>) {
    while let Some(incoming) = broadcast.recv().await {
        {
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            match incoming {
                Incoming::Message { from, data, .. } => ledger.message(from, &data),
                Incoming::Gap { from, missed } => ledger.gap(from, missed),
                Incoming::End { .. } | Incoming::Restarted { .. } => {}
            }
        }
        read.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8) -> NodeId {
        NodeId::from_bytes([first; 32])
    }

    fn ledger(numbers: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        numbers.iter().for_each(|number| ledger.message(id(1), &number.to_be_bytes()));
        ledger
    }

    #[test]
    fn messages_in_order_are_not_faults() {
        let ledger = ledger(&[1, 2, 3]);
        assert!(ledger.faults.is_empty());
        assert!(ledger.has_all(&HashMap::from([(id(1), 3), (id(9), 7)]), id(9)), "9 does not read itself");
        assert_eq!(ledger.missing(&HashMap::from([(id(1), 5)]), id(9)), 2);
    }

    #[test]
    fn a_repeated_missing_or_disordered_message_is_a_fault() {
        assert!(ledger(&[1, 1]).faults[0].contains("twice"));
        assert!(ledger(&[1, 3]).faults[0].contains("where 2 was expected"));
        assert_eq!(ledger(&[2, 1]).faults.len(), 2);
    }

    #[test]
    fn a_gap_counts_for_its_writer_and_is_not_a_fault() {
        let mut ledger = ledger(&[1]);
        ledger.gap(id(1), 2);
        ledger.message(id(1), &4_u64.to_be_bytes());
        assert!(ledger.faults.is_empty());
        assert_eq!(ledger.gaps_of(&HashMap::from([(id(1), 0)])), 2);
        assert_eq!(ledger.gaps_of(&HashMap::new()), 0);
    }
}
