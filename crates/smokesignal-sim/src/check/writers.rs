//! Checks that a writer is not held up by its neighbours for longer than it takes to get rid of
//! them.
//!
//! A writer that may not write tries again every few milliseconds, and each try is reported as
//! [`Observed::Blocked`]. The time counts from the first of these on, while the writer has a
//! healthy link. Two stalled neighbours in a row cost it two stall timeouts; more than that is a
//! violation.

use super::{Check, Observed, View, Violation};
use crate::invariant::Invariant;
use crate::kernel::micros;

/// The time that a writer may wait on top of the stall timeouts, for the tick that notices them and
/// for the way: 2 s.
const SLACK: u64 = 2_000_000;

/// Remembers since when each writer is blocked although it has a healthy link.
#[derive(Debug, Default)]
pub(super) struct Writers {
    /// The time since which each writer is blocked, by writer number.
    blocked_since: Vec<Option<u64>>,
}

impl Check for Writers {
    fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation> {
        match *event {
            Observed::Blocked { writer } => self.blocked(view, writer),
            Observed::Wrote { writer, .. } => {
                self.set(writer, None);
                Ok(())
            }
            Observed::Started { node } => {
                if let Some(writer) = view.traffic.number(node) {
                    self.set(writer, None);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Writers {
    /// Judges a try that failed.
    fn blocked(&mut self, view: &View<'_>, writer: u32) -> Result<(), Violation> {
        let node = view.writer(writer).node;
        let since = self.blocked_since.get(writer as usize).copied().flatten();
        let slow = view.net.is_slow_sender(node, view.now);
        if slow || !has_healthy_link(view, node) {
            self.set(writer, Some(view.now));
            return Ok(());
        }
        let since = since.unwrap_or(view.now);
        self.set(writer, Some(since));
        let limit = 2 * micros(view.config().stall_timeout) + SLACK;
        if view.now - since <= limit {
            return Ok(());
        }
        let what = format!("it may not write since {:.3} s", since as f64 / 1e6);
        view.violated(Invariant::WRITER_RESUMES, node, what)
    }

    /// Remembers since when a writer is blocked.
    fn set(&mut self, writer: u32, since: Option<u64>) {
        let at = writer as usize;
        if self.blocked_since.len() <= at {
            self.blocked_since.resize(at + 1, None);
        }
        self.blocked_since[at] = since;
    }
}

/// Returns whether a writer has a link over which everything is fine: it could write.
fn has_healthy_link(view: &View<'_>, node: usize) -> bool {
    view.net.connections(node).iter().any(|slot| {
        let link = view.net.link(*slot);
        let other = link.other(node);
        link.is_open()
            && view.net.is_awake(other)
            && view.cluster.is_honest(other)
            && !view.net.is_cut(node, other)
    })
}
