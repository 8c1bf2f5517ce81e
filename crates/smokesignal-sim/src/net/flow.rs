//! How bytes flow over the lines of the nodes.
//!
//! A connection of which an end has a [`Line`] sends through a [`Pipe`] in each direction. A chunk
//! leaves the pipe's socket once the sender's way up and the receiver's way down have room for it.
//! It enters the way up, travels for the pair's delay, enters the way down ([`Event::Chunk`]),
//! leaves it ([`Event::Arrived`]), and completes the parcels whose last byte it holds. A direction
//! that finds a way full waits there for its turn ([`Event::Room`]).
//!
//! The four packets of a handshake before the dialler's last flight enter the queues as well. They
//! find room even in a full queue, but have to wait for all that is before them.

use smokesignal_proto::DialId;

use super::Net;
use super::line::{Line, Way, Ways};
use super::link::End;
use super::pipe::Pipe;
use super::transfer::{Lane, Room};
use crate::kernel::{Event, Kernel, Parcel, mix};

/// Bytes of the packets of a handshake: SYN and its answer, then the first flights of TLS, of which
/// the second has a certificate and HELLO. The dialler's last flight is [`Parcel::Hello`].
const HANDSHAKE: [u64; 4] = [74, 74, 450, 1_300];
/// The packet with which the dialler knows that TCP is connected.
const CONNECTED: u8 = 2;
/// The time for TCP to connect, and then for TLS, as in the library: 2 s and 3 s.
const CONNECT: u64 = 2_000_000;
const AUTHENTICATE: u64 = 3_000_000;
/// The time that a closed connection has to write what is queued: 2 s, as in the library.
const LINGER: u64 = 2_000_000;

/// A handshake that is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shake {
    pub(crate) slot: u32,
    pub(crate) start: u64,
    pub(crate) dial: DialId,
}

impl Shake {
    const fn at(self, step: Step) -> Event {
        Event::Shake { slot: self.slot, step, start: self.start, dial: self.dial }
    }
}

/// Where a packet of a handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The packet with this number is at the way down of its receiver.
    Comes(u8),
    /// It has arrived.
    Here(u8),
}

/// What becomes of a dial at its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// It has ended before.
    Ended,
    /// TCP is connected, and TLS has some more time.
    Waits,
    /// It has failed.
    Failed,
}

impl Net {
    /// Gives a host a line. Connections that are open already do not use it.
    pub(crate) fn set_line(&mut self, ix: usize, line: Line) {
        self.hosts[ix].line = Some(Box::new(Ways::new(line)));
    }

    /// Returns whether a host has a line.
    pub(crate) fn has_line(&self, ix: usize) -> bool {
        self.hosts[ix].line.is_some()
    }

    /// Returns how many bytes have passed up and down a host's line.
    pub(crate) fn carried(&self, ix: usize) -> [u64; 2] {
        self.hosts[ix].line.as_ref().map_or([0; 2], |line| [line.up.carried(), line.down.carried()])
    }

    /// Lets a connection use the lines of its ends, if these have any. Returns whether they do.
    pub(super) fn lay_pipes(&mut self, slot: u32) -> bool {
        let ends = self.ends(slot);
        if ends[0] == ends[1] || !ends.iter().any(|ix| self.has_line(*ix)) {
            return false;
        }
        let delay = self.links.get(slot).delay;
        for from in 0..2 {
            let ways = [(ends[from], false), (ends[1 - from], true)];
            let ways = ways.map(|(ix, down)| {
                let way = self.way(ix, down)?;
                way.reached_over(if down { delay } else { 0 });
                Some((way.rate(), way.queue()))
            });
            let (rates, queues) = (ways.into_iter().flatten(), ways.into_iter().flatten());
            let rate = rates.map(|(rate, _)| rate).min().unwrap_or(u64::MAX);
            let queue: u64 = queues.map(|(_, queue)| queue).sum();
            let random = mix(self.rng_seed ^ mix(self.links.id(slot).0) ^ from as u64);
            let pipe = Pipe::new(rate, 2 * delay + queue, random);
            self.links.get_mut(slot).directions[from].pipe = Some(Box::new(pipe));
        }
        self.links.get_mut(slot).is_lined = true;
        true
    }

