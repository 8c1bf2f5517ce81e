//! What one row measures: one value of each option that takes a list.

use smokesignal_load::{Pace, Workload};

use super::Args;
use super::report::bytes;
use crate::outcome::Failure;

/// Bytes in a message where no size is given.
const MESSAGE: usize = 64;
/// Bytes in a write to a stream then: what `cp` and the like take.
const WRITE: usize = 64 << 10;
/// Payload on its way in all where no window is given: what fills the pipe.
const ON_THE_WAY: usize = 8 << 20;
/// Messages of one writer on their way then, at least and at most.
const WINDOW: (usize, usize) = (2, 131_072);

#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) nodes: usize,
    pub(super) writers: usize,
    pub(super) size: usize,
    pub(super) pace: Pace,
    pub(super) streams: usize,
}

/// The cross product, in the order of the options. What is no list in some kind of measuring has one value there.
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

fn numbers(list: &[u32]) -> impl Iterator<Item = usize> {
    list.iter().map(|number| *number as usize)
}

fn paces(args: &Args, writers: usize, size: usize) -> Vec<Pace> {
    let rates = args.rate.iter().map(|rate| Pace::Rate(*rate));
    let windows = args.window.iter().map(|window| Pace::Window(*window));
    let paces: Vec<Pace> = rates.chain(windows).collect();
    if paces.is_empty() { vec![Pace::Window(window(writers, size))] } else { paces }
}

fn window(writers: usize, size: usize) -> u64 {
    (ON_THE_WAY / writers / size).clamp(WINDOW.0, WINDOW.1) as u64
}

pub(super) fn pace_name(pace: Pace) -> String {
    match pace {
        Pace::Window(window) => format!("window {window}"),
        Pace::Rate(rate) => format!("{rate}/s"),
    }
}

impl Case {
    pub(super) fn workload(&self, args: &Args) -> Workload {
        let Self { nodes, writers, size, pace, .. } = *self;
        Workload { nodes, writers, size, pace, warm_up: args.warm_up, duration: args.seconds }
    }

    /// For the bar and for errors.
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
    fn the_window_fills_the_pipe() {
        for (writers, size, messages) in
            [(1, 1 << 10, 8192), (8, 1 << 10, 1024), (1, 24, 131_072), (20, 16 << 20, 2)]
        {
            assert_eq!(window(writers, size), messages);
        }
    }
}
