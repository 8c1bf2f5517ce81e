//! Every message between two nodes. Each one's doc says who sends it, when, and what the receiver
//! owes.
//!
//! There are two classes: segments, which are the writers' data and are passed on as they are, and
//! control messages between two neighbours, about membership, the beacon, repair and lookups. Both
//! go over one connection in order, and both count against its window by [`Message::cost`].

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::age::Age;
use crate::id::{Keypair, NodeId, Signature};
use crate::life::{LifeSign, Nonce};
use crate::proof::SegmentProof;
use crate::record::Record;
use crate::segment::Segment;
use crate::time::Instant;

/// Records in one message at most.
pub const MAX_RECORDS: usize = 32;
/// Marks in one digest, or asks in one graft, at most; longer ones come in parts.
pub const MAX_MARKS: usize = 256;
/// Proofs that one message asks for, or brings, at most. 64: some 20 KiB.
pub const MAX_PROOFS: usize = 64;
/// Seeds that a partition keeps an eye on at most; those with the largest numbers lose.
pub const MAX_SEEDS: usize = 8;

/// One message over one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Anything but a segment. Boxed, so that segments, which are many, move as one pointer.
    Control(Box<Control>),
    /// The next segment of a stream. Sent to every neighbour not known to have it, with its age by
    /// the sender's clock.
    Data(Arc<Segment>, Age),
    /// The next part of a segment that is large for the line. Sent only to neighbours that
    /// confirm what they read, see [`Control::Ack`].
    Part(Part),
}

/// A part of an encoded segment. Parts of one segment follow each other on a link; control messages
/// may come between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The bytes, which follow those of the part before.
    pub piece: Bytes,
    /// Whether the segment is complete with it.
    pub last: bool,
}

