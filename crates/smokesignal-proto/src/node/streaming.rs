//! What [`Node`] does about the writers' streams: it passes facts between the streams and the ways they take.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Node;
use crate::config::ReadFrom;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::message::{Ask, Control, DigestEnd, Mark};
use crate::output::CloseReason;
use crate::segment::Segment;
use crate::spread::{Advice, Repair};
use crate::streams::{Delivery, OWN, StreamIx, Verdict};
use crate::time::Instant;

impl Node {
    pub(super) fn on_segment(&mut self, link: LinkId, segment: &Arc<Segment>, now: Instant) {
        if !self.membership.is_active(link) {
            return;
        }
        if segment.origin == self.me {
            return self.decline(link, OWN, now);
        }
        let place = self.streams.find(&segment.origin);
        let current = place.filter(|ix| self.streams.get(*ix).incarnation == segment.incarnation);
        let ended = place.is_some_and(|ix| {
            let stream = self.streams.get(ix);
            stream.proven && stream.incarnation > segment.incarnation
        });
        if ended {
            return;
        }
        let known = current.and_then(|ix| {
            let stream = self.streams.get(ix);
            let next = stream.have + 1;
            (stream.proven && segment.seq != next && !self.spread.may_skip_to(ix, link, segment.seq))
                .then_some((ix, segment.seq < next))
        });
        if let Some((ix, duplicate)) = known {
            self.spread.peer_has(link, ix, segment.seq);
            if duplicate {
                self.copies += segment.messages_ended();
            } else {
                self.want(ix, now);
            }
            // What comes too early is as useless as what comes twice, as long as somebody else brings what is next.
            if duplicate || self.spread.parent(ix).is_some() {
                self.decline(link, ix, now);
            }
            return;
        }
        // "Verify before believing": nothing moves on an unverified segment (A13).
        if self.config.signed && !self.streams.verify(place, segment, &self.config.network) {
            return self.violation(link, CloseReason::ForgedSegment, now);
        }
        self.on_proven_segment(link, segment, now);
    }

    pub(super) fn on_proven_segment(&mut self, link: LinkId, segment: &Arc<Segment>, now: Instant) {
        let fresh = self.settled || segment.seq == 1;
        let (have, next) = if fresh { (0, Some(1)) } else { (segment.seq - 1, None) };
        let Some(ix) = self.stream(&segment.origin, segment.incarnation, have, next, now) else { return };
        self.spread.peer_has(link, ix, segment.seq);
        let stream = self.streams.get(ix);
        if !stream.proven && segment.seq <= stream.have {
            self.streams.rebase(ix, segment.seq - 1);
            self.correct(ix, now);
        } else if segment.seq > stream.have + 1 && self.spread.may_skip_to(ix, link, segment.seq) {
            self.streams.skip(ix, segment.seq);
        }
        let mut deliveries = Vec::new();
        match self.streams.accept(ix, segment, now, &self.config, &mut deliveries) {
            Verdict::New => {
                let advice = self.spread.received(link, ix, segment.seq, now, &self.config);
                self.spread.fan_out(ix, segment.seq, Some(link), now, &self.config);
                self.follow(advice, link, ix, now);
            }
            Verdict::Ahead => self.want(ix, now),
            Verdict::Duplicate => self.decline(link, ix, now),
        }
        self.deliver(deliveries);
    }

    /// What this node told its neighbours about itself was a lie that it had been told.
    fn correct(&mut self, ix: StreamIx, now: Instant) {
        let links: Vec<_> = self.peers().map(|(link, _)| link).collect();
        for link in links {
            let marks = vec![self.streams.get(ix).mark()];
            self.send(link, Control::Digest { marks, end: None }.into(), now);
        }
    }

    pub(super) fn follow(&mut self, advice: Advice, link: LinkId, ix: StreamIx, now: Instant) {
        let stream = self.streams.get(ix);
        let (origin, incarnation) = (stream.origin, stream.incarnation);
        if advice.graft {
            let asks = vec![Ask { origin, incarnation, from: stream.have + 1, or_later: false }];
            self.send(link, Control::Graft { asks }.into(), now);
        }
        if let Some(other) = advice.prune {
            self.send(other, Control::Prune { origin, incarnation }.into(), now);
        }
    }

    /// Tells a link that brings what is of no use to stop.
    pub(super) fn decline(&mut self, link: LinkId, ix: StreamIx, now: Instant) {
        if self.spread.decline(link, ix, now) {
            let stream = self.streams.get(ix);
            let (origin, incarnation) = (stream.origin, stream.incarnation);
            self.send(link, Control::Prune { origin, incarnation }.into(), now);
        }
    }

