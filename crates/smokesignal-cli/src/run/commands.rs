//! Executes the commands that arrive on stdin.
//!
//! Commands are executed one after the other, so none may wait for the network: messages go to an
//! outbox per receiver, and dials run in tasks of their own. The exception is `broadcast`, which
//! waits when its outbox is full, and so passes the back-pressure of the network on to the writer
//! of stdin.
//!
//! Success is not acknowledged. A mistake that can be seen immediately (in the form or the size, or
//! because there is no room) is answered with an `error` before the next line is executed. A
//! failure while sending or dialling is answered later, with the number of the line it belongs to.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use smokesignal::{BroadcastSender, Node, NodeId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::wire::{Command, Emitter, JsonEvent, LinkInfo, MetricsInfo, quote};
use crate::direct::{Direct, DirectMessage};
use crate::input;
use crate::lines::Line;
use crate::options::MAX_MESSAGE;
use crate::outbox::{self, Outbox, Unsent};
use crate::queue::{Gauge, TrySendError};

/// The longest line, in bytes. JSON may need six characters for a byte (`\u0000`), and the rest of
/// the command needs some more.
const LINE: usize = 6 * MAX_MESSAGE + (64 << 10);
/// The most nodes to which direct messages are under way. A guess.
const RECEIVERS: usize = 1024;
/// The most dials under way; a further `add_peer` is refused. A guess.
const DIALS: usize = 64;

/// Reads and executes commands.
pub(super) struct Commands<'a> {
    node: &'a Node,
    emitter: Emitter,
    everyone: Outbox,
    /// One outbox per node written to, at most [`RECEIVERS`]; empty ones make room for new ones.
    direct: HashMap<NodeId, Outbox>,
    /// Takes the direct messages that arrive on streams which this side opened.
    received: mpsc::Sender<DirectMessage>,
    /// Takes the failures of all outboxes.
    reports: mpsc::Sender<Unsent>,
    /// The dials of `add_peer` that have not ended, at most [`DIALS`].
    dials: JoinSet<()>,
    /// How long `stop` waits for queued messages where nothing moves.
    patience: Duration,
}

impl<'a> Commands<'a> {
    /// Creates an executor of commands for this node. Failed writes go to `reports`, and direct
    /// messages that other nodes answer with go to `received`.
    pub(super) fn new(
        node: &'a Node,
        sender: BroadcastSender,
        emitter: Emitter,
        reports: mpsc::Sender<Unsent>,
        received: mpsc::Sender<DirectMessage>,
    ) -> Self {
        let everyone = Outbox::to(sender, reports.clone());
        let (direct, dials, patience) = (HashMap::new(), JoinSet::new(), Duration::ZERO);
        Self { node, emitter, everyone, direct, received, reports, dials, patience }
    }

    /// Sets how long `stop` waits where nothing moves.
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Executes commands until `stop`, and resolves when all messages accepted before it are handed
    /// to the node. Never resolves if stdin ends without `stop`.
    pub(super) async fn run(mut self) {
        let mut lines = input::lines(LINE);
        while let Some(batch) = lines.recv().await {
            match batch {
                Ok(batch) => {
                    for line in batch {
                        if self.run_line(line).await == Next::Stop {
                            return self.finish().await;
                        }
                    }
                }
                Err(error) => self.emitter.error(format!("cannot read stdin: {error}")).await,
            }
        }
        std::future::pending::<()>().await;
    }

    /// Parses and executes a line, and prints an error event if that fails.
    async fn run_line(&mut self, line: Line) -> Next {
        let (number, bytes, parsed) = match line {
            Line::Whole { number, bytes } => {
                let parsed = Command::parse(&bytes);
                (number, bytes, parsed)
            }
            Line::TooLong { number, start } => {
                let error =
                    format!("longer than {LINE} bytes; a message may have {MAX_MESSAGE} bytes at most");
                (number, start, Err(error))
            }
        };
        let done = match parsed {
            Ok(Command::Stop) => return Next::Stop,
            Ok(command) => self.execute(command, number).await,
            Err(error) => Err(format!("{error} (in `{}`)", quote(&bytes))),
        };
        if let Err(error) = done {
            self.emitter.error(format!("line {number}: {error}")).await;
        }
        Next::Continue
    }

