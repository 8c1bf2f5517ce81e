//! `smokesignal pipe`: stdin goes to everyone (or to one node), and what everyone (or that node)
//! sends goes to stdout.
//!
//! Two tasks run at the same time. The print task writes to stdout until the node has stopped. The
//! write task waits for somebody to write to, and only then reads stdin, so that nothing is read
//! that cannot be sent. [`everyone`] and [`one`] start these tasks; this file waits for their end.
//! With `--until-end` there is only the print task, which follows one writer ([`whole`]).
//!
//! The exit code is 0 when stdin has ended and the neighbours have read everything, when the stream
//! that `--until-end` follows has arrived as a whole, and when the reader of stdout is gone. It is
//! 1 when stdin could not be read or sent completely (lines above 16 MiB are skipped and counted),
//! when somebody has not read everything, or nobody was there, and when that stream is not whole;
//! and 130 after SIGINT. SIGTERM ends it with 0, or with 1 in the last two of these cases.
//! Otherwise gaps in what others wrote are reported on stderr, and do not change it.

mod everyone;
mod one;
mod progress;
mod whole;

use std::io;

use smokesignal::{NodeId, Stopped};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

use self::progress::Progress;
use crate::direct;
use crate::input;
use crate::leave;
use crate::lines::Line;
use crate::options::{self, JoinArgs, MAX_MESSAGE};
use crate::outcome::{Exit, Failure, block_on};
use crate::output::Output;
use crate::signals::Signals;

/// Send stdin to everyone and print what the others send
///
/// Reads stdin only once connected. At the end of stdin, waits until the neighbours have read all
/// of it, leaves the network, and ends with 0; it ends with 1 if they have not, or nobody was
/// there. If stdin was empty (</dev/null), goes on printing until interrupted.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  journalctl -f | smokesignal pipe --lines --port 8495
  smokesignal pipe --lines --seed 127.0.0.1:8495 </dev/null >messages
  smokesignal pipe --port 8495 --until-end | tar x
  tar c DIR | smokesignal pipe --seed 127.0.0.1:8495")]
pub(crate) struct Args {
    /// Send each line of stdin as one message, and print each message as a line
    ///
    /// A line may have 16 MiB at most, and is sent without its newline, so the readers need this
    /// option, too. Without it, bytes are sent and printed as they arrive.
    #[arg(long)]
    lines: bool,
    /// Send to this node only, neighbour or not, and print only what it sends
    #[arg(long, value_name = "ID")]
    to: Option<NodeId>,
    /// Go on printing after the end of stdin
    #[arg(long)]
    keep: bool,
    /// Print what one node sends, up to its end, and do not read stdin
    ///
    /// The node is the first one that something arrives from. Ends with 0 if nothing was missed,
    /// otherwise with 1; also with 1 if the stream has begun and not ended, and this node has had
    /// no peer for --leave-timeout.
    #[arg(long, conflicts_with_all = ["to", "keep"])]
    until_end: bool,
    /// The node whose end --until-end waits for
    #[arg(long, value_name = "ID", requires = "until_end")]
    from: Option<NodeId>,
    /// Say on stderr how much was sent and received, and how fast
    ///
    /// On a terminal in one line, elsewhere with a line each second in which something has moved.
    #[arg(long)]
    progress: bool,
    #[command(flatten)]
    join: JoinArgs,
}

/// Runs `pipe` on an event loop of its own.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    block_on(pipe(args))
}

/// Starts the node and both tasks, and waits for the end of the write task, a signal, or the end of
/// the reader of stdout.
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

    let framing = if args.lines { Framing::Lines } else { Framing::Bytes };
    let progress = Progress::default();
    let shown = args.progress.then(|| progress.show(node.clone()));
    let printer = Printer { framing, output: output.clone(), progress };
    let (printing, writing) = match direct {
        None if args.until_end => {
            whole::start(broadcast, events, printer, args.from, args.join.leave_timeout)
        }
        None => everyone::start(broadcast, events, printer, args.join.reader_timeout()),
        Some((id, acceptor)) => one::start(id, node.clone(), acceptor, events, printer),
    };
    let mut to_be_read = 0;
    let outcome = tokio::select! {
        exit = signals.next() => Ok(exit),
        // `| head` has read enough: a normal end.
        closed = output.closed() => closed.map(|()| Exit::Done),
        sent = until_sent(writing, args.keep) => sent.map(|messages| {
            to_be_read = if args.to.is_none() { messages } else { 0 };
            Exit::Done
        }),
    };
    // Also after a failure, so that the peers notice immediately. Meanwhile the print task goes on,
    // because messages may arrive until the node has stopped.
    let exit = outcome.as_ref().copied().unwrap_or(Exit::Interrupted);
    let stopped = leave::leave(&node, exit, &mut signals).await;
    // The events end with the last handle to the node, and so does a task that waits for a peer.
    drop(node);
    if let Some(shown) = &shown {
        shown.drop_node();
    }
    if exit == Exit::Done {
        signals.or_exit(printing.finished()).await;
    }
    leave::flush(&output, exit, &mut signals).await;
    if let Some(shown) = shown {
        shown.finish();
    }
    match outcome {
        Ok(Exit::Terminated) if args.until_end => {
            let text = "ended by SIGTERM before the end of the stream; what was printed is not whole";
            Err(Failure::Failed(text.to_owned()))
        }
        Ok(Exit::Terminated) if !stopped.is_complete() => Err(Failure::unread(&stopped)),
        _ if to_be_read > 0 => read_by(to_be_read, &stopped).and(outcome),
        _ => outcome,
    }
}

