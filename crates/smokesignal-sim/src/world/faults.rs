//! The effects of faults on the world.
//!
//! A fault strikes when its rule begins. Churn and resets then take a step every 100 ms, each with
//! its share of what is to happen per minute. When the rule ends, what can be put right is put
//! right: restarted nodes start, frozen ones continue, parts join, lines are fast again.

use std::time::Duration;

use smokesignal_proto::RequestId;

use super::World;
use crate::check::Observed;
use crate::cluster::address;
use crate::fault::{Fault, STEP};
use crate::hostile::Behaviour;
use crate::kernel::{Mark, micros};

impl World {
    /// Lets a fault strike.
    pub(super) fn on_rule_begins(&mut self, number: u32) {
        let fault = self.faults.begin(number, self.kernel.now());
        let struck = self.strike(fault);
        self.kernel.record(Mark::FaultBegan, number.into(), struck.len() as u64);
        self.faults.struck(&mut self.kernel, number, struck);
    }

    /// Does what a fault does at its beginning. Returns the nodes to be put right at its end.
    fn strike(&mut self, fault: Fault) -> Vec<usize> {
        let now = self.kernel.now();
        match fault {
            Fault::Kill { share, silent } => {
                let nodes = self.draw(share, |world, ix| !world.is_seed(ix));
                self.kill_all(nodes, silent)
            }
            Fault::KillSeeds { silent } => {
                let seeds = (0..self.setup.seeds).filter(|ix| self.cluster.is_alive(*ix)).collect();
                self.kill_all(seeds, silent)
            }
            Fault::Restart { share } => {
                let nodes = self.draw(share, |_, _| true);
                self.kill_all(nodes, false)
            }
            Fault::Freeze { nodes } => self.freeze(nodes),
            Fault::Partition { ways } => self.partition(ways),
            Fault::SlowLine { share, bytes } => {
                let nodes = self.draw(share, |_, _| true);
                nodes.iter().for_each(|ix| self.net.limit_upload(*ix, Some(bytes), now));
                nodes
            }
            Fault::SlowReader { share, bytes } => {
                let nodes = self.draw(share, |_, _| true);
                nodes.iter().for_each(|ix| self.net.limit_download(*ix, Some(bytes), now));
                nodes
            }
            Fault::ClockJump { share, by } => self.advance_clocks(share, by),
            Fault::Pin { share } => {
                let nodes = self.draw(share, Self::is_awake);
                nodes.into_iter().for_each(|ix| self.pin(ix));
                Vec::new()
            }
            Fault::Hostile { share, behaviour } => self.turn_hostile(share, behaviour),
            Fault::Churn { .. } | Fault::Resets { .. } => Vec::new(),
        }
    }

    /// Kills these nodes, and returns them.
    fn kill_all(&mut self, nodes: Vec<usize>, silently: bool) -> Vec<usize> {
        nodes.iter().for_each(|ix| self.kill(*ix, silently));
        nodes
    }

    /// Freezes random nodes.
    fn freeze(&mut self, count: usize) -> Vec<usize> {
        let awake = self.alive().into_iter().filter(|ix| self.is_awake(*ix)).collect();
        let nodes = self.kernel.rng().sample(awake, count);
        nodes.iter().for_each(|ix| self.net.freeze(*ix));
        nodes
    }

    /// Freezes a certain node.
    pub(crate) fn freeze_node(&mut self, ix: usize) {
        self.net.freeze(ix);
    }

    /// Lets a frozen node continue.
    pub(crate) fn thaw_node(&mut self, ix: usize) {
        self.thaw(ix);
    }

    /// Puts each host into a random part of the network.
    fn partition(&mut self, ways: u8) -> Vec<usize> {
        self.faults.cut(self.kernel.now());
        for ix in 0..self.cluster.len() {
            self.net.set_side(ix, self.kernel.rng().below(ways.into()) as u8);
        }
        Vec::new()
    }

    /// Lets the clocks of random nodes jump ahead.
    fn advance_clocks(&mut self, share: f64, by: Duration) -> Vec<usize> {
        let nodes = self.draw(share, Self::is_awake);
        for ix in &nodes {
            self.cluster.advance_clock(*ix, micros(by));
            self.settle(*ix);
        }
        nodes
    }

