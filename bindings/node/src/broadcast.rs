//! Messages to everyone and from everyone, many in one call.
//!
//! A [`MessageReader`] polls a broadcast stream and copies messages into a batch. The ids of
//! writers are long, so an entry names its writer by a small number, and JavaScript fetches the ids
//! of new writers separately. A [`MessageWriter`] tries to send without waiting; a message without
//! room is held back with the future of its sending, and the next ones wait in JavaScript.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use napi::Result;
use napi::bindgen_prelude::BufferSlice;
use napi_derive::napi;
use smokesignal::{Broadcast, BroadcastSender, Incoming, NodeId, SendError, TrySendError};

use crate::batch::{BatchBuilder, CLOSED, WAITS, contiguous};
use crate::operation::{Operation, Outcome};
use crate::runtime::poll_once;
use crate::wake_queue::WakeQueue;

/// Flag of a batch: there are writers whose ids JavaScript has not fetched, see
/// [`MessageReader::new_writers`].
const NEW_WRITERS: u32 = 4;
/// Flag of a batch: the numbers of writers start again at 0.
const WRITERS_RESET: u32 = 8;

/// Words of an entry: length, writer's number, sequence number (low, high), age in milliseconds.
const ENTRY_WORDS: usize = 5;
/// In place of a length: a gap. The sequence number is then the count of missed messages.
const GAP: u32 = u32::MAX;
/// In place of a length: the end of a writer's stream, and its new start. There is no number.
const END: u32 = u32::MAX - 1;
const RESTARTED: u32 = u32::MAX - 2;

/// Writers that have a number. Beyond that, numbers start again at 0.
const MAX_WRITERS: usize = 1024;

/// Reads a broadcast stream.
#[napi]
pub struct MessageReader {
    /// `None` once it is closed.
    broadcast: Option<Broadcast>,
    /// A message that had no room in the buffer, and since when it waits.
    held: Option<(Incoming, Instant)>,
    /// The numbers of writers, and the ids that JavaScript has not fetched.
    writers: BTreeMap<NodeId, u32>,
    new_writers: Vec<String>,
    waker: Waker,
}

#[napi]
impl MessageReader {
    /// Wraps a reader of the library. `waker` is woken when a message arrives.
    pub(crate) fn new(broadcast: Broadcast, waker: Waker) -> Self {
        let (held, writers, new_writers) = (None, BTreeMap::new(), Vec::new());
        Self { broadcast: Some(broadcast), held, writers, new_writers, waker }
    }

    /// Fills `buffer` with messages that have arrived, and `table` with their entries.
    #[napi]
    pub fn read_into(&mut self, mut buffer: BufferSlice<'_>, mut table: BufferSlice<'_>) {
        let mut batch = BatchBuilder::<ENTRY_WORDS>::new(&mut buffer, &mut table);
        if self.writers.len() >= MAX_WRITERS {
            self.writers.clear();
            batch.flag(WRITERS_RESET);
        }
        while batch.has_room() {
            let incoming = match self.next() {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    batch.end();
                    break;
                }
                Poll::Ready(Some(incoming)) => incoming,
            };
            let (length, from, number, age) = match &incoming {
                Incoming::Message { from, seq, data, age } => {
                    if !batch.copy(data) {
                        self.held = Some((incoming, Instant::now()));
                        break;
                    }
                    (data.len() as u32, *from, *seq, age.as_millis() as u32)
                }
                Incoming::Gap { from, missed } => (GAP, *from, *missed, 0),
                Incoming::End { from } => (END, *from, 0, 0),
                Incoming::Restarted { from } => (RESTARTED, *from, 0, 0),
            };
            batch.entry([length, self.number(from), number as u32, (number >> 32) as u32, age]);
        }
        if !self.new_writers.is_empty() {
            batch.flag(NEW_WRITERS);
        }
        batch.finish();
    }

    /// Returns the message that was held back, or else the next one of the library.
    fn next(&mut self) -> Poll<Option<Incoming>> {
        match self.held.take() {
            Some((mut held, since)) => {
                if let Incoming::Message { age, .. } = &mut held {
                    *age += since.elapsed();
                }
                Poll::Ready(Some(held))
            }
            None => match &mut self.broadcast {
                Some(broadcast) => poll_once(broadcast.recv(), &self.waker),
                None => Poll::Ready(None),
            },
        }
    }

    /// Returns the number of a writer, and gives it one if it is new.
    fn number(&mut self, writer: NodeId) -> u32 {
        let next = self.writers.len() as u32;
        *self.writers.entry(writer).or_insert_with(|| {
            self.new_writers.push(writer.to_string());
            next
        })
    }

    /// Stops reading. Messages that arrive from now on are not kept.
    #[napi]
    pub fn close(&mut self) {
        (self.broadcast, self.held) = (None, None);
    }

    /// Returns the ids of the writers that have got a number since the last call, in that order.
    #[napi]
    pub fn new_writers(&mut self) -> Vec<String> {
        std::mem::take(&mut self.new_writers)
    }
}

