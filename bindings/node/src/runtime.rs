//! The tokio runtime that all nodes of the process share, and polling from outside of it.

use std::future::Future;
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Builder, EnterGuard, Runtime};

/// Never shut down: its threads end with the process. A worker thread of Node.js that ends drops
/// its own nodes and leaves the runtime to the others.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Enters the runtime. Futures that are polled while the guard lives may use timers, sockets and
/// tasks.
pub(crate) fn enter() -> EnterGuard<'static> {
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        // One thread. JavaScript's own thread limits the throughput, and with more threads here a
        // message was measured to arrive later, because it is handed from thread to thread. Tokio
        // reads the variable by itself.
        if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
            builder.worker_threads(1);
        }
        let built = builder.enable_all().thread_name("smokesignal").build();
        built.expect("the system provides threads and an event poller")
    });
    runtime.enter()
}

/// Polls a new future once and drops it. Only for futures that lose nothing when they are dropped.
pub(crate) fn poll_once<F: Future>(future: F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(waker))
}
