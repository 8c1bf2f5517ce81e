//! Dissemination: which links a stream travels over.
//!
//! For each link and stream there is a cursor into the shared ring, what the neighbour has, and
//! whether segments are sent unasked (eager) or only digests are (lazy). Each writer has a tree of
//! its own, made by its readers: the link that brings a stream first is its parent, and a link that
//! brings it again is pruned. When another link is ahead for too long, the stream is grafted there
//! (after Plumtree, Leitão et al., 2007, but with one tree per writer, and cursors instead of
//! message ids). A node that forwards never waits: a neighbour too slow for the ring gets a mark
//! that says what is left, and requests what it missed from another neighbour.
//!
//! The ring holds the newest segments of one stream, for all links. A mark says how far a node is
//! in a stream (`have`) and the first segment that it still holds (`floor`); a digest is a list of
//! marks. On a new link each side sends a first digest of all its streams. A stream that both name
//! begins lazy, except at its writer; one that the other side does not name is pushed from that
//! mark on. Later digests tell lazy neighbours that this node may be ahead.
//! `docs/design/broadcast.md` has an example.

mod confirm;
mod full;
mod pace;
mod pump;
mod race;
mod repair;
mod trial;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::Config;
use crate::context::Cx;
use crate::features::Features;
use crate::flow::parts::Cut;
use crate::ids::LinkId;
use crate::limits::{Held, StreamLink};
use crate::message::{Mark, Message};
use crate::output::CloseReason;
use crate::streams::{OWN, StreamIx, Streams};
use crate::time::Instant;

use confirm::Confirms;
pub(crate) use confirm::Summary;
use pace::Pacer;
pub(crate) use pump::Room;
use race::Race;
pub(crate) use repair::Repair;
use repair::{Answers, Want};
use trial::Trial;
use window::Window;

/// A neighbour that goes on sending a pruned stream is sent another prune after this long.
const PRUNED_AGAIN: Duration = Duration::from_secs(1);
/// As many bytes as a node retains may go over a link for a second time in this time. 60 s: the
/// time for which it retains them.
const AGAIN_IN: Duration = Duration::from_secs(60);
/// Number of failed requests in a row after which a neighbour's claim to be ahead is void.
const MAX_FAILED_CLAIMS: u8 = 3;

/// The links' cursors, and each stream's parent.
#[derive(Debug)]
pub(crate) struct Spread {
    links: BTreeMap<LinkId, Link>,
    /// The number of links whose other ends report nothing.
    silent: usize,
    parents: Vec<Parentage>,
    wants: BTreeMap<StreamIx, Want>,
    /// How long requests have taken lately, and whether this node's line is slow.
    answers: Answers,
    line_is_slow: bool,
    /// Streams that look for a parent although no neighbour is known to be ahead.
    parentless: VecDeque<StreamIx>,
    next_repair: Instant,
    /// No want is due before this time; it may be too early, never too late.
    next_want: Option<Instant>,
    /// The stream at which the next round of repairs begins.
    hand: StreamIx,
    /// The last time that no neighbour had delivered what it claims to have of some stream, and one
    /// of those neighbours.
    unserved: Option<(Instant, LinkId)>,
    /// The last segment of the node's own stream that was handed to some link.
    own_handed: u64,
    /// How far the own stream has moved over all links together, see [`Spread::own_progress`].
    own_progress: u64,
    /// The last segment of the own stream that some reader was known to have, lost ones included.
    own_read: u64,
    /// How far the readers of each stream are, and what follows for the node's own.
    confirms: Confirms,
    pace: Pacer,
}

/// The source of a stream.
#[derive(Debug, Clone, Copy, Default)]
struct Parentage {
    parent: Option<LinkId>,
    switched: Instant,
    /// The last segment that came from the parent.
    fed: u64,
    /// How far the stream was at the last look at a parent that shares a full line, and since when.
    seen: (u64, Instant),
    /// The writer, if it has a full line and has sent this node to other parents; and when.
    redirected: Option<(LinkId, Instant)>,
    /// Whether it is queued to find a parent.
    seeking: bool,
    race: Race,
}

