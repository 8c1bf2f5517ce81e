//! How a node is driven: events in, outputs performed, the timer set. The same loop as that of the library's driver.

use smokesignal_proto::{DialFailure, DialId, Instant, Message, Node, Output};

use crate::chance::mix;
use crate::check::Whole;
use crate::link::{End, Parcel};
use crate::world::{Event, World};

impl World {
    pub(crate) fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(ix) => self.on_wake(ix as usize),
            Event::Parcel { slot, from, hops, parcel } => self.on_parcel(slot, from, hops, parcel),
            Event::Sent { slot, from, cost } => self.on_line_free(slot, from, cost),
            Event::Dialled { slot, start, dial } => self.on_dialled(slot, start, dial),
            Event::DialFailed { ix, start, dial, failure } => {
                self.on_dial_failed(ix as usize, start, dial, failure);
            }
            Event::Join(ix) => self.start(ix as usize),
            Event::Write(number) => self.on_write(number),
            Event::RuleBegins(rule) => self.begin_rule(rule),
            Event::RuleGoesOn(rule) => self.go_on_with_rule(rule),
            Event::RuleEnds(rule) => self.end_rule(rule),
            Event::TalkOver { ix, link } => self.on_talk_over(ix as usize, link),
            Event::Check => self.on_check(),
        }
    }

    fn on_wake(&mut self, ix: usize) {
        let now = self.now;
        let member = &mut self.members[ix];
        if member.wakes_at != now || member.frozen {
            return; // An earlier wake has replaced this one, or the node does not run.
        }
        member.wakes_at = u64::MAX;
        let Some(node) = &mut member.node else { return };
        let own_now = Instant::from_micros(now + member.clock_ahead);
        if node.poll_timeout() <= own_now {
            node.handle_timeout(own_now);
            self.note(2, ix as u64, 0);
        }
        self.settle(ix);
    }

    pub(crate) fn on_dialled(&mut self, slot: u32, start: u64, dial: DialId) {
        let ends = self.links.get(slot).ends;
        let [ix, peer] = ends.map(|end| end as usize);
        if self.members[ix].frozen {
            return self.members[ix].backlog.push_back(Event::Dialled { slot, start, dial });
        }
        let same_start = self.members[ix].alive() && self.members[ix].start == start;
        let reachable = ix == peer || (self.members[peer].alive() && !self.is_held_up(slot));
        if !same_start || !reachable || self.links.get(slot).states[0] == End::Closed {
            self.links.get_mut(slot).states = [End::Closed; 2];
            self.done_with(slot);
            return self.on_dial_failed(ix, start, dial, DialFailure::Unanswered);
        }
        self.members[ix].dials = self.members[ix].dials.saturating_sub(1);
        self.links.get_mut(slot).states[0] = End::Open;
        let id = self.links.id(slot);
        if ix != peer {
            self.post(slot, 0, Parcel::Hello, 0);
        }
        let peer = self.members[peer].id;
        self.note(3, ix as u64, id.0);
        self.with(ix, |node, now| node.handle_connected(id, peer, Some(dial), now));
        self.done_with(slot);
    }

    pub(crate) fn on_dial_failed(&mut self, ix: usize, start: u64, dial: DialId, failure: DialFailure) {
        let member = &mut self.members[ix];
        if member.start != start || !member.alive() {
            return;
        }
        if member.frozen {
            return member.backlog.push_back(Event::DialFailed { ix: ix as u32, start, dial, failure });
        }
        member.dials = member.dials.saturating_sub(1);
        self.note(4, ix as u64, dial.0);
        self.with(ix, |node, now| node.handle_dial_failed(dial, failure, now));
    }

    /// Gives a node something, and performs what it wants then.
    pub(crate) fn with<T>(&mut self, ix: usize, act: impl FnOnce(&mut Node, Instant) -> T) -> Option<T> {
        let member = &mut self.members[ix];
        let now = Instant::from_micros(self.now + member.clock_ahead);
        let result = act(member.node.as_mut()?, now);
        self.settle(ix);
        Some(result)
    }

    /// Performs a node's outputs and sets its timer.
    pub(crate) fn settle(&mut self, ix: usize) {
        let now = Instant::from_micros(self.now + self.members[ix].clock_ahead);
        while let Some(output) = self.members[ix].node.as_mut().and_then(|node| node.poll_output(now)) {
            self.perform(ix, output);
        }
        let member = &mut self.members[ix];
        let Some(node) = &member.node else { return };
        let due = node.poll_timeout().as_micros().saturating_sub(member.clock_ahead).max(self.now);
        if due < member.wakes_at {
            member.wakes_at = due;
            self.queue.push(due, Event::Wake(ix as u32));
        }
    }

    fn perform(&mut self, ix: usize, output: Output) {
        if !matches!(output, Output::Send { .. }) {
            self.tell(ix, || brief(&output));
        }
        match output {
            Output::Send { link, message } => self.send(ix, link, message),
            Output::Dial { dial, target, expect, timeout } => self.dial(ix, dial, &target, expect, timeout),
            Output::DialRelayed { dial, via, query, id } => self.dial_relayed(ix, dial, (via, query), &id),
            Output::Close { link, reason } => {
                self.note(5, ix as u64, link.0);
                self.close(ix, link);
                if reason.is_violation() {
                    self.stats.broken_rules += 1;
                }
            }
            Output::Demoted { link, .. } => {
                self.note(5, ix as u64, link.0);
                self.give_up(ix, link);
            }
            Output::Deliver { from, seq, messages } => {
                for (seq, data) in (seq..).zip(messages) {
                    self.note(6, ix as u64, mix(seq) ^ data.len() as u64);
                    self.check_delivery(ix, from, seq, &data);
                }
            }
            Output::Gap { from, missed } => {
                self.note(7, ix as u64, missed);
                self.check_gap(ix, from, missed);
            }
            Output::PeerUp { peer, .. } => {
                self.note(8, ix as u64, 1);
                self.links_changed_at = self.now;
                self.check_new_peer(ix, peer);
            }
            Output::PeerDown { link, reason } => {
                self.note(8, ix as u64, 0);
                self.links_changed_at = self.now;
                let other = self.links.slot(link).map(|slot| self.links.get(slot).other(ix));
                let peer = other.map(|other| self.members[other].id);
                self.check_lost_peer(ix, peer, reason);
            }
            Output::Requested { outcome, .. } => {
                self.members[ix].wishes -= 1;
                let now = self.now;
                self.members[ix].explicit.extend(outcome.ok().map(|peer| (peer, now)));
            }
            Output::Reached { request, outcome } => self.on_reached(ix, request, outcome),
            Output::StreamOnly { link } => self.on_serving(ix, link),
            Output::Left { .. } => self.note(9, ix as u64, 0),
            Output::Netsplit { .. } => self.check_netsplit(ix, Whole::No),
            Output::NetsplitResolved { .. } => self.check_netsplit(ix, Whole::Yes),
        }
    }

    /// A part of the trace's hash: what kind of message, and how large.
    pub(crate) fn note_message(&mut self, to: usize, message: &Message) {
        let kind = match message {
            Message::Data(segment) => mix(segment.seq),
            Message::Control(_) => 1,
        };
        self.note(10, to as u64, kind ^ (message.cost() as u64) << 8);
    }
}

/// The first part of what it says of itself: bodies may be megabytes.
pub(crate) fn brief(what: &impl std::fmt::Debug) -> String {
    /// Characters of a line at most.
    const LINE: usize = 240;
    format!("{what:?}").chars().take(LINE).collect()
}
