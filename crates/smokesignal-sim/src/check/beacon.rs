//! Checks that every node knows the root of its component, and how many nodes are in it.
//!
//! The root is the node with the smallest id. At rest the check finds each node's component in the
//! graph of all links and compares: the smallest id and the number of nodes there with the root and
//! the size that the node knows. While the world runs it only checks that dead roots are forgotten.

use smokesignal_proto::Node;

use super::{Check, Observed, View, Violation};
use crate::invariant::Invariant;
use crate::kernel::micros;

/// The time to forget a dead root on top of the root's maximum age: 1 s, and the second until the
/// next look.
const SLACK: u64 = 2_000_000;

/// Looks at the root and the size that nodes know.
#[derive(Debug)]
pub(super) struct Beacon;

impl Check for Beacon {
    fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation> {
        match event {
            // Where beacons are held up or clocks are wrong, a root may seem to live on.
            Observed::Second if view.faults.only_kill() => dead_roots(view),
            Observed::AtRest { .. } => same_root(view),
            _ => Ok(()),
        }
    }
}

/// Checks that no node believes in a root that has been dead for long.
fn dead_roots(view: &View<'_>) -> Result<(), Violation> {
    let limit = micros(view.config().root_max_age) + SLACK;
    for ix in view.nodes() {
        let Some(root) = view.node(ix).map(Node::root) else { continue };
        let Some(root_ix) = view.cluster.number(&root) else { continue };
        let died_at = view.cluster.died_at(root_ix);
        if !view.cluster.is_alive(root_ix) && view.now - died_at > limit {
            let ago = (view.now - died_at) as f64 / 1e6;
            let what = format!("its root {root:?} died {ago:.1} s ago");
            view.violated(Invariant::DEAD_ROOT_FORGOTTEN, ix, what)?;
        }
    }
    Ok(())
}

/// Checks that all nodes of a component know its root and its size.
fn same_root(view: &View<'_>) -> Result<(), Violation> {
    // Beacons that go over a line that is much too slow arrive too late.
    if view.awake().any(|ix| view.net.upload(ix).is_some()) {
        return Ok(());
    }
    let graph = view.graph();
    for ix in view.awake() {
        let Some(node) = view.node(ix) else { continue };
        let reached = graph.reached_from(ix);
        let others = view.nodes().filter(|other| reached[*other]);
        let size = others.clone().count() as u32;
        let root = others.filter_map(|other| view.node(other)).map(Node::id).min();
        let (found, counted) = (node.root(), node.network_size());
        if Some(found) != root || counted != size {
            let what = format!("root {found:?}, {counted} nodes; it should be {root:?} and {size}");
            view.violated(Invariant::SAME_ROOT, ix, what)?;
        }
    }
    Ok(())
}