/// Tells a person who has read the messages. Fails unless somebody has, and nobody is behind.
fn read_by(messages: u64, stopped: &Stopped) -> Result<(), Failure> {
    let text = format!("{messages} messages sent; {stopped}");
    if stopped.is_complete() && stopped.confirmed > 0 {
        notice!("{text}");
        return Ok(());
    }
    Err(Failure::Failed(text))
}

/// Resolves to the number of messages when all of stdin has been sent, and with `--until-end` when
/// the end has been read. Never resolves after an empty stdin or with `keep`.
async fn until_sent(writing: JoinHandle<Result<Sent, Failure>>, keep: bool) -> Result<u64, Failure> {
    let sent =
        writing.await.map_err(|error| Failure::Failed(format!("the writing task failed: {error}")))??;
    if sent.is_whole {
        return Ok(0);
    }
    // An empty stdin means that the program was started to listen, for example in the background.
    if keep || (sent.messages == 0 && sent.too_long == 0) {
        notice!("stdin has ended; printing messages until interrupted");
        return std::future::pending().await;
    }
    match sent.too_long {
        0 => Ok(sent.messages),
        count => Err(Failure::Failed(format!(
            "{count} lines were longer than {MAX_MESSAGE} bytes and were not sent; split them"
        ))),
    }
}

/// Counts what has been read from stdin.
#[derive(Debug, Default)]
struct Sent {
    /// Messages sent.
    messages: u64,
    /// Lines skipped because a message cannot be that long.
    too_long: u64,
    /// stdin was not read, and the stream of another node has arrived as a whole.
    is_whole: bool,
}

/// Prints messages to stdout.
#[derive(Debug, Clone)]
struct Printer {
    framing: Framing,
    output: Output,
    progress: Progress,
}

impl Printer {
    /// Prints a message. Waits while the reader of stdout is slow.
    async fn print(&self, data: &[u8]) {
        self.progress.received(data.len());
        // One piece per message, newline included, so that two printing tasks never mix lines.
        let mut text = Vec::with_capacity(data.len() + 1);
        text.extend_from_slice(data);
        if self.framing == Framing::Lines {
            text.push(b'\n');
        }
        self.output.write(text).await;
    }
}

/// The task that prints messages.
struct PrintTask(JoinHandle<()>);

impl PrintTask {
    /// Resolves when the node has stopped and every message that had arrived is handed to the
    /// output.
    async fn finished(self) {
        if let Err(error) = self.0.await {
            notice!("the printing task failed: {error}");
        }
    }
}

/// How stdin is divided into messages, and messages are joined on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// A line is a message.
    Lines,
    /// The boundaries of messages have no meaning.
    Bytes,
}

impl Framing {
    /// Starts to read stdin.
    fn input(self) -> Input {
        match self {
            Self::Lines => Input::Lines(input::lines(MAX_MESSAGE)),
            Self::Bytes => Input::Bytes(input::chunks()),
        }
    }
}

/// stdin as messages.
enum Input {
    Lines(Receiver<io::Result<Vec<Line>>>),
    Bytes(Receiver<io::Result<Vec<u8>>>),
}

impl Input {
    /// Returns the next messages, or `None` at the end. Counts and skips lines that are too long.
    async fn next(&mut self, sent: &mut Sent) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        let failed = |error| Failure::Failed(format!("cannot read stdin: {error}"));
        let lines = match self {
            Self::Lines(lines) => lines.recv().await.transpose().map_err(failed)?,
            Self::Bytes(chunks) => {
                let chunk = chunks.recv().await.transpose().map_err(failed)?;
                return Ok(chunk.map(|chunk| vec![chunk]));
            }
        };
        let whole = |line| match line {
            Line::Whole { bytes, .. } => Some(bytes),
            Line::TooLong { number, .. } => {
                sent.too_long += 1;
                notice!("line {number} is longer than {MAX_MESSAGE} bytes and was skipped");
                None
            }
        };
        Ok(lines.map(|lines| lines.into_iter().filter_map(whole).collect()))
    }
}
