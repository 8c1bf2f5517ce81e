//! WHERE IS HE: finding a node by its id, for streams. What is known of it is tried first; then all nodes are asked, once,
//! and it answers for itself, back along the way that the question came.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Config;
use crate::id::NodeId;
use crate::node::{Held, LinkId, RequestId, Unreachable};
use crate::time::Instant;

/// Nodes looked for at once; more wishes fail at once.
const MAX_SOUGHT: usize = 256;
/// Wishes for one node that wait for the same search.
const MAX_WAITING: usize = 256;
/// The question is asked again, as links may have changed, after this share of the time there is.
const AGAIN: u32 = 2;

/// The searches of this node, and the way back of those that pass by.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    sought: BTreeMap<NodeId, Search>,
    /// By the search's number: who is looked for, and where the question came from, until the answer has gone there.
    passing: BTreeMap<u64, (NodeId, Option<LinkId>)>,
    order: VecDeque<(u64, Instant)>,
}

#[derive(Debug)]
struct Search {
    requests: Vec<RequestId>,
    step: Step,
    /// Names the question.
    query: u64,
    ask_again: Instant,
    until: Instant,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// An address is to be dialled, once there is room for a dial: the one that the node has told, or one that is known.
    Waiting(Option<SocketAddr>),
    /// The address that was known is being dialled.
    DiallingKnown,
    /// The network is being asked.
    Asking,
    /// The address that the node itself has told is being dialled.
    DiallingTold,
}

/// What became of a search.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ask the network for the node, by this number.
    Ask(NodeId, u64),
    /// The time is over.
    Failed(Vec<RequestId>, Unreachable),
}

impl Reach {
    pub(crate) fn held(&self, config: &Config, held: &mut Vec<Held>) {
        held.extend([
            Held { what: "nodes looked for", amount: self.sought.len(), limit: MAX_SOUGHT },
            Held { what: "searches passing by", amount: self.passing.len(), limit: config.max_walks },
        ]);
    }

    /// Somebody wants the node. True: nobody did before, so the search is to be begun.
    pub(crate) fn seek(
        &mut self,
        id: NodeId,
        request: RequestId,
        query: u64,
        now: Instant,
        config: &Config,
    ) -> Result<bool, Unreachable> {
        if let Some(search) = self.sought.get_mut(&id) {
            if search.requests.len() >= MAX_WAITING {
                return Err(Unreachable::Busy);
            }
            search.requests.push(request);
            return Ok(false);
        }
        if self.sought.len() >= MAX_SOUGHT {
            return Err(Unreachable::Busy);
        }
        let until = now + config.find_timeout;
        let search =
            Search { requests: vec![request], step: Step::Waiting(None), query, ask_again: until, until };
        self.sought.insert(id, search);
        Ok(true)
    }

    pub(crate) fn step(&self, id: &NodeId) -> Option<Step> {
        self.sought.get(id).map(|search| search.step)
    }

    pub(crate) fn set_step(&mut self, id: &NodeId, step: Step) {
        if let Some(search) = self.sought.get_mut(id) {
            search.step = step;
        }
    }

    /// The network is asked from now on. Returns the number of the question.
    pub(crate) fn ask(&mut self, id: &NodeId, now: Instant, config: &Config) -> Option<u64> {
        let search = self.sought.get_mut(id)?;
        (search.step, search.ask_again) = (Step::Asking, now + config.find_timeout / AGAIN);
        Some(search.query)
    }

    /// There is a connection to the node: who waits for it?
    pub(crate) fn reached(&mut self, id: &NodeId) -> Vec<RequestId> {
        self.sought.remove(id).map(|search| search.requests).unwrap_or_default()
    }

    /// Nodes that wait for room for a dial.
    pub(crate) fn waiting(&self) -> Vec<(NodeId, Option<SocketAddr>)> {
        let waiting = |(id, search): (&NodeId, &Search)| match search.step {
            Step::Waiting(told) => Some((*id, told)),
            _ => None,
        };
        self.sought.iter().filter_map(waiting).collect()
    }

    /// What has come due: a question to be asked once more, by a new number, or the end of a search.
    pub(crate) fn due(&mut self, now: Instant, mut number: impl FnMut() -> u64) -> Vec<Due> {
        let mut due = Vec::new();
        let over: Vec<_> =
            self.sought.iter().filter(|(_, search)| search.until <= now).map(|(id, _)| *id).collect();
        for id in over {
            let told = self.step(&id) == Some(Step::DiallingTold);
            let why = if told { Unreachable::NoWay } else { Unreachable::NotFound };
            due.push(Due::Failed(self.reached(&id), why));
        }
        for (id, search) in &mut self.sought {
            if search.step == Step::Asking && search.ask_again <= now {
                (search.query, search.ask_again) = (number(), search.until);
                due.push(Due::Ask(*id, search.query));
            }
        }
        while self.order.front().is_some_and(|(_, until)| *until <= now) {
            if let Some((query, _)) = self.order.pop_front() {
                self.passing.remove(&query);
            }
        }
        due
    }

    /// Somebody's question comes by. False: it has been here before.
    pub(crate) fn passes(
        &mut self,
        query: u64,
        target: NodeId,
        from: LinkId,
        now: Instant,
        config: &Config,
    ) -> bool {
        let own = self.sought.values().any(|search| search.query == query);
        if own || self.passing.contains_key(&query) {
            return false;
        }
        self.passing.insert(query, (target, Some(from)));
        self.order.push_back((query, now + config.find_timeout.max(Duration::from_secs(1))));
        if self.order.len() > config.max_walks
            && let Some((oldest, _)) = self.order.pop_front()
        {
            self.passing.remove(&oldest);
        }
        true
    }

    /// Where this node's answer to a question goes, once: back to who asked, or nowhere.
    pub(crate) fn way_back(&mut self, query: u64, id: &NodeId) -> Option<LinkId> {
        self.passing.get_mut(&query).filter(|(target, _)| target == id)?.1.take()
    }
}
