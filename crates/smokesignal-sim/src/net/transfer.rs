//! The life of a connection between its dial and its end: it carries parcels, and it closes.
//!
//! A parcel takes the way [`Net::send`] → `post` → [`Event::Parcel`] → [`Net::arrive`]; where a
//! line is on the way, `post` leads into a pipe and from there to the event. Behind a
//! cut or before a frozen process it waits, and everything that is sent after it waits behind it.
//! Each side closes for itself: [`Net::close`] sends a [`Parcel::Bye`] behind everything that was
//! sent before, and the slot is released when both sides are closed and nothing is under way.

use smokesignal_proto::{LinkId, Message};

use super::Net;
use super::link::{End, WINDOW};
use crate::kernel::{Event, Kernel, Parcel};
use crate::net::latency::with_jitter;

/// The most time until a sender retransmits after the end of a cut: 1 s, TCP's first retransmission
/// timeout (RFC 6298).
const RETRANSMIT: u64 = 1_000_000;

/// The fate of a parcel at the end of its way.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It waits: for the end of a cut, or for a frozen process.
    Waits,
    /// A relay has changed its bytes; the connection breaks.
    Broken,
    /// The process at the other end has dropped the connection, and its kernel resets it.
    Refused,
    /// The process at the other end reads it.
    Read(Parcel),
}

/// One direction of a connection: its slot, and the side that sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane {
    pub(crate) slot: u32,
    pub(crate) from: usize,
}

/// Messages that a sender's socket takes once it has room again, as the sum of their costs; 0 for a
/// part of one.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) ix: usize,
    pub(crate) slot: u32,
    pub(crate) cost: usize,
}

impl Net {
    /// Completes the dialler's side of a connection. Returns whether it stands; it does not where
    /// the dialled node is gone by now.
    pub(crate) fn complete_dial(&mut self, kernel: &mut Kernel, slot: u32) -> bool {
        let [ix, peer] = self.ends(slot);
        let reachable = ix == peer || (self.is_up(peer) && !self.is_held_up(slot));
        if !reachable || self.links.get(slot).states[0] == End::Closed {
            self.abandon(slot);
            return false;
        }
        self.links.get_mut(slot).states[0] = End::Open;
        if ix != peer {
            self.post(kernel, Lane { slot, from: 0 }, Parcel::Hello, 0);
        }
        true
    }

    /// Closes a connection that neither side has yet.
    pub(crate) fn abandon(&mut self, slot: u32) {
        self.links.get_mut(slot).states = [End::Closed; 2];
        self.done_with(slot);
    }

    /// Completes the dialled side. Returns whether the connection is new to it.
    pub(crate) fn accept(&mut self, slot: u32, from: usize) -> bool {
        let state = &mut self.links.get_mut(slot).states[1 - from];
        let new = *state == End::Waiting;
        if new {
            *state = End::Open;
        }
        new
    }

    /// Sends a message from a node. Returns the cost of what the socket has taken with it, or
    /// `None` if the line is slow or the socket is full: that is reported later.
    pub(crate) fn send(
        &mut self,
        kernel: &mut Kernel,
        lane: Lane,
        message: Message,
        hops: u8,
    ) -> Option<usize> {
        let cost = message.cost();
        if self.links.get(lane.slot).is_lined {
            if let Some(pipe) = self.pipe(lane) {
                pipe.push(Parcel::Message(message), hops, cost);
            }
            return self.pump(kernel, lane);
        }
        let Some(taken_at) = self.post_message(kernel, lane, message, hops) else {
            return self.take(lane, cost);
        };
        let Lane { slot, from } = lane;
        self.links.get_mut(slot).pending += 1;
        kernel.schedule(taken_at, Event::Sent { slot, from: from as u8, cost: cost as u32 });
        None
    }

