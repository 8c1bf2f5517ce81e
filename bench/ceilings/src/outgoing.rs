//! What waits to be written to a link.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A task that has queued more than this for a link, in bytes, waits. In a tree no task waits for
/// itself, because bytes that go from one link to another never come back.
pub(crate) const LIMIT: usize = 512 * 1024;

/// The bytes that wait to be written to a link.
pub(crate) struct Outgoing {
    waiting: Mutex<Vec<u8>>,
    limit: usize,
    filled: Notify,
    emptied: Notify,
}

impl Outgoing {
    pub(crate) fn new(limit: usize) -> Self {
        Self { waiting: Mutex::default(), limit, filled: Notify::new(), emptied: Notify::new() }
    }

    /// Appends whole frames, whatever waits already: call [`Outgoing::room`] afterwards.
    pub(crate) fn push(&self, blocks: &[&[u8]]) {
        let mut waiting = self.lock();
        let was_empty = waiting.is_empty();
        for block in blocks {
            waiting.extend_from_slice(block);
        }
        drop(waiting);
        // Otherwise the task that queued the first bytes has woken the link.
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Waits until less than the limit waits.
    pub(crate) async fn room(&self) {
        while self.lock().len() > self.limit {
            let emptied = self.emptied.notified();
            if self.lock().len() <= self.limit {
                return;
            }
            emptied.await;
        }
    }

    /// Waits until something is queued, and exchanges it for the empty `spare`.
    pub(crate) async fn take(&self, spare: &mut Vec<u8>) {
        spare.clear();
        loop {
            std::mem::swap(&mut *self.lock(), spare);
            if !spare.is_empty() {
                break;
            }
            self.filled.notified().await;
        }
        if spare.len() > self.limit {
            self.emptied.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
