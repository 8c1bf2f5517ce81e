//! The wait for the readers of a stream that the application has ended.
//!
//! Each neighbour that has read the end of this node's stream answers with a mark, as when the node
//! stops. Here the node goes on afterwards. The wait begins when a link is handed the end, counts
//! the neighbours of that moment, and is over when those that are still there have answered, or
//! when nothing has moved for the node's patience.

use std::collections::BTreeSet;
use std::time::Duration;

use smokesignal_proto::{LinkId, Message, MessageKind, NodeId, StreamLink};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Driver;

/// The time in which nodes that have not reported yet do so. 1 s: four of their longest intervals.
const REPORTS_COME: Duration = Duration::from_secs(1);

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
    waiters: Vec<oneshot::Sender<usize>>,
    /// The segment that is the end, once a link was handed it, and the links of that moment.
    end: Option<(u64, BTreeSet<LinkId>)>,
    /// The links over which a neighbour has answered, former ones included.
    confirmed: BTreeSet<LinkId>,
    /// How far everything was, and when that changed last.
    progress: (u64, Instant),
}

impl Finishing {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            waiters: Vec::new(),
            end: None,
            confirmed: BTreeSet::new(),
            progress: (0, Instant::now()),
        }
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
        Message::Data(segment) if segment.message_kind == MessageKind::End => {
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
        let waiters = self.shared.mailbox.take_finishing();
        if !waiters.is_empty() && self.finishing.waiters.is_empty() {
            self.finishing.progress.1 = Instant::now();
        }
        self.finishing.waiters.extend(waiters);
        if self.finishing.waiters.is_empty() || !self.is_finished() {
            return;
        }
        let count = self.finishing.confirmed.len();
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

    fn is_finished(&mut self) -> bool {
        let waiting = self.shared.mailbox.waiting() as u64;
        let Some(view) = self.core.stream_of(&self.core.id()) else { return true };
        let finishing = &mut self.finishing;
        let handed = view.links.iter().map(|link| link.sent + link.claims).sum::<u64>();
        let is_overdue = finishing.is_overdue((view.have + handed).wrapping_sub(waiting));
        let is_alone = self.shared.peers.is_empty();
        // A node that has written nothing, or that nobody will meet, does not wait for a peer.
        let has_written = waiting > 0 || self.shared.counters.has_sent();
        let gives_up = is_overdue || is_alone && !(has_written && self.core.expects_peer());
        let Some((end, links)) = &finishing.end else { return gives_up };
        let has_read = |link: &&StreamLink| link.claims >= *end;
        finishing.confirmed.extend(view.links.iter().filter(has_read).map(|link| link.link));
        let is_behind = |link: &LinkId| links.contains(link) && !finishing.confirmed.contains(link);
        let behind = view.links.iter().filter(|link| is_behind(&link.link)).count();
        gives_up || (behind == 0 && !finishing.confirmed.is_empty())
    }
}
