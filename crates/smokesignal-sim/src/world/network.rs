//! The way from the nodes to the network and back: dials, messages, and the ends of connections.
//!
//! Methods without `on_` do what a node has asked for. Methods with `on_` handle an event: they ask
//! [`Net`](crate::net::Net) what becomes of it, and give the outcome to the node that it is for.

use std::time::Duration;

use smokesignal_proto::{Control, DialFailure, DialId, LinkId, Message, NodeId, Segment, Target, encode};

use super::World;
use super::nodes::brief;
use crate::check::Observed;
use crate::cluster::number_at;
use crate::kernel::{Event, Mark, Parcel, micros, mix};
use crate::net::{Arrival, Callee, Dial, Lane, Taken};

/// The time after which a dial that nobody answers fails: 2 s, as in the library.
const DIAL_TIMEOUT: u64 = 2_000_000;
/// Bytes around each message on the wire: 4 of length, 22 of a TLS record, 40 of IP and TCP
/// headers. Pure acknowledgements and the further packets of messages above 1460 bytes are not
/// counted.
const OVERHEAD: u64 = 4 + 22 + 40;

impl World {
    /// Dials for a node. Without a timeout of its own the dial has that of the library.
    pub(super) fn dial(&mut self, ix: usize, dial: DialId, callee: Callee, timeout: Option<Duration>) {
        self.count_dial(ix);
        let to_seed = matches!(callee, Callee::Expected(to) | Callee::Other(to) if to < self.setup.seeds);
        self.stats.seed_dials += u64::from(to_seed);
        let dial = Dial { id: dial, from: ix, start: self.cluster.starts(ix) };
        self.net.dial(&mut self.kernel, dial, callee, timeout.map_or(DIAL_TIMEOUT, micros));
    }

    /// Returns the node at an address, where the dialler may expect a certain one.
    pub(super) fn callee(&self, target: &Target, expect: Option<NodeId>) -> Callee {
        let address = match target {
            Target::Name(name) => name.parse().ok(),
            Target::Address(address) => Some(*address),
        };
        let Some(to) = address.and_then(number_at).filter(|to| *to < self.cluster.len()) else {
            return Callee::Nobody;
        };
        if expect.is_none_or(|id| id == self.cluster.id(to)) {
            Callee::Expected(to)
        } else {
            Callee::Other(to)
        }
    }

    /// Counts a dial that begins.
    pub(super) fn count_dial(&mut self, ix: usize) {
        self.stats.dials += 1;
        self.cluster.dial_begins(ix);
        self.observe(&Observed::Dials { node: ix });
    }

    /// Completes a dial, unless the dialler has died since.
    pub(super) fn on_dialled(&mut self, slot: u32, start: u64, dial: DialId) {
        let [ix, peer] = self.net.ends(slot);
        if self.net.is_frozen(ix) {
            return self.net.put_aside(ix, Event::Dialled { slot, start, dial });
        }
        if !self.is_in_start(ix, start) {
            return self.net.abandon(slot);
        }
        if !self.net.complete_dial(&mut self.kernel, slot) {
            return self.on_dial_failed(ix, start, dial, DialFailure::Unanswered);
        }
        self.cluster.dial_ends(ix);
        let (id, peer) = (self.net.id(slot), self.cluster.id(peer));
        self.kernel.record(Mark::Connected, ix as u64, id.0);
        self.with(ix, |node, now| node.handle_connected(id, peer, Some(dial), now));
        self.net.done_with(slot);
    }

    /// Reports to a node that its dial has failed.
    pub(super) fn on_dial_failed(&mut self, ix: usize, start: u64, dial: DialId, failure: DialFailure) {
        if !self.is_in_start(ix, start) {
            return;
        }
        if self.net.is_frozen(ix) {
            let event = Event::DialFailed { ix: ix as u32, start, dial, failure };
            return self.net.put_aside(ix, event);
        }
        self.cluster.dial_ends(ix);
        self.kernel.record(Mark::DialFailed, ix as u64, dial.0);
        self.with(ix, |node, now| node.handle_dial_failed(dial, failure, now));
    }

