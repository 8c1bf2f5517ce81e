//! What happens to the node, as a stream of events.
//!
//! The [`EventBus`] clones each event into the queue of every subscriber. A queue is bounded, so a
//! slow subscriber loses its oldest events and is handed their number; it never holds up the
//! driver. The queue of the first subscriber exists before there is one, which is why it misses
//! nothing.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;

use crate::error::ConnectError;
use crate::lock::Lock;
use crate::peer::Peer;
use crate::version::VersionMismatch;
use smokesignal_proto::NodeId;

/// Maximum number of events kept for one subscriber. Above it the oldest is dropped and counted in
/// [`Event::Missed`].
const LIMIT: usize = 1024;

/// Something that happened to the node. More kinds may be added.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let network = smokesignal::transport::MemoryNetwork::new();
/// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
/// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
/// # let mut connected = bob.events();
/// # ann.start().await?;
/// # bob.start().await?;
/// # while !matches!(connected.recv().await, Some(smokesignal::Event::Connect)) {}
/// use smokesignal::Event;
///
/// let mut events = ann.events();
/// assert!(matches!(events.recv().await, Some(Event::Connect)));
/// assert!(matches!(events.recv().await, Some(Event::PeerAdded(peer)) if peer.id() == bob.id()));
/// bob.stop().await;
/// assert!(matches!(events.recv().await, Some(Event::PeerRemoved(_))));
/// assert!(matches!(events.recv().await, Some(Event::Disconnect)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The first peer is connected: the node is part of the network.
    Connect,
    /// The last peer is gone. The node keeps trying its seeds and the nodes it knows.
    Disconnect,
    /// A link to this peer was made.
    PeerAdded(Peer),
    /// The link to this peer is gone.
    PeerRemoved(Peer),
    /// A seed could not be reached. Emitted once for each new cause; the node keeps trying.
    SeedUnreachable {
        /// The seed, as it was given.
        seed: String,
        /// The cause.
        error: ConnectError,
    },
    /// A node and this one speak no common version of the protocol, so that they cannot connect;
    /// the text of `versions` names the one to upgrade. Emitted on both sides, once for each
    /// address and range of versions. (For a node that was named, as a seed or for
    /// [`add_peer`](crate::Node::add_peer), the error has the same text.)
    Incompatible {
        /// The host of the other node.
        address: IpAddr,
        /// What the two nodes speak.
        versions: VersionMismatch,
    },
    /// A seed has left this node's partition: it does not answer, or answers from another one. A
    /// seed whose host refuses the connection is only down, which is not a netsplit. Every node on
    /// this side that was given the seed emits the event.
    /// [`NetsplitResolved`](Self::NetsplitResolved) follows before another netsplit.
    Netsplit {
        /// The seed.
        seed: NodeId,
        /// Nodes on this side, this one included.
        size: usize,
        /// Nodes in the network before.
        size_before: usize,
        /// Nodes on the seed's side, if it could be reached by dialling.
        other_size: Option<usize>,
    },
    /// Every lost seed is part of this node's partition again.
    NetsplitResolved {
        /// How long the seed was missing.
        duration: Duration,
        /// Nodes in the network now, as far as they have been counted.
        size: usize,
    },
    /// This node is more than a second behind in what a node writes, as its neighbours report. Once
    /// for each time; [`CaughtUp`](Self::CaughtUp) or, if the writer starts again,
    /// [`Incoming::Restarted`](crate::Incoming) ends it.
    Lagging {
        /// The node that writes.
        from: NodeId,
        /// Messages that are missing here.
        messages: u64,
        /// Their size in bytes, an estimate.
        bytes: u64,
    },
    /// This node is less than 200 ms behind again.
    CaughtUp {
        /// The node that writes.
        from: NodeId,
    },
    /// With [`Pace::All`](crate::Pace) and a
    /// [`reader_timeout`](crate::NodeBuilder::reader_timeout): a reader has confirmed nothing for
    /// that long. This node's writes do not wait for it any more, until it has caught up.
    ReaderTimedOut {
        /// The first 16 characters of the reader's id, all that a writer knows of it.
        reader: String,
    },
    /// Another live process has this node's key, such as a copied image of a machine. Readers
    /// follow the process that was started last. Once for each start of the node.
    IdentityConflict {
        /// The id of both.
        id: NodeId,
        /// Whether this process was started first: from now on each write fails with
        /// [`SendError::IdentityInUse`](crate::SendError).
        superseded: bool,
    },
    /// This subscriber was too slow: this number of events, the oldest ones, were dropped here.
    Missed(u64),
}

