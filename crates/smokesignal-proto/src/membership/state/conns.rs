//! The connections, links or not, and the steps by which one becomes a link.
//!
//! A connection begins as a session. `request` (this node asked for a link) or `accept` (it agreed
//! to one) lead to `activate`, after which the link counts on both sides; `withdraw` leads back. A
//! connection for streams leaves this path by `serve_streams` and never becomes a link.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dials::Purpose;
use crate::config::Config;
use crate::context::Cx;
use crate::id::NodeId;
use crate::ids::{LinkId, RequestId};
use crate::message::{Control, Priority};
use crate::record::Record;
use crate::time::Instant;

/// Connections to one node that serve streams, at most: both may have dialled at the same time.
const MAX_STREAMS_TO_ONE: usize = 2;
/// Connections that serve streams only, at most; a new one is closed. Others may take three
/// quarters of them.
pub(crate) const MAX_STREAM_ONLY: usize = 256;
/// Messages that a connection which is not a link may make this node work for, per tick. Default 4:
/// enough to join, too few to fill memory with answers.
const SESSION_BUDGET: u32 = 4;

/// How far a connection is on its way to be a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not a link: a joiner, a contact, or a node that was refused.
    Session,
    /// This node has asked for a link.
    Requested,
    /// This node has agreed and waits for the other side's last word.
    Accepted,
    /// A link.
    Active,
    /// Not a link and never to be one: it serves streams.
    StreamOnly,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn {
    peer: NodeId,
    dialled: bool,
    /// Its bytes go through other nodes.
    relayed: bool,
    phase: Phase,
    since: Instant,
    record: Option<Record>,
    incarnation: u64,
    /// The purpose of the connection, and so what follows once it is up.
    purpose: Purpose,
    /// The user of either side asked for the link: it is never ended for the sake of others.
    pinned: bool,
    /// The link was chosen because it is near.
    near: bool,
    /// The link joins two partitions: until then it is not ended for the sake of others.
    bridge_until: Instant,
    /// The first link between two partitions: its ends see to it that there are more.
    bridge_first: bool,
    /// The number of links of the other node, by its own account.
    degree: usize,
    /// How many more walks, joins and the like from it are served until the next tick.
    budget: u32,
    /// How many more lookups.
    lookup_budget: u32,
    /// When an isolated node asks for a place over this connection again, and the wait after that.
    next_join: Instant,
    join_wait: Duration,
    /// Cost of what was sent and not reported as written. For links the broadcast keeps account.
    unsent: usize,
    /// From asking for the link, or agreeing to it, to the answer.
    rtt: Duration,
    heard: Instant,
    spoke: Instant,
}

impl Conn {
    pub(crate) fn new(cx: &Cx<'_>, peer: NodeId, dialled: bool, purpose: Purpose) -> Self {
        Self {
            peer,
            dialled,
            relayed: false,
            phase: Phase::Session,
            since: cx.now,
            record: None,
            incarnation: 0,
            purpose,
            pinned: false,
            near: false,
            bridge_until: Instant::ZERO,
            bridge_first: false,
            degree: 0,
            budget: cx.config.budget_per_tick,
            lookup_budget: cx.config.lookups_per_tick,
            next_join: cx.now,
            join_wait: cx.config.refill_backoff.0,
            unsent: 0,
            rtt: Duration::ZERO,
            heard: cx.now,
            spoke: cx.now,
        }
    }

    /// The same connection, through other nodes.
    pub(crate) fn through_others(self) -> Self {
        Self { relayed: true, ..self }
    }

    pub(crate) fn peer(&self) -> NodeId {
        self.peer
    }

    pub(crate) fn is_dialled(&self) -> bool {
        self.dialled
    }

    pub(crate) fn is_relayed(&self) -> bool {
        self.relayed
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// Returns whether the connection is a link or on its way to be one.
    pub(crate) const fn is_link_to_be(&self) -> bool {
        matches!(self.phase, Phase::Requested | Phase::Accepted | Phase::Active)
    }

    /// Returns how long the connection has been in its phase.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now - self.since
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    pub(crate) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(crate) fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned
    }

    pub(crate) fn is_near(&self) -> bool {
        self.near
    }

    /// Returns whether the link may be ended for the sake of others.
    pub(crate) fn is_spare(&self, now: Instant) -> bool {
        !self.pinned && self.bridge_until <= now
    }

    /// Returns whether this node may ask for a place over the connection, if it is isolated.
    pub(crate) fn may_join(&self, now: Instant) -> bool {
        self.next_join <= now
    }

    pub(crate) fn degree(&self) -> usize {
        self.degree
    }

    pub(crate) fn rtt(&self) -> Duration {
        self.rtt
    }
}

