//! One process writes as fast as it can, another one reads. `bindings/node/bench` runs it next to
//! the same program in JavaScript.
//!
//! ```sh
//! cargo run --release -p smokesignal-p2p --example two_processes -- read 1000000        # prints where it listens
//! cargo run --release -p smokesignal-p2p --example two_processes -- write 127.0.0.1:PORT 64 1000000
//! ```

use std::error::Error;
use std::time::Instant;

use smokesignal::{Event, Incoming, Node};
use tokio::io::AsyncReadExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["read", count] => read(count.parse()?).await,
        ["write", seed, size, count] => write(seed, size.parse()?, count.parse()?).await,
        _ => Err("read COUNT, or write SEED SIZE COUNT".into()),
    }
}

async fn read(count: u64) -> Result<(), Box<dyn Error>> {
    let node = Node::builder().build()?;
    let mut broadcast = node.broadcast();
    node.start().await?;
    println!("{}", node.local_addr().ok_or("it was stopped")?);
    let (mut begun, mut read, mut missed) = (None, 0, 0);
    let mut batch = Vec::new();
    while read + missed < count && broadcast.recv_many(&mut batch, 1024).await > 0 {
        begun.get_or_insert_with(Instant::now);
        for incoming in batch.drain(..) {
            match incoming {
                Incoming::Message { .. } => read += 1,
                Incoming::Gap { missed: more, .. } => missed += more,
                Incoming::End { .. } | Incoming::Restarted { .. } => {}
            }
        }
    }
    let seconds = begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
    println!("{{\"read\":{read},\"missed\":{missed},\"seconds\":{seconds}}}");
    node.stop().await;
    Ok(())
}

async fn write(seed: &str, size: usize, count: u64) -> Result<(), Box<dyn Error>> {
    let node = Node::builder().seed(seed).build()?;
    let mut events = node.events();
    node.start().await?;
    while !matches!(events.recv().await, Some(Event::Connect)) {}
    let sender = node.broadcast().sender();
    let message = bytes::Bytes::from(vec![b'x'; size]);
    for _ in 0..count {
        sender.send(message.clone()).await?;
    }
    // The reader reports when it has everything.
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    node.stop().await;
    Ok(())
}
