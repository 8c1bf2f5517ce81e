//! What [`Node`] does to reach other nodes for streams: it performs the lookups' actions and passes
//! on the queries of others.

use super::Node;
use crate::features::OtherEnd;
use crate::id::NodeId;
use crate::ids::{LinkId, RequestId};
use crate::lookup::{Action, Find, Lookups, Step};
use crate::message::Control;
use crate::output::{Output, Relay, Unreachable};
use crate::record::Record;
use crate::time::Instant;

impl Node {
    /// Asks for a connection to this node, for streams. Answered by [`Output::Reached`]: with the
    /// link to a neighbour, with a connection that exists or was made for streams, or with why
    /// there is none: after `find_timeout` if no node has answered, and three times that at the
    /// latest.
    pub fn reach(&mut self, request: RequestId, id: NodeId, now: Instant) {
        if id == self.id() {
            return self.unreachable(vec![request], Unreachable::Myself);
        }
        if let Some(link) = self.membership.link_for_streams(&id) {
            return self.out.push_back(Output::Reached { request, outcome: Ok(link) });
        }
        match self.lookups.begin(&mut self.context.at(now), id, request) {
            Ok(action) => self.take_action(id, action, now),
            Err(why) => self.unreachable(vec![request], why),
        }
        self.perform_all(now);
    }

    /// Closes a connection that no stream has used for a while, unless it is a link to a neighbour.
    pub fn close_streams(&mut self, link: LinkId, now: Instant) {
        self.membership.close_streams(&mut self.context.at(now), link);
        self.perform_all(now);
    }

    /// Lets a demoted link (see [`Output::Demoted`]) that streams use go on for them alone. Each
    /// side does so by itself. Returns whether there is room for it; if not, close the connection.
    pub fn keep_for_streams(
        &mut self,
        link: LinkId,
        peer: impl Into<OtherEnd>,
        dialled: bool,
        now: Instant,
    ) -> bool {
        self.membership.keep_for_streams(&self.context.at(now), link, peer.into(), dialled)
    }

    /// Says what to do with a connection that the neighbour at `link` wants relayed to `target`,
    /// which the lookup `query` has found.
    pub fn relay(&self, link: LinkId, query: u64, target: &NodeId) -> Relay {
        if !self.membership.is_active(link) {
            return Relay::Refuse;
        }
        if *target == self.id() {
            return Relay::Accept;
        }
        let next_hop = self.queries.next_hop(query, target, link);
        next_hop.filter(|link| self.membership.is_active(*link)).map_or(Relay::Refuse, Relay::Forward)
    }

    pub(super) fn take_action(&mut self, id: NodeId, action: Option<Action>, now: Instant) {
        let cx = &mut self.context.at(now);
        let begun = match action {
            None => return,
            Some(Action::Fail(requests, why)) => return self.unreachable(requests, why),
            Some(Action::Step(Step::DialKnown)) => {
                let dials = cx.config.dial_for_streams;
                let address = if dials { self.membership.known_address(&id) } else { None };
                let action = self.lookups.known_address(cx, &id, address);
                return self.take_action(id, action, now);
            }
            Some(Action::Step(Step::Flood { query, except })) => {
                let find = Find { query, target: id, ttl: cx.config.find_ttl };
                return find.flood(cx, self.membership.peers(), |link| !except.contains(&link));
            }
            Some(Action::Step(Step::Dial(address))) => self.membership.dial_for_streams(cx, id, address),
            Some(Action::Step(Step::Relay { via, query })) => {
                self.membership.dial_relayed(cx, id, via, query)
            }
        };
        if begun {
            self.lookups.begun(&id);
        }
    }

    pub(super) fn on_find(&mut self, link: LinkId, find: Find, now: Instant) {
        let cx = &mut self.context.at(now);
        let admitted = self.membership.admit_lookup(link) && !self.lookups.is_own(find.query);
        if admitted && self.queries.on_find(cx, link, find, self.membership.peers()) {
            let (query, record) = (find.query, self.membership.own_record());
            cx.out.send(link, Control::Located { query, record });
        }
    }

    pub(super) fn on_located(&mut self, link: LinkId, query: u64, record: Record, now: Instant) {
        if !self.membership.is_active(link) {
            return;
        }
        let cx = &mut self.context.at(now);
        let Some(record) = self.queries.pass_back(cx, link, query, record) else { return };
        if self.lookups.awaits(&record.id, link, query) {
            self.membership.remember(cx, &record);
            let address = self.membership.address_of(&record).filter(|_| cx.config.dial_for_streams);
            let action = self.lookups.located(cx, &record.id, (link, query), address);
            self.take_action(record.id, action, now);
        }
    }

    pub(super) fn not_reached(&mut self, id: NodeId, relayed: bool, now: Instant) {
        let action = self.lookups.dial_failed(&mut self.context.at(now), &id, relayed);
        self.take_action(id, action, now);
    }

    /// There is a connection that streams may use.
    pub(super) fn reached(&mut self, link: LinkId, id: &NodeId) {
        for request in self.lookups.end(id) {
            self.out.push_back(Output::Reached { request, outcome: Ok(link) });
        }
    }

    pub(super) fn tick_lookups(&mut self, now: Instant) {
        for due in [Lookups::slow_dials, Lookups::waiting, Lookups::due] {
            let actions = due(&mut self.lookups, &mut self.context.at(now));
            actions.into_iter().for_each(|(id, action)| self.take_action(id, Some(action), now));
        }
        self.queries.expire(now);
    }

    fn unreachable(&mut self, requests: Vec<RequestId>, why: Unreachable) {
        let failed = requests.into_iter().map(|request| Output::Reached { request, outcome: Err(why) });
        self.out.extend(failed);
    }
}