/// All connections of the node.
#[derive(Debug, Default)]
pub(crate) struct Conns(BTreeMap<LinkId, Conn>);

impl Conns {
    // What there is.

    pub(crate) fn get(&self, link: LinkId) -> Option<&Conn> {
        self.0.get(&link)
    }

    pub(crate) fn contains(&self, link: LinkId) -> bool {
        self.0.contains_key(&link)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Conn)> {
        self.0.iter().map(|(link, conn)| (*link, conn))
    }

    pub(crate) fn peer(&self, link: LinkId) -> Option<NodeId> {
        self.get(link).map(Conn::peer)
    }

    /// Returns the links that both sides agree on.
    pub(crate) fn active(&self) -> impl Iterator<Item = (LinkId, &Conn)> {
        self.iter().filter(|(_, conn)| conn.is_active())
    }

    pub(crate) fn is_active(&self, link: LinkId) -> bool {
        self.get(link).is_some_and(Conn::is_active)
    }

    // Links that are up: `degree`. With those agreed to: `standing`. With those asked for, too:
    // `links_to_be`. With the dials for links on top: `Membership::committed`. A node looks for
    // links below `min_peers`, takes ordinary ones below `automatic_max`, and ends some above
    // `max_peers`.

    pub(crate) fn degree(&self) -> usize {
        self.active().count()
    }

    /// Returns how many connections are links or may become links in a moment.
    pub(crate) fn links_to_be(&self) -> usize {
        self.0.values().filter(|conn| conn.is_link_to_be()).count()
    }

    /// Returns how many links are up or agreed to by this node. Requests that it made itself do not
    /// count: most may be refused, and must not keep it from taking an offer.
    pub(crate) fn standing(&self) -> usize {
        self.0.values().filter(|conn| matches!(conn.phase, Phase::Accepted | Phase::Active)).count()
    }

    pub(crate) fn in_phase(&self, phase: Phase) -> usize {
        self.0.values().filter(|conn| conn.phase == phase).count()
    }

    pub(crate) fn pinned(&self) -> usize {
        self.0.values().filter(|conn| conn.pinned).count()
    }

    pub(crate) fn link_to(&self, peer: &NodeId) -> Option<(LinkId, &Conn)> {
        self.iter().find(|(_, conn)| conn.peer == *peer && conn.is_link_to_be())
    }

    pub(crate) fn session_with(&self, peer: &NodeId) -> Option<LinkId> {
        let session = |(_, conn): &(LinkId, &Conn)| conn.peer == *peer && conn.phase == Phase::Session;
        self.iter().find(session).map(|(link, _)| link)
    }

    /// Returns a link, or a connection for streams, to this node: a link rather than another
    /// connection, a direct one rather than one through other nodes.
    pub(crate) fn for_streams_to(&self, peer: &NodeId) -> Option<LinkId> {
        let serves = |(_, conn): &(LinkId, &Conn)| {
            conn.peer == *peer && matches!(conn.phase, Phase::Active | Phase::StreamOnly)
        };
        let found = self.iter().filter(serves);
        found.max_by_key(|(_, conn)| (conn.is_active(), !conn.relayed)).map(|(link, _)| link)
    }

    /// Returns the oldest session if there are more than allowed.
    pub(crate) fn surplus_session(&self, config: &Config) -> Option<LinkId> {
        let sessions = || self.iter().filter(|(_, conn)| conn.phase == Phase::Session);
        let oldest = sessions().min_by_key(|(link, conn)| (conn.since, *link));
        oldest.filter(|_| sessions().count() > config.max_sessions).map(|(link, _)| link)
    }

    /// Returns the connections that were silent, or undecided, for longer than they may be.
    pub(crate) fn stale(&self, cx: &Cx<'_>) -> Vec<LinkId> {
        let stale = |conn: &Conn| match conn.phase {
            Phase::Session => conn.age(cx.now) > cx.config.session_timeout,
            Phase::Requested | Phase::Accepted => conn.age(cx.now) > cx.config.handshake_timeout,
            Phase::Active | Phase::StreamOnly => cx.now - conn.heard > cx.config.ping_timeout,
        };
        self.iter().filter(|(_, conn)| stale(conn)).map(|(link, _)| link).collect()
    }

    /// Returns the connections in this phase that nothing was sent over for the keepalive interval.
    pub(crate) fn quiet(&self, cx: &Cx<'_>, phase: Phase) -> Vec<LinkId> {
        let quiet = |conn: &Conn| conn.phase == phase && cx.now - conn.spoke > cx.config.keepalive;
        self.iter().filter(|(_, conn)| quiet(conn)).map(|(link, _)| link).collect()
    }

    // What happens to one.

    pub(crate) fn insert(&mut self, link: LinkId, conn: Conn) {
        self.0.insert(link, conn);
    }

