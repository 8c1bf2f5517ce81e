//! `pipe --progress`: says on stderr how much was sent and received, how fast, and how many nodes
//! have it.
//!
//! The tasks that send and print count bytes, and a task looks at the counts. On a terminal it
//! keeps one line up to date, and notices go above that line; elsewhere, as in a log, it prints a
//! line each second in which something moved. At the end there is one line about all of it.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use smokesignal::Node;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::notice;

/// How often the line on a terminal changes.
const REDRAW: Duration = Duration::from_millis(200);
/// The pause between two lines elsewhere.
const SECOND: Duration = Duration::from_secs(1);
/// The time that a rate is the mean of, or a little more: a tick may be early by a millisecond.
const WINDOW: Duration = Duration::from_millis(900);

/// Counts bytes. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
    /// When the first bytes moved.
    began: OnceLock<Instant>,
    /// The node that knows of its readers, while it runs.
    node: Mutex<Option<Node>>,
}

impl Progress {
    /// Counts bytes that are about to be sent.
    pub(super) fn sent(&self, bytes: usize) {
        self.0.began.get_or_init(Instant::now);
        self.0.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that have arrived.
    pub(super) fn received(&self, bytes: usize) {
        self.0.began.get_or_init(Instant::now);
        self.0.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn sample(&self) -> Sample {
        let Counts { sent, received, .. } = &*self.0;
        let [sent, received] = [sent, received].map(|count| count.load(Ordering::Relaxed));
        Sample { at: Instant::now(), sent, received }
    }

    /// Says how many nodes have what was sent; `None` while none has reported.
    fn readers(&self) -> Option<String> {
        let metrics = self.0.node.lock().ok()?.as_ref()?.metrics();
        readers(metrics.readers, metrics.readers_behind, metrics.bytes_unconfirmed)
    }

    /// Starts to show the counts, and the readers of this node.
    pub(super) fn show(&self, node: Node) -> Shown {
        if let Ok(mut place) = self.0.node.lock() {
            *place = Some(node);
        }
        let bar = std::io::stderr().is_terminal().then(bar);
        let task = tokio::spawn(show(self.clone(), bar.clone()));
        Shown { progress: self.clone(), bar, task }
    }
}

/// What is shown, until [`Self::finish`].
#[derive(Debug)]
pub(super) struct Shown {
    progress: Progress,
    bar: Option<ProgressBar>,
    task: JoinHandle<()>,
}

impl Shown {
    /// Drops the node, which has stopped: its events end with its last handle.
    pub(super) fn drop_node(&self) {
        if let Ok(mut node) = self.progress.0.node.lock() {
            *node = None;
        }
    }

    /// Ends it with a line about all that was sent and received.
    pub(super) fn finish(self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            notice::print_to_stderr();
            bar.finish_and_clear();
        }
        let last = self.progress.sample();
        let at = self.progress.0.began.get().copied().unwrap_or(last.at);
        let first = Sample { at, sent: 0, received: 0 };
        notice!("{} in {:.1} s", line(&first, &last), (last.at - at).as_secs_f64());
    }
}

/// The counts at some time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    sent: u64,
    received: u64,
}

/// Makes the line on the terminal, and has notices printed above it.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let above = bar.clone();
    notice::print_above_prompt(move |text| above.println(text.trim_end_matches('\n')));
    bar
}

/// Shows the counts until it is aborted.
async fn show(progress: Progress, bar: Option<ProgressBar>) {
    let first = progress.sample();
    let mut ticks = interval(if bar.is_some() { REDRAW } else { SECOND });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // The first one is immediate.
    let mut samples = VecDeque::from([first]);
    loop {
        ticks.tick().await;
        let now = progress.sample();
        // The newest one that is at least a second old comes first.
        while samples.get(1).is_some_and(|next| now.at - next.at >= WINDOW) {
            samples.pop_front();
        }
        let last = samples.back().copied().unwrap_or(first);
        let moved = (now.sent, now.received) != (last.sent, last.received);
        let mut text = line(samples.front().unwrap_or(&first), &now);
        if let Some(readers) = progress.readers().filter(|_| now.sent > 0) {
            text += &readers;
        }
        match &bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None if moved => notice!("{text}"),
            None => {}
        }
        samples.push_back(now);
    }
}

/// Says how many nodes have what was sent, all but the bytes that they have not confirmed.
fn readers(nodes: usize, behind: usize, unconfirmed: usize) -> Option<String> {
    let have = nodes.checked_sub(behind).filter(|_| nodes > 0)?;
    let what = match (have, unconfirmed) {
        (1, 0) => "1 node has it".to_owned(),
        (1, bytes) => format!("1 node has all but {}", DecimalBytes(bytes as u64)),
        (have, 0) => format!("{have} nodes have it"),
        (have, bytes) => format!("{have} nodes have all but {}", DecimalBytes(bytes as u64)),
    };
    Some(match behind {
        0 => format!("; {what}"),
        count => format!("; {what}, {count} behind"),
    })
}

/// Says what was sent and received until `now`, and how fast since `then`.
fn line(then: &Sample, now: &Sample) -> String {
    let seconds = (now.at - then.at).as_secs_f64().max(0.001);
    let part = |what: &str, before: u64, bytes: u64| {
        let rate = ((bytes - before) as f64 / seconds) as u64;
        format!("{} {what}, {}/s", DecimalBytes(bytes), DecimalBytes(rate))
    };
    let mut parts = Vec::new();
    if now.sent > 0 || now.received == 0 {
        parts.push(part("sent", then.sent, now.sent));
    }
    if now.received > 0 {
        parts.push(part("received", then.received, now.received));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_has_moved_and_how_fast() {
        let at = Instant::now();
        let then = Sample { at, sent: 1_000_000, received: 0 };
        let now = Sample { at: at + 2 * SECOND, sent: 5_000_000, received: 0 };
        assert_eq!(line(&then, &now), "5.00 MB sent, 2.00 MB/s");
        let both = Sample { received: 500, ..now };
        assert_eq!(line(&then, &both), "5.00 MB sent, 2.00 MB/s; 500 B received, 250 B/s");
        let reader = Sample { sent: 0, ..both };
        assert_eq!(line(&Sample { sent: 0, ..then }, &reader), "500 B received, 250 B/s");
        assert_eq!(line(&reader, &reader), "500 B received, 0 B/s");
        let nothing = Sample { at, sent: 0, received: 0 };
        assert_eq!(line(&nothing, &nothing), "0 B sent, 0 B/s");
    }

    #[test]
    fn a_line_says_how_many_nodes_have_it() {
        assert_eq!(readers(0, 0, 5), None);
        assert_eq!(readers(1, 0, 0).as_deref(), Some("; 1 node has it"));
        assert_eq!(readers(1, 0, 1_500_000).as_deref(), Some("; 1 node has all but 1.50 MB"));
        assert_eq!(readers(20, 1, 500).as_deref(), Some("; 19 nodes have all but 500 B, 1 behind"));
        assert_eq!(readers(3, 0, 0).as_deref(), Some("; 3 nodes have it"));
    }

    #[test]
    fn clones_count_together() {
        let progress = Progress::default();
        progress.clone().sent(3);
        progress.received(4);
        let Sample { sent, received, .. } = progress.sample();
        assert_eq!((sent, received), (3, 4));
    }
}
