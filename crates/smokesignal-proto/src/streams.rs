//! The writers' streams: how far each is read, its latest segments, and what is delivered of it.
//!
//! A stream advances only by its very next segment ([`Streams::accept`]) or by an explicit skip
//! that the application learns of ([`Streams::skip`]). Nothing is buffered out of order: asking
//! again is the repair.
//!
//! An accepted segment goes into the stream's ring, from which it is passed on, and its messages go
//! to the application: whole ones as they lie in the body, fragments put together in the end. Three
//! limits keep all of it bounded, and each has its loser: the largest ring loses its oldest
//! segments, the half-arrived message begun longest ago is dropped as a gap, and of too many
//! writers the one silent for longest is forgotten but for a tombstone, so that nothing is read
//! twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::age::Age;
use crate::config::{Config, MAX_SEGMENT};
use crate::context::Cx;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::life::Life;
use crate::limits::Held;
use crate::message::Mark;
use crate::messages::Messages;
use crate::output::Output;
use crate::proof::SegmentProof;
use crate::ring::Ring;
use crate::segment::{MessageKind, Segment, SegmentKind, VerifiedRoot};
use crate::time::Instant;

/// A stream's place in the table, which links use to keep their own column about it.
pub(crate) type StreamIx = usize;

/// Where reading a stream begins: after which segment of which start of its writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) incarnation: u64,
    /// Everything up to this segment counts as read.
    pub(crate) have: u64,
    /// The number of the first message to deliver; `None` for a late joiner, which takes it from
    /// the first segment.
    pub(crate) next_message: Option<u64>,
}

impl Position {
    /// The beginning of a writer's stream.
    pub(crate) const fn beginning(incarnation: u64) -> Self {
        Self { incarnation, have: 0, next_message: Some(1) }
    }
}

/// What became of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    New,
    Duplicate,
    /// Segments before it are missing.
    Ahead,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) origin: NodeId,
    pub(crate) incarnation: u64,
    /// Everything up to this segment was read or skipped.
    pub(crate) have: u64,
    pub(crate) ring: Ring,
    /// The writer's signature that was checked last.
    root: Option<VerifiedRoot>,
    /// Whether a segment of it, or the proof of one, has been believed: before that a neighbour's
    /// word is all we have.
    pub(crate) proven: bool,
    /// Whether a segment of it was taken.
    pub(crate) read: bool,
    /// Whether its writer is known to live.
    pub(crate) life: Life,
    /// Whether the stream is a neighbour's claim that has to be proven: it is named to nobody.
    pub(crate) claimed: bool,
    /// The last proof, where no segment is retained.
    proof: Option<Arc<SegmentProof>>,
    /// That of the incarnation before.
    former: Option<Arc<SegmentProof>>,
    /// What is known of the end of this incarnation once there is a newer one.
    pub(crate) end: End,
    /// The next message's number; `None` until a late joiner sees its first segment. Messages
    /// before it that arrive all the same are not delivered.
    next_message: Option<u64>,
    partial: Option<Partial>,
    backlog: Option<Backlog>,
    touched: Instant,
    /// A newer incarnation was proved then; it waits for this one to drain.
    pub(crate) newer: Option<(u64, Instant)>,
    /// The end was the last that the application got.
    ended: bool,
    /// Messages of this incarnation that were lost to the application.
    pub(crate) missed: u64,
}

/// How far a writer came in an incarnation that is over, as its neighbours have proven it.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// The last segment that somebody has proven, and the number of the message after it.
    pub(crate) proven: Option<(u64, u64)>,
    /// The neighbours that were asked and have answered, and the segment that each claims.
    answered: Vec<(LinkId, u64)>,
}

impl End {
    /// Returns whether this neighbour has proven what it can prove of what it claims.
    pub(crate) fn is_answered(&self, link: LinkId, claimed: u64) -> bool {
        self.answered.iter().any(|(other, before)| *other == link && *before >= claimed)
    }
}

/// A large message of which the beginning has arrived.
#[derive(Debug)]
struct Partial {
    number: u64,
    kind: MessageKind,
    age: Age,
    /// Put together only in the end, when the size is known: memory that grows is copied and
    /// cleared again and again.
    pieces: Vec<Bytes>,
    /// The last pieces, where they are too small to stand alone.
    small: BytesMut,
    bytes: usize,
    begun: Instant,
}

impl Partial {
    fn new((number, kind): (u64, MessageKind), age: Age, begun: Instant) -> Self {
        Self { number, kind, age, pieces: Vec::new(), small: BytesMut::new(), bytes: 0, begun }
    }

