//! Joining: a contact welcomes, walks look for places, the joiner dials. Nobody else dials anybody for it.

use std::time::Duration;

use super::{Conn, Membership, Phase, Purpose};
use crate::ids::{LinkId, Target};
use crate::message::{Control, Priority};
use crate::output::CloseReason;
use crate::record::Record;
use crate::time::Instant;

/// Half of the joins seen are forgotten after each such time.
pub(super) const LATELY: Duration = Duration::from_secs(60);
/// Records in a welcome (design C, 5.2).
const WELCOME: usize = 16;

impl Membership {
    pub(super) fn dial_seed(&mut self, ix: usize, now: Instant) {
        let target = Target::Name(self.seeds[ix].address.clone());
        self.dial(Purpose::Contact(ix), target, None, now);
    }

    pub(super) fn seed_failed(&mut self, ix: usize, now: Instant) {
        let (first, last) = self.config.seed_backoff;
        let failures = self.seeds[ix].failures.min(16);
        let longest = last.min(first * (1 << failures));
        let wait = self.rng.duration(longest / 8, longest);
        let seed = &mut self.seeds[ix];
        (seed.failures, seed.not_before) = (seed.failures + 1, now + wait);
    }

    pub(super) fn contact_reached(&mut self, link: LinkId, ix: usize, now: Instant) {
        let Some(peer) = self.conns.get(&link).map(|conn| conn.peer) else { return };
        let seed = &mut self.seeds[ix];
        (seed.peer, seed.failures, seed.lost, seed.own) = (Some(peer), 0, false, false);
        seed.not_before = now + self.config.refill_backoff.1 / 4;
        seed.seen_answering();
        if self.degree() > 0 {
            self.send(link, Control::Probe);
        }
        if self.committed() < self.config.min_peers {
            self.join_through(link, now);
        }
    }

    /// Asks the node at the other end to find a place for this one. The next time over this
    /// connection comes later and later: a contact that has no place to offer is not to be pressed.
    pub(super) fn join_through(&mut self, link: LinkId, now: Instant) {
        if let Some(conn) = self.conns.get_mut(&link) {
            conn.next_join = now + conn.join_wait;
            conn.join_wait = (conn.join_wait * 2).min(self.config.refill_backoff.1);
        }
        let missing = self.config.min_peers.saturating_sub(self.degree()).clamp(1, 16);
        let record = self.record.clone();
        self.send(link, Control::Join { record, want: missing as u8 });
    }

    pub(super) fn on_join(&mut self, link: LinkId, record: Record, want: u8, now: Instant) {
        let records = self.sample(8, WELCOME - 8, &record.id);
        self.send(link, Control::Welcome { records });
        // Once for each connection, or one node could make all others look rare.
        let known = self.conns.get_mut(&link).and_then(|conn| conn.record.replace(record.clone()));
        if known.is_none() {
            self.learn_joiner(&record);
        }
        if self.join_tokens == 0 {
            return; // Too many at once: the records lead elsewhere, and the joiner comes back.
        }
        self.join_tokens -= 1;
        let degree = self.degree();
        if degree < self.config.min_peers || degree < 2 {
            let offer = Control::Offer { walk: 0, record: self.record.clone(), split: None };
            self.send(link, offer);
        }
        for _ in 0..want.div_ceil(2).clamp(1, 8) {
            self.start_walk(link, record.clone(), now);
        }
    }

    /// A sample of all who joined lately (Vitter, 1985), not the last ones only: when hundreds join in a second, they would
    /// be told of each other alone, and the network would grow into a long row of crowds.
    fn learn_joiner(&mut self, record: &Record) {
        self.joins_lately += 1;
        if self.rng.below(self.joins_lately) < self.config.passive_view {
            self.learn_of(record);
        }
    }

    /// Sends a walk for `record` to a random neighbour; the answer goes back over `back`.
    pub(super) fn start_walk(&mut self, back: LinkId, record: Record, now: Instant) {
        let walk = self.rng.next();
        let ttl = self.config.walk_ttl + self.rng.below(3) as u8;
        match self.next_hop(back, &record.id) {
            Some(hop) => {
                self.remember_walk(walk, back, now);
                self.send(hop, Control::Walk { walk, ttl, record });
            }
            None => self.end_walk(back, walk, record, now),
        }
    }

    pub(super) fn on_walk(&mut self, from: LinkId, walk: u64, ttl: u8, record: Record, now: Instant) {
        if ttl == 3 {
            self.learn(from, std::slice::from_ref(&record));
        }
        let linked = record.id == self.me || self.link_to(&record.id).is_some();
        let hungry = self.degree() < self.config.min_peers;
        let hop = self.next_hop(from, &record.id);
        match hop {
            Some(hop) if ttl > 0 && (linked || !hungry) => {
                if record.id != self.me {
                    self.remember_walk(walk, from, now);
                }
                let ttl = ttl.min(self.config.walk_ttl + 3) - 1;
                self.send(hop, Control::Walk { walk, ttl, record });
            }
            _ if !linked => self.end_walk(from, walk, record, now),
            _ => {}
        }
    }

