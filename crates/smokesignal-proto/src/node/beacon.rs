//! What [`Node`] does for the beacon: it passes facts between the beacon and membership.

use std::sync::Arc;

use super::Node;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::message::{Beat, Control};
use crate::netsplit::{Report, ToldBeat};
use crate::output::CloseReason;
use crate::time::Instant;

impl Node {
    /// Handles those control messages of membership that concern the beacon as well.
    pub(super) fn on_beacon_control(&mut self, link: LinkId, control: &Control, now: Instant) {
        let cx = &mut self.context.at(now);
        match control {
            Control::Ping { child, subtree, seeds, .. } => {
                let report = Report { child: *child, subtree: *subtree, seeds: seeds.clone() };
                self.netsplit.on_report(cx, link, report);
            }
            Control::Probe => cx.out.send(link, self.netsplit.beacon(cx)),
            Control::Sought { seeds } => self.netsplit.on_sought(cx, link, seeds.clone()),
            Control::Turn { seed } if self.netsplit.on_turn(cx, link, *seed) => {
                self.membership.take_turn(cx, *seed);
            }
            _ => {}
        }
    }

    pub(super) fn on_beacon(
        &mut self,
        link: LinkId,
        beat: Arc<Beat>,
        (age_ms, hops): (u32, u8),
        now: Instant,
    ) {
        let cx = &mut self.context.at(now);
        let told = ToldBeat { beat, age_ms, hops };
        if self.membership.is_active(link) {
            if !self.netsplit.on_beacon(cx, link, &told) {
                self.violation(link, CloseReason::ForgedBeat, now);
            }
        } else if self.membership.is_probe(link) {
            if self.netsplit.is_other(cx, &told) {
                self.membership.found_other_partition(cx, link, told.beat.size);
            } else if self.netsplit.is_ours(cx, &told) {
                self.membership.found_same_partition(cx, link);
            }
        }
    }

    pub(super) fn tick_beacon(&mut self, now: Instant) {
        let facts = self.membership.seed_facts(now);
        self.netsplit.tick(&mut self.context.at(now), facts);
        self.perform_all(now);
    }

    /// Once in a tick: looks for missing seeds, and for nodes that may be part of another
    /// partition.
    pub(super) fn probe(&mut self, now: Instant) {
        let cx = &mut self.context.at(now);
        let (membership, netsplit) = (&mut self.membership, &mut self.netsplit);
        let missing = membership.miss_seeds(|id: &NodeId| !netsplit.has_seed(id));
        for seed in netsplit.seek(cx, missing) {
            membership.take_turn(cx, seed);
        }
        if netsplit.is_steady(cx) {
            membership.check_seeds(cx, |id: &NodeId| netsplit.has_seed(id));
        }
        let probers = netsplit.probers(cx.me);
        membership.probe_after_silence(cx, probers);
        if membership.is_probing(cx, probers, cx.config.probe_period) {
            membership.probe(cx);
        }
    }
}
