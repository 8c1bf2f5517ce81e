//! The streams of one connection.
//!
//! A [`Mux`] has the neighbour's own stream, number 0, and those that either side has opened; the
//! side that dialled uses odd numbers, the other one even numbers. It hands each arriving frame to
//! its stream, offers new streams to the acceptor of their name, and fills the connection's writes
//! with turns of 16 KiB, so that one busy stream does not delay the others. A stream is forgotten
//! once both directions have ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smokesignal_proto::LinkId;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use crate::lock::Lock;
use crate::stream::Stream;
use crate::stream::accept::Acceptors;
use crate::stream::budget::{Budget, Pool};
use crate::stream::handle::{NodeStream, Owner, Path, Route};
use crate::stream::relay_request::RelayRequest;
use crate::stream::send_queue::SendQueue;
use crate::stream::window::{FIRST_WINDOW, NEIGHBOUR_WINDOW};
use crate::wire::buffer_pool::BufferPools;
use crate::wire::frame::{Frame, Reset, StreamFrame};
use smokesignal_proto::NodeId;

/// Maximum number of open streams per connection and side that opened them.
const MAX_STREAMS: usize = 1024;
/// Limit of the windows of one connection's streams, whichever side opened them, in bytes: 2 048
/// first windows, or 1 024 and as much to grow. 64 MiB.
const CONNECTION_BYTES: usize = MAX_STREAMS * FIRST_WINDOW * 2;
/// Limit of the windows of all relayed streams, in bytes; a relayed connection has two of them.
const RELAYED_BYTES: usize = 32 * 1024 * 1024;
/// Limit of the windows of all other streams, in bytes: 256 MiB.
const NODE_BYTES: usize = 4 * CONNECTION_BYTES;
/// Maximum number of refusals that were not sent yet. One read can hold 4 600 streams that were
/// opened and dropped immediately; a side that exceeds this limit opens streams and does not read.
const MAX_REFUSALS: usize = 16_384;
/// Bytes of one stream's turn: four streams take part in a write of 64 KiB.
const TURN: usize = 16 * 1024;

/// The parts that all connections of a node share.
#[derive(Debug, Clone)]
pub(crate) struct SharedStreams {
    pub(crate) acceptors: Arc<Acceptors>,
    pub(crate) buffers: Arc<BufferPools>,
    pool: Arc<Pool>,
    /// The pool of relayed streams, whether this node or another one relays them.
    relayed: Arc<Pool>,
    max_message: usize,
    /// The queue for neighbours' requests to relay; `None` refuses them.
    relay_requests: Option<mpsc::Sender<RelayRequest>>,
}

/// The streams of one connection: the neighbour's own one and those that either side has opened.
#[derive(Debug)]
pub(crate) struct Mux {
    link: LinkId,
    peer: NodeId,
    common: SharedStreams,
    route: Arc<Route>,
    pool: Arc<Pool>,
    pub(crate) send_queue: Arc<SendQueue>,
    /// The neighbour's own stream.
    pub(crate) neighbour: Arc<Stream>,
    state: Lock<State>,
}

/// This node's end of a connection. The side that dialled opens streams with odd numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Dialler,
    Acceptor,
}

/// The reason why a stream cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoStream {
    TooMany,
    /// The connection has ended; its driver will know in a moment.
    Gone,
}

#[derive(Debug)]
struct State {
    streams: BTreeMap<u32, Arc<Stream>>,
    /// The number of the next stream that this side opens.
    next: u32,
    /// The highest one that the other side has opened.
    last: u32,
    refusals: Vec<(u32, Reset)>,
    closed: bool,
}

impl SharedStreams {
    pub(crate) fn new(max_message: usize) -> Self {
        let (pool, relayed) = (Pool::new(NODE_BYTES), Pool::new(RELAYED_BYTES));
        Self {
            acceptors: Arc::default(),
            buffers: Arc::default(),
            pool,
            relayed,
            max_message,
            relay_requests: None,
        }
    }