    /// Starts random nodes again as hostile ones.
    fn turn_hostile(&mut self, share: f64, behaviour: Option<Behaviour>) -> Vec<usize> {
        let nodes = self.draw(share, Self::is_expendable);
        for ix in &nodes {
            // Drawn in any case, so that a run draws the same numbers with and without a choice.
            let drawn = Behaviour::DRAWN[self.kernel.rng().below(Behaviour::DRAWN.len())];
            self.start_hostile(*ix, behaviour.unwrap_or(drawn));
        }
        nodes
    }

    /// Starts a node again as a hostile one.
    pub(crate) fn start_hostile(&mut self, ix: usize, behaviour: Behaviour) {
        self.kill(ix, false);
        self.cluster.set_hostile(ix, behaviour);
        self.start(ix);
    }

    /// Lets a node ask for a link to a random other one, and pin it.
    fn pin(&mut self, ix: usize) {
        let others: Vec<_> = self.alive().into_iter().filter(|other| *other != ix).collect();
        if others.is_empty() {
            return;
        }
        let other = others[self.kernel.rng().below(others.len())];
        self.pin_to(ix, other);
    }

    /// Lets a node ask for a link to a certain other one, and pin it.
    pub(crate) fn pin_to(&mut self, ix: usize, other: usize) {
        let other = address(other).to_string();
        let request = RequestId(self.kernel.now());
        self.observe(&Observed::PinRequested { node: ix });
        self.with(ix, |node, now| node.request_peer(request, other, now));
    }

    /// Takes a step of a fault that goes on for a while.
    pub(super) fn on_rule_continues(&mut self, number: u32) {
        match self.faults.step(number) {
            Some(Fault::Churn { per_minute }) => self.churn(per_minute),
            Some(Fault::Resets { per_minute }) => self.reset_some(per_minute),
            _ => return,
        }
        self.faults.stepped(&mut self.kernel, number);
    }

    /// Replaces random nodes by new ones.
    fn churn(&mut self, per_minute: f64) {
        let mortal: Vec<_> = self.alive().into_iter().filter(|ix| self.is_expendable(*ix)).collect();
        for _ in 0..self.kernel.rng().round(per_step(mortal.len(), per_minute)) {
            let ix = mortal[self.kernel.rng().below(mortal.len())];
            self.kill(ix, false);
            let new = self.add_node();
            self.start(new);
        }
    }

    /// Resets random connections.
    fn reset_some(&mut self, per_minute: f64) {
        let open = self.net.usable_slots();
        for _ in 0..self.kernel.rng().round(per_step(open.len(), per_minute)) {
            let slot = open[self.kernel.rng().below(open.len())];
            if self.net.is_usable(slot) {
                self.reset(slot);
            }
        }
    }

    /// Puts right what a fault has done, where it can be put right.
    pub(super) fn on_rule_ends(&mut self, number: u32) {
        let now = self.kernel.now();
        let (rule, nodes) = self.faults.end(number, now);
        match rule.fault {
            Fault::Restart { .. } => nodes.into_iter().for_each(|ix| self.start(ix)),
            Fault::Freeze { .. } => nodes.into_iter().for_each(|ix| self.thaw(ix)),
            Fault::Partition { .. } => {
                self.faults.healed(now);
                self.net.join_sides();
                self.net.pass_on_stuck(&mut self.kernel);
            }
            Fault::SlowLine { .. } if !rule.lasts.is_zero() => {
                nodes.into_iter().for_each(|ix| self.net.limit_upload(ix, None, now));
            }
            Fault::SlowReader { .. } if !rule.lasts.is_zero() => {
                nodes.into_iter().for_each(|ix| self.net.limit_download(ix, None, now));
            }
            _ => {}
        }
    }

    /// Draws a share of the living nodes from those that `fit`.
    fn draw(&mut self, share: f64, fit: impl Fn(&Self, usize) -> bool) -> Vec<usize> {
        let alive = self.alive();
        let count = (alive.len() as f64 * share).round() as usize;
        let fitting = alive.into_iter().filter(|ix| fit(self, *ix)).collect();
        self.kernel.rng().sample(fitting, count)
    }

    const fn is_seed(&self, ix: usize) -> bool {
        ix < self.setup.seeds
    }

    /// Returns whether a fault may take this node: not a seed, so that newcomers find somebody, and
    /// not a writer, so that there is something to measure.
    fn is_expendable(&self, ix: usize) -> bool {
        !self.is_seed(ix) && !self.traffic.is_writer(ix)
    }
}

/// Returns how many of these are due in one step.
fn per_step(population: usize, per_minute: f64) -> f64 {
    population as f64 * per_minute * STEP as f64 / 60e6
}