/// Membership, keepalive and repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// "I am new and want about this many peers." The first message of a joiner to its contact,
    /// which owes [`Control::Welcome`] and starts walks on the joiner's behalf.
    Join {
        /// The joiner.
        record: Record,
        /// How many peers it looks for.
        want: u8,
    },
    /// "These are nodes I know." A contact's answer to a join; also to one it has no time for.
    Welcome {
        /// A sample of the contact's views.
        records: Vec<Record>,
    },
    /// "Somebody looks for a peer." Goes from neighbour to neighbour until `ttl` is used up or a
    /// node with too few peers is met; that node owes an [`Control::Offer`] on the way the walk
    /// came.
    Walk {
        /// Names the walk, so that the offer finds its way back.
        walk: u64,
        /// Hops left.
        ttl: u8,
        /// The joiner.
        record: Record,
    },
    /// "Dial me." A walk's end to the joiner, back along the walk.
    Offer {
        /// The walk this answers; 0 from a contact for itself.
        walk: u64,
        /// The walk's end.
        record: Record,
        /// A full node offers one of its links instead: its neighbour, and the token that both
        /// expect.
        split: Option<(Record, u64)>,
    },
    /// "May our link make room for this joiner?" A full walk's end to one of its neighbours, which
    /// owes [`Control::SplitAnswer`].
    SplitPrepare {
        /// Names the split.
        token: u64,
        /// The node that would come between the two.
        joiner: NodeId,
    },
    /// Yes or no to [`Control::SplitPrepare`].
    SplitAnswer {
        /// Names the split.
        token: u64,
        /// Whether the joiner is expected.
        ok: bool,
    },
    /// "I am linked to both of you." The joiner to the walk's end, which now closes the old link.
    SplitCommit {
        /// Names the split.
        token: u64,
    },
    /// "Let us be neighbours." Owes [`Control::Accept`] or [`Control::Refuse`].
    Neighbor {
        /// The node that asks.
        record: Record,
        /// The start of that node that is running.
        incarnation: u64,
        /// How badly.
        priority: Priority,
        /// The split this belongs to.
        token: Option<u64>,
    },
    /// "Agreed." Owes [`Control::Active`].
    Accept {
        /// The node that agrees.
        record: Record,
        /// The start of that node that is running.
        incarnation: u64,
        /// The time of the sender's clock, in milliseconds: what comes over the link later is
        /// compared with it, see `age.rs`.
        sent: u64,
    },
    /// "No room", or "we have a connection already". Closes nothing by itself.
    Refuse {
        /// Others to try.
        records: Vec<Record>,
    },
    /// "The link stands." After it the link exists on both sides.
    Active {
        /// As in [`Control::Accept`].
        sent: u64,
    },
    /// "This link ends, in good order."
    Disconnect {
        /// Why.
        reason: DisconnectReason,
        /// Others to take in its place.
        records: Vec<Record>,
    },
    /// "I live." Sent when nothing else was sent for half the ping timeout; and to the neighbour
    /// nearer to the root when what it should know has changed.
    Ping {
        /// Peers of the sender, so that a full node knows whom it may displace.
        degree: u16,
        /// The receiver is the sender's way to the root: the first 4 bytes of the root's id.
        child: Option<u32>,
        /// Nodes below the sender, itself included; 0 if it is not a child.
        subtree: u32,
        /// What they know of the seeds, at most [`MAX_SEEDS`]; nothing if it is not a child.
        seeds: Vec<SeedReport>,
    },
    /// "This is how our partition's root was when I last heard of it." Sent when a link comes up,
    /// passed on to all other neighbours when it is new, and in answer to a worse root or a
    /// [`Control::Probe`].
    Beacon {
        /// The root's word.
        beat: Arc<Beat>,
        /// Milliseconds since the root said it.
        age_ms: u32,
        /// Links between the sender and the root.
        hops: u8,
    },
    /// "Are we of one partition?" Sent over a connection that is not a link, to probe out of band;
    /// the receiver owes a [`Control::Beacon`].
    Probe,
    /// "Is there a neighbour of yours to whom I may move from you?" From a node with a far link to
    /// the neighbour at its other end, which owes [`Control::MoveAnswer`].
    Move,
    /// "To one of these": the sender can do without the link, and keeps its links to them for a
    /// while. None: not now.
    MoveAnswer {
        /// The sender's neighbours.
        records: Vec<Record>,
    },
    /// "There is another partition behind these nodes." Two partitions that meet send it on walks;
    /// the node where one ends dials one of them, so that they are joined by more than one link.
    Bridge {
        /// Hops left.
        ttl: u8,
        /// Nodes of the other partition.
        records: Vec<Record>,
    },
    /// "Let us exchange some nodes we know." Walks like [`Control::Walk`]; the end owes
    /// [`Control::ShuffleReply`] on the way back.
    Shuffle {
        /// Names the walk.
        walk: u64,
        /// Hops left.
        ttl: u8,
        /// The node that asks, and a sample of the nodes that it knows.
        records: Vec<Record>,
    },
    /// As many nodes in return.
    ShuffleReply {
        /// The walk this answers.
        walk: u64,
        /// A sample of what the end knows.
        records: Vec<Record>,
    },
    /// "This is how far I am, and this is the oldest I could give." Sent for all streams when a
    /// link comes up; to neighbours that are not sent a stream, when it has grown; and when the
    /// receiver fell out of the sender's ring.
    Digest {
        /// One for each stream, at most [`MAX_MARKS`].
        marks: Vec<Mark>,
        /// Present in the last part of a link's first digest.
        end: Option<DigestEnd>,
    },
    /// "Send me these streams from these segments on, and go on doing so." Sent to a neighbour that
    /// is ahead, or that is to be a stream's source from now on.
    Graft {
        /// The streams; at most [`MAX_MARKS`].
        asks: Vec<Ask>,
    },
    /// "I have this stream from somebody else; tell me now and then how far you are." Sent to a
    /// neighbour that brought a segment second.
    Prune {
        /// The writer of the stream.
        origin: NodeId,
        /// The incarnation of the stream.
        incarnation: u64,
    },
    /// "This connection is for streams." The node that has dialled it for them sends this first. It
    /// is not a link and will never be one.
    Streams,
    /// "Where is this node?" Goes to all nodes once. The node that is meant owes
    /// [`Control::Located`], back along the way.
    Find {
        /// Names the question.
        query: u64,
        /// The node to find.
        target: NodeId,
        /// Hops left.
        ttl: u8,
    },
    /// "Here I am." From the node that was looked for, back along the way of [`Control::Find`].
    Located {
        /// The question.
        query: u64,
        /// The node's own word on where it is.
        record: Record,
    },
    /// "These seeds are missing to me and the nodes below me." Sent to the neighbour nearer to the
    /// root when it has changed; the root gives [`Control::Turn`]s in proportion.
    Sought {
        /// The seeds, at most [`MAX_SEEDS`].
        seeds: Vec<SoughtSeed>,
    },
    /// "You, or one of the nodes below you, is to dial this seed." From the neighbour nearer to the
    /// root. The receiver dials its seed, or passes the turn on to a neighbour that has sent
    /// [`Control::Sought`].
    Turn {
        /// The seed, as in [`SoughtSeed`].
        seed: u64,
    },
    /// "I have read this much of what you sent, and you may send this much." Sent between
    /// neighbours that offer [`Features::FLOW`](crate::Features::FLOW), when a link comes up and
    /// when something paced has arrived. Paced are segments, each counted as 128 bytes and its
    /// body; parts, 8 bytes and the piece; digests, 16 bytes and 64 for each mark; and proofs, 16
    /// bytes and 320 for each.
    Ack {
        /// Bytes read since the link came up.
        read: u64,
        /// Bytes that the receiver may send since then: it begins a message, or a part of one,
        /// while it is below that.
        limit: u64,
        /// Whether the sender of this has more to send than the receiver's limit allows, and has
        /// had for the last quarter of a second.
        held: bool,
        /// Whether the sender of this needs an Ack for what it sends within 100 ms, in the next
        /// second: it is near to the most that it may have under way on all its links.
        soon: bool,
        /// The sender's clock in milliseconds, modulo 2^16.
        clock: u16,
        /// The clock in the last Ack of the receiver, and the milliseconds since that arrived; none
        /// if it is longer ago than 30 s. Together they show the receiver the round trip.
        echo: Option<(u16, u16)>,
    },
    /// "This far are the nodes that get these streams through me, I included." Sent to the
    /// neighbour that the streams come from, as they get on. See `spread/confirm.rs`.
    Confirm {
        /// One for each stream, at most [`MAX_MARKS`].
        reports: Vec<Confirmation>,
    },
    /// "I wait for no reader of this stream below this segment." From its writer, to every
    /// neighbour that gets the stream from the sender.
    Pace {
        /// The writer of the stream.
        origin: NodeId,
        /// The incarnation of the stream.
        incarnation: u64,
        /// The writer waits for readers that have this segment.
        floor: u64,
        /// Whether the writer waits for every reader that lives: one whose link broke is given
        /// longer to come back.
        patient: bool,
    },
    /// "My line is full: get this stream, which is my own, from another neighbour." Sent to one
    /// that gets it from the sender, and offers [`Features::FLOW`](crate::Features::FLOW). A
    /// receiver without another neighbour to ask requests the stream again, and is served.
    Redirect {
        /// The writer of the stream, the sender.
        origin: NodeId,
        /// The incarnation of the stream.
        incarnation: u64,
    },
    /// "Prove that these have written." To a neighbour whose marks name writers that the sender
    /// does not know, or a later start of the sender itself. Owes one [`Control::Proofs`]. Only in
    /// networks of signed messages.
    Prove {
        /// The writers; at most [`MAX_PROOFS`].
        writers: Vec<NodeId>,
    },
    /// "This is the last that I know of what they have signed." The answer to [`Control::Prove`].
    Proofs {
        /// One for each of the writers that the sender can prove, in the order of the question.
        proofs: Vec<SegmentProof>,
    },
    /// "I am this process." The first and only message over a connection whose two ends have the
    /// same id: a node that has dialled itself, or two processes with one key. Owes the same, and
    /// then the connection ends.
    Twin {
        /// A random number of the process.
        process: u64,
        /// Its incarnation.
        incarnation: u64,
        /// The time since it was started, in milliseconds.
        uptime_ms: u64,
    },
    /// "Does this writer live? Let it sign this number." To the neighbour that has brought what may
    /// be a recording of the writer. A node that is not the writer passes it on to the neighbour
    /// that the writer's stream comes from. Owes a [`Control::Alive`] if the writer is reached.
    Challenge {
        /// The writer.
        writer: NodeId,
        /// The number.
        nonce: Nonce,
    },
    /// "It does." The answer to [`Control::Challenge`], which goes back the same way.
    Alive {
        /// What the writer has signed.
        sign: LifeSign,
    },
    /// Stands for what the next version adds, and is optional: a node that does not know it skips
    /// it. Sent when a link comes up; owes nothing.
    #[cfg(smokesignal_next)]
    Next {
        /// Anything.
        text: Vec<u8>,
    },
}

