//! Named scenarios: each is a question about the network, and its answer is a list of figures.
//!
//! A scenario is a function that plays one or more worlds in a [`Lab`] and adds its figures, some
//! of them with a goal. The lab counts events and time, collects violations, and makes the
//! [`Report`].

mod faults;
mod lab;
mod late_seed;
mod liars;
mod line;
mod lookup;
mod netsplit;
mod reorder;
mod slow;
mod swarm;
mod traffic;
mod two_seeds;

use smokesignal_proto::Features;

use crate::invariant::Invariant;
use crate::report::Report;

use lab::Lab;
pub use lab::Progress;
pub use line::{CASES, Case};
pub use swarm::Draw;

/// The options of a run.
pub struct Run<'a> {
    /// The seed of all randomness.
    pub rng_seed: u64,
    /// Number of nodes; `None` is the scenario's own.
    pub nodes: Option<usize>,
    /// How many seeds `swarm` tries.
    pub seeds: u64,
    /// The only case that `line` plays; `None` plays all.
    pub case: Option<Case>,
    /// Bits of features that all nodes offer besides those that the program offers: to try one
    /// before it is offered. Copies of segments that come in parts are not counted.
    pub features: u64,
    /// Invariants whose violations do not stop a run.
    pub ignore: Vec<Invariant>,
    /// The virtual time of each world from which on all that happens is printed to stderr.
    pub trace: Option<std::time::Duration>,
    /// Called now and then with the progress of the run.
    pub progress: &'a mut dyn FnMut(Progress),
}

impl Run<'_> {
    /// Returns all features that the nodes offer.
    fn offered(&self) -> Features {
        Features::OURS | Features::from_bits(self.features)
    }

    /// Returns the option that repeats the choice of features.
    fn features_option(&self) -> String {
        if self.features == 0 { String::new() } else { format!(" --features {}", self.features) }
    }
}

/// A question about the network, with a name.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it asks.
    pub about: &'static str,
    /// Number of nodes, unless the run sets another one; 0 if each seed draws its own.
    pub nodes: usize,
    play: fn(&mut Lab<'_, '_>),
}

/// All scenarios, in the order in which `all` runs them.
pub const SCENARIOS: [Scenario; 24] = [
    scenario("join", "all nodes join through one seed, 200 per second", 1000, faults::join),
    scenario(
        "steady-1",
        "one writer: redundancy, latency and hops, compared with a flood",
        1000,
        traffic::steady_1,
    ),
    scenario("steady-50", "50 writers at the same time", 1000, traffic::steady_50),
    scenario("kill-10", "10 % die at the same moment, while 1 and 50 nodes write", 1000, faults::kill_10),
    scenario("kill-30", "30 % die at the same moment", 1000, faults::kill_30),
    scenario("kill-50", "50 % die at the same moment", 1000, faults::kill_50),
    scenario("kill-80", "80 % die at the same moment", 1000, faults::kill_80),
    scenario("kill-95", "95 % die at the same moment", 1000, faults::kill_95),
    scenario(
        "seeds-dead-95",
        "95 % and all seeds vanish silently: do the others find each other?",
        2000,
        faults::seeds_dead,
    ),
    scenario("netsplit", "cut 2 to 16 ways for 1 s to 2 min, then whole again", 400, netsplit::netsplit),
    scenario("netsplit-24h", "cut in two for a day", 40, netsplit::netsplit_24h),
    scenario("slow", "frozen readers and slow lines: what do the others lose?", 300, slow::slow),
    scenario(
        "line",
        "slow lines, and writers that overrun them; one of its cases with --case",
        7,
        line::line,
    ),
    scenario("idle", "bytes per second of an idle link", 200, traffic::idle),
    scenario("hostile-20", "a fifth drops, lies, forges, replays and hoards", 500, faults::hostile),
    scenario(
        "liars",
        "nodes join, and a writer restarts, among nodes that lie about streams",
        60,
        liars::liars,
    ),
    scenario("churn", "a tenth is replaced every minute: is a false netsplit reported?", 300, faults::churn),
    scenario("restart", "half of the nodes, writers too, restart with their keys", 300, faults::restart),
    scenario(
        "reorder",
        "twelve cities, three regions: what do near neighbours gain, and at what cost?",
        200,
        reorder::reorder,
    ),
    scenario(
        "late-seed",
        "a seed comes up last: when is it met, and how often is it dialled until then?",
        1000,
        late_seed::late_seed,
    ),
    scenario(
        "two-seeds",
        "a node has a seed in each of two networks: when are they one?",
        100,
        two_seeds::two_seeds,
    ),
    scenario(
        "seek",
        "nodes look for others by id: dialled, relayed, past deaths and hostile relays",
        1000,
        lookup::lookup,
    ),
    scenario("swarm", "many small networks, each with the faults that its seed draws", 0, swarm::swarm),
    scenario("speed", "events per second of the simulator", 10_000, traffic::speed),
];

const fn scenario(
    name: &'static str,
    about: &'static str,
    nodes: usize,
    play: fn(&mut Lab<'_, '_>),
) -> Scenario {
    Scenario { name, about, nodes, play }
}

impl Scenario {
    /// Finds a scenario by its name.
    pub fn find(name: &str) -> Option<Self> {
        SCENARIOS.into_iter().find(|scenario| scenario.name == name)
    }

    /// Plays the scenario. Returns its figures and its violations.
    pub fn run(&self, run: &mut Run<'_>) -> Report {
        let mut lab = Lab::new(self.name, run.nodes.unwrap_or(self.nodes), run);
        (self.play)(&mut lab);
        lab.report()
    }
}
