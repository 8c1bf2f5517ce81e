//! One person in the network: what they type, what arrives, who comes and goes.

use std::collections::HashMap;

use smokesignal::{Acceptor, Broadcast, BroadcastSender, Event, Events, Incoming, Node, NodeId, Peer};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::Input;
use super::message::{self, Heard};
use super::names::{Found, Names};
use crate::direct::{self, Direct, Received};
use crate::options::tell_trouble;
use crate::outbox::{Outbox, Unsent};
use crate::outcome::{Exit, Failure};
use crate::output::Output;

/// Direct lines and reports that wait to be shown; then the readers wait. A guess.
const WAITING: usize = 64;

/// Nodes that are written to directly at once. A guess.
const RECEIVERS: usize = 256;

/// The number of a line that nobody typed: our name, told to a new neighbour.
const UNASKED: u64 = 0;

const HELP: &str = "\
/peers          the neighbours
/msg WHO TEXT   to one node: WHO is a name, a whole id, or the beginning of the id of one that was heard of
/help           this
/quit           leave (so does Ctrl-D)
//TEXT          a line that begins with a slash; everything else you type goes to everyone";

pub(super) struct Session<'a> {
    node: &'a Node,
    name: String,
    names: Names,
    output: Output,
    everyone: Outbox,
    /// One for each node written to, [`RECEIVERS`] at most; those with nothing to send make room.
    direct: HashMap<NodeId, Outbox>,
    reports: Sender<Unsent>,
    unsent: Receiver<Unsent>,
    /// What others write to us directly.
    whispers: (Sender<Received>, Receiver<Received>),
    /// Lines typed, to name one that was not sent.
    typed: u64,
    /// The input has ended; what was typed waits for somebody who hears it.
    ending: bool,
    said: bool,
    connected: bool,
}

