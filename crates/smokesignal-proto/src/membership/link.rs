//! How a connection becomes a link, in steps that leave it on both sides or on neither: `Neighbor`,
//! `Accept`, `Active`.
//!
//! The node that wants the link asks with a priority. `Explicit` (a user's wish), `Bridge` and a
//! split's token count against `hard_max`, all others against `automatic_max`. A full node makes
//! room for `High` (no link at all) and `Bridge`, by a split or by ending a link; for `Need` (too
//! few links) it refuses and sends a walk; for either it ends a near link first, if it has one.
//! `Low` (a near neighbour) it refuses, unless it has a random link to exchange (`optimise.rs`).
//! Where both ask at the same time, ids decide which request and which connection stays.

use std::cmp::Ordering;
use std::time::Duration;

use super::state::conn::{Conn, Phase};
use super::state::dials::{Dial, Purpose};
use super::{LinkRequest, Membership};
use crate::age;
use crate::context::Cx;
use crate::features::OtherEnd;
use crate::id::NodeId;
use crate::ids::{DialId, LinkId};
use crate::message::{Control, Priority};
use crate::output::{CloseReason, DialFailure, Fact, Output, RequestFailure};
use crate::record::Record;

impl Membership {
    pub(crate) fn dial_failed(&mut self, cx: &mut Cx<'_>, dial: DialId, failure: DialFailure) {
        let Some(failed) = self.dials.take(dial) else { return };
        let (peer, took) = (failed.peer(), failed.took(cx.now));
        if let Some(ix) = peer.and_then(|peer| self.seeds.position(&peer)) {
            self.seeds.unanswered(ix, failure, cx.now);
        }
        match failed.into_purpose() {
            Purpose::Contact(seed) => {
                self.seeds.unanswered(seed, failure, cx.now);
                self.seeds.back_off(cx, seed, took);
            }
            Purpose::Pin(request) => {
                cx.out.push(Output::Requested { request, outcome: Err(RequestFailure::Dial(dial)) });
            }
            Purpose::Link { token, .. } => {
                if let Some(peer) = peer {
                    self.known.passive_mut().failed(&peer, cx.now, cx.config);
                }
                self.splits.give_way(token);
                self.refill.hasten(cx.now);
            }
            Purpose::Probe => {
                if let Some(peer) = peer {
                    self.known.passive_mut().failed(&peer, cx.now, cx.config);
                }
            }
            Purpose::Streams { relayed } => {
                if let Some(peer) = peer {
                    cx.out.note(Fact::NotReached { peer, relayed });
                }
            }
            Purpose::None | Purpose::Nearer => {}
        }
    }

    /// A connection is up, and the other side has proved to be `peer`.
    pub(crate) fn connected(
        &mut self,
        cx: &mut Cx<'_>,
        link: LinkId,
        other_end: OtherEnd,
        dial: Option<DialId>,
    ) {
        let peer = other_end.id;
        let known = dial.and_then(|dial| self.dials.take(dial));
        let took = known.as_ref().map_or(Duration::ZERO, |dial| dial.took(cx.now));
        let purpose = known.map_or(Purpose::None, Dial::into_purpose);
        if peer == cx.me.id() {
            return self.reached_myself(cx, link, &purpose);
        }
        let conn = Conn::new(cx, other_end, dial.is_some(), purpose.clone());
        if purpose == (Purpose::Streams { relayed: true }) {
            self.conns.insert(link, conn.through_others());
        } else {
            self.known.passive_mut().proved(&peer);
            if dial.is_some() {
                self.probing.found_alive();
            }
            self.conns.insert(link, conn);
        }
        self.limit_sessions(cx);
        match purpose {
            Purpose::None => {}
            Purpose::Contact(seed) => self.contact_reached(cx, link, seed),
            Purpose::Probe => cx.out.send(link, Control::Probe),
            Purpose::Streams { .. } => self.serve_dialled(cx, link),
            // TCP and TLS take two round trips.
            Purpose::Nearer => self.maybe_near(cx, link, took / 2),
            Purpose::Link { priority, token } => self.ask_for_link(cx, link, priority, token),
            Purpose::Pin(request) => match self.conns.link_to(&peer) {
                Some((existing, _)) => {
                    self.pin(cx, existing, request);
                    self.close(cx, link, CloseReason::AlreadyLinked);
                }
                None => self.ask_for_link(cx, link, Priority::Explicit, None),
            },
        }
    }

    fn reached_myself(&mut self, cx: &mut Cx<'_>, link: LinkId, purpose: &Purpose) {
        match *purpose {
            Purpose::Contact(seed) => self.seeds.note_own(cx, seed),
            Purpose::Pin(request) => {
                cx.out.push(Output::Requested { request, outcome: Err(RequestFailure::Myself) });
            }
            _ => {}
        }
        cx.out.note(Fact::OwnId(link));
    }

