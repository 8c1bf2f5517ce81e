//! Joining, walks and shuffles. A contact welcomes the joiner and sends walks into the network. A
//! walk ends at a node with too few links, or at its last hop. The node at that end offers a place
//! back along the walk, and the joiner dials it. An offer makes nobody dial the joiner; a node that
//! learns of it may do so later, as with any known node.

use super::state::conn::{Conn, Phase};
use super::state::dials::Purpose;
use super::state::splits::SplitOffer;
use super::{Membership, Offer, Walk};
use crate::context::Cx;
use crate::ids::{LinkId, Target};
use crate::message::{Control, Priority};
use crate::output::CloseReason;
use crate::record::Record;

/// Records in a welcome.
const WELCOME: usize = 16;

impl Membership {
    // As the joiner.

    pub(super) fn dial_seed(&mut self, cx: &mut Cx<'_>, ix: usize) {
        let target = Target::Name(self.seeds.address(ix));
        self.dial(cx, Purpose::Contact(ix), target, None);
    }

    pub(super) fn contact_reached(&mut self, cx: &mut Cx<'_>, link: LinkId, ix: usize) {
        let Some(peer) = self.conns.peer(link) else { return };
        self.seeds.answered(cx, ix, peer);
        if self.degree() > 0 {
            cx.out.send(link, Control::Probe);
        }
        if self.committed() < cx.config.min_peers {
            self.join_through(cx, link);
        }
    }

    /// Asks the node at the other end to find this one a place.
    pub(super) fn join_through(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.conns.joined_through(cx, link);
        let missing = cx.config.min_peers.saturating_sub(self.degree()).clamp(1, 16);
        let record = self.known.own_record();
        cx.out.send(link, Control::Join { record, want: missing as u8 });
    }

    /// Joins through the seed: over a connection that exists, or a new one.
    pub(super) fn join_seed(&mut self, cx: &mut Cx<'_>, ix: usize) {
        let peer = self.seeds.peer(ix);
        if peer.is_some_and(|peer| self.conns.link_to(&peer).is_some()) {
            self.seeds.note_linked(cx, ix);
        } else if let Some(link) = peer.and_then(|peer| self.conns.session_with(&peer)) {
            self.seeds.note_asked(cx, ix);
            self.join_through(cx, link);
        } else {
            self.dial_seed(cx, ix);
        }
    }

    /// An isolated node tries one contact after the other.
    pub(super) fn try_contacts(&mut self, cx: &mut Cx<'_>) {
        if !self.seeds.take_turn(cx) {
            return;
        }
        let mut ready = self.seeds.ready(self.degree() == 0, cx.now);
        ready.retain(|ix| !self.dials.is_dialling_seed(*ix));
        if let Some(ix) = cx.rng.pick(&ready).copied() {
            return self.join_seed(cx, ix);
        }
        // A node that dials an isolated one is its way into the network, too.
        let calm = cx.config.contact_stagger * 2;
        let ripe = |(_, conn): &(LinkId, &Conn)| {
            conn.phase() == Phase::Session && conn.age(cx.now) > calm && conn.may_join(cx.now)
        };
        let caller = self.conns.iter().find(ripe).map(|(link, _)| link);
        if let Some(link) = caller {
            self.join_through(cx, link);
        }
        // The dead, after all who may live have been asked.
        let seeds = &self.seeds;
        if !self.known.passive().has_candidate(cx.now, |record| !seeds.is_missing(record))
            && let Some(record) = self.known.passive_mut().exhume()
            && !self.seeds.is_missing(&record)
        {
            self.dial_record(cx, &record, Priority::High, None);
        }
    }

    /// An offer on its way back to the joiner, or for this node.
    pub(super) fn on_offer(&mut self, cx: &mut Cx<'_>, from: LinkId, offer: Offer) {
        let Offer { walk, record, split } = offer;
        if let Some(back) = self.walks.take(walk) {
            return cx.out.send(back, Control::Offer { walk, record, split });
        }
        // Anybody could make this node dial others on command.
        if !self.conns.take_offer(from) {
            return;
        }
        // An offer is followed only while this node has too few links. One that comes over a
        // session with a contact answers a `Join` of this node: it is followed as long as there is
        // room.
        let Some(conn) = self.conns.get(from) else { return };
        let contact = matches!(conn.purpose(), Purpose::None | Purpose::Contact(_));
        let rejoining =
            contact && conn.phase() == Phase::Session && self.committed() < cx.config.automatic_max();
        let enough = self.conns.standing() >= cx.config.min_peers && !rejoining;
        let for_choice = enough && split.is_none() && self.lacks_random(cx) && self.has_place(cx);
        if (enough && !for_choice) || self.dials.room(cx.config) == 0 {
            return;
        }
        if for_choice && self.committed() >= cx.config.automatic_max() {
            self.yield_place(cx);
        }
        let priority = if self.degree() == 0 { Priority::High } else { Priority::Need };
        match split {
            None if !self.is_known_link(cx.me, &record.id) => self.dial_record(cx, &record, priority, None),
            Some((other, token)) => self.enter_split(cx, (&record, &other), token, priority),
            None => {}
        }
    }

