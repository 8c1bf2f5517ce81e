//! `smokesignal chat`: people write to each other, one message per line.
//!
//! [`editor`] turns the keyboard or stdin into [`Input`]s, and [`session`] handles them together
//! with messages and events of the network. [`message`] encodes what is sent and removes from what
//! arrives everything that could control a terminal. [`names`] keeps which node goes by which name.
//!
//! The lines of others are data, and everything else (new neighbours, help, errors) is a notice. So
//! without a terminal, stdout holds nothing but what others wrote. The exit code is 0 after `/quit`
//! or the end of the input, when the reader of stdout is gone and after SIGTERM; it is 130 after
//! Ctrl-C.

mod editor;
mod message;
mod names;
mod session;

use std::io::IsTerminal as _;

use smokesignal::Node;

use self::message::NAME_LENGTH;
use self::session::Session;
use crate::direct;
use crate::leave;
use crate::options::{self, JoinArgs};
use crate::outcome::{Exit, Failure, block_on};
use crate::signals::Signals;

/// Chat with everyone in the network
///
/// Each line that you type goes to everyone. /peers lists the neighbours, /msg WHO TEXT writes to
/// one node, /help lists all commands, /quit leaves. On a terminal, chat has a line editor;
/// otherwise it sends the lines of stdin and prints those of the others to stdout.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example, in two terminals:
  smokesignal chat --port 8495 --name ann
  smokesignal chat --seed 127.0.0.1:8495 --name bob")]
pub(crate) struct Args {
    /// Use this name, 1 to 32 characters without spaces. Default: your user name
    #[arg(long, env = "SMOKESIGNAL_NAME")]
    name: Option<String>,
    #[command(flatten)]
    join: JoinArgs,
}

/// Runs the session on an event loop of its own.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    block_on(chat(args))
}

/// Starts the node, runs the session until it ends in one of three ways (the person leaves, a
/// signal arrives, or the reader of stdout is gone), and leaves the network.
async fn chat(args: Args) -> Result<Exit, Failure> {
    let mut signals = Signals::install()?;
    let node = args.join.node()?;
    let name = own_name(args.name, &node)?;
    let (events, broadcast) = (node.events(), node.broadcast());
    let acceptor = direct::accept(&node)?;
    node.start().await?;

    // After `start`, because its error is better read without a prompt.
    let (input, output) = if is_interactive() { editor::start()? } else { editor::plain() };
    welcome(&node, &name, &args.join)?;
    let session = Session::new(&node, name, acceptor, broadcast.sender(), output.clone());
    let outcome = tokio::select! {
        exit = signals.next() => Ok(exit),
        closed = output.closed() => closed.map(|()| Exit::Done),
        ended = session.talk(input, events, broadcast) => ended,
    };
    let exit = outcome.as_ref().copied().unwrap_or(Exit::Interrupted);
    let stopped = leave::leave(&node, exit, &mut signals).await;
    if !stopped.is_complete() {
        notice!("{stopped}");
    }
    leave::flush(&output, exit, &mut signals).await;
    outcome
}

/// Returns whether a line editor works: it needs a terminal for both input and output, and one that
/// can move its cursor. Without `TERM`, or with `TERM=dumb` (the shell of some editors), it cannot.
fn is_interactive() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !dumb
}

/// Returns the given name, or else the user's name, or else the beginning of the id.
///
/// A given name that would be shown in another form is refused: a person should not appear under a
/// name they did not choose. The user's name was not chosen for this, so it is adapted instead.
fn own_name(given: Option<String>, node: &Node) -> Result<String, Failure> {
    if let Some(given) = given {
        let name = message::clean_name(&given);
        return name.filter(|name| *name == given).ok_or_else(|| {
            Failure::Usage(format!(
                "--name `{}` cannot be shown to others; use 1 to {NAME_LENGTH} visible characters without spaces",
                message::clean_text(&given)
            ))
        });
    }
    let user = std::env::var("USER").or_else(|_| std::env::var("USERNAME")).unwrap_or_default();
    Ok(message::clean_name(&user).unwrap_or_else(|| node.id().short()))
}

/// Prints the command with which a second terminal joins, ready to be copied.
fn welcome(node: &Node, name: &str, join: &JoinArgs) -> Result<(), Failure> {
    let address = options::listening(node)?;
    notice!("you are {name}, listening on {address} as {}", node.id());
    // As it was called here, so that the line also works for a program that is not on the PATH.
    let program = std::env::args().next().unwrap_or_else(|| "smokesignal".to_owned());
    let secret = match &join.network_secret_file {
        Some(file) => format!(" --network-secret-file {}", file.display()),
        None => String::new(),
    };
    // Nobody can dial 0.0.0.0; the person has to insert an address that others can reach.
    match address.ip().is_unspecified() {
        false => notice!("to join from another terminal: {program} chat --seed {address}{secret}"),
        true => notice!(
            "to join from elsewhere: {program} chat --seed ADDRESS-OF-THIS-MACHINE:{}{secret}",
            address.port()
        ),
    }
    notice!("/help lists the commands");
    Ok(())
}
