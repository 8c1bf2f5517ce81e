//! A simulated connection: the bytes in flight in each direction, and when they arrive.
//!
//! Each write becomes a chunk with an arrival time. During a cut chunks are marked as lost, and get
//! a new time when it heals. A reader waits for the time of the first chunk, a writer for room.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::task::Waker;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::ReadBuf;
use tokio::time::Instant;

/// Bytes in flight or unread in each direction before a writer waits: 256 KiB, two windows of a
/// link.
const IN_FLIGHT: usize = 256 * 1024;

/// How long bytes take. All randomness of the network is drawn here.
#[derive(Debug)]
pub(super) struct Delays {
    pub(super) latency: RangeInclusive<Duration>,
    /// Bytes per second, in each direction of a connection.
    pub(super) bandwidth: Option<u64>,
    pub(super) rng: u64,
}

impl Delays {
    /// Returns the time of one trip through the network.
    pub(super) fn draw(&mut self) -> Duration {
        let (least, most) = (*self.latency.start(), *self.latency.end());
        let spread = most.saturating_sub(least).as_nanos() as u64;
        if spread == 0 {
            return least;
        }
        least + Duration::from_nanos(self.random() % spread.saturating_add(1))
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): short, and good enough for delays.
    fn random(&mut self) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn to_send(&self, bytes: usize) -> Duration {
        let nanos = |rate: u64| (bytes as u64).saturating_mul(1_000_000_000) / rate.max(1);
        self.bandwidth.map_or(Duration::ZERO, |rate| Duration::from_nanos(nanos(rate)))
    }
}

/// A connection. End 0 dialled, end 1 accepted; pipe `n` carries what end `n` writes.
#[derive(Debug)]
pub(super) struct Wire {
    /// The addresses where the nodes at the two ends listen.
    pub(super) nodes: [SocketAddr; 2],
    /// Whether a fault blocks the connection.
    pub(super) cut: bool,
    pipes: [Pipe; 2],
    dropped: [bool; 2],
    reset: bool,
}

#[derive(Debug, Default)]
struct Pipe {
    /// The chunks in the order written; the last one is [empty](Bytes::is_empty) when the writer
    /// has closed.
    chunks: VecDeque<Chunk>,
    bytes: usize,
    closed: bool,
    /// The reader is gone, and the writer learns of it at this time.
    unwanted: Option<Arrival>,
    pace: Pace,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// When the last byte leaves the writer, and when it arrives.
#[derive(Debug, Default)]
struct Pace {
    left: Option<Instant>,
    arrived: Option<Instant>,
}

impl Pace {
    /// Returns when the next bytes arrive: after all bytes before them.
    fn next(&mut self, bytes: usize, now: Instant, delays: &mut Delays) -> Instant {
        let left = self.left.map_or(now, |left| left.max(now)) + delays.to_send(bytes);
        let arrival = left + delays.draw();
        let arrival = self.arrived.map_or(arrival, |before| before.max(arrival));
        (self.left, self.arrived) = (Some(left), Some(arrival));
        arrival
    }
}

#[derive(Debug)]
struct Chunk {
    data: Bytes,
    arrival: Arrival,
}

/// When it arrives; `None` if it is lost, and sent again when the cut is healed.
type Arrival = Option<Instant>;

/// The task that reads or writes: at which end, when, and how to wake it if it has to wait.
pub(super) struct Caller<'a> {
    pub(super) end: usize,
    pub(super) now: Instant,
    pub(super) waker: &'a Waker,
}

pub(super) enum Progress<T> {
    Done(T),
    /// Wait until then, or until the waker is called.
    Wait(Option<Instant>),
}

impl Wire {
    pub(super) fn new(nodes: [SocketAddr; 2], cut: bool) -> Self {
        Self { nodes, cut, pipes: [Pipe::default(), Pipe::default()], dropped: [false; 2], reset: false }
    }

    /// Blocks the connection: chunks that have not arrived yet are lost.
    pub(super) fn cut(&mut self, now: Instant) {
        self.cut = true;
        let lose = |arrival: &mut Arrival| *arrival = arrival.filter(|at| *at <= now);
        for pipe in &mut self.pipes {
            pipe.chunks.iter_mut().for_each(|chunk| lose(&mut chunk.arrival));
            pipe.unwanted.iter_mut().for_each(lose);
        }
    }

