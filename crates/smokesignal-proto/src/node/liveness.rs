//! Liveness: whether the writer of a stream that this node begins to read is there, or somebody
//! plays back what was recorded of it.
//!
//! A signature says who has written a segment, and when by the writer's clock. If that is about now
//! by this node's own clock, the segment is not a recording. Time alone would silence nodes whose
//! clocks are wrong, so it is only the short way. Otherwise the node refuses the segment, neither
//! retains it nor passes it on, and sends a challenge, a random number, to the neighbour that has
//! brought it. That one passes it on to the neighbour that it has the stream from, and so on up to
//! the writer, which signs the number; the answer returns the same way. Then the node asks the
//! neighbour for the segments again. If nobody proves a writer to live, its messages are a gap.
//!
//! A stream is checked until one segment has passed. Where messages are not signed every member is
//! believed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Node;
use super::claims::PROVEN_WITHIN;
use crate::config::ReadFrom;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::life::{Life, LifeSign, Nonce};
use crate::limits::Held;
use crate::message::{Ask, Control};
use crate::output::{CloseReason, Output};
use crate::rng::Rng;
use crate::segment::Segment;
use crate::streams::{Position, StreamIx};
use crate::time::Instant;

/// A clock may differ from this node's by this much without any cost, beside the time for which
/// segments are retained. 60 s: clocks that are set by NTP differ by less than one.
const TOLERANCE: Duration = Duration::from_secs(60);
/// Writers in doubt at most. 1024: with each of 128 bytes; of the link that has brought most of
/// them the oldest loses.
const MAX_DOUBTS: usize = 1024;
/// Neighbours that are asked about one writer at most.
const MAX_ASKED: usize = 8;
/// A challenge is repeated after this long. 1 s: ten times a round trip through a large network on
/// one continent.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Challenges of one neighbour that this node has passed on and that are open, at most; further
/// ones are dropped, and repeated by those who have sent them.
const MAX_PASSED_ON: usize = 256;
/// An answer that comes later than this is not passed back.
const PASSED_BACK_WITHIN: Duration = Duration::from_secs(5);
/// Challenges of one neighbour that this node looks at in a second; further ones are dropped. 256:
/// to sign as many answers costs 0.5 % of a core.
const MAX_TAKEN: u32 = 256;
/// A wrong clock is reported this often at most.
const REPORT_PAUSE: Duration = Duration::from_secs(60);

/// What this node knows of the liveness of writers.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    doubts: BTreeMap<NodeId, Doubt>,
    /// Challenges of neighbours on their way to the writer, by their numbers.
    passed_on: BTreeMap<Nonce, PassedOn>,
    /// How many challenges of each neighbour were taken in the second that began then.
    taken: BTreeMap<LinkId, (u32, Instant)>,
    reported: Option<Instant>,
}

/// A writer of which this node has refused segments.
#[derive(Debug)]
struct Doubt {
    incarnation: u64,
    /// The neighbour that brought the first of them.
    link: LinkId,
    since: Instant,
    state: State,
    /// The number that the writer has to sign.
    nonce: Nonce,
    /// The neighbours that were asked, and when.
    asked: Vec<(LinkId, Instant)>,
    refused: Refused,
    /// The number of the first message that was not reported as missed.
    unreported: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Alive,
    GivenUp,
}

/// How many messages of a writer's incarnation nobody has proven to be live.
#[derive(Debug)]
struct Missed {
    from: NodeId,
    incarnation: u64,
    messages: u64,
}

/// What was refused.
#[derive(Debug, Clone, Copy)]
struct Refused {
    /// The number of the first segment.
    seq: u64,
    /// The numbers of the first message, and of the one after the last.
    messages: (u64, u64),
}

#[derive(Debug)]
struct PassedOn {
    from: LinkId,
    to: LinkId,
    until: Instant,
}

impl Refused {
    fn new(segment: &Segment) -> Self {
        let end = segment.first_message.saturating_add(segment.messages_ended());
        Self { seq: segment.seq, messages: (segment.first_message, end) }
    }

    fn add(&mut self, more: &Self) {
        self.seq = self.seq.min(more.seq);
        let (first, end) = more.messages;
        self.messages = (self.messages.0.min(first), self.messages.1.max(end));
    }
}

impl Liveness {
    /// Returns whether the writer has proven to live in this incarnation a short time ago.
    fn is_alive(&self, writer: &NodeId, incarnation: u64) -> bool {
        let doubt = self.doubts.get(writer);
        doubt.is_some_and(|doubt| doubt.state == State::Alive && doubt.incarnation == incarnation)
    }

