//! `smokesignal run --json`: the network for any language, one JSON object per line.

mod commands;
mod events;
mod wire;

use smokesignal::{Broadcast, Events, Incoming};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::commands::Commands;
use self::wire::{Emitter, Payload, Report};
use crate::direct::{self, Received};
use crate::leave::{self, if_ready};
use crate::options::{self, JoinArgs};
use crate::outbox::Unsent;
use crate::outcome::{Exit, Failure, block_on};
use crate::output::Output;
use crate::signals::Signals;

/// Failed writes that wait to be reported; then only the outboxes concerned wait. A guess.
const REPORTS: usize = 64;

/// Be a node for a program in any language: JSON lines in and out
///
/// In: {"cmd":"broadcast","data":"hi"}, direct, add_peer, close_peer, peers, stop. Out: {"event":"listening",...}
/// first, then message, gap, direct, peer_added, ... Every bad line is answered with an error event.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    join: JoinArgs,
    /// Speak JSON lines; there is no other way yet
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    if !args.json {
        let text = "`run` speaks JSON lines only; say so: smokesignal run --json";
        return Err(Failure::Usage(text.to_owned()));
    }
    block_on(serve(args))
}

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
        .emit(&Report::Listening { id: node.id().to_string(), address: address.ip(), port: address.port() })
        .await;

    let (reports, mut unsent) = mpsc::channel(REPORTS);
    let (received, mut direct) = mpsc::channel(REPORTS);
    tokio::spawn(direct::receive(acceptor, received.clone()));
    let sender = broadcast.sender();
    let messages = tokio::spawn(emit_messages(broadcast, emitter.clone()));
    let outcome = tokio::select! {
        () = signals.next() => Ok(Exit::Interrupted),
        closed = output.closed() => closed.map(|()| Exit::Done),
        // The command `stop`.
        () = Commands::new(&node, sender, emitter.clone(), reports, received).obey() => Ok(Exit::Done),
        () = events::emit_all_direct(&mut direct, &emitter) => Ok(Exit::Done),
        () = events::emit_all(&mut events, &emitter) => Err(Failure::Failed("the node stopped by itself".to_owned())),
        () = commands::emit_all_unsent(&mut unsent, &emitter) => Ok(Exit::Done),
    };
    leave::leave(&node, &mut signals).await;
    let exit = outcome.as_ref().copied().unwrap_or(Exit::Interrupted);
    if exit == Exit::Done {
        signals.or_exit(finish(messages, &mut unsent, &mut direct, &mut events, &emitter)).await;
    }
    leave::flush(&output, exit, &mut signals).await;
    outcome
}

/// What had arrived before the node stopped, what could not be sent, and the events of stopping.
async fn finish(
    messages: JoinHandle<()>,
    unsent: &mut mpsc::Receiver<Unsent>,
    direct: &mut mpsc::Receiver<Received>,
    events: &mut Events,
    emitter: &Emitter,
) {
    if let Err(error) = messages.await {
        notice!("the reading task failed: {error}");
    }
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

async fn emit_messages(mut broadcast: Broadcast, emitter: Emitter) {
    while let Some(incoming) = broadcast.recv().await {
        match incoming {
            Incoming::Message { from, seq, data } => {
                let from = from.to_string();
                emitter.emit(&Report::Message { from, seq, payload: Payload::of(&data) }).await;
            }
            Incoming::Gap { from, missed } => {
                emitter.emit(&Report::Gap { from: from.to_string(), missed }).await;
            }
        }
    }
}
