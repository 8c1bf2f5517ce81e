//! A chat: lines from stdin go to everyone, and the lines of the others go to stdout.
//! `cargo run -p smokesignal-p2p --example chat`, and in other terminals the same with
//! `-- HOST:PORT` of the first.

use smokesignal::{Incoming, Node, NodeBuilder};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = std::env::args().skip(1).fold(Node::builder(), NodeBuilder::seed).build()?;
    let (mut network, mut lines) = (node.broadcast(), BufReader::new(stdin()).lines());
    node.start().await?;
    eprintln!("others join with {}", node.local_addr().ok_or("stopped")?);
    loop {
        tokio::select! {
            line = lines.next_line() => match line? { Some(line) => network.send(line).await?, None => break },
            Some(incoming) = network.recv() => match incoming {
                Incoming::Message { from, data, .. } => println!("{from:?}: {}", String::from_utf8_lossy(&data)),
                Incoming::Gap { from, missed } => println!("{missed} lines of {from:?} are lost"),
                Incoming::End { from } => println!("{from:?} has left"),
                Incoming::Restarted { from } => println!("{from:?} is back"),
            },
        }
    }
    node.stop().await; // Hands over what was written, then leaves.
    Ok(())
}
