//! How a node is driven: an input, then its outputs, then its timer.
//!
//! The library's driver runs the same loop. An output may lead to an input of another node within
//! the same event, for example when a connection is reset; that node is then driven in between.

use smokesignal_proto::{Instant, MessageKind, Node, Output};

use super::World;
use crate::check::Observed;
use crate::cluster::address;
use crate::hostile::Behaviour;
use crate::kernel::{Event, Mark, Rng, mix};
use crate::net::{Line, Relaying};

/// Keeps the randomness of the lines apart from that of the world.
const LINES: u64 = 0x4C49_4E45;

impl World {
    /// Adds a node that is not started yet. Returns its number.
    pub(crate) fn add_node(&mut self) -> usize {
        self.net.add_host();
        self.traffic.add_node();
        let ix = self.cluster.add();
        if self.setup.lines {
            // Apart from the world's own randomness: a line changes no other draw.
            let mut rng = Rng::new(mix(self.setup.rng_seed ^ LINES) ^ mix(ix as u64));
            self.net.set_line(ix, Line::draw(&mut rng));
        }
        ix
    }

    /// Starts a node, for the first time or again with the same key.
    pub(crate) fn start(&mut self, ix: usize) {
        let seeds: Vec<_> = (0..self.setup.seeds).collect();
        self.start_with_seeds(ix, &seeds);
    }

    /// Starts a node that is given these seeds, and not those of all; with none, others have to
    /// find it.
    pub(crate) fn start_with_seeds(&mut self, ix: usize, seeds: &[usize]) {
        let relaying = self.cluster.behaviour(ix).map_or(Relaying::Faithful, Behaviour::relaying);
        self.net.start(ix, relaying);
        self.traffic.restart(ix);
        let rng_seed = self.kernel.rng().bits();
        let start = self.cluster.start(ix, (&self.setup, seeds), rng_seed, self.kernel.now());
        self.observe(&Observed::Started { node: ix });
        self.kernel.record(Mark::Started, ix as u64, start);
        self.settle(ix);
    }

    /// Gives a node one more seed.
    pub(crate) fn add_seed(&mut self, ix: usize, seed: usize) {
        self.with(ix, |node, now| node.join(address(seed).to_string(), now));
    }

    /// Ends a node's process without a farewell. Its kernel closes its connections, unless its host
    /// vanishes with it.
    pub(crate) fn kill(&mut self, ix: usize, silently: bool) {
        self.cluster.stop(ix, self.kernel.now());
        self.kernel.record(Mark::Killed, ix as u64, silently.into());
        for event in self.net.stop(ix, silently) {
            self.kernel.schedule_in(0, event);
        }
        for slot in self.net.connections(ix).to_vec() {
            self.end_relayed(self.net.id(slot));
            self.net.hang_up(&mut self.kernel, ix, slot, silently);
        }
    }

    /// Lets a frozen node continue. Everything that has arrived meanwhile comes first.
    pub(super) fn thaw(&mut self, ix: usize) {
        let Some(backlog) = self.net.thaw(ix) else { return }; // It was killed meanwhile.
        backlog.into_iter().for_each(|event| self.happen(event));
        self.cluster.forget_wake(ix);
        self.settle(ix);
        self.net.pass_on_stuck(&mut self.kernel);
    }

    /// Fires a node's timer, if this wake-up is the valid one.
    pub(super) fn on_wake(&mut self, ix: usize) {
        let now = self.kernel.now();
        if !self.cluster.is_wake_due(ix, now) || self.net.is_frozen(ix) {
            return;
        }
        self.cluster.forget_wake(ix);
        let fired = self.cluster.act(ix, now, |node, now| {
            let due = node.poll_timeout() <= now;
            if due {
                node.handle_timeout(now);
            }
            due
        });
        if fired == Some(true) {
            self.kernel.record(Mark::TimerFired, ix as u64, 0);
        }
        self.settle(ix);
    }

    /// Gives a living node an input, and performs what it wants then.
    pub(super) fn with<T>(&mut self, ix: usize, act: impl FnOnce(&mut Node, Instant) -> T) -> Option<T> {
        let result = self.cluster.act(ix, self.kernel.now(), act)?;
        self.settle(ix);
        Some(result)
    }

