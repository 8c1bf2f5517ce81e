//! Faults as small rules: what, whom, when, for how long. A run has any number of them at the same time.

use std::time::Duration;

use serde::Serialize;
use smokesignal_proto::RequestId;

use crate::hostile::Behaviour;
use crate::member::address;
use crate::world::{Event, World, micros};

/// One fault.
#[derive(Debug, Clone)]
pub struct Rule {
    /// How long after it was added it begins.
    pub after: Duration,
    /// For how long it goes on, where it does.
    pub lasts: Duration,
    /// What goes wrong.
    pub fault: Fault,
    /// Whom it met, to be put right at the end.
    met: Vec<usize>,
}

/// What can go wrong. Shares are of all living nodes, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// These nodes die at one moment: with their connections, or silently as if their cables were cut.
    Kill {
        /// How many.
        share: f64,
        /// Nobody is told.
        silent: bool,
    },
    /// All seeds die.
    KillSeeds {
        /// Nobody is told.
        silent: bool,
    },
    /// These nodes are killed and started again with the same key when the rule ends.
    Restart {
        /// How many.
        share: f64,
    },
    /// So many nodes stop to run, as with SIGSTOP, and go on when the rule ends.
    Freeze {
        /// How many.
        nodes: usize,
    },
    /// The network falls into so many parts, until the rule ends.
    Partition {
        /// 2 to 16.
        ways: u8,
    },
    /// Nodes die and as many new ones join.
    Churn {
        /// Share of the nodes per minute.
        per_minute: f64,
    },
    /// Connections are reset.
    Resets {
        /// Share of all connections per minute.
        per_minute: f64,
    },
    /// These nodes send no faster on each of their connections.
    SlowLine {
        /// How many.
        share: f64,
        /// Bytes per second.
        bytes: u64,
    },
    /// These nodes read no faster from each of their connections.
    SlowReader {
        /// How many.
        share: f64,
        /// Bytes per second.
        bytes: u64,
    },
    /// The clocks of these nodes jump ahead.
    ClockJump {
        /// How many.
        share: f64,
        /// By how much.
        by: Duration,
    },
    /// These nodes ask for a link to some other node, by its address.
    Wish {
        /// How many.
        share: f64,
    },
    /// These nodes turn hostile: they are started again as such.
    Hostile {
        /// How many.
        share: f64,
        /// What they do; `None` is something of everything.
        behaviour: Option<Behaviour>,
    },
}

/// Kills, joins and resets of a lasting rule are spread over time in steps of 100 ms.
const STEP: u64 = 100_000;

impl Rule {
    /// A fault that happens once.
    pub const fn once(after: Duration, fault: Fault) -> Self {
        Self::lasting(after, Duration::ZERO, fault)
    }

    /// A fault that goes on for a while.
    pub const fn lasting(after: Duration, lasts: Duration, fault: Fault) -> Self {
        Self { after, lasts, fault, met: Vec::new() }
    }

    /// The nodes it met, while it goes on.
    pub(crate) fn met(&self) -> &[usize] {
        &self.met
    }
}

impl World {
    pub(crate) fn begin_rule(&mut self, number: u32) {
        let Rule { lasts, fault, .. } = self.rules[number as usize];
        self.disturbed_at = self.now;
        self.active_rules += 1;
        let met = self.strike(fault);
        self.note(14, number.into(), met.len() as u64);
        self.rules[number as usize].met = met;
        self.queue.push(self.now + micros(lasts), Event::RuleEnds(number));
        if matches!(fault, Fault::Churn { .. } | Fault::Resets { .. }) {
            self.queue.push(self.now + STEP, Event::RuleGoesOn(number));
        }
    }

    /// Does what the fault does when it begins. Returns whom it met.
    fn strike(&mut self, fault: Fault) -> Vec<usize> {
        match fault {
            Fault::Kill { share, silent } => {
                let met = self.draw(share, |world, ix| ix >= world.setup.seeds);
                met.iter().for_each(|ix| self.kill(*ix, silent));
                met
            }
            Fault::KillSeeds { silent } => {
                let met: Vec<_> = (0..self.setup.seeds).filter(|ix| self.members[*ix].alive()).collect();
                met.iter().for_each(|ix| self.kill(*ix, silent));
                met
            }
            Fault::Restart { share } => {
                let met = self.draw(share, |_, _| true);
                met.iter().for_each(|ix| self.kill(*ix, false));
                met
            }
            Fault::Freeze { nodes } => {
                let awake = self.alive().into_iter().filter(|ix| !self.members[*ix].frozen).collect();
                let met = self.chance.sample(awake, nodes);
                met.iter().for_each(|ix| self.members[*ix].frozen = true);
                met
            }
            Fault::Partition { ways } => {
                self.cut_at = self.now;
                for ix in 0..self.members.len() {
                    self.members[ix].side = self.chance.below(ways.into()) as u8;
                }
                Vec::new()
            }
            Fault::SlowLine { share, bytes } => {
                let met = self.draw(share, |_, _| true);
                met.iter().for_each(|ix| self.members[*ix].upload = Some(bytes));
                met
            }
            Fault::SlowReader { share, bytes } => {
                let met = self.draw(share, |_, _| true);
                met.iter().for_each(|ix| self.members[*ix].download = Some(bytes));
                met
            }
            Fault::ClockJump { share, by } => {
                let met = self.draw(share, |world, ix| world.members[ix].awake());
                for ix in &met {
                    self.members[*ix].clock_ahead += micros(by);
                    self.settle(*ix);
                }
                met
            }
            Fault::Hostile { share, behaviour } => {
                let met = self
                    .draw(share, |world, ix| ix >= world.setup.seeds && world.members[ix].writer.is_none());
                for ix in &met {
                    let all = Behaviour::ALL;
                    let behaviour = behaviour.unwrap_or(all[self.chance.below(all.len())]);
                    self.kill(*ix, false);
                    self.members[*ix].hostile = Some(behaviour);
                    self.start(*ix);
                }
                met
            }
            Fault::Wish { share } => {
                let met = self.draw(share, |world, ix| world.members[ix].awake());
                met.iter().for_each(|ix| self.wish(*ix));
                Vec::new()
            }
            Fault::Churn { .. } | Fault::Resets { .. } => Vec::new(),
        }
    }