/// How far the readers of one stream are: a node, and all below it in the stream's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The first 8 bytes of the writer's id, as one number.
    pub writer: u64,
    /// The incarnation of the stream.
    pub incarnation: u64,
    /// The last segment that all of the nodes have, those behind excepted.
    pub position: u64,
    /// The last segment that half of the nodes have that are not behind.
    pub half: u64,
    /// The last segment that all of the nodes have, those behind included.
    pub lowest: u64,
    /// The number of nodes.
    pub nodes: u32,
    /// How many of them the writer does not wait for.
    pub behind: u32,
    /// How many of the nodes have missed messages of this incarnation.
    pub gaps: u32,
    /// The most messages that one of them has missed.
    pub missed: u64,
    /// How far ahead of `position` the writer may be, in KiB: the least that a node has room for.
    pub room: u32,
    /// The first 8 bytes of the id of the node that `position` is of.
    pub slowest: u64,
}

/// One stream that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The writer of the stream.
    pub origin: NodeId,
    /// The incarnation of the stream.
    pub incarnation: u64,
    /// First segment wanted.
    pub from: u64,
    /// If it is not retained any more, the oldest that is: nobody is known to have it.
    pub or_later: bool,
}

/// How badly a link is wanted, which decides what a full node does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// The asker has peers enough: a full node refuses, and that is all.
    Low,
    /// The asker has some peers but fewer than `min_peers`: a full node refuses and looks for room.
    Need,
    /// The asker is alone: a full node makes room.
    High,
    /// Its user asked for this link: accepted up to two above `max_peers`.
    Explicit,
    /// It joins two partitions: accepted up to two above `max_peers`, and beyond that a full node
    /// makes room.
    Bridge,
}

