//! The one task that owns the protocol's state: inputs in, outputs out. It never waits for one peer.

pub(crate) mod dial;
pub(crate) mod link;
pub(crate) mod relay;
mod shutdown;
mod streams;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use smokesignal_proto::{
    self as proto, CloseReason, DialFailure, DialId, LinkId, NodeId, Output, RequestFailure, RequestId,
    Target,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tracing::Instrument as _;

use crate::broadcast::mailbox::{Batch, Mailbox};
use crate::command::Command;
use crate::driver::dial::{connect, explain};
use crate::error::{ConnectError, OpenError};
use crate::event::Event;
use crate::event::EventBus;
use crate::peer::Peer;
use crate::peers::Peers;
use crate::stream::handle::{NodeStream, Path};
use crate::stream::mux::{Mux, SharedStreams, Side};
use crate::stream::relay_request::RelayRequest;
use crate::transport::{Connection, Credentials, DialError, Endpoint};
use crate::wire::frame::Reset;
use link::{LinkHandle, Report};
use relay::Relays;

/// Batches from all links that wait for the driver; a link's reader waits when there are more.
const REPORTS: usize = 64;
/// Times that more is written before the driver looks at anything else.
const ROUNDS: usize = 8;
/// What was written may be handed over for this long when the node stops; without a peer there is nothing to wait for.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// What the driver shares with the application's handles.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) events: Arc<EventBus>,
    pub(crate) peers: Peers,
    pub(crate) streams: SharedStreams,
    /// Nodes in the network, by the last count.
    pub(crate) size: Arc<AtomicUsize>,
    /// Copies of messages that were received.
    pub(crate) copies: Arc<AtomicU64>,
}

pub(crate) struct Driver {
    core: proto::Node,
    shared: Shared,
    endpoint: Arc<dyn Endpoint>,
    seeds: Vec<String>,
    max_message: usize,
    epoch: Instant,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    next_request: u64,
    requests: BTreeMap<RequestId, Request>,
    opens: BTreeMap<RequestId, Open>,
    /// Those that were led to a connection which had just ended: tried again when it is forgotten.
    again: Vec<(LinkId, Open)>,
    /// Connections that serve streams only, and since when none uses them.
    serving: BTreeMap<LinkId, Option<Instant>>,
    find_timeout: Duration,
    /// When streams that nobody holds any more are looked at.
    check_stuck: Instant,
    /// Why a dial failed, until the core has been asked about it.
    failures: BTreeMap<DialId, ConnectError>,
    /// The last trouble with each seed, to be told once.
    troubles: BTreeMap<String, ConnectError>,
    credentials: Credentials,
    relays: Relays,
    /// Requests of neighbours to relay a stream.
    relay_requests: mpsc::Receiver<RelayRequest>,
    dial_tasks: JoinSet<(DialId, Attempt, Result<Connection, ConnectError>)>,
    link_tasks: JoinSet<()>,
    report_sender: mpsc::Sender<(LinkId, Report)>,
    reports: mpsc::Receiver<(LinkId, Report)>,
    commands: mpsc::UnboundedReceiver<Command>,
    own_commands: mpsc::WeakUnboundedSender<Command>,
    stopping: Vec<oneshot::Sender<()>>,
    /// What was written and not taken by then is given up.
    stop_by: Instant,
    left: bool,
}

struct Link {
    handle: LinkHandle,
    remote: SocketAddr,
    id: NodeId,
    dialled: bool,
    peer: Option<(Peer, watch::Sender<bool>)>,
}

/// Numbers that the core and the driver share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_message: usize,
    pub(crate) find_timeout: Duration,
    pub(crate) relay_idle: Duration,
}

struct Open {
    id: NodeId,
    name: String,
    answer: oneshot::Sender<Result<NodeStream, OpenError>>,
}

struct Request {
    address: String,
    answer: oneshot::Sender<Result<NodeId, ConnectError>>,
}

/// How a connection was asked for.
#[derive(Debug)]
enum Attempt {
    Dialled(Target),
    Relayed,
}

/// What the driver is woken for.
enum Wake {
    Time,
    /// `None`: the last handle is gone.
    Command(Option<Command>),
    Dialled((DialId, Attempt, Result<Connection, ConnectError>)),
    Connected {
        connection: Connection,
        path: Path,
    },
    RelayRequest(RelayRequest),
    Report((LinkId, Report)),
    /// To see what was written, or what has ended.
    Nothing,
}

