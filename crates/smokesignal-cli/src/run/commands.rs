//! Executes the commands that arrive on stdin.
//!
//! Commands are executed one after the other, so none may wait for the network: messages go to an
//! outbox per receiver, and dials run in tasks of their own. The exception is `broadcast`, which
//! waits when its outbox is full, and so passes the back-pressure of the network on to the writer
//! of stdin.
//!
//! A command with a request is answered exactly once: with `ok` when it is done, or with an `error`
//! that carries the request. Without one, success is not acknowledged. A mistake that can be seen
//! immediately (in the form or the size, or because there is no room) is answered before the next
//! line is executed. The outcome of sending, dialling or closing is answered later, so answers may
//! come in another order than the commands.

use std::time::Duration;

use bytes::Bytes;
use smokesignal::{BroadcastSender, Node, NodeId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::parse::{Command, quote};
use super::print::{Emitter, JsonEvent, LinkInfo, MetricsInfo, WriterInfo};
use crate::direct::{Direct, DirectMessage};
use crate::input;
use crate::lines::Line;
use crate::options::MAX_MESSAGE;
use crate::outbox::{self, Outbox, Report, Ticket};
use crate::queue::{Gauge, TrySendError};
use crate::receivers::Receivers;
use crate::request::Request;

/// The longest line, in bytes. JSON may need six characters for a byte (`\u0000`), and the rest of
/// the command needs some more.
const LINE: usize = 6 * MAX_MESSAGE + (64 << 10);
/// The most nodes to which direct messages are under way. A guess.
const RECEIVERS: usize = 1024;
/// The most links that are being made or closed; a further `add_peer` is refused, and so is a
/// `close_peer` with a request. A guess.
const LINKS: usize = 64;

/// Reads and executes commands.
pub(super) struct Commands<'a> {
    node: &'a Node,
    emitter: Emitter,
    everyone: Outbox,
    /// One outbox per node written to, at most [`RECEIVERS`].
    direct: Receivers,
    /// Takes the direct messages that arrive on streams which this side opened.
    received: mpsc::Sender<DirectMessage>,
    /// Takes the failures of all outboxes, and what was requested.
    reports: mpsc::Sender<Report>,
    /// The commands about links that are not done, at most [`LINKS`].
    links: JoinSet<()>,
    /// Closed when the node is to stop: dials are dropped then.
    stopping: watch::Sender<()>,
    /// How long `stop` waits for queued messages where nothing moves.
    patience: Duration,
}

impl<'a> Commands<'a> {
    /// Creates an executor of commands for this node. The outcomes of writes go to `reports`, and
    /// direct messages that other nodes answer with go to `received`.
    pub(super) fn new(
        node: &'a Node,
        sender: BroadcastSender,
        emitter: Emitter,
        reports: mpsc::Sender<Report>,
        received: mpsc::Sender<DirectMessage>,
    ) -> Self {
        let everyone = Outbox::to(sender, reports.clone());
        let (direct, links, patience) = (Receivers::new(RECEIVERS), JoinSet::new(), Duration::ZERO);
        let (stopping, _) = watch::channel(());
        Self { node, emitter, everyone, direct, received, reports, links, stopping, patience }
    }

    /// Sets how long `stop` waits where nothing moves.
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Executes commands until `stop`, and resolves when all messages accepted before it are handed
    /// to the node. Never resolves if stdin ends without `stop`.
    pub(super) async fn run(mut self) -> Unanswered {
        let mut lines = input::lines(LINE);
        while let Some(batch) = lines.recv().await {
            match batch {
                Ok(batch) => {
                    for line in batch {
                        if let Next::Stop(request) = self.run_line(line).await {
                            return self.finish(request).await;
                        }
                    }
                }
                Err(error) => self.emitter.error(format!("cannot read stdin: {error}")).await,
            }
        }
        std::future::pending().await
    }