    pub(crate) fn remove(&mut self, link: LinkId) -> Option<Conn> {
        self.0.remove(&link)
    }

    /// Notes what the other node says of itself. Returns its phase.
    pub(crate) fn introduce(&mut self, link: LinkId, record: Record, incarnation: u64) -> Option<Phase> {
        let conn = self.0.get_mut(&link)?;
        (conn.record, conn.incarnation) = (Some(record), incarnation);
        Some(conn.phase)
    }

    /// Notes a joiner's record. Returns whether it is the first on this connection.
    pub(crate) fn note_record(&mut self, link: LinkId, record: Record) -> bool {
        self.0.get_mut(&link).and_then(|conn| conn.record.replace(record)).is_none()
    }

    /// Notes that this node has asked for a place. The next time over this connection comes later
    /// and later: a contact that has no place to offer is not to be pressed.
    pub(crate) fn joined_through(&mut self, cx: &Cx<'_>, link: LinkId) {
        if let Some(conn) = self.0.get_mut(&link) {
            conn.next_join = cx.now + conn.join_wait;
            conn.join_wait = (conn.join_wait * 2).min(cx.config.refill_backoff.1);
        }
    }

    /// Notes that this node has asked for a link.
    pub(crate) fn request(&mut self, cx: &Cx<'_>, link: LinkId, priority: Priority, token: Option<u64>) {
        let Some(conn) = self.0.get_mut(&link) else { return };
        (conn.phase, conn.since) = (Phase::Requested, cx.now);
        conn.pinned |= priority == Priority::Explicit;
        if priority == Priority::Bridge {
            conn.bridge_until = cx.now + cx.config.bridge_hold;
        }
        if !matches!(conn.purpose, Purpose::Pin(_) | Purpose::Nearer(_)) {
            conn.purpose = Purpose::Link { priority, token };
        }
    }

    /// Notes that this node has agreed to a link.
    pub(crate) fn accept(&mut self, cx: &Cx<'_>, link: LinkId, priority: Priority) {
        let Some(conn) = self.0.get_mut(&link) else { return };
        (conn.phase, conn.since) = (Phase::Accepted, cx.now);
        conn.pinned |= priority == Priority::Explicit;
        conn.near = priority == Priority::Low;
        if priority == Priority::Bridge {
            conn.bridge_until = cx.now + cx.config.bridge_hold;
            conn.bridge_first = true;
        }
    }

    /// Makes the connection a link. Returns what it was made for.
    pub(crate) fn activate(&mut self, cx: &Cx<'_>, link: LinkId) -> Option<(NodeId, Purpose)> {
        let conn = self.0.get_mut(&link)?;
        (conn.phase, conn.since, conn.rtt) = (Phase::Active, cx.now, cx.now - conn.since);
        Some((conn.peer, std::mem::replace(&mut conn.purpose, Purpose::None)))
    }

    /// Makes the connection a session again: the link that this node asked for will not be made.
    /// Returns what it was for.
    pub(crate) fn withdraw(&mut self, cx: &Cx<'_>, link: LinkId) -> Option<(NodeId, Purpose)> {
        let conn = self.0.get_mut(&link)?;
        (conn.phase, conn.since, conn.pinned) = (Phase::Session, cx.now, false);
        Some((conn.peer, std::mem::replace(&mut conn.purpose, Purpose::None)))
    }

    /// Makes the connection a session again; what it was made for and whether it is pinned stay.
    pub(crate) fn step_back(&mut self, cx: &Cx<'_>, link: LinkId) {
        if let Some(conn) = self.0.get_mut(&link) {
            (conn.phase, conn.since) = (Phase::Session, cx.now);
        }
    }

    /// Lets the connection serve streams only. Returns whether there is room for it.
    pub(crate) fn serve_streams(&mut self, cx: &Cx<'_>, link: LinkId) -> bool {
        let Some(Conn { peer, dialled, .. }) = self.0.get(&link) else { return false };
        let serving = || self.0.values().filter(|conn| conn.phase == Phase::StreamOnly);
        let same = serving().filter(|conn| conn.peer == *peer).count();
        let room = if *dialled { MAX_STREAM_ONLY } else { MAX_STREAM_ONLY * 3 / 4 };
        if same >= MAX_STREAMS_TO_ONE || serving().count() >= room {
            return false;
        }
        if let Some(conn) = self.0.get_mut(&link) {
            (conn.phase, conn.since) = (Phase::StreamOnly, cx.now);
        }
        true
    }

    /// Takes a former link as a connection for streams. Returns whether there is room for it.
    pub(crate) fn keep_for_streams(&mut self, link: LinkId, conn: Conn) -> bool {
        let room = self.in_phase(Phase::StreamOnly) < MAX_STREAM_ONLY && !self.contains(link);
        if room {
            self.insert(link, Conn { phase: Phase::StreamOnly, ..conn });
        }
        room
    }

