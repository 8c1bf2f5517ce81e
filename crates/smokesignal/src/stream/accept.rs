//! Who takes the streams that others open.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::error::AcceptError;
use crate::lock::Lock;
use crate::stream::handle::NodeStream;
use crate::wire::frame::Reset;

/// Streams of one name that were opened and not taken yet, at most; more are refused as busy.
const BACKLOG: usize = 128;

/// The names this node accepts.
#[derive(Debug, Default)]
pub(crate) struct Acceptors(Lock<BTreeMap<String, mpsc::Sender<NodeStream>>>);

/// Streams of one name that other nodes open to this one. From [`Node::accept`](crate::Node::accept).
///
/// While it lives the name is accepted. When it is dropped, streams that were not taken are refused, and so are later ones.
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
    /// Weak: it holds the sender, and the last one dropped ends the receiver.
    acceptors: Weak<Acceptors>,
}

impl Acceptors {
    pub(crate) fn accept(self: &Arc<Self>, name: String) -> Result<Acceptor, AcceptError> {
        let mut names = self.0.lock();
        if names.contains_key(&name) {
            return Err(AcceptError::Taken(name));
        }
        let (sender, streams) = mpsc::channel(BACKLOG);
        names.insert(name.clone(), sender);
        Ok(Acceptor { name, streams, acceptors: Arc::downgrade(self) })
    }

    /// Somebody opened a stream. Who cannot have it is told why.
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
    /// The name that is accepted.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next stream that somebody opened. Nothing is lost if the future is dropped. `None` once the node is dropped.
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
