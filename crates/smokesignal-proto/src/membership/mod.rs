//! WHO: which connections are links, which nodes are known, and how both are kept up.
//!
//! HyParView (Leitão et al., 2007) with one change: a full node does not drop a random neighbour for a
//! joiner, it lets the joiner in between itself and a neighbour (`split.rs`), so that nobody starves and
//! no path is lost.

mod crossing;
mod join;
mod links;
mod lost;
mod probe;
mod reorder;
mod split;
mod stream_only;
mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::id::{Keypair, NodeId};
use crate::ids::{DialId, LinkId, RequestId};
use crate::limits::Held;
use crate::message::{Control, Message, Priority};
use crate::output::{CloseReason, Output, RequestFailure};
use crate::passive::Passive;
use crate::record::{Proved, Record};
use crate::rng::Rng;
use crate::time::Instant;

/// What membership wants done. `node.rs` passes it on.
#[derive(Debug)]
pub(crate) enum Effect {
    Send(LinkId, Message),
    Dial(Output),
    Close(LinkId, CloseReason),
    /// The same, unless streams use it.
    Demoted(LinkId, CloseReason),
    Up(LinkId),
    Down(LinkId, CloseReason),
    Requested(RequestId, Result<NodeId, RequestFailure>),
    /// Streams may use this connection.
    StreamOnly(LinkId),
    /// The dial for streams to this node, directly or through others, has failed.
    NotReached {
        peer: NodeId,
        relayed: bool,
    },
    /// Nothing was sent to this neighbour for a while.
    KeepAlive(LinkId),
}

/// One connection, link or not.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) peer: NodeId,
    dialled: bool,
    /// Its bytes go through other nodes.
    relayed: bool,
    phase: Phase,
    since: Instant,
    pub(crate) record: Option<Record>,
    incarnation: u64,
    /// What to do once the connection is up, or why it was made.
    purpose: Purpose,
    explicit: bool,
    /// It was chosen because it is near.
    near: bool,
    /// It joins two components: not given up for others until then.
    bridge_until: Instant,
    /// The first link between the two: its ends see to it that there are more.
    bridge_first: bool,
    degree: usize,
    /// How many more walks, joins and the like from it are heeded until the next tick.
    favours: u32,
    /// How many more searches.
    searches: u32,
    /// When a node that is alone asks for a place over this connection again, and the wait after that.
    next_join: Instant,
    join_wait: Duration,
    /// Cost of what was sent and not reported as written. Of links the broadcast keeps account.
    pub(crate) unsent: usize,
    /// From asking for the link, or agreeing to it, to the answer.
    pub(crate) rtt: Duration,
    pub(crate) heard: Instant,
    pub(crate) spoke: Instant,
}

impl Conn {
    fn new(peer: NodeId, dialled: bool, purpose: Purpose, config: &Config, now: Instant) -> Self {
        Self {
            peer,
            dialled,
            relayed: false,
            phase: Phase::Session,
            since: now,
            record: None,
            incarnation: 0,
            purpose,
            explicit: false,
            near: false,
            bridge_until: Instant::ZERO,
            bridge_first: false,
            degree: 0,
            favours: config.favours_per_tick,
            searches: config.searches_per_tick,
            next_join: now,
            join_wait: config.refill_backoff.0,
            unsent: 0,
            rtt: Duration::ZERO,
            heard: now,
            spoke: now,
        }
    }

    /// A link, or on its way to be one.
    const fn is_link_to_be(&self) -> bool {
        matches!(self.phase, Phase::Requested | Phase::Accepted | Phase::Active)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No link: a joiner, a contact, a refused one.
    Session,
    /// We asked for a link.
    Requested,
    /// We agreed and wait for the last word.
    Accepted,
    /// A link.
    Active,
    /// No link, and none to be: it serves streams.
    StreamOnly,
}

/// Why a connection is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Purpose {
    None,
    /// A seed, by its place in the list: join through it.
    Contact(usize),
    /// A known node: ask for a link.
    Link {
        priority: Priority,
        token: Option<u64>,
    },
    /// A known node, to look around out of band.
    Probe,
    /// For streams, by dialling or through other nodes.
    Streams {
        relayed: bool,
    },
    /// A neighbour's neighbour, to move to from that one if it is nearer.
    Nearer(LinkId),
    /// The user asked.
    Explicit(RequestId),
}

