//! The writing half of one connection.
//!
//! A [`FrameWriter`] owns the connection's writing end and the batch of frames that goes out next.
//! Messages and frames are pushed first and written later by
//! [`poll_write`](FrameWriter::poll_write), so that everything that is ready shares one system
//! call. The link's task and the driver hand the writer to each other through the link's queue;
//! the holder is the only one that writes.
//!
//! A write that the connection takes only in part is pending until the connection wakes it, and
//! takes more. [`Progress`] notes when that happens, because on a slow line a whole batch can take
//! longer than a connection may stand still.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use smokesignal_proto::Message;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::lock::Lock;
use crate::wire::batch::WriteBatch;
use crate::wire::frame::Frame;
use crate::wire::traffic::Traffic;

/// Capacity, in messages, that the message queue keeps from one write to the next: 1 KiB.
const KEPT: usize = 64;

/// Collects frames and writes them to a connection.
pub(crate) struct FrameWriter {
    connection: Box<dyn AsyncWrite + Send + Unpin>,
    batch: WriteBatch,
    /// The cost of the messages in the batch, see [`Message::cost`].
    cost: usize,
    flushed: bool,
    progress: Arc<Progress>,
    traffic: Arc<Traffic>,
}

/// When a connection last took a part of a pending write. It stands between the connection and the
/// task that writes: it is woken first, and wakes the task.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pending: Lock<Pending>,
    /// Whether there is something to take: the driver asks each time it wakes.
    has_gone_on: AtomicBool,
}

#[derive(Debug, Default)]
struct Pending {
    /// The task that polled the write last.
    task: Option<Waker>,
    /// When the connection last had room for more, since somebody looked.
    at: Option<Instant>,
}

impl Progress {
    /// Returns when a pending write last went on, if it did since the last call.
    pub(crate) fn take(&self) -> Option<Instant> {
        let gone =
            self.has_gone_on.load(Ordering::Relaxed) && self.has_gone_on.swap(false, Ordering::Acquire);
        gone.then(|| self.pending.lock().at.take())?
    }

    /// Has `task` woken when the connection has room.
    fn wake_next(&self, task: &Waker) {
        let mut pending = self.pending.lock();
        if !pending.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            pending.task = Some(task.clone());
        }
    }
}

impl Wake for Progress {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let task = {
            let mut pending = self.pending.lock();
            pending.at = Some(Instant::now());
            self.has_gone_on.store(true, Ordering::Release);
            pending.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl FrameWriter {
    /// Makes a writer that notes in `progress` how pending writes go on, and counts in `traffic`.
    pub(crate) fn new(
        connection: Box<dyn AsyncWrite + Send + Unpin>,
        progress: Arc<Progress>,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self { connection, batch: WriteBatch::default(), cost: 0, flushed: true, progress, traffic }
    }

    /// Drains the queue into the batch and counts the cost of its messages.
    pub(crate) fn push(&mut self, messages: &mut Vec<Message>) {
        messages.drain(..).for_each(|message| self.push_message(message));
        messages.shrink_to(KEPT);
    }

    /// Adds a message and counts its cost.
    pub(crate) fn push_message(&mut self, message: Message) {
        self.cost += message.cost();
        self.batch.push(&Frame::Message(message));
    }

    /// Adds a stream's frame, whose cost is not counted: streams have credit of their own.
    pub(crate) fn push_frame(&mut self, frame: &Frame) {
        self.batch.push(frame);
    }

    /// Returns whether everything pushed so far has been written and flushed.
    pub(crate) fn is_done(&self) -> bool {
        self.batch.is_empty() && self.flushed
    }

    /// Returns how many bytes of what was pushed the connection has not been handed.
    pub(crate) fn left(&self) -> usize {
        self.batch.len() - self.batch.written()
    }

    /// Writes and flushes everything that was pushed, and returns its cost.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_write_up_to(usize::MAX, cx)
    }

    /// Writes and flushes the next `size` bytes of what was pushed. Returns the cost of all of it
    /// at its end, and 0 before.
    pub(crate) async fn write_piece(&mut self, size: usize) -> io::Result<usize> {
        let end = self.batch.written() + size;
        poll_fn(|cx| self.poll_write_up_to(end, cx)).await
    }

    fn poll_write_up_to(&mut self, end: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.flushed = false;
        self.progress.wake_next(cx.waker());
        let waker = Waker::from(Arc::clone(&self.progress));
        let cx = &mut Context::from_waker(&waker);
        let (before, all) = (self.batch.written(), self.batch.len().min(end));
        let written = self.batch.poll_write(&mut self.connection, end, cx);
        let after = if written.is_ready() { all } else { self.batch.written() };
        if after > before {
            self.traffic.sent.add(after - before);
        }
        ready!(written)?;
        ready!(Pin::new(&mut self.connection).poll_flush(cx))?;
        self.flushed = true;
        let cost = if self.batch.is_empty() { std::mem::take(&mut self.cost) } else { 0 };
        self.traffic.written(cost);
        Poll::Ready(Ok(cost))
    }

    /// Closes the connection in good order.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.connection.shutdown().await
    }
}

impl fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameWriter").field("batch", &self.batch).finish_non_exhaustive()
    }
}