    /// Appends a piece. Full ones are kept where they arrived, small ones are copied together.
    fn push(&mut self, piece: &Bytes) {
        self.bytes += piece.len();
        // To keep a small one where it is could cost many times itself, a full one four times at
        // most.
        if piece.len() < MAX_SEGMENT {
            return self.small.extend_from_slice(piece);
        }
        self.settle_small();
        self.pieces.push(piece.clone());
    }

    fn settle_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(std::mem::take(&mut self.small).freeze());
        }
    }

    /// Returns the message, copied together only if it has more than one piece.
    fn whole(mut self) -> Bytes {
        self.settle_small();
        if let [only] = &mut self.pieces[..] {
            return std::mem::take(only);
        }
        let mut whole = BytesMut::with_capacity(self.bytes);
        self.pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.freeze()
    }
}

/// A joiner wants the last few messages before now: they are held until it has caught up, because
/// only then is it known which are the last. A neighbour's word on where the end is can make it
/// wait, but for no longer than `until`.
#[derive(Debug)]
struct Backlog {
    keep: u64,
    end: u64,
    until: Instant,
    held: VecDeque<(u64, MessageKind, Bytes, Age)>,
    /// Messages among what is held; an end is none.
    messages: u64,
    bytes: usize,
}

/// A writer that has written this many segments at most is a stranger. 16: as many as share a
/// signature, so that each name costs its owner 1 MiB to be more than that.
const STRANGER: u64 = 16;
/// A writer that was silent for this long needs no share of what is retained.
const ACTIVE: Duration = Duration::from_secs(10);
impl Backlog {
    fn push(&mut self, seq: u64, kind: MessageKind, data: Bytes, age: Age) {
        self.messages += u64::from(kind != MessageKind::End);
        self.bytes += data.len();
        self.held.push_back((seq, kind, data, age));
    }

    /// Drops the oldest until no more than `limit` bytes are held, and no more messages than
    /// wanted.
    fn shrink(&mut self, limit: usize) {
        while self.messages > self.keep || self.bytes > limit {
            let Some((_, kind, data, _)) = self.held.pop_front() else { break };
            self.messages -= u64::from(kind != MessageKind::End);
            self.bytes -= data.len();
        }
    }
}

/// A joiner waits for no longer than this to catch up.
const CATCH_UP: Duration = Duration::from_secs(2);

impl Stream {
    fn new(origin: NodeId, from: Position, now: Instant) -> Self {
        let Position { incarnation, have, next_message } = from;
        let (ring, root, partial, backlog, newer) = (Ring::default(), None, None, None, None);
        let (proven, read, claimed, proof, former) = (false, false, false, None, None);
        Self {
            origin,
            incarnation,
            have,
            ring,
            root,
            proven,
            read,
            life: Life::Unknown,
            claimed,
            proof,
            former,
            end: End::default(),
            next_message,
            partial,
            backlog,
            touched: now,
            newer,
            ended: false,
            missed: 0,
        }
    }

    /// Returns whether the last segment is an end of the stream.
    pub(crate) fn is_at_end(&self) -> bool {
        self.ring.get(self.have).is_some_and(|last| last.message_kind == MessageKind::End)
    }

    /// Returns the number of the next message, if it is known.
    pub(crate) const fn next_message(&self) -> Option<u64> {
        self.next_message
    }

    /// Returns the proof of the last segment that is known of the stream. Where segments are not
    /// signed there is none.
    pub(crate) fn proof(&self) -> Option<Arc<SegmentProof>> {
        let last = self.ring.back().and_then(|last| SegmentProof::of(last));
        last.map(Arc::new).or_else(|| self.proof.clone())
    }

    /// Returns whether a large message has begun to arrive.
    pub(crate) const fn has_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// Returns the proof of the last segment that is known of the incarnation before this one.
    pub(crate) fn former_proof(&self) -> Option<Arc<SegmentProof>> {
        self.former.clone()
    }

    /// Drops segments from the ring, and keeps the proof of the last one. Returns how many bytes
    /// that frees.
    fn drop_segments(&mut self, drop: impl FnOnce(&mut Ring) -> usize) -> usize {
        let last = self.ring.back().cloned();
        let freed = drop(&mut self.ring);
        if self.ring.front().is_none()
            && let Some(last) = last
        {
            self.proof = SegmentProof::of(&last).map(Arc::new);
        }
        freed
    }

    /// The oldest segment that can be given to others.
    pub(crate) fn floor(&self) -> u64 {
        self.ring.front().map_or(self.have + 1, |segment| segment.seq)
    }

