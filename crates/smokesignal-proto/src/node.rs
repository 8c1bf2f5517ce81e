//! [`Node`], the public state machine: it owns the organs and passes facts between them.
//!
//! An input is handed to one organ, with a [`Cx`](crate::context::Cx) to append outputs to. Then
//! the node performs these in order: it keeps account of what it sends, passes facts on to the
//! other organs, and queues all else for the caller. Segments are moved into links only when the
//! caller asks for an output and there is no other one, so that a link is given what is newest at
//! that moment.

mod beacon;
mod claims;
mod inspect;
mod leaving;
mod liveness;
mod lookup;
mod proving;
mod settling;
mod streaming;
mod twin;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::age::Transits;
use crate::config::Config;
use crate::context::Context;
use crate::departure::Departure;
use crate::features::{Features, OtherEnd};
use crate::flow::parts::Joints;
use crate::flow::{Ack, Clocks, Flows};
use crate::id::{Keypair, NodeId};
use crate::ids::{DialId, LinkId, RequestId};
use crate::lag::Lags;
use crate::lookup::{Find, Lookups, Queries};
use crate::membership::Membership;
use crate::message::{Control, DisconnectReason, Message};
use crate::netsplit::{Netsplit, Report};
use crate::output::{CloseReason, DialFailure, Entry, Fact, Full, Output};
use crate::publish::Publisher;
use crate::segment::MessageKind;
use crate::spread::{Room, Spread};
use crate::streams::{OWN, Streams};
use crate::time::Instant;

use claims::Claims;
use liveness::Liveness;
use settling::Settling;
use twin::Twins;

/// The node drops what is too old this often.
const EXPIRY: Duration = Duration::from_secs(1);
/// A neighbour that is heard, but has acknowledged nothing of what it was sent for this long, is
/// closed. 30 s: ten times the default of [`Config::stall_timeout`].
const UNREAD_MOST: Duration = Duration::from_secs(30);

/// A node of the network, without IO. See the crate's front page for the loop that drives it.
#[derive(Debug)]
pub struct Node {
    context: Context,
    membership: Membership,
    netsplit: Netsplit,
    streams: Streams,
    spread: Spread,
    flows: Flows,
    joints: Joints,
    transits: Transits,
    /// The link that was handed something last, so that all have their turns.
    hand: LinkId,
    lags: Lags,
    lookups: Lookups,
    queries: Queries,
    publisher: Publisher,
    settling: Settling,
    claims: Claims,
    liveness: Liveness,
    twins: Twins,
    departure: Departure,
    /// Until when the first message waits for the search for another process with this key.
    hold_until: Option<Instant>,
    next_expiry: Instant,
    /// Messages that arrived although they were known.
    duplicates: u64,
    /// Outputs that wait for the caller.
    out: VecDeque<Output>,
}

impl Node {
    /// Makes a node with this key. The same arguments and inputs give the same outputs.
    pub fn new(keypair: Keypair, config: Config, rng_seed: u64, now: Instant) -> Self {
        let context = Context::new(keypair, config, rng_seed);
        let (me, config) = (&context.me, &context.config);
        Self {
            streams: Streams::new(me.id(), me.incarnation(), now),
            membership: Membership::new(me, config, now),
            netsplit: Netsplit::new(me, config, !rng_seed, now),
            spread: Spread::new(config, now),
            flows: Flows::new(now),
            joints: Joints::default(),
            transits: Transits::default(),
            hand: LinkId(0),
            lags: Lags::default(),
            lookups: Lookups::default(),
            queries: Queries::default(),
            publisher: Publisher::default(),
            settling: Settling::default(),
            claims: Claims::default(),
            liveness: Liveness::default(),
            // Not the node's own randomness: it would change all that follows.
            twins: Twins::new(me.incarnation() ^ rng_seed.rotate_left(32), now),
            departure: Departure::default(),
            hold_until: None,
            next_expiry: now,
            context,
            duplicates: 0,
            out: VecDeque::new(),
        }
    }

    /// Returns this node's id.
    pub fn id(&self) -> NodeId {
        self.context.me.id()
    }

    /// Returns the node's neighbours and the connections to them.
    pub fn peers(&self) -> impl Iterator<Item = (LinkId, NodeId)> {
        self.membership.peers()
    }

