//! The library as its users see it, over real TCP and TLS on loopback and over the in-memory
//! transport.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::time::Duration;

use smokesignal::transport::{Credentials, MemoryNetwork, TcpTransport, Transport as _};
use smokesignal::{
    Broadcast, ConnectError, Event, Events, Identity, Incoming, Node, NodeBuilder, Peer, SendError,
    StartError, StreamErrorKind,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// Nothing here takes longer unless it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

async fn started(builder: NodeBuilder) -> Node {
    let node = builder.build().unwrap();
    node.start().await.unwrap();
    node
}

fn seeded(seed: &Node) -> NodeBuilder {
    Node::builder().seed(seed.local_addr().unwrap().to_string())
}

async fn next_peer(events: &mut Events) -> Peer {
    loop {
        match soon("a peer", events.recv()).await {
            Some(Event::PeerAdded(peer)) => return peer,
            Some(_) => {}
            None => panic!("the events ended"),
        }
    }
}

/// Two nodes, and each one's end of the stream between them.
async fn pair() -> (Node, Peer, Node, Peer) {
    let a = started(Node::builder()).await;
    let b = started(seeded(&a)).await;
    let (to_b, to_a) = (next_peer(&mut a.events()).await, next_peer(&mut b.events()).await);
    (a, to_b, b, to_a)
}

async fn message(broadcast: &mut Broadcast) -> (smokesignal::NodeId, u64, Vec<u8>) {
    match soon("a message", broadcast.recv()).await {
        Some(Incoming::Message { from, seq, data, .. }) => (from, seq, data.to_vec()),
        other => panic!("expected a message, got {other:?}"),
    }
}

#[tokio::test]
async fn a_message_is_read_by_every_node_but_its_writer() {
    let a = started(Node::builder()).await;
    let (b, c) = (started(seeded(&a)).await, started(seeded(&a)).await);
    let mut readers = [a.broadcast(), b.broadcast(), c.broadcast()];
    for node in [&a, &b, &c] {
        next_peer(&mut node.events()).await;
    }
    readers[1].send("hello").await.unwrap();
    readers[1].send("hello").await.unwrap();
    for reader in [0, 2] {
        assert_eq!(message(&mut readers[reader]).await, (b.id(), 1, b"hello".to_vec()));
        assert_eq!(message(&mut readers[reader]).await, (b.id(), 2, b"hello".to_vec()));
    }
    readers[0].send("back").await.unwrap();
    assert_eq!(message(&mut readers[1]).await, (a.id(), 1, b"back".to_vec()));
}

#[tokio::test]
async fn a_message_is_read_by_every_node_over_a_memory_network_too() {
    let net = MemoryNetwork::new();
    let a = started(Node::builder().transport(net.clone())).await;
    let b = started(seeded(&a).transport(net.clone())).await;
    let mut reader = b.broadcast();
    next_peer(&mut a.events()).await;
    a.broadcast().send("hello").await.unwrap();
    assert_eq!(message(&mut reader).await.2, b"hello");
}

#[tokio::test]
async fn broadcast_is_a_stream_of_bytes_too() {
    let (a, _, b, _) = pair().await;
    let (mut writer, mut reader) = (a.broadcast(), b.broadcast());
    writer.write_all(b"one ").await.unwrap();
    writer.write_all(b"two").await.unwrap();
    let mut read = [0; 7];
    soon("bytes", reader.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"one two");
}

#[tokio::test]
async fn large_messages_arrive_whole_and_larger_ones_are_refused() {
    let (a, _, b, _) = pair().await;
    let mut reader = b.broadcast();
    let large: Vec<u8> = (0..16 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    a.broadcast().send(large.clone()).await.unwrap();
    assert!(message(&mut reader).await.2 == large);
    let (size, limit) = (large.len() + 1, large.len());
    let error = a.broadcast().send(vec![0; size]).await.unwrap_err();
    assert_eq!(error, SendError::TooLarge { size, limit });
}

#[tokio::test]
async fn a_peer_is_a_duplex_stream_with_an_end() {
    let (_a, mut to_b, _b, mut to_a) = pair().await;
    to_b.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    soon("ping", to_a.read_exact(&mut four)).await.unwrap();
    assert_eq!(&four, b"ping");
    to_a.write_all(b"pong").await.unwrap();
    to_a.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon("the end", to_b.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"pong");
    to_b.send("still open this way").await.unwrap();
    assert_eq!(soon("a chunk", to_a.recv()).await.unwrap().unwrap(), "still open this way");
    assert!(to_a.write_all(b"late").await.is_err());
}

#[tokio::test]
async fn one_send_to_a_peer_is_one_chunk() {
    let (_a, to_b, _b, to_a) = pair().await;
    let large = vec![5; 3_000_000];
    let (sender, copy) = (to_b.clone(), large.clone());
    let sending = tokio::spawn(async move {
        for chunk in [b"a".to_vec(), Vec::new(), copy, b"z".to_vec()] {
            sender.send(chunk).await.unwrap();
        }
    });
    for expected in [b"a".to_vec(), Vec::new(), large, b"z".to_vec()] {
        assert!(soon("a chunk", to_a.recv()).await.unwrap().unwrap() == expected);
    }
    sending.await.unwrap();
}

/// "an unread stream never delays overlay traffic on the same connection"
#[tokio::test]
async fn an_unread_stream_delays_nothing_else() {
    let (a, to_b, b, to_a) = pair().await;
    let flood = tokio::spawn(async move {
        to_b.send(vec![0; 16_000_000]).await?;
        to_b.send("once there is room").await
    });
    let mut reader = b.broadcast();
    for number in 0..200_u32 {
        a.broadcast().send(number.to_string()).await.unwrap();
        assert_eq!(message(&mut reader).await.2, number.to_string().into_bytes());
    }
    assert!(!flood.is_finished(), "nobody has read the stream, so its writer waits");
    assert_eq!(soon("the chunk", to_a.recv()).await.unwrap().unwrap().len(), 16_000_000);
    soon("the writer", flood).await.unwrap().unwrap();
}

#[tokio::test]
async fn closing_a_peer_ends_its_stream_in_good_order() {
    let (a, to_b, b, mut to_a) = pair().await;
    to_b.send("last words").await.unwrap();
    to_b.close();
    let mut rest = Vec::new();
    soon("the end", to_a.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"last words");
    soon("closed here", to_b.closed()).await;
    soon("closed there", to_a.closed()).await;
    assert!(a.peers().is_empty() && b.peers().is_empty());
    let error = to_a.send("late").await.unwrap_err();
    assert_eq!((error.kind(), error.peer()), (&StreamErrorKind::ConnectionLost, a.id()));
}

#[tokio::test]
async fn closing_a_peer_sends_what_was_written_first() {
    let (_a, mut to_b, _b, mut to_a) = pair().await;
    let writing = tokio::spawn(async move {
        to_b.write_all(&vec![3; 5_000_000]).await.unwrap();
        to_b.close();
    });
    let mut all = Vec::new();
    soon("the end", to_a.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len(), 5_000_000);
    writing.await.unwrap();
}

#[tokio::test]
async fn chunks_of_several_senders_do_not_mix() {
    let (_a, to_b, _b, to_a) = pair().await;
    for letter in 0..4_u8 {
        let peer = to_b.clone();
        tokio::spawn(async move { peer.send(vec![letter; 1_000_000]).await });
    }
    for _ in 0..4 {
        let chunk = soon("a chunk", to_a.recv()).await.unwrap().unwrap();
        assert!(chunk.len() == 1_000_000 && chunk.iter().all(|byte| *byte == chunk[0]));
    }
}

#[tokio::test]
async fn a_node_without_peers_stops_with_a_full_outbox_and_says_what_is_lost() {
    let alone = started(Node::builder()).await;
    let mut written = 0;
    while alone.broadcast().try_send(vec![0; 100_000]).is_ok() {
        written += 1;
        tokio::task::yield_now().await;
    }
    let mut given_up = alone.broadcast();
    let waiting = timeout(Duration::from_millis(10), given_up.write_all(&[0; 100_000])).await;
    assert!(waiting.is_err(), "there is no room");
    let stopped = soon("the stop", alone.stop()).await;
    assert_eq!((stopped.confirmed, stopped.unsent, stopped.is_complete()), (0, written, false));
    assert!(stopped.to_string().ends_with(&format!("{written} messages reached nobody")), "{stopped}");
}

/// A program that only starts, sends and stops loses nothing while a seed lives.
#[tokio::test]
async fn what_is_written_before_the_first_peer_is_read_before_the_node_has_stopped() {
    let a = started(Node::builder()).await;
    let mut reader = a.broadcast();
    for number in 0..20_u8 {
        let writer = started(seeded(&a)).await;
        writer.broadcast().send(vec![number]).await.unwrap();
        let stopped = soon("the stop", writer.stop()).await;
        assert!(stopped.confirmed > 0 && stopped.is_complete(), "{stopped}");
        assert_eq!(message(&mut reader).await, (writer.id(), 1, vec![number]));
        assert_eq!(reader.recv().await, Some(Incoming::End { from: writer.id() }));
    }
}

#[tokio::test]
async fn a_second_stop_can_end_the_wait_of_the_first() {
    let alone = started(Node::builder().seed("127.0.0.1:1")).await;
    alone.broadcast().send("nobody reads this").await.unwrap();
    let stopping = tokio::spawn({
        let alone = alone.clone();
        async move { alone.stop().await }
    });
    tokio::task::yield_now().await;
    let stopped = soon("the second stop", alone.stop_within(Duration::ZERO)).await;
    assert_eq!((stopped.unsent, stopping.await.unwrap().unsent), (1, 1));
}

#[tokio::test]
async fn an_ended_stream_takes_no_more_until_the_node_starts_again() {
    let (a, _, b, _) = pair().await;
    let mut reader = b.broadcast();
    let mut writer = a.broadcast();
    writer.write_all(b"all of it").await.unwrap();
    writer.shutdown().await.unwrap();
    assert_eq!(writer.send("more").await, Err(SendError::Ended));
    assert_eq!(a.broadcast().try_send("more"), Err(SendError::Ended.into()));
    assert_eq!(message(&mut reader).await.2, b"all of it");
    let from = a.id();
    assert_eq!(soon("the end", reader.recv()).await, Some(Incoming::End { from }));
    // The node goes on reading.
    b.broadcast().send("to a").await.unwrap();
    assert_eq!(message(&mut writer).await.2, b"to a");
    let stopped = soon("the stop", a.stop()).await;
    assert_eq!((stopped.confirmed, stopped.behind), (1, 0));
    a.start().await.unwrap();
    b.add_peer(a.local_addr().unwrap().to_string()).await.unwrap();
    writer.send("again").await.unwrap();
    assert_eq!(soon("the new start", reader.recv()).await, Some(Incoming::Restarted { from }));
    assert_eq!(message(&mut reader).await, (from, 1, b"again".to_vec()));
}

#[tokio::test]
async fn reads_fail_when_the_own_node_is_dropped() {
    let (a, to_b, _b, _to_a) = pair().await;
    let reading = tokio::spawn(async move { to_b.recv().await });
    drop(a);
    let error = soon("the failure", reading).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), &StreamErrorKind::ConnectionLost);
}

