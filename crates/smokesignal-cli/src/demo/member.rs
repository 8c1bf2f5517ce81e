//! One node of the demo, with the book it keeps on everything it hears.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smokesignal::{Broadcast, BroadcastSender, Events, Incoming, Node, NodeId, Peer};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Faults one node writes down; the first ones tell the story.
const FAULTS: usize = 5;

/// A running node. Dropping it ends it abruptly, as kill -9 would.
pub(super) struct Member {
    node: Node,
    sender: BroadcastSender,
    /// The number of its last message.
    pub(super) written: u64,
    book: Arc<Mutex<Book>>,
    /// Changes with every message heard.
    heard: watch::Receiver<()>,
    tasks: [JoinHandle<()>; 2],
}

/// What one node has heard.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The number of the last message of each writer. They count from 1.
    last: HashMap<NodeId, u64>,
    /// Messages in all.
    pub(super) total: u64,
    /// Messages reported as missing.
    gaps: HashMap<NodeId, u64>,
    /// What must not happen, first come first kept.
    pub(super) faults: Vec<String>,
}

impl Member {
    /// Starts a node that joins through the seed. `changed` is told about every peer that comes or goes.
    pub(super) async fn start(seed: Option<SocketAddr>, changed: watch::Sender<u64>) -> Result<Self, String> {
        let mut builder = Node::builder();
        if let Some(seed) = seed {
            builder = builder.seed(seed.to_string());
        }
        let node = builder.build().map_err(|error| error.to_string())?;
        let (events, broadcast) = (node.events(), node.broadcast());
        let sender = broadcast.sender();
        node.start().await.map_err(|error| error.to_string())?;
        let book = Arc::new(Mutex::new(Book::default()));
        let (tell, heard) = watch::channel(());
        let tasks = [
            tokio::spawn(watch_peers(events, changed)),
            tokio::spawn(listen(broadcast, Arc::clone(&book), tell)),
        ];
        Ok(Self { node, sender, written: 0, book, heard, tasks })
    }

    pub(super) fn id(&self) -> NodeId {
        self.node.id()
    }

    pub(super) fn address(&self) -> Result<SocketAddr, String> {
        self.node.local_addr().ok_or_else(|| format!("node {} does not listen", self.id().short()))
    }

    pub(super) fn peers(&self) -> Vec<NodeId> {
        self.node.peers().list().iter().map(Peer::id).collect()
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes so many messages as fast as the network takes them.
    pub(super) async fn write(sender: BroadcastSender, written: u64, count: u64) -> Result<u64, String> {
        for number in written + 1..=written + count {
            send(&sender, number).await?;
        }
        Ok(written + count)
    }

    /// Writes message after message until told to end; the result is the number of the last one.
    pub(super) async fn write_until(
        sender: BroadcastSender,
        mut written: u64,
        pace: Duration,
        mut end: watch::Receiver<bool>,
    ) -> Result<u64, String> {
        let mut ticks = interval(pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Also when nobody is left who could tell.
                _ = end.wait_for(|end| *end) => return Ok(written),
                _ = ticks.tick() => {}
            }
            written += 1;
            send(&sender, written).await?;
        }
    }

    pub(super) fn sender(&self) -> BroadcastSender {
        self.sender.clone()
    }

    /// Resolves when of each of these writers the message with this number, or a later one, is here.
    pub(super) async fn has_heard(&self, expected: &HashMap<NodeId, u64>) -> Result<(), String> {
        let mut heard = self.heard.clone();
        heard
            .wait_for(|()| self.book().has_all(expected, self.id()))
            .await
            .map(drop)
            .map_err(|_| format!("node {} stopped by itself", self.id().short()))
    }

    /// Which messages are not here yet.
    pub(super) fn missing(&self, expected: &HashMap<NodeId, u64>) -> u64 {
        self.book().missing(expected, self.id())
    }

