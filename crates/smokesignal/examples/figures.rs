//! What streams cost on this machine: `cargo run --release -p smokesignal-p2p --example figures`

mod common;

use std::error::Error;
use std::time::{Duration, Instant};

use smokesignal::{Node, NodeId, NodeStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MIB: usize = 1 << 20;

/// Measures one stream of 256 MiB: megabytes per second, and the kind of path it takes.
async fn throughput(from: &Node, to: &Node) -> Result<(f64, smokesignal::Path), Box<dyn Error>> {
    let mut acceptor = to.accept("bulk")?;
    let mut here = from.open(to.id(), "bulk").await?;
    let mut there = acceptor.recv().await.ok_or("it was stopped")?;
    let begin = Instant::now();
    let path = here.path();
    let writing = tokio::spawn(async move {
        let data = vec![7; MIB];
        for _ in 0..256 {
            here.write_all(&data).await?;
        }
        here.shutdown().await?;
        Ok::<_, std::io::Error>(here)
    });
    let (mut buffer, mut read) = (vec![0; 256 * 1024], 0);
    loop {
        match there.read(&mut buffer).await? {
            0 => break,
            count => read += count,
        }
    }
    let took = begin.elapsed().as_secs_f64();
    drop(writing.await??);
    Ok((read as f64 / took / 1e6, path))
}

/// Measures round trips.
async fn ping(from: &Node, to: NodeId) -> Result<(Duration, NodeStream), Box<dyn Error>> {
    let begin = Instant::now();
    let stream = from.open(to, "echo").await?;
    stream.send("ping").await?;
    stream.recv().await?;
    Ok((begin.elapsed(), stream))
}

fn echo(node: &Node) -> Result<(), Box<dyn Error>> {
    let mut acceptor = node.accept("echo")?;
    tokio::spawn(async move {
        while let Some(stream) = acceptor.recv().await {
            tokio::spawn(async move {
                while let Ok(Some(chunk)) = stream.recv().await {
                    if stream.send(chunk).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}

/// Returns the memory of this process in bytes.
fn memory() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split(' ').nth(1)?.parse::<usize>().ok()? * 4096)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (here, there, nodes) = common::two_apart(false).await?;
    nodes.iter().try_for_each(echo)?;
    let neighbour = here.peers().list()[0].id();
    let neighbour = nodes.iter().find(|node| node.id() == neighbour).ok_or("it is one of them")?;
    println!("open, ping, pong, neighbour         {:?}", ping(&here, neighbour.id()).await?.0);
    let (first, keep) = ping(&here, there.id()).await?;
    println!("the same, stranger, dialled         {first:?}");
    println!("the same again, over what is there  {:?}", ping(&here, there.id()).await?.0);
    drop(keep);
    let (rate, path) = throughput(&here, neighbour).await?;
    println!("one stream, {path:?}              {rate:.0} MB/s");
    let (rate, path) = throughput(&here, &there).await?;
    println!("one stream, {path:?}                 {rate:.0} MB/s");

    // Both ends of each are in this process.
    let mut idle = Vec::with_capacity(2000);
    let mut acceptor = neighbour.accept("idle")?;
    let before = memory();
    for _ in 0..1000 {
        idle.push(here.open(neighbour.id(), "idle").await?);
        idle.push(acceptor.recv().await.ok_or("it was stopped")?);
    }
    if let (Some(before), Some(after)) = (before, memory()) {
        println!("an idle stream, each end            {} bytes", after.saturating_sub(before) / 2000);
    }

    let (here, there, nodes) = common::two_apart(true).await?;
    nodes.iter().try_for_each(echo)?;
    println!("open, ping, pong, relayed           {:?}", ping(&here, there.id()).await?.0);
    println!("the same again, over what is there  {:?}", ping(&here, there.id()).await?.0);
    let (rate, path) = throughput(&here, &there).await?;
    println!("one stream, {path:?}                {rate:.0} MB/s, all nodes on this machine");
    Ok(())
}
