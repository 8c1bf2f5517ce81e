//! What [`Node`] does about being whole: it passes facts between the beacon and membership.

use std::sync::Arc;

use super::Node;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::message::{Beat, Control};
use crate::netsplit::{News, Report};
use crate::output::{CloseReason, Output};
use crate::time::Instant;

impl Node {
    /// The parts of control messages that the beacon is about.
    pub(super) fn on_whether_whole(&mut self, link: LinkId, control: &Control, now: Instant) {
        match control {
            Control::Ping { child, subtree, seeds, .. } => {
                let report = Report { child: *child, subtree: *subtree, seeds: seeds.clone() };
                self.netsplit.on_report(link, report, now);
                self.tell_news(now);
            }
            Control::Probe => {
                let beacon = self.netsplit.beacon(now);
                self.send(link, beacon.into(), now);
            }
            _ => {}
        }
    }

    pub(super) fn on_beacon(&mut self, link: LinkId, beat: &Arc<Beat>, age_ms: u32, hops: u8, now: Instant) {
        if self.membership.is_active(link) {
            if !self.netsplit.on_beacon(link, beat, age_ms, hops, now) {
                return self.violation(link, CloseReason::ForgedBeat, now);
            }
        } else if self.membership.is_probe(link) {
            if self.netsplit.is_other(beat, age_ms, now) {
                self.membership.found_others(link, beat.size, now);
            } else if self.netsplit.is_ours(beat, age_ms) {
                self.membership.found_one_of_us(link, now);
            }
        }
        self.tell_news(now);
    }

    /// Once in a tick: the beacon, and whether there is anybody outside of our component.
    pub(super) fn look_around(&mut self, now: Instant) {
        let facts = self.membership.seed_facts(now);
        self.netsplit.tick(facts, now);
        self.tell_news(now);
        let (membership, netsplit, config) = (&mut self.membership, &self.netsplit, &self.config);
        let is_missing = |id: &NodeId| !netsplit.has_seed(id);
        // Whoever feels a cut first looks for the seeds at once: a few of all who feel it.
        let silent = membership.take_silent() > 0 && membership.lot(netsplit.probers().div_ceil(3));
        if silent {
            membership.probe_missing_seeds(|_| true, now);
        }
        let period = if netsplit.misses_a_seed(now) { config.probe_hurry } else { config.probe_period };
        if membership.is_probing(netsplit.probers(), period, now) {
            membership.probe(is_missing, now);
        }
        self.pass_on(now);
    }

    pub(super) fn tell_news(&mut self, now: Instant) {
        for news in std::mem::take(&mut self.netsplit.news) {
            match news {
                News::Send(link, control) => self.send(link, control.into(), now),
                News::Netsplit { seed, size, size_before, other_size } => {
                    self.out.push_back(Output::Netsplit { seed, size, size_before, other_size });
                }
                News::Resolved { duration, size } => {
                    self.out.push_back(Output::NetsplitResolved { duration, size });
                }
                News::Merged => self.membership.mix(now),
            }
        }
    }
}
