//! `pipe` without `--to`: broadcasts stdin and prints what all other nodes broadcast.
//!
//! Three tasks share the work: one prints, one waits for the first peer and then writes, and one
//! reads the events of the node to report that peer. A write waits while the network is behind;
//! then stdin is not read either, and the program that feeds it waits. The messages of several
//! writers are printed in the order of their arrival, so without `--lines` their bytes mix.

use std::time::Duration;

use smokesignal::{Broadcast, BroadcastSender, Event, Events, Incoming};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{PrintTask, Printer, Sent};
use crate::options::print_warning;
use crate::outcome::Failure;

/// Starts a task that prints, and one that reads stdin as soon as the first peer is connected. A
/// reader that stands still for longer than `reader_timeout` is reported.
pub(super) fn start(
    broadcast: Broadcast,
    events: Events,
    printer: Printer,
    reader_timeout: Option<Duration>,
) -> (PrintTask, JoinHandle<Result<Sent, Failure>>) {
    let (sender, writer) = (broadcast.sender(), printer.clone());
    let (connected, first_peer) = oneshot::channel();
    tokio::spawn(watch(events, connected, reader_timeout.unwrap_or_default()));
    let writing = tokio::spawn(async move {
        if first_peer.await.is_err() {
            let text = "the node stopped before it was connected, and stdin was not sent";
            return Err(Failure::Failed(text.to_owned()));
        }
        write(sender, writer).await
    });
    (PrintTask(tokio::spawn(print(broadcast, printer))), writing)
}

/// Prints warnings, and reports the first connection.
async fn watch(mut events: Events, connected: oneshot::Sender<()>, reader_timeout: Duration) {
    let mut connected = Some(connected);
    while let Some(event) = events.recv().await {
        print_warning(&event);
        if let Event::ReaderTimedOut { reader } = &event {
            let timeout = humantime::format_duration(reader_timeout);
            notice!("reader {reader} has confirmed nothing for {timeout}: it is no longer waited for");
        }
        if matches!(event, Event::Connect) {
            // Fails if the program is ending, and then nothing is to be written any more.
            let _ending = connected.take().map(|connected| connected.send(()));
        }
    }
}

/// Prints all messages, until the node has stopped.
async fn print(mut broadcast: Broadcast, printer: Printer) {
    while let Some(incoming) = broadcast.recv().await {
        match incoming {
            Incoming::Message { data, .. } => printer.print(&data).await,
            // On stderr, because stdout carries nothing but what others wrote.
            Incoming::Gap { from, missed } => notice!("{missed} messages from {from} are missing here"),
            Incoming::End { .. } | Incoming::Restarted { .. } => {}
        }
    }
}

/// Broadcasts stdin, and its end. Waits while the network cannot take more.
async fn write(sender: BroadcastSender, printer: Printer) -> Result<Sent, Failure> {
    let mut input = printer.framing.input();
    let mut sent = Sent::default();
    while let Some(messages) = input.next(&mut sent).await? {
        for message in messages {
            let size = message.len();
            sender.send(message).await.map_err(|error| Failure::Failed(error.to_string()))?;
            sent.messages += 1;
            printer.progress.sent(size);
        }
    }
    if sent.messages > 0 {
        // With `--keep` the node stays, and readers need not wait for it.
        sender.end().map_err(|error| Failure::Failed(error.to_string()))?;
    }
    Ok(sent)
}
