//! The queries of other nodes that passed here: where each came from, and where its answer came
//! from. A relayed connection takes the same path.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::search::LOCATED;
use crate::context::Cx;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::time::Instant;

/// One query.
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

    /// Remembers a query. Returns whether it is new here, and so is to be passed on.
    pub(crate) fn remember(&mut self, cx: &Cx<'_>, query: u64, target: NodeId, from: LinkId) -> bool {
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
    pub(crate) fn answered(&mut self, query: u64, id: &NodeId, link: LinkId) -> Option<LinkId> {
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