    pub(super) async fn stop(&self) {
        self.node.stop().await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Book {
    fn has_all(&self, expected: &HashMap<NodeId, u64>, me: NodeId) -> bool {
        expected.iter().all(|(writer, number)| *writer == me || self.last_of(*writer) >= *number)
    }

    fn missing(&self, expected: &HashMap<NodeId, u64>, me: NodeId) -> u64 {
        let of = |(writer, number): (&NodeId, &u64)| number.saturating_sub(self.last_of(*writer));
        expected.iter().filter(|(writer, _)| **writer != me).map(of).sum()
    }

    fn last_of(&self, writer: NodeId) -> u64 {
        self.last.get(&writer).copied().unwrap_or(0)
    }

    /// Messages of these writers that were reported as missing.
    pub(super) fn gaps_of(&self, writers: &HashMap<NodeId, u64>) -> u64 {
        self.gaps.iter().filter(|(writer, _)| writers.contains_key(writer)).map(|(_, missed)| missed).sum()
    }

    /// Exactly once, in order, none left out.
    fn message(&mut self, from: NodeId, data: &[u8]) {
        let Ok(number) = <[u8; 8]>::try_from(data).map(u64::from_be_bytes) else {
            return self.fault(format!("{} bytes from {} that nobody wrote", data.len(), from.short()));
        };
        let expected = self.last_of(from) + 1;
        if number < expected {
            self.fault(format!("message {number} of {} came twice or too late", from.short()));
        } else if number > expected {
            self.fault(format!("message {number} of {} came where {expected} should be", from.short()));
        }
        self.last.insert(from, number.max(expected - 1));
        self.total += 1;
    }

    fn gap(&mut self, from: NodeId, missed: u64) {
        *self.gaps.entry(from).or_default() += missed;
        *self.last.entry(from).or_default() += missed;
    }

    fn fault(&mut self, text: String) {
        if self.faults.len() < FAULTS {
            self.faults.push(text);
        }
    }
}

async fn send(sender: &BroadcastSender, number: u64) -> Result<(), String> {
    sender.send(number.to_be_bytes().to_vec()).await.map_err(|error| error.to_string())
}

async fn watch_peers(mut events: Events, changed: watch::Sender<u64>) {
    while events.recv().await.is_some() {
        changed.send_modify(|count| *count += 1);
    }
}

async fn listen(mut broadcast: Broadcast, book: Arc<Mutex<Book>>, tell: watch::Sender<()>) {
    while let Some(incoming) = broadcast.recv().await {
        {
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            match incoming {
                Incoming::Message { from, data, .. } => book.message(from, &data),
                Incoming::Gap { from, missed } => book.gap(from, missed),
            }
        }
        tell.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8) -> NodeId {
        NodeId::from_bytes([first; 32])
    }

    fn book(numbers: &[u64]) -> Book {
        let mut book = Book::default();
        numbers.iter().for_each(|number| book.message(id(1), &number.to_be_bytes()));
        book
    }

    #[test]
    fn messages_in_order_are_no_fault() {
        let book = book(&[1, 2, 3]);
        assert!(book.faults.is_empty());
        assert!(book.has_all(&HashMap::from([(id(1), 3), (id(9), 7)]), id(9)), "nobody hears itself");
        assert_eq!(book.missing(&HashMap::from([(id(1), 5)]), id(9)), 2);
    }

    #[test]
    fn a_message_twice_or_left_out_or_out_of_order_is_a_fault() {
        assert!(book(&[1, 1]).faults[0].contains("twice"));
        assert!(book(&[1, 3]).faults[0].contains("where 2 should be"));
        assert_eq!(book(&[2, 1]).faults.len(), 2);
    }

    #[test]
    fn a_gap_counts_for_its_writer() {
        let mut book = book(&[1]);
        book.gap(id(1), 2);
        book.message(id(1), &4_u64.to_be_bytes());
        assert!(book.faults.is_empty());
        assert_eq!(book.gaps_of(&HashMap::from([(id(1), 0)])), 2);
        assert_eq!(book.gaps_of(&HashMap::new()), 0);
    }
}
