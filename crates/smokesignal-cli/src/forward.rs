//! `smokesignal forward`: makes a TCP port of one node reachable on another node.
//!
//! [`listen`] accepts TCP connections and opens a stream for each; [`serve`] accepts these streams
//! and connects each to the target. The name of a stream contains the target, `forward
//! 127.0.0.1:80`, and the serving side accepts only the names of targets that it allows. So the
//! side that has the port decides what can be reached.
//!
//! Both sides copy bytes in both directions until both directions have ended, and pass an end on as
//! an end and a broken connection as a reset. One process can do both at the same time. The command
//! runs until a signal ends it (exit code 130 after SIGINT, 0 after SIGTERM), and fails (1) if the
//! port cannot be opened.

mod listen;
mod serve;

use std::net::SocketAddr;

use clap::ArgGroup;
use smokesignal::NodeId;
use tokio::task::JoinSet;

use crate::leave;
use crate::options::{self, JoinArgs, print_warning};
use crate::outcome::{Exit, Failure, block_on};
use crate::signals::Signals;

/// The most TCP connections at the same time, per target; more wait to be accepted. A guess.
const CONNECTIONS: usize = 1024;

/// Forward TCP connections to a port of another node, neighbour or not
///
/// The connections are encrypted end to end, also where other nodes relay them because neither side
/// can dial the other.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("side").args(["allow", "listen"]).required(true).multiple(true)))]
#[command(after_long_help = "\
Example: on the node with the port, which prints its ID, and then on the other node:
  smokesignal forward --port 8495 --allow 127.0.0.1:80
  smokesignal forward --seed HOST:8495 --listen 127.0.0.1:8080 --to ID --connect 127.0.0.1:80")]
pub(crate) struct Args {
    /// Let other nodes connect to this address through this node; repeatable
    #[arg(long, value_name = "HOST:PORT", value_parser = target)]
    allow: Vec<String>,
    /// Allow only this node; repeatable. Default: any node of the network
    #[arg(long, value_name = "ID", requires = "allow")]
    from: Vec<NodeId>,
    /// Accept TCP connections on this address; port 0 means any free port
    #[arg(long, value_name = "IP:PORT", requires = "to", requires = "connect")]
    listen: Option<SocketAddr>,
    /// Forward the accepted connections to this node
    #[arg(long, value_name = "ID", requires = "listen")]
    to: Option<NodeId>,
    /// Let that node connect to this address, exactly as it is written in its --allow
    #[arg(long, value_name = "HOST:PORT", value_parser = target, requires = "listen")]
    connect: Option<String>,
    #[command(flatten)]
    join: JoinArgs,
}

/// Parses a target, which has to fit into the name of a stream (255 bytes). The host is not
/// resolved here: the serving side does that for each connection.
fn target(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or("write HOST:PORT, for example 127.0.0.1:80")?;
    match port.parse::<u16>() {
        Ok(1..) if !host.is_empty() && text.len() <= 200 => Ok(text.to_owned()),
        _ => Err("write HOST:PORT, for example 127.0.0.1:80".to_owned()),
    }
}

/// Returns the name of the streams to this target.
fn stream_name(target: &str) -> String {
    format!("forward {target}")
}

/// Makes the socket send a reset (TCP RST) when it is dropped, so that a broken connection does not
/// look like one that has ended properly: a truncated download would otherwise pass for a complete
/// one.
fn reset_socket(socket: &tokio::net::TcpStream) {
    if let Err(error) = socket.set_zero_linger() {
        tracing::debug!(%error, "cannot reset a broken connection; it will look like a proper end");
    }
}

/// Forwards until interrupted.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    block_on(forward(args))
}

/// Starts a serving task per allowed target, the node, and a listening task, and waits for a
/// signal.
async fn forward(args: Args) -> Result<Exit, Failure> {
    let mut signals = Signals::install()?;
    let node = args.join.node()?;
    let mut events = node.events();
    let mut work = JoinSet::new();
    for target in args.allow {
        let acceptor = node.accept(&stream_name(&target));
        let acceptor =
            acceptor.map_err(|_| Failure::Usage(format!("--allow {target} is given twice; give it once")))?;
        work.spawn(serve::serve(acceptor, target, args.from.clone()));
    }
    // Before the node starts, so that an address in use is reported without delay.
    let listener = match args.listen {
        Some(address) => Some(listen::bind(address).await?),
        None => None,
    };
    node.start().await?;
    notice!("listening on {} as {}", options::listening(&node)?, node.id());
    if let (Some(listener), Some(to), Some(target)) = (listener, args.to, args.connect) {
        work.spawn(listen::forward(listener, node.clone(), to, target));
    }
    let outcome = tokio::select! {
        exit = signals.next() => Ok(exit),
        // These tasks run as long as the node, so one that ends is a defect.
        ended = work.join_next() => {
            Err(Failure::Failed(format!("forwarding has ended unexpectedly: {ended:?}")))
        }
        () = async { while let Some(event) = events.recv().await { print_warning(&event); } } => {
            Err(Failure::node_stopped())
        }
    };
    work.shutdown().await;
    let exit = outcome.as_ref().copied().unwrap_or(Exit::Interrupted);
    leave::leave(&node, exit, &mut signals).await;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_and_a_port() {
        for good in ["127.0.0.1:80", "localhost:1", "[::1]:65535"] {
            assert_eq!(target(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "80",
            ":80",
            "host:",
            "host:0",
            "host:65536",
            "host:http",
            &format!("{}:80", "x".repeat(250)),
        ] {
            assert!(target(bad).unwrap_err().contains("HOST:PORT"), "{bad}");
        }
    }
}