    /// Parses and executes a line, and answers it unless that is to come later.
    async fn run_line(&mut self, line: Line) -> Next {
        let (number, bytes, (request, parsed)) = match line {
            Line::Whole { number, bytes } => {
                let parsed = Command::parse_line(&bytes);
                (number, bytes, parsed)
            }
            Line::TooLong { number, start } => {
                let error =
                    format!("longer than {LINE} bytes; a message may have {MAX_MESSAGE} bytes at most");
                (number, start, (None, Err(error)))
            }
        };
        let ticket = Ticket { line: number, request: request.clone() };
        let done = match parsed {
            Ok(Command::Stop) => return Next::Stop(request),
            Ok(command) => self.execute(command, ticket).await,
            Err(error) => Err(format!("{error} (in `{}`)", quote(&bytes))),
        };
        match done {
            Ok(Done::Later) => {}
            Ok(Done::Now) => self.emitter.answer(request, Ok(())).await,
            Err(error) => self.emitter.answer(request, Err(format!("line {number}: {error}"))).await,
        }
        Next::Continue
    }

    /// Executes a command. The error is to be printed with the number of the line.
    async fn execute(&mut self, command: Command, ticket: Ticket) -> Result<Done, String> {
        match command {
            Command::Broadcast(data) => {
                check_size(&data)?;
                self.broadcast(data, ticket).await
            }
            Command::Direct { to, data } => {
                check_size(&data)?;
                self.direct(to, data, ticket)
            }
            Command::AddPeer { address } => self.add_peer(address, ticket),
            Command::ClosePeer { id } => self.close_peer(id, ticket),
            Command::Peers => {
                let peers = self.node.peers().list().iter().map(LinkInfo::of).collect();
                let writers = self.node.metrics().writers.iter().map(WriterInfo::of).collect();
                let event = JsonEvent::Peers { peers, size: self.node.network_size(), writers };
                self.emitter.emit_for(ticket.request.as_ref(), &event).await;
                Ok(Done::Now)
            }
            Command::Metrics => {
                let event = JsonEvent::Metrics(MetricsInfo::of(&self.node.metrics()));
                self.emitter.emit_for(ticket.request.as_ref(), &event).await;
                Ok(Done::Now)
            }
            Command::Stop => Ok(Done::Now),
        }
    }

    /// Queues a message to everyone. Waits for room.
    async fn broadcast(&self, data: Bytes, ticket: Ticket) -> Result<Done, String> {
        let stopped = || "the node has stopped".to_owned();
        if !self.node.peers().is_empty() {
            return self.everyone.send(ticket, data).await.map(|()| Done::Later).map_err(|_| stopped());
        }
        // Waiting for room would delay the next command, which may be `add_peer`.
        self.everyone.try_send(ticket, data).map(|()| Done::Later).map_err(|error| match error {
            TrySendError::Full => {
                "not sent: no peer is connected, and too much is waiting already; try later".to_owned()
            }
            TrySendError::Closed => stopped(),
        })
    }

    /// Queues a direct message. Never waits, because a single slow receiver must not delay the
    /// commands for others.
    fn direct(&mut self, to: NodeId, data: Bytes, ticket: Ticket) -> Result<Done, String> {
        let (node, reports, received) = (self.node, &self.reports, &self.received);
        let target = || Direct::new(node.clone(), to, received.clone());
        let Some(outbox) = self.direct.outbox(to, || Outbox::to(target(), reports.clone())) else {
            return Err(format!("not sent to {to}: messages to {RECEIVERS} nodes are waiting; try later"));
        };
        outbox.try_send(ticket, data).map(|()| Done::Later).map_err(|error| match error {
            TrySendError::Full => format!(
                "not sent to {to}: it reads too slowly, and {} MiB are waiting already; try later",
                outbox::WAITING >> 20
            ),
            TrySendError::Closed => "the node has stopped".to_owned(),
        })
    }

    /// Starts to dial a node. The result is an event, because dialling may take seconds.
    fn add_peer(&mut self, address: String, Ticket { line, request }: Ticket) -> Result<Done, String> {
        if !self.has_room_for_link() {
            return Err(format!("not dialled: {LINKS} dials are under way already; try {address} later"));
        }
        let (node, emitter) = (self.node.clone(), self.emitter.clone());
        let mut stopping = self.stopping.subscribe();
        self.links.spawn(async move {
            let added = tokio::select! {
                // First, because a node that stops gives up its dials as well.
                biased;
                // Nobody has to learn it who has not asked.
                _closed = stopping.changed() => match request {
                    Some(_) => Err("not dialled to the end: the node is being stopped".to_owned()),
                    None => Ok(()),
                },
                // The event `peer_added` reports success, too.
                added = node.add_peer(address) => added.map(drop).map_err(|error| error.to_string()),
            };
            emitter.answer(request, added.map_err(|error| format!("line {line}: {error}"))).await;
        });
        Ok(Done::Later)
    }

