//! `--direct`: streams between two neighbours.
//!
//! First, all streams transfer bytes in one direction for a while: that gives the throughput and
//! how evenly the streams share the link. Then one more stream carries small requests and
//! responses, one at a time: that gives the round-trip time.
//!
//! Both nodes are in this process and share its processors, so the throughput is that of one
//! machine that does the work of two. The bytes that are still under way at the end of the time do
//! not count for the throughput, but they have to arrive: a stream that loses bytes fails the row.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use smokesignal::{Acceptor, Node, NodeStream};
use smokesignal_load::Usage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::args::Args;
use super::bar::Bar;
use super::case::Case;
use super::net::Net;
use super::report::{Column, Record, Report, bytes, column, number};

/// The most bytes that one read returns. A guess: the size of a write by default.
const READ: usize = 64 << 10;
/// Bytes of a request and of its response. A guess: few enough that only the latency counts.
const REQUEST: usize = 64;
/// How long round trips are measured.
const ROUND_TRIPS: Duration = Duration::from_secs(1);
/// Bytes that are still under way when the writers end have to arrive within this time. A guess:
/// far longer than it takes to send what the windows of the streams hold.
const REST: Duration = Duration::from_secs(60);
/// The name of the streams.
const NAME: &str = "bench";

/// The figures of one row.
#[derive(Debug, Serialize)]
struct Direct {
    /// Bytes per write.
    size: usize,
    /// Number of concurrent streams.
    streams: usize,
    /// Length of the transfer, in seconds.
    seconds: f64,
    /// Bytes read in that time, summed over all streams.
    bytes: u64,
    /// Throughput in 10^6 bytes per second.
    mb_per_s: f64,
    /// Bytes of the slowest stream, divided by those of the fastest.
    fairness: f64,
    /// Processor time of the process, which runs both nodes, in seconds per 10^9 bytes.
    cpu_s_per_gb: f64,
    /// Number of round trips measured.
    round_trips: usize,
    /// Quantiles of the round-trip time, in microseconds.
    round_trip: RoundTrip,
}

/// Quantiles of the round-trip time, in microseconds.
#[derive(Debug, Serialize)]
struct RoundTrip {
    p50: f64,
    p99: f64,
    max: f64,
}

/// Measures one row and prints it. Fails if not all bytes have arrived.
pub(super) async fn run(args: &Args, case: &Case, report: &Report<'_>, bar: &Bar) -> Result<(), String> {
    bar.phase("joining");
    let net = Net::join(2, args.kind(), |_| {}).await?;
    let direct = measure(&net, case, args.seconds, bar).await.map_err(|error| error.to_string())?;
    net.stop().await;
    report.row(&direct)
}

