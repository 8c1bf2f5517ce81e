//! WHERE IS HE: finding a node by its id, for streams. What is known of it is tried first; then all nodes are asked, once,
//! and it answers for itself, back along the way that the question came. If it cannot be dialled, its bytes are carried
//! along that way.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Config;
use crate::id::NodeId;
use crate::ids::{LinkId, RequestId};
use crate::limits::Held;
use crate::output::Unreachable;
use crate::time::Instant;

/// Nodes looked for at once; more wishes fail at once.
const MAX_SOUGHT: usize = 256;
/// Wishes for one node that wait for the same search.
const MAX_WAITING: usize = 256;
/// Somebody who has answered may be tried for so many times the time to find him: a dial takes 4 s at most, and to be
/// carried as well.
const LOCATED: u32 = 2;
/// A dial that is not answered has so long for itself. 500 ms: two to three round trips to the other side of the earth
/// (RFC 8305 waits 250 ms between two addresses).
const DIAL_ALONE: Duration = Duration::from_millis(500);
/// So many other ways through the network are looked for if one cannot be used.
const OTHER_WAYS: usize = 2;
/// The question is asked again, as links may have changed, after this share of the time there is.
const AGAIN: u32 = 2;

/// The searches of this node, and the way back of those that pass by.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    sought: BTreeMap<NodeId, Search>,
    /// By the search's number.
    passing: BTreeMap<u64, Passing>,
    order: VecDeque<(u64, Instant)>,
}

/// Somebody's search that came by.
#[derive(Debug)]
struct Passing {
    target: NodeId,
    /// Where the question came from.
    back: LinkId,
    /// Where the answer came from.
    forth: Option<LinkId>,
}

#[derive(Debug)]
struct Search {
    requests: Vec<RequestId>,
    step: Step,
    /// Names the question.
    query: u64,
    ask_again: Instant,
    until: Instant,
    /// An address is being dialled: from then on another way is tried as well.
    alone_until: Option<Instant>,
    /// Where the node's answer came from, and the number it answered.
    way: Option<(LinkId, u64)>,
    /// Where it was known to be, and is not.
    vain: Option<SocketAddr>,
    /// Neighbours through which it could not be reached.
    vain_ways: Vec<LinkId>,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// This is to be tried, once there is room for a dial.
    Waiting(Try),
    /// The network is being asked.
    Asking,
    /// This is being tried.
    Trying(Try),
}

/// A way to reach a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Try {
    /// At the address that is known, if there is one.
    Known,
    /// At the address that the node itself has told.
    Told(SocketAddr),
    /// Through the nodes that its answer came through.
    Carried,
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
        let search = Search {
            requests: vec![request],
            step: Step::Waiting(Try::Known),
            query,
            ask_again: until,
            until,
            alone_until: None,
            way: None,
            vain: None,
            vain_ways: Vec::new(),
        };
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

    /// An address is being dialled.
    pub(crate) fn dialling(&mut self, id: &NodeId, now: Instant) {
        if let Some(search) = self.sought.get_mut(id) {
            search.alone_until = Some(now + DIAL_ALONE);
        }
    }

    /// Nodes whose address, this one, has not answered for a while.
    pub(crate) fn silent(&mut self, now: Instant) -> Vec<(NodeId, Try)> {
        let mut found = Vec::new();
        for (id, search) in &mut self.sought {
            if let Step::Trying(how) = search.step
                && search.alone_until.take_if(|until| *until <= now).is_some()
            {
                found.push((*id, how));
            }
        }
        found
    }

    /// There is a connection to the node: who waits for it?
    pub(crate) fn reached(&mut self, id: &NodeId) -> Vec<RequestId> {
        self.sought.remove(id).map(|search| search.requests).unwrap_or_default()
    }

    /// Nodes that wait for room for a dial.
    pub(crate) fn waiting(&self) -> Vec<(NodeId, Try)> {
        let waiting = |(id, search): (&NodeId, &Search)| match search.step {
            Step::Waiting(how) => Some((*id, how)),
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
            let told = self.sought.get(&id).is_some_and(|search| search.way.is_some());
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
        self.passing.insert(query, Passing { target, back: from, forth: None });
        // For as long as whoever asked may try to use the way.
        self.order.push_back((query, now + LOCATED * config.find_timeout.max(Duration::from_secs(1))));
        if self.order.len() > config.max_walks
            && let Some((oldest, _)) = self.order.pop_front()
        {
            self.passing.remove(&oldest);
        }
        true
    }

    /// Where this node's answer to a question, which came over `link`, goes, once: back to who asked, or nowhere.
    pub(crate) fn way_back(&mut self, query: u64, id: &NodeId, link: LinkId) -> Option<LinkId> {
        let passing = self.passing.get_mut(&query).filter(|passing| passing.target == *id)?;
        if passing.forth.is_some() {
            return None;
        }
        passing.forth = Some(link);
        Some(passing.back)
    }

    /// Where the bytes for the node go that come over `link` along the way of a search.
    pub(crate) fn way_forth(&self, query: u64, id: &NodeId, link: LinkId) -> Option<LinkId> {
        let passing = self.passing.get(&query)?;
        if passing.target == *id && passing.back == link { passing.forth } else { None }
    }

    /// The node has answered: it is there, and there is some more time to reach it.
    pub(crate) fn located(&mut self, id: &NodeId, way: (LinkId, u64), now: Instant, config: &Config) {
        if let Some(search) = self.sought.get_mut(id)
            && search.way.replace(way).is_none()
        {
            search.until = now + LOCATED * config.find_timeout;
        }
    }

    /// Neighbours that have answered for it, and do not lead to it.
    pub(crate) fn vain_ways(&self, id: &NodeId) -> Vec<LinkId> {
        self.sought.get(id).map(|search| search.vain_ways.clone()).unwrap_or_default()
    }

    /// Whether the node is being asked for by this number.
    pub(crate) fn is_asked(&self, id: &NodeId, query: u64) -> bool {
        self.sought.get(id).is_some_and(|search| search.query == query && search.step == Step::Asking)
    }

    /// Where its answer came from.
    pub(crate) fn way(&self, id: &NodeId) -> Option<(LinkId, u64)> {
        self.sought.get(id)?.way
    }

    /// It could not be reached at this address.
    pub(crate) fn set_vain(&mut self, id: &NodeId, address: SocketAddr) {
        if let Some(search) = self.sought.get_mut(id) {
            search.vain = Some(address);
        }
    }

    pub(crate) fn is_vain(&self, id: &NodeId, address: SocketAddr) -> bool {
        self.sought.get(id).is_some_and(|search| search.vain == Some(address))
    }

    /// The others would not carry. True: find another way.
    pub(crate) fn not_carried(&mut self, id: &NodeId, query: u64) -> bool {
        let Some(search) = self.sought.get_mut(id) else { return false };
        search.query = query;
        search.vain_ways.extend(search.way.map(|(link, _)| link));
        search.vain_ways.len() <= OTHER_WAYS
    }
}
