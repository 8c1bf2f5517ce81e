//! What the program that started us wants. No command waits for the network except `broadcast`, and that only
//! when its outbox is full.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use smokesignal::{BroadcastSender, Node, NodeId};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::wire::{Command, Emitter, PeerInfo, Report, quote};
use crate::direct::{Direct, Received};
use crate::input;
use crate::lines::Line;
use crate::options::MAX_MESSAGE;
use crate::outbox::{self, Outbox, Unsent};
use crate::queue::TrySendError;

/// Bytes in a line at most. JSON may need six characters for one byte (`\u0000`), and the command some more.
const LINE: usize = 6 * MAX_MESSAGE + (64 << 10);
/// Nodes that are written to directly at once. A guess.
const RECEIVERS: usize = 1024;
/// Dials under way at once; a further `add_peer` is refused. A guess.
const DIALS: usize = 64;
/// How long `stop` waits for what is queued. Longer than the default ping timeout (3 s), after which a peer that
/// takes nothing is dropped.
const STOP: Duration = Duration::from_secs(10);

/// Reads commands and carries them out.
pub(super) struct Commands<'a> {
    node: &'a Node,
    emitter: Emitter,
    everyone: Outbox,
    /// One for each node written to, [`RECEIVERS`] at most; those with nothing to send make room.
    direct: HashMap<NodeId, Outbox>,
    received: mpsc::Sender<Received>,
    reports: mpsc::Sender<Unsent>,
    dials: JoinSet<()>,
}

impl<'a> Commands<'a> {
    pub(super) fn new(
        node: &'a Node,
        sender: BroadcastSender,
        emitter: Emitter,
        reports: mpsc::Sender<Unsent>,
        received: mpsc::Sender<Received>,
    ) -> Self {
        let everyone = Outbox::to(sender, reports.clone());
        Self { node, emitter, everyone, direct: HashMap::new(), received, reports, dials: JoinSet::new() }
    }

    /// Resolves after the command `stop`, when all that was accepted before it is handed to the node. The end of
    /// the input is not the end of the node.
    pub(super) async fn obey(mut self) {
        let mut lines = input::lines(LINE);
        while let Some(batch) = lines.recv().await {
            match batch {
                Ok(batch) => {
                    for line in batch {
                        if self.obey_line(line).await.is_stop() {
                            return self.finish().await;
                        }
                    }
                }
                Err(error) => self.emitter.error(format!("cannot read stdin: {error}")).await,
            }
        }
        std::future::pending::<()>().await;
    }

    async fn obey_line(&mut self, line: Line) -> Next {
        let (number, bytes, parsed) = match line {
            Line::Whole { number, bytes } => {
                let parsed = Command::parse(&bytes);
                (number, bytes, parsed)
            }
            Line::TooLong { number, start } => {
                let error =
                    format!("longer than the limit of {LINE} bytes; a message has {MAX_MESSAGE} at most");
                (number, start, Err(error))
            }
        };
        let done = match parsed {
            Ok(Command::Stop) => return Next::Stop,
            Ok(command) => self.carry_out(command, number).await,
            Err(error) => Err(format!("{error} (in `{}`)", quote(&bytes))),
        };
        if let Err(error) = done {
            self.emitter.error(format!("line {number}: {error}")).await;
        }
        Next::Line
    }

    async fn carry_out(&mut self, command: Command, line: u64) -> Result<(), String> {
        match command {
            Command::Broadcast(data) => {
                check_size(&data)?;
                if self.node.peers().is_empty() {
                    // Waiting for room would keep the next command from being read, `add_peer` perhaps.
                    let refused = |error: TrySendError| match error {
                        TrySendError::Full => {
                            "no peers, and too much waits for the first one; send it again later"
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
                let peers = self.node.peers().list().iter().map(PeerInfo::of).collect();
                self.emitter.emit(&Report::Peers { peers, size: self.node.network_size() }).await;
                Ok(())
            }
            Command::Stop => Ok(()),
        }
    }

    fn direct(&mut self, to: NodeId, data: Bytes, line: u64) -> Result<(), String> {
        if self.direct.len() >= RECEIVERS && !self.direct.contains_key(&to) {
            self.direct.retain(|_, outbox| outbox.queued() > 0);
            if self.direct.len() >= RECEIVERS {
                return Err(format!("messages to {RECEIVERS} nodes are waiting already; try {to} later"));
            }
        }
        let (node, reports, received) = (self.node, &self.reports, &self.received);
        let target = || Direct::new(node.clone(), to, received.clone());
        let outbox = self.direct.entry(to).or_insert_with(|| Outbox::to(target(), reports.clone()));
        outbox.try_send(line, data).map_err(|error| match error {
            TrySendError::Full => format!(
                "{to} reads too slowly: {} MiB are waiting already; nothing of this line was sent, try later",
                outbox::WAITING >> 20
            ),
            TrySendError::Closed => "the node has stopped".to_owned(),
        })
    }

    fn add_peer(&mut self, address: String, line: u64) -> Result<(), String> {
        while self.dials.try_join_next().is_some() {}
        if self.dials.len() >= DIALS {
            return Err(format!("{DIALS} dials are under way already; try {address} later"));
        }
        let (node, emitter) = (self.node.clone(), self.emitter.clone());
        self.dials.spawn(async move {
            // Success shows as `peer_added`.
            if let Err(error) = node.add_peer(address).await {
                emitter.error(format!("line {line}: {error}")).await;
            }
        });
        Ok(())
    }

    /// Hands over what is queued; says so if that does not work out.
    async fn finish(mut self) {
        self.dials.shutdown().await;
        let queued = self.everyone.queued() + self.direct.values().map(Outbox::queued).sum::<usize>();
        // Without a peer there is nobody to wait for.
        let patience = if self.node.peers().is_empty() { Duration::ZERO } else { STOP };
        let mut tasks: Vec<JoinHandle<()>> = self.direct.drain().map(|(_, outbox)| outbox.finish()).collect();
        tasks.push(self.everyone.finish());
        let all = async {
            for task in tasks {
                if let Err(error) = task.await {
                    notice!("a writing task failed: {error}");
                }
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() && queued > 0 {
            let why = if patience.is_zero() { "no peer is there" } else { "the peers do not take it" };
            self.emitter.error(format!("stop: up to {queued} bytes were not sent: {why}")).await;
        }
    }
}

/// What to do after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Line,
    Stop,
}

impl Next {
    fn is_stop(self) -> bool {
        self == Self::Stop
    }
}

/// Reports what the outboxes could not send, for as long as there are commands.
pub(super) async fn emit_all_unsent(unsent: &mut mpsc::Receiver<Unsent>, emitter: &Emitter) {
    while let Some(report) = unsent.recv().await {
        emit_unsent(report, emitter).await;
    }
    std::future::pending::<()>().await;
}

pub(super) async fn emit_unsent(Unsent { to, line, error }: Unsent, emitter: &Emitter) {
    let whom = to.map(|id| format!(" to {id}")).unwrap_or_default();
    emitter.error(format!("line {line}: not sent{whom}: {error}")).await;
}

/// Said at once, so that it does not depend on whether a peer is there.
fn check_size(data: &Bytes) -> Result<(), String> {
    let size = data.len();
    if size <= MAX_MESSAGE {
        return Ok(());
    }
    Err(smokesignal::SendError::TooLarge { size, limit: MAX_MESSAGE }.to_string())
}

fn not_a_neighbour(id: NodeId) -> String {
    format!("{id} is not a neighbour now; `peers` lists those there are, `add_peer` makes one")
}
