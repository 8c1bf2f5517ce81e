//! One run from start to rest.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use crate::message::{Header, clock};
use crate::outcome::{Latency, Outcome};
use crate::pace::{self, Pace};
use crate::sink::{Board, Sink, histogram};
use crate::usage::{Usage, resident_bytes};
use crate::{Error, LEAST_SIZE, Running, System, Workload, Writer as _};

/// All nodes have to hear each writer within this time.
const HEARD_WITHIN: Duration = Duration::from_secs(60);
/// A network in which nothing has been read, and no loss told, for this long after the last write has come to rest.
const AT_REST: Duration = Duration::from_secs(15);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);
/// Nodes start, TLS is shaken: this long after the last of it the measuring begins.
const SETTLE: Duration = Duration::from_millis(500);

/// Where a run is, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The nodes find each other.
    Joining,
    /// All nodes get to hear each writer.
    Probing,
    /// Written, but not measured yet.
    WarmingUp,
    /// Measured.
    Measuring,
    /// Nothing more is written; the last messages arrive.
    Resting,
}

#[derive(Debug, thiserror::Error)]
#[error("after {} s only {heard} of {readers} nodes hear writer {writer}", HEARD_WITHIN.as_secs())]
struct NotHeard {
    writer: usize,
    heard: usize,
    readers: usize,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "{nodes} nodes of which {writers} write messages of {size} bytes: needs 2 nodes and 1 writer at least, no more writers than nodes, and {LEAST_SIZE} bytes"
)]
struct BadWorkload {
    nodes: usize,
    writers: usize,
    size: usize,
}

/// Starts the system, writes to it, and says what came of it. The system is stopped in the end.
///
/// # Errors
/// The workload makes no sense, the system could not be started, some node hears a writer not at all, or a writer failed.
pub async fn measure<S: System>(
    system: &S,
    workload: &Workload,
    mut phase: impl FnMut(Phase),
) -> Result<Outcome, Error> {
    let Workload { nodes, writers, size, pace, warm_up, duration } = *workload;
    if nodes < 2 || !(1..=nodes).contains(&writers) || size < LEAST_SIZE {
        return Err(BadWorkload { nodes, writers, size }.into());
    }
    let (step, every_latency) = match pace {
        Pace::Window(window) => (window / 8, window < 64),
        Pace::Rate(_) => (u64::MAX, true),
    };
    let board = Arc::new(Board::new(nodes, writers, step, every_latency));
    let sinks: Vec<Sink> = (0..nodes).map(|node| Sink::new(node, Arc::clone(&board))).collect();

    phase(Phase::Joining);
    let begun = Instant::now();
    let running = system.start(sinks.clone()).await?;
    let join_s = begun.elapsed().as_secs_f64();
    phase(Phase::Probing);
    for writer in 0..writers {
        probe(&running, writer, nodes - 1, &board).await?;
    }
    sleep(SETTLE).await;

    phase(Phase::WarmingUp);
    let (measured_from, until) = (Instant::now() + warm_up, Instant::now() + warm_up + duration);
    let mut tasks = JoinSet::new();
    for number in 0..writers {
        let filler = vec![b'x'; size];
        let writer = running.writer(number);
        tasks.spawn(pace::write(writer, number, writers, filler, pace, until, Arc::clone(&board)));
    }
    let copies = async {
        sleep_until(measured_from).await;
        phase(Phase::Measuring);
        let before = running.copies();
        sleep_until(until).await;
        running.copies().zip(before).map(|(after, before)| after - before)
    };
    let (readings, copies) = tokio::join!(Reading::both(&board, measured_from, until), copies);
    let (before, after) = readings?;

    phase(Phase::Resting);
    let mut sent = 0;
    while let Some(written) = tasks.join_next().await {
        sent += written??;
    }
    let expected = sent * (nodes as u64 - 1);
    rest(&board, expected).await;
    let rss = resident_bytes().map(|bytes| bytes as f64 / 1024.0 / nodes as f64);
    running.stop().await;

    let (mut latency, mut different, mut repeated, mut disordered) = (histogram(), 0, 0, 0);
    for totals in sinks.iter().map(|sink| sink.lock().totals()) {
        latency.add(&totals.latency)?;
        different += totals.different;
        repeated += totals.repeated;
        disordered += totals.disordered;
    }
    let seconds = (after.at - before.at).as_secs_f64();
    let read = after.delivered - before.delivered;
    let micros = |quantile| latency.value_at_quantile(quantile) as f64 / 1_000.0;
    let copies = copies.map(|copies| copies as f64 / read as f64);
    Ok(Outcome {
        nodes,
        writers,
        size,
        window: if let Pace::Window(window) = pace { Some(window) } else { None },
        rate: if let Pace::Rate(rate) = pace { Some(rate) } else { None },
        seconds,
        sent,
        delivered: different,
        expected,
        ratio: different as f64 / expected as f64,
        gaps: board.missed.load(Ordering::Relaxed),
        repeated,
        disordered,
        deliveries_per_s: read as f64 / seconds,
        mb_per_s: read as f64 / seconds * size as f64 / 1e6,
        latency: Latency { p50: micros(0.5), p90: micros(0.9), p99: micros(0.99), max: micros(1.0) },
        copies_per_delivery: copies.filter(|copies| copies.is_finite()),
        cpu_s_per_million: (after.usage.cpu - before.usage.cpu).as_secs_f64() / read.max(1) as f64 * 1e6,
        rss_kib_per_node: rss,
        join_s,
    })
}

/// Writes until all other nodes have heard this writer.
async fn probe<R: Running>(running: &R, number: usize, readers: usize, board: &Board) -> Result<(), Error> {
    let mut writer = running.writer(number);
    let give_up = Instant::now() + HEARD_WITHIN;
    for seq in 0.. {
        let header = Header { due: 0, seq, writer: number as u32, probe: true };
        writer.send(header.message(&[])).await?;
        let again = Instant::now() + 10 * LOOK;
        while Instant::now() < again {
            if board.heard(number) == readers {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        if Instant::now() > give_up {
            return Err(NotHeard { writer: number, heard: board.heard(number), readers }.into());
        }
    }
    Ok(())
}

/// Waits until everything has been read or is told as missed, or nothing more happens.
async fn rest(board: &Board, expected: u64) {
    let mut last = (board.accounted(), Instant::now());
    while last.0 < expected && last.1.elapsed() < AT_REST {
        sleep(LOOK).await;
        let accounted = board.accounted();
        if accounted != last.0 {
            last = (accounted, Instant::now());
        }
    }
}

struct Reading {
    at: Instant,
    delivered: u64,
    usage: Usage,
}

impl Reading {
    /// At the beginning and at the end. On a thread of its own, because a system whose sending blocks lets no timer of the
    /// event loop come in time; but a loop of a single thread may be one whose time is not the clock's.
    async fn both(board: &Arc<Board>, from: Instant, until: Instant) -> Result<(Self, Self), JoinError> {
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            sleep_until(from).await;
            let before = Self::first(board);
            sleep_until(until).await;
            return Ok((before, Self::take(board)));
        }
        let board = Arc::clone(board);
        let readings = move || {
            std::thread::sleep(from - Instant::now());
            let before = Self::first(&board);
            std::thread::sleep(until - Instant::now());
            (before, Self::take(&board))
        };
        spawn_blocking(readings).await
    }

    fn first(board: &Board) -> Self {
        board.measured_from.store(clock(), Ordering::Relaxed);
        Self::take(board)
    }

    fn take(board: &Board) -> Self {
        Self { at: Instant::now(), delivered: board.delivered(), usage: Usage::now() }
    }
}
