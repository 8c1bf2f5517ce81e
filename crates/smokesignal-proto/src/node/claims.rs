//! Claims: the streams that a neighbour names and nobody has proven yet.
//!
//! A node that enters a network learns from its neighbours' first digests which writers there are,
//! and how far each is. It begins to read where they say, the smallest claim of several deciding,
//! but believes it only with a proof: until then it names the stream to nobody, and does not
//! announce that it has named all. It asks each neighbour for proofs of what that one has
//! claimed first, some at a time, and another neighbour if it has none. A node that has been in the
//! network for longer reads such a stream from its beginning, and the first segment is the proof.
//!
//! In networks of unsigned messages there are no claims: every member is believed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::config::Config;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::limits::Held;
use crate::message::MAX_PROOFS;
use crate::streams::StreamIx;
use crate::time::Instant;

/// Claims of all neighbours together are at most this part of the streams that a node keeps; of the
/// neighbour with most the newest loses. A quarter: they are proven, and give way, within some
/// round trips.
const SHARE: usize = 4;
/// Questions to one neighbour that are open at most. 4: with 64 writers each the answers stay below
/// the window of control messages.
const MAX_OPEN: usize = 4;
/// Further questions to one neighbour that are open at most, each for one writer: this node itself,
/// or one that has begun anew. 64: as many writers may begin anew together. Beyond it, claims of
/// neighbours count as if they were not answered.
const MAX_ONES: usize = 64;
/// A question that is not answered within this time is answered with nothing. 5 s: some 20 KiB over
/// a full line of 256 kbit/s, twice.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A claim is forgotten if nobody has proven it within this time. 30 s: a first segment of 64 KiB
/// over a full line of 256 kbit/s is there.
pub(super) const PROVEN_WITHIN: Duration = Duration::from_secs(30);
/// A node waits with its first message for no longer than this for the proof of a later start of
/// itself. 2 s: the most that an answer takes where round trips are believed.
const OWN_WITHIN: Duration = Duration::from_secs(2);
/// Proofs that one neighbour is given at most in [`GIVEN_IN`]: as many as there may be streams.
pub(super) const MAX_GIVEN: usize = 16 * 1024;
/// 10 s: hashing the bodies for 16 384 proofs costs 3 % of a core then.
pub(super) const GIVEN_IN: Duration = Duration::from_secs(10);

/// The claims of all neighbours.
#[derive(Debug, Default)]
pub(super) struct Claims {
    claims: BTreeMap<StreamIx, Claim>,
    links: BTreeMap<LinkId, Asking>,
    /// How many claims wait for a neighbour's answer.
    pending: usize,
    /// The neighbour that was asked for the proof of a later start of this node, and when.
    own: Option<(LinkId, Instant)>,
}

#[derive(Debug)]
struct Claim {
    writer: NodeId,
    /// The neighbour whose claim it is, or that is to prove it.
    link: LinkId,
    since: Instant,
    /// The neighbours that were to prove it.
    asked: Vec<LinkId>,
    /// Whether a proof is expected.
    pending: bool,
}

/// What one neighbour is asked.
#[derive(Debug, Default)]
struct Asking {
    claims: BTreeSet<StreamIx>,
    /// Those of them for which no question has been sent yet.
    waiting: BTreeSet<StreamIx>,
    /// The questions that it has not answered, and when they were sent.
    open: VecDeque<(Instant, Vec<NodeId>)>,
    /// Proofs that it was given since some time.
    given: usize,
    given_since: Instant,
}

impl Asking {
    fn forget(&mut self, ix: StreamIx) {
        self.claims.remove(&ix);
        self.waiting.remove(&ix);
    }
}

impl Claims {
    /// Returns the claim that has to go so that this neighbour can make one more, if one has to.
    /// `Err`: it can make none.
    pub(super) fn loser(&self, link: LinkId, config: &Config) -> Result<Option<StreamIx>, TooMany> {
        if self.claims.len() < most(config) {
            return Ok(None);
        }
        let most = self.links.iter().max_by_key(|(_, asking)| asking.claims.len());
        match most {
            Some((most, asking)) if *most != link => Ok(asking.claims.last().copied()),
            _ => Err(TooMany),
        }
    }

    /// Adds a claim of this neighbour, which has to prove it if `asks`.
    pub(super) fn add(&mut self, ix: StreamIx, (link, writer): (LinkId, NodeId), asks: bool, now: Instant) {
        self.forget(ix);
        self.claims.insert(ix, Claim { writer, link, since: now, asked: Vec::new(), pending: false });
        self.links.entry(link).or_default().claims.insert(ix);
        if asks {
            self.ask(ix, link);
        }
    }

    /// Has this neighbour prove the claim.
    fn ask(&mut self, ix: StreamIx, link: LinkId) {
        let Some(claim) = self.claims.get_mut(&ix) else { return };
        if let Some(before) = self.links.get_mut(&claim.link) {
            before.forget(ix);
        }
        self.pending += usize::from(!std::mem::replace(&mut claim.pending, true));
        claim.link = link;
        claim.asked.push(link);
        let asking = self.links.entry(link).or_default();
        asking.claims.insert(ix);
        asking.waiting.insert(ix);
    }

