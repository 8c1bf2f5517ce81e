//! One connection, and the steps by which it becomes a link.
//!
//! A connection begins as a session. `request` (this node asked for a link) or `accept` (it agreed
//! to one) lead to `activate`, after which the link counts on both sides; `withdraw` leads back. A
//! connection for streams leaves this path by `serve_streams` and never becomes a link.
//!
//! The fields that serve one rule lie together in a part: what the other node says of itself
//! (`Remote`), whether the link joins partitions (`Bridge`), how much work it may cause (`Budget`),
//! when this node asks it for a place again (`JoinBackoff`), and the traffic (`Traffic`).

use std::time::Duration;

use super::dials::Purpose;
use crate::config::Config;
use crate::context::Cx;
use crate::features::{Features, OtherEnd};
use crate::id::NodeId;
use crate::ids::RequestId;
use crate::message::{Control, Priority};
use crate::record::Record;
use crate::time::Instant;

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

/// Whether a random link may be exchanged for a near one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// The other end was not asked.
    Unknown,
    /// Neither end keeps it.
    Granted,
    /// The other end keeps it.
    Refused,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn {
    peer: NodeId,
    /// The features that both ends have offered.
    features: Features,
    dialled: bool,
    /// Its bytes go through other nodes.
    relayed: bool,
    phase: Phase,
    since: Instant,
    /// The purpose of the connection, and so what follows once it is up.
    purpose: Purpose,
    /// Whether this node's user asked for the link: it is never ended for the sake of others.
    pinned: bool,
    /// Whether the other side's user has pinned the link, and whether that is heeded: it is for a
    /// few links.
    wished: bool,
    pinned_by_peer: bool,
    /// The link was chosen because it is near.
    near: bool,
    /// Whether a random link may be exchanged for a near one.
    release: Release,
    /// Whether the count of nodes travels over the link.
    reports: bool,
    /// From asking for the link, or agreeing to it, to the answer.
    rtt: Duration,
    /// The time of the neighbour's clock when it sent what made the link, in milliseconds.
    peer_clock: u64,
    remote: Remote,
    bridge: Bridge,
    budget: Budget,
    joins: JoinBackoff,
    /// How many offers this node has asked for over the connection and not got.
    offers: u8,
    traffic: Traffic,
}

/// What the other node says of itself.
#[derive(Debug, Default)]
struct Remote {
    record: Option<Record>,
    incarnation: u64,
    /// The number of its links.
    degree: usize,
}

/// What is known of a link that joins two partitions.
#[derive(Debug, Default)]
struct Bridge {
    /// Until then the link is not ended for the sake of others.
    held_until: Instant,
    /// It is the first one between the two: its ends see to it that there are more.
    first: bool,
    /// Whether a beat of another partition came over the new link, which nobody had asked for as a
    /// bridge.
    met: bool,
}

impl Bridge {
    fn hold(&mut self, cx: &Cx<'_>) {
        self.held_until = cx.now + cx.config.bridge_hold;
    }

    fn is_held(&self, now: Instant) -> bool {
        self.held_until > now
    }

    /// Returns whether it is the first bridge, the first time it is asked.
    fn take_first(&mut self) -> bool {
        std::mem::take(&mut self.first)
    }
}

/// How many requests of the other node are served until the next tick.
#[derive(Debug)]
struct Budget {
    /// Walks, joins and the like that are served.
    messages: u32,
    /// Its share of the lookups.
    lookups: u32,
}

impl Budget {
    const fn new(messages: u32, lookups: u32) -> Self {
        Self { messages, lookups }
    }

    fn take_message(&mut self) -> bool {
        let left = self.messages.checked_sub(1);
        self.messages = left.unwrap_or(0);
        left.is_some()
    }

    fn take_lookup(&mut self) -> bool {
        let left = self.lookups.checked_sub(1);
        self.lookups = left.unwrap_or(0);
        left.is_some()
    }
}

/// Offers that answer one walk, or one request for a link. 2: a place, and one after a split that
/// was refused.
pub(crate) const OFFERS_TO_ONE: u8 = 2;
/// Offers that answer one Join: eight walks, and the contact's own.
pub(crate) const OFFERS_TO_JOIN: u8 = 9;
/// Offers that may be outstanding over one connection. 32: three Joins, and a few walks.
const MAX_OFFERS: u8 = 32;

/// When an isolated node asks for a place over this connection again, and the wait after that.
#[derive(Debug)]
struct JoinBackoff {
    next: Instant,
    wait: Duration,
}

/// What went over the connection, and when.
#[derive(Debug)]
struct Traffic {
    /// Cost of what was sent and not reported as written. For links the broadcast keeps account.
    unsent: usize,
    heard: Instant,
    spoke: Instant,
}

