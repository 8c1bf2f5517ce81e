//! The side that wants to reach the port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smokesignal::{Node, NodeId, StreamError};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{CONNECTIONS, reset_socket, stream_name};
use crate::outcome::Failure;

/// A connection may end while a stream is opened: so many are tried.
const TRIES: usize = 3;

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::Failed(format!(
            "cannot take connections on {address}: {error}; name another --listen address"
        ))
    })
}

/// For as long as the node is there.
pub(super) async fn forward(listener: TcpListener, node: Node, to: NodeId, target: String) {
    match listener.local_addr() {
        Ok(address) => notice!("connections to {address} go to {target} at {to}"),
        Err(error) => tracing::warn!(%error, "the port is not known"),
    }
    let (room, name) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::<str>::from(stream_name(&target)));
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                // Too many open files, for example: it passes.
                notice!("cannot take a connection: {error}");
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

async fn connect(socket: &mut TcpStream, node: &Node, to: NodeId, name: &str) -> Result<(), String> {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "small writes may be late");
    }
    let mut tries = 0;
    let (mut stream, answer) = loop {
        let stream = node.open(to, name).await.map_err(|error| error.to_string())?;
        tries += 1;
        match stream.accepted().await {
            // The other side was giving up the connection just then. Nothing was sent: another one will do.
            Err(StreamError::ConnectionLost) if tries < TRIES => {}
            answer => break (stream, answer),
        }
    };
    match answer {
        Ok(()) => {}
        Err(StreamError::Refused) => {
            let target = name.strip_prefix("forward ").unwrap_or(name);
            return Err(format!("{to} does not allow {target}; start it with forward --allow {target}"));
        }
        Err(error) => return Err(format!("{to}: {error}")),
    }
    if let Err(error) = copy_bidirectional(socket, &mut stream).await {
        let text = format!("a connection through {to} has broken: {error}");
        stream.reset(&error.to_string());
        return Err(text);
    }
    Ok(())
}
