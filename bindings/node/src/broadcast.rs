//! Messages to everyone and from everyone, many in one call.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use napi::Result;
use napi::bindgen_prelude::BufferSlice;
use napi_derive::napi;
use smokesignal::{Broadcast, BroadcastSender, Incoming, NodeId, SendError, TrySendError};

use crate::runtime::poll_once;

/// 32-bit words in this machine's order, which JavaScript sees as a `Uint32Array`. The first four: how many entries follow,
/// bytes that were written, bytes that the next message needs if it had no room, and flags.
pub(crate) struct Table<'a>(pub(crate) &'a mut [u8]);

const HEAD: usize = 4;

impl Table<'_> {
    /// Entries of so many words that have room.
    pub(crate) fn room(&self, words: usize) -> usize {
        (self.0.len() / size_of::<u32>()).saturating_sub(HEAD) / words
    }

    pub(crate) fn head(&mut self, words: [u32; HEAD]) {
        self.put(0, &words);
    }

    pub(crate) fn entry<const WORDS: usize>(&mut self, number: usize, words: [u32; WORDS]) {
        self.put(HEAD + number * WORDS, &words);
    }

    fn put(&mut self, at: usize, words: &[u32]) {
        let places = self.0[at * size_of::<u32>()..].chunks_exact_mut(size_of::<u32>());
        places.zip(words).for_each(|(place, word)| place.copy_from_slice(&word.to_ne_bytes()));
    }
}

/// The stream has ended.
pub(crate) const ENDED: u32 = 1;
/// Call again: the table was full, or the buffer.
pub(crate) const MORE: u32 = 2;
/// There are writers whose names JavaScript does not know: see [`Reader::names`].
const NAMES: u32 = 4;
/// The numbers of writers begin anew.
const RENAMED: u32 = 8;

/// Words of an entry: length, writer, number (low, high). A gap has this length, and how many were missed as its number.
const ENTRY: usize = 4;
const GAP: u32 = u32::MAX;

/// Writers that have a number; beyond that all numbers are given anew.
const MAX_WRITERS: usize = 1024;

/// Reads a broadcast stream.
#[napi]
pub struct Reader {
    /// Nothing once it is closed.
    broadcast: Option<Broadcast>,
    /// One that had no room in the buffer.
    held: Option<Incoming>,
    writers: BTreeMap<NodeId, u32>,
    names: Vec<String>,
    waker: Waker,
}

#[napi]
impl Reader {
    pub(crate) fn new(broadcast: Broadcast, waker: Waker) -> Self {
        Self { broadcast: Some(broadcast), held: None, writers: BTreeMap::new(), names: Vec::new(), waker }
    }

    /// Puts what has arrived into `buffer`, one message behind the other, and notes in `table` what they are.
    #[napi]
    pub fn take(&mut self, mut buffer: BufferSlice<'_>, mut table: BufferSlice<'_>) {
        let mut table = Table(&mut table);
        let room = table.room(ENTRY);
        let (mut bytes, mut need, mut flags, mut count) = (0, 0, 0, 0);
        if self.writers.len() >= MAX_WRITERS {
            self.writers.clear();
            flags |= RENAMED;
        }
        while count < room {
            let incoming = match self.next() {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    flags |= ENDED;
                    break;
                }
                Poll::Ready(Some(incoming)) => incoming,
            };
            let (length, from, number) = match &incoming {
                Incoming::Message { from, seq, data } => {
                    let Some(place) = buffer[bytes..].get_mut(..data.len()) else {
                        need = data.len() as u32;
                        self.held = Some(incoming);
                        break;
                    };
                    place.copy_from_slice(data);
                    bytes += data.len();
                    (data.len() as u32, *from, *seq)
                }
                Incoming::Gap { from, missed } => (GAP, *from, *missed),
            };
            table.entry(count, [length, self.number(from), number as u32, (number >> 32) as u32]);
            count += 1;
        }
        if need > 0 || count == room {
            flags |= MORE;
        }
        if !self.names.is_empty() {
            flags |= NAMES;
        }
        table.head([count as u32, bytes as u32, need, flags]);
    }

    fn next(&mut self) -> Poll<Option<Incoming>> {
        match self.held.take() {
            Some(held) => Poll::Ready(Some(held)),
            None => match &mut self.broadcast {
                Some(broadcast) => poll_once(broadcast.recv(), &self.waker),
                None => Poll::Ready(None),
            },
        }
    }

    fn number(&mut self, writer: NodeId) -> u32 {
        let next = self.writers.len() as u32;
        *self.writers.entry(writer).or_insert_with(|| {
            self.names.push(writer.to_string());
            next
        })
    }

    /// Reads no more: what arrives from now on is not kept.
    #[napi]
    pub fn close(&mut self) {
        (self.broadcast, self.held) = (None, None);
    }

    /// The names of the writers whose numbers follow those that are known.
    #[napi]
    pub fn names(&mut self) -> Vec<String> {
        std::mem::take(&mut self.names)
    }
}

