//! The outboxes of direct messages: one for each node written to, and a limit for all of them.
//!
//! At the limit those with nothing to send make room: dropping one finishes its stream, and the
//! next message to that node makes a new one. While all have something to send, a further receiver
//! is refused, so that the loser is a message whose sender learns of it.

use std::collections::HashMap;

use smokesignal::NodeId;

use crate::outbox::Outbox;

/// The outboxes, by receiver.
#[derive(Debug)]
pub(crate) struct Receivers {
    outboxes: HashMap<NodeId, Outbox>,
    limit: usize,
}

impl Receivers {
    /// Creates no outbox yet, and later this many at most.
    pub(crate) fn new(limit: usize) -> Self {
        Self { outboxes: HashMap::new(), limit }
    }

    /// Returns the outbox of this receiver, or a new one; `None` if there is no room for one.
    pub(crate) fn outbox(&mut self, to: NodeId, make: impl FnOnce() -> Outbox) -> Option<&Outbox> {
        if self.outboxes.len() >= self.limit && !self.outboxes.contains_key(&to) {
            self.outboxes.retain(|_, outbox| outbox.queued() > 0);
            if self.outboxes.len() >= self.limit {
                return None;
            }
        }
        Some(self.outboxes.entry(to).or_insert_with(make))
    }

    /// Takes all outboxes.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Outbox> {
        self.outboxes.drain().map(|(_, outbox)| outbox)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Target;
    use bytes::Bytes;
    use std::sync::Arc;
    use tokio::sync::{Semaphore, mpsc};

    /// A target that takes a message for each permit.
    struct Slow(Arc<Semaphore>);

    impl Target for Slow {
        fn id(&self) -> Option<NodeId> {
            None
        }

        async fn send(&self, _: Bytes) -> Result<(), String> {
            self.0.acquire().await.map_err(|error| error.to_string())?.forget();
            Ok(())
        }
    }

    #[tokio::test]
    async fn at_the_limit_a_further_receiver_is_refused_until_one_has_nothing_to_send() {
        let (reports, mut reported) = mpsc::channel(8);
        let permits = Arc::new(Semaphore::new(0));
        let mut receivers = Receivers::new(3);
        let id = |number| NodeId::from_bytes([number; 32]);
        let mut send = |to: u8, line: u64| {
            let make = || Outbox::to(Slow(Arc::clone(&permits)), reports.clone());
            let outbox = receivers.outbox(id(to), make)?;
            // Answered when it is sent.
            let request = crate::request::Request::new(
                serde_json::value::RawValue::from_string(line.to_string()).unwrap(),
            );
            let ticket = crate::outbox::Ticket { line, request: Some(request.unwrap()) };
            outbox.try_send(ticket, "text".into()).unwrap();
            Some(())
        };
        for to in 1..=3 {
            assert_eq!(send(to, to.into()), Some(()));
        }
        assert_eq!(send(4, 4), None, "all three are busy");
        assert_eq!(send(2, 5), Some(()), "a known receiver needs no room");
        permits.add_permits(1);
        let first = reported.recv().await.unwrap();
        assert_eq!(first.ticket.line, 1, "the semaphore is fair");
        assert_eq!(send(4, 6), Some(()));
        assert_eq!(send(1, 7), None);
        assert_eq!(receivers.drain().count(), 3);
    }
}
