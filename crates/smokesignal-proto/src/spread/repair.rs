//! Repair: requests for missing ranges, and new parents for streams that have lost theirs.
//!
//! When a neighbour claims more than this node has, the node notes a *want*. The parent gets some
//! time to deliver; then the range is requested from the neighbour that is farthest ahead, which
//! becomes the parent. A neighbour that fails three times is not asked again for a while. If no
//! neighbour retains the range for `gap_after`, the stream skips to the lowest segment that one of
//! them has.

use std::cmp::Reverse;
use std::time::Duration;

use super::{LinkStream, MAX_FAILED_CLAIMS, Parentage, Spread};
use crate::context::Cx;
use crate::ids::LinkId;
use crate::streams::{StreamIx, Streams};
use crate::time::Instant;

/// Streams requested together, and the wait before the next ones: 6 400 a second, so that a digest
/// of thousands of streams does not overrun a neighbour.
const REPAIRS: usize = 64;
const REPAIR_PAUSE: Duration = Duration::from_millis(10);
/// The most that this node waits for an answer when several have not come. 2 s, as
/// [`REDIRECTED_STILL`].
const ANSWER_MOST: Duration = Duration::from_secs(2);
/// The slowest answer counts for this long. 10 s: a queue in front of a line lasts that long.
const ANSWERS_FOR: Duration = Duration::from_secs(10);
/// Neighbours that did not deliver what they claim to have are asked again after this long.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);
/// A parent that shares a full line is asked again if nothing of the stream has come for this long.
/// 10 s: six segments of 64 KiB over 1 Mbit/s take 3 s.
const EXCUSED_FOR: Duration = Duration::from_secs(10);
/// A parent that is on a slow line is left if other neighbours are ahead by more segments than
/// this. 8: 512 KiB, 16 s of 256 kbit/s.
const FAR_BEHIND: u64 = 8;
/// A node asks a writer with a full line last for this long. 30 s: as long as it serves a
/// neighbour that has come back.
const REDIRECTED_FOR: Duration = Duration::from_secs(30);
/// While only such a writer has more, a parent is kept as long as something comes within this time.
/// 2 s: a segment of 64 KiB on 256 kbit/s.
const REDIRECTED_STILL: Duration = Duration::from_secs(2);
/// Number of times in a row that a parent may fall further behind until another one replaces it.
const MAX_WORSE_ROUNDS: u8 = 3;

/// A missing range that a neighbour claims to have.
#[derive(Debug)]
pub(super) struct Want {
    /// When this node checks the want next.
    pub(super) at: Instant,
    /// How far this node was at the last look, and how far behind the neighbours' claims.
    have: u64,
    behind_by: u64,
    /// Looks in a row at which the parent had fallen further behind.
    worse_rounds: u8,
    /// The time since which no neighbour has claimed to retain the next segment.
    nobody_since: Option<Instant>,
    /// The neighbour that was asked and has not answered yet, and how many were since something
    /// came.
    pub(super) asked: Option<LinkId>,
    asks: u32,
    /// No neighbour has what comes before: a segment with this or a higher number may come next, if
    /// the writer signed it and the neighbour that was asked sent it.
    skip: Option<u64>,
    /// Since when no neighbour has delivered what it claims to have.
    unserved_since: Option<Instant>,
}

/// How long requests take to be answered: on a slow line as long as the queue in front of it is.
#[derive(Debug, Default)]
pub(super) struct Answers {
    slowest: Duration,
    until: Instant,
}

impl Answers {
    /// Notes that the first segment came this long after the request.
    pub(super) fn note(&mut self, time: Duration, now: Instant) {
        if now >= self.until || time >= self.slowest {
            (self.slowest, self.until) = (time.min(ANSWER_MOST), now + ANSWERS_FOR);
        }
    }

    /// Returns the time that a neighbour is given at least.
    fn least(&self, now: Instant) -> Duration {
        if now < self.until { self.slowest + self.slowest / 2 } else { Duration::ZERO }
    }
}