/// The bytes of so many messages, which lie one behind the other, and their lengths.
pub(crate) fn together<'a>(buffer: &[u8], lengths: &'a [u32], count: u32) -> Result<(Bytes, &'a [u32])> {
    let lengths = lengths.get(..count as usize);
    let total = lengths.map(|lengths| lengths.iter().map(|length| *length as usize).sum());
    let data = total.and_then(|total: usize| buffer.get(..total));
    match data.zip(lengths) {
        Some((data, lengths)) => Ok((Bytes::copy_from_slice(data), lengths)),
        None => Err(napi::Error::from_reason("a chunk is not as long as it says")),
    }
}

/// Bits of what [`Writer::write`] tells, above those for the count.
pub(crate) const WAITS: u32 = 1 << 30;
pub(crate) const CLOSED: u32 = 1 << 31;

type Sending = Pin<Box<dyn Future<Output = std::result::Result<(), SendError>>>>;

/// Writes to a broadcast stream.
#[napi]
pub struct Writer {
    sender: BroadcastSender,
    /// A message that was taken and has no room yet.
    held: Option<Bytes>,
    sending: Option<Sending>,
    waker: Waker,
}

#[napi]
impl Writer {
    pub(crate) fn new(sender: BroadcastSender, waker: Waker) -> Self {
        Self { sender, held: None, sending: None, waker }
    }

    /// Writes messages, which lie in `buffer` one behind the other and have these lengths. Tells how many were taken, and
    /// whether the next ones have to wait for [`proceed`](Self::proceed) (the last one that was taken then waits here), or
    /// the node is stopped.
    #[napi]
    pub fn write(&mut self, buffer: &[u8], lengths: &[u32], count: u32) -> Result<u32> {
        let (data, lengths) = together(buffer, lengths, count)?;
        Ok(self.write_all(data, lengths))
    }

    fn write_all(&mut self, mut data: Bytes, lengths: &[u32]) -> u32 {
        for (taken, length) in (0..).zip(lengths) {
            let message = data.split_to(*length as usize);
            match self.sender.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) => {
                    // Alone in its memory: it may wait for long.
                    self.held =
                        Some(if lengths.len() > 1 { Bytes::copy_from_slice(&message) } else { message });
                    return match self.proceed() {
                        // Room came while it was being put aside.
                        0 => taken + 1 + self.write_all(data, &lengths[taken as usize + 1..]),
                        state => (taken + 1) | state,
                    };
                }
                // JavaScript knows the limit: nothing larger comes here.
                Err(TrySendError::Send(SendError::TooLarge { .. })) => {
                    tracing::error!("a message above the limit was not sent");
                }
                Err(_) => return taken | CLOSED,
            }
        }
        lengths.len() as u32
    }

    /// Tries again: 0 if there is room for more, else why not.
    #[napi]
    pub fn proceed(&mut self) -> u32 {
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
                    return CLOSED; // It is kept: the node may be started again.
                }
                self.held = None;
                0
            }
        }
    }
}
