//! A world in which real [`Node`]s meet: virtual time, delays between 1 ms and 20 ms, one seed.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use smokesignal_proto::*;

pub struct World {
    pub now: Instant,
    pub nodes: BTreeMap<usize, Node>,
    queue: BTreeMap<(Instant, u64), Event>,
    order: u64,
    chance: u64,
    links: u64,
    /// The nodes at the two ends of a connection.
    ends: BTreeMap<LinkId, (usize, usize)>,
    /// Connections whose bytes go over others, and which.
    circuits: BTreeMap<LinkId, Vec<LinkId>>,
    /// Nodes that nobody can dial: nothing answers.
    pub hidden: BTreeSet<usize>,
    addresses: BTreeMap<SocketAddr, usize>,
    frozen: BTreeSet<usize>,
    /// Which side of a cut each node is on; all on side 0 when there is none.
    sides: BTreeMap<usize, usize>,
    /// What was on its way when the cable was pulled, or sent since: TCP delivers it when the cable
    /// is back.
    held: Vec<(LinkId, Event)>,
    /// The netsplit outputs of each node, and when they came.
    pub splits: Vec<(usize, Instant, Output)>,
    /// Last delivery time per connection and direction: links are FIFO.
    latest: BTreeMap<(LinkId, usize), Instant>,
    /// What each node read of each writer: `(seq, payload)`.
    pub read: BTreeMap<(usize, NodeId), Vec<(u64, Bytes)>>,
    /// The age of the first message of each delivery, in milliseconds: the reader, when it read it,
    /// the writer, the message's number, and the age.
    pub ages: Vec<(usize, Instant, NodeId, u64, u32)>,
    pub gaps: Vec<(usize, NodeId, u64)>,
    pub requested: Vec<(usize, RequestId, Result<NodeId, RequestFailure>)>,
    pub reached: Vec<(usize, RequestId, Result<LinkId, Unreachable>)>,
    /// Ends of a writer's stream, and its new starts, at each node.
    pub told_ends: Vec<(usize, NodeId)>,
    pub restarts: Vec<(usize, NodeId)>,
    pub left: BTreeMap<usize, Farewell>,
    /// Nodes that no longer wait for a reader, and the first bytes of its id.
    pub timed_out: Vec<(usize, u64)>,
    /// Nodes that have reported a peer.
    pub connected: BTreeSet<usize>,
    pub trace: String,
    /// Whether what happens is written down; large messages take long to write down.
    pub traced: bool,
    pub data_messages: u64,
    /// What all nodes offer, but for these, which offer nothing.
    pub features: Features,
    pub without_features: BTreeSet<usize>,
}

enum Event {
    Connected { link: LinkId, at: usize, peer: usize, dial: Option<DialId> },
    DialFailed { at: usize, dial: DialId, failure: DialFailure },
    Message { link: LinkId, at: usize, message: Message },
    Closed { link: LinkId, at: usize },
}

pub fn keypair(ix: usize) -> Keypair {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(ix as u64 + 1).to_le_bytes());
    Keypair::from_seed(&seed)
}

pub fn address(ix: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10_000 + ix as u16))
}

