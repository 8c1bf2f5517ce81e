//! Streams that other nodes carry, in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::Duration;

use common::{MS_10, SECOND, builder, echo, network_of, start};
use smokesignal::transport::MemoryNetwork;
use smokesignal::{Node, NodeBuilder, NodeStream, OpenError, Path, StreamErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

/// Thirty nodes that dial nobody for a stream, and a stream that is relayed.
async fn relayed(name: &str) -> (Vec<Node>, usize, NodeStream) {
    let (_network, nodes) = network_of(30, |builder| builder.relay_only(true)).await;
    nodes.iter().for_each(echo);
    for to in (1..nodes.len()).rev() {
        let stream = nodes[0].open(nodes[to].id(), name).await.unwrap();
        if stream.path() == Path::Relayed {
            return (nodes, to, stream);
        }
    }
    panic!("all are neighbours");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_may_not_be_dialled_is_reached_through_relays() {
    let (_network, nodes) = network_of(30, |builder| builder.relay_only(true)).await;
    nodes.iter().for_each(echo);
    let mut relayed = 0;
    for other in &nodes[1..] {
        let begin = Instant::now();
        let stream = nodes[0].open(other.id(), "echo").await.unwrap();
        stream.send("hello").await.unwrap();
        assert_eq!(stream.recv().await.unwrap().unwrap(), "hello");
        let neighbour = nodes[0].peers().contains(&other.id());
        assert_eq!(stream.path(), if neighbour { Path::Neighbour } else { Path::Relayed });
        assert!(begin.elapsed() < Duration::from_millis(700), "{:?}", begin.elapsed());
        relayed += usize::from(!neighbour);
    }
    assert!(relayed >= 20, "{relayed}");
    assert!(nodes.iter().all(|node| node.peers().len() <= 7), "such connections are not links");
}

#[tokio::test(start_paused = true)]
async fn megabytes_are_relayed_in_both_directions_at_the_same_time_and_end_in_order() {
    let (_nodes, _, mut stream) = relayed("echo").await;
    let sent: Vec<u8> = (0..8 << 20).map(|at: u32| (at % 251) as u8).collect();
    let mut read = Vec::new();
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let write = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    tokio::join!(write, async { reader.read_to_end(&mut read).await.unwrap() });
    assert!(read == sent);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_accepts_is_refused_through_others_as_well() {
    let (_nodes, _, stream) = relayed("nobody").await;
    assert_eq!(stream.accepted().await.unwrap_err().kind(), &StreamErrorKind::Refused);
}

/// Killed one by one, all that may carry: the stream breaks, nothing is wrong before, and another
/// way is found.
#[tokio::test(start_paused = true)]
async fn a_relay_that_dies_breaks_the_stream_and_the_next_one_goes_around() {
    let (mut nodes, to, stream) = relayed("echo").await;
    let target = nodes[to].id();
    let keep = [nodes[0].id(), target];
    let mut said = 0_u32;
    let error = loop {
        said += 1;
        let answer = async {
            stream.send(said.to_be_bytes().to_vec()).await?;
            stream.recv().await
        };
        match answer.await {
            Ok(answer) => assert_eq!(answer.unwrap(), said.to_be_bytes()[..]),
            Err(error) => break error,
        }
        let victim = nodes.iter().position(|node| !keep.contains(&node.id())).expect("a relay is among them");
        drop(nodes.remove(victim));
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(error.kind(), &StreamErrorKind::ConnectionLost);
    assert!(nodes.len() >= 10, "{} are left", nodes.len());
    tokio::time::sleep(20 * SECOND).await;
    let again = nodes[0].open(target, "echo").await.unwrap();
    again.send("again").await.unwrap();
    assert_eq!(again.recv().await.unwrap().unwrap(), "again");
}

/// A relay that takes everything and passes nothing on: the ends notice, as of a link.
#[tokio::test(start_paused = true)]
async fn relays_that_freeze_break_the_stream() {
    let (network, nodes) = network_of(30, |builder| builder.relay_only(true)).await;
    nodes.iter().for_each(echo);
    let mut stream = None;
    let mut to = 0;
    for other in 1..nodes.len() {
        let opened = nodes[0].open(nodes[other].id(), "echo").await.unwrap();
        if opened.path() == Path::Relayed {
            (stream, to) = (Some(opened), other);
        }
    }
    let stream = stream.unwrap();
    stream.send("before").await.unwrap();
    assert_eq!(stream.recv().await.unwrap().unwrap(), "before");
    for (at, node) in nodes.iter().enumerate() {
        if at != 0 && at != to {
            network.freeze(node.local_addr().unwrap());
        }
    }
    let begin = Instant::now();
    assert_eq!(stream.recv().await.unwrap_err().kind(), &StreamErrorKind::ConnectionLost);
    assert!(begin.elapsed() < 7 * SECOND, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_relayed_connection_is_kept_while_a_stream_is_open_and_closed_afterwards() {
    let (nodes, to, stream) = relayed("echo").await;
    tokio::time::sleep(120 * SECOND).await;
    stream.send("still there").await.unwrap();
    assert_eq!(stream.recv().await.unwrap().unwrap(), "still there");
    let open = |begin: Instant, stream: NodeStream| async move {
        stream.send("x").await.unwrap();
        stream.recv().await.unwrap();
        (begin.elapsed(), stream)
    };
    let begin = Instant::now();
    let (soon, second) = open(begin, nodes[0].open(nodes[to].id(), "echo").await.unwrap()).await;
    drop((stream, second));
    tokio::time::sleep(40 * SECOND).await;
    let begin = Instant::now();
    let (later, _) = open(begin, nodes[0].open(nodes[to].id(), "echo").await.unwrap()).await;
    assert!(later > soon, "{soon:?} over the connection that is there, {later:?} over a new one");
}

/// Figure: relayed over three hops or more, at least half of the throughput of a hop.
#[tokio::test(start_paused = true)]
async fn a_relayed_stream_has_at_least_half_of_a_hops_throughput() {
    const RATE: u64 = 2_000_000;
    let (network, nodes) = network_of(30, |builder| builder.relay_only(true)).await;
    nodes.iter().for_each(echo);
    let mut farthest = None;
    for other in &nodes[1..] {
        let stream = nodes[0].open(other.id(), "echo").await.unwrap();
        let begin = Instant::now();
        stream.send("ping").await.unwrap();
        stream.recv().await.unwrap();
        farthest = farthest.max(Some((begin.elapsed(), other.id())));
    }
    let (there_and_back, target) = farthest.unwrap();
    assert!(there_and_back >= Duration::from_millis(60), "three hops of 10 ms, {there_and_back:?}");
    let _slower = network.bandwidth(RATE);
    let mut acceptor = nodes.iter().find(|node| node.id() == target).unwrap().accept("bulk").unwrap();
    let mut stream = nodes[0].open(target, "bulk").await.unwrap();
    assert_eq!(stream.path(), Path::Relayed);
    let begin = Instant::now();
    let writing = tokio::spawn(async move {
        stream.write_all(&vec![7; 20_000_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.recv().await
    });
    let mut read = Vec::new();
    acceptor.recv().await.unwrap().read_to_end(&mut read).await.unwrap();
    assert_eq!(read.len(), 20_000_000);
    let rate = read.len() as f64 / begin.elapsed().as_secs_f64();
    assert!(rate >= 0.5 * RATE as f64, "{rate} bytes a second through hops of {RATE}");
    println!("{:.2} of a hop's throughput, there and back {there_and_back:?}", rate / RATE as f64);
    drop(writing);
}

/// Budget: a node carries sixteen connections for one neighbour at most. In a chain there is one
/// way only.
#[tokio::test(start_paused = true)]
async fn a_relay_refuses_connections_above_its_limit() {
    let network = MemoryNetwork::new().rng_seed(1).latency(MS_10..=MS_10);
    let mut nodes: Vec<Node> = Vec::new();
    for host in 1..=24 {
        let links = |builder: NodeBuilder| builder.min_peers(1).max_peers(2).prefer_near_peers(false);
        let node = start(links(builder(&network, host, host)).relay_only(true)).await;
        if host > 1 {
            node.add_peer(format!("10.0.0.{}:8495", host - 1)).await.unwrap();
        }
        nodes.push(node);
    }
    nodes.iter().for_each(echo);
    let mut opened = Vec::new();
    let mut refused = 0;
    for other in &nodes[1..] {
        match nodes[0].open(other.id(), "echo").await {
            Ok(stream) if stream.path() == Path::Relayed => opened.push(stream),
            Ok(_) => {}
            Err(OpenError::Unreachable(id)) => {
                assert_eq!(id, other.id());
                refused += 1;
            }
            // The other end of a chain is more than twenty links away.
            Err(OpenError::NotFound { id, .. }) => assert_eq!(id, other.id()),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((nodes[0].peers().len(), opened.len()), (1, 16));
    assert!(refused > 0);
    // Those that stand are not harmed.
    for stream in &opened {
        stream.send("still").await.unwrap();
        assert_eq!(stream.recv().await.unwrap().unwrap(), "still");
    }
}