/// A request to `link` for the stream from segment `from` on; `prune` is the former parent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repair {
    pub(crate) link: LinkId,
    pub(crate) ix: StreamIx,
    pub(crate) from: u64,
    pub(crate) or_later: bool,
    pub(crate) prune: Option<LinkId>,
}

impl Want {
    fn new(at: Instant, have: u64, behind_by: u64) -> Self {
        let (worse_rounds, nobody_since, asked, asks) = (0, None, None, 0);
        let (skip, unserved_since) = (None, None);
        Self { at, have, behind_by, worse_rounds, nobody_since, asked, asks, skip, unserved_since }
    }
}

impl Spread {
    /// Notes whether this node's line is slow, for all that is known: requests may take long then.
    pub(crate) fn note_line(&mut self, is_slow: bool) {
        self.line_is_slow = is_slow;
    }

    /// Creates a want if the neighbours have more than this node does.
    pub(crate) fn want(&mut self, cx: &Cx<'_>, ix: StreamIx, have: u64) {
        let behind_by = self.behind_by(ix, have);
        // Void claims count here: the neighbours that made them are asked again later
        // (`forgive_all`).
        let claimed =
            self.links.values().filter_map(|link| link.streams.get(ix)).any(|column| column.peer_have > have);
        if !claimed {
            return;
        }
        let at = cx.now + self.patience(cx, ix);
        if let Some(want) = self.wants.get_mut(&ix) {
            // It may wait until failed neighbours are forgiven, and this one has not failed.
            if behind_by > 0 && want.asked.is_none() && at < want.at {
                want.at = at;
                self.next_want = Some(self.next_want.map_or(at, |next| next.min(at)));
            }
        } else {
            self.parentage(ix).seen = (have, cx.now);
            self.insert(ix, Want::new(at, have, behind_by));
        }
    }

    fn insert(&mut self, ix: StreamIx, want: Want) {
        self.next_want = Some(self.next_want.map_or(want.at, |at| at.min(want.at)));
        self.wants.insert(ix, want);
    }

    /// Returns how long the parent has before another neighbour is asked. Without a parent there is
    /// nothing to wait for.
    fn patience(&self, cx: &Cx<'_>, ix: StreamIx) -> Duration {
        let parent = self.parent(ix).and_then(|link| self.links.get(&link));
        parent.map_or(Duration::ZERO, |link| {
            let usual = (4 * link.rtt).clamp(cx.config.graft_after, cx.config.graft_latest);
            if self.line_is_slow { usual.max(self.answers.least(cx.now)) } else { usual }
        })
    }

    /// Returns how many segments more than `have` some neighbour claims.
    pub(crate) fn behind_by(&self, ix: StreamIx, have: u64) -> u64 {
        self.claims_beyond(ix, have).map(|(_, claimed)| claimed - have).max().unwrap_or(0)
    }

    /// Returns the neighbours that claim to have more than this segment, and what each claims.
    pub(crate) fn claims_beyond(&self, ix: StreamIx, have: u64) -> impl Iterator<Item = (LinkId, u64)> {
        self.ahead(ix, have).map(|(link, column)| (link, column.peer_have))
    }

    fn ahead(&self, ix: StreamIx, have: u64) -> impl Iterator<Item = (LinkId, &LinkStream)> {
        self.links
            .iter()
            .filter_map(move |(id, link)| Some((*id, link.streams.get(ix)?)))
            .filter(move |(_, column)| column.peer_have > have && column.failed_claims < MAX_FAILED_CLAIMS)
    }

    /// Queues the stream to find a parent, although no neighbour is known to be ahead.
    pub(super) fn adopt(&mut self, ix: StreamIx) {
        if !std::mem::replace(&mut self.parentage(ix).seeking, true) {
            self.parentless.push_back(ix);
        }
    }