#[derive(Debug)]
struct Dial {
    purpose: Purpose,
    peer: Option<NodeId>,
    since: Instant,
}

/// An address given by the user, tried for ever.
#[derive(Debug)]
struct Seed {
    address: String,
    peer: Option<NodeId>,
    failures: u32,
    not_before: Instant,
    /// It leads to this node itself.
    own: bool,
    /// The link to it was lost: it must be reached again even if there are peers enough.
    lost: bool,
    /// What dialling it has shown lately.
    seen: probe::Seen,
}

/// A link being split for a joiner, seen from one of its two ends.
#[derive(Debug)]
struct Split {
    /// The other end of the link.
    link: LinkId,
    joiner: NodeId,
    until: Instant,
    /// Set at the walk's end, which offers; not at its neighbour, which agreed.
    offer: Option<SplitOffer>,
}

#[derive(Debug)]
struct SplitOffer {
    back: LinkId,
    walk: u64,
    priority: Priority,
    /// Neighbours that said no.
    refused: Vec<LinkId>,
}

/// A split this node was offered, as the joiner.
#[derive(Debug)]
struct Between {
    /// The walk's end first, which is told when both links stand.
    ends: [NodeId; 2],
    until: Instant,
}

/// The membership organ.
#[derive(Debug)]
pub(crate) struct Membership {
    me: NodeId,
    keypair: Arc<Keypair>,
    config: Config,
    rng: Rng,
    addresses: Vec<SocketAddr>,
    record: Record,
    pub(crate) conns: BTreeMap<LinkId, Conn>,
    dials: BTreeMap<DialId, Dial>,
    next_dial: u64,
    passive: Passive,
    proved: Proved,
    lost: lost::Lost,
    seeds: Vec<Seed>,
    /// The way back of walks and shuffles that passed here.
    walks: BTreeMap<u64, LinkId>,
    walk_order: VecDeque<(u64, Instant)>,
    splits: BTreeMap<u64, Split>,
    betweens: BTreeMap<u64, Between>,
    /// Pairs whose link a user closed, and until when.
    apart: BTreeMap<NodeId, Instant>,
    join_tokens: u32,
    /// Joins that were asked for here, the older ones counted less.
    joins_lately: usize,
    next_halving: Instant,
    next_tick: Instant,
    last_tick: Instant,
    next_refill: Instant,
    refill_wait: Duration,
    next_contact: Instant,
    next_shuffle: Instant,
    shuffle_wait: Duration,
    over_since: Option<Instant>,
    /// The neighbours do not bring all that they claim to have.
    hungry_since: Option<Instant>,
    reorder: reorder::Reorder,
    next_probe: Instant,
    /// Links that fell silent since the last tick.
    silent: usize,
    /// Links lost and not made up for by a known node that was found alive: as long as there are such, known nodes are
    /// looked at one by one, because more than a link may have been lost.
    doubts: u32,
    /// So many known nodes are to be looked at whatever is found, since many links were lost at about the same time.
    sweep: usize,
    /// Links that the user asked for and that the other side's own request may still bring about. As many as the user asks
    /// for within half a second: the oldest is answered first.
    crossed: Vec<crossing::Crossed>,
    pub(crate) leaving: bool,
    pub(crate) out: Vec<Effect>,
}

