//! Checks who is linked to whom: how many links a node has, to whom, and which of them may end.
//!
//! Upper limits are checked when a link or a dial is new, and once more at rest, where a node may
//! not have a link too many. Lower limits need time: every second the check notes since when a node
//! has no link, or too few, and judges how long that has lasted. Pins are remembered when the
//! node's user gets them, and looked up when a link ends.

use smokesignal_proto::{CloseReason, DisconnectReason, Node, NodeId};

use super::{Check, Observed, View, Violation};
use crate::invariant::Invariant;
use crate::kernel::micros;

/// No node may be alone for longer while a seed can be reached: 30 s.
const ALONE: u64 = 30_000_000;
/// A pin has come to the other end after this long, if lines are not slow: 1 s.
const PIN_HEARD: u64 = 1_000_000;
/// Links that a node may have beyond `max_peers` for a while, because joiners are let in between it
/// and its neighbours.
const SURPLUS: usize = 2;

/// Remembers how long nodes have been short of links, and which links were pinned.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// The time since which a living seed can be reached.
    seed_since: Option<u64>,
    /// The memory about each node, by node number.
    nodes: Vec<Memory>,
}

/// The memory about one node.
#[derive(Debug, Clone, Default)]
struct Memory {
    /// Since when it has no link although it could, and since when it has too few.
    alone_since: Option<u64>,
    low_since: Option<u64>,
    /// Requests of its user that are not answered, and the peers of those that were granted, with
    /// their times.
    requests: usize,
    pinned: Vec<(NodeId, u64)>,
}

impl Check for Links {
    fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation> {
        match *event {
            Observed::Started { node } => *self.node(node) = Memory::default(),
            Observed::PeerUp { node, peer } => return new_peer(view, node, peer),
            Observed::PeerDown { node, peer: Some(peer), reason } => {
                return self.lost_peer(view, node, peer, reason);
            }
            Observed::PinRequested { node } => self.node(node).requests += 1,
            Observed::PinAnswered { node, peer } => {
                let memory = self.node(node);
                memory.requests -= 1;
                memory.pinned.extend(peer.map(|peer| (peer, view.now)));
            }
            Observed::Dials { node } => return self.dials(view, node),
            Observed::Second => return self.degrees(view),
            Observed::AtRest { .. } => return at_rest(view),
            _ => {}
        }
        Ok(())
    }
}

impl Links {
    /// Returns the memory about a node.
    fn node(&mut self, node: usize) -> &mut Memory {
        if self.nodes.len() <= node {
            self.nodes.resize(node + 1, Memory::default());
        }
        &mut self.nodes[node]
    }

    /// Checks how many dials a node has under way.
    fn dials(&mut self, view: &View<'_>, node: usize) -> Result<(), Violation> {
        // The requests of the user come on top.
        let limit = view.config().max_dials + self.node(node).requests;
        let dials = view.cluster.dials(node);
        if dials <= limit {
            return Ok(());
        }
        let what = format!("it has {dials} dials under way, {limit} are allowed");
        view.violated(Invariant::DIAL_LIMIT, node, what)
    }

    /// Checks that all nodes have links, if they can find somebody to link to.
    fn degrees(&mut self, view: &View<'_>) -> Result<(), Violation> {
        let seeds = 0..view.setup.seeds.min(view.cluster.len());
        let reachable = |ix: usize| view.net.is_awake(ix) && view.net.is_in_main_part(ix);
        let seed_now = seeds.into_iter().any(reachable);
        self.seed_since = if seed_now { self.seed_since.or(Some(view.now)) } else { None };
        let alive = view.nodes().filter(|ix| view.cluster.is_alive(*ix)).count();
        view.nodes().try_for_each(|ix| self.degree(view, ix, alive))
    }

