//! Upkeep on a jittered tick: time-outs, keepalives, more links where there are too few, fewer
//! where there are too many, probes and shuffles.

use std::time::Duration;

use super::Membership;
use super::state::conn::{Conn, Phase};
use super::state::ticker::Tick;
use crate::context::Cx;
use crate::ids::LinkId;
use crate::message::{Control, DisconnectReason, Priority};
use crate::output::{CloseReason, DialFailure, Fact};
use crate::record::Record;

impl Membership {
    /// Runs the tick if it is due. Returns whether this node itself had stopped for a while.
    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) -> bool {
        if !self.ticker.is_due(cx.now) {
            return false;
        }
        let Tick { elapsed, slept } = self.ticker.begin(cx);
        if slept {
            self.conns.forgive(cx.now);
            self.dials.forgive(cx.now);
        }
        let unused = self.conns.renew_budgets(cx.config);
        self.admission.renew_lookups(unused, cx.config);
        self.admission.tick(elapsed, cx.now, cx.config);
        self.expire(cx);
        self.expire_crossed(cx);
        self.keep_alive(cx);
        if !cx.me.is_leaving() {
            self.drop_surplus(cx);
            self.seek_links(cx);
            self.probe_in_doubt(cx);
            self.retry_lost(cx);
            self.optimise(cx);
            self.shuffle(cx);
        }
        slept
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.walks.expire(cx.now);
        self.splits.expire(cx.now);
        // The driver answers every dial; this is for one that does not.
        for dial in self.dials.overdue(cx) {
            self.dial_failed(cx, dial, DialFailure::Unanswered);
        }
        for link in self.conns.stale(cx) {
            let used = |conn: &Conn| matches!(conn.phase(), Phase::Active | Phase::StreamOnly);
            let used = self.conns.get(link).is_some_and(used);
            if self.conns.is_active(link) {
                self.probing.fell_silent();
            }
            let reason = if used { CloseReason::Silent } else { CloseReason::Unused };
            self.disconnected(cx, link, reason);
            cx.out.close(link, reason);
        }
    }

    fn keep_alive(&mut self, cx: &mut Cx<'_>) {
        for link in self.conns.idle(cx, Phase::Active) {
            cx.out.note(Fact::KeepAlive(link));
        }
        for link in self.conns.idle(cx, Phase::StreamOnly) {
            cx.out.send(link, Control::Ping { degree: 0, child: None, subtree: 0, seeds: Vec::new() });
        }
    }

    /// Two partitions have merged: mixes what their nodes know.
    pub(crate) fn merged(&mut self, cx: &mut Cx<'_>) {
        self.shuffle.spread(cx);
    }

    /// Ends a link too many, such as one left by a split that lapsed half done: the one whose other
    /// end can best do without.
    fn drop_surplus(&mut self, cx: &mut Cx<'_>) {
        let pinned = self.conns.active().filter(|(_, conn)| conn.is_pinned()).count();
        if self.degree() <= cx.config.max_peers.max(pinned) {
            return self.refill.no_surplus();
        }
        let waited = self.refill.surplus_for(cx.now);
        if waited < cx.config.split_timeout {
            return;
        }
        if let Some(link) = self.conns.newest_wish_in_vain() {
            return self.say_goodbye(cx, link, DisconnectReason::Surplus);
        }
        // There is no hurry, and several neighbours of one node must not all end their links in the
        // same moment.
        let min_peers = cx.config.min_peers;
        let link = match self.spare(cx, |conn| conn.degree() > min_peers) {
            None if waited > 2 * cx.config.split_timeout && cx.rng.below(8) == 0 => self.spare(cx, |_| true),
            link => link,
        };
        if let Some(link) = link {
            self.say_goodbye(cx, link, DisconnectReason::Surplus);
        }
    }

    /// Looks for other sources if `claimant`, and all other neighbours, do not bring what they
    /// claim to have. They may be busy, or hostile, and all of them: then there have to be more
    /// links, and in the end others.
    pub(crate) fn seek_sources(&mut self, cx: &mut Cx<'_>, claimant: Option<LinkId>) {
        let Some(link) = claimant else { return self.refill.served() };
        let full = self.committed() >= cx.config.automatic_max();
        let free = |conn: &Conn| conn.is_active() && conn.is_spare(cx.now);
        if self.refill.unserved(full, cx.now) && self.conns.get(link).is_some_and(free) {
            self.refill.replaced(cx.now);
            self.say_goodbye(cx, link, DisconnectReason::Surplus);
        }
    }

    fn seek_links(&mut self, cx: &mut Cx<'_>) {
        for ix in 0..self.seeds.len() {
            let degree = self.degree();
            if self.seeds.is_due(cx, ix, degree) && !self.dials.is_dialling_seed(ix) {
                self.join_seed(cx, ix);
            }
        }
        if self.degree() == 0 {
            self.try_contacts(cx);
        }
        let enough = if self.refill.is_unserved() { cx.config.automatic_max() } else { cx.config.min_peers };
        if self.committed() >= enough {
            return;
        }
        let Some(wait) = self.refill.take_turn(cx) else { return };
        self.ask_known_nodes(cx);
        self.ask_neighbours(cx);
        if self.degree() > 0 && wait > Duration::from_secs(2) {
            self.try_contacts(cx); // No reachable node helps: there may be others behind the seeds.
        }
    }

    fn ask_known_nodes(&mut self, cx: &mut Cx<'_>) {
        let missing = cx.config.min_peers.saturating_sub(self.committed()).max(1);
        let room = self.dials.room(cx.config);
        let alone = self.degree() == 0;
        let count = if alone || self.probing.is_doubtful() { room } else { missing.min(room) };
        let priority = if alone { Priority::High } else { Priority::Need };
        let me = cx.me;
        let passive = self.known.passive();
        let fits = |record: &Record| !self.is_known_link(me, &record.id) && !self.seeds.is_missing(record);
        let known = passive.candidates(count, cx.now, cx.rng, fits);
        known.iter().for_each(|record| self.dial_record(cx, record, priority, None));
    }

    /// Sends a walk on this node's own behalf; the offers come back over the neighbour it left by.
    pub(super) fn ask_neighbours(&mut self, cx: &mut Cx<'_>) {
        let Some(link) = self.any_neighbour(cx) else { return };
        let (walk, record) = (cx.rng.next(), self.known.own_record());
        self.conns.walked_through(link);
        cx.out.send(link, Control::Walk { walk, ttl: cx.config.walk_ttl, record });
    }
}
