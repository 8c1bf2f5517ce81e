//! Checks what nodes hold: no collection beyond its limit, and only signed records of others.
//!
//! To look at everything every second would take longer than the run. Some hundred nodes have their
//! limits looked at each second and one node its records, by turns.

use super::{Check, Observed, View, Violation};
use crate::invariant::Invariant;

/// About how many nodes have their limits looked at each second.
const NODES: usize = 500;
/// Records whose signatures are checked each second.
const RECORDS: usize = 8;

/// Looks at what nodes hold.
#[derive(Debug)]
pub(super) struct Limits;

impl Check for Limits {
    fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation> {
        if !matches!(event, Observed::Second) {
            return Ok(());
        }
        let second = (view.now / 1_000_000) as usize;
        let share = 1 + view.cluster.len() / NODES;
        let mut turn = (second % share..view.cluster.len()).step_by(share);
        turn.try_for_each(|ix| within_limits(view, ix))?;
        records(view, second)
    }
}

/// Checks all collections of a node: the core lists them with their limits.
fn within_limits(view: &View<'_>, ix: usize) -> Result<(), Violation> {
    let Some(node) = view.node(ix) else { return Ok(()) };
    let over = node.held().into_iter().find(|held| held.amount > held.limit);
    let Some(held) = over else { return Ok(()) };
    let what = format!("{}: {}, {} is the limit", held.what, held.amount, held.limit);
    view.violated(Invariant::WITHIN_LIMITS, ix, what)
}

/// Checks the signatures of some records that a node holds.
fn records(view: &View<'_>, second: usize) -> Result<(), Violation> {
    if view.cluster.len() == 0 {
        return Ok(());
    }
    let ix = second % view.cluster.len();
    let Some(node) = view.node(ix) else { return Ok(()) };
    let network = view.config().network;
    let forged = node.known_records().take(RECORDS).find(|record| !record.verify(&network));
    let Some(record) = forged else { return Ok(()) };
    let what = format!("it knows {:?} by a record that is not signed", record.id);
    view.violated(Invariant::SIGNED_RECORDS, ix, what)
}
