//! Checks the shape of the whole overlay: one component, and short paths.
//!
//! Both follow from the graph of all links that stand at a moment. To build it and to walk it takes
//! time in proportion to the links, so that it is done once a second at most.

use super::{Check, Observed, View, Violation};
use crate::invariant::Invariant;

/// A newcomer belongs to the network's one component after this long: 30 s, because seeds that
/// start at the same moment may first have to find out that they are not alone.
const JOINED: u64 = 30_000_000;
/// Networks of fewer nodes are too small for chance to even out.
const LARGE: usize = 64;

/// Looks at the graph of all links.
#[derive(Debug)]
pub(super) struct Topology;

impl Check for Topology {
    fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation> {
        match event {
            Observed::Second if view.setup.expect.failure_free => one_component(view),
            Observed::AtRest { .. } => short_paths(view),
            _ => Ok(()),
        }
    }
}

/// Checks that the nodes that have had time to join reach each other.
fn one_component(view: &View<'_>) -> Result<(), Violation> {
    let has_joined =
        |ix: &usize| view.cluster.is_alive(*ix) && view.now - view.cluster.started_at(*ix) > JOINED;
    let mut joined = view.nodes().filter(has_joined);
    let Some(first) = joined.next() else { return Ok(()) };
    let reached = view.graph().reached_from(first);
    let Some(lost) = joined.find(|ix| !reached[*ix]) else { return Ok(()) };
    let (with, all) = (reached.iter().filter(|reached| **reached).count(), view.cluster.alive().len());
    let what =
        format!("it is not among the {with} of {all} nodes around node {first}, and nothing has failed");
    view.violated(Invariant::ONE_COMPONENT, lost, what)
}

/// Checks that the diameter grows with the logarithm of the network only.
fn short_paths(view: &View<'_>) -> Result<(), Violation> {
    let nodes = view.cluster.alive().len();
    if nodes < LARGE {
        return Ok(());
    }
    let (diameter, limit) = (view.graph().diameter(), (2.0 * (nodes as f64).log2()).floor() as usize);
    if diameter <= limit {
        return Ok(());
    }
    let what = format!("the diameter is {diameter}, 2 log2 of {nodes} nodes is {limit}");
    view.violated(Invariant::SHORT_PATHS, 0, what)
}
