//! Confirmed positions: how far the readers of each stream are, reported back along its tree.
//!
//! A node that gets a stream from a parent reports to it, for itself and all nodes below it, the
//! last segment that all of them have, the last one that half of them have, and how many they are
//! (as JGroups' MFC and Aeron's flow control strategies do for a flat group). Each node combines
//! the reports of its children with its own position, so that a writer gets one report from each of
//! its neighbours, however large the network is. Positions are segment numbers, and the last report
//! counts, even where it is lower: a report that is lost with its link costs nothing.
//!
//! A child is a neighbour that requested the stream here, or that reports on it, while segments are
//! sent to it. The parent is never a child, or two nodes would wait for each other. A child whose
//! link breaks counts for a moment longer, as a *ghost*, until it has found another parent. A child
//! that is new here does not pull back what was reported before: it is *excused* until it has
//! caught up. A writer may also publish a floor: readers below it are *behind*, and their positions
//! do not count until they are above it.
//!
//! A neighbour that was offered the stream and has not answered is *awaited*, see
//! `confirm/awaited.rs`. A neighbour that reports nothing counts by what it was sent. A segment may
//! reach it after this node has reported its own progress, so what it is sent is progress to
//! report, too.

mod awaited;
mod last;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Link, Spread};
use crate::config::{Config, MAX_SEGMENT, Pace};
use crate::context::Cx;
use crate::ids::LinkId;
use crate::message::{Confirmation, Control, MAX_MARKS};
use crate::output::CloseReason;
use crate::segment::{MessageKind, Segment};
use crate::streams::{OWN, Stream, StreamIx, Streams};
use crate::time::Instant;

/// Progress in bytes that is reported after the shorter of the two waits, see
/// [`Config::confirm_every`]. A report has about 50 bytes, so reports are 1 % of what is received.
const MUCH: usize = 5 * 1024;
/// From this much progress on, a report waits for longer while the stream goes on without a pause
/// of half the shorter wait, which a writer makes that has used up its window. 256 KiB: 200 Mbit/s,
/// in 10 ms.
const STEADY_FROM: usize = 4 * MAX_SEGMENT;
/// But no longer than for this many of the shorter waits: 3.
const STEADY_WAITS: u32 = 3;
/// And only until this share of the node's room has been read: a sixteenth, so that the reports of
/// a deep tree do not hold up the writer.
const STEADY_SHARE: usize = 16;
/// Floors sent together; more of them wait for 10 ms.
const MAX_FLOORS: usize = 256;
/// A node offers each writer at least this many KiB, one segment.
const LEAST_ROOM: u32 = 64;
/// A child whose link broke counts for four round trips, within these limits: the time in which it
/// finds another parent.
const GHOST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// The same while the writer waits for everyone, and the link broke instead of being ended.
const PATIENT_GHOST: Duration = Duration::from_secs(10);

/// How far a part of a stream's tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The last segment that all nodes in it have, those behind excepted.
    pub(crate) position: u64,
    /// The last segment that half of the nodes have that are not behind.
    pub(crate) half: u64,
    /// The last segment that all nodes in it have, those behind included.
    pub(crate) lowest: u64,
    /// The number of nodes, and how many of them are behind.
    pub(crate) nodes: u32,
    pub(crate) behind: u32,
    /// How many of them have missed messages, and the most that one of them has.
    pub(crate) gaps: u32,
    pub(crate) missed: u64,
    /// How far ahead of `position` the writer may be, in KiB: the least that any node has room for.
    pub(crate) room: u32,
    /// The first bytes of the id of the node that `position` is of.
    pub(crate) slowest: u64,
}

impl Summary {
    /// Returns the summary of one node that has everything up to this segment.
    const fn single(position: u64, room: u32, slowest: u64) -> Self {
        let (half, lowest, nodes, behind, gaps, missed) = (position, position, 1, 0, 0, 0);
        Self { position, half, lowest, nodes, behind, gaps, missed, room, slowest }
    }

    /// Returns what a child reports, as far as it can be: it is a node at least, and takes a
    /// segment at a time. It may be ahead of this node, by another parent, and report only once, so
    /// its positions count as far as this node is itself.
    fn of(report: &Confirmation) -> Self {
        let Confirmation { position, half, lowest, nodes, behind, gaps, missed, room, slowest, .. } = *report;
        let (nodes, half, lowest) = (nodes.max(1), half.max(position), lowest.min(position));
        let (behind, gaps, room) = (behind.min(nodes), gaps.min(nodes), room.max(LEAST_ROOM));
        Self { position, half, lowest, nodes, behind, gaps, missed, room, slowest }
    }