    /// Puts a message on its way, without a report. Returns when a line of limited speed will have
    /// taken it.
    pub(crate) fn post_message(
        &mut self,
        kernel: &mut Kernel,
        lane: Lane,
        message: Message,
        hops: u8,
    ) -> Option<u64> {
        let cost = message.cost();
        let Lane { slot, from } = lane;
        let link = self.links.get_mut(slot);
        if link.is_lined {
            self.post(kernel, lane, Parcel::Message(message), hops);
            return None;
        }
        let (sender, receiver) = (link.ends[from] as usize, link.ends[1 - from] as usize);
        link.directions[from].in_flight += cost;
        let rates = [self.hosts[sender].upload, self.hosts[receiver].download];
        let taken_at = rates.into_iter().flatten().min().map(|rate| {
            let line = &mut link.directions[from];
            let transfer = cost as u64 * 1_000_000 / rate.max(1);
            line.busy_until = line.busy_until.max(kernel.now()) + transfer;
            line.latest = line.latest.max(line.busy_until);
            line.busy_until
        });
        if let (Some(_), Some(out)) = (rates[0], taken_at) {
            self.hosts[sender].slow_until = self.hosts[sender].slow_until.max(out);
        }
        self.post(kernel, lane, Parcel::Message(message), hops);
        taken_at
    }

    /// Queues a parcel behind everything that was sent before.
    fn post(&mut self, kernel: &mut Kernel, lane: Lane, parcel: Parcel, hops: u8) {
        let Lane { slot, from } = lane;
        let link = self.links.get_mut(slot);
        if link.is_lined {
            if let Some(pipe) = self.pipe(lane) {
                pipe.push(parcel, hops, 0);
                self.pump(kernel, lane);
            }
            return;
        }
        link.pending += 1;
        let direction = &mut link.directions[from];
        if !direction.stuck.is_empty() {
            direction.stuck.push_back((parcel, hops));
            return;
        }
        let start = kernel.now().max(direction.busy_until);
        let at = direction.latest.max(start + with_jitter(link.delay, kernel.rng()));
        direction.latest = at;
        kernel.schedule(at, Event::Parcel { slot, from: from as u8, hops, parcel });
    }

    /// Gives a message to the sender's socket. Returns its cost, or `None` if the socket has no
    /// room for it yet.
    pub(crate) fn take(&mut self, lane: Lane, cost: usize) -> Option<usize> {
        let direction = &mut self.links.get_mut(lane.slot).directions[lane.from];
        if direction.in_flight > WINDOW || !direction.withheld.is_empty() {
            direction.withheld.push_back(cost);
            return None;
        }
        Some(cost)
    }

    /// Brings a parcel to the other end.
    pub(crate) fn arrive(&mut self, slot: u32, from: u8, hops: u8, parcel: Parcel) -> Arrival {
        let side = usize::from(from);
        let link = self.links.get_mut(slot);
        let to = link.ends[1 - side] as usize;
        if link.states[1 - side] != End::Closed {
            if self.is_held_up(slot) {
                self.links.get_mut(slot).directions[side].stuck.push_back((parcel, hops));
                return Arrival::Waits;
            }
            if self.is_frozen(to) {
                self.put_aside(to, Event::Parcel { slot, from, hops, parcel });
                return Arrival::Waits;
            }
        }
        if matches!(parcel, Parcel::Message(_)) && self.is_dropped(slot, side) {
            return Arrival::Refused;
        }
        if self.is_tampered_with(slot) {
            self.links.get_mut(slot).pending -= 1;
            return Arrival::Broken;
        }
        Arrival::Read(parcel)
    }

    /// Returns whether this side has the connection.
    pub(crate) fn is_open_at(&self, slot: u32, side: usize) -> bool {
        self.links.get(slot).states[side] == End::Open
    }

    /// Notes that the receiver has read a message. Returns what the sender's socket takes in
    /// return, if messages were withheld.
    pub(crate) fn make_room(
        &mut self,
        kernel: &mut Kernel,
        slot: u32,
        from: usize,
        cost: usize,
    ) -> Option<Room> {
        let link = self.links.get_mut(slot);
        if link.is_lined {
            let lane = Lane { slot, from };
            self.pipe(lane)?.note_read(cost);
            return self.resume(kernel, lane, false);
        }
        let direction = &mut link.directions[from];
        direction.in_flight -= cost;
        if direction.withheld.is_empty() || direction.in_flight > WINDOW {
            return None;
        }
        Some(Room { ix: link.ends[from] as usize, slot, cost: direction.withheld.drain(..).sum() })
    }

