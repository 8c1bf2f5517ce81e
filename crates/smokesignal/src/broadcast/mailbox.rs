//! Where the application's broadcast handles and the node's driver meet.
//!
//! The [`Mailbox`] has one [outbox](Outbox), [inboxes](Inboxes) for the handles that read, and the
//! way to the responder, who answers the questions of other nodes. It [sorts](Mailbox::sort) what
//! arrives by its kind.

use std::sync::Arc;

use bytes::Bytes;
use smokesignal_proto::{MessageKind, Messages, NodeId};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::broadcast::envelope::{Question, split_channel};
use crate::broadcast::inbox::Inboxes;
use crate::broadcast::incoming::{Batch, Written};
use crate::broadcast::outbox::Outbox;
use crate::lock::Lock;
use crate::log_limit::LogLimit;

/// The outbox and the inboxes of one node.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) outbox: Outbox,
    pub(crate) inboxes: Inboxes,
    /// Where the questions of other nodes go, while this node answers any.
    questions: Lock<Option<mpsc::Sender<Question>>>,
    /// Lines about questions that are not answered.
    pub(crate) unanswered: Lock<LogLimit>,
    /// Wakes the driver: something was written, or a reader has caught up.
    wake: Arc<Notify>,
}

/// Consecutive messages of one writer, all of one kind, as the core delivers them.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) from: NodeId,
    /// The number of the first one.
    pub(crate) seq: u64,
    pub(crate) kind: MessageKind,
    pub(crate) messages: Messages,
    pub(crate) written: Written,
}

impl Mailbox {
    pub(crate) fn new(max_message: usize) -> Self {
        let wake = Arc::new(Notify::new());
        let outbox = Outbox::new(max_message, Arc::clone(&wake));
        let inboxes = Inboxes::new(max_message, Arc::clone(&wake));
        let unanswered = Lock::new(LogLimit::new());
        Self { outbox, inboxes, questions: Lock::default(), unanswered, wake }
    }

    #[cfg(test)]
    pub(crate) fn questions(&self) -> Option<mpsc::Sender<Question>> {
        self.questions.lock().clone()
    }

    /// Starts handing questions to this channel; returns false if another one has them already.
    pub(crate) fn answer_questions(&self, questions: mpsc::Sender<Question>) -> bool {
        let mut responder = self.questions.lock();
        let is_free = responder.is_none();
        if is_free {
            *responder = Some(questions);
        }
        is_free
    }

    pub(crate) fn stop_answering(&self) {
        *self.questions.lock() = None;
    }

    // The driver's side.

    /// Wakes the driver.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until something was written, or a reader that was behind has caught up. Cancel safe.
    pub(crate) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Sorts what arrived, all of one kind: adds messages to the batches for the readers, and hands
    /// questions to the responder.
    pub(crate) fn sort(&self, delivery: Delivery, batches: &mut Vec<Batch>) {
        let Delivery { from, seq, kind, messages, written } = delivery;
        match kind {
            MessageKind::Application => {
                batches.push(Batch::Messages { channel: None, from, seq, messages, written });
            }
            MessageKind::Channel => {
                for (seq, message) in (seq..).zip(messages) {
                    let Some((channel, data)) = split_channel(message) else { continue };
                    let (channel, messages) = (Some(channel), Messages::one(data));
                    batches.push(Batch::Messages { channel, from, seq, messages, written });
                }
            }
            MessageKind::Query => messages.for_each(|data| self.ask(from, data)),
            MessageKind::End => {} // The driver makes a notice of it.
            #[cfg(smokesignal_next)]
            MessageKind::Next => {}
            // The core counts them and does not deliver them.
            MessageKind::Other(_) => {}
        }
    }

    fn ask(&self, from: NodeId, data: Bytes) {
        let Some(question) = Question::read(from, data) else { return };
        let questions = self.questions.lock().clone();
        if questions.is_some_and(|questions| questions.try_send(question).is_err())
            && self.unanswered.lock().allows(Instant::now())
        {
            tracing::warn!(?from, "too many questions are waiting; this one is not answered");
        }
    }

    /// Opens the mailbox when the node starts, also after a stop: handles made before work on.
    pub(crate) fn open(&self) {
        self.outbox.open();
        self.inboxes.open();
    }

    /// Closes the mailbox when the node has stopped: writes fail and reads end. Returns the number
    /// of messages that were still waiting and are lost.
    pub(crate) fn close(&self) -> usize {
        let lost = self.outbox.close();
        self.inboxes.close();
        lost
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broadcast::Broadcast;
    use crate::broadcast::envelope::Outgoing;
    use crate::broadcast::incoming::Incoming;

    #[tokio::test(start_paused = true)]
    async fn a_channel_is_read_by_its_own_readers_alone_and_a_gap_by_all() {
        let mailbox = Arc::new(Mailbox::new(1000));
        let [mut all, mut one, mut two] =
            [None, Some("one".into()), Some("two".into())].map(|channel| Broadcast::new(&mailbox, channel));
        let (from, mut batches) = (NodeId::from_bytes([1; 32]), Vec::new());
        let written = [
            Outgoing::message("all".into()),
            Outgoing::on_channel("one", b"a"),
            Outgoing::on_channel("two", b"b"),
        ];
        for (seq, Outgoing { kind, data, .. }) in (1..).zip(written) {
            let written = Written { age: Duration::ZERO, until: Instant::now() };
            let messages = Messages::one(data);
            mailbox.sort(Delivery { from, seq, kind, messages, written }, &mut batches);
        }
        batches.push(Batch::Gap { from, missed: 7 });
        mailbox.inboxes.deliver(&batches);
        for (reader, seq, data) in [(&mut all, 1, "all"), (&mut one, 2, "a"), (&mut two, 3, "b")] {
            let message = Incoming::Message { from, seq, data: data.into(), age: Duration::ZERO };
            assert_eq!(reader.recv().await, Some(message));
            assert_eq!(reader.recv().await, Some(Incoming::Gap { from, missed: 7 }));
            assert_eq!(reader.try_recv(), None);
        }
    }
}
