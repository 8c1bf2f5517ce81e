//! `run --json`: a node for a program in any language.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use smokesignal::{Broadcast, Event, Events, Incoming, Node, NodeId, Peer};
use tokio::sync::mpsc;

use crate::io::{self, Line, Stdout};
use crate::message::{In, MAX_LINE, Out, PeerInfo, excerpt};
use crate::options::{self, Failure, JoinArgs};

/// Bytes of direct messages that may wait for one slow peer; what comes on top is answered by an error.
const DIRECT_QUEUE: usize = 32 * 1024 * 1024;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    join: JoinArgs,
    /// One JSON object per line, in and out (the only form there is).
    #[arg(long, required = true)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let node = args.join.node()?;
    let (events, broadcast) = (node.events(), node.broadcast());
    node.start().await.map_err(Failure::failed)?;
    let (stdout, written) = Stdout::open();
    if let Some(address) = node.local_addr() {
        let (id, port) = (node.id().to_string(), address.port());
        stdout.write(Out::Listening { id, address: address.ip().to_string(), port }.line()).await;
    }
    let happening = tokio::spawn(tell_events(events, stdout.clone()));
    let hearing = tokio::spawn(tell_messages(broadcast, stdout.clone()));
    let interrupted = options::interrupted();
    tokio::pin!(interrupted);
    let outcome = tokio::select! {
        () = obey(&node, &stdout) => Ok(()),
        () = &mut interrupted => Err(Failure::Interrupted),
        () = stdout.closed() => Ok(()),
    };
    node.stop().await;
    // The broadcast stream has ended; the events end with the node.
    drop(node);
    for task in [happening, hearing] {
        if let Err(error) = task.await {
            tracing::error!(%error, "a task failed");
        }
    }
    drop(stdout);
    written.wait().await;
    outcome
}

async fn tell_events(mut events: Events, stdout: Stdout) {
    while let Some(event) = events.recv().await {
        let out = match event {
            Event::Connect => Out::Connect,
            Event::Disconnect => Out::Disconnect,
            Event::PeerAdded(peer) => {
                let out = Out::PeerAdded(PeerInfo::from(&peer));
                tokio::spawn(tell_direct(peer, stdout.clone()));
                out
            }
            Event::PeerRemoved(peer) => Out::PeerRemoved { id: peer.id().to_string() },
            Event::SeedUnreachable { error, .. } => Out::Error { message: error.to_string() },
            Event::Missed(count) => Out::Error { message: format!("{count} events were missed") },
            _ => continue,
        };
        if !stdout.write(out.line()).await {
            return;
        }
    }
}

async fn tell_direct(peer: Peer, stdout: Stdout) {
    let from = peer.id().to_string();
    while let Some(data) = peer.recv().await {
        let out = Out::Direct { from: from.clone(), payload: (&data).into() };
        if !stdout.write(out.line()).await {
            return;
        }
    }
}

async fn tell_messages(mut broadcast: Broadcast, stdout: Stdout) {
    while let Some(first) = broadcast.recv().await {
        let mut lines = Vec::new();
        let mut next = Some(first);
        // All that is there in one write, up to a bound.
        while let Some(incoming) = next {
            let out = match incoming {
                Incoming::Message { from, seq, data } => {
                    Out::Message { from: from.to_string(), seq, payload: (&data).into() }
                }
                Incoming::Gap { from, missed } => Out::Gap { from: from.to_string(), missed },
            };
            lines.extend(out.line());
            next = if lines.len() < 64 * 1024 { broadcast.try_recv() } else { None };
        }
        if !stdout.write(lines).await {
            return;
        }
    }
}

