use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use smokesignal_proto::{LinkId, NodeId};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::carrier::poll_once;
use crate::input::Input;
use crate::stream::accept::{Acceptor, Acceptors};
use crate::stream::handle::{NodeStream, Path};
use crate::stream::mux::{Mux, SharedStreams, Side};
use crate::stream::relay_request::RelayRequest;
use crate::wire::frame::{Frame, Reset, StreamFrame};

// The numbers of docs/protocol.md.

const NEIGHBOUR_WINDOW: usize = 256 * 1024;
const FIRST_WINDOW: usize = 32 * 1024;
const MAX_WINDOW: usize = 4 * 1024 * 1024;
const LEAST_COST: usize = 64;
const MAX_DATA: usize = 16 * 1024;
const MAX_STREAMS: usize = 1024;
const TURN: usize = 16 * 1024;
/// What one stream keeps of what was written: 512 KiB, and one write more.
const SEND_BUFFER: usize = 512 * 1024 + MAX_MESSAGE;
const MAX_MESSAGE: usize = 128 * 1024;

/// Handles that the application of the harness keeps.
const MAX_HANDLES: usize = 2048;

/// The credit that both sides have left on one stream, in bytes.
struct Windows {
    ours: usize,
    theirs: usize,
}

/// One end of a connection, whose other end sends what it likes, and the application above it.
struct World {
    mux: Arc<Mux>,
    acceptor: Acceptor,
    relayed: mpsc::Receiver<RelayRequest>,
    /// The first one is the neighbour's own stream.
    handles: Vec<NodeStream>,
    windows: BTreeMap<u32, Windows>,
    /// The number of the next stream that the application opens.
    next: u32,
    now: Instant,
}

/// Takes steps of both sides: frames of the other one, and what the application does.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let mut world = World::new(if input.byte() & 1 == 0 { Side::Dialler } else { Side::Acceptor });
    while let Some(step) = input.next() {
        if !world.step(step, &mut input) {
            break; // The other side has broken the rules.
        }
        world.check();
    }
    world.end();
}

impl World {
    fn new(side: Side) -> Self {
        let (requests, relayed) = mpsc::channel(64);
        let common = SharedStreams::new(MAX_MESSAGE).with_relay_requests(requests);
        let acceptor = Acceptors::accept(&common.acceptors, "a".to_owned()).expect("the first one");
        let mux = Mux::new(LinkId(1), NodeId::from_bytes([1; 32]), side, Path::Direct, common);
        let handles = vec![mux.neighbour_stream()];
        let next = if side == Side::Dialler { 1 } else { 2 };
        let neighbour = Windows { ours: NEIGHBOUR_WINDOW, theirs: NEIGHBOUR_WINDOW };
        Self {
            mux,
            acceptor,
            relayed,
            handles,
            windows: BTreeMap::from([(0, neighbour)]),
            next,
            now: Instant::now(),
        }
    }

    /// Takes one step. Returns whether the other side keeps to the rules.
    fn step(&mut self, step: u8, input: &mut Input<'_>) -> bool {
        match step % 24 {
            0..=6 => {
                let number = number(input);
                let frame = frame(input);
                return self.receive(number, frame);
            }
            7 => {
                // Many streams at the same time.
                let (first, count) = (number(input), u32::from(input.byte() % 64));
                let numbers = (0..count).map(|at| first.saturating_add(2 * at));
                return numbers.into_iter().all(|number| self.receive(number, StreamFrame::Open("a".into())));
            }
            8 => {
                // As much data as a window has, in pieces of one size.
                let (number, size, count) = (number(input), input.short(), input.byte());
                let size = usize::from(size) % (MAX_DATA + 1);
                let data = |at| StreamFrame::Data { data: vec![1; size].into(), end: at == count };
                return (0..=count).all(|at| self.receive(number, data(at)));
            }
            9 => {
                if let Ok(stream) = self.mux.open("b") {
                    self.opened(stream);
                }
            }
            10 => {
                if let Some(stream) = self.mux.request_relay(7, NodeId::from_bytes([2; 32])) {
                    self.opened(stream);
                }
            }
            11 | 12 => {
                if let Some(Some(stream)) = poll_once(self.acceptor.recv()) {
                    self.keep(stream);
                }
            }
            13 => {
                if let Ok(request) = self.relayed.try_recv() {
                    self.keep(request.stream);
                }
            }
            14 => {
                self.now += Duration::from_secs(u64::from(input.byte()));
                self.mux.abandon(self.now, Duration::from_secs(30));
            }
            15 | 16 => self.take(usize::from(input.short()) * 4),
            other => self.use_handle(other, input),
        }
        true
    }

    fn use_handle(&mut self, step: u8, input: &mut Input<'_>) {
        let at = input.below(self.handles.len().min(256));
        let stream = &mut self.handles[at];
        match step {
            17 => {
                let limit = [MAX_MESSAGE, 1, usize::from(input.byte()) * 256][input.below(3)];
                if let Some(Ok(Some(chunk))) = poll_once(stream.recv_up_to(limit)) {
                    // A call with a higher limit may have gathered the beginning.
                    assert!(chunk.len() < MAX_MESSAGE + MAX_DATA, "{} of {limit} bytes", chunk.len());
                }
            }
            18 => {
                let mut space = vec![0; usize::from(input.short())];
                let mut buffer = ReadBuf::new(&mut space);
                let _pending =
                    Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
            }
            19 => {
                let size = usize::from(input.short()) * [1, 3][input.below(2)];
                if let Some(Err(error)) = poll_once(stream.send(vec![2; size])) {
                    assert!(!error.to_string().is_empty());
                }
            }
            20 => {
                let data = vec![3; usize::from(input.short())];
                let _pending = Pin::new(stream).poll_write(&mut Context::from_waker(Waker::noop()), &data);
            }
            21 => stream.finish(),
            22 => {
                if let Some(Ok(Some((data, _)))) = poll_once(stream.read_fragment()) {
                    assert!(data.len() <= MAX_DATA);
                }
            }
            _ if at > 0 => {
                let stream = self.handles.swap_remove(at);
                match input.below(4) {
                    0 => stream.reset("enough"),
                    1 => stream.stop_reading(),
                    _ => {}
                }
            }
            _ => stream.stop_reading(),
        }
    }

