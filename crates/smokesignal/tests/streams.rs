//! Named streams, in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::Duration;

use common::{MS_10, SECOND, connected, echo, id, network, node, pair, stream};
use smokesignal::transport::MemoryNetwork;
use smokesignal::{AcceptError, NodeStream, OpenError, Path, StreamErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

#[tokio::test(start_paused = true)]
async fn a_neighbour_is_reached_without_a_round_trip() {
    let (one, two) = pair().await;
    let mut acceptor = two.accept("echo").unwrap();
    let begin = Instant::now();
    let mut here = one.open(id(2), "echo").await.unwrap();
    here.write_all(b"hello").await.unwrap();
    here.shutdown().await.unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    let mut there = acceptor.recv().await.unwrap();
    assert!((10..13).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    assert_eq!((there.peer(), there.name(), there.path()), (id(1), "echo", Path::Neighbour));
    let mut read = String::new();
    there.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "hello");
    // Half closed: the other direction goes on.
    there.write_all(b"and back").await.unwrap();
    there.shutdown().await.unwrap();
    read.clear();
    here.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "and back");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_accepts_is_refused_immediately() {
    let (one, two) = pair().await;
    let begin = Instant::now();
    let here = one.open(two.id(), "nobody").await.unwrap();
    assert_eq!(here.accepted().await.unwrap_err().kind(), &StreamErrorKind::Refused);
    assert!(begin.elapsed() < Duration::from_millis(30), "{:?}", begin.elapsed());
    assert_eq!(here.recv().await.unwrap_err().kind(), &StreamErrorKind::Refused);
    assert_eq!(here.send("x").await.unwrap_err().kind(), &StreamErrorKind::Refused);
    // A name is accepted for as long as its acceptor lives, and by one only.
    let acceptor = two.accept("name").unwrap();
    assert_eq!(two.accept("name").unwrap_err(), AcceptError::Taken("name".into()));
    let waiting = one.open(two.id(), "name").await.unwrap();
    tokio::time::sleep(SECOND).await;
    drop(acceptor);
    assert_eq!(waiting.accepted().await.unwrap_err().kind(), &StreamErrorKind::Refused);
    assert!(two.accept("name").is_ok());
}

#[tokio::test(start_paused = true)]
async fn bad_ids_and_names_are_errors_that_name_them() {
    let (one, two) = pair().await;
    assert_eq!(one.open(one.id(), "x").await.unwrap_err(), OpenError::Myself(one.id()));
    assert_eq!(one.open(two.id(), "").await.unwrap_err(), OpenError::BadName(0));
    assert_eq!(one.open(two.id(), &"x".repeat(256)).await.unwrap_err(), OpenError::BadName(256));
    assert!(one.open(two.id(), &"x".repeat(255)).await.is_ok());
    assert_eq!(one.accept("").unwrap_err(), AcceptError::BadName(0));
}

#[tokio::test(start_paused = true)]
async fn chunks_keep_their_bounds_and_a_reset_its_reason() {
    let (one, two) = pair().await;
    let (here, there) = stream(&one, &two).await;
    for size in [0, 1, 100_000, 3_000_000] {
        let sent = vec![7; size];
        let (_, received) = tokio::join!(async { here.send(sent.clone()).await.unwrap() }, there.recv());
        assert_eq!(received.unwrap().unwrap(), sent);
    }
    there.reset("no more today");
    let reason = StreamErrorKind::Reset("no more today".into());
    assert_eq!(here.recv().await.unwrap_err().kind(), &reason);
    assert_eq!(here.send("x").await.unwrap_err().kind(), &reason);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_ends_in_order_and_stops_the_other_side() {
    let (one, two) = pair().await;
    let (here, there) = stream(&one, &two).await;
    here.send("last words").await.unwrap();
    drop(here);
    assert_eq!(there.recv().await.unwrap().unwrap(), "last words");
    assert_eq!(there.recv().await, Ok(None));
    assert_eq!(there.send("x").await.unwrap_err().kind(), &StreamErrorKind::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_breaks_ends_its_streams_with_an_error() {
    let (one, two) = pair().await;
    let (here, there) = stream(&one, &two).await;
    here.send("arrives").await.unwrap();
    assert_eq!(there.recv().await.unwrap().unwrap(), "arrives");
    drop(two);
    let error = timeout(10 * SECOND, here.recv()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), &StreamErrorKind::ConnectionLost);
    assert_eq!(there.recv().await.unwrap_err().kind(), &StreamErrorKind::ConnectionLost);
}

/// A thousand streams at the same time, one of them never read: each of the others makes progress.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_delays_no_other() {
    let (one, two) = pair().await;
    let (unread, there) = stream(&one, &two).await;
    let mut acceptor = two.accept("many").unwrap();
    let fill = async { while timeout(SECOND, unread.send(vec![0; 10_000])).await.is_ok() {} };
    fill.await;
    let mut streams = Vec::new();
    for number in 0..1000_u32 {
        let stream = one.open(two.id(), "many").await.unwrap();
        stream.send(number.to_be_bytes().to_vec()).await.unwrap();
        streams.push((stream, acceptor.recv().await.unwrap()));
    }
    for (number, (stream, other)) in streams.iter().enumerate() {
        assert_eq!(other.recv().await.unwrap().unwrap(), (number as u32).to_be_bytes()[..]);
        other.send("answer").await.unwrap();
        assert_eq!(stream.recv().await.unwrap().unwrap(), "answer");
    }
    // And the one that was not read has lost nothing.
    assert_eq!(there.recv().await.unwrap().unwrap().len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn too_many_streams_are_refused_as_busy_and_room_comes_back() {
    let (one, two) = pair().await;
    let acceptor = two.accept("full").unwrap();
    let mut streams = Vec::new();
    for _ in 0..129 {
        streams.push(one.open(two.id(), "full").await.unwrap());
    }
    let last = streams.pop().unwrap();
    assert_eq!(last.accepted().await.unwrap_err().kind(), &StreamErrorKind::Busy, "128 wait to be taken");
    drop((acceptor, streams));
    let mut acceptor = two.accept("full").unwrap();
    tokio::time::sleep(SECOND).await;
    let stream = one.open(two.id(), "full").await.unwrap();
    stream.send("x").await.unwrap();
    assert_eq!(acceptor.recv().await.unwrap().recv().await.unwrap().unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn any_node_of_the_network_is_reached_by_its_id() {
    let (_network, nodes) = network().await;
    nodes.iter().for_each(echo);
    let one = &nodes[0];
    let mut direct = Vec::new();
    for other in &nodes[1..] {
        let begin = Instant::now();
        let stream = one.open(other.id(), "echo").await.unwrap();
        stream.send("hello").await.unwrap();
        assert_eq!(stream.recv().await.unwrap().unwrap(), "hello");
        if one.peers().contains(&other.id()) {
            assert_eq!(stream.path(), Path::Neighbour);
        } else {
            assert_eq!(stream.path(), Path::Direct);
            // Two dials' time, a search, and there and back with what was said.
            assert!(begin.elapsed() < Duration::from_millis(300), "{:?}", begin.elapsed());
            direct.push((other, stream));
        }
    }
    assert!(direct.len() >= 6, "{}", direct.len());
    assert!(nodes.iter().all(|node| node.peers().len() <= 7), "such connections are not links");
    // The connection is there now, and kept while a stream is open.
    tokio::time::sleep(120 * SECOND).await;
    for (other, stream) in &direct {
        let begin = Instant::now();
        stream.send("still there").await.unwrap();
        assert_eq!(stream.recv().await.unwrap().unwrap(), "still there");
        drop(one.open(other.id(), "echo").await.unwrap());
        assert!(begin.elapsed() < Duration::from_millis(30), "{:?}", begin.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_id_is_an_error_within_the_time_and_names_it() {
    let (_network, nodes) = network().await;
    let begin = Instant::now();
    let waited = 5 * SECOND;
    assert_eq!(nodes[3].open(id(99), "x").await.unwrap_err(), OpenError::NotFound { id: id(99), waited });
    assert!((5..7).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    nodes[3].stop().await;
    assert_eq!(nodes[3].open(id(1), "x").await.unwrap_err(), OpenError::NotRunning);
}

/// The network gives links up when it likes to. Streams do not notice.
#[tokio::test(start_paused = true)]
async fn a_stream_outlives_the_link_that_it_was_opened_on() {
    let network = MemoryNetwork::new().rng_seed(1).latency(MS_10..=MS_10);
    let mut nodes = vec![node(&network, 1, 1).await, node(&network, 2, 1).await];
    connected(&nodes[0]).await;
    connected(&nodes[1]).await;
    echo(&nodes[1]);
    let stream = nodes[0].open(id(2), "echo").await.unwrap();
    assert_eq!(stream.path(), Path::Neighbour);
    let mut said = 0_u32;
    // Joiners come between, until the two are not neighbours any more.
    for host in 3..60 {
        nodes.push(node(&network, host, 1).await);
        for _ in 0..20 {
            said += 1;
            stream.send(said.to_be_bytes().to_vec()).await.unwrap();
            assert_eq!(stream.recv().await.unwrap().unwrap(), said.to_be_bytes()[..]);
            tokio::time::sleep(MS_10).await;
        }
        if stream.path() == Path::Direct {
            assert!(!nodes[0].peers().contains(&id(2)));
            return;
        }
    }
    panic!("they are neighbours still");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_that_does_not_drain_is_reset() {
    let (one, two) = pair().await;
    let (here, mut there) = stream(&one, &two).await;
    here.send(vec![1; 1 << 20]).await.unwrap();
    drop(here);
    tokio::time::sleep(60 * SECOND).await;
    let mut read = Vec::new();
    let end = there.read_to_end(&mut read).await.unwrap_err();
    assert!(read.len() < 1 << 20, "it is not read as the end");
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset, "{end}");

    let (here, mut there) = stream(&one, &two).await;
    here.send(vec![1; 1 << 20]).await.unwrap();
    drop(here);
    for _ in 0..10 {
        let mut part = vec![0; 100_000];
        there.read_exact(&mut part).await.unwrap();
        tokio::time::sleep(20 * SECOND).await;
    }
    there.read_to_end(&mut read).await.expect("who is slow gets all of it");
}

/// A thousand writers on one link that cannot take what they write: each gets its part, give or
/// take a fifth.
#[tokio::test(start_paused = true)]
async fn a_thousand_streams_share_a_link_fairly() {
    let network = MemoryNetwork::new().rng_seed(1).latency(MS_10..=MS_10).bandwidth(5_000_000);
    let (one, two) = (node(&network, 1, 2).await, node(&network, 2, 1).await);
    connected(&one).await;
    connected(&two).await;
    let mut acceptor = two.accept("bulk").unwrap();
    let mut pairs = Vec::new();
    for _ in 0..1000 {
        let here = one.open(two.id(), "bulk").await.unwrap();
        // Not more than 128 may wait to be taken.
        pairs.push((here, acceptor.recv().await.unwrap()));
    }
    let (until, mut reading) = (Instant::now() + 60 * SECOND, tokio::task::JoinSet::new());
    for (here, there) in pairs {
        tokio::spawn(async move { while here.send(vec![0; 10_000]).await.is_ok() {} });
        reading.spawn(count(there, until));
    }
    let read = reading.join_all().await;
    let (sum, least, most) =
        (read.iter().sum::<usize>(), *read.iter().min().unwrap(), *read.iter().max().unwrap());
    let mean = sum / read.len();
    assert!(least * 10 >= mean * 8 && most * 10 <= mean * 12, "{least} to {most}, {mean} on average");
    println!("{least} to {most} bytes, {mean} on average");
    assert!(sum * 10 >= 5_000_000 * 60 * 9, "{sum} bytes in 60 s at 5 MB/s");
}

async fn count(stream: NodeStream, until: Instant) -> usize {
    let mut read = 0;
    while let Ok(Ok(Some(chunk))) = tokio::time::timeout_at(until, stream.recv()).await {
        read += chunk.len();
    }
    read
}

/// The window follows the way: one stream fills a line of 10 MB/s with a round trip of 100 ms (1
/// MB).
#[tokio::test(start_paused = true)]
async fn one_stream_fills_a_long_line() {
    let ms_50 = Duration::from_millis(50);
    let network = MemoryNetwork::new().rng_seed(1).latency(ms_50..=ms_50).bandwidth(10_000_000);
    let (one, two) = (node(&network, 1, 2).await, node(&network, 2, 1).await);
    connected(&one).await;
    connected(&two).await;
    let (here, there) = stream(&one, &two).await;
    tokio::spawn(async move { while here.send(vec![0; 10_000]).await.is_ok() {} });
    let begin = Instant::now();
    let first = count(there, begin + 10 * SECOND).await;
    // The simulated line itself holds 256 KiB on the way: 2.6 MB/s at this delay.
    assert!(first >= 10 * 2_300_000, "{first} bytes in 10 s");
}
