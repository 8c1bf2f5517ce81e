//! A connection in memory that carries an input, in pieces, and drops what is written to it.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Yields bytes in pieces of one size, each after a pause, and then its end.
pub(crate) struct Carrier {
    left: Vec<u8>,
    size: usize,
    paused: bool,
    /// How many bytes were read.
    pub(crate) read: Arc<AtomicUsize>,
}

impl Carrier {
    pub(crate) fn new(bytes: Vec<u8>, size: usize) -> Self {
        Self { left: bytes, size: size.max(1), paused: false, read: Arc::default() }
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.paused = !self.paused;
        if self.paused {
            return Poll::Pending; // Nobody waits for being woken: see `finish`.
        }
        let at = self.read.load(Ordering::Relaxed);
        let size = self.size.min(self.left.len() - at).min(buf.remaining());
        buf.put_slice(&self.left[at..at + size]);
        self.read.fetch_add(size, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs a future that waits for nothing but a [`Carrier`].
pub(crate) fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

/// Polls a future once, and returns its output if it was ready.
pub(crate) fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
