//! Filling the links, and back-pressure on the node's own writes.
//!
//! A link with room in its window gets its first digest, then segments of its ready streams in
//! turns of 16 KiB. The node's own stream may grow while some link takes it, and while its readers
//! keep up, see `pace.rs`.

use std::time::Duration;

use super::full::LOOK_EVERY;
use super::{Link, LinkStream, Spread};
use crate::config::{Config, Pace};
use crate::context::Cx;
use crate::flow::parts::Cut;
use crate::ids::LinkId;
use crate::message::{Control, DigestEnd, MAX_MARKS, Message};
use crate::streams::{OWN, StreamIx, Streams};
use crate::time::Instant;

/// Bytes that a stream may send in one turn. Streams take turns so that a busy one delays no other.
const QUANTUM: u32 = 16 * 1024;

impl Spread {
    /// Counts a message that was handed to the link outside of [`Spread::pump`]. Returns whether
    /// the link still has room.
    pub(crate) fn count(&mut self, cx: &Cx<'_>, link: LinkId, cost: usize) -> bool {
        let Some(state) = self.links.get_mut(&link) else { return true };
        if state.unsent == 0 {
            state.progress = cx.now;
            state.window.begins(cx.now);
        }
        state.unsent += cost;
        state.unsent <= cx.config.link_window + cx.config.control_window
    }

    pub(crate) fn sent(&mut self, cx: &Cx<'_>, link: LinkId, cost: usize) {
        if let Some(state) = self.links.get_mut(&link) {
            state.unsent = state.unsent.saturating_sub(cost);
            // The report may come late, after all links were forgiven.
            state.progress = state.progress.max(cx.now);
            if cost > 0 {
                state.window.sent(cost, state.unsent == 0, cx.now, cx.config);
            }
        }
    }

    /// Returns the links with data under way and no progress for too long. Progress is what the
    /// neighbour confirms; `waits` says for how long it has confirmed nothing, of a neighbour that
    /// does. Otherwise it is what was written.
    pub(crate) fn stalled(&self, cx: &Cx<'_>, waits: impl Fn(LinkId) -> Option<Duration>) -> Vec<LinkId> {
        let stalled = |id: LinkId, link: &Link| {
            let unwritten = (link.unsent > 0).then(|| cx.now - link.progress);
            waits(id).or(unwritten).is_some_and(|time| time > cx.config.stall_timeout)
        };
        self.links.iter().filter(|(id, link)| stalled(**id, link)).map(|(id, _)| *id).collect()
    }

    /// Forgets the time that passed while this node was suspended: no neighbour is to blame for it.
    pub(crate) fn forgive(&mut self, cx: &Cx<'_>) {
        self.links.values_mut().for_each(|link| link.progress = cx.now);
    }

    /// Returns the links that can take more now.
    pub(crate) fn ready_links(&self, config: &Config) -> Vec<LinkId> {
        let ready = |link: &Link| {
            (link.has_data() || link.digest_next.is_some()) && link.unsent < link.window(config)
        };
        self.links.iter().filter(|(_, link)| ready(link)).map(|(id, _)| *id).collect()
    }

    /// Fills the link's room: what was begun first, then the first digest, then all ready streams
    /// by deficit round robin (Shreedhar and Varghese, 1995).
    pub(crate) fn pump(
        &mut self,
        cx: &Cx<'_>,
        (link, room): (LinkId, Room),
        streams: &Streams,
        settled: bool,
        out: &mut Vec<Message>,
    ) {
        let Some(state) = self.links.get_mut(&link) else { return };
        // One that reports nothing counts by what it was sent.
        self.pace.dirty |= !state.reports;
        if state.unsent == 0 {
            state.progress = cx.now;
            state.window.begins(cx.now);
        }
        let mut left = room.bytes;
        while state.unsent < state.window(cx.config) && left > 0 {
            let before = out.len();
            if !state.go_on(room.part, cx.now, out) {
                let mut of = None;
                if state.digest_next.is_some() {
                    out.push(first_digest(state, streams, settled));
                } else if let Some(ix) = state.ready.pop_front() {
                    of = Some(ix);
                    let is_offered = serve(state, ix, streams, room.part, out);
                    let repeated = std::mem::take(&mut state.stream(ix).repeated);
                    state.again.add(repeated);
                    if is_offered {
                        state.offer(cx, ix);
                    }
                    if is_offered || out.len() > before {
                        state.stream(ix).offered_at.get_or_insert(cx.now);
                    }
                    if !state.reports {
                        let bytes = out[before..].iter().map(Message::cost).sum();
                        self.confirms.moved_below(cx, streams, ix, bytes);
                    }
                    if ix == OWN && out.len() > before {
                        self.own_handed = self.own_handed.max(state.stream(OWN).sent);
                    }
                } else {
                    break;
                }
                if room.part < usize::MAX {
                    state.queue.extend(out.drain(before..).map(|message| (of, message)));
                }
            }
            let cost = out[before..].iter().map(Message::cost).sum::<usize>();
            state.unsent += cost;
            left = left.saturating_sub(cost);
        }
    }