    /// Sends the requests of neighbours to relay a stream there.
    pub(crate) fn with_relay_requests(self, relay_requests: mpsc::Sender<RelayRequest>) -> Self {
        Self { relay_requests: Some(relay_requests), ..self }
    }
}

impl Mux {
    /// The streams of a connection to `peer`, whose bytes take this `path`: [`Path::Direct`] or
    /// [`Path::Relayed`].
    pub(crate) fn new(
        link: LinkId,
        peer: NodeId,
        side: Side,
        path: Path,
        common: SharedStreams,
    ) -> Arc<Self> {
        let send_queue = Arc::new(SendQueue::new(Arc::clone(&common.buffers)));
        let neighbour = Stream::new(0, NEIGHBOUR_WINDOW, Arc::clone(&send_queue), None);
        let next = match side {
            Side::Dialler => 1,
            Side::Acceptor => 2,
        };
        let state = State { streams: BTreeMap::new(), next, last: 0, refusals: Vec::new(), closed: false };
        let pool = Pool::new(CONNECTION_BYTES);
        let route = Arc::new(Route::new(path));
        Arc::new(Self { link, peer, common, route, pool, send_queue, neighbour, state: Lock::new(state) })
    }

    /// Opens a stream. The frame that opens it is sent before what is written to it.
    pub(crate) fn open(&self, name: &str) -> Result<NodeStream, NoStream> {
        self.begin(StreamFrame::Open(name.to_owned()), &self.common.pool, name)
    }

    /// Opens a stream that the other side is to relay to `target`.
    pub(crate) fn request_relay(&self, query: u64, target: NodeId) -> Option<NodeStream> {
        self.begin(StreamFrame::Carry { query, target }, &self.common.relayed, "").ok()
    }

    fn begin(&self, first: StreamFrame, pool: &Arc<Pool>, name: &str) -> Result<NodeStream, NoStream> {
        let mut state = self.state.lock();
        let ours = state.streams.keys().filter(|number| *number % 2 == state.next % 2).count();
        if state.closed {
            return Err(NoStream::Gone);
        }
        if ours >= MAX_STREAMS || state.next > u32::MAX - 2 {
            return Err(NoStream::TooMany);
        }
        let number = state.next;
        let stream = self.stream(number, pool).ok_or(NoStream::TooMany)?;
        state.next += 2;
        stream.announce(first);
        state.streams.insert(number, Arc::clone(&stream));
        Ok(self.handle(stream, name, Owner::Handle))
    }

    fn stream(&self, number: u32, pool: &Arc<Pool>) -> Option<Arc<Stream>> {
        let budget = Budget::new(&self.pool, pool, FIRST_WINDOW)?;
        Some(Stream::new(number, FIRST_WINDOW, Arc::clone(&self.send_queue), Some(budget)))
    }

    /// Returns a handle of the neighbour's own stream.
    pub(crate) fn neighbour_stream(&self) -> NodeStream {
        self.handle(Arc::clone(&self.neighbour), "", Owner::Link)
    }

    fn handle(&self, stream: Arc<Stream>, name: &str, owner: Owner) -> NodeStream {
        let (route, limit) = (Arc::clone(&self.route), self.common.max_message);
        NodeStream::new(stream, (self.peer, name.into()), route, limit, owner)
    }

    /// Notes whether the connection is a link now.
    pub(crate) fn set_link(&self, is_link: bool) {
        self.route.is_link.store(is_link, Ordering::Relaxed);
    }

    /// Returns whether other nodes relay the connection.
    pub(crate) fn is_relayed(&self) -> bool {
        self.route.base == Path::Relayed
    }

    /// Returns whether the connection is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Returns whether there are streams that are not over, without the neighbour's own one.
    pub(crate) fn is_used(&self) -> bool {
        !self.state.lock().streams.is_empty()
    }

    /// Resets the streams whose handles are dropped and whose last data the other side has not
    /// taken for `patience`.
    pub(crate) fn abandon(&self, now: Instant, patience: Duration) {
        let streams: Vec<_> = self.state.lock().streams.values().cloned().collect();
        for stream in streams {
            if stream.is_stuck(now, patience) {
                tracing::warn!(peer = ?self.peer, "the peer did not drain a dropped stream in time; resetting it");
                stream.reset(Reset::Reason("the stream was not drained in time".into()));
            }
        }
    }

