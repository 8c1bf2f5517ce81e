//! `pipe --to ID`: sends stdin to one node and prints what that node sends.
//!
//! stdin goes over a stream that this side opens. The other node may write to that stream, or open
//! one of its own (as another `pipe --to` does); both are printed.
//!
//! The node need not be in the network yet: opening is tried again every 500 ms, without an end,
//! and stdin is read only after it has succeeded. A stream that breaks later is not opened again,
//! because nobody knows which of its last bytes have arrived; the command fails with exit code 1.

use std::time::Duration;

use smokesignal::{Acceptor, Events, Node, NodeId, NodeStream, StreamError};
use tokio::task::JoinHandle;

use super::{PrintTask, Printer, Sent};
use crate::direct::{self, DirectError};
use crate::options::print_warning;
use crate::outcome::Failure;

/// Pause between two attempts to reach a node that is not there yet. A guess.
const RETRY: Duration = Duration::from_millis(500);

/// Starts a task that prints what the node sends, and one that waits for the node and then sends
/// stdin.
pub(super) fn start(
    id: NodeId,
    node: Node,
    acceptor: Acceptor,
    mut events: Events,
    printer: Printer,
) -> (PrintTask, JoinHandle<Result<Sent, Failure>>) {
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            print_warning(&event);
        }
    });
    let printing = tokio::spawn(print_all(id, acceptor, printer.clone()));
    (PrintTask(printing), tokio::spawn(write(id, node, printer)))
}

/// Prints the streams that the node opens, one after the other. Refuses those of other nodes.
async fn print_all(id: NodeId, mut acceptor: Acceptor, printer: Printer) {
    while let Some(stream) = acceptor.recv().await {
        if stream.peer() == id {
            print(&stream, &printer).await;
        } else {
            stream.reset("this node exchanges direct messages with another node only");
        }
    }
}

/// Prints the messages of a stream until it ends.
async fn print(stream: &NodeStream, printer: &Printer) {
    loop {
        match stream.recv().await {
            Ok(Some(data)) => printer.print(&data).await,
            Ok(None) => return,
            Err(error) => {
                let (from, cause) = (error.peer(), error.kind());
                notice!("the stream from {from} broke, and its last bytes may be lost: {cause}");
                return;
            }
        }
    }
}

/// Opens a stream to the node, and tries until the node is there and accepts it.
async fn open(id: NodeId, node: &Node) -> Result<NodeStream, Failure> {
    let mut has_warned = false;
    loop {
        // A node that cannot be reached may still start or join, and one that refuses may still run
        // a command that accepts. Other errors are final: the id may be this node's own.
        let error = match direct::open(node, id).await {
            Ok(stream) => return Ok(stream),
            Err(DirectError::Failed(error)) => return Err(Failure::Failed(error.to_string())),
            Err(error) => error,
        };
        if !has_warned {
            notice!("{error} (trying again until it answers)");
            has_warned = true;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Sends stdin to the node. Fails if the stream breaks, because bytes under way may be lost then.
async fn write(id: NodeId, node: Node, printer: Printer) -> Result<Sent, Failure> {
    let stream = open(id, &node).await?;
    // Otherwise this handle would keep the node alive after `pipe` has dropped its own.
    drop(node);
    notice!("connected to {id}");
    // The end of what the other node sends is not the end of stdin, so this never resolves.
    let printing = async {
        print(&stream, &printer).await;
        std::future::pending::<()>().await;
    };
    let writing = async {
        let mut input = printer.framing.input();
        let mut sent = Sent::default();
        while let Some(messages) = input.next(&mut sent).await? {
            for message in messages {
                let size = message.len();
                stream.send(message).await.map_err(|error| broken(id, &sent, &error))?;
                sent.messages += 1;
                printer.progress.sent(size);
            }
        }
        // Leaving the network now would lose what is still under way.
        stream.finish();
        stream.finished().await.map_err(|error| broken(id, &sent, &error))?;
        Ok(sent)
    };
    tokio::select! {
        () = printing => Ok(Sent::default()),
        sent = writing => sent,
    }
}

/// Returns the failure of a stream that broke.
fn broken(id: NodeId, sent: &Sent, error: &StreamError) -> Failure {
    let count = sent.messages;
    Failure::Failed(format!(
        "the stream to {id} broke after {count} messages, of which the last ones may be lost: {}",
        error.kind()
    ))
}