    /// Returns how many nodes are known to have everything up to segment `head`, and how many are
    /// not.
    pub(crate) fn have_read(&self, head: u64) -> (usize, usize) {
        // One that has missed something may be behind, too.
        let waited_for = self.nodes.saturating_sub(self.behind.max(self.gaps));
        let have = match () {
            () if self.position >= head => waited_for,
            () if self.half >= head => waited_for.div_ceil(2),
            () => 0,
        };
        (have as usize, (self.nodes - have) as usize)
    }
}

/// The reports on all streams.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    tallies: Vec<Tally>,
    children: BTreeMap<(StreamIx, LinkId), Child>,
    /// Streams with progress to report, and when the first report is due; never too late.
    dirty: Vec<StreamIx>,
    next: Option<Instant>,
    /// Neighbours that have offered a stream and have yet to learn whether this node gets it from
    /// them, and whether one of them can.
    unanswered: BTreeSet<(LinkId, StreamIx)>,
    can_answer: bool,
    /// Children that have yet to learn the floor of a stream.
    untold: BTreeSet<(LinkId, StreamIx)>,
    floors_at: Instant,
    /// Streams with a ghost.
    ghosts: BTreeSet<StreamIx>,
    /// Whether this node's own program is behind with reading.
    reader_behind: bool,
    /// What this node offers each writer, in KiB, and among how many of them it shares.
    room: u32,
    sharers: usize,
}

/// What is known of one stream beside its children.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// Readers below this segment are behind.
    floor: u64,
    /// Whether the writer waits for every live reader.
    patient: bool,
    /// Where this node's program was when it fell behind.
    read: u64,
    /// The last report, and when it was sent.
    told: Option<Summary>,
    told_at: Instant,
    is_dirty: bool,
    due: Instant,
    /// Bytes of progress since the last report.
    progress: usize,
    ghost: Option<Ghost>,
    /// Nodes that have gone, and had read the stream to its end.
    done: Option<Summary>,
}

/// The position of a child that is gone, which counts until then.
#[derive(Debug, Clone, Copy)]
struct Ghost {
    position: u64,
    until: Instant,
    slowest: u64,
}

#[derive(Debug, Clone, Copy)]
struct Child {
    report: Summary,
    /// What this node had reported when the child came: below that the child is behind.
    excused: u64,
    has_reported: bool,
}

impl Child {
    /// Returns the child; one that has requested the stream and never reported on it may have got
    /// it from another node by now, and report there: what it has said of itself counts.
    fn or_known(mut self, peer_have: u64) -> Self {
        if !self.has_reported {
            let position = self.report.position.max(peer_have);
            self.report = Summary::single(position, u32::MAX, 0);
        }
        self
    }

    /// Returns the report as it counts: nodes below the floor are behind. A child that has not
    /// heard of the floor yet may report a position below it for all of its nodes.
    fn counted(&self, tally: &Tally, have: u64) -> Summary {
        let floor = tally.floor.max(self.excused).min(have);
        let Summary { position, half, nodes, behind, .. } = self.report;
        let behind = match () {
            () if position >= floor => behind,
            () if half >= floor && nodes > 1 => behind.max(1).min(nodes - 1),
            () => nodes,
        };
        let least = if behind < nodes { floor } else { 0 };
        let (position, half) = (position.clamp(least, have), half.clamp(least, have));
        let lowest = self.report.lowest.min(have);
        Summary { position, half, lowest, behind, ..self.report }
    }
}

impl Confirms {
    pub(super) fn new(config: &Config) -> Self {
        let mut confirms = Self::default();
        confirms.tally(OWN).patient = config.pace == Pace::All;
        (confirms.room, confirms.sharers) = (u32::MAX, 0);
        confirms
    }

    fn tally(&mut self, ix: StreamIx) -> &mut Tally {
        if self.tallies.len() <= ix {
            self.tallies.resize(ix + 1, Tally::default());
        }
        &mut self.tallies[ix]
    }

    /// Schedules a report on the stream, in which this much has been received or confirmed.
    pub(super) fn progressed(&mut self, cx: &Cx<'_>, ix: StreamIx, bytes: usize) {
        let most_read = (self.room as usize).saturating_mul(1024) / STEADY_SHARE;
        let tally = self.tally(ix);
        tally.progress += bytes;
        let (least, most) = cx.config.confirm_every;
        let (quiet, much) = (tally.told_at + most <= cx.now, tally.progress >= MUCH);
        // Reports on the first progress after a quiet time are soon, those on much of it as well,
        // and those on a trickle seldom.
        let soonest = tally.told_at + least;
        let due = match () {
            () if (STEADY_FROM..most_read).contains(&tally.progress) => {
                soonest.max(cx.now + least / 2).min(tally.told_at + STEADY_WAITS * least)
            }
            () if much => soonest,
            () if quiet => cx.now + least,
            () => tally.told_at + most,
        };
        let was_dirty = std::mem::replace(&mut tally.is_dirty, true);
        if was_dirty && due >= tally.due && !much {
            return;
        }
        tally.due = due;
        if !was_dirty {
            self.dirty.push(ix);
        }
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }

    /// Schedules a report because nodes below this one have got this much more of the stream.
    pub(super) fn moved_below(&mut self, cx: &Cx<'_>, streams: &Streams, ix: StreamIx, bytes: usize) {
        if ix != OWN {
            self.progressed(cx, ix, if streams.get(ix).is_at_end() { MUCH } else { bytes });
        }
    }

    pub(super) fn forget(&mut self, ix: StreamIx) {
        if let Some(tally) = self.tallies.get_mut(ix) {
            let Tally { is_dirty, due, .. } = *tally;
            let patient = ix == OWN && tally.patient;
            *tally = Tally { is_dirty, due, patient, ..Tally::default() };
        }
        let links: Vec<_> = self.children.range((ix, LinkId(0))..).map(|(key, _)| *key).collect();
        for key in links.iter().take_while(|key| key.0 == ix) {
            self.children.remove(key);
        }
        self.unanswered.retain(|key| key.1 != ix);
    }

    /// Returns when there is something to report, or a ghost is over.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let floors = (!self.untold.is_empty()).then_some(self.floors_at);
        self.next.into_iter().chain(floors).min()
    }

    /// See [`crate::Node::held`].
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.children.len(), self.untold.len(), self.unanswered.len())
    }
}

impl Spread {
    /// Returns how far the nodes below this one are in a stream of which this one has everything up
    /// to `have`; itself included, unless it is the writer. `None` if there is nobody.
    pub(crate) fn summary(&self, cx: &Cx<'_>, streams: &Streams, ix: StreamIx) -> Option<Summary> {
        let (parts, held) = self.parts(cx, streams, ix);
        combine(&parts, held)
    }

    /// Returns the parts of the summary, and the position that ghosts and awaited neighbours hold,
    /// which do not count as nodes.
    fn parts(&self, cx: &Cx<'_>, streams: &Streams, ix: StreamIx) -> (Vec<Summary>, Option<(u64, u64)>) {
        let have = streams.get(ix).have;
        let tally = self.confirms.tallies.get(ix).copied().unwrap_or_default();
        let mut parts: Vec<Summary> = Vec::new();
        if ix != OWN {
            parts.push(self.own_part(cx, &tally, (streams, ix)));
        }
        let ghost = tally.ghost.filter(|ghost| ghost.until > cx.now);
        let mut held = ghost.map(|ghost| (ghost.position, ghost.slowest));
        let parent = self.parent(ix);
        for (id, link) in self.links.iter().filter(|(id, _)| Some(**id) != parent) {
            let Some(column) = link.streams.get(ix).filter(|column| column.is_child()) else { continue };
            if let Some(child) = self.confirms.children.get(&(ix, *id)) {
                parts.push(child.or_known(column.peer_have).counted(&tally, have));
            } else if !link.reports {
                // It reports nothing: what it is sent counts. One that was sent a digest instead
                // owes no answer, and may get the stream from another node for good.
                if column.push {
                    let position = column.sent.max(column.peer_have).min(have);
                    parts.push(Summary::single(position, u32::MAX, 0));
                }
            } else if let Some(known) = self.awaited(cx, ix, column, streams) {
                held = Some(held.map_or((known, 0), |held| held.min((known, 0))));
            }
        }
        parts.extend(tally.done.filter(|done| done.position == have));
        (parts, held.map(|(position, of)| (position.clamp(tally.floor.min(have), have), of)))
    }

    /// Returns this node's own part in a stream of somebody else.
    fn own_part(&self, cx: &Cx<'_>, tally: &Tally, (streams, ix): (&Streams, StreamIx)) -> Summary {
        let Stream { have, missed, .. } = *streams.get(ix);
        let read = if self.confirms.reader_behind { tally.read.min(have) } else { have };
        let behind = u32::from(read < tally.floor.min(have));
        let gaps = u32::from(missed > 0);
        let room = if streams.waits_its_turn(ix) { LEAST_ROOM } else { self.confirms.room };
        Summary { behind, gaps, missed, ..Summary::single(read, room, cx.me.id().prefix()) }
    }

    /// Schedules reports on streams of which something else than the position has changed.
    pub(crate) fn report_again(&mut self, cx: &Cx<'_>, streams: impl Iterator<Item = StreamIx>) {
        streams.for_each(|ix| self.confirms.progressed(cx, ix, MUCH));
    }