#[derive(Debug)]
struct Link {
    rtt: Duration,
    /// Cost of the messages handed to the link and not yet written by it, in bytes.
    unsent: usize,
    /// Whether the neighbour confirms what it reads; then `flow/` bounds what is under way, and not
    /// the window.
    confirms: bool,
    /// Whether the neighbour reports how far its readers are, see `confirm.rs`.
    reports: bool,
    window: Window,
    progress: Instant,
    /// Messages that wait for their turn on a slow line, with the streams that they are of.
    queue: VecDeque<(Option<StreamIx>, Message)>,
    /// The segment of which a part was handed to the link.
    cut: Option<Cut>,
    streams: Vec<LinkStream>,
    ready: VecDeque<StreamIx>,
    /// Streams for the next digest, and when it is due.
    dirty: Vec<StreamIx>,
    digest_at: Option<Instant>,
    /// The neighbour has a slow line: no digest before this time.
    digest_after: Instant,
    /// Streams from here on are not in this node's first digest yet; `None` once all are.
    digest_next: Option<StreamIx>,
    /// Streams before this one were in this node's first digest, and whether its end was a settled
    /// one.
    digest_told: StreamIx,
    /// The first stream that it has left out, because it was only claimed.
    digest_unnamed: StreamIx,
    told_settled: bool,
    /// Whether the neighbour's first digest has begun, and whether it has ended.
    begun: bool,
    ended: bool,
    /// How far the node's own stream was in the last digest to the neighbour.
    own_told: u64,
    /// How far the own stream has moved over this link.
    own_progress: u64,
    /// When this node sent the neighbour to another one for the own stream, see `full.rs`.
    turned_away: Option<Instant>,
    /// When the neighbour last got a digest of the own stream, though the line is full.
    own_told_at: Instant,
    again: Again,
}

/// The state of one stream on one link. `push`, `sent` and `deficit` are about what this node sends
/// there; `pruned`, `failed_claims` and `not_before` about what it gets from there.
#[derive(Debug, Clone, Default)]
struct LinkStream {
    /// Whether the link is eager for the stream: segments go out unasked. Otherwise it is lazy.
    push: bool,
    /// Whether this node has pruned the stream, and when it last did.
    pruned: bool,
    pruned_at: Instant,
    /// Whether the neighbour is not sent the stream, and has yet to say from where it gets it: this
    /// node has sent it a digest or a redirect instead.
    offered: bool,
    /// When the neighbour was first sent something of the stream, or a digest or a redirect
    /// instead, since it last answered.
    offered_at: Option<Instant>,
    /// Whether the neighbour has named this stream.
    named: bool,
    /// How the neighbour has taken what it was sent unasked, see `trial.rs`.
    trial: Trial,
    /// Whether the next digest names the stream in any case, see `race.rs`.
    announced: bool,
    in_ready: bool,
    dirty: bool,
    /// Requests in a row that the neighbour has not answered, see [`MAX_FAILED_CLAIMS`].
    failed_claims: u8,
    /// Bytes that the stream may still send in this turn.
    deficit: u32,
    /// The last segment that was sent, or that the neighbour need not be sent.
    sent: u64,
    /// The last segment that was ever sent: whatever is sent before it goes out once more.
    once: u64,
    /// Bytes that went out once more and have not been counted yet.
    repeated: u32,
    /// The neighbour did not know the stream and begins with what comes after this segment.
    from: u64,
    /// The last segment that the neighbour has, and the first that it holds, as far as is known.
    peer_have: u64,
    peer_floor: u64,
    /// This node does not request the stream from the neighbour before this time.
    not_before: Instant,
    /// When this node requested it, until something comes.
    asked_at: Option<Instant>,
}

/// What goes over one link for a second time, because the neighbour requests it again: with some
/// bytes it could have all that is retained sent to it over and over.
#[derive(Debug)]
struct Again {
    bytes: usize,
    since: Instant,
}

impl Again {
    fn add(&mut self, cost: u32) {
        self.bytes = self.bytes.saturating_add(cost as usize);
    }

