//! `smokesignal forward`: a TCP port of one node, on another. What may be reached is said on the side that has it.

mod listen;
mod serve;

use std::net::SocketAddr;

use smokesignal::NodeId;
use tokio::task::JoinSet;

use crate::leave;
use crate::options::{self, JoinArgs, tell_trouble};
use crate::outcome::{Exit, Failure, block_on};
use crate::signals::Signals;

/// TCP connections that go through one process at once; more wait to be accepted.
const CONNECTIONS: usize = 1024;

/// Reach a TCP port of another node, wherever it is
///
/// On the side that has the port: smokesignal forward --allow 127.0.0.1:80. On the other: smokesignal forward --listen
/// 127.0.0.1:8080 --to ID --connect 127.0.0.1:80, with the id that the first one prints. It is encrypted from end to end, also
/// where it has to go through other nodes because neither can dial the other.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    join: JoinArgs,
    /// Let others reach this address from here, repeatable. Nothing else is reached
    #[arg(long, value_name = "HOST:PORT", value_parser = target, required_unless_present = "listen")]
    allow: Vec<String>,
    /// Let only this node do so, repeatable; without it every node of the network may
    #[arg(long, value_name = "ID", requires = "allow")]
    from: Vec<NodeId>,
    /// Take TCP connections here
    #[arg(long, value_name = "IP:PORT", requires = "to", requires = "connect")]
    listen: Option<SocketAddr>,
    /// The node to which they go
    #[arg(long, value_name = "ID", requires = "listen")]
    to: Option<NodeId>,
    /// What that node connects them to; it has to allow exactly this
    #[arg(long, value_name = "HOST:PORT", value_parser = target, requires = "listen")]
    connect: Option<String>,
}

/// Fits into the name of a stream, and can be connected to.
fn target(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or("write HOST:PORT, for example 127.0.0.1:80")?;
    match port.parse::<u16>() {
        Ok(1..) if !host.is_empty() && text.len() <= 200 => Ok(text.to_owned()),
        _ => Err("write HOST:PORT, for example 127.0.0.1:80".to_owned()),
    }
}

/// The name of the streams that lead to this address. A node that does not allow it does not accept the name.
fn stream_name(target: &str) -> String {
    format!("forward {target}")
}

/// What broke off must not look like its end.
fn reset_socket(socket: &tokio::net::TcpStream) {
    if let Err(error) = socket.set_zero_linger() {
        tracing::debug!(%error, "the connection ends as if that was meant");
    }
}

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    block_on(forward(args))
}

async fn forward(args: Args) -> Result<Exit, Failure> {
    let mut signals = Signals::install()?;
    let node = args.join.node()?;
    let mut events = node.events();
    let mut work = JoinSet::new();
    for target in args.allow {
        let acceptor = node.accept(&stream_name(&target));
        let acceptor = acceptor.map_err(|_| Failure::Usage(format!("--allow {target} is given twice")))?;
        work.spawn(serve::serve(acceptor, target, args.from.clone()));
    }
    // Before the node is there for others: an address in use is better known at once.
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
        () = signals.next() => Ok(Exit::Interrupted),
        ended = work.join_next() => Err(Failure::Failed(format!("forwarding has ended: {ended:?}"))),
        () = async { while let Some(event) = events.recv().await { tell_trouble(&event); } } => {
            Err(Failure::Failed("the node stopped by itself".to_owned()))
        }
    };
    work.shutdown().await;
    leave::leave(&node, &mut signals).await;
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
