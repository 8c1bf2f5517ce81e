//! The network between the nodes: hosts, the connections between them, delays and cuts.
//!
//! A node sends over a connection, and the parcel is scheduled to arrive after the pair's delay. A
//! direction is first in, first out. A socket takes [`WINDOW`](link::WINDOW) bytes that the
//! receiver has not read, and reports a message as sent once it has room for it; a line of limited
//! speed takes its time for every byte. A cut loses nothing by itself, because TCP retransmits:
//! parcels that cannot pass wait and arrive late, unless one side has closed meanwhile.
//!
//! A host may have a [`Line`], which all its connections share. They then send through pipes that
//! model what lies between the core and the line; see `flow.rs`.
//!
//! This part moves bytes and knows no node. It reports what becomes of a parcel ([`Arrival`]) or a
//! message ([`Taken`]); `world/network.rs` passes that on to the nodes.

mod flow;
mod home;
mod latency;
mod line;
mod link;
mod pipe;
mod relay;
mod transfer;

use std::collections::VecDeque;
use std::sync::Arc;

use smokesignal_proto::{DialFailure, DialId, LinkId, Message, Part, Segment, decode};

use crate::kernel::{Event, Kernel};
pub(crate) use flow::{Overdue, Shake, Step};
pub use latency::Latency;
pub use line::Line;
use line::Ways;
pub(crate) use link::Link;
use link::{End, Links};
pub(crate) use relay::RelayPath;
use relay::Relays;
pub(crate) use transfer::{Arrival, Lane, Room};

/// The time after which a dial that nobody answers fails: 2 s, as in the library.
const DIAL_TIMEOUT: u64 = 2_000_000;

/// A limit for each connection is this many times as much for a line that all of them share: the
/// number of links that a node has at most.
const CONNECTIONS: u64 = 5;

/// All hosts and all connections.
#[derive(Debug)]
pub(crate) struct Net {
    latency: Latency,
    /// The delays of all pairs follow from it.
    rng_seed: u64,
    /// The machine of each node, by node number.
    hosts: Vec<Host>,
    /// All connections, by slot.
    links: Links,
    /// What relayed connections run over.
    relays: Relays,
}

/// The machine that a node runs on, and its connections.
#[derive(Debug, Default)]
struct Host {
    /// Whether the node's process runs.
    process: Process,
    /// The host is off the network: packets to it vanish instead of being refused.
    unplugged: bool,
    /// The host accepts no connection, as behind a NAT.
    undialable: bool,
    /// Which part of a partitioned network it is in.
    side: u8,
    /// Bytes per second that it can send and read over each connection; `None` is without limit.
    upload: Option<u64>,
    download: Option<u64>,
    /// When everything that it has sent at a limited speed is out, in virtual microseconds. What a
    /// socket has taken leaves at the speed of that moment, also after the limit has ended.
    slow_until: u64,
    /// The line that all its connections share.
    line: Option<Box<Ways>>,
    /// How it treats the connections that it relays.
    relaying: Relaying,
    /// Events that wait for the process while it is frozen.
    backlog: VecDeque<Event>,
    /// Slots of its connections.
    connections: Vec<u32>,
}

/// Whether a node's process runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Process {
    /// There is none: the node is dead, or was never started.
    #[default]
    Gone,
    /// It reads and writes.
    Running,
    /// It exists, and neither reads nor writes. Its kernel still accepts what arrives.
    Frozen,
}

/// How a host treats the connections that it relays. It sees encrypted bytes only: it can hold them
/// up or break them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Relaying {
    /// Everything passes.
    #[default]
    Faithful,
    /// Nothing passes.
    Blocks,
    /// Bytes are changed, which breaks the connection.
    Tampers,
}

/// A node's attempt to connect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial {
    pub(crate) id: DialId,
    pub(crate) from: usize,
    /// The start of the dialling node, in case that it dies meanwhile.
    pub(crate) start: u64,
}

/// The node at a dialled address.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Callee {
    /// There is no such address.
    Nobody,
    /// The node that the dialler expects there.
    Expected(usize),
    /// Another node.
    Other(usize),
}

impl Net {
    pub(crate) fn new(latency: Latency, rng_seed: u64) -> Self {
        Self { latency, rng_seed, hosts: Vec::new(), links: Links::default(), relays: Relays::default() }
    }

    /// Adds a host on which no process runs yet.
    pub(crate) fn add_host(&mut self) {
        self.hosts.push(Host::default());
    }

    /// Starts a node's process, for the first time or again.
    pub(crate) fn start(&mut self, ix: usize, relaying: Relaying) {
        let host = &mut self.hosts[ix];
        host.process = Process::Running;
        host.unplugged = false;
        host.relaying = relaying;
        host.backlog.clear();
        host.slow_until = 0;
    }