    /// Returns how many messages end after segment `seq`, as far as they are retained; an end is
    /// none.
    pub(crate) fn messages_after(&self, seq: u64) -> u64 {
        let from = (seq + 1).max(self.floor());
        let rest = (from..=self.have).filter_map(|seq| self.ring.get(seq));
        rest.filter(|segment| segment.message_kind != MessageKind::End)
            .map(|segment| segment.messages_ended())
            .sum()
    }

    /// Returns what this node announces of the stream in digests.
    pub(crate) fn mark(&self) -> Mark {
        let next = self.next_message.unwrap_or(1);
        let floor_message = self.ring.front().map_or(next, |segment| segment.first_message);
        let (origin, incarnation, have) = (self.origin, self.incarnation, self.have);
        let next_message = self.next_message.unwrap_or(0);
        Mark { origin, incarnation, have, floor: self.floor(), floor_message, next_message }
    }
}

/// How far a forgotten stream was read.
#[derive(Debug)]
struct Tombstone {
    incarnation: u64,
    have: u64,
    next_message: Option<u64>,
    burial: u64,
}

/// All streams this node knows, its own included.
#[derive(Debug)]
pub(crate) struct Streams {
    list: Vec<Stream>,
    index: BTreeMap<NodeId, StreamIx>,
    ring_total: usize,
    partial_total: usize,
    /// Bytes of new segments of others, in all.
    arrived: u64,
    /// Writers of which much is retained, since they were last counted.
    sharers: usize,
    /// Streams with a half-arrived message.
    partials: BTreeSet<StreamIx>,
    /// The half-arrived messages of writers with ids from here on wait, and when that was chosen.
    waiting_from: Option<NodeId>,
    turns_chosen: Instant,
    tombstones: BTreeMap<NodeId, Tombstone>,
    /// In the order of burial; an entry whose number is not the tombstone's own is stale.
    tombstone_order: VecDeque<(NodeId, u64)>,
    burials: u64,
    /// Places of claims that nobody has proven.
    vacant: Vec<StreamIx>,
    /// Where the search for a loser goes on.
    hand: usize,
}

/// A node chooses which of many large messages arrive first this often at most.
const TURNS: Duration = Duration::from_millis(50);
/// A writer that has sent nothing of its large message for this long holds up no other one.
const HALFWAY: Duration = Duration::from_secs(5);

/// Returns the bytes that a node retains of a writer which needs a share of its room. Writers of
/// less, however many they are, leave the shares of the others as they are.
fn needs_share(config: &Config) -> usize {
    config.ring_total / 128
}

/// Streams compared when one has to go.
const LOOKED_AT: usize = 64;

/// The node's own stream is always the first.
pub(crate) const OWN: StreamIx = 0;

impl Streams {
    pub(crate) fn new(own: NodeId, incarnation: u64, now: Instant) -> Self {
        Self {
            list: vec![Stream::new(own, Position::beginning(incarnation), now)],
            index: BTreeMap::from([(own, OWN)]),
            ring_total: 0,
            partial_total: 0,
            arrived: 0,
            sharers: 0,
            partials: BTreeSet::new(),
            waiting_from: None,
            turns_chosen: now,
            tombstones: BTreeMap::new(),
            tombstone_order: VecDeque::new(),
            burials: 0,
            vacant: Vec::new(),
            hand: 0,
        }
    }

    /// Returns how many places the table has, the node's own stream included.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// See [`crate::Node::bytes_retained`].
    pub(crate) fn bytes_retained(&self) -> usize {
        self.ring_total
    }

    /// See [`crate::Node::held`].
    pub(crate) fn held(&self, config: &Config, held: &mut Vec<Held>) {
        let largest = self.list.iter().map(|stream| stream.ring.bytes()).max().unwrap_or(0);
        let back = self.list.iter().filter_map(|stream| stream.backlog.as_ref());
        let back = back.map(|backlog| backlog.bytes).max().unwrap_or(0);
        held.extend([
            Held { what: "streams", amount: self.list.len(), limit: config.max_streams },
            Held { what: "tombstones", amount: self.tombstones.len(), limit: config.max_tombstones },
            Held { what: "burials", amount: self.tombstone_order.len(), limit: config.max_tombstones },
            Held { what: "bytes retained of one writer", amount: largest, limit: config.ring_bytes },
            Held { what: "bytes retained", amount: self.ring_total, limit: config.ring_total },
            Held { what: "bytes of half messages", amount: self.partial_total, limit: config.partial_total },
            Held { what: "bytes of one backlog", amount: back, limit: config.ring_bytes },
        ]);
    }

