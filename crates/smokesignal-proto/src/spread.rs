//! WHICH WAY it goes: for each link and stream a cursor into the shared ring, and what the neighbour has.
//!
//! Every link is sent every stream from what its neighbour has on; what the neighbour has is known from its
//! first digest and from what it sends us. A relay never waits: a neighbour too slow for the ring is told so
//! by a mark and asks elsewhere. (Eager and lazy links, the economical trees, need only `push` to change.)

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::message::{Control, DigestEnd, MAX_MARKS, Mark, Message};
use crate::node::LinkId;
use crate::streams::{OWN, StreamIx, Streams};
use crate::time::Instant;

/// Bytes a stream may send in one turn of a link. Streams take turns so that a busy one delays no other.
const QUANTUM: usize = 16 * 1024;
/// Missing ranges asked for at once, and the wait before the next ones: 6 400 a second, 12 KiB of grafts at a time.
const REPAIRS: usize = 64;
const REPAIR_PAUSE: Duration = Duration::from_millis(10);
/// A claim to be ahead that was not made good this often is void.
const MAX_FAILED_CLAIMS: u8 = 3;

/// The links' cursors.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    links: BTreeMap<LinkId, Link>,
    wants: BTreeMap<StreamIx, Want>,
}

#[derive(Debug)]
struct Link {
    /// Cost of the messages handed to the link and not yet written by it, in bytes.
    unsent: usize,
    progress: Instant,
    columns: Vec<Column>,
    ready: VecDeque<StreamIx>,
    /// Streams from here on are not in our first digest yet; `None` once all are.
    digest_next: Option<StreamIx>,
    /// The neighbour's first digest has ended.
    ended: bool,
    /// How long the node's writes waited for this link alone.
    debt: Duration,
    laggard: bool,
}

/// What one link knows about one stream.
#[derive(Debug, Clone, Default)]
struct Column {
    /// Segments go out without being asked for.
    push: bool,
    /// The neighbour has named this stream.
    named: bool,
    in_ready: bool,
    deficit: usize,
    sent: u64,
    peer_have: u64,
    peer_floor: u64,
    peer_floor_message: u64,
    failed_claims: u8,
    not_before: Instant,
}

/// A missing range that somebody has.
#[derive(Debug)]
struct Want {
    at: Instant,
    have: u64,
    nobody_since: Option<Instant>,
    asked: Option<LinkId>,
}

/// What to do about a missing range.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    Graft { link: LinkId, ix: StreamIx, from: u64 },
    Skip { ix: StreamIx, floor: u64, floor_message: u64 },
}

impl Link {
    fn column(&mut self, ix: StreamIx) -> &mut Column {
        while self.columns.len() <= ix {
            // A stream met after our first digest needs no answer: it is new to both.
            let covered = self.digest_next.is_some_and(|next| self.columns.len() >= next);
            self.columns.push(Column { push: !covered, ..Column::default() });
        }
        &mut self.columns[ix]
    }

    fn make_ready(&mut self, ix: StreamIx) {
        let column = self.column(ix);
        if column.push && !std::mem::replace(&mut column.in_ready, true) {
            self.ready.push_back(ix);
        }
    }
}

impl Spread {
    pub(crate) fn link_up(&mut self, link: LinkId, now: Instant) {
        let state = Link {
            unsent: 0,
            progress: now,
            columns: Vec::new(),
            ready: VecDeque::new(),
            digest_next: Some(0),
            ended: false,
            debt: Duration::ZERO,
            laggard: false,
        };
        self.links.insert(link, state);
    }

    pub(crate) fn link_down(&mut self, link: LinkId, now: Instant) {
        self.links.remove(&link);
        for want in self.wants.values_mut().filter(|want| want.asked == Some(link)) {
            want.at = now;
        }
    }

    /// The stream in this place is another one now: nobody has said anything about it.
    pub(crate) fn forget_stream(&mut self, ix: StreamIx) {
        self.wants.remove(&ix);
        for link in self.links.values_mut() {
            if let Some(column) = link.columns.get_mut(ix) {
                let covered = link.digest_next.is_some_and(|next| ix >= next);
                *column = Column { push: !covered, in_ready: column.in_ready, ..Column::default() };
            }
        }
    }

