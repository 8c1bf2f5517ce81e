//! One end of a simulated connection, as a duplex stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::MemoryNetwork;
use super::wire::{Caller, Delays, Progress, Wire};

/// One end of a [`Wire`].
pub(super) struct WireEnd {
    network: MemoryNetwork,
    wire: u64,
    end: usize,
    reading: Timer,
    writing: Timer,
}

impl WireEnd {
    pub(super) fn new(network: MemoryNetwork, wire: u64, end: usize) -> Self {
        Self { network, wire, end, reading: Timer(None), writing: Timer(None) }
    }

    fn caller<'a>(&self, cx: &'a Context<'_>) -> Caller<'a> {
        Caller { end: self.end, now: Instant::now(), waker: cx.waker() }
    }
}

impl AsyncRead for WireEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let caller = self.caller(cx);
            let progress = self.network.with_wire(self.wire, |wire, _| wire.read(&caller, buf));
            match progress {
                Progress::Done(read) => return Poll::Ready(read),
                Progress::Wait(until) => ready!(self.reading.poll(until, cx)),
            }
        }
    }
}

impl AsyncWrite for WireEnd {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let caller = self.caller(cx);
            let progress = self.network.with_wire(self.wire, |wire, delays| wire.write(&caller, delays, buf));
            match progress {
                Progress::Done(written) => return Poll::Ready(written),
                Progress::Wait(until) => ready!(self.writing.poll(until, cx)),
            }
        }
    }

    /// Does nothing: written bytes are on their way already.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.with_wire(self.wire, |wire, delays| wire.shut_down(self.end, Instant::now(), delays));
        Poll::Ready(Ok(()))
    }
}

impl Drop for WireEnd {
    fn drop(&mut self) {
        let drop_end = |wire: &mut Wire, delays: &mut Delays| wire.drop_end(self.end, Instant::now(), delays);
        if self.network.with_wire(self.wire, drop_end) {
            self.network.forget_wire(self.wire);
        }
    }
}

struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Resolves at `until`, or never without one: another task wakes this one then.
    fn poll(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = until else {
            self.0 = None;
            return Poll::Pending;
        };
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() != until {
            sleep.as_mut().reset(until);
        }
        sleep.as_mut().poll(cx)
    }
}
