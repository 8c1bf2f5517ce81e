//! `smokesignal run --json`: the network for a program in any language, one JSON object per line.
//!
//! [`commands`] reads commands from stdin and executes them. [`events`] prints what happens to the
//! node, and this file prints the messages that arrive. [`parse`] defines the JSON that is read,
//! [`print`] the JSON that is printed. All of them run at the same time and print through one
//! [`Emitter`], so that lines are never mixed. The command ends with the JSON command `stop`, a
//! signal, or a closed stdout, but not with the end of stdin.
//!
//! A command that fails is answered with an `error` event and changes nothing else; one with a
//! `request` is always answered, also when it succeeds. The process itself fails (exit code 1) only
//! if the node cannot be started, stops unexpectedly, or stdout cannot be written. `stop`, a closed
//! stdout and SIGTERM exit with 0, SIGINT with 130. If the reader of stdout is slow, printing
//! waits, and messages wait in the node; those for which there is no room there are lost, and a
//! `gap` is printed in their place.

mod commands;
mod escape;
mod events;
mod parse;
mod print;

use std::time::Duration;

use smokesignal::{Broadcast, Events, Incoming, Stopped};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::commands::{Commands, Unanswered};
use self::print::{Emitter, JsonEvent, Payload, StoppedInfo};
use crate::direct::{self, DirectMessage};
use crate::leave::{self, if_ready};
use crate::options::{self, JoinArgs};
use crate::outbox::Report;
use crate::outcome::{Exit, Failure, block_on};
use crate::output::Output;
use crate::signals::Signals;

/// Direct messages and outcomes of writes that may wait to be printed; then their senders wait. A
/// guess.
const WAITING: usize = 64;
/// How long the end waits for the tasks that have a request to answer: the node has stopped, so
/// that they fail soon. A guess.
const ANSWERS: Duration = Duration::from_secs(3);

/// Run a node for a program in any language: JSON lines on stdin and stdout
///
/// Reads one command per line from stdin, and prints one event per line to stdout. The first event
/// is `listening`, with the id, address and port of the node. A bad line is answered with an
/// `error` event that names its number. The end of stdin does not end the node.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r#"Commands:
  {"cmd":"broadcast","data":"hello"}               to everyone; "base64" instead of "data" for bytes
  {"cmd":"direct","to":"ID","data":"hello"}        to one node of the network
  {"cmd":"add_peer","address":"HOST","port":8495}  connect to a node and keep it as a peer
  {"cmd":"close_peer","id":"ID"}                   close the link to a peer
  {"cmd":"peers"}                                  print the event `peers`
  {"cmd":"metrics"}                                print the event `metrics`
  {"cmd":"stop"}                                   send what is queued, leave the network, exit:
                                                   with 1 if somebody has not read all of it

Any command may carry "request": a number or a string. It is answered by one event `ok` or `error`
with the same "request" when it is done.

Events: listening, connect, disconnect, peer_added, peer_removed, message, gap, end, restarted,
direct, netsplit, netsplit_resolved, peers, metrics, stopped, ok, error"#)]
pub(crate) struct Args {
    /// Use JSON lines. Required, because there is no other format yet
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    join: JoinArgs,
}

/// Runs the node on an event loop of its own.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    if !args.json {
        let text = "--json is missing, and `run` has no other format; use: smokesignal run --json";
        return Err(Failure::Usage(text.to_owned()));
    }
    block_on(serve(args))
}

