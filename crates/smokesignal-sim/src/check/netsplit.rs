//! Checks that netsplits are reported when the network is cut, and only then, and that their end is
//! reported when it is whole again.
//!
//! Nodes report a netsplit and its end by turns, so that it is enough to remember for each node
//! whether its last report is still open. The scenario `netsplit` says when a cut has lasted for
//! long enough that all must have reported it, and when the network has been whole for long enough.

use super::{Check, Observed, View, Violation};
use crate::invariant::Invariant;

/// The seed that all others were given.
const SEED: usize = 0;

/// Remembers which nodes have reported a netsplit and not its end.
#[derive(Debug, Default)]
pub(super) struct Netsplits {
    /// Whether a report is open, by node number.
    open: Vec<bool>,
}

impl Check for Netsplits {
    fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation> {
        match *event {
            Observed::Started { node } => *self.node(node) = false,
            Observed::Netsplit { node, over } => return self.reported(view, node, over),
            Observed::LongCut => return self.long_cut(view),
            Observed::Healed => return self.healed(view),
            _ => {}
        }
        Ok(())
    }
}

impl Netsplits {
    /// Returns whether a node has reported a netsplit and not its end.
    fn node(&mut self, node: usize) -> &mut bool {
        if self.open.len() <= node {
            self.open.resize(node + 1, false);
        }
        &mut self.open[node]
    }

    /// Checks a report against the one before, and against what the run expects.
    fn reported(&mut self, view: &View<'_>, node: usize, over: bool) -> Result<(), Violation> {
        let open = self.node(node);
        let was_open = std::mem::replace(open, !over);
        if was_open != over {
            let what = if over { "the end of a netsplit" } else { "a netsplit" };
            let what = format!("it reported {what} twice in a row");
            return view.violated(Invariant::NETSPLITS_ALTERNATE, node, what);
        }
        if over || view.setup.expect.netsplits {
            return Ok(());
        }
        let what = "it reported a netsplit in a network that was not cut".to_owned();
        view.violated(Invariant::NO_FALSE_NETSPLIT, node, what)
    }

    /// Checks that all nodes that were cut off from the seed have reported it.
    fn long_cut(&mut self, view: &View<'_>) -> Result<(), Violation> {
        let mut lost =
            view.nodes().skip(1).filter(|ix| view.cluster.is_alive(*ix) && view.net.is_cut(SEED, *ix));
        let Some(ix) = lost.find(|ix| !*self.node(*ix)) else { return Ok(()) };
        let what = "it has lost the seed and has not reported a netsplit".to_owned();
        view.violated(Invariant::NETSPLIT_REPORTED, ix, what)
    }

    /// Checks that no netsplit is open any longer.
    fn healed(&mut self, view: &View<'_>) -> Result<(), Violation> {
        let alive = view.nodes().filter(|ix| view.cluster.is_alive(*ix));
        let open: Vec<_> = alive.filter(|ix| *self.node(*ix)).collect();
        let Some(first) = open.first() else { return Ok(()) };
        let what = format!("{} nodes still take the network for split", open.len());
        view.violated(Invariant::MERGE_REPORTED, *first, what)
    }
}