    /// Takes a frame of a stream. Returns whether the protocol allows it here.
    pub(crate) fn receive(&self, number: u32, frame: StreamFrame) -> bool {
        if number == 0 {
            return self.neighbour.receive(frame);
        }
        match frame {
            StreamFrame::Open(name) => {
                let offer =
                    |stream| self.common.acceptors.offer(&name, self.handle(stream, &name, Owner::Handle));
                return self.opened(number, &self.common.pool, offer);
            }
            StreamFrame::Carry { query, target } => {
                let offer =
                    |stream| self.relay_requested(query, target, self.handle(stream, "", Owner::Handle));
                return self.opened(number, &self.common.relayed, offer);
            }
            _ => {}
        }
        let mut state = self.state.lock();
        let Some(stream) = state.streams.get(&number).cloned() else {
            // Frames that were on their way when the stream ended here are dropped.
            let known = if number % 2 == state.next % 2 { number < state.next } else { number <= state.last };
            return known;
        };
        let fine = stream.receive(frame);
        if stream.is_over() {
            state.streams.remove(&number);
        }
        fine
    }

    fn opened(&self, number: u32, pool: &Arc<Pool>, offer: impl FnOnce(Arc<Stream>)) -> bool {
        let mut state = self.state.lock();
        if number % 2 == state.next % 2 || number <= state.last || state.refusals.len() >= MAX_REFUSALS {
            return false;
        }
        state.last = number;
        let theirs = state.streams.keys().filter(|other| *other % 2 == number % 2).count();
        let stream = (theirs < MAX_STREAMS).then(|| self.stream(number, pool)).flatten();
        match stream {
            Some(stream) => {
                state.streams.insert(number, Arc::clone(&stream));
                drop(state);
                offer(stream);
            }
            None => {
                state.refusals.push((number, Reset::Busy));
                self.send_queue.wake.notify_one();
            }
        }
        true
    }

    fn relay_requested(&self, query: u64, target: NodeId, stream: NodeStream) {
        let request = RelayRequest { via: self.link, query, target, stream };
        let Some(relay_requests) = &self.common.relay_requests else {
            return request.stream.refuse(Reset::Refused);
        };
        if let Err(TrySendError::Full(request) | TrySendError::Closed(request)) =
            relay_requests.try_send(request)
        {
            request.stream.refuse(Reset::Busy);
        }
    }

    /// Returns the bytes that wait in all streams.
    pub(crate) fn unsent(&self) -> usize {
        let streams = self.state.lock();
        let sum = streams.streams.values().map(|stream| stream.unsent()).sum::<usize>();
        sum + self.neighbour.unsent()
    }

    /// Returns whether a stream has a turn, or something was refused.
    pub(crate) fn has_frames(&self) -> bool {
        self.send_queue.has_turns() || !self.state.lock().refusals.is_empty()
    }

    /// Gives out what is to be sent now, up to about `limit` bytes of data: the streams take turns.
    pub(crate) fn take(&self, limit: usize) -> Vec<Frame> {
        let refusals = std::mem::take(&mut self.state.lock().refusals);
        let mut frames: Vec<_> = refusals
            .into_iter()
            .map(|(number, reset)| Frame::Stream(number, StreamFrame::Reset(reset)))
            .collect();
        let mut taken = 0;
        while taken < limit
            && let Some(stream) = self.send_queue.next()
        {
            // A whole turn, also for the last one: the same streams would be last every time.
            taken += stream.take(TURN, &mut frames);
            if stream.number() != 0 && stream.is_over() {
                self.state.lock().streams.remove(&stream.number());
            }
        }
        frames
    }

    /// Ends all streams because the connection is gone.
    pub(crate) fn connection_lost(&self) {
        let streams = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.streams)
        };
        self.neighbour.connection_lost();
        streams.into_values().for_each(|stream| stream.connection_lost());
        self.send_queue.close();
    }
}