impl Membership {
    pub(crate) fn new(keypair: Arc<Keypair>, config: Config, rng_seed: u64, now: Instant) -> Self {
        let record = Record::sign(&keypair, &config.network, Vec::new(), config.incarnation);
        Self {
            me: keypair.id(),
            keypair,
            rng: Rng::new(rng_seed),
            addresses: Vec::new(),
            record,
            conns: BTreeMap::new(),
            dials: BTreeMap::new(),
            next_dial: 0,
            passive: Passive::default(),
            proved: Proved::default(),
            lost: lost::Lost::default(),
            seeds: Vec::new(),
            walks: BTreeMap::new(),
            walk_order: VecDeque::new(),
            splits: BTreeMap::new(),
            betweens: BTreeMap::new(),
            apart: BTreeMap::new(),
            join_tokens: 2 * config.joins_per_second,
            joins_lately: 0,
            next_halving: now + join::LATELY,
            next_tick: now,
            last_tick: now,
            next_refill: now,
            refill_wait: config.refill_backoff.0,
            next_contact: now,
            next_shuffle: now + config.shuffle,
            shuffle_wait: config.shuffle,
            over_since: None,
            hungry_since: None,
            reorder: reorder::Reorder::new(now, config.reorder_wait.0),
            next_probe: now,
            silent: 0,
            doubts: 0,
            sweep: 0,
            crossed: Vec::new(),
            leaving: false,
            out: Vec::new(),
            config,
        }
    }

