//! What a node that has stopped knows of those who read it.

use std::fmt;

use smokesignal_proto::Farewell;

/// Who has read what a node wrote, from [`Node::stop`](crate::Node::stop).
///
/// The figures are those of all readers, which report how far they are; of the neighbours alone
/// where these report nothing. A node that has a gap counts as one that has read. All are 0 where
/// the node has written nothing, or was stopped already.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let network = smokesignal::transport::MemoryNetwork::new();
/// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
/// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
/// ann.start().await?;
/// bob.start().await?;
/// bob.broadcast().send("hello").await?;
/// let stopped = bob.stop().await; // Waits for a first peer, and until that has read "hello".
/// assert_eq!((stopped.confirmed, stopped.behind, stopped.unsent), (1, 0, 0));
/// assert_eq!(stopped.to_string(), "1 node has all of it");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stopped {
    /// Nodes that have read everything, those that have left meanwhile included.
    pub confirmed: usize,
    /// Nodes that were connected at the end and are not known to have read everything.
    pub behind: usize,
    /// Messages that the one that is farthest behind may lack, as far as this node knows: at most
    /// those that it still retained.
    pub missing: u64,
    /// Messages that were accepted and handed to no other node: they are lost.
    pub unsent: u64,
}

impl Stopped {
    /// Returns whether every message was handed over, and every node that was connected at the end
    /// has read all of them.
    pub const fn is_complete(&self) -> bool {
        self.behind == 0 && self.unsent == 0
    }

    pub(crate) fn new(farewell: Farewell, waiting: usize) -> Self {
        let Farewell { confirmed, behind, missing, unsent } = farewell;
        Self { confirmed, behind, missing, unsent: unsent + waiting as u64 }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.confirmed {
            0 => f.write_str("no node is known to have all of it")?,
            1 => f.write_str("1 node has all of it")?,
            count => write!(f, "{count} nodes have all of it")?,
        }
        match (self.behind, self.missing) {
            (0, _) => {}
            (1, missing) => write!(f, "; 1 node is behind by up to {missing} messages")?,
            (count, missing) => write!(f, "; {count} nodes are behind, by up to {missing} messages")?,
        }
        match self.unsent {
            0 => Ok(()),
            1 => f.write_str("; 1 message reached nobody"),
            count => write!(f, "; {count} messages reached nobody"),
        }
    }
}
