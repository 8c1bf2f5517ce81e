//! The side that has the port: accepts streams and connects each to the target.
//!
//! A stream counts as accepted before its connection to the target stands. If connecting fails, the
//! stream is reset with the reason, and the other side resets its TCP connection.

use std::sync::Arc;

use smokesignal::{Acceptor, NodeId, NodeStream};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::{CONNECTIONS, reset_socket};

/// Serves streams to this target for as long as the node runs, at most [`CONNECTIONS`] at the same
/// time. If `from` is not empty, only the nodes in it may open them.
///
/// The id of the other node is proven by the handshake of its connection, also if that is relayed,
/// so it is safe to decide by it.
pub(super) async fn serve(mut acceptor: Acceptor, target: String, from: Vec<NodeId>) {
    let (room, target) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::<str>::from(target));
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        let Some(stream) = acceptor.recv().await else { return };
        // The other side reads the reason, but not which nodes are allowed.
        if !from.is_empty() && !from.contains(&stream.peer()) {
            notice!("refused node {}, which --from does not allow to reach {target}", stream.peer());
            stream.reset("this node is not allowed to reach that address");
            continue;
        }
        let target = Arc::clone(&target);
        tokio::spawn(async move {
            connect(stream, &target).await;
            drop(permit);
        });
    }
}

/// Connects a stream to the target, and copies in both directions until both have ended.
async fn connect(mut stream: NodeStream, target: &str) {
    let mut socket = match TcpStream::connect(target).await {
        Ok(socket) => socket,
        Err(error) => {
            notice!("cannot connect to {target} for node {}: {error}", stream.peer());
            return stream.reset(&format!("{target}: {error}"));
        }
    };
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY; small writes to {target} may be delayed");
    }
    if let Err(error) = copy_bidirectional(&mut stream, &mut socket).await {
        tracing::debug!(%error, "a connection to {target} broke");
        reset_socket(&socket);
        stream.reset(&error.to_string());
    }
}