    /// Notes that the stream has grown here by a segment of this size.
    pub(crate) fn grown(&mut self, cx: &Cx<'_>, ix: StreamIx, segment: &Segment) {
        let ends = segment.message_kind == MessageKind::End;
        self.confirms.progressed(cx, ix, if ends { MUCH } else { segment.body.len() });
    }

    /// Notes whether this node's program is behind with reading what has arrived. While it is, its
    /// position stands still in all streams.
    pub(crate) fn reader_behind(&mut self, cx: &Cx<'_>, streams: &Streams, behind: bool) {
        if std::mem::replace(&mut self.confirms.reader_behind, behind) == behind {
            return;
        }
        for ix in 1..streams.len() {
            if behind {
                self.confirms.tally(ix).read = streams.get(ix).have;
            } else if self.confirms.tally(ix).read < streams.get(ix).have {
                self.confirms.progressed(cx, ix, MUCH);
            }
        }
    }

    /// Sets what this node offers each writer. Half of what it retains is for segments that are not
    /// confirmed; the other half covers what they write while a report travels. The number of
    /// writers counts as the next power of two, so that few of them who come and go change nothing.
    pub(crate) fn share_room(&mut self, cx: &Cx<'_>, streams: &Streams) {
        let writers = streams.sharers().max(1).next_power_of_two();
        if writers == self.confirms.sharers {
            return;
        }
        let is_less = writers > self.confirms.sharers;
        self.confirms.sharers = writers;
        let share = cx.config.ring_total.min(cx.config.ring_bytes) / 2 / writers;
        self.confirms.room = u32::try_from(share / 1024).unwrap_or(u32::MAX).max(LEAST_ROOM);
        if is_less {
            self.report_again(cx, 1..streams.len());
        }
    }

    pub(super) fn own_room(&self) -> u32 {
        self.confirms.room
    }

    /// Returns the number of writers among whom this node shares its room.
    pub(super) fn sharers(&self) -> u32 {
        u32::try_from(self.confirms.sharers.max(1)).unwrap_or(u32::MAX)
    }