/// The events of a node, from [`Node::events`](crate::Node::events): read with [`recv`](Self::recv)
/// or as a [`Stream`].
///
/// ```
/// # async fn example(node: smokesignal::Node) {
/// use smokesignal::Event;
///
/// let mut events = node.events();
/// while let Some(event) = events.recv().await {
///     match event {
///         Event::Netsplit { size, size_before, .. } => eprintln!("{size} of {size_before} nodes are left"),
///         Event::NetsplitResolved { duration, .. } => eprintln!("whole again after {duration:?}"),
///         Event::Missed(count) => eprintln!("{count} events were dropped"),
///         _ => {}
///     }
/// }
/// # }
/// ```
pub struct Events(Arc<Lock<Queue>>);

impl Events {
    /// Returns the next event, and `None` once the node is dropped. Cancel safe: nothing is lost if
    /// the future is dropped.
    pub async fn recv(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut queue = self.0.lock();
        match queue.pop() {
            Some(event) => Poll::Ready(Some(event)),
            None if queue.ended => Poll::Ready(None),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("waiting", &self.0.lock().events.len()).finish_non_exhaustive()
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(cx)
    }
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    missed: u64,
    ended: bool,
    waker: Option<Waker>,
}

impl Queue {
    fn push(&mut self, event: Event) {
        self.events.push_back(event);
        if self.events.len() > LIMIT {
            self.events.pop_front();
            self.missed += 1;
        }
        self.waker.take().into_iter().for_each(Waker::wake);
    }

    fn pop(&mut self) -> Option<Event> {
        match std::mem::take(&mut self.missed) {
            0 => self.events.pop_front(),
            missed => Some(Event::Missed(missed)),
        }
    }
}

/// Where the driver emits events. Until there is a first subscriber they go to a queue kept for it.
#[derive(Debug)]
pub(crate) struct EventBus(Lock<EventBusState>);

#[derive(Debug)]
struct EventBusState {
    /// The queue of the first subscriber, until it subscribes.
    first: Option<Arc<Lock<Queue>>>,
    readers: Vec<Weak<Lock<Queue>>>,
}

impl EventBus {
    pub(crate) fn new() -> Self {
        let first = Arc::new(Lock::new(Queue::default()));
        let readers = vec![Arc::downgrade(&first)];
        Self(Lock::new(EventBusState { first: Some(first), readers }))
    }

    pub(crate) fn subscribe(&self) -> Events {
        let mut state = self.0.lock();
        if let Some(first) = state.first.take() {
            return Events(first);
        }
        let queue = Arc::new(Lock::new(Queue::default()));
        state.readers.retain(|reader| reader.strong_count() > 0);
        state.readers.push(Arc::downgrade(&queue));
        Events(queue)
    }

    pub(crate) fn emit(&self, event: &Event) {
        for reader in self.0.lock().readers.iter().filter_map(Weak::upgrade) {
            reader.lock().push(event.clone());
        }
    }

    pub(crate) fn close(&self) {
        for reader in self.0.lock().readers.iter().filter_map(Weak::upgrade) {
            let mut queue = reader.lock();
            queue.ended = true;
            queue.waker.take().into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_subscriber_misses_nothing_and_a_slow_one_learns_how_much_it_missed() {
        let bus = EventBus::new();
        bus.emit(&Event::Connect);
        let mut first = bus.subscribe();
        let mut second = bus.subscribe();
        assert!(matches!(first.recv().await, Some(Event::Connect)));
        for _ in 0..LIMIT + 5 {
            bus.emit(&Event::Disconnect);
        }
        assert!(matches!(second.recv().await, Some(Event::Missed(5))));
        bus.close();
        let mut rest = 0;
        while second.recv().await.is_some() {
            rest += 1;
        }
        assert_eq!(rest, LIMIT);
    }
}