    /// The stream was proven, or is another one now.
    pub(super) fn forget(&mut self, ix: StreamIx) {
        if let Some(claim) = self.claims.remove(&ix) {
            self.pending -= usize::from(claim.pending);
            if let Some(asking) = self.links.get_mut(&claim.link) {
                asking.forget(ix);
            }
        }
    }

    /// Returns whether some claim waits for its proof.
    pub(super) fn are_pending(&self) -> bool {
        self.pending > 0
    }

    /// Returns the writers to ask a neighbour for now.
    pub(super) fn next_question(&mut self, now: Instant) -> Option<(LinkId, Vec<NodeId>)> {
        for (link, asking) in &mut self.links {
            while asking.open.len() < MAX_OPEN && !asking.waiting.is_empty() {
                let waiting = std::iter::from_fn(|| asking.waiting.pop_first()).take(MAX_PROOFS);
                let is_open = |claim: &&Claim| claim.pending && claim.link == *link;
                let writers = waiting.filter_map(|ix| self.claims.get(&ix).filter(is_open));
                let writers: Vec<_> = writers.map(|claim| claim.writer).collect();
                if !writers.is_empty() {
                    asking.open.push_back((now, writers.clone()));
                    return Some((*link, writers));
                }
            }
        }
        None
    }

    /// Asks this neighbour for the proof of a later start of this node. Returns whether it is to be
    /// sent the question: it has not been asked before.
    pub(super) fn ask_for_own(&mut self, own: NodeId, link: LinkId, now: Instant) -> bool {
        let is_new = self.ask_for_one(own, link, now);
        if is_new {
            // Several neighbours that answer nothing hold it up no longer than one.
            self.own = Some((link, self.own.map_or(now, |(_, asked)| asked)));
        }
        is_new
    }

    /// Asks this neighbour for what it can prove of one writer. Returns whether it is to be sent
    /// the question: it has not been asked before, and not for too many.
    pub(super) fn ask_for_one(&mut self, writer: NodeId, link: LinkId, now: Instant) -> bool {
        let open = &mut self.links.entry(link).or_default().open;
        let asked = open.iter().any(|(_, writers)| writers[..] == [writer]);
        let is_new = !asked && open.len() < MAX_OPEN + MAX_ONES;
        if is_new {
            open.push_back((now, vec![writer]));
        }
        is_new
    }

    /// Returns whether this node's first message waits for such a proof.
    pub(super) fn is_own_pending(&mut self, now: Instant) -> bool {
        self.own.take_if(|(_, asked)| now - *asked >= OWN_WITHIN);
        self.own.is_some()
    }

    /// This neighbour has answered, or will not.
    pub(super) fn own_answered(&mut self, link: LinkId) {
        self.own.take_if(|(asked, _)| *asked == link);
    }

    /// Returns until when it waits.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.own.map(|(_, asked)| asked + OWN_WITHIN)
    }

    /// Takes an answer to the oldest question. Returns the writers that were asked for; nothing if
    /// there was no question.
    pub(super) fn answered(&mut self, link: LinkId) -> Vec<NodeId> {
        let open = self.links.get_mut(&link).and_then(|asking| asking.open.pop_front());
        open.map(|(_, writers)| writers).unwrap_or_default()
    }

    /// This neighbour has not proven the claim: another one is asked, if there is one.
    pub(super) fn unproven(&mut self, ix: StreamIx, other: impl FnOnce(&[LinkId]) -> Option<LinkId>) {
        let Some(claim) = self.claims.get_mut(&ix).filter(|claim| claim.pending) else { return };
        if let Some(link) = other(&claim.asked) {
            return self.ask(ix, link);
        }
        claim.pending = false;
        self.pending -= 1;
    }

    /// Returns whether a neighbour is left that makes the claim. After the end of a link it is the
    /// other one, if there is one.
    pub(super) fn passes_to(&mut self, ix: StreamIx, other: Option<LinkId>) -> bool {
        let Some(claim) = self.claims.get_mut(&ix) else { return true };
        if self.links.get(&claim.link).is_some_and(|asking| asking.claims.contains(&ix)) {
            return true;
        }
        let Some(other) = other else { return false };
        claim.link = other;
        self.links.entry(other).or_default().claims.insert(ix);
        true
    }

    /// Returns the claims of a neighbour whose link has ended.
    pub(super) fn link_down(&mut self, link: LinkId) -> BTreeSet<StreamIx> {
        self.own_answered(link);
        self.links.remove(&link).map(|asking| asking.claims).unwrap_or_default()
    }

    /// Returns a neighbour that has not answered in time.
    pub(super) fn late(&self, now: Instant) -> Option<LinkId> {
        let is_late = |asking: &Asking| asking.open.front().is_some_and(|(at, _)| now - *at > ANSWER_WITHIN);
        self.links.iter().find(|(_, asking)| is_late(asking)).map(|(link, _)| *link)
    }

    /// Returns the claims that nobody has proven in time.
    pub(super) fn expired(&self, now: Instant) -> Vec<StreamIx> {
        let is_over = |claim: &Claim| now - claim.since > PROVEN_WITHIN;
        self.claims.iter().filter(|(_, claim)| is_over(claim)).map(|(ix, _)| *ix).collect()
    }

    /// Returns how many of the proofs that this neighbour wants it is given.
    pub(super) fn give(&mut self, link: LinkId, wanted: usize, now: Instant) -> usize {
        let asking = self.links.entry(link).or_default();
        if now - asking.given_since > GIVEN_IN {
            (asking.given, asking.given_since) = (0, now);
        }
        let given = wanted.min(MAX_GIVEN - asking.given);
        asking.given += given;
        given
    }

    /// See [`crate::Node::held`].
    pub(super) fn held(&self, config: &Config, held: &mut Vec<Held>) {
        let open = self.links.values().map(|asking| asking.open.len()).max().unwrap_or(0);
        let waiting = self.links.values().map(|asking| asking.waiting.len()).max().unwrap_or(0);
        held.extend([
            Held { what: "claims", amount: self.claims.len(), limit: most(config) },
            Held { what: "claims to be proven by one neighbour", amount: waiting, limit: most(config) },
            Held { what: "open questions to one neighbour", amount: open, limit: MAX_OPEN + MAX_ONES },
        ]);
    }
}