    /// Returns whether a node is alive and was not started again since.
    fn is_in_start(&self, ix: usize, start: u64) -> bool {
        self.cluster.is_alive(ix) && self.cluster.starts(ix) == start
    }

    /// Sends a message for a node. A hostile node sends something else instead.
    pub(super) fn send(&mut self, ix: usize, link: LinkId, message: Message) {
        let Some(slot) = self.net.slot(link) else { return };
        let lane = Lane { slot, from: self.net.link(slot).side_of(ix) };
        if !self.net.is_open_at(slot, lane.from) {
            return;
        }
        let cost = message.cost();
        let me = self.cluster.id(ix);
        let Some(hostile) = self.cluster.hostile(ix) else {
            let hops = self.prepare(ix, &message);
            if self.net.send(&mut self.kernel, lane, message, hops) == Taken::Now {
                self.report_sent(ix, slot, cost);
            }
            return;
        };
        for message in hostile.alter(me, message, self.kernel.rng()) {
            let hops = self.prepare(ix, &message);
            self.net.post_message(&mut self.kernel, lane, message, hops);
        }
        self.report_sent(ix, slot, cost);
    }

    /// Counts the bytes of a message that leaves, where they are counted. Returns after how many
    /// hops its sender has got what it holds.
    fn prepare(&mut self, ix: usize, message: &Message) -> u8 {
        if self.setup.count_bytes {
            self.encoded.clear();
            encode(message, &mut self.encoded);
            self.stats.wire_bytes += self.encoded.len() as u64 + OVERHEAD;
        }
        let Message::Data(segment) = message else { return 0 };
        self.hops_at(ix, segment)
    }

    /// Notes that a slow line has taken a message.
    pub(super) fn on_sent(&mut self, slot: u32, from: u8, cost: u32) {
        let (from, cost) = (usize::from(from), cost as usize);
        let ix = self.net.end(slot, from);
        if self.net.take(Lane { slot, from }, cost) == Taken::Now {
            self.report_sent(ix, slot, cost);
        }
        if self.net.is_awake(ix) {
            self.settle(ix);
        }
        self.net.done_with(slot);
    }

    /// Tells a node that its socket has taken messages of this cost.
    fn report_sent(&mut self, ix: usize, slot: u32, cost: usize) {
        let id = self.net.id(slot);
        self.cluster.act(ix, self.kernel.now(), |node, now| node.handle_sent(id, cost, now));
    }

    /// Handles a parcel at the end of its way.
    pub(super) fn on_parcel(&mut self, slot: u32, from: u8, hops: u8, parcel: Parcel) {
        match self.net.arrive(slot, from, hops, parcel) {
            Arrival::Waits => {}
            Arrival::Broken => self.reset(slot),
            Arrival::Read(parcel) => {
                self.read(slot, from.into(), hops, parcel);
                self.net.done_with(slot);
            }
        }
    }

    /// Gives a node what has arrived for it.
    fn read(&mut self, slot: u32, from: usize, hops: u8, parcel: Parcel) {
        let to = self.net.end(slot, 1 - from);
        let id = self.net.id(slot);
        match parcel {
            Parcel::Hello => {
                if self.net.accept(slot, from) {
                    self.accepted(slot, from, to);
                }
            }
            Parcel::Message(message) => {
                let cost = message.cost();
                if self.net.is_open_at(slot, 1 - from) {
                    self.receive(to, id, hops, message);
                }
                if let Some(room) = self.net.make_room(slot, from, cost) {
                    self.report_sent(room.ix, slot, room.cost);
                    if self.net.is_awake(room.ix) {
                        self.settle(room.ix);
                    }
                }
            }
            Parcel::Bye => {
                if self.net.closed_by_peer(slot, from) {
                    self.kernel.record(Mark::Disconnected, to as u64, id.0);
                    self.with(to, |node, now| node.handle_disconnected(id, now));
                }
            }
        }
    }

