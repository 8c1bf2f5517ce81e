//! The end of a node.
//!
//! A node that is stopped refuses new writes, hands the core what was written, and has it leave:
//! the core waits until its neighbours have read everything, says goodbye to them and reports who
//! has. A node that is alone goes on listening and dialling meanwhile, for a first peer, if it
//! knows whom to dial. All of it lasts for as long as something moves, and for the stop's patience
//! after that. Relayed connections end first, because they run over the links. A node whose last
//! handle is dropped ends without any of that.

use std::time::Duration;

use smokesignal_proto::{Confirmed, Farewell};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::Driver;
use crate::stopped::Stopped;

/// Time for closed connections to finish when the node stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How far a node is on its way to its end.
#[derive(Debug)]
pub(super) enum Phase {
    Running,
    /// The application has called `stop`.
    Stopping(Stopping),
    /// The core has left the network; the connections are to be closed, and then the waiters are
    /// answered.
    Left {
        farewell: Farewell,
        waiters: Vec<oneshot::Sender<Stopped>>,
    },
}

/// The wait of the driver before the core may leave.
#[derive(Debug)]
pub(super) struct Stopping {
    patience: Duration,
    /// Messages that the core had no room for, and when they last became fewer.
    waiting: usize,
    moved: Instant,
    /// Whether a node that has no peer may still become one.
    listens: bool,
    waiters: Vec<oneshot::Sender<Stopped>>,
}

impl Phase {
    /// Returns whether new connections are taken.
    pub(super) const fn accepts(&self) -> bool {
        matches!(self, Self::Running | Self::Stopping(Stopping { listens: true, .. }))
    }

    pub(super) const fn has_left(&self) -> bool {
        matches!(self, Self::Left { .. })
    }

    fn take_waiters(&mut self) -> Vec<oneshot::Sender<Stopped>> {
        match self {
            Self::Running => Vec::new(),
            Self::Stopping(Stopping { waiters, .. }) | Self::Left { waiters, .. } => std::mem::take(waiters),
        }
    }
}

impl Driver {
    /// Begins to stop, or adds a waiter to the stop that has begun, which may lose patience.
    pub(super) fn stop(&mut self, patience: Duration, done: oneshot::Sender<Stopped>) {
        match &mut self.phase {
            Phase::Running => {}
            Phase::Stopping(stopping) => {
                stopping.patience = patience.min(stopping.patience);
                return stopping.waiters.push(done);
            }
            Phase::Left { waiters, .. } => return waiters.push(done),
        }
        self.shared.mailbox.outbox.refuse_writes();
        self.links.report_every_write();
        let (waiting, waiters) = (self.shared.mailbox.outbox.waiting(), vec![done]);
        let moved = Instant::now();
        self.phase = Phase::Stopping(Stopping { patience, waiting, moved, listens: true, waiters });
    }

    /// Has the core leave if the node is to stop and everything was handed to the core, or cannot
    /// be. The driver checks this whenever it wakes, so the patience may be overrun until the
    /// core's next tick.
    pub(super) fn leave_when_done(&mut self) {
        let Phase::Stopping(stopping) = &mut self.phase else { return };
        let waiting = self.shared.mailbox.outbox.waiting();
        if waiting < stopping.waiting {
            (stopping.waiting, stopping.moved) = (waiting, Instant::now());
        }
        if stopping.listens && !self.shared.peers.is_empty() {
            stopping.listens = false;
            self.endpoint.close();
        }
        let is_overdue = stopping.moved.elapsed() >= stopping.patience || !self.core.expects_peer();
        if waiting == 0 || is_overdue {
            let patience = if waiting == 0 { stopping.patience } else { Duration::ZERO };
            self.core.leave_within(patience, self.clock.now());
        }
    }

    /// Notes that the core has left.
    pub(super) fn left(&mut self, farewell: Farewell) {
        self.endpoint.close();
        self.phase = Phase::Left { farewell, waiters: self.phase.take_waiters() };
    }

    /// Closes all connections in good order after the core has left.
    pub(super) async fn finish(mut self) {
        self.dialing.abort();
        let relayed = self.links.relayed();
        relayed.iter().for_each(|(link, _)| self.forget(*link));
        self.wait_for_links(|| relayed.iter().all(|(_, streams)| streams.is_closed())).await;
        self.forget_all();
        self.wait_for_links(|| false).await;
        self.shared.counters.set_network_size(0);
        self.shared.counters.set_bytes_retained(0);
        self.shared.counters.set_confirmed(&Confirmed::default());
        self.shared.counters.set_writers(Vec::new());
        let waiting = self.shared.mailbox.close();
        let farewell = match &self.phase {
            Phase::Left { farewell, .. } => *farewell,
            _ => Farewell::default(),
        };
        let stopped = Stopped::new(farewell, waiting);
        if !stopped.is_complete() {
            tracing::warn!(?stopped, "stopped before everything that was written was read");
        }
        for done in self.phase.take_waiters() {
            if done.send(stopped).is_err() {
                tracing::debug!("the caller of stop has gone");
            }
        }
    }

    /// Waits until `is_over` holds or all connections are closed, but not for ever.
    async fn wait_for_links(&mut self, is_over: impl Fn() -> bool) {
        if timeout(CLOSE_TIMEOUT, self.links.drain(is_over)).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
    }

    fn forget_all(&mut self) {
        self.links.ids().into_iter().for_each(|link| self.forget(link));
    }

    /// Ends without flushing, after the last handle is gone: all connections break.
    pub(super) fn abort(mut self) {
        self.endpoint.close();
        self.links.abort();
        self.forget_all();
        self.shared.mailbox.close();
        self.shared.events.close();
    }
}
