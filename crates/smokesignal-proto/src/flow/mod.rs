//! HOW MUCH: what is under way on the node's line, and what the neighbours may send.
//!
//! A neighbour that offers [`Features::FLOW`] confirms what it reads, by [`Control::Ack`]: the
//! bytes since the link came up, and how many it may be sent since then (its *limit*). Only what is
//! *paced* counts: segments, whole or in parts, and digests. Everything else is urgent: it is
//! small, goes out immediately and passes between the parts of a segment.
//!
//! - **Up.** The bytes that all links together were handed and have not confirmed stay within the
//!   budget of a [`Line`]. A link that has confirmed nothing for a while has left the line, and one
//!   that others have overtaken: its bytes wait in its own buffers, and do not count against the
//!   others.
//! - **Acknowledgements.** As long as less is under way than half of that budget, nobody needs to
//!   know more: the neighbours acknowledge a quarter of a window at a time, or once in a second. A
//!   sender that comes near to its budget sets `soon` in an Ack of its own, and is answered within
//!   100 ms for a while. So a fast line costs next to no acknowledgements.
//! - **Down.** The windows that this node grants (limit less bytes read) stay within the budget of
//!   another [`Line`]. A link that brings much is granted as much as it brings in half a second, up
//!   to an even share; one that brings little can begin with a small window.
//!
//! No link is measured by itself, so that a newcomer does not take the queue that is there for a
//! longer way. Where a neighbour confirms nothing, the window of `spread/window.rs` applies.
//!
//! [`Features::FLOW`]: crate::Features::FLOW
//! [`Control::Ack`]: crate::Control::Ack

mod line;
pub(crate) mod parts;
mod survey;
mod trip;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::MAX_SEGMENT;
use crate::ids::LinkId;
use crate::limits::Held;
use crate::time::Instant;

use line::Line;
use survey::Survey;
pub(crate) use trip::Clocks;
use trip::RoundTrip;

/// The limit of a link before the first acknowledgement, and the window of a quiet one, where the
/// line has room for it. 4 KiB: a part, and the beginning of another one.
const FIRST: u64 = 4 * 1024;
/// The smallest part that a segment is cut into. 2.5 KiB: 80 ms of 256 kbit/s. Its heads, of TLS
/// and TCP, too, take 4 %; with 2 KiB a line of 1 Mbit/s carries 1 % less.
const PART_LEAST: usize = 2560;
/// A segment is cut into parts of this share of what may be under way.
const PART_SHARE: usize = 8;
/// The time over which a link's rate is measured.
const MEASURE: Duration = Duration::from_millis(250);
/// The least amount that is confirmed by itself: half a part.
const ACK_LEAST: u64 = 1024;
/// The most that a neighbour which is near to its budget waits to see confirmed. 1 MiB: the largest
/// budget, divided by 16.
const ACK_MOST: u64 = 1024 * 1024;
/// The longest time until what arrived is confirmed, for a neighbour that is near to its budget.
/// 100 ms: a fifth of the time after which a link is taken to stand still.
const ACK_AFTER: Duration = Duration::from_millis(100);
/// The longest time until what arrived is confirmed otherwise. 1 s: a third of the time after which
/// a link without progress is closed.
const ACK_AT_EASE: Duration = Duration::from_secs(1);
/// A neighbour that has asked for acknowledgements soon gets them for this long. 1 s: as long as
/// the line is measured.
const SOON_FOR: Duration = Duration::from_secs(1);
/// While a node is near to its budget, it asks again after this long. 500 ms: half of [`SOON_FOR`].
const URGE_EVERY: Duration = Duration::from_millis(500);
/// A node is near to its budget from this share of it on: a half.
const NEAR_SHARE: usize = 2;
/// A link that has confirmed nothing for this long, or for four round trips, stands still. 500 ms:
/// as long as one slow neighbour may hold up the others.
const STILL_AFTER: Duration = Duration::from_millis(500);
/// A neighbour on a slow line that has confirmed something this lately takes what it is sent. 1.5
/// s: three neighbours share 1 Mbit/s, and the queue in front of it has 400 ms.
const MOVES_FOR: Duration = Duration::from_millis(1500);
/// A link has left the line, too, when what was handed to another one this much later has been
/// confirmed; the link's round trip comes on top. 150 ms: [`ACK_AFTER`], and the way.
const OVERTAKEN_AFTER: Duration = Duration::from_millis(150);
/// A neighbour that was held up by its limit counts as held up for this long, in which it sends
/// word again if it still is. 400 ms: an interval of [`MEASURE`], and the way.
const HELD_FOR: Duration = Duration::from_millis(400);
/// The level of the windows is found at most this often, unless the budget changes. 5 ms: a node
/// may have thousands of links.
const SHARE_EVERY: Duration = Duration::from_millis(5);
/// The windows of quiet links come to half of the line's budget together, so that they can begin
/// without a round trip.
const IDLE_SHARE: u64 = 2;
/// A link that has brought something this lately, or in four round trips, has its share of a slow
/// line. 400 ms: with five links, a part on 256 kbit/s is there every 320 ms.
const BRINGS_FOR: Duration = Duration::from_millis(400);
/// A neighbour that grants this window or less has a slow line: 16 KiB, what a link that is quiet
/// is granted by a node with five links on 6 Mbit/s.
const DIGEST_WINDOW: u64 = 16 * 1024;
/// The pause between two digests to a neighbour that grants [`FIRST`], and less with more. 1 s:
/// five neighbours that tell of six streams take 5 % of 256 kbit/s.
const DIGEST_PAUSE: Duration = Duration::from_secs(1);
/// A line with this budget or less counts as slow. 256 KiB: 11 Mbit/s. The lines of others may well
/// be faster then; where all have the same, a tree that begins with one branch is slower.
const SLOW: usize = 256 * 1024;
/// While nothing is known of the line, this many times its budget may wait for it in the form of
/// segments, and twice as much as it was written. 5: 320 KiB, more than what is signed together.
const WAITING_AT_FIRST: usize = 5;
/// While nothing is known of the line, links share its budget, as at least this many: the first
/// window of each is 32 KiB at most, so that a burst of small messages takes few round trips, and
/// of all together 64 KiB, or their first bytes would fill the queue of a slow line.
const START_LINKS: usize = 2;

