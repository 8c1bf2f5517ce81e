//! `pipe --to ID`: stdin to one node, what it writes to us is printed.

use std::time::Duration;

use smokesignal::{Acceptor, Events, Node, NodeId, NodeStream, StreamError};
use tokio::task::JoinHandle;

use super::{Reading, Sent, Style};
use crate::direct::{self, NoStream};
use crate::options::tell_trouble;
use crate::outcome::Failure;
use crate::output::Output;

/// Whoever is not there yet is looked for again after this long.
const AGAIN: Duration = Duration::from_millis(500);

/// Waits for the node; then reads stdin for it. What it writes is printed from the beginning.
pub(super) fn start(
    id: NodeId,
    node: Node,
    acceptor: Acceptor,
    mut events: Events,
    style: Style,
    output: Output,
) -> (Reading, JoinHandle<Result<Sent, Failure>>) {
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            tell_trouble(&event);
        }
    });
    let reading = tokio::spawn(print_all(id, acceptor, style, output.clone()));
    (Reading(reading), tokio::spawn(write(id, node, style, output)))
}

/// Prints what the node writes, one stream after the other. Others are refused.
async fn print_all(id: NodeId, mut acceptor: Acceptor, style: Style, output: Output) {
    while let Some(stream) = acceptor.recv().await {
        if stream.peer() == id {
            print(&stream, style, &output).await;
        } else {
            stream.reset("this node talks to another one only");
        }
    }
}

async fn print(stream: &NodeStream, style: Style, output: &Output) {
    loop {
        match stream.recv().await {
            Ok(Some(data)) => output.write(style.printed(&data)).await,
            Ok(None) => return,
            Err(error) => {
                notice!("what {} wrote broke off: {error}", stream.peer());
                return;
            }
        }
    }
}

/// A stream that the program at the other end reads.
async fn open(id: NodeId, node: &Node) -> Result<NodeStream, Failure> {
    let mut told = false;
    loop {
        let why = match direct::open(node, id).await {
            Ok(stream) => return Ok(stream),
            Err(NoStream::Failed(error)) => return Err(Failure::Failed(error.to_string())),
            Err(why) => why,
        };
        if !std::mem::replace(&mut told, true) {
            notice!("{why} (trying again until it is there)");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// A stream that breaks in the middle is an error: bytes on their way may be lost.
async fn write(id: NodeId, node: Node, style: Style, output: Output) -> Result<Sent, Failure> {
    let stream = open(id, &node).await?;
    // The node lives on by `pipe`'s own handle.
    drop(node);
    notice!("{id} is here");
    let answers = async {
        print(&stream, style, &output).await;
        std::future::pending::<()>().await;
    };
    let writing = async {
        let mut input = style.input();
        let mut sent = Sent::default();
        while let Some(messages) = input.next(&mut sent).await? {
            for message in messages {
                stream.send(message).await.map_err(|error| gone(id, &sent, &error))?;
                sent.messages += 1;
            }
        }
        // Leaving at once would cut off what was written.
        stream.finish();
        stream.finished().await.map_err(|error| gone(id, &sent, &error))?;
        Ok(sent)
    };
    tokio::select! {
        () = answers => Ok(Sent::default()),
        sent = writing => sent,
    }
}

fn gone(id: NodeId, sent: &Sent, error: &StreamError) -> Failure {
    let count = sent.messages;
    Failure::Failed(format!(
        "{id} has gone ({error}); {count} pieces were written to it, the last ones may be lost"
    ))
}