    fn wish(&mut self, ix: usize) {
        let others: Vec<_> = self.alive().into_iter().filter(|other| *other != ix).collect();
        if others.is_empty() {
            return;
        }
        let other = address(others[self.chance.below(others.len())]).to_string();
        let request = RequestId(self.now);
        self.members[ix].wishes += 1;
        self.with(ix, |node, now| node.request_peer(request, other, now));
    }

    pub(crate) fn go_on_with_rule(&mut self, number: u32) {
        let Rule { fault, ref met, .. } = self.rules[number as usize];
        if !met.is_empty() {
            return; // It ended: see `end_rule`.
        }
        let times = |population: usize, per_minute: f64| population as f64 * per_minute * STEP as f64 / 60e6;
        match fault {
            Fault::Churn { per_minute } => {
                let mortal: Vec<_> = self.alive().into_iter().filter(|ix| self.is_mortal(*ix)).collect();
                for _ in 0..self.whole(times(mortal.len(), per_minute)) {
                    let ix = mortal[self.chance.below(mortal.len())];
                    self.kill(ix, false);
                    let new = self.add_member();
                    self.start(new as usize);
                }
            }
            Fault::Resets { per_minute } => {
                let usable = |world: &Self, slot: &u32| {
                    let link = world.links.get(*slot);
                    let awake = link.ends.iter().all(|ix| world.members[*ix as usize].awake());
                    link.is_open() && !link.released && awake
                };
                let open: Vec<_> = (0..self.links.count()).filter(|slot| usable(self, slot)).collect();
                for _ in 0..self.whole(times(open.len(), per_minute)) {
                    let slot = open[self.chance.below(open.len())];
                    if usable(self, &slot) {
                        self.reset_link(slot);
                    }
                }
            }
            _ => return,
        }
        self.disturbed_at = self.now;
        self.queue.push(self.now + STEP, Event::RuleGoesOn(number));
    }

    pub(crate) fn end_rule(&mut self, number: u32) {
        let fault = self.rules[number as usize].fault;
        let met = std::mem::take(&mut self.rules[number as usize].met);
        self.active_rules -= 1;
        self.disturbed_at = self.now;
        match fault {
            Fault::Restart { .. } => met.iter().for_each(|ix| self.start(*ix)),
            Fault::Freeze { .. } => met.iter().for_each(|ix| self.thaw(*ix)),
            Fault::Partition { .. } => {
                self.healed_at = self.now;
                self.members.iter_mut().for_each(|member| member.side = 0);
                self.pass_on_stuck();
            }
            Fault::SlowLine { .. } if !self.rules[number as usize].lasts.is_zero() => {
                met.iter().for_each(|ix| self.members[*ix].upload = None);
            }
            Fault::SlowReader { .. } if !self.rules[number as usize].lasts.is_zero() => {
                met.iter().for_each(|ix| self.members[*ix].download = None);
            }
            // Marks the rule as over.
            Fault::Churn { .. } | Fault::Resets { .. } => self.rules[number as usize].met.push(usize::MAX),
            _ => {}
        }
    }

    /// A frozen node runs again: first comes what it was sent meanwhile.
    fn thaw(&mut self, ix: usize) {
        if !std::mem::take(&mut self.members[ix].frozen) {
            return; // It was killed meanwhile.
        }
        for event in std::mem::take(&mut self.members[ix].backlog) {
            self.happen(event);
        }
        self.members[ix].wakes_at = u64::MAX;
        self.settle(ix);
        self.pass_on_stuck();
    }

    fn draw(&mut self, share: f64, fits: impl Fn(&Self, usize) -> bool) -> Vec<usize> {
        let alive = self.alive();
        let count = (alive.len() as f64 * share).round() as usize;
        let fitting = alive.into_iter().filter(|ix| fits(self, *ix)).collect();
        self.chance.sample(fitting, count)
    }

    /// Churn spares the seeds, so that newcomers find somebody, and the writers, so that something is measured.
    fn is_mortal(&self, ix: usize) -> bool {
        ix >= self.setup.seeds && self.members[ix].writer.is_none()
    }

    /// A whole number whose expectation this is.
    fn whole(&mut self, expected: f64) -> usize {
        expected as usize + usize::from(self.chance.with(expected.fract()))
    }
}