/// Carries out the commands until `stop`. The end of input does not end the node.
async fn obey(node: &Node, stdout: &Stdout) {
    let mut lines = io::stdin_lines(MAX_LINE);
    let mut directs = Directs { queues: BTreeMap::new(), stdout: stdout.clone() };
    let broadcast = node.broadcast().sender();
    let mut number = 0_u64;
    while let Some(line) = lines.recv().await {
        number += 1;
        let (command, shown) = match &line {
            Line::Text(text) if text.trim_ascii().is_empty() => continue,
            Line::Text(text) => (In::parse(text), excerpt(text)),
            Line::TooLong(length) => {
                (Err(format!("it has {length} bytes, the limit is {MAX_LINE}")), String::new())
            }
        };
        let problem = match command {
            Ok(In::Stop) => return,
            Ok(In::Broadcast(data)) => broadcast.send(data).await.err().map(|error| error.to_string()),
            Ok(In::Direct { to, data }) => directs.send(node, &to, data),
            Ok(In::AddPeer { address, port }) => {
                add_peer(node.clone(), &address, port, number, stdout.clone());
                None
            }
            Ok(In::ClosePeer { id }) => match neighbour(node, &id) {
                Ok(peer) => {
                    peer.close();
                    None
                }
                Err(problem) => Some(problem),
            },
            Ok(In::Peers) => {
                let peers = node.peers().list().iter().map(PeerInfo::from).collect();
                stdout.write(Out::Peers { peers }.line()).await;
                None
            }
            Err(problem) => Some(format!("{problem}: {shown}")),
        };
        if let Some(problem) = problem {
            stdout.write(Out::Error { message: format!("line {number}: {problem}") }.line()).await;
        }
    }
    std::future::pending::<()>().await;
}

fn neighbour(node: &Node, id: &str) -> Result<Peer, String> {
    let known: NodeId = id.parse().map_err(|error: smokesignal::ParseNodeIdError| error.to_string())?;
    node.peers()
        .get(&known)
        .ok_or_else(|| format!("{id} is not a neighbour now; `peers` lists those who are"))
}

fn add_peer(node: Node, address: &str, port: u16, number: u64, stdout: Stdout) {
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let target = if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") };
    tokio::spawn(async move {
        if let Err(error) = node.add_peer(target).await {
            drop(node);
            stdout.write(Out::Error { message: format!("line {number}: {error}") }.line()).await;
        }
    });
}

/// Direct messages on their way: one queue and task per peer, so that a slow one holds up nobody else.
struct Directs {
    queues: BTreeMap<NodeId, Queue>,
    stdout: Stdout,
}

struct Queue {
    peer: Peer,
    waiting: Arc<AtomicUsize>,
    sender: mpsc::UnboundedSender<Bytes>,
}

impl Directs {
    /// Queues a message, or says why not.
    fn send(&mut self, node: &Node, to: &str, data: Bytes) -> Option<String> {
        let peer = match neighbour(node, to) {
            Ok(peer) => peer,
            Err(problem) => return Some(problem),
        };
        self.queues.retain(|_, queue| !queue.peer.is_closed());
        let stdout = self.stdout.clone();
        let queue = self.queues.entry(peer.id()).or_insert_with(|| open_queue(peer, stdout));
        let size = data.len();
        if queue.waiting.load(Ordering::Relaxed) + size > DIRECT_QUEUE {
            return Some(format!(
                "{to} reads too slowly: {DIRECT_QUEUE} bytes wait for it already; try again later"
            ));
        }
        queue.waiting.fetch_add(size, Ordering::Relaxed);
        queue.sender.send(data).is_err().then(|| format!("the link to {to} is gone"))
    }
}

fn open_queue(peer: Peer, stdout: Stdout) -> Queue {
    let (sender, mut receiver) = mpsc::unbounded_channel::<Bytes>();
    let waiting = Arc::new(AtomicUsize::new(0));
    let (to, left) = (peer.clone(), Arc::clone(&waiting));
    tokio::spawn(async move {
        while let Some(data) = receiver.recv().await {
            let size = data.len();
            if let Err(error) = to.send(data).await {
                let message =
                    format!("a direct message of {size} bytes to {} was not sent: {error}", to.id());
                stdout.write(Out::Error { message }.line()).await;
            }
            left.fetch_sub(size, Ordering::Relaxed);
        }
    });
    Queue { peer, waiting, sender }
}