    /// Checks that a node has links, and within some time enough of them.
    fn degree(&mut self, view: &View<'_>, ix: usize, alive: usize) -> Result<(), Violation> {
        let now = view.now;
        let seed_since = self.seed_since;
        let memory = self.node(ix);
        if !view.net.is_awake(ix) || !view.cluster.is_honest(ix) || alive <= 1 {
            (memory.alone_since, memory.low_since) = (None, None);
            return Ok(());
        }
        let degree = view.cluster.degree(ix);
        let target = view.config().min_peers.min(alive - 1);
        memory.low_since = (degree < target).then(|| memory.low_since.unwrap_or(now));
        // Somebody is there to be found: a seed in this node's part of the network.
        let findable = seed_since.is_some() && view.net.side(ix) == 0;
        memory.alone_since = (degree == 0 && findable).then(|| memory.alone_since.unwrap_or(now));
        let low_since = memory.low_since;

        let lonely = memory.alone_since.is_some_and(|since| now - since > ALONE);
        if lonely && ix >= view.setup.seeds {
            let what = "it is alone for more than 30 s although a seed lives".to_owned();
            return view.violated(Invariant::NOT_ALONE, ix, what);
        }
        let (Some(refill), Some(since)) = (view.setup.expect.refill, low_since) else {
            return Ok(());
        };
        let short_for = now - since.max(view.faults.disturbed_at());
        if view.faults.any_active() || short_for <= micros(refill) {
            return Ok(());
        }
        let seconds = short_for as f64 / 1e6;
        let what = format!("it has {degree} links and {target} are due, for {seconds:.0} s");
        view.violated(Invariant::REFILLED, ix, what)
    }

    /// Checks that a pinned link is not closed in favour of another.
    fn lost_peer(
        &mut self,
        view: &View<'_>,
        ix: usize,
        peer: NodeId,
        reason: CloseReason,
    ) -> Result<(), Violation> {
        // Until the other end has heard of the pin it may close the link, which is then made again.
        let heard = |at: u64| view.now - at > PIN_HEARD;
        let pinned =
            |memory: &Memory, of: &NodeId| memory.pinned.iter().any(|(peer, at)| peer == of && heard(*at));
        let me = view.cluster.id(ix);
        // A hostile node is not promised that its pins are kept.
        let by_peer = view
            .cluster
            .number(&peer)
            .filter(|other| view.cluster.is_honest(*other))
            .and_then(|other| self.nodes.get(other))
            .is_some_and(|memory| pinned(memory, &me));
        let memory = self.node(ix);
        let was_pinned = by_peer || pinned(memory, &peer);
        memory.pinned.retain(|(pinned, _)| *pinned != peer);
        if !was_pinned || !is_choice(reason) {
            return Ok(());
        }
        let what = format!("its link to {peer:?}, which was pinned, ended: {reason}");
        view.violated(Invariant::PINNED_LINKS_KEPT, ix, what)
    }
}

/// Returns whether a link was ended for this reason although it was not broken.
const fn is_choice(reason: CloseReason) -> bool {
    use DisconnectReason::{Nearer, Split, Surplus};
    matches!(
        reason,
        CloseReason::EndedByPeer(Split | Surplus | Nearer)
            | CloseReason::EnoughPeers
            | CloseReason::NotNearer
    )
}

/// Checks a link that a node counts from now on.
fn new_peer(view: &View<'_>, ix: usize, peer: NodeId) -> Result<(), Violation> {
    let Some(node) = view.node(ix) else { return Ok(()) };
    let (degree, same) =
        node.peers().fold((0, 0), |(all, same), (_, id)| (all + 1, same + usize::from(id == peer)));
    let limit = view.config().max_peers.saturating_add(SURPLUS);
    if peer == node.id() {
        view.violated(Invariant::DISTINCT_PEERS, ix, "it is linked to itself".to_owned())
    } else if same > 1 {
        let what = format!("it has {same} links to {peer:?}");
        view.violated(Invariant::DISTINCT_PEERS, ix, what)
    } else if degree > limit {
        let what = format!("it has {degree} links, {limit} is the limit at any time");
        view.violated(Invariant::LINK_LIMIT, ix, what)
    } else {
        Ok(())
    }
}

/// Checks that no node has a link too many, and that both ends count each link.
fn at_rest(view: &View<'_>) -> Result<(), Violation> {
    let max = view.config().max_peers;
    for ix in view.awake() {
        let Some(node) = view.node(ix) else { continue };
        let peers: Vec<_> = node.peers().map(|(_, peer)| peer).collect();
        if peers.len() > max {
            let of_seed = ix < view.setup.seeds;
            let invariant = if of_seed { Invariant::SEED_LINK_LIMIT } else { Invariant::LINK_LIMIT };
            let what = format!("it has {} links in a quiescent network, {max} is the limit", peers.len());
            view.violated(invariant, ix, what)?;
        }
        let counts_me = |other: &Node| other.peers().any(|(_, peer)| peer == node.id());
        let one_sided = peers.iter().find(|peer| {
            let other = view.cluster.number(peer).and_then(|other| view.node(other));
            !other.is_some_and(counts_me)
        });
        if let Some(peer) = one_sided {
            let what = format!("it counts {peer:?} as a peer, but not the other way round");
            view.violated(Invariant::SYMMETRIC_LINKS, ix, what)?;
        }
    }
    Ok(())
}
