//! The upload limit, with real TLS over a simulated network and in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{MS_10, SECOND, builder, connected, id, node, start, stream};
use smokesignal::transport::MemoryNetwork;
use smokesignal::{Broadcast, BroadcastSender, Event, Incoming, Node, NodeStream};
use tokio::time::{Instant, sleep, timeout};

/// Bytes per second: about the least that is allowed.
const SLOW: u64 = 44_000;

fn world() -> MemoryNetwork {
    MemoryNetwork::new().rng_seed(1).latency(MS_10..=MS_10)
}

/// Writes messages of this size without an end.
fn write(sender: BroadcastSender, size: usize) {
    tokio::spawn(async move { while sender.send(vec![7; size]).await.is_ok() {} });
}

/// Counts the bytes of all messages that a node reads.
fn read(mut broadcast: Broadcast) -> Arc<AtomicUsize> {
    let count = Arc::<AtomicUsize>::default();
    let read = Arc::clone(&count);
    tokio::spawn(async move {
        while let Some(incoming) = broadcast.recv().await {
            if let Incoming::Message { data, .. } = incoming {
                read.fetch_add(data.len(), Ordering::Relaxed);
            }
        }
    });
    count
}

fn fill(stream: NodeStream) {
    tokio::spawn(async move { while stream.send(vec![7; 10_000]).await.is_ok() {} });
}

fn drain(stream: NodeStream) -> Arc<AtomicUsize> {
    let count = Arc::<AtomicUsize>::default();
    let read = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok(Some(data)) = stream.recv().await {
            read.fetch_add(data.len(), Ordering::Relaxed);
        }
    });
    count
}

/// Returns how many bytes are counted in 20 s, from a second on.
async fn in_20_s(counts: &[&Arc<AtomicUsize>]) -> usize {
    let sum = || counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>();
    sleep(SECOND).await;
    let before = sum();
    sleep(20 * SECOND).await;
    sum() - before
}

fn assert_near(bytes: usize, rate: u64, what: &str) {
    let most = 20 * rate as usize;
    assert!((most * 94 / 100..=most).contains(&bytes), "{bytes} bytes of {most}: {what}");
}

/// A node with this limit that has `count` neighbours, which know each other only through it.
async fn star(rate: u64, count: u8) -> (MemoryNetwork, Node, Vec<Node>) {
    let network = world();
    let hub = start(builder(&network, 1, 1).max_peers(usize::MAX).upload_limit(rate)).await;
    let mut others = Vec::new();
    for host in 2..2 + count {
        let other = start(builder(&network, host, 1).min_peers(1).max_peers(1)).await;
        connected(&other).await;
        others.push(other);
    }
    (network, hub, others)
}