#[tokio::test]
async fn a_node_that_is_dropped_breaks_its_streams() {
    let (a, to_b, b, mut to_a) = pair().await;
    let mut events = b.events();
    drop((a, to_b));
    let mut rest = Vec::new();
    let error = soon("the break", to_a.read_to_end(&mut rest)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let error = soon("the break, for a reader of chunks", to_a.recv()).await.unwrap_err();
    assert_eq!(error.kind(), &StreamErrorKind::ConnectionLost, "a broken link is not the end of the stream");
    while !matches!(soon("the loss", events.recv()).await, Some(Event::Disconnect)) {}
}

#[tokio::test]
async fn stop_hands_over_what_was_written_and_start_works_again() {
    let (a, _, b, _) = pair().await;
    let mut reader = b.broadcast();
    for number in 0..1000_u32 {
        a.broadcast().send(vec![number as u8; 5000]).await.unwrap();
    }
    a.stop().await;
    assert!(a.local_addr().is_none());
    for number in 0..1000_u32 {
        assert_eq!(message(&mut reader).await.2, vec![number as u8; 5000]);
    }
    assert_eq!(reader.recv().await, Some(Incoming::End { from: a.id() }));
    assert_eq!(a.broadcast().send("stopped").await, Err(SendError::Closed));
    a.start().await.unwrap();
    b.add_peer(a.local_addr().unwrap().to_string()).await.unwrap();
    a.broadcast().send("again").await.unwrap();
    assert_eq!(soon("the start", reader.recv()).await, Some(Incoming::Restarted { from: a.id() }));
    assert_eq!(message(&mut reader).await, (a.id(), 1, b"again".to_vec()));
    assert!(matches!(a.start().await, Err(StartError::AlreadyRunning)));
}

#[tokio::test]
async fn what_is_written_before_the_first_peer_waits_for_it() {
    let a = Node::builder().build().unwrap();
    a.broadcast().send("before start").await.unwrap();
    a.start().await.unwrap();
    a.broadcast().send("before the first peer").await.unwrap();
    let b = seeded(&a).build().unwrap();
    let mut reader = b.broadcast();
    b.start().await.unwrap();
    assert_eq!(message(&mut reader).await.2, b"before start");
    assert_eq!(message(&mut reader).await.2, b"before the first peer");
}

#[tokio::test]
async fn errors_of_add_peer_name_the_address_and_the_cure() {
    let (a, _, b, _) = pair().await;
    assert!(a.add_peer(b.local_addr().unwrap().to_string()).await.is_ok(), "already there is fine");
    let own = a.local_addr().unwrap().to_string();
    assert_eq!(a.add_peer(own.clone()).await.unwrap_err(), ConnectError::Myself(own));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = a.add_peer(free.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{free} refused the connection; is a node running there?"));
    assert!(matches!(a.add_peer("nonsense").await, Err(ConnectError::BadAddress(_))));
    a.stop().await;
    assert_eq!(a.add_peer(free).await.unwrap_err(), ConnectError::NotRunning);
}

#[tokio::test]
async fn an_unreachable_seed_is_reported_once_and_found_later() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let node = started(Node::builder().seed(format!("localhost:{}", address.port()))).await;
    let mut events = node.events();
    let Some(Event::SeedUnreachable { error, .. }) = soon("the trouble", events.recv()).await else {
        panic!()
    };
    assert!(error.to_string().contains("is a node running there?"), "{error}");
    let _seed = started(Node::builder().port(address.port())).await;
    assert!(matches!(soon("the seed", events.recv()).await, Some(Event::Connect)));
}

#[tokio::test]
async fn only_nodes_with_the_same_secret_meet() {
    let secret = |builder: NodeBuilder, text: &str| builder.network_secret(text);
    let a = started(secret(Node::builder(), "a secret of 16 bytes or more")).await;
    let address = a.local_addr().unwrap().to_string();
    let right = started(secret(seeded(&a), "a secret of 16 bytes or more")).await;
    next_peer(&mut right.events()).await;
    for wrong in
        [started(Node::builder()).await, started(secret(Node::builder(), "some other secret, too")).await]
    {
        assert_eq!(
            wrong.add_peer(address.clone()).await.unwrap_err(),
            ConnectError::WrongSecret(address.clone())
        );
    }
}

#[tokio::test]
async fn a_port_in_use_and_a_foreign_address_are_errors_that_name_them() {
    let a = started(Node::builder()).await;
    let address = a.local_addr().unwrap();
    let error = Node::builder().port(address.port()).build().unwrap().start().await.unwrap_err();
    assert!(matches!(error, StartError::PortInUse(found) if found == address), "{error}");
    let foreign = "203.0.113.7".parse().unwrap();
    let error = Node::builder().address(foreign).build().unwrap().start().await.unwrap_err();
    assert!(matches!(error, StartError::NotLocal(found) if found == foreign), "{error}");
}

#[tokio::test]
async fn nodes_meet_over_ipv6() {
    let localhost = "::1".parse().unwrap();
    let a = Node::builder().address(localhost).build().unwrap();
    if let Err(error) = a.start().await {
        return eprintln!("skipped: this machine has no IPv6 loopback ({error})");
    }
    let b = started(seeded(&a).address(localhost)).await;
    assert_eq!(next_peer(&mut b.events()).await.remote_addr(), a.local_addr().unwrap());
}

/// "Malformed frames from a peer: that peer is dropped with a reason in the log, nothing else
/// happens."
#[tokio::test]
async fn a_node_that_sends_malformed_frames_is_dropped_and_no_other() {
    let (a, _, b, _) = pair().await;
    let mut reader = b.broadcast();
    let me = Credentials::new(Identity::generate(), None);
    let stranger = TcpTransport::new().bind("127.0.0.1:0".parse().unwrap(), me).await.unwrap();
    // An unknown kind, a length above the limit, a message that is none, a stream that is none.
    for bytes in [&[9, 0, 0, 0][..], &[0, 0xff, 0xff, 0xff], &[0, 0, 0, 1, 7], &[4, 0, 0, 4, 0, 0, 0, 1]] {
        let mut connection = stranger.dial(a.local_addr().unwrap(), Some(a.id())).await.unwrap();
        connection.writer.write_all(bytes).await.unwrap();
        connection.writer.flush().await.unwrap();
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(5), connection.reader.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "{bytes:?} is not closed");
    }
    a.broadcast().send("unharmed").await.unwrap();
    assert_eq!(message(&mut reader).await.2, b"unharmed");
    assert_eq!((a.peers().len(), b.peers().len()), (1, 1));
}