    /// Tells the dialled node that it has a connection.
    fn accepted(&mut self, slot: u32, from: usize, to: usize) {
        let id = self.net.id(slot);
        let peer = self.cluster.id(self.net.end(slot, from));
        let relayed = self.net.relayed_over(slot).is_some();
        self.kernel.record(Mark::Accepted, to as u64, id.0);
        self.with(to, |node, now| {
            if relayed {
                node.handle_relayed(id, peer, now);
            } else {
                node.handle_connected(id, peer, None, now);
            }
        });
    }

    /// Records and counts a message, and gives it to its receiver.
    fn receive(&mut self, to: usize, id: LinkId, hops: u8, message: Message) {
        let kind = match &message {
            Message::Data(segment) => mix(segment.seq),
            Message::Control(_) => 1,
        };
        let word = kind ^ (message.cost() as u64) << 8;
        self.kernel.record(Mark::MessageArrived, to as u64, word);
        self.kernel.print(to, || format!("<- {:?} {}", self.net.other_end(to, id), brief(&message)));
        self.count(to, hops, &message);
        if self.cluster.behaviour(to).is_some_and(|behaviour| behaviour.ignores(&message)) {
            return;
        }
        self.with(to, |node, now| node.handle_message(id, message, now));
    }

    /// Counts a message that arrived, by its kind.
    fn count(&mut self, to: usize, hops: u8, message: &Message) {
        let kinds = &mut self.stats.kinds;
        let control = match message {
            Message::Data(segment) => {
                kinds.data += 1;
                return self.count_copy(to, hops, segment);
            }
            Message::Control(control) => control,
        };
        match **control {
            Control::Beacon { .. } => {
                kinds.keepalive += 1;
                kinds.beats += 1;
            }
            Control::Ping { .. } => kinds.keepalive += 1,
            Control::Digest { .. } | Control::Graft { .. } | Control::Prune { .. } => kinds.repair += 1,
            _ => kinds.membership += 1,
        }
    }

    /// Counts a copy of a segment that arrived, and whether it is the first at its reader.
    fn count_copy(&mut self, to: usize, hops: u8, segment: &Segment) {
        let Some(writer) = self.writer_number(&segment.origin) else { return };
        if self.writer_node(writer) == to || !self.cluster.is_honest(to) {
            return;
        }
        self.stats.copies += 1;
        let hops = hops.saturating_add(1);
        let read = self.traffic.read_mut(to, writer);
        if read.copy_arrived(segment.incarnation, segment.seq, hops) {
            self.stats.firsts += 1;
            if hops < u8::MAX {
                self.stats.hops.add(hops.into());
            }
        }
    }

    /// Returns after how many hops a node has got a segment that it sends on.
    fn hops_at(&mut self, ix: usize, segment: &Segment) -> u8 {
        let Some(writer) = self.writer_number(&segment.origin) else { return 0 };
        if self.writer_node(writer) == ix {
            return 0;
        }
        self.traffic.read_mut(ix, writer).hops_of(segment.seq).unwrap_or(u8::MAX)
    }

    /// Closes a node's connection. The other side learns it after everything that was sent.
    pub(super) fn close(&mut self, ix: usize, id: LinkId) {
        if self.net.close(&mut self.kernel, ix, id) {
            self.end_relayed(id);
        }
    }

    /// Breaks a connection: both sides see an error, and what was under way is lost.
    pub(super) fn reset(&mut self, slot: u32) {
        let id = self.net.id(slot);
        let ends = self.net.reset(slot);
        self.end_relayed(id);
        for ix in ends {
            self.with(ix, |node, now| node.handle_disconnected(id, now));
        }
        self.net.done_with(slot);
    }
}
