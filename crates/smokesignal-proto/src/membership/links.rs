//! Connections become links in two steps, so that a link exists on both sides or on neither:
//! `Neighbor`, `Accept`, `Active`.

use std::cmp::Ordering;
use std::time::Duration;

use super::{Conn, Effect, Membership, Phase, Purpose};
use crate::id::NodeId;
use crate::ids::{DialId, LinkId, RequestId, Target};
use crate::message::{Control, DisconnectReason, Priority};
use crate::output::{CloseReason, DialFailure, Output, RequestFailure};
use crate::record::Record;
use crate::time::Instant;

/// Doubts at most: so many known nodes must be found alive after any number of links was lost.
const MAX_DOUBTS: u32 = 8;

/// With so many doubts half of the network or more may be gone. Then each known node is looked at once: who is left and
/// knows nobody alive is found by those who know him, long before he has tried all he knows.
const MANY: u32 = 3;

impl Membership {
    /// The user wants a link to this address.
    pub(crate) fn request(&mut self, request: RequestId, address: String, now: Instant) {
        self.dial(Purpose::Explicit(request), Target::Name(address), None, now);
    }

    pub(super) fn dial_record(
        &mut self,
        record: &Record,
        priority: Priority,
        token: Option<u64>,
        now: Instant,
    ) {
        let session = self.conns.iter().find(|(_, c)| c.peer == record.id && c.phase == Phase::Session);
        if let Some((link, _)) = session {
            return self.ask_for_link(*link, priority, token, now);
        }
        if let Some(address) = record.dialable_from(&self.addresses) {
            let purpose = Purpose::Link { priority, token };
            self.dial(purpose, Target::Address(address), Some(record.id), now);
        }
    }

    pub(super) fn dial(&mut self, purpose: Purpose, target: Target, expect: Option<NodeId>, now: Instant) {
        // An isolated node cannot wait for the dead. A slow peer gets the full time-out on retry.
        let new = expect.is_some_and(|peer| !self.passive.has_failed(&peer));
        let hurry = matches!(purpose, Purpose::Link { .. }) && new && self.degree() == 0;
        let timeout = hurry.then_some(self.config.dial_hurry);
        if let Some(dial) = self.begin_dial(purpose, expect, now) {
            self.out.push(Effect::Dial(Output::Dial { dial, target, expect, timeout }));
        }
    }

    /// Notes a dial, unless there are too many. Whatever it was for, the next tick tries again; only a user is not kept
    /// waiting. One place is kept for the seeds: whether they answer says more than what others say.
    pub(super) fn begin_dial(
        &mut self,
        purpose: Purpose,
        peer: Option<NodeId>,
        now: Instant,
    ) -> Option<DialId> {
        let limit = match purpose {
            Purpose::Explicit(_) => usize::MAX,
            Purpose::Contact(_) => self.config.max_dials,
            _ => self.config.max_dials - 1,
        };
        if self.dials.len() >= limit {
            return None;
        }
        self.next_dial += 1;
        let dial = DialId(self.next_dial);
        self.dials.insert(dial, super::Dial { purpose, peer, since: now });
        Some(dial)
    }

    pub(crate) fn dial_failed(&mut self, dial: DialId, failure: DialFailure, now: Instant) {
        let Some(failed) = self.dials.remove(&dial) else { return };
        let is_seed = |seed: &super::Seed| seed.peer.is_some() && seed.peer == failed.peer;
        if let Some(ix) = self.seeds.iter().position(is_seed) {
            self.seed_silent(ix, failure, now);
        }
        match failed.purpose {
            Purpose::Contact(seed) => {
                self.seed_silent(seed, failure, now);
                self.seed_failed(seed, now);
            }
            Purpose::Explicit(request) => {
                self.out.push(Effect::Requested(request, Err(RequestFailure::Dial(dial))));
            }
            Purpose::Link { token, .. } => {
                if let Some(peer) = failed.peer {
                    self.passive.failed(&peer, now, &self.config);
                }
                self.betweens.retain(|known, _| Some(*known) != token);
                self.next_refill = now;
            }
            Purpose::Probe => {
                if let Some(peer) = failed.peer {
                    self.passive.failed(&peer, now, &self.config);
                }
            }
            Purpose::Streams { relayed } => {
                self.out.extend(failed.peer.map(|peer| Effect::NotReached { peer, relayed }));
            }
            Purpose::None | Purpose::Nearer(_) => {}
        }
    }

