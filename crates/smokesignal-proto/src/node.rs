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
use crate::hash_tree::MAX_LEAVES;
use crate::id::{Keypair, NodeId};
use crate::ids::{DialId, LinkId, RequestId};
use crate::membership::{Effect, Membership};
use crate::message::{Control, DigestEnd, Message};
use crate::netsplit::{Netsplit, Report};
use crate::output::{CloseReason, DialFailure, Full, Output};
use crate::reach::Reach;
use crate::segment::Segment;
use crate::signature_rate::SignatureRate;
use crate::spread::Spread;
use crate::streams::{Delivery, OWN, Streams};
use crate::time::Instant;
use crate::writer::Writer;

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
    signing: SignatureRate,
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
            signing: SignatureRate::default(),
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
    pub fn network_size(&self) -> u32 {
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
    pub fn handle_relayed(&mut self, link: LinkId, peer: NodeId, now: Instant) {
        self.membership.relayed(link, peer, now);
        self.pass_on(now);
    }

    /// A dial has failed.
    pub fn handle_dial_failed(&mut self, dial: DialId, failure: DialFailure, now: Instant) {
        self.membership.dial_failed(dial, failure, now);
        self.pass_on(now);
    }

    /// A connection broke.
    pub fn handle_disconnected(&mut self, link: LinkId, now: Instant) {
        self.membership.disconnected(link, CloseReason::Broken, now);
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
            return self.violation(link, CloseReason::SpokeForAnother, now);
        }
        if message.records().iter().any(|record| !self.membership.believes(record)) {
            return self.violation(link, CloseReason::ForgedRecord, now);
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
    pub fn violation(&mut self, link: LinkId, reason: CloseReason, now: Instant) {
        self.membership.disconnected(link, reason, now);
        self.out.push_back(Output::Close { link, reason });
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
            self.membership.disconnected(link, CloseReason::Stalled, now);
            self.out.push_back(Output::Close { link, reason: CloseReason::Stalled });
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
            Effect::Dial(output) => self.out.push_back(output),
            Effect::Close(link, reason) => {
                self.out.push_back(Output::Close { link, reason });
            }
            Effect::Demoted(link, reason) => self.out.push_back(Output::Demoted { link, reason }),
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
            Effect::KeepAlive(link) => {
                let Report { child, subtree, seeds } = self.netsplit.report_for(link);
                self.send(link, Control::Ping { degree: 0, child, subtree, seeds }.into(), now);
            }
            Effect::StreamOnly(link) => {
                self.out.push_back(Output::StreamOnly { link });
                if let Some(peer) = self.membership.conns.get(&link).map(|conn| conn.peer) {
                    self.reached(link, &peer);
                }
            }
            Effect::NotReached { peer, relayed } => self.not_reached(peer, relayed, now),
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
            self.membership.disconnected(link, CloseReason::ControlOverflow, now);
            let reason = CloseReason::ControlOverflow;
            self.out.push_back(Output::Close { link, reason });
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
        for seq in (first..).take(MAX_LEAVES) {
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
