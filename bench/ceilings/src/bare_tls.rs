//! What one direct connection reaches: tokio-rustls as it is, both ends in this process, over the
//! loopback device. Prints one JSON object.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use harness::Error;
use hdrhistogram::Histogram;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Bytes per write when throughput is measured.
const CHUNK: usize = 64 * 1024;
/// Bytes of a request, and of its answer.
const REQUEST: usize = 64;

/// One direct TLS connection: how many bytes it carries, and how fast it answers.
#[derive(Parser)]
struct Options {
    /// How long each of the two is measured.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let duration = Duration::from_secs_f64(Options::parse().seconds);
    match measured(duration).await {
        Ok(outcome) => {
            println!("{outcome}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bare-tls: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measured(duration: Duration) -> Result<serde_json::Value, Error> {
    let (client, server) = connect().await?;
    let mb_per_s = throughput(client, server, duration).await?;
    let (client, server) = connect().await?;
    let round_trips = round_trips(client, server, duration).await?;
    let micros = |quantile| round_trips.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(json!({
        "system": "bare-tls", "version": env!("CARGO_PKG_VERSION"), "mb_per_s": mb_per_s,
        "round_trip": { "p50": micros(0.5), "p99": micros(0.99), "max": micros(1.0) },
        "round_trips": round_trips.len(),
    }))
}

async fn connect()
-> Result<(impl AsyncWrite + AsyncRead + Unpin, impl AsyncRead + AsyncWrite + Unpin + Send + 'static), Error>
{
    let (client_config, server_config) = configs::new()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, _) = listener.accept().await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let connector = TlsConnector::from(Arc::new(client_config));
    let acceptor = TlsAcceptor::from(Arc::new(server_config));
    let name = ServerName::try_from(configs::NAME)?;
    Ok(tokio::try_join!(connector.connect(name, client), acceptor.accept(server))?)
}

/// Millions of bytes a second, as the reader sees them.
async fn throughput(
    mut client: impl AsyncWrite + Unpin,
    mut server: impl AsyncRead + Unpin + Send + 'static,
    duration: Duration,
) -> Result<f64, Error> {
    let begun = Instant::now();
    let reader = tokio::spawn(async move {
        let (mut buffer, mut bytes) = (vec![0; CHUNK], 0);
        // The writer ends without `close_notify` after the measuring. That is not a failure.
        while let Ok(read @ 1..) = server.read(&mut buffer).await {
            bytes += read;
        }
        (bytes, Instant::now())
    });
    let chunk = vec![b'x'; CHUNK];
    while begun.elapsed() < duration {
        client.write_all(&chunk).await?;
    }
    client.shutdown().await?;
    let (bytes, ended) = reader.await?;
    Ok(bytes as f64 / 1e6 / (ended - begun).as_secs_f64())
}

/// Times from the first byte of a request written to the last byte of its answer read, in
/// nanoseconds.
async fn round_trips(
    mut client: impl AsyncWrite + AsyncRead + Unpin,
    mut server: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    duration: Duration,
) -> Result<Histogram<u64>, Error> {
    let answering = tokio::spawn(async move {
        let mut request = [0; REQUEST];
        while server.read_exact(&mut request).await.is_ok() {
            if server.write_all(&request).await.is_err() || server.flush().await.is_err() {
                break;
            }
        }
    });
    let mut histogram = Histogram::new(3)?;
    let mut message = [0; REQUEST];
    let begun = Instant::now();
    while begun.elapsed() < duration {
        let asked = Instant::now();
        client.write_all(&message).await?;
        client.flush().await?;
        timeout(Duration::from_secs(10), client.read_exact(&mut message)).await??;
        histogram.record(asked.elapsed().as_nanos() as u64)?;
    }
    answering.abort();
    Ok(histogram)
}
