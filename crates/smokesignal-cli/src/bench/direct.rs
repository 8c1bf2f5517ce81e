//! `--direct`: streams between two neighbours instead of broadcast. How many bytes a second they carry, how evenly they
//! share the link, and how long a question waits for its answer.

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

use super::Args;
use super::case::Case;
use super::net::Net;
use super::report::{Column, Record, Report, bytes, column, number};
use super::show::Bar;

/// Bytes read at once at most.
const READ: usize = 64 << 10;
/// Bytes in a question and in its answer.
const QUESTION: usize = 64;
/// How long questions are asked.
const ASKING: Duration = Duration::from_secs(1);
/// What is still on its way when the writers end has to arrive within this time.
const REST: Duration = Duration::from_secs(60);
/// The name of the streams.
const NAME: &str = "bench";

/// What two nodes have shown.
#[derive(Debug, Serialize)]
struct Direct {
    /// Bytes in a write.
    size: usize,
    /// How many streams at once.
    streams: usize,
    /// How long was written.
    seconds: f64,
    /// Read in that time, of all streams.
    bytes: u64,
    mb_per_s: f64,
    /// Bytes of the stream that got least, of those of the stream that got most.
    fairness: f64,
    /// Processor time of the process, both sides, in seconds for 10^9 bytes.
    cpu_s_per_gb: f64,
    round_trips: usize,
    /// In microseconds.
    round_trip: RoundTrip,
}

#[derive(Debug, Serialize)]
struct RoundTrip {
    p50: f64,
    p99: f64,
    max: f64,
}

pub(super) async fn run(args: &Args, case: &Case, report: &Report<'_>, bar: &Bar) -> Result<(), String> {
    bar.phase("the nodes join");
    let net = Net::join(2, args.kind(), |_| {}).await?;
    let direct = measure(&net, case, args.seconds, bar).await.map_err(|error| error.to_string())?;
    net.stop().await;
    report.row(&direct)
}

async fn measure(net: &Net, case: &Case, time: Duration, bar: &Bar) -> io::Result<Direct> {
    let Case { size, streams, .. } = *case;
    let (from, to) = (&net.nodes[0], &net.nodes[1]);
    let mut acceptor = to.accept(NAME).map_err(io::Error::other)?;
    let mut pairs = Vec::new();
    for _ in 0..streams {
        pairs.push(pair(from, to, &mut acceptor).await?);
    }
    bar.phase(format!("measuring for {} s", time.as_secs_f64()));
    let flow = flow(pairs, size, time).await?;
    bar.phase(format!("questions and answers for {} s", ASKING.as_secs_f64()));
    let (asking, answering) = pair(from, to, &mut acceptor).await?;
    // As a task, so that both sides run where the connections do.
    let trips = tokio::spawn(ask(asking, answering)).await??;
    let total: u64 = flow.each.iter().sum();
    let (least, most) = (flow.each.iter().min(), flow.each.iter().max());
    let at = |share: f64| trips[((trips.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1e3;
    Ok(Direct {
        size,
        streams,
        seconds: flow.seconds,
        bytes: total,
        mb_per_s: total as f64 / flow.seconds / 1e6,
        fairness: *least.unwrap_or(&0) as f64 / *most.unwrap_or(&0) as f64,
        cpu_s_per_gb: flow.cpu.as_secs_f64() / total as f64 * 1e9,
        round_trips: trips.len(),
        round_trip: RoundTrip { p50: at(0.5), p99: at(0.99), max: at(1.0) },
    })
}

/// One stream, both of its ends.
async fn pair(from: &Node, to: &Node, acceptor: &mut Acceptor) -> io::Result<(NodeStream, NodeStream)> {
    let opened = from.open(to.id(), NAME).await.map_err(io::Error::other)?;
    let accepted = acceptor.recv().await.ok_or_else(|| io::Error::other("the node stopped by itself"))?;
    opened.accepted().await.map_err(io::Error::other)?;
    Ok((opened, accepted))
}

/// What the streams have carried.
struct Flow {
    seconds: f64,
    /// Bytes read while it was written, for each stream.
    each: Vec<u64>,
    cpu: Duration,
}

/// All streams at once, one direction, for some time. What was written is read to its end, and has to be all of it.
async fn flow(pairs: Vec<(NodeStream, NodeStream)>, size: usize, time: Duration) -> io::Result<Flow> {
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
    let flow =
        Flow { seconds: begun.elapsed().as_secs_f64(), each: read(), cpu: Usage::now().cpu - before.cpu };
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
    let late = |_| io::Error::other(format!("what was written has not arrived {} s later", REST.as_secs()));
    let written = timeout(REST, rest).await.map_err(late)??;
    let arrived: u64 = read().iter().sum();
    if written != arrived {
        return Err(io::Error::other(format!("{written} bytes were written, {arrived} arrived")));
    }
    Ok(flow)
}

/// Tells how much it has written.
async fn write(mut stream: NodeStream, size: usize, until: Instant) -> io::Result<u64> {
    let data = vec![b'x'; size];
    let mut written = 0;
    while Instant::now() < until {
        stream.write_all(&data).await?;
        written += size as u64;
    }
    stream.shutdown().await?;
    Ok(written)
}

async fn drain(mut stream: NodeStream, count: Arc<AtomicU64>) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            read => count.fetch_add(read as u64, Ordering::Relaxed),
        };
    }
}

/// One question after the other. How long each took, sorted.
async fn ask(mut asking: NodeStream, mut answering: NodeStream) -> io::Result<Vec<Duration>> {
    let answers = tokio::spawn(async move {
        let mut question = [0; QUESTION];
        // Ends with the stream.
        while answering.read_exact(&mut question).await.is_ok()
            && answering.write_all(&question).await.is_ok()
        {}
    });
    let (mut question, mut trips) = ([b'?'; QUESTION], Vec::new());
    let until = Instant::now() + ASKING;
    let mut asked = Instant::now();
    while trips.is_empty() || asked < until {
        asking.write_all(&question).await?;
        asking.read_exact(&mut question).await?;
        let answered = Instant::now();
        trips.push(answered - asked);
        asked = answered;
    }
    drop(asking);
    answers.await?;
    trips.sort_unstable();
    Ok(trips)
}

impl Record for Direct {
    fn columns(&self) -> Vec<Column> {
        vec![
            column("streams", 7, self.streams),
            column("size", 8, bytes(self.size)),
            column("MB/s", 8, number(self.mb_per_s)),
            column("fairness", 8, format!("{:.3}", self.fairness)),
            column("CPU s/GB", 8, number(self.cpu_s_per_gb)),
            column("trips/s", 8, format!("{:.0}", self.round_trips as f64 / ASKING.as_secs_f64())),
            column("p50 us", 8, number(self.round_trip.p50)),
            column("p99 us", 8, number(self.round_trip.p99)),
            column("max us", 8, number(self.round_trip.max)),
        ]
    }
}
