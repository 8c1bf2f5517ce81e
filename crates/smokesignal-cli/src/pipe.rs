//! `pipe`: stdin to everyone, everyone to stdout.

use bytes::Bytes;
use smokesignal::{Broadcast, BroadcastSender, Event, Events, Incoming, Node, NodeId, Peer, SendError};

use crate::io::{self, Line, Stdout};
use crate::options::{self, Failure, JoinArgs};

/// A line above this is refused: the largest message.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// Options of `pipe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    join: JoinArgs,
    /// One line is one message, and one message is printed as one line.
    #[arg(long)]
    lines: bool,
    /// Talk to this node instead of everyone. It has to be a neighbour; the command waits for it.
    #[arg(long, value_name = "ID")]
    to: Option<NodeId>,
    /// Stay after the end of input. Without it the command then hands over what it read, leaves and exits; only a
    /// command without any input stays as a listener.
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let node = args.join.node()?;
    if args.to == Some(node.id()) {
        return Err(Failure::Usage(format!("--to {} is this node itself; name another node", node.id())));
    }
    let (mut events, broadcast) = (node.events(), node.broadcast());
    options::start(&node).await?;
    let (stdout, written) = Stdout::open();
    let outcome = {
        let interrupted = options::interrupted();
        tokio::select! {
            outcome = copy(&args, &node, &mut events, broadcast, &stdout) => outcome,
            () = interrupted => Err(Failure::Interrupted),
            () = stdout.closed() => Ok(()),
        }
    };
    node.stop().await;
    drop(stdout);
    written.wait().await;
    outcome
}

/// Both directions, until the end of input or of the stream.
async fn copy(
    args: &Args,
    node: &Node,
    events: &mut Events,
    broadcast: Broadcast,
    stdout: &Stdout,
) -> Result<(), Failure> {
    let Some(to) = args.to else {
        let sender = Way::Everyone(broadcast.sender());
        let sending = async {
            wait_for(events, None).await;
            tokio::select! {
                outcome = send_all(args, &sender) => outcome,
                () = notices(events) => Ok(false),
            }
        };
        return both(args, sending, receive(broadcast, args.lines, stdout)).await;
    };
    drop(broadcast); // What is said to everyone is not asked for.
    eprintln!("smokesignal: waiting for {} to be a neighbour", to.short());
    let Some(peer) = node.peers().get(&to).or(wait_for(events, Some(to)).await) else { return Ok(()) };
    let way = Way::One(peer.clone());
    tokio::select! {
        outcome = both(args, send_all(args, &way), receive_from(&peer, args.lines, stdout)) => outcome,
        () = notices(events) => Ok(()),
    }
}

/// The command ends with its input, if there was any, or when nothing more can come.
async fn both(
    args: &Args,
    sending: impl Future<Output = Result<bool, Failure>>,
    receiving: impl Future<Output = ()>,
) -> Result<(), Failure> {
    tokio::pin!(sending, receiving);
    tokio::select! {
        sent = &mut sending => {
            if !sent? || args.keep {
                receiving.await;
            }
        }
        () = &mut receiving => {}
    }
    Ok(())
}

/// Waits for the first peer, or for this one.
async fn wait_for(events: &mut Events, to: Option<NodeId>) -> Option<Peer> {
    while let Some(event) = events.recv().await {
        if let Some(text) = options::describe(&event) {
            eprintln!("smokesignal: {text}");
        }
        match (event, to) {
            (Event::PeerAdded(peer), Some(to)) if peer.id() == to => return Some(peer),
            (Event::PeerAdded(peer), None) => return Some(peer),
            _ => {}
        }
    }
    None
}

async fn notices(events: &mut Events) {
    while let Some(event) = events.recv().await {
        if let Some(text) = options::describe(&event) {
            eprintln!("smokesignal: {text}");
        }
    }
}

enum Way {
    Everyone(BroadcastSender),
    One(Peer),
}

impl Way {
    async fn send(&self, data: Bytes) -> Result<(), SendError> {
        match self {
            Self::Everyone(sender) => sender.send(data).await,
            Self::One(peer) => peer.send(data).await,
        }
    }
}

/// Sends all of stdin and says whether there was anything.
async fn send_all(args: &Args, way: &Way) -> Result<bool, Failure> {
    let mut any = false;
    if args.lines {
        let mut lines = io::stdin_lines(MAX_LINE);
        let mut number = 0_u64;
        while let Some(line) = lines.recv().await {
            number += 1;
            any = true;
            match line {
                Line::Text(text) => way.send(text.into()).await.map_err(Failure::failed)?,
                Line::TooLong(length) => {
                    eprintln!(
                        "smokesignal: line {number} has {length} bytes, the limit is {MAX_LINE}; it is skipped"
                    );
                }
            }
        }
    } else {
        let mut chunks = io::stdin_chunks();
        while let Some(chunk) = chunks.recv().await {
            any = true;
            way.send(chunk.into()).await.map_err(Failure::failed)?;
        }
    }
    if let (Way::One(peer), true) = (way, any) {
        let mut peer = peer.clone();
        tokio::io::AsyncWriteExt::flush(&mut peer).await.map_err(Failure::failed)?;
    }
    Ok(any)
}

async fn receive(mut broadcast: Broadcast, lines: bool, stdout: &Stdout) {
    while let Some(incoming) = broadcast.recv().await {
        match incoming {
            Incoming::Message { data, .. } => {
                if !print(&data, lines, stdout).await {
                    return;
                }
            }
            Incoming::Gap { from, missed } => {
                eprintln!("smokesignal: {missed} messages of {from} were missed");
            }
        }
    }
}

async fn receive_from(peer: &Peer, lines: bool, stdout: &Stdout) {
    while let Some(data) = peer.recv().await {
        if !print(&data, lines, stdout).await {
            return;
        }
    }
    eprintln!("smokesignal: the stream with {} has ended", peer.id().short());
}

async fn print(data: &[u8], lines: bool, stdout: &Stdout) -> bool {
    let mut bytes = data.to_vec();
    if lines {
        bytes.push(b'\n');
    }
    stdout.write(bytes).await
}