/// The flow over all links whose other ends confirm what they read.
#[derive(Debug)]
pub(crate) struct Flows {
    up: Line,
    down: Line,
    links: BTreeMap<LinkId, Flow>,
    /// The bytes that all links that do not stand still were handed and have not confirmed.
    under_way: usize,
    /// The last time at which something was handed to a link that has been confirmed.
    newest: Instant,
    /// When some link last confirmed something new.
    confirmed: Instant,
    /// When this node last looked for links that were overtaken.
    compared: Instant,
    /// When the budget was used up, and this node last looked for neighbours that have to
    /// acknowledge.
    urged: Instant,
    /// The round trip without a queue, of all links.
    base: Duration,
    /// Until when a limit of this node counts as holding up a neighbour.
    held_until: Instant,
    /// The largest window that a link is granted at the moment.
    level: u64,
    /// When the level was last found, and for which budget.
    shared: (Instant, usize),
    /// When the links' rates were last looked at.
    measured: Instant,
    survey: Survey,
    /// The earliest time at which something that arrived is to be confirmed; it may be too early.
    next_ack: Option<Instant>,
}

/// The flow over one link.
#[derive(Debug)]
struct Flow {
    trip: RoundTrip,
    sent: Sent,
    got: Got,
}

/// The direction away from this node.
#[derive(Debug)]
struct Sent {
    handed: u64,
    confirmed: u64,
    /// How far this node may go, as the other side has said it.
    limit: u64,
    /// When the other side last confirmed something new, or there was nothing to confirm.
    progress: Instant,
    /// Whether it stands still, and what was handed does not count against the line.
    still: bool,
    /// Since when the other side is asked to acknowledge soon, and when it was asked last.
    urged: Option<(Instant, Instant)>,
    /// How far the flow was at some time: the confirmation of that shows the round trip.
    timed: Option<(u64, Instant)>,
    rate: Rate,
    /// Whether the limit holds this node up, since the neighbour confirmed something last, and for
    /// how long it did in this interval.
    held: bool,
    held_for: Duration,
}