    /// Returns whether more may be sent again: as much as this node retains, and a sixtieth of that
    /// in each second.
    fn has_room(&mut self, cx: &Cx<'_>) -> bool {
        let most = cx.config.ring_total;
        let left = (most as f64 * (cx.now - self.since).as_secs_f64() / AGAIN_IN.as_secs_f64()) as usize;
        (self.bytes, self.since) = (self.bytes.saturating_sub(left), cx.now);
        self.bytes < most
    }
}

/// What a new segment changes in its tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    pub(crate) prune: Option<LinkId>,
    pub(crate) graft: bool,
}

impl LinkStream {
    /// Returns whether the neighbour gets the stream from this node, as far as is known.
    fn is_child(&self) -> bool {
        self.push || self.offered
    }

    /// Returns how far the neighbour is known to be, or need not be sent the stream.
    fn knows(&self) -> u64 {
        self.peer_have.max(self.from)
    }
}

impl Link {
    fn stream(&mut self, ix: StreamIx) -> &mut LinkStream {
        while self.streams.len() <= ix {
            let push = self.begins_eager(self.streams.len());
            self.streams.push(LinkStream { push, ..LinkStream::default() });
        }
        &mut self.streams[ix]
    }

    /// Returns whether a stream that is new begins eager on this link. One that the first digest of
    /// either side has yet to name is lazy until then. One that comes later is in no digest, so its
    /// first segment goes to all neighbours.
    fn begins_eager(&self, ix: StreamIx) -> bool {
        self.ended && self.digest_next.is_none_or(|next| ix < next)
    }

    fn make_ready(&mut self, ix: StreamIx) {
        let column = self.stream(ix);
        if column.push && !std::mem::replace(&mut column.in_ready, true) {
            self.ready.push_back(ix);
        }
    }

    /// Schedules a digest to the neighbour, unless it reports first that it is as far.
    fn make_dirty(&mut self, cx: &Cx<'_>, ix: StreamIx) {
        if !std::mem::replace(&mut self.stream(ix).dirty, true) {
            self.dirty.push(ix);
            let (least, most) = cx.config.digest_delay;
            let at = (cx.now + (2 * self.rtt).clamp(least, most)).max(self.digest_after);
            self.digest_at.get_or_insert(at);
        }
    }
}