#[tokio::test]
async fn others_dial_the_advertised_address() {
    let net = MemoryNetwork::new();
    let at = |address: &str| Node::builder().transport(net.clone()).address(address.parse().unwrap());
    let _a = started(at("10.0.0.1").port(8495).advertise("203.0.113.7:0").advertise("10.0.0.1:8495")).await;
    let b = started(at("10.0.0.2").seed("10.0.0.1:8495")).await;
    let seen = next_peer(&mut b.events()).await;
    assert_eq!(seen.remote_addr(), "203.0.113.7:8495".parse().unwrap());
    let unknown = at("10.0.0.3").advertise("nobody.invalid:1").build().unwrap();
    let error = unknown.start().await.unwrap_err();
    assert!(matches!(error, StartError::Advertise { .. }), "{error}");
    assert!(error.to_string().contains("nobody.invalid:1"), "{error}");
}

#[tokio::test]
async fn a_node_with_one_peer_takes_part() {
    let a = started(Node::builder()).await;
    let leaf = started(seeded(&a).min_peers(1).max_peers(1)).await;
    let b = started(seeded(&a)).await;
    let (mut at_leaf, mut at_b) = (leaf.broadcast(), b.broadcast());
    next_peer(&mut leaf.events()).await;
    next_peer(&mut b.events()).await;
    at_leaf.send("from the leaf").await.unwrap();
    at_b.send("to the leaf").await.unwrap();
    assert_eq!(message(&mut at_b).await.2, b"from the leaf");
    assert_eq!(message(&mut at_leaf).await.2, b"to the leaf");
}

