//! The session of one person: handles what they type, what arrives, and the events of the node.
//!
//! [`Session::talk`] is one loop that waits for all of these at the same time and handles one after
//! the other. Messages to others go through an outbox per receiver, so that a slow receiver never
//! delays the loop. When stdin ends while nobody is connected, the session waits for the first
//! peer, so that lines already written are not lost.
//!
//! Only the lines of others go to the output. Answers to commands, arrivals, departures and errors
//! are notices. An error never ends the session as long as the node runs and the input can be read.

use std::time::Duration;

use smokesignal::{Acceptor, Broadcast, BroadcastSender, Event, Events, Incoming, Node, NodeId, Peer};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::editor::Input;
use super::message::{self, Received};
use super::names::{Found, Names};
use crate::direct::{self, Direct, DirectMessage};
use crate::options::print_warning;
use crate::outbox::{Outbox, Report};
use crate::outcome::{Exit, Failure};
use crate::output::Output;
use crate::receivers::Receivers;

/// Direct messages and reports that may wait to be shown; then their senders wait. A guess.
const WAITING: usize = 64;

/// The most nodes to which direct messages are under way; a line to a further one is refused. A
/// guess.
const RECEIVERS: usize = 256;

/// The line number of a message that nobody typed: the introduction to a new neighbour.
const INTRODUCTION: u64 = 0;

/// A line that is older than this when it is read says how old it is.
const OLD: Duration = Duration::from_secs(10);

/// What `/help` prints.
const HELP: &str = "\
/peers          list the neighbours, and how far this node is behind in what others write
/msg WHO TEXT   write to one node; WHO is a name, an id, or the beginning of the id of a known node
/help           show this help
/quit           leave, as Ctrl-D does
//TEXT          send a line that begins with a slash
Everything else that you type goes to everyone.";

/// The state of a session.
pub(super) struct Session<'a> {
    node: &'a Node,
    /// The name of this person.
    name: String,
    /// The names of all nodes heard of.
    names: Names,
    output: Output,
    everyone: Outbox,
    /// One outbox per node written to, at most [`RECEIVERS`].
    direct: Receivers,
    /// Takes the failures of all outboxes, which `unsent` returns.
    reports: Sender<Report>,
    unsent: Receiver<Report>,
    /// Direct messages of other nodes.
    incoming: (Sender<DirectMessage>, Receiver<DirectMessage>),
    /// Number of lines typed, so that an error can name the line that was not sent.
    typed: u64,
    /// Whether the input has ended.
    input_ended: bool,
    /// Whether anything was written to everyone.
    has_written: bool,
    /// Whether there is a peer, by the latest event. Without one nothing can be sent.
    connected: bool,
}

impl<'a> Session<'a> {
    /// Creates the session of a person with this name, and starts to accept direct messages.
    pub(super) fn new(
        node: &'a Node,
        name: String,
        acceptor: Acceptor,
        sender: BroadcastSender,
        output: Output,
    ) -> Self {
        let (reports, unsent) = mpsc::channel(WAITING);
        let mut names = Names::default();
        names.learn(node.id(), &name);
        let everyone = Outbox::to(sender, reports.clone());
        let incoming = mpsc::channel(WAITING);
        tokio::spawn(direct::receive(acceptor, incoming.0.clone()));
        Self {
            node,
            name,
            names,
            output,
            everyone,
            direct: Receivers::new(RECEIVERS),
            reports,
            unsent,
            incoming,
            typed: 0,
            input_ended: false,
            has_written: false,
            connected: false,
        }
    }

    /// Runs the session until the person leaves.
    pub(super) async fn talk(
        mut self,
        mut input: Receiver<Input>,
        mut events: Events,
        mut broadcast: Broadcast,
    ) -> Result<Exit, Failure> {
        loop {
            // After the end of stdin the session ends as soon as its last lines can be sent.
            if self.input_ended && (!self.has_written || self.connected) {
                return self.finish().await;
            }
            tokio::select! {
                Some(event) = events.recv() => self.on_event(event).await,
                Some(incoming) = broadcast.recv() => self.on_broadcast(incoming).await,
                Some((from, bytes)) = self.incoming.1.recv() => self.on_direct(from, &bytes).await,
                Some(unsent) = self.unsent.recv() => self.on_unsent(&unsent),
                Some(typed) = input.recv(), if !self.input_ended => match typed {
                    Input::Line(line) => {
                        if self.on_line(&line).await? {
                            return self.finish().await;
                        }
                    }
                    Input::End => self.on_end(),
                    Input::Interrupt => return Ok(Exit::Interrupted),
                    Input::Failed(error) => {
                        return Err(Failure::Failed(format!("cannot read what you type: {error}")));
                    }
                },
                else => return Err(Failure::node_stopped()),
            }
        }
    }