    /// Returns one way of a host's line.
    fn way(&mut self, ix: usize, down: bool) -> Option<&mut Way> {
        self.hosts[ix].line.as_mut().map(|line| line.way(down))
    }

    pub(super) fn pipe(&mut self, lane: Lane) -> Option<&mut Pipe> {
        self.links.get_mut(lane.slot).directions[lane.from].pipe.as_deref_mut()
    }

    /// Drops all that is under way in both directions of a connection.
    pub(super) fn drop_pipes(&mut self, slot: u32) {
        self.links.get_mut(slot).directions.iter_mut().for_each(|direction| direction.pipe = None);
    }

    // The way of the bytes.

    /// Fills the socket of a direction, and from it the lines. Returns the cost of the messages
    /// that the socket has taken, or `None` if it has taken nothing.
    pub(super) fn pump(&mut self, kernel: &mut Kernel, lane: Lane) -> Option<usize> {
        self.pump_in_turn(kernel, lane, false)
    }

    /// The same; `has_turn` says that the direction has waited, and may send a chunk before others
    /// that wait.
    fn pump_in_turn(&mut self, kernel: &mut Kernel, lane: Lane, mut has_turn: bool) -> Option<usize> {
        let sender = self.end(lane.slot, lane.from);
        let runs = self.is_awake(sender);
        let mut taken = None;
        loop {
            let Some(pipe) = self.pipe(lane) else { return taken };
            if runs && let Some(cost) = pipe.fill_socket() {
                taken = Some(taken.unwrap_or(0) + cost);
            }
            if pipe.waits || !self.send_chunk(kernel, lane, has_turn) {
                return taken;
            }
            has_turn = false;
        }
    }

    /// Sends a chunk from the socket into the lines, unless there is nothing to send or no room.
    fn send_chunk(&mut self, kernel: &mut Kernel, lane: Lane, has_turn: bool) -> bool {
        let Lane { slot, from } = lane;
        let now = kernel.now();
        let (sender, receiver) = (self.end(slot, from), self.end(slot, 1 - from));
        let rates = [(sender, false), (receiver, true)].map(|(ix, down)| Some(self.way(ix, down)?.rate()));
        let rate = rates.into_iter().flatten().min().unwrap_or(0);
        let bytes = self.pipe(lane).map_or(0, |pipe| pipe.next_chunk(rate));
        if bytes == 0 || self.is_held_up(slot) {
            return false;
        }
        for (ix, down) in [(sender, false), (receiver, true)] {
            if !self.may_enter(kernel, lane, (ix, down), has_turn) {
                return false;
            }
        }
        let leaves = self.way(sender, false).map_or(now, |up| up.enter(bytes, now));
        if let Some(down) = self.way(receiver, true) {
            down.announce(bytes);
        }
        if let Some(pipe) = self.pipe(lane) {
            pipe.send(bytes);
        }
        let at = leaves + self.links.get(slot).delay;
        self.links.get_mut(slot).pending += 1;
        let (from, bytes) = (from as u8, bytes as u32);
        kernel.schedule(
            at,
            if self.has_line(receiver) {
                Event::Chunk { slot, from, bytes }
            } else {
                Event::Arrived { slot, from, bytes }
            },
        );
        true
    }

    /// Returns whether a direction may send into a way. If not, it waits there.
    fn may_enter(
        &mut self,
        kernel: &mut Kernel,
        lane: Lane,
        (ix, down): (usize, bool),
        has_turn: bool,
    ) -> bool {
        let (id, now) = (self.links.id(lane.slot), kernel.now());
        let Some(way) = self.way(ix, down) else { return true };
        if way.has_room(now) && (has_turn || way.is_free()) {
            return true;
        }
        way.wait(id, lane.from);
        self.look_later(kernel, ix, down);
        if let Some(pipe) = self.pipe(lane) {
            pipe.waits = true;
        }
        false
    }

    /// Schedules the next look for room in a way for which somebody waits.
    fn look_later(&mut self, kernel: &mut Kernel, ix: usize, down: bool) {
        if let Some(at) = self.way(ix, down).and_then(|way| way.next_look(kernel.now())) {
            kernel.schedule(at, Event::Room { ix: ix as u32, down });
        }
    }

