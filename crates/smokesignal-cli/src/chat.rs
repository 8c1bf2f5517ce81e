//! `chat`: a line editor below, what others say above it.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde::{Deserialize, Serialize};
use smokesignal::{Event, Incoming, Node, NodeId};
use tokio::sync::mpsc;

use crate::io::{self, Line, Stdout};
use crate::options::{self, Failure, JoinArgs};

/// Names remembered; the smallest id loses, and is shown by its id until it speaks again.
const MAX_NAMES: usize = 1000;
/// Characters of a name at most.
const MAX_NAME: usize = 32;
const HELP: &str =
    "/peers  who is linked to you    /msg NAME|ID TEXT  to one neighbour    /quit  leave    /help  this";

/// Options of `chat`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    join: JoinArgs,
    /// What others see you as. Default: your user name.
    #[arg(long, env = "SMOKESIGNAL_NAME")]
    name: Option<String>,
}

/// What one line of chat is on the wire, in JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    name: String,
    text: String,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let node = args.join.node()?;
    let name = args.name.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| node.id().short());
    let mut chat = Chat { name: clean(&name, MAX_NAME), names: BTreeMap::new(), node };
    let (mut events, mut broadcast) = (chat.node.events(), chat.node.broadcast());
    chat.node.start().await.map_err(Failure::failed)?;
    let (mut screen, mut lines) = Screen::open()?;
    chat.greet(&screen);
    let (direct, mut directs) = mpsc::channel::<(NodeId, Vec<u8>)>(64);
    let interrupted = options::interrupted();
    tokio::pin!(interrupted);
    let outcome = loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(Typed::Line(line)) => if !chat.typed(&line, &mut screen).await { break Ok(()) },
                Some(Typed::Interrupt) => break Err(Failure::Interrupted),
                None => break Ok(()),
            },
            Some(incoming) = broadcast.recv() => chat.heard(incoming, &mut screen).await,
            Some((from, data)) = directs.recv() => {
                let (who, text) = chat.understand(from, &data);
                screen.say(format!("{who} (to you): {text}")).await;
            }
            Some(event) = events.recv() => {
                if let Event::PeerAdded(peer) = &event {
                    let (peer, direct) = (peer.clone(), direct.clone());
                    tokio::spawn(async move {
                        while let Some(data) = peer.recv().await {
                            if direct.send((peer.id(), data.to_vec())).await.is_err() { return }
                        }
                    });
                }
                if let Some(text) = options::describe(&event) { screen.note(&text); }
            }
            () = &mut interrupted => break Err(Failure::Interrupted),
            () = screen.closed() => break Ok(()),
        }
    };
    chat.node.stop().await;
    screen.finish().await;
    outcome
}

struct Chat {
    node: Node,
    name: String,
    names: BTreeMap<NodeId, String>,
}

impl Chat {
    fn greet(&self, screen: &Screen) {
        if let Some(address) = self.node.local_addr() {
            screen.note(&format!(
                "you are {} ({}), listening on {address}",
                self.name,
                self.node.id().short()
            ));
            screen.note(&format!("others join with: smokesignal chat --seed {address}"));
            screen.note(HELP);
        }
    }

    /// False: the user leaves.
    async fn typed(&mut self, line: &str, screen: &mut Screen) -> bool {
        let line = line.trim();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("", _) => {}
            ("/quit", _) => return false,
            ("/help", _) => screen.note(HELP),
            ("/peers", _) => self.list(screen),
            ("/msg", rest) => self.whisper(rest, screen).await,
            (command, _) if command.starts_with('/') => {
                screen.note(&format!("{command} is no command. {HELP}"));
            }
            _ => {
                let sent = self.node.broadcast().sender().send(self.wrap(line)).await;
                sent.unwrap_or_else(|error| screen.note(&error.to_string()));
            }
        }
        true
    }

    fn wrap(&self, text: &str) -> Vec<u8> {
        let said = Said { name: self.name.clone(), text: text.to_owned() };
        serde_json::to_vec(&said).unwrap_or_else(|_| text.as_bytes().to_vec())
    }

    fn list(&self, screen: &Screen) {
        let peers = self.node.peers().list();
        for peer in &peers {
            screen.note(&format!("{} at {}", self.shown(peer.id()), peer.remote_addr()));
        }
        screen.note(&format!("{} in all", peers.len()));
    }

    async fn whisper(&self, rest: &str, screen: &Screen) {
        let Some((who, text)) = rest.trim().split_once(' ') else {
            return screen.note("write /msg NAME|ID TEXT");
        };
        let fits = |id: NodeId| {
            id.to_string().starts_with(who) || self.names.get(&id).is_some_and(|name| name == who)
        };
        let found: Vec<_> = self.node.peers().list().into_iter().filter(|peer| fits(peer.id())).collect();
        match found.as_slice() {
            [peer] => {
                // A task of its own: a peer that does not read must not freeze the prompt.
                let (peer, data) = (peer.clone(), self.wrap(text));
                tokio::spawn(async move {
                    if let Err(error) = peer.send(data).await {
                        eprintln!("* not sent: {error}");
                    }
                });
            }
            [] => screen.note(&format!("no neighbour is called {who}; /peers lists them")),
            _ => screen.note(&format!("{who} fits {} neighbours; write more of the id", found.len())),
        }
    }

    async fn heard(&mut self, incoming: Incoming, screen: &mut Screen) {
        match incoming {
            Incoming::Message { from, data, .. } => {
                let (who, text) = self.understand(from, &data);
                screen.say(format!("{who}: {text}")).await;
            }
            Incoming::Gap { from, missed } => {
                screen.note(&format!("{missed} messages of {} were missed", self.shown(from)));
            }
        }
    }

    /// Who speaks and what, fit for a terminal.
    fn understand(&mut self, from: NodeId, data: &[u8]) -> (String, String) {
        let text = match serde_json::from_slice::<Said>(data) {
            Ok(said) => {
                if self.names.len() >= MAX_NAMES {
                    self.names.pop_first();
                }
                self.names.insert(from, clean(&said.name, MAX_NAME));
                said.text
            }
            Err(_) => String::from_utf8_lossy(data).into_owned(),
        };
        (self.shown(from), clean(&text, 16 * 1024))
    }

    /// The name, and the id's beginning where the name alone does not tell who it is.
    fn shown(&self, id: NodeId) -> String {
        let Some(name) = self.names.get(&id) else { return id.short() };
        let others = self.names.iter().any(|(other, taken)| *other != id && taken == name);
        if others || *name == self.name { format!("{name}[{}]", id.short()) } else { name.clone() }
    }
}

