//! One run from start to rest.
//!
//! A run goes through the [`Phase`]s in order. While the writers write, the process takes a
//! [`Reading`] of deliveries and processor time at the beginning and at the end of the measured
//! interval; throughput and cost are the difference of the two. Losses are counted over the whole
//! run, after everything that was written has been read or reported as missed, or after the network
//! has been silent for [`AT_REST`].
//!
//! Probes come first because a node that has joined need not hear every writer yet, and what it
//! cannot hear would count as lost. They carry a mark, and count for nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use crate::message::{Header, LEAST_SIZE, clock};
use crate::outcome::{Latency, Outcome};
use crate::pace::Pace;
use crate::progress::Progress;
use crate::sink::{Sink, Totals};
use crate::usage::{Usage, resident_bytes};
use crate::writer::WriterTask;
use crate::{Error, Running, System, Workload, Writer as _};

/// Every writer has to be heard by all other nodes within this time.
const HEARD_WITHIN: Duration = Duration::from_secs(60);
/// Once nothing has been read and no loss reported for this long after the last write, the
/// remaining messages count as lost.
const AT_REST: Duration = Duration::from_secs(15);
/// Interval between two looks at the progress of the readers.
const POLL: Duration = Duration::from_millis(20);
/// Interval between two probes of a writer that is not heard by all yet.
const PROBE_AGAIN: Duration = Duration::from_millis(200);
/// Pause between the last probe and the first message, so that work that the nodes do when they
/// start (such as TLS handshakes) is over.
const SETTLE: Duration = Duration::from_millis(500);

/// The phases of a run, in order, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The nodes start and connect to each other.
    Joining,
    /// Each writer sends probes until all other nodes hear it.
    Probing,
    /// The writers write, but nothing is measured yet.
    WarmingUp,
    /// The writers write, and the measurement runs.
    Measuring,
    /// The writers have stopped, and the last messages arrive.
    Resting,
}

/// Some nodes have not received a probe of this writer in time.
#[derive(Debug, thiserror::Error)]
#[error("after {} s only {heard} of {readers} nodes hear writer {writer}", HEARD_WITHIN.as_secs())]
struct NotHeard {
    writer: usize,
    heard: usize,
    readers: usize,
}

/// No run is possible with these numbers.
#[derive(Debug, thiserror::Error)]
#[error(
    "{nodes} nodes of which {writers} write messages of {size} bytes: a workload needs 2 nodes or more, \
     1 writer or more, no more writers than nodes, and messages of {LEAST_SIZE} bytes or more"
)]
struct BadWorkload {
    nodes: usize,
    writers: usize,
    size: usize,
}

/// Starts the system, writes to it, stops it, and reports what became of the messages.
///
/// Calls `phase` at the beginning of each phase.
///
/// # Errors
/// Fails if the workload is impossible, if the system could not be started, if some node does not
/// hear a writer within a minute, or if a writer failed.
pub async fn measure<S: System>(
    system: &S,
    workload: &Workload,
    mut phase: impl FnMut(Phase),
) -> Result<Outcome, Error> {
    check(workload)?;
    let Workload { nodes, writers, pace, warm_up, duration, .. } = *workload;
    let progress = Arc::new(Progress::new(nodes, writers, pace));
    let sinks: Vec<Sink> = (0..nodes).map(|node| Sink::new(node, Arc::clone(&progress))).collect();

    phase(Phase::Joining);
    let begun = Instant::now();
    let running = system.start(sinks.clone()).await?;
    let join_s = begun.elapsed().as_secs_f64();

    phase(Phase::Probing);
    for writer in 0..writers {
        probe(&running, writer, nodes - 1, &progress).await?;
    }
    sleep(SETTLE).await;

    phase(Phase::WarmingUp);
    let now = Instant::now();
    let (from, until) = (now + warm_up, now + warm_up + duration);
    let tasks = start_writers(&running, workload, until, &progress);
    let copies = copies_between(&running, from, until, || phase(Phase::Measuring));
    let (readings, copies) = tokio::join!(Reading::both(&progress, from, until), copies);
    let (before, after) = readings?;

    phase(Phase::Resting);
    let sent = finish(tasks).await?;
    rest(&progress, expected(workload, sent)).await;
    let rss = resident_bytes();
    running.stop().await;

    let totals = Totals::of(&sinks)?;
    Ok(Measured { join_s, before, after, copies, sent, missed: progress.missed(), rss, totals }
        .outcome(workload))
}

fn check(workload: &Workload) -> Result<(), BadWorkload> {
    let Workload { nodes, writers, size, .. } = *workload;
    if nodes < 2 || !(1..=nodes).contains(&writers) || size < LEAST_SIZE {
        return Err(BadWorkload { nodes, writers, size });
    }
    Ok(())
}

/// Sends probes as writer `number` until all `readers` have received one.
async fn probe<R: Running>(
    running: &R,
    number: usize,
    readers: usize,
    progress: &Progress,
) -> Result<(), Error> {
    let mut writer = running.writer(number);
    let deadline = Instant::now() + HEARD_WITHIN;
    for seq in 0.. {
        let header = Header { due: 0, seq, writer: number as u32, probe: true };
        writer.send(header.message(&[])).await?;
        let again = Instant::now() + PROBE_AGAIN;
        while Instant::now() < again {
            if progress.heard(number) == readers {
                return Ok(());
            }
            sleep(POLL).await;
        }
        if Instant::now() > deadline {
            return Err(NotHeard { writer: number, heard: progress.heard(number), readers }.into());
        }
    }
    Ok(())
}