impl Conn {
    pub(crate) fn new(cx: &Cx<'_>, other_end: OtherEnd, dialled: bool, purpose: Purpose) -> Self {
        Self {
            peer: other_end.id,
            features: other_end.features,
            dialled,
            relayed: false,
            phase: Phase::Session,
            since: cx.now,
            purpose,
            pinned: false,
            wished: false,
            pinned_by_peer: false,
            near: false,
            release: Release::Unknown,
            reports: false,
            rtt: Duration::ZERO,
            peer_clock: 0,
            remote: Remote::default(),
            bridge: Bridge::default(),
            budget: Budget::new(cx.config.budget_per_tick, cx.config.lookups_per_tick.div_ceil(8)),
            joins: JoinBackoff { next: cx.now, wait: cx.config.refill_backoff.0 },
            offers: 0,
            traffic: Traffic { unsent: 0, heard: cx.now, spoke: cx.now },
        }
    }

    /// The same connection, through other nodes.
    pub(crate) fn through_others(self) -> Self {
        Self { relayed: true, ..self }
    }

    // What it is.

    pub(crate) fn peer(&self) -> NodeId {
        self.peer
    }

    pub(crate) fn features(&self) -> Features {
        self.features
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

    pub(crate) fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned || self.pinned_by_peer
    }

    /// Returns whether the other side's user wants the link, and nothing keeps this node from
    /// ending it.
    pub(super) fn is_wish_in_vain(&self) -> bool {
        self.wished && !self.is_pinned()
    }

    pub(super) fn is_pinned_by_peer(&self) -> bool {
        self.pinned_by_peer
    }

    pub(crate) fn is_near(&self) -> bool {
        self.near
    }

    pub(crate) fn carries_reports(&self) -> bool {
        self.reports
    }

    pub(super) fn note_reporting(&mut self, reports: bool) {
        self.reports = reports;
    }

    pub(crate) fn release(&self) -> Release {
        self.release
    }

    pub(super) fn set_release(&mut self, release: Release) {
        self.release = release;
    }

    pub(crate) fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Returns the time of the neighbour's clock when it sent what made the link, in milliseconds.
    pub(crate) fn peer_clock(&self) -> u64 {
        self.peer_clock
    }

    pub(crate) fn record(&self) -> Option<&Record> {
        self.remote.record.as_ref()
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.remote.incarnation
    }

    /// Returns the number of links of the other node, by its own account.
    pub(crate) fn degree(&self) -> usize {
        self.remote.degree
    }

    /// Returns whether the link may be ended for the sake of others.
    pub(crate) fn is_spare(&self, now: Instant) -> bool {
        !self.is_pinned() && !self.bridge.is_held(now)
    }

    /// Returns whether this node may ask for a place over the connection, if it is isolated.
    pub(crate) fn may_join(&self, now: Instant) -> bool {
        self.joins.next <= now
    }

    /// Returns whether the connection was silent, or undecided, for longer than it may be.
    pub(super) fn is_stale(&self, cx: &Cx<'_>) -> bool {
        match self.phase {
            Phase::Session => self.age(cx.now) > cx.config.session_timeout,
            Phase::Requested | Phase::Accepted => self.age(cx.now) > cx.config.handshake_timeout,
            Phase::Active | Phase::StreamOnly => self.silence(cx.now) > cx.config.ping_timeout,
        }
    }

    /// Returns whether nothing was sent over the connection for the keepalive interval.
    pub(super) fn is_idle(&self, cx: &Cx<'_>) -> bool {
        cx.now - self.traffic.spoke > cx.config.keepalive
    }

    // The steps to a link, and back. `Conns` says what each is for.

    fn enter(&mut self, phase: Phase, now: Instant) {
        (self.phase, self.since) = (phase, now);
    }

    pub(super) fn request(&mut self, cx: &Cx<'_>, priority: Priority, token: Option<u64>) {
        self.expect_offers(OFFERS_TO_ONE);
        self.enter(Phase::Requested, cx.now);
        self.pinned |= priority == Priority::Explicit;
        if priority == Priority::Bridge {
            self.bridge.hold(cx);
        }
        if !matches!(self.purpose, Purpose::Pin(_) | Purpose::Nearer) {
            self.purpose = Purpose::Link { priority, token };
        }
    }

    pub(super) fn accept(&mut self, cx: &Cx<'_>, priority: Priority) {
        self.enter(Phase::Accepted, cx.now);
        self.near = priority == Priority::Low;
        if priority == Priority::Bridge {
            self.bridge.hold(cx);
            self.bridge.first = true;
        }
    }

    pub(super) fn activate(&mut self, now: Instant, sent: u64) -> (NodeId, Purpose) {
        (self.rtt, self.peer_clock) = (self.age(now), sent);
        self.enter(Phase::Active, now);
        (self.peer, self.take_purpose())
    }

    pub(super) fn withdraw(&mut self, now: Instant) -> (NodeId, Purpose) {
        self.step_back(now);
        (self.pinned, self.wished, self.pinned_by_peer) = (false, false, false);
        (self.peer, self.take_purpose())
    }

    pub(super) fn step_back(&mut self, now: Instant) {
        self.enter(Phase::Session, now);
    }