    /// A connection is up and the other side has proved to be `peer`.
    pub(crate) fn connected(&mut self, link: LinkId, peer: NodeId, dial: Option<DialId>, now: Instant) {
        let known = dial.and_then(|dial| self.dials.remove(&dial));
        let dialled = dial.is_some();
        let took = known.as_ref().map_or(Duration::ZERO, |dial| now - dial.since);
        let purpose = known.map_or(Purpose::None, |dial| dial.purpose);
        if peer == self.me {
            return self.reached_myself(link, purpose, now);
        }
        let relayed = purpose == Purpose::Streams { relayed: true };
        if !relayed {
            self.passive.proved(&peer);
            self.doubts = self.doubts.saturating_sub(u32::from(dialled));
        }
        let conn = Conn { relayed, ..Conn::new(peer, dialled, purpose.clone(), &self.config, now) };
        self.conns.insert(link, conn);
        self.limit_sessions();
        match purpose {
            Purpose::None => {}
            Purpose::Contact(seed) => self.contact_reached(link, seed, now),
            Purpose::Probe => self.send(link, Control::Probe),
            Purpose::Streams { .. } => self.serve_dialled(link, now),
            // TCP and TLS take two round trips.
            Purpose::Nearer(from) => self.maybe_move(link, from, took / 2, now),
            Purpose::Link { priority, token } => self.ask_for_link(link, priority, token, now),
            Purpose::Explicit(request) => match self.link_to(&peer) {
                Some((existing, _)) => {
                    self.wish_for(existing, request);
                    self.close(link, CloseReason::AlreadyLinked);
                }
                None => self.ask_for_link(link, Priority::Explicit, None, now),
            },
        }
    }

    fn reached_myself(&mut self, link: LinkId, purpose: Purpose, now: Instant) {
        match purpose {
            Purpose::Contact(seed) => {
                let seed = &mut self.seeds[seed];
                (seed.own, seed.not_before) = (true, now + self.config.seed_backoff.1);
            }
            Purpose::Explicit(request) => {
                self.out.push(Effect::Requested(request, Err(RequestFailure::Myself)));
            }
            _ => {}
        }
        self.out.push(Effect::Close(link, CloseReason::Myself));
    }

    /// The user asks for a link that exists, or will in a moment.
    pub(super) fn wish_for(&mut self, link: LinkId, request: RequestId) {
        let Some(conn) = self.conns.get_mut(&link) else { return };
        conn.explicit = true;
        if conn.phase == Phase::Active {
            let peer = conn.peer;
            self.out.push(Effect::Requested(request, Ok(peer)));
            self.say_that_it_is_wished_for(link);
        } else if let Purpose::Explicit(earlier) =
            std::mem::replace(&mut conn.purpose, Purpose::Explicit(request))
        {
            self.out.push(Effect::Requested(earlier, Ok(conn.peer)));
        }
    }

    /// Neither side may give up such a link for others.
    fn say_that_it_is_wished_for(&mut self, link: LinkId) {
        let (record, incarnation) = (self.record.clone(), self.config.incarnation);
        let (priority, token) = (Priority::Explicit, None);
        self.send(link, Control::Neighbor { record, incarnation, priority, token });
    }

    pub(super) fn ask_for_link(
        &mut self,
        link: LinkId,
        priority: Priority,
        token: Option<u64>,
        now: Instant,
    ) {
        let Some(conn) = self.conns.get(&link) else { return };
        if self.leaving || conn.phase != Phase::Session || self.link_to(&conn.peer).is_some() {
            return;
        }
        let (record, incarnation) = (self.record.clone(), self.config.incarnation);
        self.send(link, Control::Neighbor { record, incarnation, priority, token });
        if let Some(conn) = self.conns.get_mut(&link) {
            (conn.phase, conn.since) = (Phase::Requested, now);
            conn.explicit |= priority == Priority::Explicit;
            if priority == Priority::Bridge {
                conn.bridge_until = now + self.config.bridge_hold;
            }
            if !matches!(conn.purpose, Purpose::Explicit(_) | Purpose::Nearer(_)) {
                conn.purpose = Purpose::Link { priority, token };
            }
        }
    }

