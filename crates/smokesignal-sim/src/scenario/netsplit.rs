//! `netsplit`, `netsplit-24h`: the network is cut into 2 to 16 parts and is whole again later.

use std::time::Duration;

use super::lab::Lab;
use crate::check::Observed;
use crate::fault::{Fault, Rule};
use crate::report::Figure;
use crate::setup::Expect;
use crate::stats::Histogram;

const S: Duration = Duration::from_secs(1);
/// The cuts: into how many parts, and for how long.
const CUTS: [(u8, Duration); 6] = [
    (2, S),
    (2, Duration::from_secs(10)),
    (2, Duration::from_secs(30)),
    (4, Duration::from_secs(30)),
    (16, Duration::from_secs(30)),
    (2, Duration::from_secs(120)),
];
/// After a cut of 30 s every node that has lost the seed has reported it.
const LONG: Duration = Duration::from_secs(30);
/// The most time that a network gets until it is one component again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Plays `netsplit`.
pub(super) fn netsplit(lab: &mut Lab<'_, '_>) {
    cuts(lab, &CUTS);
}

/// Plays `netsplit-24h`: the parts have had a day to forget each other.
pub(super) fn netsplit_24h(lab: &mut Lab<'_, '_>) {
    cuts(lab, &[(2, 24 * 3600 * S)]);
}

/// Cuts a fresh network in each of these ways. Measures when nodes report the netsplit and its end.
fn cuts(lab: &mut Lab<'_, '_>, cuts: &[(u8, Duration)]) {
    let (mut detected, mut resolved) = (Histogram::default(), Histogram::default());
    let mut reported = 0;
    for (ways, lasts) in cuts.iter().copied() {
        let mut world = lab.gathered(Expect { gaps: true, netsplits: true, ..Expect::default() });
        world.measure();
        world.add_rule(Rule::lasting(Duration::ZERO, lasts, Fault::Partition { ways }));
        let last = Duration::from_millis(1);
        lab.pass(&mut world, &format!("cut {ways} ways for {lasts:?}"), lasts - last);
        if lasts >= LONG {
            world.observe(&Observed::LongCut);
        }
        world.run(2 * last);
        let whole = world.run_until_when(S / 2, PATIENCE, |world| world.graph().components().len() == 1);
        let name = format!("{ways} ways for {} s: one component after", lasts.as_secs());
        lab.figure(Figure::new(name, whole.map_or(f64::NAN, |time| time.as_secs_f64()), "s").at_most(10.0));
        lab.pass(&mut world, "report", 15 * S);
        detected.merge(&world.stats.detected);
        resolved.merge(&world.stats.resolved);
        reported += world.stats.netsplits;
        if whole.is_some() {
            world.observe(&Observed::Healed);
        }
        lab.end(&world);
    }
    lab.figure(Figure::new("netsplits reported", reported as f64, ""));
    if reported > 0 {
        let s = |micros: u64| micros as f64 / 1e6;
        lab.figure(Figure::new("reported after the cut, p50", s(detected.percentile(0.5)), "s").at_most(8.0));
        lab.figure(
            Figure::new("reported after the cut, p99", s(detected.percentile(0.99)), "s").at_most(15.0),
        );
        lab.figure(Figure::new("end reported, p50", s(resolved.percentile(0.5)), "s").at_most(5.0));
        lab.figure(Figure::new("end reported, p99", s(resolved.percentile(0.99)), "s").at_most(10.0));
    }
}
