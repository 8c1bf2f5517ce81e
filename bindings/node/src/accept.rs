//! Streams that other nodes open. JavaScript polls for the next one when the acceptor's number is
//! due.

use std::task::{Poll, Waker};

use napi_derive::napi;

use crate::runtime::poll_once;
use crate::stream::Stream;
use crate::wake_queue::WakeQueue;

/// Accepts the streams of one name that other nodes open.
#[napi]
pub struct Acceptor {
    /// `None` once it is closed.
    acceptor: Option<smokesignal::Acceptor>,
    waker: Waker,
}

#[napi]
impl Acceptor {
    /// Wraps an acceptor of the library. `waker` is woken when another node opens a stream.
    pub(crate) fn new(acceptor: smokesignal::Acceptor, waker: Waker) -> Self {
        Self { acceptor: Some(acceptor), waker }
    }

    /// Returns the next stream, if there is one. Its reads and writes make `number` due.
    #[napi]
    pub fn poll(&mut self, wake_queue: &WakeQueue, number: u32) -> Option<Stream> {
        let acceptor = self.acceptor.as_mut()?;
        match poll_once(acceptor.recv(), &self.waker) {
            Poll::Ready(stream) => stream.map(|stream| Stream::named(stream, wake_queue.waker(number))),
            Poll::Pending => None,
        }
    }

    /// Stops accepting.
    #[napi]
    pub fn close(&mut self) {
        self.acceptor = None;
    }
}
