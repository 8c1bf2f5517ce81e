//! Messages from one node to another, wherever it is: what `pipe --to`, `direct` of `run --json` and `/msg` of `chat` have
//! in common. A sender opens a stream of the name `direct`, one chunk is one message; the receiver may answer on it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smokesignal::{Acceptor, Node, NodeId, NodeStream, OpenError, StreamError};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::leave::if_ready;
use crate::outbox::Target;
use crate::outcome::Failure;

/// The streams' name.
const NAME: &str = "direct";
/// A stream that nothing was written to for this long is ended; the next message opens another.
const IDLE: Duration = Duration::from_secs(60);
/// A connection may end while a stream is opened: so many are tried.
const TRIES: usize = 3;
/// Streams of others that are read at once; more are refused.
const READERS: usize = 4096;

/// A message that somebody has sent to this node.
pub(crate) type Received = (NodeId, Bytes);

/// One node to write to. A stream is opened for the first message, and for the next one after it has ended.
pub(crate) struct Direct {
    node: Node,
    to: NodeId,
    received: mpsc::Sender<Received>,
    stream: Mutex<Option<Arc<NodeStream>>>,
}

impl Direct {
    pub(crate) fn new(node: Node, to: NodeId, received: mpsc::Sender<Received>) -> Self {
        Self { node, to, received, stream: Mutex::new(None) }
    }

    /// The stream that is there, or a new one, once the application at the other end has taken it.
    async fn stream(&self) -> Result<Arc<NodeStream>, String> {
        let mut place = self.stream.lock().await;
        if let Some(stream) = &*place {
            return Ok(Arc::clone(stream));
        }
        let stream = Arc::new(open(&self.node, self.to).await.map_err(|error| error.to_string())?);
        tokio::spawn(read(Arc::clone(&stream), self.received.clone()));
        *place = Some(Arc::clone(&stream));
        Ok(stream)
    }

    async fn lose(&self) {
        *self.stream.lock().await = None;
    }
}

/// Why there is no stream.
#[derive(Debug)]
pub(crate) enum NoStream {
    /// Nobody knows the node, for now.
    Away(OpenError),
    /// It takes no such streams, for now.
    Refused(NodeId, StreamError),
    Failed(OpenError),
}

impl std::fmt::Display for NoStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away(error) | Self::Failed(error) => write!(f, "{error}"),
            Self::Refused(id, StreamError::Refused) => write!(f, "node {id} takes no direct messages"),
            Self::Refused(id, error) => write!(f, "node {id}: {error}"),
        }
    }
}

/// A stream to that node, taken by the application there.
pub(crate) async fn open(node: &Node, to: NodeId) -> Result<NodeStream, NoStream> {
    let mut tries = 0;
    loop {
        let stream = match node.open(to, NAME).await {
            Ok(stream) => stream,
            Err(error @ (OpenError::NotFound { .. } | OpenError::Unreachable(_) | OpenError::Busy)) => {
                return Err(NoStream::Away(error));
            }
            Err(error) => return Err(NoStream::Failed(error)),
        };
        tries += 1;
        match stream.accepted().await {
            Ok(()) => return Ok(stream),
            // The other side was giving up the connection just then. Nothing was sent: another one will do.
            Err(StreamError::ConnectionLost) if tries < TRIES => {}
            Err(error) => return Err(NoStream::Refused(to, error)),
        }
    }
}

/// From now on others may write to this node.
pub(crate) fn accept(node: &Node) -> Result<Acceptor, Failure> {
    node.accept(NAME).map_err(|error| Failure::Failed(error.to_string()))
}

/// Passes on what others write, each node's in order.
pub(crate) async fn receive(mut acceptor: Acceptor, received: mpsc::Sender<Received>) {
    let mut readers = JoinSet::new();
    while let Some(stream) = acceptor.recv().await {
        while readers.try_join_next().is_some() {}
        if readers.len() >= READERS {
            stream.reset("too many write to this node already");
            continue;
        }
        readers.spawn(read(Arc::new(stream), received.clone()));
    }
}

async fn read(stream: Arc<NodeStream>, received: mpsc::Sender<Received>) {
    let from = stream.peer();
    loop {
        match stream.recv().await {
            Ok(Some(data)) => {
                if received.send((from, data)).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => return tracing::debug!(%from, %error, "a direct stream has ended"),
        }
    }
}

impl Target for Direct {
    fn id(&self) -> Option<NodeId> {
        Some(self.to)
    }

    async fn send(&self, data: Bytes) -> Result<(), String> {
        let stream = self.stream().await?;
        match stream.send(data).await {
            Ok(()) => Ok(()),
            Err(error @ StreamError::TooLarge { .. }) => Err(error.to_string()),
            Err(error) => {
                self.lose().await;
                Err(format!("{error}; what was sent to it just before may be lost, too"))
            }
        }
    }

    /// Ends the stream when it has not been used for a while. Called anew for each message.
    async fn idle(&self) -> Result<(), String> {
        tokio::time::sleep(IDLE).await;
        if let Some(stream) = self.stream.lock().await.take() {
            stream.finish();
            if let Some(Err(error)) = if_ready(stream.finished()).await {
                return Err(format!("{error}; it may be lost, and what was sent just before"));
            }
        }
        std::future::pending().await
    }

    /// What was sent has left, or cannot any more.
    async fn finish(&self) -> Result<(), String> {
        let Some(stream) = self.stream.lock().await.take() else { return Ok(()) };
        stream.finish();
        stream.finished().await.map_err(|error| error.to_string())
    }
}