    pub(super) fn on_neighbor(
        &mut self,
        link: LinkId,
        record: Record,
        incarnation: u64,
        priority: Priority,
        token: Option<u64>,
        now: Instant,
    ) {
        let peer = record.id;
        let Some(conn) = self.conns.get_mut(&link) else { return };
        (conn.record, conn.incarnation) = (Some(record), incarnation);
        let phase = conn.phase;
        if phase == Phase::Requested && self.me < peer {
            return; // Both asked at once over one connection: the larger id answers.
        }
        if matches!(phase, Phase::Accepted | Phase::Active) {
            conn.explicit |= priority == Priority::Explicit;
            return;
        }
        // What serves streams was dialled for them, and will be no link.
        if self.leaving || phase == Phase::StreamOnly {
            return;
        }
        if phase == Phase::Session && !self.wins(link, &peer, incarnation, now) {
            return self.refuse(link, &peer);
        }
        if priority != Priority::Explicit && self.apart.get(&peer).is_some_and(|until| *until > now) {
            return self.refuse(link, &peer);
        }
        // Both asked at once. There may be enough others by now, who were asked, too.
        let crossing = phase == Phase::Requested && self.standing() < self.config.hard_max();
        if crossing || self.has_room_for(&peer, priority, token) {
            self.accept(link, priority, now);
        } else {
            // Our own request is void where theirs is refused.
            if phase == Phase::Requested {
                self.withdraw(link, now);
            }
            let alone = matches!(priority, Priority::High | Priority::Bridge);
            let displaced = alone && !self.make_room(link, priority, now) && self.displace(now);
            if displaced { self.accept(link, priority, now) } else { self.refuse_full(link, priority, now) }
        }
    }

    /// Of two connections between one pair the one dialled by the smaller id stays, unless the other node
    /// was started anew or has lost the old one.
    fn wins(&mut self, link: LinkId, peer: &NodeId, incarnation: u64, now: Instant) -> bool {
        let Some((old, conn)) = self.link_to(peer) else { return true };
        let dialler = |conn: &Conn| if conn.dialled { self.me } else { conn.peer };
        let young = now - conn.since < self.config.handshake_timeout;
        let same_start = conn.incarnation == 0 || conn.incarnation == incarnation;
        let new_by = self.conns.get(&link).map_or(*peer, dialler);
        if same_start && young && (dialler(conn) < new_by || dialler(conn) == new_by) {
            return false;
        }
        self.drop_link(old, CloseReason::Replaced, now);
        true
    }

    fn has_room_for(&self, peer: &NodeId, priority: Priority, token: Option<u64>) -> bool {
        let expected =
            token.and_then(|token| self.splits.get(&token)).is_some_and(|split| split.joiner == *peer);
        let held = self.conns.values().filter(|conn| conn.is_link_to_be()).count();
        match priority {
            Priority::Explicit | Priority::Bridge => held < self.config.hard_max(),
            _ if expected => held < self.config.hard_max(),
            _ => held < self.config.automatic_max(),
        }
    }

    fn accept(&mut self, link: LinkId, priority: Priority, now: Instant) {
        let (record, incarnation) = (self.record.clone(), self.config.incarnation);
        self.send(link, Control::Accept { record, incarnation });
        if let Some(conn) = self.conns.get_mut(&link) {
            (conn.phase, conn.since) = (Phase::Accepted, now);
            conn.explicit |= priority == Priority::Explicit;
            conn.near = priority == Priority::Low;
            if priority == Priority::Bridge {
                conn.bridge_until = now + self.config.bridge_hold;
                conn.bridge_first = true;
            }
        }
    }

    fn refuse(&mut self, link: LinkId, peer: &NodeId) {
        let records = self.sample(8, 8, peer);
        self.send(link, Control::Refuse { records });
    }

    /// Refuses, but for somebody without enough peers looks for a place elsewhere: a split, or a walk.
    fn refuse_full(&mut self, link: LinkId, priority: Priority, now: Instant) {
        let Some(record) = self.conns.get(&link).and_then(|conn| conn.record.clone()) else { return };
        self.refuse(link, &record.id);
        if priority == Priority::Need {
            self.start_walk(link, record, now);
        }
    }