impl<'a> Session<'a> {
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
        let whispers = mpsc::channel(WAITING);
        tokio::spawn(direct::receive(acceptor, whispers.0.clone()));
        let (typed, ending, said, connected) = (0, false, false, false);
        let direct = HashMap::new();
        Self {
            node,
            name,
            names,
            output,
            everyone,
            direct,
            reports,
            unsent,
            whispers,
            typed,
            ending,
            said,
            connected,
        }
    }

    /// Resolves when the person leaves.
    pub(super) async fn talk(
        mut self,
        mut input: Receiver<Input>,
        mut events: Events,
        mut broadcast: Broadcast,
    ) -> Result<Exit, Failure> {
        loop {
            if self.ending && (!self.said || self.connected) {
                return self.finish().await;
            }
            tokio::select! {
                Some(event) = events.recv() => self.on_event(event).await,
                Some(incoming) = broadcast.recv() => self.on_broadcast(incoming).await,
                Some((from, bytes)) = self.whispers.1.recv() => self.on_whisper(from, &bytes).await,
                Some(unsent) = self.unsent.recv() => self.on_unsent(&unsent),
                Some(typed) = input.recv(), if !self.ending => match typed {
                    Input::Line(line) => {
                        if self.on_line(&line).await? {
                            return self.finish().await;
                        }
                    }
                    Input::End => self.on_end(),
                    Input::Interrupt => return Ok(Exit::Interrupted),
                    Input::Failed(error) => return Err(Failure::Failed(format!("cannot read your lines: {error}"))),
                },
                else => return Err(Failure::Failed("the node stopped by itself".to_owned())),
            }
        }
    }

    /// Hands what was said to the node.
    async fn finish(mut self) -> Result<Exit, Failure> {
        let mut tasks = vec![self.everyone.finish()];
        tasks.extend(self.direct.drain().map(|(_, outbox)| outbox.finish()));
        if self.said && !self.connected {
            notice!("nobody is here; your last lines may not have been heard");
        }
        // Without a peer there is nobody to wait for.
        if self.connected {
            for task in tasks {
                task.await.map_err(|error| Failure::Failed(format!("a writing task failed: {error}")))?;
            }
        }
        Ok(Exit::Done)
    }

    fn on_end(&mut self) {
        self.ending = true;
        if self.said && !self.connected {
            notice!("nobody is here yet; waiting for somebody to hear your lines (Ctrl-C gives up)");
        }
    }

    /// Whether the person wants to leave.
    async fn on_line(&mut self, line: &str) -> Result<bool, Failure> {
        self.typed += 1;
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match command {
            "/quit" => return Ok(true),
            "/help" => HELP.lines().for_each(|line| notice!("{line}")),
            "/peers" => self.show_peers(),
            "/msg" => self.whisper(rest.trim())?,
            _ if line.trim().is_empty() => {}
            _ if line.starts_with("//") => self.say(&line[1..]).await?,
            _ if line.starts_with('/') => {
                notice!("there is no command {}; /help shows those there are", message::clean_text(command));
            }
            _ => self.say(line).await?,
        }
        Ok(false)
    }

    async fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.said = true;
        if !self.connected && !self.ending {
            notice!("nobody is here yet; this is sent when somebody comes");
        }
        let data = encode(&self.name, Some(text))?;
        self.everyone
            .send(self.typed, data.into())
            .await
            .map_err(|_| Failure::Failed("the node stopped by itself".to_owned()))
    }

    fn whisper(&mut self, rest: &str) -> Result<(), Failure> {
        let Some((whom, text)) = rest.split_once(char::is_whitespace) else {
            notice!("write /msg WHO TEXT; /peers shows who is there");
            return Ok(());
        };
        // Neighbours, and everybody who has said anything.
        let mut ids: Vec<NodeId> = self.node.peers().list().iter().map(Peer::id).collect();
        ids.extend(self.names.known());
        ids.extend(whom.parse::<NodeId>());
        ids.retain(|id| *id != self.node.id());
        ids.sort_unstable();
        ids.dedup();
        match self.names.find(whom, &ids) {
            Found::One(id) => self.tell(id, Some(text.trim()))?,
            Found::Nobody => {
                let whom = message::clean_text(whom);
                notice!("nobody who was heard of is called {whom}; /peers shows the neighbours");
            }
            Found::Several(ids) => {
                let ids: Vec<String> = ids.iter().map(NodeId::short).collect();
                notice!("{} may mean {}; use the id", message::clean_text(whom), ids.join(" or "));
            }
        }
        Ok(())
    }

    /// To one node; without a text, only our name.
    fn tell(&mut self, id: NodeId, text: Option<&str>) -> Result<(), Failure> {
        let data = encode(&self.name, text)?;
        let line = if text.is_some() { self.typed } else { UNASKED };
        if self.direct.len() >= RECEIVERS {
            self.direct.retain(|other, outbox| *other == id || outbox.queued() > 0);
        }
        let target = || Direct::new(self.node.clone(), id, self.whispers.0.clone());
        let outbox = self.direct.entry(id).or_insert_with(|| Outbox::to(target(), self.reports.clone()));
        if outbox.try_send(line, data.into()).is_err() {
            notice!("{} cannot take more right now; this was not sent", self.names.show(id));
        }
        Ok(())
    }

    fn show_peers(&self) {
        let peers = self.node.peers().list();
        if peers.is_empty() {
            notice!("no neighbours yet");
        }
        for peer in peers {
            notice!("{} at {} is {}", self.names.show(peer.id()), peer.remote_addr(), peer.id());
        }
    }

    async fn on_event(&mut self, event: Event) {
        tell_trouble(&event);
        match event {
            Event::Connect => {
                self.connected = true;
                notice!("connected");
            }
            Event::Disconnect => {
                self.connected = false;
                notice!("alone; looking for the others");
            }
            Event::PeerAdded(peer) => {
                notice!("{} is a neighbour now, at {}", self.names.show(peer.id()), peer.remote_addr());
                if let Err(error) = self.tell(peer.id(), None) {
                    notice!("{error}");
                }
                // It ends with the link.
                tokio::spawn(listen(peer, self.whispers.0.clone()));
            }
            Event::PeerRemoved(peer) => notice!("{} is no neighbour any more", self.names.show(peer.id())),
            _ => {}
        }
    }

    async fn on_broadcast(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message { from, data, .. } => {
                let Heard { name, text } = message::decode(&data);
                self.learn(from, name);
                if let Some(text) = text {
                    self.print(format!("<{}> {text}\n", self.names.show(from))).await;
                }
            }
            Incoming::Gap { from, missed } => {
                notice!("{missed} lines of {} are missing here", self.names.show(from));
            }
        }
    }

    async fn on_whisper(&mut self, from: NodeId, bytes: &[u8]) {
        let Heard { name, text } = message::decode(bytes);
        let introduced = name.clone();
        if self.learn(from, name) && text.is_none() {
            notice!("{} is {}", from.short(), introduced.unwrap_or_default());
        }
        if let Some(text) = text {
            self.print(format!("[{} to you] {text}\n", self.names.show(from))).await;
        }
    }

    fn on_unsent(&self, Unsent { to, line, error }: &Unsent) {
        match to {
            Some(_) if *line == UNASKED => tracing::debug!(%error, "the name was not told"),
            Some(id) => notice!("your line {line} to {} was not sent: {error}", self.names.show(*id)),
            None => notice!("your line {line} was not sent: {error}"),
        }
    }

    fn learn(&mut self, id: NodeId, name: Option<String>) -> bool {
        name.is_some_and(|name| self.names.learn(id, &name))
    }

    async fn print(&self, line: String) {
        self.output.write(line.into_bytes()).await;
    }
}

/// Passes on what a neighbour writes to us.
async fn listen(peer: Peer, whispers: Sender<Received>) {
    while let Some(data) = peer.recv().await {
        if whispers.send((peer.id(), data)).await.is_err() {
            return;
        }
    }
}

fn encode(name: &str, text: Option<&str>) -> Result<Vec<u8>, Failure> {
    message::encode(name, text)
        .map_err(|error| Failure::Failed(format!("cannot write this as JSON: {error}")))
}
