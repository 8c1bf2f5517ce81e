//! Replies, questions and answers, in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{MS_10, SECOND, network, pair};
use smokesignal::transport::{
    BoxFuture, Connection, Credentials, DialError, Endpoint, MemoryNetwork, Transport,
};
use smokesignal::{AcceptError, Answers, Incoming, Node, NodeId, Path};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_reply_goes_to_the_writer_wherever_it_is() {
    let (_network, nodes) = network().await;
    let mut readers: Vec<_> = nodes[1..].iter().map(|node| (node, node.broadcast())).collect();
    let mut replies = nodes[0].replies().unwrap();
    nodes[0].broadcast().send("is anybody there?").await.unwrap();
    for (node, broadcast) in &mut readers {
        let message = broadcast.recv().await.unwrap();
        let stream = message.reply(node).await.unwrap();
        stream.send(format!("{} is", node.id())).await.unwrap();
        let there = replies.recv().await.unwrap();
        assert_eq!((there.peer(), there.name()), (node.id(), "reply"));
        assert_eq!(there.recv().await.unwrap().unwrap(), format!("{} is", node.id()));
    }
}

#[tokio::test(start_paused = true)]
async fn answers_reach_only_the_node_that_asks() {
    let (_network, nodes) = network().await;
    let mut answering = Vec::new();
    for (at, node) in nodes.iter().enumerate().skip(1) {
        let handler = move |_from, question: Bytes| async move {
            (at % 2 == 0).then(|| Bytes::from(format!("{at}: {}", question.len())))
        };
        answering.push(node.answer(handler).unwrap());
    }
    let twice = nodes[1].answer(|_, _| async { None }).unwrap_err();
    assert_eq!(twice, AcceptError::ResponderExists);
    let mut broadcast = nodes[1].broadcast();
    let begin = Instant::now();
    let mut answers = nodes[0].ask("how long?", 3 * SECOND).await.unwrap();
    let mut got = BTreeMap::new();
    while let Some(answer) = answers.recv().await {
        assert!(begin.elapsed() < SECOND, "{:?}", begin.elapsed());
        assert!(got.insert(answer.from, answer.data).is_none());
    }
    assert_eq!(begin.elapsed().as_secs(), 3);
    let even = (2..12).step_by(2);
    let expected: BTreeMap<_, _> = even.map(|at| (nodes[at].id(), Bytes::from(format!("{at}: 9")))).collect();
    assert_eq!(got, expected);
    // A question is not delivered as a message.
    nodes[0].broadcast().send("a message").await.unwrap();
    let Some(Incoming::Message { data, .. }) = broadcast.recv().await else { panic!() };
    assert_eq!(data, "a message");
}

#[tokio::test(start_paused = true)]
async fn answers_are_bounded_and_late_ones_are_refused() {
    let (one, two) = pair().await;
    let handler = |_, question: Bytes| async move {
        match &question[..] {
            b"large" => Some(vec![7; 1 << 20].into()),
            b"too large" => Some(vec![7; (1 << 20) + 1].into()),
            _ => {
                tokio::time::sleep(5 * SECOND).await;
                Some("late".into())
            }
        }
    };
    let answering = two.answer(handler).unwrap();
    let mut answers = one.ask("large", SECOND).await.unwrap();
    assert_eq!(answers.recv().await.unwrap().data.len(), 1 << 20);
    assert_eq!(answers.recv().await, None);
    for question in ["too large", "slow"] {
        assert_eq!(one.ask(question, SECOND).await.unwrap().recv().await, None);
    }
    // Five thousand at the same time: as many as promised are answered, and the node lives on.
    let mut asked = Vec::new();
    for _ in 0..1000 {
        asked.push(one.ask("large", 60 * SECOND).await.unwrap());
    }
    let first = asked[0].recv().await.unwrap();
    assert_eq!(first.from, two.id());
    drop(asked);
    tokio::time::sleep(60 * SECOND).await;
    let again = one.ask("large", SECOND).await.unwrap().recv().await;
    assert_eq!(again.unwrap().data.len(), 1 << 20);
    drop(answering);
    assert_eq!(one.ask("large", SECOND).await.unwrap().recv().await, None);
    let _again = two.answer(|_, _| async { None }).expect("the first one is gone");
}

