//! [`Node`], the one public state machine: it owns the organs, passes facts between them, and turns inputs
//! into outputs.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Config, Start};
use crate::id::{Keypair, NodeId};
use crate::membership::{Effect, Membership};
use crate::message::{Ask, Beat, Control, DigestEnd, Mark, Message, Segment};
use crate::netsplit::{Netsplit, News, Report};
use crate::spread::{Advice, Repair, Spread};
use crate::streams::{Delivery, OWN, StreamIx, Streams, Verdict};
use crate::time::Instant;
use crate::writer::Writer;

/// One connection, named by the caller. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One attempt to connect, named by the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// One wish of the user for a link, named by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Whom to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `HOST:PORT` as the user wrote it, to be resolved anew each time.
    Name(String),
    /// An address learnt from a signed record.
    Address(SocketAddr),
}

/// Why a requested link was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFailure {
    /// This dial failed; the caller knows why.
    Dial(DialId),
    /// The address is the node's own.
    Myself,
    /// The other node has no room.
    Full,
    /// The connection ended before the link stood.
    Closed,
}

/// Something the caller has to do or should know.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this, and report its [`Message::cost`] by [`Node::handle_sent`] once it is written.
    Send {
        /// Over which connection.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// Connect, and report by [`Node::handle_connected`] or [`Node::handle_dial_failed`].
    Dial {
        /// Names the attempt.
        dial: DialId,
        /// Whom.
        target: Target,
        /// Who must answer there.
        expect: Option<NodeId>,
    },
    /// Close the connection once everything sent before is written. It need not be reported.
    Close {
        /// Which.
        link: LinkId,
        /// Why, for the log.
        reason: &'static str,
        /// The other side broke the rules.
        violation: bool,
    },
    /// A link to a neighbour stands.
    PeerUp {
        /// Over which connection.
        link: LinkId,
        /// To whom.
        peer: NodeId,
        /// Where it listens, if it says so.
        address: Option<SocketAddr>,
    },
    /// A neighbour is gone.
    PeerDown {
        /// Over which connection it was.
        link: LinkId,
        /// Why, for the log.
        reason: &'static str,
    },
    /// The next message of a writer.
    Deliver {
        /// Who wrote it.
        from: NodeId,
        /// Its number, from 1 in each start of the writer.
        seq: u64,
        /// The payload.
        data: Bytes,
    },
    /// Messages of a writer that can no longer be had.
    Gap {
        /// Whose.
        from: NodeId,
        /// How many.
        missed: u64,
    },
    /// A seed that was part of this node's component is so no more, and dialling it does not reach it either.
    /// [`Output::NetsplitResolved`] follows before there is another.
    Netsplit {
        /// Which seed.
        seed: NodeId,
        /// Nodes on this side, this one included.
        size: u32,
        /// Nodes in the component when it was whole.
        size_before: u32,
        /// Nodes on the side of the seed, if it could be asked.
        other_size: Option<u32>,
    },
    /// All seeds that were lost are part of this node's component again.
    NetsplitResolved {
        /// Since the seed was last known to be part of the component.
        duration: Duration,
        /// Nodes in the component now, as far as they have been counted.
        size: u32,
    },
    /// The answer to [`Node::request_peer`].
    Requested {
        /// Which wish.
        request: RequestId,
        /// The neighbour, or why there is none.
        outcome: Result<NodeId, RequestFailure>,
    },
    /// The node has left: nothing more will come.
    Left {
        /// Messages that were accepted and could be given to no neighbour.
        unsent: usize,
    },
}

/// The message was not accepted: the node's links are full. [`Node::can_write`] says when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node's links are full")]
pub struct Full;

/// A node of the network, without IO. See the crate's front page for the loop that drives it.
#[derive(Debug)]
pub struct Node {
    me: NodeId,
    keypair: Arc<Keypair>,
    config: Config,
    membership: Membership,
    netsplit: Netsplit,
    streams: Streams,
    spread: Spread,
    writer: Writer,
    /// This node's view of the network's streams is complete: one it has not met is new to all.
    settled: bool,
    first_link: Option<Instant>,
    leave_by: Option<Instant>,
    left: bool,
    last_write_check: Instant,
    next_expiry: Instant,
    out: VecDeque<Output>,
    /// New peers, told once this node is settled: what is written after a node says that it is connected, it reads.
    held: Vec<Output>,
}

