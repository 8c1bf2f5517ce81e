//! The side that wants to reach the port: accepts TCP connections and opens a stream for each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smokesignal::{Node, NodeId, StreamErrorKind};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{CONNECTIONS, reset_socket, stream_name};
use crate::outcome::Failure;

/// Attempts to open a stream. One fails if the connection ends just then. A guess.
const ATTEMPTS: usize = 3;

/// Opens the listening socket.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::Failed(format!(
            "cannot accept connections on {address}: {error}; choose another --listen address"
        ))
    })
}

/// Forwards TCP connections for as long as the node runs.
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
                tokio::time::sleep(Duration::from_millis(100)).await;
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
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY; small writes may be delayed");
    }
    let mut attempts = 0;
    let (mut stream, answer) = loop {
        let stream = node.open(to, name).await.map_err(|error| error.to_string())?;
        attempts += 1;
        match stream.accepted().await {
            // The other side closed the connection just then. Nothing has been sent, so it is safe
            // to try again over another one.
            Err(error) if error.kind() == &StreamErrorKind::ConnectionLost && attempts < ATTEMPTS => {}
            answer => break (stream, answer),
        }
    };
    match answer {
        Ok(()) => {}
        Err(error) if error.kind() == &StreamErrorKind::Refused => {
            let target = name.strip_prefix("forward ").unwrap_or(name);
            return Err(format!("node {to} does not allow {target}; start it with forward --allow {target}"));
        }
        Err(error) => return Err(error.to_string()),
    }
    if let Err(error) = copy_bidirectional(socket, &mut stream).await {
        let text = format!("a connection to node {to} broke: {error}");
        stream.reset(&error.to_string());
        return Err(text);
    }
    Ok(())
}