#[tokio::test(start_paused = true)]
async fn messages_that_look_like_questions_are_messages() {
    let (one, two) = pair().await;
    let mut broadcast = two.broadcast();
    let _answering = two.answer(|_, _| async { Some("an answer".into()) }).unwrap();
    let texts = ["\0smokesignal\0\u{1}12345678", "\0smokesignal\0", "\0smokesignal\0\0", "\0"];
    for text in texts {
        one.broadcast().send(text).await.unwrap();
        let Some(Incoming::Message { data, .. }) = broadcast.recv().await else { panic!() };
        assert_eq!(data, text);
    }
    let largest = ["\0smokesignal\0".as_bytes(), &vec![1; (16 << 20) - 13]].concat();
    one.broadcast().send(largest.clone()).await.unwrap();
    let Some(Incoming::Message { data, .. }) = broadcast.recv().await else { panic!() };
    assert!(data == largest, "of the largest size as well");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_answered_when_the_application_takes_it() {
    let (one, two) = pair().await;
    let mut acceptor = two.accept("x").unwrap();
    let stream = one.open(two.id(), "x").await.unwrap();
    assert_eq!(stream.path(), Path::Neighbour);
    let early = tokio::time::timeout(Duration::from_secs(5), stream.accepted()).await;
    assert!(early.is_err(), "nobody has taken it");
    let _there = acceptor.recv().await.unwrap();
    stream.accepted().await.unwrap();
}

/// Notes which nodes dial one address.
#[derive(Debug, Clone)]
struct Watched {
    network: MemoryNetwork,
    address: SocketAddr,
    dials: Arc<Mutex<Vec<NodeId>>>,
}

#[derive(Debug)]
struct WatchedEndpoint {
    endpoint: Arc<dyn Endpoint>,
    me: NodeId,
    watched: Watched,
}

impl Transport for Watched {
    fn bind(&self, at: SocketAddr, me: Credentials) -> BoxFuture<'_, io::Result<Arc<dyn Endpoint>>> {
        Box::pin(async move {
            let (watched, id) = (self.clone(), me.id());
            let endpoint = self.network.bind(at, me).await?;
            Ok(Arc::new(WatchedEndpoint { endpoint, me: id, watched }) as Arc<dyn Endpoint>)
        })
    }
}

impl Endpoint for WatchedEndpoint {
    fn local_addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    fn accept(&self) -> BoxFuture<'_, Option<Connection>> {
        self.endpoint.accept()
    }

    fn dial(
        &self,
        at: SocketAddr,
        expect: Option<NodeId>,
    ) -> BoxFuture<'static, Result<Connection, DialError>> {
        if at == self.watched.address {
            self.watched.dials.lock().unwrap().push(self.me);
        }
        self.endpoint.dial(at, expect)
    }

    fn close(&self) {
        self.endpoint.close();
    }
}

/// Four of 24 nodes give the address of somebody else as their own, and ask at the same time.
#[tokio::test(start_paused = true)]
async fn askers_with_somebody_else_s_address_get_their_answers_and_cause_one_dial_at_each_node() {
    const ASKERS: usize = 4;
    let network = MemoryNetwork::new().rng_seed(1).latency(MS_10..=MS_10);
    let address = SocketAddr::from(([10, 0, 0, 99], 80));
    let watched = Watched { network: network.clone(), address, dials: Arc::default() };
    let mut nodes = Vec::new();
    for host in 1..=24_u8 {
        let builder = common::builder(&network, host, 24).transport(watched.clone());
        let asks = usize::from(host) <= ASKERS;
        let builder = if asks { builder.advertise(address.to_string()) } else { builder };
        nodes.push(common::start(builder).await);
    }
    while !nodes.iter().all(|node| node.network_size() == nodes.len()) {
        tokio::time::sleep(MS_10).await;
    }
    // Until no more links are made.
    tokio::time::sleep(60 * SECOND).await;
    let (askers, others) = nodes.split_at(ASKERS);
    let answer = |node: &Node| node.answer(|_, _| async { Some("here".into()) }).unwrap();
    let _answering: Vec<_> = others.iter().map(answer).collect();
    watched.dials.lock().unwrap().clear();
    let mut asked = Vec::new();
    for asker in askers {
        asked.push(asker.ask("where?", 10 * SECOND).await.unwrap());
    }
    let count = async |mut answers: Answers| {
        let mut count = 0;
        while answers.recv().await.is_some() {
            count += 1;
        }
        count
    };
    let [one, two, three, four] = asked.try_into().unwrap();
    let answers = tokio::join!(count(one), count(two), count(three), count(four));
    let mut dials = BTreeMap::new();
    for node in watched.dials.lock().unwrap().iter() {
        *dials.entry(*node).or_insert(0) += 1;
    }
    let (sum, most) = (dials.values().sum::<usize>(), dials.values().max().unwrap());
    println!("{sum} dials by {} nodes, {most} by one; {answers:?}", dials.len());
    assert_eq!(answers, (20, 20, 20, 20), "the nodes reach all askers through others");
    // One of each node, and those of nodes that want a link with an asker. Without the limit there
    // were 68.
    assert!(sum < 2 * others.len(), "{sum} dials: {dials:?}");
}
