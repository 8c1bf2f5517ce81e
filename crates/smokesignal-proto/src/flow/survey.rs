//! Finds out whether the ways to the neighbours have become longer.
//!
//! On a line that is full all the time, a round trip consists of the way and of queues, and nothing
//! shows which part is which: a route that has become longer looks like a queue, and the budget for
//! the old way would leave most of the line unused. So where a line carries less than before, and
//! round trips are long, this node lets the queue drain for a moment (as in BBR's ProbeRTT,
//! Cardwell et al., 2016), and measures them anew. What it measures may still contain queues of the
//! neighbours: it counts only as long as the line carries more with it. (A way that has become
//! shorter needs no survey: the round trips show it.)

use std::time::Duration;

use super::line::{BASE_LEAST, QUEUE};
use super::{Flow, Flows};
use crate::ids::LinkId;
use crate::time::Instant;

/// A line that carries less than before for this long is surveyed. 3 s: a neighbour that stops is
/// found, and its streams come from another one.
const FALLEN_FOR: Duration = Duration::from_secs(3);
/// The time after which longer round trips must have brought more. 5 s: a budget can double in it,
/// also where a round trip takes 600 ms.
const AGAIN: Duration = Duration::from_secs(5);
/// The time between two round trips that are measured while a line is full. 2 s: five links cost
/// 0.3 % of 1 Mbit/s.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// A survey ends after this long if no neighbour has answered. 2 s: longer ways are not believed.
const MOST: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Survey {
    step: Step,
    since: Instant,
    /// When a line that was full was last asked for its round trips.
    asked: Instant,
    /// The highest rates up and down since the last one.
    rates: (u64, u64),
    /// When a line began to carry less.
    less_since: Option<Instant>,
    /// The rates before round trips were found to be longer.
    raised: Option<(u64, u64)>,
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
        Self { step: Step::Rests, since: now, asked: now, rates: (0, 0), less_since: None, raised: None }
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
                if elapsed >= AGAIN {
                    self.judge();
                }
                if full && self.has_fallen(now) {
                    self.drain(true, now);
                    self.survey.enter(Step::Drains, now);
                }
            }
            Step::Drains if elapsed >= self.base.max(BASE_LEAST) + QUEUE => {
                self.links.values_mut().for_each(|flow| flow.trip.renew(now));
                self.ask_busy(now);
                self.survey.enter(Step::Asks, now);
            }
            Step::Asks if elapsed >= MOST || self.is_answered(elapsed) => {
                self.drain(false, now);
                self.settle(now);
            }
            _ => {}
        }
    }

    /// Returns whether a line carries a quarter less than it did after the last survey, and has
    /// for a while, with long round trips.
    fn has_fallen(&mut self, now: Instant) -> bool {
        let long = self.busy().any(|(_, flow)| flow.trip.was_long());
        let still = self.links.values().any(|flow| flow.sent.still);
        if !self.note_rates() || !long || still {
            self.survey.less_since = None;
            return false;
        }
        now - *self.survey.less_since.get_or_insert(now) >= FALLEN_FOR
    }

    fn note_rates(&mut self) -> bool {
        let (up, down) = (self.up.rate(), self.down.rate());
        let rates = &mut self.survey.rates;
        *rates = (rates.0.max(up), rates.1.max(down));
        let fallen = |rate: u64, before: u64| rate < before / 4 * 3;
        fallen(up, rates.0) || fallen(down, rates.1)
    }

    /// Takes longer round trips back if a line carries not a sixth more since.
    fn judge(&mut self) {
        let Some((up, down)) = self.survey.raised.take() else { return };
        let more = |rate: u64, before: u64| rate > before + before / 6;
        let paid = more(self.up.rate(), up) || more(self.down.rate(), down);
        self.links.values_mut().for_each(|flow| flow.trip.judge(paid));
    }

    /// Ends a survey.
    fn settle(&mut self, now: Instant) {
        let mut raised = false;
        for flow in self.links.values_mut() {
            raised |= flow.trip.settle();
        }
        self.survey.rates = (self.up.rate(), self.down.rate());
        self.survey.raised = raised.then_some(self.survey.rates);
        self.survey.less_since = None;
        self.survey.enter(Step::Rests, now);
    }

    /// Returns whether all have answered who do within twice the time of the first one.
    fn is_answered(&self, elapsed: Duration) -> bool {
        let first = self.busy().filter_map(|(_, flow)| flow.trip.renewed()).min();
        first.is_some_and(|first| elapsed >= 2 * first.max(BASE_LEAST))
            || self.busy().all(|(_, flow)| flow.trip.renewed().is_some())
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
}