    /// Gives those that wait for room in a way their turns, as far as there is room. Returns what
    /// the sockets take.
    pub(crate) fn give_turns(&mut self, kernel: &mut Kernel, ix: usize, down: bool) -> Vec<Room> {
        let mut taken = Vec::new();
        while let Some((id, from)) = self.way(ix, down).and_then(|way| way.next(kernel.now())) {
            let Some(slot) = self.links.slot(id) else { continue };
            taken.extend(self.resume(kernel, Lane { slot, from }, true));
        }
        self.look_later(kernel, ix, down);
        taken
    }

    /// Lets a direction go on that had to wait. Returns what its socket takes.
    pub(crate) fn resume(&mut self, kernel: &mut Kernel, lane: Lane, has_turn: bool) -> Option<Room> {
        let pipe = self.pipe(lane)?;
        if has_turn {
            pipe.waits = false;
        }
        let cost = self.pump_in_turn(kernel, lane, has_turn)?;
        Some(Room { ix: self.end(lane.slot, lane.from), slot: lane.slot, cost })
    }

    /// Takes a chunk into the way down of its receiver. Returns what the sockets take for which
    /// there is room now.
    pub(crate) fn on_chunk(&mut self, kernel: &mut Kernel, lane: Lane, bytes: u32) -> Vec<Room> {
        let receiver = self.end(lane.slot, 1 - lane.from);
        let (bytes_here, now) = (u64::from(bytes), kernel.now());
        let way = self.way(receiver, true);
        let at = way.map_or(now, |way| {
            way.expect_less(bytes_here);
            way.enter(bytes_here, now)
        });
        kernel.schedule(at, Event::Arrived { slot: lane.slot, from: lane.from as u8, bytes });
        self.give_turns(kernel, receiver, true)
    }

    /// Notes that a chunk has passed the lines. Returns what its sender's socket takes in return.
    pub(crate) fn on_arrived(&mut self, kernel: &mut Kernel, lane: Lane, bytes: u32) -> Option<Room> {
        self.pipe(lane)?.bring(bytes.into());
        self.resume(kernel, lane, false)
    }

    /// Returns the next parcel that has arrived completely, and its hops.
    pub(crate) fn next_arrived(&mut self, kernel: &mut Kernel, lane: Lane) -> Option<(Parcel, u8)> {
        let Lane { slot, from } = lane;
        let link = self.links.get_mut(slot);
        let direction = &mut link.directions[from];
        let pipe = direction.pipe.as_deref_mut()?;
        while let Some((parcel, hops)) = pipe.next_arrived() {
            link.pending += 1;
            pipe.is_heard(kernel.now(), true);
            if direction.latest <= kernel.now() {
                return Some((parcel, hops));
            }
            // The parcels that a cut has held up come first.
            kernel.schedule(direction.latest, Event::Parcel { slot, from: from as u8, hops, parcel });
        }
        None
    }

    /// Returns whether to report to the receiver now that bytes arrive which complete nothing.
    pub(crate) fn is_heard(&mut self, lane: Lane, now: u64) -> bool {
        self.pipe(lane).is_some_and(|pipe| pipe.is_heard(now, false))
    }

    /// Lets a direction go on that a cut or a frozen process has held up.
    pub(super) fn resume_soon(&mut self, kernel: &mut Kernel, lane: Lane) {
        if self.pipe(lane).is_some_and(|pipe| pipe.is_held_up()) {
            self.links.get_mut(lane.slot).pending += 1;
            kernel.schedule_in(0, Event::Resume { slot: lane.slot, from: lane.from as u8 });
        }
    }

    // The end of a connection.

    /// Schedules the end of a closed side's patience: until then it writes what is queued.
    pub(super) fn linger(&mut self, kernel: &mut Kernel, lane: Lane) {
        if self.pipe(lane).is_some() {
            self.links.get_mut(lane.slot).pending += 1;
            kernel.schedule_in(LINGER, Event::Lingered { slot: lane.slot, from: lane.from as u8 });
        }
    }

