//! One broadcast workload, measured alike over any system that can carry it.
//!
//! A [`System`] starts nodes in this process and gives each message that a node reads to the node's [`Sink`];
//! [`measure()`] writes to it, through a window of unacknowledged messages or at a fixed rate, and says what became of the
//! messages: how many arrived, how fast, how late, and what it cost.
//!
//! What is measured, and how:
//! - **Throughput**: messages read per second, summed over all readers, after a warm-up.
//! - **Latency**: from when a message was *due* to when it was read. At a fixed rate a writer that is held up is late for
//!   all messages that were due meanwhile, and each of them counts from its due time (open loop; Gil Tene's "coordinated
//!   omission"). That the timer itself wakes late is not the system's fault and is left out.
//! - **Delivery ratio**: different messages read, of all that should have been; counted after the writers have ended and
//!   the network has come to rest. Losses, repetitions and messages out of order are counted, not hidden.
//! - **Processor time** of the whole process, generator and readers included, for a million deliveries.

mod measure;
mod message;
mod outcome;
mod pace;
mod sink;
mod usage;

pub use measure::{Phase, measure};
pub use message::LEAST_SIZE;
pub use outcome::{Latency, Outcome};
pub use pace::Pace;
pub use sink::{Inbox, Sink};
pub use usage::{Usage, resident_bytes};

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

/// What is written, by whom, and how fast.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Nodes of the network.
    pub nodes: usize,
    /// How many of them write: the first ones.
    pub writers: usize,
    /// Bytes in a message, at least [`LEAST_SIZE`].
    pub size: usize,
    /// How fast they write.
    pub pace: Pace,
    /// Written before the measuring begins.
    pub warm_up: Duration,
    /// The measuring.
    pub duration: Duration,
}

/// Something went wrong in the system under test; the text says what.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A broadcast system under test.
pub trait System {
    /// Its nodes, once started.
    type Running: Running;

    /// Starts one node for each sink in this process, and returns when all of them are connected.
    fn start(&self, sinks: Vec<Sink>) -> impl Future<Output = Result<Self::Running, Error>>;
}

/// A started system.
pub trait Running {
    /// What one node writes with.
    type Writer: Writer;

    /// What the node with this number writes with.
    fn writer(&self, node: usize) -> Self::Writer;

    /// Copies of messages that nodes have received so far, known ones included, if the system counts them.
    fn copies(&self) -> Option<u64> {
        None
    }

    /// Ends all nodes.
    fn stop(self) -> impl Future<Output = ()>;
}

/// One node's writing side.
pub trait Writer: Send + 'static {
    /// Broadcasts one message; waits when the system says that it is full.
    fn send(&mut self, message: Bytes) -> impl Future<Output = Result<(), Error>> + Send;
}