    /// Performs a node's outputs and schedules its timer.
    pub(super) fn settle(&mut self, ix: usize) {
        let now = self.kernel.now();
        while let Some(output) = self.cluster.poll_output(ix, now) {
            self.perform(ix, output);
        }
        if let Some(due) = self.cluster.next_wake(ix, now) {
            self.kernel.schedule(due, Event::Wake(ix as u32));
        }
    }

    /// Does what a node wants to be done. One method per output works.
    fn perform(&mut self, ix: usize, output: Output) {
        if !matches!(output, Output::Send { .. }) {
            self.kernel.print(ix, || brief(&output));
        }
        match output {
            Output::Send { link, message } => self.send(ix, link, message),
            Output::Dial { dial, target, expect, timeout } => {
                let callee = self.callee(&target, expect);
                self.dial(ix, dial, callee, timeout);
            }
            Output::DialRelayed { dial, via, query, id } => self.dial_relayed(ix, dial, (via, query), &id),
            Output::Close { link, reason } => {
                self.kernel.record(Mark::Closed, ix as u64, link.0);
                self.close(ix, link);
                self.stats.broken_rules += u64::from(reason.is_violation());
            }
            Output::Demoted { link, .. } => {
                self.kernel.record(Mark::Closed, ix as u64, link.0);
                self.demote(ix, link);
            }
            Output::Deliver { kind: MessageKind::End, .. }
            | Output::Restarted { .. }
            | Output::ReaderTimedOut { .. }
            | Output::IdentityConflict { .. } // No two nodes here have one key.
            | Output::Lagging { .. }
            | Output::CaughtUp { .. }
            | Output::ClockDiffers { .. } => {}
            Output::Deliver { from, seq, messages, .. } => {
                for (seq, data) in (seq..).zip(messages) {
                    self.kernel.record(Mark::Delivered, ix as u64, mix(seq) ^ data.len() as u64);
                    self.on_delivery(ix, from, seq, &data);
                }
            }
            Output::Gap { from, missed } => {
                self.kernel.record(Mark::Gap, ix as u64, missed);
                self.on_gap(ix, from, missed);
            }
            Output::PeerUp { peer, .. } => {
                self.kernel.record(Mark::PeersChanged, ix as u64, 1);
                self.links_changed_at = self.kernel.now();
                self.traffic.connected(ix, |node| self.cluster.starts(node));
                self.observe(&Observed::PeerUp { node: ix, peer });
            }
            Output::PeerDown { link, reason } => {
                self.kernel.record(Mark::PeersChanged, ix as u64, 0);
                self.links_changed_at = self.kernel.now();
                let peer = self.net.other_end(ix, link).map(|other| self.cluster.id(other));
                if let Some(tally) = &mut self.tally {
                    tally.node(ix).peer_down(reason);
                }
                self.observe(&Observed::PeerDown { node: ix, peer, reason });
            }
            Output::Requested { outcome, .. } => {
                self.observe(&Observed::PinAnswered { node: ix, peer: outcome.ok() });
            }
            Output::Reached { request, outcome } => self.on_reached(ix, request, outcome),
            Output::StreamOnly { link } => self.on_streams(ix, link),
            Output::Left { .. } => self.kernel.record(Mark::Left, ix as u64, 0),
            Output::Unknown { .. } => {} // All nodes here are of one version.
            Output::Netsplit { .. } => self.on_netsplit(ix, false),
            Output::NetsplitResolved { .. } => self.on_netsplit(ix, true),
        }
    }

    /// Counts the report of a netsplit, or of its end.
    fn on_netsplit(&mut self, ix: usize, over: bool) {
        let now = self.kernel.now();
        self.kernel.record(Mark::Netsplit, ix as u64, (!over).into());
        if over {
            self.stats.resolved.add(now.saturating_sub(self.faults.healed_at()));
        } else {
            self.stats.netsplits += 1;
            self.stats.detected.add(now - self.faults.cut_at());
        }
        self.observe(&Observed::Netsplit { node: ix, over });
    }
}

/// Returns the beginning of what a value shows of itself: bodies may be megabytes.
pub(super) fn brief(what: &impl std::fmt::Debug) -> String {
    /// Characters per line at most.
    const LINE: usize = 240;
    format!("{what:?}").chars().take(LINE).collect()
}