/// Without control characters: what others write must not drive our terminal.
fn clean(text: &str, limit: usize) -> String {
    text.chars().filter(|c| !c.is_control() && !is_bidi(*c)).take(limit).collect()
}

/// Characters that reorder the text around them, and could make one name look like another.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

enum Typed {
    Line(String),
    Interrupt,
}

/// Where things are shown: above the prompt of a terminal, or plainly on stdout and stderr.
enum Screen {
    Terminal(std::sync::Mutex<Box<dyn rustyline::ExternalPrinter + Send>>, Option<Termios>),
    Plain(Stdout, io::Written),
}

impl Screen {
    fn open() -> Result<(Self, mpsc::Receiver<Typed>), Failure> {
        let (sender, receiver) = mpsc::channel(16);
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            let mut lines = io::stdin_lines(64 * 1024);
            tokio::spawn(async move {
                while let Some(line) = lines.recv().await {
                    let Line::Text(text) = line else { continue };
                    let typed = Typed::Line(String::from_utf8_lossy(&text).into_owned());
                    if sender.send(typed).await.is_err() {
                        return;
                    }
                }
            });
            let (stdout, written) = Stdout::open();
            return Ok((Self::Plain(stdout, written), receiver));
        }
        let before = tcgetattr(std::io::stdin()).ok();
        let mut editor = DefaultEditor::new().map_err(Failure::failed)?;
        let printer = editor.create_external_printer().map_err(Failure::failed)?;
        std::thread::spawn(move || {
            loop {
                let typed = match editor.readline("> ") {
                    Ok(line) => {
                        if let Err(error) = editor.add_history_entry(&line) {
                            tracing::debug!(%error, "the line is not in the history");
                        }
                        Typed::Line(line)
                    }
                    Err(ReadlineError::Interrupted) => Typed::Interrupt,
                    Err(_) => return,
                };
                if sender.blocking_send(typed).is_err() {
                    return;
                }
            }
        });
        Ok((Self::Terminal(std::sync::Mutex::new(Box::new(printer)), before), receiver))
    }

    /// Something that was said.
    async fn say(&mut self, text: String) {
        match self {
            Self::Terminal(..) => self.above(text),
            Self::Plain(stdout, _) => {
                stdout.write(format!("{text}\n").into_bytes()).await;
            }
        }
    }

    /// Something about the network.
    fn note(&self, text: &str) {
        match self {
            Self::Terminal(..) => self.above(format!("* {text}")),
            Self::Plain(..) => eprintln!("* {text}"),
        }
    }

    fn above(&self, text: String) {
        let Self::Terminal(printer, _) = self else { return };
        let mut printer = printer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(error) = printer.print(format!("{text}\n")) {
            tracing::debug!(%error, "cannot print above the prompt");
        }
    }

    async fn closed(&self) {
        match self {
            Self::Terminal(..) => std::future::pending().await,
            Self::Plain(stdout, _) => stdout.closed().await,
        }
    }

    /// The editor may be in the middle of a line: the terminal gets back the state it was found in.
    async fn finish(self) {
        match self {
            Self::Terminal(_, Some(before)) => {
                if let Err(error) = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &before) {
                    tracing::warn!(%error, "cannot restore the terminal; `reset` does");
                }
                eprintln!();
            }
            Self::Terminal(..) => {}
            Self::Plain(stdout, written) => {
                drop(stdout);
                written.wait().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_cannot_drive_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\r\n\u{9b}c\u{202e}d", 99), "a[2Jbcd");
        assert_eq!(clean("abcdef", 3), "abc");
    }
}
