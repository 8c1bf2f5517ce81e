//! A bounded queue in front of one receiver (everybody, or one peer), with a task that empties it in order.
//! So a slow receiver holds up nobody else, and what could not be sent is reported.

use std::future::{Future, pending};

use bytes::Bytes;
use smokesignal::{BroadcastSender, NodeId, Peer, SendError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::queue::{self, Closed, Queued, Receiver, Sender, TrySendError};

/// Bytes that may wait for one receiver: two messages of the largest size. A guess.
pub(crate) const WAITING: usize = 32 << 20;

/// Where an outbox delivers to.
pub(crate) trait Target: Send + Sync + 'static {
    /// The node, or `None` for everybody.
    fn id(&self) -> Option<NodeId>;
    /// Waits while the receiver is slow.
    fn send(&self, data: Bytes) -> impl Future<Output = Result<(), SendError>> + Send;
    /// Resolves when nothing can be delivered any more.
    fn closed(&self) -> impl Future<Output = ()> + Send;
}

/// This line of the input was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsent {
    /// To whom; `None` for everybody.
    pub(crate) to: Option<NodeId>,
    /// The number of the line.
    pub(crate) line: u64,
    pub(crate) error: SendError,
}

/// Accepts messages for one receiver.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Sender<(u64, Bytes)>,
    task: JoinHandle<()>,
}

impl Outbox {
    /// Starts the task; what it cannot send it reports.
    pub(crate) fn to(target: impl Target, reports: mpsc::Sender<Unsent>) -> Self {
        let (queue, items) = queue::queue(WAITING);
        Self { queue, task: tokio::spawn(empty(items, target, reports)) }
    }

    /// Waits for room.
    pub(crate) async fn send(&self, line: u64, data: Bytes) -> Result<(), Closed> {
        let size = data.len();
        self.queue.send((line, data), size).await
    }

    /// Does not wait.
    pub(crate) fn try_send(&self, line: u64, data: Bytes) -> Result<(), TrySendError> {
        let size = data.len();
        self.queue.try_send((line, data), size)
    }

    /// Whether the receiver has gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Bytes that are not sent yet.
    pub(crate) fn queued(&self) -> usize {
        self.queue.queued()
    }

    /// Takes nothing more; the handle resolves when all is sent or reported.
    pub(crate) fn finish(self) -> JoinHandle<()> {
        self.task
    }
}

async fn empty(mut items: Receiver<(u64, Bytes)>, target: impl Target, reports: mpsc::Sender<Unsent>) {
    let to = target.id();
    let report = async |line, error| {
        // The one who gets the reports goes only when the program ends.
        let _at_the_end = reports.send(Unsent { to, line, error }).await;
    };
    loop {
        let next = tokio::select! {
            next = items.recv() => next,
            () = target.closed() => break,
        };
        let Some(Queued { item: (line, data), _room }) = next else { return };
        match target.send(data).await {
            Ok(()) => {}
            Err(error) => {
                let closed = error == SendError::Closed;
                report(line, error).await;
                if closed {
                    break;
                }
            }
        }
    }
    items.close();
    while let Some(Queued { item: (line, _), .. }) = items.try_recv() {
        report(line, SendError::Closed).await;
    }
}

impl Target for BroadcastSender {
    fn id(&self) -> Option<NodeId> {
        None
    }

    async fn send(&self, data: Bytes) -> Result<(), SendError> {
        Self::send(self, data).await
    }

    fn closed(&self) -> impl Future<Output = ()> + Send {
        pending()
    }
}

impl Target for Peer {
    fn id(&self) -> Option<NodeId> {
        Some(Self::id(self))
    }

    async fn send(&self, data: Bytes) -> Result<(), SendError> {
        Self::send(self, data).await
    }

    async fn closed(&self) {
        Self::closed(self).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes on what it gets; refuses `large`, and is closed after `last`.
    struct Recorder(mpsc::UnboundedSender<Bytes>);

    impl Target for Recorder {
        fn id(&self) -> Option<NodeId> {
            None
        }

        async fn send(&self, data: Bytes) -> Result<(), SendError> {
            match &data[..] {
                b"large" => Err(SendError::TooLarge { size: 5, limit: 4 }),
                b"closed" => Err(SendError::Closed),
                _ => self.0.send(data).map_err(|_| SendError::Closed),
            }
        }

        fn closed(&self) -> impl Future<Output = ()> + Send {
            pending()
        }
    }

    #[tokio::test]
    async fn messages_go_out_in_order_and_a_refused_one_is_reported() {
        let (sent, mut received) = mpsc::unbounded_channel();
        let (reports, mut reported) = mpsc::channel(8);
        let outbox = Outbox::to(Recorder(sent), reports);
        for (line, text) in [(1, "a"), (2, "large"), (3, "b")] {
            outbox.send(line, text.into()).await.unwrap();
        }
        outbox.finish().await.unwrap();
        assert_eq!(received.recv().await.unwrap(), "a");
        assert_eq!(received.recv().await.unwrap(), "b");
        assert_eq!(reported.recv().await.unwrap().line, 2);
        assert_eq!(reported.recv().await, None);
    }

    #[tokio::test]
    async fn when_the_receiver_goes_everything_left_is_reported() {
        let (sent, _received) = mpsc::unbounded_channel();
        let (reports, mut reported) = mpsc::channel(8);
        let outbox = Outbox::to(Recorder(sent), reports);
        outbox.send(1, "closed".into()).await.unwrap();
        // The task may have ended already: then the caller is told here instead.
        let second = outbox.send(2, "late".into()).await;
        assert_eq!(reported.recv().await.unwrap().line, 1);
        assert_eq!(reported.recv().await.map(|unsent| unsent.line), second.is_ok().then_some(2));
        assert!(outbox.is_closed());
    }
}