    /// Returns whether the stream may go on with this segment, because no neighbour has what comes
    /// before.
    pub(crate) fn may_skip_to(&self, ix: StreamIx, link: LinkId, seq: u64) -> bool {
        let allowed = |want: &Want| match want.skip {
            // Its ring moves on meanwhile; but the skip must not go beyond what another neighbour
            // still has.
            Some(skip) if want.asked == Some(link) => {
                let others = self.ahead(ix, want.have).filter(|(id, _)| *id != link);
                skip <= seq
                    && others
                        .map(|(_, column)| column.peer_floor.max(skip))
                        .min()
                        .is_none_or(|floor| seq <= floor)
            }
            skip => skip == Some(seq),
        };
        self.wants.get(&ix).is_some_and(allowed)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let wants = self.next_want.map(|at| at.max(self.next_repair));
        let parentless = (!self.parentless.is_empty()).then_some(self.next_repair);
        let digests = self.links.values().filter_map(|link| link.digest_at);
        let readers = [self.confirms.next_deadline(), self.pace.next_deadline()];
        wants.into_iter().chain(parentless).chain(digests).chain(readers.into_iter().flatten()).min()
    }

    /// Returns the requests that are due. `lonely` says that this node has too few peers, so that
    /// another one with the missing range may still come.
    pub(crate) fn repairs(
        &mut self,
        cx: &Cx<'_>,
        streams: &Streams,
        lonely: bool,
        is_excused: impl Fn(LinkId, bool) -> bool,
    ) -> Vec<Repair> {
        if cx.now < self.next_repair {
            return Vec::new();
        }
        let due = self.due(cx);
        let mut repairs = Vec::new();
        for ix in due {
            if !self.excuse_parent(cx, ix, streams.get(ix).have, &is_excused) {
                repairs.extend(self.repair(cx, ix, streams.get(ix).have, lonely));
            }
        }
        while repairs.len() < REPAIRS
            && let Some(ix) = self.parentless.pop_front()
        {
            self.parentage(ix).seeking = false;
            repairs.extend(self.find_parent(cx, ix, streams));
        }
        if !repairs.is_empty() {
            self.next_repair = cx.now + REPAIR_PAUSE;
        }
        repairs
    }

    /// Returns some wants that are due, each in its turn.
    fn due(&mut self, cx: &Cx<'_>) -> Vec<StreamIx> {
        if self.next_want.is_none_or(|at| at > cx.now) {
            return Vec::new();
        }
        let in_turn = self.wants.range(self.hand..).chain(self.wants.range(..self.hand));
        let due: Vec<_> =
            in_turn.filter(|(_, want)| want.at <= cx.now).map(|(ix, _)| *ix).take(REPAIRS).collect();
        self.hand = due.last().map_or(0, |ix| ix + 1);
        let rest = self.wants.iter().filter(|(ix, _)| due.len() == REPAIRS || !due.contains(ix));
        self.next_want = rest.map(|(_, want)| want.at).min();
        due
    }

    /// Finds a parent for a stream in which no neighbour is known to be ahead: rather one that this
    /// node does not push it to, then the one that has most of it, then the nearest. A child has
    /// nothing to give, and the two would wait for each other.
    fn find_parent(&mut self, cx: &Cx<'_>, ix: StreamIx, streams: &Streams) -> Option<Repair> {
        let stream = (ix < streams.len()).then(|| streams.get(ix))?;
        // A stream that has ended, or has been silent for long, finds a parent by its next segment,
        // unless the writer has yet to learn that it was read.
        let is_done = stream.is_at_end() && !self.has_to_report(ix, stream.have);
        if self.parent(ix).is_some() || stream.ring.front().is_none() || is_done {
            return None;
        }
        let columns = self.links.iter().filter_map(|(id, link)| Some((*id, link, link.streams.get(ix)?)));
        let (link, ..) = columns
            .filter(|(_, link, column)| link.ended && column.peer_floor <= stream.have + 1)
            .filter(|(id, _, column)| column.peer_have > stream.have || !self.is_child(*id, ix))
            .max_by_key(|(id, link, column)| {
                let is_open = !self.is_redirected(cx, *id, ix);
                (is_open, !column.push, column.peer_have, Reverse((link.rtt, *id)))
            })?;
        let want = Want::new(cx.now + self.answer_time(cx, link, 0), stream.have, 0);
        if !self.wants.contains_key(&ix) {
            self.insert(ix, want);
        }
        self.choose(cx, ix, link);
        Some(Repair { link, ix, from: stream.have + 1, or_later: false, prune: None })
    }