    // As the node that asks.

    pub(super) fn ask_for_link(
        &mut self,
        cx: &mut Cx<'_>,
        link: LinkId,
        priority: Priority,
        token: Option<u64>,
    ) {
        let Some(conn) = self.conns.get(link) else { return };
        let is_free = conn.phase() == Phase::Session && self.conns.link_to(&conn.peer()).is_none();
        if is_free && !cx.me.is_leaving() {
            self.send_neighbor(cx, link, priority, token);
            self.conns.request(cx, link, priority, token);
        }
    }

    pub(super) fn send_neighbor(
        &self,
        cx: &mut Cx<'_>,
        link: LinkId,
        priority: Priority,
        token: Option<u64>,
    ) {
        let (record, incarnation) = (self.known.own_record(), cx.me.incarnation());
        cx.out.send(link, Control::Neighbor { record, incarnation, priority, token });
    }

    pub(super) fn on_accept(
        &mut self,
        cx: &mut Cx<'_>,
        link: LinkId,
        (record, incarnation): (Record, u64),
        sent: u64,
    ) {
        if self.conns.get(link).is_none_or(|conn| conn.phase() != Phase::Requested) {
            return;
        }
        self.conns.introduce(link, record, incarnation);
        let Some(conn) = self.conns.get(link) else { return };
        let bridge = matches!(conn.purpose(), Purpose::Link { priority: Priority::Bridge, .. });
        let ordinary = match conn.purpose() {
            Purpose::Link { token, .. } => token.is_none(),
            // In place of another one, which ends then.
            Purpose::Nearer => self.optimisation.sought().is_none(),
            _ => false,
        };
        let limit = if ordinary && !bridge && !conn.is_pinned() {
            cx.config.automatic_max()
        } else {
            cx.config.hard_max()
        };
        if self.conns.standing() >= limit {
            // Several nodes were asked at the same time, and enough of them agreed before this one.
            self.conns.step_back(cx, link);
            return self.drop_link(cx, link, CloseReason::EnoughPeers);
        }
        cx.out.send(link, Control::Active { sent: age::sent_at(cx.now) });
        self.activate(cx, link, sent);
        if bridge {
            self.bridged(cx, link);
        }
    }

    pub(super) fn on_refuse(&mut self, cx: &mut Cx<'_>, link: LinkId, records: &[Record]) {
        self.learn(cx, link, records);
        if self.conns.get(link).is_some_and(|conn| conn.phase() == Phase::Requested) {
            self.withdraw(cx, link);
        }
    }

    /// The link that this node asked for will not be made.
    fn withdraw(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        let Some((peer, purpose)) = self.conns.withdraw(cx, link) else { return };
        self.known.passive_mut().avoid(&peer, cx.now + cx.config.pair_backoff / 10);
        self.limit_sessions(cx);
        match purpose {
            Purpose::Pin(request) => self.settle_request(cx, request, peer, RequestFailure::Full),
            Purpose::Link { token, .. } => self.splits.give_way(token),
            _ => {}
        }
    }

    // As the node that is asked.

    pub(super) fn on_neighbor(&mut self, cx: &mut Cx<'_>, link: LinkId, request: LinkRequest) {
        let LinkRequest { record, incarnation, priority, token } = request;
        let peer = record.id;
        let Some(phase) = self.conns.introduce(link, record, incarnation) else { return };
        if phase == Phase::Requested && cx.me.id() < peer {
            return; // Both asked over one connection: the larger id answers.
        }
        if matches!(phase, Phase::Accepted | Phase::Active) {
            if priority == Priority::Explicit {
                self.conns.pinned_by_peer(link);
            }
            return;
        }
        // A connection for streams was dialled for them, and will never be a link.
        if cx.me.is_leaving() || phase == Phase::StreamOnly {
            return;
        }
        if phase == Phase::Session && !self.wins(cx, link, &peer, incarnation) {
            return self.refuse(cx, link, &peer);
        }
        if priority != Priority::Explicit && self.admission.is_cooling_down(&peer, cx.now) {
            return self.refuse(cx, link, &peer);
        }
        // Both asked. There may be enough others by now that were asked at the same time.
        let crossing = phase == Phase::Requested && self.conns.standing() < cx.config.hard_max();
        let room = crossing || self.has_room_for(cx, &peer, priority, token);
        // A near link gives way to one that is needed.
        let needed = matches!(priority, Priority::Need | Priority::High);
        let yields = !room && needed && self.is_just_full(cx) && self.yield_place(cx);
        let exchanges = priority == Priority::Low && self.is_just_full(cx) && self.may_exchange(cx);
        if room || yields || exchanges {
            self.accept(cx, link, priority);
        } else {
            // Our own request is void where theirs is refused.
            if phase == Phase::Requested {
                self.withdraw(cx, link);
            }
            let alone = matches!(priority, Priority::High | Priority::Bridge);
            let displaced = alone && !self.make_room(cx, link, priority) && self.displace(cx);
            if displaced { self.accept(cx, link, priority) } else { self.refuse_full(cx, link, priority) }
        }
    }

