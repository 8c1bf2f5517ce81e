//! Wakeups of the library, collected for JavaScript.
//!
//! A waker made here stands for a number. Waking it puts the number into the queue of its
//! JavaScript environment, once until the queue is drained. The first number in an empty queue
//! calls JavaScript, which drains the queue and polls whatever the numbers stand for; further
//! numbers cause no further call until a drain has returned nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use napi::Status;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue};
use napi_derive::napi;

/// A weak reference: it does not keep the process alive, which `lib/keep-alive.js` decides.
type Notify = ThreadsafeFunction<(), UnknownReturnValue, (), Status, false, true, 0>;

/// The wake queue of one JavaScript environment: the main thread, or a worker.
#[napi]
pub struct WakeQueue(Arc<Shared>);

/// The queue, shared with its wakers.
struct Shared {
    notify: Notify,
    due: Mutex<Due>,
}

#[derive(Default)]
struct Due {
    tokens: Vec<Arc<Token>>,
    /// Whether JavaScript was notified and has not yet drained the queue to its end.
    notified: bool,
}

/// What a waker holds. JavaScript knows what the number stands for.
struct Token {
    shared: Arc<Shared>,
    number: u32,
    /// Whether the number is in the queue.
    queued: AtomicBool,
}

#[napi]
impl WakeQueue {
    /// `notify` is called when a number becomes due and the last `drain` returned nothing.
    #[napi(constructor)]
    pub fn new(notify: Notify) -> Self {
        Self(Arc::new(Shared { notify, due: Mutex::default() }))
    }

    /// Returns the numbers that are due. After an empty result the next wakeup notifies again.
    #[napi]
    pub fn drain(&self) -> Vec<u32> {
        let tokens = {
            let mut due = self.0.lock();
            due.notified = !due.tokens.is_empty();
            std::mem::take(&mut due.tokens)
        };
        let number = |token: &Arc<Token>| {
            // Before JavaScript polls, so that a wakeup during the poll is queued again.
            token.queued.store(false, Ordering::Release);
            token.number
        };
        tokens.iter().map(number).collect()
    }

    /// Returns a waker that makes `number` due.
    pub(crate) fn waker(&self, number: u32) -> Waker {
        Arc::new(Token { shared: Arc::clone(&self.0), number, queued: AtomicBool::new(false) }).into()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut due = self.shared.lock();
        due.tokens.push(Arc::clone(self));
        let notified = due.notified;
        due.notified = true;
        drop(due);
        if !notified {
            // The call fails if the environment is gone. Nobody waits for the wakeup then.
            self.shared.notify.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}
