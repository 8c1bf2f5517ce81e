//! Direct messages from one node to another, neighbour or not: the common part of `pipe --to`, the
//! command `direct` of `run --json`, and `/msg` of `chat`.
//!
//! A sender opens a stream named `direct` with its first message, and each chunk on it is one
//! message. Both sides may write to the same stream. A stream that has been idle for [`IDLE`] is
//! finished, and the next message opens a new one.
//!
//! Direct messages are not acknowledged. A send that succeeds means that the stream has taken the
//! message; if the stream breaks afterwards, the error warns that earlier messages may be lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smokesignal::{Acceptor, Node, NodeId, NodeStream, OpenError, StreamError, StreamErrorKind};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::leave::if_ready;
use crate::open::{self, Failed};
use crate::outbox::Target;
use crate::outcome::Failure;

/// The name of the streams.
const NAME: &str = "direct";
/// A stream to which nothing has been written for this long is finished. A guess.
const IDLE: Duration = Duration::from_secs(60);

/// The most streams of other nodes that are read concurrently; more are refused. A guess.
const READERS: usize = 4096;

/// A direct message to this node, with its sender.
pub(crate) type DirectMessage = (NodeId, Bytes);

/// The sender of direct messages to one node.
pub(crate) struct Direct {
    node: Node,
    to: NodeId,
    /// Takes what the other node writes to the stream that this side opened.
    received: mpsc::Sender<DirectMessage>,
    /// The open stream, shared with the task that reads from it. `None` before the first message,
    /// after an idle time and after an error.
    stream: Mutex<Option<Arc<NodeStream>>>,
}

impl Direct {
    /// Creates a sender. Messages that the other node writes to the same stream go to `received`.
    pub(crate) fn new(node: Node, to: NodeId, received: mpsc::Sender<DirectMessage>) -> Self {
        Self { node, to, received, stream: Mutex::new(None) }
    }

    /// Returns the open stream, or opens one and waits until the other node has accepted it.
    async fn stream(&self) -> Result<Arc<NodeStream>, String> {
        let mut open_stream = self.stream.lock().await;
        if let Some(stream) = &*open_stream {
            return Ok(Arc::clone(stream));
        }
        let stream = Arc::new(open(&self.node, self.to).await.map_err(|error| error.to_string())?);
        tokio::spawn(read(Arc::clone(&stream), self.received.clone()));
        *open_stream = Some(Arc::clone(&stream));
        Ok(stream)
    }

    /// Forgets a broken stream, so that the next message opens another one.
    async fn drop_stream(&self) {
        *self.stream.lock().await = None;
    }
}

/// Why a stream could not be opened.
#[derive(Debug)]
pub(crate) enum DirectError {
    /// The node is not in the network, or cannot be reached now.
    Unreachable(OpenError),
    /// The node does not accept direct messages now.
    Refused(StreamError),
    /// Trying again cannot help.
    Failed(OpenError),
}

impl std::fmt::Display for DirectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(error) | Self::Failed(error) => write!(f, "{error}"),
            Self::Refused(error) if error.kind() == &StreamErrorKind::Refused => write!(
                f,
                "node {} does not accept direct messages; it has to run chat, pipe --to or run --json",
                error.peer()
            ),
            Self::Refused(error) => write!(f, "{error}"),
        }
    }
}

/// Opens a stream to a node, and waits until the program there has accepted it.
pub(crate) async fn open(node: &Node, to: NodeId) -> Result<NodeStream, DirectError> {
    open::open(node, to, NAME).await.map_err(|failed| match failed {
        Failed::Opening(
            error @ (OpenError::NotFound { .. } | OpenError::Unreachable(_) | OpenError::Busy),
        ) => DirectError::Unreachable(error),
        Failed::Opening(error) => DirectError::Failed(error),
        Failed::Accepting(error) => DirectError::Refused(error),
    })
}

/// Starts to accept direct messages.
pub(crate) fn accept(node: &Node) -> Result<Acceptor, Failure> {
    node.accept(NAME).map_err(|error| Failure::Failed(error.to_string()))
}

/// Passes on the direct messages of other nodes; those of one stream stay in order.
pub(crate) async fn receive(mut acceptor: Acceptor, received: mpsc::Sender<DirectMessage>) {
    let mut readers = JoinSet::new();
    while let Some(stream) = acceptor.recv().await {
        // Readers whose streams have ended make room.
        while readers.try_join_next().is_some() {}
        if readers.len() >= READERS {
            stream.reset("too many nodes write to this node; try later");
            continue;
        }
        readers.spawn(read(Arc::new(stream), received.clone()));
    }
}

/// Passes on the messages of a stream until it ends.
async fn read(stream: Arc<NodeStream>, received: mpsc::Sender<DirectMessage>) {
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
            // The stream is intact: only this message was refused.
            Err(error) if matches!(error.kind(), StreamErrorKind::TooLarge { .. }) => {
                Err(error.kind().to_string())
            }
            Err(error) => {
                self.drop_stream().await;
                Err(format!("{error}; messages sent to it just before may be lost, too"))
            }
        }
    }

    /// Finishes the stream after [`IDLE`]. Each message interrupts this wait.
    async fn idle(&self) -> Result<(), String> {
        tokio::time::sleep(IDLE).await;
        if let Some(stream) = self.stream.lock().await.take() {
            stream.finish();
            // A failure that is known now is reported. A stream that is not done yet is left alone,
            // because waiting for it would delay the next message.
            if let Some(Err(error)) = if_ready(stream.sent()).await {
                return Err(format!("{error}; this message and those just before it may be lost"));
            }
        }
        std::future::pending().await
    }

    /// Finishes the stream and waits until all of it is handed to the connection. The other node
    /// may not have read it by then; stopping the node flushes the connection. The connection may
    /// go meanwhile, because the other node stops, too. Then only messages that were not sent are a
    /// failure: the receiver does not need the end of the stream.
    async fn finish(&self) -> Result<(), String> {
        let Some(stream) = self.stream.lock().await.take() else { return Ok(()) };
        stream.finish();
        if let Err(error) = stream.finished().await {
            tracing::debug!(to = %self.to, %error, "the end of a direct stream is lost");
        }
        stream.sent().await.map_err(|error| error.to_string())
    }
}