    /// Decides between two connections of one pair: the one dialled by the smaller id stays, unless
    /// the other node was started anew or has lost the old one. Returns whether the new one stays.
    fn wins(&mut self, cx: &mut Cx<'_>, link: LinkId, peer: &NodeId, incarnation: u64) -> bool {
        let Some((old, conn)) = self.conns.link_to(peer) else { return true };
        let dialler = |conn: &Conn| if conn.is_dialled() { cx.me.id() } else { conn.peer() };
        let young = conn.age(cx.now) < cx.config.handshake_timeout;
        let same_start = conn.incarnation() == 0 || conn.incarnation() == incarnation;
        let new_by = self.conns.get(link).map_or(*peer, dialler);
        if same_start && young && (dialler(conn) < new_by || dialler(conn) == new_by) {
            return false;
        }
        self.drop_link(cx, old, CloseReason::Replaced);
        true
    }

    fn has_room_for(&self, cx: &Cx<'_>, peer: &NodeId, priority: Priority, token: Option<u64>) -> bool {
        let expected = token.is_some_and(|token| self.splits.expects(token, peer));
        let limit = match priority {
            Priority::Explicit | Priority::Bridge => cx.config.hard_max(),
            _ if expected => cx.config.hard_max(),
            _ => cx.config.automatic_max(),
        };
        self.conns.links_to_be() < limit
    }

    fn is_just_full(&self, cx: &Cx<'_>) -> bool {
        self.conns.links_to_be() == cx.config.automatic_max()
    }

    fn accept(&mut self, cx: &mut Cx<'_>, link: LinkId, priority: Priority) {
        let (record, incarnation) = (self.known.own_record(), cx.me.incarnation());
        cx.out.send(link, Control::Accept { record, incarnation, sent: age::sent_at(cx.now) });
        self.conns.accept(cx, link, priority);
    }

    fn refuse(&mut self, cx: &mut Cx<'_>, link: LinkId, peer: &NodeId) {
        let records = self.sample(cx, 8, 8, peer);
        cx.out.send(link, Control::Refuse { records });
    }

    /// Refuses, but looks for a place elsewhere for a node without enough peers.
    fn refuse_full(&mut self, cx: &mut Cx<'_>, link: LinkId, priority: Priority) {
        let Some(record) = self.conns.get(link).and_then(|conn| conn.record().cloned()) else { return };
        self.refuse(cx, link, &record.id);
        if priority == Priority::Need {
            self.start_walk(cx, link, record);
        }
    }

    pub(super) fn on_active(&mut self, cx: &mut Cx<'_>, link: LinkId, sent: u64) {
        if self.conns.get(link).is_some_and(|conn| conn.phase() == Phase::Accepted) {
            self.activate(cx, link, sent);
        }
    }

    // On both sides.

    /// The link stands; the neighbour `sent` what made it at this time of its clock.
    fn activate(&mut self, cx: &mut Cx<'_>, link: LinkId, sent: u64) {
        let Some((peer, purpose)) = self.conns.activate(cx, link, sent) else { return };
        self.known.passive_mut().forget(&peer);
        self.reconnect.forget(&peer);
        self.shuffle.reset(cx);
        self.refill.link_up(cx);
        cx.out.note(Fact::Up(link));
        // A node with more links than it needs announces it: a neighbour that has too many may end
        // its link.
        match self.degree().cmp(&(cx.config.min_peers + 1)) {
            Ordering::Less => {}
            Ordering::Equal => self.announce_degree(cx),
            Ordering::Greater => cx.out.note(Fact::KeepAlive(link)),
        }
        match purpose {
            Purpose::Pin(request) => {
                cx.out.push(Output::Requested { request, outcome: Ok(peer) });
                self.announce_pin(cx, link);
            }
            Purpose::Nearer => self.moved(cx, link),
            _ if self.conns.get(link).is_some_and(Conn::is_near) => self.near_link_up(cx),
            _ => {}
        }
        self.settle_crossed(cx, link, &peer);
        self.commit_split(cx, &peer);
    }

    /// Tells all neighbours how many links this node has.
    pub(super) fn announce_degree(&self, cx: &mut Cx<'_>) {
        self.conns.active().for_each(|(link, _)| cx.out.note(Fact::KeepAlive(link)));
    }
}
