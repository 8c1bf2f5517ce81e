//! What options change, and the metrics that show it, in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{MS_10, SECOND, builder, connected, network_of, start};
use smokesignal::transport::MemoryNetwork;
use smokesignal::{Event, Incoming, Node, NodeBuilder, Pace, Preset, ReadFrom};
use tokio::time::{Instant, sleep, timeout};

const MIB: usize = 1024 * 1024;

/// Two linked nodes with these options; the second has 10.0.0.2.
async fn pair(options: impl Fn(NodeBuilder) -> NodeBuilder) -> (MemoryNetwork, Node, Node) {
    let network = MemoryNetwork::new().rng_seed(1).latency(MS_10..=MS_10);
    let one = start(options(builder(&network, 1, 2))).await;
    let two = start(options(builder(&network, 2, 1))).await;
    connected(&one).await;
    connected(&two).await;
    (network, one, two)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            sleep(MS_10).await;
        }
    };
    timeout(30 * SECOND, wait).await.unwrap_or_else(|_| panic!("{what}: not within 30 s"));
}

#[tokio::test(start_paused = true)]
async fn a_node_retains_as_many_bytes_and_for_as_long_as_retention_says() {
    let retention = |builder: NodeBuilder| builder.max_message(MIB).retention(2 * MIB, 10 * SECOND);
    let (_network, one, two) = pair(retention).await;
    assert_eq!(one.metrics().bytes_retained, 0);
    let (writer, mut reader) = (one.broadcast(), two.broadcast());
    for _ in 0..5 {
        writer.send(vec![0; MIB]).await.unwrap();
        assert!(matches!(reader.recv().await, Some(Incoming::Message { .. })));
        for node in [&one, &two] {
            let retained = node.metrics().bytes_retained;
            assert!((MIB..=2 * MIB).contains(&retained), "{retained}");
        }
    }
    sleep(9 * SECOND).await;
    assert!(one.metrics().bytes_retained > MIB && two.metrics().bytes_retained > MIB);
    sleep(3 * SECOND).await;
    assert_eq!((one.metrics().bytes_retained, two.metrics().bytes_retained), (0, 0));
    writer.send(vec![0; MIB]).await.unwrap();
    reader.recv().await;
    two.stop().await;
    assert_eq!(two.metrics().bytes_retained, 0, "a stopped node retains nothing");
}

#[tokio::test(start_paused = true)]
async fn a_late_joiner_reads_what_is_young_enough_for_the_retention() {
    let (network, one, two) = pair(|builder| builder.retention(64 * MIB, 5 * SECOND)).await;
    let (writer, mut reader) = (one.broadcast(), two.broadcast());
    for text in ["old", "young"] {
        writer.send(text).await.unwrap();
        reader.recv().await;
        sleep(4 * SECOND).await;
    }
    let joiner = builder(&network, 3, 1).read_from(ReadFrom::Oldest).build().unwrap();
    let mut late = joiner.broadcast();
    joiner.start().await.unwrap();
    let first = timeout(30 * SECOND, late.recv()).await.unwrap();
    assert!(matches!(first, Some(Incoming::Message { data, .. }) if data == "young"));
}

#[tokio::test(start_paused = true)]
async fn the_metrics_show_what_a_handle_has_not_read() {
    let (_network, one, two) = pair(|builder| builder).await;
    let (mut slow, mut fast) = (two.broadcast(), two.broadcast());
    assert_eq!(two.metrics().bytes_unread, 0);
    one.broadcast().send(vec![0; 1000]).await.unwrap();
    fast.recv().await;
    assert!((1000..1200).contains(&two.metrics().bytes_unread), "{:?}", two.metrics());
    slow.recv().await;
    assert_eq!(two.metrics().bytes_unread, 0);
}