    /// Returns the rest of a segment of which the link was handed a part, because nothing more will
    /// be handed to it.
    pub(crate) fn finish_cut(&mut self, link: LinkId) -> Option<Message> {
        let mut cut = self.links.get_mut(&link)?.cut.take()?;
        cut.next(usize::MAX)
    }

    /// Returns the digests that are due, with the streams in which a lazy neighbour may be behind.
    pub(crate) fn digests(
        &mut self,
        cx: &Cx<'_>,
        streams: &Streams,
        (holds_own, is_busy): (bool, bool),
        pause: impl Fn(LinkId) -> Duration,
    ) -> Vec<(LinkId, Control)> {
        let mut due = Vec::new();
        for (id, link) in &mut self.links {
            if link.digest_at.is_none_or(|at| at > cx.now) {
                continue;
            }
            link.digest_at = None;
            link.digest_after = cx.now + pause(*id);
            let waits = holds_own && link.hold_own_digest(cx);
            let mut marks = Vec::new();
            for ix in std::mem::take(&mut link.dirty) {
                if ix == OWN && waits {
                    link.dirty.push(OWN);
                    // The neighbour that spreads the stream may stop at any time.
                    link.digest_at = Some(cx.now + LOOK_EVERY);
                    continue;
                }
                let column = link.stream(ix);
                column.dirty = false;
                let announced = std::mem::take(&mut column.announced) && !is_busy;
                let is_news = column.peer_have < streams.get(ix).have;
                if is_news && !streams.get(ix).claimed && (announced || !column.push) {
                    marks.push(streams.get(ix).mark());
                    if ix == OWN {
                        link.own_told_at = cx.now;
                        link.own_told = streams.get(OWN).have;
                    }
                }
            }
            let parts = marks.chunks(MAX_MARKS);
            due.extend(parts.map(|part| (*id, Control::Digest { marks: part.to_vec(), end: None })));
        }
        due
    }

    /// Returns whether every eager neighbour was sent the stream up to `have`.
    pub(crate) fn all_served(&self, ix: StreamIx, have: u64) -> bool {
        let columns = self.links.values().filter_map(|link| link.streams.get(ix));
        columns.filter(|column| column.push).all(|column| column.sent.max(column.peer_have) >= have)
    }

    /// Returns whether the node's own stream may grow: some link takes it, so that less than `most`
    /// bytes wait for the links, and the readers are not too far behind. Lazy links do not count,
    /// unless all are lazy because the neighbours get the stream from each other.
    pub(crate) fn may_write(
        &mut self,
        cx: &Cx<'_>,
        streams: &Streams,
        is_waiting: bool,
        most: usize,
    ) -> bool {
        self.pace.stop_waiting(cx);
        if !is_waiting {
            return false;
        }
        let Some(unhanded) = self.unhanded(streams) else { return false };
        let may_write = unhanded < most
            && match cx.config.pace {
                Pace::None => self.own_links_have_room(cx, streams),
                Pace::Most | Pace::All => self.window_has_room(cx, streams),
            };
        if !may_write {
            self.ask_lazy_neighbours(cx);
        }
        may_write
    }

    /// Returns how much of the node's own stream was handed to no link yet; `None` if there is no
    /// link that could take it.
    fn unhanded(&self, streams: &Streams) -> Option<usize> {
        let (mut eager, mut lazy) = (None, None);
        // Not before a neighbour's first digest: it may know a later incarnation of this node.
        for link in self.links.values().filter(|link| link.digest_next.is_none() && link.ended) {
            let column = link.streams.get(OWN);
            let seen = column.map_or(0, |column| column.sent.max(column.peer_have));
            if column.is_none_or(|column| column.push) {
                eager = eager.max(Some(seen));
            } else {
                // One that reports nothing, got a digest and requests nothing is taken to have
                // everything.
                lazy = lazy.max(Some(if link.reports { seen } else { seen.max(link.own_told) }));
            }
        }
        eager.or(lazy).map(|seen| streams.get(OWN).ring.bytes_after(seen))
    }

    /// Returns whether the links have nothing more to send.
    pub(crate) fn is_idle(&self) -> bool {
        self.links.values().all(|link| link.unsent == 0 && !link.has_data())
    }

    /// Returns, for each neighbour that is not known to have the node's own stream up to segment
    /// `head`, how far it is known to be.
    pub(crate) fn own_unread(&self, head: u64) -> impl Iterator<Item = u64> {
        self.links.values().map(Link::knows_own).filter(move |known| *known < head)
    }

    /// Returns the last segment of the node's own stream that some reader was known to have, lost
    /// ones included.
    pub(crate) fn own_read(&self) -> u64 {
        self.own_read
    }

    /// Returns the last segment of the node's own stream that was handed to some link, lost ones
    /// included.
    pub(crate) fn own_handed(&self) -> u64 {
        self.own_handed
    }

    /// Returns how far the node's own stream has moved over all links together, lost ones included:
    /// a number that only rises, whatever a neighbour says.
    pub(crate) fn own_progress(&mut self) -> u64 {
        for link in self.links.values_mut() {
            let Some(column) = link.streams.get(OWN) else { continue };
            let progress = column.sent + column.peer_have;
            self.own_progress += progress.saturating_sub(link.own_progress);
            link.own_progress = link.own_progress.max(progress);
        }
        self.own_progress
    }
}