    /// Pins the link. A request that the link was made for already is returned: it is answered as
    /// well.
    pub(crate) fn pin(&mut self, link: LinkId, request: RequestId) -> Option<RequestId> {
        let conn = self.0.get_mut(&link)?;
        conn.pinned = true;
        if conn.is_active() {
            return None;
        }
        match std::mem::replace(&mut conn.purpose, Purpose::Pin(request)) {
            Purpose::Pin(earlier) => Some(earlier),
            _ => None,
        }
    }

    /// Notes that the other side's user has pinned the link.
    pub(crate) fn pinned_by_peer(&mut self, link: LinkId) {
        if let Some(conn) = self.0.get_mut(&link) {
            conn.pinned = true;
        }
    }

    pub(crate) fn set_near(&mut self, link: LinkId) {
        if let Some(conn) = self.0.get_mut(&link) {
            conn.near = true;
        }
    }

    /// Notes that a link over this connection will be the first between two partitions.
    pub(crate) fn set_bridge_first(&mut self, link: LinkId) {
        if let Some(conn) = self.0.get_mut(&link) {
            conn.bridge_first = true;
        }
    }

    /// Notes that the new link joins two partitions. Returns whether it is the first one that does.
    pub(crate) fn bridged(&mut self, cx: &Cx<'_>, link: LinkId) -> bool {
        let Some(conn) = self.0.get_mut(&link) else { return false };
        conn.bridge_until = cx.now + cx.config.bridge_hold;
        std::mem::take(&mut conn.bridge_first)
    }

    /// Returns whether the link is a fresh first bridge, whose other end tells of its partition
    /// now, for the only time.
    pub(crate) fn take_bridge_first(&mut self, link: LinkId, now: Instant) -> bool {
        self.0
            .get_mut(&link)
            .is_some_and(|conn| conn.bridge_until > now && std::mem::take(&mut conn.bridge_first))
    }

    pub(crate) fn set_degree(&mut self, link: LinkId, degree: u16) {
        if let Some(conn) = self.0.get_mut(&link) {
            conn.degree = degree.into();
        }
    }

    // Traffic.

    pub(crate) fn heard(&mut self, link: LinkId, now: Instant) {
        if let Some(conn) = self.0.get_mut(&link) {
            conn.heard = now;
        }
    }

    pub(crate) fn spoke(&mut self, link: LinkId, now: Instant) {
        if let Some(conn) = self.0.get_mut(&link) {
            conn.spoke = now;
        }
    }

    /// Counts a message that is handed to the connection. Returns whether it takes that much; for
    /// links the broadcast decides.
    pub(crate) fn count(&mut self, cx: &Cx<'_>, link: LinkId, cost: usize) -> bool {
        let Some(conn) = self.0.get_mut(&link) else { return true };
        conn.spoke = cx.now;
        if conn.is_active() {
            return true;
        }
        conn.unsent += cost;
        conn.unsent <= cx.config.control_window
    }

    pub(crate) fn sent(&mut self, link: LinkId, cost: usize) {
        if let Some(conn) = self.0.get_mut(&link) {
            conn.unsent = conn.unsent.saturating_sub(cost);
        }
    }

    /// Admits a message that makes this node work for others, or not: a limited number is served in
    /// a tick, and walks from links only. The senders of dropped ones ask again.
    pub(crate) fn admit(&mut self, link: LinkId, control: &Control) -> bool {
        let Some(conn) = self.0.get_mut(&link) else { return false };
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
        if conn.budget == 0 || (from_links_only && !conn.is_active()) {
            return false;
        }
        conn.budget -= 1;
        true
    }

    /// Admits a lookup from this neighbour, or not: each costs the whole network something.
    pub(crate) fn admit_lookup(&mut self, link: LinkId) -> bool {
        let Some(conn) = self.0.get_mut(&link) else { return false };
        if !conn.is_active() || conn.lookup_budget == 0 {
            return false;
        }
        conn.lookup_budget -= 1;
        true
    }

    /// Renews all budgets, once in each tick.
    pub(crate) fn renew_budgets(&mut self, config: &Config) {
        for conn in self.0.values_mut() {
            conn.budget = if conn.is_link_to_be() { config.budget_per_tick } else { SESSION_BUDGET };
            conn.lookup_budget = config.lookups_per_tick;
        }
    }

    /// Starts all ping time-outs anew, because this node itself had stopped: the others are heard
    /// out first (Lifeguard, 2018).
    pub(crate) fn forgive(&mut self, now: Instant) {
        self.0.values_mut().for_each(|conn| conn.heard = now);
    }
}
