//! What waits to be written to a link.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Who has put more than this before a link, in bytes, waits. In a tree nobody waits for himself: what goes from one link to
/// another never comes back.
pub(crate) const LIMIT: usize = 512 * 1024;

/// What waits to be written to a link.
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
        // Otherwise whoever filled it has woken the link.
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

    /// Waits until there is something, and exchanges it for the empty `spare`.
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