/// The word of a partition's root, signed by it: the heartbeat of the partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The node with the smallest id.
    pub root: NodeId,
    /// The start of the root that sends the beats.
    pub incarnation: u64,
    /// Number of the beat in that start.
    pub beat: u64,
    /// Nodes in the partition, by the last count.
    pub size: u32,
    /// What became of the seeds, at most [`MAX_SEEDS`].
    pub seeds: Vec<SeedStatus>,
    signature: Signature,
}

impl Beat {
    /// A beat of the key's owner, valid in the network with this id only.
    pub fn sign(
        keypair: &Keypair,
        network: &[u8; 32],
        incarnation: u64,
        beat: u64,
        size: u32,
        seeds: Vec<SeedStatus>,
    ) -> Self {
        let signature = Signature::new([0; 64]);
        let mut beat = Self { root: keypair.id(), incarnation, beat, size, seeds, signature };
        beat.signature = Signature::new(keypair.sign(&beat.signed_text(network)));
        beat
    }

    /// Whether its root said it, in this network.
    pub fn verify(&self, network: &[u8; 32]) -> bool {
        self.seeds.len() <= MAX_SEEDS
            && self.signature.verify(&self.root, network, || self.signed_text(network))
    }

    fn signed_text(&self, network: &[u8; 32]) -> Vec<u8> {
        let mut text = b"smokesignal beat 1\0".to_vec();
        text.extend_from_slice(network);
        text.extend_from_slice(&self.incarnation.to_be_bytes());
        text.extend_from_slice(&self.beat.to_be_bytes());
        text.extend_from_slice(&self.size.to_be_bytes());
        for status in &self.seeds {
            let (state, size) = match status.state {
                SeedState::Present => (0, 0),
                SeedState::Absent => (1, 0),
                SeedState::Lost => (2, 0),
                SeedState::Elsewhere { size } => (3, size),
            };
            text.extend_from_slice(&status.seed.to_be_bytes());
            text.push(state);
            text.extend_from_slice(&size.to_be_bytes());
        }
        text
    }
}

/// What became of one seed, as the root sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedStatus {
    /// The first 8 bytes of its id.
    pub seed: u64,
    /// Where it is.
    pub state: SeedState,
}

/// The place of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeedState {
    /// The seed is part of this partition.
    Present,
    /// It is not part of this partition, or no node has dialled it yet.
    Absent,
    /// It is not part of this partition, and does not answer dials.
    Lost,
    /// It is part of another partition, of this size.
    Elsewhere {
        /// Nodes in it.
        size: u32,
    },
}

/// What a node, and all below it, know of one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedReport {
    /// The first 8 bytes of its id.
    pub seed: u64,
    /// It is one of them, or was reached and is of this partition.
    pub present: bool,
    /// How many dials were not answered lately; two are enough to know.
    pub unreachable: u8,
    /// It was reached, twice, and is of another partition of this size.
    pub other_size: Option<u32>,
    /// The root's beat at the time that the bad news are from. A slow line brings them late, and
    /// then they are void.
    pub beat: u64,
}

/// A seed that is missing, and how many nodes look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoughtSeed {
    /// The first 8 bytes of the BLAKE3 of its address as the nodes were given it; its id may not be
    /// known.
    pub seed: u64,
    /// How many of the sender and all nodes below it look for it.
    pub by: u32,
}