#[tokio::test(start_paused = true)]
async fn the_metrics_count_messages_that_arrive_twice_apart_from_those_that_are_new() {
    let (_network, nodes) = network_of(4, |builder| builder).await;
    let writer = nodes[0].broadcast();
    let received = || nodes[1..].iter().map(|node| node.metrics().messages_received).sum::<u64>();
    let duplicates = || nodes.iter().map(|node| node.metrics().duplicates_received).sum::<u64>();
    // The first message crosses every link; the links that have brought it twice are pruned then.
    writer.send("first").await.unwrap();
    until("everyone has it", || received() == 3).await;
    until("it came twice", || duplicates() > 0).await;
    sleep(SECOND).await;
    let before = duplicates();
    for _ in 0..100 {
        writer.send("further").await.unwrap();
        sleep(MS_10).await;
    }
    until("everyone has them", || received() == 303).await;
    assert_eq!(duplicates(), before, "the tree has no second path");
}

/// Measures until a node drops a neighbour that it has just heard from, and that is frozen.
async fn time_until_dropped(options: impl Fn(NodeBuilder) -> NodeBuilder) -> Duration {
    let (network, one, two) = pair(options).await;
    let (mut heard, mut events) = (one.broadcast(), one.events());
    sleep(SECOND).await;
    two.broadcast().send("I live").await.unwrap();
    heard.recv().await;
    network.freeze(SocketAddr::from(([10, 0, 0, 2], 8495)));
    let frozen = Instant::now();
    while !matches!(timeout(30 * SECOND, events.recv()).await, Ok(Some(Event::PeerRemoved(_)))) {}
    frozen.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_dropped_after_the_time_of_the_preset_unless_another_one_is_set() {
    let dropped_after = async |least: u32, options: fn(NodeBuilder) -> NodeBuilder| {
        let (least, took) = (SECOND * least, time_until_dropped(options).await);
        assert!((least..least + SECOND / 2).contains(&took), "{took:?} instead of {least:?}");
    };
    dropped_after(3, |builder| builder).await;
    dropped_after(1, |builder| builder.preset(Preset::Lan)).await;
    dropped_after(6, |builder| builder.preset(Preset::Internet)).await;
    dropped_after(2, |builder| builder.preset(Preset::Lan).ping_timeout(2 * SECOND)).await;
    dropped_after(2, |builder| builder.ping_timeout(2 * SECOND).preset(Preset::Lan)).await;
}

/// Writes 160 MiB to a reader that begins to read and then pauses for a minute. Returns how much
/// was written in that minute, and how many messages the reader misses in the end, in messages of 1
/// MiB.
async fn paused_reader(pace: Pace) -> (u64, u64) {
    let (_network, one, two) = pair(|builder| builder.pace(pace)).await;
    let (writer, mut reader) = (one.broadcast().sender(), two.broadcast());
    writer.send(vec![0; MIB]).await.unwrap();
    assert!(matches!(reader.recv().await, Some(Incoming::Message { .. })));
    let writing = tokio::spawn(async move {
        for _ in 0..160 {
            writer.send(vec![0; MIB]).await.unwrap();
        }
        writer.end().unwrap();
    });
    sleep(60 * SECOND).await;
    let metrics = one.metrics();
    let written = metrics.messages_sent - 1;
    if pace == Pace::All {
        assert_eq!((metrics.readers, metrics.readers_behind), (1, 0));
        assert!(metrics.bytes_unconfirmed > MIB, "{metrics:?}");
        assert!(metrics.slowest_reader.is_some_and(|slowest| two.id().to_string().starts_with(&slowest)));
    }
    let (mut read, mut missed) = (0, 0);
    loop {
        match timeout(60 * SECOND, reader.recv()).await.unwrap().unwrap() {
            Incoming::Message { .. } => read += 1,
            Incoming::Gap { missed: more, .. } => missed += more,
            _ => break,
        }
    }
    writing.await.unwrap();
    assert_eq!(read + missed, 160, "with {pace:?}");
    (written, missed)
}

#[tokio::test(start_paused = true)]
async fn with_pace_all_a_writer_waits_for_a_reader_that_pauses_and_with_none_it_does_not() {
    let (written, missed) = paused_reader(Pace::All).await;
    assert!(written < 100 && missed == 0, "{written} MiB were written, {missed} are missing");
    let (written, missed) = paused_reader(Pace::None).await;
    assert!(written == 160 && missed > 0, "{written} MiB were written, {missed} are missing");
}
