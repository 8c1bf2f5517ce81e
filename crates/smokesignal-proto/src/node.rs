//! [`Node`], the one public state machine: it owns the organs, passes facts between them, and turns inputs
//! into outputs.

mod inspect;
mod reaching;
mod streaming;
mod whole;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::Config;
use crate::id::{Keypair, NodeId};
use crate::membership::{Effect, Membership};
use crate::message::{Control, DigestEnd, Message, Segment};
use crate::messages::Messages;
use crate::netsplit::{Netsplit, Report};
use crate::reach::Reach;
use crate::seal::{MAX_SEALED, Pace};
use crate::spread::Spread;
use crate::streams::{Delivery, OWN, Streams};
use crate::time::Instant;
use crate::writer::Writer;

pub use inspect::{Held, StreamLink, StreamView};

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
    /// No address: through the network, by way of this neighbour, which is told the number of the search that found the
    /// node. See [`Node::carry`].
    Carried {
        /// The link to the neighbour.
        via: LinkId,
        /// The number.
        query: u64,
    },
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

/// Why there is no connection to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// It is this node itself.
    Myself,
    /// Nobody with this id has answered in time.
    NotFound,
    /// It has answered, and can neither be dialled nor be reached through other nodes.
    NoWay,
    /// Too many nodes are being looked for.
    Busy,
}