fn most(config: &Config) -> usize {
    config.max_streams.div_ceil(SHARE)
}

/// The neighbour has made too many claims.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ZERO;

    fn writer(number: usize) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn of_the_neighbour_with_most_claims_the_newest_gives_way_and_never_that_of_another() {
        let (honest, liar) = (LinkId(1), LinkId(2));
        let (mut claims, config) = (Claims::default(), Config::default());
        for ix in 0..most(&config) {
            let link = if ix < 10 { honest } else { liar };
            assert_eq!(claims.loser(link, &config), Ok(None));
            claims.add(ix, (link, writer(ix)), false, NOW);
        }
        assert_eq!(claims.loser(liar, &config), Err(TooMany));
        assert_eq!(claims.loser(honest, &config), Ok(Some(most(&config) - 1)));
    }

    #[test]
    fn a_few_questions_are_open_and_a_claim_that_one_cannot_prove_is_asked_of_another() {
        let (first, second) = (LinkId(1), LinkId(2));
        let mut claims = Claims::default();
        for ix in 0..1000 {
            claims.add(ix, (first, writer(ix)), true, NOW);
        }
        let asked: Vec<_> = std::iter::from_fn(|| claims.next_question(NOW)).collect();
        assert_eq!(asked.len(), MAX_OPEN);
        assert!(asked.iter().all(|(link, writers)| *link == first && writers.len() == MAX_PROOFS));
        let answered = claims.answered(first);
        assert_eq!(answered, asked[0].1);
        for ix in 0..MAX_PROOFS {
            claims.unproven(ix, |asked| (asked == [first]).then_some(second));
        }
        let next = claims.next_question(NOW).unwrap();
        assert_eq!(next.1.len(), MAX_PROOFS);
        assert!(claims.are_pending());
        for ix in 0..1000 {
            claims.forget(ix);
        }
        assert!(!claims.are_pending());
        assert_eq!(claims.next_question(NOW), None);
    }

    #[test]
    fn who_has_not_answered_and_what_nobody_has_proven_is_over_in_time() {
        let link = LinkId(1);
        let mut claims = Claims::default();
        claims.add(7, (link, writer(7)), true, NOW);
        assert!(claims.next_question(NOW).is_some());
        let soon = NOW + ANSWER_WITHIN;
        assert_eq!(claims.late(soon), None);
        assert_eq!(claims.late(soon + Duration::from_millis(1)), Some(link));
        assert_eq!(claims.answered(link), [writer(7)]);
        claims.unproven(7, |_| None);
        assert!(!claims.are_pending(), "nobody else can be asked");
        assert_eq!(claims.expired(NOW + PROVEN_WITHIN + Duration::from_millis(1)), [7]);
    }

    #[test]
    fn several_neighbours_hold_up_the_first_message_no_longer_than_one() {
        let mut claims = Claims::default();
        let soon = NOW + (OWN_WITHIN - Duration::from_millis(1));
        assert!(claims.ask_for_own(writer(1), LinkId(1), NOW));
        assert!(!claims.ask_for_own(writer(1), LinkId(1), soon), "it was asked");
        assert!(claims.ask_for_own(writer(1), LinkId(2), soon));
        assert!(claims.is_own_pending(soon));
        assert!(!claims.is_own_pending(NOW + OWN_WITHIN));
    }

    #[test]
    fn proofs_are_given_to_one_neighbour_at_a_limited_rate() {
        let mut claims = Claims::default();
        let link = LinkId(1);
        assert_eq!(claims.give(link, MAX_GIVEN - 1, NOW), MAX_GIVEN - 1);
        assert_eq!(claims.give(link, 64, NOW), 1);
        assert_eq!(claims.give(LinkId(2), 64, NOW), 64);
        let later = NOW + GIVEN_IN + Duration::from_millis(1);
        assert_eq!(claims.give(link, 64, later), 64);
    }
}
