//! The simulated network: what it does to bytes, and what nodes make of it. All times are virtual.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::ErrorKind::ConnectionReset;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smokesignal::transport::{Connection, Credentials, DialError, Endpoint, MemoryNetwork, Transport as _};
use smokesignal::{Broadcast, Event, Identity, Incoming, Node, NodeBuilder, ReadFrom};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

#[allow(dead_code, reason = "its `main` is not used here")]
#[path = "../examples/netsplit.rs"]
mod example;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn address(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 8495).into()
}

fn identity(host: u8) -> Identity {
    Identity::from_seed([host; 32])
}

// The network alone.

async fn bound(network: &MemoryNetwork, host: u8) -> Arc<dyn Endpoint> {
    network.bind(address(host), Credentials::new(identity(host), None)).await.unwrap()
}

/// Three places, and connections from the first to the second and from the second to the third.
struct Line {
    ends: [Arc<dyn Endpoint>; 3],
    first: (Connection, Connection),
    second: (Connection, Connection),
}

async fn line(network: &MemoryNetwork) -> Line {
    let ends = [bound(network, 1).await, bound(network, 2).await, bound(network, 3).await];
    let connect = async |a: usize, b: usize| {
        let (dialled, accepted) = tokio::join!(ends[a].dial(address(b as u8 + 1), None), ends[b].accept());
        (dialled.unwrap(), accepted.unwrap())
    };
    let (first, second) = (connect(0, 1).await, connect(1, 2).await);
    Line { ends, first, second }
}

async fn send(from: &mut Connection, text: &str) {
    from.writer.write_all(text.as_bytes()).await.unwrap();
}