    pub(super) fn want(&mut self, ix: StreamIx, now: Instant) {
        self.spread.want(ix, self.streams.get(ix).have, now, &self.config);
    }

    /// The writer's stream; a new one starts after segment `have`. `None` if the incarnation is over, or has
    /// to wait for the one before it. That there is a newer one must have been proved.
    pub(super) fn stream(
        &mut self,
        origin: &NodeId,
        incarnation: u64,
        have: u64,
        next_message: Option<u64>,
        now: Instant,
    ) -> Option<StreamIx> {
        let Some(ix) = self.streams.find(origin) else {
            let ix = self.streams.admit(*origin, incarnation, have, next_message, now, &self.config)?;
            self.spread.forget_stream(ix);
            return Some(ix);
        };
        let stream = self.streams.get(ix);
        if incarnation != stream.incarnation && !stream.proven {
            // The other one was a neighbour's word only.
            self.streams.replace(ix, incarnation, have, next_message, now);
            self.spread.forget_stream(ix);
        } else if incarnation > stream.incarnation {
            let (newest, since) = stream.newer.unwrap_or((incarnation, now));
            self.streams.set_newer(ix, Some((newest.max(incarnation), since)));
            self.switch_if_drained(ix, now);
        }
        (self.streams.get(ix).incarnation == incarnation).then_some(ix)
    }

    /// "Nothing of an old incarnation may follow the first of a new one" (design A, 3.5).
    pub(super) fn switch_if_drained(&mut self, ix: StreamIx, now: Instant) {
        let stream = self.streams.get(ix);
        let Some((incarnation, since)) = stream.newer else { return };
        let (lead, from) = (self.spread.lead(ix, stream.have), stream.origin);
        let drained = lead == 0 && self.spread.all_served(ix, stream.have);
        if !drained && now - since < self.config.drain_timeout {
            return;
        }
        if lead > 0 {
            // How many messages were in the missing segments died with the writer's former start: one each, at a guess.
            self.deliver(vec![Delivery::Gap { from, missed: lead.min(MOST_GUESSED) }]);
        }
        self.start_over(ix, incarnation, now);
    }

    pub(super) fn start_over(&mut self, ix: StreamIx, incarnation: u64, now: Instant) {
        let mut deliveries = Vec::new();
        self.streams.restart(ix, incarnation, now, &mut deliveries);
        self.deliver(deliveries);
        self.spread.forget_stream(ix);
        // Neighbours may have sent what we could not take yet: all begin again. Who comes second is pruned.
        let origin = self.streams.get(ix).origin;
        let asks = vec![Ask { origin, incarnation, from: 1, or_later: true }];
        let links: Vec<_> = self.peers().map(|(link, _)| link).collect();
        for link in links {
            self.send(link, Control::Graft { asks: asks.clone() }.into(), now);
        }
    }

    pub(super) fn switch_incarnations(&mut self, now: Instant) {
        for ix in 1..self.streams.len() {
            self.switch_if_drained(ix, now);
        }
    }

    pub(super) fn on_digest(&mut self, link: LinkId, marks: &[Mark], end: Option<DigestEnd>, now: Instant) {
        if !self.membership.is_active(link) {
            return;
        }
        let mut asks = Vec::new();
        for mark in marks.iter().filter(|mark| is_sane(mark)) {
            if mark.origin == self.me {
                self.on_own_mark(link, mark, now);
                continue;
            }
            match self.streams.find(&mark.origin) {
                None if mark.have == 0 => continue, // It knows the writer, but nothing has been written.
                Some(ix) if self.is_claim(ix, mark) => {
                    // Its proof is a segment of that incarnation.
                    let from = if self.settled { mark.floor } else { mark.have + 1 };
                    let Mark { origin, incarnation, .. } = *mark;
                    asks.push(Ask { origin, incarnation, from, or_later: true });
                    continue;
                }
                _ => {}
            }
            let is_new = self.streams.find(&mark.origin).is_none();
            let (have, next) = self.start_of(mark);
            let Some(ix) = self.stream(&mark.origin, mark.incarnation, have, next, now) else { continue };
            if let (true, false, ReadFrom::Last(keep)) = (is_new, self.settled, self.config.read_from) {
                self.streams.hold_back(ix, keep, mark.have, now);
            }
            let stream_have = self.streams.get(ix).have;
            self.spread.mark(link, ix, mark, stream_have, now, &self.config);
            self.want(ix, now);
        }
        if !asks.is_empty() {
            self.send(link, Control::Graft { asks }.into(), now);
        }
        if let Some(end) = end {
            self.spread.digest_ended(link, &self.streams);
            if end.settled {
                self.settle(now);
            }
        }
    }