/// The direction to this node.
#[derive(Debug)]
struct Got {
    read: u64,
    /// The bytes that were confirmed last.
    confirmed: u64,
    limit: u64,
    /// The arrival of the first bytes that are not confirmed.
    since: Option<Instant>,
    rate: Rate,
    /// When something paced last arrived.
    last: Instant,
    /// The time until which the other side needs acknowledgements soon.
    soon_until: Instant,
    /// Whether the other side is to be told that its limit holds this node up, and that it is to
    /// acknowledge soon.
    tell_held: bool,
    tell_soon: bool,
    /// Whether the other side has asked for an acknowledgement now.
    answers: bool,
}

/// Bytes in the running and in the last full interval of [`MEASURE`].
#[derive(Debug, Default, Clone, Copy)]
struct Rate {
    running: u64,
    last: u64,
}

impl Rate {
    /// Returns the bytes in one interval.
    fn bytes(self) -> u64 {
        self.running.max(self.last)
    }

    fn roll(&mut self) {
        *self = Self { running: 0, last: self.running };
    }
}

impl Sent {
    fn under_way(&self) -> usize {
        usize::try_from(self.handed - self.confirmed).unwrap_or(usize::MAX)
    }

    /// Returns what the other side lets be under way.
    fn window(&self) -> u64 {
        self.limit.saturating_sub(self.confirmed)
    }

    /// Returns since when the other side has been asked to acknowledge soon, if it still has to.
    fn pressed_since(&self, now: Instant) -> Option<Instant> {
        let (since, last) = self.urged?;
        (self.under_way() > 0 && now - last < SOON_FOR).then_some(since)
    }
}

/// What one side confirms, see [`Control::Ack`](crate::Control::Ack).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ack {
    pub(crate) read: u64,
    pub(crate) limit: u64,
    pub(crate) held: bool,
    pub(crate) soon: bool,
    pub(crate) clocks: Clocks,
}

/// The other side confirms what was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lie;