/// Starts the node, and lets all parts run until the first one ends the command.
async fn serve(args: Args) -> Result<Exit, Failure> {
    let mut signals = Signals::install()?;
    let node = args.join.node()?;
    let (mut events, broadcast) = (node.events(), node.broadcast());
    let acceptor = direct::accept(&node)?;
    node.start().await?;

    let output = Output::stdout();
    let emitter = Emitter::to(output.clone());
    let address = options::listening(&node)?;
    emitter
        .emit(&JsonEvent::Listening {
            id: node.id().to_string(),
            address: address.ip(),
            port: address.port(),
        })
        .await;

    let (reports, mut reported) = mpsc::channel(WAITING);
    let (received, mut direct) = mpsc::channel(WAITING);
    tokio::spawn(direct::receive(acceptor, received.clone()));
    let sender = broadcast.sender();
    let messages = tokio::spawn(emit_messages(broadcast, emitter.clone()));
    let commands = Commands::new(&node, sender, emitter.clone(), reports, received);
    let commands = commands.with_patience(args.join.leave_timeout);
    let mut unanswered = None;
    // The first branch that ends decides how the command ends. Those that print never end by
    // themselves.
    let outcome = tokio::select! {
        exit = signals.next() => Ok(exit),
        closed = output.closed() => closed.map(|()| Exit::Done),
        // Ends with the JSON command `stop`.
        left = commands.run() => {
            unanswered = Some(left);
            Ok(Exit::Done)
        }
        () = events::emit_all_direct(&mut direct, &emitter) => Ok(Exit::Done),
        () = events::emit_all(&mut events, &emitter) => Err(Failure::node_stopped()),
        () = commands::emit_all_reports(&mut reported, &emitter) => Ok(Exit::Done),
    };
    let exit = outcome.as_ref().copied().unwrap_or(Exit::Interrupted);
    let stopped = leave::leave(&node, exit, &mut signals).await;
    // After a signal or a failure the rest is not worth waiting for.
    if exit == Exit::Done {
        let waiting = Waiting { messages, reported, direct, events };
        signals.or_exit(finish(waiting, unanswered, &stopped, &emitter)).await;
    }
    leave::flush(&output, exit, &mut signals).await;
    match exit {
        Exit::Done if !stopped.is_complete() && !output.is_closed() => {
            Err(Failure::Failed(stopped.to_string()))
        }
        _ => outcome,
    }
}

/// The sources of what is printed after the node has stopped.
struct Waiting {
    messages: JoinHandle<()>,
    reported: mpsc::Receiver<Report>,
    direct: mpsc::Receiver<DirectMessage>,
    events: Events,
}

/// Prints what is left after the node has stopped: messages that had arrived before, the outcomes
/// of commands, the events of stopping, and at last what has become of what the node sent.
async fn finish(mut waiting: Waiting, unanswered: Option<Unanswered>, stopped: &Stopped, emitter: &Emitter) {
    if let Err(error) = waiting.messages.await {
        notice!("the reading task failed: {error}");
    }
    // The senders of these channels may live on in tasks, so the channels never close: print what
    // is there now.
    while let Some(Some(report)) = if_ready(waiting.reported.recv()).await {
        commands::emit_report(report, emitter).await;
    }
    while let Some(Some((from, data))) = if_ready(waiting.direct.recv()).await {
        events::emit_direct(from, &data, emitter).await;
    }
    while let Some(Some(event)) = if_ready(waiting.events.recv()).await {
        events::emit(event, emitter).await;
    }
    let Some(mut unanswered) = unanswered else {
        return emitter.emit(&JsonEvent::Stopped(StoppedInfo::of(stopped))).await;
    };
    if timeout(ANSWERS, answer_rest(&mut waiting.reported, &mut unanswered, emitter)).await.is_err() {
        tracing::warn!("some commands are not answered");
    }
    let event = JsonEvent::Stopped(StoppedInfo::of(stopped));
    emitter.emit_for(unanswered.stop.as_ref(), &event).await;
    if let Some(request) = unanswered.stop {
        let incomplete = || (!stopped.is_complete()).then(|| format!("stop: {stopped}"));
        let failure = unanswered.failure.or_else(incomplete);
        emitter.answer(Some(request), failure.map_or(Ok(()), Err)).await;
    }
}

/// Answers the commands that were not done when the node stopped, as far as they have a request.
/// For messages without one, the command `stop` has printed an error about all of them.
async fn answer_rest(reported: &mut mpsc::Receiver<Report>, unanswered: &mut Unanswered, emitter: &Emitter) {
    unanswered.links().await;
    // Ends with the last outbox.
    while let Some(report) = reported.recv().await {
        if report.ticket.request.is_some() {
            commands::emit_report(report, emitter).await;
        }
    }
}

/// Prints all messages and gaps, until the node has stopped.
async fn emit_messages(mut broadcast: Broadcast, emitter: Emitter) {
    while let Some(incoming) = broadcast.recv().await {
        match incoming {
            Incoming::Message { from, seq, data, age } => {
                let (from, age_ms) = (from.to_string(), age.as_millis() as u64);
                emitter.emit(&JsonEvent::Message { from, seq, age_ms, payload: Payload::of(&data) }).await;
            }
            Incoming::Gap { from, missed } => {
                emitter.emit(&JsonEvent::Gap { from: from.to_string(), missed }).await;
            }
            Incoming::End { from } => emitter.emit(&JsonEvent::End { from: from.to_string() }).await,
            Incoming::Restarted { from } => {
                emitter.emit(&JsonEvent::Restarted { from: from.to_string() }).await;
            }
        }
    }
}
