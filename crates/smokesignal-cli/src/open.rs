//! Opens a stream to another node, as `forward` and direct messages do.
//!
//! Opening has two steps: the node finds the other one and sends the name of the stream, and then
//! the program there accepts or refuses that name. A connection may end between the two steps, for
//! example because a link is replaced just then. Nothing has been sent at that time, so the stream
//! is opened again over another connection.

use smokesignal::{Node, NodeId, NodeStream, OpenError, StreamError, StreamErrorKind};

/// Attempts to open a stream. A guess: one is nearly always enough.
const ATTEMPTS: usize = 3;

/// Why a stream could not be opened.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The other node could not be reached.
    Opening(OpenError),
    /// The other node was reached, but has not accepted the stream.
    Accepting(StreamError),
}

/// Opens a stream, and waits until the program at the other end has accepted it.
pub(crate) async fn open(node: &Node, to: NodeId, name: &str) -> Result<NodeStream, Failed> {
    let mut attempts = 0;
    loop {
        let stream = node.open(to, name).await.map_err(Failed::Opening)?;
        attempts += 1;
        match stream.accepted().await {
            Ok(()) => return Ok(stream),
            Err(error) if error.kind() == &StreamErrorKind::ConnectionLost && attempts < ATTEMPTS => {}
            Err(error) => return Err(Failed::Accepting(error)),
        }
    }
}
