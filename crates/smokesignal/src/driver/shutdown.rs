//! The end of a node.
//!
//! A node that is stopped refuses new writes, hands over what was written while it has a peer and
//! [`STOP_TIMEOUT`] is not over, then has the core leave: the core says goodbye to the neighbours
//! and reports that it has left. Relayed connections end first, because they run over the links. A
//! node whose last handle is dropped ends without any of that.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::Driver;

/// Time for what was written to reach the peers when the node stops. A node without a peer does not
/// wait.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for closed connections to finish when the node stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How far a node is on its way to its end.
#[derive(Debug)]
pub(super) enum Phase {
    Running,
    /// The application has called `stop`: writes are handed over until `by`. The waiters are
    /// answered when it is done.
    Stopping {
        by: Instant,
        waiters: Vec<oneshot::Sender<()>>,
    },
    /// The core has left the network; the connections are to be closed.
    Left {
        waiters: Vec<oneshot::Sender<()>>,
    },
}

impl Phase {
    pub(super) const fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }

    pub(super) const fn has_left(&self) -> bool {
        matches!(self, Self::Left { .. })
    }

    fn take_waiters(&mut self) -> Vec<oneshot::Sender<()>> {
        match self {
            Self::Running => Vec::new(),
            Self::Stopping { waiters, .. } | Self::Left { waiters } => std::mem::take(waiters),
        }
    }
}

impl Driver {
    /// Begins to stop, or adds a waiter to the stop that has begun.
    pub(super) fn stop(&mut self, done: oneshot::Sender<()>) {
        if let Phase::Stopping { waiters, .. } | Phase::Left { waiters } = &mut self.phase {
            return waiters.push(done);
        }
        self.shared.mailbox.refuse_writes();
        let patience = if self.shared.peers.is_empty() { Duration::ZERO } else { STOP_TIMEOUT };
        self.links.report_every_write();
        self.endpoint.close();
        self.phase = Phase::Stopping { by: Instant::now() + patience, waiters: vec![done] };
    }

    /// Leaves the network if the node is to stop and everything was handed over, or cannot be. The
    /// driver checks this whenever it wakes, so `by` may be overrun until the core's next tick.
    /// Further calls before the core reports that it has left change nothing.
    pub(super) fn leave_when_done(&mut self) {
        let Phase::Stopping { by, .. } = &self.phase else { return };
        let is_overdue = || Instant::now() >= *by || self.shared.peers.is_empty();
        if self.shared.mailbox.waiting() == 0 || is_overdue() {
            self.core.leave(self.clock.now());
        }
    }

    /// Notes that the core has left.
    pub(super) fn left(&mut self, unsent: usize) {
        if unsent > 0 {
            tracing::warn!(unsent, "left without a peer to take the last messages: they are lost");
        }
        self.phase = Phase::Left { waiters: self.phase.take_waiters() };
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
        let lost = self.shared.mailbox.close();
        if lost > 0 {
            tracing::warn!(lost, "stopped before the last messages could be sent: they are lost");
        }
        for done in self.phase.take_waiters() {
            if done.send(()).is_err() {
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
