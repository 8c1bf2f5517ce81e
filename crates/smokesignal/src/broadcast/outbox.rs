//! The outbox of one node: what its application has written and the core has not taken yet.
//!
//! A write takes room, counted in bytes by a semaphore, and wakes the driver; the driver
//! [drains](Outbox::drain) the outbox as far as the links take it, which gives the room back. The
//! end of the stream goes the same way, after what was written before it, and who waits for its
//! readers is handed to the driver.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Waker;

use smokesignal_proto::{Instant, MessageKind};
use tokio::sync::{Notify, Semaphore, TryAcquireError, oneshot};

use crate::broadcast::envelope::Outgoing;
use crate::broadcast::incoming::OVERHEAD;
use crate::error::SendError;
use crate::lock::Lock;

/// Room in the outbox: 832 KiB of messages that were written and not yet taken by the core. With
/// what waits there for a slow line, two segments and what was written last, it is 1 MiB. With 256
/// KiB, messages of 1 KiB and more were 10 to 15 % slower.
const OUTBOX: usize = 832 * 1024;
/// Number of messages that are written without yielding to other tasks: a full segment of 64 B
/// each.
const IN_A_ROW: u32 = 1024;

/// The messages that wait for the core.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Lock<State>,
    /// Wakes the driver.
    wake: Arc<Notify>,
    /// Counts writes, see [`IN_A_ROW`].
    writes: AtomicU32,
    /// Whether somebody waits for the end of the stream whom the driver does not know yet.
    has_finishing: AtomicBool,
    max_message: usize,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Outgoing>,
    /// Bytes of room in the queue. Each start of the node makes a new one, each stop closes it.
    room: Arc<Semaphore>,
    /// Whether the application has ended its stream, until the next start.
    ended: bool,
    /// Whether another process has this node's key and was started later, until the next start.
    superseded: bool,
    /// Writers of bytes that wait for room.
    writers: Vec<Waker>,
    /// Callers that wait until the stream was read to its end.
    finishing: Vec<oneshot::Sender<usize>>,
}

impl State {
    /// Returns why this message cannot be written any more, if it cannot: it would come after the
    /// end of the application's messages, or nobody would read it.
    fn refusal(&self, message: &Outgoing) -> Option<SendError> {
        match message.kind {
            MessageKind::End => None,
            _ if self.superseded => Some(SendError::IdentityInUse),
            MessageKind::Application if self.ended => Some(SendError::Ended),
            _ => None,
        }
    }
}

impl Outbox {
    /// Makes an outbox for messages of up to `max_message` bytes. `wake` is notified when something
    /// was written.
    pub(crate) fn new(max_message: usize, wake: Arc<Notify>) -> Self {
        let room = Arc::new(Semaphore::new(OUTBOX));
        let (queue, writers, finishing) = (VecDeque::new(), Vec::new(), Vec::new());
        let state = State { queue, room, ended: false, superseded: false, writers, finishing };
        let (writes, has_finishing) = (AtomicU32::new(0), AtomicBool::new(false));
        Self { state: Lock::new(state), wake, writes, has_finishing, max_message }
    }

    // The application's side.

    pub(crate) const fn max_message(&self) -> usize {
        self.max_message
    }

    /// Writes one message, of which `size` bytes are the application's. Waits for room.
    pub(crate) async fn send(&self, size: usize, message: Outgoing) -> Result<(), SendError> {
        self.check(size)?;
        // A writer that never has to wait yields only now and then: of messages written in a row
        // many fit into one segment.
        if self.writes.fetch_add(1, Ordering::Relaxed) % IN_A_ROW == IN_A_ROW - 1 {
            tokio::task::yield_now().await;
        }
        let (message, room) = match self.try_push(message) {
            Ok(()) => return Ok(()),
            Err(Refused::Full(message, room)) => (message, room),
            Err(Refused::ForGood(error)) => return Err(error),
        };
        room.acquire_many(cost(&message)).await.map_err(|_| SendError::Closed)?.forget();
        self.push(&room, message)
    }

    /// Ends the application's messages, after those that were written.
    pub(crate) fn end(&self) -> Result<(), SendError> {
        let mut state = self.state.lock();
        if state.room.is_closed() {
            return Err(SendError::Closed);
        }
        if !std::mem::replace(&mut state.ended, true) {
            self.enqueue(&mut state, Outgoing::end());
            state.writers.drain(..).for_each(Waker::wake);
        }
        Ok(())
    }

    /// Ends the application's messages, and waits until others have read them, as the driver
    /// decides it. Returns how many have.
    pub(crate) async fn finish(&self) -> Result<usize, SendError> {
        self.end()?;
        let (waiter, finished) = oneshot::channel();
        self.state.lock().finishing.push(waiter);
        self.has_finishing.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        finished.await.map_err(|_| SendError::Closed)
    }

    pub(crate) fn check(&self, size: usize) -> Result<(), SendError> {
        if size > self.max_message {
            return Err(SendError::TooLarge { size, limit: self.max_message });
        }
        Ok(())
    }

