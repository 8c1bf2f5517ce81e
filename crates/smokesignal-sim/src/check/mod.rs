//! The checks that run while a world runs: each looks after a family of invariants.
//!
//! The world reports what happens as an [`Observed`] event, before it takes note of it itself.
//! Every [`Check`] gets every event with a [`View`] of the world at that moment. The view lends
//! everything and lets nothing be changed, so that a check cannot disturb what it checks; what a
//! check has to remember is in its own fields. The first violation stops the world.
//!
//! A check that every node delivers something within its first minute would be:
//!
//! ```ignore
//! #[derive(Debug, Default)]
//! struct Heard(Vec<bool>);
//!
//! impl Check for Heard {
//!     fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation> {
//!         self.0.resize(view.cluster.len(), false);
//!         match event {
//!             Observed::Delivered { node, .. } => self.0[*node] = true,
//!             Observed::Second => {
//!                 let is_old = |ix: &usize| view.now - view.cluster.started_at(*ix) > 60_000_000;
//!                 if let Some(ix) = view.awake().filter(is_old).find(|ix| !self.0[*ix]) {
//!                     return view.violated(Invariant::HEARD, ix, "it heard nothing".to_owned());
//!                 }
//!             }
//!             _ => {}
//!         }
//!         Ok(())
//!     }
//! }
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `deliveries.rs` | what readers get: order, content, gaps that add up |
//! | `writers.rs` | writers are not held up by one neighbour |
//! | `links.rs` | how many links a node has, to whom, and which may end |
//! | `topology.rs` | the overlay as a graph |
//! | `limits.rs` | what a node holds: no more than its limits, and signed records |
//! | `beacon.rs` | the root of a component, and its size |
//! | `netsplit.rs` | what is reported about cuts |
//! | `streams.rs` | what nodes hold of a stream, believe of neighbours, and get from whom |
//! | `upkeep.rs` | what a quiescent network costs |
//! | `lookups.rs` | every lookup is answered |
//!
//! `docs/simulation.md` has a table of all invariants with the file and the time of each check.
//! Promises that compare two runs, such as what a frozen node costs the others, are not
//! invariants of one run. They are figures of the scenarios `slow` and `reorder`.

mod beacon;
mod deliveries;
mod limits;
mod links;
mod lookups;
mod netsplit;
mod streams;
mod topology;
mod upkeep;
mod view;
mod violation;
mod writers;

use std::fmt::Debug;
use std::time::Duration;

use smokesignal_proto::{CloseReason, NodeId, RequestId};

pub(crate) use view::View;
pub use violation::Violation;

use crate::lookup::Lookup;

/// A family of invariants.
pub(crate) trait Check: Debug {
    /// Looks at an event and at the world as it is when the event happens.
    fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation>;
}

/// An event that the world reports to the checks. Nodes are named by number.
#[derive(Debug)]
pub(crate) enum Observed<'a> {
    /// A node starts, for the first time or again.
    Started { node: usize },
    /// A node delivers a message to its application.
    Delivered { node: usize, from: NodeId, seq: u64, data: &'a [u8] },
    /// A node reports a gap.
    Gap { node: usize, from: NodeId, missed: u64 },
    /// A writer has written a message; `as_number` tells whether under the number that is due.
    Wrote { writer: u32, number: u64, as_number: bool },
    /// A writer may not write now.
    Blocked { writer: u32 },
    /// A node counts a new link.
    PeerUp { node: usize, peer: NodeId },
    /// A node has lost a link. The peer is `None` where its connection is forgotten already.
    PeerDown { node: usize, peer: Option<NodeId>, reason: CloseReason },
    /// A node dials.
    Dials { node: usize },
    /// The user of a node asks for a link to a certain node, and pins it.
    PinRequested { node: usize },
    /// That request is answered: with the peer, or with a failure.
    PinAnswered { node: usize, peer: Option<NodeId> },
    /// A node reports a netsplit, or its end.
    Netsplit { node: usize, over: bool },
    /// A lookup is answered; `lookup` is `None` if none is open under this number. `Ok` holds the
    /// node at the other end, or `None` where the connection is gone already.
    LookupAnswered {
        node: usize,
        request: RequestId,
        lookup: Option<Lookup>,
        reached: Result<Option<usize>, ()>,
    },
    /// A second has passed.
    Second,
    /// The network has been cut for 30 s or longer, and still is.
    LongCut,
    /// The network has been whole for a while after a cut.
    Healed,
    /// Nothing was written and nothing failed for a while, and then this many segments arrived.
    Quiescent { segments: u64, within: Duration },
    /// The network is quiescent, and its links have settled. `beacons` and `seed_dials` are those
    /// of the 5 s before that.
    AtRest { beacons: u64, seed_dials: u64, within: Duration },
    /// The network is quiescent, and the hostile ones among its nodes only lie in digests.
    AtRestAmongLiars,
}

/// All checks.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<Box<dyn Check>>);

impl Checks {
    /// Creates all checks. Their order decides which of several violations counts.
    pub(crate) fn new() -> Self {
        Self(vec![
            Box::new(deliveries::Deliveries),
            Box::<writers::Writers>::default(),
            Box::<links::Links>::default(),
            Box::new(topology::Topology),
            Box::new(limits::Limits),
            Box::new(beacon::Beacon),
            Box::<netsplit::Netsplits>::default(),
            Box::<streams::Streams>::default(),
            Box::new(upkeep::Upkeep),
            Box::new(lookups::Lookups),
        ])
    }

    /// Shows an event to all checks. Returns the first violation.
    pub(crate) fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation> {
        self.0.iter_mut().try_for_each(|check| check.on_event(view, event))
    }
}
