//! JSON objects, one per line, over a stream to a node that is not a neighbour:
//! `cargo run -p smokesignal-p2p --example lines`

mod common;

use std::error::Error;

use serde::{Deserialize, Serialize};
use smokesignal::NodeStream;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Measured {
    place: String,
    degrees: f64,
}

/// Answers each line with the temperature in Fahrenheit, until the other side has finished its
/// half.
async fn convert(stream: NodeStream) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let mut measured: Measured = serde_json::from_str(&line)?;
        measured.degrees = measured.degrees * 9.0 / 5.0 + 32.0;
        writer.write_all(format!("{}\n", serde_json::to_string(&measured)?).as_bytes()).await?;
    }
    Ok(writer.shutdown().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (here, there, _others) = common::two_apart(false).await?;
    let mut acceptor = there.accept("fahrenheit")?;
    let converting = tokio::spawn(async move {
        match acceptor.recv().await {
            Some(stream) => convert(stream).await,
            None => Ok(()),
        }
    });

    let (reader, mut writer) = tokio::io::split(here.open(there.id(), "fahrenheit").await?);
    for degrees in [0.0, 100.0] {
        let measured = Measured { place: "Neuchâtel".into(), degrees };
        writer.write_all(format!("{}\n", serde_json::to_string(&measured)?).as_bytes()).await?;
    }
    writer.shutdown().await?;
    let mut lines = BufReader::new(reader).lines();
    let mut degrees = Vec::new();
    while let Some(line) = lines.next_line().await? {
        println!("{line}");
        degrees.push(serde_json::from_str::<Measured>(&line)?.degrees);
    }
    assert_eq!(degrees, [32.0, 212.0]);
    converting.await?.map_err(|error| error.to_string())?;
    Ok(())
}

#[test]
fn it_runs() {
    main().expect("it ends well");
}
