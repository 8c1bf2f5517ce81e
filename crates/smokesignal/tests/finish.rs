//! The end of a writer's stream, and the wait for those who read it, in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::Duration;

use common::{MS_10, SECOND, builder, connected, network_of, start};
use smokesignal::transport::MemoryNetwork;
use smokesignal::{Node, NodeBuilder, Pace, SendError};
use tokio::time::{Instant, timeout};

const MIB: usize = 1024 * 1024;

fn world() -> MemoryNetwork {
    MemoryNetwork::new().rng_seed(1).latency(MS_10..=MS_10)
}

#[tokio::test(start_paused = true)]
async fn a_finished_stream_was_read_by_all_neighbours_and_the_node_goes_on() {
    let network = world().bandwidth(1_000_000);
    let writer = start(builder(&network, 1, 2)).await;
    let reader = start(builder(&network, 2, 1)).await;
    connected(&writer).await;
    connected(&reader).await;
    let sent = 40;
    for _ in 0..sent {
        writer.broadcast().send(vec![7; MIB / 4]).await.unwrap();
    }
    assert!(reader.metrics().messages_received < sent);
    assert_eq!(timeout(60 * SECOND, writer.broadcast().finish()).await.unwrap(), Ok(1));
    assert_eq!(reader.metrics().messages_received, sent);
    assert_eq!(writer.broadcast().send("more").await, Err(SendError::Ended));
    // The node is there, and so is its answer.
    assert_eq!(writer.broadcast().finish().await, Ok(1));
    let mut inbox = writer.broadcast();
    reader.broadcast().send("hello").await.unwrap();
    assert!(timeout(SECOND, inbox.recv()).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn in_a_network_all_nodes_have_read_a_finished_stream_and_not_the_neighbours_only() {
    for pace in [Pace::Most, Pace::All] {
        let (network, nodes) = network_of(12, |builder| builder.pace(pace)).await;
        let _slow = network.bandwidth(1_000_000);
        for writer in &nodes[..3] {
            assert!(writer.peers().len() < 11, "some are further away");
            for number in 0..50 {
                writer.broadcast().send(vec![number; 20_000]).await.unwrap();
            }
            let received = |node: &Node| node.metrics().messages_received;
            let before: u64 = nodes.iter().map(received).sum();
            let finished = timeout(60 * SECOND, writer.broadcast().finish()).await.unwrap();
            assert_eq!(finished, Ok(11));
            assert!(nodes.iter().map(received).sum::<u64>() > before);
            for node in nodes.iter().filter(|node| node.id() != writer.id()) {
                assert_eq!(received(node) % 50, 0, "{:?}", node.id());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_waits_for_its_own_links_only_finishes_with_its_neighbours() {
    let (network, nodes) = network_of(12, |builder| builder.pace(Pace::None)).await;
    let _slow = network.bandwidth(1_000_000);
    nodes[0].broadcast().send(vec![7; 20_000]).await.unwrap();
    let finished = timeout(60 * SECOND, nodes[0].broadcast().finish()).await.unwrap();
    assert!(finished.unwrap() >= nodes[0].peers().len());
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_over_soon_where_a_far_reader_takes_nothing_unless_the_writer_waits_for_all() {
    for (pace, at_most) in [(Pace::Most, 4 * SECOND), (Pace::All, 12 * SECOND)] {
        let patient =
            |builder: NodeBuilder| builder.ping_timeout(600 * SECOND).leave_timeout(10 * SECOND).pace(pace);
        let (network, nodes) = network_of(12, patient).await;
        let writer = &nodes[0];
        let near: Vec<_> = writer.peers().list().iter().map(smokesignal::Peer::id).collect();
        let is_far = |node: &&Node| node.id() != writer.id() && !near.contains(&node.id());
        let far: Vec<_> = nodes.iter().filter(is_far).collect();
        assert!(!far.is_empty());
        assert_eq!(writer.broadcast().send_confirmed("read").await, Ok(11));
        network.freeze(far[0].local_addr().unwrap());
        writer.broadcast().send("unread").await.unwrap();
        let asked = Instant::now();
        let finished = timeout(60 * SECOND, writer.broadcast().finish()).await.unwrap().unwrap();
        let took = asked.elapsed();
        assert!((near.len()..11).contains(&finished), "{finished}");
        assert!(took <= at_most && (pace == Pace::Most || took >= 10 * SECOND), "{pace:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_finish_before_the_first_peer_waits_for_it_and_without_a_word_for_nobody() {
    let network = world();
    let writer = start(builder(&network, 1, 2)).await;
    let silent = start(builder(&network, 3, 2)).await;
    assert_eq!(timeout(SECOND, silent.broadcast().finish()).await.unwrap(), Ok(0));
    writer.broadcast().send("early").await.unwrap();
    let broadcast = writer.broadcast();
    let finishing = tokio::spawn(async move { broadcast.finish().await });
    tokio::time::sleep(5 * SECOND).await;
    assert!(!finishing.is_finished());
    let reader = start(builder(&network, 2, 1)).await;
    let finished = timeout(60 * SECOND, finishing).await.unwrap().unwrap();
    assert!(finished.unwrap() >= 1);
    assert_eq!(reader.metrics().messages_received, 1);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_reader_that_takes_nothing_is_over_after_the_leave_timeout() {
    let network = world();
    let leave_timeout = 2 * SECOND;
    // A peer that is silent stays for long.
    let patient =
        |host, seed| builder(&network, host, seed).ping_timeout(600 * SECOND).leave_timeout(leave_timeout);
    let writer = start(patient(1, 2)).await;
    let reader = start(patient(2, 1)).await;
    connected(&writer).await;
    connected(&reader).await;
    network.freeze(([10, 0, 0, 2], 8495).into());
    writer.broadcast().send("unread").await.unwrap();
    let asked = Instant::now();
    assert_eq!(timeout(60 * SECOND, writer.broadcast().finish()).await.unwrap(), Ok(0));
    let took = asked.elapsed();
    assert!((leave_timeout..leave_timeout + 3 * SECOND).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait_and_says_itself_who_has_read() {
    let network = world();
    let alone = start(builder(&network, 1, 2).leave_timeout(Duration::from_millis(100))).await;
    alone.broadcast().send("nobody reads this").await.unwrap();
    let broadcast = alone.broadcast();
    let finishing = tokio::spawn(async move { broadcast.finish().await });
    tokio::task::yield_now().await;
    assert_eq!(alone.stop().await.unsent, 1);
    // Its own patience may have been over first.
    assert!(matches!(finishing.await.unwrap(), Err(SendError::Closed) | Ok(0)));
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_message_was_read_by_every_node_of_the_network() {
    let (_network, nodes) = network_of(12, |builder| builder).await;
    let mut inboxes: Vec<_> = nodes[1..].iter().map(Node::broadcast).collect();
    let broadcast = nodes[0].broadcast();
    for size in [1, 1_000, MIB] {
        let sent = timeout(60 * SECOND, broadcast.send_confirmed(vec![7; size])).await.unwrap();
        assert_eq!(sent, Ok(11), "{size} bytes");
        for inbox in &mut inboxes {
            assert!(inbox.try_recv().is_some(), "{size} bytes");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_confirmed_by_the_first_reader_to_come_and_a_stop_ends_the_wait() {
    let network = world();
    let writer = start(builder(&network, 1, 2)).await;
    let sender = writer.broadcast().sender();
    let early = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send_confirmed("early").await }
    });
    tokio::time::sleep(5 * SECOND).await;
    assert!(!early.is_finished());
    let reader = start(builder(&network, 2, 1)).await;
    assert_eq!(timeout(60 * SECOND, early).await.unwrap().unwrap(), Ok(1));
    // A dropped future takes nothing back.
    let dropped = timeout(Duration::ZERO, sender.send_confirmed("dropped")).await;
    assert!(dropped.is_err());
    assert_eq!(sender.send_confirmed("late").await, Ok(1));
    assert_eq!(reader.metrics().messages_received, 3);
    reader.stop().await;
    let unread = tokio::spawn(async move { sender.send_confirmed("unread").await });
    tokio::time::sleep(SECOND).await;
    writer.stop_within(Duration::ZERO).await;
    assert_eq!(unread.await.unwrap(), Err(SendError::Closed));
}

/// A relay on a slow line has handed its own reader nothing yet when it has everything itself.
#[tokio::test(start_paused = true)]
async fn a_writer_that_waits_for_all_waits_for_a_far_reader_that_has_not_reported_yet() {
    let network = world();
    let relay = start(builder(&network, 1, 9).upload_limit(50_000)).await;
    let reader = start(builder(&network, 2, 1).min_peers(1).max_peers(1)).await;
    connected(&reader).await;
    tokio::time::sleep(10 * SECOND).await;
    let writer = start(builder(&network, 3, 1).min_peers(1).max_peers(1).pace(Pace::All)).await;
    connected(&writer).await;
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(writer.network_size(), 3);
    for _ in 0..6 {
        writer.broadcast().send(vec![7; 64 * 1024]).await.unwrap();
    }
    let stopped = timeout(60 * SECOND, writer.stop()).await.unwrap();
    assert_eq!(reader.metrics().messages_received, 6);
    assert_eq!((stopped.confirmed, stopped.behind), (2, 0));
    drop(relay);
}
