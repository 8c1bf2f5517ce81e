//! `pipe --until-end`: prints the stream of one node, from its beginning to its end.
//!
//! The stream is whole if its first message has the number 1, nothing is missing before its end,
//! and its writer has not started again before that. A stream that is not whole is printed all the
//! same, and ends the command with a failure that names what is missing.
//!
//! A writer that was killed has no end. Where others are left, they may still bring the rest, or
//! the writer may come back; once this node has been alone for its patience after the stream had
//! begun, nobody is left to bring it, and the command fails.

use std::time::Duration;

use smokesignal::{Broadcast, Event, Events, Incoming, NodeId};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{PrintTask, Printer, Sent};
use crate::options::print_warning;
use crate::outcome::Failure;

/// Starts a task that prints, and one that resolves when the end was printed.
pub(super) fn start(
    broadcast: Broadcast,
    events: Events,
    printer: Printer,
    from: Option<NodeId>,
    patience: Duration,
) -> (PrintTask, JoinHandle<Result<Sent, Failure>>) {
    let (connected, company) = watch::channel(false);
    tokio::spawn(watch_peers(events, connected));
    let (ended, end) = oneshot::channel();
    let printing = tokio::spawn(async move {
        let outcome = print(broadcast, printer, from, Company { connected: company, patience }).await;
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

/// Prints warnings, and notes whether there is any peer.
async fn watch_peers(mut events: Events, connected: watch::Sender<bool>) {
    while let Some(event) = events.recv().await {
        print_warning(&event);
        match event {
            Event::Connect => connected.send_replace(true),
            Event::Disconnect => connected.send_replace(false),
            _ => continue,
        };
    }
}

/// The other nodes, as far as there are any.
struct Company {
    /// Whether this node has any peer.
    connected: watch::Receiver<bool>,
    patience: Duration,
}

impl Company {
    /// Resolves once this node has had no peer for its patience.
    async fn is_gone(&mut self) {
        loop {
            if self.connected.wait_for(|connected| !connected).await.is_err() {
                // The node has stopped, which its stream tells as well.
                return std::future::pending().await;
            }
            tokio::select! {
                () = sleep(self.patience) => return,
                _found = self.connected.wait_for(|connected| *connected) => {}
            }
        }
    }
}

/// Prints what one node sends: this one, or the first that something arrives from.
async fn print(
    mut broadcast: Broadcast,
    printer: Printer,
    from: Option<NodeId>,
    mut company: Company,
) -> Result<(), Failure> {
    let mut stream = from.map(Stream::of);
    loop {
        let has_begun = stream.as_ref().is_some_and(Stream::has_begun);
        let incoming = tokio::select! {
            // First what has arrived.
            biased;
            incoming = broadcast.recv() => incoming,
            () = company.is_gone(), if has_begun => {
                return Err(stream.map_or_else(Failure::node_stopped, |stream| stream.deserted(company.patience)));
            }
        };
        let Some(incoming) = incoming else { return Err(Failure::node_stopped()) };
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
            Incoming::Gap { missed, .. } => stream.missed = stream.missed.saturating_add(missed),
            Incoming::End { .. } => return stream.outcome(),
            Incoming::Restarted { .. } => return Err(stream.broken_off()),
        }
    }
}

/// The stream that is printed, as far as it is known.
struct Stream {
    writer: NodeId,
    /// The number of the first message, once there is one, and of the last one so far.
    first: Option<u64>,
    last: u64,
    /// Messages that are missing after the first.
    missed: u64,
}

impl Stream {
    const fn of(writer: NodeId) -> Self {
        Self { writer, first: None, last: 0, missed: 0 }
    }

    fn note(&mut self, seq: u64) {
        self.first.get_or_insert(seq);
        self.last = seq;
    }

    const fn has_begun(&self) -> bool {
        self.first.is_some()
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

    /// Describes a stream without an end, when nobody is left to bring the rest.
    fn deserted(&self, patience: Duration) -> Failure {
        let Self { writer, last, .. } = *self;
        let mut missing = format!("everything after message {last}");
        if let Some(first @ 2..) = self.first {
            missing += &format!(", the first {} messages", first - 1);
        }
        if self.missed > 0 {
            missing += &format!(" and {} in between", self.missed);
        }
        Failure::Failed(format!(
            "{writer} has not ended its stream, and this node has had no peer for {}: {missing} may be missing; \
             send it again, and read it with --read-from oldest if this node starts after the writer",
            humantime::format_duration(patience)
        ))
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
        Stream { writer, first, last: 9, missed }.outcome().map_err(|failure| failure.to_string())
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

    #[test]
    fn the_text_about_a_stream_without_an_end_names_all_that_is_missing_and_the_cure() {
        let writer = NodeId::from_bytes([7; 32]);
        let text = |first, missed| {
            let stream = Stream { writer, first: Some(first), last: 9, missed };
            stream.deserted(Duration::from_secs(30)).to_string()
        };
        let all = text(8, 5);
        for part in [
            "no peer for 30s",
            "after message 9",
            "the first 7 messages",
            "5 in between",
            "--read-from oldest",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
        assert!(!text(1, 0).contains("first") && !text(1, 0).contains("between"), "{}", text(1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn company_is_gone_only_after_the_whole_patience_without_a_peer() {
        let (connected, receiver) = watch::channel(true);
        let patience = Duration::from_secs(30);
        let mut company = Company { connected: receiver, patience };
        let begun = tokio::time::Instant::now();
        tokio::spawn(async move {
            for (seconds, is_connected) in [(10, false), (29, true), (10, false), (100, true)] {
                sleep(Duration::from_secs(seconds)).await;
                connected.send_replace(is_connected);
            }
        });
        company.is_gone().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(10 + 29 + 10 + 30));
    }
}