    /// Returns the stream in this place, which must have come from [`Streams::find`] or `admit`.
    pub(crate) fn get(&self, ix: StreamIx) -> &Stream {
        &self.list[ix]
    }

    /// Returns the place of the writer's stream.
    pub(crate) fn find(&self, origin: &NodeId) -> Option<StreamIx> {
        self.index.get(origin).copied()
    }

    /// Returns the place of the stream of the writer whose id has this [prefix](NodeId::prefix).
    pub(crate) fn find_prefix(&self, prefix: u64) -> Option<StreamIx> {
        let mut lowest = [0; 32];
        lowest[..8].copy_from_slice(&prefix.to_be_bytes());
        let (id, ix) = self.index.range(NodeId::from_bytes(lowest)..).next()?;
        (id.prefix() == prefix).then_some(*ix)
    }

    /// Returns how many bytes of new segments of others have arrived in all.
    pub(crate) fn bytes_arrived(&self) -> u64 {
        self.arrived
    }

    /// Returns how many writers need a share of what this node retains.
    pub(crate) fn sharers(&self) -> usize {
        self.sharers
    }

    /// Counts them anew; those that were silent for 10 s need none any more.
    pub(crate) fn count_sharers(&mut self, cx: &Cx<'_>) {
        let shares = |stream: &&Stream| {
            cx.now - stream.touched < ACTIVE && stream.ring.bytes() >= needs_share(cx.config)
        };
        self.sharers = self.list.iter().filter(shares).count();
    }

    /// Makes room for a new writer's stream, read from after segment `have`. `next_message` is
    /// `None` for a late joiner. `None` if that incarnation is known to be over.
    pub(crate) fn admit(&mut self, cx: &Cx<'_>, origin: NodeId, from: Position) -> Option<StreamIx> {
        let Position { incarnation, .. } = from;
        let mut stream = Stream::new(origin, from, cx.now);
        match self.tombstones.get(&origin) {
            Some(buried) if buried.incarnation > incarnation => return None,
            Some(buried) if buried.incarnation == incarnation => {
                // Only what was proved is buried: an old segment that comes again must not set it
                // back.
                (stream.have, stream.next_message) = (buried.have, buried.next_message);
                (stream.proven, stream.read) = (true, true);
            }
            _ => {}
        }
        self.tombstones.remove(&origin);
        let ix = if let Some(ix) = self.vacant.pop() {
            self.list[ix] = stream;
            ix
        } else if self.list.len() < cx.config.max_streams {
            self.list.push(stream);
            self.list.len() - 1
        } else {
            let ix = self.loser();
            self.bury(ix, cx.config);
            self.list[ix] = stream;
            ix
        };
        self.index.insert(origin, ix);
        Some(ix)
    }

    /// Of a few in turn: first one whose writer nobody has proved to exist, then the one silent for
    /// longest. Looking at all would let a neighbour that makes up writers keep this node busy.
    fn loser(&mut self) -> StreamIx {
        let places = self.list.len() - 1;
        let looked_at = (0..places.min(LOOKED_AT)).map(|step| 1 + (self.hand + step) % places);
        let loser = looked_at.min_by_key(|ix| (self.list[*ix].proven, self.list[*ix].touched));
        self.hand = (self.hand + LOOKED_AT) % places.max(1);
        loser.unwrap_or(OWN)
    }

    /// Forgets a stream but for a tombstone, which says how far it was read.
    fn bury(&mut self, ix: StreamIx, config: &Config) {
        let stream = &mut self.list[ix];
        self.ring_total -= stream.ring.clear();
        self.partial_total -= stream.partial.take().map_or(0, |partial| partial.bytes);
        self.partials.remove(&ix);
        let Stream { origin, incarnation, have, next_message, proven, .. } = *stream;
        self.index.remove(&origin);
        if !proven {
            return; // Nothing of it was read; and made-up writers must not push out the marks of real ones.
        }
        self.burials += 1;
        let burial = self.burials;
        self.tombstones.insert(origin, Tombstone { incarnation, have, next_message, burial });
        self.tombstone_order.push_back((origin, burial));
        if self.tombstone_order.len() > config.max_tombstones
            && let Some((oldest, burial)) = self.tombstone_order.pop_front()
            && self.tombstones.get(&oldest).is_some_and(|tombstone| tombstone.burial == burial)
        {
            self.tombstones.remove(&oldest);
        }
    }

