//! A connection between two nodes: two FIFO directions in a slab of slots that are used again.

use std::collections::VecDeque;

use smokesignal_proto::{LinkId, Message};

/// Bytes in flight per direction after which the sender's socket is full: a usual size of socket buffers.
pub(crate) const WINDOW: usize = 256 * 1024;

/// A connection. Side 0 dialled, side 1 was dialled.
#[derive(Debug)]
pub(crate) struct Link {
    generation: u32,
    pub(crate) ends: [u32; 2],
    pub(crate) states: [End; 2],
    pub(crate) opened_at: u64,
    /// One-way base delay in microseconds.
    pub(crate) delay: u64,
    /// Events in the queue (or put aside) that name this link; the slot is free when there are none.
    pub(crate) pending: u32,
    /// The slot waits for its next use.
    pub(crate) released: bool,
    /// By sending side.
    pub(crate) ways: [Way; 2],
}

/// How one side sees the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Waiting,
    Open,
    Closed,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// When the last thing sent arrives: nothing overtakes it.
    pub(crate) latest: u64,
    /// Until when the sender's line is busy, where it has a limit.
    pub(crate) busy_until: u64,
    /// Bytes sent and not read by the receiver.
    pub(crate) in_flight: usize,
    /// Costs of messages which a full socket has not taken yet.
    pub(crate) withheld: VecDeque<usize>,
    /// What cannot pass a cut now, in order.
    pub(crate) stuck: VecDeque<(Parcel, u8)>,
}

/// What goes over a direction.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// The last step of the handshake: from here on the dialled side has the connection.
    Hello,
    Message(Message),
    /// The sender has closed.
    Bye,
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Links {
    slots: Vec<Link>,
    free: Vec<u32>,
}

impl Links {
    pub(crate) fn open(&mut self, dialler: usize, dialled: usize, delay: u64, now: u64) -> u32 {
        let ends = [dialler as u32, dialled as u32];
        let fresh = |generation| Link {
            generation,
            ends,
            states: [End::Waiting; 2],
            opened_at: now,
            delay,
            pending: 0,
            released: false,
            ways: [Way::default(), Way::default()],
        };
        if let Some(slot) = self.free.pop() {
            let generation = self.slots[slot as usize].generation;
            self.slots[slot as usize] = fresh(generation);
            return slot;
        }
        self.slots.push(fresh(1));
        self.slots.len() as u32 - 1
    }

    /// Gives the slot back; the id that named it is never used again.
    pub(crate) fn release(&mut self, slot: u32) {
        let link = &mut self.slots[slot as usize];
        link.generation += 1;
        link.released = true;
        self.free.push(slot);
    }

    pub(crate) fn id(&self, slot: u32) -> LinkId {
        LinkId(u64::from(self.slots[slot as usize].generation) << 32 | u64::from(slot))
    }

    /// The slot of a link that still exists.
    pub(crate) fn slot(&self, id: LinkId) -> Option<u32> {
        let slot = id.0 as u32;
        let link = self.slots.get(slot as usize)?;
        (u64::from(link.generation) == id.0 >> 32).then_some(slot)
    }

    pub(crate) fn get(&self, slot: u32) -> &Link {
        &self.slots[slot as usize]
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Link {
        &mut self.slots[slot as usize]
    }

    pub(crate) fn count(&self) -> u32 {
        self.slots.len() as u32
    }
}

impl Link {
    /// Which side this node is.
    pub(crate) fn side_of(&self, ix: usize) -> usize {
        usize::from(self.ends[0] as usize != ix)
    }

    pub(crate) fn other(&self, ix: usize) -> usize {
        self.ends[1 - self.side_of(ix)] as usize
    }

    pub(crate) fn is_open(&self) -> bool {
        self.states == [End::Open; 2]
    }
}
