//! Upkeep by a steady tick: time-outs, refill, shuffle. Never purely by reaction, so that a mass failure
//! makes no herd.

use std::time::Duration;

use super::{Membership, Phase, Purpose};
use crate::ids::LinkId;
use crate::message::{Control, DisconnectReason, Message, Priority};
use crate::output::{CloseReason, DialFailure, RequestFailure};
use crate::time::Instant;

/// What a connection that is no link is granted per tick: enough to join, too little to fill memory with answers.
const SESSION_FAVOURS: u32 = 4;

/// With all the links it may have and none that brings what it claims, a node gives one up after this long: a neighbour has
/// been asked once more by then.
const STARVED: Duration = Duration::from_secs(15);

impl Membership {
    /// One control message. Its records have been verified.
    pub(crate) fn handle(&mut self, link: LinkId, control: Control, now: Instant) {
        match control {
            Control::Join { record, want } => self.on_join(link, record, want, now),
            Control::Welcome { records } => self.learn(link, &records),
            Control::Walk { walk, ttl, record } => self.on_walk(link, walk, ttl, record, now),
            Control::Offer { walk, record, split } => self.on_offer(link, walk, record, split, now),
            Control::SplitPrepare { token, joiner } => self.on_split_prepare(link, token, joiner, now),
            Control::SplitAnswer { token, ok } => self.on_split_answer(link, token, ok, now),
            Control::SplitCommit { token } => self.on_split_commit(link, token, now),
            Control::Neighbor { record, incarnation, priority, token } => {
                self.on_neighbor(link, record, incarnation, priority, token, now);
            }
            Control::Accept { record, incarnation } => self.on_accept(link, record, incarnation, now),
            Control::Refuse { records } => self.on_refuse(link, &records, now),
            Control::Active => self.on_active(link, now),
            Control::Disconnect { reason, records } => self.on_disconnect(link, reason, &records, now),
            Control::Move => self.on_move(link, now),
            Control::MoveAnswer { records } => self.on_move_answer(link, records, now),
            Control::Bridge { ttl, records } => self.on_bridge(link, ttl, records, now),
            Control::Ping { degree, .. } => {
                if let Some(conn) = self.conns.get_mut(&link) {
                    conn.degree = degree.into();
                }
            }
            Control::Streams => self.on_streams(link, now),
            Control::Shuffle { walk, ttl, records } => self.on_shuffle(link, walk, ttl, records, now),
            Control::ShuffleReply { walk, records } => self.on_shuffle_reply(link, walk, records),
            // Of the broadcast, and of the beacon; see node.rs.
            Control::Digest { .. }
            | Control::Graft { .. }
            | Control::Prune { .. }
            | Control::Beacon { .. }
            | Control::Probe
            | Control::Find { .. }
            | Control::Located { .. } => {}
        }
    }

    /// Messages that make this node work for others: only so many of them are heeded, and walks only from links.
    pub(crate) fn afford(&mut self, link: LinkId, control: &Control) -> bool {
        let Some(conn) = self.conns.get_mut(&link) else { return false };
        let from_links_only = match control {
            Control::Walk { .. }
            | Control::Shuffle { .. }
            | Control::SplitPrepare { .. }
            | Control::Bridge { .. }
            | Control::Move
            | Control::MoveAnswer { .. } => true,
            Control::Join { .. } | Control::Neighbor { .. } | Control::Probe => false,
            _ => return true,
        };
        if conn.favours == 0 || (from_links_only && conn.phase != Phase::Active) {
            return false;
        }
        conn.favours -= 1;
        true
    }

    /// Claims that the transport has refuted.
    pub(crate) fn is_allowed(&self, link: LinkId, message: &Message) -> bool {
        let Some(conn) = self.conns.get(&link) else { return false };
        let Message::Control(control) = message else { return true };
        match &**control {
            Control::Join { record, .. }
            | Control::Neighbor { record, .. }
            | Control::Accept { record, .. } => record.id == conn.peer,
            _ => true,
        }
    }

    pub(crate) fn next_tick(&self) -> Instant {
        self.next_tick
    }

