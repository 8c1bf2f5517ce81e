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
    /// Nodes that are not known to have read everything, or have missed something.
    pub behind: usize,
    /// Messages that the one that is farthest behind may lack, as far as this node knows: at most
    /// those that it still retained.
    pub missing: u64,
    /// Messages that were accepted and handed to no other node, or, if no neighbour is left, that
    /// nobody is known to have read: they are lost.
    pub unsent: u64,
    /// Whether the node gave up, because nothing had moved for its
    /// [`leave_timeout`](crate::NodeBuilder::leave_timeout).
    pub timed_out: bool,
}

impl Stopped {
    /// Returns whether every message was handed over, and every node for which this one waits, by
    /// its [`pace`](crate::NodeBuilder::pace), has read all of them. With
    /// [`Pace::Most`](crate::Pace) others may be [behind](Self::behind).
    pub const fn is_complete(&self) -> bool {
        !self.timed_out && self.unsent == 0
    }

    pub(crate) fn new(farewell: Farewell, waiting: usize) -> Self {
        let Farewell { confirmed, behind, missing, unsent, timed_out } = farewell;
        Self { confirmed, behind, missing, unsent: unsent + waiting as u64, timed_out }
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
