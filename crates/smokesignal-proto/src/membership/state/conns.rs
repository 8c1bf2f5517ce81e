//! The connections, links or not.
//!
//! The table says what there is (links, links to be, sessions, connections for streams), and takes
//! what happens to one of them: each connection ([`Conn`]) keeps its own state, `conn.rs` says how.
//! Links that are up and links that may become so are counted apart, because each limit of
//! membership is about another of these counts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::conn::{Conn, OFFERS_TO_JOIN, OFFERS_TO_ONE, Phase, Release};
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
/// Links that the users of other nodes may pin here, at most; further ones are ordinary links. 2:
/// as many as a node may have above its maximum. Anybody can claim that a user asked for a link.
const MAX_PINNED_BY_PEERS: usize = 2;
/// A node with fewer links protects none of them: newcomers need places. 3: the default of
/// [`Config::min_peers`].
const CHOOSES_FROM: usize = 3;
/// Connections that serve streams only, at most; a new one is closed. Others may take three
/// quarters of them.
pub(crate) const MAX_STREAM_ONLY: usize = 256;

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

    /// Returns the link that this node gives up for nobody: the oldest of those that it has dialled
    /// itself, if it has three links. An attacker who dials it cannot take that one from it.
    pub(crate) fn own_choice(&self) -> Option<LinkId> {
        if self.active().count() < CHOOSES_FROM {
            return None;
        }
        let dialled = self.active().filter(|(_, conn)| conn.is_dialled() && !conn.is_near());
        dialled.min_by_key(|(link, conn)| (conn.since(), *link)).map(|(link, _)| link)
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
        self.0.values().filter(|conn| matches!(conn.phase(), Phase::Accepted | Phase::Active)).count()
    }

    pub(crate) fn in_phase(&self, phase: Phase) -> usize {
        self.0.values().filter(|conn| conn.phase() == phase).count()
    }

    pub(crate) fn pinned(&self) -> usize {
        self.0.values().filter(|conn| conn.is_pinned()).count()
    }

    pub(crate) fn link_to(&self, peer: &NodeId) -> Option<(LinkId, &Conn)> {
        self.iter().find(|(_, conn)| conn.peer() == *peer && conn.is_link_to_be())
    }

    pub(crate) fn session_with(&self, peer: &NodeId) -> Option<LinkId> {
        let session = |(_, conn): &(LinkId, &Conn)| conn.peer() == *peer && conn.phase() == Phase::Session;
        self.iter().find(session).map(|(link, _)| link)
    }

    /// Returns a connection that this node has dialled to a seed and that has not become a link.
    pub(crate) fn contact_with(&self, seed: usize) -> Option<LinkId> {
        let contact = |(_, conn): &(LinkId, &Conn)| {
            *conn.purpose() == Purpose::Contact(seed) && conn.phase() == Phase::Session
        };
        self.iter().find(contact).map(|(link, _)| link)
    }

    /// Returns a link, or a connection for streams, to this node: a link rather than another
    /// connection, a direct one rather than one through other nodes.
    pub(crate) fn for_streams_to(&self, peer: &NodeId) -> Option<LinkId> {
        let serves = |(_, conn): &(LinkId, &Conn)| {
            conn.peer() == *peer && matches!(conn.phase(), Phase::Active | Phase::StreamOnly)
        };
        let found = self.iter().filter(serves);
        found.max_by_key(|(_, conn)| (conn.is_active(), !conn.is_relayed())).map(|(link, _)| link)
    }

    /// Returns the oldest session if there are more than allowed.
    pub(crate) fn surplus_session(&self, config: &Config) -> Option<LinkId> {
        let sessions = || self.iter().filter(|(_, conn)| conn.phase() == Phase::Session);
        let oldest = sessions().min_by_key(|(link, conn)| (conn.since(), *link));
        oldest.filter(|_| sessions().count() > config.max_sessions).map(|(link, _)| link)
    }

    /// Returns the connections that were silent, or undecided, for longer than they may be.
    pub(crate) fn stale(&self, cx: &Cx<'_>) -> Vec<LinkId> {
        self.iter().filter(|(_, conn)| conn.is_stale(cx)).map(|(link, _)| link).collect()
    }

    /// Returns the connections in this phase that nothing was sent over for the keepalive interval.
    pub(crate) fn idle(&self, cx: &Cx<'_>, phase: Phase) -> Vec<LinkId> {
        let idle = |conn: &Conn| conn.phase() == phase && conn.is_idle(cx);
        self.iter().filter(|(_, conn)| idle(conn)).map(|(link, _)| link).collect()
    }

    // What happens to one.

    pub(crate) fn insert(&mut self, link: LinkId, conn: Conn) {
        self.0.insert(link, conn);
    }

    pub(crate) fn remove(&mut self, link: LinkId) -> Option<Conn> {
        self.0.remove(&link)
    }

    fn get_mut(&mut self, link: LinkId) -> Option<&mut Conn> {
        self.0.get_mut(&link)
    }

    /// Notes what the other node says of itself. Returns its phase.
    pub(crate) fn introduce(&mut self, link: LinkId, record: Record, incarnation: u64) -> Option<Phase> {
        let conn = self.get_mut(link)?;
        conn.introduce(record, incarnation);
        Some(conn.phase())
    }

    /// Notes a joiner's record. Returns whether it is the first on this connection.
    pub(crate) fn note_record(&mut self, link: LinkId, record: Record) -> bool {
        self.get_mut(link).and_then(|conn| conn.note_record(record)).is_none()
    }

    /// Notes that this node has asked for a place. The next time over this connection comes later
    /// and later: a contact that has no place to offer is not to be pressed.
    pub(crate) fn joined_through(&mut self, cx: &Cx<'_>, link: LinkId) {
        if let Some(conn) = self.get_mut(link) {
            conn.note_join(cx);
            conn.expect_offers(OFFERS_TO_JOIN);
        }
    }

    /// Notes that this node has sent a walk of its own over this link.
    pub(crate) fn walked_through(&mut self, link: LinkId) {
        if let Some(conn) = self.get_mut(link) {
            conn.expect_offers(OFFERS_TO_ONE);
        }
    }

    /// Takes an offer. Returns whether this node has asked for one over this connection.
    pub(crate) fn take_offer(&mut self, link: LinkId) -> bool {
        self.get_mut(link).is_some_and(Conn::take_offer)
    }

    /// Notes that this node has asked for a link.
    pub(crate) fn request(&mut self, cx: &Cx<'_>, link: LinkId, priority: Priority, token: Option<u64>) {
        if let Some(conn) = self.get_mut(link) {
            conn.request(cx, priority, token);
        }
    }

    /// Notes that this node has agreed to a link.
    pub(crate) fn accept(&mut self, cx: &Cx<'_>, link: LinkId, priority: Priority) {
        if let Some(conn) = self.get_mut(link) {
            conn.accept(cx, priority);
        }
        if priority == Priority::Explicit {
            self.pinned_by_peer(link);
        }
    }

    /// Makes the connection a link. Returns what it was made for.
    pub(crate) fn activate(&mut self, cx: &Cx<'_>, link: LinkId, sent: u64) -> Option<(NodeId, Purpose)> {
        Some(self.get_mut(link)?.activate(cx.now, sent))
    }

    /// Makes the connection a session again: the link that this node asked for will not be made.
    /// Returns what it was for.
    pub(crate) fn withdraw(&mut self, cx: &Cx<'_>, link: LinkId) -> Option<(NodeId, Purpose)> {
        Some(self.get_mut(link)?.withdraw(cx.now))
    }

    /// Makes the connection a session again; what it was made for and whether it is pinned stay.
    pub(crate) fn step_back(&mut self, cx: &Cx<'_>, link: LinkId) {
        if let Some(conn) = self.get_mut(link) {
            conn.step_back(cx.now);
        }
    }

    /// Lets the connection serve streams only. Returns whether there is room for it.
    pub(crate) fn serve_streams(&mut self, cx: &Cx<'_>, link: LinkId) -> bool {
        let Some(conn) = self.get(link) else { return false };
        let serving = || self.0.values().filter(|conn| conn.phase() == Phase::StreamOnly);
        let same = serving().filter(|other| other.peer() == conn.peer()).count();
        let room = if conn.is_dialled() { MAX_STREAM_ONLY } else { MAX_STREAM_ONLY * 3 / 4 };
        if same >= MAX_STREAMS_TO_ONE || serving().count() >= room {
            return false;
        }
        if let Some(conn) = self.get_mut(link) {
            conn.serve_streams(cx.now);
        }
        true
    }

    /// Takes a former link as a connection for streams. Returns whether there is room for it.
    pub(crate) fn keep_for_streams(&mut self, link: LinkId, conn: Conn) -> bool {
        let room = self.in_phase(Phase::StreamOnly) < MAX_STREAM_ONLY && !self.contains(link);
        if room {
            self.insert(link, conn.for_streams_only());
        }
        room
    }

    /// Pins the link. A request that the link was made for already is returned: it is answered as
    /// well.
    pub(crate) fn pin(&mut self, link: LinkId, request: RequestId) -> Option<RequestId> {
        self.get_mut(link)?.pin_for(request)
    }

    /// Notes that the other side's user has pinned the link, unless others have pinned enough.
    pub(crate) fn pinned_by_peer(&mut self, link: LinkId) {
        let pinned = self.0.values().filter(|conn| conn.is_pinned_by_peer()).count();
        if let Some(conn) = self.get_mut(link) {
            conn.pin_by_peer(pinned < MAX_PINNED_BY_PEERS);
        }
    }

    /// Returns the newest link that another node's user wants beyond what is heeded.
    pub(crate) fn newest_wish_in_vain(&self) -> Option<LinkId> {
        let vain = self.active().filter(|(_, conn)| conn.is_wish_in_vain());
        vain.max_by_key(|(link, conn)| (conn.since(), *link)).map(|(link, _)| link)
    }

    /// Notes over which links the count of nodes travels.
    pub(crate) fn note_reporting(&mut self, reports: impl Fn(LinkId) -> bool) {
        self.0.iter_mut().for_each(|(link, conn)| conn.note_reporting(reports(*link)));
    }

    /// Notes whether a random link may be exchanged for a near one.
    pub(crate) fn set_release(&mut self, link: LinkId, release: Release) {
        if let Some(conn) = self.0.get_mut(&link) {
            conn.set_release(release);
        }
    }

    /// Notes that the link was chosen because it is near.
    pub(crate) fn set_near(&mut self, link: LinkId) {
        if let Some(conn) = self.get_mut(link) {
            conn.note_near();
        }
    }

    /// Notes that a link over this connection will be the first between two partitions.
    pub(crate) fn set_bridge_first(&mut self, link: LinkId) {
        if let Some(conn) = self.get_mut(link) {
            conn.note_first_bridge();
        }
    }

    /// Notes that the new link joins two partitions. Returns whether it is the first one that does.
    pub(crate) fn bridged(&mut self, cx: &Cx<'_>, link: LinkId) -> bool {
        self.get_mut(link).is_some_and(|conn| conn.bridge(cx))
    }

    /// Notes that the link joins two partitions. Returns whether it is a new one, of which that was
    /// not known yet.
    pub(crate) fn meets(&mut self, cx: &Cx<'_>, link: LinkId, within: Duration) -> bool {
        self.get_mut(link).is_some_and(|conn| conn.meets(cx, within))
    }

    /// Returns whether the link is a fresh first bridge, whose other end tells of its partition
    /// now, for the only time.
    pub(crate) fn take_bridge_first(&mut self, link: LinkId, now: Instant) -> bool {
        self.get_mut(link).is_some_and(|conn| conn.take_first_bridge(now))
    }

    /// Notes how many links the other node has.
    pub(crate) fn set_degree(&mut self, link: LinkId, degree: u16) {
        if let Some(conn) = self.get_mut(link) {
            conn.note_degree(degree);
        }
    }

    // Traffic.

    pub(crate) fn heard(&mut self, link: LinkId, now: Instant) {
        if let Some(conn) = self.get_mut(link) {
            conn.heard(now);
        }
    }

    pub(crate) fn spoke(&mut self, link: LinkId, now: Instant) {
        if let Some(conn) = self.get_mut(link) {
            conn.spoke(now);
        }
    }

    /// Counts a message that is handed to the connection. Returns whether it takes that much; for
    /// links the broadcast decides.
    pub(crate) fn count(&mut self, cx: &Cx<'_>, link: LinkId, cost: usize) -> bool {
        self.get_mut(link).is_none_or(|conn| conn.count(cx, cost))
    }

    pub(crate) fn sent(&mut self, link: LinkId, cost: usize) {
        if let Some(conn) = self.get_mut(link) {
            conn.sent(cost);
        }
    }

    /// Admits a message that makes this node work for others, or not: a limited number is served in
    /// a tick, and walks from links only. The senders of dropped ones ask again.
    pub(crate) fn admit(&mut self, link: LinkId, control: &Control) -> bool {
        self.get_mut(link).is_some_and(|conn| conn.admit(control))
    }

    /// Admits a lookup from this neighbour within its share, or not.
    pub(crate) fn admit_lookup(&mut self, link: LinkId) -> bool {
        self.get_mut(link).is_some_and(Conn::admit_lookup)
    }

    /// Renews all budgets, once in each tick. Returns how many lookups the neighbours could have
    /// sent besides.
    pub(crate) fn renew_budgets(&mut self, config: &Config) -> u32 {
        let links = u32::try_from(self.active().count()).unwrap_or(u32::MAX).max(1);
        let share = (config.lookups_per_tick / links).max(1);
        let unused = self.0.values().map(Conn::unused_lookups).sum();
        self.0.values_mut().for_each(|conn| conn.renew_budget(config, share));
        unused
    }

    /// Starts all ping time-outs anew, because this node itself had stopped: the others are heard
    /// out first (Lifeguard, 2018).
    pub(crate) fn forgive(&mut self, now: Instant) {
        self.0.values_mut().for_each(|conn| conn.heard(now));
    }
}
