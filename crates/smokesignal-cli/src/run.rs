//! `smokesignal run --json`: the network for a program in any language, one JSON object per line.
//!
//! [`commands`] reads commands from stdin and executes them. [`events`] prints what happens to the
//! node, and this file prints the messages that arrive. [`wire`] defines the JSON. All of them run
//! at the same time and print through one [`Emitter`], so that lines are never mixed. The command
//! ends with the JSON command `stop`, a signal, or a closed stdout, but not with the end of stdin.
//!
//! A command that fails is answered with an `error` event and changes nothing else; the process
//! itself fails (exit code 1) only if the node cannot be started, stops unexpectedly, or stdout
//! cannot be written. `stop` and a closed stdout exit with 0, a signal with 130. If the reader of
//! stdout is slow, printing waits, and messages wait in the node; those for which there is no room
//! there are lost, and a `gap` is printed in their place.

mod commands;
mod events;
mod wire;

use smokesignal::{Broadcast, Events, Incoming};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::commands::Commands;
use self::wire::{Emitter, JsonEvent, Payload, StoppedInfo};
use crate::direct::{self, DirectMessage};
use crate::leave::{self, if_ready};
use crate::options::{self, JoinArgs};
use crate::outbox::Unsent;
use crate::outcome::{Exit, Failure, block_on};
use crate::output::Output;
use crate::signals::Signals;

/// Direct messages and failed writes that may wait to be printed; then their senders wait. A guess.
const WAITING: usize = 64;

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

Events: listening, connect, disconnect, peer_added, peer_removed, message, gap, end, restarted,
direct, netsplit, netsplit_resolved, peers, metrics, stopped, error"#)]
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

    let (reports, mut unsent) = mpsc::channel(WAITING);
    let (received, mut direct) = mpsc::channel(WAITING);
    tokio::spawn(direct::receive(acceptor, received.clone()));
    let sender = broadcast.sender();
    let messages = tokio::spawn(emit_messages(broadcast, emitter.clone()));
    let commands = Commands::new(&node, sender, emitter.clone(), reports, received);
    let commands = commands.with_patience(args.join.leave_timeout);
    // The first branch that ends decides how the command ends. Those that print never end by
    // themselves.
    let outcome = tokio::select! {
        () = signals.next() => Ok(Exit::Interrupted),
        closed = output.closed() => closed.map(|()| Exit::Done),
        // Ends with the JSON command `stop`.
        () = commands.run() => Ok(Exit::Done),
        () = events::emit_all_direct(&mut direct, &emitter) => Ok(Exit::Done),
        () = events::emit_all(&mut events, &emitter) => Err(Failure::node_stopped()),
        () = commands::emit_all_unsent(&mut unsent, &emitter) => Ok(Exit::Done),
    };
    let exit = outcome.as_ref().copied().unwrap_or(Exit::Interrupted);
    let stopped = leave::leave(&node, exit, &mut signals).await;
    // After a signal or a failure the rest is not worth waiting for.
    if exit == Exit::Done {
        signals.or_exit(finish(messages, &mut unsent, &mut direct, &mut events, &emitter)).await;
        signals.or_exit(emitter.emit(&JsonEvent::Stopped(StoppedInfo::of(&stopped)))).await;
    }
    leave::flush(&output, exit, &mut signals).await;
    match exit {
        Exit::Done if !stopped.is_complete() && !output.is_closed() => {
            Err(Failure::Failed(stopped.to_string()))
        }
        _ => outcome,
    }
}

/// Prints what is left after the node has stopped: messages that had arrived before, messages that
/// could not be sent, and the events of stopping.
async fn finish(
    messages: JoinHandle<()>,
    unsent: &mut mpsc::Receiver<Unsent>,
    direct: &mut mpsc::Receiver<DirectMessage>,
    events: &mut Events,
    emitter: &Emitter,
) {
    if let Err(error) = messages.await {
        notice!("the reading task failed: {error}");
    }
    // The senders of these channels may live on in tasks, so the channels never close: print what
    // is there now.
    while let Some(Some(report)) = if_ready(unsent.recv()).await {
        commands::emit_unsent(report, emitter).await;
    }
    while let Some(Some((from, data))) = if_ready(direct.recv()).await {
        events::emit_direct(from, &data, emitter).await;
    }
    while let Some(Some(event)) = if_ready(events.recv()).await {
        events::emit(event, emitter).await;
    }
}

/// Prints all messages and gaps, until the node has stopped.
async fn emit_messages(mut broadcast: Broadcast, emitter: Emitter) {
    while let Some(incoming) = broadcast.recv().await {
        match incoming {
            Incoming::Message { from, seq, data } => {
                let from = from.to_string();
                emitter.emit(&JsonEvent::Message { from, seq, payload: Payload::of(&data) }).await;
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
