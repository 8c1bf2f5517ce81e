//! A queue that is bounded in bytes instead of items: it takes a thousand short messages or a long
//! one.
//!
//! Each item holds a permit for its bytes in a semaphore until it is dropped. So an item that has
//! left the queue still counts while it is being handled. Waiting senders get room in the order in
//! which they asked for it, so a large item is not overtaken by small ones for ever.

use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// The overhead of an item, in bytes: a guess of what the queue itself needs for it.
const ITEM_OVERHEAD: usize = 64;

/// The sending half. Clones send into the same queue.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    /// Unbounded, because the semaphore already bounds it.
    items: UnboundedSender<Queued<T>>,
    /// One permit per free byte.
    room: Arc<Semaphore>,
    /// The size of the queue, in bytes.
    limit: usize,
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    items: UnboundedReceiver<Queued<T>>,
}

/// An item from the queue. Its bytes count as queued until it is dropped.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    pub(crate) item: T,
    pub(crate) _room: OwnedSemaphorePermit,
}

/// The receiver is gone, and the item is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// Why an item was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrySendError {
    /// There is no room for it now.
    Full,
    /// The receiver is gone.
    Closed,
}

/// Creates a queue of at most `limit` bytes. A larger item is queued when the queue is empty.
pub(crate) fn queue<T>(limit: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = unbounded_channel();
    let limit = limit.min(Semaphore::MAX_PERMITS);
    (Sender { items: sender, room: Arc::new(Semaphore::new(limit)), limit }, Receiver { items: receiver })
}

impl<T> Sender<T> {
    /// Queues an item of this size. Waits for room.
    pub(crate) async fn send(&self, item: T, bytes: usize) -> Result<(), Closed> {
        let room = Arc::clone(&self.room).acquire_many_owned(self.weight(bytes)).await;
        let room = room.map_err(|_| Closed)?;
        self.items.send(Queued { item, _room: room }).map_err(|_| Closed)
    }

    /// Queues an item of this size. Fails if there is no room.
    pub(crate) fn try_send(&self, item: T, bytes: usize) -> Result<(), TrySendError> {
        let room = Arc::clone(&self.room).try_acquire_many_owned(self.weight(bytes));
        let room = room.map_err(|error| match error {
            TryAcquireError::NoPermits => TrySendError::Full,
            TryAcquireError::Closed => TrySendError::Closed,
        })?;
        self.items.send(Queued { item, _room: room }).map_err(|_| TrySendError::Closed)
    }

    /// Returns the bytes of all items that are queued or being handled, their overhead included.
    pub(crate) fn queued(&self) -> usize {
        self.limit - self.room.available_permits()
    }

    /// Returns a handle that counts what is queued, and does not keep the queue open.
    pub(crate) fn gauge(&self) -> Gauge {
        Gauge { room: Arc::clone(&self.room), limit: self.limit }
    }

    /// Returns the permits that an item needs. An item larger than the limit needs all of them.
    fn weight(&self, bytes: usize) -> u32 {
        u32::try_from((bytes + ITEM_OVERHEAD).min(self.limit)).unwrap_or(u32::MAX)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), room: Arc::clone(&self.room), limit: self.limit }
    }
}

/// Counts what is queued.
#[derive(Debug)]
pub(crate) struct Gauge {
    room: Arc<Semaphore>,
    limit: usize,
}

impl Gauge {
    /// Returns the bytes of all items that are queued or being handled, their overhead included.
    pub(crate) fn queued(&self) -> usize {
        self.limit - self.room.available_permits()
    }
}

impl<T> Receiver<T> {
    /// Returns the next item, or `None` once all senders are gone and the queue is empty.
    pub(crate) async fn recv(&mut self) -> Option<Queued<T>> {
        self.items.recv().await
    }

    /// Returns the next item as [`Self::recv`] does, for threads outside the event loop.
    pub(crate) fn blocking_recv(&mut self) -> Option<Queued<T>> {
        self.items.blocking_recv()
    }

    /// Returns the next item if there is one now.
    pub(crate) fn try_recv(&mut self) -> Option<Queued<T>> {
        self.items.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_bytes_of_an_item_count_until_it_is_dropped() {
        let (sender, mut receiver) = queue(1000);
        assert_eq!(sender.try_send('a', 800), Ok(()));
        assert_eq!(sender.try_send('b', 800), Err(TrySendError::Full));
        let first = receiver.recv().await.unwrap();
        assert_eq!(
            sender.try_send('b', 800),
            Err(TrySendError::Full),
            "the first item is still being handled"
        );
        drop(first);
        assert_eq!(sender.try_send('b', 800), Ok(()));
    }

    #[tokio::test]
    async fn an_item_larger_than_the_limit_is_queued_alone() {
        let (sender, mut receiver) = queue(1000);
        assert_eq!(sender.try_send('a', 5000), Ok(()));
        assert_eq!(sender.try_send('b', 0), Err(TrySendError::Full));
        assert_eq!(receiver.recv().await.unwrap().item, 'a');
        assert_eq!(sender.try_send('b', 0), Ok(()));
    }

    #[tokio::test]
    async fn a_waiting_sender_fails_when_the_receiver_is_dropped() {
        let (sender, receiver) = queue(100);
        sender.send('a', 100).await.unwrap();
        let waiting = tokio::spawn(async move { sender.send('b', 100).await });
        drop(receiver);
        assert_eq!(waiting.await.unwrap(), Err(Closed));
    }
}
