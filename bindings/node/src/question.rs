//! Questions to everyone: the answers to one that was asked, and those that others ask.

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

/// An answer.
#[napi(object)]
pub struct NativeAnswer {
    pub from: String,
    pub data: Buffer,
}

type Next = Pin<Box<dyn Future<Output = (Option<smokesignal::Answer>, smokesignal::Answers)>>>;

/// The answers to one question.
#[napi]
pub struct Answers {
    /// Kept, not made anew for each poll: it holds the timer of the last one's time.
    next: Option<Next>,
    waker: Waker,
}

#[napi]
impl Answers {
    pub(crate) fn new(answers: smokesignal::Answers, waker: Waker) -> Self {
        Self { next: Some(following(answers)), waker }
    }

    /// The next answer, if it is there.
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

    /// Whether no more will come.
    #[napi(getter)]
    pub fn ended(&self) -> bool {
        self.next.is_none()
    }

    #[napi]
    pub fn close(&mut self) {
        let _entered = runtime::enter();
        self.next = None;
    }
}

fn following(mut answers: smokesignal::Answers) -> Next {
    Box::pin(async move { (answers.recv().await, answers) })
}

/// A question that somebody asks.
#[napi(object)]
pub struct NativeQuestion {
    pub number: u32,
    pub from: String,
    pub data: Buffer,
}

/// Where the library puts questions, and JavaScript the answers.
#[derive(Default)]
pub(crate) struct Desk(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<(u32, NodeId, Bytes)>,
    open: BTreeMap<u32, oneshot::Sender<Option<Bytes>>>,
    last: u32,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to this question. The library asks 64 at once at most.
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

/// The questions of others, as long as it is not closed.
#[napi]
pub struct Questions {
    desk: Arc<Desk>,
    answering: Option<ResponderGuard>,
}

#[napi]
impl Questions {
    pub(crate) fn new(desk: Arc<Desk>, answering: ResponderGuard) -> Self {
        Self { desk, answering: Some(answering) }
    }

    #[napi]
    pub fn poll(&self) -> Option<NativeQuestion> {
        let (number, from, data) = self.desk.lock().waiting.pop_front()?;
        Some(NativeQuestion { number, from: from.to_string(), data: data.to_vec().into() })
    }

    /// Answers a question; without data, there is no answer.
    #[napi]
    pub fn answer(&self, number: u32, data: Option<&[u8]>) {
        if let Some(sender) = self.desk.lock().open.remove(&number) {
            // Who does not wait any more has stopped.
            drop(sender.send(data.map(Bytes::copy_from_slice)));
        }
    }

    #[napi]
    pub fn close(&mut self) {
        self.answering = None;
        let mut state = self.desk.lock();
        state.waiting.clear();
        state.open.clear();
    }
}