#[tokio::test]
async fn a_channel_is_read_on_the_same_channel_alone() {
    let a = started(Node::builder()).await;
    let b = started(seeded(&a)).await;
    let (mut all, mut one, mut other) = (b.broadcast(), b.channel("one"), b.channel("other"));
    next_peer(&mut b.events()).await;
    a.channel("one").send("for one").await.unwrap();
    a.broadcast().send("for all").await.unwrap();
    a.channel("other").send("for the other").await.unwrap();
    assert_eq!(message(&mut all).await, (a.id(), 2, b"for all".to_vec()));
    assert_eq!(message(&mut one).await, (a.id(), 1, b"for one".to_vec()));
    assert_eq!(message(&mut other).await, (a.id(), 3, b"for the other".to_vec()));
    assert_eq!((all.try_recv(), one.try_recv()), (None, None));
    // The largest message fits on a channel, too.
    a.channel("one").send(vec![7; 16 * 1024 * 1024]).await.unwrap();
    assert_eq!(message(&mut one).await.2.len(), 16 * 1024 * 1024);
}

#[tokio::test(start_paused = true)]
async fn closing_a_peer_that_has_gone_leaves_the_new_link_to_the_same_node_alone() {
    let (net, identity) = (MemoryNetwork::new(), Identity::from_seed([7; 32]));
    let a = started(Node::builder().transport(net.clone())).await;
    let again = || started(seeded(&a).transport(net.clone()).identity(identity.clone()));
    let mut events = a.events();
    let first = again().await;
    let old = next_peer(&mut events).await;
    first.stop().await;
    soon("the link is gone", old.closed()).await;
    let _second = again().await;
    let new = next_peer(&mut events).await;
    assert_eq!(old.id(), new.id());
    old.close();
    // Virtual time: the link lives on for as long as one looks.
    assert!(timeout(Duration::from_secs(20), new.closed()).await.is_err(), "the new link was closed");
}

