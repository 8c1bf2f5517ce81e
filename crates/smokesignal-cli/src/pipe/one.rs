//! `pipe --to ID`: stdin to one neighbour, what it writes to us is printed.

use smokesignal::{Event, Events, NodeId, Peer, Peers, SendError};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Reading, Sent, Style};
use crate::options::tell_trouble;
use crate::outcome::Failure;
use crate::output::Output;

/// Waits for the neighbour; then prints what it writes, and reads stdin for it.
pub(super) fn start(
    id: NodeId,
    peers: Peers,
    events: Events,
    style: Style,
    output: Output,
) -> (Reading, JoinHandle<Result<Sent, Failure>>) {
    let (found, peer) = watch::channel(peers.get(&id));
    if peer.borrow().is_none() {
        notice!(
            "waiting for {id}, which is not a neighbour yet; name its address as --seed if this takes long"
        );
    }
    tokio::spawn(follow(id, events, found));
    let reading = tokio::spawn(print(peer.clone(), style, output));
    (Reading(reading), tokio::spawn(write(id, peer, style)))
}

/// Keeps track of the link to the one node.
async fn follow(id: NodeId, mut events: Events, found: watch::Sender<Option<Peer>>) {
    while let Some(event) = events.recv().await {
        tell_trouble(&event);
        match event {
            Event::PeerAdded(peer) if peer.id() == id => {
                notice!("{id} is here, at {}", peer.remote_addr());
                found.send_replace(Some(peer));
            }
            Event::PeerRemoved(peer) if peer.id() == id => {
                notice!("{id} has gone");
                found.send_replace(None);
            }
            _ => {}
        }
    }
}

/// Prints what arrives on this link and the ones after it.
async fn print(mut link: watch::Receiver<Option<Peer>>, style: Style, output: Output) {
    while let Some(peer) = next_link(&mut link).await {
        while let Some(data) = peer.recv().await {
            output.write(style.printed(&data)).await;
        }
        // The link has ended, but the event that says so may still be on its way.
        if link.changed().await.is_err() {
            return;
        }
        link.mark_changed();
    }
}

/// A broken link in the middle is an error: bytes on their way may be lost.
async fn write(id: NodeId, mut link: watch::Receiver<Option<Peer>>, style: Style) -> Result<Sent, Failure> {
    let Some(mut peer) = next_link(&mut link).await else {
        return Err(Failure::Failed(format!("the node stopped before {id} was there")));
    };
    let mut input = style.input();
    let mut sent = Sent::default();
    loop {
        let begun = sent.messages > 0;
        let messages = tokio::select! {
            messages = input.next(&mut sent) => messages?,
            // With nothing written yet nothing is lost: the next link will do.
            () = peer.closed(), if begun => return Err(gone(id, &sent)),
        };
        let Some(messages) = messages else { break };
        for message in messages {
            if sent.messages == 0 {
                peer = link.borrow().clone().unwrap_or(peer);
            }
            peer.send(message).await.map_err(|error| match error {
                SendError::Closed => gone(id, &sent),
                error => Failure::Failed(error.to_string()),
            })?;
            sent.messages += 1;
        }
    }
    if sent.messages > 0 {
        // The end of the stream goes out after all that was written; leaving at once would cut it off.
        peer.shutdown().await.map_err(|_| gone(id, &sent))?;
    }
    Ok(sent)
}

fn gone(id: NodeId, sent: &Sent) -> Failure {
    let count = sent.messages;
    Failure::Failed(format!("{id} has gone; {count} pieces were written to it, the last ones may be lost"))
}

/// The next link that comes up, or the one there is if it was not seen yet; `None` when there will be none.
async fn next_link(link: &mut watch::Receiver<Option<Peer>>) -> Option<Peer> {
    loop {
        if let Some(peer) = link.borrow_and_update().clone() {
            return Some(peer);
        }
        link.changed().await.ok()?;
    }
}
