//! What the application's handles ask of the running node.
//!
//! A [`Command`] goes to the driver over an unbounded channel, because handles may send one from
//! code that cannot wait; each carries the means to answer it. [`Commands`] is the sending end for
//! as long as the node runs. Broadcast messages and stream data do not go this way: they have
//! bounded queues of their own.

use std::net::SocketAddr;
use std::time::Duration;

use smokesignal_proto::NodeId;
use tokio::sync::{mpsc, oneshot};

use crate::error::{ConnectError, OpenError};
use crate::lock::Lock;
use crate::stopped::Stopped;
use crate::stream::handle::NodeStream;

/// A request to the driver.
#[derive(Debug)]
pub(crate) enum Command {
    /// Make a pinned link to the node at this address; answered with its id.
    AddPeer { address: String, answer: oneshot::Sender<Result<NodeId, ConnectError>> },
    /// Close the link to this neighbour.
    ClosePeer(NodeId),
    /// Open a stream to any node of the network.
    Open { id: NodeId, name: String, answer: oneshot::Sender<Result<NodeStream, OpenError>> },
    /// Flush, leave and stop, with this patience where nothing moves; answered when done.
    Stop { patience: Duration, done: oneshot::Sender<Stopped> },
}

/// Makes the channel of commands to a driver.
pub(crate) fn channel() -> (mpsc::UnboundedSender<Command>, CommandInbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let inbox = CommandInbox { sender: sender.downgrade(), receiver };
    (sender, inbox)
}

/// The driver's end of the channel.
#[derive(Debug)]
pub(crate) struct CommandInbox {
    sender: mpsc::WeakUnboundedSender<Command>,
    receiver: mpsc::UnboundedReceiver<Command>,
}

impl CommandInbox {
    /// Returns the next command, and `None` when the last handle of the node is gone. Cancel safe.
    pub(crate) async fn recv(&mut self) -> Option<Command> {
        self.receiver.recv().await
    }

    /// Returns a sender for a handle that does not keep the node alive.
    pub(crate) fn sender(&self) -> mpsc::WeakUnboundedSender<Command> {
        self.sender.clone()
    }
}

/// The way to the driver of a node, which is closed while the node is stopped.
///
/// It holds the only strong sender: the driver ends when the last handle of the node, and this with
/// it, is dropped.
#[derive(Debug, Default)]
pub(crate) struct Commands(Lock<Option<Running>>);

#[derive(Debug)]
struct Running {
    commands: mpsc::UnboundedSender<Command>,
    local: SocketAddr,
}

impl Commands {
    /// Opens the way to the driver of a node that listens at `local`.
    pub(crate) fn open(&self, commands: mpsc::UnboundedSender<Command>, local: SocketAddr) {
        *self.0.lock() = Some(Running { commands, local });
    }

    /// Closes it when the node has stopped.
    pub(crate) fn close(&self) {
        *self.0.lock() = None;
    }

    /// Sends a command and returns whether the node is running to take it.
    pub(crate) fn send(&self, command: Command) -> bool {
        self.0.lock().as_ref().is_some_and(|running| running.commands.send(command).is_ok())
    }

    /// Returns where the node listens, while it runs.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.0.lock().as_ref().map(|running| running.local)
    }
}
