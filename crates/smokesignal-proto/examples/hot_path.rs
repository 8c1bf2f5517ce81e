//! Five nodes, no sockets, no clock: one writes, all others read. `.ci/instructions` counts what
//! the processor does in `write_and_read`, which is the same in each run, whatever else the machine
//! does.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use smokesignal_proto::{
    Config, DialFailure, Features, Instant, Keypair, LinkId, Message, Node, OtherEnd, Output, Target, decode,
    encode,
};

const NODES: usize = 5;

struct World {
    nodes: Vec<Node>,
    now: Instant,
    /// For each end of a connection the other one.
    links: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    next_link: u64,
    /// On their way: to whom, over which of its links, what.
    wire: VecDeque<(usize, LinkId, Bytes)>,
    read: u64,
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1000 + node as u16))
}

impl World {
    fn new(signed: bool) -> Self {
        let now = Instant::ZERO;
        let node = |number: usize| {
            let config = Config { signed, ..Config::default() };
            let mut node = Node::new(Keypair::from_seed(&[number as u8; 32]), config, number as u64, now);
            node.set_addresses(vec![address(number)]);
            node.join(address(0).to_string(), now);
            node
        };
        let nodes = (0..NODES).map(node).collect();
        Self { nodes, now, links: BTreeMap::new(), next_link: 0, wire: VecDeque::new(), read: 0 }
    }

    /// All that follows from what has happened, and then a millisecond passes.
    fn step(&mut self) {
        loop {
            (0..NODES).for_each(|node| self.perform(node));
            let Some((to, link, bytes)) = self.wire.pop_front() else { break };
            let message = decode(bytes).expect("nodes write what they can read");
            self.nodes[to].handle_message(link, message, self.now);
        }
        self.now = self.now + Duration::from_millis(1);
        for node in &mut self.nodes {
            if node.poll_timeout() <= self.now {
                node.handle_timeout(self.now);
            }
        }
    }

    fn perform(&mut self, from: usize) {
        while let Some(output) = self.nodes[from].poll_output(self.now) {
            match output {
                Output::Send { link, message } => self.send(from, link, &message),
                Output::Dial { dial, target, .. } => {
                    let to = (0..NODES).find(|to| match &target {
                        Target::Address(wanted) => *wanted == address(*to),
                        Target::Name(name) => *name == address(*to).to_string(),
                    });
                    match to {
                        Some(to) => {
                            let (here, there) = (LinkId(self.next_link), LinkId(self.next_link + 1));
                            self.next_link += 2;
                            self.links.insert((from, here), (to, there));
                            self.links.insert((to, there), (from, here));
                            let [id, other] = [from, to]
                                .map(|node| OtherEnd { id: self.nodes[node].id(), features: Features::OURS });
                            self.nodes[from].handle_connected(here, other, Some(dial), self.now);
                            self.nodes[to].handle_connected(there, id, None, self.now);
                        }
                        None => self.nodes[from].handle_dial_failed(dial, DialFailure::Refused, self.now),
                    }
                }
                Output::Close { link, .. } | Output::Demoted { link, .. } => {
                    if let Some((to, there)) = self.links.remove(&(from, link)) {
                        self.links.remove(&(to, there));
                        self.nodes[to].handle_disconnected(there, self.now);
                    }
                }
                Output::Deliver { messages, .. } => self.read += messages.count() as u64,
                _ => {}
            }
        }
    }

    fn send(&mut self, from: usize, link: LinkId, message: &Message) {
        if let Some((to, there)) = self.links.get(&(from, link)) {
            let mut bytes = Vec::new();
            encode(message, &mut bytes);
            self.wire.push_back((*to, *there, bytes.into()));
        }
        self.nodes[from].handle_sent(link, message.cost(), self.now);
    }
}

/// What is counted.
#[inline(never)]
fn write_and_read(world: &mut World, payload: &Bytes, messages: usize, at_once: usize) {
    let goal = world.read + (messages * (NODES - 1)) as u64;
    let mut left = messages;
    while world.read < goal {
        let now = world.now;
        for _ in 0..left.min(at_once) {
            if !world.nodes[0].can_write(payload.len()) {
                break;
            }
            world.nodes[0].broadcast(payload.clone(), now).expect("there is room");
            left -= 1;
        }
        world.step();
    }
}

fn main() {
    let signed = std::env::args().any(|argument| argument == "signed");
    let mut world = World::new(signed);
    while world.nodes.iter().any(|node| node.network_size() < NODES as u32 || node.peers().count() < 3) {
        world.step();
    }
    (0..2_000).for_each(|_| world.step());
    write_and_read(&mut world, &vec![1; 64].into(), 50_000, 900);
    write_and_read(&mut world, &vec![2; 16 * 1024].into(), 500, 30);
    write_and_read(&mut world, &vec![3; 64].into(), 1_000, 1);
    println!("{} messages read", world.read);
}
