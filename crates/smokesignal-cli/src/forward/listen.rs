//! The side that wants to reach the port: accepts TCP connections and opens a stream for each.
//!
//! The connection is accepted first and the stream opened afterwards, so a TCP client always sees a
//! connection. If the stream cannot be opened, that connection is reset, the reason is printed, and
//! the next connection is tried on its own: the other node may be back by then.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smokesignal::{Node, NodeId, NodeStream, StreamErrorKind};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{CONNECTIONS, reset_socket, stream_name};
use crate::open::{self, Failed};
use crate::outcome::Failure;

/// Pause after a connection could not be accepted. A guess.
const RETRY: Duration = Duration::from_millis(100);

/// Opens the listening socket. With port 0 the system chooses a port, which [`forward`] prints.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::Failed(format!(
            "cannot accept connections on {address}: {error}; choose another --listen address"
        ))
    })
}

/// Forwards TCP connections for as long as the node runs, at most [`CONNECTIONS`] at the same time.
///
/// A permit is taken before a connection is accepted. So further connections wait in the queue of
/// the operating system, and cost this process nothing.
pub(super) async fn forward(listener: TcpListener, node: Node, to: NodeId, target: String) {
    match listener.local_addr() {
        Ok(address) => notice!("connections to {address} go to {target} at {to}"),
        Err(error) => tracing::warn!(%error, "cannot find out the listening port"),
    }
    let (room, name) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::<str>::from(stream_name(&target)));
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                // A temporary condition, such as too many open files.
                notice!("cannot accept a connection: {error}; trying again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let (node, name) = (node.clone(), Arc::clone(&name));
        tokio::spawn(async move {
            let mut socket = socket;
            if let Err(text) = connect(&mut socket, &node, to, &name).await {
                reset_socket(&socket);
                notice!("{text}");
            }
            drop(permit);
        });
    }
}

/// Opens a stream for a TCP connection, and copies in both directions until both have ended.
async fn connect(socket: &mut TcpStream, node: &Node, to: NodeId, name: &str) -> Result<(), String> {
    // The other program has decided what belongs together; Nagle's algorithm would only add delay.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY; small writes may be delayed");
    }
    let mut stream = open_stream(node, to, name).await?;
    if let Err(error) = copy_bidirectional(socket, &mut stream).await {
        let text = format!("a connection to node {to} broke: {error}");
        // Both ends learn that the connection broke, instead of seeing a proper end.
        stream.reset(&error.to_string());
        return Err(text);
    }
    Ok(())
}

/// Opens a stream. The error names the cure if the other node does not allow the target.
async fn open_stream(node: &Node, to: NodeId, name: &str) -> Result<NodeStream, String> {
    open::open(node, to, name).await.map_err(|failed| match failed {
        Failed::Opening(error) => error.to_string(),
        Failed::Accepting(error) if error.kind() == &StreamErrorKind::Refused => {
            let target = name.strip_prefix("forward ").unwrap_or(name);
            format!("node {to} does not allow {target}; start it with forward --allow {target}")
        }
        Failed::Accepting(error) => error.to_string(),
    })
}