    /// Unblocks the connection: lost chunks are sent again, as by TCP.
    pub(super) fn mend(&mut self, now: Instant, delays: &mut Delays) {
        self.cut = false;
        for pipe in &mut self.pipes {
            pipe.pace = Pace::default();
            for chunk in pipe.chunks.iter_mut().filter(|chunk| chunk.arrival.is_none()) {
                chunk.arrival = Some(pipe.pace.next(chunk.data.len(), now, delays));
            }
        }
        for end in [0, 1] {
            if self.pipes[end].unwanted == Some(None) {
                let told = self.pipes[1 - end].pace.next(0, now, delays);
                self.pipes[end].unwanted = Some(Some(told));
            }
            self.pipes[end].wake_both();
        }
    }

    /// Breaks the connection for both ends immediately.
    pub(super) fn reset(&mut self) {
        self.reset = true;
        for pipe in &mut self.pipes {
            pipe.chunks.clear();
            pipe.wake_both();
        }
    }

    /// Reads what has arrived, as far as it fits.
    pub(super) fn read(&mut self, caller: &Caller<'_>, buf: &mut ReadBuf<'_>) -> Progress<io::Result<()>> {
        let Caller { end, now, waker } = *caller;
        if self.reset {
            return Progress::Done(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let pipe = &mut self.pipes[1 - end];
        let mut read = 0;
        while let Some(chunk) = pipe.chunks.front_mut()
            && buf.remaining() > 0
        {
            if chunk.arrival.is_none_or(|at| at > now) {
                break;
            }
            if chunk.data.is_empty() {
                return Progress::Done(Ok(())); // The end stays, for later reads.
            }
            let part = chunk.data.len().min(buf.remaining());
            buf.put_slice(&chunk.data[..part]);
            chunk.data.advance(part);
            read += part;
            if chunk.data.is_empty() {
                pipe.chunks.pop_front();
            }
        }
        if read == 0 && buf.remaining() > 0 {
            pipe.reader = Some(waker.clone());
            return Progress::Wait(pipe.chunks.front().and_then(|chunk| chunk.arrival));
        }
        pipe.bytes -= read;
        pipe.writer.take().into_iter().for_each(Waker::wake);
        Progress::Done(Ok(()))
    }

    /// Writes as much as there is room for.
    pub(super) fn write(
        &mut self,
        caller: &Caller<'_>,
        delays: &mut Delays,
        buf: &[u8],
    ) -> Progress<io::Result<usize>> {
        let Caller { end, now, waker } = *caller;
        if self.reset {
            return Progress::Done(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let pipe = &mut self.pipes[end];
        let unwanted = pipe.unwanted.flatten();
        if pipe.closed || unwanted.is_some_and(|at| at <= now) {
            return Progress::Done(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let part = buf.len().min(IN_FLIGHT - pipe.bytes);
        if part == 0 && !buf.is_empty() {
            pipe.writer = Some(waker.clone());
            return Progress::Wait(unwanted);
        }
        if part > 0 {
            pipe.push(Bytes::copy_from_slice(&buf[..part]), self.cut, now, delays);
        }
        Progress::Done(Ok(part))
    }

    /// Ends the writing of this end; the other end reads an end of file after the rest.
    pub(super) fn shut_down(&mut self, end: usize, now: Instant, delays: &mut Delays) {
        let pipe = &mut self.pipes[end];
        if !pipe.closed && !self.reset {
            pipe.closed = true;
            pipe.push(Bytes::new(), self.cut, now, delays);
        }
    }

    /// Removes this end. Returns whether both are gone.
    pub(super) fn drop_end(&mut self, end: usize, now: Instant, delays: &mut Delays) -> bool {
        self.shut_down(end, now, delays);
        let told = (!self.cut).then(|| self.pipes[end].pace.next(0, now, delays));
        let pipe = &mut self.pipes[1 - end];
        pipe.chunks.clear();
        pipe.unwanted = Some(told);
        pipe.writer.take().into_iter().for_each(Waker::wake);
        self.dropped[end] = true;
        self.dropped == [true; 2]
    }
}

impl Pipe {
    fn push(&mut self, data: Bytes, cut: bool, now: Instant, delays: &mut Delays) {
        self.bytes += data.len();
        let arrival = (!cut).then(|| self.pace.next(data.len(), now, delays));
        self.chunks.push_back(Chunk { data, arrival });
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn wake_both(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}