    /// Starts the stream over as a newer incarnation of its writer. A message cut off by the change
    /// is a gap.
    pub(crate) fn restart(&mut self, cx: &mut Cx<'_>, ix: StreamIx, incarnation: u64) {
        if let Some(gap) = self.drop_partial(ix) {
            cx.out.push(gap);
        }
        let stream = &mut self.list[ix];
        let former = stream.proof();
        self.ring_total -= stream.ring.clear();
        *stream = Stream::new(stream.origin, Position::beginning(incarnation), cx.now);
        // By the segment that showed it: the one before is over for good.
        (stream.proven, stream.read, stream.former) = (true, true, former);
        stream.life = Life::Alive;
    }

    /// Takes the proof of a segment of an incarnation that is over.
    pub(crate) fn prove_end(&mut self, ix: StreamIx, proof: &SegmentProof) {
        let proven = &mut self.list[ix].end.proven;
        *proven = (*proven).max(Some((proof.head.seq, proof.head.next_missed())));
    }

    /// Notes that a neighbour has proven what it can of an incarnation that is over, of which it
    /// claims this segment.
    pub(crate) fn note_end_answered(&mut self, ix: StreamIx, link: LinkId, claimed: u64) {
        let answered = &mut self.list[ix].end.answered;
        answered.retain(|(other, _)| *other != link);
        answered.push((link, claimed));
    }

    /// Notes that the stream is a neighbour's claim, or that it is none any more.
    pub(crate) fn set_claimed(&mut self, ix: StreamIx, claimed: bool) {
        self.list[ix].claimed = claimed;
    }

    /// Notes whether the writer is known to live.
    pub(crate) fn set_life(&mut self, ix: StreamIx, life: Life) {
        self.list[ix].life = life;
    }

    /// Takes the proof of a segment of a stream that was only claimed. Nothing of it is read yet,
    /// and reading begins where the claims say, but not later than after this segment.
    pub(crate) fn prove(&mut self, ix: StreamIx, proof: SegmentProof) {
        let stream = &mut self.list[ix];
        if proof.head.seq < stream.have {
            (stream.have, stream.next_message) = (proof.head.seq, None);
        }
        // From here on the node knows what it misses, even if its neighbours bring nothing.
        if proof.head.seq == stream.have {
            stream.next_message = Some(proof.head.next_message());
        }
        (stream.proven, stream.claimed, stream.proof) = (true, false, Some(Arc::new(proof)));
    }

    /// Frees the place of a claim that nobody has proven.
    pub(crate) fn vacate(&mut self, ix: StreamIx, now: Instant) {
        let stream = &mut self.list[ix];
        self.index.remove(&stream.origin);
        let nobody = Position { incarnation: 0, have: 0, next_message: None };
        *stream = Stream::new(NodeId::from_bytes([0; 32]), nobody, now);
        stream.claimed = true;
        self.vacant.push(ix);
    }

    /// The stream was admitted on a neighbour's word only, and that was wrong: it has another
    /// incarnation.
    pub(crate) fn replace(&mut self, ix: StreamIx, from: Position, now: Instant) {
        self.list[ix] = Stream::new(self.list[ix].origin, from, now);
    }

    /// Of what is before segment `end` only the last `keep` messages are delivered.
    pub(crate) fn hold_back(&mut self, ix: StreamIx, keep: u64, end: u64, now: Instant) {
        let (until, held) = (now + CATCH_UP, VecDeque::new());
        self.list[ix].backlog = Some(Backlog { keep, end, until, held, messages: 0, bytes: 0 });
    }

    /// Hands an output about this stream to the application, or holds it back as part of the
    /// backlog.
    fn emit(&mut self, cx: &mut Cx<'_>, ix: StreamIx, output: Output) {
        let stream = &mut self.list[ix];
        match output {
            Output::Deliver { kind: MessageKind::End, .. } if std::mem::replace(&mut stream.ended, true) => {
                return;
            }
            Output::Deliver { kind: MessageKind::Application, .. } => stream.ended = false,
            _ => {}
        }
        let Some(backlog) = &mut stream.backlog else {
            if let Output::Gap { missed, .. } = output {
                stream.missed = stream.missed.saturating_add(missed);
            }
            return cx.out.push(output);
        };
        // A gap from before this node joined is not a loss to it.
        let Output::Deliver { seq, kind, messages, age_ms, .. } = output else { return };
        let age = Age::new(age_ms, cx.now);
        for (seq, data) in (seq..).zip(messages) {
            backlog.push(seq, kind, data, age);
        }
        backlog.shrink(cx.config.ring_bytes);
    }