    /// Notes a segment that was refused. Returns the challenge to send to the neighbour `ask`, if
    /// it is time for one, and the messages of a writer that are a gap now.
    fn refuse(
        &mut self,
        segment: &Segment,
        (link, ask): (LinkId, LinkId),
        rng: &mut Rng,
        now: Instant,
    ) -> (Option<Nonce>, Option<Missed>) {
        let writer = segment.origin;
        let (begins, missed, unreported) = match self.doubts.get_mut(&writer) {
            None => (true, self.make_room(), 0),
            Some(doubt) if segment.incarnation < doubt.incarnation => return (None, None),
            Some(doubt) if segment.incarnation > doubt.incarnation => (true, doubt.give_up(writer, now), 0),
            Some(doubt) if doubt.state == State::GivenUp && now - doubt.since < PROVEN_WITHIN => {
                return (None, None);
            }
            // Messages that were reported as a gap before are not reported again.
            Some(doubt) => (doubt.state == State::GivenUp, None, doubt.unreported),
        };
        if begins {
            self.doubts.insert(writer, Doubt::new(segment, (link, unreported), rng.nonce(), now));
        }
        let doubt = self.doubts.get_mut(&writer).map(|doubt| {
            doubt.refused.add(&Refused::new(segment));
            doubt.ask(ask, now).then_some(doubt.nonce)
        });
        (doubt.flatten(), missed)
    }

    /// Of the neighbour that has brought most writers in doubt the oldest is forgotten. Returns the
    /// messages of it that are a gap.
    fn make_room(&mut self) -> Option<Missed> {
        if self.doubts.len() < MAX_DOUBTS {
            return None;
        }
        let mut counts: BTreeMap<LinkId, usize> = BTreeMap::new();
        self.doubts.values().for_each(|doubt| *counts.entry(doubt.link).or_default() += 1);
        let (most, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let of_most = self.doubts.iter().filter(|(_, doubt)| doubt.link == most);
        let writer = *of_most.min_by_key(|(_, doubt)| doubt.since)?.0;
        let mut doubt = self.doubts.remove(&writer)?;
        let since = doubt.since;
        doubt.give_up(writer, since)
    }

    /// Returns whether this neighbour's challenge with this number may be passed on.
    fn pass_on(&mut self, nonce: Nonce, (from, to): (LinkId, LinkId), now: Instant) -> bool {
        let open = self.passed_on.values().filter(|passed| passed.from == from).count();
        let is_own = self.doubts.values().any(|doubt| doubt.nonce == nonce);
        if open >= MAX_PASSED_ON || is_own || self.passed_on.contains_key(&nonce) {
            return false;
        }
        self.passed_on.insert(nonce, PassedOn { from, to, until: now + PASSED_BACK_WITHIN });
        true
    }

    /// Returns whether this neighbour may send one more challenge.
    fn may_take(&mut self, link: LinkId, now: Instant) -> bool {
        let (count, since) = self.taken.entry(link).or_insert((0, now));
        if now - *since >= Duration::from_secs(1) {
            (*count, *since) = (0, now);
        }
        *count += 1;
        *count <= MAX_TAKEN
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        self.taken.remove(&link);
        self.passed_on.retain(|_, passed| passed.from != link && passed.to != link);
        for doubt in self.doubts.values_mut() {
            doubt.asked.retain(|(asked, _)| *asked != link);
        }
    }

    /// See [`crate::Node::held`].
    pub(super) fn held(&self, held: &mut Vec<Held>) {
        let mut open: BTreeMap<LinkId, usize> = BTreeMap::new();
        self.passed_on.values().for_each(|passed| *open.entry(passed.from).or_default() += 1);
        let most = open.into_values().max().unwrap_or(0);
        held.extend([
            Held { what: "writers in doubt", amount: self.doubts.len(), limit: MAX_DOUBTS },
            Held { what: "challenges of one neighbour passed on", amount: most, limit: MAX_PASSED_ON },
        ]);
    }
}

impl Doubt {
    /// Begins with a segment that this neighbour has brought.
    fn new(segment: &Segment, (link, unreported): (LinkId, u64), nonce: Nonce, now: Instant) -> Self {
        let (incarnation, state, asked) = (segment.incarnation, State::Open, Vec::new());
        let refused = Refused::new(segment);
        Self { incarnation, link, since: now, state, nonce, asked, refused, unreported }
    }

    /// Gives up on the writer. Returns what is a gap of it now.
    fn give_up(&mut self, writer: NodeId, now: Instant) -> Option<Missed> {
        if self.state != State::Open {
            return None;
        }
        (self.state, self.since) = (State::GivenUp, now);
        let (first, end) = self.refused.messages;
        let missed = end.saturating_sub(first.max(self.unreported));
        self.unreported = self.unreported.max(end);
        (missed > 0).then_some(Missed { from: writer, incarnation: self.incarnation, messages: missed })
    }

