//! The smokesignal network in a box: thousands of real protocol nodes, one thread, virtual time, one seed.
//!
//! [`World`] owns the very [`smokesignal_proto::Node`]s that the library drives, and plays network, clock and user
//! for them. Faults are [`Rule`]s; invariants are checked while it runs, and the first that does not hold stops the
//! world. The same seed gives the same run, event by event: [`World::trace_hash`] tells.
//!
//! Not modelled: the cost of cryptography, packets (delay and bandwidth are those of whole messages), and what the
//! library around the core does.
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
//! world.check_quiet(Duration::from_secs(5));
//! assert_eq!(world.violation(), None);
//! assert_eq!(world.graph().components(), [14]);
//! ```

mod chance;
mod check;
mod drive;
mod graph;
mod hostile;
mod latency;
mod link;
mod member;
mod network;
mod plot;
mod queue;
mod report;
mod rule;
mod scenario;
mod seek;
mod stats;
mod swarm;
mod workload;
mod world;

pub use chance::Chance;
pub use check::{Expect, Violation};
pub use graph::Graph;
pub use hostile::Behaviour;
pub use latency::Latency;
pub use plot::svg;
pub use report::{Axes, Curve, Figure, Report};
pub use rule::{Fault, Rule};
pub use scenario::{Progress, Run, SCENARIOS, Scenario};
pub use stats::{Histogram, Kinds, Stats};
pub use swarm::Draw;
pub use workload::Workload;
pub use world::{Setup, World};
