//! Looking for nodes by id, to talk to them: `seek`.

use std::time::Duration;

use super::lab::Lab;
use crate::check::Expect;
use crate::report::Figure;
use crate::rule::{Fault, Rule};
use crate::world::World;

const S: Duration = Duration::from_secs(1);
/// Searches a second, in the whole network.
const RATE: u64 = 20;

/// What makes it hard.
#[derive(Debug, Clone, Copy)]
struct Hard {
    name: &'static str,
    /// Share of the nodes that nobody can dial.
    hidden: f64,
    /// Nobody dials for streams.
    carried: bool,
    fault: Option<Fault>,
    /// Share of the searches for living nodes that succeed, at least.
    goal: f64,
}

pub(super) fn seek(lab: &mut Lab<'_, '_>) {
    let plain = Hard { name: "", hidden: 0.0, carried: false, fault: None, goal: 100.0 };
    let carried = Hard { carried: true, ..plain };
    let deaths = Some(Fault::Churn { per_minute: 0.6 });
    let hostile = Some(Fault::Hostile { share: 0.2, behaviour: None });
    for hard in [
        Hard { name: "all can be dialled", ..plain },
        Hard { name: "half cannot be dialled", hidden: 0.5, ..plain },
        Hard { name: "nobody dials", ..carried },
        Hard { name: "and 1 % dies each second", fault: deaths, goal: 98.0, ..carried },
        // Those who take ten times the links are on most ways.
        Hard { name: "and a fifth is hostile", fault: hostile, goal: 0.0, ..carried },
    ] {
        play(lab, hard);
    }
}

fn play(lab: &mut Lab<'_, '_>, hard: Hard) {
    let mut world = lab.world(Expect { gaps: true, ..Expect::default() });
    // Nobody knows more than a few others: the network has to be asked.
    world.setup.config.passive_view = 16;
    world.setup.config.dial_for_streams = !hard.carried;
    let mut world = lab.gather(world);
    for ix in 0..world.members.len() {
        // The seed can be dialled, or nobody would join.
        world.members[ix].hidden = ix >= world.setup.seeds && world.chance.with(hard.hidden);
    }
    if let Some(fault) = hard.fault {
        let mut rule = Rule::once(Duration::ZERO, fault);
        rule.lasts = 20 * S;
        world.add_rule(rule);
        lab.pass(&mut world, "begin", 5 * S);
    }
    for _ in 0..20 * RATE {
        one_search(&mut world);
        world.run(S / RATE as u32);
    }
    lab.pass(&mut world, "end", 20 * S);
    figures(lab, &world, hard);
    lab.end(&world);
}

fn one_search(world: &mut World) {
    let usable = |ix: &usize| world.members[*ix].awake() && world.members[*ix].honest();
    let nodes: Vec<_> = world.alive().into_iter().filter(usable).collect();
    let [from, to] = [(); 2].map(|()| nodes[world.chance.below(nodes.len())]);
    let exists = world.chance.with(0.95);
    if from != to {
        world.seek(from, exists.then_some(to));
    }
}

fn figures(lab: &mut Lab<'_, '_>, world: &World, hard: Hard) {
    let found = world.found();
    let name = |what: &str| format!("{}: {what}", hard.name);
    let ms = |micros: u64| micros as f64 / 1e3;
    let reached = found.there + found.direct.total() + found.carried.total();
    let share = reached as f64 * 100.0 / (reached + found.failed) as f64;
    lab.figure(Figure::new(name("reached, of those that live"), share, "%").at_least(hard.goal));
    lab.figure(Figure::new(name("of these over what was there"), found.there as f64, ""));
    for (what, times) in [("dialled", &found.direct), ("carried", &found.carried)] {
        if times.total() > 0 {
            lab.figure(Figure::new(name(what), times.total() as f64, ""));
            lab.figure(Figure::new(name(&format!("{what}, after p50")), ms(times.percentile(0.5)), "ms"));
            lab.figure(Figure::new(name(&format!("{what}, after p99")), ms(times.percentile(0.99)), "ms"));
        }
    }
    if found.carried.total() > 0 {
        lab.figure(Figure::new(
            name("links a carried one goes over, p50"),
            found.hops.percentile(0.5) as f64,
            "",
        ));
        lab.figure(Figure::new(name("the same, most"), found.hops.max() as f64, ""));
        lab.figure(Figure::new(name("ended with a carrier"), found.cut as f64, ""));
    }
    let absent = found.absent.max();
    lab.figure(Figure::new(name("absent ones told after, at most"), ms(absent), "ms").at_most(16_000.0));
}