    /// True: this node itself had stopped for a while.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let slept = now - self.next_tick > self.config.ping_timeout / 2;
        if now < self.next_tick {
            return false;
        }
        let elapsed = now - self.last_tick;
        self.last_tick = now;
        self.next_tick = now + self.rng.duration(self.config.tick * 7 / 10, self.config.tick * 13 / 10);
        if slept {
            // We slept (suspended, or starved of CPU), not they. Hear them out first (Lifeguard, 2018).
            self.conns.values_mut().for_each(|conn| conn.heard = now);
            self.dials.values_mut().for_each(|dial| dial.since = now);
        }
        let refill = (self.config.joins_per_second as f64 * elapsed.as_secs_f64()).ceil() as u32;
        self.conns.values_mut().for_each(|conn| {
            let is_link = conn.is_link_to_be();
            conn.favours = if is_link { self.config.favours_per_tick } else { SESSION_FAVOURS };
            conn.searches = self.config.searches_per_tick;
        });
        if now >= self.next_halving {
            (self.joins_lately, self.next_halving) = (self.joins_lately / 2, now + super::join::LATELY);
        }
        self.join_tokens = self.join_tokens.saturating_add(refill).min(2 * self.config.joins_per_second);
        self.expire(now);
        self.expire_crossed(now);
        self.keep_alive(now);
        if !self.leaving {
            self.drop_surplus(now);
            self.refill(now);
            self.probe_in_doubt(now);
            self.call_the_lost(now);
            self.reorder(now);
            self.shuffle(now);
        }
        slept
    }

    fn expire(&mut self, now: Instant) {
        while self.walk_order.front().is_some_and(|(_, until)| *until <= now) {
            if let Some((walk, _)) = self.walk_order.pop_front() {
                self.walks.remove(&walk);
            }
        }
        self.splits.retain(|_, split| split.until > now);
        self.betweens.retain(|_, between| between.until > now);
        // The driver answers every dial; this is for one that does not.
        let overdue = |since: Instant| now - since > self.config.session_timeout * 3;
        let lost: Vec<_> = self.dials.iter().filter(|(_, d)| overdue(d.since)).map(|(id, _)| *id).collect();
        lost.into_iter().for_each(|dial| self.dial_failed(dial, DialFailure::Unanswered, now));
        let config = &self.config;
        let stale = |conn: &super::Conn| match conn.phase {
            Phase::Session => now - conn.since > config.session_timeout,
            Phase::Requested | Phase::Accepted => now - conn.since > config.handshake_timeout,
            Phase::Active | Phase::StreamOnly => now - conn.heard > config.ping_timeout,
        };
        let stale: Vec<_> = self.conns.iter().filter(|(_, conn)| stale(conn)).map(|(id, _)| *id).collect();
        for link in stale {
            let used = self
                .conns
                .get(&link)
                .is_some_and(|conn| matches!(conn.phase, Phase::Active | Phase::StreamOnly));
            self.silent += usize::from(self.is_active(link));
            let reason = if used { CloseReason::Silent } else { CloseReason::Unused };
            self.disconnected(link, reason, now);
            self.out.push(super::Effect::Close(link, reason));
        }
    }

    fn keep_alive(&mut self, now: Instant) {
        let quiet = |conn: &super::Conn| now - conn.spoke > self.config.keepalive;
        let links: Vec<LinkId> = self.active().filter(|(_, conn)| quiet(conn)).map(|(id, _)| id).collect();
        self.out.extend(links.into_iter().map(super::Effect::KeepAlive));
        let serving = |conn: &super::Conn| conn.phase == Phase::StreamOnly && quiet(conn);
        let links: Vec<_> = self.conns.iter().filter(|(_, conn)| serving(conn)).map(|(id, _)| *id).collect();
        for link in links {
            self.send(link, Control::Ping { degree: 0, child: None, subtree: 0, seeds: Vec::new() });
        }
    }

    /// Tells all neighbours how many this node has, because it can do without none of them.
    pub(super) fn tell_degree(&mut self) {
        let links: Vec<_> = self.active().map(|(id, _)| super::Effect::KeepAlive(id)).collect();
        self.out.extend(links);
    }

    /// Links that fell silent since this was asked last.
    pub(crate) fn take_silent(&mut self) -> usize {
        std::mem::take(&mut self.silent)
    }

    /// The neighbourhood has changed: shuffle soon, and often for a while.
    pub(super) fn stir(&mut self, now: Instant) {
        self.shuffle_wait = self.config.shuffle;
        self.next_shuffle = self.next_shuffle.min(now + self.config.shuffle);
    }

    /// Two components have met: mix what their nodes know, each at another moment of the next ten seconds.
    pub(crate) fn mix(&mut self, now: Instant) {
        let soon = now + self.rng.duration(Duration::ZERO, 4 * self.config.shuffle);
        (self.next_shuffle, self.shuffle_wait) = (self.next_shuffle.min(soon), self.config.shuffle);
    }

    /// A split that lapsed half done may leave a link too many: the one goes whose other end can best do without.
    fn drop_surplus(&mut self, now: Instant) {
        let explicit = self.active().filter(|(_, conn)| conn.explicit).count();
        if self.degree() <= self.config.max_peers.max(explicit) {
            self.over_since = None;
            return;
        }
        let since = *self.over_since.get_or_insert(now);
        let waited = now - since;
        if waited < self.config.split_timeout || self.is_leased(now) {
            return;
        }
        // There is no hurry, and several neighbours of one node must not all give it up at the same moment.
        let rich = |(_, conn): &(LinkId, &super::Conn)| conn.degree > self.config.min_peers;
        let link = match self.spare(now, rich) {
            None if waited > 2 * self.config.split_timeout && self.lot(8) => self.spare(now, |_| true),
            link => link,
        };
        if let Some(link) = link {
            self.say_goodbye(link, DisconnectReason::Surplus, now);
        }
    }

    /// `by`: a neighbour that does not bring what it claims to have, and no other does either. They may be busy, or hostile,
    /// and all of them: then there have to be more, and in the end others.
    pub(crate) fn feed(&mut self, by: Option<LinkId>, now: Instant) {
        let Some(link) = by else {
            self.hungry_since = None;
            return;
        };
        let since = *self.hungry_since.get_or_insert(now);
        let free =
            |conn: &super::Conn| conn.phase == Phase::Active && !conn.explicit && conn.bridge_until <= now;
        let full = self.committed() >= self.config.automatic_max();
        if full && now - since > STARVED && self.conns.get(&link).is_some_and(free) {
            self.hungry_since = Some(now);
            self.say_goodbye(link, DisconnectReason::Surplus, now);
        }
    }

    fn refill(&mut self, now: Instant) {
        for ix in 0..self.seeds.len() {
            let seed = &self.seeds[ix];
            // One whose id is not known yet is asked once, so that it can be missed if it is lost.
            let unknown = seed.peer.is_none() && seed.failures == 0 && self.degree() > 0;
            let due = (seed.lost || unknown) && !seed.own && seed.not_before <= now;
            if due && !self.dials.values().any(|dial| dial.purpose == Purpose::Contact(ix)) {
                self.join_seed(ix, now);
            }
        }
        if self.degree() == 0 {
            self.try_contacts(now);
        }
        let enough =
            if self.hungry_since.is_some() { self.config.automatic_max() } else { self.config.min_peers };
        if self.committed() >= enough || now < self.next_refill {
            return;
        }
        let wait = self.refill_wait;
        self.refill_wait = (wait * 2).min(self.config.refill_backoff.1);
        self.next_refill = now + self.rng.duration(wait / 2, wait);
        self.ask_known_nodes(now);
        self.ask_neighbours();
        if self.degree() > 0 && wait > Duration::from_secs(2) {
            self.try_contacts(now); // Nobody we can reach helps: there may be others behind the seeds.
        }
    }

    fn ask_known_nodes(&mut self, now: Instant) {
        let missing = self.config.min_peers.saturating_sub(self.committed()).max(1);
        let room = self.config.max_dials.saturating_sub(self.dials.len());
        let alone = self.degree() == 0;
        let count = if alone || self.doubts > 0 { room } else { missing.min(room) };
        let priority = if alone { Priority::High } else { Priority::Need };
        let mut rng = self.rng.clone();
        let known = self.passive.candidates(count, now, &mut rng, |id| !self.is_known_link(id));
        self.rng = rng;
        known.iter().for_each(|record| self.dial_record(record, priority, None, now));
    }

    /// A walk on our own behalf; the offers come back over the neighbour it left by.
    fn ask_neighbours(&mut self) {
        let links: Vec<_> = self.active().map(|(id, _)| id).collect();
        let Some(link) = self.rng.pick(&links).copied() else { return };
        let (walk, record) = (self.rng.next(), self.record.clone());
        self.send(link, Control::Walk { walk, ttl: self.config.walk_ttl, record });
    }

    fn shuffle(&mut self, now: Instant) {
        if now < self.next_shuffle {
            return;
        }
        // The calmer the neighbourhood, the rarer: a shuffle is the largest message of an idle network.
        let wait = self.shuffle_wait;
        self.shuffle_wait = (wait * 2).min(self.config.shuffle_calm);
        self.next_shuffle = now + self.rng.duration(wait * 8 / 10, wait * 12 / 10);
        let links: Vec<_> = self.active().map(|(id, _)| id).collect();
        let Some(link) = self.rng.pick(&links).copied() else { return };
        let mut records = vec![self.record.clone()];
        records.extend(self.sample(2, 5, &self.me.clone()));
        let walk = self.rng.next();
        // Far at first; later the views have been mixed, and near ones do.
        let ttl = if wait <= 4 * self.config.shuffle { self.config.walk_ttl } else { 2 };
        self.send(link, Control::Shuffle { walk, ttl, records });
    }

    /// The user leaves: no new links, and requests end.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
        let dials = std::mem::take(&mut self.dials);
        for dial in dials.into_values() {
            if let Purpose::Explicit(request) = dial.purpose {
                self.out.push(super::Effect::Requested(request, Err(RequestFailure::Closed)));
            }
        }
    }

    /// Says goodbye to every neighbour and closes every connection.
    pub(crate) fn say_goodbye_to_all(&mut self, now: Instant) {
        // Each neighbour is handed the next one in a row, the first end of the row excepted: the reverse of a split.
        let heirs: Vec<_> = self.active().map(|(_, conn)| conn.record.clone()).skip(1).collect();
        let mut heirs = heirs.into_iter().chain([None]);
        let links: Vec<_> = self.conns.keys().copied().collect();
        for link in links {
            if self.is_active(link) {
                let heir = heirs.next().flatten();
                self.part(link, DisconnectReason::Leaving, heir, now);
            } else {
                self.drop_link(link, CloseReason::Ended(DisconnectReason::Leaving), now);
            }
        }
    }
}