/// How much a link may be handed, besides its window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// One message, or part of one, may exceed it.
    pub(crate) bytes: usize,
    /// Larger messages go in parts of this size.
    pub(crate) part: usize,
}

impl Room {
    /// The room of a link whose other side confirms nothing: its window alone counts.
    pub(crate) const WINDOW: Self = Self { bytes: usize::MAX, part: usize::MAX };
}

impl Link {
    fn window(&self, config: &Config) -> usize {
        if self.confirms { config.link_window } else { self.window.bytes() }
    }

    /// Returns how far the neighbour is known to be in the node's own stream.
    pub(super) fn knows_own(&self) -> u64 {
        self.streams.get(OWN).map_or(0, LinkStream::knows)
    }

    /// Takes the stream's messages back from the queue: they are not wanted any more, or from
    /// another one on.
    pub(super) fn recall(&mut self, ix: StreamIx) {
        self.queue.retain(|(of, _)| *of != Some(ix));
    }

    fn has_data(&self) -> bool {
        self.cut.is_some() || !self.queue.is_empty() || !self.ready.is_empty()
    }

    /// Appends the next part of the segment that was begun, or the next message of the queue.
    /// Returns whether there was one.
    fn go_on(&mut self, part: usize, now: Instant, out: &mut Vec<Message>) -> bool {
        let whole = match self.cut {
            None => self.queue.pop_front().map(|(_, message)| message),
            Some(_) => None,
        };
        match whole {
            Some(message @ Message::Data(..)) if message.cost() > part => {
                self.cut = Some(Cut::new(&message.handed(now)));
            }
            Some(message) => {
                out.push(message);
                return true;
            }
            None => {}
        }
        let Some(cut) = &mut self.cut else { return false };
        out.extend(cut.next(part));
        if cut.is_done() {
            self.cut = None;
        }
        true
    }
}

/// Returns the next part of this node's first digest. Once that has ended, the rest are the streams
/// that the node has met since and that the neighbour is not known to know.
fn first_digest(link: &mut Link, streams: &Streams, settled: bool) -> Message {
    let mut next = link.digest_next.unwrap_or(0);
    let (ended, is_rest) = (link.ended, link.digest_told > 0);
    let mut marks = Vec::with_capacity(MAX_MARKS.min(streams.len() - next));
    while next < streams.len() && marks.len() < MAX_MARKS {
        let (ix, stream) = (next, streams.get(next));
        next += 1;
        if stream.claimed {
            link.digest_unnamed = link.digest_unnamed.min(ix);
            continue;
        }
        let mark = stream.mark();
        let column = link.stream(ix);
        if is_rest && (column.named || column.sent.max(column.peer_have) > 0) {
            continue;
        }
        if !column.named {
            (column.sent, column.from) = (mark.have, mark.have);
            column.push = ended;
        }
        marks.push(mark);
    }
    let done = next == streams.len();
    link.digest_next = (!done).then_some(next);
    if done {
        // A claim may be proven later.
        let unnamed = std::mem::replace(&mut link.digest_unnamed, usize::MAX);
        (link.digest_told, link.told_settled) = (next.min(unnamed), settled);
    }
    Control::Digest { marks, end: done.then_some(DigestEnd { settled }) }.into()
}

/// Serves the stream for one turn. `part` is the size from which on a segment goes in parts: the
/// line is slow then, for all that is known, and what is sent unasked is limited by a trial.
/// Returns whether the neighbour is to get a digest instead.
fn serve(link: &mut Link, ix: StreamIx, streams: &Streams, part: usize, out: &mut Vec<Message>) -> bool {
    let (stream, reports) = (streams.get(ix), link.reports);
    let column = link.stream(ix);
    column.in_ready = false;
    if !column.push || stream.claimed {
        column.deficit = 0;
        return false;
    }
    column.deficit += QUANTUM;
    loop {
        let next = column.sent.max(column.peer_have) + 1;
        if next > stream.have {
            column.deficit = 0;
            return false;
        }
        let Some(message) = stream.ring.message(next) else {
            // The neighbour fell out of the ring: the mark says what is left, and the neighbour may
            // request it.
            (column.push, column.offered, column.deficit) = (false, true, 0);
            out.push(Control::Digest { marks: vec![stream.mark()], end: None }.into());
            return false;
        };
        if part < usize::MAX && !column.trial.admits(message.cost() > part) {
            (column.push, column.offered, column.deficit) = (false, true, 0);
            return true;
        }
        let cost = u32::try_from(message.cost()).unwrap_or(u32::MAX);
        if cost > column.deficit {
            break;
        }
        column.deficit -= cost;
        column.sent = next;
        let repeats = next <= column.once;
        column.once = column.once.max(next);
        column.repeated += if repeats { cost } else { 0 };
        column.trial.sent(part == usize::MAX || !reports);
        out.push(message);
    }
    link.make_ready(ix);
    false
}