    /// Executes a command. The error is to be printed with the number of the line.
    async fn execute(&mut self, command: Command, line: u64) -> Result<(), String> {
        match command {
            Command::Broadcast(data) => {
                check_size(&data)?;
                if self.node.peers().is_empty() {
                    // Waiting for room would delay the next command, which may be `add_peer`.
                    let refused = |error: TrySendError| match error {
                        TrySendError::Full => {
                            "not sent: no peer is connected, and too much is waiting already; try later"
                        }
                        TrySendError::Closed => "the node has stopped",
                    };
                    return self.everyone.try_send(line, data).map_err(|error| refused(error).to_owned());
                }
                self.everyone.send(line, data).await.map_err(|_| "the node has stopped".to_owned())
            }
            Command::Direct { to, data } => {
                check_size(&data)?;
                self.direct(to, data, line)
            }
            Command::AddPeer { address } => self.add_peer(address, line),
            Command::ClosePeer { id } => {
                self.node.peers().get(&id).ok_or_else(|| not_a_neighbour(id))?.close();
                Ok(())
            }
            Command::Peers => {
                let peers = self.node.peers().list().iter().map(LinkInfo::of).collect();
                self.emitter.emit(&JsonEvent::Peers { peers, size: self.node.network_size() }).await;
                Ok(())
            }
            Command::Metrics => {
                self.emitter.emit(&JsonEvent::Metrics(MetricsInfo::of(&self.node.metrics()))).await;
                Ok(())
            }
            Command::Stop => Ok(()),
        }
    }

    /// Queues a direct message. Never waits, because a single slow receiver must not delay the
    /// commands for others.
    fn direct(&mut self, to: NodeId, data: Bytes, line: u64) -> Result<(), String> {
        if self.direct.len() >= RECEIVERS && !self.direct.contains_key(&to) {
            // Outboxes with nothing to send are not needed: dropping one finishes its stream, and
            // the next message to that node makes a new one.
            self.direct.retain(|_, outbox| outbox.queued() > 0);
            if self.direct.len() >= RECEIVERS {
                return Err(format!(
                    "not sent to {to}: messages to {RECEIVERS} nodes are waiting; try later"
                ));
            }
        }
        let (node, reports, received) = (self.node, &self.reports, &self.received);
        let target = || Direct::new(node.clone(), to, received.clone());
        let outbox = self.direct.entry(to).or_insert_with(|| Outbox::to(target(), reports.clone()));
        outbox.try_send(line, data).map_err(|error| match error {
            TrySendError::Full => format!(
                "not sent to {to}: it reads too slowly, and {} MiB are waiting already; try later",
                outbox::WAITING >> 20
            ),
            TrySendError::Closed => "the node has stopped".to_owned(),
        })
    }

    /// Starts to dial a node. The result is an event, because dialling may take seconds.
    fn add_peer(&mut self, address: String, line: u64) -> Result<(), String> {
        // Finished dials make room.
        while self.dials.try_join_next().is_some() {}
        if self.dials.len() >= DIALS {
            return Err(format!("not dialled: {DIALS} dials are under way already; try {address} later"));
        }
        let (node, emitter) = (self.node.clone(), self.emitter.clone());
        self.dials.spawn(async move {
            // The event `peer_added` reports success.
            if let Err(error) = node.add_peer(address).await {
                emitter.error(format!("line {line}: {error}")).await;
            }
        });
        Ok(())
    }

    /// Hands all queued messages to the node, and reports an error if nothing moves for too long.
    async fn finish(mut self) {
        let outboxes = self.direct.drain().map(|(_, outbox)| outbox).chain([self.everyone]);
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
        let mut left = queued();
        while timeout(self.patience, &mut all).await.is_err() {
            let now = queued();
            if now >= left {
                let why = match self.node.peers().is_empty() {
                    true => "no peer is connected",
                    false => "the peers read too slowly",
                };
                return self.emitter.error(format!("stop: up to {now} bytes were not sent: {why}")).await;
            }
            left = now;
        }
    }
}

/// What to do after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    Stop,
}

/// Prints an error for each message that could not be sent. Never resolves.
pub(super) async fn emit_all_unsent(unsent: &mut mpsc::Receiver<Unsent>, emitter: &Emitter) {
    while let Some(report) = unsent.recv().await {
        emit_unsent(report, emitter).await;
    }
    std::future::pending::<()>().await;
}

/// Prints an error for a message that could not be sent.
pub(super) async fn emit_unsent(Unsent { to, line, error }: Unsent, emitter: &Emitter) {
    let whom = to.map(|id| format!(" to {id}")).unwrap_or_default();
    emitter.error(format!("line {line}: not sent{whom}: {error}")).await;
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
