//! The event loop of a node: the one task that owns the protocol's state.
//!
//! The core is [`proto::Node`], the protocol without input, output or clock: it learns what happens
//! and when, and answers with [`Output`]s and the time at which it wants to be called again. The
//! driver numbers every connection with a [`LinkId`], and the names in this module call each of
//! them a link. Elsewhere *the link* is only the connection to a neighbour.
//!
//! The [`Driver`] feeds what happens into the core and performs what the core asks for. Each turn
//! of its loop hands over what the application wrote, performs the core's outputs, writes to the
//! links, and then waits for the next thing to react to: a report of a link, a command of the
//! application, a dial that has ended, a new connection, a relayed one, or the core's timer. It
//! never waits for one peer. What the outputs need is kept by a few desks, each with its own state:
//! [`links`] the open connections, [`dial`] the outgoing ones, [`asked`] the limit of
//! those that questions cause, [`relay`] those through other nodes, [`requests`] what the
//! application waits for, [`finishing`] who has read its stream to the end, [`writers`] how far
//! this node is behind in the streams of others, and [`shutdown`] how far the node is on its way to
//! its end.

mod asked;
mod clock;
pub(crate) mod dial;
mod finishing;
pub(crate) mod link;
mod links;
mod neighbours;
mod relay;
mod requests;
mod shared;
mod shutdown;
mod writers;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use smokesignal_proto::{self as proto, CloseReason, LinkId, MessageKind, Output, Pace};
use tokio::time::{Instant, Sleep};

use self::asked::AskedDials;
use self::clock::Clock;
use self::dial::{Dialing, Dialled};
use self::finishing::{Confirming, Finishing};
use self::link::Report;
use self::links::{Links, REPORTS};
use self::relay::{RelayEvent, Relays};
use self::requests::{AddPeer, OpenStream, Requests};
use self::shutdown::Phase;
use self::writers::Writers;
use crate::broadcast::envelope::Outgoing;
use crate::broadcast::incoming::{Batch, Incoming, Written};
use crate::broadcast::mailbox::Delivery;
use crate::command::{Command, CommandInbox};
use crate::incarnation;
use crate::log_limit::LogLimit;
use crate::stream::handle::Path;
use crate::transport::incompatible::Incompatible;
use crate::transport::{Connection, Credentials, Endpoint};
use crate::version::VersionMismatch;

pub(crate) use self::shared::Shared;

/// Maximum number of turns of writing before the driver looks at anything else.
const ROUNDS: usize = 8;

/// Runs one node, from its start to its end.
pub(crate) struct Driver {
    core: proto::Node,
    clock: Clock,
    shared: Shared,
    endpoint: Arc<dyn Endpoint>,
    links: Links,
    dialing: Dialing,
    requests: Requests,
    asked_dials: AskedDials,
    relays: Relays,
    commands: CommandInbox,
    incompatible: Arc<Incompatible>,
    /// Lines about peers that broke the rules.
    violations: LogLimit,
    /// Lines about lost messages.
    gaps: LogLimit,
    finishing: Finishing,
    writers: Writers,
    /// Messages that somebody waits for until they were read, in order.
    confirming: VecDeque<Confirming>,
    phase: Phase,
}

/// What a driver is made of.
pub(crate) struct Setup {
    pub(crate) core: proto::Node,
    pub(crate) shared: Shared,
    pub(crate) endpoint: Arc<dyn Endpoint>,
    pub(crate) credentials: Credentials,
    /// The seeds as the application named them: their failures are reported.
    pub(crate) seeds: Vec<String>,
    pub(crate) commands: CommandInbox,
    /// How long the core looks for a node, see `Config::find_timeout`.
    pub(crate) find_timeout: Duration,
    /// How long a relayed connection may be idle, if this is longer than 30 s.
    pub(crate) relay_idle: Duration,
    /// The bytes per second that all connections together may send.
    pub(crate) upload_limit: Option<u64>,
    /// How long the end of the stream waits for readers where nothing moves.
    pub(crate) leave_timeout: Duration,
    /// The readers that the node waits for when it sends.
    pub(crate) pace: Pace,
}

