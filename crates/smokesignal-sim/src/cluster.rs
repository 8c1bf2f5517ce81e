//! The nodes of a world, dead or alive, and how one of them is driven.
//!
//! A [`Member`] is the core's state machine with what belongs to its process: its start, its clock,
//! its timer and the dials that are under way. Whether the process runs is the business of its
//! host, in `net/`. A node keeps its number and its key over all of its starts; the number is its
//! address as well, so that no table of addresses is needed.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;

use smokesignal_proto::{Instant, Keypair, Node, NodeId, Output};

use crate::hostile::{Behaviour, Hostile};
use crate::setup::Setup;

/// The port of every node.
const PORT: u16 = 8495;

/// All nodes, by number.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The keys of all nodes follow from it.
    rng_seed: u64,
    members: Vec<Member>,
    /// The number of each node. Looked up, never iterated.
    numbers: HashMap<NodeId, u32, BuildHasherDefault<IdHasher>>,
}

/// A node of the world.
#[derive(Debug)]
struct Member {
    /// The public key of the node.
    id: NodeId,
    /// `None` while the node is dead.
    node: Option<Box<Node>>,
    /// How often the node was started: its incarnation.
    start: u64,
    /// When it was started last, and when it died last, in virtual microseconds.
    started_at: u64,
    died_at: u64,
    /// How far its clock is ahead of the world's, in microseconds.
    clock_ahead: u64,
    /// The time of its valid entry in the queue.
    wakes_at: u64,
    /// Dials that have neither succeeded nor failed.
    dials: usize,
    /// What makes the node hostile; `None` for an honest one.
    hostile: Option<Hostile>,
}

impl Member {
    /// Returns the time that the node's own clock shows.
    const fn clock(&self, now: u64) -> Instant {
        Instant::from_micros(now + self.clock_ahead)
    }
}

impl Cluster {
    pub(crate) fn new(rng_seed: u64) -> Self {
        Self { rng_seed, members: Vec::new(), numbers: HashMap::default() }
    }

    /// Adds a node that is not started yet. Returns its number.
    pub(crate) fn add(&mut self) -> usize {
        let ix = self.members.len();
        let id = keypair(ix, self.rng_seed).id();
        self.numbers.insert(id, ix as u32);
        self.members.push(Member {
            id,
            node: None,
            start: 0,
            started_at: 0,
            died_at: 0,
            clock_ahead: 0,
            wakes_at: u64::MAX,
            dials: 0,
            hostile: None,
        });
        ix
    }

    /// Starts a node that is given these `seeds`, for the first time or again with the same key.
    /// Returns which start it is.
    pub(crate) fn start(
        &mut self,
        ix: usize,
        (setup, seeds): (&Setup, &[usize]),
        rng_seed: u64,
        now: u64,
    ) -> u64 {
        let member = &mut self.members[ix];
        member.start += 1;
        member.started_at = now;
        member.dials = 0;
        member.wakes_at = u64::MAX;
        let mut config = setup.config.clone();
        config.incarnation = member.start;
        if let Some(hostile) = &member.hostile {
            hostile.behaviour().adjust(&mut config);
        }
        let unix_time = setup.unix_time(ix, now);
        let now = member.clock(now);
        let mut node = Node::new(keypair(ix, self.rng_seed), config, rng_seed, now);
        node.set_unix_time(unix_time, now);
        node.set_addresses(vec![address(ix)]);
        seeds.iter().for_each(|seed| node.join(address(*seed).to_string(), now));
        member.node = Some(Box::new(node));
        member.start
    }

    /// Ends a node without a farewell.
    pub(crate) fn stop(&mut self, ix: usize, now: u64) {
        self.members[ix].node = None;
        self.members[ix].died_at = now;
    }

    /// Turns a node hostile, from its next start on.
    pub(crate) fn set_hostile(&mut self, ix: usize, behaviour: Behaviour) {
        let hostile = &mut self.members[ix].hostile;
        hostile.get_or_insert_with(|| Hostile::new(behaviour)).set_behaviour(behaviour);
    }

    /// Lets a node's clock jump ahead.
    pub(crate) fn advance_clock(&mut self, ix: usize, by: u64) {
        self.members[ix].clock_ahead += by;
    }

    /// Gives a living node an input.
    pub(crate) fn act<T>(
        &mut self,
        ix: usize,
        now: u64,
        act: impl FnOnce(&mut Node, Instant) -> T,
    ) -> Option<T> {
        let member = &mut self.members[ix];
        let now = member.clock(now);
        member.node.as_mut().map(|node| act(node, now))
    }

    /// Returns what a node wants to be done next.
    pub(crate) fn poll_output(&mut self, ix: usize, now: u64) -> Option<Output> {
        let member = &mut self.members[ix];
        let now = member.clock(now);
        member.node.as_mut()?.poll_output(now)
    }