    pub(crate) fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.advertise(addresses.clone());
        self.addresses = addresses;
    }

    pub(crate) fn advertise(&mut self, addresses: Vec<SocketAddr>) {
        self.record = Record::sign(&self.keypair, &self.config.network, addresses, self.config.incarnation);
    }

    pub(crate) fn add_seed(&mut self, address: String, now: Instant) {
        let (peer, failures, seen) = (None, 0, probe::Seen::default());
        let seed = Seed { address, peer, failures, not_before: now, own: false, lost: false, seen };
        self.seeds.push(seed);
        self.next_tick = self.next_tick.min(now);
    }

    /// Whether there is a seed that is not this node itself.
    pub(crate) fn has_seeds(&self) -> bool {
        self.seeds.iter().any(|seed| !seed.own)
    }

    /// See [`crate::Node::held`].
    pub(crate) fn held(&self, held: &mut Vec<Held>) {
        let config = &self.config;
        let explicit = self.conns.values().filter(|conn| conn.explicit).count();
        let sessions = self.conns.values().filter(|conn| conn.phase == Phase::Session).count();
        let links = config.hard_max().saturating_add(explicit);
        let pending = self.conns.len() - sessions - self.degree() - self.stream_only();
        let explicit = |dial: &&Dial| matches!(dial.purpose, Purpose::Explicit(_));
        let dials = self.dials.len() - self.dials.values().filter(explicit).count();
        let (known, dead) = self.passive.counts();
        held.extend([
            Held { what: "links", amount: self.degree(), limit: links },
            Held {
                what: "links being agreed on",
                amount: pending,
                limit: config.max_dials + config.automatic_max() + 2,
            },
            Held { what: "connections that are no links", amount: sessions, limit: config.max_sessions },
            Held {
                what: "connections for streams",
                amount: self.stream_only(),
                limit: stream_only::MAX_STREAM_ONLY,
            },
            // What a user asks for comes on top.
            Held { what: "dials", amount: dials, limit: config.max_dials },
            Held { what: "known nodes", amount: known, limit: config.passive_view },
            Held { what: "nodes that did not answer", amount: dead, limit: config.graveyard },
            Held { what: "lost neighbours", amount: self.lost.len(), limit: lost::MAX_LOST },
            Held { what: "walks", amount: self.walks.len(), limit: config.max_walks },
            Held {
                what: "splits",
                amount: self.splits.len().max(self.betweens.len()),
                limit: split::MAX_SPLITS,
            },
            Held { what: "nodes kept apart", amount: self.apart.len(), limit: config.passive_view },
        ]);
    }

    /// See [`crate::Node::known_records`].
    pub(crate) fn known_records(&self) -> impl Iterator<Item = &Record> {
        let known = self.passive.records().chain(self.lost.records());
        known.chain(self.conns.values().filter_map(|conn| conn.record.as_ref()))
    }

    /// Links that both sides agree on.
    pub(crate) fn active(&self) -> impl Iterator<Item = (LinkId, &Conn)> {
        self.conns.iter().filter(|(_, conn)| conn.phase == Phase::Active).map(|(id, conn)| (*id, conn))
    }

    pub(crate) fn is_active(&self, link: LinkId) -> bool {
        self.conns.get(&link).is_some_and(|conn| conn.phase == Phase::Active)
    }

    pub(crate) fn degree(&self) -> usize {
        self.active().count()
    }

    /// Links that stand or may stand in a moment, dials for a link included.
    fn committed(&self) -> usize {
        let conns = self.conns.values().filter(|conn| conn.is_link_to_be()).count();
        let is_link = |dial: &&Dial| matches!(dial.purpose, Purpose::Link { .. } | Purpose::Nearer(_));
        conns + self.dials.values().filter(is_link).count()
    }

    /// Links that both sides want. Requests to others do not count against an offer: when all are full most
    /// requests are refused, and a place in hand is better.
    fn standing(&self) -> usize {
        self.conns.values().filter(|conn| matches!(conn.phase, Phase::Accepted | Phase::Active)).count()
    }

    fn link_to(&self, peer: &NodeId) -> Option<(LinkId, &Conn)> {
        self.conns.iter().find(|(_, c)| c.peer == *peer && c.is_link_to_be()).map(|(id, c)| (*id, c))
    }

    fn is_known_link(&self, peer: &NodeId) -> bool {
        *peer == self.me
            || self.link_to(peer).is_some()
            || self.dials.values().any(|dial| dial.peer == Some(*peer))
    }

    fn send(&mut self, link: LinkId, control: Control) {
        self.out.push(Effect::Send(link, control.into()));
    }

    /// Whether the record is its owner's word in this network. A signature costs far more to check than to compare.
    pub(crate) fn believes(&mut self, record: &Record) -> bool {
        let linked = || self.conns.values().any(|conn| conn.record.as_ref() == Some(record));
        let known = *record == self.record || self.passive.has(record) || linked();
        known || self.proved.verify(record, &self.config.network)
    }

    /// Believes only what is signed for this network. `node.rs` has closed the link of whoever sent another.
    fn learn(&mut self, teller: LinkId, records: &[Record]) {
        let Some(teller) = self.conns.get(&teller).map(|conn| conn.peer) else { return };
        for record in records {
            let linked = self.link_to(&record.id).is_some();
            if record.id != self.me && !linked && record.dialable_from(&self.addresses).is_some() {
                self.passive.learn(record, &teller, &mut self.rng, &self.config);
            }
        }
    }

    /// What a node says of itself.
    fn learn_of(&mut self, record: &Record) {
        let linked = self.link_to(&record.id).is_some();
        if record.id != self.me && !linked && record.dialable_from(&self.addresses).is_some() {
            self.passive.learn(record, &record.id, &mut self.rng, &self.config);
        }
    }

    /// Some neighbours and some known nodes, for `other`.
    fn sample(&mut self, active: usize, passive: usize, other: &NodeId) -> Vec<Record> {
        let neighbours = self.active().filter_map(|(_, conn)| conn.record.clone());
        let mut records: Vec<_> = neighbours.filter(|record| record.id != *other).collect();
        self.rng.shuffle(&mut records);
        records.truncate(active);
        records.extend(self.passive.sample(passive, &mut self.rng).into_iter().filter(|r| r.id != *other));
        records
    }

    /// Keeps the way back of a walk. The first one: a walk that comes by twice would lead its answer in circles.
    fn remember_walk(&mut self, walk: u64, back: LinkId, now: Instant) {
        if self.walks.contains_key(&walk) {
            return;
        }
        self.walks.insert(walk, back);
        self.walk_order.push_back((walk, now + self.config.walk_timeout));
        if self.walk_order.len() > self.config.max_walks
            && let Some((oldest, _)) = self.walk_order.pop_front()
        {
            self.walks.remove(&oldest);
        }
    }

    /// A random neighbour to pass a walk on to.
    fn next_hop(&mut self, from: LinkId, not: &NodeId) -> Option<LinkId> {
        let fits = |(id, conn): &(LinkId, &Conn)| *id != from && conn.peer != *not;
        let hops: Vec<_> = self.active().filter(fits).map(|(id, _)| id).collect();
        self.rng.pick(&hops).copied()
    }
}