/// What the driver is woken for.
enum Wake {
    Timer,
    /// A command, or `None` when the last handle of the node is gone.
    Command(Option<Command>),
    Dialled(Dialled),
    Accepted(Connection),
    Relay(RelayEvent),
    /// A node without a common version of the protocol.
    Incompatible(IpAddr, VersionMismatch),
    /// A report of a link, or `None` when a link's task has ended.
    Report(Option<(LinkId, Report)>),
    /// The application has written something, or has caught up with reading.
    Written,
}

impl Driver {
    pub(crate) fn new(setup: Setup) -> Self {
        let Setup { core, shared, endpoint, credentials, seeds, commands, .. } = setup;
        shared.counters.reset();
        let incompatible = Arc::clone(credentials.incompatible());
        let (relays, relay_requests) = Relays::new(credentials.clone(), setup.relay_idle);
        Self {
            core,
            clock: Clock::start(),
            links: Links::new(shared.streams.clone().with_relay_requests(relay_requests), setup.upload_limit),
            dialing: Dialing::new(Arc::clone(&endpoint), credentials, seeds),
            shared,
            endpoint,
            requests: Requests::new(setup.find_timeout),
            asked_dials: AskedDials::default(),
            relays,
            commands,
            incompatible,
            violations: LogLimit::new(),
            gaps: LogLimit::new(),
            finishing: Finishing::new(setup.leave_timeout, setup.pace),
            writers: Writers::new(),
            confirming: VecDeque::new(),
            phase: Phase::Running,
        }
    }

    /// Runs until the node has left, or until its last handle is dropped: then it ends immediately,
    /// as if it had been killed.
    pub(crate) async fn run(mut self) {
        self.note_unix_time();
        let timer = tokio::time::sleep_until(self.clock.deadline(proto::Instant::ZERO));
        tokio::pin!(timer);
        let mut reports_first = false;
        loop {
            self.note_sent();
            let now = self.clock.now();
            self.core.set_reader_behind(self.shared.mailbox.inboxes.is_behind(), now);
            self.write();
            if self.phase.has_left() {
                return self.finish().await;
            }
            self.check_finished();
            self.check_confirmed();
            self.note_lags(now);
            let timeout = self.core.poll_timeout();
            let timeout = self.writers.next_deadline().map_or(timeout, |next| next.min(timeout));
            let deadline = self.clock.deadline(timeout);
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            // Reports are the most frequent and come first, but only every second time: everything
            // else has its turn in between.
            reports_first = !reports_first;
            match self.wait(timer.as_mut(), reports_first).await {
                Wake::Timer => self.on_timer(),
                Wake::Command(Some(command)) => self.on_command(command),
                Wake::Command(None) => return self.abort(),
                Wake::Dialled(dialled) => self.dialled(dialled),
                Wake::Accepted(connection) => self.accepted(connection, Path::Direct),
                Wake::Relay(RelayEvent::Requested(request)) => self.relay(request),
                Wake::Relay(RelayEvent::Arrived(connection)) => self.accepted(connection, Path::Relayed),
                Wake::Incompatible(address, versions) => self.shared.incompatible(address, versions),
                Wake::Report(Some((link, report))) => self.on_reports(link, report),
                Wake::Report(None) | Wake::Written => {}
            }
        }
    }

    /// Waits for the next thing to react to. The order is fixed, so that a simulated run can be
    /// repeated. Every branch is cancel safe: a future that loses is dropped, and what it waited
    /// for stays. An [`Endpoint`] has to keep that promise for `accept`.
    async fn wait(&mut self, timer: Pin<&mut Sleep>, reports_first: bool) -> Wake {
        let accepts = self.phase.accepts();
        let others = async {
            tokio::select! {
                biased;
                () = timer => Wake::Timer,
                command = self.commands.recv() => Wake::Command(command),
                dialled = self.dialing.next() => Wake::Dialled(dialled),
                Some(connection) = self.endpoint.accept(), if accepts => Wake::Accepted(connection),
                event = self.relays.next() => Wake::Relay(event),
                (address, versions) = self.incompatible.next() => Wake::Incompatible(address, versions),
                () = self.shared.mailbox.changed() => Wake::Written,
            }
        };
        if reports_first {
            tokio::select! {
                biased;
                report = self.links.next() => Wake::Report(report),
                wake = others => wake,
            }
        } else {
            tokio::select! {
                biased;
                wake = others => wake,
                report = self.links.next() => Wake::Report(report),
            }
        }
    }

    // What comes in.

