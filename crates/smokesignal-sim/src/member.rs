//! One node of the world with all that the world knows about it, and what the checkers remember of its past.

use std::collections::VecDeque;
use std::net::SocketAddr;

use smokesignal_proto::{Keypair, Node, NodeId};

use crate::hostile::Behaviour;
use crate::world::Event;

/// The port of every node.
const PORT: u16 = 8495;
/// Segments of one writer whose hop count a node remembers: repairs that lie farther back count no hops.
const HOPS: usize = 16;

/// A node, alive or dead.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: NodeId,
    /// `None` when dead.
    pub(crate) node: Option<Box<Node>>,
    /// How often this node was started: its incarnation.
    pub(crate) start: u64,
    pub(crate) started_at: u64,
    pub(crate) died_at: u64,
    /// The host is gone from the net: packets to it vanish instead of being refused.
    pub(crate) unplugged: bool,
    pub(crate) frozen: bool,
    /// Nobody can dial it.
    pub(crate) hidden: bool,
    /// What arrived while it was frozen.
    pub(crate) backlog: VecDeque<Event>,
    /// Which part of a partitioned network it is in.
    pub(crate) side: u8,
    /// How far its clock is ahead of the world's, in microseconds.
    pub(crate) clock_ahead: u64,
    /// Time of its valid entry in the queue.
    pub(crate) wakes_at: u64,
    /// Slots of its connections, links or not.
    pub(crate) links: Vec<u32>,
    /// Dials that have neither succeeded nor failed.
    pub(crate) dials: usize,
    /// Bytes per second it can send and read on each connection.
    pub(crate) upload: Option<u64>,
    pub(crate) download: Option<u64>,
    pub(crate) hostile: Option<Behaviour>,
    pub(crate) writer: Option<Writer>,
    /// What it read, by writer number.
    pub(crate) reads: Vec<Read>,

    // What the checkers remember.
    pub(crate) alone_since: Option<u64>,
    pub(crate) low_since: Option<u64>,
    pub(crate) netsplit: bool,
    /// Links it has asked for by name and waits for; neighbours it has asked for, and got.
    pub(crate) wishes: usize,
    pub(crate) explicit: Vec<(NodeId, u64)>,
}

/// What a writing node did so far.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    /// Its place in every receiver's `reads`.
    pub(crate) number: u32,
    /// Messages written in the present start, and when the last one was.
    pub(crate) written: u64,
    pub(crate) written_at: u64,
    /// Since when it may not write although a healthy link exists.
    pub(crate) blocked_since: Option<u64>,
}

/// What one node read of one writer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Read {
    /// Which start of the writer.
    pub(crate) start: u64,
    /// First and last message delivered.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) delivered: u64,
    /// Gaps reported, in messages, and those since the last delivery.
    pub(crate) missed: u64,
    pub(crate) pending_gap: u64,
    /// Incarnation and number of the newest segment that arrived in order.
    incarnation: u64,
    segment: u64,
    /// Segment number (56 bits) and hops of its first copy (8 bits), at the segment number modulo their count.
    hops: [u64; HOPS],
}

impl Member {
    pub(crate) fn new(ix: usize, network_seed: u64) -> Self {
        Self {
            id: keypair(ix, network_seed).id(),
            node: None,
            start: 0,
            started_at: 0,
            died_at: 0,
            unplugged: false,
            frozen: false,
            hidden: false,
            backlog: VecDeque::new(),
            side: 0,
            clock_ahead: 0,
            wakes_at: u64::MAX,
            links: Vec::new(),
            dials: 0,
            upload: None,
            download: None,
            hostile: None,
            writer: None,
            reads: Vec::new(),
            alone_since: None,
            low_since: None,
            netsplit: false,
            wishes: 0,
            explicit: Vec::new(),
        }
    }

    pub(crate) fn alive(&self) -> bool {
        self.node.is_some()
    }

    /// Alive and reading.
    pub(crate) fn awake(&self) -> bool {
        self.node.is_some() && !self.frozen
    }

    pub(crate) fn honest(&self) -> bool {
        self.hostile.is_none()
    }

    pub(crate) fn degree(&self) -> usize {
        self.node.as_ref().map_or(0, |node| node.peers().count())
    }

    pub(crate) fn read(&mut self, writer: u32) -> &mut Read {
        let at = writer as usize;
        if self.reads.len() <= at {
            self.reads.resize(at + 1, Read::default());
        }
        &mut self.reads[at]
    }
}

impl Read {
    /// A copy of a segment arrived after this many hops. Whether it is the first that the node can use.
    pub(crate) fn copy_arrived(&mut self, incarnation: u64, segment: u64, hops: u8) -> bool {
        if incarnation < self.incarnation {
            return false;
        }
        let fresh = self.segment == 0 || incarnation > self.incarnation;
        if !fresh && segment != self.segment + 1 {
            return false;
        }
        (self.incarnation, self.segment) = (incarnation, segment);
        self.hops[segment as usize % HOPS] = segment << 8 | u64::from(hops);
        true
    }

    /// Hops after which the node had this segment first.
    pub(crate) fn hops_of(&self, segment: u64) -> Option<u8> {
        let entry = self.hops[segment as usize % HOPS];
        (entry >> 8 == segment).then_some(entry as u8)
    }

    /// The stream goes on somewhere else.
    pub(crate) fn skipped(&mut self) {
        self.segment = 0;
    }
}

/// The key of a node: from its number and the run's seed.
pub(crate) fn keypair(ix: usize, network_seed: u64) -> Keypair {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(ix as u64 + 1).to_le_bytes());
    seed[8..16].copy_from_slice(&network_seed.to_le_bytes());
    Keypair::from_seed(&seed)
}

/// Where a node listens: its number is its address, so that no table is needed.
pub(crate) fn address(ix: usize) -> SocketAddr {
    let [_, a, b, c] = (ix as u32).to_be_bytes();
    SocketAddr::from(([10, a, b, c], PORT))
}

pub(crate) fn at_address(address: SocketAddr) -> Option<usize> {
    match address {
        SocketAddr::V4(address) if address.port() == PORT => {
            let [ten, a, b, c] = address.ip().octets();
            (ten == 10).then_some(u32::from_be_bytes([0, a, b, c]) as usize)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_survives_its_address() {
        for ix in [0, 255, 256, 99_999, (1 << 24) - 1] {
            assert_eq!(at_address(address(ix)), Some(ix));
        }
    }

    #[test]
    fn only_the_first_copy_in_order_is_of_use() {
        let mut read = Read::default();
        assert!(read.copy_arrived(1, 5, 3), "the first ever");
        assert!(!read.copy_arrived(1, 5, 2), "a second copy");
        assert!(!read.copy_arrived(1, 7, 2), "too early");
        assert!(read.copy_arrived(1, 6, 4));
        assert_eq!((read.hops_of(5), read.hops_of(6), read.hops_of(7)), (Some(3), Some(4), None));
        assert!(read.copy_arrived(2, 1, 1), "a new start of the writer");
    }
}