/// A send that waits for room in the node.
type Sending = Pin<Box<dyn Future<Output = std::result::Result<(), SendError>>>>;

/// Writes to a broadcast stream.
#[napi]
pub struct MessageWriter {
    sender: BroadcastSender,
    /// A message that was taken from JavaScript and has no room in the node yet.
    held: Option<Bytes>,
    sending: Option<Sending>,
    waker: Waker,
}

#[napi]
impl MessageWriter {
    /// Wraps a sender of the library. `waker` is woken when there is room again.
    pub(crate) fn new(sender: BroadcastSender, waker: Waker) -> Self {
        Self { sender, held: None, sending: None, waker }
    }

    /// Writes `count` messages, which lie one behind the other in `buffer` and have these lengths.
    ///
    /// Returns how many were taken, with [`WAITS`] if the last of them is held here until
    /// [`resume_write`](Self::resume_write) succeeds, or [`CLOSED`] if the node is stopped.
    #[napi]
    pub fn write(&mut self, buffer: &[u8], lengths: &[u32], count: u32) -> Result<u32> {
        let (data, lengths) = contiguous(buffer, lengths, count)?;
        Ok(self.write_all(data, lengths))
    }

    /// Writes messages until one has to wait. Returns the result of [`write`](Self::write).
    fn write_all(&mut self, mut data: Bytes, lengths: &[u32]) -> u32 {
        for (taken, length) in (0..).zip(lengths) {
            let message = data.split_to(*length as usize);
            match self.sender.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) => {
                    // It may wait for long, and must not keep the memory of the whole batch.
                    let own = if lengths.len() > 1 { Bytes::copy_from_slice(&message) } else { message };
                    self.held = Some(own);
                    return match self.resume_write() {
                        // Room became free in the meantime.
                        0 => taken + 1 + self.write_all(data, &lengths[taken as usize + 1..]),
                        state => (taken + 1) | state,
                    };
                }
                // JavaScript checks the limit before, so this does not happen.
                Err(TrySendError::Send(SendError::TooLarge { .. })) => {
                    tracing::error!("a message above the limit was not sent");
                }
                Err(_) => return taken | CLOSED,
            }
        }
        lengths.len() as u32
    }

    /// Ends what the node writes, and waits for its readers. JavaScript calls it once nothing is
    /// held.
    #[napi]
    pub fn finish(&self, wake_queue: &WakeQueue, number: u32) -> Operation {
        let sender = self.sender.clone();
        // Otherwise the next write might come first.
        if let Err(error) = sender.end() {
            tracing::debug!(%error, "the stream has ended with the node");
        }
        let finish = async move { sender.finish().await };
        Operation::new(wake_queue.waker(number), finish, |_readers| Outcome::Done)
    }

    /// Writes a message and waits for its readers. JavaScript calls it once nothing is held.
    #[napi]
    pub fn send_confirmed(&self, data: &[u8], wake_queue: &WakeQueue, number: u32) -> Operation {
        let (sender, data) = (self.sender.clone(), Bytes::copy_from_slice(data));
        let send = async move { sender.send_confirmed(data).await };
        Operation::new(wake_queue.waker(number), send, Outcome::Count)
    }

    /// Tries to send the message that is held. Returns 0 if there is room for more, else the state.
    #[napi]
    pub fn resume_write(&mut self) -> u32 {
        let Some(held) = &self.held else { return 0 };
        let sending = self.sending.get_or_insert_with(|| {
            let (sender, message) = (self.sender.clone(), held.clone());
            Box::pin(async move { sender.send(message).await })
        });
        match sending.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => WAITS,
            Poll::Ready(sent) => {
                self.sending = None;
                if sent.is_err() {
                    return CLOSED; // The message stays: the node may be started again.
                }
                self.held = None;
                0
            }
        }
    }
}
