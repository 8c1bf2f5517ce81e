//! `pipe --until-end`: prints the stream of one node, from its beginning to its end.
//!
//! The stream is whole if its first message has the number 1, nothing is missing before its end,
//! and its writer has not started again before that. A stream that is not whole is printed all the
//! same, and ends the command with a failure that names what is missing.

use smokesignal::{Broadcast, Events, Incoming, NodeId};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{PrintTask, Printer, Sent, everyone};
use crate::outcome::Failure;

/// Starts a task that prints, and one that resolves when the end was printed.
pub(super) fn start(
    broadcast: Broadcast,
    events: Events,
    printer: Printer,
    from: Option<NodeId>,
) -> (PrintTask, JoinHandle<Result<Sent, Failure>>) {
    let (connected, _first_peer) = oneshot::channel();
    tokio::spawn(everyone::watch(events, connected));
    let (ended, end) = oneshot::channel();
    let printing = tokio::spawn(async move {
        let outcome = print(broadcast, printer, from).await;
        // Fails if the command ends for another reason.
        let _other_end = ended.send(outcome);
    });
    let reading = tokio::spawn(async move {
        match end.await {
            Ok(outcome) => outcome.map(|()| Sent { is_whole: true, ..Sent::default() }),
            Err(_) => Err(Failure::node_stopped()),
        }
    });
    (PrintTask(printing), reading)
}

/// Prints what one node sends: this one, or the first that something arrives from.
async fn print(mut broadcast: Broadcast, printer: Printer, from: Option<NodeId>) -> Result<(), Failure> {
    let mut stream = from.map(Stream::of);
    while let Some(incoming) = broadcast.recv().await {
        let (Incoming::Message { from, .. }
        | Incoming::Gap { from, .. }
        | Incoming::End { from }
        | Incoming::Restarted { from }) = &incoming;
        let stream = stream.get_or_insert_with(|| Stream::of(*from));
        if *from != stream.writer {
            continue;
        }
        match incoming {
            Incoming::Message { seq, data, .. } => {
                stream.note(seq);
                printer.print(&data).await;
            }
            // Before the first message its number says how many are missing.
            Incoming::Gap { .. } if stream.first.is_none() => {}
            Incoming::Gap { missed, .. } => stream.missed += missed,
            Incoming::End { .. } => return stream.outcome(),
            Incoming::Restarted { .. } => return Err(stream.broken_off()),
        }
    }
    Err(Failure::node_stopped())
}

/// The stream that is printed, as far as it is known.
struct Stream {
    writer: NodeId,
    /// The number of the first message, once there is one.
    first: Option<u64>,
    /// Messages that are missing after it.
    missed: u64,
}

impl Stream {
    const fn of(writer: NodeId) -> Self {
        Self { writer, first: None, missed: 0 }
    }

    fn note(&mut self, seq: u64) {
        self.first.get_or_insert(seq);
    }

    /// Returns whether all of the stream was printed, at its end.
    fn outcome(&self) -> Result<(), Failure> {
        let writer = self.writer;
        let cure = "start before the writer, or with --read-from oldest soon after it";
        let text = match (self.first, self.missed) {
            (Some(1), 0) => return Ok(()),
            (None, _) => format!("all that {writer} sent was sent before this node joined; {cure}"),
            (Some(first), 0) => {
                format!("the first {} messages of {writer} are missing; {cure}", first - 1)
            }
            (Some(1), missed) => format!(
                "{missed} messages of {writer} are missing: this node was too slow, or cut off; \
                 send it again, or read it again with --read-from oldest"
            ),
            (Some(first), missed) => format!(
                "the first {} messages of {writer} are missing, and {missed} later ones; {cure}",
                first - 1
            ),
        };
        Err(Failure::Failed(text))
    }

    fn broken_off(&self) -> Failure {
        let writer = self.writer;
        Failure::Failed(format!("{writer} was started again before it had sent everything; read it again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(first: Option<u64>, missed: u64) -> Result<(), String> {
        let writer = NodeId::from_bytes([7; 32]);
        Stream { writer, first, missed }.outcome().map_err(|failure| failure.to_string())
    }

    #[test]
    fn only_a_stream_from_its_first_message_and_without_a_gap_is_whole() {
        assert_eq!(outcome(Some(1), 0), Ok(()));
        for (first, missed, what) in [
            (None, 0, "all that"),
            (Some(8), 0, "the first 7 messages"),
            (Some(1), 5, "5 messages"),
            (Some(8), 5, "the first 7 messages"),
        ] {
            let text = outcome(first, missed).unwrap_err();
            assert!(text.contains(what) && text.contains("--read-from oldest"), "{text}");
        }
    }
}
