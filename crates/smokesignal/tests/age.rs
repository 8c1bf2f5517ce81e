//! `Incoming::Message::age` distinguishes old news from new, in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::Duration;

use common::{MS_10, SECOND, builder, connected, network_of, start};
use smokesignal::transport::MemoryNetwork;
use smokesignal::{Broadcast, Incoming, Node};
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);

/// Two linked nodes, 10 ms from each other; the second has 10.0.0.2.
async fn pair() -> (MemoryNetwork, Node, Node) {
    let network = MemoryNetwork::new().rng_seed(1).latency(MS_10..=MS_10);
    let one = start(builder(&network, 1, 2)).await;
    let two = start(builder(&network, 2, 1)).await;
    connected(&one).await;
    connected(&two).await;
    (network, one, two)
}

async fn age(broadcast: &mut Broadcast) -> Duration {
    match broadcast.recv().await {
        Some(Incoming::Message { age, .. }) => age,
        other => panic!("expected a message, got {other:?}"),
    }
}

/// Asserts that `age` is what it is in truth, but for the signature that it may wait for, and
/// rounding.
fn assert_is(age: Duration, truth: Duration) {
    assert!(age + 2 * MS >= truth && age <= truth + 7 * MS, "{age:?}, in truth {truth:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_an_inbox_gets_older_until_it_is_read() {
    let (_network, one, two) = pair().await;
    let (writer, mut slow, mut fast) = (one.broadcast(), two.broadcast(), two.broadcast());
    let begun = Instant::now();
    for _ in 0..20 {
        writer.send("a position").await.unwrap();
        assert_is(age(&mut fast).await, MS_10);
        sleep(SECOND - MS_10).await;
    }
    let mut read = Vec::new();
    assert_eq!(slow.recv_many(&mut read, 10).await, 10);
    for _ in 0..10 {
        read.push(slow.try_recv().unwrap());
    }
    let waited = begun.elapsed();
    for (number, incoming) in (0..).zip(read) {
        let Incoming::Message { age, .. } = incoming else { panic!("{incoming:?}") };
        assert_is(age, waited - number * SECOND);
    }
    writer.send("the next one").await.unwrap();
    assert_is(age(&mut slow).await, MS_10);
}

/// A batch that is half read waits in the handle.
#[tokio::test(start_paused = true)]
async fn each_message_has_the_age_at_which_it_is_taken() {
    let (_network, one, two) = pair().await;
    let (writer, mut reader) = (one.broadcast(), two.broadcast());
    for _ in 0..5 {
        writer.send("together").await.unwrap();
    }
    for number in 0..5 {
        assert_is(age(&mut reader).await, MS_10 + number * SECOND);
        sleep(SECOND).await;
    }
}

/// A message in front of a frozen node gets older, although neither of the two nodes counts.
#[tokio::test(start_paused = true)]
async fn after_a_freeze_stale_messages_are_told_from_new_ones() {
    for frozen_for in [1, 20] {
        let (network, one, two) = pair().await;
        let (writer, mut reader) = (one.broadcast().sender(), two.broadcast());
        let writing = tokio::spawn(async move {
            loop {
                writer.send(vec![7; 100]).await.unwrap();
                sleep(5 * MS_10).await;
            }
        });
        age(&mut reader).await;
        let frozen = ([10, 0, 0, 2], 8495).into();
        network.freeze(frozen);
        sleep(frozen_for * SECOND).await;
        network.thaw(frozen);
        let (mut stale, mut oldest) = (0, Duration::ZERO);
        loop {
            let age = age(&mut reader).await;
            oldest = oldest.max(age);
            if age < 2 * MS_10 {
                break;
            }
            stale += 1;
        }
        assert!(oldest + SECOND / 10 >= frozen_for * SECOND, "the oldest: {oldest:?}");
        assert!(stale as u32 >= frozen_for * 10, "{stale} stale ones after {frozen_for} s");
        assert_is(age(&mut reader).await, MS_10);
        writing.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_written_before_the_first_peer_counts_from_then() {
    let network = MemoryNetwork::new().rng_seed(1).latency(MS_10..=MS_10);
    let one = start(builder(&network, 1, 2)).await;
    // Beyond what the core takes, the rest waits in the outbox.
    let (begun, mut written) = (Instant::now(), 0);
    while one.broadcast().try_send(vec![7; 100_000]).is_ok() {
        written += 1;
        sleep(MS).await;
    }
    assert!(written > 15, "{written}");
    sleep(10 * SECOND).await;
    let two = builder(&network, 2, 1).read_from(smokesignal::ReadFrom::Oldest).build().unwrap();
    let mut reader = two.broadcast();
    two.start().await.unwrap();
    for number in 0..written {
        let age = age(&mut reader).await;
        let truth = begun.elapsed() - number * MS;
        assert!(age <= truth + 10 * MS && age + 20 * MS >= truth, "{number}: {age:?}, in truth {truth:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn six_nodes_agree_on_the_age_of_a_message() {
    let (_network, nodes) = network_of(6, |builder| builder).await;
    let mut readers: Vec<_> = nodes.iter().skip(1).map(Node::broadcast).collect();
    for _ in 0..10 {
        let begun = Instant::now();
        nodes[0].broadcast().send("hello").await.unwrap();
        for reader in &mut readers {
            let age = age(reader).await;
            assert!(age <= begun.elapsed() + 10 * MS, "{age:?}, and it took {:?}", begun.elapsed());
            assert!(age >= 5 * MS, "{age:?}");
        }
        sleep(SECOND).await;
    }
}
