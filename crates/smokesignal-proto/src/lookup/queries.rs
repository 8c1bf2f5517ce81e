//! The queries of other nodes that passed here: where each came from, and where its answer came
//! from. A relayed connection takes the same path.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::search::LOCATED;
use crate::context::Cx;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::message::Control;
use crate::record::Record;
use crate::time::Instant;

/// A query on its way through the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Find {
    /// Names the query.
    pub(crate) query: u64,
    /// The node that is looked for.
    pub(crate) target: NodeId,
    /// The hops that are left.
    pub(crate) ttl: u8,
}

impl Find {
    /// Sends the query to the target if it is a neighbour that is to be asked, because its
    /// neighbours know the way, and otherwise over all links that are to be asked. (A node that
    /// looks for itself is not asked.)
    pub(crate) fn flood(
        self,
        cx: &mut Cx<'_>,
        peers: impl Iterator<Item = (LinkId, NodeId)>,
        is_asked: impl Fn(LinkId) -> bool,
    ) {
        let Self { query, target, ttl } = self;
        let peers: Vec<_> = peers.collect();
        let neighbour = peers.iter().find(|(link, peer)| *peer == target && is_asked(*link));
        let asked = peers.iter().filter(|(link, _)| neighbour.is_none() && is_asked(*link));
        for (link, _) in neighbour.into_iter().chain(asked) {
            cx.out.send(*link, Control::Find { query, target, ttl });
        }
    }
}

/// What is remembered of a query.
#[derive(Debug)]
struct Query {
    target: NodeId,
    /// The link that the query came from.
    back: LinkId,
    /// The link that the answer came from.
    next_hop: Option<LinkId>,
}

/// Queries by their number, for as long as the asker may use the path. The oldest loses.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    passing: BTreeMap<u64, Query>,
    order: VecDeque<(u64, Instant)>,
}

impl Queries {
    pub(crate) fn len(&self) -> usize {
        self.passing.len()
    }

    /// Handles a neighbour's query: passes it on, the first time it comes by. Returns whether this
    /// node is the target, and has to answer.
    pub(crate) fn on_find(
        &mut self,
        cx: &mut Cx<'_>,
        link: LinkId,
        find: Find,
        peers: impl Iterator<Item = (LinkId, NodeId)>,
    ) -> bool {
        let Find { query, target, ttl } = find;
        if !self.remember(cx, query, target, link) {
            return false;
        }
        if target != cx.me.id() && ttl > 0 {
            let ttl = ttl.min(cx.config.find_ttl) - 1;
            Find { ttl, ..find }.flood(cx, peers, |other| other != link);
        }
        target == cx.me.id()
    }

    /// Passes an answer back the way its query came, once. Returns it if it answers no query that
    /// passed here.
    pub(crate) fn pass_back(
        &mut self,
        cx: &mut Cx<'_>,
        link: LinkId,
        query: u64,
        record: Record,
    ) -> Option<Record> {
        let Some(back) = self.answered(query, &record.id, link) else { return Some(record) };
        cx.out.send(back, Control::Located { query, record });
        None
    }

    /// Remembers a query. Returns whether it is new here.
    fn remember(&mut self, cx: &Cx<'_>, query: u64, target: NodeId, from: LinkId) -> bool {
        if self.passing.contains_key(&query) {
            return false;
        }
        self.passing.insert(query, Query { target, back: from, next_hop: None });
        let kept_for = LOCATED * cx.config.find_timeout.max(Duration::from_secs(1));
        self.order.push_back((query, cx.now + kept_for));
        if self.order.len() > cx.config.max_walks
            && let Some((oldest, _)) = self.order.pop_front()
        {
            self.passing.remove(&oldest);
        }
        true
    }

    /// Returns where the answer that came over `link` is passed on to, once.
    fn answered(&mut self, query: u64, id: &NodeId, link: LinkId) -> Option<LinkId> {
        let passing = self.passing.get_mut(&query).filter(|passing| passing.target == *id)?;
        if passing.next_hop.is_some() {
            return None;
        }
        passing.next_hop = Some(link);
        Some(passing.back)
    }

    /// Returns where a connection to be relayed to the node goes that comes over `link`, the way
    /// the query came.
    pub(crate) fn next_hop(&self, query: u64, id: &NodeId, link: LinkId) -> Option<LinkId> {
        let passing = self.passing.get(&query)?;
        if passing.target == *id && passing.back == link { passing.next_hop } else { None }
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(_, until)| *until <= now) {
            if let Some((query, _)) = self.order.pop_front() {
                self.passing.remove(&query);
            }
        }
    }
}
