//! Membership: which connections are links, which nodes are known, and how both are kept up.
//!
//! This is HyParView (Leitão et al., 2007) with two changes. A walk's end does not dial the joiner:
//! it offers a place, and the joiner dials. A full node lets the joiner in between itself and a
//! neighbour (`split.rs`), so that no path is lost. It ends a link only for a node without any or
//! for a bridge, where no split can be had, and then the one it can best spare.
//!
//! A message or a tick comes in here and is handed to one method. That method asks the parts
//! (`state/`), each of which owns its fields and its rule, and appends what follows to the outputs.
//! What the rest of the node must know is noted as a `Fact`: `Up` and `Down` become `link_up` and
//! `link_down` of the broadcast; `KeepAlive` becomes a ping, which carries this node's degree. The
//! files beside this one hold those methods, by topic: `join` walks and shuffles, `link` the
//! three-step link, `pin` links that a user asked for, `disconnect` the end of one, `split` room
//! for a joiner, `probe` and `bridge` other partitions, `optimise` near neighbours,
//! `stream_only` connections for streams, `upkeep` the tick.

mod bridge;
mod disconnect;
mod join;
mod link;
mod optimise;
mod pin;
mod probe;
mod split;
mod state;
mod stream_only;
mod upkeep;

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Config;
use crate::context::{Cx, Me};
use crate::features::Features;
use crate::id::NodeId;
use crate::ids::{LinkId, Target};
use crate::limits::Held;
use crate::message::{Control, Message, Priority};
use crate::netsplit::SeedFact;
use crate::output::Output;
use crate::record::Record;
use crate::time::Instant;

use state::admission::Admission;
use state::conn::{Conn, Phase};
use state::conns::{Conns, MAX_STREAM_ONLY};
use state::crossed::Crossed;
use state::dials::{Dials, Purpose};
use state::known::Known;
use state::optimisation::{MAX_TRIED, Optimisation};
use state::probing::Probing;
use state::reconnect::{MAX_LOST, Reconnect};
use state::refill::Refill;
use state::reverse_paths::ReversePaths;
use state::seeds::Seeds;
use state::shuffle::Shuffle;
use state::splits::{MAX_SPLITS, Splits};
use state::ticker::Ticker;

/// The state machine of membership.
#[derive(Debug)]
pub(crate) struct Membership {
    conns: Conns,
    dials: Dials,
    seeds: Seeds,
    known: Known,
    walks: ReversePaths,
    splits: Splits,
    crossed: Crossed,
    refill: Refill,
    shuffle: Shuffle,
    admission: Admission,
    probing: Probing,
    optimisation: Optimisation,
    reconnect: Reconnect,
    ticker: Ticker,
}

/// What a request for a link says.
#[derive(Debug)]
struct LinkRequest {
    record: Record,
    incarnation: u64,
    priority: Priority,
    token: Option<u64>,
}

/// A walk on its way.
#[derive(Debug)]
struct Walk {
    number: u64,
    ttl: u8,
    record: Record,
}

/// A place that a walk's end offers.
#[derive(Debug)]
struct Offer {
    walk: u64,
    record: Record,
    split: Option<(Record, u64)>,
}

impl Membership {
    pub(crate) fn new(me: &Me, config: &Config, now: Instant) -> Self {
        Self {
            conns: Conns::default(),
            dials: Dials::default(),
            seeds: Seeds::new(now),
            known: Known::new(me, config),
            walks: ReversePaths::default(),
            splits: Splits::default(),
            crossed: Crossed::default(),
            refill: Refill::new(now, config.refill_backoff.0),
            shuffle: Shuffle::new(now, config),
            admission: Admission::new(now, config),
            probing: Probing::new(now),
            optimisation: Optimisation::new(now, config.reorder_wait.0),
            reconnect: Reconnect::default(),
            ticker: Ticker::new(now),
        }
    }

    // What the node and its user say.

    pub(crate) fn listen_at(&mut self, me: &Me, config: &Config, addresses: Vec<SocketAddr>) {
        self.known.listen_at(me, config, addresses);
    }

    pub(crate) fn advertise(&mut self, me: &Me, config: &Config, addresses: Vec<SocketAddr>) {
        self.known.advertise(me, config, addresses);
    }