impl Driver {
    pub(crate) fn new(
        core: proto::Node,
        epoch: Instant,
        shared: Shared,
        (endpoint, credentials): (Arc<dyn Endpoint>, Credentials),
        seeds: Vec<String>,
        limits: Limits,
        commands: (mpsc::WeakUnboundedSender<Command>, mpsc::UnboundedReceiver<Command>),
    ) -> Self {
        let (report_sender, reports) = mpsc::channel(REPORTS);
        let (relay_sender, relay_requests) = mpsc::channel(REPORTS);
        let streams = shared.streams.clone().with_relay_requests(relay_sender);
        Self {
            core,
            shared: Shared { streams, ..shared },
            endpoint,
            credentials,
            relays: Relays::new(limits.relay_idle),
            relay_requests,
            seeds,
            max_message: limits.max_message,
            epoch,
            links: BTreeMap::new(),
            next_link: 0,
            next_request: 0,
            requests: BTreeMap::new(),
            opens: BTreeMap::new(),
            again: Vec::new(),
            serving: BTreeMap::new(),
            find_timeout: limits.find_timeout,
            check_stuck: epoch,
            failures: BTreeMap::new(),
            troubles: BTreeMap::new(),
            dial_tasks: JoinSet::new(),
            link_tasks: JoinSet::new(),
            report_sender,
            reports,
            commands: commands.1,
            own_commands: commands.0,
            stopping: Vec::new(),
            stop_by: epoch,
            left: false,
        }
    }

    /// Runs until the node has left, or its last handle is gone: then it ends at once, as if killed.
    pub(crate) async fn run(mut self) {
        let timer = tokio::time::sleep_until(self.epoch);
        tokio::pin!(timer);
        let mut reports_first = false;
        loop {
            self.note_sent();
            self.write_on();
            if self.left {
                return self.finish().await;
            }
            let wake = self.epoch + Duration::from_micros(self.core.poll_timeout().as_micros());
            if timer.deadline() != wake {
                timer.as_mut().reset(wake);
            }
            // Reports, which are most, come first, but not twice without a look at all else: nothing starves.
            reports_first = !reports_first;
            let wake = self.wait(timer.as_mut(), reports_first).await;
            match wake {
                Wake::Time => {
                    // First: what has left is not stuck.
                    self.note_sent();
                    self.core.handle_timeout(self.now());
                    self.close_idle();
                }
                Wake::Command(Some(command)) => self.command(command),
                Wake::Command(None) => return self.vanish(),
                Wake::Dialled((dial, attempt, outcome)) => self.dialled(dial, &attempt, outcome),
                Wake::Connected { connection, path } => self.connected(connection, None, path),
                Wake::RelayRequest(request) => self.request(request),
                Wake::Report((link, report)) => self.batch(link, report),
                Wake::Nothing => {}
            }
        }
    }

    /// The next thing to react to, looked for in a fixed order, so that a simulated run can be repeated.
    async fn wait(&mut self, timer: Pin<&mut Sleep>, reports_first: bool) -> Wake {
        let accepts = self.stopping.is_empty();
        let others = async {
            tokio::select! {
                biased;
                () = timer => Wake::Time,
                command = self.commands.recv() => Wake::Command(command),
                Some(_) = self.link_tasks.join_next() => Wake::Nothing,
                Some(Ok(dialled)) = self.dial_tasks.join_next() => Wake::Dialled(dialled),
                Some(connection) = self.endpoint.accept(), if accepts => Wake::Connected { connection, path: Path::Direct },
                Some(request) = self.relay_requests.recv() => Wake::RelayRequest(request),
                connection = self.relays.arrived() => Wake::Connected { connection, path: Path::Relayed },
                () = self.shared.mailbox.written.notified() => Wake::Nothing,
            }
        };
        if reports_first {
            tokio::select! {
                biased;
                Some(report) = self.reports.recv() => Wake::Report(report),
                wake = others => wake,
            }
        } else {
            tokio::select! {
                biased;
                wake = others => wake,
                Some(report) = self.reports.recv() => Wake::Report(report),
            }
        }
    }

