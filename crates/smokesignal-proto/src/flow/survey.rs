//! Finds out whether the ways to the neighbours have become longer or shorter.
//!
//! On a line that is full all the time, a round trip consists of the way and of this node's own
//! queue, and nothing shows which part is which: a route that has become longer looks like a queue,
//! and the budget for the old way would leave most of the line unused. So where round trips are
//! longer than the least one, the queue is let drain for a moment now and then (as in BBR's
//! ProbeRTT, Cardwell et al., 2016), and they are measured anew.

use std::time::Duration;

use super::line::{BASE_LEAST, QUEUE};
use super::{Flow, Flows};
use crate::ids::LinkId;
use crate::time::Instant;

/// The time between two surveys. 30 s: each costs what the line carries in a quarter of a second, 1
/// % of all.
const EVERY: Duration = Duration::from_secs(30);
/// The time between two surveys where the last one has changed a round trip, or where this node's
/// queue does not explain how long they are. 2 s.
const AGAIN: Duration = Duration::from_secs(2);
/// The time between two round trips that are measured while a line is full. 2 s: five links cost
/// 0.3 % of 1 Mbit/s.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// A survey ends after this long if some neighbour has not answered. 2 s: longer ways are not
/// believed.
const MOST: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Survey {
    step: Step,
    since: Instant,
    /// When a line that was full was last asked for its round trips.
    asked: Instant,
    /// Whether the last one has changed something.
    changed: bool,
    /// The highest rates up and down since the last one.
    rates: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Rests,
    /// The queue drains.
    Drains,
    /// The neighbours were asked.
    Asks,
}

impl Survey {
    pub(super) const fn new(now: Instant) -> Self {
        Self { step: Step::Rests, since: now, asked: now, changed: false, rates: (0, 0) }
    }

    fn enter(&mut self, step: Step, now: Instant) {
        (self.step, self.since) = (step, now);
    }
}

impl Flows {
    /// Goes on with the survey, if it is time to.
    pub(super) fn survey(&mut self, now: Instant) {
        let elapsed = now - self.survey.since;
        match self.survey.step {
            Step::Rests => {
                let full = self.up.is_full() || self.down.is_full();
                if full && now - self.survey.asked >= ASK_EVERY {
                    self.survey.asked = now;
                    self.ask_busy(now);
                }
                let fallen = self.note_rates();
                let is_sign = |flow: &Flow| flow.trip.is_unexplained() || (fallen && flow.trip.was_long());
                let sign = full && self.busy().any(|(_, flow)| is_sign(flow));
                if elapsed < if self.survey.changed || sign { AGAIN } else { EVERY } {
                    return;
                }
                if full && (sign || self.is_in_doubt()) {
                    self.drain(true, now);
                    self.survey.enter(Step::Drains, now);
                } else if elapsed >= EVERY {
                    self.settle(now);
                }
            }
            Step::Drains if elapsed >= self.base.max(BASE_LEAST) + QUEUE => {
                self.links.values_mut().for_each(|flow| flow.trip.renew(now));
                self.ask_busy(now);
                self.survey.enter(Step::Asks, now);
            }
            Step::Asks if elapsed >= MOST || self.busy().all(|(_, flow)| flow.trip.is_renewed()) => {
                self.drain(false, now);
                self.settle(now);
            }
            _ => {}
        }
    }

    /// Returns whether a line carries much less than after the last survey.
    fn note_rates(&mut self) -> bool {
        let (up, down) = (self.up.rate(), self.down.rate());
        let rates = &mut self.survey.rates;
        *rates = (rates.0.max(up), rates.1.max(down));
        let fallen = |rate: u64, before: u64| rate < before / 4 * 3;
        fallen(up, rates.0) || fallen(down, rates.1)
    }

    fn settle(&mut self, now: Instant) {
        self.survey.rates = (0, 0);
        let mut changed = false;
        for flow in self.links.values_mut() {
            changed |= flow.trip.settle();
        }
        self.survey.changed = changed;
        self.survey.enter(Step::Rests, now);
    }

    fn drain(&mut self, drains: bool, now: Instant) {
        self.up.drain(drains, now);
        self.down.drain(drains, now);
    }

    fn busy(&self) -> impl Iterator<Item = (LinkId, &Flow)> {
        let is_busy = |flow: &Flow| flow.sent.rate.bytes() + flow.got.rate.bytes() > 0 && !flow.sent.still;
        self.links.iter().filter(move |(_, flow)| is_busy(flow)).map(|(link, flow)| (*link, flow))
    }

    fn ask_busy(&mut self, now: Instant) {
        let links: Vec<_> = self.busy().map(|(link, _)| link).collect();
        links.into_iter().for_each(|link| self.ask(link, now));
    }

    fn is_in_doubt(&self) -> bool {
        self.busy().any(|(_, flow)| flow.trip.is_in_doubt())
    }
}
