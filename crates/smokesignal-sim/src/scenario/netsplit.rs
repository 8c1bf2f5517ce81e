//! `netsplit`, `netsplit-24h`: the network is cut into 2 to 16 parts and becomes whole again.

use std::time::Duration;

use super::lab::Lab;
use crate::check::Expect;
use crate::report::Figure;
use crate::rule::{Fault, Rule};
use crate::stats::Histogram;
use crate::world::World;

const S: Duration = Duration::from_secs(1);
/// Parts, and how long the cut lasts.
const CUTS: [(u8, Duration); 6] = [
    (2, S),
    (2, Duration::from_secs(10)),
    (2, Duration::from_secs(30)),
    (4, Duration::from_secs(30)),
    (16, Duration::from_secs(30)),
    (2, Duration::from_secs(120)),
];
/// A cut that lasts so long is told to all who have lost the seed (B6).
const TOLD: Duration = Duration::from_secs(30);
/// Nobody waits longer for a network to find together again.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn netsplit(lab: &mut Lab<'_, '_>) {
    cuts(lab, &CUTS);
}

pub(super) fn netsplit_24h(lab: &mut Lab<'_, '_>) {
    cuts(lab, &[(2, 24 * 3600 * S)]);
}

fn cuts(lab: &mut Lab<'_, '_>, cuts: &[(u8, Duration)]) {
    let (mut detected, mut resolved) = (Histogram::default(), Histogram::default());
    let mut told = 0;
    for (ways, lasts) in cuts.iter().copied() {
        let mut world = lab.gathered(Expect { gaps: true, netsplits: true, ..Expect::default() });
        world.measure();
        world.add_rule(Rule::lasting(Duration::ZERO, lasts, Fault::Partition { ways }));
        let last = Duration::from_millis(1);
        lab.pass(&mut world, &format!("cut {ways} ways for {lasts:?}"), lasts - last);
        if lasts >= TOLD {
            check_told(&mut world);
        }
        world.run(2 * last);
        let whole = world.run_until_when(S / 2, PATIENCE, |world| world.graph().components().len() == 1);
        let name = format!("{ways} ways for {} s: one component after", lasts.as_secs());
        lab.figure(Figure::new(name, whole.map_or(f64::NAN, |time| time.as_secs_f64()), "s").at_most(10.0));
        lab.pass(&mut world, "tell", 15 * S);
        detected.merge(&world.stats.detected);
        resolved.merge(&world.stats.resolved);
        told += world.stats.netsplits;
        let open = world.members.iter().filter(|member| member.alive() && member.netsplit).count();
        if whole.is_some() && open > 0 {
            let ix = world.members.iter().position(|member| member.netsplit).unwrap_or(0);
            world.violate("B7", ix, format!("{open} nodes still take the network for split"));
        }
        lab.end(&world);
    }
    lab.figure(Figure::new("netsplits told", told as f64, ""));
    if told > 0 {
        let s = |micros: u64| micros as f64 / 1e6;
        lab.figure(Figure::new("told after the cut, p50", s(detected.percentile(0.5)), "s").at_most(8.0));
        lab.figure(Figure::new("told after the cut, p99", s(detected.percentile(0.99)), "s").at_most(15.0));
        lab.figure(Figure::new("told resolved, p50", s(resolved.percentile(0.5)), "s").at_most(5.0));
        lab.figure(Figure::new("told resolved, p99", s(resolved.percentile(0.99)), "s").at_most(10.0));
    }
}

/// B6. Node 0 is the seed that all others were given.
fn check_told(world: &mut World) {
    let silent =
        |ix: &usize| world.members[*ix].alive() && world.is_cut(0, *ix) && !world.members[*ix].netsplit;
    if let Some(ix) = (1..world.members.len()).find(silent) {
        world.violate("B6", ix, "it was not told that it has lost the seed".to_owned());
    }
}