#[tokio::test(start_paused = true)]
async fn all_links_of_a_writer_together_send_what_its_limit_allows() {
    for (rate, size) in [(SLOW, 3_000), (500_000, 100_000), (20_000_000, 1_000)] {
        let (_network, hub, others) = star(rate, 3).await;
        let counts: Vec<_> = others.iter().map(|other| read(other.broadcast())).collect();
        write(hub.broadcast().sender(), size);
        let bytes = in_20_s(&counts.iter().collect::<Vec<_>>()).await;
        let most = 20 * rate as usize;
        // A segment that is under way counts when it is whole.
        let allowed = most * 93 / 100 - 3 * 64 * 1024..=most + 3 * 64 * 1024;
        assert!(allowed.contains(&bytes), "{bytes} of {most} bytes in messages of {size}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_and_messages_share_the_limit_and_links_share_it_evenly() {
    let rate = 500_000;
    let (_network, hub, others) = star(rate, 2).await;
    let (mut streams, mut messages) = (Vec::new(), Vec::new());
    for other in &others {
        let (here, there) = stream(&hub, other).await;
        fill(here);
        streams.push(drain(there));
        messages.push(read(other.broadcast()));
    }
    write(hub.broadcast().sender(), 1_000);
    sleep(SECOND).await;
    let counted = |counts: &[Arc<AtomicUsize>]| [0, 1].map(|link| counts[link].load(Ordering::Relaxed));
    let before = (counted(&streams), counted(&messages));
    sleep(20 * SECOND).await;
    let after = (counted(&streams), counted(&messages));
    let by_stream = [0, 1].map(|link| after.0[link] - before.0[link]);
    let by_message = [0, 1].map(|link| after.1[link] - before.1[link]);
    let by_link = [0, 1].map(|link| by_stream[link] + by_message[link]);
    assert_near(by_link.iter().sum(), rate, "streams and messages");
    assert!(by_link[0].abs_diff(by_link[1]) < by_link[0] / 20, "{by_stream:?} and {by_message:?}");
    // Neither kind is starved by the other.
    for count in by_stream.into_iter().chain(by_message) {
        assert!(count > 500_000, "{by_stream:?} and {by_message:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_figures_of_a_link_show_its_rates_its_round_trip_and_what_waits_for_it() {
    let rate = 500_000;
    let (_network, hub, others) = star(rate, 1).await;
    let other = &others[0];
    let round_trip = Some(2 * MS_10);
    let (here, there) = (hub.peers().get(&other.id()).unwrap(), other.peers().get(&hub.id()).unwrap());
    assert_eq!((here.metrics().round_trip, there.metrics().round_trip), (round_trip, round_trip));
    sleep(2 * SECOND).await;
    let idle = here.metrics();
    assert!(idle.bytes_sent_per_second < 1_000 && idle.bytes_unsent == 0, "{idle:?}");
    write(hub.broadcast().sender(), 10_000);
    sleep(5 * SECOND).await;
    let (busy, reads) = (here.metrics(), there.metrics());
    assert_eq!(hub.metrics().links, [busy]);
    // One piece of 50 ms more or less.
    let about = 470_000..=530_000;
    assert!(about.contains(&busy.bytes_sent_per_second), "{busy:?}");
    assert!(about.contains(&reads.bytes_received_per_second), "{reads:?}");
    // The core hands a link what it takes in a second at most.
    assert!((10_000..=200_000).contains(&busy.bytes_unsent), "{busy:?}");
    let (stream, _end) = stream(&hub, other).await;
    fill(stream);
    sleep(SECOND).await;
    let with_stream = here.metrics();
    assert!(with_stream.bytes_unsent > busy.bytes_unsent, "{with_stream:?} after {busy:?}");
    other.stop().await;
    here.closed().await;
    sleep(2 * SECOND).await;
    assert_eq!(here.metrics().bytes_sent_per_second, 0);
    assert_eq!(hub.metrics().links, []);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_a_node_relays_counts_once_and_fills_its_limit() {
    let rate = 500_000;
    let network = world();
    let relay = start(builder(&network, 1, 1).upload_limit(rate)).await;
    let one = start(builder(&network, 2, 1).min_peers(1).max_peers(1).relay_only(true)).await;
    let two = start(builder(&network, 3, 1).min_peers(1).max_peers(1)).await;
    connected(&one).await;
    connected(&two).await;
    let (here, there) = stream(&one, &two).await;
    assert_eq!(here.path(), smokesignal::Path::Relayed);
    fill(here);
    let count = drain(there);
    assert_near(in_20_s(&[&count]).await, rate, "relayed");
    relay.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_at_the_lowest_limit_keeps_its_links_and_answers_while_it_is_busy() {
    let (network, hub, others) = star(SLOW, 5).await;
    let mut events = hub.events();
    let mut acceptor = hub.accept("ping").unwrap();
    let (_, there) = stream(&others[0], &hub).await;
    drop(there);
    tokio::spawn(async move {
        while let Some(stream) = acceptor.recv().await {
            tokio::spawn(async move {
                while let Ok(Some(data)) = stream.recv().await {
                    stream.send(data).await.unwrap();
                }
            });
        }
    });
    // Joiners are let in between others, and surplus links end.
    sleep(5 * SECOND).await;
    while timeout(Duration::ZERO, events.recv()).await.is_ok() {}
    assert!(hub.peers().len() >= 3, "{:?}", hub.peers());
    write(hub.broadcast().sender(), 1_000_000);
    sleep(60 * SECOND).await;
    while let Ok(Some(event)) = timeout(Duration::ZERO, events.recv()).await {
        assert!(!matches!(event, Event::PeerRemoved(_)), "{event:?}");
    }
    // A stream opened now gets its turn between the segments of all links.
    let asked = Instant::now();
    let ping = others[1].open(id(1), "ping").await.unwrap();
    ping.send("ping").await.unwrap();
    assert_eq!(ping.recv().await.unwrap().unwrap(), "ping");
    assert!(asked.elapsed() < 6 * SECOND, "{:?}", asked.elapsed());
    // Joining is urgent, too.
    let asked = Instant::now();
    let late = node(&network, 20, 1).await;
    connected(&late).await;
    assert!(asked.elapsed() < SECOND, "joined after {:?}", asked.elapsed());
}