    /// Ends a node's process, and takes its host off the network if `silently`. Returns what waited
    /// for the process while it was frozen. Its connections are the caller's to close.
    pub(crate) fn stop(&mut self, ix: usize, silently: bool) -> VecDeque<Event> {
        let host = &mut self.hosts[ix];
        host.process = Process::Gone;
        host.unplugged = silently;
        std::mem::take(&mut host.backlog)
    }

    /// Stops a running process from reading and writing, as SIGSTOP does.
    pub(crate) fn freeze(&mut self, ix: usize) {
        self.hosts[ix].process = Process::Frozen;
    }

    /// Lets a frozen process continue. Returns what waited for it, or `None` if it is not frozen
    /// any longer.
    pub(crate) fn thaw(&mut self, ix: usize) -> Option<VecDeque<Event>> {
        let host = &mut self.hosts[ix];
        if host.process != Process::Frozen {
            return None;
        }
        host.process = Process::Running;
        Some(std::mem::take(&mut host.backlog))
    }

    /// Puts an event aside until the frozen process of this host continues.
    pub(crate) fn put_aside(&mut self, ix: usize, event: Event) {
        self.hosts[ix].backlog.push_back(event);
    }

    /// Moves a host into a part of the network. Hosts of different parts cannot reach each other.
    pub(crate) fn set_side(&mut self, ix: usize, side: u8) {
        self.hosts[ix].side = side;
    }