/// Starts one task per writer. Each returns the number of messages it has written.
fn start_writers<R: Running>(
    running: &R,
    workload: &Workload,
    until: Instant,
    progress: &Arc<Progress>,
) -> JoinSet<Result<u64, Error>> {
    let Workload { writers, size, pace, .. } = *workload;
    let mut tasks = JoinSet::new();
    for number in 0..writers {
        let task = WriterTask {
            writer: running.writer(number),
            number,
            writers,
            filler: vec![b'x'; size],
            until,
            progress: Arc::clone(progress),
            sent: 0,
        };
        tasks.spawn(task.run(pace));
    }
    tasks
}

/// Returns how many copies of messages the nodes received between the two times, if the system
/// counts them. Calls `begin` at the first of the two.
async fn copies_between<R: Running>(
    running: &R,
    from: Instant,
    until: Instant,
    begin: impl FnOnce(),
) -> Option<u64> {
    sleep_until(from).await;
    begin();
    let before = running.copies();
    sleep_until(until).await;
    running.copies().zip(before).map(|(after, before)| after - before)
}

/// Waits for all writers, and returns how many messages they have written.
async fn finish(mut tasks: JoinSet<Result<u64, Error>>) -> Result<u64, Error> {
    let mut sent = 0;
    while let Some(written) = tasks.join_next().await {
        sent += written??;
    }
    Ok(sent)
}

/// Returns the number of messages that all readers together should read. A writer does not read its
/// own.
fn expected(workload: &Workload, sent: u64) -> u64 {
    sent * (workload.nodes as u64 - 1)
}

/// Waits until every message has been read or reported as missed, or nothing more happens.
async fn rest(progress: &Progress, expected: u64) {
    let mut last = (progress.accounted(), Instant::now());
    while last.0 < expected && last.1.elapsed() < AT_REST {
        sleep(POLL).await;
        let accounted = progress.accounted();
        if accounted != last.0 {
            last = (accounted, Instant::now());
        }
    }
}

/// The counters of this process at one time.
struct Reading {
    /// When it was taken, as close to the counters as possible.
    at: Instant,
    /// Messages read so far, summed over all readers.
    delivered: u64,
    /// Processor time so far, of the whole process.
    usage: Usage,
}

impl Reading {
    /// Takes a reading at each of the two times.
    ///
    /// It does so on a thread of its own, because a system whose `send` blocks delays the timers of
    /// the event loop. A single-threaded event loop is the exception: tests pause its clock, and
    /// then a thread would wait in real time for an instant in virtual time.
    async fn both(
        progress: &Arc<Progress>,
        from: Instant,
        until: Instant,
    ) -> Result<(Self, Self), JoinError> {
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            sleep_until(from).await;
            let before = Self::first(progress);
            sleep_until(until).await;
            return Ok((before, Self::take(progress)));
        }
        let progress = Arc::clone(progress);
        let readings = move || {
            std::thread::sleep(from - Instant::now());
            let before = Self::first(&progress);
            std::thread::sleep(until - Instant::now());
            (before, Self::take(&progress))
        };
        spawn_blocking(readings).await
    }

    /// Takes the first reading, from which on latency is recorded.
    fn first(progress: &Progress) -> Self {
        progress.measure_from(clock());
        Self::take(progress)
    }

    fn take(progress: &Progress) -> Self {
        Self { at: Instant::now(), delivered: progress.delivered(), usage: Usage::now() }
    }
}

/// All raw figures of a run.
struct Measured {
    join_s: f64,
    before: Reading,
    after: Reading,
    /// Copies of messages received in the measured interval.
    copies: Option<u64>,
    sent: u64,
    missed: u64,
    /// Resident memory of the process at the end, in bytes.
    rss: Option<u64>,
    totals: Totals,
}

impl Measured {
    /// Derives the figures. Those per second and per delivery are of the measured interval; the
    /// counts of messages are of the whole run.
    fn outcome(self, workload: &Workload) -> Outcome {
        let Self { join_s, before, after, copies, sent, missed, rss, totals } = self;
        let Workload { nodes, writers, size, pace, .. } = *workload;
        let expected = expected(workload, sent);
        let seconds = (after.at - before.at).as_secs_f64();
        let cpu = after.usage.cpu - before.usage.cpu;
        let read = after.delivered - before.delivered;
        let micros = |quantile| totals.latency.value_at_quantile(quantile) as f64 / 1_000.0;
        let copies_per_delivery = copies.map(|copies| copies as f64 / read as f64);
        Outcome {
            nodes,
            writers,
            size,
            window: if let Pace::Window(window) = pace { Some(window) } else { None },
            rate: if let Pace::Rate(rate) = pace { Some(rate) } else { None },
            seconds,
            sent,
            delivered: totals.different,
            expected,
            ratio: totals.different as f64 / expected as f64,
            gaps: missed,
            repeated: totals.repeated,
            disordered: totals.disordered,
            deliveries_per_s: read as f64 / seconds,
            mb_per_s: read as f64 / seconds * size as f64 / 1e6,
            latency: Latency { p50: micros(0.5), p90: micros(0.9), p99: micros(0.99), max: micros(1.0) },
            copies_per_delivery: copies_per_delivery.filter(|copies| copies.is_finite()),
            cpu_s_per_million: cpu.as_secs_f64() / read.max(1) as f64 * 1e6,
            rss_kib_per_node: rss.map(|bytes| bytes as f64 / 1024.0 / nodes as f64),
            join_s,
        }
    }
}