    /// Takes a child's report on a stream.
    pub(crate) fn confirmed(
        &mut self,
        cx: &Cx<'_>,
        (link, ix): (LinkId, StreamIx),
        report: &Confirmation,
        streams: &Streams,
    ) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let have = streams.get(ix).have;
        let report = Summary::of(report);
        let Summary { position, nodes, .. } = report;
        if ix == OWN {
            self.own_read = self.own_read.max(report.half.min(have));
        }
        let column = state.stream(ix);
        column.peer_have = column.peer_have.max(if nodes == 1 { position.min(have) } else { 0 });
        if column.trial.confirmed() {
            (column.push, column.offered) = (true, false);
            state.make_ready(ix);
        }
        self.pace.dirty |= ix == OWN;
        if !state.stream(ix).is_child() {
            return; // It has another parent, and has answered the writer's digest.
        }
        if self.parents.get(ix).is_some_and(|tree| tree.parent == Some(link) && tree.fed == 0) {
            // Each of the two takes the other one for its parent, and this one has got nothing. It
            // prunes the other one, whose child it is by its request, when it has found another.
            self.parentage(ix).parent = None;
            self.owe_answer(cx, link, ix);
            self.adopt(ix);
        }
        let child = self.child(ix, link, report);
        child.has_reported = true;
        let before = std::mem::replace(&mut child.report, report).position;
        let ring = &streams.get(ix).ring;
        let bytes = ring.bytes_after(before).saturating_sub(ring.bytes_after(position));
        self.confirms.moved_below(cx, streams, ix, bytes);
    }

    /// Returns the child; a new one is excused for what is missing to it now.
    fn child(&mut self, ix: StreamIx, link: LinkId, first: Summary) -> &mut Child {
        let Tally { floor, patient, told, .. } = *self.confirms.tally(ix);
        let told = if ix == OWN { self.pace.position } else { told.map_or(0, |told| told.position) };
        self.confirms.children.entry((ix, link)).or_insert_with(|| {
            if floor > 0 || patient {
                self.confirms.untold.insert((link, ix));
            }
            Child { report: first, excused: if patient { 0 } else { told }, has_reported: false }
        })
    }

    /// Notes that the neighbour requests the stream here, and has everything up to `position`.
    pub(super) fn child_begins(&mut self, cx: &Cx<'_>, link: LinkId, ix: StreamIx, position: u64) {
        if self.links.get(&link).is_some_and(|link| link.reports) {
            let first = Summary::single(position, u32::MAX, 0);
            self.child(ix, link, first).report.position = position;
            self.pace.dirty |= ix == OWN;
            self.confirms.progressed(cx, ix, MUCH);
        }
    }

    /// Schedules a report where something else than a report has shown how far the neighbour is, or
    /// that it has left the tree here. Of one that has reported, its reports count.
    pub(super) fn known_anew(&mut self, cx: &Cx<'_>, link: LinkId, ix: StreamIx) {
        self.pace.dirty |= ix == OWN;
        if ix == OWN || self.parent(ix) == Some(link) {
            return;
        }
        match self.confirms.children.get(&(ix, link)) {
            Some(child) if child.has_reported => {}
            // All nodes above wait for this one's word on a neighbour that was awaited.
            None if self.links.get(&link).is_some_and(|link| link.reports) => {
                self.confirms.progressed(cx, ix, MUCH);
            }
            _ => self.confirms.progressed(cx, ix, 0),
        }
    }

    /// Returns whether the neighbour is a child, by its request or its reports.
    pub(super) fn is_child(&self, link: LinkId, ix: StreamIx) -> bool {
        self.confirms.children.contains_key(&(ix, link))
    }

    /// Notes that the neighbour gets the stream from another one.
    pub(super) fn child_ends(&mut self, cx: &Cx<'_>, link: LinkId, ix: StreamIx) {
        if self.confirms.children.remove(&(ix, link)).is_some() {
            self.pace.dirty |= ix == OWN;
            self.confirms.progressed(cx, ix, 0);
        } else {
            self.known_anew(cx, link, ix);
        }
    }

    /// Notes that the link is gone: its children become ghosts, unless they had read everything up
    /// to the stream's end.
    pub(super) fn children_lost(
        &mut self,
        cx: &Cx<'_>,
        streams: &Streams,
        (link, reason): (LinkId, CloseReason),
        state: &Link,
    ) {
        let gone: Vec<_> = self.confirms.children.keys().filter(|key| key.1 == link).copied().collect();
        self.confirms.untold.retain(|(child, _)| *child != link);
        self.confirms.unanswered.retain(|(other, _)| *other != link);
        self.awaited_lost(cx, streams, (link, reason), state);
        for key in gone {
            let Some(child) = self.confirms.children.remove(&key) else { continue };
            let (stream, tally) = (streams.get(key.0), self.confirms.tally(key.0));
            self.pace.dirty |= key.0 == OWN;
            if stream.is_at_end() && child.report.position >= stream.have {
                let before = tally.done.filter(|done| done.position == stream.have);
                let parts: Vec<_> = before.into_iter().chain([child.report]).collect();
                // Those behind are counted where they find another parent.
                tally.done = combine(&parts, None).map(|done| {
                    let nodes = done.nodes - done.behind;
                    Summary { position: stream.have, lowest: stream.have, nodes, behind: 0, ..done }
                });
                continue;
            }
            let position = child.report.position.max(child.excused);
            self.leave_ghost(cx, key.0, (position, child.report.slowest), (reason, state.rtt));
        }
    }

    /// Returns whether readers of the node's own stream may still be looking for another parent,
    /// because the link to their former one broke.
    pub(crate) fn has_own_ghost(&self, now: Instant) -> bool {
        let ghost = self.confirms.tallies.get(OWN).and_then(|tally| tally.ghost);
        ghost.is_some_and(|ghost| ghost.until > now)
    }

    /// Lets the position of a neighbour that is gone count for a while.
    fn leave_ghost(
        &mut self,
        cx: &Cx<'_>,
        ix: StreamIx,
        (position, slowest): (u64, u64),
        (reason, rtt): (CloseReason, Duration),
    ) {
        let tally = self.confirms.tally(ix);
        let soon = (4 * rtt).clamp(GHOST.0, GHOST.1);
        let lasts = if tally.patient && !reason.is_agreed() { PATIENT_GHOST } else { soon };
        let (mut ghost, until) = (Ghost { position, until: cx.now, slowest }, cx.now + lasts);
        if let Some(other) = tally.ghost.filter(|other| other.until > cx.now && other.position < position) {
            ghost = other;
        }
        ghost.until = until.max(ghost.until);
        tally.ghost = Some(ghost);
        self.pace.dirty |= ix == OWN;
        self.confirms.ghosts.insert(ix);
        self.confirms.next = Some(self.confirms.next.map_or(until, |next| next.min(until)));
    }

    /// Returns whether each neighbour that this node sends its own stream to has reported on it, or
    /// is known to have everything up to `head`.
    pub(crate) fn children_report(&self, head: u64) -> bool {
        let is_child = |link: &Link| link.streams.get(OWN).is_some_and(|column| column.push);
        let mut silent = self
            .links
            .iter()
            .filter(|(id, link)| link.reports && is_child(link) && !self.is_child(**id, OWN));
        silent.all(|(_, link)| link.knows_own() >= head)
    }

    /// Takes the floor that the parent has passed on. It holds as far as this node is.
    pub(crate) fn floor_raised(
        &mut self,
        cx: &Cx<'_>,
        (link, ix): (LinkId, StreamIx),
        floor: u64,
        patient: bool,
        have: u64,
    ) {
        if self.parent(ix).is_none_or(|parent| parent == link) {
            self.raise_floor(cx, ix, floor.min(have), patient);
        }
    }

    pub(super) fn raise_floor(&mut self, cx: &Cx<'_>, ix: StreamIx, floor: u64, patient: bool) {
        let tally = self.confirms.tally(ix);
        if floor <= tally.floor && patient == tally.patient {
            return;
        }
        (tally.floor, tally.patient) = (tally.floor.max(floor), patient);
        let Confirms { children, untold, .. } = &mut self.confirms;
        for (key, child) in children.range_mut((ix, LinkId(0))..).take_while(|(key, _)| key.0 == ix) {
            untold.insert((key.1, ix));
            if patient {
                child.excused = 0;
            }
        }
        self.pace.dirty |= ix == OWN;
        self.confirms.progressed(cx, ix, MUCH);
    }

    /// Schedules a report to a parent that is new.
    pub(super) fn parent_chosen(&mut self, cx: &Cx<'_>, ix: StreamIx) {
        let tally = self.confirms.tally(ix);
        (tally.told, tally.told_at) = (None, Instant::ZERO);
        self.confirms.progressed(cx, ix, MUCH);
        self.confirms.can_answer |= !self.confirms.unanswered.is_empty();
    }

    /// Returns whether there is something to report.
    pub(crate) fn has_confirmations(&self, now: Instant) -> bool {
        let has_floors = !self.confirms.untold.is_empty() && self.confirms.floors_at <= now;
        has_floors || self.confirms.can_answer || self.confirms.next.is_some_and(|next| next <= now)
    }

    /// Returns the reports, answers and floors that are due.
    pub(crate) fn confirmations(&mut self, cx: &Cx<'_>, streams: &Streams) -> Vec<(LinkId, Control)> {
        let mut due = self.floors(cx, streams);
        due.extend(self.answers(cx, streams));
        if self.confirms.next.is_none_or(|next| next > cx.now) {
            return due;
        }
        let mut next = self.end_ghosts(cx);
        let mut reports: BTreeMap<LinkId, Vec<Confirmation>> = BTreeMap::new();
        for ix in std::mem::take(&mut self.confirms.dirty) {
            let is_full = self.parent(ix).is_some_and(|parent| {
                self.is_filled(cx, parent) || reports.get(&parent).is_some_and(|some| some.len() >= MAX_MARKS)
            });
            let tally = self.confirms.tally(ix);
            if tally.due > cx.now || is_full {
                if is_full {
                    tally.due = tally.due.max(cx.now + cx.config.confirm_every.0);
                }
                next = Some(next.map_or(tally.due, |next| next.min(tally.due)));
                self.confirms.dirty.push(ix);
                continue;
            }
            tally.is_dirty = false;
            if let Some((parent, report)) = self.report(cx, streams, ix) {
                reports.entry(parent).or_default().push(report);
            }
        }
        self.confirms.next = next;
        due.extend(reports.into_iter().map(|(link, reports)| (link, Control::Confirm { reports })));
        due
    }

    /// Returns whether many control messages wait for the link. Reports and floors wait then, too:
    /// too many of them would close it.
    fn is_filled(&self, cx: &Cx<'_>, link: LinkId) -> bool {
        self.links
            .get(&link)
            .is_some_and(|link| link.unsent >= cx.config.link_window + cx.config.control_window / 2)
    }

    /// Returns the report to the stream's parent, unless the last one was the same.
    fn report(&mut self, cx: &Cx<'_>, streams: &Streams, ix: StreamIx) -> Option<(LinkId, Confirmation)> {
        let parent = self.parent(ix).filter(|_| ix != OWN && ix < streams.len())?;
        if !self.links.get(&parent).is_some_and(|link| link.reports) {
            return None;
        }
        let summary = self.summary(cx, streams, ix)?;
        let tally = self.confirms.tally(ix);
        (tally.progress, tally.told_at) = (0, cx.now);
        let is_new = tally.told.replace(summary) != Some(summary);
        is_new.then(|| (parent, confirmation(streams, ix, &summary)))
    }

    /// Returns what this node alone has of the stream, for its writer: in answer to a digest, by
    /// which the writer asks a neighbour that gets the stream from others.
    pub(crate) fn answer_to_writer(&self, cx: &Cx<'_>, streams: &Streams, ix: StreamIx) -> Control {
        let tally = self.confirms.tallies.get(ix).copied().unwrap_or_default();
        let own = self.own_part(cx, &tally, (streams, ix));
        Control::Confirm { reports: vec![confirmation(streams, ix, &own)] }
    }

    /// Returns the floors that children have yet to learn, some at a time.
    fn floors(&mut self, cx: &Cx<'_>, streams: &Streams) -> Vec<(LinkId, Control)> {
        if self.confirms.untold.is_empty() || self.confirms.floors_at > cx.now {
            return Vec::new();
        }
        self.confirms.floors_at = cx.now + cx.config.confirm_every.0;
        let open = self.confirms.untold.iter().filter(|(link, _)| !self.is_filled(cx, *link));
        let next: Vec<_> = open.take(MAX_FLOORS).copied().collect();
        let mut floors = Vec::with_capacity(next.len());
        for (link, ix) in next {
            self.confirms.untold.remove(&(link, ix));
            if ix < streams.len() {
                let (stream, Tally { floor, patient, .. }) = (streams.get(ix), *self.confirms.tally(ix));
                let (origin, incarnation) = (stream.origin, stream.incarnation);
                floors.push((link, Control::Pace { origin, incarnation, floor, patient }));
            }
        }
        floors
    }

    /// Drops ghosts whose time is over, and returns when the next one is.
    fn end_ghosts(&mut self, cx: &Cx<'_>) -> Option<Instant> {
        let until = |confirms: &Confirms, ix: StreamIx| {
            confirms.tallies.get(ix).and_then(|tally| tally.ghost).map_or(Instant::ZERO, |ghost| ghost.until)
        };
        let (over, left): (BTreeSet<_>, BTreeSet<_>) =
            self.confirms.ghosts.iter().partition(|ix| until(&self.confirms, **ix) <= cx.now);
        let next = left.iter().map(|ix| until(&self.confirms, *ix)).min();
        self.confirms.ghosts = left;
        for ix in over {
            self.confirms.tally(ix).ghost = None;
            self.pace.dirty |= ix == OWN;
            self.confirms.progressed(cx, ix, MUCH);
        }
        next
    }

    /// Returns the first segment of the stream that some reader may still request. Ordinary age
    /// does not remove it.
    pub(crate) fn unconfirmed_from(&self, cx: &Cx<'_>, streams: &Streams, ix: StreamIx) -> u64 {
        self.summary(cx, streams, ix).map_or(u64::MAX, |summary| summary.position + 1)
    }
}

