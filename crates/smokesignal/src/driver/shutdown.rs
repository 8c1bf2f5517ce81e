//! The end of a node: in order, or at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Driver;

/// Closed links may finish for this long when the node stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

impl Driver {
    /// After leaving: lets the links write out what they hold and close.
    pub(super) async fn finish(mut self) {
        self.dial_tasks.abort_all();
        // Relayed connections go over the links, and so they have to end first.
        let relayed = self.links.iter().filter(|(_, link)| link.handle.streams.is_relayed());
        let relayed: Vec<_> =
            relayed.map(|(link, entry)| (*link, Arc::clone(&entry.handle.streams))).collect();
        relayed.iter().for_each(|(link, _)| self.forget(*link));
        self.wait_for_links(|| relayed.iter().all(|(_, streams)| streams.is_closed())).await;
        self.forget_all();
        self.wait_for_links(|| false).await;
        self.shared.size.store(0, Ordering::Relaxed);
        let lost = self.shared.mailbox.close();
        if lost > 0 {
            tracing::warn!(lost, "stopped before the last messages could be sent: they are lost");
        }
        for done in self.stopping.drain(..) {
            if done.send(()).is_err() {
                tracing::debug!("nobody waits for the node to stop any more");
            }
        }
    }

    /// Until it is over, or all links are closed. What they report interests nobody any more, but none of them shall wait.
    async fn wait_for_links(&mut self, is_over: impl Fn() -> bool) {
        let (reports, tasks) = (&mut self.reports, &mut self.link_tasks);
        let closing = async {
            while !is_over() {
                tokio::select! {
                    biased;
                    done = tasks.join_next() => if done.is_none() { return },
                    _ = reports.recv() => {}
                }
            }
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
    }

    fn forget_all(&mut self) {
        let links: Vec<_> = self.links.keys().copied().collect();
        links.into_iter().for_each(|link| self.forget(link));
    }

    /// The last handle is gone: nothing is flushed, all connections break.
    pub(super) fn vanish(mut self) {
        self.endpoint.close();
        self.link_tasks.abort_all();
        self.forget_all();
        self.shared.mailbox.close();
        self.shared.events.close();
    }
}
