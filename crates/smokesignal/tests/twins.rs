//! Two nodes with one key, in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{SECOND, builder, connected, network_of, start};
use smokesignal::{Broadcast, Event, Events, Identity, Incoming, SendError};
use tokio::time::{Instant, timeout};

/// Returns whether the node was started first.
async fn conflict(events: &mut Events) -> bool {
    loop {
        if let Event::IdentityConflict { superseded, .. } = events.recv().await.unwrap() {
            return superseded;
        }
    }
}

/// Waits for this message.
async fn arrives(inbox: &mut Broadcast, text: &str) {
    loop {
        let incoming = timeout(5 * SECOND, inbox.recv()).await.unwrap().unwrap();
        if matches!(&incoming, Incoming::Message { data, .. } if data == text.as_bytes()) {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_of_two_nodes_with_one_key_is_refused_what_it_writes_until_it_starts_again() {
    let (network, nodes) = network_of(8, |builder| builder).await;
    let identity = || Identity::from_seed([77; 32]);
    let first = start(builder(&network, 100, 1).identity(identity())).await;
    connected(&first).await;
    let mut told_first = first.events();
    let mut inbox = nodes[5].broadcast();
    first.broadcast().send("of the first").await.unwrap();
    timeout(SECOND, inbox.recv()).await.unwrap().unwrap();
    let second = builder(&network, 101, 4).identity(identity()).build().unwrap();
    let mut told_second = second.events();
    let begun = Instant::now();
    second.start().await.unwrap();
    assert!(timeout(5 * SECOND, conflict(&mut told_first)).await.unwrap());
    assert!(!timeout(5 * SECOND, conflict(&mut told_second)).await.unwrap());
    assert!(begun.elapsed() < 5 * SECOND);
    assert_eq!(first.broadcast().send("in vain").await, Err(SendError::IdentityInUse));
    assert_eq!(first.broadcast().try_send("in vain"), Err(SendError::IdentityInUse.into()));
    second.broadcast().send("of the second").await.unwrap();
    arrives(&mut inbox, "of the second").await;
    // Of a key that is free again the next start is the latest.
    second.stop().await;
    first.stop().await;
    first.start().await.unwrap();
    connected(&first).await;
    first.broadcast().send("again").await.unwrap();
    arrives(&mut inbox, "again").await;
}
