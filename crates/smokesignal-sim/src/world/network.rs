//! The way from the nodes to the network and back: dials, messages, and the ends of connections.
//!
//! Methods without `on_` do what a node has asked for. Methods with `on_` handle an event: they ask
//! [`Net`](crate::net::Net) what becomes of it, and give the outcome to the node that it is for.

use std::time::Duration;

use smokesignal_proto::{
    Control, DialFailure, DialId, LinkId, Message, NodeId, OtherEnd, Segment, Target, encode,
};

use super::World;
use super::nodes::brief;
use crate::check::Observed;
use crate::cluster::number_at;
use crate::hostile::Way;
use crate::kernel::{Event, Mark, Parcel, micros, mix};
use crate::net::{Arrival, Callee, Dial, Lane, Overdue, Room, Shake, Step};

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
        let is_gone = matches!(callee, Callee::Expected(to) | Callee::Other(to) if !self.net.is_up(to));
        self.stats.missing_seed_dials += u64::from(to_seed && is_gone);
        let dial = Dial { id: dial, from: ix, start: self.cluster.starts(ix) };
        self.net.dial(&mut self.kernel, dial, callee, timeout.map(micros));
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

    /// Takes a handshake a step further.
    pub(super) fn on_shake(&mut self, shake: Shake, step: Step) {
        if self.net.on_shake(&mut self.kernel, shake, step) {
            self.on_dialled(shake.slot, shake.start, shake.dial);
        }
    }

    /// Ends a dial whose handshake has taken too long.
    pub(super) fn on_deadline(&mut self, shake: Shake) {
        if self.net.at_deadline(&mut self.kernel, shake) == Overdue::Failed {
            let [ix, _] = self.net.ends(shake.slot);
            self.on_dial_failed(ix, shake.start, shake.dial, DialFailure::Unanswered);
        }
    }

    /// Completes a dial, unless the dialler has died since.
    pub(super) fn on_dialled(&mut self, slot: u32, start: u64, dial: DialId) {
        let [ix, peer] = self.net.ends(slot);
        if self.net.is_closed(slot) {
            return self.net.done_with(slot); // Its time was over, while the dialler was frozen.
        }
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
        let (id, peer) = (self.net.id(slot), self.other_end(peer));
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
        let way = Way {
            from: self.cluster.id(ix),
            to: self.cluster.id(self.net.end(slot, 1 - lane.from)),
            link,
            now: self.kernel.now(),
        };
        let Some(hostile) = self.cluster.hostile(ix) else {
            let hops = self.prepare(ix, &message);
            let taken = self.net.send(&mut self.kernel, lane, message, hops);
            return self.report_sent(ix, slot, taken);
        };
        for message in hostile.alter(way, message, self.kernel.rng()) {
            let hops = self.prepare(ix, &message);
            self.net.post_message(&mut self.kernel, lane, message, hops);
        }
        self.report_sent(ix, slot, Some(cost));
    }

    /// Counts the bytes of a message that leaves, where they are counted. Returns after how many
    /// hops its sender has got what it holds.
    fn prepare(&mut self, ix: usize, message: &Message) -> u8 {
        if self.setup.count_bytes {
            self.encoded.clear();
            encode(message, &mut self.encoded);
            self.stats.wire_bytes += self.encoded.len() as u64 + OVERHEAD;
        }
        let Message::Data(segment, _) = message else { return 0 };
        self.hops_at(ix, segment)
    }

    /// Notes that a slow line has taken a message.
    pub(super) fn on_sent(&mut self, slot: u32, from: u8, cost: u32) {
        let (from, cost) = (usize::from(from), cost as usize);
        let ix = self.net.end(slot, from);
        let taken = self.net.take(Lane { slot, from }, cost);
        self.report_sent(ix, slot, taken);
        if self.net.is_awake(ix) {
            self.settle(ix);
        }
        self.net.done_with(slot);
    }

    /// Takes a chunk into the line of its receiver.
    pub(super) fn on_chunk(&mut self, slot: u32, from: u8, bytes: u32) {
        let lane = Lane { slot, from: from.into() };
        let taken = self.net.on_chunk(&mut self.kernel, lane, bytes);
        self.on_room(taken);
    }

    /// Gives a node what a chunk completes that has passed the lines.
    pub(super) fn on_arrived(&mut self, slot: u32, from: u8, bytes: u32) {
        let lane = Lane { slot, from: from.into() };
        let taken = self.net.on_arrived(&mut self.kernel, lane, bytes);
        self.on_room(taken);
        while let Some((parcel, hops)) = self.net.next_arrived(&mut self.kernel, lane) {
            self.on_parcel(slot, from, hops, parcel);
        }
        if self.net.is_heard(lane, self.kernel.now()) {
            self.hear(lane);
        }
        self.net.done_with(slot);
    }

    /// Looks for room in a way of a line.
    pub(super) fn on_line_room(&mut self, ix: u32, down: bool) {
        let taken = self.net.give_turns(&mut self.kernel, ix as usize, down);
        self.on_room(taken);
    }

    /// Lets a direction go on that was held up.
    pub(super) fn on_resume(&mut self, slot: u32, from: u8) {
        let taken = self.net.resume(&mut self.kernel, Lane { slot, from: from.into() }, false);
        self.on_room(taken);
        self.net.done_with(slot);
    }

    /// Tells a node that bytes arrive which are not a whole message yet.
    fn hear(&mut self, Lane { slot, from }: Lane) {
        let (to, id) = (self.net.end(slot, 1 - from), self.net.id(slot));
        if self.net.is_open_at(slot, 1 - from) && self.net.is_awake(to) {
            self.cluster.act(to, self.kernel.now(), |node, now| node.handle_heard(id, now));
        }
    }

    /// Ends the patience of a closed side.
    pub(super) fn on_lingered(&mut self, slot: u32, from: u8) {
        self.net.end_linger(&mut self.kernel, Lane { slot, from: from.into() });
        self.net.done_with(slot);
    }

    /// Reports to nodes what their sockets have taken, and performs what they want then.
    fn on_room(&mut self, taken: impl IntoIterator<Item = Room>) {
        for Room { ix, slot, cost } in taken {
            self.report_sent(ix, slot, Some(cost));
            if self.net.is_awake(ix) {
                self.settle(ix);
            }
        }
    }

    /// Tells a node that its socket has taken messages of this cost, if it has taken any.
    fn report_sent(&mut self, ix: usize, slot: u32, cost: Option<usize>) {
        let Some(cost) = cost else { return };
        let id = self.net.id(slot);
        self.cluster.act(ix, self.kernel.now(), |node, now| node.handle_sent(id, cost, now));
    }

    /// Handles a parcel at the end of its way.
    pub(super) fn on_parcel(&mut self, slot: u32, from: u8, hops: u8, parcel: Parcel) {
        match self.net.arrive(slot, from, hops, parcel) {
            Arrival::Waits => {}
            Arrival::Broken => self.reset(slot),
            Arrival::Refused => {
                self.net.refuse(&mut self.kernel, slot, from.into());
                self.net.done_with(slot);
            }
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
                let taken = self.net.make_room(&mut self.kernel, slot, from, cost);
                self.on_room(taken);
            }
            Parcel::Bye => {
                if self.net.closed_by_peer(slot, from) {
                    self.kernel.record(Mark::Disconnected, to as u64, id.0);
                    self.with(to, |node, now| node.handle_disconnected(id, now));
                }
            }
        }
    }

    /// The other end of a connection, which runs the same program.
    fn other_end(&self, peer: usize) -> OtherEnd {
        OtherEnd { id: self.cluster.id(peer), features: self.setup.features }
    }

    /// Tells the dialled node that it has a connection.
    fn accepted(&mut self, slot: u32, from: usize, to: usize) {
        let id = self.net.id(slot);
        let peer = self.other_end(self.net.end(slot, from));
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
            Message::Data(segment, _) => mix(segment.seq),
            Message::Control(_) => 1,
            Message::Part(_) => 2,
        };
        let word = kind ^ (message.cost() as u64) << 8;
        self.kernel.record(Mark::MessageArrived, to as u64, word);
        self.kernel.print(to, || format!("<- {:?} {}", self.net.other_end(to, id), brief(&message)));
        self.count(to, id, hops, &message);
        if self.cluster.behaviour(to).is_some_and(|behaviour| behaviour.ignores(&message)) {
            return;
        }
        let message = match self.cluster.hostile(to) {
            Some(hostile) => hostile.hear(id, message),
            None => message,
        };
        self.with(to, |node, now| node.handle_message(id, message, now));
    }

    /// Counts a message that arrived, by its kind.
    fn count(&mut self, to: usize, id: LinkId, hops: u8, message: &Message) {
        let kinds = &mut self.stats.kinds;
        let control = match message {
            Message::Data(segment, _) => {
                kinds.data += 1;
                return self.count_copy(to, hops, segment);
            }
            Message::Part(part) => {
                kinds.data += 1;
                let Some(segment) = self.net.join(to, id, part) else { return };
                let from = self.net.other_end(to, id);
                let hops = from.map_or(u8::MAX, |from| self.hops_at(from, &segment));
                return self.count_copy(to, hops, &segment);
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
        } else if let Some(tally) = &mut self.tally {
            tally.node(to).useless_copy(segment.body.len() as u64);
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
