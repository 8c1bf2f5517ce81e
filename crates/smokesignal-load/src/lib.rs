//! One broadcast workload, measured in the same way over any system that can carry it.
//!
//! A [`System`] starts its nodes in this process and hands each message that a node reads to that
//! node's [`Sink`]. [`measure()`] writes to the system, either through a window of unacknowledged
//! messages or at a fixed rate, and reports what became of the messages: how many arrived, how
//! fast, how late, and at what cost. Each message carries a header with its writer, its number and
//! the time at which it was due, so that a reader can tell losses, repetitions and delays from the
//! bytes alone.
//!
//! What is measured, and how:
//! - **Throughput**: messages read per second after a warm-up, summed over all readers.
//! - **Latency**: from the time a message was *due* to the time it was read. At a fixed rate, a
//!   writer that is held up is late for every message that was due meanwhile, and each of them
//!   counts from its due time (open loop; Gil Tene's "coordinated omission"). A timer that wakes
//!   late is not the system's fault and does not count.
//! - **Delivery ratio**: the share of messages that were read, counted after the writers have ended
//!   and the network has come to rest. Losses, repetitions and messages out of order are counted,
//!   not hidden.
//! - **Processor time** of the whole process per million deliveries, the workload's own work
//!   included.

mod measure;
mod message;
mod outcome;
mod pace;
mod progress;
mod sink;
mod usage;
mod writer;

pub use measure::{Phase, measure};
pub use message::LEAST_SIZE;
pub use outcome::{Latency, Outcome};
pub use pace::Pace;
pub use sink::{Inbox, Sink};
pub use usage::{Usage, resident_bytes};

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

/// What is written, by how many nodes, and how fast.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Number of nodes in the network, at least 2.
    pub nodes: usize,
    /// Number of nodes that write, at least 1. Nodes 0 to `writers - 1` are the writers.
    pub writers: usize,
    /// Bytes per message, at least [`LEAST_SIZE`].
    pub size: usize,
    /// How fast the writers write.
    pub pace: Pace,
    /// How long the writers write before the measurement begins.
    pub warm_up: Duration,
    /// How long the measurement takes.
    pub duration: Duration,
}

/// A failure of the system under test; its text names the cause.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A broadcast system under test.
pub trait System {
    /// The nodes of this system, once they are started.
    type Running: Running;

    /// Starts one node per sink in this process, and returns once all of them are connected.
    fn start(&self, sinks: Vec<Sink>) -> impl Future<Output = Result<Self::Running, Error>>;
}

/// A started system.
pub trait Running {
    /// The handle through which one node writes.
    type Writer: Writer;

    /// Returns a handle that writes as node `node`.
    fn writer(&self, node: usize) -> Self::Writer;

    /// Returns how many copies of messages all nodes have received so far, duplicates included, or
    /// `None` if the system does not count them.
    fn copies(&self) -> Option<u64> {
        None
    }

    /// Stops all nodes.
    fn stop(self) -> impl Future<Output = ()>;
}

/// The writing side of one node.
pub trait Writer: Send + 'static {
    /// Broadcasts one message. Waits while the system exerts back-pressure.
    fn send(&mut self, message: Bytes) -> impl Future<Output = Result<(), Error>> + Send;
}