    /// Closes a node's side. The other side learns it after everything that was sent. Returns
    /// whether the side was not closed before.
    pub(crate) fn close(&mut self, kernel: &mut Kernel, ix: usize, id: LinkId) -> bool {
        let Some(slot) = self.links.slot(id) else { return false };
        let side = self.links.get(slot).side_of(ix);
        if std::mem::replace(&mut self.links.get_mut(slot).states[side], End::Closed) == End::Closed {
            return false;
        }
        self.post(kernel, Lane { slot, from: side }, Parcel::Bye, 0);
        self.linger(kernel, Lane { slot, from: side });
        self.release_if_done(slot);
        true
    }

    /// Notes that the other side has closed. Returns whether this side still had the connection.
    pub(crate) fn closed_by_peer(&mut self, slot: u32, from: usize) -> bool {
        let state = &mut self.links.get_mut(slot).states[1 - from];
        std::mem::replace(state, End::Closed) != End::Closed
    }

    /// Closes a dead node's side. Its kernel closes the connection, unless the host is off the
    /// network.
    pub(crate) fn hang_up(&mut self, kernel: &mut Kernel, ix: usize, slot: u32, silently: bool) {
        let side = self.links.get(slot).side_of(ix);
        let link = self.links.get_mut(slot);
        let before = std::mem::replace(&mut link.states[side], End::Closed);
        if link.is_lined {
            if !silently {
                self.end_linger(kernel, Lane { slot, from: side });
            }
        } else if before != End::Closed && link.states[1 - side] != End::Closed && !silently {
            self.post(kernel, Lane { slot, from: side }, Parcel::Bye, 0);
        }
        self.release_if_done(slot);
    }

    /// Closes both sides immediately; what was under way is lost. The slot stays until the caller
    /// has reported it to the nodes, and called [`Net::done_with`].
    pub(crate) fn reset(&mut self, slot: u32) -> [usize; 2] {
        let link = self.links.get_mut(slot);
        link.states = [End::Closed; 2];
        link.pending += 1;
        self.ends(slot)
    }

    /// Returns whether both sides are closed.
    pub(crate) fn is_closed(&self, slot: u32) -> bool {
        self.links.get(slot).states == [End::Closed; 2]
    }

    /// Notes that an event that named the connection is handled.
    pub(crate) fn done_with(&mut self, slot: u32) {
        self.links.get_mut(slot).pending -= 1;
        self.release_if_done(slot);
    }

    /// Sends on what a cut has held up and holds up no longer: after up to a second, in order.
    pub(crate) fn pass_on_stuck(&mut self, kernel: &mut Kernel) {
        for slot in 0..self.links.count() {
            for from in 0..2 {
                self.resume_soon(kernel, Lane { slot, from });
                if self.links.get(slot).directions[from].stuck.is_empty() || self.is_held_up(slot) {
                    continue;
                }
                let at = kernel.now() + kernel.rng().between(0, RETRANSMIT);
                let direction = &mut self.links.get_mut(slot).directions[from];
                direction.latest = direction.latest.max(at);
                for (parcel, hops) in std::mem::take(&mut direction.stuck) {
                    let event = Event::Parcel { slot, from: from as u8, hops, parcel };
                    kernel.schedule(direction.latest, event);
                }
            }
        }
    }

    /// Returns the node that sends from this side.
    pub(crate) fn end(&self, slot: u32, side: usize) -> usize {
        self.links.get(slot).ends[side] as usize
    }

    /// Returns the dialling node and the dialled one.
    pub(crate) fn ends(&self, slot: u32) -> [usize; 2] {
        self.links.get(slot).ends.map(|ix| ix as usize)
    }
}
