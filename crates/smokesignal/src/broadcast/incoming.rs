//! What arrives: [`Incoming`], as the application reads it, and [`Batch`], as it is queued.
//!
//! The driver hands over consecutive messages of one writer as one batch, and every handle that
//! reads them takes them out of its own copy one by one. A copy shares the bytes of the messages.

use std::time::Duration;

use bytes::Bytes;
use smokesignal_proto::{Messages, NodeId};
use tokio::time::Instant;

/// Bytes that a queued message, or batch of messages, counts beyond its payload.
pub(crate) const OVERHEAD: usize = 96;
/// What a message counts for at least: a segment may be full of empty ones, and each of them takes
/// its reader's time.
const LEAST: usize = 32;

/// What [`Broadcast::recv`](crate::Broadcast::recv) yields.
///
/// ```
/// use smokesignal::Incoming;
///
/// /// What a program that copies state does.
/// fn apply(incoming: Incoming) -> &'static str {
///     match incoming {
///         Incoming::Message { .. } => "apply the change",
///         Incoming::Gap { .. } => "fetch the whole state again, over a stream",
///         Incoming::End { .. } => "the state is whole",
///         Incoming::Restarted { .. } => "begin with an empty state",
///     }
/// }
/// # let from = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c".parse().unwrap();
/// assert_eq!(apply(Incoming::Gap { from, missed: 3 }), "fetch the whole state again, over a stream");
/// ```
///
/// After a program, its machine or its line was held up, what comes first is old. A voice or a
/// position of half a minute ago is of no use; the program skips to now:
///
/// ```
/// # use smokesignal::{Broadcast, Incoming};
/// # use std::time::Duration;
/// # async fn play(_: bytes::Bytes) {}
/// async fn listen(mut broadcast: Broadcast) {
///     while let Some(incoming) = broadcast.recv().await {
///         match incoming {
///             Incoming::Message { age, .. } if age > Duration::from_secs(1) => {} // Too late.
///             Incoming::Message { data, .. } => play(data).await,
///             _ => {}
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// One message, exactly as it was written.
    Message {
        /// The writer.
        from: NodeId,
        /// The message's number: 1, 2, 3, … in each start of the writer. The numbers of its
        /// [questions](crate::Node::ask) are left out.
        seq: u64,
        /// The payload.
        data: Bytes,
        /// How long ago its writer wrote it: the time that it waited there, in every node on its
        /// way and in this handle's inbox, and the time between the nodes, a day at most. No clock
        /// is compared with another one. Of messages that share a segment, all have the age of the
        /// oldest. For a message from before its writer's start, it counts from that start.
        ///
        /// It is what the nodes on the way claim, and the writer's signature does not cover it:
        /// each can make the messages that it passes on look older or younger.
        age: Duration,
    },
    /// Messages of this writer that were lost: it outran the network, or this reader was too slow.
    Gap {
        /// The writer.
        from: NodeId,
        /// The number of lost messages.
        missed: u64,
    },
    /// This writer has [ended](crate::Broadcast::end) its stream, or was stopped: until it starts
    /// again there is nothing more to read of it. Missing messages were reported as a gap before. A
    /// node that was killed has no end.
    End {
        /// The writer.
        from: NodeId,
    },
    /// This writer, of which this node has read before, has started again: its next message has the
    /// number 1. What its former start wrote is complete only if that had an [end](Self::End).
    Restarted {
        /// The writer.
        from: NodeId,
    },
}

impl Incoming {
    /// Returns the writer.
    pub(crate) const fn writer(&self) -> NodeId {
        match self {
            Self::Message { from, .. }
            | Self::Gap { from, .. }
            | Self::End { from }
            | Self::Restarted { from } => *from,
        }
    }
}

/// Consecutive messages of one writer, a gap, or what has become of its stream.
#[derive(Debug, Clone)]
pub(crate) enum Batch {
    Messages {
        /// `None` is the application's broadcast stream.
        channel: Option<Bytes>,
        from: NodeId,
        seq: u64,
        messages: Messages,
        written: Written,
    },
    /// Every reader is handed a gap: the lost messages may have been for any of them.
    Gap { from: NodeId, missed: u64 },
    /// An end or a new start, for those who read the application's stream; `None` once it is taken.
    Notice(Option<Incoming>),
}