    /// Hands over the backlog if its end has arrived, or its time is over.
    fn release_backlog(&mut self, cx: &mut Cx<'_>, ix: StreamIx) {
        let stream = &mut self.list[ix];
        let from = stream.origin;
        let over = |backlog: &mut Backlog| stream.have >= backlog.end || cx.now >= backlog.until;
        let backlog = stream.backlog.take_if(over);
        for (seq, kind, data, age) in backlog.into_iter().flat_map(|backlog| backlog.held) {
            let (messages, age_ms) = (Messages::one(data), age.millis(cx.now));
            cx.out.push(Output::Deliver { from, seq, kind, messages, age_ms });
        }
    }

    /// A late joiner began at a wrong place, by a neighbour's mark: the writer's own word counts.
    pub(crate) fn rebase(&mut self, ix: StreamIx, have: u64) {
        let stream = &mut self.list[ix];
        (stream.have, stream.next_message) = (have, None);
    }

    /// Notes that a newer incarnation of the writer was proved, and when.
    pub(crate) fn set_newer(&mut self, ix: StreamIx, newer: Option<(u64, Instant)>) {
        self.list[ix].newer = newer;
    }

    /// Whether the writer wrote it; `ix` is the writer's stream, if there is one.
    pub(crate) fn verify(&mut self, ix: Option<StreamIx>, segment: &Segment, network: &[u8; 32]) -> bool {
        let mut unknown = None;
        segment.verify_after(network, ix.map_or(&mut unknown, |ix| &mut self.list[ix].root))
    }

    /// Takes a segment, which is this old, if it is the stream's next one.
    pub(crate) fn accept(
        &mut self,
        cx: &mut Cx<'_>,
        ix: StreamIx,
        segment: &Arc<Segment>,
        age: Age,
    ) -> Verdict {
        let stream = &mut self.list[ix];
        stream.touched = cx.now;
        if segment.seq <= stream.have {
            return Verdict::Duplicate;
        }
        if segment.seq > stream.have + 1 {
            return Verdict::Ahead;
        }
        let stream = &mut self.list[ix];
        (stream.proven, stream.read, stream.claimed) = (true, true, false);
        self.store(cx, ix, Arc::clone(segment), age);
        if ix == OWN {
            self.list[ix].next_message = Some(segment.first_message + segment.messages_ended());
        } else {
            self.arrived += segment.body.len() as u64;
            self.deliver(cx, ix, segment, age);
            self.release_backlog(cx, ix);
        }
        Verdict::New
    }

    /// Adds the segment to the ring and makes room where the rings are too large.
    fn store(&mut self, cx: &Cx<'_>, ix: StreamIx, segment: Arc<Segment>, age: Age) {
        let config = cx.config;
        let stream = &mut self.list[ix];
        stream.have = segment.seq;
        let before = stream.ring.bytes();
        stream.ring.push(segment, age, cx.now);
        while stream.ring.bytes() > config.ring_bytes {
            stream.ring.pop();
        }
        let after = self.list[ix].ring.bytes();
        self.sharers += usize::from((before..after).contains(&needs_share(config).saturating_sub(1)));
        self.ring_total = self.ring_total + after - before;
        // A sixteenth at a time, because each time costs a look at all streams.
        let goal = config.ring_total - config.ring_total / 16;
        if self.ring_total > config.ring_total {
            while self.ring_total > goal {
                let Some(loser) = self.largest_ring() else { break };
                let stream = &mut self.list[loser];
                let (half, total) = (stream.ring.bytes() / 2, self.ring_total);
                self.ring_total -= stream.drop_segments(|ring| {
                    let mut freed = 0;
                    while total - freed > goal && ring.bytes() > half {
                        freed += ring.pop();
                    }
                    freed
                });
            }
        }
    }

    /// Returns the stream that retains most. The rings of strangers count as one: somebody with
    /// many names would take the place of a writer with one otherwise.
    fn largest_ring(&self) -> Option<StreamIx> {
        let size = |ix: &StreamIx| self.list[*ix].ring.bytes();
        let is_stranger = |ix: &StreamIx| *ix != OWN && self.list[*ix].have <= STRANGER;
        let known = (0..self.list.len()).filter(|ix| !is_stranger(ix)).max_by_key(size);
        let strangers = || (0..self.list.len()).filter(is_stranger);
        let pot: usize = strangers().map(|ix| size(&ix)).sum();
        if known.is_none_or(|ix| size(&ix) < pot) { strangers().max_by_key(size) } else { known }
    }

