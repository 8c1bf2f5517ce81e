//! `smokesignal chat`: people talk, one line is one message.

mod editor;
mod message;
mod names;
mod session;

use std::io::IsTerminal as _;

use smokesignal::Node;
use tokio::sync::mpsc::Receiver;

use self::message::NAME_LENGTH;
use self::session::Session;
use crate::direct;
use crate::leave;
use crate::options::{self, JoinArgs};
use crate::outcome::{Exit, Failure, block_on};
use crate::output::Output;
use crate::signals::Signals;

/// Talk to everyone in the network
///
/// /peers shows the neighbours, /msg NAME TEXT writes to one node alone, /help shows all commands. On a terminal there
/// is a line editor; otherwise stdin is read line by line and incoming lines go to stdout.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    join: JoinArgs,
    /// What the others call you; without it your user name
    #[arg(long, env = "SMOKESIGNAL_NAME")]
    name: Option<String>,
}

/// What the person does.
#[derive(Debug)]
enum Input {
    Line(String),
    /// Ctrl-D, or the end of a file.
    End,
    /// Ctrl-C at the prompt.
    Interrupt,
    Failed(String),
}

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    block_on(chat(args))
}

async fn chat(args: Args) -> Result<Exit, Failure> {
    let mut signals = Signals::install()?;
    let node = args.join.node()?;
    let name = own_name(args.name, &node)?;
    let (events, broadcast) = (node.events(), node.broadcast());
    let acceptor = direct::accept(&node)?;
    node.start().await?;

    // Only now: an error of `start` is better read without a prompt.
    let (input, output) = if is_interactive() { editor::start()? } else { editor::plain() };
    welcome(&node, &name, &args.join)?;
    let session = Session::new(&node, name, acceptor, broadcast.sender(), output.clone());
    let outcome = tokio::select! {
        () = signals.next() => Ok(Exit::Interrupted),
        closed = output.closed() => closed.map(|()| Exit::Done),
        ended = session.talk(input, events, broadcast) => ended,
    };
    leave::leave(&node, &mut signals).await;
    leave::flush(&output, outcome.as_ref().copied().unwrap_or(Exit::Interrupted), &mut signals).await;
    outcome
}

/// A line editor needs a terminal on both sides.
fn is_interactive() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !dumb
}

/// As given, or the user's, or the beginning of the id.
fn own_name(given: Option<String>, node: &Node) -> Result<String, Failure> {
    if let Some(given) = given {
        let name = message::clean_name(&given);
        return name.filter(|name| *name == given).ok_or_else(|| {
            Failure::Usage(format!(
                "`{}` is not a name; use 1 to {NAME_LENGTH} visible characters without spaces",
                message::clean_text(&given)
            ))
        });
    }
    let user = std::env::var("USER").or_else(|_| std::env::var("USERNAME")).unwrap_or_default();
    Ok(message::clean_name(&user).unwrap_or_else(|| node.id().short()))
}

/// Says how a second terminal joins, ready to be copied.
fn welcome(node: &Node, name: &str, join: &JoinArgs) -> Result<(), Failure> {
    let address = options::listening(node)?;
    notice!("you are {name}, listening on {address} as {}", node.id());
    let program = std::env::args().next().unwrap_or_else(|| "smokesignal".to_owned());
    let secret = match &join.network_secret_file {
        Some(file) => format!(" --network-secret-file {}", file.display()),
        None => String::new(),
    };
    match address.ip().is_unspecified() {
        false => notice!("to join, type in another terminal: {program} chat --seed {address}{secret}"),
        true => notice!(
            "to join, type elsewhere: {program} chat --seed ADDRESS-OF-THIS-MACHINE:{}{secret}",
            address.port()
        ),
    }
    notice!("/help shows the commands");
    Ok(())
}

/// Where lines come from, and where those of the others go.
type Console = (Receiver<Input>, Output);