    /// Counts a message that was handed to the link outside of [`Spread::pump`]. False: the link is too full.
    pub(crate) fn count(&mut self, link: LinkId, cost: usize, now: Instant, config: &Config) -> bool {
        let Some(state) = self.links.get_mut(&link) else { return true };
        if state.unsent == 0 {
            state.progress = now;
        }
        state.unsent += cost;
        state.unsent <= config.link_window + config.control_window
    }

    pub(crate) fn sent(&mut self, link: LinkId, cost: usize, now: Instant) {
        if let Some(state) = self.links.get_mut(&link) {
            state.unsent = state.unsent.saturating_sub(cost);
            state.progress = now;
        }
    }

    /// Links with something to send and no progress for too long.
    pub(crate) fn stalled(&self, now: Instant, config: &Config) -> Vec<LinkId> {
        let stalled = |link: &Link| link.unsent > 0 && now - link.progress > config.stall_timeout;
        self.links.iter().filter(|(_, link)| stalled(link)).map(|(id, _)| *id).collect()
    }

    /// The neighbour has everything up to `seq`, because it sent it.
    pub(crate) fn peer_has(&mut self, link: LinkId, ix: StreamIx, seq: u64) {
        if let Some(state) = self.links.get_mut(&link) {
            let column = state.column(ix);
            column.peer_have = column.peer_have.max(seq);
        }
    }

