//! How far a node is behind in what others write, in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::Duration;

use common::{MS_10, SECOND, network_of};
use tokio::time::timeout;

const MESSAGES: u64 = 50;
const SIZE: u64 = 16_000;

/// Waits until `look` finds something, at virtual times.
async fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            match look() {
                Some(found) => break found,
                None => tokio::time::sleep(MS_10).await,
            }
        }
    };
    timeout(60 * SECOND, found).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_frozen_knows_how_far_it_is_behind_until_it_has_caught_up() {
    let (network, nodes) = network_of(3, |builder| builder.ping_timeout(600 * SECOND)).await;
    let network = network.bandwidth(100_000);
    let [writer, other, reader] = &nodes[..] else { panic!("three nodes") };
    let address = ([10, 0, 0, 3], 8495).into();
    writer.broadcast().send(vec![7; SIZE as usize]).await.unwrap();
    wait_for(|| (reader.metrics().messages_received == 1).then_some(())).await;
    network.freeze(address);
    for _ in 1..MESSAGES {
        writer.broadcast().send(vec![7; SIZE as usize]).await.unwrap();
    }
    wait_for(|| (other.metrics().messages_received == MESSAGES).then_some(())).await;
    network.thaw(address);
    let behind = wait_for(|| {
        let [behind] = reader.metrics().writers[..] else { return None };
        (behind.time_behind > SECOND).then_some(behind)
    });
    let behind = behind.await;
    let missing = MESSAGES - reader.metrics().messages_received;
    assert_eq!(behind.writer, writer.id());
    // The figures are a tenth of a second old.
    assert!((1..=missing + 1).contains(&behind.messages_behind), "{behind:?}, of {missing}");
    let bytes = behind.messages_behind * SIZE;
    assert!((bytes / 5..=5 * bytes).contains(&behind.bytes_behind), "{behind:?}");
    let caught_up = wait_for(|| {
        let metrics = reader.metrics();
        let [last] = metrics.writers[..] else { return None };
        (metrics.messages_received == MESSAGES && last.messages_behind == 0).then_some(last)
    });
    let last = caught_up.await;
    assert_eq!((last.bytes_behind, last.time_behind), (0, Duration::ZERO));
    reader.stop().await;
    assert_eq!(reader.metrics().writers, []);
}