/// Why a link ends in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DisconnectReason {
    /// The node leaves the network.
    Leaving,
    /// A joiner came between.
    Split,
    /// The node has more peers than it may hold, and this one has enough others.
    Surplus,
    /// The user closed the link.
    Closed,
    /// The node has found a nearer peer.
    Nearer,
}

/// How far a node is in one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The writer of the stream.
    pub origin: NodeId,
    /// The incarnation of the stream.
    pub incarnation: u64,
    /// Has everything up to this segment.
    pub have: u64,
    /// Oldest segment it can give; `have + 1` when it can give none.
    pub floor: u64,
    /// Number of the message in which segment `floor` begins.
    pub floor_message: u64,
    /// Number of the message that begins, or goes on, after segment `have`; 0 when not known.
    pub next_message: u64,
}

/// The end of a link's first digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestEnd {
    /// The sender is not new itself: what it did not name does not exist yet.
    pub settled: bool,
}

impl Message {
    /// Returns whether a node that does not know this message may skip it. Then the frame that
    /// carries it has to be marked as optional.
    pub fn is_optional(&self) -> bool {
        match self {
            Self::Data(..) | Self::Part(_) => false,
            #[cfg(smokesignal_next)]
            Self::Control(control) if matches!(**control, Control::Next { .. }) => true,
            Self::Control(_) => false,
        }
    }

    /// Returns the bytes that this message counts for in the link's window; close to its size on
    /// the wire.
    pub fn cost(&self) -> usize {
        let control = match self {
            Self::Data(segment, _) => return 128 + segment.body.len(),
            Self::Part(part) => return 8 + part.piece.len(),
            Self::Control(control) => &**control,
        };
        match control {
            Control::Digest { marks, .. } => 16 + 64 * marks.len(),
            Control::Graft { asks } => 16 + 48 * asks.len(),
            Control::Prove { writers } => 16 + 32 * writers.len(),
            Control::Proofs { proofs } => 16 + 320 * proofs.len(),
            Control::Confirm { reports } => 16 + 48 * reports.len(),
            Control::Pace { .. } | Control::Redirect { .. } => 64,
            Control::Welcome { records }
            | Control::Refuse { records }
            | Control::Disconnect { records, .. }
            | Control::Shuffle { records, .. }
            | Control::Bridge { records, .. }
            | Control::MoveAnswer { records }
            | Control::ShuffleReply { records, .. } => 16 + 128 * records.len(),
            Control::Ping { seeds, .. } => 16 + 16 * seeds.len(),
            Control::Active { .. } | Control::Probe | Control::Move | Control::Streams => 8,
            Control::Find { .. } => 48,
            Control::Sought { seeds } => 16 + 12 * seeds.len(),
            Control::Turn { .. } => 16,
            Control::Ack { .. } | Control::Twin { .. } => 32,
            Control::Challenge { .. } => 64,
            _ => 192,
        }
    }

    /// Returns whether the message is paced: the receiver confirms it by [`Control::Ack`], and it
    /// waits while as much is under way as the line carries.
    pub(crate) fn is_paced(&self) -> bool {
        match self {
            Self::Data(..) | Self::Part(_) => true,
            Self::Control(control) => {
                matches!(**control, Control::Digest { .. } | Control::Proofs { .. })
            }
        }
    }

    /// Returns the message as it is handed to a link at this time: a segment with its age then.
    #[must_use]
    pub(crate) fn handed(mut self, now: Instant) -> Self {
        if let Self::Data(_, age) = &mut self {
            *age = age.moved(now);
        }
        self
    }

    /// The records this message carries, all of which must be checked before one is believed.
    pub(crate) fn records(&self) -> Vec<&Record> {
        let Self::Control(control) = self else { return Vec::new() };
        match &**control {
            Control::Join { record, .. }
            | Control::Walk { record, .. }
            | Control::Neighbor { record, .. }
            | Control::Accept { record, .. } => vec![record],
            Control::Offer { record, split, .. } => {
                std::iter::once(record).chain(split.iter().map(|(record, _)| record)).collect()
            }
            Control::Welcome { records }
            | Control::Refuse { records }
            | Control::Disconnect { records, .. }
            | Control::Shuffle { records, .. }
            | Control::Bridge { records, .. }
            | Control::MoveAnswer { records }
            | Control::ShuffleReply { records, .. } => records.iter().collect(),
            _ => Vec::new(),
        }
    }
}

impl From<Control> for Message {
    fn from(control: Control) -> Self {
        Self::Control(Box::new(control))
    }
}