/// When messages were written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// How long before `until` that was.
    pub(crate) age: Duration,
    /// When they came into the inboxes.
    pub(crate) until: Instant,
}

impl Written {
    fn age(self, now: Instant) -> Duration {
        self.age + now.saturating_duration_since(self.until)
    }
}

impl Batch {
    /// Takes the next message, or the gap. A message's age is that at this moment: the clock is
    /// read for messages alone.
    pub(crate) fn next(&mut self) -> Option<Incoming> {
        match self {
            Self::Messages { from, seq, messages, written, .. } => {
                let (data, age) = (messages.next()?, written.age(Instant::now()));
                *seq += 1;
                Some(Incoming::Message { from: *from, seq: *seq - 1, data, age })
            }
            Self::Gap { missed: 0, .. } => None,
            Self::Gap { from, missed } => Some(Incoming::Gap { from: *from, missed: std::mem::take(missed) }),
            Self::Notice(notice) => notice.take(),
        }
    }

    /// Appends the next messages, at most `most` of them, or the gap. All have the age of this
    /// moment: the clock is read once.
    pub(crate) fn take(&mut self, most: usize, into: &mut Vec<Incoming>) {
        let Self::Messages { from, seq, messages, written, .. } = self else {
            return into.extend((0..most.min(1)).filter_map(|_| self.next()));
        };
        let (from, age, before) = (*from, written.age(Instant::now()), into.len());
        let taken = messages.take(most).zip(*seq..);
        into.extend(taken.map(|(data, seq)| Incoming::Message { from, seq, data, age }));
        *seq += (into.len() - before) as u64;
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Messages { messages, .. } => messages.len() == 0,
            Self::Gap { missed, .. } => *missed == 0,
            Self::Notice(notice) => notice.is_none(),
        }
    }

    pub(crate) fn writer(&self) -> Option<NodeId> {
        match self {
            Self::Messages { from, .. } | Self::Gap { from, .. } => Some(*from),
            Self::Notice(notice) => notice.as_ref().map(Incoming::writer),
        }
    }

    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Messages { messages, .. } => OVERHEAD + messages.bytes().max(LEAST * messages.len()),
            Self::Gap { .. } | Self::Notice(_) => OVERHEAD,
        }
    }

    pub(crate) fn is_for(&self, reader: Option<&str>) -> bool {
        match self {
            Self::Messages { channel, .. } => channel.as_deref() == reader.map(str::as_bytes),
            Self::Gap { .. } => true,
            Self::Notice(_) => reader.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn messages_that_are_taken_together_have_their_numbers_and_the_age_of_the_moment() {
        let from = NodeId::from_bytes([1; 32]);
        let written = Written { age: Duration::from_millis(5), until: Instant::now() };
        let messages = Messages::one("a".into());
        let mut batch = Batch::Messages { channel: None, from, seq: 7, messages, written };
        tokio::time::advance(Duration::from_millis(20)).await;
        let mut taken = Vec::new();
        batch.take(0, &mut taken);
        assert_eq!(taken, []);
        batch.take(2, &mut taken);
        let age = Duration::from_millis(25);
        assert_eq!(taken, [Incoming::Message { from, seq: 7, data: "a".into(), age }]);
        assert!(batch.is_empty());
    }

    #[test]
    fn a_gap_is_taken_once_and_not_where_there_is_no_room() {
        let (from, mut taken) = (NodeId::from_bytes([1; 32]), Vec::new());
        let mut batch = Batch::Gap { from, missed: 3 };
        batch.take(0, &mut taken);
        assert!(taken.is_empty() && !batch.is_empty());
        batch.take(9, &mut taken);
        batch.take(9, &mut taken);
        assert_eq!(taken, [Incoming::Gap { from, missed: 3 }]);
    }
}
