//! The default benchmark: some nodes broadcast, and all others read.
//!
//! The crate `smokesignal-load` writes, reads and measures; this file starts it on a fresh network,
//! checks its outcome and turns that into columns. The programs in the folder `bench` measure other
//! systems with the same crate, so their rows and these have the same meaning.

use smokesignal_load::{Outcome, Pace, measure};

use super::args::Args;
use super::bar::Bar;
use super::case::{Case, pace_name};
use super::library::FreshNetwork;
use super::report::{Column, Record, Report, bytes, column, known, number, ratio};

/// Measures one row and prints it. Fails if a message was lost, repeated or out of order.
pub(super) async fn run(args: &Args, case: &Case, report: &Report<'_>, bar: &Bar) -> Result<(), String> {
    let workload = case.workload(args);
    let phase = |phase| bar.load(phase, &workload);
    let outcome =
        measure(&FreshNetwork(args.kind()), &workload, phase).await.map_err(|error| error.to_string())?;
    report.row(&outcome)?;
    check(&outcome)
}

/// Checks that every message was delivered once and in order. A benchmark of a system that loses
/// messages would otherwise look fast. The messages of the warm-up count, too.
pub(super) fn check(outcome: &Outcome) -> Result<(), String> {
    let Outcome { delivered, expected, gaps, repeated, disordered, .. } = *outcome;
    let lost = expected.saturating_sub(delivered);
    let mut broken = Vec::new();
    if lost > 0 {
        broken.push(format!(
            "{lost} of {expected} deliveries were lost, of which {gaps} were reported as gaps"
        ));
    }
    if repeated > 0 {
        broken.push(format!("{repeated} messages were read twice"));
    }
    // After a loss every later message counts as out of order, because it is ahead of the missing
    // one.
    if disordered > 0 && lost == 0 {
        broken.push(format!("{disordered} messages were read out of order"));
    }
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
}

impl Record for Outcome {
    fn columns(&self) -> Vec<Column> {
        // A run has either a window or a rate.
        let pace = self.window.map(Pace::Window).or(self.rate.map(Pace::Rate));
        let ms = |micros: f64| number(micros / 1000.0);
        vec![
            column("nodes", 5, self.nodes),
            column("writers", 7, self.writers),
            column("size", 8, bytes(self.size)),
            column("pace", 12, pace.map(pace_name).unwrap_or_default()),
            column("deliveries/s", 12, format!("{:.0}", self.deliveries_per_s)),
            column("MB/s", 6, number(self.mb_per_s)),
            column("ratio", 7, ratio(self.ratio)),
            column("p50 ms", 6, ms(self.latency.p50)),
            column("p90 ms", 6, ms(self.latency.p90)),
            column("p99 ms", 6, ms(self.latency.p99)),
            column("max ms", 6, ms(self.latency.max)),
            column("copies", 6, known(self.copies_per_delivery)),
            column("CPU s/M", 7, number(self.cpu_s_per_million)),
            column("KiB/node", 8, known(self.rss_kib_per_node)),
            column("join s", 6, number(self.join_s)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use smokesignal_load::Latency;

    use super::*;

    #[test]
    fn losses_and_repetitions_are_errors() {
        let mut outcome = Outcome {
            nodes: 3,
            writers: 1,
            size: 64,
            window: Some(8),
            rate: None,
            seconds: 1.0,
            sent: 50,
            delivered: 100,
            expected: 100,
            ratio: 1.0,
            gaps: 0,
            repeated: 0,
            disordered: 0,
            deliveries_per_s: 100.0,
            mb_per_s: 0.0064,
            latency: Latency::default(),
            copies_per_delivery: None,
            cpu_s_per_million: 1.0,
            rss_kib_per_node: None,
            join_s: 0.1,
        };
        assert_eq!(check(&outcome), Ok(()));
        (outcome.delivered, outcome.gaps, outcome.repeated) = (97, 2, 1);
        let text = check(&outcome).unwrap_err();
        assert!(
            text.contains("3 of 100")
                && text.contains("2 were reported as gaps")
                && text.contains("1 messages"),
            "{text}"
        );
    }
}