    /// Signs the own record anew, with a version above this one.
    pub(crate) fn renew_record(&mut self, me: &Me, config: &Config, above: u64) {
        self.known.renew(me, config, above);
    }

    pub(crate) fn add_seed(&mut self, address: String, now: Instant) {
        self.seeds.add(address, now);
        self.ticker.hasten(now);
    }

    // What there is.

    pub(crate) fn next_tick(&self) -> Instant {
        self.ticker.next()
    }

    /// Returns whether there is a seed that is not this node itself.
    pub(crate) fn has_seeds(&self) -> bool {
        self.seeds.has_others()
    }

    /// See [`crate::Node::expects_peer`].
    pub(crate) fn expects_peer(&self) -> bool {
        let (known, dead) = self.known.passive().counts();
        let connected = self.committed() > 0 || self.conns.iter().next().is_some();
        connected || self.has_seeds() || known + dead > 0
    }

    pub(crate) fn seed_facts(&self, now: Instant) -> Vec<SeedFact> {
        self.seeds.facts(now)
    }

    pub(crate) fn has(&self, link: LinkId) -> bool {
        self.conns.contains(link)
    }

    pub(crate) fn peer(&self, link: LinkId) -> Option<NodeId> {
        self.conns.peer(link)
    }

    /// Returns the links that both sides agree on, and the nodes at their other ends.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (LinkId, NodeId)> {
        self.conns.active().map(|(link, conn)| (link, conn.peer()))
    }

    /// Returns the features that both ends of this connection understand.
    pub(crate) fn features(&self, link: LinkId) -> Features {
        self.conns.get(link).map_or(Features::NONE, Conn::features)
    }

    pub(crate) fn link(&self, link: LinkId) -> Option<&Conn> {
        self.conns.get(link)
    }

    pub(crate) fn is_active(&self, link: LinkId) -> bool {
        self.conns.is_active(link)
    }

    pub(crate) fn degree(&self) -> usize {
        self.conns.degree()
    }

    /// See [`crate::Node::near_and_kept`].
    pub(crate) fn near_and_kept(&self) -> (usize, usize) {
        (self.conns.active().filter(|(_, conn)| conn.is_near()).count(), self.kept_count())
    }

    /// Notes over which links the count of nodes travels.
    pub(crate) fn note_reporting(&mut self, reports: impl Fn(LinkId) -> bool) {
        self.conns.note_reporting(reports);
    }

    pub(crate) fn own_record(&self) -> Record {
        self.known.own_record()
    }

    /// See [`crate::Node::known_records`].
    pub(crate) fn known_records(&self) -> impl Iterator<Item = &Record> {
        let known = self.known.passive().records().chain(self.reconnect.records());
        known.chain(self.conns.iter().filter_map(|(_, conn)| conn.record()))
    }

    /// See [`crate::Node::held`].
    pub(crate) fn held(&self, config: &Config, held: &mut Vec<Held>) {
        let (pinned, sessions) = (self.conns.pinned(), self.conns.in_phase(Phase::Session));
        let stream_only = self.conns.in_phase(Phase::StreamOnly);
        let pending = self.conns.iter().count() - sessions - self.degree() - stream_only;
        let (known, dead) = self.known.passive().counts();
        held.extend([
            Held { what: "links", amount: self.degree(), limit: config.hard_max().saturating_add(pinned) },
            Held {
                what: "links being agreed on",
                amount: pending,
                limit: config.max_dials + config.automatic_max() + 2,
            },
            Held { what: "connections that are not links", amount: sessions, limit: config.max_sessions },
            Held { what: "connections for streams", amount: stream_only, limit: MAX_STREAM_ONLY },
            // Dials for the user come on top.
            Held { what: "dials", amount: self.dials.counted(), limit: config.max_dials },
            Held { what: "known nodes", amount: known, limit: config.passive_view },
            Held { what: "nodes that did not answer", amount: dead, limit: config.graveyard },
            Held { what: "lost neighbours", amount: self.reconnect.len(), limit: MAX_LOST },
            Held { what: "nodes measured lately", amount: self.optimisation.measured(), limit: MAX_TRIED },
            Held { what: "walks", amount: self.walks.len(), limit: config.max_walks },
            Held { what: "splits", amount: self.splits.len(), limit: MAX_SPLITS },
            Held {
                what: "nodes kept apart",
                amount: self.admission.cooling_down(),
                limit: config.passive_view,
            },
        ]);
    }

    // Traffic.

    pub(crate) fn heard(&mut self, link: LinkId, now: Instant) {
        self.conns.heard(link, now);
    }

    /// Returns for how long the neighbour has sent nothing.
    pub(crate) fn silence(&self, link: LinkId, now: Instant) -> Duration {
        self.conns.get(link).map_or(Duration::MAX, |conn| conn.silence(now))
    }

    pub(crate) fn spoke(&mut self, link: LinkId, now: Instant) {
        self.conns.spoke(link, now);
    }

    /// Counts a message that is handed to the connection. Returns whether it takes that much.
    pub(crate) fn count(&mut self, cx: &Cx<'_>, link: LinkId, cost: usize) -> bool {
        self.conns.count(cx, link, cost)
    }

    pub(crate) fn sent(&mut self, link: LinkId, cost: usize) {
        self.conns.sent(link, cost);
    }

    /// Returns whether the message claims nothing that the transport has refuted.
    pub(crate) fn is_honest(&self, link: LinkId, message: &Message) -> bool {
        let Some(peer) = self.conns.peer(link) else { return false };
        let Message::Control(control) = message else { return true };
        match &**control {
            Control::Join { record, .. }
            | Control::Neighbor { record, .. }
            | Control::Accept { record, .. } => record.id == peer,
            _ => true,
        }
    }

    /// Returns whether the record is its owner's word in this network.
    pub(crate) fn believes(&mut self, config: &Config, record: &Record) -> bool {
        let linked = self.conns.iter().filter_map(|(_, conn)| conn.record());
        self.known.believes(config, record, linked)
    }

    pub(crate) fn admit(&mut self, link: LinkId, control: &Control) -> bool {
        self.conns.admit(link, control)
    }

    pub(crate) fn admit_lookup(&mut self, link: LinkId) -> bool {
        self.conns.admit_lookup(link) || (self.conns.is_active(link) && self.admission.admit_spare_lookup())
    }

    /// Handles one control message. Its records have been verified.
    pub(crate) fn handle(&mut self, cx: &mut Cx<'_>, link: LinkId, control: Control) {
        match control {
            Control::Join { record, want } => self.on_join(cx, link, record, want),
            Control::Welcome { records } => self.learn(cx, link, &records),
            Control::Walk { walk: number, ttl, record } => {
                self.on_walk(cx, link, Walk { number, ttl, record });
            }
            Control::Offer { walk, record, split } => self.on_offer(cx, link, Offer { walk, record, split }),
            Control::SplitPrepare { token, joiner } => self.on_split_prepare(cx, link, token, joiner),
            Control::SplitAnswer { token, ok } => self.on_split_answer(cx, link, token, ok),
            Control::SplitCommit { token } => self.on_split_commit(cx, link, token),
            Control::Neighbor { record, incarnation, priority, token } => {
                self.on_neighbor(cx, link, LinkRequest { record, incarnation, priority, token });
            }
            Control::Accept { record, incarnation, sent } => {
                self.on_accept(cx, link, (record, incarnation), sent);
            }
            Control::Refuse { records } => self.on_refuse(cx, link, &records),
            Control::Active { sent } => self.on_active(cx, link, sent),
            Control::Disconnect { reason, records } => self.on_disconnect(cx, link, reason, &records),
            Control::Move => self.on_move(cx, link),
            Control::MoveAnswer { records } => self.on_move_answer(cx, link, &records),
            Control::Bridge { ttl, records } => self.on_bridge(cx, link, ttl, records),
            Control::Ping { degree, .. } => self.conns.set_degree(link, degree),
            Control::Streams => self.on_streams(cx, link),
            Control::Shuffle { walk, ttl, records } => self.on_shuffle(cx, link, (walk, ttl), records),
            Control::ShuffleReply { walk, records } => self.on_shuffle_reply(cx, link, walk, records),
            // For the broadcast, the beacon and the lookup; see node.rs.
            Control::Digest { .. }
            | Control::Graft { .. }
            | Control::Prune { .. }
            | Control::Confirm { .. }
            | Control::Pace { .. }
            | Control::Redirect { .. }
            | Control::Prove { .. }
            | Control::Proofs { .. }
            | Control::Challenge { .. }
            | Control::Alive { .. }
            | Control::Twin { .. }
            | Control::Beacon { .. }
            | Control::Probe
            | Control::Sought { .. }
            | Control::Turn { .. }
            | Control::Ack { .. }
            | Control::Find { .. }
            | Control::Located { .. } => {}
            #[cfg(smokesignal_next)]
            Control::Next { .. } => {}
        }
    }

    // What several topics need.

    /// Returns the links that exist or may exist in a moment, dials for a link included.
    fn committed(&self) -> usize {
        self.conns.links_to_be() + self.dials.for_links()
    }

    /// Returns whether this node is linked with the peer, is about to be, or is the peer itself.
    fn is_known_link(&self, me: &Me, peer: &NodeId) -> bool {
        *peer == me.id() || self.conns.link_to(peer).is_some() || self.dials.is_dialling(peer)
    }

    fn dial(&mut self, cx: &mut Cx<'_>, purpose: Purpose, target: Target, expect: Option<NodeId>) {
        // An isolated node cannot wait for the dead. A slow peer gets the full time-out on retry.
        let untried = expect.is_some_and(|peer| !self.known.passive().has_failed(&peer));
        let hurry = matches!(purpose, Purpose::Link { .. }) && untried && self.degree() == 0;
        let timeout = hurry.then_some(cx.config.dial_hurry);
        if let Some(dial) = self.dials.begin(cx, purpose, expect) {
            cx.out.push(Output::Dial { dial, target, expect, timeout });
        }
    }

    /// Asks the owner of the record for a link, over a connection that exists or a new one.
    fn dial_record(&mut self, cx: &mut Cx<'_>, record: &Record, priority: Priority, token: Option<u64>) {
        if let Some(link) = self.conns.session_with(&record.id) {
            return self.ask_for_link(cx, link, priority, token);
        }
        if let Some(address) = self.known.address_of(record) {
            let purpose = Purpose::Link { priority, token };
            self.dial(cx, purpose, Target::Address(address), Some(record.id));
        }
    }

    /// Remembers what a neighbour tells of other nodes. The node has closed the connection of one
    /// that sent a forged record.
    fn learn(&mut self, cx: &mut Cx<'_>, teller: LinkId, records: &[Record]) {
        let Some(teller) = self.conns.peer(teller) else { return };
        for record in records {
            self.learn_from(cx, record, &teller);
        }
    }

    /// Remembers what a node says of itself.
    fn learn_of(&mut self, cx: &mut Cx<'_>, record: &Record) {
        self.learn_from(cx, record, &record.id);
    }

    fn learn_from(&mut self, cx: &mut Cx<'_>, record: &Record, teller: &NodeId) {
        if self.conns.link_to(&record.id).is_none() {
            self.known.learn(cx, record, teller);
        }
    }

    /// Returns up to `active` neighbours and about `passive` known nodes, for `other`.
    fn sample(&self, cx: &mut Cx<'_>, active: usize, passive: usize, other: &NodeId) -> Vec<Record> {
        let neighbours = self.conns.active().filter_map(|(_, conn)| conn.record().cloned());
        let mut records: Vec<_> = neighbours.filter(|record| record.id != *other).collect();
        cx.rng.shuffle(&mut records);
        records.truncate(active);
        let known = self.known.sample(passive, cx.rng).into_iter();
        records.extend(known.filter(|record| record.id != *other));
        records
    }

    /// Returns a random neighbour to pass a walk on to.
    fn next_hop(&self, cx: &mut Cx<'_>, from: LinkId, not: &NodeId) -> Option<LinkId> {
        let fits = |(id, conn): &(LinkId, &Conn)| *id != from && conn.peer() != *not;
        let hops: Vec<_> = self.conns.active().filter(fits).map(|(id, _)| id).collect();
        cx.rng.pick(&hops).copied()
    }

    /// Returns a random neighbour.
    fn any_neighbour(&self, cx: &mut Cx<'_>) -> Option<LinkId> {
        let links: Vec<_> = self.conns.active().map(|(id, _)| id).collect();
        cx.rng.pick(&links).copied()
    }
}
