//! One duplex stream: to a neighbour, or a named one to any node.
//!
//! Reads and writes are polled by JavaScript with one waker. A chunk that had no room, in
//! JavaScript's buffer or in the library, is held here. The first error is kept for
//! [`Stream::failure`]; after it, reads end and writes are refused.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use napi::Result;
use napi::bindgen_prelude::BufferSlice;
use napi_derive::napi;
use smokesignal::{NodeStream, Path, Peer, StreamError};
use tokio::io::AsyncWrite as _;

use crate::batch::{BatchBuilder, CLOSED, WAITS, contiguous};
use crate::failure::Failure;
use crate::node::NativeLinkMetrics;
use crate::runtime::{self, poll_once};

/// The library's stream.
enum Kind {
    Peer(Peer),
    Named(NodeStream),
    /// This side has closed it.
    Closed,
}

/// A stream of chunks in both directions.
#[napi]
pub struct Stream {
    kind: Kind,
    /// The id of the other node.
    id: String,
    /// A chunk that had no room in JavaScript's buffer.
    unread: Option<Bytes>,
    /// A chunk that was taken from JavaScript and has no room in the library yet.
    unsent: Option<Bytes>,
    /// The first error.
    failure: Option<Failure>,
    waker: Waker,
}

#[napi]
impl Stream {
    /// Wraps the stream to a peer. `waker` is woken for its reads and writes.
    pub(crate) fn of_peer(peer: Peer, waker: Waker) -> Self {
        Self::new(peer.id().to_string(), Kind::Peer(peer), waker)
    }

    /// Wraps a named stream. `waker` is woken for its reads and writes.
    pub(crate) fn named(stream: NodeStream, waker: Waker) -> Self {
        Self::new(stream.peer().to_string(), Kind::Named(stream), waker)
    }

    fn new(id: String, kind: Kind, waker: Waker) -> Self {
        Self { kind, id, unread: None, unsent: None, failure: None, waker }
    }

    /// Returns the figures of the link to a peer; `None` for any other stream, and once this side
    /// has closed it.
    #[napi]
    pub fn metrics(&self) -> Option<NativeLinkMetrics> {
        match &self.kind {
            Kind::Peer(peer) => Some(peer.metrics().into()),
            Kind::Named(_) | Kind::Closed => None,
        }
    }

