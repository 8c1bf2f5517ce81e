//! Checks that every lookup is answered once, in time, and with the node that was looked for.
//!
//! Open lookups are in the books of `lookup.rs`, which forgets those whose nodes have died. An
//! answer to a lookup that is not there is a second one; a lookup that stays there for too long has
//! none.

use super::{Check, Observed, View, Violation};
use crate::invariant::Invariant;
use crate::kernel::micros;

/// Looks at the answers to lookups, and at those that are late.
#[derive(Debug)]
pub(super) struct Lookups;

impl Check for Lookups {
    fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation> {
        match *event {
            Observed::LookupAnswered { node, request, lookup: None, .. } => {
                let what = format!("{request:?} is answered a second time");
                view.violated(Invariant::LOOKUPS_ANSWERED, node, what)
            }
            Observed::LookupAnswered { node, lookup: Some(lookup), reached: Ok(reached), .. } => {
                if reached == lookup.target {
                    return Ok(());
                }
                let what = format!("it looked for {:?} and reached {reached:?}", lookup.target);
                view.violated(Invariant::RIGHT_NODE_FOUND, node, what)
            }
            Observed::Second => late(view),
            _ => Ok(()),
        }
    }
}

/// Checks that no lookup waits for longer than three times its timeout, and a second for the look.
fn late(view: &View<'_>) -> Result<(), Violation> {
    let limit = 3 * micros(view.config().find_timeout) + 1_000_000;
    let mut late = view.lookups.open().filter(|(_, lookup)| view.now - lookup.since > limit);
    late.try_for_each(|(request, lookup)| {
        let what = format!("{request:?} has no answer after {limit} us");
        view.violated(Invariant::LOOKUPS_ANSWERED, lookup.node, what)
    })
}