/// What to do with bytes that a neighbour wants to be carried to some node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carry {
    /// They are for this node.
    ToMe,
    /// Pass them on over this link.
    Onward(LinkId),
    /// Nothing: nobody looked for that node this way.
    Refuse,
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
        /// It fails after this long, if not sooner.
        patience: Option<Duration>,
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
    /// A link was given up for others, on both sides. Close the connection once everything sent before is written; or, if
    /// streams use it, see [`Node::keep_for_streams`].
    GivenUp {
        /// Which.
        link: LinkId,
        /// Why, for the log.
        reason: &'static str,
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
    /// The next messages of a writer.
    Deliver {
        /// Who wrote them.
        from: NodeId,
        /// The number of the first one, from 1 in each start of the writer.
        seq: u64,
        /// The payloads.
        messages: Messages,
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
    /// The answer to [`Node::reach`].
    Reached {
        /// Which wish.
        request: RequestId,
        /// The connection that streams may use, or why there is none.
        outcome: Result<LinkId, Unreachable>,
    },
    /// Streams may use this connection, which is no link; whoever has dialled it wants to.
    Serving {
        /// Which.
        link: LinkId,
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
    reach: Reach,
    writer: Writer,
    /// This node's view of the network's streams is complete: one it has not met is new to all.
    settled: bool,
    first_link: Option<Instant>,
    leave_by: Option<Instant>,
    left: bool,
    last_write_check: Instant,
    signing: Pace,
    /// Something was written that waits for the next signature.
    sign_at: Option<Instant>,
    next_expiry: Instant,
    /// Copies of messages received, known ones included.
    copies: u64,
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
            reach: Reach::default(),
            writer: Writer::default(),
            settled: true,
            first_link: None,
            leave_by: None,
            left: false,
            last_write_check: now,
            signing: Pace::default(),
            sign_at: None,
            next_expiry: now,
            config,
            copies: 0,
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

    /// Copies of messages that have arrived so far, those that were known already included.
    pub fn copies_received(&self) -> u64 {
        self.copies
    }

    // The user's wishes.

    /// Where this node can be reached, best first. Say so before the first connection.
    pub fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.membership.set_addresses(addresses);
    }

    /// Tells others to dial these in place of where it listens.
    pub fn advertise(&mut self, addresses: Vec<SocketAddr>) {
        self.membership.advertise(addresses);
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
        let fits = self.writer.bytes() == 0 || self.writer.bytes() + size <= self.config.write_buffer;
        fits && self.leave_by.is_none()
    }

    /// Writes to everyone and tells the message's number. Messages written between two calls of
    /// [`Node::poll_output`] may share a segment. The caller checks the size against `max_message`.
    pub fn broadcast(&mut self, payload: Bytes) -> Result<u64, Full> {
        if !self.can_write(payload.len()) {
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

    /// A connection is up whose bytes other nodes carry, and its other end, which has asked for it, has proved to be `peer`.
    /// It serves streams only. (One that this node has asked for is told by [`Node::handle_connected`].)
    pub fn handle_carried(&mut self, link: LinkId, peer: NodeId, now: Instant) {
        self.membership.carried(link, peer, now);
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
        self.spread.sent(link, cost, now, &self.config);
        if let Some(conn) = self.membership.conns.get_mut(&link) {
            conn.unsent = conn.unsent.saturating_sub(cost);
        }
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
                Control::Find { query, target, ttl } => self.on_find(link, query, target, ttl, now),
                Control::Located { query, record } => self.on_located(link, query, record, now),
                control => {
                    if self.membership.afford(link, &control) {
                        self.on_whether_whole(link, &control, now);
                        self.membership.handle(link, control, now);
                    }
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
            self.membership.feed(self.spread.starved_by(now), now);
            self.look_around(now);
            self.search_on(now);
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
            self.writer.trim();
            self.out.shrink_to(2 * self.out.len());
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
        let others = [self.spread.next_deadline(), self.sign_at];
        others.into_iter().flatten().fold(self.membership.next_tick(), Instant::min)
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
            Effect::Dial { dial, target, expect, patience } => {
                self.out.push_back(Output::Dial { dial, target, expect, patience });
            }
            Effect::Close(link, reason) => {
                self.out.push_back(Output::Close { link, reason, violation: false });
            }
            Effect::GivenUp(link, reason) => self.out.push_back(Output::GivenUp { link, reason }),
            Effect::Up(link) => {
                let rtt = self.membership.conns.get(&link).map_or(Duration::ZERO, |conn| conn.rtt);
                self.spread.link_up(link, rtt, now, &self.config);
                self.netsplit.link_up(link, now);
                self.first_link.get_or_insert(now);
                let Some(conn) = self.membership.conns.get(&link) else { return };
                let address = conn.record.as_ref().and_then(|record| record.addresses.first().copied());
                let peer = conn.peer;
                self.tell(Output::PeerUp { link, peer, address });
                self.reached(link, &peer);
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
            Effect::Serving(link) => {
                self.out.push_back(Output::Serving { link });
                if let Some(peer) = self.membership.conns.get(&link).map(|conn| conn.peer) {
                    self.reached(link, &peer);
                }
            }
            Effect::NotServing { peer, carried } => self.not_reached(peer, carried, now),
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
        let is_link = self.membership.is_active(link);
        let mut taken = true;
        if let Some(conn) = self.membership.conns.get_mut(&link) {
            conn.spoke = now;
            if !is_link {
                conn.unsent += message.cost();
                taken = conn.unsent <= self.config.control_window;
            }
        }
        if !self.spread.count(link, message.cost(), now, &self.config) || !taken {
            // Slow is no crime.
            self.membership.disconnected(link, "it takes no control messages", now);
            let reason = "it takes no control messages";
            self.out.push_back(Output::Close { link, reason, violation: false });
            return self.pass_on(now);
        }
        self.out.push_back(Output::Send { link, message });
    }

    fn deliver(&mut self, deliveries: Vec<Delivery>) {
        let messages = deliveries.iter().map(|delivery| match delivery {
            Delivery::Messages { messages, .. } => messages.len() as u64,
            Delivery::Gap { .. } => 0,
        });
        self.copies += messages.sum::<u64>();
        self.out.extend(deliveries.into_iter().map(|delivery| match delivery {
            Delivery::Messages { from, seq, messages } => Output::Deliver { from, seq, messages },
            Delivery::Gap { from, missed } => Output::Gap { from, missed },
        }));
    }

    /// Moves what was written into the own stream as far as the links keep up, and fills their windows.
    fn fill_links(&mut self, now: Instant) {
        self.write(now);
        let mut messages = Vec::new();
        for link in self.spread.hungry() {
            self.spread.pump(link, &self.streams, self.settled, now, &mut messages);
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
        self.sign_at = None;
        let mut elapsed = Some(elapsed);
        while self.writer.messages() > 0
            && self.spread.may_write(&self.streams, elapsed.take().unwrap_or_default(), &self.config)
        {
            if !self.writer.has_sealed() {
                self.sign_at = self.must_wait(now);
                if self.sign_at.is_some() {
                    break;
                }
                self.seal(now);
            }
            let Some(segment) = self.writer.take_sealed() else { break };
            let seq = segment.seq;
            self.streams.accept(OWN, &segment, now, &self.config, &mut Vec::new());
            self.spread.fan_out(OWN, seq, None, now, &self.config);
        }
    }

    /// Until when what was written has to wait for its signature, if it has to.
    fn must_wait(&self, now: Instant) -> Option<Instant> {
        let (config, next) = (&self.config, self.signing.next(&self.config));
        let paced = config.signed && self.leave_by.is_none();
        (paced && now < next && self.writer.bytes() < config.sign_bytes).then_some(next)
    }

    /// Makes segments of what was written, as many as go under one signature.
    fn seal(&mut self, now: Instant) {
        let (origin, incarnation, first) = (self.me, self.config.incarnation, self.streams.get(OWN).have + 1);
        let mut batch = Vec::new();
        for seq in (first..).take(MAX_SEALED) {
            let Some((kind, first_message, body)) = self.writer.next() else { break };
            batch.push(Segment { origin, incarnation, seq, first_message, kind, body, seal: None });
        }
        if self.config.signed {
            self.signing.signed(now, &self.config);
            Segment::sign_all(&mut batch, &self.keypair, &self.config.network);
        }
        self.writer.put_sealed(batch);
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
