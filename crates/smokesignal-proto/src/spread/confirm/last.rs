//! The last reports of a node that leaves.
//!
//! It waits until all nodes below it have confirmed the streams that have ended, and its parents
//! know. When it leaves earlier, it reports those that have: the others report to another parent.

use std::collections::BTreeMap;

use super::{Summary, combine, confirmation};
use crate::context::Cx;
use crate::ids::LinkId;
use crate::message::{Confirmation, Control, MAX_MARKS};
use crate::spread::Spread;
use crate::streams::{StreamIx, Streams};

impl Spread {
    /// Returns whether all nodes below this one have read the streams that have ended, and their
    /// writers will learn of it.
    pub(crate) fn ends_are_confirmed(&self, cx: &Cx<'_>, streams: &Streams) -> bool {
        let ended = (1..streams.len()).filter(|ix| streams.get(*ix).is_at_end());
        ended.filter_map(|ix| Some((ix, self.summary(cx, streams, ix)?))).all(|(ix, summary)| {
            let is_known = match self.reporting_parent(ix) {
                Some(_) => self.told(ix) == Some(summary),
                None => !self.parents.get(ix).is_some_and(|tree| tree.seeking),
            };
            // One that came late counts as behind until it has caught up.
            summary.position >= streams.get(ix).have && summary.behind == 0 && is_known
        })
    }

    /// Returns whether the last report on a stream was that this node, or one below it, lacks
    /// something, although it has everything itself.
    pub(in crate::spread) fn has_to_report(&self, ix: StreamIx, have: u64) -> bool {
        self.told(ix).is_some_and(|told| told.position < have)
    }

    /// Returns the last reports on streams that have ended.
    pub(crate) fn last_reports(&mut self, cx: &Cx<'_>, streams: &Streams) -> Vec<(LinkId, Control)> {
        let mut reports: BTreeMap<LinkId, Vec<Confirmation>> = BTreeMap::new();
        for ix in (1..streams.len()).filter(|ix| streams.get(*ix).is_at_end()) {
            let Some(parent) = self.reporting_parent(ix) else { continue };
            let Some(summary) = self.complete(cx, streams, ix) else { continue };
            if self.confirms.tally(ix).told.replace(summary) != Some(summary) {
                reports.entry(parent).or_default().push(confirmation(streams, ix, &summary));
            }
        }
        let parts = |(link, reports): (LinkId, Vec<Confirmation>)| {
            let parts: Vec<_> = reports.chunks(MAX_MARKS).map(<[_]>::to_vec).collect();
            parts.into_iter().map(move |reports| (link, Control::Confirm { reports }))
        };
        reports.into_iter().flat_map(parts).collect()
    }

    /// Returns those in this node's part of the tree that have everything.
    fn complete(&self, cx: &Cx<'_>, streams: &Streams, ix: StreamIx) -> Option<Summary> {
        let have = streams.get(ix).have;
        let (mut parts, _) = self.parts(cx, streams, ix);
        parts.retain(|part| part.position >= have);
        combine(&parts, None)
    }

    fn reporting_parent(&self, ix: StreamIx) -> Option<LinkId> {
        self.parent(ix).filter(|parent| self.links.get(parent).is_some_and(|link| link.reports))
    }

    fn told(&self, ix: StreamIx) -> Option<Summary> {
        self.confirms.tallies.get(ix).and_then(|tally| tally.told)
    }
}