    /// The neighbour's own word on how far it is: our cursor goes there, back or forth.
    pub(crate) fn mark(&mut self, link: LinkId, ix: StreamIx, mark: &Mark) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let column = state.column(ix);
        (column.push, column.named, column.failed_claims) = (true, true, 0);
        (column.sent, column.peer_have) = (mark.have, mark.have);
        (column.peer_floor, column.peer_floor_message) = (mark.floor, mark.floor_message);
        state.make_ready(ix);
    }

    /// The neighbour's first digest is complete: what it did not name it starts reading where ours told it.
    pub(crate) fn digest_ended(&mut self, link: LinkId, streams: &Streams) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.ended = true;
        for ix in 0..state.digest_next.unwrap_or(streams.len()) {
            let column = state.column(ix);
            if !column.named {
                column.push = true;
                state.make_ready(ix);
            }
        }
    }

    /// The neighbour asks for the stream from `from` on.
    pub(crate) fn graft(&mut self, link: LinkId, ix: StreamIx, from: u64) {
        if let Some(state) = self.links.get_mut(&link) {
            let column = state.column(ix);
            (column.push, column.sent, column.peer_have) = (true, from - 1, from - 1);
            state.make_ready(ix);
        }
    }

    /// There is something new in the stream.
    pub(crate) fn fan_out(&mut self, ix: StreamIx, except: Option<LinkId>) {
        for (_, state) in self.links.iter_mut().filter(|(id, _)| Some(**id) != except) {
            state.make_ready(ix);
        }
    }

    /// Links that can take more right now.
    pub(crate) fn hungry(&self, config: &Config) -> Vec<LinkId> {
        let hungry = |link: &Link| {
            link.unsent < config.link_window && (link.digest_next.is_some() || !link.ready.is_empty())
        };
        self.links.iter().filter(|(_, link)| hungry(link)).map(|(id, _)| *id).collect()
    }

    /// Fills the link's window: first digest first, then all ready streams by deficit round robin
    /// (Shreedhar and Varghese, 1995).
    pub(crate) fn pump(
        &mut self,
        link: LinkId,
        streams: &Streams,
        settled: bool,
        now: Instant,
        config: &Config,
        out: &mut Vec<Message>,
    ) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.unsent == 0 {
            state.progress = now;
        }
        while state.unsent < config.link_window {
            let before = out.len();
            if state.digest_next.is_some() {
                out.push(first_digest(state, streams, settled));
            } else if let Some(ix) = state.ready.pop_front() {
                serve(state, ix, streams, out);
            } else {
                break;
            }
            state.unsent += out[before..].iter().map(Message::cost).sum::<usize>();
        }
    }

    /// Looks for a missing range if the neighbours have more than we do.
    pub(crate) fn want(&mut self, ix: StreamIx, have: u64, now: Instant, config: &Config) {
        if self.ahead(ix, have).next().is_some() {
            let at = now + config.graft_after;
            self.wants.entry(ix).or_insert(Want { at, have, nobody_since: None, asked: None });
        }
    }

    pub(crate) fn is_behind(&self, ix: StreamIx, have: u64) -> bool {
        self.ahead(ix, have).next().is_some()
    }

    /// How many segments more than `have` some neighbour claims.
    pub(crate) fn lead(&self, ix: StreamIx, have: u64) -> u64 {
        self.ahead(ix, have).map(|(_, column)| column.peer_have - have).max().unwrap_or(0)
    }

    /// Whether every neighbour was sent the stream up to `have`.
    pub(crate) fn all_served(&self, ix: StreamIx, have: u64) -> bool {
        let columns = self.links.values().filter_map(|link| link.columns.get(ix));
        columns.filter(|column| column.push).all(|column| column.sent.max(column.peer_have) >= have)
    }

    /// The node itself had stopped for a while: nobody is to blame for the time that passed.
    pub(crate) fn forgive(&mut self, now: Instant) {
        self.links.values_mut().for_each(|link| link.progress = now);
    }

    fn ahead(&self, ix: StreamIx, have: u64) -> impl Iterator<Item = (LinkId, &Column)> {
        self.links
            .iter()
            .filter_map(move |(id, link)| Some((*id, link.columns.get(ix)?)))
            .filter(move |(_, column)| column.peer_have > have && column.failed_claims < MAX_FAILED_CLAIMS)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.wants.values().map(|want| want.at).min()
    }

    /// What is due for the missing ranges. `lonely`: this node has fewer peers than it should, so more may come.
    pub(crate) fn repairs(
        &mut self,
        streams: &Streams,
        lonely: bool,
        now: Instant,
        config: &Config,
    ) -> Vec<Repair> {
        let mut due: Vec<_> =
            self.wants.iter().filter(|(_, want)| want.at <= now).map(|(ix, _)| *ix).collect();
        // A digest of thousands of streams must not become thousands of grafts at once (design A, trap 3).
        for ix in due.drain(due.len().min(REPAIRS)..) {
            if let Some(want) = self.wants.get_mut(&ix) {
                want.at = now + REPAIR_PAUSE;
            }
        }
        due.into_iter().filter_map(|ix| self.repair(ix, streams.get(ix).have, lonely, now, config)).collect()
    }

    fn repair(
        &mut self,
        ix: StreamIx,
        have: u64,
        lonely: bool,
        now: Instant,
        config: &Config,
    ) -> Option<Repair> {
        let mut want = self.wants.remove(&ix)?;
        if want.have < have {
            want = Want { at: now, have, nobody_since: None, asked: None };
            if self.is_behind(ix, have) {
                want.at = now + config.graft_after;
                self.wants.insert(ix, want);
            }
            return None;
        }
        if let Some(column) =
            want.asked.take().and_then(|id| self.links.get_mut(&id)).map(|link| link.column(ix))
        {
            column.failed_claims = column.failed_claims.saturating_add(1);
            column.not_before = now + config.graft_again * 2;
        }
        if !self.is_behind(ix, have) {
            return None;
        }
        let can_serve = |column: &Column| column.peer_floor <= have + 1;
        let best = self
            .ahead(ix, have)
            .filter(|(_, column)| can_serve(column) && column.not_before <= now)
            .max_by_key(|(_, column)| column.peer_have)
            .map(|(id, _)| id);
        let somebody = self.ahead(ix, have).any(|(_, column)| can_serve(column));
        want.at = now + config.graft_again;
        if let Some(link) = best {
            (want.asked, want.nobody_since) = (Some(link), None);
            self.wants.insert(ix, want);
            return Some(Repair::Graft { link, ix, from: have + 1 });
        }
        if somebody {
            want.nobody_since = None;
            self.wants.insert(ix, want);
            return None;
        }
        let since = *want.nobody_since.get_or_insert(now);
        let patience = if lonely { config.gap_after.1 } else { config.gap_after.0 };
        if now - since < patience {
            self.wants.insert(ix, want);
            return None;
        }
        // Of equal floors the larger message number: a late joiner may not know it and say 1.
        let floors = self.ahead(ix, have).map(|(_, column)| (column.peer_floor, column.peer_floor_message));
        let nearest = floors.min_by_key(|(floor, message)| (*floor, Reverse(*message)))?;
        self.wants.insert(ix, Want { at: now, have: nearest.0 - 1, nobody_since: None, asked: None });
        Some(Repair::Skip { ix, floor: nearest.0, floor_message: nearest.1 })
    }

    /// Whether the node's own stream may grow: some link takes it, and no link that counts is too far behind.
    /// A link that alone holds up the others for longer than its budget does not count until it has caught up.
    pub(crate) fn may_write(&mut self, streams: &Streams, elapsed: Duration, config: &Config) -> bool {
        let own = streams.get(OWN);
        let mut lags = Vec::new();
        // Not before a neighbour has told what it has: it may know a later incarnation of ours (see node.rs).
        for (id, link) in self.links.iter().filter(|(_, link)| link.digest_next.is_none() && link.ended) {
            let seen = link.columns.get(OWN).map_or(0, |column| column.sent.max(column.peer_have));
            lags.push((*id, own.ring.bytes_after(seen)));
        }
        let blocks = |lag: usize| lag >= config.write_window;
        let others_wait = lags.iter().any(|(_, lag)| *lag == 0);
        let mut blocked = false;
        for (id, lag) in &lags {
            let Some(link) = self.links.get_mut(id) else { continue };
            link.debt = link.debt.saturating_sub(elapsed / 20);
            if blocks(*lag) && others_wait {
                link.debt += elapsed;
            }
            link.laggard =
                if link.laggard { *lag > config.write_window / 2 } else { link.debt > config.slow_budget };
            blocked |= blocks(*lag) && !link.laggard;
        }
        !lags.is_empty() && !blocked
    }

    /// Whether every neighbour was sent all of the node's own stream, down to the socket.
    pub(crate) fn flushed(&self, streams: &Streams) -> bool {
        let head = streams.get(OWN).have;
        self.links.values().all(|link| {
            let column = link.columns.get(OWN).cloned().unwrap_or_default();
            link.unsent == 0
                && link.ready.is_empty()
                && (head == 0 || column.sent.max(column.peer_have) >= head)
        })
    }
}