    /// Queues a message if there is room for it now.
    pub(crate) fn try_push(&self, message: Outgoing) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if let Some(error) = state.refusal(&message) {
            return Err(Refused::ForGood(error));
        }
        match state.room.try_acquire_many(cost(&message)) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::Closed) => return Err(Refused::ForGood(SendError::Closed)),
            Err(TryAcquireError::NoPermits) => return Err(Refused::Full(message, Arc::clone(&state.room))),
        }
        self.enqueue(&mut state, message);
        Ok(())
    }

    /// Queues a message that has acquired its room, unless the node was stopped meanwhile.
    fn push(&self, room: &Arc<Semaphore>, message: Outgoing) -> Result<(), SendError> {
        let mut state = self.state.lock();
        if room.is_closed() || !Arc::ptr_eq(room, &state.room) {
            return Err(SendError::Closed);
        }
        if let Some(error) = state.refusal(&message) {
            room.add_permits(cost(&message) as usize);
            return Err(error);
        }
        self.enqueue(&mut state, message);
        Ok(())
    }

    fn enqueue(&self, state: &mut State, message: Outgoing) {
        // With something queued the driver is notified already, or waits for its links.
        if state.queue.is_empty() {
            self.wake.notify_one();
        }
        state.queue.push_back(message);
    }

    /// Wakes this waker once there is room in the outbox.
    pub(crate) fn wake_for_room(&self, waker: &Waker) {
        self.state.lock().writers.push(waker.clone());
    }

    // The driver's side.

    /// Takes the callers that wait for the end of the stream since the last call.
    pub(crate) fn take_finishing(&self) -> Vec<oneshot::Sender<usize>> {
        match self.has_finishing.swap(false, Ordering::Relaxed) {
            true => std::mem::take(&mut self.state.lock().finishing),
            false => Vec::new(),
        }
    }

    /// Offers written messages to `take`, in order, with the time at which each was first seen
    /// here, until it returns false and leaves one in place. So a write itself reads no clock.
    pub(crate) fn drain(&self, now: Instant, mut take: impl FnMut(&mut Outgoing, Instant) -> bool) {
        let mut state = self.state.lock();
        let mut room = 0;
        while let Some(message) = state.queue.front_mut() {
            let cost = cost(message) as usize;
            let seen = message.seen.unwrap_or(now);
            if !take(message, seen) {
                break;
            }
            room += cost;
            state.queue.pop_front();
        }
        // Those seen before are in front.
        let unseen = state.queue.iter_mut().rev().take_while(|message| message.seen.is_none());
        unseen.for_each(|message| message.seen = Some(now));
        if room > 0 {
            state.room.add_permits(room);
            state.writers.drain(..).for_each(Waker::wake);
        }
    }

    /// Returns whether a message waits whose size fits.
    pub(crate) fn has_next(&self, fits: impl Fn(usize) -> bool) -> bool {
        self.state.lock().queue.front().is_some_and(|message| fits(message.data.len()))
    }

    /// Returns the number of messages that wait in the outbox.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Releases memory that a burst of writes has left behind.
    pub(crate) fn trim(&self) {
        let mut state = self.state.lock();
        let waiting = state.queue.len();
        state.queue.shrink_to(2 * waiting);
    }

    /// Opens the outbox when the node starts, also after a stop: handles made before work on.
    pub(crate) fn open(&self) {
        let mut state = self.state.lock();
        if state.room.is_closed() {
            state.room = Arc::new(Semaphore::new(OUTBOX));
            (state.ended, state.superseded) = (false, false);
        }
    }

    /// Refuses further writes, because another process has this node's key and was started later.
    pub(crate) fn supersede(&self) {
        let mut state = self.state.lock();
        state.superseded = true;
        state.writers.drain(..).for_each(Waker::wake);
    }

    /// Refuses further writes.
    pub(crate) fn refuse_writes(&self) {
        let mut state = self.state.lock();
        state.room.close();
        state.writers.drain(..).for_each(Waker::wake);
    }

    /// Closes the outbox when the node has stopped: writes fail. Returns the number of messages
    /// that were still waiting and are lost.
    pub(crate) fn close(&self) -> usize {
        let mut state = self.state.lock();
        state.room.close();
        state.writers.drain(..).for_each(Waker::wake);
        state.finishing.clear();
        let lost = state.queue.iter().filter(|message| message.kind != MessageKind::End).count();
        state.queue.clear();
        lost
    }
}

/// Why a message was not queued.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is no room now: the message, and the semaphore to wait at.
    Full(Outgoing, Arc<Semaphore>),
    /// There will be none.
    ForGood(SendError),
}

/// The room that a message takes in the outbox. An end takes none: it is there once, and does not
/// wait.
fn cost(message: &Outgoing) -> u32 {
    if message.kind == MessageKind::End {
        return 0;
    }
    (message.data.len() + OVERHEAD).min(OUTBOX) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::Broadcast;
    use crate::broadcast::mailbox::Mailbox;

    #[test]
    fn writes_are_bounded_and_come_out_in_order() {
        let mailbox = Arc::new(Mailbox::new(OUTBOX));
        let stream = Broadcast::new(&mailbox, None);
        let mut accepted = 0;
        while stream.try_send(vec![accepted; 80_000]).is_ok() {
            accepted += 1;
        }
        assert_eq!(accepted, 10);
        let mut first = None;
        mailbox.outbox.drain(Instant::ZERO, |message, _| {
            let wanted = first.is_none();
            if wanted {
                first = Some(std::mem::take(&mut message.data));
            }
            wanted
        });
        assert_eq!(first.unwrap(), vec![0; 80_000]);
        stream.try_send(vec![10; 80_000]).unwrap();
        assert_eq!(mailbox.outbox.waiting(), 10);
        let error = stream.try_send(vec![0; OUTBOX + 1]).unwrap_err();
        assert_eq!(error, SendError::TooLarge { size: OUTBOX + 1, limit: OUTBOX }.into());
        mailbox.close();
        assert_eq!(stream.try_send("late"), Err(SendError::Closed.into()));
    }
}
