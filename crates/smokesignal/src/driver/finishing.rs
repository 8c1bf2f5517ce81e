//! The wait for the readers of a stream that the application has ended, and of single messages.
//!
//! All readers report how far they are, and the core says how far all those are that this writer
//! waits for. The end of the stream has a number as a message has, and the wait for it is over when
//! that number is confirmed: as when the node stops, but here the node goes on. Where nobody
//! reports, and for a writer that waits for its own links only, the neighbours count: each one that
//! has read the end answers with a mark, and the wait is over when those have that were there when
//! a link was handed the end and still are. In any case it is over when nothing has moved for the
//! node's patience; and, for a writer that waits for most readers, when the neighbours have
//! answered and nothing has moved for a moment.

use std::collections::BTreeSet;
use std::time::Duration;

use smokesignal_proto::{Confirmed, LinkId, Message, MessageKind, NodeId, Pace, StreamLink, StreamView};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Driver;

/// The time in which nodes that have not reported yet do so. 1 s: four of their longest intervals.
const REPORTS_COME: Duration = Duration::from_secs(1);
/// A writer that waits for most readers waits no longer than this for those that confirm nothing
/// more, as when it leaves.
const STILL: Duration = Duration::from_millis(1500);

/// A message whose readers somebody waits for.
#[derive(Debug)]
pub(super) struct Confirming {
    pub(super) number: u64,
    pub(super) waiter: oneshot::Sender<usize>,
    /// When it was read by all that have reported.
    pub(super) read_at: Option<Instant>,
}

/// The application's calls that wait, and what is known of the neighbours.
#[derive(Debug)]
pub(super) struct Finishing {
    patience: Duration,
    pace: Pace,
    waiters: Vec<oneshot::Sender<usize>>,
    /// The number of the end, once the core has it.
    number: Option<u64>,
    /// The segment that is the end, once a link was handed it, and the links of that moment.
    end: Option<(u64, BTreeSet<LinkId>)>,
    /// The links over which a neighbour has answered, former ones included.
    answered: BTreeSet<LinkId>,
    /// When the end was read by all that have reported.
    read_at: Option<Instant>,
    /// How far everything was, and when that changed last.
    progress: (u64, Instant),
}

impl Finishing {
    pub(super) fn new(patience: Duration, pace: Pace) -> Self {
        Self {
            patience,
            pace,
            waiters: Vec::new(),
            number: None,
            end: None,
            answered: BTreeSet::new(),
            read_at: None,
            progress: (0, Instant::now()),
        }
    }

    /// Notes the number of the end of the stream.
    pub(super) fn end_written(&mut self, number: u64) {
        self.number = Some(number);
    }

    /// Returns whether all readers have confirmed the end.
    fn is_confirmed(&self, confirmed: &Confirmed) -> bool {
        self.number.is_some_and(|number| number <= confirmed.message)
    }

    /// Notes which neighbours have answered. Returns whether all have that are waited for.
    fn near_have_read(&mut self, view: &StreamView) -> bool {
        let Some((end, links)) = &self.end else { return false };
        let has_read = |link: &&StreamLink| link.claims >= *end;
        self.answered.extend(view.links.iter().filter(has_read).map(|link| link.link));
        let is_behind = |link: &StreamLink| links.contains(&link.link) && !self.answered.contains(&link.link);
        !self.answered.is_empty() && !view.links.iter().any(is_behind)
    }

    /// Returns how many nodes are known to have read everything.
    fn readers(&self, confirmed: &Confirmed) -> usize {
        // One that has missed something may be behind, too.
        let all = confirmed.nodes.saturating_sub(confirmed.behind.max(confirmed.gaps));
        self.answered.len().max(if self.is_confirmed(confirmed) { all } else { 0 })
    }

    /// Notes how far everything is. Returns whether nothing has moved for too long.
    fn is_overdue(&mut self, so_far: u64) -> bool {
        if so_far != self.progress.0 {
            self.progress = (so_far, Instant::now());
        }
        self.progress.1.elapsed() >= self.patience
    }
}

