//! Two nodes that are not neighbours, and the nodes between them.

use std::time::Duration;

use smokesignal::{Node, StartError};

/// Starts a network of eight nodes in this process and returns them; the first two are not
/// neighbours. With `relayed`, no node dials for a stream.
pub(crate) async fn two_apart(relayed: bool) -> Result<(Node, Node, Vec<Node>), StartError> {
    let first = Node::builder().relay_only(relayed).build().expect("the default options are good");
    first.start().await?;
    let seed = first.local_addr().expect("it has started").to_string();
    let mut nodes = vec![first];
    while nodes.len() < 8 {
        let node = Node::builder().relay_only(relayed).seed(&seed).build().expect("the seed is an address");
        node.start().await?;
        nodes.push(node);
    }
    loop {
        let whole = nodes.iter().all(|node| node.network_size() == nodes.len());
        let apart = |a: &Node, b: &Node| a.id() != b.id() && !a.peers().contains(&b.id());
        let pairs = nodes.iter().flat_map(|a| nodes.iter().map(move |b| (a, b)));
        if let Some((a, b)) = pairs.into_iter().find(|(a, b)| whole && apart(a, b)) {
            return Ok((a.clone(), b.clone(), nodes));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
