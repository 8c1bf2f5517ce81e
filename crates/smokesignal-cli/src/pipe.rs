//! `smokesignal pipe`: stdin to everyone (or one node), everyone (or that node) to stdout.

mod everyone;
mod one;

use std::io;

use smokesignal::NodeId;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

use crate::direct;
use crate::input;
use crate::leave;
use crate::lines::Line;
use crate::options::{self, JoinArgs, MAX_MESSAGE};
use crate::outcome::{Exit, Failure, block_on};
use crate::output::Output;
use crate::signals::Signals;

/// Send stdin to everyone and print what everyone sends
///
/// Reads stdin only once connected. Leaves at the end of the input when all of it is sent; without any input
/// (</dev/null) it goes on to listen.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    join: JoinArgs,
    /// One line is one message; without it bytes are passed on as they come
    #[arg(long)]
    lines: bool,
    /// Write to and read from this node only, wherever it is
    #[arg(long, value_name = "ID")]
    to: Option<NodeId>,
    /// Go on to listen after the end of the input
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    block_on(pipe(args))
}

async fn pipe(args: Args) -> Result<Exit, Failure> {
    let mut signals = Signals::install()?;
    let node = args.join.node()?;
    let (events, broadcast) = (node.events(), node.broadcast());
    let direct = match args.to {
        Some(id) => Some((id, direct::accept(&node)?)),
        None => None,
    };
    node.start().await?;
    let output = Output::stdout();
    notice!("listening on {} as {}", options::listening(&node)?, node.id());

    let style = Style { lines: args.lines };
    let (reading, writing) = match direct {
        None => everyone::start(broadcast, events, style, output.clone()),
        Some((id, acceptor)) => one::start(id, node.clone(), acceptor, events, style, output.clone()),
    };
    let outcome = tokio::select! {
        () = signals.next() => Ok(Exit::Interrupted),
        closed = output.closed() => closed.map(|()| Exit::Done),
        sent = until_sent(writing, args.keep) => sent.map(|()| Exit::Done),
    };
    // Also after a failure: the others are told.
    leave::leave(&node, &mut signals).await;
    // Without the node the events end, and with them whoever waits for a peer.
    drop(node);
    let exit = outcome.as_ref().copied().unwrap_or(Exit::Interrupted);
    if exit == Exit::Done {
        signals.or_exit(reading.until_end()).await;
    }
    leave::flush(&output, exit, &mut signals).await;
    outcome
}

/// Resolves when the program has done its work: the input has ended, and there was some.
async fn until_sent(writing: JoinHandle<Result<Sent, Failure>>, keep: bool) -> Result<(), Failure> {
    let sent =
        writing.await.map_err(|error| Failure::Failed(format!("the writing task failed: {error}")))??;
    if keep || (sent.messages == 0 && sent.too_long == 0) {
        notice!("end of input; listening until interrupted");
        return std::future::pending().await;
    }
    match sent.too_long {
        0 => Ok(()),
        count => Err(Failure::Failed(format!(
            "{count} lines were longer than the limit of {MAX_MESSAGE} bytes and were not sent; split them"
        ))),
    }
}

/// What was done with stdin.
#[derive(Debug, Default)]
struct Sent {
    messages: u64,
    /// Lines longer than a message may be; they were skipped.
    too_long: u64,
}

/// The task that prints what arrives.
struct Reading(JoinHandle<()>);

impl Reading {
    /// It ends when the node has stopped and all that had arrived is handed to the output.
    async fn until_end(self) {
        if let Err(error) = self.0.await {
            notice!("the reading task failed: {error}");
        }
    }
}

/// Whether a message is a line.
#[derive(Debug, Clone, Copy)]
struct Style {
    lines: bool,
}

impl Style {
    fn printed(self, data: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(data.len() + 1);
        text.extend_from_slice(data);
        if self.lines {
            text.push(b'\n');
        }
        text
    }

    /// Starts to read stdin.
    fn input(self) -> Input {
        if self.lines { Input::Lines(input::lines(MAX_MESSAGE)) } else { Input::Chunks(input::chunks()) }
    }
}

enum Input {
    Lines(Receiver<io::Result<Vec<Line>>>),
    Chunks(Receiver<io::Result<Vec<u8>>>),
}

impl Input {
    /// The messages that come next, `None` at the end. Lines that are too long are counted and left out.
    async fn next(&mut self, sent: &mut Sent) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        let failed = |error| Failure::Failed(format!("cannot read stdin: {error}"));
        let lines = match self {
            Self::Lines(lines) => lines.recv().await.transpose().map_err(failed)?,
            Self::Chunks(chunks) => {
                let chunk = chunks.recv().await.transpose().map_err(failed)?;
                return Ok(chunk.map(|chunk| vec![chunk]));
            }
        };
        let whole = |line| match line {
            Line::Whole { bytes, .. } => Some(bytes),
            Line::TooLong { number, .. } => {
                sent.too_long += 1;
                notice!("line {number} is longer than the limit of {MAX_MESSAGE} bytes; it was skipped");
                None
            }
        };
        Ok(lines.map(|lines| lines.into_iter().filter_map(whole).collect()))
    }
}
