//! One thing that takes time: polled by JavaScript when its number is due, given up by dropping it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use napi_derive::napi;

use crate::failure::Failure;
use crate::question::Answers;
use crate::runtime;
use crate::stream::Stream;

/// What came of it.
pub(crate) enum Outcome {
    Done,
    Stream(Box<Stream>),
    Answers(Answers),
}

type Running = Pin<Box<dyn Future<Output = Result<Outcome, Failure>>>>;

#[napi]
pub struct Op {
    running: Option<Running>,
    outcome: Option<Result<Outcome, Failure>>,
    waker: Waker,
}

#[napi]
impl Op {
    pub(crate) fn new<F, T, E>(waker: Waker, future: F, outcome: fn(T) -> Outcome) -> Self
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        Failure: From<E>,
    {
        let running = async move { future.await.map(outcome).map_err(Failure::from) };
        Self { running: Some(Box::pin(running)), outcome: None, waker }
    }

    /// Whether it is over.
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

    /// Why it failed.
    #[napi(getter)]
    pub fn failure(&self) -> Option<Failure> {
        match &self.outcome {
            Some(Err(failure)) => Some(failure.clone()),
            _ => None,
        }
    }

    #[napi]
    pub fn take_stream(&mut self) -> Option<Stream> {
        match self.outcome.take() {
            Some(Ok(Outcome::Stream(stream))) => Some(*stream),
            _ => None,
        }
    }

    #[napi]
    pub fn take_answers(&mut self) -> Option<Answers> {
        match self.outcome.take() {
            Some(Ok(Outcome::Answers(answers))) => Some(answers),
            _ => None,
        }
    }

    /// Gives it up, and whatever it has got meanwhile.
    #[napi]
    pub fn cancel(&mut self) {
        let _entered = runtime::enter();
        (self.running, self.outcome) = (None, None);
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        self.cancel();
    }
}
