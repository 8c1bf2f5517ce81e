//! The streams of one connection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::NodeId;
use crate::NodeStream;
use crate::accept::Acceptors;
use crate::budget::{Budget, Pool};
use crate::frame::{Frame, Part, Reset};
use crate::stream::{FIRST_WINDOW, NEIGHBOUR_WINDOW, Ready, Stream};

/// Streams that each side may have opened on one connection.
const MAX_STREAMS: usize = 1024;
/// What the windows of one connection's streams may come to: all streams of the other side, and as much to grow.
const CONNECTION_BYTES: usize = MAX_STREAMS * FIRST_WINDOW * 2;
/// What the windows of all streams may come to.
const NODE_BYTES: usize = 4 * CONNECTION_BYTES;
/// Refusals that were not sent yet. One read holds 4 600 streams that are opened and dropped at once; more than this: the
/// other side opens streams and does not read.
const MAX_REFUSALS: usize = 16_384;
/// One stream's turn: with 64 KiB in one write four streams take part in it.
const TURN: usize = 16 * 1024;

/// What the connections of a node share.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) acceptors: Arc<Acceptors>,
    pool: Arc<Pool>,
    max_message: usize,
}

/// The streams of one connection: the neighbour's own one, and those that either side has opened.
#[derive(Debug)]
pub(crate) struct Mux {
    peer: NodeId,
    common: Common,
    /// Over the link to a neighbour; otherwise the connection is for streams.
    is_link: Arc<AtomicBool>,
    pool: Arc<Pool>,
    pub(crate) ready: Arc<Ready>,
    /// The neighbour's own stream.
    pub(crate) neighbour: Arc<Stream>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    streams: BTreeMap<u32, Arc<Stream>>,
    /// The number of the next stream that this side opens.
    next: u32,
    /// The highest one that the other side has opened.
    last: u32,
    refusals: Vec<(u32, Reset)>,
    cut: bool,
}

impl Common {
    pub(crate) fn new(max_message: usize) -> Self {
        Self { acceptors: Arc::default(), pool: Pool::new(NODE_BYTES), max_message }
    }
}

impl Mux {
    /// `dialled`: this side has dialled the connection to `peer`.
    pub(crate) fn new(peer: NodeId, dialled: bool, common: Common) -> Arc<Self> {
        let ready = Arc::new(Ready::default());
        let neighbour = Stream::new(0, NEIGHBOUR_WINDOW, Arc::clone(&ready), None);
        let next = if dialled { 1 } else { 2 };
        let state = State { streams: BTreeMap::new(), next, last: 0, refusals: Vec::new(), cut: false };
        let pool = Pool::new(CONNECTION_BYTES);
        let is_link = Arc::default();
        Arc::new(Self { peer, common, is_link, pool, ready, neighbour, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream: what is written to it goes out behind the news of it. `None`: there are too many, or the
    /// connection is gone.
    pub(crate) fn open(&self, name: &str) -> Option<NodeStream> {
        let mut state = self.lock();
        let ours = state.streams.keys().filter(|number| *number % 2 == state.next % 2).count();
        if state.cut || ours >= MAX_STREAMS || state.next > u32::MAX - 2 {
            return None;
        }
        let number = state.next;
        let stream = self.stream(number)?;
        state.next += 2;
        stream.announce(Part::Open(name.to_owned()));
        state.streams.insert(number, Arc::clone(&stream));
        Some(self.handle(stream, name))
    }

    fn stream(&self, number: u32) -> Option<Arc<Stream>> {
        let budget = Budget::new(&self.pool, &self.common.pool, FIRST_WINDOW)?;
        Some(Stream::new(number, FIRST_WINDOW, Arc::clone(&self.ready), Some(budget)))
    }

    fn handle(&self, stream: Arc<Stream>, name: &str) -> NodeStream {
        let is_link = Arc::clone(&self.is_link);
        NodeStream::new(stream, self.peer, name.into(), is_link, self.common.max_message)
    }

    /// The link stands, or is no link any more.
    pub(crate) fn set_link(&self, is_link: bool) {
        self.is_link.store(is_link, Ordering::Relaxed);
    }

    /// There are streams that are not over, the neighbour's own one not counted.
    pub(crate) fn is_used(&self) -> bool {
        !self.lock().streams.is_empty()
    }

    /// Breaks off the streams whose handles are gone and whose last data the other side has not taken for `patience`.
    pub(crate) fn abandon(&self, now: Instant, patience: Duration) {
        let streams: Vec<_> = self.lock().streams.values().cloned().collect();
        for stream in streams {
            if stream.is_stuck(now, patience) {
                tracing::warn!(peer = ?self.peer, "what a stream had still to send was not taken: it is given up");
                stream.reset(Reset::Reason("what was left to send was not taken in time".into()));
            }
        }
    }

    /// A frame of a stream. False: the other side broke the rules.
    pub(crate) fn receive(&self, number: u32, part: Part) -> bool {
        if number == 0 {
            return self.neighbour.receive(part);
        }
        if let Part::Open(name) = part {
            return self.opened(number, &name);
        }
        let mut state = self.lock();
        let Some(stream) = state.streams.get(&number).cloned() else {
            // What was on its way when the stream ended here.
            let known = if number % 2 == state.next % 2 { number < state.next } else { number <= state.last };
            return known;
        };
        let fine = stream.receive(part);
        if stream.is_over() {
            state.streams.remove(&number);
        }
        fine
    }

    fn opened(&self, number: u32, name: &str) -> bool {
        let mut state = self.lock();
        if number % 2 == state.next % 2 || number <= state.last || state.refusals.len() >= MAX_REFUSALS {
            return false;
        }
        state.last = number;
        let theirs = state.streams.keys().filter(|other| *other % 2 == number % 2).count();
        let stream = (theirs < MAX_STREAMS).then(|| self.stream(number)).flatten();
        match stream {
            Some(stream) => {
                state.streams.insert(number, Arc::clone(&stream));
                drop(state);
                self.common.acceptors.offer(name, self.handle(stream, name));
            }
            None => {
                state.refusals.push((number, Reset::Busy));
                self.ready.wake.notify_one();
            }
        }
        true
    }

    /// What is to be sent now, up to about `limit` bytes of data: the streams take turns.
    pub(crate) fn take(&self, limit: usize) -> Vec<Frame> {
        let refusals = std::mem::take(&mut self.lock().refusals);
        let mut frames: Vec<_> =
            refusals.into_iter().map(|(number, reset)| Frame::Stream(number, Part::Reset(reset))).collect();
        let mut taken = 0;
        while taken < limit
            && let Some(stream) = self.ready.next()
        {
            taken += stream.take(TURN.min(limit - taken), &mut frames);
            if stream.number() != 0 && stream.is_over() {
                self.lock().streams.remove(&stream.number());
            }
        }
        frames
    }

    /// The connection is gone, and all its streams with it.
    pub(crate) fn cut(&self) {
        let streams = {
            let mut state = self.lock();
            state.cut = true;
            std::mem::take(&mut state.streams)
        };
        self.neighbour.cut();
        streams.into_values().for_each(|stream| stream.cut());
        self.ready.close();
    }
}
