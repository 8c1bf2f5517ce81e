//! The tokio runtime that all nodes of the process run in.

use std::future::Future;
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Builder, EnterGuard, Runtime};

/// Never shut down: its threads end with the process, and a worker thread of Node.js that ends takes its nodes with it, not
/// the runtime of the others.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// What is polled while this lives may use timers, sockets and tasks.
pub(crate) fn enter() -> EnterGuard<'static> {
    let made = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        // One thread beside that of JavaScript, which is what limits the throughput: with more, as was measured, a message is
        // handed from thread to thread on its way, and arrives later. Tokio reads the variable by itself.
        if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
            builder.worker_threads(1);
        }
        let built = builder.enable_all().thread_name("smokesignal").build();
        built.expect("the system has threads and a poller for the nodes")
    });
    made.enter()
}

/// Polls a future that loses nothing when it is dropped and made anew.
pub(crate) fn poll_once<F: Future>(future: F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(waker))
}