    /// Closes a link. It may take some seconds until that is done, and only a request waits for it.
    fn close_peer(&mut self, id: NodeId, ticket: Ticket) -> Result<Done, String> {
        let peer = self.node.peers().get(&id).ok_or_else(|| not_a_neighbour(id))?;
        if ticket.request.is_some() {
            if !self.has_room_for_link() {
                return Err(format!("not closed: {LINKS} links are being made or closed; try {id} later"));
            }
            let (peer, emitter) = (peer.clone(), self.emitter.clone());
            self.links.spawn(async move {
                peer.closed().await;
                emitter.answer(ticket.request, Ok(())).await;
            });
        }
        peer.close();
        Ok(Done::Later)
    }

    /// Returns whether another command about a link may be under way. Those that are done make
    /// room.
    fn has_room_for_link(&mut self) -> bool {
        while self.links.try_join_next().is_some() {}
        self.links.len() < LINKS
    }

    /// Hands all queued messages to the node, and reports an error if nothing moves for too long.
    async fn finish(mut self, stop: Option<Request>) -> Unanswered {
        let outboxes = self.direct.drain().chain([self.everyone]);
        let (gauges, tasks): (Vec<_>, Vec<_>) =
            outboxes.map(|outbox| (outbox.gauge(), outbox.finish())).unzip();
        let queued = || gauges.iter().map(Gauge::queued).sum::<usize>();
        let all = async {
            for task in tasks {
                if let Err(error) = task.await {
                    notice!("a writing task failed: {error}");
                }
            }
        };
        tokio::pin!(all);
        let (mut left, mut failure) = (queued(), None);
        while timeout(self.patience, &mut all).await.is_err() {
            let now = queued();
            if now >= left {
                let why = match self.node.peers().is_empty() {
                    true => "no peer is connected",
                    false => "the peers read too slowly",
                };
                let error = format!("stop: up to {now} bytes were not sent: {why}");
                self.emitter.error(&error).await;
                failure = Some(error);
                break;
            }
            left = now;
        }
        Unanswered { stop, failure, links: self.links }
    }
}

/// The commands that are not answered when the node is to stop, beside those in the outboxes.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// The request of the command `stop`.
    pub(super) stop: Option<Request>,
    /// Why not all messages were handed to the node.
    pub(super) failure: Option<String>,
    /// The commands about links.
    links: JoinSet<()>,
}

impl Unanswered {
    /// Waits until the commands about links are answered, after the node has stopped.
    pub(super) async fn links(&mut self) {
        while self.links.join_next().await.is_some() {}
    }
}

/// When a command is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// It has been executed.
    Now,
    /// The task that has it answers it.
    Later,
}

/// What to do after a line.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Continue,
    /// Stop the node, and answer this request.
    Stop(Option<Request>),
}

/// Prints what has become of messages. Never resolves.
pub(super) async fn emit_all_reports(reports: &mut mpsc::Receiver<Report>, emitter: &Emitter) {
    while let Some(report) = reports.recv().await {
        emit_report(report, emitter).await;
    }
    std::future::pending::<()>().await;
}

/// Prints what has become of a message: an error if it could not be sent, or else the answer to its
/// request.
pub(super) async fn emit_report(Report { to, ticket, sent }: Report, emitter: &Emitter) {
    let Ticket { line, request } = ticket;
    let whom = to.map(|id| format!(" to {id}")).unwrap_or_default();
    emitter.answer(request, sent.map_err(|error| format!("line {line}: not sent{whom}: {error}"))).await;
}

/// Checks the size before the message is queued, so that the error does not have to wait for a
/// peer.
fn check_size(data: &Bytes) -> Result<(), String> {
    let size = data.len();
    if size <= MAX_MESSAGE {
        return Ok(());
    }
    Err(smokesignal::SendError::TooLarge { size, limit: MAX_MESSAGE }.to_string())
}

/// Returns the error for a command that needs a present peer.
fn not_a_neighbour(id: NodeId) -> String {
    format!("{id} is not a peer; the command `peers` lists the peers")
}