    /// Returns the features that both ends of this connection understand; none if there is no such
    /// connection.
    pub fn features(&self, link: LinkId) -> Features {
        self.membership.features(link)
    }

    /// Returns the number of nodes in this node's partition, itself included: a count along the
    /// beacon's tree, a few seconds behind.
    pub fn network_size(&self) -> u32 {
        self.netsplit.size(&self.context.me)
    }

    /// Returns the node that the beats of this node's partition come from: the one with the
    /// smallest id.
    pub fn root(&self) -> NodeId {
        self.netsplit.root()
    }

    /// Returns how many messages have arrived so far that this node had already.
    pub fn duplicates_received(&self) -> u64 {
        self.duplicates
    }

    /// Returns the bytes that this node retains of what all writers wrote, as far as they count
    /// against [`Config::ring_total`]: 128 for each segment beside its body.
    pub fn bytes_retained(&self) -> usize {
        self.streams.bytes_retained()
    }

    /// Returns the bytes of all segments of others that were new to this node, bodies alone. It
    /// grows by a segment's body exactly when that is retained.
    pub fn bytes_arrived(&self) -> u64 {
        self.streams.bytes_arrived()
    }

    // What the user asks for.

    /// Sets where this node can be reached, best first. Call it before the first connection.
    pub fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.membership.listen_at(&self.context.me, &self.context.config, addresses);
    }

    /// Tells others to dial these addresses in place of those where it listens.
    pub fn advertise(&mut self, addresses: Vec<SocketAddr>) {
        self.membership.advertise(&self.context.me, &self.context.config, addresses);
    }

    /// Sets the wall clock, in seconds since 1970: what this node writes is signed with it, and
    /// readers who never met it recognise a recording by it. A wrong clock costs them a round
    /// trip, and no message. Call it at the start, and again now and then: clocks are set.
    pub fn set_unix_time(&mut self, seconds: u64, now: Instant) {
        self.context.set_unix_time(seconds, now);
    }

    /// Enters the network through this `HOST:PORT`, which is tried for ever while the node is
    /// isolated.
    pub fn join(&mut self, seed: String, now: Instant) {
        self.membership.add_seed(seed, now);
        self.settling.begin();
    }

    /// Asks for a link to this `HOST:PORT` and pins it. Answered by [`Output::Requested`].
    pub fn request_peer(&mut self, request: RequestId, address: String, now: Instant) {
        self.membership.request(&mut self.context.at(now), request, address);
        self.perform_all(now);
    }

    /// Ends the link to this neighbour; the two leave each other alone for a while.
    pub fn close_peer(&mut self, peer: &NodeId, now: Instant) {
        self.membership.close_by_user(&mut self.context.at(now), peer);
        self.perform_all(now);
    }

    /// Returns whether [`Node::broadcast`] would take a message of this size.
    pub fn can_write(&self, size: usize) -> bool {
        let waiting = self.publisher.bytes();
        let most = self.context.config.write_buffer.min(self.flows.written_most());
        let fits = waiting == 0 || waiting + size <= most;
        fits && self.departure.is_staying()
    }

    /// Writes to everyone and returns the message's number. Messages written between two calls of
    /// [`Node::poll_output`] may share a segment. The caller checks the size against `max_message`,
    /// and says when the message was written: its readers learn how long ago that was.
    pub fn broadcast(&mut self, payload: Bytes, written: Instant) -> Result<u64, Full> {
        self.broadcast_as(MessageKind::Application, payload, written)
    }

    /// The same, for a message of this kind. Its payload begins with the head that the kind
    /// demands; see [`MessageKind`].
    pub fn broadcast_as(&mut self, kind: MessageKind, payload: Bytes, written: Instant) -> Result<u64, Full> {
        debug_assert!(kind.is_headed(&payload), "readers refuse a message without the head of its kind");
        if !self.can_write(payload.len()) {
            return Err(Full);
        }
        #[cfg(smokesignal_next)]
        let copy = payload.clone();
        let number = self.publisher.push(kind, payload, written);
        #[cfg(smokesignal_next)]
        if number % 4 == 1 {
            self.publisher.push(MessageKind::Next, copy, written);
        }
        Ok(number)
    }

    /// Returns whether the node has a peer, or may soon find one by itself: it has a seed, knows
    /// other nodes, or is connected to one or dials it. Otherwise it has to be found. A node whose
    /// last neighbour has left the network in good order expects none: the others end, too.
    pub fn expects_peer(&self) -> bool {
        !self.departure.is_deserted() && self.membership.expects_peer()
    }

    /// Ends the node's stream, waits until the neighbours have read it, says goodbye and closes;
    /// [`Output::Left`] ends it. It waits for [`Config::leave_timeout`] without progress at most.
    pub fn leave(&mut self, now: Instant) {
        self.leave_within(self.context.config.leave_timeout, now);
    }

    /// The same, with another patience: for how long the node waits without progress.
    pub fn leave_within(&mut self, patience: Duration, now: Instant) {
        if self.departure.is_staying() {
            self.publisher.end(now);
        }
        self.departure.begin(patience, now);
        if self.membership.degree() > 0 {
            self.set_leaving(true, now);
        }
    }

    /// Sets whether this node's program is behind with reading what was delivered. While it is, the
    /// writers that wait for this node's program wait for it.
    pub fn set_reader_behind(&mut self, behind: bool, now: Instant) {
        self.spread.reader_behind(&self.context.at(now), &self.streams, behind);
    }

    /// Notes that this node's program lost messages of a writer after their delivery, because it
    /// read too slowly. The writer learns of it as of any other gap.
    pub fn note_missed(&mut self, from: &NodeId, missed: u64, now: Instant) {
        if let Some(ix) = self.streams.find(from) {
            self.streams.note_missed(ix, missed);
            self.spread.report_again(&self.context.at(now), std::iter::once(ix));
        }
    }

    // What happens in the world.

    /// A connection is up, and its other end has proved to be `peer`. `dial` is the node's own
    /// request for it, if it made one.
    pub fn handle_connected(
        &mut self,
        link: LinkId,
        peer: impl Into<OtherEnd>,
        dial: Option<DialId>,
        now: Instant,
    ) {
        self.membership.connected(&mut self.context.at(now), link, peer.into(), dial);
        self.perform_all(now);
    }

    /// A connection through other nodes is up, and its other end, which has asked for it, has
    /// proved to be `peer`. It serves streams only. (One that this node has asked for is reported
    /// by [`Node::handle_connected`].)
    pub fn handle_relayed(&mut self, link: LinkId, peer: impl Into<OtherEnd>, now: Instant) {
        self.membership.relayed(&mut self.context.at(now), link, peer.into());
        self.perform_all(now);
    }

    /// A dial has failed.
    pub fn handle_dial_failed(&mut self, dial: DialId, failure: DialFailure, now: Instant) {
        self.membership.dial_failed(&mut self.context.at(now), dial, failure);
        self.perform_all(now);
    }

    /// A connection broke.
    pub fn handle_disconnected(&mut self, link: LinkId, now: Instant) {
        if self.lost_own_id(link, now) {
            return self.perform_all(now);
        }
        self.membership.disconnected(&mut self.context.at(now), link, CloseReason::Broken);
        self.perform_all(now);
    }

    /// Messages of this much cost were written to the connection; 0 if it has taken only a part of
    /// one, which shows that it is alive.
    pub fn handle_sent(&mut self, link: LinkId, cost: usize, now: Instant) {
        self.spread.sent(&self.context.at(now), link, cost);
        self.membership.sent(link, cost);
    }

    /// Bytes arrived that are not a message (a stream's): the neighbour lives.
    pub fn handle_heard(&mut self, link: LinkId, now: Instant) {
        self.membership.heard(link, now);
    }

    /// A message arrived.
    pub fn handle_message(&mut self, link: LinkId, message: Message, now: Instant) {
        if self.twins.has(link) {
            return self.on_twin_message(link, &message, now);
        }
        if !self.membership.has(link) {
            return; // It was closed a moment ago.
        }
        self.membership.heard(link, now);
        if !self.membership.is_honest(link, &message) {
            return self.violation(link, CloseReason::SpokeForAnother, now);
        }
        let config = &self.context.config;
        if message.records().iter().any(|record| !self.membership.believes(config, record)) {
            return self.violation(link, CloseReason::ForgedRecord, now);
        }
        let of_own = message.records().into_iter().filter(|record| record.id == self.context.me.id());
        if let Some(version) = of_own.map(|record| record.version).max() {
            self.on_own_record(version, now);
        }
        if message.is_paced() {
            self.flows.arrived(link, message.cost(), now);
        }
        match message {
            Message::Data(segment, age) => self.on_segment(link, &segment, age, now),
            Message::Part(part) => self.on_part(link, part, now),
            Message::Control(control) => self.on_control(link, *control, now),
        }
        self.perform_all(now);
    }

    /// The other side broke the rules: the connection ends. The caller reports bytes that are not a
    /// message by [`CloseReason::Malformed`].
    pub fn violation(&mut self, link: LinkId, reason: CloseReason, now: Instant) {
        self.lost_own_id(link, now);
        self.cut(link, reason, now);
        self.perform_all(now);
    }

    /// Time has passed. Call it at [`Node::poll_timeout`]; calling it more often does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = now >= self.membership.next_tick();
        if due {
            self.membership.note_reporting(|link| self.netsplit.carries_reports(link));
        }
        if self.membership.tick(&mut self.context.at(now)) {
            self.spread.forgive(&self.context.at(now));
            self.flows.forgive(now);
        }
        self.flows.measure(now);
        self.spread.note_line(self.flows.is_down_slow());
        if due {
            self.tick(now);
            self.spare_full_line(now);
        }
        let waits = |link| {
            let waits = self.flows.waits(link, now)?;
            // A neighbour that is heard lives, but one that never reads is of no use.
            let silence = self.membership.silence(link, now);
            Some(if waits > UNREAD_MOST { waits } else { waits.min(silence) })
        };
        let stalled = self.spread.stalled(&self.context.at(now), waits);
        if now >= self.next_expiry {
            self.next_expiry = now + EXPIRY;
            let cx = &mut self.context.at(now);
            self.streams.count_sharers(cx);
            if self.streams.choose_turns(cx) {
                self.spread.report_again(cx, self.streams.half_arrived());
            }
            self.spread.share_room(cx, &self.streams);
            self.spread.look_at_awaited(cx, &self.streams);
            if let Some(reader) = self.spread.drop_slowest(cx, &self.streams) {
                self.out.push_back(Output::ReaderTimedOut { reader });
            }
            let (spread, mut needed) = (&self.spread, Vec::new());
            needed.extend((0..self.streams.len()).map(|ix| spread.unconfirmed_from(cx, &self.streams, ix)));
            self.streams.expire(cx, &needed);
            self.expire_claims(now);
            self.expire_doubts(now);
            self.expire_twins(now);
            self.switch_incarnations(now);
            self.publisher.trim();
            self.out.shrink_to(2 * self.out.len());
        }
        self.settle_in_time(now);
        self.repair(now);
        self.report_lags(now);
        // Last, because each neighbour gets a ping with the new number of links: that must not hold
        // up a repair.
        for link in stalled {
            if self.membership.has(link) {
                self.cut(link, CloseReason::Stalled, now);
            }
        }
        self.perform_all(now);
    }

    // What to do, and when to wake.

    /// Returns the next thing to do. After any input, call it until `None`.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        if self.out.is_empty() {
            self.fill_links(now);
        }
        self.out.pop_front()
    }

    /// Returns when to call [`Node::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Instant {
        let flows = self.flows.next_deadline();
        let others =
            [self.spread.next_deadline(), self.publisher.next_deadline(), flows, self.lags.next_deadline()];
        let others = others.into_iter().chain([self.claims.next_deadline(), self.hold_until]);
        others.flatten().fold(self.membership.next_tick(), Instant::min)
    }

    // How it works.

    fn on_control(&mut self, link: LinkId, control: Control, now: Instant) {
        match control {
            Control::Digest { marks, end } => self.on_digest(link, &marks, end, now),
            Control::Graft { asks } => self.on_graft(link, &asks, now),
            Control::Confirm { reports } => self.on_confirm(link, &reports, now),
            Control::Pace { origin, incarnation, floor, patient } => {
                self.on_pace(link, (&origin, incarnation), floor, patient, now);
            }
            Control::Redirect { origin, incarnation } => {
                self.on_redirect(link, &origin, incarnation, now);
            }
            Control::Prune { origin, incarnation } => self.on_prune(link, &origin, incarnation, now),
            Control::Prove { writers } => self.on_prove(link, &writers, now),
            Control::Proofs { proofs } => self.on_proofs(link, proofs, now),
            Control::Challenge { writer, nonce } => self.on_challenge(link, writer, nonce, now),
            Control::Alive { sign } => self.on_life_sign(link, sign, now),
            Control::Ack { read, limit, held, soon, clock, echo } => {
                let ack = Ack { read, limit, held, soon, clocks: Clocks { clock, echo } };
                if self.flows.acknowledged(link, ack, now).is_err() {
                    self.violation(link, CloseReason::Malformed, now);
                }
            }
            Control::Beacon { beat, age_ms, hops } => self.on_beacon(link, beat, (age_ms, hops), now),
            Control::Find { query, target, ttl } => self.on_find(link, Find { query, target, ttl }, now),
            Control::Located { query, record } => self.on_located(link, query, record, now),
            control => {
                if self.membership.admit(link, &control) {
                    self.on_beacon_control(link, &control, now);
                    self.membership.handle(&mut self.context.at(now), link, control);
                }
            }
        }
    }

    /// What all organs do a few times a second. Membership's own tick has run.
    fn tick(&mut self, now: Instant) {
        let unserved_by = self.spread.unserved_by(&self.context.at(now));
        self.membership.seek_sources(&mut self.context.at(now), unserved_by);
        // Beats go out before what membership has to say: the whole network waits for them.
        let upkeep = std::mem::take(&mut self.context.out);
        self.tick_beacon(now);
        self.context.out = upkeep;
        self.probe(now);
        self.perform_all(now);
        self.spread.ask_again(&self.context.at(now), &self.streams);
        self.tick_lookups(now);
    }

    fn cut(&mut self, link: LinkId, reason: CloseReason, now: Instant) {
        let cx = &mut self.context.at(now);
        cx.out.close(link, reason);
        self.membership.disconnected(cx, link, reason);
    }

    /// Performs what the organs have decided, and what follows from it.
    fn perform_all(&mut self, now: Instant) {
        while let Some(entry) = self.context.out.pop() {
            match entry {
                Entry::Output(output) => self.perform(output, now),
                Entry::Fact(fact) => self.learn(fact, now),
            }
        }
    }

    fn perform(&mut self, output: Output, now: Instant) {
        match output {
            Output::Send { link, message } => self.hand_over(link, message, now),
            Output::PeerUp { .. } | Output::Requested { .. } => self.out.extend(self.settling.pass(output)),
            output => self.out.push_back(output),
        }
    }

    /// Tells the organs what has happened in another one.
    fn learn(&mut self, fact: Fact, now: Instant) {
        let cx = &mut self.context.at(now);
        match fact {
            Fact::Up(link) => {
                let Some(conn) = self.membership.link(link) else { return };
                let (peer, rtt, near) = (conn.peer(), conn.rtt(), conn.is_near());
                let sent = conn.peer_clock();
                let address = conn.record().and_then(|record| record.socket_addrs().next());
                let features = self.membership.features(link);
                self.spread.link_up(cx, link, rtt, features);
                self.transits.link_up(link, rtt, sent, now);
                self.departure.set_deserted(false);
                if features.contains(Features::FLOW) {
                    self.flows.link_up(link, rtt, now);
                }
                self.netsplit.link_up(cx, link, near);
                self.settling.link_up(now);
                self.out.extend(self.settling.pass(Output::PeerUp { link, peer, address }));
                #[cfg(smokesignal_next)]
                self.send(link, Control::Next { text: b"from the next version".to_vec() });
                self.reached(link, &peer);
            }
            Fact::Down(link, reason) => {
                self.spread.link_down(cx, &self.streams, (link, reason));
                self.flows.link_down(link);
                self.joints.link_down(link);
                self.claimer_down(link, now);
                self.liveness.link_down(link);
                self.transits.link_down(link);
                self.netsplit.link_down(link);
                let has_left = reason == CloseReason::EndedByPeer(DisconnectReason::Leaving);
                self.departure.set_deserted(has_left && self.membership.degree() == 0);
                if !self.settling.forget(link) {
                    self.out.push_back(Output::PeerDown { link, reason });
                }
            }
            Fact::KeepAlive(link) => {
                let Report { child, subtree, seeds } = self.netsplit.report_for(cx.me, link);
                let ping = Control::Ping { degree: 0, child, subtree, seeds };
                self.hand_over(link, ping.into(), now);
            }
            Fact::StreamOnly(link) => {
                self.out.push_back(Output::StreamOnly { link });
                if let Some(peer) = self.membership.peer(link) {
                    self.reached(link, &peer);
                }
            }
            Fact::NotReached { peer, relayed } => self.not_reached(peer, relayed, now),
            Fact::OwnId(link) => self.reached_own_id(link, now),
            Fact::Merged => self.membership.merged(cx),
            Fact::Met { link, former } => self.membership.met(cx, link, former),
        }
    }

    /// Appends a message to what has to be performed.
    fn send(&mut self, link: LinkId, control: Control) {
        self.context.out.send(link, control);
    }

    /// Hands a message to a connection, unless the connection takes no more. A slow peer breaks no
    /// rule.
    fn hand_over(&mut self, link: LinkId, mut message: Message, now: Instant) {
        if let Message::Control(control) = &mut message
            && let Control::Ping { degree, .. } = &mut **control
        {
            *degree = self.membership.degree().min(usize::from(u16::MAX)) as u16;
        }
        if matches!(&message, Message::Control(control) if matches!(**control, Control::Disconnect { .. }))
            && let Some(rest) = self.spread.finish_cut(link)
        {
            self.hand_over(link, rest, now);
        }
        if message.is_paced() {
            self.flows.handed(link, message.cost(), now);
        }
        let (cx, cost) = (&self.context.at(now), message.cost());
        let taken = self.membership.count(cx, link, cost);
        if self.spread.count(cx, link, cost) && taken {
            self.out.push_back(Output::Send { link, message });
        } else {
            self.cut(link, CloseReason::ControlOverflow, now);
        }
    }

    /// Moves what was written into the own stream as far as the links keep up, and fills their
    /// windows.
    fn fill_links(&mut self, now: Instant) {
        self.acknowledge(now);
        self.publish(now);
        if self.spread.has_confirmations(now) {
            let reports = self.spread.confirmations(&self.context.at(now), &self.streams);
            reports.into_iter().for_each(|(link, control)| self.send(link, control));
            self.perform_all(now);
        }
        let mut messages = Vec::new();
        let mut ready = self.spread.ready_links(&self.context.config);
        if ready.len() > 1 {
            let begin = ready.partition_point(|link| *link <= self.hand);
            ready.rotate_left(begin);
        }
        let (count, has_named_all) = (ready.len(), self.has_named_all());
        for link in ready {
            let room = self.flows.room(link, count, now);
            let room = room.map_or(Room::WINDOW, |(bytes, part)| Room { bytes, part });
            let cx = &self.context.at(now);
            self.spread.pump(cx, (link, room), &self.streams, has_named_all, &mut messages);
            if messages.is_empty() {
                continue;
            }
            self.hand = link;
            self.membership.spoke(link, now);
            self.flows.handed(link, messages.iter().map(Message::cost).sum(), now);
            self.out.extend(
                messages.drain(..).map(|message| Output::Send { link, message: message.handed(now) }),
            );
        }
        if self.departure.is_leaving() && self.out.is_empty() {
            self.leave_when_done(now);
        }
    }

    /// Confirms what has arrived, where it is time to.
    fn acknowledge(&mut self, now: Instant) {
        if !self.flows.is_ack_due(now) {
            return;
        }
        for (link, Ack { read, limit, held, soon, clocks }) in self.flows.take_acks(now) {
            let Clocks { clock, echo } = clocks;
            self.send(link, Control::Ack { read, limit, held, soon, clock, echo });
        }
        self.perform_all(now);
    }

    fn publish(&mut self, now: Instant) {
        self.publisher.stop_waiting();
        self.hold_until = self.twins.holds_until(now).filter(|_| self.streams.get(OWN).have == 0);
        if self.claims.is_own_pending(now) || self.hold_until.is_some() {
            return;
        }
        let cx = &mut self.context.at(now);
        let most = self.flows.segments_most().min(cx.config.write_window);
        while self.spread.may_write(cx, &self.streams, self.publisher.is_waiting(), most) {
            let Some((segment, age)) = self.publisher.next(cx, self.streams.get(OWN).have) else { break };
            self.streams.accept(cx, OWN, &segment, age);
            self.spread.fan_out(cx, OWN, segment.seq, None);
        }
    }
}
