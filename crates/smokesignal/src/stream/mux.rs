//! The streams of one connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smokesignal_proto::LinkId;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use crate::lock::Lock;
use crate::stream::accept::Acceptors;
use crate::stream::budget::{Budget, Pool};
use crate::stream::handle::NodeStream;
use crate::stream::handle::{Path, Route};
use crate::stream::relay_request::RelayRequest;
use crate::stream::{FIRST_WINDOW, NEIGHBOUR_WINDOW, SendQueue, Stream};
use crate::wire::buffer_pool::BufferPools;
use crate::wire::frame::{Frame, Reset, StreamFrame};
use smokesignal_proto::NodeId;

/// Streams that each side may have opened on one connection.
const MAX_STREAMS: usize = 1024;
/// What the windows of one connection's streams may come to: all streams of the other side, and as much to grow.
const CONNECTION_BYTES: usize = MAX_STREAMS * FIRST_WINDOW * 2;
/// What the windows of all relayed streams may come to; each relayed connection has two of them.
const RELAYED_BYTES: usize = 32 * 1024 * 1024;
/// What the windows of all others may come to.
const NODE_BYTES: usize = 4 * CONNECTION_BYTES;
/// Refusals that were not sent yet. One read holds 4 600 streams that are opened and dropped at once; more than this: the
/// other side opens streams and does not read.
const MAX_REFUSALS: usize = 16_384;
/// One stream's turn: with 64 KiB in one write four streams take part in it.
const TURN: usize = 16 * 1024;

/// What the connections of a node share.
#[derive(Debug, Clone)]
pub(crate) struct SharedStreams {
    pub(crate) acceptors: Arc<Acceptors>,
    pub(crate) buffers: Arc<BufferPools>,
    pool: Arc<Pool>,
    /// The limit of relayed streams, be it this node or another one that relays.
    relayed: Arc<Pool>,
    max_message: usize,
    /// Where neighbours' requests to relay go; `None` refuses them.
    relay_requests: Option<mpsc::Sender<RelayRequest>>,
}

/// The streams of one connection: the neighbour's own one, and those that either side has opened.
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

/// Which end of a connection this node is. It decides who opens streams with odd numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Dialler,
    Acceptor,
}

/// Why a stream cannot be opened.
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

    /// Opens a stream: what is written to it goes out behind the news of it.
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
        Ok(self.handle(stream, name))
    }

    fn stream(&self, number: u32, pool: &Arc<Pool>) -> Option<Arc<Stream>> {
        let budget = Budget::new(&self.pool, pool, FIRST_WINDOW)?;
        Some(Stream::new(number, FIRST_WINDOW, Arc::clone(&self.send_queue), Some(budget)))
    }

    fn handle(&self, stream: Arc<Stream>, name: &str) -> NodeStream {
        NodeStream::new(stream, self.peer, name.into(), Arc::clone(&self.route), self.common.max_message)
    }

    pub(crate) const fn peer(&self) -> NodeId {
        self.peer
    }

    pub(crate) const fn max_message(&self) -> usize {
        self.common.max_message
    }

    /// The link stands, or is no link any more.
    pub(crate) fn set_link(&self, is_link: bool) {
        self.route.is_link.store(is_link, Ordering::Relaxed);
    }

    /// Its bytes go through other nodes.
    pub(crate) fn is_relayed(&self) -> bool {
        self.route.base == Path::Relayed
    }

    /// The connection is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// There are streams that are not over, the neighbour's own one not counted.
    pub(crate) fn is_used(&self) -> bool {
        !self.state.lock().streams.is_empty()
    }

    /// Breaks off the streams whose handles are gone and whose last data the other side has not taken for `patience`.
    pub(crate) fn abandon(&self, now: Instant, patience: Duration) {
        let streams: Vec<_> = self.state.lock().streams.values().cloned().collect();
        for stream in streams {
            if stream.is_stuck(now, patience) {
                tracing::warn!(peer = ?self.peer, "the peer did not drain a dropped stream in time; resetting it");
                stream.reset(Reset::Reason("the stream was not drained in time".into()));
            }
        }
    }

    /// A frame of a stream. False: the other side broke the rules.
    pub(crate) fn receive(&self, number: u32, frame: StreamFrame) -> bool {
        if number == 0 {
            return self.neighbour.receive(frame);
        }
        match frame {
            StreamFrame::Open(name) => {
                let offer = |stream| self.common.acceptors.offer(&name, self.handle(stream, &name));
                return self.opened(number, &self.common.pool, offer);
            }
            StreamFrame::Carry { query, target } => {
                let offer = |stream| self.relay_requested(query, target, self.handle(stream, ""));
                return self.opened(number, &self.common.relayed, offer);
            }
            _ => {}
        }
        let mut state = self.state.lock();
        let Some(stream) = state.streams.get(&number).cloned() else {
            // What was on its way when the stream ended here.
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

    /// What is to be sent now, up to about `limit` bytes of data: the streams take turns.
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
            // A whole turn, also for the last one: the same streams would be the last ones again and again.
            taken += stream.take(TURN, &mut frames);
            if stream.number() != 0 && stream.is_over() {
                self.state.lock().streams.remove(&stream.number());
            }
        }
        frames
    }

    /// The connection is gone, and all its streams with it.
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
