//! What [`Node`] does about the writers' streams: it passes facts between the streams and the
//! spread.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Node;
use crate::age::Age;
use crate::config::ReadFrom;
use crate::features::Features;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::lag::{Change, Lag};
use crate::life::Life;
use crate::message::{Ask, Confirmation, Control, DigestEnd, Mark, Part};
use crate::output::{CloseReason, Output};
use crate::segment::{MessageKind, Segment};
use crate::spread::{Advice, Repair};
use crate::streams::{OWN, Position, StreamIx, Verdict};
use crate::time::Instant;

impl Node {
    /// Takes a segment, with its age by the neighbour's clock.
    pub(super) fn on_segment(&mut self, link: LinkId, segment: &Arc<Segment>, age: Age, now: Instant) {
        if !self.membership.is_active(link) {
            return;
        }
        if segment.origin == self.id() {
            let own = self.streams.get(OWN);
            if segment.incarnation != own.incarnation || segment.seq > own.have {
                self.suspect_twin(now);
            }
            return self.decline(link, OWN, now);
        }
        let age = self.transits.arrived(link, age, now, || self.flows.rtt(link));
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
            (stream.read && segment.seq != next && !self.spread.may_skip_to(ix, link, segment.seq))
                .then_some((ix, segment.seq < next))
        });
        if let Some((ix, duplicate)) = known {
            self.spread.peer_has(&self.context.at(now), link, ix, segment.seq);
            if duplicate {
                self.duplicates += segment.messages_ended();
            } else {
                self.want(ix, now);
            }
            // A segment that comes too early is as useless as one that comes twice, as long as
            // another link brings what is next.
            if duplicate || self.spread.parent(ix).is_some() {
                self.decline(link, ix, now);
            }
            return;
        }
        // "Verify before believing": nothing moves on an unverified segment.
        let config = &self.context.config;
        if config.signed && !self.streams.verify(place, segment, &config.network) {
            return self.violation(link, CloseReason::ForgedSegment, now);
        }
        let known_life = current.map_or(Life::Unknown, |ix| self.streams.get(ix).life);
        let Some(life) = self.life_by(link, segment, known_life, now) else {
            return self.doubt(link, segment, now);
        };
        self.on_proven_segment(link, segment, age, now);
        if life != known_life {
            self.note_life(segment, life);
        }
    }

    /// Takes a part of a segment, and the segment that it completes.
    pub(super) fn on_part(&mut self, link: LinkId, part: Part, now: Instant) {
        if !self.flows.has(link) {
            return;
        }
        match self.joints.join(link, part) {
            Ok(Some((segment, age))) => self.on_segment(link, &segment, age, now),
            Ok(None) => {}
            Err(_) => self.violation(link, CloseReason::Malformed, now),
        }
    }

    fn on_proven_segment(&mut self, link: LinkId, segment: &Arc<Segment>, age: Age, now: Instant) {
        let Segment { incarnation, seq, .. } = **segment;
        let from = if self.settling.is_settled() || seq == 1 {
            Position::beginning(incarnation)
        } else {
            Position { incarnation, have: seq - 1, next_message: None }
        };
        let Some(ix) = self.stream(&segment.origin, from, now) else { return };
        self.claims.forget(ix);
        self.spread.peer_has(&self.context.at(now), link, ix, segment.seq);
        let stream = self.streams.get(ix);
        let stream_was_claimed = stream.claimed;
        if !stream.read && segment.seq <= stream.have {
            self.streams.rebase(ix, segment.seq - 1);
            if !stream_was_claimed {
                self.correct(ix);
            }
        } else if segment.seq > stream.have + 1 && self.spread.may_skip_to(ix, link, segment.seq) {
            self.streams.skip(ix, segment.seq);
        }
        let cx = &mut self.context.at(now);
        match self.streams.accept(cx, ix, segment, age) {
            Verdict::New => {
                if self.streams.choose_turns(cx) {
                    self.spread.report_again(cx, self.streams.half_arrived());
                }
                self.spread.share_room(cx, &self.streams);
                let advice = self.spread.received(cx, link, ix, segment.seq);
                self.spread.grown(cx, ix, segment);
                self.lags.arrived(ix, segment.seq);
                self.spread.fan_out(cx, ix, segment.seq, Some(link));
                self.follow(advice, link, ix);
                if segment.message_kind == MessageKind::End {
                    self.confirm_end(ix);
                }
            }
            Verdict::Ahead => self.want(ix, now),
            Verdict::Duplicate => self.decline(link, ix, now),
        }
    }

    /// A writer that is a neighbour learns that its stream was read to the end: it may wait for
    /// that before it leaves.
    fn confirm_end(&mut self, ix: StreamIx) {
        let stream = self.streams.get(ix);
        let (origin, mark) = (stream.origin, stream.mark());
        if let Some(link) = self.link_to(&origin) {
            self.send(link, Control::Digest { marks: vec![mark], end: None });
        }
    }

    /// This node has advertised a position taken from a false mark: it advertises the corrected
    /// one.
    fn correct(&mut self, ix: StreamIx) {
        let links: Vec<_> = self.peers().map(|(link, _)| link).collect();
        for link in links {
            let marks = vec![self.streams.get(ix).mark()];
            self.send(link, Control::Digest { marks, end: None });
        }
    }

    fn follow(&mut self, advice: Advice, link: LinkId, ix: StreamIx) {
        let stream = self.streams.get(ix);
        let (origin, incarnation) = (stream.origin, stream.incarnation);
        if advice.graft {
            let asks = vec![Ask { origin, incarnation, from: stream.have + 1, or_later: false }];
            self.send(link, Control::Graft { asks });
        }
        if let Some(other) = advice.prune {
            self.send(other, Control::Prune { origin, incarnation });
        }
    }

    /// Follows the link that turns out to be faster than the parent.
    fn compare(&mut self, link: LinkId, ix: StreamIx, have: u64, now: Instant) {
        let cx = self.context.at(now);
        if let Some((faster, advice)) = self.spread.compare(&cx, (link, ix), have) {
            self.follow(advice, faster, ix);
        }
    }

    /// Tells a link that brings what is of no use to stop.
    fn decline(&mut self, link: LinkId, ix: StreamIx, now: Instant) {
        if self.spread.decline(&self.context.at(now), link, ix) {
            let stream = self.streams.get(ix);
            let (origin, incarnation) = (stream.origin, stream.incarnation);
            self.send(link, Control::Prune { origin, incarnation });
        }
    }

    /// Declines the own stream of a new neighbour that this node gets from another one: its line is
    /// full, and has no room for a second copy.
    fn keep_one_copy(&mut self, link: LinkId, now: Instant) {
        let writer = self.membership.peer(link).and_then(|writer| self.streams.find(&writer));
        if let Some(ix) =
            writer.filter(|ix| self.flows.is_down_full(now) && self.spread.parent(*ix).is_some())
        {
            self.decline(link, ix, now);
        }
    }

    /// Sends the own stream over the node's line once while that is full: one neighbour spreads it.
    pub(super) fn spare_full_line(&mut self, now: Instant) {
        if !self.flows.is_up_full(now) {
            return;
        }
        let (origin, own, flows) = (self.id(), self.streams.get(OWN), &self.flows);
        let (incarnation, head) = (own.incarnation, own.have);
        let away = self.spread.turn_away(&self.context.at(now), head, |link| flows.moves(link, now));
        for link in away {
            self.send(link, Control::Redirect { origin, incarnation });
        }
    }

    pub(super) fn want(&mut self, ix: StreamIx, now: Instant) {
        self.spread.want(&self.context.at(now), ix, self.streams.get(ix).have);
    }

    /// Returns the writer's stream; a new one begins at `from`. `None` if the incarnation is over,
    /// or has to wait for the one before it. That there is a newer one must have been proved.
    pub(super) fn stream(&mut self, origin: &NodeId, from: Position, now: Instant) -> Option<StreamIx> {
        let cx = &self.context.at(now);
        let Some(ix) = self.streams.find(origin) else {
            let ix = self.streams.admit(cx, *origin, from)?;
            self.forget_stream(ix);
            return Some(ix);
        };
        let (incarnation, stream) = (from.incarnation, self.streams.get(ix));
        let is_later = incarnation > stream.incarnation;
        if incarnation != stream.incarnation && (!stream.proven || (is_later && !stream.read)) {
            // The other one was only a neighbour's claim, or is over and was never read.
            self.streams.replace(ix, from, now);
            self.forget_stream(ix);
        } else if is_later {
            let is_news = stream.newer.is_none();
            let (newest, since) = stream.newer.unwrap_or((incarnation, now));
            self.streams.set_newer(ix, Some((newest.max(incarnation), since)));
            if is_news {
                self.ask_for_end(ix, now);
            }
            self.switch_if_drained(ix, now);
        }
        (self.streams.get(ix).incarnation == incarnation).then_some(ix)
    }

    /// Goes on with the writer's newer incarnation once the old one has drained, or its time is
    /// over: nothing of an old incarnation may follow the first of a new one.
    pub(super) fn switch_if_drained(&mut self, ix: StreamIx, now: Instant) {
        let stream = self.streams.get(ix);
        let Some((incarnation, since)) = stream.newer else { return };
        let (was_read, from) = (stream.read, stream.origin);
        let behind_by = self.end_of(ix) - stream.have;
        let drained = behind_by == 0 && self.spread.all_served(ix, stream.have);
        if !drained && now - since < self.context.config.drain_timeout {
            return;
        }
        let missed = self.missed_by(ix, behind_by);
        if missed > 0 {
            self.context.out.push(Output::Gap { from, missed });
        }
        self.start_over(ix, incarnation, now);
        if was_read {
            self.context.out.push(Output::Restarted { from });
        }
    }

    /// Returns how many messages were in that many segments that are missing at the end of an
    /// incarnation: exactly where they are proven, otherwise one each, at a guess.
    fn missed_by(&self, ix: StreamIx, segments: u64) -> u64 {
        let stream = self.streams.get(ix);
        match (stream.end.proven, stream.next_message()) {
            (Some((seq, after)), Some(next)) if segments > 0 && seq >= stream.have + segments => {
                // One that has begun to arrive is reported when it is dropped.
                after.saturating_sub(next + u64::from(stream.has_partial()))
            }
            _ => segments.min(MOST_GUESSED),
        }
    }

    pub(super) fn forget_stream(&mut self, ix: StreamIx) {
        self.spread.forget_stream(ix);
        self.lags.forget(ix);
        self.claims.forget(ix);
    }

    fn start_over(&mut self, ix: StreamIx, incarnation: u64, now: Instant) {
        self.streams.restart(&mut self.context.at(now), ix, incarnation);
        self.forget_stream(ix);
        // Neighbours may have sent what could not be taken yet: all begin again, and the slower
        // ones are pruned.
        let origin = self.streams.get(ix).origin;
        let asks = vec![Ask { origin, incarnation, from: 1, or_later: true }];
        let links: Vec<_> = self.peers().map(|(link, _)| link).collect();
        for link in links {
            self.send(link, Control::Graft { asks: asks.clone() });
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
            if mark.origin == self.id() {
                self.on_own_mark(link, mark, now);
                continue;
            }
            match self.streams.find(&mark.origin) {
                None if mark.have == 0 => continue, // It knows the writer, but nothing has been written.
                Some(ix) if self.is_claim(ix, mark) => {
                    // Its proof is a segment of that incarnation. A writer that this node has read
                    // goes on with the new one.
                    let knows_writer = self.settling.is_settled() || self.streams.get(ix).read;
                    let from = if knows_writer { mark.floor } else { mark.have + 1 };
                    let Mark { origin, incarnation, .. } = *mark;
                    asks.push(Ask { origin, incarnation, from, or_later: true });
                    continue;
                }
                _ => {}
            }
            let is_new = self.streams.find(&mark.origin).is_none();
            if is_new && !self.has_room_for_claim(link, now) {
                continue;
            }
            let from = self.start_of(mark);
            let Some(ix) = self.stream(&mark.origin, from, now) else { continue };
            if is_new {
                self.note_claim(link, ix, now);
                if self.begins_in_the_past() {
                    self.streams.set_life(ix, Life::Recorded(0));
                }
            }
            self.begin_at_smallest(ix, mark);
            let starts_earlier = !is_new && self.starts_earlier(ix, mark);
            if starts_earlier {
                self.streams.rebase(ix, mark.floor - 1);
                self.correct(ix);
            }
            let is_joining = starts_earlier || (is_new && !self.settling.is_settled());
            if let (true, ReadFrom::Last(keep)) = (is_joining, self.context.config.read_from) {
                self.streams.hold_back(ix, keep, mark.have, now);
            }
            let stream_have = self.streams.get(ix).have;
            self.spread.mark(&self.context.at(now), (link, ix), mark, stream_have);
            if end.is_none() && self.membership.peer(link) != Some(mark.origin) {
                self.compare(link, ix, mark.have, now);
            }
            self.want(ix, now);
            // Claims that this neighbour did not keep are void.
            if self.spread.behind_by(ix, stream_have) > 0 {
                self.lags.claimed(ix, mark, stream_have, now);
            }
            let is_writer = self.membership.peer(link) == Some(mark.origin)
                && self.membership.features(link).contains(Features::CONFIRM);
            if is_writer && stream_have >= mark.have && end.is_none() {
                let answer = self.spread.answer_to_writer(&self.context.at(now), &self.streams, ix);
                self.send(link, answer);
            }
        }
        if !asks.is_empty() {
            self.send(link, Control::Graft { asks });
        }
        self.ask_for_proofs(now);
        if let Some(end) = end {
            self.spread.digest_ended(link, &self.streams);
            self.keep_one_copy(link, now);
            if end.settled {
                self.settle();
            }
            self.tell_settled(link);
        }
    }

    /// Whether the mark speaks of another incarnation than the one we read, which may be true.
    fn is_claim(&self, ix: StreamIx, mark: &Mark) -> bool {
        let stream = self.streams.get(ix);
        mark.incarnation > stream.incarnation || (mark.incarnation != stream.incarnation && !stream.proven)
    }

    /// Where to begin with a stream first heard of by this mark: after which segment, and with
    /// which message. For a node that is not a joiner any more the writer is new, or was on the
    /// other side of a netsplit: from its beginning.
    fn start_of(&self, mark: &Mark) -> Position {
        let after = |have| Position { incarnation: mark.incarnation, have, next_message: None };
        match self.context.config.read_from {
            _ if self.settling.is_settled() => Position::beginning(mark.incarnation),
            ReadFrom::Now => after(mark.have),
            // How the messages are numbered only their writer can say.
            ReadFrom::Last(_) | ReadFrom::Oldest => after(mark.floor - 1),
        }
    }

    /// Returns whether this neighbour retains more of a stream than the one that gave its start,
    /// for a joiner that reads what was written before and has read nothing of it yet.
    fn starts_earlier(&self, ix: StreamIx, mark: &Mark) -> bool {
        let stream = self.streams.get(ix);
        let reads_past = self.context.config.read_from != ReadFrom::Now;
        reads_past && ix != OWN && !stream.read && mark.floor <= mark.have.min(stream.have)
    }

    /// What a neighbour has of our own stream. Nobody is ahead of us in it. But an earlier start of
    /// this node may have had a higher incarnation, because the clock was set back since: then ours
    /// goes above it (as SWIM refutes a rumour), before anything was written, because writing waits
    /// for a neighbour's first digest. The neighbour has to prove it: a lie would raise the
    /// incarnation until none is left.
    fn on_own_mark(&mut self, link: LinkId, mark: &Mark, now: Instant) {
        let own = self.streams.get(OWN);
        let (incarnation, last) = (own.incarnation, own.have);
        if mark.incarnation != incarnation || mark.have > last {
            self.suspect_twin(now);
        }
        let own = self.streams.get(OWN);
        if mark.incarnation == own.incarnation {
            let have = mark.have.min(own.have);
            let (head, mark) = (own.have, Mark { have, ..*mark });
            self.spread.mark(&self.context.at(now), (link, OWN), &mark, head);
            if let Some(peer) = self.membership.peer(link) {
                self.departure.note_reader(peer, have, head);
            }
        } else if mark.incarnation > own.incarnation && own.have == 0 {
            let own = self.id();
            if !self.context.config.signed {
                self.begin_after(mark.incarnation, now);
            } else if self.claims.ask_for_own(own, link, now) {
                self.send(link, Control::Prove { writers: vec![own] });
            }
        }
    }

    /// A record of this node with this version, which is an incarnation, has arrived. It is signed
    /// by this node's key.
    pub(super) fn on_own_record(&mut self, version: u64, now: Instant) {
        if version <= self.membership.own_record().version {
            return;
        }
        self.suspect_twin(now);
        self.begin_after(version, now);
        if !self.is_superseded() {
            self.membership.renew_record(&self.context.me, &self.context.config, version);
        }
    }

    /// Begins a later incarnation than this one, which an earlier start of this node has had.
    pub(super) fn begin_after(&mut self, incarnation: u64, now: Instant) {
        let own = self.streams.get(OWN);
        let is_possible = incarnation + 1 < 1 << 62;
        if own.have > 0 || incarnation < own.incarnation || !is_possible {
            return;
        }
        self.context.me.raise_incarnation(incarnation + 1);
        self.membership.renew_record(&self.context.me, &self.context.config, incarnation);
        self.streams.restart(&mut self.context.at(now), OWN, incarnation + 1);
        self.spread.forget_stream(OWN);
    }

    pub(super) fn on_graft(&mut self, link: LinkId, asks: &[Ask], now: Instant) {
        for ask in asks.iter().filter(|ask| (1..1 << 62).contains(&ask.from)) {
            let Some(ix) = self.streams.find(&ask.origin) else { continue };
            if self.streams.get(ix).incarnation != ask.incarnation {
                continue;
            }
            // A neighbour that asks for what is no longer retained gets a mark instead, and asks
            // elsewhere.
            let stream = self.streams.get(ix);
            if stream.claimed {
                continue;
            }
            let oldest = if ask.or_later { stream.floor() } else { 1 };
            let from = ask.from.max(oldest).min(stream.have + 1);
            self.spread.graft(&self.context.at(now), (link, ix), from, ask.or_later);
        }
    }

    /// Reports the streams in which this node has fallen behind, or has caught up.
    pub(super) fn report_lags(&mut self, now: Instant) {
        let (spread, streams) = (&self.spread, &self.streams);
        self.lags.drop_void(now, |ix| spread.behind_by(ix, streams.get(ix).have) == 0);
        for change in self.lags.changes(now) {
            let (Change::Lags(ix) | Change::CaughtUp(ix)) = change;
            let stream = self.streams.get(ix);
            let from = stream.origin;
            match self.lags.of(ix, stream) {
                Some(Lag { messages, bytes, .. }) if change == Change::Lags(ix) => {
                    self.context.out.push(Output::Lagging { from, messages, bytes });
                }
                _ => self.context.out.push(Output::CaughtUp { from }),
            }
        }
    }

    pub(super) fn on_confirm(&mut self, link: LinkId, reports: &[Confirmation], now: Instant) {
        if !self.membership.is_active(link) {
            return;
        }
        for report in reports {
            let Some(ix) = self.streams.find_prefix(report.writer) else { continue };
            if self.streams.get(ix).incarnation == report.incarnation {
                self.spread.confirmed(&self.context.at(now), (link, ix), report, &self.streams);
            }
        }
    }

    pub(super) fn on_pace(
        &mut self,
        link: LinkId,
        (origin, incarnation): (&NodeId, u64),
        floor: u64,
        patient: bool,
        now: Instant,
    ) {
        let Some(ix) = self.streams.find(origin).filter(|ix| *ix != OWN) else { return };
        let stream = self.streams.get(ix);
        if stream.incarnation == incarnation {
            self.spread.floor_raised(&self.context.at(now), (link, ix), floor, patient, stream.have);
        }
    }

    pub(super) fn on_prune(&mut self, link: LinkId, origin: &NodeId, incarnation: u64, now: Instant) {
        let Some(ix) = self.streams.find(origin) else { return };
        let stream = self.streams.get(ix);
        if stream.incarnation == incarnation {
            self.spread.pruned(&self.context.at(now), link, ix, stream.have);
        }
    }

    /// The parent of a stream, which is its writer, has a full line.
    pub(super) fn on_redirect(&mut self, link: LinkId, origin: &NodeId, incarnation: u64, now: Instant) {
        let Some(ix) = self.streams.find(origin).filter(|ix| *ix != OWN) else { return };
        let is_writer = self.membership.peer(link) == Some(*origin);
        if is_writer && self.streams.get(ix).incarnation == incarnation {
            self.spread.redirected(&self.context.at(now), link, ix);
        }
    }

    pub(super) fn repair(&mut self, now: Instant) {
        let cx = &mut self.context.at(now);
        let (flows, pause) = (&self.flows, |link| self.flows.digest_pause(link));
        let holds_own = flows.is_up_full(now) && self.spread.is_own_carried(|link| flows.moves(link, now));
        let line = (holds_own, flows.is_up_busy(now));
        for (link, digest) in self.spread.digests(cx, &self.streams, line, pause) {
            cx.out.send(link, digest);
        }
        let lonely = self.membership.degree() < cx.config.min_peers;
        // This node's line is full, or a segment that takes long is half there: but not again and
        // again while others get far ahead.
        let (flows, joints) = (&self.flows, &self.joints);
        let is_excused = |link, is_far: bool| {
            flows.brings(link, now) && (flows.is_down_full(now) || (!is_far && joints.has_begun(link)))
        };
        let mut asks: BTreeMap<LinkId, Vec<Ask>> = BTreeMap::new();
        for repair in self.spread.repairs(cx, &self.streams, lonely, is_excused) {
            let Repair { link, ix, from, or_later, prune } = repair;
            let stream = self.streams.get(ix);
            let (origin, incarnation) = (stream.origin, stream.incarnation);
            asks.entry(link).or_default().push(Ask { origin, incarnation, from, or_later });
            if let Some(former) = prune {
                cx.out.send(former, Control::Prune { origin, incarnation });
            }
        }
        for (link, asks) in asks {
            cx.out.send(link, Control::Graft { asks });
        }
    }
}

/// A neighbour's claim counts for at most this many messages.
const MOST_GUESSED: u64 = 1024;

/// Numbers near the end of the range would overflow in later sums; nobody writes 2^62 segments.
fn is_sane(mark: &Mark) -> bool {
    let sane = 1..1 << 62;
    mark.have < 1 << 62
        && [mark.incarnation, mark.floor, mark.floor_message].iter().all(|number| sane.contains(number))
        && mark.next_message < 1 << 62
        && mark.floor <= mark.have + 1
}