    /// Returns whether it is time to ask this neighbour.
    fn ask(&mut self, link: LinkId, now: Instant) -> bool {
        if self.state != State::Open {
            return false;
        }
        if let Some((_, at)) = self.asked.iter_mut().find(|(asked, _)| *asked == link) {
            let is_due = now - *at >= AGAIN_AFTER;
            *at = if is_due { now } else { *at };
            return is_due;
        }
        let may_ask = self.asked.len() < MAX_ASKED;
        if may_ask {
            self.asked.push((link, now));
        }
        may_ask
    }
}

impl Node {
    /// Returns as what this segment may be taken. Its writer has signed it, and its stream counts
    /// as `known`. `None`: the writer has to prove first that it lives.
    pub(super) fn life_by(&self, link: LinkId, segment: &Segment, known: Life, now: Instant) -> Option<Life> {
        let config = &self.context.config;
        let seal = segment.seal.as_ref().filter(|_| config.signed);
        let recorded = match (known, seal) {
            (Life::Alive, _) | (_, None) => return Some(Life::Alive),
            (Life::Recorded(bytes), _) => Some(bytes),
            (Life::Unknown, _) => self.begins_in_the_past().then_some(0),
        };
        let is_new = seal.is_some_and(|seal| {
            let difference = seal.signed_at.abs_diff(self.context.unix_time(now));
            Duration::from_secs(difference) <= config.ring_age + TOLERANCE
        });
        let is_writer = self.membership.peer(link) == Some(segment.origin);
        if is_new || is_writer || self.liveness.is_alive(&segment.origin, segment.incarnation) {
            return Some(Life::Alive);
        }
        // A reader of what was written before it joined takes as much of it as a node may retain.
        let recorded = recorded? + segment.body.len();
        (recorded <= config.ring_bytes).then_some(Life::Recorded(recorded))
    }

    /// Notes what the stream of this segment, which was taken, counts as.
    pub(super) fn note_life(&mut self, segment: &Segment, life: Life) {
        if let Some(ix) = self.place_of(&segment.origin, segment.incarnation) {
            self.streams.set_life(ix, life);
        }
    }

    /// Returns whether streams that this node hears of now are read from before it joined.
    pub(super) fn begins_in_the_past(&self) -> bool {
        self.context.config.read_from != ReadFrom::Now && !self.settling.is_settled()
    }

    /// Refuses a segment that may have been recorded, and asks for a sign of life.
    pub(super) fn doubt(&mut self, link: LinkId, segment: &Segment, now: Instant) {
        if self.streams.find(&segment.origin).is_none() && self.has_room_for_claim(link, now) {
            // Until then it is the neighbour's claim, and reading begins with this segment.
            let have = if self.settling.is_settled() { 0 } else { segment.seq - 1 };
            let next_message = (have == 0).then_some(1);
            let from = Position { incarnation: segment.incarnation, have, next_message };
            if let Some(ix) = self.stream(&segment.origin, from, now) {
                self.note_claim(link, ix, now);
            }
        }
        if let Some(ix) = self.place_of(&segment.origin, segment.incarnation) {
            let stream = self.streams.get(ix);
            if !stream.read && segment.seq <= stream.have {
                self.streams.rebase(ix, segment.seq - 1);
            }
            self.spread.peer_has(&self.context.at(now), link, ix, segment.seq);
        }
        let ask = self.link_to(&segment.origin).unwrap_or(link);
        let rng = self.context.at(now).rng;
        let (challenge, missed) = self.liveness.refuse(segment, (link, ask), rng, now);
        missed.into_iter().for_each(|missed| self.report_refused(&missed));
        if let Some(nonce) = challenge {
            self.send(ask, Control::Challenge { writer: segment.origin, nonce });
        }
    }

    /// Answers a challenge, or passes it on towards the writer.
    pub(super) fn on_challenge(&mut self, link: LinkId, writer: NodeId, nonce: Nonce, now: Instant) {
        if !self.membership.is_active(link) || !self.liveness.may_take(link, now) {
            return;
        }
        if writer == self.id() {
            let sign = LifeSign::of_own(&self.context.at(now), nonce);
            return self.send(link, Control::Alive { sign });
        }
        let source = self.streams.find(&writer).filter(|ix| self.streams.get(*ix).read);
        let parent = source.and_then(|ix| self.spread.parent(ix));
        let next = self.link_to(&writer).or(parent).filter(|next| *next != link);
        if let Some(next) = next
            && self.liveness.pass_on(nonce, (link, next), now)
        {
            self.send(next, Control::Challenge { writer, nonce });
        }
    }