    /// Waits until all written messages are handed to the node.
    async fn finish(mut self) -> Result<Exit, Failure> {
        let mut tasks = vec![self.everyone.finish()];
        tasks.extend(self.direct.drain().map(Outbox::finish));
        if self.has_written && !self.connected {
            notice!("nobody is connected; your last lines may be lost");
        }
        // Without a peer nothing can be sent.
        if self.connected {
            for task in tasks {
                task.await.map_err(|error| Failure::Failed(format!("a writing task failed: {error}")))?;
            }
        }
        Ok(Exit::Done)
    }

    /// Handles the end of the input. The session goes on until there is a peer that can receive the
    /// last lines.
    fn on_end(&mut self) {
        self.input_ended = true;
        if self.has_written && !self.connected {
            notice!("nobody is connected yet; waiting for the first peer to send your lines (Ctrl-C quits)");
        }
    }

    /// Handles a line, and returns whether the person wants to leave.
    async fn on_line(&mut self, line: &str) -> Result<bool, Failure> {
        self.typed += 1;
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match command {
            "/quit" => return Ok(true),
            "/help" => HELP.lines().for_each(|line| notice!("{line}")),
            "/peers" => self.show_peers(),
            "/msg" => self.send_to(rest.trim())?,
            _ if line.trim().is_empty() => {}
            _ if line.starts_with("//") => self.broadcast(&line[1..]).await?,
            _ if line.starts_with('/') => {
                notice!("unknown command {}; /help lists the commands", message::clean_text(command));
            }
            _ => self.broadcast(line).await?,
        }
        Ok(false)
    }

    /// Sends a line to everyone. Waits while the network cannot take more, so that typing is slowed
    /// down instead of losing lines.
    async fn broadcast(&mut self, text: &str) -> Result<(), Failure> {
        self.has_written = true;
        if !self.connected && !self.input_ended {
            notice!("nobody is connected yet; this line will be sent to the first peer");
        }
        let data = encode(&self.name, Some(text))?;
        self.everyone.send(self.typed, data.into()).await.map_err(|_| Failure::node_stopped())
    }

    /// Executes `/msg WHO TEXT`.
    fn send_to(&mut self, rest: &str) -> Result<(), Failure> {
        let Some((whom, text)) = rest.split_once(char::is_whitespace) else {
            notice!("the text is missing; write /msg WHO TEXT");
            return Ok(());
        };
        // The neighbours, every node whose name is known, and the id itself if it is a whole one.
        let mut ids: Vec<NodeId> = self.node.peers().list().iter().map(Peer::id).collect();
        ids.extend(self.names.known());
        ids.extend(whom.parse::<NodeId>());
        ids.retain(|id| *id != self.node.id());
        ids.sort_unstable();
        ids.dedup();
        match self.names.find(whom, &ids) {
            Found::One(id) => self.send_direct(id, Some(text.trim()))?,
            Found::Nobody => {
                let whom = message::clean_text(whom);
                notice!("no known node is called {whom}; /peers lists the neighbours, or use a whole id");
            }
            Found::Several(ids) => {
                let (whom, count) = (message::clean_text(whom), ids.len());
                let ids: Vec<String> = ids.iter().map(NodeId::short).collect();
                notice!("{whom} matches {count} nodes; use one of the ids {}", ids.join(", "));
            }
        }
        Ok(())
    }

    /// Sends a text to one node, or without a text only the name of this person.
    fn send_direct(&mut self, id: NodeId, text: Option<&str>) -> Result<(), Failure> {
        let data = encode(&self.name, text)?;
        let line = if text.is_some() { self.typed } else { INTRODUCTION };
        let target = || Direct::new(self.node.clone(), id, self.incoming.0.clone());
        let make = || Outbox::to(target(), self.reports.clone());
        let why = match self.direct.outbox(id, make) {
            // Not `send`, because waiting for one slow reader would stop the whole session.
            Some(outbox) if outbox.try_send(line, data.into()).is_ok() => return Ok(()),
            Some(_) => format!("{} reads too slowly", self.names.show(id)),
            None => format!("lines to {RECEIVERS} others are waiting"),
        };
        match text {
            Some(_) => notice!("this line was not sent, because {why}; try later"),
            None => tracing::debug!(%why, "the introduction was not sent"),
        }
        Ok(())
    }

