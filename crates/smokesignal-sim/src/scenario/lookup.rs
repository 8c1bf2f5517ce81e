//! `seek`: nodes look for others by id, to open streams to them.
//!
//! Each case is a network in which something makes that hard: nodes that cannot be dialled, nodes
//! that die, hostile relays. 20 random nodes per second look for random others for 20 s, and one
//! time in twenty for an id that no node has.

use std::time::Duration;

use super::lab::Lab;
use crate::fault::{Fault, Rule};
use crate::report::Figure;
use crate::setup::Expect;
use crate::world::World;

const S: Duration = Duration::from_secs(1);
/// Lookups per second, in the whole network.
const RATE: u64 = 20;

/// A network in which lookups are hard for some reason.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    /// Share of the nodes that nobody can dial.
    undialable: f64,
    /// Whether all connections for streams are relayed: nobody dials.
    relay_only: bool,
    fault: Option<Fault>,
    /// Percentage of the lookups of living nodes that has to succeed.
    goal: f64,
}

/// Plays `seek`, one case after the other.
pub(super) fn lookup(lab: &mut Lab<'_, '_>) {
    let plain = Case { name: "", undialable: 0.0, relay_only: false, fault: None, goal: 100.0 };
    let relayed = Case { relay_only: true, ..plain };
    let deaths = Some(Fault::Churn { per_minute: 0.6 });
    let hostile = Some(Fault::Hostile { share: 0.2, behaviour: None });
    for case in [
        Case { name: "all can be dialled", ..plain },
        Case { name: "half cannot be dialled", undialable: 0.5, ..plain },
        Case { name: "all relayed", ..relayed },
        Case { name: "all relayed, 1 % dies per second", fault: deaths, goal: 98.0, ..relayed },
        // Hoarders have ten times the links, and are therefore on most paths.
        Case { name: "all relayed, a fifth hostile", fault: hostile, goal: 0.0, ..relayed },
    ] {
        play(lab, case);
    }
}

/// Plays one case.
fn play(lab: &mut Lab<'_, '_>, case: Case) {
    let mut setup = lab.setup(Expect { gaps: true, ..Expect::default() });
    // No node knows more than a few others: it has to ask the network.
    setup.config.passive_view = 16;
    setup.config.dial_for_streams = !case.relay_only;
    let mut world = lab.gather(World::new(setup));
    for ix in 0..world.cluster().len() {
        // The seed can be dialled. Otherwise nobody could join.
        let is_seed = ix < world.setup().seeds;
        let undialable = !is_seed && world.rng().happens(case.undialable);
        world.set_undialable(ix, undialable);
    }
    if let Some(fault) = case.fault {
        let mut rule = Rule::once(Duration::ZERO, fault);
        rule.lasts = 20 * S;
        world.add_rule(rule);
        lab.pass(&mut world, "begin", 5 * S);
    }
    for _ in 0..20 * RATE {
        one_lookup(&mut world);
        world.run(S / RATE as u32);
    }
    lab.pass(&mut world, "end", 20 * S);
    figures(lab, &world, case);
    lab.end(&world);
}

/// Lets a random node look for a random other one.
fn one_lookup(world: &mut World) {
    let usable = |ix: &usize| world.is_awake(*ix) && world.cluster().is_honest(*ix);
    let nodes: Vec<_> = world.alive().into_iter().filter(usable).collect();
    let [from, to] = [(); 2].map(|()| nodes[world.rng().below(nodes.len())]);
    let exists = world.rng().happens(0.95);
    if from != to {
        world.look_up(from, exists.then_some(to));
    }
}

/// Adds what came of the lookups.
fn figures(lab: &mut Lab<'_, '_>, world: &World, case: Case) {
    let found = world.lookup_outcomes();
    let name = |what: &str| format!("{}: {what}", case.name);
    let ms = |micros: u64| micros as f64 / 1e3;
    let reached = found.connected + found.dialled.total() + found.relayed.total();
    let share = reached as f64 * 100.0 / (reached + found.failed) as f64;
    lab.figure(Figure::new(name("living targets reached"), share, "%").at_least(case.goal));
    lab.figure(Figure::new(name("over an existing connection"), found.connected as f64, ""));
    for (what, times) in [("dialled", &found.dialled), ("relayed", &found.relayed)] {
        if times.total() > 0 {
            lab.figure(Figure::new(name(what), times.total() as f64, ""));
            lab.figure(Figure::new(name(&format!("{what}, after p50")), ms(times.percentile(0.5)), "ms"));
            lab.figure(Figure::new(name(&format!("{what}, after p99")), ms(times.percentile(0.99)), "ms"));
        }
    }
    if found.relayed.total() > 0 {
        lab.figure(Figure::new(
            name("links per relayed connection, p50"),
            found.hops.percentile(0.5) as f64,
            "",
        ));
        lab.figure(Figure::new(name("links per relayed connection, max"), found.hops.max() as f64, ""));
        lab.figure(Figure::new(name("relayed connections cut"), found.cut as f64, ""));
    }
    let absent = found.absent.max();
    lab.figure(Figure::new(name("absent targets reported after, max"), ms(absent), "ms").at_most(16_000.0));
}
