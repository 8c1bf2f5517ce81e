//! The desk of the connections that are open.
//!
//! Each connection runs in a task of its own, see [`link`]. The desk numbers the connections, hands
//! messages to them, collects what they report, and knows which of them serve streams only. Such a
//! connection is closed when no stream has used it for [`IDLE`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smokesignal_proto::{Control, LinkId, Message, NodeId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::driver::link::{self, LinkHandle, Report};
use crate::peer::Peer;
use crate::stream::handle::Path;
use crate::stream::mux::{Mux, SharedStreams, Side};
use crate::transport::Connection;
use crate::upload::UploadLimit;

/// Maximum number of reports that wait for the driver. Above it the links' readers wait.
pub(super) const REPORTS: usize = 64;
/// A connection for streams is closed when no stream has used it for this long. A stream that the
/// application has dropped is reset when the other side has taken none of its data for this long.
const IDLE: Duration = Duration::from_secs(30);
/// Interval between two looks for dropped streams that do not drain.
const CHECK: Duration = Duration::from_secs(5);

fn is_control(message: &Message, is_one: impl Fn(&Control) -> bool) -> bool {
    matches!(message, Message::Control(control) if is_one(control))
}

/// All open connections.
#[derive(Debug)]
pub(super) struct Links {
    entries: BTreeMap<LinkId, Link>,
    /// The number of the latest connection.
    last: u64,
    streams: SharedStreams,
    limit: Option<Arc<UploadLimit>>,
    tasks: JoinSet<()>,
    report_sender: mpsc::Sender<(LinkId, Report)>,
    reports: mpsc::Receiver<(LinkId, Report)>,
    /// Whether every write is reported, see [`Self::report_every_write`].
    every_write: bool,
    next_check: Instant,
}

/// The driver's end of one connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) handle: LinkHandle,
    pub(super) remote: SocketAddr,
    pub(super) id: NodeId,
    pub(super) side: Side,
    /// Whether nothing was queued since the last flush.
    is_flushed: bool,
    /// When this node asked to make it a link, or agreed to.
    asked: Option<Instant>,
    /// While the connection is the link to a neighbour: its handle, and what closes it.
    pub(super) peer: Option<(Peer, watch::Sender<bool>)>,
    /// What was wrong with the bytes that it sent.
    pub(super) malformed: Option<String>,
    /// `None` while the network needs the connection for more than streams.
    stream_only: Option<Use>,
}

/// Whether streams use a connection that serves nothing else.
#[derive(Debug, Clone, Copy)]
enum Use {
    InUse,
    IdleSince(Instant),
}

impl Link {
    pub(super) fn streams(&self) -> &Arc<Mux> {
        &self.handle.streams
    }
}

impl Links {
    /// Makes the desk. The connections together send at most `upload_limit` bytes per second.
    pub(super) fn new(streams: SharedStreams, upload_limit: Option<u64>) -> Self {
        let (report_sender, reports) = mpsc::channel(REPORTS);
        Self {
            entries: BTreeMap::new(),
            last: 0,
            streams,
            limit: upload_limit.map(UploadLimit::new),
            tasks: JoinSet::new(),
            report_sender,
            reports,
            every_write: false,
            next_check: Instant::now(),
        }
    }

    /// Starts to run a connection and returns its number.
    pub(super) fn open(&mut self, connection: Connection, side: Side, path: Path) -> LinkId {
        self.last += 1;
        let link = LinkId(self.last);
        let (id, remote) = (connection.peer, connection.remote);
        let streams = Mux::new(link, id, side, path, self.streams.clone());
        let (handle, run) =
            link::open(link, connection, streams, self.limit.clone(), self.report_sender.clone());
        self.tasks.spawn(run.in_current_span());
        if self.every_write {
            handle.report_every_write();
        }
        let (is_flushed, asked, peer, malformed, stream_only) = (true, None, None, None, None);
        let entry = Link { handle, remote, id, side, is_flushed, asked, peer, malformed, stream_only };
        self.entries.insert(link, entry);
        link
    }