    /// Takes a writer's sign of life, or passes it back to the neighbour that wants it.
    pub(super) fn on_life_sign(&mut self, link: LinkId, sign: LifeSign, now: Instant) {
        if let Some(passed) = self.liveness.passed_on.get(&sign.nonce).filter(|passed| passed.to == link) {
            let from = passed.from;
            if !sign.verify(&self.context.config.network) {
                return self.violation(link, CloseReason::ForgedSegment, now);
            }
            self.liveness.passed_on.remove(&sign.nonce);
            return self.send(from, Control::Alive { sign });
        }
        let Some(doubt) = self.liveness.doubts.get_mut(&sign.writer) else { return };
        let was_asked = doubt.asked.iter().any(|(asked, _)| *asked == link);
        if doubt.state != State::Open || doubt.nonce != sign.nonce || !was_asked {
            return;
        }
        if !sign.verify(&self.context.config.network) {
            return self.violation(link, CloseReason::ForgedSegment, now);
        }
        if sign.incarnation != doubt.incarnation {
            return; // It lives, but not as it was when this was written.
        }
        (doubt.state, doubt.since) = (State::Alive, now);
        let from = doubt.refused.seq;
        self.report_clock(&sign, now);
        let LifeSign { writer: origin, incarnation, .. } = sign;
        if let Some(ix) = self.place_of(&origin, incarnation) {
            self.streams.set_life(ix, Life::Alive);
            self.want(ix, now);
        }
        self.send(link, Control::Graft { asks: vec![Ask { origin, incarnation, from, or_later: true }] });
    }

    /// Reports that the clock of this node or of the writer is wrong.
    fn report_clock(&mut self, sign: &LifeSign, now: Instant) {
        let ahead = i128::from(sign.time) - i128::from(self.context.unix_time(now));
        let is_wrong = ahead.unsigned_abs() > u128::from(TOLERANCE.as_secs());
        let is_due = self.liveness.reported.is_none_or(|at| now - at >= REPORT_PAUSE);
        if is_wrong && is_due {
            self.liveness.reported = Some(now);
            let ahead_by = i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX });
            self.context.out.push(Output::ClockDiffers { of: sign.writer, ahead_by });
        }
    }

    /// Asks again, gives up on writers that nobody has proven to live, and forgets old proofs.
    pub(super) fn expire_doubts(&mut self, now: Instant) {
        let (mut again, mut gaps) = (Vec::new(), Vec::new());
        let in_doubt = self.liveness.doubts.iter().map(|(writer, doubt)| (*writer, doubt.incarnation));
        let read: Vec<_> =
            in_doubt.filter(|(writer, incarnation)| self.reads(writer, *incarnation)).collect();
        for (writer, _) in read {
            self.liveness.doubts.remove(&writer);
        }
        self.liveness.doubts.retain(|writer, doubt| {
            let age = now - doubt.since;
            match doubt.state {
                State::Open if age > PROVEN_WITHIN => gaps.extend(doubt.give_up(*writer, now)),
                State::Open => {
                    for (link, at) in doubt.asked.iter_mut().filter(|(_, at)| now - *at >= AGAIN_AFTER) {
                        *at = now;
                        again.push((*link, *writer, doubt.nonce));
                    }
                }
                State::Alive | State::GivenUp => {}
            }
            doubt.state != State::Alive || age <= 2 * PROVEN_WITHIN
        });
        for (link, writer, nonce) in again {
            self.send(link, Control::Challenge { writer, nonce });
        }
        gaps.iter().for_each(|missed| self.report_refused(missed));
        self.liveness.passed_on.retain(|_, passed| now < passed.until);
    }

    /// Reports what was refused as a gap, unless the stream is read by now: another neighbour has
    /// brought it, or the writer itself.
    fn report_refused(&mut self, missed: &Missed) {
        let Missed { from, incarnation, messages } = *missed;
        if !self.reads(&from, incarnation) {
            self.context.out.push(Output::Gap { from, missed: messages });
        }
    }

    fn reads(&self, writer: &NodeId, incarnation: u64) -> bool {
        self.place_of(writer, incarnation).is_some_and(|ix| self.streams.get(ix).read)
    }

    /// Returns the place of this incarnation of a writer.
    fn place_of(&self, writer: &NodeId, incarnation: u64) -> Option<StreamIx> {
        self.streams.find(writer).filter(|ix| self.streams.get(*ix).incarnation == incarnation)
    }

    /// Returns the link to a node that is a neighbour.
    pub(super) fn link_to(&self, peer: &NodeId) -> Option<LinkId> {
        self.peers().find(|(_, other)| other == peer).map(|(link, _)| link)
    }
}