impl World {
    pub fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self {
            now: Instant::ZERO,
            nodes: BTreeMap::new(),
            queue: BTreeMap::new(),
            order: 0,
            chance: seed.wrapping_mul(2).wrapping_add(1),
            links: 0,
            ends: BTreeMap::new(),
            circuits: BTreeMap::new(),
            hidden: BTreeSet::new(),
            addresses: BTreeMap::new(),
            frozen: BTreeSet::new(),
            sides: BTreeMap::new(),
            held: Vec::new(),
            splits: Vec::new(),
            latest: BTreeMap::new(),
            read: BTreeMap::new(),
            ages: Vec::new(),
            gaps: Vec::new(),
            requested: Vec::new(),
            reached: Vec::new(),
            told_ends: Vec::new(),
            restarts: Vec::new(),
            left: BTreeMap::new(),
            timed_out: Vec::new(),
            connected: BTreeSet::new(),
            trace: String::new(),
            traced: true,
            data_messages: 0,
            features: Features::OURS,
            without_features: BTreeSet::new(),
        }
    }

    pub fn start(&mut self, ix: usize, config: Config, seeds: &[usize]) {
        let rng_seed = self.random();
        let mut node = Node::new(keypair(ix), config, rng_seed, self.now);
        node.set_addresses(vec![address(ix)]);
        for seed in seeds {
            node.join(address(*seed).to_string(), self.now);
        }
        self.addresses.insert(address(ix), ix);
        self.nodes.insert(ix, node);
    }

    /// Node 0 and `n - 1` others that know only its address.
    pub fn gather(&mut self, n: usize, config: &Config) {
        for ix in 0..n {
            self.start(ix, config.clone(), if ix == 0 { &[] } else { &[0] });
        }
    }

    /// As `kill -9`: the connections of the dead break immediately.
    pub fn kill(&mut self, ix: usize) {
        self.nodes.remove(&ix);
        self.addresses.remove(&address(ix));
        let links: Vec<_> =
            self.ends.iter().filter(|(_, e)| e.0 == ix || e.1 == ix).map(|(l, _)| *l).collect();
        for link in links {
            self.close(link, ix);
        }
    }

    /// As `kill -STOP`: nothing answers and nothing breaks.
    pub fn freeze(&mut self, ix: usize) {
        self.frozen.insert(ix);
    }

    pub fn thaw(&mut self, ix: usize) {
        self.frozen.remove(&ix);
    }

    /// As a pulled cable: between the groups nothing passes, and nothing breaks by itself.
    pub fn cut(&mut self, groups: &[&[usize]]) {
        for (side, group) in groups.iter().enumerate() {
            self.sides.extend(group.iter().map(|ix| (*ix, side)));
        }
    }

    pub fn heal(&mut self) {
        self.sides.clear();
        for (link, event) in std::mem::take(&mut self.held) {
            if self.ends.contains_key(&link) || matches!(event, Event::Closed { .. }) {
                self.post(self.now + Duration::from_millis(5), event);
            }
        }
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        let side = |ix| self.sides.get(&ix).copied().unwrap_or(0);
        side(a) != side(b)
    }

    pub fn write(&mut self, ix: usize, payload: impl Into<Bytes>) -> Option<u64> {
        let seq = self.nodes.get_mut(&ix)?.broadcast(payload.into(), self.now).ok();
        self.settle(ix);
        seq
    }

    pub fn with<T>(&mut self, ix: usize, act: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let now = self.now;
        let result = act(self.nodes.get_mut(&ix).unwrap(), now);
        self.settle(ix);
        result
    }

    pub fn degree(&self, ix: usize) -> usize {
        self.nodes[&ix].peers().count()
    }

    pub fn id(&self, ix: usize) -> NodeId {
        keypair(ix).id()
    }

    pub fn peers(&self, ix: usize) -> BTreeSet<NodeId> {
        self.nodes[&ix].peers().map(|(_, peer)| peer).collect()
    }

    /// Runs until `done`, and panics with the state of all nodes when it takes longer than `limit`.
    pub fn until(&mut self, what: &str, limit: Duration, mut done: impl FnMut(&World) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.now < end, "{what}: not within {limit:?}\n{}", self.picture());
            self.step();
        }
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn step(&mut self) {
        let wake = self.nodes.iter().filter(|(ix, _)| !self.frozen.contains(ix));
        let timer = wake.map(|(ix, node)| (node.poll_timeout(), *ix)).min();
        let event = self.queue.first_key_value().map(|(key, _)| key.0);
        match (timer, event) {
            (Some((at, ix)), event) if event.is_none_or(|event| at <= event) => {
                self.now = self.now.max(at);
                self.with(ix, smokesignal_proto::Node::handle_timeout);
            }
            (_, Some(at)) => {
                self.now = self.now.max(at);
                let (_, event) = self.queue.pop_first().unwrap();
                self.happen(event);
            }
            _ => panic!("nothing is left to happen"),
        }
    }

    fn happen(&mut self, event: Event) {
        let at = match &event {
            Event::Connected { at, .. }
            | Event::DialFailed { at, .. }
            | Event::Message { at, .. }
            | Event::Closed { at, .. } => *at,
        };
        if self.frozen.contains(&at) {
            self.post(self.now + Duration::from_millis(100), event);
            return;
        }
        if !self.nodes.contains_key(&at) {
            return;
        }
        match event {
            Event::Connected { link, at, peer, dial: None } if self.circuits.contains_key(&link) => {
                let peer = self.other_end(at, peer);
                self.with(at, |node, now| node.handle_relayed(link, peer, now));
            }
            Event::Connected { link, at, peer, dial } => {
                let peer = self.other_end(at, peer);
                self.with(at, |node, now| node.handle_connected(link, peer, dial, now));
            }
            Event::DialFailed { at, dial, failure } => {
                self.with(at, |node, now| node.handle_dial_failed(dial, failure, now));
            }
            Event::Closed { link, at } => self.with(at, |node, now| node.handle_disconnected(link, now)),
            Event::Message { link, at, message } => {
                let from = self.ends.get(&link).map(|ends| if ends.0 == at { ends.1 } else { ends.0 });
                let cost = message.cost();
                self.with(at, |node, now| node.handle_message(link, message, now));
                if let Some(from) = from.filter(|from| self.nodes.contains_key(from)) {
                    self.with(from, |node, now| node.handle_sent(link, cost, now));
                }
            }
        }
    }

    /// Returns node `peer`, as the handshake shows it to node `at`.
    fn other_end(&self, at: usize, peer: usize) -> OtherEnd {
        let has_none = [at, peer].iter().any(|ix| self.without_features.contains(ix));
        OtherEnd { id: self.id(peer), features: if has_none { Features::NONE } else { self.features } }
    }

    fn settle(&mut self, ix: usize) {
        loop {
            let now = self.now;
            let Some(output) = self.nodes.get_mut(&ix).and_then(|node| node.poll_output(now)) else { return };
            if !self.traced {
                self.perform(ix, output);
                continue;
            }
            let short = match &output {
                Output::Send { link, message } => {
                    format!("send {link:?} {message:.0?}").chars().take(300).collect()
                }
                other => format!("{other:?}"),
            };
            writeln!(self.trace, "{:?} {ix} {short}", self.now).unwrap();
            self.perform(ix, output);
        }
    }

    fn perform(&mut self, ix: usize, output: Output) {
        match output {
            Output::Send { link, message } => {
                let Some(ends) = self.ends.get(&link).copied() else { return };
                let at = if ends.0 == ix { ends.1 } else { ends.0 };
                let is_data = matches!(&message, Message::Data(..) | Message::Part(Part { last: true, .. }));
                self.data_messages += u64::from(is_data);
                // Through the codec, as on the wire.
                let mut bytes = Vec::new();
                encode(&message, &mut bytes);
                let message = decode(bytes.into()).unwrap();
                self.post_on_link(link, ix, Event::Message { link, at, message });
            }
            Output::DialRelayed { dial, via, query, id } => self.relay(ix, dial, via, query, &id),
            Output::Dial { dial, target, expect, timeout } => {
                let address = match target {
                    Target::Name(name) => name.parse().unwrap(),
                    Target::Address(address) => address,
                };
                let peer = self.addresses.get(&address).copied();
                let peer = peer.filter(|peer| expect.is_none_or(|id| id == self.id(*peer)));
                let (later, sooner) = (self.now + self.delay() + self.delay(), self.now + self.delay());
                let mute = |peer: usize| self.frozen.contains(&peer) || self.hidden.contains(&peer);
                let silent = peer.is_some_and(|peer| mute(peer) || self.is_cut(ix, peer));
                let Some(peer) = peer.filter(|_| !silent) else {
                    let silence = timeout.unwrap_or(Duration::from_secs(2));
                    let at = if silent { self.now + silence } else { later };
                    let failure = if silent { DialFailure::Unanswered } else { DialFailure::Refused };
                    return self.post(at, Event::DialFailed { at: ix, dial, failure });
                };
                self.links += 1;
                let link = LinkId(self.links);
                if peer != ix {
                    self.ends.insert(link, (ix, peer));
                    self.post(sooner, Event::Connected { link, at: peer, peer: ix, dial: None });
                }
                self.latest.insert((link, ix), later);
                self.latest.insert((link, peer), later);
                self.post(later, Event::Connected { link, at: ix, peer, dial: Some(dial) });
            }
            Output::Close { link, .. } | Output::Demoted { link, .. } => self.close(link, ix),
            Output::Deliver { from, kind: MessageKind::End, .. } => self.told_ends.push((ix, from)),
            Output::Restarted { from } => self.restarts.push((ix, from)),
            Output::Deliver { from, seq, messages, age_ms, .. } => {
                self.ages.push((ix, self.now, from, seq, age_ms));
                self.read.entry((ix, from)).or_default().extend((seq..).zip(messages));
            }
            Output::Gap { from, missed } => self.gaps.push((ix, from, missed)),
            Output::Requested { request, outcome } => self.requested.push((ix, request, outcome)),
            Output::Left(farewell) => {
                self.left.insert(ix, farewell);
            }
            Output::PeerUp { .. } => {
                self.connected.insert(ix);
            }
            split @ (Output::Netsplit { .. } | Output::NetsplitResolved { .. }) => {
                self.splits.push((ix, self.now, split));
            }
            Output::Reached { request, outcome } => self.reached.push((ix, request, outcome)),
            Output::ReaderTimedOut { reader } => self.timed_out.push((ix, reader)),
            Output::PeerDown { .. }
            | Output::StreamOnly { .. }
            | Output::Lagging { .. }
            | Output::IdentityConflict { .. }
            | Output::CaughtUp { .. }
            | Output::ClockDiffers { .. }
            | Output::Unknown { .. } => {}
        }
    }

    /// As the driver does it: each node is asked where to.
    fn relay(&mut self, ix: usize, dial: DialId, via: LinkId, query: u64, target: &NodeId) {
        let (mut at, mut way) = (ix, vec![via]);
        let later = self.now + self.delay();
        let found = loop {
            let link = *way.last().unwrap();
            let Some(ends) = self.ends.get(&link) else { break None };
            at = if ends.0 == at { ends.1 } else { ends.0 };
            match self.nodes.get(&at).map(|node| node.relay(link, query, target)) {
                Some(Relay::Accept) => break Some(at),
                Some(Relay::Forward(link)) => way.push(link),
                Some(Relay::Refuse) | None => break None,
            }
            assert!(way.len() < 30, "a circle");
        };
        let Some(peer) = found else {
            let failure = DialFailure::Refused;
            return self.post(later, Event::DialFailed { at: ix, dial, failure });
        };
        self.links += 1;
        let link = LinkId(self.links);
        self.ends.insert(link, (ix, peer));
        self.circuits.insert(link, way);
        self.latest.insert((link, ix), later);
        self.latest.insert((link, peer), later);
        self.post(later, Event::Connected { link, at: peer, peer: ix, dial: None });
        self.post(later, Event::Connected { link, at: ix, peer, dial: Some(dial) });
    }

    /// By how many links a connection goes; 0: by itself.
    pub fn hops(&self, link: LinkId) -> usize {
        self.circuits.get(&link).map_or(0, Vec::len)
    }

    /// Returns the nodes between the ends of a connection.
    pub fn carriers(&self, link: LinkId) -> BTreeSet<usize> {
        let (a, b) = self.ends[&link];
        let links = self.circuits.get(&link).into_iter().flatten();
        let nodes = links.filter_map(|link| self.ends.get(link)).flat_map(|ends| [ends.0, ends.1]);
        nodes.filter(|ix| ![a, b].contains(ix)).collect()
    }

    fn close(&mut self, link: LinkId, by: usize) {
        let over: Vec<_> =
            self.circuits.iter().filter(|(_, way)| way.contains(&link)).map(|(link, _)| *link).collect();
        for circuit in over {
            self.circuits.remove(&circuit);
            if let Some((a, b)) = self.ends.remove(&circuit) {
                self.post_on_link(circuit, b, Event::Closed { link: circuit, at: a });
                self.post_on_link(circuit, a, Event::Closed { link: circuit, at: b });
            }
        }
        if let Some(ends) = self.ends.remove(&link) {
            let at = if ends.0 == by { ends.1 } else { ends.0 };
            self.post_on_link(link, by, Event::Closed { link, at });
        }
    }

    fn post_on_link(&mut self, link: LinkId, from: usize, event: Event) {
        let to = match &event {
            Event::Message { at, .. } | Event::Closed { at, .. } => *at,
            _ => from,
        };
        if self.is_cut(from, to) {
            self.held.push((link, event));
            return;
        }
        let at = (self.now + self.delay()).max(self.latest.get(&(link, from)).copied().unwrap_or_default());
        self.latest.insert((link, from), at);
        self.post(at, event);
    }

    fn post(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.queue.insert((at, self.order), event);
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(1000 + self.random() % 19_000)
    }

    fn random(&mut self) -> u64 {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.chance >> 24
    }

    pub fn picture(&self) -> String {
        let mut text = format!("at {:?}\n", self.now);
        for (ix, node) in &self.nodes {
            writeln!(text, "  {ix} {:?}: {:?}", node.id(), self.peers(*ix)).unwrap();
        }
        text
    }

    /// Whether `reader` read exactly `expected` of `writer`, in this order.
    pub fn has_read(&self, reader: usize, writer: usize, expected: &[Bytes]) -> bool {
        let read = self.read.get(&(reader, self.id(writer)));
        read.map_or(expected.is_empty(), |read| read.iter().map(|(_, data)| data).eq(expected))
    }

    pub fn one_component(&self) -> bool {
        let Some(first) = self.nodes.values().next() else { return true };
        let mut seen = BTreeSet::from([first.id()]);
        let mut queue = vec![first.id()];
        while let Some(id) = queue.pop() {
            let Some(node) = self.nodes.values().find(|node| node.id() == id) else { continue };
            for (_, peer) in node.peers() {
                if seen.insert(peer) {
                    queue.push(peer);
                }
            }
        }
        self.nodes.values().all(|node| seen.contains(&node.id()))
    }
}