fn confirmation(streams: &Streams, ix: StreamIx, summary: &Summary) -> Confirmation {
    let stream = streams.get(ix);
    let Summary { position, half, lowest, nodes, behind, gaps, missed, room, slowest } = *summary;
    let (writer, incarnation) = (stream.origin.prefix(), stream.incarnation);
    Confirmation { writer, incarnation, position, half, lowest, nodes, behind, gaps, missed, room, slowest }
}

/// Combines the reports of a node's children, its own part and a ghost.
fn combine(parts: &[Summary], ghost: Option<(u64, u64)>) -> Option<Summary> {
    // The writer does not wait for those behind, unless nobody else is left.
    let all_behind = parts.iter().all(|part| part.behind == part.nodes);
    let counts = |part: &&Summary| all_behind || part.behind < part.nodes;
    let positions = parts.iter().filter(counts).map(|part| (part.position, part.slowest));
    let least = positions.chain(ghost).min()?;
    let sum = |of: fn(&Summary) -> u32| parts.iter().map(of).fold(0, u32::saturating_add);
    let (nodes, behind) = (sum(|part| part.nodes), sum(|part| part.behind));
    let room = parts.iter().filter(counts).map(|part| part.room).min().unwrap_or(u32::MAX);
    // The weighted median of the nodes that are not behind, or of all if all are.
    let weight = |part: &Summary| if behind < nodes { part.nodes - part.behind } else { part.nodes };
    let mut halves: Vec<_> = parts.iter().map(|part| (part.half, u64::from(weight(part)))).collect();
    halves.sort_unstable_by(|a, b| b.cmp(a));
    let (total, mut seen) = (halves.iter().map(|half| half.1).sum::<u64>(), 0);
    let half = halves.iter().find(|(_, weight)| {
        seen += weight;
        2 * seen >= total
    });
    let half = half.map_or(least.0, |half| half.0).max(least.0);
    let lowest = parts.iter().map(|part| part.lowest).min().unwrap_or(least.0).min(least.0);
    let (gaps, missed) = (sum(|part| part.gaps), parts.iter().map(|part| part.missed).max().unwrap_or(0));
    let (position, slowest) = least;
    Some(Summary { position, half, lowest, nodes, behind, gaps, missed, room, slowest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::id::Keypair;

    fn part(position: u64, half: u64, nodes: u32, behind: u32) -> Summary {
        Summary { half, nodes, behind, ..Summary::single(position, 100, position) }
    }

    /// A report costs its sender and its receiver a system call each: a stream of 100 MB/s had a
    /// hundred of them in a second from each of its readers.
    #[test]
    fn reports_on_a_stream_that_goes_on_are_seldom_and_those_on_one_that_pauses_are_not() {
        let at = |micros: u64| Instant::from_micros(1_000_000 + micros);
        let mut context = Context::new(Keypair::from_seed(&[1; 32]), Config::default(), 1);
        let (least, _) = context.config.confirm_every;
        let mut due = |times: u64, bytes: usize| {
            let mut confirms = Confirms { room: 16 * 1024, ..Confirms::default() };
            confirms.tally(3).told_at = at(0);
            (1..=times).for_each(|time| confirms.progressed(&context.at(at(1000 * time)), 3, bytes));
            confirms.tallies[3].due
        };
        assert_eq!(due(8, MUCH), at(0) + least, "the line is slow");
        assert_eq!(due(2, MAX_SEGMENT), at(0) + least, "it has paused");
        assert_eq!(due(8, MAX_SEGMENT), at(8_000) + least / 2, "it may go on");
        assert_eq!(due(28, MAX_SEGMENT / 2), at(0) + STEADY_WAITS * least, "it goes on for long");
        assert_eq!(due(8, 2 * MAX_SEGMENT), at(0) + least, "much of the room has been read");
    }

    /// The example of `docs/design/broadcast.md`: D has E with 38 and F with 30 below it.
    #[test]
    fn reports_of_children_combine_to_the_least_and_the_median() {
        let d = combine(&[part(38, 38, 1, 0), part(38, 38, 1, 0), part(30, 30, 1, 0)], None).unwrap();
        assert_eq!((d.position, d.half, d.nodes, d.slowest), (30, 38, 3, 30));
        let b = combine(&[part(38, 38, 1, 0), part(38, 38, 1, 0), d], None).unwrap();
        assert_eq!((b.position, b.half, b.nodes), (30, 38, 5));
    }

    #[test]
    fn a_report_of_nonsense_counts_as_far_as_it_can_be() {
        let report = Confirmation {
            writer: 1,
            incarnation: 1,
            position: 7,
            half: 3,
            lowest: 9,
            nodes: 0,
            behind: 5,
            gaps: 5,
            missed: u64::MAX,
            room: 0,
            slowest: 0,
        };
        let Summary { half, lowest, nodes, behind, gaps, room, .. } = Summary::of(&report);
        assert_eq!((half, lowest, nodes, behind, gaps, room), (7, 7, 1, 1, 1, LEAST_ROOM));
    }

    /// One that has fallen behind may offer little; the others do not go at its pace.
    #[test]
    fn the_room_of_nodes_behind_does_not_count() {
        let slow = Summary { room: 64, ..part(5, 5, 1, 1) };
        assert_eq!(combine(&[slow, part(9, 9, 1, 0)], None).map(|all| all.room), Some(100));
        assert_eq!(combine(&[slow], None).map(|all| all.room), Some(64));
    }

    #[test]
    fn nodes_behind_do_not_count_for_the_median() {
        let all = combine(&[part(50, 50, 19, 19), part(90, 90, 1, 0)], None).unwrap();
        assert_eq!((all.half, all.nodes, all.behind), (90, 20, 19));
    }

    #[test]
    fn a_ghost_holds_the_position_and_is_no_node() {
        let all = combine(&[part(50, 50, 1, 0)], Some((20, 7))).unwrap();
        assert_eq!((all.position, all.nodes, all.slowest), (20, 1, 7));
        assert_eq!(combine(&[], None), None);
    }

    #[test]
    fn readers_below_the_floor_are_behind_and_do_not_count() {
        let child = Child { report: part(10, 40, 5, 0), excused: 0, has_reported: true };
        let tally = Tally { floor: 30, ..Tally::default() };
        let counted = child.counted(&tally, 100);
        assert_eq!((counted.position, counted.half, counted.behind), (30, 40, 1));
        let slow = Child { report: part(10, 20, 5, 0), excused: 0, has_reported: true };
        assert_eq!((slow.counted(&tally, 100).behind, slow.counted(&tally, 5).position), (5, 5));
        let all = combine(&[slow.counted(&tally, 100), part(60, 70, 2, 0)], None).unwrap();
        assert_eq!((all.position, all.half, all.nodes, all.behind), (60, 70, 7, 5));
        let alone = combine(&[slow.counted(&tally, 100)], None).unwrap();
        assert_eq!((alone.position, alone.behind), (10, 5), "a writer is never without any reader");
    }
}