async fn receive(to: &mut Connection, text: &str) {
    let mut bytes = vec![0; text.len()];
    to.reader.read_exact(&mut bytes).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

/// Nothing comes, for ten virtual minutes.
async fn silent(to: &mut Connection) {
    let read = timeout(Duration::from_secs(600), to.reader.read_u8()).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_take_the_latency_and_a_dial_takes_it_twice() {
    let network = MemoryNetwork::new().latency(ms(40)..=ms(40));
    let start = Instant::now();
    let Line { first: (mut a, mut b), .. } = line(&network).await;
    assert_eq!(start.elapsed(), ms(2 * 80), "two dials, one after the other");
    let start = Instant::now();
    send(&mut a, "there").await;
    receive(&mut b, "there").await;
    assert_eq!(start.elapsed(), ms(40));
    send(&mut b, "and back").await;
    receive(&mut a, "and back").await;
    assert_eq!(start.elapsed(), ms(80));
}

#[tokio::test(start_paused = true)]
async fn bytes_keep_their_order_while_latencies_differ() {
    let network = MemoryNetwork::new().latency(ms(10)..=ms(90)).rng_seed(5);
    let Line { first: (mut a, mut b), .. } = line(&network).await;
    let mut took = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        send(&mut a, "x").await;
        receive(&mut b, "x").await;
        took.push(start.elapsed());
    }
    let (least, most) = (took.iter().min().unwrap(), took.iter().max().unwrap());
    assert!((ms(10)..ms(20)).contains(least) && (ms(80)..=ms(90)).contains(most), "{least:?} to {most:?}");
    let written: String = ('a'..='z').collect();
    for letter in written.chars() {
        send(&mut a, &letter.to_string()).await;
    }
    receive(&mut b, &written).await;
}

#[tokio::test(start_paused = true)]
async fn a_bandwidth_is_kept() {
    let network = MemoryNetwork::new().latency(ms(10)..=ms(10)).bandwidth(1_000_000);
    let Line { first: (mut a, mut b), .. } = line(&network).await;
    let start = Instant::now();
    let (sent, mut received) = (vec![7; 3_000_000], vec![0; 3_000_000]);
    let (written, read) = tokio::join!(a.writer.write_all(&sent), b.reader.read_exact(&mut received));
    written.and(read.map(|_| ())).unwrap();
    // A writer with a full window goes on when the first piece has arrived, so that the latency
    // counts a few times.
    assert!((ms(3010)..ms(3200)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_silent_and_lost_bytes_arrive_after_it() {
    let network = MemoryNetwork::new().latency(ms(20)..=ms(20));
    let Line { ends, first: (mut a, mut b), second: (mut c, mut d) } = line(&network).await;
    send(&mut a, "arrived, ").await;
    sleep(ms(20)).await;
    send(&mut a, "on the way, ").await;
    network.partition(&[&[address(1)], &[address(2), address(3)]]);
    send(&mut a, "written later").await;
    receive(&mut b, "arrived, ").await;
    silent(&mut b).await;
    // Within a group all is as before.
    send(&mut c, "same side").await;
    receive(&mut d, "same side").await;
    let start = Instant::now();
    assert_eq!(ends[0].dial(address(3), None).await.unwrap_err(), DialError::TimedOut);
    assert_eq!(start.elapsed(), Duration::from_secs(3));

    network.heal();
    let start = Instant::now();
    receive(&mut b, "on the way, written later").await;
    assert_eq!(start.elapsed(), ms(20));
    send(&mut b, "answer").await;
    receive(&mut a, "answer").await;
}

#[tokio::test(start_paused = true)]
async fn a_close_crosses_a_cut_only_when_that_is_healed() {
    let network = MemoryNetwork::new();
    let Line { first: (mut a, mut b), .. } = line(&network).await;
    network.partition(&[&[address(1)], &[address(2)]]);
    send(&mut a, "last words").await;
    drop(a);
    silent(&mut b).await;
    send(&mut b, "to nobody").await;
    network.heal();
    let mut read = String::new();
    b.reader.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "last words");
    assert!(b.writer.write_all(b"too late").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_dial_gets_through_if_the_cut_is_healed_in_time() {
    let network = MemoryNetwork::new();
    let ends = [bound(&network, 1).await, bound(&network, 2).await];
    network.partition(&[&[address(1)], &[address(2)]]);
    let dial = tokio::spawn(ends[0].dial(address(2), None));
    sleep(ms(1500)).await;
    network.heal();
    let (dialled, accepted) = tokio::join!(dial, ends[1].accept());
    let (mut dialled, mut accepted) = (dialled.unwrap().unwrap(), accepted.unwrap());
    send(&mut dialled, "hello").await;
    receive(&mut accepted, "hello").await;
}

#[tokio::test(start_paused = true)]
async fn a_writer_into_a_cut_waits_once_the_window_is_full() {
    let network = MemoryNetwork::new();
    let Line { first: (mut a, mut b), .. } = line(&network).await;
    network.partition(&[&[address(1)], &[address(2)]]);
    let sent = vec![3; 1 << 20];
    let mut received = vec![0; 1 << 20];
    assert!(timeout(Duration::from_secs(60), a.writer.write_all(&sent)).await.is_err());
    network.heal();
    b.reader.read_exact(&mut received[..1 << 18]).await.unwrap();
    let (written, read) = tokio::join!(a.writer.write_all(&sent), b.reader.read_exact(&mut received));
    written.and(read.map(|_| ())).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_frozen_node_neither_hears_nor_speaks_until_it_thaws() {
    let network = MemoryNetwork::new().latency(ms(20)..=ms(20));
    let Line { first: (mut a, mut b), second: (mut c, mut d), .. } = line(&network).await;
    network.freeze(address(1));
    network.heal(); // Is no thaw.
    send(&mut a, "from the ice").await;
    send(&mut b, "into the ice").await;
    silent(&mut a).await;
    silent(&mut b).await;
    send(&mut c, "not frozen").await;
    receive(&mut d, "not frozen").await;
    network.thaw(address(1));
    receive(&mut a, "into the ice").await;
    receive(&mut b, "from the ice").await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_breaks_the_connections_of_one_node_at_both_ends() {
    let network = MemoryNetwork::new();
    let Line { ends, first: (mut a, mut b), second: (mut c, mut d) } = line(&network).await;
    send(&mut a, "lost").await;
    network.reset(address(1));
    assert_eq!(a.reader.read_u8().await.unwrap_err().kind(), ConnectionReset);
    assert_eq!(b.reader.read_u8().await.unwrap_err().kind(), ConnectionReset);
    assert_eq!(b.writer.write_all(b"late").await.unwrap_err().kind(), ConnectionReset);
    send(&mut c, "not theirs").await;
    receive(&mut d, "not theirs").await;
    let (again, accepted) = tokio::join!(ends[0].dial(address(2), None), ends[1].accept());
    assert!(again.is_ok() && accepted.is_some());
}

// Nodes in it.

fn builder(network: &MemoryNetwork, host: u8) -> NodeBuilder {
    let address = address(host);
    let builder = Node::builder().transport(network.clone()).address(address.ip()).port(address.port());
    builder.identity(identity(host)).seed(self::address(1).to_string()).rng_seed(1)
}

async fn started(network: &MemoryNetwork, hosts: std::ops::RangeInclusive<u8>) -> Vec<Node> {
    let mut nodes = Vec::new();
    for host in hosts {
        let node = builder(network, host).build().unwrap();
        node.start().await.unwrap();
        nodes.push(node);
    }
    nodes
}

/// Within two virtual minutes.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let looking = async {
        while !holds() {
            sleep(ms(1)).await;
        }
    };
    timeout(Duration::from_secs(120), looking).await.unwrap_or_else(|_| panic!("{what}: not within 120 s"));
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_reaches_a_neighbour_after_exactly_the_latency() {
    let network = MemoryNetwork::new().latency(ms(40)..=ms(40));
    let nodes = started(&network, 1..=2).await;
    let mut heard = nodes[1].broadcast();
    until("both are connected", || nodes.iter().all(|node| node.peers().len() == 1)).await;
    sleep(ms(500)).await;
    let start = Instant::now();
    nodes[0].broadcast().send("hello").await.unwrap();
    assert!(matches!(heard.recv().await, Some(Incoming::Message { .. })));
    assert_eq!(start.elapsed(), ms(40));
}

#[tokio::test(start_paused = true)]
async fn a_short_freeze_costs_nothing_and_a_long_one_the_links() {
    let network = MemoryNetwork::new().latency(ms(5)..=ms(5));
    let nodes = started(&network, 1..=4).await;
    let (frozen, others) = nodes.split_last().unwrap();
    until("all are linked", || nodes.iter().all(|node| node.peers().len() == 3)).await;
    let mut heard = frozen.broadcast();
    let before = frozen.peers().list();

    network.freeze(address(4));
    others[0].broadcast().send("while frozen").await.unwrap();
    sleep(ms(1000)).await;
    assert_eq!(heard.try_recv(), None);
    network.thaw(address(4));
    assert!(matches!(heard.recv().await, Some(Incoming::Message { .. })));
    assert!(before.iter().all(|peer| !peer.is_closed()));

    network.freeze(address(4));
    until("the others drop it", || others.iter().all(|node| !node.peers().contains(&frozen.id()))).await;
    network.thaw(address(4));
    until("it comes back", || frozen.peers().len() == 3).await;
    others[1].broadcast().send("once more").await.unwrap();
    assert!(matches!(heard.recv().await, Some(Incoming::Message { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_connections_break_comes_back() {
    let network = MemoryNetwork::new().latency(ms(5)..=ms(5));
    let nodes = started(&network, 1..=4).await;
    until("all are linked", || nodes.iter().all(|node| node.peers().len() == 3)).await;
    let before = nodes[3].peers().list();
    network.reset(address(4));
    until("its links are gone", || before.iter().all(smokesignal::Peer::is_closed)).await;
    until("it comes back", || nodes[3].peers().len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_killed_and_built_again_is_heard() {
    let network = MemoryNetwork::new().latency(ms(5)..=ms(5));
    let mut nodes = started(&network, 1..=4).await;
    until("all are linked", || nodes.iter().all(|node| node.peers().len() == 3)).await;
    let mut heard = nodes[0].broadcast();
    for life in 1..=3_u8 {
        nodes[3].broadcast().send(vec![life]).await.unwrap();
        if life > 1 {
            // It was killed, so its former life has no end.
            assert_eq!(heard.recv().await, Some(Incoming::Restarted { from: nodes[3].id() }));
        }
        let Some(Incoming::Message { seq, data, .. }) = heard.recv().await else {
            panic!("life {life}: a gap")
        };
        assert_eq!((seq, data[0]), (1, life));
        drop(nodes.pop()); // Its last handle: it ends as if killed.
        sleep(ms(10)).await;
        nodes.extend(started(&network, 4..=4).await);
        until("it is back", || nodes.iter().all(|node| node.peers().len() == 3)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_nodes_gather_and_everyone_reads_everyone() {
    let real = std::time::Instant::now();
    let network = MemoryNetwork::new().latency(ms(5)..=ms(50));
    let nodes = started(&network, 1..=20).await;
    let mut readers: Vec<_> = nodes.iter().map(Node::broadcast).collect();
    until("all have joined", || nodes.iter().all(|node| node.peers().len() >= 2)).await;
    for (host, reader) in (1_u8..).zip(&readers) {
        reader.send(vec![host]).await.unwrap();
    }
    for (host, reader) in (1_u8..).zip(&mut readers) {
        let mut heard = Vec::new();
        while heard.len() < 19 {
            match timeout(Duration::from_secs(30), reader.recv()).await {
                Ok(Some(Incoming::Message { data, .. })) => heard.push(data[0]),
                other => panic!("node {host} has heard {heard:?}, then {other:?}"),
            }
        }
        heard.sort_unstable();
        assert_eq!(heard, (1..=20).filter(|other| *other != host).collect::<Vec<_>>());
    }
    // Takes about 0.1 s; a machine that is busy with other tests may be slower.
    assert!(real.elapsed() < Duration::from_secs(2), "took {:?}", real.elapsed());
}

/// The netsplit events of a node, as a growing list.
fn netsplits_of(node: &Node) -> Arc<Mutex<Vec<Event>>> {
    let (mut events, reported) = (node.events(), Arc::new(Mutex::new(Vec::new())));
    let all = Arc::clone(&reported);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if matches!(event, Event::Netsplit { .. } | Event::NetsplitResolved { .. }) {
                all.lock().unwrap().push(event);
            }
        }
    });
    reported
}

#[tokio::test(start_paused = true)]
async fn the_side_without_the_seed_reports_each_cut_and_its_end_in_turn() {
    let network = MemoryNetwork::new().latency(ms(5)..=ms(50));
    let nodes = started(&network, 1..=8).await;
    let reported: Vec<_> = nodes.iter().map(netsplits_of).collect();
    let (with_seed, cut_off) = reported.split_at(4);
    let halves = [(1..=4).map(address).collect::<Vec<_>>(), (5..=8).map(address).collect()];
    let each_reported = |times: usize| cut_off.iter().all(|reported| reported.lock().unwrap().len() == times);
    for cut in 0..3 {
        until("all are counted", || nodes.iter().all(|node| node.network_size() == 8)).await;
        sleep(Duration::from_secs(10)).await;
        network.partition(&[&halves[0], &halves[1]]);
        until("a netsplit", || each_reported(2 * cut + 1)).await;
        until("each half is counted", || nodes.iter().all(|node| node.network_size() == 4)).await;
        sleep(Duration::from_secs(30)).await;
        network.heal();
        until("the end of it", || each_reported(2 * cut + 2)).await;
    }
    sleep(Duration::from_secs(120)).await;
    assert!(with_seed.iter().all(|reported| reported.lock().unwrap().is_empty()));
    for reported in cut_off {
        let reported = reported.lock().unwrap();
        assert_eq!(reported.len(), 6, "{reported:?}");
        for (at, event) in reported.iter().enumerate() {
            match event {
                Event::Netsplit { seed, size, size_before, other_size } if at % 2 == 0 => {
                    assert_eq!((*seed, *size_before, *other_size), (nodes[0].id(), 8, None));
                    assert!(*size <= 4, "{event:?}");
                }
                Event::NetsplitResolved { duration, .. } if at % 2 == 1 => {
                    assert!(*duration > Duration::from_secs(30), "{event:?}");
                }
                _ => panic!("number {at} of {reported:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_node_counts_the_whole_network() {
    let network = MemoryNetwork::new().latency(ms(5)..=ms(50));
    let mut nodes = started(&network, 1..=12).await;
    let all_count = async |nodes: &[Node], size: usize| {
        until("the count", || nodes.iter().all(|node| node.network_size() == size)).await;
        // It stays so.
        sleep(Duration::from_secs(20)).await;
        assert!(nodes.iter().all(|node| node.network_size() == size));
    };
    all_count(&nodes, 12).await;
    let stopped = nodes.pop().unwrap();
    stopped.stop().await;
    assert_eq!(stopped.network_size(), 0);
    drop(nodes.pop()); // As if killed.
    all_count(&nodes, 10).await;
    stopped.start().await.unwrap();
    nodes.push(stopped);
    all_count(&nodes, 11).await;
}

/// The next messages, each of which is one byte and from this writer.
async fn bytes_from(heard: &mut Broadcast, writer: &Node, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        match timeout(Duration::from_secs(30), heard.recv()).await {
            Ok(Some(Incoming::Message { from, data, .. })) if from == writer.id() => bytes.push(data[0]),
            other => panic!("after {bytes:?}: {other:?}"),
        }
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_joiner_starts_to_read_where_read_from_says() {
    let network = MemoryNetwork::new().latency(ms(5)..=ms(5));
    let nodes = started(&network, 1..=2).await;
    let writer = nodes[0].broadcast();
    for number in 1..=10 {
        writer.send(vec![number]).await.unwrap();
        sleep(ms(if number == 5 { 300 } else { 0 })).await; // More than one segment.
    }
    sleep(ms(1000)).await;
    // All join before anything more is written.
    let cases =
        [(ReadFrom::Oldest, 1), (ReadFrom::Last(3), 8), (ReadFrom::Last(100), 1), (ReadFrom::Now, 11)];
    let mut joiners = Vec::new();
    for (host, (start, first)) in (3..).zip(cases) {
        let node = builder(&network, host).read_from(start).build().unwrap();
        let heard = node.broadcast();
        node.start().await.unwrap();
        until("it has joined", || !node.peers().is_empty()).await;
        joiners.push((node, heard, first));
    }
    writer.send(vec![11]).await.unwrap();
    for (_, heard, first) in &mut joiners {
        let expected: Vec<u8> = (*first..=11).collect();
        assert_eq!(bytes_from(heard, &nodes[0], expected.len()).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_with_and_without_signatures_form_separate_networks() {
    let network = MemoryNetwork::new().latency(ms(5)..=ms(5));
    let mut nodes = Vec::new();
    for host in 1..=5 {
        let builder = builder(&network, host).seed(address(4).to_string());
        let node = builder.unsigned_messages(host <= 3).build().unwrap();
        node.start().await.unwrap();
        nodes.push(node);
    }
    let (unsigned, signed) = nodes.split_at(3);
    let mut readers: Vec<_> = nodes.iter().map(Node::broadcast).collect();
    let sizes = || nodes.iter().map(Node::network_size).collect::<Vec<_>>();
    until("both kinds are counted", || sizes() == [3, 3, 3, 2, 2]).await;
    readers[0].send("t").await.unwrap();
    readers[3].send("s").await.unwrap();
    for reader in &mut readers[1..3] {
        assert_eq!(bytes_from(reader, &unsigned[0], 1).await, *b"t");
    }
    assert_eq!(bytes_from(&mut readers[4], &signed[0], 1).await, *b"s");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(sizes(), [3, 3, 3, 2, 2]);
    for reader in &mut readers {
        assert_eq!(reader.try_recv(), None);
    }
}

/// Everything that all nodes see in a run with all kinds of faults, in the order in which it is
/// seen.
fn trace(rng_seed: u64) -> Vec<(Duration, u8, String)> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (start, trace) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let network = MemoryNetwork::new().latency(ms(5)..=ms(50)).bandwidth(10_000_000).rng_seed(rng_seed);
        let mut nodes = Vec::new();
        for host in 1..=8 {
            let node =
                builder(&network, host).seed(address(8).to_string()).rng_seed(rng_seed).build().unwrap();
            let (mut events, mut heard) = (node.events(), node.broadcast());
            let (seen, read) = (Arc::clone(&trace), Arc::clone(&trace));
            tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    let text = match event {
                        Event::PeerAdded(peer) => format!("added {}", peer.id().short()),
                        Event::PeerRemoved(peer) => format!("removed {}", peer.id().short()),
                        event => format!("{event:?}"),
                    };
                    seen.lock().unwrap().push((start.elapsed(), host, text));
                }
            });
            tokio::spawn(async move {
                while let Some(incoming) = heard.recv().await {
                    read.lock().unwrap().push((start.elapsed(), host, format!("{incoming:?}")));
                }
            });
            node.start().await.unwrap();
            nodes.push(node);
        }
        let half: Vec<_> = (1..=4).map(address).collect();
        let other: Vec<_> = (5..=8).map(address).collect();
        for round in 0..30 {
            match round {
                5 => network.partition(&[&half, &other]),
                8 => network.freeze(address(2)),
                15 => network.heal(),
                16 => network.reset(address(3)),
                20 => network.thaw(address(2)),
                25 => drop(nodes[6].stop().await),
                27 => nodes[6].start().await.unwrap(),
                _ => {}
            }
            let writer = nodes[round % 8].broadcast().sender();
            tokio::spawn(async move { writer.send(vec![round as u8; 5000]).await });
            sleep(ms(1000)).await;
        }
        std::mem::take(&mut *trace.lock().unwrap())
    })
}

#[test]
fn the_same_seed_is_the_same_run_event_by_event() {
    let (first, second) = (trace(7), trace(7));
    assert!(first.len() > 200, "{} events", first.len());
    let differ = first.iter().zip(&second).position(|(a, b)| a != b);
    assert_eq!(differ, None, "{:?} and {:?}", first[differ.unwrap()], second[differ.unwrap()]);
    assert_eq!(first.len(), second.len());
    assert_ne!(first, trace(8));
}

#[tokio::test(start_paused = true)]
async fn a_counter_survives_a_netsplit() {
    let log = example::netsplit(2).await.unwrap();
    assert_eq!(log.last().unwrap().1, "all ten count 35");
}