    /// Executes `/peers`.
    fn show_peers(&self) {
        let peers = self.node.peers().list();
        if peers.is_empty() {
            notice!("no neighbours yet");
        }
        for peer in peers {
            notice!("{} at {} is {}", self.names.show(peer.id()), peer.remote_addr(), peer.id());
        }
        for writer in self.node.metrics().writers.iter().filter(|writer| writer.messages_behind > 0) {
            notice!(
                "{} lines from {} have not arrived yet, the first for {:.1} s",
                writer.messages_behind,
                self.names.show(writer.writer),
                writer.time_behind.as_secs_f64()
            );
        }
    }

    /// Handles an event of the node. Introduces this person to each new peer, because a name
    /// travels only in messages.
    async fn on_event(&mut self, event: Event) {
        print_warning(&event);
        match event {
            Event::Connect => {
                self.connected = true;
                notice!("connected");
            }
            Event::Disconnect => {
                self.connected = false;
                notice!("disconnected from all peers; looking for others");
            }
            Event::PeerAdded(peer) => {
                notice!("{} is now a neighbour, at {}", self.names.show(peer.id()), peer.remote_addr());
                if let Err(error) = self.send_direct(peer.id(), None) {
                    notice!("{error}");
                }
                // This task ends with the link.
                tokio::spawn(receive_from(peer, self.incoming.0.clone()));
            }
            Event::PeerRemoved(peer) => {
                notice!("{} is not a neighbour any more", self.names.show(peer.id()));
            }
            _ => {}
        }
    }

    /// Prints a line that a node has sent to everyone, or the size of a gap.
    async fn on_broadcast(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message { from, data, age, .. } => {
                let Received { name, text } = message::decode(&data);
                self.learn(from, name);
                if let Some(text) = text {
                    let old = old(age);
                    self.print(format!("<{}> {text}{old}\n", self.names.show(from))).await;
                }
            }
            Incoming::Gap { from, missed } => {
                notice!("{missed} lines from {} are missing here", self.names.show(from));
            }
            Incoming::End { from } => notice!("{} has left", self.names.show(from)),
            Incoming::Restarted { from } => notice!("{} is back", self.names.show(from)),
        }
    }

    /// Prints a direct message, or the name of a node that has introduced itself.
    async fn on_direct(&mut self, from: NodeId, bytes: &[u8]) {
        let Received { name, text } = message::decode(bytes);
        let introduced = name.clone();
        if self.learn(from, name) && text.is_none() {
            notice!("{} is called {}", from.short(), introduced.unwrap_or_default());
        }
        if let Some(text) = text {
            self.print(format!("[{} to you] {text}\n", self.names.show(from))).await;
        }
    }

    /// Reports a line that could not be sent. A failed introduction is not worth a notice: the next
    /// line of this person carries the name, too.
    fn on_unsent(&self, Report { to, ticket, sent }: &Report) {
        let (Err(error), line) = (sent, ticket.line) else { return };
        match to {
            Some(_) if line == INTRODUCTION => tracing::debug!(%error, "the introduction was not sent"),
            Some(id) => notice!("your line {line} to {} was not sent: {error}", self.names.show(*id)),
            None => notice!("your line {line} was not sent: {error}"),
        }
    }

    /// Remembers the name of a node, and returns whether it is new or has changed.
    fn learn(&mut self, id: NodeId, name: Option<String>) -> bool {
        name.is_some_and(|name| self.names.learn(id, &name))
    }

    /// Prints a line to stdout, or above the prompt.
    async fn print(&self, line: String) {
        self.output.write(line.into_bytes()).await;
    }
}

/// Passes on what a neighbour writes to its stream to this node, as programs that use the library
/// do.
async fn receive_from(peer: Peer, incoming: Sender<DirectMessage>) {
    loop {
        match peer.recv().await {
            Ok(Some(data)) => {
                if incoming.send((peer.id(), data)).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => return tracing::debug!(peer = %peer.id(), %error, "the link has broken"),
        }
    }
}

/// Encodes a message of this person.
/// Returns what is behind a line that comes late: how long ago it was written.
fn old(age: Duration) -> String {
    if age < OLD { String::new() } else { format!(" ({} s ago)", age.as_secs()) }
}

fn encode(name: &str, text: Option<&str>) -> Result<Vec<u8>, Failure> {
    message::encode(name, text)
        .map_err(|error| Failure::Failed(format!("cannot encode the line as JSON: {error}")))
}
