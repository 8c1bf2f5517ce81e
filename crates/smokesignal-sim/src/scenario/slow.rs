//! `slow`: what frozen and slow nodes cost the others, compared with the same run without them.

use std::time::Duration;

use super::lab::Lab;
use crate::fault::{Fault, Rule};
use crate::report::Figure;
use crate::setup::Expect;
use crate::workload::Workload;

const S: Duration = Duration::from_secs(1);
/// Bytes per second of a good line: 10 MB/s. Slow ones have 1 % of it.
const LINE: u64 = 10_000_000;
/// How long the fault goes on, and the measurement with it.
const TIME: Duration = Duration::from_secs(20);

/// Plays `slow`: each case is compared with the run without a fault.
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

/// Plays one case. Returns the deliveries per second, node and writer, and the 99th percentile of
/// the latency in milliseconds, both of the nodes that the fault has not struck.
fn play(lab: &mut Lab<'_, '_>, fault: Option<Fault>) -> (f64, f64) {
    // A frozen seed is lost for the others, which report a netsplit.
    let netsplits = matches!(fault, Some(Fault::Freeze { .. }));
    let mut world = lab.gathered(Expect { gaps: true, netsplits, ..Expect::default() });
    world.limit_uploads(LINE);
    world.write(Workload { writers: 20, per_second: 20.0, size: 2000, lasts: 5 * S + TIME });
    lab.pass(&mut world, "first writes", 5 * S);
    world.measure();
    if let Some(fault) = fault {
        world.add_rule(Rule::lasting(Duration::ZERO, TIME, fault));
        world.run(Duration::from_micros(1));
    }
    let struck = world.struck_first().to_vec();
    let nodes = world.cluster().len();
    world.stats.judged = Some((0..nodes).map(|ix| !struck.contains(&ix)).collect());
    lab.pass(&mut world, "write", TIME - S / 2);
    // Readers times writers. A frozen writer writes nothing, which is not a loss of the others.
    let writers = world.traffic().writers().iter();
    let writers = writers.filter(|writer| !struck.contains(&writer.node)).count();
    let others = (nodes - struck.len()) * writers.max(1);
    let rate = world.stats.latency.total() as f64 / (TIME - S / 2).as_secs_f64() / others as f64;
    let p99 = world.stats.latency.percentile(0.99) as f64 / 1e3;
    lab.end(&world);
    (rate, p99)
}