/// Returns the number of the segment if it is the end of this writer's stream.
pub(super) fn end_of(writer: &NodeId, message: &Message) -> Option<u64> {
    match message {
        Message::Data(segment, _) if segment.message_kind == MessageKind::End => {
            (segment.origin == *writer).then_some(segment.seq)
        }
        _ => None,
    }
}

impl Driver {
    /// Notes that a link is handed the end of this node's stream.
    pub(super) fn end_handed(&mut self, segment: u64) {
        if self.finishing.end.is_none() {
            self.finishing.end = Some((segment, self.core.peers().map(|(link, _)| link).collect()));
        }
    }

    /// Answers those who wait for the readers of the stream, if the wait is over.
    pub(super) fn check_finished(&mut self) {
        let waiters = self.shared.mailbox.outbox.take_finishing();
        if !waiters.is_empty() && self.finishing.waiters.is_empty() {
            self.finishing.progress.1 = Instant::now();
        }
        self.finishing.waiters.extend(waiters);
        if self.finishing.waiters.is_empty() {
            return;
        }
        let confirmed = self.core.confirmed(self.clock.now());
        if !self.is_finished(&confirmed) {
            return;
        }
        let count = self.finishing.readers(&confirmed);
        for waiter in self.finishing.waiters.drain(..) {
            if waiter.send(count).is_err() {
                tracing::debug!("nobody waits for the end of the stream any more");
            }
        }
    }

    /// Answers those who wait for the readers of a message that was read by all that the writer
    /// waits for. Without any reader they go on waiting. While fewer nodes report than the network
    /// has, as when the tree of the stream is new, they wait a moment longer.
    pub(super) fn check_confirmed(&mut self) {
        self.confirming.retain(|message| !message.waiter.is_closed());
        if self.confirming.is_empty() {
            return;
        }
        let confirmed = self.core.confirmed(self.clock.now());
        let readers = confirmed.nodes.saturating_sub(confirmed.behind);
        let is_whole = confirmed.nodes + 1 >= self.core.network_size() as usize;
        while readers > 0
            && let Some(first) = self.confirming.front_mut()
            && first.number <= confirmed.message
            && (is_whole || first.read_at.get_or_insert_with(Instant::now).elapsed() >= REPORTS_COME)
            && let Some(first) = self.confirming.pop_front()
        {
            if first.waiter.send(readers).is_err() {
                tracing::debug!("nobody waits for the message any more");
            }
        }
    }

    fn is_finished(&mut self, confirmed: &Confirmed) -> bool {
        let waiting = self.shared.mailbox.outbox.waiting() as u64;
        let Some(view) = self.core.stream_of(&self.core.id()) else { return true };
        let others = (self.core.network_size() as usize).saturating_sub(1);
        let finishing = &mut self.finishing;
        let handed = view.links.iter().map(|link| link.sent + link.claims).sum::<u64>();
        let so_far = view.have + handed + confirmed.message;
        let is_overdue = finishing.is_overdue(so_far.wrapping_sub(waiting));
        let is_alone = self.shared.peers.is_empty();
        // A node that has written nothing, or that nobody will meet, does not wait for a peer.
        let has_written = waiting > 0 || self.shared.counters.has_sent();
        if is_overdue || is_alone && !(has_written && self.core.expects_peer()) {
            return true;
        }
        let near_have_read = finishing.near_have_read(&view);
        if finishing.pace == Pace::None {
            return near_have_read;
        }
        let is_read = match confirmed.nodes {
            0 => near_have_read,
            _ => finishing.is_confirmed(confirmed),
        };
        if !is_read {
            finishing.read_at = None;
            let is_still = finishing.progress.1.elapsed() >= STILL;
            return near_have_read && is_still && finishing.pace == Pace::Most;
        }
        let read_at = *finishing.read_at.get_or_insert_with(Instant::now);
        let is_whole = confirmed.nodes >= others && confirmed.behind == 0;
        is_whole || read_at.elapsed() >= REPORTS_COME
    }
}
