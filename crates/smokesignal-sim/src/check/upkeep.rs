//! Checks what a quiescent network costs: no segments, few beacons, few dials to the seeds.
//!
//! The world counts what arrives and who dials during 5 s of quiescence. The limits follow from the
//! links that stand then, from the beacon period, and from the turns in which a component dials
//! missing seeds.

use std::time::Duration;

use super::{Check, Observed, View, Violation};
use crate::invariant::Invariant;
use crate::kernel::micros;

/// Dials of each missing seed by a component, in turns or, where it is one node, by that node.
const TURNS: u64 = 3;
/// Dials by which probes may exceed that: they are drawn by lot, one in a hundred times 5 s; more
/// than two occur less than once in a million times (Poisson).
const MOST_PROBES: u64 = 2;

/// Looks at the sums of a quiescent time.
#[derive(Debug)]
pub(super) struct Upkeep;

impl Check for Upkeep {
    fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation> {
        match *event {
            Observed::Quiescent { segments, within } if segments > 0 => {
                let what = format!("{segments} segments arrived in {within:?} of quiescence");
                view.violated(Invariant::QUIESCENT_STREAMS, 0, what)
            }
            Observed::AtRest { beacons, seed_dials, within } => {
                few_beacons(view, beacons, within)?;
                few_seed_dials(view, seed_dials, within)
            }
            _ => Ok(()),
        }
    }
}

/// Checks that no more than two beacons have crossed each link per period.
fn few_beacons(view: &View<'_>, beacons: u64, within: Duration) -> Result<(), Violation> {
    let graph = view.graph();
    let links: usize = view.cluster.alive().iter().map(|ix| graph.degree(*ix)).sum::<usize>() / 2;
    let periods = micros(within).div_ceil(micros(view.config().beat_period)) + 1;
    let limit = 2 * links as u64 * periods;
    if beacons <= limit {
        return Ok(());
    }
    let what = format!("{beacons} beacons in {within:?} over {links} links, {limit} are due");
    view.violated(Invariant::FEW_BEACONS, 0, what)
}

/// Checks that the seeds are not overrun by dials.
fn few_seed_dials(view: &View<'_>, seed_dials: u64, within: Duration) -> Result<(), Violation> {
    let components = view.graph().components().len() as u64;
    let limit = (MOST_PROBES + TURNS * view.setup.seeds as u64) * components;
    if seed_dials <= limit {
        return Ok(());
    }
    let what = format!("{seed_dials} dials to the seeds in {within:?} by {components} components");
    view.violated(Invariant::FEW_SEED_DIALS, 0, what)
}