    /// Fills `buffer` with chunks that have arrived, and `table` with their lengths.
    #[napi]
    pub fn read_into(&mut self, mut buffer: BufferSlice<'_>, mut table: BufferSlice<'_>) {
        let mut batch = BatchBuilder::<1>::new(&mut buffer, &mut table);
        while batch.has_room() {
            match self.next() {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    batch.end();
                    break;
                }
                Poll::Ready(Some(data)) => {
                    if !batch.copy(&data) {
                        self.unread = Some(data);
                        break;
                    }
                    batch.entry([data.len() as u32]);
                }
            }
        }
        batch.finish();
    }

    /// Returns the chunk that was held back, or else the next one of the library. `None` is the
    /// end.
    fn next(&mut self) -> Poll<Option<Bytes>> {
        if let Some(data) = self.unread.take() {
            return Poll::Ready(Some(data));
        }
        match &self.kind {
            // A broken link ends a peer's stream without an error, as in 0.2.x: programs for it
            // have no listener for `error`.
            Kind::Peer(peer) => poll_once(peer.recv(), &self.waker).map(|received| received.ok().flatten()),
            Kind::Named(stream) => poll_once(stream.recv(), &self.waker).map(|received| {
                received.unwrap_or_else(|error| {
                    self.failure.get_or_insert(error.into());
                    None
                })
            }),
            Kind::Closed => Poll::Ready(None),
        }
    }

    /// Writes chunks, like [`MessageWriter::write`](crate::broadcast::MessageWriter::write).
    #[napi]
    pub fn write(&mut self, buffer: &[u8], lengths: &[u32], count: u32) -> Result<u32> {
        let (mut data, lengths) = contiguous(buffer, lengths, count)?;
        for (taken, length) in (0..).zip(lengths) {
            self.unsent = Some(data.split_to(*length as usize));
            match self.resume_write() {
                0 => {}
                CLOSED => return Ok(taken | CLOSED),
                state => return Ok((taken + 1) | state),
            }
        }
        Ok(count)
    }

    /// Tries to send the chunk that is held. Returns 0 if there is room for more, else the state.
    #[napi]
    pub fn resume_write(&mut self) -> u32 {
        let Some(data) = &self.unsent else { return 0 };
        let sent = match &self.kind {
            Kind::Peer(peer) => poll_once(peer.send(data.clone()), &self.waker).map_err(Failure::from),
            Kind::Named(stream) => poll_once(stream.send(data.clone()), &self.waker).map_err(Failure::from),
            Kind::Closed => return CLOSED,
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

    /// Finishes the writing direction. Returns whether that is done: everything that was written is
    /// on its way, or has failed. If it is not, the stream's number becomes due later.
    #[napi]
    pub fn finish(&mut self) -> bool {
        let context = &mut Context::from_waker(&self.waker);
        let finished = match &mut self.kind {
            Kind::Peer(peer) => Pin::new(peer).poll_shutdown(context),
            Kind::Named(stream) => Pin::new(stream).poll_shutdown(context),
            Kind::Closed => return true,
        };
        if let Poll::Ready(Err(error)) = &finished {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<StreamError>());
            let failure = cause.cloned().map_or_else(|| Failure::stream(error), Failure::from);
            self.failure.get_or_insert(failure);
        }
        finished.is_ready()
    }

    /// Why the stream failed, if it did.
    #[napi(getter)]
    pub fn failure(&self) -> Option<Failure> {
        self.failure.clone()
    }

    /// Closes both directions. With a reason, a named stream is reset and the other end gets the
    /// text; without one, it is closed in order, and what was written is still sent. A peer's link
    /// is closed.
    #[napi]
    pub fn close(&mut self, reason: Option<String>) {
        let _entered = runtime::enter();
        (self.unread, self.unsent) = (None, None);
        match (std::mem::replace(&mut self.kind, Kind::Closed), reason) {
            (Kind::Peer(peer), _) => peer.close(),
            (Kind::Named(stream), Some(reason)) => stream.reset(&reason),
            (Kind::Named(_) | Kind::Closed, _) => {}
        }
    }

    /// The id of the other node.
    #[napi(getter)]
    pub fn id(&self) -> String {
        self.id.clone()
    }

    /// The name of a named stream.
    #[napi(getter)]
    pub fn name(&self) -> Option<String> {
        match &self.kind {
            Kind::Named(stream) => Some(stream.name().to_owned()),
            Kind::Peer(_) | Kind::Closed => None,
        }
    }

    /// The path that its bytes take now.
    #[napi(getter)]
    pub fn path(&self) -> Option<&'static str> {
        match &self.kind {
            Kind::Named(stream) => Some(match stream.path() {
                Path::Neighbour => "neighbour",
                Path::Relayed => "relayed",
                _ => "direct",
            }),
            Kind::Peer(_) => Some("neighbour"),
            Kind::Closed => None,
        }
    }

    /// The IP address where a peer listens.
    #[napi(getter)]
    pub fn address(&self) -> Option<String> {
        match &self.kind {
            Kind::Peer(peer) => Some(peer.remote_addr().ip().to_string()),
            Kind::Named(_) | Kind::Closed => None,
        }
    }

    /// The port where a peer listens.
    #[napi(getter)]
    pub fn port(&self) -> Option<u16> {
        match &self.kind {
            Kind::Peer(peer) => Some(peer.remote_addr().port()),
            Kind::Named(_) | Kind::Closed => None,
        }
    }
}
