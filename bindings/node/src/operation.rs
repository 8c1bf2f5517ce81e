//! One operation that takes time, such as a start or the opening of a stream.
//!
//! JavaScript polls it whenever its number is due (`lib/operation.js`), and cancels it by dropping
//! the future. The product of a finished operation is taken from it once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use napi_derive::napi;
use smokesignal::Stopped;

use crate::failure::Failure;
use crate::question::Answers;
use crate::runtime;
use crate::stream::Stream;

/// What an operation produces.
pub(crate) enum Outcome {
    /// Nothing but its success.
    Done,
    Stream(Box<Stream>),
    Answers(Answers),
    Stopped(Stopped),
    /// A number of nodes.
    Count(usize),
}

/// The readers of what a node wrote, when it has stopped. The library's `Stopped` explains it.
#[napi(object)]
pub struct NativeStopped {
    /// Nodes that have read everything.
    pub confirmed: f64,
    /// Nodes that are not known to have.
    pub behind: f64,
    /// Messages that the one that is farthest behind may lack.
    pub missing: f64,
    /// Messages that reached no other node.
    pub unsent: f64,
    /// Whether the node gave up.
    pub timed_out: bool,
}

/// The future of an operation, which has converted its result.
type Running = Pin<Box<dyn Future<Output = Result<Outcome, Failure>>>>;

/// A future and, once it is ready, its result.
#[napi]
pub struct Operation {
    running: Option<Running>,
    outcome: Option<Result<Outcome, Failure>>,
    waker: Waker,
}

#[napi]
impl Operation {
    /// `outcome` converts what the future returns.
    pub(crate) fn new<F, T, E>(waker: Waker, future: F, outcome: fn(T) -> Outcome) -> Self
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        Failure: From<E>,
    {
        let running = async move { future.await.map(outcome).map_err(Failure::from) };
        Self { running: Some(Box::pin(running)), outcome: None, waker }
    }

    /// Polls the operation. Returns whether it is over.
    #[napi]
    pub fn poll(&mut self) -> bool {
        let Some(running) = &mut self.running else { return true };
        let _entered = runtime::enter();
        let Poll::Ready(outcome) = running.as_mut().poll(&mut Context::from_waker(&self.waker)) else {
            return false;
        };
        (self.running, self.outcome) = (None, Some(outcome));
        true
    }

    /// Why it failed, if it did.
    #[napi(getter)]
    pub fn failure(&self) -> Option<Failure> {
        match &self.outcome {
            Some(Err(failure)) => Some(failure.clone()),
            _ => None,
        }
    }

    /// Returns the stream that it has produced, once.
    #[napi]
    pub fn take_stream(&mut self) -> Option<Stream> {
        match self.outcome.take() {
            Some(Ok(Outcome::Stream(stream))) => Some(*stream),
            _ => None,
        }
    }

    /// Returns the answers that it has produced, once.
    #[napi]
    pub fn take_answers(&mut self) -> Option<Answers> {
        match self.outcome.take() {
            Some(Ok(Outcome::Answers(answers))) => Some(answers),
            _ => None,
        }
    }

    /// Returns the number that the operation has produced, once.
    #[napi]
    pub fn take_count(&mut self) -> Option<f64> {
        match self.outcome.take() {
            Some(Ok(Outcome::Count(count))) => Some(count as f64),
            _ => None,
        }
    }

    /// Returns what a stop has produced, once.
    #[napi]
    pub fn take_stopped(&mut self) -> Option<NativeStopped> {
        match self.outcome.take() {
            Some(Ok(Outcome::Stopped(stopped))) => Some(NativeStopped {
                confirmed: stopped.confirmed as f64,
                behind: stopped.behind as f64,
                missing: stopped.missing as f64,
                unsent: stopped.unsent as f64,
                timed_out: stopped.timed_out,
            }),
            _ => None,
        }
    }

    /// Cancels the operation and drops what it may have produced.
    #[napi]
    pub fn cancel(&mut self) {
        let _entered = runtime::enter();
        (self.running, self.outcome) = (None, None);
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.cancel();
    }
}