    /// Returns how long a neighbour that was asked has to answer. On a slow line that is twice as
    /// long with each neighbour that has not answered.
    fn answer_time(&self, cx: &Cx<'_>, link: LinkId, asks: u32) -> Duration {
        let rtt = self.links.get(&link).map_or(Duration::ZERO, |link| link.rtt);
        let usual =
            (2 * rtt + Duration::from_millis(50)).clamp(cx.config.graft_again, cx.config.graft_latest);
        if !self.line_is_slow {
            return usual;
        }
        (usual * (1 << asks.min(3))).max(self.answers.least(cx.now)).min(ANSWER_MOST)
    }

    fn repair(&mut self, cx: &Cx<'_>, ix: StreamIx, have: u64, lonely: bool) -> Option<Repair> {
        let mut want = self.wants.remove(&ix)?;
        if self.behind_by(ix, have) == 0 {
            if want.have == have {
                self.blame(cx, want.asked, ix); // It has taken back its word, and brought nothing.
            }
            return self.forgive_all(cx, ix, have, want);
        }
        // The parent's own claims do not show how well it delivers.
        let parent = self.parent(ix);
        let others = self.ahead(ix, have).filter(|(id, _)| Some(*id) != parent);
        let behind_by = others.map(|(_, column)| column.peer_have - have).max().unwrap_or(0);
        // Others may deliver something, too, but the parent has to.
        let delivers = want.have < self.parentage(ix).fed;
        if delivers && (behind_by <= want.behind_by || want.worse_rounds < MAX_WORSE_ROUNDS) {
            // It may be slower than others for a moment, but must not fall back further and
            // further.
            let worse_rounds = if behind_by > want.behind_by { want.worse_rounds + 1 } else { 0 };
            let at = cx.now + self.patience(cx, ix).max(cx.config.graft_after);
            let fresh = Want { worse_rounds, ..Want::new(at, have, behind_by) };
            self.insert(ix, fresh);
            return None;
        }
        if want.have != have {
            (want.asks, want.unserved_since) = (0, None);
        }
        (want.have, want.behind_by, want.worse_rounds, want.skip) = (have, behind_by, 0, None);
        self.blame(cx, want.asked.take(), ix);
        if self.behind_by(ix, have) == 0 {
            return self.forgive_all(cx, ix, have, want);
        }
        let slow = parent.filter(|_| delivers);
        let best = self.best(cx, ix, have, |id, column| Some(id) != slow && column.peer_floor <= have + 1);
        let somebody = self.ahead(ix, have).any(|(_, column)| column.peer_floor <= have + 1);
        if best.is_some() || somebody {
            want.nobody_since = None;
            return self.ask(cx, ix, want, best.map(|link| (link, have + 1)));
        }
        let since = *want.nobody_since.get_or_insert(cx.now);
        let patience = if lonely { cx.config.gap_after.1 } else { cx.config.gap_after.0 };
        if cx.now - since < patience {
            return self.ask(cx, ix, want, None);
        }
        let floor = self.ahead(ix, have).map(|(_, column)| column.peer_floor).min()?;
        let keeper = self.best(cx, ix, have, |_, column| column.peer_floor == floor);
        want.skip = Some(floor);
        self.ask(cx, ix, want, keeper.map(|link| (link, floor)))
    }