    /// Hands the segment's messages to the application, as far as they are new to it.
    fn deliver(&mut self, cx: &mut Cx<'_>, ix: StreamIx, segment: &Segment, age: Age) {
        if let MessageKind::Other(kind) = segment.message_kind {
            return self.pass_over(cx, ix, segment, kind);
        }
        match segment.kind {
            SegmentKind::Whole { messages } => {
                self.begin(cx, ix, segment.first_message);
                let stream = &mut self.list[ix];
                let mut messages = Messages::in_body(segment.body.clone(), messages);
                let (mut seq, end) = (segment.first_message, segment.first_message + messages.len() as u64);
                // Those before a late joiner's start are not for it.
                let next = stream.next_message.unwrap_or(seq);
                while seq < next && messages.next().is_some() {
                    seq += 1;
                }
                if messages.len() > 0 {
                    stream.next_message = Some(end);
                    let (from, kind, age_ms) = (stream.origin, segment.message_kind, age.millis(cx.now));
                    self.emit(cx, ix, Output::Deliver { from, seq, kind, messages, age_ms });
                }
            }
            SegmentKind::Fragment { first, last } => {
                if first {
                    self.begin(cx, ix, segment.first_message);
                    let number = segment.first_message;
                    if self.list[ix].next_message.is_none_or(|next| number >= next) {
                        self.list[ix].partial =
                            Some(Partial::new((number, segment.message_kind), age, cx.now));
                        self.partials.insert(ix);
                    }
                }
                self.make_room(cx, ix, segment.body.len());
                self.append(cx, ix, segment, last);
            }
        }
    }

    /// Counts messages of a kind that this node does not know as read, a large one with its first
    /// piece, so that nothing of it is kept.
    fn pass_over(&mut self, cx: &mut Cx<'_>, ix: StreamIx, segment: &Segment, kind: u8) {
        let begun = match segment.kind {
            SegmentKind::Whole { messages } => messages.into(),
            SegmentKind::Fragment { first: true, .. } => 1,
            // Where the first piece did not come, the message is part of a gap.
            SegmentKind::Fragment { last, .. } => return self.append(cx, ix, segment, last),
        };
        let (first, end) = (segment.first_message, segment.first_message + begun);
        let next = self.list[ix].next_message.unwrap_or(first);
        self.begin(cx, ix, first);
        let stream = &mut self.list[ix];
        stream.next_message = Some(end.max(next));
        let (from, messages) = (stream.origin, end.saturating_sub(next.max(first)));
        if messages > 0 {
            cx.out.push(Output::Unknown { from, kind, messages });
        }
    }

    /// Returns the streams with a half-arrived message.
    pub(crate) fn half_arrived(&self) -> impl Iterator<Item = StreamIx> {
        self.partials.iter().copied()
    }

    /// Returns whether the half-arrived message of this stream has to wait for those of writers
    /// with smaller ids.
    pub(crate) fn waits_its_turn(&self, ix: StreamIx) -> bool {
        let stream = &self.list[ix];
        stream.partial.is_some() && self.waiting_from.is_some_and(|from| stream.origin >= from)
    }

    /// Chooses the half-arrived messages that have to wait. All readers choose by the same order:
    /// if two of them let different messages arrive first, neither message might ever arrive at
    /// both. Writers that have stopped halfway take no part. Returns whether the choice is another
    /// one than before.
    pub(crate) fn choose_turns(&mut self, cx: &Cx<'_>) -> bool {
        if self.partial_total < cx.config.partial_room {
            return self.waiting_from.take().is_some();
        }
        if cx.now < self.turns_chosen + TURNS {
            return false;
        }
        self.turns_chosen = cx.now;
        let streams = self.partials.iter().map(|ix| &self.list[*ix]);
        let moving = streams.filter(|stream| cx.now - stream.touched < HALFWAY);
        let mut moving: Vec<_> =
            moving.filter_map(|it| Some((it.origin, it.partial.as_ref()?.bytes))).collect();
        moving.sort_unstable();
        let mut before = 0;
        let first_waiting = moving.iter().find(|(_, bytes)| {
            let waits = before >= cx.config.partial_room;
            before += bytes;
            waits
        });
        let waiting_from = first_waiting.map(|(origin, _)| *origin);
        std::mem::replace(&mut self.waiting_from, waiting_from) != waiting_from
    }

    /// Half-arrived messages of others that were begun longest ago lose: one that takes that long
    /// may never end.
    fn make_room(&mut self, cx: &mut Cx<'_>, ix: StreamIx, more: usize) {
        while self.partial_total + more > cx.config.partial_total {
            let begun = |other: &StreamIx| self.list[*other].partial.as_ref().map(|partial| partial.begun);
            let Some(oldest) =
                self.partials.iter().filter(|other| **other != ix).min_by_key(|other| begun(other))
            else {
                return;
            };
            let oldest = *oldest;
            self.report_partial(cx, oldest);
        }
    }

