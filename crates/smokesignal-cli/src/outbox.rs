//! A bounded queue in front of one receiver (everyone, or one node), and a task that sends from it
//! in order. A slow receiver therefore delays nobody else, and each failure is reported with the
//! number of the line that could not be sent. A line with a request is reported in any case.
//!
//! The command that owns an outbox decides what a full queue means: `broadcast` waits, so that
//! stdin is read more slowly, while a direct message is refused with an error.

use std::future::{Future, pending};

use bytes::Bytes;
use smokesignal::{BroadcastSender, NodeId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::queue::{self, Closed, Gauge, Queued, Receiver, Sender, TrySendError};
use crate::request::Request;

/// Bytes that may wait for one receiver: two messages of the largest size. A guess.
pub(crate) const WAITING: usize = 32 << 20;

/// The receiver of an outbox.
pub(crate) trait Target: Send + Sync + 'static {
    /// Returns the id of the node, or `None` for everyone.
    fn id(&self) -> Option<NodeId>;
    /// Sends a message. Waits while the receiver is slow.
    fn send(&self, data: Bytes) -> impl Future<Output = Result<(), String>> + Send;
    /// Polled while nothing is to be sent. Resolves with an error if sent messages were lost.
    fn idle(&self) -> impl Future<Output = Result<(), String>> + Send {
        pending()
    }
    /// Called after the last message. Resolves when all messages have left, or cannot leave any
    /// more.
    fn finish(&self) -> impl Future<Output = Result<(), String>> + Send {
        std::future::ready(Ok(()))
    }
}

/// Where a message comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The number of the line of the input.
    pub(crate) line: u64,
    /// The label that the line is to be answered with.
    pub(crate) request: Option<Request>,
}

impl From<u64> for Ticket {
    fn from(line: u64) -> Self {
        Self { line, request: None }
    }
}

/// Reports that a line of the input was not sent, or that one with a request was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The receiver; `None` for everyone.
    pub(crate) to: Option<NodeId>,
    /// The line.
    pub(crate) ticket: Ticket,
    /// The reason if it was not sent.
    pub(crate) sent: Result<(), String>,
}

/// Accepts messages for one receiver.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Sender<(Ticket, Bytes)>,
    task: JoinHandle<()>,
}

impl Outbox {
    /// Starts a task that sends to the target, and reports what it cannot send and what was
    /// requested.
    pub(crate) fn to(target: impl Target, reports: mpsc::Sender<Report>) -> Self {
        let (queue, items) = queue::queue(WAITING);
        Self { queue, task: tokio::spawn(send_all(items, target, reports)) }
    }

    /// Queues a message. Waits for room.
    pub(crate) async fn send(&self, ticket: impl Into<Ticket>, data: Bytes) -> Result<(), Closed> {
        let size = data.len();
        self.queue.send((ticket.into(), data), size).await
    }

    /// Queues a message. Fails if there is no room.
    pub(crate) fn try_send(&self, ticket: impl Into<Ticket>, data: Bytes) -> Result<(), TrySendError> {
        let size = data.len();
        self.queue.try_send((ticket.into(), data), size)
    }

    /// Returns the number of bytes that have not been sent yet.
    pub(crate) fn queued(&self) -> usize {
        self.queue.queued()
    }

    /// Returns a handle that counts the bytes that have not been sent yet.
    pub(crate) fn gauge(&self) -> Gauge {
        self.queue.gauge()
    }

    /// Closes the queue. The returned task ends when everything has been sent or reported.
    ///
    /// The only sender is dropped here, and that is what closes the queue. An outbox that is simply
    /// dropped ends in the same way, with nobody waiting for it.
    pub(crate) fn finish(self) -> JoinHandle<()> {
        self.task
    }
}

/// Sends the items of a queue in order until the queue is closed, and reports failures and what was
/// requested.
async fn send_all(mut items: Receiver<(Ticket, Bytes)>, target: impl Target, reports: mpsc::Sender<Report>) {
    let to = target.id();
    let report = async |ticket, sent| {
        // Fails only when the program is ending.
        let _at_the_end = reports.send(Report { to, ticket, sent }).await;
    };
    // The line that a failure of `idle` or `finish` is reported with. Its request, if it had one,
    // is answered already.
    let mut last = 0;
    loop {
        let next = tokio::select! {
            // First the queue: a waiting message must not be delayed by the end of an idle time.
            biased;
            next = items.recv() => next,
            idle = target.idle() => {
                if idle.is_err() {
                    report(last.into(), idle).await;
                }
                continue;
            }
        };
        let Some(Queued { item: (ticket, data), _room }) = next else { break };
        last = ticket.line;
        let sent = target.send(data).await;
        if sent.is_err() || ticket.request.is_some() {
            report(ticket, sent).await;
        }
    }
    let finished = target.finish().await;
    if finished.is_err() {
        report(last.into(), finished).await;
    }
}

impl Target for BroadcastSender {
    fn id(&self) -> Option<NodeId> {
        None
    }

    async fn send(&self, data: Bytes) -> Result<(), String> {
        Self::send(self, data).await.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that records what it is sent, refuses the message `large`, and fails at its end.
    struct Recorder(mpsc::UnboundedSender<Bytes>);

    impl Target for Recorder {
        fn id(&self) -> Option<NodeId> {
            None
        }

        async fn send(&self, data: Bytes) -> Result<(), String> {
            match &data[..] {
                b"large" => Err("too large".to_owned()),
                _ => self.0.send(data).map_err(|error| error.to_string()),
            }
        }

        async fn finish(&self) -> Result<(), String> {
            Err("the end was lost".to_owned())
        }
    }

    fn label(text: &str) -> Option<Request> {
        let value = serde_json::value::RawValue::from_string(text.to_owned()).unwrap();
        Some(Request::new(value).unwrap())
    }

    #[tokio::test]
    async fn messages_are_sent_in_order_and_a_refused_one_and_each_request_are_reported() {
        let (sent, mut received) = mpsc::unbounded_channel();
        let (reports, mut reported) = mpsc::channel(8);
        let outbox = Outbox::to(Recorder(sent), reports);
        for (line, text) in [(1, "a"), (2, "large"), (3, "b")] {
            outbox.send(line, text.into()).await.unwrap();
        }
        let [done, refused] = [(4, "7"), (5, "8")].map(|(line, text)| Ticket { line, request: label(text) });
        outbox.send(refused.clone(), "large".into()).await.unwrap();
        outbox.send(done.clone(), "c".into()).await.unwrap();
        outbox.finish().await.unwrap();
        for text in ["a", "b", "c"] {
            assert_eq!(received.recv().await.unwrap(), text);
        }
        let too_large = || Err("too large".to_owned());
        let lost = Err("the end was lost".to_owned());
        for (ticket, sent) in
            [(2.into(), too_large()), (refused, too_large()), (done, Ok(())), (4.into(), lost)]
        {
            assert_eq!(reported.recv().await, Some(Report { to: None, ticket, sent }));
        }
        assert_eq!(reported.recv().await, None);
    }
}