    // As the contact, and on the way.

    pub(super) fn on_join(&mut self, cx: &mut Cx<'_>, link: LinkId, record: Record, want: u8) {
        let records = self.sample(cx, 8, WELCOME - 8, &record.id);
        cx.out.send(link, Control::Welcome { records });
        // Once for each connection, or one node could make all others look rare.
        if self.conns.note_record(link, record.clone()) && self.admission.samples_joiner(cx) {
            self.learn_of(cx, &record);
        }
        if !self.admission.admit_join() {
            return; // Too many at the same time: the records lead elsewhere, and the joiner comes back.
        }
        let degree = self.degree();
        if degree < cx.config.min_peers || degree < 2 {
            let record = self.known.own_record();
            // This node itself has a place: an offer without a walk, which has the number 0.
            cx.out.send(link, Control::Offer { walk: 0, record, split: None });
        }
        for _ in 0..want.div_ceil(2).clamp(1, 8) {
            self.start_walk(cx, link, record.clone());
        }
    }

    /// Sends a walk for `record` to a random neighbour; the answer goes back over `back`.
    pub(super) fn start_walk(&mut self, cx: &mut Cx<'_>, back: LinkId, record: Record) {
        let walk = cx.rng.next();
        let ttl = cx.config.walk_ttl + cx.rng.below(3) as u8;
        match self.next_hop(cx, back, &record.id) {
            Some(hop) => {
                self.walks.remember(cx, walk, back);
                cx.out.send(hop, Control::Walk { walk, ttl, record });
            }
            None => self.end_walk(cx, back, walk, &record),
        }
    }

    pub(super) fn on_walk(&mut self, cx: &mut Cx<'_>, from: LinkId, walk: Walk) {
        let Walk { number, ttl, record } = walk;
        if ttl == 3 {
            self.learn(cx, from, std::slice::from_ref(&record));
        }
        let own = record.id == cx.me.id();
        let linked = own || self.conns.link_to(&record.id).is_some();
        let looking = self.degree() < cx.config.min_peers;
        let hop = self.next_hop(cx, from, &record.id);
        match hop {
            Some(hop) if ttl > 0 && (linked || !looking) => {
                if !own {
                    self.walks.remember(cx, number, from);
                }
                let ttl = ttl.min(cx.config.walk_ttl + 3) - 1;
                cx.out.send(hop, Control::Walk { walk: number, ttl, record });
            }
            _ if !linked => self.end_walk(cx, from, number, &record),
            _ => {}
        }
    }

    /// The walk ends here: offers a free place, or one between this node and a neighbour.
    fn end_walk(&mut self, cx: &mut Cx<'_>, back: LinkId, walk: u64, record: &Record) {
        if record.id == cx.me.id() || self.conns.link_to(&record.id).is_some() {
            return;
        }
        if self.has_place(cx) {
            let record = self.known.own_record();
            cx.out.send(back, Control::Offer { walk, record, split: None });
        } else {
            let (joiner, priority, refused) = (record.id, Priority::Need, Vec::new());
            self.prepare_split(cx, SplitOffer { back, walk, joiner, priority, refused });
        }
    }

    /// Closes the oldest connection that is not a link if there are too many.
    pub(super) fn limit_sessions(&mut self, cx: &mut Cx<'_>) {
        if let Some(oldest) = self.conns.surplus_session(cx.config) {
            self.close(cx, oldest, CloseReason::TooManySessions);
        }
    }

    // Shuffles.

    pub(super) fn shuffle(&mut self, cx: &mut Cx<'_>) {
        let Some(ttl) = self.shuffle.take_turn(cx) else { return };
        let Some(link) = self.any_neighbour(cx) else { return };
        let mut records = vec![self.known.own_record()];
        records.extend(self.sample(cx, 2, 5, &cx.me.id()));
        let walk = cx.rng.next();
        cx.out.send(link, Control::Shuffle { walk, ttl, records });
    }

    pub(super) fn on_shuffle(
        &mut self,
        cx: &mut Cx<'_>,
        from: LinkId,
        (walk, ttl): (u64, u8),
        records: Vec<Record>,
    ) {
        let Some(asker) = records.first().map(|record| record.id) else { return };
        let own = asker == cx.me.id();
        if ttl > 0
            && let Some(hop) = self.next_hop(cx, from, &asker)
        {
            if !own {
                self.walks.remember(cx, walk, from);
            }
            let ttl = ttl.min(cx.config.walk_ttl + 3) - 1;
            return cx.out.send(hop, Control::Shuffle { walk, ttl, records });
        }
        if !own {
            let mut reply = self.sample(cx, 2, 5, &asker);
            reply.push(self.known.own_record());
            cx.out.send(from, Control::ShuffleReply { walk, records: reply });
        }
        self.learn(cx, from, &records);
    }

    pub(super) fn on_shuffle_reply(
        &mut self,
        cx: &mut Cx<'_>,
        from: LinkId,
        walk: u64,
        records: Vec<Record>,
    ) {
        match self.walks.take(walk) {
            Some(back) => cx.out.send(back, Control::ShuffleReply { walk, records }),
            None => self.learn(cx, from, &records),
        }
    }
}