    /// Looks again later if the stream has a parent that is not to blame for the delay. Returns
    /// whether it is so: this node's own line is what takes time (`is_excused`), or the writer's
    /// is, because only the writer has more.
    fn excuse_parent(
        &mut self,
        cx: &Cx<'_>,
        ix: StreamIx,
        have: u64,
        is_excused: impl Fn(LinkId, bool) -> bool,
    ) -> bool {
        let tree = self.parentage(ix);
        if tree.seen.0 != have {
            tree.seen = (have, cx.now);
        }
        let Parentage { parent: Some(parent), seen: (_, since), .. } = *tree else { return false };
        let stands_for = cx.now - since;
        let floor =
            self.links.get(&parent).and_then(|link| link.streams.get(ix)).map_or(0, |to| to.peer_floor);
        let is_writer = |link: LinkId| self.is_redirected(cx, link, ix);
        let by_writer = stands_for < REDIRECTED_STILL
            && self.ahead(ix, have).any(|(link, _)| is_writer(link))
            && self.ahead(ix, have).all(|(link, _)| link == parent || is_writer(link));
        let others = self.ahead(ix, have).filter(|(link, _)| *link != parent);
        let is_far = others.map(|(_, column)| column.peer_have).max() > Some(have + FAR_BEHIND);
        let by_line = stands_for < EXCUSED_FOR && is_excused(parent, is_far);
        if floor > have + 1 || !(by_writer || by_line) {
            return false;
        }
        let at = cx.now + self.patience(cx, ix).max(cx.config.graft_after);
        let Some(want) = self.wants.get_mut(&ix) else { return false };
        want.at = at;
        self.next_want = Some(self.next_want.map_or(at, |next| next.min(at)));
        true
    }

    /// Returns whether the neighbour at this link, the stream's writer, has a full line.
    fn is_redirected(&self, cx: &Cx<'_>, link: LinkId, ix: StreamIx) -> bool {
        let redirected = self.parents.get(ix).and_then(|tree| tree.redirected);
        redirected.is_some_and(|(from, at)| from == link && cx.now - at < REDIRECTED_FOR)
    }

    /// Looks for another parent, because this one, the stream's writer, has a full line. It is
    /// asked again if there is no other. If this node has another one already, it learns that.
    pub(crate) fn redirected(&mut self, cx: &Cx<'_>, link: LinkId, ix: StreamIx) {
        if self.parent(ix) != Some(link) {
            return self.owe_answer(cx, link, ix);
        }
        let tree = self.parentage(ix);
        (tree.parent, tree.redirected) = (None, Some((link, cx.now)));
        self.adopt(ix);
        self.owe_answer(cx, link, ix);
        if let Some(want) = self.wants.get_mut(&ix) {
            (want.at, want.asked) = (cx.now, None);
            self.next_want = Some(cx.now);
        }
    }

    /// Handles a want for which no neighbour with a valid claim is left. Neighbours that failed may
    /// have been busy: they are asked once more after a while, again and again.
    fn forgive_all(&mut self, cx: &Cx<'_>, ix: StreamIx, have: u64, mut want: Want) -> Option<Repair> {
        let columns = self.links.iter_mut().filter_map(|(id, link)| Some((*id, link.streams.get_mut(ix)?)));
        let (mut any, mut forgiven) = (false, false);
        // Others may retain a segment that no neighbour does, but not for longer than that.
        let since = *want.unserved_since.get_or_insert(cx.now);
        let may_be_had = cx.now - since < cx.config.ring_age;
        for (id, column) in columns.filter(|(_, column)| column.peer_have > have) {
            any = true;
            if may_be_had || column.peer_floor <= column.peer_have {
                self.unserved = Some((cx.now, id));
            }
            if cx.now >= column.not_before {
                column.failed_claims = MAX_FAILED_CLAIMS - 1;
                forgiven = true;
            }
        }
        if any {
            want.at = if forgiven { cx.now } else { cx.now + FORGIVEN_AFTER };
            (want.asked, want.skip) = (None, None);
            self.insert(ix, want);
        }
        None
    }

    /// Returns one of the neighbours that claim segments which none of them delivers.
    pub(crate) fn unserved_by(&self, cx: &Cx<'_>) -> Option<LinkId> {
        self.unserved
            .filter(|(at, _)| cx.now - *at <= FORGIVEN_AFTER + Duration::from_secs(1))
            .map(|(_, link)| link)
    }

