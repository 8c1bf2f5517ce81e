//! The kernel of the simulation: one clock, one queue, one source of randomness, one trace.
//!
//! Time stands still while an [`Event`] is handled and jumps to the next event afterwards, so a
//! virtual hour of an idle network costs only the events that fall into it. Everything random is
//! drawn from one generator and everything that happens is added to one hash. Two runs with the
//! same seed therefore draw the same numbers in the same order, and equal hashes show it.
//!
//! The kernel knows nothing about nodes or networks. What it schedules is handled by
//! [`World`](crate::World).

mod event;
mod queue;
mod rng;

use std::time::Duration;

pub(crate) use event::{Event, Parcel};
use queue::Queue;
pub use rng::Rng;
pub(crate) use rng::mix;

/// The clock, the queue of what is to come, the randomness and the trace of a world.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Virtual time in microseconds.
    now: u64,
    /// Everything that is still to happen.
    queue: Queue<Event>,
    /// All randomness. A draw more or less changes all later draws.
    rng: Rng,
    /// Events handled so far.
    events: u64,
    /// The hash of the trace.
    hash: u64,
    /// The time from which on a trace is printed.
    trace_from: Option<u64>,
}

/// The kinds of entries in the trace. The numbers are part of the hash and never change.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    /// A node has started; with the number of its start.
    Started = 1,
    /// The timer of a node was due.
    TimerFired = 2,
    /// A dialler has its connection.
    Connected = 3,
    /// A dial has failed.
    DialFailed = 4,
    /// A node closes or demotes a link.
    Closed = 5,
    /// A message was delivered; with its number and size.
    Delivered = 6,
    /// A gap was reported; with its size.
    Gap = 7,
    /// A link is new, or lost.
    PeersChanged = 8,
    /// A node has left.
    Left = 9,
    /// A message arrived; with its kind and size.
    MessageArrived = 10,
    /// A dialled node has its connection.
    Accepted = 11,
    /// A connection was closed by the other side.
    Disconnected = 12,
    /// A node was killed.
    Killed = 13,
    /// A fault has struck; with the number of nodes.
    FaultBegan = 14,
    /// A netsplit, or its end, was reported.
    Netsplit = 15,
}

impl Kernel {
    pub(crate) fn new(rng_seed: u64, trace_from: Option<Duration>) -> Self {
        Self {
            now: 0,
            queue: Queue::new(),
            rng: Rng::new(rng_seed),
            events: 0,
            hash: 0,
            trace_from: trace_from.map(micros),
        }
    }

    /// Returns the virtual time in microseconds.
    pub(crate) const fn now(&self) -> u64 {
        self.now
    }

    /// Returns how many events were handled so far.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    /// Returns the hash over everything that was recorded so far.
    pub(crate) const fn trace_hash(&self) -> u64 {
        self.hash
    }

    /// The only source of randomness of the world.
    pub(crate) const fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Schedules an event for a time, which must not be in the past.
    pub(crate) fn schedule(&mut self, at: u64, event: Event) {
        self.queue.push(at, event);
    }

    /// Schedules an event for `delay` microseconds from now.
    pub(crate) fn schedule_in(&mut self, delay: u64, event: Event) {
        self.queue.push(self.now + delay, event);
    }

    /// Advances the clock to the next event and returns it. Where no event is left until `end`, the
    /// clock advances to `end`.
    pub(crate) fn next_until(&mut self, end: u64) -> Option<Event> {
        let Some((at, event)) = self.queue.pop_until(end) else {
            self.now = end;
            return None;
        };
        self.now = at;
        self.events += 1;
        Some(event)
    }

    /// Adds an entry to the hash of the trace.
    pub(crate) fn record(&mut self, mark: Mark, a: u64, b: u64) {
        let word = self.now ^ mix((mark as u64) << 56 ^ a << 32 ^ b);
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    /// Prints a line to stderr if a trace is wanted by now. The line is made only in that case.
    pub(crate) fn print(&self, ix: usize, line: impl FnOnce() -> String) {
        if self.trace_from.is_some_and(|from| from <= self.now) {
            eprintln!("{:>12.6} {ix:>5} {}", self.now as f64 / 1e6, line());
        }
    }
}

/// Converts to the unit of the simulation's clock.
pub(crate) const fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}