    /// Ends a partition: all hosts are in the same part again.
    pub(crate) fn join_sides(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.side = 0);
    }

    /// Sets whether nobody can dial this host.
    pub(crate) fn set_undialable(&mut self, ix: usize, undialable: bool) {
        self.hosts[ix].undialable = undialable;
    }

    /// Limits what a host can send over each connection, in bytes per second, or over its line
    /// accordingly.
    pub(crate) fn limit_upload(&mut self, ix: usize, bytes: Option<u64>, now: u64) {
        let host = &mut self.hosts[ix];
        match host.line.as_mut() {
            Some(line) => line.up.limit(bytes.map(|bytes| CONNECTIONS * bytes), now),
            None => host.upload = bytes,
        }
    }

    /// Limits what a host can read from each connection, in bytes per second, or over its line
    /// accordingly.
    pub(crate) fn limit_download(&mut self, ix: usize, bytes: Option<u64>, now: u64) {
        let host = &mut self.hosts[ix];
        match host.line.as_mut() {
            Some(line) => line.down.limit(bytes.map(|bytes| CONNECTIONS * bytes), now),
            None => host.download = bytes,
        }
    }

    /// Returns whether a process runs here, frozen or not.
    pub(crate) fn is_up(&self, ix: usize) -> bool {
        self.hosts[ix].process != Process::Gone
    }

    /// Returns whether a process runs here and is not frozen.
    pub(crate) fn is_awake(&self, ix: usize) -> bool {
        self.hosts[ix].process == Process::Running
    }

    /// Returns whether a process is here and frozen.
    pub(crate) fn is_frozen(&self, ix: usize) -> bool {
        self.hosts[ix].process == Process::Frozen
    }

    /// Returns whether this host can reach those that no partition and no unplugged cable affects.
    pub(crate) fn is_in_main_part(&self, ix: usize) -> bool {
        self.hosts[ix].side == 0 && !self.hosts[ix].unplugged
    }

    /// Returns the part of a partitioned network that a host is in; 0 if there is no partition.
    pub(crate) fn side(&self, ix: usize) -> u8 {
        self.hosts[ix].side
    }

    /// Returns the limit of what a host can send over each connection.
    pub(crate) fn upload(&self, ix: usize) -> Option<u64> {
        self.hosts[ix].upload
    }

    /// Returns whether the speed is limited at which a host sends, or was and what it sent then is
    /// still on its way.
    pub(crate) fn is_slow_sender(&self, ix: usize, now: u64) -> bool {
        self.upload(ix).is_some() || self.has_line(ix) || now < self.hosts[ix].slow_until
    }

    /// Returns whether the speed of any host is limited.
    pub(crate) fn has_slow_hosts(&self) -> bool {
        let is_slow = |host: &Host| host.upload.is_some() || host.download.is_some() || host.line.is_some();
        self.hosts.iter().any(is_slow)
    }

    /// Returns whether packets between the two hosts vanish.
    pub(crate) fn is_cut(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.hosts[a], &self.hosts[b]);
        a.side != b.side || a.unplugged || b.unplugged
    }

    /// Returns the slots of a host's connections.
    pub(crate) fn connections(&self, ix: usize) -> &[u32] {
        &self.hosts[ix].connections
    }

    /// Returns the slots in use whose connections are open at both ends, while both processes run.
    pub(crate) fn usable_slots(&self) -> Vec<u32> {
        (0..self.links.count()).filter(|slot| self.is_usable(*slot)).collect()
    }

    /// Returns whether this connection is open at both ends and both processes run.
    pub(crate) fn is_usable(&self, slot: u32) -> bool {
        let link = self.links.get(slot);
        let awake = link.ends.iter().all(|ix| self.is_awake(*ix as usize));
        link.is_open() && !link.released && awake
    }

    /// Returns the connection in a slot.
    pub(crate) fn link(&self, slot: u32) -> &Link {
        self.links.get(slot)
    }

    /// Returns the slot of a connection, or `None` if it is gone.
    pub(crate) fn slot(&self, id: LinkId) -> Option<u32> {
        self.links.slot(id)
    }

    /// Returns the id under which nodes know the connection in this slot.
    pub(crate) fn id(&self, slot: u32) -> LinkId {
        self.links.id(slot)
    }

    /// Adds a part that has arrived at a node. Returns the segment that it completes.
    pub(crate) fn join(&mut self, ix: usize, id: LinkId, part: &Part) -> Option<Arc<Segment>> {
        let link = self.links.get_mut(self.links.slot(id)?);
        let side = link.side_of(ix);
        let joined = &mut link.directions[1 - side].joined;
        joined.extend_from_slice(&part.piece);
        let whole = part.last.then(|| std::mem::take(joined))?;
        match decode(whole.into()) {
            Ok(Message::Data(segment, _)) => Some(segment),
            _ => None,
        }
    }

    /// Returns the other end of a node's connection, or `None` if the connection is gone.
    pub(crate) fn other_end(&self, ix: usize, id: LinkId) -> Option<usize> {
        self.links.slot(id).map(|slot| self.links.get(slot).other(ix))
    }

    /// Opens a connection, or schedules the failure of the dial: after `limit` microseconds, if
    /// nobody answers. Without a limit the dial has that of the library.
    pub(crate) fn dial(&mut self, kernel: &mut Kernel, dial: Dial, callee: Callee, limit: Option<u64>) {
        let Dial { id, from, start } = dial;
        let timeout = limit.unwrap_or(DIAL_TIMEOUT);
        let failed = |failure| Event::DialFailed { ix: from as u32, start, dial: id, failure };
        let (to, expected) = match callee {
            Callee::Expected(to) => (to, true),
            Callee::Other(to) => (to, false),
            Callee::Nobody => return kernel.schedule_in(timeout, failed(DialFailure::Unanswered)),
        };
        let delay = self.latency.between(from, to, self.rng_seed);
        if self.is_cut(from, to) || self.is_frozen(to) || self.hosts[to].undialable {
            return kernel.schedule_in(timeout, failed(DialFailure::Unanswered));
        }
        if !expected || !self.is_up(to) {
            return kernel.schedule_in(2 * delay, failed(DialFailure::Refused));
        }
        let slot = self.open(from, to, delay, kernel.now());
        if from == to {
            self.links.get_mut(slot).states[1] = End::Closed;
        }
        if self.lay_pipes(slot) {
            return self.shake(kernel, Shake { slot, start, dial: id }, limit);
        }
        // One round trip for TCP and one for TLS.
        kernel.schedule_in(4 * delay, Event::Dialled { slot, start, dial: id });
    }

    /// Takes a slot for a new connection, which the [`Event::Dialled`] to come names.
    fn open(&mut self, from: usize, to: usize, delay: u64, now: u64) -> u32 {
        let slot = self.links.open(from, to, delay, now);
        self.links.get_mut(slot).pending = 1;
        if from != to {
            self.hosts[to].connections.push(slot);
        }
        self.hosts[from].connections.push(slot);
        slot
    }

    /// Frees the slot once both sides are closed and no event names it.
    fn release_if_done(&mut self, slot: u32) {
        let link = self.links.get_mut(slot);
        if link.released || link.states != [End::Closed; 2] {
            return;
        }
        link.directions.iter_mut().for_each(|direction| direction.pipe = None);
        for direction in &mut link.directions {
            link.pending -= direction.stuck.len() as u32;
            direction.stuck.clear();
        }
        if link.pending > 0 {
            return;
        }
        for ix in link.ends {
            let connections = &mut self.hosts[ix as usize].connections;
            if let Some(at) = connections.iter().position(|held| *held == slot) {
                connections.swap_remove(at);
            }
        }
        self.links.release(slot);
        self.forget_path(slot);
    }
}