    /// The walk ends here: offer a free place, or one between this node and a neighbour.
    fn end_walk(&mut self, back: LinkId, walk: u64, record: Record, now: Instant) {
        if record.id == self.me || self.link_to(&record.id).is_some() {
            return;
        }
        if self.committed() < self.config.automatic_max() {
            let offer = Control::Offer { walk, record: self.record.clone(), split: None };
            self.send(back, offer);
        } else {
            self.prepare_split(back, walk, record.id, Priority::Need, now);
        }
    }

    /// An offer on its way back, or for us.
    pub(super) fn on_offer(
        &mut self,
        from: LinkId,
        walk: u64,
        record: Record,
        split: Option<(Record, u64)>,
        now: Instant,
    ) {
        if let Some(back) = self.walks.remove(&walk) {
            return self.send(back, Control::Offer { walk, record, split });
        }
        // Only somebody we talk to can make us dial, and only while we look for peers.
        let Some(conn) = self.conns.get(&from) else { return };
        let contact = conn.purpose == Purpose::None || matches!(conn.purpose, Purpose::Contact(_));
        let rejoining =
            contact && conn.phase == Phase::Session && self.committed() < self.config.automatic_max();
        if (self.standing() >= self.config.min_peers && !rejoining)
            || self.dials.len() >= self.config.max_dials
        {
            return;
        }
        let priority = if self.degree() == 0 { Priority::High } else { Priority::Need };
        match split {
            None if !self.is_known_link(&record.id) => self.dial_record(&record, priority, None, now),
            Some((other, token)) => self.go_between(record, other, token, priority, now),
            None => {}
        }
    }

    pub(super) fn limit_sessions(&mut self) {
        let sessions = self.conns.iter().filter(|(_, conn)| conn.phase == Phase::Session);
        if sessions.clone().count() > self.config.max_sessions
            && let Some((oldest, _)) = sessions.min_by_key(|(id, conn)| (conn.since, **id))
        {
            self.close(*oldest, CloseReason::TooManySessions);
        }
    }

    pub(super) fn try_contacts(&mut self, now: Instant) {
        if now < self.next_contact {
            return;
        }
        self.next_contact = now + self.config.contact_stagger;
        // A name that led to this node itself may lead to another one next time.
        let ready = |seed: &super::Seed| seed.not_before <= now;
        let mut seeds: Vec<_> = (0..self.seeds.len()).filter(|ix| ready(&self.seeds[*ix])).collect();
        seeds.retain(|ix| !self.dials.values().any(|dial| dial.purpose == Purpose::Contact(*ix)));
        if let Some(ix) = self.rng.pick(&seeds).copied() {
            return self.join_seed(ix, now);
        }
        // Whoever calls on a node that is alone is its way into the network, too.
        let ripe = |(_, conn): &(&LinkId, &Conn)| {
            let calm = now - conn.since > self.config.contact_stagger * 2;
            conn.phase == Phase::Session && calm && conn.next_join <= now
        };
        if let Some((link, _)) = self.conns.iter().find(ripe) {
            let link = *link;
            self.join_through(link, now);
        }
        // The dead, after all who may live have been asked.
        if !self.passive.has_candidate(now)
            && let Some(record) = self.passive.exhume()
        {
            self.dial_record(&record, Priority::High, None, now);
        }
    }

    /// Joins through the seed: over the connection there is, or a new one.
    pub(super) fn join_seed(&mut self, ix: usize, now: Instant) {
        let peer = self.seeds[ix].peer;
        let linked = peer.and_then(|peer| self.link_to(&peer)).is_some();
        let session = self.conns.iter().find(|(_, c)| Some(c.peer) == peer && c.phase == Phase::Session);
        if linked {
            (self.seeds[ix].lost, self.seeds[ix].not_before) = (false, now + self.config.seed_backoff.1);
        } else if let Some((link, _)) = session {
            let link = *link;
            self.seeds[ix].not_before = now + self.config.refill_backoff.1 / 4;
            self.join_through(link, now);
        } else {
            self.dial_seed(ix, now);
        }
    }

    pub(super) fn on_shuffle(
        &mut self,
        from: LinkId,
        walk: u64,
        ttl: u8,
        records: Vec<Record>,
        now: Instant,
    ) {
        let Some(asker) = records.first().map(|record| record.id) else { return };
        if ttl > 0
            && let Some(hop) = self.next_hop(from, &asker)
        {
            if asker != self.me {
                self.remember_walk(walk, from, now);
            }
            let ttl = ttl.min(self.config.walk_ttl + 3) - 1;
            return self.send(hop, Control::Shuffle { walk, ttl, records });
        }
        if asker != self.me {
            let mut reply = self.sample(2, 5, &asker);
            reply.push(self.record.clone());
            self.send(from, Control::ShuffleReply { walk, records: reply });
        }
        self.learn(from, &records);
    }

    pub(super) fn on_shuffle_reply(&mut self, from: LinkId, walk: u64, records: Vec<Record>) {
        match self.walks.remove(&walk) {
            Some(back) => self.send(back, Control::ShuffleReply { walk, records }),
            None => self.learn(from, &records),
        }
    }
}