    fn on_timer(&mut self) {
        // A link that has written is not stalled, so the core learns of it before it looks at the
        // time.
        self.note_sent();
        self.note_unix_time();
        self.core.handle_timeout(self.clock.now());
        let now = Instant::now();
        if self.links.check_stuck(now) {
            self.shared.streams.buffers.trim();
            self.shared.mailbox.outbox.trim();
        }
        self.note_left_out(now);
        for link in self.links.idle(now) {
            self.core.close_streams(link, self.clock.now());
        }
    }

    /// Tells the core the time of day, which may have been set since.
    fn note_unix_time(&mut self) {
        self.core.set_unix_time(incarnation::unix_time().as_secs(), self.clock.now());
    }

    /// Reports how many lines others would have caused.
    fn note_left_out(&mut self, now: Instant) {
        if let Some(count) = self.violations.left_out(now) {
            tracing::warn!(count, "dropped more peers that broke the rules, in the last minute");
        }
        if let Some(count) = self.gaps.left_out(now) {
            tracing::warn!(count, "messages are lost: more gaps, in the last minute");
        }
        if let Some(count) = self.shared.mailbox.unanswered.lock().left_out(now) {
            tracing::warn!(count, "did not answer more questions, in the last minute");
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::AddPeer { address, answer } => self.add_peer(AddPeer { address, answer }),
            Command::ClosePeer(id) => self.core.close_peer(&id, self.clock.now()),
            Command::Open { id, name, answer } => self.open_stream(OpenStream { id, name, answer }),
            Command::Stop { patience, done } => self.stop(patience, done),
        }
    }

    /// Takes one report and those that have arrived already: the outputs of all are performed
    /// together.
    fn on_reports(&mut self, link: LinkId, report: Report) {
        let now = self.clock.now();
        self.on_report(link, report, now);
        for _ in 0..REPORTS {
            let Some((link, report)) = self.links.try_next() else { break };
            self.on_report(link, report, now);
        }
    }

    fn on_report(&mut self, link: LinkId, report: Report, now: proto::Instant) {
        let Some(entry) = self.links.get_mut(link) else {
            return; // The driver has closed it; what it still reports is obsolete.
        };
        match report {
            Report::Messages { messages, used } => {
                self.links.note_arrived(link, &messages);
                self.core.handle_heard(link, now);
                let mut retained = 0;
                for message in messages {
                    let (large, arrived) = (link::bytes_in_buffer(&message), self.core.bytes_arrived());
                    self.core.handle_message(link, message, now);
                    if self.core.bytes_arrived() > arrived {
                        retained += large;
                    }
                }
                if let Some(entry) = self.links.get_mut(link) {
                    entry.handle.note_usage(used, retained);
                }
            }
            Report::Skipped(frames) => {
                tracing::debug!(peer = ?entry.id, frames, "skipped what this version does not know");
                self.shared.counters.unknown_frames(frames);
            }
            Report::Sent => {} // Noted together with what all links have sent.
            Report::Violation(reason) => {
                entry.malformed = Some(reason);
                self.core.violation(link, CloseReason::Malformed, now);
            }
            Report::Gone => {
                self.core.handle_disconnected(link, now);
                self.perform_all();
                self.forget(link);
            }
        }
    }

    // What goes out.

    /// Writes until nothing is left, or until it has to wait: for the links, which wake the driver
    /// when they have room again, or for the core, which signs messages in batches and sets its
    /// timer for the next one. An application that never stops writing does not keep the driver
    /// from everything else.
    fn write(&mut self) {
        for _ in 0..ROUNDS {
            self.take_written();
            self.perform_all();
            if self.links.flush() {
                self.note_sent();
            } else if !self.shared.mailbox.outbox.has_next(|size| self.core.can_write(size)) {
                return;
            }
        }
        self.shared.mailbox.wake();
    }

