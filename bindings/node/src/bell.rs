//! One call into JavaScript for all that has become due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use napi::Status;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue};
use napi_derive::napi;

/// Does not keep the process alive: that is decided by who has something running.
type Call = ThreadsafeFunction<(), UnknownReturnValue, (), Status, false, true, 0>;

/// Tells one JavaScript environment (the main thread, or a worker) that something is due.
#[napi]
pub struct Bell(Arc<Ringer>);

struct Ringer {
    call: Call,
    due: Mutex<Due>,
}

#[derive(Default)]
struct Due {
    tokens: Vec<Arc<Token>>,
    /// JavaScript knows that there is something, and has not seen the end of it yet.
    rung: bool,
}

/// What the library wakes: JavaScript knows what the number stands for.
pub(crate) struct Token {
    ringer: Arc<Ringer>,
    number: u32,
    due: AtomicBool,
}

#[napi]
impl Bell {
    /// `call` is called whenever something is due and the last `take` gave nothing.
    #[napi(constructor)]
    pub fn new(call: Call) -> Self {
        Self(Arc::new(Ringer { call, due: Mutex::default() }))
    }

    /// The numbers that are due. Nothing: the next one rings.
    #[napi]
    pub fn take(&self) -> Vec<u32> {
        let tokens = {
            let mut due = self.0.lock();
            due.rung = !due.tokens.is_empty();
            std::mem::take(&mut due.tokens)
        };
        let number = |token: &Arc<Token>| {
            // Before it is polled: what comes from now on is due again.
            token.due.store(false, Ordering::Release);
            token.number
        };
        tokens.iter().map(number).collect()
    }

    pub(crate) fn waker(&self, number: u32) -> Waker {
        Arc::new(Token { ringer: Arc::clone(&self.0), number, due: AtomicBool::new(false) }).into()
    }
}

impl Ringer {
    fn lock(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.due.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut due = self.ringer.lock();
        due.tokens.push(Arc::clone(self));
        let rung = std::mem::replace(&mut due.rung, true);
        drop(due);
        if !rung {
            // It fails where the environment is gone, and then nobody waits for it.
            self.ringer.call.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}
