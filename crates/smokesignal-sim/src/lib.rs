//! The smokesignal network in a box: thousands of real protocol nodes, one thread, virtual time,
//! one seed.
//!
//! A [`World`] owns the very [`smokesignal_proto::Node`]s that the library drives, and plays
//! network, clock and user for them. It is a discrete-event simulation: a kernel takes the next
//! event from a queue, sets the clock to its time, and gives it to the part of the world that it is
//! for, which schedules further events. [`Rule`]s bring faults, a [`Workload`] brings messages.
//! Checks look at everything that happens, and the first [`Invariant`] that does not hold stops the
//! world.
//!
//! The same seed gives the same run, event by event: [`World::trace_hash`] shows it.
//!
//! # Where to add something
//!
//! - A fault: a variant of [`Fault`] in `fault.rs`, and what it does to the world in
//!   `world/faults.rs`. The swarm draws it once it is listed in `scenario/swarm.rs`.
//! - An invariant: a constant with a name and a sentence in `invariant.rs`, its check in the file
//!   of its family below `check/`, and a row in the table of `docs/simulation.md`.
//! - A scenario: a function below `scenario/` that adds its figures to a `Lab`, and a line in
//!   [`SCENARIOS`].
//! - A case of slow lines: a line in [`CASES`], and a function in `scenario/line/cases.rs` that
//!   returns what a run has measured.
//! - An output of the core: an arm of `perform` in `world/nodes.rs`. The compiler asks for it.
//!
//! A change that draws one random number more, or schedules one event more, changes the traces of
//! all runs. That is allowed, but figures can then no longer be compared seed by seed.
//!
//! # Limits
//!
//! Not modelled are the cost of cryptography, packets (delay and bandwidth are those of whole
//! messages), and what the library does around the core. For nodes with a [`Line`] the link's task,
//! the socket and the router's queue are, with an ideal TCP.
//!
//! ```
//! use std::time::Duration;
//! use smokesignal_sim::{Fault, Rule, Setup, Workload, World};
//!
//! let mut world = World::new(Setup::new(7));
//! world.join(20, 50.0);
//! world.run(Duration::from_secs(5));
//! world.write(Workload { writers: 2, per_second: 10.0, size: 100, lasts: Duration::from_secs(5) });
//! world.add_rule(Rule::once(Duration::from_secs(2), Fault::Kill { share: 0.3, silent: false }));
//! world.run(Duration::from_secs(5));
//! world.check_quiescence(Duration::from_secs(5));
//! assert_eq!(world.violation(), None);
//! assert_eq!(world.graph().components(), [14]);
//! ```

mod check;
mod cluster;
mod fault;
mod graph;
mod hostile;
mod invariant;
mod kernel;
mod lookup;
mod net;
mod plot;
mod report;
mod scenario;
mod setup;
mod stats;
mod tally;
mod workload;
mod world;

pub use check::Violation;
pub use fault::{Fault, Rule};
pub use graph::Graph;
pub use hostile::Behaviour;
pub use invariant::Invariant;
pub use kernel::Rng;
pub use net::{Latency, Line};
pub use plot::svg;
pub use report::{Axes, Curve, Figure, Report};
pub use scenario::{CASES, Case, Draw, Progress, Run, SCENARIOS, Scenario};
pub use setup::{Expect, Setup};
pub use stats::{Histogram, Kinds, Stats};
pub use workload::Workload;
pub use world::World;