impl Node {
    /// A node with this key. The same arguments and inputs give the same outputs.
    pub fn new(keypair: Keypair, config: Config, rng_seed: u64, now: Instant) -> Self {
        let (me, keypair) = (keypair.id(), Arc::new(keypair));
        Self {
            me,
            keypair: Arc::clone(&keypair),
            streams: Streams::new(me, config.incarnation, now),
            membership: Membership::new(Arc::clone(&keypair), config.clone(), rng_seed, now),
            netsplit: Netsplit::new(keypair, config.clone(), !rng_seed, now),
            spread: Spread::default(),
            writer: Writer::default(),
            settled: true,
            first_link: None,
            leave_by: None,
            left: false,
            last_write_check: now,
            next_expiry: now,
            config,
            out: VecDeque::new(),
            held: Vec::new(),
        }
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.me
    }

    /// The node's neighbours and the connections to them.
    pub fn peers(&self) -> impl Iterator<Item = (LinkId, NodeId)> {
        self.membership.active().map(|(link, conn)| (link, conn.peer))
    }

    /// Nodes in this node's component, itself included, by the last count; it follows the truth within seconds.
    pub fn size_estimate(&self) -> u32 {
        self.netsplit.size()
    }

    /// The node that the beats of this node's component come from: the one with the smallest id.
    pub fn root(&self) -> NodeId {
        self.netsplit.root()
    }

    // The user's wishes.

