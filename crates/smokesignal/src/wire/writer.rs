//! What a link is written with: either its task or the driver has it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use smokesignal_proto::Message;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::wire::batch::Train;
use crate::wire::frame::Frame;

/// Messages for which the queue's memory is kept from one write to the next: 1 KiB.
const KEPT: usize = 64;

/// What a link is written with.
pub(crate) struct Pen {
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    train: Train,
    /// The cost of the messages in the train.
    cost: usize,
    flushed: bool,
}

impl Pen {
    pub(crate) fn new(writer: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        Self { writer, train: Train::default(), cost: 0, flushed: true }
    }

    /// Takes all of them.
    pub(crate) fn push(&mut self, messages: &mut Vec<Message>) {
        for message in messages.drain(..) {
            self.cost += message.cost();
            self.train.push(&Frame::Message(message));
        }
        messages.shrink_to(KEPT);
    }

    /// What is not counted, because nobody waits for it.
    pub(crate) fn push_frame(&mut self, frame: &Frame) {
        self.train.push(frame);
    }

    /// Nothing of what was pushed is left.
    pub(crate) fn is_done(&self) -> bool {
        self.train.is_empty() && self.flushed
    }

    /// Writes all that was pushed, and tells its cost.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.flushed = false;
        ready!(self.train.poll_write(&mut self.writer, cx))?;
        ready!(Pin::new(&mut self.writer).poll_flush(cx))?;
        self.flushed = true;
        Poll::Ready(Ok(std::mem::take(&mut self.cost)))
    }

    /// Ends the connection in order.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.writer.shutdown().await
    }
}

impl fmt::Debug for Pen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pen").field("train", &self.train).finish_non_exhaustive()
    }
}
