//! Faults as small rules: what, to whom, when, and for how long. A run may have any number of them
//! at the same time.
//!
//! This file holds the rules and the times at which they begin and end. What a fault does to the
//! world is in `world/faults.rs`: it strikes when its rule begins, may take further steps, and is
//! put right when the rule ends.

use std::time::Duration;

use serde::Serialize;

use crate::hostile::Behaviour;
use crate::kernel::{Event, Kernel, micros};

/// A fault with its time.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The time from the rule's addition to its beginning.
    pub after: Duration,
    /// How long the fault goes on, where it does.
    pub lasts: Duration,
    /// What goes wrong.
    pub fault: Fault,
    /// The nodes that it struck, to be put right at the end.
    struck: Vec<usize>,
    /// Where the rule stands.
    state: State,
}

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its time has not come.
    Waiting,
    /// Its fault goes on.
    Active,
    /// Its fault is put right.
    Over,
}

/// A kind of failure. Shares are of all living nodes, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nodes die at the same moment.
    Kill {
        /// How many.
        share: f64,
        /// Whether their hosts vanish with them, so that no connection is seen to close.
        silent: bool,
    },
    /// All seeds die.
    KillSeeds {
        /// Whether their hosts vanish with them.
        silent: bool,
    },
    /// Nodes are killed, and started again with the same keys when the rule ends.
    Restart {
        /// How many.
        share: f64,
    },
    /// Nodes stop running, as with SIGSTOP, and continue when the rule ends.
    Freeze {
        /// How many.
        nodes: usize,
    },
    /// The network falls into parts until the rule ends.
    Partition {
        /// How many, 2 to 16.
        ways: u8,
    },
    /// Nodes die, and the same number of new ones joins.
    Churn {
        /// Share of the nodes per minute.
        per_minute: f64,
    },
    /// Connections are reset.
    Resets {
        /// Share of all connections per minute.
        per_minute: f64,
    },
    /// Nodes get slow lines to send over.
    SlowLine {
        /// How many.
        share: f64,
        /// Bytes per second and connection.
        bytes: u64,
    },
    /// Nodes read slowly.
    SlowReader {
        /// How many.
        share: f64,
        /// Bytes per second and connection.
        bytes: u64,
    },
    /// Clocks jump ahead.
    ClockJump {
        /// The share of the nodes whose clocks jump.
        share: f64,
        /// How far.
        by: Duration,
    },
    /// Nodes ask for a link to some other node by its address, and pin it.
    Pin {
        /// How many.
        share: f64,
    },
    /// Nodes turn hostile: they are killed and started again as such.
    Hostile {
        /// How many.
        share: f64,
        /// What they do; `None` draws a behaviour for each.
        behaviour: Option<Behaviour>,
    },
}

/// Kills, joins and resets of a lasting rule are spread over time in steps of 100 ms.
pub(crate) const STEP: u64 = 100_000;

impl Rule {
    /// Creates a rule for a fault that happens once.
    pub const fn once(after: Duration, fault: Fault) -> Self {
        Self::lasting(after, Duration::ZERO, fault)
    }

    /// Creates a rule for a fault that goes on for a while.
    pub const fn lasting(after: Duration, lasts: Duration, fault: Fault) -> Self {
        Self { after, lasts, fault, struck: Vec::new(), state: State::Waiting }
    }
}

impl Fault {
    /// Returns whether the fault goes on in steps.
    const fn has_steps(self) -> bool {
        matches!(self, Self::Churn { .. } | Self::Resets { .. })
    }

    /// Returns whether the fault only kills and starts nodes: lines and clocks stay as they are.
    const fn only_kills(self) -> bool {
        matches!(self, Self::Kill { .. } | Self::KillSeeds { .. } | Self::Restart { .. } | Self::Churn { .. })
    }
}

/// All rules of a world, and what the checks have to know about them.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// All rules, by number: those that are over, too.
    rules: Vec<Rule>,
    /// How many rules are active now.
    active: u32,
    /// When a rule last did something to a node, in virtual microseconds.
    disturbed_at: u64,
    /// When the network was cut last, and when the last cut ended.
    cut_at: u64,
    healed_at: u64,
}

impl Faults {
    /// Schedules a rule.
    pub(crate) fn add(&mut self, kernel: &mut Kernel, rule: Rule) {
        let number = self.rules.len() as u32;
        kernel.schedule_in(micros(rule.after), Event::RuleBegins(number));
        self.rules.push(rule);
    }

    /// Notes that a rule begins. Returns its fault, which is to strike now.
    pub(crate) fn begin(&mut self, number: u32, now: u64) -> Fault {
        let rule = &mut self.rules[number as usize];
        rule.state = State::Active;
        self.active += 1;
        self.disturbed_at = now;
        rule.fault
    }

    /// Notes whom the fault of a rule has struck, and schedules its end and its next step.
    pub(crate) fn struck(&mut self, kernel: &mut Kernel, number: u32, nodes: Vec<usize>) {
        let rule = &mut self.rules[number as usize];
        rule.struck = nodes;
        kernel.schedule_in(micros(rule.lasts), Event::RuleEnds(number));
        if rule.fault.has_steps() {
            kernel.schedule_in(STEP, Event::RuleContinues(number));
        }
    }

    /// Returns the fault of a rule that takes a step, or `None` if the rule is over.
    pub(crate) fn step(&self, number: u32) -> Option<Fault> {
        let rule = &self.rules[number as usize];
        (rule.state == State::Active).then_some(rule.fault)
    }

    /// Notes that a rule has taken a step, and schedules the next one.
    pub(crate) fn stepped(&mut self, kernel: &mut Kernel, number: u32) {
        self.disturbed_at = kernel.now();
        kernel.schedule_in(STEP, Event::RuleContinues(number));
    }

    /// Notes that a rule ends. Returns it with the nodes that it struck.
    pub(crate) fn end(&mut self, number: u32, now: u64) -> (Rule, Vec<usize>) {
        let rule = &mut self.rules[number as usize];
        rule.state = State::Over;
        self.active -= 1;
        self.disturbed_at = now;
        let struck = std::mem::take(&mut rule.struck);
        (rule.clone(), struck)
    }

    /// Notes that the network is cut.
    pub(crate) const fn cut(&mut self, now: u64) {
        self.cut_at = now;
    }

    /// Notes that the network is whole again.
    pub(crate) const fn healed(&mut self, now: u64) {
        self.healed_at = now;
    }

    /// Returns the nodes that the active rule with this number has struck.
    pub(crate) fn nodes_struck(&self, number: usize) -> &[usize] {
        self.rules.get(number).map_or(&[], |rule| &rule.struck)
    }

    /// Returns whether a rule is active now.
    pub(crate) const fn any_active(&self) -> bool {
        self.active > 0
    }

    /// Returns when a rule last did something, in virtual microseconds.
    pub(crate) const fn disturbed_at(&self) -> u64 {
        self.disturbed_at
    }

    /// Returns when the network was cut last.
    pub(crate) const fn cut_at(&self) -> u64 {
        self.cut_at
    }

    /// Returns when the last cut ended.
    pub(crate) const fn healed_at(&self) -> u64 {
        self.healed_at
    }

    /// Returns whether nothing but deaths and starts happens in this world.
    pub(crate) fn only_kill(&self) -> bool {
        self.rules.iter().all(|rule| rule.fault.only_kills())
    }
}
