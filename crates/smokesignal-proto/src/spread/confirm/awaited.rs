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
//! redirect, as soon as it has a parent. The writer itself answers as if it had one, until its
//! stream has ended.

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
            if ix == OWN && stream.is_at_end() {
                continue; // A reader says by the digest that it has read everything.
            }
            let is_filled = self.is_filled(cx, link);
            // A writer has no parent, and gets its stream from nobody.
            let has_parent = ix == OWN || self.parent(ix).is_some();
            if is_filled || !(has_parent || stream.is_at_end()) {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::age::Age;
    use crate::config::Config;
    use crate::context::Context;
    use crate::features::Features;
    use crate::id::Keypair;
    use crate::message::{Confirmation, Mark};
    use crate::segment::{MessageKind, Segment, SegmentKind};
    use crate::spread::Room;
    use crate::streams::Position;
    use crate::time::Instant;

    const NOW: Instant = Instant::from_micros(1_000_000);

    /// A node with a stream of its own and one of somebody else, and two neighbours.
    fn with_neighbours() -> (Context, Streams, Spread, StreamIx) {
        let mut context = Context::new(Keypair::from_seed(&[1; 32]), Config::default(), 1);
        let mut streams = Streams::new(context.me.id(), 1, NOW);
        let other = Keypair::from_seed(&[2; 32]).id();
        let ix = streams.admit(&context.at(NOW), other, Position::beginning(1)).unwrap();
        let mut spread = Spread::new(&context.config, NOW);
        for link in [LinkId(1), LinkId(2)] {
            spread.link_up(&context.at(NOW), link, Duration::from_millis(20), Features::OURS);
            spread.pump(&context.at(NOW), (link, Room::WINDOW), &streams, true, &mut Vec::new());
            spread.digest_ended(link, &streams);
        }
        (context, streams, spread, ix)
    }

    fn is_prune((link, control): &(LinkId, Control)) -> Option<(LinkId, u64)> {
        match control {
            Control::Prune { origin, .. } => Some((*link, origin.prefix())),
            _ => None,
        }
    }

    /// However long the link has been up: the ten seconds begin with what was offered.
    #[test]
    fn a_writer_waits_for_a_neighbour_that_says_nothing_although_its_link_is_old() {
        let (mut context, mut streams, mut spread, _) = with_neighbours();
        let pump = |spread: &mut Spread, cx: &Cx<'_>, streams: &Streams| {
            for link in [LinkId(1), LinkId(2)] {
                spread.pump(cx, (link, Room::WINDOW), streams, true, &mut Vec::new());
            }
        };
        pump(&mut spread, &context.at(NOW), &streams);
        let later = NOW + 2 * AWAITED_MOST;
        let origin = context.me.id();
        let (kind, message_kind) = (SegmentKind::Whole { messages: 1 }, MessageKind::Application);
        let (body, seal) = (vec![1, 7].into(), None);
        let first =
            Segment { origin, incarnation: 1, seq: 1, first_message: 1, kind, message_kind, body, seal };
        streams.accept(&mut context.at(later), OWN, &Arc::new(first), Age::written(later));
        let cx = &context.at(later);
        spread.fan_out(cx, OWN, 1, None);
        pump(&mut spread, cx, &streams);
        let report = Confirmation {
            writer: origin.prefix(),
            incarnation: 1,
            position: 1,
            half: 1,
            lowest: 1,
            nodes: 1,
            behind: 0,
            gaps: 0,
            missed: 0,
            room: 64,
            slowest: 1,
        };
        spread.confirmed(cx, (LinkId(1), OWN), &report, &streams);
        let readers = |spread: &mut Spread, cx: &Cx<'_>| spread.readers(cx, &streams).map(|all| all.position);
        assert_eq!(readers(&mut spread, cx), Some(0), "the other one may lack it");
        let cx = &context.at(later + AWAITED_MOST);
        spread.look_at_awaited(cx, &streams);
        assert_eq!(readers(&mut spread, cx), Some(1), "it has had its time");
    }

    /// Where the line is slow, or unknown, a neighbour that gets the stream from another one offers
    /// it by a digest to the writer, too.
    #[test]
    fn a_writer_answers_a_neighbour_that_offers_it_its_own_stream() {
        let (mut context, streams, mut spread, _) = with_neighbours();
        let (origin, cx) = (streams.get(OWN).origin, &context.at(NOW));
        let mark = Mark { origin, incarnation: 1, have: 0, floor: 1, floor_message: 1, next_message: 1 };
        spread.mark(cx, (LinkId(1), OWN), &mark, 0);
        let answers = spread.confirmations(cx, &streams);
        let prunes: Vec<_> = answers.iter().filter_map(is_prune).collect();
        assert_eq!(prunes, [(LinkId(1), origin.prefix())]);
        spread.mark(cx, (LinkId(1), OWN), &mark, 0);
        assert!(spread.confirmations(cx, &streams).is_empty(), "once in ten seconds");
    }

    /// The writer may send it away before anything that it was sent has left.
    #[test]
    fn a_node_that_is_sent_away_and_has_another_parent_says_so() {
        let (mut context, streams, mut spread, ix) = with_neighbours();
        let cx = &context.at(NOW);
        spread.received(cx, LinkId(2), ix, 1);
        spread.redirected(cx, LinkId(1), ix);
        assert_eq!(spread.parent(ix), Some(LinkId(2)));
        let answers = spread.confirmations(cx, &streams);
        let prunes: Vec<_> = answers.iter().filter_map(is_prune).collect();
        assert_eq!(prunes, [(LinkId(1), streams.get(ix).origin.prefix())]);
    }
}