/// Each of the two gives up one of the two connections, and it may learn of that before it hears of
/// the other one.
#[tokio::test(start_paused = true)]
async fn two_nodes_that_add_each_other_at_the_same_time_both_get_their_peer() {
    for seed in 0..100 {
        let delay = Duration::from_millis(1)..=Duration::from_millis(40);
        let net = MemoryNetwork::new().latency(delay).rng_seed(seed);
        let node = |n: u8| {
            let identity = Identity::from_seed([n; 32]);
            started(Node::builder().transport(net.clone()).identity(identity).rng_seed(seed))
        };
        let (a, b) = (node(1).await, node(2).await);
        let [at_a, at_b] = [&a, &b].map(|node| node.local_addr().unwrap().to_string());
        let (to_b, to_a) = tokio::join!(a.add_peer(at_b), b.add_peer(at_a));
        let (to_b, to_a) = (to_b.unwrap(), to_a.unwrap());
        assert_eq!((a.peers().len(), b.peers().len()), (1, 1), "seed {seed}");
        to_b.send("hello").await.unwrap();
        assert_eq!(soon("the chunk", to_a.recv()).await.unwrap().unwrap(), "hello", "seed {seed}");
    }
}

/// Found from JavaScript: with a ping timeout below 700 ms the keepalives came too late, and links
/// were lost all the time. A link that is added late is not a fault: five nodes that have three
/// peers each may still come to have four.
#[tokio::test(start_paused = true)]
async fn an_idle_network_keeps_its_links_with_any_ping_timeout() {
    let timeouts = [100, 200, 500, 700, 3000].map(Duration::from_millis);
    for (seed, timeout) in (0..10).flat_map(|seed| timeouts.map(|timeout| (seed, timeout))) {
        let latency = Duration::from_millis(1)..=Duration::from_millis(5);
        let net = MemoryNetwork::new().latency(latency).rng_seed(seed);
        let node = |n: u8| {
            let identity = Identity::from_seed([n; 32]);
            Node::builder().transport(net.clone()).ping_timeout(timeout).identity(identity).rng_seed(seed)
        };
        let first = started(node(0)).await;
        let mut nodes = vec![first.clone()];
        for n in 1..5 {
            nodes.push(started(node(n).seed(first.local_addr().unwrap().to_string())).await);
        }
        tokio::time::sleep(Duration::from_secs(50)).await;
        for (n, node) in nodes.iter().enumerate() {
            // The first reader gets all that was before.
            let mut events = node.events();
            let mut added = 0;
            while let Ok(event) = tokio::time::timeout(Duration::ZERO, events.recv()).await {
                match event.unwrap() {
                    Event::PeerAdded(_) => added += 1,
                    Event::Connect => {}
                    lost => panic!("seed {seed}, {timeout:?}, node {n}: {lost:?}"),
                }
            }
            assert!(added > 0, "seed {seed}, {timeout:?}, node {n}");
        }
    }
}