    /// Returns when a node's timer is to fire, if that is earlier than what is scheduled already.
    pub(crate) fn next_wake(&mut self, ix: usize, now: u64) -> Option<u64> {
        let member = &mut self.members[ix];
        let timeout = member.node.as_ref()?.poll_timeout().as_micros();
        let due = timeout.saturating_sub(member.clock_ahead).max(now);
        if due >= member.wakes_at {
            return None;
        }
        member.wakes_at = due;
        Some(due)
    }

    /// Forgets a node's scheduled timer, so that the next one is scheduled anew.
    pub(crate) fn forget_wake(&mut self, ix: usize) {
        self.members[ix].wakes_at = u64::MAX;
    }

    /// Returns whether a node's timer is scheduled for this moment. If not, an earlier one has
    /// replaced it.
    pub(crate) fn is_wake_due(&self, ix: usize, now: u64) -> bool {
        self.members[ix].wakes_at == now
    }

    /// Counts a dial that begins.
    pub(crate) fn dial_begins(&mut self, ix: usize) {
        self.members[ix].dials += 1;
    }

    /// Counts a dial that has ended.
    pub(crate) fn dial_ends(&mut self, ix: usize) {
        let dials = &mut self.members[ix].dials;
        *dials = dials.saturating_sub(1);
    }

    /// Returns how many dials of a node are under way.
    pub(crate) fn dials(&self, ix: usize) -> usize {
        self.members[ix].dials
    }

    /// Returns how many nodes there are, dead ones included.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns the id of a node, which it keeps over all its starts.
    pub(crate) fn id(&self, ix: usize) -> NodeId {
        self.members[ix].id
    }

    /// Returns the number of a node of this world.
    pub(crate) fn number(&self, id: &NodeId) -> Option<usize> {
        self.numbers.get(id).map(|ix| *ix as usize)
    }

    /// Returns a node, or `None` while it is dead.
    pub(crate) fn node(&self, ix: usize) -> Option<&Node> {
        self.members[ix].node.as_deref()
    }

    /// Returns whether a node has been started and has not died since. A frozen node is alive.
    pub(crate) fn is_alive(&self, ix: usize) -> bool {
        self.members[ix].node.is_some()
    }

    /// Returns the numbers of the living nodes.
    pub(crate) fn alive(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|ix| self.is_alive(*ix)).collect()
    }

    /// Returns how many links a node counts, those to dead nodes included.
    pub(crate) fn degree(&self, ix: usize) -> usize {
        self.node(ix).map_or(0, |node| node.peers().count())
    }

    /// Returns how often a node was started.
    pub(crate) fn starts(&self, ix: usize) -> u64 {
        self.members[ix].start
    }

    /// Returns when a node was started last, in virtual microseconds.
    pub(crate) fn started_at(&self, ix: usize) -> u64 {
        self.members[ix].started_at
    }

    /// Returns when a node died last, in virtual microseconds.
    pub(crate) fn died_at(&self, ix: usize) -> u64 {
        self.members[ix].died_at
    }

    /// Returns whether a node keeps to the protocol.
    pub(crate) fn is_honest(&self, ix: usize) -> bool {
        self.members[ix].hostile.is_none()
    }

    /// Returns what makes a node hostile, for changes.
    pub(crate) fn hostile(&mut self, ix: usize) -> Option<&mut Hostile> {
        self.members[ix].hostile.as_mut()
    }

    /// Returns in which way a node is hostile.
    pub(crate) fn behaviour(&self, ix: usize) -> Option<Behaviour> {
        self.members[ix].hostile.as_ref().map(Hostile::behaviour)
    }

    /// Returns whether a node has played recordings of this writer.
    pub(crate) fn plays(&self, ix: usize, writer: &NodeId) -> bool {
        self.members[ix].hostile.as_ref().is_some_and(|hostile| hostile.plays(writer))
    }
}

/// Returns the key of a node, which follows from its number and the run's seed.
fn keypair(ix: usize, rng_seed: u64) -> Keypair {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(ix as u64 + 1).to_le_bytes());
    seed[8..16].copy_from_slice(&rng_seed.to_le_bytes());
    Keypair::from_seed(&seed)
}

/// Returns the address on which a node listens: its number in the network 10.0.0.0/8.
pub(crate) fn address(ix: usize) -> SocketAddr {
    let [_, a, b, c] = (ix as u32).to_be_bytes();
    SocketAddr::from(([10, a, b, c], PORT))
}

/// Returns the number that an address stands for.
pub(crate) fn number_at(address: SocketAddr) -> Option<usize> {
    match address {
        SocketAddr::V4(address) if address.port() == PORT => {
            let [ten, a, b, c] = address.ip().octets();
            (ten == 10).then_some(u32::from_be_bytes([0, a, b, c]) as usize)
        }
        _ => None,
    }
}

/// A hasher for node ids, which are public keys and therefore random already.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks_exact(8).take(1) {
            self.0 ^= chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_survives_its_address() {
        for ix in [0, 255, 256, 99_999, (1 << 24) - 1] {
            assert_eq!(number_at(address(ix)), Some(ix));
        }
    }
}