    fn opened(&mut self, stream: NodeStream) {
        self.windows.insert(self.next, Windows { ours: FIRST_WINDOW, theirs: FIRST_WINDOW });
        self.next += 2;
        self.keep(stream);
    }

    fn keep(&mut self, stream: NodeStream) {
        if self.handles.len() < MAX_HANDLES {
            self.handles.push(stream);
        }
    }

    /// Hands over a frame, and accounts for what it says.
    fn receive(&mut self, number: u32, frame: StreamFrame) -> bool {
        let (spent, credit) = match &frame {
            StreamFrame::Data { data, .. } => (data.len().max(LEAST_COST), 0),
            StreamFrame::Credit(bytes) => (0, *bytes as usize),
            _ => (0, 0),
        };
        let opens = matches!(frame, StreamFrame::Open(_) | StreamFrame::Carry { .. });
        if !self.mux.receive(number, frame) {
            return false;
        }
        if opens {
            let first = Windows { ours: FIRST_WINDOW, theirs: FIRST_WINDOW };
            assert!(self.windows.insert(number, first).is_none(), "stream {number} was opened twice");
        }
        if let Some(windows) = self.windows.get_mut(&number) {
            // The library drops the frames of an ended stream without counting their bytes.
            windows.theirs = windows.theirs.saturating_sub(spent);
            windows.ours = windows.ours.saturating_add(credit);
        }
        true
    }

    /// Takes frames to be sent, and checks that the protocol allows them.
    fn take(&mut self, limit: usize) {
        let frames = self.mux.take(limit);
        let mut taken = 0;
        for frame in frames {
            let Frame::Stream(number, frame) = frame else { panic!("{frame:?} of no stream") };
            let windows = self.windows.get_mut(&number);
            let Windows { ours, theirs } = windows.expect("frames of streams that were opened");
            match frame {
                StreamFrame::Data { data, .. } => {
                    let cost = data.len().max(LEAST_COST);
                    assert!(data.len() <= MAX_DATA);
                    *ours = ours.checked_sub(cost).expect("data within the credit");
                    taken += cost;
                }
                StreamFrame::Credit(bytes) => {
                    *theirs += bytes as usize;
                    assert!(*theirs <= MAX_WINDOW, "{theirs} bytes of credit");
                }
                _ => {}
            }
        }
        assert!(taken <= limit + TURN + LEAST_COST, "{taken} bytes exceed the limit of {limit}");
    }

    fn check(&self) {
        // Both sides may open as many, and the neighbour's own one is there, too.
        let unsent = self.mux.unsent();
        assert!(unsent <= (2 * MAX_STREAMS + 1) * SEND_BUFFER, "{unsent} bytes wait to be sent");
    }

    /// Ends the connection: nothing waits any more, and what was taken of the pools is given back,
    /// which they check when they are dropped.
    fn end(mut self) {
        self.mux.connection_lost();
        assert!(!self.mux.is_used() && self.mux.is_closed());
        assert!(self.mux.open("late").is_err());
        for stream in &self.handles {
            // The data that has arrived is read first, and then the end.
            let chunks = (0..).take_while(|_| matches!(poll_once(stream.recv()), Some(Ok(Some(_))))).count();
            assert!(chunks <= MAX_WINDOW / LEAST_COST, "{chunks} chunks");
            let end = poll_once(stream.recv());
            assert!(matches!(end, Some(Ok(None) | Err(_))), "{end:?}");
            assert!(!matches!(poll_once(stream.send("late")), Some(Ok(())) | None));
            assert!(poll_once(stream.finished()).is_some());
        }
        while let Some(Some(stream)) = poll_once(self.acceptor.recv()) {
            drop(stream);
        }
        assert!(self.mux.take(usize::MAX / 2).iter().all(is_refusal));
    }
}

/// A refusal is kept apart from the streams, and is not sent any more once the connection is gone.
fn is_refusal(frame: &Frame) -> bool {
    matches!(frame, Frame::Stream(_, StreamFrame::Reset(Reset::Busy)))
}

/// Returns the number of a stream; small ones are frequent.
fn number(input: &mut Input<'_>) -> u32 {
    match input.byte() {
        255 => input.number() as u32,
        small => u32::from(small),
    }
}

fn frame(input: &mut Input<'_>) -> StreamFrame {
    match input.below(10) {
        0 => StreamFrame::Open(["a", "b", ""][input.below(3)].to_owned()),
        1 => StreamFrame::Carry { query: input.number(), target: NodeId::from_bytes([input.byte(); 32]) },
        2 | 3 => {
            let data = vec![input.byte(); usize::from(input.short()) % (MAX_DATA + 1)];
            StreamFrame::Data { data: Bytes::from(data), end: input.byte() & 1 == 1 }
        }
        4 => StreamFrame::Credit(input.number() as u32),
        5 => StreamFrame::Credit(u32::from(input.short())),
        6 => StreamFrame::Blocked,
        7 => StreamFrame::Fin,
        8 => StreamFrame::Stop,
        _ => StreamFrame::Reset(match input.below(3) {
            0 => Reset::Refused,
            1 => Reset::Busy,
            _ => Reset::Reason("because".to_owned()),
        }),
    }
}