impl Flows {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            up: Line::new(now),
            down: Line::new(now),
            links: BTreeMap::new(),
            under_way: 0,
            newest: now,
            confirmed: now,
            compared: now,
            urged: now,
            base: Duration::ZERO,
            held_until: now,
            level: FIRST,
            shared: (now, 0),
            measured: now,
            survey: Survey::new(now),
            next_ack: None,
        }
    }

    /// Begins with a link whose other side confirms what it reads.
    pub(crate) fn link_up(&mut self, link: LinkId, rtt: Duration, now: Instant) {
        // The first round trip that was seen may contain this node's own queue.
        let queues = [&self.up, &self.down].into_iter().filter(|line| line.is_full()).count() as u32;
        let rtt = rtt.saturating_sub(queues * line::QUEUE);
        let sent = Sent {
            handed: 0,
            confirmed: 0,
            limit: FIRST,
            progress: now,
            still: false,
            urged: None,
            timed: None,
            rate: Rate::default(),
            held: false,
            held_for: Duration::ZERO,
        };
        // The first limit goes out immediately.
        let got = Got {
            read: 0,
            confirmed: 0,
            limit: FIRST,
            since: Some(now),
            rate: Rate::default(),
            last: now,
            soon_until: now,
            tell_held: false,
            tell_soon: false,
            answers: false,
        };
        self.links.insert(link, Flow { trip: RoundTrip::new(rtt), sent, got });
        self.next_ack = Some(now);
    }

    pub(crate) fn link_down(&mut self, link: LinkId) {
        if let Some(flow) = self.links.remove(&link)
            && !flow.sent.still
        {
            self.under_way -= flow.sent.under_way();
        }
    }

    /// Returns whether the other side of this link confirms what it reads.
    pub(crate) fn has(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Returns the least round trip that was seen, if the other side of this link confirms what it
    /// reads.
    pub(crate) fn rtt(&self, link: LinkId) -> Option<Duration> {
        self.links.get(&link).map(|flow| flow.trip.get())
    }

    // Up.

    /// Returns how many bytes the link may be handed now, as one of `ready` links; `None` if its
    /// other side confirms nothing. One message, or part of one, may exceed it.
    ///
    /// The second figure is the size from which on a message to this link goes in parts.
    pub(crate) fn room(&mut self, link: LinkId, ready: usize, now: Instant) -> Option<(usize, usize)> {
        let sent = &mut self.links.get_mut(&link)?.sent;
        let part = part(&self.up, sent);
        let by_limit = usize::try_from(sent.limit.saturating_sub(sent.handed)).unwrap_or(usize::MAX);
        let by_line = self.up.budget().saturating_sub(self.under_way);
        if 0 < by_limit && by_limit.saturating_mul(ready) <= by_line {
            return Some((by_limit, part));
        }
        if by_limit == 0 {
            sent.held = true;
            // Several neighbours may each measure their part of this node's line.
            if self.up.is_starting() {
                self.up.note_full(now);
            }
        } else if by_line == 0 {
            self.up.note_used_up();
            self.up.note_full(now);
            self.urge_all(now);
        }
        // A turn is as long for a link with small parts as for one that takes whole segments.
        let turn = (self.up.budget() / PART_SHARE).clamp(PART_LEAST, MAX_SEGMENT);
        let share = (by_line / ready.max(1)).max(turn.min(by_line));
        Some((by_limit.min(share), part))
    }

    /// Returns how many bytes that this node writes may wait for its line as they were written. The
    /// writer learns of what has to wait before that.
    pub(crate) fn written_most(&self) -> usize {
        let segments = self.segments_most();
        if self.up.is_starting() { segments.saturating_mul(2) } else { segments }
    }

    /// Returns how many bytes may wait on top of that in the form of segments.
    pub(crate) fn segments_most(&self) -> usize {
        let budget = self.up.budget().max(MAX_SEGMENT);
        match self.links.is_empty() {
            true => usize::MAX,
            false if self.up.is_starting() => WAITING_AT_FIRST * budget,
            false => budget,
        }
    }

    /// Returns the pause between two digests to this link: longer where the other side has a slow
    /// line, and grants little.
    pub(crate) fn digest_pause(&self, link: LinkId) -> Duration {
        let Some(Flow { sent, .. }) = self.links.get(&link) else { return Duration::ZERO };
        if sent.limit == FIRST || sent.window() > DIGEST_WINDOW {
            return Duration::ZERO;
        }
        DIGEST_PAUSE.mul_f64(FIRST as f64 / sent.window().max(FIRST) as f64)
    }

    /// Notes that the link was handed something paced.
    pub(crate) fn handed(&mut self, link: LinkId, cost: usize, now: Instant) {
        let Some(Flow { sent, .. }) = self.links.get_mut(&link) else { return };
        if sent.handed == sent.confirmed {
            sent.progress = now;
        }
        if self.under_way == 0 {
            self.up.begin(now);
        }
        sent.handed += cost as u64;
        sent.timed.get_or_insert((sent.handed, now));
        if !sent.still {
            self.under_way += cost;
        }
        if self.under_way * NEAR_SHARE > self.up.budget() {
            self.urge(link, now);
        }
    }

    /// Asks all neighbours that have not acknowledged for a while: one that was handed much, and
    /// nothing since, may be what uses up the budget.
    fn urge_all(&mut self, now: Instant) {
        if now - self.urged < ACK_AFTER {
            return;
        }
        self.urged = now;
        let owes = |flow: &Flow| {
            let Sent { still, progress, .. } = flow.sent;
            !still && flow.sent.under_way() > 0 && now - progress > flow.patience()
        };
        let owing = self.links.iter().filter(|(_, flow)| owes(flow));
        let owing: Vec<_> = owing.map(|(link, _)| *link).collect();
        owing.into_iter().for_each(|link| self.urge(link, now));
    }

    /// Asks the neighbour to acknowledge soon, because the budget is nearly used up.
    fn urge(&mut self, link: LinkId, now: Instant) {
        self.up.note_used_up();
        let Some(flow) = self.links.get_mut(&link) else { return };
        let last = flow.sent.urged.map(|(_, last)| now - last);
        if last.is_none_or(|last| last >= URGE_EVERY) {
            let since = flow.sent.urged.filter(|(_, last)| now - *last < SOON_FOR);
            flow.sent.urged = Some((since.map_or(now, |(since, _)| since), now));
            self.ask(link, now);
        }
    }

    /// Sends an acknowledgement that is answered.
    fn ask(&mut self, link: LinkId, now: Instant) {
        let Some(flow) = self.links.get_mut(&link) else { return };
        (flow.got.tell_soon, flow.got.since) = (true, Some(now));
        self.next_ack = Some(now);
    }

    /// Takes what the other side confirms. Returns whether it is more than before.
    pub(crate) fn acknowledged(&mut self, link: LinkId, ack: Ack, now: Instant) -> Result<bool, Lie> {
        let Some(flow) = self.links.get_mut(&link) else { return Ok(false) };
        let Ack { read, limit, held, soon, clocks } = ack;
        flow.trip.hear(clocks, now);
        if soon {
            flow.got.soon_until = now + SOON_FOR;
            // Where something has arrived that is not confirmed yet, that is the answer.
            flow.got.answers = flow.got.since.is_none();
            let since = *flow.got.since.get_or_insert(now);
            let by = if flow.got.answers { now } else { since + ACK_AFTER };
            self.next_ack = Some(self.next_ack.map_or(by, |next| next.min(by)));
        }
        let sent = &mut flow.sent;
        if read > sent.handed {
            return Err(Lie);
        }
        if held {
            self.held_until = now + HELD_FOR;
        }
        sent.limit = limit;
        if read <= sent.confirmed {
            return Ok(false);
        }
        let more = usize::try_from(read - sent.confirmed).unwrap_or(usize::MAX);
        if sent.still {
            sent.still = false;
            self.under_way += sent.under_way();
        }
        self.under_way -= more;
        if std::mem::take(&mut sent.held) {
            sent.held_for += now - sent.progress;
        }
        (sent.confirmed, sent.progress, self.confirmed) = (read, now, now);
        sent.rate.running += more as u64;
        if let Some((from, at)) = sent.timed
            && read >= from
        {
            flow.trip.at_most(now - at);
            sent.timed = None;
            self.newest = self.newest.max(at);
        }
        self.leave_out_overtaken(now);
        self.survey(now);
        self.up.moved(more, self.base, now);
        self.measure(now);
        Ok(true)
    }

    /// Finds the links that others have overtaken: it is not the line that holds them up.
    fn leave_out_overtaken(&mut self, now: Instant) {
        if now - self.compared < SHARE_EVERY {
            return;
        }
        self.compared = now;
        for flow in self.links.values_mut().filter(|flow| !flow.sent.still) {
            let patience = OVERTAKEN_AFTER + flow.trip.get();
            let Some(since) = flow.sent.pressed_since(now) else { continue };
            if flow.sent.timed.is_some_and(|(_, at)| at.max(since) + patience < self.newest) {
                flow.sent.still = true;
                self.under_way -= flow.sent.under_way();
            }
        }
    }

    /// Returns for how long the link has confirmed nothing, if it was handed something.
    pub(crate) fn waits(&self, link: LinkId, now: Instant) -> Option<Duration> {
        let sent = &self.links.get(&link)?.sent;
        (sent.under_way() > 0).then(|| now - sent.progress)
    }

    /// Returns whether the other side takes what it is sent.
    pub(crate) fn moves(&self, link: LinkId, now: Instant) -> bool {
        self.waits(link, now).is_none_or(|time| time < MOVES_FOR)
    }

    /// Starts to wait anew, because this node itself had stopped.
    pub(crate) fn forgive(&mut self, now: Instant) {
        self.links.values_mut().for_each(|flow| flow.sent.progress = now);
    }

    // Down.

    /// Notes that something paced has arrived.
    pub(crate) fn arrived(&mut self, link: LinkId, cost: usize, now: Instant) {
        let growth = self.down.growth();
        let Some(flow) = self.links.get_mut(&link) else { return };
        flow.got.read += cost as u64;
        flow.got.rate.running += cost as u64;
        flow.got.last = now;
        if flow.got.since.is_none() {
            flow.got.since = Some(now);
            let by = now + flow.ack_after(now);
            self.next_ack = Some(self.next_ack.map_or(by, |next| next.min(by)));
        }
        if flow.got.read - flow.got.confirmed >= flow.ack_from(now) {
            self.next_ack = Some(now);
        }
        if self.down.is_starting() && self.level < flow.demand(growth) {
            self.down.note_used_up();
        }
        self.survey(now);
        self.down.moved(cost, self.base, now);
        if now < self.held_until {
            self.down.note_full(now);
        }
        if now - self.measured >= MEASURE {
            self.measure(now);
        }
    }

    /// Returns whether it may be time to confirm something.
    pub(crate) fn is_ack_due(&self, now: Instant) -> bool {
        self.next_ack.is_some_and(|next| next <= now)
    }

    /// Returns what is to be confirmed now.
    pub(crate) fn take_acks(&mut self, now: Instant) -> Vec<(LinkId, Ack)> {
        let (mut acks, mut next) = (Vec::new(), None);
        self.share(now);
        let (idle, growth) = (self.idle_window(), self.down.growth());
        for (link, flow) in &mut self.links {
            let Some(since) = flow.got.since else { continue };
            let got = &flow.got;
            let at_once = got.read == 0 || got.tell_held || got.tell_soon || got.answers;
            let due = if at_once { since } else { since + flow.ack_after(now) };
            if due > now && flow.got.read - flow.got.confirmed < flow.ack_from(now) {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
                continue;
            }
            let demand = flow.demand(growth);
            let window = if demand > FIRST { demand.max(idle).min(self.level.max(idle)) } else { idle };
            let got = &mut flow.got;
            (got.since, got.confirmed, got.limit) = (None, got.read, got.read + window);
            got.answers = false;
            let held = std::mem::take(&mut got.tell_held);
            let soon = std::mem::take(&mut got.tell_soon);
            let clocks = flow.trip.clocks(now);
            acks.push((*link, Ack { read: got.read, limit: got.limit, held, soon, clocks }));
        }
        self.next_ack = next;
        acks
    }

    /// Returns when something has to be confirmed, see [`Self::take_acks`].
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_ack
    }

    // Both.

    /// Returns whether this node's line is slow and is what holds it up, in the direction to the
    /// others.
    pub(crate) fn is_up_full(&self, now: Instant) -> bool {
        self.up.budget() <= SLOW && self.up.was_full_lately(now)
    }

    /// Returns whether the line away from this node was used up lately, or may be: what it sends
    /// takes longer than a small message shows.
    pub(crate) fn is_up_busy(&self, now: Instant) -> bool {
        let is_near = self.up.is_starting() && self.under_way * NEAR_SHARE > self.up.budget();
        is_near || self.up.was_full_lately(now)
    }

    /// Returns whether the line to this node is slow, or has never carried much: what is under way
    /// is little.
    pub(crate) fn is_down_slow(&self) -> bool {
        !self.links.is_empty() && self.down.budget() <= SLOW
    }

    /// Returns the same of the direction to this node.
    pub(crate) fn is_down_full(&self, now: Instant) -> bool {
        self.down.was_full_lately(now)
    }

    /// Returns whether the link has brought something paced lately.
    pub(crate) fn brings(&self, link: LinkId, now: Instant) -> bool {
        self.links.get(&link).is_some_and(|flow| now - flow.got.last < BRINGS_FOR.max(4 * flow.trip.get()))
    }

    /// Looks at the links' rates, a few times a second.
    pub(crate) fn measure(&mut self, now: Instant) {
        let elapsed = now - self.measured;
        if elapsed < MEASURE {
            return;
        }
        self.measured = now;
        self.base = self.mean_rtt();
        let idle = self.idle_window();
        for flow in self.links.values_mut() {
            let patience = flow.patience();
            let sent = &mut flow.sent;
            // What others were handed before may be all that keeps it waiting: the queue of a slow
            // line is first in, first out.
            let is_next =
                now - self.confirmed > patience || sent.timed.is_some_and(|(_, at)| at < self.newest);
            let pressed = sent.pressed_since(now).map(|since| since.max(sent.progress));
            if !sent.still && pressed.is_some_and(|since| now - since > patience) && is_next {
                sent.still = true;
                self.under_way -= sent.under_way();
            }
            sent.rate.roll();
            flow.got.rate.roll();
            if std::mem::take(&mut sent.held_for) >= elapsed.mul_f64(line::FULL_SHARE) {
                flow.got.tell_held = true;
                flow.got.since = Some(now);
                self.next_ack = Some(now);
            }
            // A link that has become quiet gives back what it was granted.
            let got = &mut flow.got;
            if got.rate.bytes() == 0 && got.limit.saturating_sub(got.read) > 2 * idle && got.since.is_none() {
                got.since = Some(now);
                let by = now + ACK_AFTER;
                self.next_ack = Some(self.next_ack.map_or(by, |next| next.min(by)));
            }
        }
    }

    /// Shares the budget of the line among the links that bring much: none is granted more than the
    /// level at which their windows use it up.
    fn share(&mut self, now: Instant) {
        let (at, budget) = self.shared;
        if budget == self.down.budget() && now - at < SHARE_EVERY {
            return;
        }
        self.shared = (now, self.down.budget());
        // Quiet links have their small windows besides: a line with many of them would have none
        // left for the one that is busy.
        let growth = self.down.growth();
        // On a line that is known, bytes that a link was granted and has not used yet may still
        // come.
        let is_known = !self.down.is_starting();
        let granted = |flow: &Flow| match flow.got.limit.saturating_sub(flow.got.read) {
            granted if is_known => granted,
            _ => 0,
        };
        let demands = self.links.values().map(|flow| flow.demand(growth).max(granted(flow)));
        let mut demands: Vec<_> = demands.filter(|demand| *demand > FIRST).collect();
        demands.sort_unstable();
        let mut left = self.down.budget() as u64;
        let mut count = demands.len() as u64;
        self.level = u64::MAX;
        for demand in demands {
            let share = left / count;
            if demand > share {
                self.level = share.max(PART_LEAST as u64);
                return;
            }
            (left, count) = (left - demand, count - 1);
        }
    }

    /// Returns the window of a link that brings little.
    fn idle_window(&self) -> u64 {
        if self.down.is_starting() {
            return (self.down.budget() / self.links.len().max(START_LINKS)) as u64;
        }
        let share = (self.down.budget() / self.links.len().max(1)) as u64;
        share.min(FIRST).max(PART_LEAST as u64).max(share / IDLE_SHARE)
    }

    /// Returns the mean of the links' least round trips, weighted by what they carry.
    fn mean_rtt(&self) -> Duration {
        let weigh = |flow: &Flow| u128::from(flow.sent.rate.bytes() + flow.got.rate.bytes() + 1);
        let total: u128 = self.links.values().map(weigh).sum();
        let sum: u128 = self.links.values().map(|flow| weigh(flow) * flow.trip.get().as_micros()).sum();
        Duration::from_micros(u64::try_from(sum / total.max(1)).unwrap_or(u64::MAX))
    }

    /// See [`crate::Node::held`].
    pub(crate) fn held(&self, held: &mut Vec<Held>) {
        let amount = self.links.values().map(|flow| flow.sent.under_way()).max().unwrap_or(0);
        // A message may exceed the budget.
        let limit = line::MOST + 2 * MAX_SEGMENT;
        held.push(Held { what: "bytes on their way to one link", amount, limit });
    }
}

