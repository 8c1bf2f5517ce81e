//! The names of streams that this node accepts.
//!
//! [`Acceptors`] maps each accepted name to the queue of one [`Acceptor`]. A connection's
//! multiplexer offers every stream that the other side opens: it waits in the queue of its name
//! until the application takes it, and is refused if the name has no acceptor or the queue is full.
//! The other side learns that its stream was taken by a credit of 0 bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::error::AcceptError;
use crate::lock::Lock;
use crate::stream::handle::NodeStream;
use crate::wire::frame::Reset;

/// Maximum number of streams of one name that wait to be taken; more are refused as busy.
const BACKLOG: usize = 128;

/// The names that this node accepts, each with the queue of its acceptor.
#[derive(Debug, Default)]
pub(crate) struct Acceptors(Lock<BTreeMap<String, mpsc::Sender<NodeStream>>>);

/// Streams of one name that other nodes open to this one. From
/// [`Node::accept`](crate::Node::accept).
///
/// The name is accepted while the acceptor lives. When it is dropped, streams that were not taken
/// are refused, and so are later ones.
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
/// let mut calls = ann.accept("time")?;
/// let stream = bob.open(ann.id(), "time").await?;
///
/// let call = calls.recv().await.expect("ann is running");
/// assert_eq!((call.peer(), call.name()), (bob.id(), "time"));
/// call.send("noon").await?;
/// assert_eq!(stream.recv().await?.as_deref(), Some(&b"noon"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Acceptor {
    name: String,
    streams: mpsc::Receiver<NodeStream>,
    /// Weak, because it holds the sender of `streams`, whose drop ends the receiver.
    acceptors: Weak<Acceptors>,
}

impl Acceptors {
    /// Starts to accept the name.
    pub(crate) fn accept(self: &Arc<Self>, name: String) -> Result<Acceptor, AcceptError> {
        let mut names = self.0.lock();
        if names.contains_key(&name) {
            return Err(AcceptError::Taken(name));
        }
        let (sender, streams) = mpsc::channel(BACKLOG);
        names.insert(name.clone(), sender);
        Ok(Acceptor { name, streams, acceptors: Arc::downgrade(self) })
    }

    /// Offers a stream that the other side has opened under `name` to its acceptor, or refuses it.
    pub(crate) fn offer(&self, name: &str, stream: NodeStream) {
        let Some(acceptor) = self.0.lock().get(name).cloned() else { return stream.refuse(Reset::Refused) };
        match acceptor.try_send(stream) {
            Ok(()) => {}
            Err(TrySendError::Full(stream)) => stream.refuse(Reset::Busy),
            Err(TrySendError::Closed(stream)) => stream.refuse(Reset::Refused),
        }
    }
}

impl Acceptor {
    /// Returns the name that is accepted.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the next stream that another node has opened; `None` once the node is dropped.
    /// Nothing is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<NodeStream> {
        let stream = self.streams.recv().await?;
        stream.acknowledge();
        Some(stream)
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        if let Some(acceptors) = self.acceptors.upgrade() {
            acceptors.0.lock().remove(&self.name);
        }
        self.streams.close();
        while let Ok(stream) = self.streams.try_recv() {
            stream.refuse(Reset::Refused);
        }
    }
}
