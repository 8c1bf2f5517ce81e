//! Node lookup: finds a node by its id and a way to connect to it, for streams.
//!
//! The address that is known is dialled first. If there is none, or it does not answer, a query is
//! flooded to all nodes (`Find`), each of which passes it on once; the target answers for itself
//! along the reverse path (`Located`). Then the address in the answer is dialled, and where that
//! fails the connection is relayed by the nodes on the path of the answer.
//!
//! [`Lookups`] holds this node's own lookups, each a state machine of its own (`search.rs`), and
//! the queries of others that passed here (`queries.rs`). It decides; the node performs the
//! [`Action`]s.

mod queries;
mod search;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::config::Config;
use crate::context::Cx;
use crate::id::NodeId;
use crate::ids::{LinkId, RequestId};
use crate::limits::Held;
use crate::output::Unreachable;

pub(crate) use queries::{Find, Queries};
use search::Search;
pub(crate) use search::Step;

/// Nodes looked for at the same time; more requests fail immediately.
const MAX_SOUGHT: usize = 256;
/// Requests that wait for the same lookup; more fail immediately.
const MAX_WAITING: usize = 256;

/// What to do for a lookup next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Take this step of the search, and report by [`Lookups::begun`] if it was a dial and there
    /// was room for it.
    Step(Step),
    /// The lookup is over: tell these requests why.
    Fail(Vec<RequestId>, Unreachable),
}

/// This node's own lookups.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    sought: BTreeMap<NodeId, Search>,
    requests: BTreeMap<NodeId, Vec<RequestId>>,
}

impl Lookups {
    pub(crate) fn held(&self, held: &mut Vec<Held>) {
        held.push(Held { what: "nodes looked for", amount: self.sought.len(), limit: MAX_SOUGHT });
    }

    /// Begins a lookup, or joins the request to one that is under way.
    pub(crate) fn begin(
        &mut self,
        cx: &mut Cx<'_>,
        id: NodeId,
        request: RequestId,
    ) -> Result<Option<Action>, Unreachable> {
        let query = cx.rng.next();
        if let Some(waiting) = self.requests.get_mut(&id) {
            if waiting.len() >= MAX_WAITING {
                return Err(Unreachable::Busy);
            }
            waiting.push(request);
            return Ok(None);
        }
        if self.sought.len() >= MAX_SOUGHT {
            return Err(Unreachable::Busy);
        }
        self.requests.insert(id, vec![request]);
        self.sought.insert(id, Search::new(query, cx));
        Ok(Some(Action::Step(Step::DialKnown)))
    }

    /// Begins a lookup that no request waits for, if there is room for it.
    pub(crate) fn begin_unasked(&mut self, cx: &mut Cx<'_>, id: NodeId) -> Option<Action> {
        if self.requests.contains_key(&id) || self.sought.len() >= MAX_SOUGHT {
            return None;
        }
        let query = cx.rng.next();
        self.requests.insert(id, Vec::new());
        self.sought.insert(id, Search::new(query, cx));
        Some(Action::Step(Step::DialKnown))
    }

    /// Answers [`Step::DialKnown`] with the address that is known, if there is one.
    pub(crate) fn known_address(
        &mut self,
        cx: &Cx<'_>,
        id: &NodeId,
        address: Option<SocketAddr>,
    ) -> Option<Action> {
        Some(Action::Step(self.sought.get_mut(id)?.on_known_address(address, cx)))
    }

    /// The dial of the last step has begun.
    pub(crate) fn begun(&mut self, id: &NodeId) {
        if let Some(search) = self.sought.get_mut(id) {
            search.on_dial_begun();
        }
    }

    /// Returns whether the answer that came over `link` is awaited.
    pub(crate) fn awaits(&self, id: &NodeId, link: LinkId, query: u64) -> bool {
        self.sought.get(id).is_some_and(|search| search.awaits(link, query))
    }

    /// The node has answered. `address` is where it can be dialled, if it can.
    pub(crate) fn located(
        &mut self,
        cx: &Cx<'_>,
        id: &NodeId,
        via: (LinkId, u64),
        address: Option<SocketAddr>,
    ) -> Option<Action> {
        Some(Action::Step(self.sought.get_mut(id)?.on_located(via, address, cx)))
    }

    /// A dial for streams has failed, directly or through others.
    pub(crate) fn dial_failed(&mut self, cx: &mut Cx<'_>, id: &NodeId, relayed: bool) -> Option<Action> {
        match self.sought.get_mut(id)?.on_dial_failed(relayed, cx) {
            Ok(step) => step.map(Action::Step),
            Err(why) => Some(Action::Fail(self.end(id), why)),
        }
    }

    /// There is a connection to the node: the lookup is over. Returns the requests that wait for
    /// it.
    pub(crate) fn end(&mut self, id: &NodeId) -> Vec<RequestId> {
        self.sought.remove(id);
        self.requests.remove(id).unwrap_or_default()
    }

    // Once in each tick, in this order.

    /// Returns the next steps where a dial has not been answered for a while: another way is tried
    /// beside it.
    pub(crate) fn slow_dials(&mut self, cx: &mut Cx<'_>) -> Vec<(NodeId, Action)> {
        let step = |(id, search): (&NodeId, &mut Search)| Some((*id, Action::Step(search.on_slow_dial(cx)?)));
        self.sought.iter_mut().filter_map(step).collect()
    }

    /// Returns the steps that wait for room for a dial.
    pub(crate) fn waiting(&mut self, cx: &mut Cx<'_>) -> Vec<(NodeId, Action)> {
        let step = |(id, search): (&NodeId, &mut Search)| Some((*id, Action::Step(search.on_room(cx)?)));
        self.sought.iter_mut().filter_map(step).collect()
    }

    /// Returns the ends of the lookups whose time is over, and the queries that are to be sent once
    /// more.
    pub(crate) fn due(&mut self, cx: &mut Cx<'_>) -> Vec<(NodeId, Action)> {
        let failed = |(id, search): (&NodeId, &Search)| Some((*id, search.is_over(cx.now)?));
        let failed: Vec<_> = self.sought.iter().filter_map(failed).collect();
        let mut due: Vec<_> =
            failed.into_iter().map(|(id, why)| (id, Action::Fail(self.end(&id), why))).collect();
        let again = |(id, search): (&NodeId, &mut Search)| Some((*id, Action::Step(search.ask_again(cx)?)));
        due.extend(self.sought.iter_mut().filter_map(again));
        due
    }

    /// Returns whether the query is one of this node's own.
    pub(crate) fn is_own(&self, query: u64) -> bool {
        self.sought.values().any(|search| search.query() == query)
    }
}

impl Queries {
    pub(crate) fn held(&self, config: &Config, held: &mut Vec<Held>) {
        held.push(Held { what: "searches passing by", amount: self.len(), limit: config.max_walks });
    }
}
