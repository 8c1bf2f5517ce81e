//! Sends a file to a node that is not a neighbour, with a progress bar:
//! `cargo run -p smokesignal-p2p --example file [FILE]`

mod common;

use std::error::Error;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use smokesignal::{Node, NodeId, NodeStream};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};

/// Sends the length first, so that the other side knows how much will come, then the bytes.
async fn send(node: &Node, to: NodeId, file: &Path) -> Result<(), Box<dyn Error>> {
    let mut source = File::open(file).await?;
    let length = source.metadata().await?.len();
    let mut stream = node.open(to, "file").await?;
    stream.write_u64(length).await?;
    copy(&mut source, &mut stream).await?;
    stream.shutdown().await?;
    // The other side ends its half when it has all of it.
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

async fn receive(mut stream: NodeStream, file: &Path) -> Result<u64, std::io::Error> {
    let length = stream.read_u64().await?;
    let style = "{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}";
    let bar =
        ProgressBar::new(length).with_style(ProgressStyle::with_template(style).expect("a good template"));
    let mut target = File::create(file).await?;
    let received = copy(&mut bar.wrap_async_read(&mut stream).take(length), &mut target).await?;
    target.sync_all().await?;
    bar.finish();
    if received < length {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    stream.shutdown().await?;
    Ok(received)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    match std::env::args().nth(1).filter(|argument| !argument.starts_with('-')) {
        Some(file) => drop(tokio::fs::copy(file, &source).await?),
        None => tokio::fs::write(&source, vec![7; 64 << 20]).await?,
    }
    let (sender, receiver, _others) = common::two_apart(false).await?;
    let mut acceptor = receiver.accept("file")?;
    let place = target.clone();
    let receiving = tokio::spawn(async move {
        match acceptor.recv().await {
            Some(stream) => receive(stream, &place).await,
            None => Ok(0),
        }
    });
    send(&sender, receiver.id(), &source).await?;
    println!("{} bytes arrived", receiving.await??);
    assert!(tokio::fs::read(&source).await? == tokio::fs::read(&target).await?, "the same file");
    Ok(())
}

#[test]
fn it_runs() {
    main().expect("it ends well");
}