impl Spread {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            links: BTreeMap::new(),
            parents: Vec::new(),
            wants: BTreeMap::new(),
            silent: 0,
            answers: Answers::default(),
            line_is_slow: false,
            parentless: VecDeque::new(),
            next_repair: Instant::ZERO,
            next_want: None,
            hand: 0,
            unserved: None,
            own_handed: 0,
            own_progress: 0,
            own_read: 0,
            confirms: Confirms::new(config),
            pace: Pacer::new(config, now),
        }
    }

    /// Takes a link that is new, and whose two ends have these features in common.
    pub(crate) fn link_up(&mut self, cx: &Cx<'_>, link: LinkId, rtt: Duration, features: Features) {
        let state = Link {
            rtt,
            unsent: 0,
            confirms: features.contains(Features::FLOW),
            reports: features.contains(Features::CONFIRM),
            window: Window::new(cx.now, cx.config),
            progress: cx.now,
            queue: VecDeque::new(),
            cut: None,
            streams: Vec::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            digest_at: None,
            digest_after: cx.now,
            digest_next: Some(0),
            digest_told: 0,
            digest_unnamed: StreamIx::MAX,
            told_settled: false,
            begun: false,
            ended: false,
            own_told: 0,
            own_progress: 0,
            turned_away: None,
            own_told_at: cx.now,
            again: Again { bytes: 0, since: cx.now },
        };
        self.silent += usize::from(!state.reports);
        self.links.insert(link, state);
    }

    /// Removes the link. Streams that came over it look for another parent immediately.
    pub(crate) fn link_down(
        &mut self,
        cx: &Cx<'_>,
        streams: &Streams,
        (link, reason): (LinkId, CloseReason),
    ) {
        if let Some(state) = self.links.remove(&link) {
            self.silent -= usize::from(!state.reports);
            self.pace.dirty = true;
            // The neighbour reads what came before the link's end.
            let sent = state.streams.get(OWN).map_or(0, |column| column.sent.max(column.peer_have));
            self.own_read = self.own_read.max(if reason.is_agreed() { sent } else { 0 });
            for ix in (1..state.streams.len()).filter(|ix| !state.reports && state.streams[*ix].push) {
                self.confirms.progressed(cx, ix, 0);
            }
            self.children_lost(cx, streams, (link, reason), &state);
        }
        for want in self.wants.values_mut().filter(|want| want.asked == Some(link)) {
            want.at = cx.now;
            self.next_want = Some(cx.now);
        }
        for ix in 1..self.parents.len() {
            if self.parents[ix].parent == Some(link) {
                self.parents[ix].parent = None;
                self.adopt(ix);
            }
        }
    }

    /// Resets everything about the stream at this index, which is another one now.
    pub(crate) fn forget_stream(&mut self, ix: StreamIx) {
        self.wants.remove(&ix);
        self.confirms.forget(ix);
        if let Some(tree) = self.parents.get_mut(ix) {
            *tree = Parentage { seeking: tree.seeking, ..Parentage::default() };
        }
        for link in self.links.values_mut() {
            let push = link.begins_eager(ix);
            if let Some(column) = link.streams.get_mut(ix) {
                let LinkStream { in_ready, dirty, .. } = *column;
                *column = LinkStream { push, in_ready, dirty, ..LinkStream::default() };
            }
        }
    }

    /// See [`crate::Node::held`].
    pub(crate) fn held(&self, config: &Config, held: &mut Vec<Held>) {
        let most = |what, limit, of: fn(&Link) -> usize| {
            let amount = self.links.values().map(of).max().unwrap_or(0);
            Held { what, amount, limit }
        };
        let window = config.link_window + config.control_window;
        let (children, untold, unanswered) = self.confirms.counts();
        let columns = config.max_streams * self.links.len().max(1);
        held.extend([
            Held { what: "children that report", amount: children, limit: columns },
            Held { what: "children that wait for a floor", amount: untold, limit: columns },
            Held { what: "neighbours that wait for an answer", amount: unanswered, limit: columns },
            most("bytes handed to one link", window, |link| link.unsent),
            most("streams ready for one link", config.max_streams, |link| link.ready.len()),
            most("streams to be named to one link", config.max_streams, |link| link.dirty.len()),
            Held { what: "missing ranges", amount: self.wants.len(), limit: config.max_streams },
            Held {
                what: "streams without a parent",
                amount: self.parentless.len(),
                limit: config.max_streams,
            },
        ]);
    }

    /// Returns the state of this stream on each link.
    pub(crate) fn views(&self, ix: StreamIx) -> Vec<StreamLink> {
        let view = |(link, state): (&LinkId, &Link)| {
            let LinkStream { peer_have, sent, push, pruned, .. } = *state.streams.get(ix)?;
            Some(StreamLink { link: *link, claims: peer_have, sent, push, pruned })
        };
        self.links.iter().filter_map(view).collect()
    }

    fn parentage(&mut self, ix: StreamIx) -> &mut Parentage {
        if self.parents.len() <= ix {
            self.parents.resize(ix + 1, Parentage::default());
        }
        &mut self.parents[ix]
    }

    /// Notes that the neighbour has everything up to `seq`, because it sent it.
    pub(crate) fn peer_has(&mut self, cx: &Cx<'_>, link: LinkId, ix: StreamIx, seq: u64) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let column = state.stream(ix);
        if column.peer_have < seq {
            column.peer_have = seq;
            if column.push {
                self.known_anew(cx, link, ix);
            }
        }
    }

    /// Handles the stream's next segment, which this link brought.
    pub(crate) fn received(&mut self, cx: &Cx<'_>, link: LinkId, ix: StreamIx, seq: u64) -> Advice {
        let advice = self.judge(cx, link, ix);
        let tree = self.parentage(ix);
        if tree.parent == Some(link) {
            tree.fed = seq;
        }
        advice
    }

    fn judge(&mut self, cx: &Cx<'_>, link: LinkId, ix: StreamIx) -> Advice {
        let Some(state) = self.links.get_mut(&link) else { return Advice::default() };
        let column = state.stream(ix);
        column.failed_claims = 0;
        let pruned = column.pruned;
        if let Some(at) = column.asked_at.take() {
            self.answers.note(cx.now - at, cx.now);
        }
        let tree = *self.parentage(ix);
        match tree.parent {
            Some(parent) if parent == link => Advice::default(),
            // It was on its way before the prune arrived.
            Some(_) if pruned => Advice { prune: self.prune(cx, link, ix), graft: false },
            // The link that brings a segment first becomes the parent, but not within
            // `switch_after` of the last change: two links of about the same speed would replace
            // each other for ever. A parent that has brought nothing yet may never do.
            Some(parent) if tree.fed == 0 || cx.now - tree.switched > cx.config.switch_after => {
                self.choose(cx, ix, link);
                Advice { prune: self.prune(cx, parent, ix), graft: false }
            }
            Some(_) => Advice { prune: self.prune(cx, link, ix), graft: false },
            None => {
                self.choose(cx, ix, link);
                Advice { prune: None, graft: pruned }
            }
        }
    }

    fn choose(&mut self, cx: &Cx<'_>, ix: StreamIx, link: LinkId) {
        let tree = self.parentage(ix);
        (tree.parent, tree.switched, tree.fed) = (Some(link), cx.now, 0);
        tree.race.forget();
        if let Some(state) = self.links.get_mut(&link) {
            state.stream(ix).pruned = false;
        }
        self.parent_chosen(cx, ix);
    }

    /// Handles a useless segment from this link. Returns whether to send a prune.
    pub(crate) fn decline(&mut self, cx: &Cx<'_>, link: LinkId, ix: StreamIx) -> bool {
        let asked_at = self.links.get_mut(&link).and_then(|state| state.stream(ix).asked_at.take());
        if let Some(at) = asked_at {
            self.answers.note(cx.now - at, cx.now);
        }
        if self.parentage(ix).parent == Some(link) {
            self.report_to_parent(cx, ix);
            return false;
        }
        self.prune(cx, link, ix).is_some()
    }

    /// Prunes the stream on the link, and returns the link, unless it is gone or was pruned just
    /// now. A neighbour that did not know the stream yet has ignored the earlier prune.
    fn prune(&mut self, cx: &Cx<'_>, link: LinkId, ix: StreamIx) -> Option<LinkId> {
        let column = self.links.get_mut(&link)?.stream(ix);
        if column.pruned && cx.now - column.pruned_at < PRUNED_AGAIN {
            return None;
        }
        (column.pruned, column.pruned_at) = (true, cx.now);
        Some(link)
    }

    /// Takes a mark: the neighbour's claim of how far it is.
    pub(crate) fn mark(&mut self, cx: &Cx<'_>, (link, ix): (LinkId, StreamIx), mark: &Mark, have: u64) {
        let is_parentless = ix != OWN && self.parentage(ix).parent.is_none();
        let Some(state) = self.links.get_mut(&link) else { return };
        self.pace.dirty |= ix == OWN;
        let first = !state.ended;
        state.begun = true;
        state.stream(ix).peer_floor = mark.floor;
        if ix == OWN {
            self.own_read = self.own_read.max(mark.have);
        }
        let column = state.stream(ix);
        column.from = column.from.min(mark.have);
        if first {
            // Both know the stream, so it begins lazy, except from the writer to its own
            // neighbours.
            (column.named, column.push) = (true, ix == OWN);
            (column.sent, column.peer_have) = (mark.have, mark.have);
            state.make_ready(ix);
            if mark.have < have && ix != OWN {
                state.make_dirty(cx, ix);
            }
        } else {
            // The last mark counts, even if it is lower: the neighbour may have started from a
            // false mark.
            let moved = std::mem::replace(&mut column.peer_have, mark.have) != mark.have && column.push;
            if moved {
                self.known_anew(cx, link, ix);
            }
        }
        let retains = mark.floor <= mark.have;
        if first && is_parentless && retains {
            self.adopt(ix);
        }
        if !first {
            self.owe_answer(cx, link, ix);
        }
        if mark.floor > have + 1
            && let Some(want) = self.wants.get_mut(&ix).filter(|want| want.asked == Some(link))
        {
            self.next_want = Some(cx.now);
            (want.at, want.asked) = (cx.now, None); // It cannot serve the request.
        }
    }

    /// Handles the end of the neighbour's first digest: the streams it did not name begin eager,
    /// from where this node's digest said.
    pub(crate) fn digest_ended(&mut self, link: LinkId, streams: &Streams) {
        let Some(state) = self.links.get_mut(&link) else { return };
        self.pace.dirty = true;
        state.ended = true;
        for ix in 0..state.digest_next.unwrap_or(streams.len()) {
            let column = state.stream(ix);
            if !column.named {
                column.push = true;
                state.make_ready(ix);
            }
        }
    }

    /// Goes on with the first digest to this neighbour, because the node has settled since: the
    /// neighbour may be new itself, and takes what no digest has named for new to everybody. Not
    /// before the neighbour's own first digest, which may name most of it.
    pub(crate) fn tell_settled(&mut self, link: LinkId) {
        if let Some(state) = self.links.get_mut(&link)
            && state.ended
            && !state.told_settled
        {
            state.digest_next.get_or_insert(state.digest_told);
        }
    }

    /// Returns a neighbour that claims to have something of this stream, and is none of these.
    pub(crate) fn claimer(&self, ix: StreamIx, except: &[LinkId]) -> Option<LinkId> {
        let claims = |link: &Link| link.streams.get(ix).is_some_and(|column| column.peer_have > 0);
        let others = self.links.iter().filter(|(id, _)| !except.contains(id));
        others.filter(|(_, link)| claims(link)).map(|(id, _)| *id).next()
    }

    /// Returns whether a neighbour's first digest is still arriving.
    pub(crate) fn is_being_told(&self) -> bool {
        self.links.values().any(|link| link.begun && !link.ended)
    }

    /// Handles a graft: the neighbour requests the stream from `from` on, which moves the cursor
    /// back or forth. A request that accepts a `later` segment does not claim everything before it.
    /// One for what this link has brought too much of already gets a digest instead.
    pub(crate) fn graft(&mut self, cx: &Cx<'_>, (link, ix): (LinkId, StreamIx), from: u64, later: bool) {
        if let Some(state) = self.links.get_mut(&link) {
            let repeats = from <= state.stream(ix).once;
            if repeats && !state.again.has_room(cx) {
                return state.make_dirty(cx, ix);
            }
            let column = state.stream(ix);
            let has = if later { column.peer_have.min(from - 1) } else { from - 1 };
            (column.push, column.sent, column.peer_have) = (true, from - 1, has);
            (column.trial, column.offered, column.from) = (Trial::Passed, false, column.from.min(from - 1));
            column.offered_at = None;
            // A neighbour that requests a stream knows it: no digest has to name it.
            column.named = true;
            state.recall(ix);
            state.make_ready(ix);
            self.child_begins(cx, link, ix, from - 1);
        }
    }

    /// Handles a prune: the neighbour gets the stream over another link.
    pub(crate) fn pruned(&mut self, cx: &Cx<'_>, link: LinkId, ix: StreamIx, have: u64) {
        if let Some(state) = self.links.get_mut(&link) {
            let column = state.stream(ix);
            // A neighbour that prunes a stream knows it: the end of its first digest changes
            // nothing.
            (column.push, column.named, column.offered) = (false, true, false);
            (column.trial, column.offered_at) = (Trial::Passed, None);
            if column.peer_have < have {
                state.make_dirty(cx, ix);
            }
            state.recall(ix);
        }
        self.child_ends(cx, link, ix);
    }

    /// Offers the new segments of the stream to all links.
    pub(crate) fn fan_out(&mut self, cx: &Cx<'_>, ix: StreamIx, have: u64, except: Option<LinkId>) {
        let races = ix != OWN && self.parentage(ix).race.begins(have, cx.now);
        for (_, state) in self.links.iter_mut().filter(|(id, _)| Some(**id) != except) {
            if races {
                state.announce(cx, ix);
            }
            let column = state.stream(ix);
            if column.push {
                state.make_ready(ix);
            } else if column.peer_have < have {
                state.make_dirty(cx, ix);
            }
        }
    }

    /// Returns the link over which a stream comes.
    pub(crate) fn parent(&self, ix: StreamIx) -> Option<LinkId> {
        self.parents.get(ix).and_then(|tree| tree.parent)
    }
}
