//! The parameters of one row: one value of each option that takes a list.
//!
//! [`all`] makes the list of rows from the options alone, so the process of a single row makes the
//! same list as the run that started it, and finds its row by the number.

use smokesignal_load::{Pace, Workload};

use super::args::Args;
use super::report::bytes;
use crate::outcome::Failure;

/// Bytes per message by default.
const MESSAGE: usize = 64;
/// Bytes per write to a stream by default. A guess: what tools such as `cp` write with one call.
const WRITE: usize = 64 << 10;
/// Payload under way by default, in bytes, summed over all writers. A guess: enough to keep every
/// link busy.
const UNDER_WAY: usize = 8 << 20;
/// The smallest and the largest default window of a writer, in messages.
const WINDOW: (usize, usize) = (2, 131_072);

/// The parameters of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Number of nodes.
    pub(super) nodes: usize,
    /// Number of nodes that write.
    pub(super) writers: usize,
    /// Bytes per message, or with `--direct` per write.
    pub(super) size: usize,
    /// How fast the writers write.
    pub(super) pace: Pace,
    /// Number of streams, with `--direct`.
    pub(super) streams: usize,
}

/// Returns all combinations, in the order of the options. An option without meaning for the chosen
/// benchmark has a single value, its default.
///
/// # Errors
/// Fails if a combination has more writers than nodes.
pub(super) fn all(args: &Args) -> Result<Vec<Case>, Failure> {
    let default = [if args.direct { WRITE } else { MESSAGE }];
    let sizes = if args.size.is_empty() { &default[..] } else { &args.size };
    let mut all = Vec::new();
    for nodes in numbers(&args.nodes) {
        for writers in numbers(&args.writers) {
            if writers > nodes {
                return Err(Failure::Usage(format!(
                    "{nodes} nodes cannot have {writers} writers; raise --nodes or lower --writers"
                )));
            }
            for &size in sizes {
                for pace in paces(args, writers, size) {
                    let case = |streams| Case { nodes, writers, size, pace, streams };
                    all.extend(numbers(&args.streams).map(case));
                }
            }
        }
    }
    Ok(all)
}

/// Converts the numbers of an option. They are `u32` because clap checks ranges of that type.
fn numbers(list: &[u32]) -> impl Iterator<Item = usize> {
    list.iter().map(|number| *number as usize)
}

/// Returns the rates or windows that the options ask for, or else the default window.
fn paces(args: &Args, writers: usize, size: usize) -> Vec<Pace> {
    let rates = args.rate.iter().map(|rate| Pace::Rate(*rate));
    let windows = args.window.iter().map(|window| Pace::Window(*window));
    let paces: Vec<Pace> = rates.chain(windows).collect();
    if paces.is_empty() { vec![Pace::Window(window(writers, size))] } else { paces }
}

/// Returns the default window of a writer: its share of [`UNDER_WAY`] in messages.
fn window(writers: usize, size: usize) -> u64 {
    (UNDER_WAY / writers / size).clamp(WINDOW.0, WINDOW.1) as u64
}

/// Returns the pace as a short text, such as `window 8192` or `200/s`.
pub(super) fn pace_name(pace: Pace) -> String {
    match pace {
        Pace::Window(window) => format!("window {window}"),
        Pace::Rate(rate) => format!("{rate}/s"),
    }
}

impl Case {
    /// Returns the workload of this row.
    pub(super) fn workload(&self, args: &Args) -> Workload {
        let Self { nodes, writers, size, pace, .. } = *self;
        Workload { nodes, writers, size, pace, warm_up: args.warm_up, duration: args.seconds }
    }

    /// Returns a short name of this row, for the progress bar and for errors.
    pub(super) fn name(&self, args: &Args) -> String {
        let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let size = bytes(self.size);
        match args {
            Args { direct: true, .. } => format!("{}, writes of {size}", many(self.streams, "stream")),
            Args { scale: true, .. } => format!("{} nodes", self.nodes),
            _ => {
                let (writers, pace) = (many(self.writers, "writer"), pace_name(self.pace));
                format!("{} nodes, {writers}, {size}, {pace}", self.nodes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_window_allows_eight_mebibytes_under_way() {
        for (writers, size, messages) in
            [(1, 1 << 10, 8192), (8, 1 << 10, 1024), (1, 24, 131_072), (20, 16 << 20, 2)]
        {
            assert_eq!(window(writers, size), messages);
        }
    }
}
