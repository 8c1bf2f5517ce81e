//! `pipe` without `--to`: stdin is broadcast, what all others broadcast is printed.

use smokesignal::{Broadcast, BroadcastSender, Event, Events, Incoming};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Reading, Sent, Style};
use crate::options::tell_trouble;
use crate::outcome::Failure;
use crate::output::Output;

/// Starts to print at once, and to read stdin when the first peer is there.
pub(super) fn start(
    broadcast: Broadcast,
    events: Events,
    style: Style,
    output: Output,
) -> (Reading, JoinHandle<Result<Sent, Failure>>) {
    let sender = broadcast.sender();
    let (connected, first_peer) = oneshot::channel();
    tokio::spawn(watch(events, connected));
    let writing = tokio::spawn(async move {
        if first_peer.await.is_err() {
            return Err(Failure::Failed("the node stopped before a peer was there".to_owned()));
        }
        write(sender, style).await
    });
    (Reading(tokio::spawn(print(broadcast, style, output))), writing)
}

async fn watch(mut events: Events, connected: oneshot::Sender<()>) {
    let mut connected = Some(connected);
    while let Some(event) = events.recv().await {
        tell_trouble(&event);
        if matches!(event, Event::Connect) {
            // The writer may have gone with an interrupted program; nothing is left to tell then.
            let _told = connected.take().map(|connected| connected.send(()));
        }
    }
}

async fn print(mut broadcast: Broadcast, style: Style, output: Output) {
    while let Some(incoming) = broadcast.recv().await {
        match incoming {
            Incoming::Message { data, .. } => output.write(style.printed(&data)).await,
            Incoming::Gap { from, missed } => notice!("{missed} messages of {from} are missing here"),
        }
    }
}

async fn write(sender: BroadcastSender, style: Style) -> Result<Sent, Failure> {
    let mut input = style.input();
    let mut sent = Sent::default();
    while let Some(messages) = input.next(&mut sent).await? {
        for message in messages {
            sender.send(message).await.map_err(|error| Failure::Failed(error.to_string()))?;
            sent.messages += 1;
        }
    }
    Ok(sent)
}
