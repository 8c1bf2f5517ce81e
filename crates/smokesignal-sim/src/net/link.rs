//! A connection between two nodes: two FIFO directions, in a slab of slots that are reused.
//!
//! An event that is under way names its connection by slot. A slot is therefore released only when
//! both sides are closed and no event names it any longer (`pending`). A [`LinkId`] holds the
//! slot's generation as well, so that an id that a node still remembers never means a later
//! connection in the same slot.

use std::collections::VecDeque;

use smokesignal_proto::LinkId;

use super::pipe::Pipe;
use crate::kernel::Parcel;

/// Bytes in flight per direction at which the sender's socket is full: a usual buffer size.
pub(super) const WINDOW: usize = 256 * 1024;

/// A connection. Side 0 dialled, side 1 was dialled.
#[derive(Debug)]
pub(crate) struct Link {
    generation: u32,
    /// The two nodes.
    pub(super) ends: [u32; 2],
    pub(super) states: [End; 2],
    pub(super) opened_at: u64,
    /// One-way base delay in microseconds.
    pub(super) delay: u64,
    /// Whether the connection runs over the line of one of its ends.
    pub(super) is_lined: bool,
    /// When TCP was connected; 0 before, and without lines.
    pub(super) connected_at: u64,
    /// How long the dial may still take after the next deadline, in microseconds.
    pub(super) dial_left: u64,
    /// Events, queued or put aside, that name this slot.
    pub(super) pending: u32,
    /// Whether the slot waits for its next use.
    pub(super) released: bool,
    /// The two directions, by sending side.
    pub(super) directions: [Direction; 2],
}

/// How one side sees the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The handshake is not complete.
    Waiting,
    Open,
    Closed,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// When the last thing sent arrives: nothing overtakes it.
    pub(super) latest: u64,
    /// Until when the sender's line is busy, where its speed is limited.
    pub(super) busy_until: u64,
    /// Bytes sent and not yet read by the receiver.
    pub(super) in_flight: usize,
    /// Costs of messages that a full socket has not taken yet.
    pub(super) withheld: VecDeque<usize>,
    /// Parcels that cannot pass a cut for now, in order, with its hop counts.
    pub(super) stuck: VecDeque<(Parcel, u8)>,
    /// The parts of a segment that have arrived so far.
    pub(super) joined: Vec<u8>,
    /// What lies before the lines, where there are any. The fields above, but for `latest` and
    /// `stuck`, are of no use then.
    pub(super) pipe: Option<Box<Pipe>>,
}

/// All connections, by slot.
#[derive(Debug, Default)]
pub(super) struct Links {
    slots: Vec<Link>,
    free: Vec<u32>,
}

impl Links {
    /// Takes a free slot for a new connection and returns it.
    pub(super) fn open(&mut self, dialler: usize, dialled: usize, delay: u64, now: u64) -> u32 {
        let ends = [dialler as u32, dialled as u32];
        let fresh = |generation| Link {
            generation,
            ends,
            states: [End::Waiting; 2],
            opened_at: now,
            delay,
            is_lined: false,
            connected_at: 0,
            dial_left: 0,
            pending: 0,
            released: false,
            directions: [Direction::default(), Direction::default()],
        };
        if let Some(slot) = self.free.pop() {
            let generation = self.slots[slot as usize].generation;
            self.slots[slot as usize] = fresh(generation);
            return slot;
        }
        self.slots.push(fresh(1));
        self.slots.len() as u32 - 1
    }

    /// Frees a slot. The id that named the connection is never used again.
    pub(super) fn release(&mut self, slot: u32) {
        let link = &mut self.slots[slot as usize];
        link.generation += 1;
        link.released = true;
        self.free.push(slot);
    }

    /// Returns the id under which nodes know the connection in this slot.
    pub(super) fn id(&self, slot: u32) -> LinkId {
        LinkId(u64::from(self.slots[slot as usize].generation) << 32 | u64::from(slot))
    }

    /// Returns the slot of a connection, or `None` if it was released.
    pub(super) fn slot(&self, id: LinkId) -> Option<u32> {
        let slot = id.0 as u32;
        let link = self.slots.get(slot as usize)?;
        (u64::from(link.generation) == id.0 >> 32).then_some(slot)
    }

    pub(super) fn get(&self, slot: u32) -> &Link {
        &self.slots[slot as usize]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Link {
        &mut self.slots[slot as usize]
    }

    pub(super) fn count(&self) -> u32 {
        self.slots.len() as u32
    }
}

impl Link {
    /// Returns which side this node is.
    pub(crate) fn side_of(&self, ix: usize) -> usize {
        usize::from(self.ends[0] as usize != ix)
    }

    /// Returns the node at the other end.
    pub(crate) fn other(&self, ix: usize) -> usize {
        self.ends[1 - self.side_of(ix)] as usize
    }

    /// Returns whether both sides have the connection.
    pub(crate) fn is_open(&self) -> bool {
        self.states == [End::Open; 2]
    }

    /// Returns when the connection was opened.
    pub(crate) const fn opened_at(&self) -> u64 {
        self.opened_at
    }

    /// Returns the one-way base delay in microseconds.
    pub(crate) const fn delay(&self) -> u64 {
        self.delay
    }
}