    pub(super) fn on_accept(&mut self, link: LinkId, record: Record, incarnation: u64, now: Instant) {
        let Some(conn) = self.conns.get_mut(&link) else { return };
        if conn.phase != Phase::Requested {
            return;
        }
        (conn.record, conn.incarnation) = (Some(record), incarnation);
        let bridge = matches!(conn.purpose, Purpose::Link { priority: Priority::Bridge, .. });
        let bound = match conn.purpose {
            Purpose::Link { token: None, priority } if !conn.explicit && priority != Priority::Bridge => {
                self.config.automatic_max()
            }
            _ => self.config.hard_max(),
        };
        if self.standing() >= bound {
            // Several were asked at once, and enough of them agreed before this one.
            if let Some(conn) = self.conns.get_mut(&link) {
                (conn.phase, conn.since) = (Phase::Session, now);
            }
            return self.drop_link(link, CloseReason::EnoughPeers, now);
        }
        self.send(link, Control::Active);
        self.activate(link, now);
        if bridge {
            self.bridged(link, now);
        }
    }

    pub(super) fn on_active(&mut self, link: LinkId, now: Instant) {
        if self.conns.get(&link).is_some_and(|conn| conn.phase == Phase::Accepted) {
            self.activate(link, now);
        }
    }

    fn activate(&mut self, link: LinkId, now: Instant) {
        let Some(conn) = self.conns.get_mut(&link) else { return };
        (conn.phase, conn.since, conn.rtt) = (Phase::Active, now, now - conn.since);
        let (peer, purpose) = (conn.peer, std::mem::replace(&mut conn.purpose, Purpose::None));
        self.passive.forget(&peer);
        self.lost.forget(&peer);
        self.stir(now);
        self.refill_wait = self.config.refill_backoff.0;
        self.next_refill = self.next_refill.min(now + self.refill_wait);
        self.out.push(Effect::Up(link));
        // Whoever has more than enough says so: it may be given up by a neighbour that has too many.
        match self.degree().cmp(&(self.config.min_peers + 1)) {
            Ordering::Less => {}
            Ordering::Equal => self.tell_degree(),
            Ordering::Greater => self.out.push(Effect::KeepAlive(link)),
        }
        match purpose {
            Purpose::Explicit(request) => {
                self.out.push(Effect::Requested(request, Ok(peer)));
                self.say_that_it_is_wished_for(link);
            }
            Purpose::Nearer(from) => self.moved(link, from, now),
            _ => {}
        }
        self.settle_crossed(link, &peer);
        self.commit_between(&peer);
    }

    pub(super) fn on_refuse(&mut self, link: LinkId, records: &[Record], now: Instant) {
        self.learn(link, records);
        if self.conns.get(&link).is_some_and(|conn| conn.phase == Phase::Requested) {
            self.withdraw(link, now);
        }
    }

    /// The link that this node asked for will not be.
    fn withdraw(&mut self, link: LinkId, now: Instant) {
        let Some(conn) = self.conns.get_mut(&link) else { return };
        (conn.phase, conn.since, conn.explicit) = (Phase::Session, now, false);
        let (peer, purpose) = (conn.peer, std::mem::replace(&mut conn.purpose, Purpose::None));
        self.passive.avoid(&peer, now + self.config.pair_backoff / 10);
        self.limit_sessions();
        match purpose {
            Purpose::Explicit(request) => self.settle(request, peer, RequestFailure::Full, now),
            Purpose::Link { token, .. } => self.betweens.retain(|known, _| Some(*known) != token),
            _ => {}
        }
    }

    pub(super) fn on_disconnect(
        &mut self,
        link: LinkId,
        reason: DisconnectReason,
        records: &[Record],
        now: Instant,
    ) {
        self.learn(link, records);
        let Some(conn) = self.conns.get(&link) else { return };
        let (peer, record) = (conn.peer, conn.record.clone());
        // Not too often: whoever says goodbye again and again is not to be dialled each time.
        let again = conn.explicit && now - conn.since > self.config.pair_backoff / 3;
        self.end_link(link, reason, CloseReason::EndedByPeer(reason), now);
        match (reason, &record) {
            (DisconnectReason::Leaving, _) => {
                self.lost.forget(&peer);
                self.passive.forget(&peer);
                self.take_over(records, now);
            }
            (_, Some(record)) => self.learn_of(record),
            _ => {}
        }
        match reason {
            DisconnectReason::Closed => self.keep_apart(peer, now),
            DisconnectReason::Leaving => {}
            // It said so before it had heard that somebody wishes for the link.
            _ if again => {
                if let Some(record) = &record {
                    self.dial_record(record, Priority::Explicit, None, now);
                }
            }
            _ => self.passive.avoid(&peer, now + self.config.pair_backoff / 3),
        }
    }