    /// Where this node can be reached, best first. Say so before the first connection.
    pub fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.membership.set_addresses(addresses);
    }

    /// Enters the network through this `HOST:PORT`, tried for ever while the node is alone.
    pub fn join(&mut self, seed: String, now: Instant) {
        self.membership.add_seed(seed, now);
        self.settled = false;
    }

    /// Asks for a link to this `HOST:PORT`. Answered by [`Output::Requested`].
    pub fn request_peer(&mut self, request: RequestId, address: String, now: Instant) {
        self.membership.request(request, address, now);
        self.pass_on(now);
    }

    /// Ends the link to this neighbour; the two leave each other alone for a while.
    pub fn close_peer(&mut self, peer: &NodeId, now: Instant) {
        self.membership.close_by_user(peer, now);
        self.pass_on(now);
    }

    /// Whether [`Node::broadcast`] would take a message of this size.
    pub fn can_write(&self, size: usize) -> bool {
        self.writer.bytes() == 0 || self.writer.bytes() + size <= self.config.write_buffer
    }

    /// Writes to everyone and tells the message's number. Messages written between two calls of
    /// [`Node::poll_output`] may share a segment. The caller checks the size against `max_message`.
    pub fn broadcast(&mut self, payload: Bytes) -> Result<u64, Full> {
        if !self.can_write(payload.len()) || self.leave_by.is_some() {
            return Err(Full);
        }
        Ok(self.writer.push(payload))
    }

    /// Hands accepted writes to the neighbours, says goodbye and closes; [`Output::Left`] ends it.
    pub fn leave(&mut self, now: Instant) {
        self.membership.leave();
        self.leave_by.get_or_insert(now + self.config.leave_timeout);
        self.pass_on(now);
    }

    // The world's facts.

    /// A connection is up, and its other end has proved to be `peer`. `dial` is what we asked for, if we did.
    pub fn handle_connected(&mut self, link: LinkId, peer: NodeId, dial: Option<DialId>, now: Instant) {
        self.membership.connected(link, peer, dial, now);
        self.pass_on(now);
    }

    /// A connection could not be made: there was no answer, or a wrong one.
    pub fn handle_dial_failed(&mut self, dial: DialId, now: Instant) {
        self.membership.dial_failed(dial, false, now);
        self.pass_on(now);
    }

    /// A connection could not be made: the host answered that nobody listens at that port. So it can be reached, and
    /// what does not run there is no netsplit.
    pub fn handle_dial_refused(&mut self, dial: DialId, now: Instant) {
        self.membership.dial_failed(dial, true, now);
        self.pass_on(now);
    }

    /// A connection broke.
    pub fn handle_disconnected(&mut self, link: LinkId, now: Instant) {
        self.membership.disconnected(link, "the connection broke", now);
        self.pass_on(now);
    }

    /// Messages of this much cost were written to the connection.
    pub fn handle_sent(&mut self, link: LinkId, cost: usize, now: Instant) {
        self.spread.sent(link, cost, now);
    }

    /// Bytes arrived that are not a message (a stream's): the neighbour lives.
    pub fn handle_heard(&mut self, link: LinkId, now: Instant) {
        if let Some(conn) = self.membership.conns.get_mut(&link) {
            conn.heard = now;
        }
    }

    /// A message arrived.
    pub fn handle_message(&mut self, link: LinkId, message: Message, now: Instant) {
        if !self.membership.conns.contains_key(&link) {
            return; // It was closed a moment ago.
        }
        self.handle_heard(link, now);
        if !self.membership.is_allowed(link, &message) {
            return self.violation(link, "it spoke for another node", now);
        }
        if message.records().iter().any(|record| !self.membership.believes(record)) {
            return self.violation(link, "it sent a record with a wrong signature", now);
        }
        match message {
            Message::Data(segment) => self.on_segment(link, &segment, now),
            Message::Control(control) => match *control {
                Control::Digest { marks, end } => self.on_digest(link, &marks, end, now),
                Control::Graft { asks } => self.on_graft(link, &asks),
                Control::Prune { origin, incarnation } => self.on_prune(link, &origin, incarnation, now),
                Control::Beacon { beat, age_ms, hops } => self.on_beacon(link, &beat, age_ms, hops, now),
                control => {
                    self.on_whether_whole(link, &control, now);
                    self.membership.handle(link, control, now);
                }
            },
        }
        self.pass_on(now);
    }

    /// The bytes that arrived are no message, or break a rule: the connection ends.
    pub fn violation(&mut self, link: LinkId, reason: &'static str, now: Instant) {
        self.membership.disconnected(link, reason, now);
        self.out.push_back(Output::Close { link, reason, violation: true });
        self.pass_on(now);
    }

    /// Time has passed. Call it at [`Node::poll_timeout`], and as often as you like.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = now >= self.membership.next_tick();
        if self.membership.tick(now) {
            self.spread.forgive(now);
        }
        if due {
            self.look_around(now);
        }
        for link in self.spread.stalled(now, &self.config) {
            self.membership.disconnected(link, "it takes no data", now);
            self.out.push_back(Output::Close { link, reason: "it takes no data", violation: false });
        }
        if now >= self.next_expiry {
            self.next_expiry = now + Duration::from_secs(1);
            let mut deliveries = Vec::new();
            self.streams.expire(now, &self.config, &mut deliveries);
            self.deliver(deliveries);
            self.switch_incarnations(now);
        }
        // Not in the middle of a long first digest, which may take some seconds.
        let longest = if self.spread.is_being_told() { 10 } else { 1 };
        if self.first_link.is_some_and(|first| now - first > longest * self.config.settle_after) {
            self.settle(now);
        }
        if !self.settled && !self.membership.has_seeds() {
            self.settle(now); // All seeds are this node itself: it begins the network.
        }
        self.repair(now);
        self.pass_on(now);
    }

    // What to do, and when to wake.

    /// The next thing to do. After any input, call it until `None`.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        if self.out.is_empty() {
            self.fill_links(now);
        }
        self.out.pop_front()
    }

    /// When to call [`Node::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Instant {
        let tick = self.membership.next_tick();
        self.spread.next_deadline().map_or(tick, |deadline| tick.min(deadline))
    }

    // How it works.

    /// Turns what membership wants into outputs, and tells the broadcast which links there are.
    fn pass_on(&mut self, now: Instant) {
        while !self.membership.out.is_empty() {
            for effect in std::mem::take(&mut self.membership.out) {
                self.perform(effect, now);
            }
            self.tell_news(now);
        }
    }

    fn perform(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Send(link, message) => self.send(link, message, now),
            Effect::Dial { dial, target, expect } => {
                self.out.push_back(Output::Dial { dial, target, expect });
            }
            Effect::Close(link, reason) => {
                self.out.push_back(Output::Close { link, reason, violation: false });
            }
            Effect::Up(link) => {
                let rtt = self.membership.conns.get(&link).map_or(Duration::ZERO, |conn| conn.rtt);
                self.spread.link_up(link, rtt, now);
                self.netsplit.link_up(link, now);
                self.first_link.get_or_insert(now);
                let Some(conn) = self.membership.conns.get(&link) else { return };
                let address = conn.record.as_ref().and_then(|record| record.addresses.first().copied());
                let up = Output::PeerUp { link, peer: conn.peer, address };
                self.tell(up);
            }
            Effect::Down(link, reason) => {
                self.spread.link_down(link, now);
                self.netsplit.link_down(link);
                let untold =
                    |held: &Output| matches!(held, Output::PeerUp { link: held, .. } if *held == link);
                match self.held.iter().position(untold) {
                    Some(at) => drop(self.held.remove(at)),
                    None => self.out.push_back(Output::PeerDown { link, reason }),
                }
            }
            Effect::Quiet(link) => {
                let Report { child, subtree, seeds } = self.netsplit.report_for(link);
                self.send(link, Control::Ping { degree: 0, child, subtree, seeds }.into(), now);
            }
            Effect::Requested(request, outcome) => {
                self.tell(Output::Requested { request, outcome });
            }
        }
    }

    fn tell(&mut self, output: Output) {
        if self.settled { self.out.push_back(output) } else { self.held.push(output) }
    }

    /// From here on a writer that was never heard of is new to all, and read from its first message on.
    fn settle(&mut self, now: Instant) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        self.out.extend(std::mem::take(&mut self.held));
        let links: Vec<_> = self.peers().map(|(link, _)| link).collect();
        for link in links {
            let end = Some(DigestEnd { settled: true });
            self.send(link, Control::Digest { marks: Vec::new(), end }.into(), now);
        }
    }

    fn send(&mut self, link: LinkId, mut message: Message, now: Instant) {
        if let Message::Control(control) = &mut message
            && let Control::Ping { degree, .. } = &mut **control
        {
            *degree = self.membership.degree().min(usize::from(u16::MAX)) as u16;
        }
        if let Some(conn) = self.membership.conns.get_mut(&link) {
            conn.spoke = now;
        }
        if !self.spread.count(link, message.cost(), now, &self.config) {
            // Slow is no crime.
            self.membership.disconnected(link, "it takes no control messages", now);
            let reason = "it takes no control messages";
            self.out.push_back(Output::Close { link, reason, violation: false });
            return self.pass_on(now);
        }
        self.out.push_back(Output::Send { link, message });
    }

    /// The parts of control messages that the beacon is about.
    fn on_whether_whole(&mut self, link: LinkId, control: &Control, now: Instant) {
        match control {
            Control::Ping { child, subtree, seeds, .. } => {
                let report = Report { child: *child, subtree: *subtree, seeds: seeds.clone() };
                self.netsplit.on_report(link, report, now);
                self.tell_news(now);
            }
            Control::Probe => {
                let beacon = self.netsplit.beacon(now);
                self.send(link, beacon.into(), now);
            }
            _ => {}
        }
    }

    fn on_beacon(&mut self, link: LinkId, beat: &Arc<Beat>, age_ms: u32, hops: u8, now: Instant) {
        if self.membership.is_active(link) {
            if !self.netsplit.on_beacon(link, beat, age_ms, hops, now) {
                return self.violation(link, "it sent a beat that its root has not signed", now);
            }
        } else if self.membership.is_probe(link) {
            if self.netsplit.is_other(beat, age_ms, now) {
                self.membership.found_others(link, beat.size, now);
            } else if beat.root == self.netsplit.root() {
                self.membership.found_one_of_us(link, now);
            }
        }
        self.tell_news(now);
    }

    /// Once in a tick: the beacon, and whether there is anybody outside of our component.
    fn look_around(&mut self, now: Instant) {
        let facts = self.membership.seed_facts(now);
        self.netsplit.tick(facts, now);
        self.tell_news(now);
        let (membership, netsplit, config) = (&mut self.membership, &self.netsplit, &self.config);
        let is_missing = |id: &NodeId| !netsplit.has_seed(id);
        // Whoever feels a cut first looks for the seeds at once: a few of all who feel it.
        let silent = membership.take_silent() > 0 && membership.lot(netsplit.probers().div_ceil(3));
        if silent {
            membership.probe_missing_seeds(|_| true, now);
        }
        let period = if netsplit.misses_a_seed(now) { config.probe_hurry } else { config.probe_period };
        if membership.is_probing(netsplit.probers(), period, now) {
            membership.probe(is_missing, now);
        }
        self.pass_on(now);
    }

    fn tell_news(&mut self, now: Instant) {
        for news in std::mem::take(&mut self.netsplit.news) {
            match news {
                News::Send(link, control) => self.send(link, control.into(), now),
                News::Netsplit { seed, size, size_before, other_size } => {
                    self.out.push_back(Output::Netsplit { seed, size, size_before, other_size });
                }
                News::Resolved { duration, size } => {
                    self.out.push_back(Output::NetsplitResolved { duration, size });
                }
                News::Merged => self.membership.mix(now),
            }
        }
    }

    fn on_segment(&mut self, link: LinkId, segment: &Arc<Segment>, now: Instant) {
        if !self.membership.is_active(link) {
            return;
        }
        if segment.origin == self.me {
            return self.duplicate(link, OWN, now);
        }
        let place = self.streams.find(&segment.origin);
        let current = place.filter(|ix| self.streams.get(*ix).incarnation == segment.incarnation);
        let ended = place.is_some_and(|ix| {
            let stream = self.streams.get(ix);
            stream.proven && stream.incarnation > segment.incarnation
        });
        if ended {
            return;
        }
        let known = current.and_then(|ix| {
            let stream = self.streams.get(ix);
            let next = stream.have + 1;
            (stream.proven && segment.seq != next && !self.spread.may_skip_to(ix, link, segment.seq))
                .then_some((ix, segment.seq < next))
        });
        if let Some((ix, duplicate)) = known {
            self.spread.peer_has(link, ix, segment.seq);
            return if duplicate { self.duplicate(link, ix, now) } else { self.want(ix, now) };
        }
        // "Verify before believing": nothing moves on an unverified segment (A13).
        if self.config.signed && !segment.verify(&self.config.network) {
            return self.violation(link, "it sent a segment that its writer has not signed", now);
        }
        self.on_proven_segment(link, segment, now);
    }

    fn on_proven_segment(&mut self, link: LinkId, segment: &Arc<Segment>, now: Instant) {
        let fresh = self.settled || segment.seq == 1;
        let (have, next) = if fresh { (0, Some(1)) } else { (segment.seq - 1, None) };
        let Some(ix) = self.stream(&segment.origin, segment.incarnation, have, next, now) else { return };
        self.spread.peer_has(link, ix, segment.seq);
        let stream = self.streams.get(ix);
        if !stream.proven && segment.seq <= stream.have {
            self.streams.rebase(ix, segment.seq - 1);
        } else if segment.seq > stream.have + 1 && self.spread.may_skip_to(ix, link, segment.seq) {
            self.streams.skip(ix, segment.seq);
        }
        let mut deliveries = Vec::new();
        match self.streams.accept(ix, segment, now, &self.config, &mut deliveries) {
            Verdict::New => {
                let advice = self.spread.received(link, ix, segment.seq, now, &self.config);
                self.spread.fan_out(ix, segment.seq, Some(link), now, &self.config);
                self.follow(advice, link, ix, now);
            }
            Verdict::Ahead => self.want(ix, now),
            Verdict::Duplicate => self.duplicate(link, ix, now),
        }
        self.deliver(deliveries);
    }

    fn follow(&mut self, advice: Advice, link: LinkId, ix: StreamIx, now: Instant) {
        let stream = self.streams.get(ix);
        let (origin, incarnation) = (stream.origin, stream.incarnation);
        if advice.graft {
            let asks = vec![Ask { origin, incarnation, from: stream.have + 1, or_later: false }];
            self.send(link, Control::Graft { asks }.into(), now);
        }
        if let Some(other) = advice.prune {
            self.send(other, Control::Prune { origin, incarnation }.into(), now);
        }
    }

    fn duplicate(&mut self, link: LinkId, ix: StreamIx, now: Instant) {
        if self.spread.duplicate(link, ix) {
            let stream = self.streams.get(ix);
            let (origin, incarnation) = (stream.origin, stream.incarnation);
            self.send(link, Control::Prune { origin, incarnation }.into(), now);
        }
    }

    fn want(&mut self, ix: StreamIx, now: Instant) {
        self.spread.want(ix, self.streams.get(ix).have, now, &self.config);
    }

    /// The writer's stream; a new one starts after segment `have`. `None` if the incarnation is over, or has
    /// to wait for the one before it. That there is a newer one must have been proved.
    fn stream(
        &mut self,
        origin: &NodeId,
        incarnation: u64,
        have: u64,
        next_message: Option<u64>,
        now: Instant,
    ) -> Option<StreamIx> {
        let Some(ix) = self.streams.find(origin) else {
            let ix = self.streams.admit(*origin, incarnation, have, next_message, now, &self.config)?;
            self.spread.forget_stream(ix);
            return Some(ix);
        };
        let stream = self.streams.get(ix);
        if incarnation != stream.incarnation && !stream.proven {
            // The other one was a neighbour's word only.
            self.streams.replace(ix, incarnation, have, next_message, now);
            self.spread.forget_stream(ix);
        } else if incarnation > stream.incarnation {
            let (newest, since) = stream.newer.unwrap_or((incarnation, now));
            self.streams.set_newer(ix, Some((newest.max(incarnation), since)));
            self.switch_if_drained(ix, now);
        }
        (self.streams.get(ix).incarnation == incarnation).then_some(ix)
    }

    /// "Nothing of an old incarnation may follow the first of a new one" (design A, 3.5).
    fn switch_if_drained(&mut self, ix: StreamIx, now: Instant) {
        let stream = self.streams.get(ix);
        let Some((incarnation, since)) = stream.newer else { return };
        let (lead, from) = (self.spread.lead(ix, stream.have), stream.origin);
        let drained = lead == 0 && self.spread.all_served(ix, stream.have);
        if !drained && now - since < self.config.drain_timeout {
            return;
        }
        if lead > 0 {
            // How many messages were in the missing segments died with the writer's former start: one each, at a guess.
            self.deliver(vec![Delivery::Gap { from, missed: lead.min(MOST_GUESSED) }]);
        }
        self.start_over(ix, incarnation, now);
    }

    fn start_over(&mut self, ix: StreamIx, incarnation: u64, now: Instant) {
        let mut deliveries = Vec::new();
        self.streams.restart(ix, incarnation, now, &mut deliveries);
        self.deliver(deliveries);
        self.spread.forget_stream(ix);
        // Neighbours may have sent what we could not take yet: all begin again. Who comes second is pruned.
        let origin = self.streams.get(ix).origin;
        let asks = vec![Ask { origin, incarnation, from: 1, or_later: true }];
        let links: Vec<_> = self.peers().map(|(link, _)| link).collect();
        for link in links {
            self.send(link, Control::Graft { asks: asks.clone() }.into(), now);
        }
    }

    fn switch_incarnations(&mut self, now: Instant) {
        for ix in 1..self.streams.len() {
            self.switch_if_drained(ix, now);
        }
    }

    fn on_digest(&mut self, link: LinkId, marks: &[Mark], end: Option<DigestEnd>, now: Instant) {
        if !self.membership.is_active(link) {
            return;
        }
        let mut asks = Vec::new();
        for mark in marks.iter().filter(|mark| is_sane(mark)) {
            if mark.origin == self.me {
                self.on_own_mark(link, mark, now);
                continue;
            }
            match self.streams.find(&mark.origin) {
                None if mark.have == 0 => continue, // It knows the writer, but nothing has been written.
                Some(ix) if self.is_claim(ix, mark) => {
                    // Its proof is a segment of that incarnation.
                    let from = if self.settled { mark.floor } else { mark.have + 1 };
                    let Mark { origin, incarnation, .. } = *mark;
                    asks.push(Ask { origin, incarnation, from, or_later: true });
                    continue;
                }
                _ => {}
            }
            let is_new = self.streams.find(&mark.origin).is_none();
            let (have, next) = self.start_of(mark);
            let Some(ix) = self.stream(&mark.origin, mark.incarnation, have, next, now) else { continue };
            if let (true, false, Start::Backlog(keep)) = (is_new, self.settled, self.config.start) {
                self.streams.hold_back(ix, keep, mark.have, now);
            }
            let stream_have = self.streams.get(ix).have;
            self.spread.mark(link, ix, mark, stream_have, now, &self.config);
            self.want(ix, now);
        }
        if !asks.is_empty() {
            self.send(link, Control::Graft { asks }.into(), now);
        }
        if let Some(end) = end {
            self.spread.digest_ended(link, &self.streams);
            if end.settled {
                self.settle(now);
            }
        }
    }

    /// Whether the mark speaks of another incarnation than the one we read, which may be true.
    fn is_claim(&self, ix: StreamIx, mark: &Mark) -> bool {
        let stream = self.streams.get(ix);
        mark.incarnation > stream.incarnation || (mark.incarnation != stream.incarnation && !stream.proven)
    }

    /// Where to begin with a stream first heard of by this mark: after which segment, and with which message. For a
    /// node that is no joiner any more the writer is new, or was on the other side of a netsplit: from its beginning.
    fn start_of(&self, mark: &Mark) -> (u64, Option<u64>) {
        match self.config.start {
            _ if self.settled => (0, Some(1)),
            Start::Live => (mark.have, None),
            // How the messages are numbered only their writer can say.
            Start::Backlog(_) | Start::All => (mark.floor - 1, None),
        }
    }

    /// What a neighbour has of our own stream. Nobody is ahead of us in it. But an earlier start of this node may
    /// have had a higher incarnation, because the clock was set back since: then ours goes above it (as SWIM refutes a
    /// rumour), before anything was written, because writing waits for a neighbour's first digest.
    fn on_own_mark(&mut self, link: LinkId, mark: &Mark, now: Instant) {
        let own = self.streams.get(OWN);
        if mark.incarnation == own.incarnation {
            let have = mark.have.min(own.have);
            self.spread.mark(link, OWN, &Mark { have, ..*mark }, own.have, now, &self.config);
        } else if mark.incarnation > own.incarnation
            && mark.incarnation - own.incarnation < FARTHEST
            && own.have == 0
        {
            self.config.incarnation = mark.incarnation + 1;
            self.streams.restart(OWN, mark.incarnation + 1, now, &mut Vec::new());
            self.spread.forget_stream(OWN);
        }
    }

    fn on_graft(&mut self, link: LinkId, asks: &[Ask]) {
        for ask in asks.iter().filter(|ask| (1..1 << 62).contains(&ask.from)) {
            let Some(ix) = self.streams.find(&ask.origin) else { continue };
            if self.streams.get(ix).incarnation != ask.incarnation {
                continue;
            }
            // Who asks for what is no longer here is told so, and asks elsewhere.
            let stream = self.streams.get(ix);
            let oldest = if ask.or_later { stream.floor() } else { 1 };
            self.spread.graft(link, ix, ask.from.max(oldest).min(stream.have + 1));
        }
    }

    fn on_prune(&mut self, link: LinkId, origin: &NodeId, incarnation: u64, now: Instant) {
        let Some(ix) = self.streams.find(origin) else { return };
        let stream = self.streams.get(ix);
        if stream.incarnation == incarnation {
            self.spread.pruned(link, ix, stream.have, now, &self.config);
        }
    }

    fn repair(&mut self, now: Instant) {
        for (link, digest) in self.spread.digests(&self.streams, now) {
            self.send(link, digest.into(), now);
        }
        let lonely = self.membership.degree() < self.config.min_peers;
        let mut asks: BTreeMap<LinkId, Vec<Ask>> = BTreeMap::new();
        for repair in self.spread.repairs(&self.streams, lonely, now, &self.config) {
            let Repair { link, ix, from, or_later, prune } = repair;
            let stream = self.streams.get(ix);
            let (origin, incarnation) = (stream.origin, stream.incarnation);
            asks.entry(link).or_default().push(Ask { origin, incarnation, from, or_later });
            if let Some(former) = prune {
                self.send(former, Control::Prune { origin, incarnation }.into(), now);
            }
        }
        for (link, asks) in asks {
            self.send(link, Control::Graft { asks }.into(), now);
        }
    }

    fn deliver(&mut self, deliveries: Vec<Delivery>) {
        self.out.extend(deliveries.into_iter().map(|delivery| match delivery {
            Delivery::Message { from, seq, data } => Output::Deliver { from, seq, data },
            Delivery::Gap { from, missed } => Output::Gap { from, missed },
        }));
    }

    /// Moves what was written into the own stream as far as the links keep up, and fills their windows.
    fn fill_links(&mut self, now: Instant) {
        self.write(now);
        let mut messages = Vec::new();
        for link in self.spread.hungry(&self.config) {
            self.spread.pump(link, &self.streams, self.settled, now, &self.config, &mut messages);
            if let (Some(conn), false) = (self.membership.conns.get_mut(&link), messages.is_empty()) {
                conn.spoke = now;
            }
            self.out.extend(messages.drain(..).map(|message| Output::Send { link, message }));
        }
        if self.leave_by.is_some() && !self.left && self.out.is_empty() {
            self.finish_leaving(now);
        }
    }

    fn write(&mut self, now: Instant) {
        let elapsed = now - self.last_write_check;
        self.last_write_check = now;
        if self.writer.messages() == 0 {
            return;
        }
        let mut elapsed = Some(elapsed);
        while self.spread.may_write(&self.streams, elapsed.take().unwrap_or_default(), &self.config) {
            let Some((kind, first_message, body)) = self.writer.next() else { break };
            let (origin, incarnation) = (self.me, self.config.incarnation);
            let seq = self.streams.get(OWN).have + 1;
            let signature = None;
            let mut segment = Segment { origin, incarnation, seq, first_message, kind, body, signature };
            if self.config.signed {
                segment.sign(&self.keypair, &self.config.network);
            }
            self.streams.accept(OWN, &Arc::new(segment), now, &self.config, &mut Vec::new());
            self.spread.fan_out(OWN, seq, None, now, &self.config);
        }
    }

    fn finish_leaving(&mut self, now: Instant) {
        let flushed = self.writer.messages() == 0 && self.spread.flushed(&self.streams);
        let alone = self.membership.degree() == 0;
        if flushed || alone || self.leave_by.is_some_and(|by| now >= by) {
            self.left = true;
            let unsent = self.writer.messages();
            self.membership.say_goodbye_to_all(now);
            self.pass_on(now);
            self.out.push_back(Output::Left { unsent });
        }
    }
}

/// A neighbour's claim counts for so many messages at most.
const MOST_GUESSED: u64 = 1024;

/// An earlier start of this node cannot have had an incarnation so much higher: unix milliseconds, 34 years ahead.
const FARTHEST: u64 = 1 << 40;

/// Numbers near the end of the range would overflow in later sums; nobody writes 2^62 segments.
fn is_sane(mark: &Mark) -> bool {
    let sane = 1..1 << 62;
    mark.have < 1 << 62
        && [mark.incarnation, mark.floor, mark.floor_message].iter().all(|number| sane.contains(number))
        && mark.next_message < 1 << 62
        && mark.floor <= mark.have + 1
}