    /// Hands the core what the application wrote, as far as the core has room for it.
    fn take_written(&mut self) {
        let core = &mut self.core;
        let (mut messages, mut bytes) = (0, 0);
        let (confirming, finishing) = (&mut self.confirming, &mut self.finishing);
        self.shared.mailbox.outbox.drain(
            self.clock.now(),
            |Outgoing { kind, data, confirm, .. }, written| {
                let size = data.len();
                if !core.can_write(size) {
                    return false;
                }
                match core.broadcast_as(*kind, std::mem::take(data), written) {
                    Ok(number) if *kind == MessageKind::End => finishing.end_written(number),
                    Ok(number) => {
                        (messages, bytes) = (messages + 1, bytes + size as u64);
                        let confirm = confirm.take();
                        confirming.extend(confirm.map(|waiter| Confirming { number, waiter, read_at: None }));
                    }
                    Err(_) => tracing::error!("the core refused a message that it had room for"),
                }
                true
            },
        );
        if messages > 0 {
            self.shared.counters.sent(messages, bytes);
        }
        self.leave_when_done();
    }

    /// Reports to the core what the links have written since the last time.
    fn note_sent(&mut self) {
        let (core, clock) = (&mut self.core, self.clock);
        self.links.sent(|link, cost, at| core.handle_sent(link, cost, clock.at(at)));
    }

    /// Performs everything that the core asks for. Messages are delivered together at the end.
    fn perform_all(&mut self) {
        let mut batches = Vec::new();
        let until = Instant::now();
        let now = self.clock.at(until);
        while let Some(output) = self.core.poll_output(now) {
            match output {
                Output::Deliver { from, kind: MessageKind::End, .. } => {
                    batches.push(Batch::Notice(Some(Incoming::End { from })));
                }
                Output::Restarted { from } => {
                    batches.push(Batch::Notice(Some(Incoming::Restarted { from })));
                }
                Output::Deliver { from, seq, kind, messages, age_ms } => {
                    self.writers.heard_of(from, now);
                    self.shared.counters.received(messages.len() as u64, messages.bytes() as u64);
                    let written = Written { age: Duration::from_millis(age_ms.into()), until };
                    let delivery = Delivery { from, seq, kind, messages, written };
                    self.shared.mailbox.sort(delivery, &mut batches);
                }
                Output::Gap { from, missed } => {
                    if self.gaps.allows(until) {
                        tracing::warn!(?from, missed, "messages are lost");
                    }
                    self.shared.counters.missed(missed);
                    batches.push(Batch::Gap { from, missed });
                }
                Output::Unknown { messages, .. } => self.shared.counters.unknown_messages(messages),
                output => self.perform(output),
            }
        }
        // Counted first: a reader that is woken may look at the metrics.
        self.shared.count(&mut self.core, now);
        if !batches.is_empty() {
            for (from, missed) in self.shared.mailbox.inboxes.deliver(&batches) {
                self.core.note_missed(&from, missed, now);
            }
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send { link, message } => {
                if let Some(segment) = finishing::end_of(&self.core.id(), &message) {
                    self.end_handed(segment);
                }
                self.links.send(link, message);
            }
            Output::Dial { dial, target, expect, timeout } => {
                self.dial(dial, target, expect, timeout);
            }
            Output::DialRelayed { dial, via, query, id } => self.dial_relayed(dial, via, query, id),
            Output::Close { link, reason } => self.close(link, reason),
            Output::Demoted { link, reason } => self.demoted(link, reason),
            Output::StreamOnly { link } => self.links.set_stream_only(link),
            Output::Reached { request, outcome } => self.reached(request, outcome),
            Output::Requested { request, outcome } => self.requested(request, outcome),
            Output::PeerUp { link, peer, address } => self.peer_up(link, peer, address),
            Output::PeerDown { link, reason } => self.peer_down(link, reason),
            Output::Netsplit { seed, size, size_before, other_size } => {
                self.shared.netsplit(seed, size, size_before, other_size);
            }
            Output::NetsplitResolved { duration, size } => self.shared.netsplit_resolved(duration, size),
            Output::Left(farewell) => self.left(farewell),
            Output::Lagging { from, messages, bytes } => {
                self.writers.heard_of(from, self.clock.now());
                self.shared.lagging(from, messages, bytes);
            }
            Output::CaughtUp { from } => self.shared.caught_up(from),
            Output::ClockDiffers { of, ahead_by } => self.shared.clock_differs(of, ahead_by),
            Output::ReaderTimedOut { reader } => self.shared.reader_timed_out(reader),
            Output::IdentityConflict { superseded } => {
                self.shared.identity_conflict(self.core.id(), superseded);
            }
            // Collected by `perform_all`.
            Output::Deliver { .. }
            | Output::Gap { .. }
            | Output::Restarted { .. }
            | Output::Unknown { .. } => {}
        }
    }
}