    pub(super) fn get(&self, link: LinkId) -> Option<&Link> {
        self.entries.get(&link)
    }

    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.entries.get_mut(&link)
    }

    pub(super) fn ids(&self) -> Vec<LinkId> {
        self.entries.keys().copied().collect()
    }

    /// Drops the driver's end of a connection: its task writes what is queued and closes it.
    pub(super) fn remove(&mut self, link: LinkId) {
        self.entries.remove(&link);
    }

    /// Queues a message, which leaves with the next [`flush`](Self::flush).
    pub(super) fn send(&mut self, link: LinkId, message: Message) {
        if let Some(link) = self.entries.get_mut(&link) {
            if is_control(&message, |control| {
                matches!(control, Control::Neighbor { .. } | Control::Accept { .. })
            }) {
                link.asked = Some(Instant::now());
            }
            link.handle.send(message);
            link.is_flushed = false;
        }
    }

    /// Measures the round trip where the other side answers that the link stands.
    pub(super) fn note_arrived(&mut self, link: LinkId, messages: &[Message]) {
        let Some(entry) = self.entries.get_mut(&link) else { return };
        let Some(asked) = entry.asked else { return };
        let answers = |control: &Control| matches!(control, Control::Accept { .. } | Control::Active { .. });
        if messages.iter().any(|message| is_control(message, answers)) {
            entry.asked = None;
            // Fails for a connection that becomes a link again: its first round trip stays.
            let _known = entry.handle.traffic().round_trip.set(asked.elapsed());
        }
    }

    /// Has everything written that is queued. Returns whether a link wrote enough here and now that
    /// the core should [know](Self::sent) before it goes on.
    pub(super) fn flush(&mut self) -> bool {
        let mut much = false;
        for link in self.entries.values_mut().filter(|link| !link.is_flushed) {
            link.is_flushed = true;
            much |= link.handle.flush();
        }
        much
    }

    /// Passes the cost of what each link has written since the last call to `each`.
    pub(super) fn sent(&self, mut each: impl FnMut(LinkId, usize, Instant)) {
        for (link, entry) in &self.entries {
            if let Some((cost, at)) = entry.handle.take_sent() {
                each(*link, cost, at);
            }
        }
    }

    /// Has the links report every write from now on, so that a node that stops learns promptly what
    /// has left.
    pub(super) fn report_every_write(&mut self) {
        self.every_write = true;
        self.entries.values().for_each(|link| link.handle.report_every_write());
    }

    /// Waits for the next report; `None` means that a link's task has ended. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<(LinkId, Report)> {
        let Self { tasks, reports, .. } = self;
        tokio::select! {
            biased;
            Some(_) = tasks.join_next() => None,
            report = reports.recv() => report,
        }
    }

    /// Returns a report that has arrived already.
    pub(super) fn try_next(&mut self) -> Option<(LinkId, Report)> {
        self.reports.try_recv().ok()
    }

    /// Notes that the network needs the connection for streams only.
    pub(super) fn set_stream_only(&mut self, link: LinkId) {
        if let Some(entry) = self.entries.get_mut(&link) {
            entry.stream_only = Some(Use::InUse);
        }
    }

    /// Returns the connections that serve streams only and have been idle for too long.
    pub(super) fn idle(&mut self, now: Instant) -> Vec<LinkId> {
        let mut idle = Vec::new();
        for (link, entry) in &mut self.entries {
            entry.stream_only = match entry.stream_only {
                None => None,
                Some(_) if entry.handle.streams.is_used() => Some(Use::InUse),
                Some(Use::InUse) => Some(Use::IdleSince(now)),
                Some(Use::IdleSince(since)) => {
                    if now - since > IDLE {
                        idle.push(*link);
                    }
                    Some(Use::IdleSince(since))
                }
            };
        }
        idle
    }

    /// Resets dropped streams that do not drain, once per [`CHECK`]. Returns whether it was time.
    pub(super) fn check_stuck(&mut self, now: Instant) -> bool {
        if now < self.next_check {
            return false;
        }
        self.next_check = now + CHECK;
        self.entries.values().for_each(|link| link.handle.streams.abandon(now, IDLE));
        true
    }

    /// Returns the connections whose bytes go through other nodes.
    pub(super) fn relayed(&self) -> Vec<(LinkId, Arc<Mux>)> {
        let relayed = self.entries.iter().filter(|(_, link)| link.streams().is_relayed());
        relayed.map(|(link, entry)| (*link, Arc::clone(entry.streams()))).collect()
    }

    /// Waits until `is_over` holds or all tasks have ended. Reports are discarded, or the tasks
    /// would wait for somebody to take them.
    pub(super) async fn drain(&mut self, is_over: impl Fn() -> bool) {
        while !is_over() {
            tokio::select! {
                biased;
                done = self.tasks.join_next() => if done.is_none() { return },
                _ = self.reports.recv() => {}
            }
        }
    }

    /// Aborts all tasks: nothing is flushed, all connections break.
    pub(super) fn abort(&mut self) {
        self.tasks.abort_all();
    }
}
