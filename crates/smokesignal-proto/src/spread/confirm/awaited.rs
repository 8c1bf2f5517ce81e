//! Neighbours that may be readers here, and have not answered yet.
//!
//! A node offers a stream to a neighbour by sending it a segment or a digest unasked, and the
//! neighbour answers: with Confirm or Graft it becomes a child, with Prune it says that it gets the
//! stream from another node, which answers for it. Until then it is *awaited*: it holds the
//! position where it is known to be, and does not count as a node yet. So a node that has
//! everything itself does not report that before it knows who is below it, and the writer waits for
//! a reader far away from the first segment on (as RMTP's designated receivers acknowledge what all
//! of their group have, Paul et al., 1997; here the group forms with the stream). An awaited
//! neighbour delays a writer no more than a child that confirms nothing, and for 10 s at most.
//!
//! The other side owes the answer: to a segment that comes twice immediately; to a digest, or a
//! redirect, as soon as it has a parent.

use std::time::Duration;

use super::{Confirms, MUCH};
use crate::context::Cx;
use crate::ids::LinkId;
use crate::message::Control;
use crate::output::CloseReason;
use crate::spread::{Link, LinkStream, Spread};
use crate::streams::{OWN, StreamIx, Streams};

/// A digest of a stream that was pruned is answered again after this long: the neighbour may have
/// forgotten the stream meanwhile. 10 s: five neighbours get 23 bytes a second and stream.
const ANSWERED_AGAIN: Duration = Duration::from_secs(10);

/// A neighbour that has not answered for this long does not hold the position any more. 10 s: a
/// segment of 64 KiB takes 2 s on 256 kbit/s, and no fault of a neighbour, or of an answer that was
/// lost with its cause, may hold up a writer for good.
const AWAITED_MOST: Duration = Duration::from_secs(10);

impl Spread {
    /// Returns how far the neighbour is known to be, if it lacks something that this node has for
    /// it. It is none of the children. One that has sent the stream to this node has a parent of
    /// its own, below which it counts.
    pub(super) fn awaited(
        &self,
        cx: &Cx<'_>,
        ix: StreamIx,
        column: &LinkStream,
        streams: &Streams,
    ) -> Option<u64> {
        if column.pruned || column.offered_at.is_some_and(|at| cx.now - at >= AWAITED_MOST) {
            return None;
        }
        let stream = streams.get(ix);
        // It has to find elsewhere the segments that are not retained here.
        let known = column.knows().max(stream.floor() - 1);
        (known < stream.have).then(|| known.max(self.confirms.reported(self.pace.position, ix)))
    }

    /// Looks again at the streams whose position somebody holds, because an awaited neighbour does
    /// so for a limited time. Call it once in a second.
    pub(crate) fn look_at_awaited(&mut self, cx: &Cx<'_>, streams: &Streams) {
        self.pace.dirty = true;
        for ix in 1..streams.len() {
            if self.has_to_report(ix, streams.get(ix).have) {
                self.confirms.progressed(cx, ix, MUCH);
            }
        }
    }

    /// Lets the neighbours that were awaited on this link count for a while, as children do.
    pub(super) fn awaited_lost(
        &mut self,
        cx: &Cx<'_>,
        streams: &Streams,
        (link, reason): (LinkId, CloseReason),
        state: &Link,
    ) {
        if !state.reports {
            return;
        }
        for (ix, column) in state.streams.iter().enumerate().take(streams.len()) {
            let is_other = self.parent(ix) == Some(link) || self.is_child(link, ix);
            if is_other || !column.is_child() {
                continue;
            }
            if let Some(known) = self.awaited(cx, ix, column, streams) {
                self.leave_ghost(cx, ix, (known, 0), (reason, state.rtt));
            }
        }
    }

    /// Notes that the neighbour has offered the stream by a digest, or has sent this node away.
    pub(in crate::spread) fn owe_answer(&mut self, cx: &Cx<'_>, link: LinkId, ix: StreamIx) {
        if self.parent(ix) == Some(link) {
            return self.report_to_parent(cx, ix);
        }
        let Some(state) = self.links.get_mut(&link).filter(|state| state.reports) else { return };
        let column = state.stream(ix);
        if !column.pruned || cx.now - column.pruned_at >= ANSWERED_AGAIN {
            self.confirms.unanswered.insert((link, ix));
            self.confirms.can_answer = true;
        }
    }

    /// Reports to the parent even if nothing has changed: it seems not to know that it is one.
    pub(in crate::spread) fn report_to_parent(&mut self, cx: &Cx<'_>, ix: StreamIx) {
        if ix != OWN {
            self.confirms.tally(ix).told = None;
            self.confirms.progressed(cx, ix, MUCH);
        }
    }

    /// Returns the answers to neighbours that are not the parent. While there is none, they wait:
    /// one of them may become it.
    pub(super) fn answers(&mut self, cx: &Cx<'_>, streams: &Streams) -> Vec<(LinkId, Control)> {
        let mut answers = Vec::new();
        if !std::mem::take(&mut self.confirms.can_answer) {
            return answers;
        }
        for (link, ix) in std::mem::take(&mut self.confirms.unanswered) {
            if ix >= streams.len() || self.parent(ix) == Some(link) {
                continue; // A request or a report has answered it.
            }
            let stream = streams.get(ix);
            let is_filled = self.is_filled(cx, link);
            if is_filled || (self.parent(ix).is_none() && !stream.is_at_end()) {
                self.confirms.unanswered.insert((link, ix));
                self.confirms.can_answer |= is_filled;
            } else if self.prune(cx, link, ix).is_some() {
                let (origin, incarnation) = (stream.origin, stream.incarnation);
                answers.push((link, Control::Prune { origin, incarnation }));
            }
        }
        answers
    }
}

impl Confirms {
    /// Returns what was reported of a stream and must not be pulled back: nothing where the writer
    /// waits for everyone.
    fn reported(&self, own: u64, ix: StreamIx) -> u64 {
        match self.tallies.get(ix) {
            Some(tally) if tally.patient => 0,
            _ if ix == OWN => own,
            tally => tally.and_then(|tally| tally.told).map_or(0, |told| told.position),
        }
    }
}
