//! Lines from stdin go to everyone, lines of the others to stdout.
//! `cargo run -p smokesignal-p2p --example chat`, and in other terminals the same with `-- HOST:PORT` of the first.

use smokesignal::{Incoming, Node};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seeds = std::env::args().skip(1);
    let node = seeds.fold(Node::builder(), |builder, seed| builder.seed(seed)).build()?;
    let mut network = node.broadcast();
    node.start().await?;
    eprintln!("others join with the seed {}", node.local_addr().ok_or("stopped")?);
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => network.send(line).await?,
                None => break Ok(node.stop().await), // Hands over what was written, then leaves.
            },
            Some(incoming) = network.recv() => match incoming {
                Incoming::Message { from, data, .. } => println!("{}: {}", from.short(), String::from_utf8_lossy(&data)),
                Incoming::Gap { from, missed } => println!("{missed} lines of {} are lost", from.short()),
            },
        }
    }
}
