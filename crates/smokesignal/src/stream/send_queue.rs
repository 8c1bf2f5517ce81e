//! The streams of one connection that have something to send, in the order of their turns.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use super::Stream;
use crate::lock::Lock;
use crate::wire::buffer_pool::BufferPools;

/// The queue of one connection's streams, and what wakes the connection's writer.
#[derive(Debug)]
pub(crate) struct SendQueue {
    /// `None` once the connection is gone: a stream that waited here would keep itself alive.
    turns: Lock<Option<VecDeque<Arc<Stream>>>>,
    pub(crate) wake: Notify,
    pub(crate) buffers: Arc<BufferPools>,
}

impl SendQueue {
    pub(crate) fn new(buffers: Arc<BufferPools>) -> Self {
        Self { turns: Lock::new(Some(VecDeque::new())), wake: Notify::new(), buffers }
    }

    /// Queues the stream at the end. The caller sees to it that it is queued once.
    pub(super) fn push(&self, stream: Arc<Stream>) {
        if let Some(turns) = self.turns.lock().as_mut() {
            turns.push_back(stream);
        }
    }

    /// Removes the stream whose turn it is.
    pub(crate) fn next(&self) -> Option<Arc<Stream>> {
        self.turns.lock().as_mut()?.pop_front()
    }

    /// Returns whether a stream waits for its turn.
    pub(crate) fn has_turns(&self) -> bool {
        self.turns.lock().as_ref().is_some_and(|turns| !turns.is_empty())
    }

    /// Drops all turns: nothing will be sent any more.
    pub(crate) fn close(&self) {
        let streams = self.turns.lock().take();
        drop(streams); // Not under the lock.
    }
}