    /// A message begins here; whatever should have come before it is a gap.
    fn begin(&mut self, cx: &mut Cx<'_>, ix: StreamIx, number: u64) {
        let expected = self.list[ix].next_message.unwrap_or(number);
        if number > expected {
            self.forget_partial(ix);
            let gap = Output::Gap { from: self.list[ix].origin, missed: number - expected };
            self.emit(cx, ix, gap);
        } else {
            self.report_partial(cx, ix);
        }
        let stream = &mut self.list[ix];
        stream.next_message = Some(stream.next_message.unwrap_or(number).max(number));
    }

    /// Adds a fragment to the half-arrived message, and delivers that once it is complete.
    fn append(&mut self, cx: &mut Cx<'_>, ix: StreamIx, segment: &Segment, last: bool) {
        let config = cx.config;
        let room = config.partial_total.saturating_sub(self.partial_total);
        let stream = &mut self.list[ix];
        let Some(partial) = &mut stream.partial else {
            // Its head was skipped, or lies before a late joiner's start; the latter is not a loss.
            let expected = stream.next_message.unwrap_or(segment.first_message + 1);
            stream.next_message = Some(expected.max(segment.first_message + 1));
            if segment.first_message >= expected {
                let missed = segment.first_message + 1 - expected;
                let gap = Output::Gap { from: stream.origin, missed };
                self.emit(cx, ix, gap);
            }
            return;
        };
        let more = segment.body.len();
        let broken = partial.kind != segment.message_kind; // A message is of one kind from end to end.
        if broken || partial.bytes + more > config.max_message || more > room {
            self.report_partial(cx, ix);
            return;
        }
        partial.push(&segment.body);
        self.partial_total += more;
        if last && let Some(done) = stream.partial.take() {
            self.partials.remove(&ix);
            self.partial_total -= done.bytes;
            stream.next_message = Some(done.number + 1);
            let (from, seq, kind, age_ms) = (stream.origin, done.number, done.kind, done.age.millis(cx.now));
            let messages = Messages::one(done.whole());
            self.emit(cx, ix, Output::Deliver { from, seq, kind, messages, age_ms });
        }
    }

    /// Gives up the range before segment `floor`, which no neighbour retains. The gap is reported
    /// when `floor` is accepted, as its writer has numbered the messages.
    pub(crate) fn skip(&mut self, ix: StreamIx, floor: u64) {
        self.forget_partial(ix);
        let stream = &mut self.list[ix];
        self.ring_total -= stream.drop_segments(Ring::clear);
        stream.have = floor - 1;
    }

    /// Notes that the application lost messages of this writer after their delivery.
    pub(crate) fn note_missed(&mut self, ix: StreamIx, missed: u64) {
        let stream = &mut self.list[ix];
        stream.missed = stream.missed.saturating_add(missed);
    }

    /// Frees what is too old. A message that began long ago and never ended is a gap.
    /// Segments from the number in `needed` on, one for each stream, are kept whatever their age.
    pub(crate) fn expire(&mut self, cx: &mut Cx<'_>, needed: &[u64]) {
        for ix in 0..self.list.len() {
            let stream = &mut self.list[ix];
            let needed = needed.get(ix).copied().unwrap_or(u64::MAX);
            self.ring_total -= stream.drop_segments(|ring| ring.expire(cx.now, cx.config.ring_age, needed));
            if cx.now - stream.touched > cx.config.ring_age {
                self.report_partial(cx, ix);
            }
            self.release_backlog(cx, ix);
        }
    }

    /// Drops a half-arrived message and reports it as a gap.
    fn report_partial(&mut self, cx: &mut Cx<'_>, ix: StreamIx) {
        if let Some(gap) = self.drop_partial(ix) {
            self.emit(cx, ix, gap);
        }
    }

    /// Drops a half-arrived message, which is a gap.
    fn drop_partial(&mut self, ix: StreamIx) -> Option<Output> {
        let number = self.forget_partial(ix)?;
        self.list[ix].next_message = Some(number + 1);
        Some(Output::Gap { from: self.list[ix].origin, missed: 1 })
    }

    /// Drops a half-arrived message, if there is one, and returns its number.
    fn forget_partial(&mut self, ix: StreamIx) -> Option<u64> {
        let partial = self.list[ix].partial.take()?;
        self.partials.remove(&ix);
        self.partial_total -= partial.bytes;
        Some(partial.number)
    }
}

#[cfg(test)]
mod tests;
