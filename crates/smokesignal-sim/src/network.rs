//! What connections do: delay, order, full sockets, limited lines, cuts, dials and deaths.
//!
//! A cut loses nothing by itself: TCP sends again, so parcels that cannot pass wait and come late, unless one of
//! the two sides has given up meanwhile. A socket that is not read from takes [`WINDOW`] bytes.

use std::sync::Arc;
use std::time::Duration;

use smokesignal_proto::{Control, DialFailure, DialId, LinkId, Message, NodeId, Target, encode};

use crate::drive::brief;
use crate::hostile;
use crate::latency::with_jitter;
use crate::link::{End, Parcel, WINDOW};
use crate::member::at_address;
use crate::world::{Event, World, micros};

/// A connection attempt to where nobody answers fails after this long: 2 s, as the library does it.
const DIAL_TIMEOUT: u64 = 2_000_000;
/// Until a sender tries again after a cut ended, at most: 1 s, TCP's first retransmission timeout (RFC 6298).
const RETRANSMIT: u64 = 1_000_000;
/// Bytes around each message on the wire: length 4, TLS record 22, IP and TCP headers 40. Acknowledgements of their
/// own and packets of more than 1460 bytes are not counted.
const OVERHEAD: u64 = 4 + 22 + 40;

impl World {
    /// Whether packets between the two vanish.
    pub(crate) fn is_cut(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.members[a], &self.members[b]);
        a.side != b.side || a.unplugged || b.unplugged
    }

    pub(crate) fn dial(
        &mut self,
        ix: usize,
        dial: DialId,
        target: &Target,
        expect: Option<NodeId>,
        timeout: Option<Duration>,
    ) {
        let silence = timeout.map_or(DIAL_TIMEOUT, micros);
        self.count_dial(ix);
        let address = match target {
            Target::Name(name) => name.parse().ok(),
            Target::Address(address) => Some(*address),
        };
        let peer = address.and_then(at_address).filter(|peer| *peer < self.members.len());
        self.stats.seed_dials += u64::from(peer.is_some_and(|peer| peer < self.setup.seeds));
        let start = self.members[ix].start;
        let failed = |failure| Event::DialFailed { ix: ix as u32, start, dial, failure };
        let Some(peer) = peer else {
            return self.queue.push(self.now + silence, failed(DialFailure::Unanswered));
        };
        let delay = self.delay(ix, peer);
        if self.is_cut(ix, peer) || self.members[peer].frozen || self.members[peer].hidden {
            return self.queue.push(self.now + silence, failed(DialFailure::Unanswered));
        }
        let wrong = expect.is_some_and(|id| id != self.members[peer].id);
        if wrong || !self.members[peer].alive() {
            return self.queue.push(self.now + 2 * delay, failed(DialFailure::Refused));
        }
        let slot = self.links.open(ix, peer, delay, self.now);
        let link = self.links.get_mut(slot);
        link.pending = 1;
        if ix == peer {
            link.states[1] = End::Closed;
        } else {
            self.members[peer].links.push(slot);
        }
        self.members[ix].links.push(slot);
        // One round trip for TCP and one for TLS.
        self.queue.push(self.now + 4 * delay, Event::Dialled { slot, start, dial });
    }

    pub(crate) fn count_dial(&mut self, ix: usize) {
        self.stats.dials += 1;
        self.members[ix].dials += 1;
        self.check_dials(ix);
    }

    fn delay(&self, a: usize, b: usize) -> u64 {
        self.setup.latency.between(a, b, self.setup.rng_seed)
    }

    /// A node sends; hostile ones something else instead.
    pub(crate) fn send(&mut self, ix: usize, link: LinkId, message: Message) {
        let cost = message.cost();
        let Some(slot) = self.links.slot(link) else { return };
        let from = self.links.get(slot).side_of(ix);
        if self.links.get(slot).states[from] != End::Open {
            return;
        }
        let Some(behaviour) = self.members[ix].hostile else {
            self.send_one(ix, slot, from, message);
            return;
        };
        let me = self.members[ix].id;
        let loot = self.loot.entry(ix as u32).or_default();
        let altered = hostile::alter(behaviour, me, message, loot, &mut self.chance);
        for message in altered {
            self.post_message(ix, slot, from, message);
        }
        self.report_sent(ix, slot, cost);
    }

    fn send_one(&mut self, ix: usize, slot: u32, from: usize, message: Message) {
        let cost = message.cost();
        match self.post_message(ix, slot, from, message) {
            // The line is slow: it says itself when it has taken the message.
            Some(taken_at) => {
                self.links.get_mut(slot).pending += 1;
                let event = Event::Sent { slot, from: from as u8, cost: cost as u32 };
                self.queue.push(taken_at, event);
            }
            None => self.taken(slot, from, cost),
        }
    }

    /// Puts a message on its way. Returns when a line with a limit will have taken it.
    fn post_message(&mut self, ix: usize, slot: u32, from: usize, message: Message) -> Option<u64> {
        let cost = message.cost();
        let link = self.links.get_mut(slot);
        let to = link.ends[1 - from] as usize;
        link.ways[from].in_flight += cost;
        let rate = [self.members[ix].upload, self.members[to].download].into_iter().flatten().min();
        let taken_at = rate.map(|rate| {
            let way = &mut link.ways[from];
            way.busy_until = way.busy_until.max(self.now) + cost as u64 * 1_000_000 / rate.max(1);
            way.latest = way.latest.max(way.busy_until);
            way.busy_until
        });
        let hops = self.hops_at(ix, &message);
        if self.setup.count_bytes {
            self.bytes.clear();
            encode(&message, &mut self.bytes);
            self.stats.wire_bytes += self.bytes.len() as u64 + OVERHEAD;
        }
        self.post(slot, from as u8, Parcel::Message(message), hops);
        taken_at
    }

    /// Hops after which the sender itself has the segment.
    fn hops_at(&mut self, ix: usize, message: &Message) -> u8 {
        let Message::Data(segment) = message else { return 0 };
        let Some(writer) = self.writer_number(&segment.origin) else { return 0 };
        if self.writers[writer as usize] == ix as u32 {
            return 0;
        }
        self.members[ix].read(writer).hops_of(segment.seq).unwrap_or(u8::MAX)
    }

    /// Queues a parcel behind all that was sent before.
    pub(crate) fn post(&mut self, slot: u32, from: u8, parcel: Parcel, hops: u8) {
        let link = self.links.get_mut(slot);
        link.pending += 1;
        let way = &mut link.ways[from as usize];
        if !way.stuck.is_empty() {
            way.stuck.push_back((parcel, hops));
            return;
        }
        let start = self.now.max(way.busy_until);
        let at = way.latest.max(start + with_jitter(link.delay, &mut self.chance));
        way.latest = at;
        self.queue.push(at, Event::Parcel { slot, from, hops, parcel });
    }

    pub(crate) fn on_line_free(&mut self, slot: u32, from: u8, cost: u32) {
        self.taken(slot, from.into(), cost as usize);
        let ix = self.links.get(slot).ends[usize::from(from)] as usize;
        if self.members[ix].awake() {
            self.settle(ix);
        }
        self.done_with(slot);
    }

    /// The sender's socket takes a message, now or once there is room.
    fn taken(&mut self, slot: u32, from: usize, cost: usize) {
        let link = self.links.get_mut(slot);
        let way = &mut link.ways[from];
        if way.in_flight > WINDOW || !way.withheld.is_empty() {
            return way.withheld.push_back(cost);
        }
        let ix = link.ends[from] as usize;
        self.report_sent(ix, slot, cost);
    }

    fn report_sent(&mut self, ix: usize, slot: u32, cost: usize) {
        let id = self.links.id(slot);
        let member = &mut self.members[ix];
        let now = smokesignal_proto::Instant::from_micros(self.now + member.clock_ahead);
        if let Some(node) = &mut member.node {
            node.handle_sent(id, cost, now);
        }
    }

    pub(crate) fn on_parcel(&mut self, slot: u32, from: u8, hops: u8, parcel: Parcel) {
        let side = usize::from(from);
        let link = self.links.get_mut(slot);
        let to = link.ends[1 - side] as usize;
        if link.states[1 - side] != End::Closed {
            if self.is_held_up(slot) {
                self.links.get_mut(slot).ways[side].stuck.push_back((parcel, hops));
                return;
            }
            if self.members[to].frozen {
                return self.members[to].backlog.push_back(Event::Parcel { slot, from, hops, parcel });
            }
        }
        if self.is_tampered_with(slot) {
            self.links.get_mut(slot).pending -= 1;
            return self.reset_link(slot);
        }
        self.take_in(slot, side, to, hops, parcel);
        self.done_with(slot);
    }

    fn take_in(&mut self, slot: u32, side: usize, to: usize, hops: u8, parcel: Parcel) {
        let id = self.links.id(slot);
        let link = self.links.get_mut(slot);
        let state = link.states[1 - side];
        match parcel {
            Parcel::Hello if state == End::Waiting => {
                link.states[1 - side] = End::Open;
                let peer = self.members[link.ends[side] as usize].id;
                self.note(11, to as u64, id.0);
                let carried = self.is_carried(slot);
                self.with(to, |node, now| {
                    if carried {
                        node.handle_relayed(id, peer, now);
                    } else {
                        node.handle_connected(id, peer, None, now);
                    }
                });
            }
            Parcel::Message(message) => {
                let cost = message.cost();
                if state == End::Open {
                    self.deliver(to, id, hops, message);
                }
                self.make_room(slot, side, cost);
            }
            Parcel::Bye if state != End::Closed => {
                link.states[1 - side] = End::Closed;
                self.note(12, to as u64, id.0);
                self.with(to, |node, now| node.handle_disconnected(id, now));
            }
            Parcel::Hello | Parcel::Bye => {}
        }
    }

    fn deliver(&mut self, to: usize, id: LinkId, hops: u8, message: Message) {
        self.note_message(to, &message);
        self.tell(to, || {
            let from = self.links.slot(id).map(|slot| self.links.get(slot).other(to));
            format!("<- {from:?} {}", brief(&message))
        });
        self.count(to, hops, &message);
        if self.members[to].hostile.is_some_and(|behaviour| behaviour.ignores(&message)) {
            return;
        }
        self.with(to, |node, now| node.handle_message(id, message, now));
    }

    /// Counts a message that arrived.
    fn count(&mut self, to: usize, hops: u8, message: &Message) {
        let kinds = &mut self.stats.kinds;
        let segment = match message {
            Message::Data(segment) => segment,
            Message::Control(control) => {
                match **control {
                    Control::Beacon { .. } => {
                        kinds.keepalive += 1;
                        kinds.beats += 1;
                    }
                    Control::Ping { .. } => kinds.keepalive += 1,
                    Control::Digest { .. } | Control::Graft { .. } | Control::Prune { .. } => {
                        kinds.repair += 1;
                    }
                    _ => kinds.membership += 1,
                }
                return;
            }
        };
        kinds.data += 1;
        let segment = Arc::clone(segment);
        let Some(writer) = self.writer_number(&segment.origin) else { return };
        if self.writers[writer as usize] as usize == to || !self.members[to].honest() {
            return;
        }
        self.stats.copies += 1;
        let hops = hops.saturating_add(1);
        if self.members[to].read(writer).copy_arrived(segment.incarnation, segment.seq, hops) {
            self.stats.firsts += 1;
            if hops < u8::MAX {
                self.stats.hops.add(hops.into());
            }
        }
    }

    /// The receiver has read: the sender's socket has room again.
    fn make_room(&mut self, slot: u32, from: usize, cost: usize) {
        let link = self.links.get_mut(slot);
        let ix = link.ends[from] as usize;
        let way = &mut link.ways[from];
        way.in_flight -= cost;
        if way.withheld.is_empty() || way.in_flight > WINDOW {
            return;
        }
        let withheld: usize = way.withheld.drain(..).sum();
        self.report_sent(ix, slot, withheld);
        if self.members[ix].awake() {
            self.settle(ix);
        }
    }

    /// A node closes its side; the other learns it after all that was sent.
    pub(crate) fn close(&mut self, ix: usize, id: LinkId) {
        let Some(slot) = self.links.slot(id) else { return };
        let side = self.links.get(slot).side_of(ix);
        if self.links.get(slot).states[side] == End::Closed {
            return;
        }
        self.links.get_mut(slot).states[side] = End::Closed;
        self.post(slot, side as u8, Parcel::Bye, 0);
        self.release_if_done(slot);
        self.end_circuits(id);
    }

    /// The process is gone: its kernel ends its connections, unless the host is off the net.
    pub(crate) fn kill(&mut self, ix: usize, silently: bool) {
        let now = self.now;
        let member = &mut self.members[ix];
        member.node = None;
        member.died_at = now;
        member.frozen = false;
        member.unplugged = silently;
        self.note(13, ix as u64, silently.into());
        let backlog = std::mem::take(&mut self.members[ix].backlog);
        for event in backlog {
            self.queue.push(self.now, event);
        }
        for slot in self.members[ix].links.clone() {
            let side = self.links.get(slot).side_of(ix);
            self.end_circuits(self.links.id(slot));
            let before = std::mem::replace(&mut self.links.get_mut(slot).states[side], End::Closed);
            if before != End::Closed && self.links.get(slot).states[1 - side] != End::Closed && !silently {
                self.post(slot, side as u8, Parcel::Bye, 0);
            }
            self.release_if_done(slot);
        }
    }

    /// Both ends see an error at once; what was under way is lost.
    pub(crate) fn reset_link(&mut self, slot: u32) {
        let ends = self.links.get(slot).ends;
        let id = self.links.id(slot);
        let link = self.links.get_mut(slot);
        link.states = [End::Closed; 2];
        link.pending += 1;
        self.end_circuits(id);
        for ix in ends {
            self.with(ix as usize, |node, now| node.handle_disconnected(id, now));
        }
        self.done_with(slot);
    }

    /// An event that named the link is over.
    pub(crate) fn done_with(&mut self, slot: u32) {
        self.links.get_mut(slot).pending -= 1;
        self.release_if_done(slot);
    }

    /// Parcels that a cut held up go on, after up to a second, in order.
    pub(crate) fn pass_on_stuck(&mut self) {
        for slot in 0..self.links.count() {
            for from in 0..2 {
                if self.links.get(slot).ways[from].stuck.is_empty() || self.is_held_up(slot) {
                    continue;
                }
                let at = self.now + self.chance.between(0, RETRANSMIT);
                let way = &mut self.links.get_mut(slot).ways[from];
                way.latest = way.latest.max(at);
                let at = way.latest;
                for (parcel, hops) in std::mem::take(&mut way.stuck) {
                    self.queue.push(at, Event::Parcel { slot, from: from as u8, hops, parcel });
                }
            }
        }
    }

    /// Frees the slot once neither side has the connection and nothing is under way.
    pub(crate) fn release_if_done(&mut self, slot: u32) {
        let link = self.links.get_mut(slot);
        if link.released || link.states != [End::Closed; 2] {
            return;
        }
        for way in &mut link.ways {
            link.pending -= way.stuck.len() as u32;
            way.stuck.clear();
        }
        if link.pending > 0 {
            return;
        }
        for ix in link.ends {
            let links = &mut self.members[ix as usize].links;
            if let Some(at) = links.iter().position(|held| *held == slot) {
                links.swap_remove(at);
            }
        }
        self.links.release(slot);
        self.forget_circuit(slot);
    }
}