    fn now(&self) -> proto::Instant {
        proto_time(self.epoch, Instant::now())
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::AddPeer { address, answer } => {
                self.next_request += 1;
                let request = RequestId(self.next_request);
                self.requests.insert(request, Request { address: address.clone(), answer });
                self.core.request_peer(request, address, now);
            }
            Command::ClosePeer(id) => self.core.close_peer(&id, now),
            Command::Open { id, name, answer } => self.open(Open { id, name, answer }),
            Command::Stop(done) => {
                if self.stopping.is_empty() {
                    self.shared.mailbox.refuse_writes();
                    let patience = if self.shared.peers.is_empty() { Duration::ZERO } else { STOP_TIMEOUT };
                    self.stop_by = Instant::now() + patience;
                    self.links.values().for_each(|link| link.handle.tell_all_sent());
                    self.endpoint.close();
                }
                self.stopping.push(done);
            }
        }
    }

    /// One report, and whatever else is there already: one round of outputs for all of them.
    fn batch(&mut self, link: LinkId, report: Report) {
        let now = self.now();
        self.report(link, report, now);
        for _ in 0..REPORTS {
            let Ok((link, report)) = self.reports.try_recv() else { break };
            self.report(link, report, now);
        }
    }

    fn report(&mut self, link: LinkId, report: Report, now: proto::Instant) {
        if !self.links.contains_key(&link) {
            return; // We closed it; what it still says is of no interest.
        }
        match report {
            Report::Messages(messages) => {
                self.core.handle_heard(link, now);
                for message in messages {
                    self.core.handle_message(link, message, now);
                }
            }
            Report::Sent => {} // Noted with that of all links.
            Report::Violation(reason) => {
                tracing::warn!(peer = ?self.links[&link].id, reason, "malformed bytes");
                self.core.violation(link, CloseReason::Malformed, now);
            }
            Report::Gone => {
                self.core.handle_disconnected(link, now);
                self.perform_all();
                self.forget(link);
            }
        }
    }

    fn connected(&mut self, connection: Connection, dial: Option<DialId>, path: Path) {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let (id, remote) = (connection.peer, connection.remote);
        let dialled = dial.is_some();
        let side = if dialled { Side::Dialler } else { Side::Acceptor };
        let streams = Mux::new(link, id, side, path, self.shared.streams.clone());
        let (handle, run) = link::open(link, connection, streams, self.report_sender.clone());
        self.link_tasks.spawn(run.in_current_span());
        if !self.stopping.is_empty() {
            handle.tell_all_sent();
        }
        self.links.insert(link, Link { handle, remote, id, dialled, peer: None });
        if path == Path::Relayed && !dialled {
            self.core.handle_relayed(link, id, self.now());
        } else {
            self.core.handle_connected(link, id, dial, self.now());
        }
    }

    /// A neighbour wants something to be carried.
    fn request(&mut self, request: RelayRequest) {
        match self.core.relay(request.via, request.query, &request.target) {
            proto::Relay::Accept => {
                let Some(link) = self.links.get(&request.via) else { return };
                self.relays.arrive(request, self.credentials.clone(), link.remote);
            }
            proto::Relay::Forward(link) => {
                let (query, target) = (request.query, request.target);
                let onward = self.links.get(&link).map(|link| &link.handle.streams);
                self.relays.relay(request, || onward?.request_relay(query, target));
            }
            proto::Relay::Refuse => request.stream.refuse(Reset::Refused),
        }
    }

    fn dialled(&mut self, dial: DialId, attempt: &Attempt, outcome: Result<Connection, ConnectError>) {
        match outcome {
            Ok(connection) => {
                if let Attempt::Dialled(Target::Name(name)) = attempt {
                    self.troubles.remove(name);
                }
                let path = if matches!(attempt, Attempt::Relayed) { Path::Relayed } else { Path::Direct };
                self.connected(connection, Some(dial), path);
            }
            Err(error) => {
                self.report_trouble(attempt, &error);
                // Who answers with another id is reached all the same.
                let refused = matches!(error, ConnectError::Refused(_) | ConnectError::WrongNode { .. });
                self.failures.insert(dial, error);
                let failure = if refused { DialFailure::Refused } else { DialFailure::Unanswered };
                self.core.handle_dial_failed(dial, failure, self.now());
                self.perform_all();
                self.failures.remove(&dial);
            }
        }
    }

    fn report_trouble(&mut self, attempt: &Attempt, error: &ConnectError) {
        tracing::debug!(?attempt, %error, "cannot connect");
        let Attempt::Dialled(Target::Name(seed)) = attempt else { return };
        if self.seeds.contains(seed) && self.troubles.get(seed) != Some(error) {
            self.troubles.insert(seed.clone(), error.clone());
            self.shared.events.emit(&Event::SeedUnreachable { seed: seed.clone(), error: error.clone() });
        }
    }

    /// Writes until nothing is left, or has to wait: for the links, which wake the driver when they are not full any more,
    /// or for a signature, which the core's timer does. Whoever goes on writing meanwhile does not keep the driver from
    /// all else.
    fn write_on(&mut self) {
        for _ in 0..ROUNDS {
            self.take_written();
            self.perform_all();
            let mut much = false;
            self.links.values().for_each(|link| much |= link.handle.flush());
            if much {
                self.note_sent();
            } else if !self.shared.mailbox.has_next(|size| self.core.can_write(size)) {
                return;
            }
        }
        self.shared.mailbox.written.notify_one();
    }

    /// Gives the core what the application wrote, as far as it takes it; then, if the node is to stop, the wish to leave.
    fn take_written(&mut self) {
        let core = &mut self.core;
        self.shared.mailbox.drain(|data| {
            let fits = core.can_write(data.len());
            if fits && core.broadcast(std::mem::take(data)).is_err() {
                tracing::error!("the core refused a message that it had room for");
            }
            fits
        });
        let overdue = || Instant::now() >= self.stop_by || self.shared.peers.is_empty();
        if !self.stopping.is_empty() && (self.shared.mailbox.waiting() == 0 || overdue()) {
            self.core.leave(self.now());
        }
    }

    /// What the links have written since the last time.
    fn note_sent(&mut self) {
        for (link, entry) in &self.links {
            if let Some((cost, at)) = entry.handle.take_sent() {
                self.core.handle_sent(*link, cost, proto_time(self.epoch, at));
            }
        }
    }

    fn perform_all(&mut self) {
        let mut delivered = Vec::new();
        let now = self.now();
        while let Some(output) = self.core.poll_output(now) {
            match output {
                Output::Deliver { from, seq, messages } => {
                    self.shared.mailbox.sort(from, seq, messages, &mut delivered);
                }
                Output::Gap { from, missed } => {
                    tracing::warn!(?from, missed, "messages could not be had");
                    delivered.push(Batch::Gap { from, missed });
                }
                output => self.perform(output),
            }
        }
        if !delivered.is_empty() {
            self.shared.mailbox.deliver(&delivered);
        }
        self.shared.size.store(self.core.network_size() as usize, Ordering::Relaxed);
        self.shared.copies.store(self.core.copies_received(), Ordering::Relaxed);
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send { link, message } => {
                if let Some(link) = self.links.get(&link) {
                    link.handle.send(message);
                }
            }
            Output::DialRelayed { dial, via, query, id } => {
                let Some(link) = self.links.get(&via) else {
                    return self.core.handle_dial_failed(dial, DialFailure::Unanswered, self.now());
                };
                let stream = link.handle.streams.request_relay(query, id);
                let connecting = relay::connect(stream, self.credentials.clone(), link.remote, id);
                self.dial_tasks.spawn(async move {
                    let outcome = connecting.await.map_err(|error| explain("a relayed node", error));
                    (dial, Attempt::Relayed, outcome)
                });
            }
            Output::Dial { dial, target, expect, timeout } => {
                let endpoint = Arc::clone(&self.endpoint);
                self.dial_tasks.spawn(async move {
                    let timeout = timeout.unwrap_or(Duration::MAX);
                    let outcome = tokio::time::timeout(timeout, connect(&*endpoint, &target, expect)).await;
                    let outcome =
                        outcome.unwrap_or_else(|_| Err(explain("a known node", DialError::TimedOut)));
                    (dial, Attempt::Dialled(target), outcome)
                });
            }
            Output::Close { link, reason } => {
                match self.links.get(&link) {
                    Some(link) if reason.is_violation() => {
                        tracing::warn!(peer = ?link.id, %reason, "dropped a peer that broke the rules");
                    }
                    Some(link) => tracing::debug!(peer = ?link.id, %reason, "closing a connection"),
                    None => {}
                }
                self.forget(link);
            }
            Output::Demoted { link, reason } => self.given_up(link, reason),
            Output::StreamOnly { link } => drop(self.serving.insert(link, None)),
            Output::Reached { request, outcome } => self.reached(request, outcome),
            Output::PeerUp { link, peer, address } => self.peer_up(link, peer, address),
            Output::PeerDown { link, reason } => self.peer_down(link, reason),
            Output::Netsplit { seed, size, size_before, other_size } => {
                tracing::warn!(?seed, size, size_before, ?other_size, "netsplit");
                let (size, size_before) = (size as usize, size_before as usize);
                let other_size = other_size.map(|size| size as usize);
                self.shared.events.emit(&Event::Netsplit { seed, size, size_before, other_size });
            }
            Output::NetsplitResolved { duration, size } => {
                tracing::info!(?duration, size, "netsplit resolved");
                self.shared.events.emit(&Event::NetsplitResolved { duration, size: size as usize });
            }
            Output::Requested { request, outcome } => self.answer(request, outcome),
            Output::Left { unsent } => {
                if unsent > 0 {
                    tracing::warn!(unsent, "left without a peer to hand the last messages to: they are lost");
                }
                self.left = true;
            }
            Output::Deliver { .. } | Output::Gap { .. } => {} // Taken as a batch in `perform_all`.
        }
    }

    fn peer_up(&mut self, link: LinkId, id: NodeId, address: Option<SocketAddr>) {
        let Some(entry) = self.links.get_mut(&link) else { return };
        let (closed, watch) = watch::channel(false);
        let streams = Arc::clone(&entry.handle.streams);
        streams.set_link(true);
        let address = address.unwrap_or(entry.remote);
        let peer = Peer::new(id, address, streams, watch, self.own_commands.clone(), self.max_message);
        entry.peer = Some((peer.clone(), closed));
        tracing::info!(peer = ?id, %address, "peer added");
        if self.shared.peers.add(peer.clone()) {
            self.shared.events.emit(&Event::Connect);
        }
        self.shared.events.emit(&Event::PeerAdded(peer));
    }

    fn peer_down(&mut self, link: LinkId, reason: CloseReason) {
        let Some((peer, closed)) = self.links.get_mut(&link).and_then(|entry| entry.peer.take()) else {
            return;
        };
        tracing::info!(peer = ?peer.id(), %reason, "peer removed");
        closed.send_replace(true);
        let last = self.shared.peers.remove(&peer.id());
        self.shared.events.emit(&Event::PeerRemoved(peer));
        if last {
            self.shared.events.emit(&Event::Disconnect);
        }
    }

    /// Drops the driver's end of a link; its tasks write what is queued and close.
    fn forget(&mut self, link: LinkId) {
        self.peer_down(link, CloseReason::Broken);
        self.links.remove(&link);
        self.serving.remove(&link);
        let again = std::mem::take(&mut self.again);
        let (over, rest) = again.into_iter().partition::<Vec<_>, _>(|(gone, _)| *gone == link);
        self.again = rest;
        over.into_iter().for_each(|(_, wish)| self.open(wish));
    }

    fn answer(&mut self, request: RequestId, outcome: Result<NodeId, RequestFailure>) {
        let Some(Request { address, answer }) = self.requests.remove(&request) else { return };
        let outcome = match outcome {
            Ok(id) if self.shared.peers.contains(&id) => Ok(id),
            Ok(_) => Err(ConnectError::Closed(address)),
            Err(RequestFailure::Dial(dial)) => {
                Err(self.failures.get(&dial).cloned().unwrap_or(ConnectError::TimedOut(address)))
            }
            Err(RequestFailure::Myself) => Err(ConnectError::Myself(address)),
            Err(RequestFailure::Full) => Err(ConnectError::Full(address)),
            Err(RequestFailure::Closed) => Err(ConnectError::Closed(address)),
        };
        if answer.send(outcome).is_err() {
            tracing::debug!("nobody waits for the answer to add_peer any more");
        }
    }
}

fn proto_time(epoch: Instant, time: Instant) -> proto::Instant {
    proto::Instant::from_micros((time - epoch).as_micros() as u64)
}