/// Measures the throughput of all streams, and then the round trips of one more.
async fn measure(net: &Net, case: &Case, time: Duration, bar: &Bar) -> io::Result<Direct> {
    let Case { size, streams, .. } = *case;
    let (from, to) = (&net.nodes[0], &net.nodes[1]);
    let mut acceptor = to.accept(NAME).map_err(io::Error::other)?;
    let mut pairs = Vec::new();
    for _ in 0..streams {
        pairs.push(pair(from, to, &mut acceptor).await?);
    }
    bar.phase(format!("measuring for {} s", time.as_secs_f64()));
    let transfer = transfer(pairs, size, time).await?;
    bar.phase(format!("measuring round trips for {} s", ROUND_TRIPS.as_secs_f64()));
    let (client, server) = pair(from, to, &mut acceptor).await?;
    // In a task, so that both sides run on the threads that run the connections.
    let trips = tokio::spawn(round_trips(client, server)).await??;
    let total: u64 = transfer.each.iter().sum();
    let (least, most) = (transfer.each.iter().min(), transfer.each.iter().max());
    let at = |share: f64| trips[((trips.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1e3;
    Ok(Direct {
        size,
        streams,
        seconds: transfer.seconds,
        bytes: total,
        mb_per_s: total as f64 / transfer.seconds / 1e6,
        fairness: *least.unwrap_or(&0) as f64 / *most.unwrap_or(&0) as f64,
        cpu_s_per_gb: transfer.cpu.as_secs_f64() / total as f64 * 1e9,
        round_trips: trips.len(),
        round_trip: RoundTrip { p50: at(0.5), p99: at(0.99), max: at(1.0) },
    })
}

/// Opens a stream, and returns both of its ends.
async fn pair(from: &Node, to: &Node, acceptor: &mut Acceptor) -> io::Result<(NodeStream, NodeStream)> {
    let opened = from.open(to.id(), NAME).await.map_err(io::Error::other)?;
    let stopped = || io::Error::other("the node stopped unexpectedly");
    let accepted = acceptor.recv().await.ok_or_else(stopped)?;
    opened.accepted().await.map_err(io::Error::other)?;
    Ok((opened, accepted))
}

/// The result of a transfer.
struct Transfer {
    /// How long it took. It may be a little longer than asked for, on a busy machine.
    seconds: f64,
    /// Bytes of each stream that were read while the writers wrote.
    each: Vec<u64>,
    /// Processor time of the process meanwhile.
    cpu: Duration,
}

/// Writes to all streams concurrently for this long. Fails unless everything written arrives.
async fn transfer(pairs: Vec<(NodeStream, NodeStream)>, size: usize, time: Duration) -> io::Result<Transfer> {
    let counts: Vec<Arc<AtomicU64>> = pairs.iter().map(|_| Arc::default()).collect();
    let read = || counts.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
    let (begun, before) = (Instant::now(), Usage::now());
    let until = begun + time;
    for ((opened, accepted), count) in pairs.into_iter().zip(&counts) {
        readers.spawn(drain(accepted, Arc::clone(count)));
        writers.spawn(write(opened, size, until));
    }
    sleep_until(until).await;
    let (seconds, each, cpu) = (begun.elapsed().as_secs_f64(), read(), Usage::now().cpu - before.cpu);
    let rest = async {
        let mut written = 0;
        while let Some(done) = writers.join_next().await {
            written += done??;
        }
        while let Some(done) = readers.join_next().await {
            done??;
        }
        io::Result::Ok(written)
    };
    let late = |_| io::Error::other(format!("the last bytes have not arrived within {} s", REST.as_secs()));
    let written = timeout(REST, rest).await.map_err(late)??;
    let arrived: u64 = read().iter().sum();
    if written != arrived {
        return Err(io::Error::other(format!("only {arrived} of {written} bytes arrived")));
    }
    Ok(Transfer { seconds, each, cpu })
}

/// Writes until this time, and returns the number of bytes written.
async fn write(mut stream: NodeStream, size: usize, until: Instant) -> io::Result<u64> {
    let data = vec![b'x'; size];
    let mut written = 0;
    while Instant::now() < until {
        // Waits when the window of the stream is full.
        stream.write_all(&data).await?;
        written += size as u64;
    }
    stream.shutdown().await?;
    Ok(written)
}

/// Reads to the end, and counts the bytes.
async fn drain(mut stream: NodeStream, count: Arc<AtomicU64>) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            read => count.fetch_add(read as u64, Ordering::Relaxed),
        };
    }
}

/// Sends requests one at a time for a while. Returns the round-trip times, sorted.
async fn round_trips(mut client: NodeStream, mut server: NodeStream) -> io::Result<Vec<Duration>> {
    let responses = tokio::spawn(async move {
        let mut request = [0; REQUEST];
        // Ends when the client drops the stream.
        while server.read_exact(&mut request).await.is_ok() && server.write_all(&request).await.is_ok() {}
    });
    let (mut request, mut times) = ([b'?'; REQUEST], Vec::new());
    let until = Instant::now() + ROUND_TRIPS;
    let mut sent = Instant::now();
    while times.is_empty() || sent < until {
        client.write_all(&request).await?;
        client.read_exact(&mut request).await?;
        let received = Instant::now();
        times.push(received - sent);
        sent = received;
    }
    drop(client);
    responses.await?;
    times.sort_unstable();
    Ok(times)
}

impl Record for Direct {
    fn columns(&self) -> Vec<Column> {
        vec![
            column("streams", 7, self.streams),
            column("size", 8, bytes(self.size)),
            column("MB/s", 8, number(self.mb_per_s)),
            column("fairness", 8, format!("{:.3}", self.fairness)),
            column("CPU s/GB", 8, number(self.cpu_s_per_gb)),
            column("trips/s", 8, format!("{:.0}", self.round_trips as f64 / ROUND_TRIPS.as_secs_f64())),
            column("p50 us", 8, number(self.round_trip.p50)),
            column("p99 us", 8, number(self.round_trip.p99)),
            column("max us", 8, number(self.round_trip.max)),
        ]
    }
}
