//! Questions to everyone: the answers to one's own, and the questions of others.
//!
//! [`Answers`] polls for answers. For the other direction, the library calls an async handler for
//! each question; [`QuestionQueue::answer`] is that handler. It queues the question for JavaScript
//! and waits on a channel, which [`Questions::answer`] resolves by the question's number.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use smokesignal::{NodeId, ResponderGuard};
use tokio::sync::oneshot;

use crate::runtime;

/// An answer, and the id of the node that gave it.
#[napi(object)]
pub struct NativeAnswer {
    pub from: String,
    pub data: Buffer,
}

/// A future that returns the next answer, and the stream that the following ones come from.
type Next = Pin<Box<dyn Future<Output = (Option<smokesignal::Answer>, smokesignal::Answers)>>>;

/// The answers to one question.
#[napi]
pub struct Answers {
    /// The future of the next answer; `None` at the end. It is kept between polls, because it holds
    /// the timer of the question.
    next: Option<Next>,
    waker: Waker,
}

#[napi]
impl Answers {
    /// Wraps the library's answers. `waker` is woken when one arrives.
    pub(crate) fn new(answers: smokesignal::Answers, waker: Waker) -> Self {
        Self { next: Some(following(answers)), waker }
    }

    /// Returns the next answer, if it has arrived.
    #[napi]
    pub fn poll(&mut self) -> Option<NativeAnswer> {
        let _entered = runtime::enter();
        let next = self.next.as_mut()?;
        let Poll::Ready((answer, answers)) = next.as_mut().poll(&mut Context::from_waker(&self.waker)) else {
            return None;
        };
        self.next = answer.is_some().then(|| following(answers));
        answer.map(|answer| NativeAnswer { from: answer.from.to_string(), data: answer.data.to_vec().into() })
    }

    /// Whether no more answers will come.
    #[napi(getter)]
    pub fn ended(&self) -> bool {
        self.next.is_none()
    }

    /// Drops answers that are still to come.
    #[napi]
    pub fn close(&mut self) {
        let _entered = runtime::enter();
        self.next = None;
    }
}

/// Returns the future of the next answer, which gives the stream of answers back.
fn following(mut answers: smokesignal::Answers) -> Next {
    Box::pin(async move { (answers.recv().await, answers) })
}

/// A question of another node. JavaScript answers it by its number.
#[napi(object)]
pub struct NativeQuestion {
    /// The number by which JavaScript answers it.
    pub number: u32,
    pub from: String,
    pub data: Buffer,
}

/// Questions on their way to JavaScript, and those that wait for its answer. The library has 64
/// handlers running at most, which is the limit of both.
#[derive(Default)]
pub(crate) struct QuestionQueue(Mutex<State>);

#[derive(Default)]
struct State {
    /// Questions that JavaScript has not taken.
    waiting: VecDeque<(u32, NodeId, Bytes)>,
    /// Where the answer to each question goes.
    open: BTreeMap<u32, oneshot::Sender<Option<Bytes>>>,
    /// The number of the last question.
    last: u32,
}

impl QuestionQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles one question: queues it and waits for JavaScript's answer.
    pub(crate) async fn answer(self: Arc<Self>, from: NodeId, data: Bytes, waker: Waker) -> Option<Bytes> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.lock();
            state.last = state.last.wrapping_add(1);
            let number = state.last;
            state.open.insert(number, sender);
            state.waiting.push_back((number, from, data));
        }
        waker.wake();
        answer.await.ok().flatten()
    }
}

/// The questions of others, until it is closed.
#[napi]
pub struct Questions {
    queue: Arc<QuestionQueue>,
    answering: Option<ResponderGuard>,
}

#[napi]
impl Questions {
    /// Wraps the guard that the library returned for the handler of `queue`.
    pub(crate) fn new(queue: Arc<QuestionQueue>, answering: ResponderGuard) -> Self {
        Self { queue, answering: Some(answering) }
    }

    /// Returns the next question, if there is one.
    #[napi]
    pub fn poll(&self) -> Option<NativeQuestion> {
        let (number, from, data) = self.queue.lock().waiting.pop_front()?;
        Some(NativeQuestion { number, from: from.to_string(), data: data.to_vec().into() })
    }

    /// Answers a question. Without data, no answer is sent.
    #[napi]
    pub fn answer(&self, number: u32, data: Option<&[u8]>) {
        if let Some(sender) = self.queue.lock().open.remove(&number) {
            // The send fails if the library has stopped waiting, for example because the node
            // stopped.
            drop(sender.send(data.map(Bytes::copy_from_slice)));
        }
    }

    /// Stops answering. Questions that wait get no answer.
    #[napi]
    pub fn close(&mut self) {
        self.answering = None;
        let mut state = self.queue.lock();
        state.waiting.clear();
        state.open.clear();
    }
}