fn first_digest(link: &mut Link, streams: &Streams, settled: bool) -> Message {
    let from = link.digest_next.unwrap_or(0);
    let to = streams.len().min(from + MAX_MARKS);
    let mut marks = Vec::with_capacity(to - from);
    for ix in from..to {
        let mark = streams.get(ix).mark();
        let ended = link.ended;
        let column = link.column(ix);
        if !column.named {
            column.sent = mark.have;
            column.push = ended;
        }
        marks.push(mark);
    }
    let done = to == streams.len();
    link.digest_next = (!done).then_some(to);
    Control::Digest { marks, end: done.then_some(DigestEnd { settled }) }.into()
}

fn serve(link: &mut Link, ix: StreamIx, streams: &Streams, out: &mut Vec<Message>) {
    let stream = streams.get(ix);
    let column = link.column(ix);
    column.in_ready = false;
    column.deficit += QUANTUM;
    loop {
        let next = column.sent.max(column.peer_have) + 1;
        if next > stream.have {
            column.deficit = 0;
            return;
        }
        let Some(segment) = stream.ring.get(next) else {
            // The neighbour fell out of the ring: say from where on it can have the stream.
            column.sent = stream.floor() - 1;
            out.push(Control::Digest { marks: vec![stream.mark()], end: None }.into());
            continue;
        };
        let message = Message::Data(Arc::clone(segment));
        if message.cost() > column.deficit {
            break;
        }
        column.deficit -= message.cost();
        column.sent = next;
        out.push(message);
    }
    link.make_ready(ix);
}
