//! Two nodes in one process: ann says hello, bob reads it.
//! `cargo run -p smokesignal-p2p --example hello`

use smokesignal::{Incoming, Node};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ann = Node::builder().build()?;
    ann.start().await?;
    let seed = ann.local_addr().ok_or("ann does not listen")?;

    let bob = Node::builder().seed(seed.to_string()).build()?;
    let mut network = bob.broadcast();
    bob.start().await?;

    ann.broadcast().send("hello").await?; // Leaves once there is a peer.
    if let Some(Incoming::Message { from, data, .. }) = network.recv().await {
        println!("bob reads {:?} from {}", data, from.short());
    }
    bob.stop().await;
    ann.stop().await;
    Ok(())
}
