//! One duplex stream: to a neighbour, or a named one to any node.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use napi::Result;
use napi::bindgen_prelude::BufferSlice;
use napi_derive::napi;
use smokesignal::{NodeStream, Path, Peer, StreamError};
use tokio::io::AsyncWrite as _;

use crate::broadcast::{CLOSED, ENDED, MORE, Table, WAITS, together};
use crate::failure::Failure;
use crate::runtime::{self, poll_once};

enum Kind {
    Peer(Peer),
    Named(NodeStream),
    /// Given up by this side.
    Gone,
}

/// Chunks in both directions.
#[napi]
pub struct Stream {
    kind: Kind,
    /// Of the other node.
    id: String,
    /// A chunk that had no room in the buffer.
    unread: Option<Bytes>,
    /// One that was taken and has no room yet.
    unsent: Option<Bytes>,
    failure: Option<Failure>,
    waker: Waker,
}

#[napi]
impl Stream {
    pub(crate) fn of_peer(peer: Peer, waker: Waker) -> Self {
        Self::new(peer.id().to_string(), Kind::Peer(peer), waker)
    }

    pub(crate) fn named(stream: NodeStream, waker: Waker) -> Self {
        Self::new(stream.peer().to_string(), Kind::Named(stream), waker)
    }

    fn new(id: String, kind: Kind, waker: Waker) -> Self {
        Self { kind, id, unread: None, unsent: None, failure: None, waker }
    }

    /// Puts chunks that have arrived into `buffer`, and their lengths into `table` behind its head.
    #[napi]
    pub fn take(&mut self, mut buffer: BufferSlice<'_>, mut table: BufferSlice<'_>) {
        let mut table = Table(&mut table);
        let room = table.room(1);
        let (mut bytes, mut need, mut flags, mut count) = (0, 0, 0, 0);
        while count < room {
            let data = match self.next() {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    flags |= ENDED;
                    break;
                }
                Poll::Ready(Some(data)) => data,
            };
            let Some(place) = buffer[bytes..].get_mut(..data.len()) else {
                need = data.len() as u32;
                self.unread = Some(data);
                break;
            };
            place.copy_from_slice(&data);
            table.entry(count, [data.len() as u32]);
            (bytes, count) = (bytes + data.len(), count + 1);
        }
        if need > 0 || count == room {
            flags |= MORE;
        }
        table.head([count as u32, bytes as u32, need, flags]);
    }

    fn next(&mut self) -> Poll<Option<Bytes>> {
        if let Some(data) = self.unread.take() {
            return Poll::Ready(Some(data));
        }
        match &self.kind {
            Kind::Peer(peer) => poll_once(peer.recv(), &self.waker),
            Kind::Named(stream) => poll_once(stream.recv(), &self.waker).map(|received| {
                received.unwrap_or_else(|error| {
                    self.failure.get_or_insert(error.into());
                    None
                })
            }),
            Kind::Gone => Poll::Ready(None),
        }
    }

    /// As that of a broadcast stream.
    #[napi]
    pub fn write(&mut self, buffer: &[u8], lengths: &[u32], count: u32) -> Result<u32> {
        let (mut data, lengths) = together(buffer, lengths, count)?;
        for (taken, length) in (0..).zip(lengths) {
            self.unsent = Some(data.split_to(*length as usize));
            match self.proceed() {
                0 => {}
                CLOSED => return Ok(taken | CLOSED),
                state => return Ok((taken + 1) | state),
            }
        }
        Ok(count)
    }

    /// As that of a broadcast stream.
    #[napi]
    pub fn proceed(&mut self) -> u32 {
        let Some(data) = &self.unsent else { return 0 };
        let sent = match &self.kind {
            Kind::Peer(peer) => poll_once(peer.send(data.clone()), &self.waker).map_err(Failure::from),
            Kind::Named(stream) => poll_once(stream.send(data.clone()), &self.waker).map_err(Failure::from),
            Kind::Gone => return CLOSED,
        };
        match sent {
            Poll::Pending => WAITS,
            Poll::Ready(Ok(())) => {
                self.unsent = None;
                0
            }
            Poll::Ready(Err(failure)) => {
                self.failure.get_or_insert(failure);
                self.unsent = None;
                CLOSED
            }
        }
    }

    /// Ends the writing direction. True once all that was written is on its way, or cannot be any more.
    #[napi]
    pub fn finish(&mut self) -> bool {
        let context = &mut Context::from_waker(&self.waker);
        let finished = match &mut self.kind {
            Kind::Peer(peer) => Pin::new(peer).poll_shutdown(context),
            Kind::Named(stream) => Pin::new(stream).poll_shutdown(context),
            Kind::Gone => return true,
        };
        if let Poll::Ready(Err(error)) = &finished {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<StreamError>());
            let cause = cause.cloned().unwrap_or(StreamError::ConnectionLost);
            self.failure.get_or_insert(cause.into());
        }
        finished.is_ready()
    }

    /// Why it failed, if it did.
    #[napi(getter)]
    pub fn failure(&self) -> Option<Failure> {
        self.failure.clone()
    }

    /// Ends both directions at once, and tells the other side why; without a reason, the stream is let go in order: what was
    /// written is still sent. A peer's link is closed.
    #[napi]
    pub fn close(&mut self, reason: Option<String>) {
        let _entered = runtime::enter();
        (self.unread, self.unsent) = (None, None);
        match (std::mem::replace(&mut self.kind, Kind::Gone), reason) {
            (Kind::Peer(peer), _) => peer.close(),
            (Kind::Named(stream), Some(reason)) => stream.reset(&reason),
            (Kind::Named(_) | Kind::Gone, _) => {}
        }
    }

    #[napi(getter)]
    pub fn id(&self) -> String {
        self.id.clone()
    }

    #[napi(getter)]
    pub fn name(&self) -> Option<String> {
        match &self.kind {
            Kind::Named(stream) => Some(stream.name().to_owned()),
            Kind::Peer(_) | Kind::Gone => None,
        }
    }

    /// The way that its bytes take.
    #[napi(getter)]
    pub fn path(&self) -> Option<&'static str> {
        match &self.kind {
            Kind::Named(stream) => Some(match stream.path() {
                Path::Neighbour => "neighbour",
                Path::Relayed => "relayed",
                _ => "direct",
            }),
            Kind::Peer(_) => Some("neighbour"),
            Kind::Gone => None,
        }
    }

    /// Where a peer listens.
    #[napi(getter)]
    pub fn address(&self) -> Option<String> {
        match &self.kind {
            Kind::Peer(peer) => Some(peer.remote_addr().ip().to_string()),
            Kind::Named(_) | Kind::Gone => None,
        }
    }

    /// Its port.
    #[napi(getter)]
    pub fn port(&self) -> Option<u16> {
        match &self.kind {
            Kind::Peer(peer) => Some(peer.remote_addr().port()),
            Kind::Named(_) | Kind::Gone => None,
        }
    }
}