    pub(super) fn serve_streams(&mut self, now: Instant) {
        self.enter(Phase::StreamOnly, now);
    }

    /// The same connection, which was a link and serves streams from now on.
    pub(super) fn for_streams_only(self) -> Self {
        Self { phase: Phase::StreamOnly, ..self }
    }

    fn take_purpose(&mut self) -> Purpose {
        std::mem::replace(&mut self.purpose, Purpose::None)
    }

    // What becomes known of it.

    pub(super) fn introduce(&mut self, record: Record, incarnation: u64) {
        (self.remote.record, self.remote.incarnation) = (Some(record), incarnation);
    }

    pub(super) fn note_record(&mut self, record: Record) -> Option<Record> {
        self.remote.record.replace(record)
    }

    pub(super) fn note_degree(&mut self, degree: u16) {
        self.remote.degree = degree.into();
    }

    /// Notes that this node has asked for something that is answered by up to `count` offers.
    pub(super) fn expect_offers(&mut self, count: u8) {
        self.offers = self.offers.saturating_add(count).min(MAX_OFFERS);
    }

    /// Takes an offer. Returns whether this node has asked for it.
    pub(super) fn take_offer(&mut self) -> bool {
        let left = self.offers.checked_sub(1);
        self.offers = left.unwrap_or(0);
        left.is_some()
    }

    pub(super) fn note_join(&mut self, cx: &Cx<'_>) {
        let JoinBackoff { next, wait } = &mut self.joins;
        *next = cx.now + *wait;
        *wait = (*wait * 2).min(cx.config.refill_backoff.1);
    }

    /// Pins the link for this request. Returns the request that it was to be made for already.
    pub(super) fn pin_for(&mut self, request: RequestId) -> Option<RequestId> {
        self.pinned = true;
        if self.is_active() {
            return None;
        }
        match std::mem::replace(&mut self.purpose, Purpose::Pin(request)) {
            Purpose::Pin(earlier) => Some(earlier),
            _ => None,
        }
    }

    pub(super) fn pin_by_peer(&mut self, heeded: bool) {
        self.wished = true;
        self.pinned_by_peer |= heeded;
    }

    pub(super) fn note_near(&mut self) {
        self.near = true;
    }

    pub(super) fn note_first_bridge(&mut self) {
        self.bridge.first = true;
    }

    pub(super) fn bridge(&mut self, cx: &Cx<'_>) -> bool {
        self.bridge.hold(cx);
        self.bridge.take_first()
    }

    /// Returns whether the link joins two partitions, or has joined them lately.
    pub(in crate::membership) fn is_bridge(&self, now: Instant) -> bool {
        self.bridge.is_held(now) || self.bridge.met
    }

    pub(super) fn meets(&mut self, cx: &Cx<'_>, within: Duration) -> bool {
        let is_new = self.is_active() && self.age(cx.now) < within && !self.is_bridge(cx.now);
        self.bridge.met |= is_new;
        is_new
    }

    pub(super) fn take_first_bridge(&mut self, now: Instant) -> bool {
        self.is_bridge(now) && self.bridge.take_first()
    }

    // Traffic.

    pub(super) fn heard(&mut self, now: Instant) {
        self.traffic.heard = now;
    }

    /// Returns for how long the other side has sent nothing.
    pub(in crate::membership) fn silence(&self, now: Instant) -> Duration {
        now - self.traffic.heard
    }

    pub(super) fn spoke(&mut self, now: Instant) {
        self.traffic.spoke = now;
    }

    pub(super) fn count(&mut self, cx: &Cx<'_>, cost: usize) -> bool {
        self.traffic.spoke = cx.now;
        if self.is_active() {
            return true;
        }
        self.traffic.unsent += cost;
        self.traffic.unsent <= cx.config.control_window
    }

    pub(super) fn sent(&mut self, cost: usize) {
        self.traffic.unsent = self.traffic.unsent.saturating_sub(cost);
    }

    pub(super) fn admit(&mut self, control: &Control) -> bool {
        let from_links_only = match control {
            Control::Walk { .. }
            | Control::Shuffle { .. }
            | Control::SplitPrepare { .. }
            | Control::Bridge { .. }
            | Control::Sought { .. }
            | Control::Turn { .. }
            | Control::Move
            | Control::MoveAnswer { .. } => true,
            Control::Join { .. } | Control::Neighbor { .. } | Control::Probe => false,
            _ => return true,
        };
        (self.is_active() || !from_links_only) && self.budget.take_message()
    }

    pub(super) fn admit_lookup(&mut self) -> bool {
        self.is_active() && self.budget.take_lookup()
    }

    /// Returns how many lookups of its share the other side has left unused.
    pub(super) fn unused_lookups(&self) -> u32 {
        if self.is_active() { self.budget.lookups } else { 0 }
    }

    pub(super) fn renew_budget(&mut self, config: &Config, lookups: u32) {
        let messages = if self.is_link_to_be() { config.budget_per_tick } else { SESSION_BUDGET };
        self.budget = Budget::new(messages, lookups);
    }
}