    /// Drops what a closed side's socket has not taken. From now on its kernel answers what arrives
    /// with a reset.
    pub(crate) fn end_linger(&mut self, kernel: &mut Kernel, lane: Lane) {
        if let Some(pipe) = self.pipe(lane) {
            pipe.cut();
            pipe.is_dropped = true;
            self.pump(kernel, lane);
        }
    }

    /// Returns whether the process at the receiving end has dropped the connection.
    pub(super) fn is_dropped(&mut self, slot: u32, from: usize) -> bool {
        self.pipe(Lane { slot, from: 1 - from }).is_some_and(|pipe| pipe.is_dropped)
    }

    /// Ends a connection whose receiving end has dropped it: what is under way is lost, and the
    /// sender learns it.
    pub(crate) fn refuse(&mut self, kernel: &mut Kernel, slot: u32, from: usize) {
        self.drop_pipes(slot);
        let link = self.links.get_mut(slot);
        link.pending += 1;
        let event = Event::Parcel { slot, from: 1 - from as u8, hops: 0, parcel: Parcel::Bye };
        kernel.schedule_in(link.delay, event);
    }

    // The beginning of a connection.

    /// Begins a handshake over the lines. It fails at its deadline, or with the dial's own timeout.
    pub(super) fn shake(&mut self, kernel: &mut Kernel, shake: Shake, timeout: Option<u64>) {
        let timeout = timeout.unwrap_or(CONNECT + AUTHENTICATE);
        let deadline = timeout.min(CONNECT);
        let Shake { slot, start, dial } = shake;
        let link = self.links.get_mut(slot);
        link.pending += 1;
        link.dial_left = timeout - deadline;
        kernel.schedule_in(deadline, Event::Deadline { slot, start, dial });
        self.send_packet(kernel, shake, 0);
    }

    fn send_packet(&mut self, kernel: &mut Kernel, shake: Shake, number: u8) {
        let (from, bytes) = (usize::from(number) % 2, HANDSHAKE[usize::from(number)]);
        let sender = self.end(shake.slot, from);
        let now = kernel.now();
        let leaves = self.way(sender, false).map_or(now, |up| up.enter(bytes, now));
        let at = leaves + self.links.get(shake.slot).delay;
        kernel.schedule(at, shake.at(Step::Comes(number)));
    }

    /// Takes a handshake a step further. Returns whether the dialler has its connection now.
    pub(crate) fn on_shake(&mut self, kernel: &mut Kernel, shake: Shake, step: Step) -> bool {
        let slot = shake.slot;
        if self.is_closed(slot) || self.is_held_up(slot) {
            self.done_with(slot); // It is too late, or the packet does not arrive.
            return false;
        }
        let number = match step {
            Step::Comes(number) => {
                let receiver = self.end(slot, 1 - usize::from(number) % 2);
                let (bytes, now) = (HANDSHAKE[usize::from(number)], kernel.now());
                if let Some(down) = self.way(receiver, true) {
                    let at = down.enter(bytes, now);
                    kernel.schedule(at, shake.at(Step::Here(number)));
                    return false;
                }
                number
            }
            Step::Here(number) => number,
        };
        if number + 1 == CONNECTED {
            self.links.get_mut(slot).connected_at = kernel.now();
        }
        if usize::from(number) + 1 == HANDSHAKE.len() {
            return true;
        }
        self.send_packet(kernel, shake, number + 1);
        false
    }

    /// Returns what becomes of a dial at its deadline, and gives it the rest of its time if TCP is
    /// connected.
    pub(crate) fn at_deadline(&mut self, kernel: &mut Kernel, shake: Shake) -> Overdue {
        let Shake { slot, start, dial } = shake;
        let link = self.links.get_mut(slot);
        if link.states[0] != End::Waiting {
            self.done_with(slot);
            return Overdue::Ended;
        }
        let left = std::mem::take(&mut link.dial_left);
        if link.connected_at == 0 || left == 0 {
            self.abandon(slot);
            return Overdue::Failed;
        }
        let more = (link.connected_at + AUTHENTICATE).saturating_sub(kernel.now()).min(left);
        kernel.schedule_in(more, Event::Deadline { slot, start, dial });
        Overdue::Waits
    }
}
