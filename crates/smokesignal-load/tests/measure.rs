//! Measures a system that is only a loop over its sinks, with and without losses.

use std::time::Duration;

use bytes::Bytes;
use smokesignal_load::{Error, Pace, Running, Sink, System, Workload, Writer, measure};

/// Hands each message directly to all other nodes, except every n-th one of each writer.
struct Loopback {
    /// Loses every n-th message of each writer.
    lose_every: Option<u64>,
}

struct Nodes {
    sinks: Vec<Sink>,
    lose_every: Option<u64>,
}

struct NodeWriter {
    node: usize,
    sinks: Vec<Sink>,
    lose_every: Option<u64>,
    sent: u64,
}

impl System for Loopback {
    type Running = Nodes;

    async fn start(&self, sinks: Vec<Sink>) -> Result<Nodes, Error> {
        Ok(Nodes { sinks, lose_every: self.lose_every })
    }
}

impl Running for Nodes {
    type Writer = NodeWriter;

    fn writer(&self, node: usize) -> NodeWriter {
        NodeWriter { node, sinks: self.sinks.clone(), lose_every: self.lose_every, sent: 0 }
    }

    fn copies(&self) -> Option<u64> {
        None
    }

    async fn stop(self) {}
}

impl Writer for NodeWriter {
    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        self.sent += 1;
        if self.lose_every.is_none_or(|n| !self.sent.is_multiple_of(n)) {
            let others = self.sinks.iter().enumerate().filter(|(node, _)| *node != self.node);
            others.for_each(|(_, sink)| sink.lock().arrived(&message));
        }
        tokio::task::yield_now().await;
        Ok(())
    }
}

fn workload(writers: usize, pace: Pace) -> Workload {
    let (warm_up, duration) = (Duration::from_millis(100), Duration::from_secs(1));
    Workload { nodes: 4, writers, size: 64, pace, warm_up, duration }
}

/// The clock is virtual, so the rate holds to the message.
#[tokio::test(start_paused = true)]
async fn at_a_rate_each_message_counts_once_per_reader() {
    let outcome =
        measure(&Loopback { lose_every: None }, &workload(2, Pace::Rate(200.0)), |_| {}).await.unwrap();
    assert!((215..=225).contains(&outcome.sent), "{outcome:?}");
    assert_eq!((outcome.delivered, outcome.expected), (outcome.sent * 3, outcome.sent * 3));
    assert!((590.0..=610.0).contains(&outcome.deliveries_per_s), "{outcome:?}");
    assert_eq!((outcome.ratio, outcome.repeated, outcome.disordered), (1.0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn losses_lower_the_delivery_ratio() {
    let outcome =
        measure(&Loopback { lose_every: Some(10) }, &workload(1, Pace::Rate(200.0)), |_| {}).await.unwrap();
    assert!((0.89..=0.91).contains(&outcome.ratio), "{outcome:?}");
}

#[tokio::test]
async fn with_a_window_writers_advance_as_readers_read() {
    let outcome =
        measure(&Loopback { lose_every: None }, &workload(4, Pace::Window(64)), |_| {}).await.unwrap();
    assert_eq!((outcome.ratio, outcome.window, outcome.rate), (1.0, Some(64), None));
    assert!(outcome.sent > 4 * 64, "{outcome:?}");
}

#[tokio::test]
async fn an_impossible_workload_is_refused() {
    for (nodes, writers, size) in [(1, 1, 64), (4, 5, 64), (4, 0, 64), (4, 1, 8)] {
        let bad = Workload { nodes, writers, size, ..workload(1, Pace::Window(1)) };
        let error = measure(&Loopback { lose_every: None }, &bad, |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("needs 2 nodes or more"), "{error}");
    }
}