    /// The user closed this link: the pair leaves each other alone for a while.
    pub(crate) fn close_by_user(&mut self, peer: &NodeId, now: Instant) {
        if let Some((link, _)) = self.link_to(peer) {
            self.say_goodbye(link, DisconnectReason::Closed, now);
            self.keep_apart(*peer, now);
        }
    }

    fn keep_apart(&mut self, peer: NodeId, now: Instant) {
        self.apart.retain(|_, until| *until > now);
        if self.apart.len() >= self.config.passive_view {
            self.apart.pop_first(); // The smallest id loses: it may be linked again too early, no more.
        }
        self.apart.insert(peer, now + self.config.pair_backoff);
        self.passive.avoid(&peer, now + self.config.pair_backoff);
    }

    /// A neighbour that leaves names first whom to link with in its place, so that the path over it stays.
    fn take_over(&mut self, records: &[Record], now: Instant) {
        let Some(heir) = records.first() else { return };
        if self.committed() < self.config.automatic_max() && !self.is_known_link(&heir.id) && !self.leaving {
            self.dial_record(heir, Priority::Need, None, now);
        }
    }

    pub(super) fn say_goodbye(&mut self, link: LinkId, reason: DisconnectReason, now: Instant) {
        self.part(link, reason, None, now);
    }

    /// The same, and who is to take this node's place at the other end.
    pub(super) fn part(
        &mut self,
        link: LinkId,
        reason: DisconnectReason,
        heir: Option<Record>,
        now: Instant,
    ) {
        let Some(conn) = self.conns.get(&link) else { return };
        let (peer, record) = (conn.peer, conn.record.clone());
        let mut records: Vec<_> = heir.into_iter().collect();
        records.extend(self.sample(8, 7, &peer));
        self.send(link, Control::Disconnect { reason, records });
        self.end_link(link, reason, CloseReason::Ended(reason), now);
        if let Some(record) = record {
            self.learn_of(&record);
            self.passive.avoid(&peer, now + self.config.pair_backoff / 3);
        }
    }

    /// Ends a link. If it was given up for others the connection may live on.
    fn end_link(&mut self, link: LinkId, why: DisconnectReason, reason: CloseReason, now: Instant) {
        match why {
            DisconnectReason::Split | DisconnectReason::Surplus | DisconnectReason::Nearer
                if self.is_active(link) =>
            {
                self.gone(link, reason, false, now);
                self.out.push(Effect::Demoted(link, reason));
            }
            _ => self.drop_link(link, reason, now),
        }
    }

    /// Ends a connection in good order.
    pub(super) fn drop_link(&mut self, link: LinkId, reason: CloseReason, now: Instant) {
        self.gone(link, reason, false, now);
        self.out.push(Effect::Close(link, reason));
    }

    pub(super) fn close(&mut self, link: LinkId, reason: CloseReason) {
        self.conns.remove(&link);
        self.out.push(Effect::Close(link, reason));
    }

    /// The connection broke, or was found dead.
    pub(crate) fn disconnected(&mut self, link: LinkId, reason: CloseReason, now: Instant) {
        self.gone(link, reason, true, now);
    }

    fn gone(&mut self, link: LinkId, reason: CloseReason, lost: bool, now: Instant) {
        let Some(conn) = self.conns.remove(&link) else { return };
        self.splits.retain(|_, split| split.link != link || split.offer.is_none());
        if let Purpose::Explicit(request) = conn.purpose {
            self.settle(request, conn.peer, RequestFailure::Closed, now);
        }
        if conn.phase != Phase::Active {
            return;
        }
        self.out.push(Effect::Down(link, reason));
        self.stir(now);
        self.refill_wait = self.config.refill_backoff.0;
        self.next_refill = now;
        if self.degree() <= self.config.min_peers {
            self.tell_degree();
        }
        if lost {
            self.doubts = (self.doubts + 1).min(MAX_DOUBTS);
            if self.doubts >= MANY {
                self.sweep = self.passive.counts().0;
            }
            if let Some(record) = &conn.record {
                self.learn_of(record);
                self.passive.failed(&conn.peer, now, &self.config);
                self.mourn(record.clone(), now);
            }
            for seed in self.seeds.iter_mut().filter(|seed| seed.peer == Some(conn.peer)) {
                (seed.lost, seed.failures, seed.not_before) = (true, 0, now + self.config.seed_backoff.0);
            }
        }
    }
}
