//! `slow`: what frozen and slow nodes cost the others, against the same run without them.

use std::time::Duration;

use super::lab::Lab;
use crate::check::Expect;
use crate::report::Figure;
use crate::rule::{Fault, Rule};
use crate::workload::Workload;

const S: Duration = Duration::from_secs(1);
/// Bytes per second that a good line takes, so that 1 % of it means something: 10 MB/s.
const LINE: u64 = 10_000_000;
const TIME: Duration = Duration::from_secs(20);

pub(super) fn slow(lab: &mut Lab<'_, '_>) {
    let (rate, p99) = play(lab, None);
    lab.figure(Figure::new("undisturbed: delivered per node and writer", rate, "/s"));
    lab.figure(Figure::new("undisturbed: latency p99", p99, "ms"));
    let cases = [
        ("one frozen reader", Fault::Freeze { nodes: 1 }),
        ("ten frozen", Fault::Freeze { nodes: 10 }),
        ("5 % with 1 % of a line", Fault::SlowLine { share: 0.05, bytes: LINE / 100 }),
        ("5 % read 1 % of a line", Fault::SlowReader { share: 0.05, bytes: LINE / 100 }),
    ];
    for (name, fault) in cases {
        let (slowed, slow_p99) = play(lab, Some(fault));
        let figure = Figure::new(format!("{name}: throughput of the others"), slowed / rate * 100.0, "%");
        lab.figure(figure.at_least(95.0));
        let figure = Figure::new(format!("{name}: latency p99 against undisturbed"), slow_p99 / p99, "x");
        lab.figure(figure.at_most(2.0));
    }
}

/// Returns deliveries per second, node and writer, and p99 in ms, of nodes that nothing happened to and of their messages.
fn play(lab: &mut Lab<'_, '_>, fault: Option<Fault>) -> (f64, f64) {
    // A frozen seed is lost for the others: they are to be told of it.
    let netsplits = matches!(fault, Some(Fault::Freeze { .. }));
    let mut world = lab.gathered(Expect { gaps: true, netsplits, ..Expect::default() });
    world.members.iter_mut().for_each(|member| member.upload = Some(LINE));
    world.write(Workload { writers: 20, per_second: 20.0, size: 2000, lasts: 5 * S + TIME });
    lab.pass(&mut world, "first writes", 5 * S);
    world.measure();
    if let Some(fault) = fault {
        world.add_rule(Rule::lasting(Duration::ZERO, TIME, fault));
        world.run(Duration::from_micros(1));
    }
    let met = world.rules.first().map_or(Vec::new(), |rule| rule.met().to_vec());
    world.stats.judged = Some((0..world.members.len()).map(|ix| !met.contains(&ix)).collect());
    lab.pass(&mut world, "write", TIME - S / 2);
    // Readers times writers: a frozen writer takes its messages with it, which is no loss of the others.
    let writers = world.writers.iter().filter(|ix| !met.contains(&(**ix as usize))).count();
    let others = (world.members.len() - met.len()) * writers.max(1);
    let rate = world.stats.latency.total() as f64 / (TIME - S / 2).as_secs_f64() / others as f64;
    let p99 = world.stats.latency.percentile(0.99) as f64 / 1e3;
    lab.end(&world);
    (rate, p99)
}