impl Flow {
    /// Returns the window that fits what the link brings: its rate, which may grow by this factor,
    /// in the time of a round trip, or in a quarter of a second.
    fn demand(&self, growth: u64) -> u64 {
        FIRST.max(self.got.rate.bytes().saturating_mul(growth * trips(self.trip.last())))
    }

    /// Returns after which time without a confirmation the link stands still.
    fn patience(&self) -> Duration {
        let trip = self.trip.proven();
        STILL_AFTER.max((4 * trip).min(STILL_AFTER + 2 * trip))
    }

    /// Returns how much is confirmed by itself: a quarter of what was granted, and for a neighbour
    /// that is near to its budget what arrives in a sixteenth of a second at most.
    fn ack_from(&self, now: Instant) -> u64 {
        let granted = (self.got.limit - self.got.confirmed) / 4;
        let pressed = now < self.got.soon_until;
        let most = if pressed { ACK_MOST.min(self.got.rate.bytes() / 4) } else { granted };
        most.min(granted).max(ACK_LEAST)
    }

    /// Returns after which time it is confirmed in any case.
    fn ack_after(&self, now: Instant) -> Duration {
        if now < self.got.soon_until { ACK_AFTER } else { ACK_AT_EASE }
    }
}

/// Returns the size from which on a message goes in parts.
fn part(up: &Line, sent: &Sent) -> usize {
    let window = usize::try_from(sent.window()).unwrap_or(usize::MAX);
    if up.is_starting() && window >= MAX_SEGMENT {
        return usize::MAX; // Nothing shows that either end has a slow line.
    }
    let part = up.budget().min(window) / PART_SHARE;
    if part < MAX_SEGMENT { part.max(PART_LEAST) } else { usize::MAX }
}

/// Returns how many intervals of [`MEASURE`] a round trip takes, rounded up.
fn trips(rtt: Duration) -> u64 {
    u64::try_from(rtt.as_micros() / MEASURE.as_micros()).unwrap_or(u64::from(u32::MAX)) + 1
}

#[cfg(test)]
mod tests;