    /// Notes that the neighbour that was asked has not answered in time.
    fn blame(&mut self, cx: &Cx<'_>, asked: Option<LinkId>, ix: StreamIx) {
        let Some(link) = asked.and_then(|id| self.links.get_mut(&id)) else { return };
        let column = link.stream(ix);
        column.failed_claims = column.failed_claims.saturating_add(1);
        column.not_before = cx.now + cx.config.graft_again * 2;
    }

    fn best(
        &self,
        cx: &Cx<'_>,
        ix: StreamIx,
        have: u64,
        suits: impl Fn(LinkId, &LinkStream) -> bool,
    ) -> Option<LinkId> {
        self.ahead(ix, have)
            .filter(|(id, column)| suits(*id, column) && column.not_before <= cx.now)
            .max_by_key(|(id, column)| {
                let is_open = !self.is_redirected(cx, *id, ix);
                (is_open, column.peer_have, Reverse((self.links[id].rtt, *id)))
            })
            .map(|(id, _)| id)
    }

    /// Asks a neighbour for the stream from this segment on, or no one for now, and notes when the
    /// next look is due.
    fn ask(
        &mut self,
        cx: &Cx<'_>,
        ix: StreamIx,
        mut want: Want,
        source: Option<(LinkId, u64)>,
    ) -> Option<Repair> {
        let or_later = want.skip.is_some();
        let link = source.map(|(link, _)| link);
        want.at = cx.now + link.map_or(cx.config.graft_again, |link| self.answer_time(cx, link, want.asks));
        (want.asked, want.asks) = (link, want.asks + u32::from(link.is_some()));
        self.insert(ix, want);
        let (link, from) = source?;
        let former = self.parent(ix).filter(|parent| *parent != link);
        let prune = former.and_then(|parent| self.prune(cx, parent, ix));
        self.choose(cx, ix, link);
        if let Some(state) = self.links.get_mut(&link) {
            state.stream(ix).asked_at.get_or_insert(cx.now);
        }
        Some(Repair { link, ix, from, or_later, prune })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::context::Context;
    use crate::features::Features;
    use crate::id::Keypair;
    use crate::message::Mark;
    use crate::streams::Position;

    /// One neighbour has failed three times and will be forgiven in 10 s: a new one is asked
    /// immediately.
    #[test]
    fn a_new_neighbour_is_asked_before_old_ones_are_forgiven() {
        let mut now = Instant::from_micros(1_000_000);
        let mut context = Context::new(Keypair::from_seed(&[1; 32]), Config::default(), 1);
        let (own, origin) = (context.me.id(), Keypair::from_seed(&[2; 32]).id());
        let mut streams = Streams::new(own, 1, now);
        let ix = streams.admit(&context.at(now), origin, Position::beginning(1)).unwrap();
        let mark = Mark { origin, incarnation: 1, have: 5, floor: 1, floor_message: 1, next_message: 6 };
        let mut spread = Spread::new(&context.config, now);
        let claim = |spread: &mut Spread, cx: &Cx<'_>, link| {
            spread.link_up(cx, link, Duration::from_millis(20), Features::NONE);
            spread.mark(cx, (link, ix), &mark, 0);
            spread.digest_ended(link, &streams);
            spread.want(cx, ix, 0);
        };
        let mut asked = |spread: &mut Spread, context: &mut Context, until: Instant| {
            let mut asked = Vec::new();
            while let Some(at) = spread.next_deadline().filter(|at| *at <= until) {
                now = now.max(at);
                spread.confirmations(&context.at(now), &streams);
                let repairs = spread.repairs(&context.at(now), &streams, false, |_, _| false);
                asked.extend(repairs.iter().map(|repair| repair.link));
            }
            now = until;
            asked
        };
        let (first, second) = (LinkId(1), LinkId(2));
        claim(&mut spread, &context.at(Instant::from_micros(1_000_000)), first);
        let times = asked(&mut spread, &mut context, Instant::from_micros(5_000_000)).len();
        assert!((2..=4).contains(&times), "asked {times} times");
        claim(&mut spread, &context.at(Instant::from_micros(5_000_000)), second);
        let later = Instant::from_micros(6_000_000);
        assert_eq!(asked(&mut spread, &mut context, later).first(), Some(&second));
    }
}
