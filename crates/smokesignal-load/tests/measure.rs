//! A system that is nothing but a loop over its sinks, and one that loses messages.

use std::time::Duration;

use bytes::Bytes;
use smokesignal_load::{Error, Pace, Running, Sink, System, Workload, Writer, measure};

/// Each message is read by all others at once, but for every `lost`th.
struct Hall {
    lost: Option<u64>,
}

struct Open {
    sinks: Vec<Sink>,
    lost: Option<u64>,
}

struct Speaker {
    node: usize,
    sinks: Vec<Sink>,
    lost: Option<u64>,
    spoken: u64,
}

impl System for Hall {
    type Running = Open;

    async fn start(&self, sinks: Vec<Sink>) -> Result<Open, Error> {
        Ok(Open { sinks, lost: self.lost })
    }
}

impl Running for Open {
    type Writer = Speaker;

    fn writer(&self, node: usize) -> Speaker {
        Speaker { node, sinks: self.sinks.clone(), lost: self.lost, spoken: 0 }
    }

    fn copies(&self) -> Option<u64> {
        None
    }

    async fn stop(self) {}
}

impl Writer for Speaker {
    async fn send(&mut self, message: Bytes) -> Result<(), Error> {
        self.spoken += 1;
        if self.lost.is_none_or(|lost| !self.spoken.is_multiple_of(lost)) {
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

/// In virtual time a rate is kept to the message.
#[tokio::test(start_paused = true)]
async fn at_a_rate_each_message_is_counted_for_each_reader() {
    let outcome = measure(&Hall { lost: None }, &workload(2, Pace::Rate(200.0)), |_| {}).await.unwrap();
    assert!((215..=225).contains(&outcome.sent), "{outcome:?}");
    assert_eq!((outcome.delivered, outcome.expected), (outcome.sent * 3, outcome.sent * 3));
    assert!((590.0..=610.0).contains(&outcome.deliveries_per_s), "{outcome:?}");
    assert_eq!((outcome.ratio, outcome.repeated, outcome.disordered), (1.0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn losses_show_in_the_ratio() {
    let outcome = measure(&Hall { lost: Some(10) }, &workload(1, Pace::Rate(200.0)), |_| {}).await.unwrap();
    assert!((0.89..=0.91).contains(&outcome.ratio), "{outcome:?}");
}

#[tokio::test]
async fn with_a_window_writers_go_on_as_readers_do() {
    let outcome = measure(&Hall { lost: None }, &workload(4, Pace::Window(64)), |_| {}).await.unwrap();
    assert_eq!((outcome.ratio, outcome.window, outcome.rate), (1.0, Some(64), None));
    assert!(outcome.sent > 4 * 64, "{outcome:?}");
}

#[tokio::test]
async fn a_workload_that_makes_no_sense_is_refused() {
    for (nodes, writers, size) in [(1, 1, 64), (4, 5, 64), (4, 0, 64), (4, 1, 8)] {
        let bad = Workload { nodes, writers, size, ..workload(1, Pace::Window(1)) };
        let error = measure(&Hall { lost: None }, &bad, |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("needs 2 nodes"), "{error}");
    }
}