    /// Whether the mark speaks of another incarnation than the one we read, which may be true.
    pub(super) fn is_claim(&self, ix: StreamIx, mark: &Mark) -> bool {
        let stream = self.streams.get(ix);
        mark.incarnation > stream.incarnation || (mark.incarnation != stream.incarnation && !stream.proven)
    }

    /// Where to begin with a stream first heard of by this mark: after which segment, and with which message. For a
    /// node that is no joiner any more the writer is new, or was on the other side of a netsplit: from its beginning.
    pub(super) fn start_of(&self, mark: &Mark) -> (u64, Option<u64>) {
        match self.config.read_from {
            _ if self.settled => (0, Some(1)),
            ReadFrom::Now => (mark.have, None),
            // How the messages are numbered only their writer can say.
            ReadFrom::Last(_) | ReadFrom::Oldest => (mark.floor - 1, None),
        }
    }

    /// What a neighbour has of our own stream. Nobody is ahead of us in it. But an earlier start of this node may
    /// have had a higher incarnation, because the clock was set back since: then ours goes above it (as SWIM refutes a
    /// rumour), before anything was written, because writing waits for a neighbour's first digest.
    pub(super) fn on_own_mark(&mut self, link: LinkId, mark: &Mark, now: Instant) {
        let own = self.streams.get(OWN);
        if mark.incarnation == own.incarnation {
            let have = mark.have.min(own.have);
            self.spread.mark(link, OWN, &Mark { have, ..*mark }, own.have, now, &self.config);
        } else if mark.incarnation > own.incarnation
            && mark.incarnation - own.incarnation < FARTHEST
            && own.have == 0
        {
            self.config.incarnation = mark.incarnation + 1;
            self.streams.restart(OWN, mark.incarnation + 1, now, &mut Vec::new());
            self.spread.forget_stream(OWN);
        }
    }

    pub(super) fn on_graft(&mut self, link: LinkId, asks: &[Ask]) {
        for ask in asks.iter().filter(|ask| (1..1 << 62).contains(&ask.from)) {
            let Some(ix) = self.streams.find(&ask.origin) else { continue };
            if self.streams.get(ix).incarnation != ask.incarnation {
                continue;
            }
            // Who asks for what is no longer here is told so, and asks elsewhere.
            let stream = self.streams.get(ix);
            let oldest = if ask.or_later { stream.floor() } else { 1 };
            let from = ask.from.max(oldest).min(stream.have + 1);
            self.spread.graft(link, ix, from, ask.or_later);
        }
    }

    pub(super) fn on_prune(&mut self, link: LinkId, origin: &NodeId, incarnation: u64, now: Instant) {
        let Some(ix) = self.streams.find(origin) else { return };
        let stream = self.streams.get(ix);
        if stream.incarnation == incarnation {
            self.spread.pruned(link, ix, stream.have, now, &self.config);
        }
    }

    pub(super) fn repair(&mut self, now: Instant) {
        for (link, digest) in self.spread.digests(&self.streams, now) {
            self.send(link, digest.into(), now);
        }
        let lonely = self.membership.degree() < self.config.min_peers;
        let mut asks: BTreeMap<LinkId, Vec<Ask>> = BTreeMap::new();
        for repair in self.spread.repairs(&self.streams, lonely, now, &self.config) {
            let Repair { link, ix, from, or_later, prune } = repair;
            let stream = self.streams.get(ix);
            let (origin, incarnation) = (stream.origin, stream.incarnation);
            asks.entry(link).or_default().push(Ask { origin, incarnation, from, or_later });
            if let Some(former) = prune {
                self.send(former, Control::Prune { origin, incarnation }.into(), now);
            }
        }
        for (link, asks) in asks {
            self.send(link, Control::Graft { asks }.into(), now);
        }
    }
}

/// A neighbour's claim counts for so many messages at most.
const MOST_GUESSED: u64 = 1024;

/// An earlier start of this node cannot have had an incarnation so much higher: unix milliseconds, 34 years ahead.
const FARTHEST: u64 = 1 << 40;

/// Numbers near the end of the range would overflow in later sums; nobody writes 2^62 segments.
fn is_sane(mark: &Mark) -> bool {
    let sane = 1..1 << 62;
    mark.have < 1 << 62
        && [mark.incarnation, mark.floor, mark.floor_message].iter().all(|number| sane.contains(number))
        && mark.next_message < 1 << 62
        && mark.floor <= mark.have + 1
}
