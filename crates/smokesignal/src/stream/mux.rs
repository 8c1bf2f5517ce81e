//! The streams of one connection.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smokesignal_proto::LinkId;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use crate::driver::relay::Circuit;
use crate::stream::accept::Acceptors;
use crate::stream::budget::{Budget, Pool};
use crate::stream::handle::NodeStream;
use crate::stream::handle::Way;
use crate::stream::{FIRST_WINDOW, NEIGHBOUR_WINDOW, Ready, Stream};
use crate::wire::buffer_pool::Memory;
use crate::wire::frame::{Frame, Part, Reset};
use smokesignal_proto::NodeId;

/// Streams that each side may have opened on one connection.
const MAX_STREAMS: usize = 1024;
/// What the windows of one connection's streams may come to: all streams of the other side, and as much to grow.
const CONNECTION_BYTES: usize = MAX_STREAMS * FIRST_WINDOW * 2;
/// What the windows of all streams may come to that are carried through this node, two for each.
const CARRIED_BYTES: usize = 32 * 1024 * 1024;
/// What the windows of all others may come to.
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
    pub(crate) memory: Arc<Memory>,
    pool: Arc<Pool>,
    /// What is carried for others, or by others, may take.
    carried: Arc<Pool>,
    max_message: usize,
    /// Where streams go that are to be carried. `None`: nothing is.
    circuits: Option<mpsc::Sender<Circuit>>,
}

/// The streams of one connection: the neighbour's own one, and those that either side has opened.
#[derive(Debug)]
pub(crate) struct Mux {
    link: LinkId,
    peer: NodeId,
    common: Common,
    way: Arc<Way>,
    pool: Arc<Pool>,
    pub(crate) ready: Arc<Ready>,
    /// The neighbour's own stream.
    pub(crate) neighbour: Arc<Stream>,
    state: Mutex<State>,
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
    cut: bool,
}

impl Common {
    pub(crate) fn new(max_message: usize) -> Self {
        let (pool, carried) = (Pool::new(NODE_BYTES), Pool::new(CARRIED_BYTES));
        Self { acceptors: Arc::default(), memory: Arc::default(), pool, carried, max_message, circuits: None }
    }

    /// From now on, what is to be carried goes there.
    pub(crate) fn with_circuits(self, circuits: mpsc::Sender<Circuit>) -> Self {
        Self { circuits: Some(circuits), ..self }
    }
}

impl Mux {
    /// `dialled`: this side has dialled the connection to `peer`; `carried`: its bytes go through other nodes.
    pub(crate) fn new(link: LinkId, peer: NodeId, dialled: bool, carried: bool, common: Common) -> Arc<Self> {
        let ready = Arc::new(Ready::new(Arc::clone(&common.memory)));
        let neighbour = Stream::new(0, NEIGHBOUR_WINDOW, Arc::clone(&ready), None);
        let next = if dialled { 1 } else { 2 };
        let state = State { streams: BTreeMap::new(), next, last: 0, refusals: Vec::new(), cut: false };
        let pool = Pool::new(CONNECTION_BYTES);
        let way = Arc::new(Way { carried, ..Way::default() });
        Arc::new(Self { link, peer, common, way, pool, ready, neighbour, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream: what is written to it goes out behind the news of it.
    pub(crate) fn open(&self, name: &str) -> Result<NodeStream, NoStream> {
        self.begin(Part::Open(name.to_owned()), &self.common.pool, name)
    }

    /// Opens a stream that the other side is to carry to `target`.
    pub(crate) fn carry(&self, query: u64, target: NodeId) -> Option<NodeStream> {
        self.begin(Part::Carry { query, target }, &self.common.carried, "").ok()
    }

    fn begin(&self, part: Part, pool: &Arc<Pool>, name: &str) -> Result<NodeStream, NoStream> {
        let mut state = self.lock();
        let ours = state.streams.keys().filter(|number| *number % 2 == state.next % 2).count();
        if state.cut {
            return Err(NoStream::Gone);
        }
        if ours >= MAX_STREAMS || state.next > u32::MAX - 2 {
            return Err(NoStream::TooMany);
        }
        let number = state.next;
        let stream = self.stream(number, pool).ok_or(NoStream::TooMany)?;
        state.next += 2;
        stream.announce(part);
        state.streams.insert(number, Arc::clone(&stream));
        Ok(self.handle(stream, name))
    }

    fn stream(&self, number: u32, pool: &Arc<Pool>) -> Option<Arc<Stream>> {
        let budget = Budget::new(&self.pool, pool, FIRST_WINDOW)?;
        Some(Stream::new(number, FIRST_WINDOW, Arc::clone(&self.ready), Some(budget)))
    }

    fn handle(&self, stream: Arc<Stream>, name: &str) -> NodeStream {
        NodeStream::new(stream, self.peer, name.into(), Arc::clone(&self.way), self.common.max_message)
    }

    /// The link stands, or is no link any more.
    pub(crate) fn set_link(&self, is_link: bool) {
        self.way.is_link.store(is_link, Ordering::Relaxed);
    }

    /// Its bytes go through other nodes.
    pub(crate) fn is_carried(&self) -> bool {
        self.way.carried
    }

    /// The connection is gone.
    pub(crate) fn is_cut(&self) -> bool {
        self.lock().cut
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
        match part {
            Part::Open(name) => {
                let offer = |stream| self.common.acceptors.offer(&name, self.handle(stream, &name));
                return self.opened(number, &self.common.pool, offer);
            }
            Part::Carry { query, target } => {
                let offer = |stream| self.to_be_carried(query, target, self.handle(stream, ""));
                return self.opened(number, &self.common.carried, offer);
            }
            _ => {}
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

    fn opened(&self, number: u32, pool: &Arc<Pool>, offer: impl FnOnce(Arc<Stream>)) -> bool {
        let mut state = self.lock();
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
                self.ready.wake.notify_one();
            }
        }
        true
    }

    fn to_be_carried(&self, query: u64, target: NodeId, stream: NodeStream) {
        let circuit = Circuit { via: self.link, query, target, stream };
        let Some(circuits) = &self.common.circuits else { return circuit.stream.refuse(Reset::Refused) };
        if let Err(TrySendError::Full(circuit) | TrySendError::Closed(circuit)) = circuits.try_send(circuit) {
            circuit.stream.refuse(Reset::Busy);
        }
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
            // A whole turn, also for the last one: the same streams would be the last ones again and again.
            taken += stream.take(TURN, &mut frames);
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
