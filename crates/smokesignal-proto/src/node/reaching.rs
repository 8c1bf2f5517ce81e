//! What [`Node`] does to reach any node for streams: it passes facts between the search and membership.

use super::Node;
use crate::id::NodeId;
use crate::ids::{LinkId, RequestId};
use crate::message::Control;
use crate::output::{Output, Relay, Unreachable};
use crate::reach::{Due, Step, Try};
use crate::record::Record;
use crate::time::Instant;

impl Node {
    /// Wants a connection to this node, for streams. Answered by [`Output::Reached`]: with the link to a neighbour, with a
    /// connection that there is or was made for streams, or with why there is none: after `find_timeout` if nobody has
    /// answered, and three times that at the latest.
    pub fn reach(&mut self, request: RequestId, id: NodeId, now: Instant) {
        if id == self.me {
            return self.unreachable(vec![request], Unreachable::Myself);
        }
        if let Some(link) = self.membership.link_for_streams(&id) {
            return self.out.push_back(Output::Reached { request, outcome: Ok(link) });
        }
        let query = self.membership.number();
        match self.reach.seek(id, request, query, now, &self.config) {
            Ok(true) => self.attempt(id, Try::Known, now),
            Ok(false) => {}
            Err(why) => self.unreachable(vec![request], why),
        }
        self.pass_on(now);
    }

    /// No stream has used this connection for a while: it is closed, unless it is a link to a neighbour.
    pub fn close_streams(&mut self, link: LinkId, now: Instant) {
        self.membership.close_streams(link, now);
        self.pass_on(now);
    }

    /// The connection was a link until a moment ago (see [`Output::Demoted`]), and streams use it still: it goes on for them
    /// alone. Both sides do so, each for itself. False: there is no room; close it.
    pub fn keep_for_streams(&mut self, link: LinkId, peer: NodeId, dialled: bool, now: Instant) -> bool {
        self.membership.keep_for_streams(link, peer, dialled, now)
    }

    /// Says what to do with a connection that the neighbour at `link` wants relayed to `target`, which the lookup `query` has
    /// found.
    pub fn relay(&self, link: LinkId, query: u64, target: &NodeId) -> Relay {
        if !self.membership.is_active(link) {
            return Relay::Refuse;
        }
        if *target == self.me {
            return Relay::Accept;
        }
        let onward =
            self.reach.way_forth(query, target, link).filter(|link| self.membership.is_active(*link));
        onward.map_or(Relay::Refuse, Relay::Forward)
    }

    /// Tries one way to reach the node, once there is room for a dial; what is known is of no use, the network is asked.
    fn attempt(&mut self, id: NodeId, how: Try, now: Instant) {
        let address = match how {
            Try::Known if !self.config.dial_for_streams => None,
            Try::Known => self.membership.known_address(&id),
            Try::Told(address) => Some(address),
            Try::Carried => None,
        };
        let dialled = if let Some(address) = address {
            if how == Try::Known {
                self.reach.set_vain(&id, address);
            }
            self.membership.dial_for_streams(id, address, now)
        } else if let (Try::Carried, Some((via, query))) = (how, self.reach.way(&id)) {
            self.membership.dial_relayed(id, via, query, now)
        } else {
            return self.ask_network(id, now);
        };
        self.reach.set_step(&id, if dialled { Step::Trying(how) } else { Step::Waiting(how) });
        if let Try::Known | Try::Told(_) = how {
            self.reach.dialling(&id, now);
        }
    }

    fn ask_network(&mut self, id: NodeId, now: Instant) {
        if let Some(query) = self.reach.ask(&id, now, &self.config) {
            self.flood(id, query, self.config.find_ttl, None, now);
        }
    }

    fn flood(&mut self, target: NodeId, query: u64, ttl: u8, from: Option<LinkId>, now: Instant) {
        let neighbour = self.peers().find(|(_, peer)| *peer == target).map(|(link, _)| link);
        // Own searches only: who has led nowhere is not asked again.
        let vain = self.reach.vain_ways(&target);
        let asked = |link: &LinkId| Some(*link) != from && (from.is_some() || !vain.contains(link));
        let all = self.peers().map(|(link, _)| link).filter(asked);
        // Its neighbours know the way.
        let links: Vec<_> = neighbour.map_or_else(|| all.collect(), |link| vec![link]);
        for link in links {
            self.send(link, Control::Find { query, target, ttl }.into(), now);
        }
    }

    pub(super) fn on_find(&mut self, link: LinkId, query: u64, target: NodeId, ttl: u8, now: Instant) {
        if !self.membership.affords_search(link) || !self.reach.passes(query, target, link, now, &self.config)
        {
            return;
        }
        if target == self.me {
            let record = self.membership.own_record();
            return self.send(link, Control::Located { query, record }.into(), now);
        }
        if ttl > 0 {
            self.flood(target, query, ttl.min(self.config.find_ttl) - 1, Some(link), now);
        }
    }

    pub(super) fn on_located(&mut self, link: LinkId, query: u64, record: Record, now: Instant) {
        if !self.membership.is_active(link) {
            return;
        }
        if let Some(back) = self.reach.way_back(query, &record.id, link) {
            return self.send(back, Control::Located { query, record }.into(), now);
        }
        let id = record.id;
        if !self.reach.is_asked(&id, query) || self.reach.vain_ways(&id).contains(&link) {
            return;
        }
        self.reach.located(&id, (link, query), now, &self.config);
        self.membership.remember(&record);
        let address =
            self.membership.address_of(&record).filter(|address| !self.reach.is_vain(&id, *address));
        let address = address.filter(|_| self.config.dial_for_streams);
        self.attempt(id, address.map_or(Try::Carried, Try::Told), now);
    }

    /// That was not the way. What was known may be old: then the network is asked. Who has answered and cannot be dialled is
    /// reached through others.
    pub(super) fn not_reached(&mut self, id: NodeId, carried: bool, now: Instant) {
        match self.reach.step(&id) {
            Some(Step::Trying(Try::Known)) => self.ask_network(id, now),
            Some(Step::Trying(Try::Told(_))) => self.attempt(id, Try::Carried, now),
            // A dial that was not waited for may fail now, too.
            Some(Step::Trying(Try::Carried)) if carried => {
                let query = self.membership.number();
                if self.reach.not_carried(&id, query) {
                    return self.ask_network(id, now);
                }
                let requests = self.reach.reached(&id);
                self.unreachable(requests, Unreachable::NoWay);
            }
            _ => {}
        }
    }

    /// There is a connection that streams may use.
    pub(super) fn reached(&mut self, link: LinkId, id: &NodeId) {
        for request in self.reach.reached(id) {
            self.out.push_back(Output::Reached { request, outcome: Ok(link) });
        }
    }

    pub(super) fn search_on(&mut self, now: Instant) {
        for (id, how) in self.reach.silent(now) {
            match how {
                Try::Known => self.ask_network(id, now),
                Try::Told(_) => self.attempt(id, Try::Carried, now),
                Try::Carried => {}
            }
        }
        for (id, how) in self.reach.waiting() {
            self.attempt(id, how, now);
        }
        let membership = &mut self.membership;
        for due in self.reach.due(now, || membership.number()) {
            match due {
                Due::Ask(id, query) => self.flood(id, query, self.config.find_ttl, None, now),
                Due::Failed(requests, why) => self.unreachable(requests, why),
            }
        }
    }

    fn unreachable(&mut self, requests: Vec<RequestId>, why: Unreachable) {
        let told = requests.into_iter().map(|request| Output::Reached { request, outcome: Err(why) });
        self.out.extend(told);
    }
}
