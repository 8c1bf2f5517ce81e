//! Segments: the numbered parts of a writer's stream, and the signature that every node checks.
//!
//! A signature takes as long to check as 64 KiB take to pass a node. So a writer that has several
//! segments to send builds a hash tree over them (`hash_tree.rs`) and signs its root. Each segment
//! carries that signature and the proof that leads from it to the root: a reader that has verified
//! the signature once only hashes the others, and a reader that begins in the middle needs nothing
//! that came before.

use bytes::Bytes;

use crate::config::MAX_MESSAGES;
use crate::hash_tree::{self, Hash, InclusionProof, MAX_LEAVES};
use crate::id::{Keypair, NodeId, Signature};
use crate::proof::Head;

/// A numbered part of one writer's stream: some whole messages, or a fragment of a large one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The writer.
    pub origin: NodeId,
    /// The start of the writer that the segment belongs to.
    pub incarnation: u64,
    /// Number of this segment in the incarnation, from 1.
    pub seq: u64,
    /// Number of the first message in it, or of the message it is a fragment of, from 1.
    pub first_message: u64,
    /// What the body holds.
    pub kind: SegmentKind,
    /// Whom its messages are for.
    pub message_kind: MessageKind,
    /// At most [`MAX_SEGMENT`](crate::MAX_SEGMENT) bytes.
    pub body: Bytes,
    /// The writer's signature for all of it; `None` in a network of unsigned messages.
    pub seal: Option<Seal>,
}

/// What a segment's body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    /// Whole messages, each after its length as a varint.
    Whole {
        /// The number of messages. It is signed, but not sent: the decoder counts them.
        messages: u32,
    },
    /// A piece of one message.
    Fragment {
        /// Whether the message begins here.
        first: bool,
        /// Whether the message ends here.
        last: bool,
    },
}

impl SegmentKind {
    /// Returns the flags on the wire: bit 0 fragment, bit 1 its first, bit 2 its last.
    fn bits(self) -> u8 {
        match self {
            Self::Whole { .. } => 0,
            Self::Fragment { first, last } => 1 | u8::from(first) << 1 | u8::from(last) << 2,
        }
    }
}

/// Whom a message is for. All messages of a segment are of one kind, so that a segment says it
/// once, in four bits of its flags: messages of one kind mostly come in a row, and a reader that
/// takes them as a whole need not look at each.
///
/// A node that does not know a kind checks its segments, retains and passes them on, and counts
/// their messages as read: its own application sees neither messages nor a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageKind {
    /// For every reader, as the application wrote it.
    #[default]
    Application,
    /// A query, which a node with an answer answers over a stream: its number (8 bytes, big
    /// endian), then its bytes.
    Query,
    /// For the readers of one channel: the length of the channel's name (1 byte), the name, then
    /// the message.
    Channel,
    /// The end of what its writer has for every reader, and empty: until the writer starts again,
    /// no message of the kind [`Application`](Self::Application) comes after it.
    End,
    /// Stands for what the next version adds.
    #[cfg(smokesignal_next)]
    Next,
    /// For readers of a later version: one of the numbers that no kind above has, below 16.
    Other(u8),
}

impl MessageKind {
    /// Bytes of a channel's name at most.
    pub const MAX_CHANNEL: usize = 32;
    /// Bytes that a kind puts before a message, at most.
    pub const MAX_HEAD: usize = 1 + Self::MAX_CHANNEL;

    /// Returns the four bits on the wire.
    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::Application => 0,
            Self::Query => 1,
            Self::Channel => 2,
            Self::End => 3,
            #[cfg(smokesignal_next)]
            Self::Next => 13,
            Self::Other(number) => number & 15,
        }
    }

    /// Returns the kind with these four bits.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Application,
            1 => Self::Query,
            2 => Self::Channel,
            3 => Self::End,
            #[cfg(smokesignal_next)]
            13 => Self::Next,
            number => Self::Other(number & 15),
        }
    }

    /// Returns whether the message, or its first fragment, has the head that its kind demands.
    pub(crate) fn is_headed(self, message: &[u8]) -> bool {
        match self {
            Self::Application | Self::Other(_) => true,
            #[cfg(smokesignal_next)]
            Self::Next => true,
            Self::Query => message.len() >= 8,
            Self::Channel => message.first().is_some_and(|length| {
                let length = usize::from(*length);
                (1..=Self::MAX_CHANNEL).contains(&length) && length < message.len()
            }),
            Self::End => message.is_empty(),
        }
    }
}

/// A writer's signature for a batch of segments, and the proof that one of them belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    pub(crate) signature: Signature,
    /// When it was signed, by the writer's clock, in seconds since 1970.
    pub(crate) signed_at: u64,
    pub(crate) proof: InclusionProof,
}

/// The root of a hash tree whose signature was verified, with that signature: other segments that
/// lead to it need only be hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerifiedRoot {
    hash: Hash,
    signed_at: u64,
    signature: [u8; 64],
}

impl Segment {
    /// Signs the segment alone with the writer's key, for this network. The time is in seconds
    /// since 1970.
    pub fn sign(&mut self, keypair: &Keypair, network: &[u8; 32], time: u64) {
        sign_batch(std::slice::from_mut(self), keypair, network, time);
    }

    /// Signs consecutive segments together, at most 16 with one signature; each can be checked
    /// alone.
    pub fn sign_all(segments: &mut [Self], keypair: &Keypair, network: &[u8; 32], time: u64) {
        segments.chunks_mut(MAX_LEAVES).for_each(|batch| sign_batch(batch, keypair, network, time));
    }

    /// Returns whether its writer wrote it, in this network.
    pub fn verify(&self, network: &[u8; 32]) -> bool {
        self.verify_after(network, &mut None)
    }

    /// The same. `last` is the root that was verified last for this writer, and becomes this
    /// segment's.
    pub(crate) fn verify_after(&self, network: &[u8; 32], last: &mut Option<VerifiedRoot>) -> bool {
        let Some(Seal { signature, signed_at, proof }) = &self.seal else { return false };
        if signature.was_verified(&self.origin, network) {
            return true;
        }
        let hash = proof.root(self.leaf(network));
        let root = VerifiedRoot { hash, signed_at: *signed_at, signature: *signature.as_bytes() };
        if last.as_ref() == Some(&root) {
            signature.remember(&self.origin, network);
            return true;
        }
        let holds = is_signed((&hash, *signed_at), signature, &self.origin, network);
        if holds {
            *last = Some(root);
        }
        holds
    }

    /// Returns the flags on the wire but for the signature's: bits 0 to 2 what the body holds, bits
    /// 4 to 7 whom it is for.
    pub(crate) fn flags(&self) -> u8 {
        self.kind.bits() | self.message_kind.bits() << 4
    }

    /// Returns how many messages are complete with it.
    pub(crate) fn messages_ended(&self) -> u64 {
        match self.kind {
            SegmentKind::Whole { messages } => messages.into(),
            SegmentKind::Fragment { last, .. } => u64::from(last),
        }
    }

    /// Returns everything that is signed of it. The body is hashed on its own, because a whole
    /// buffer is hashed fastest.
    pub(crate) fn head(&self) -> Head {
        let Self { origin, incarnation, seq, first_message, .. } = *self;
        let messages = match self.kind {
            SegmentKind::Whole { messages } => messages,
            SegmentKind::Fragment { .. } => 0,
        };
        let body = *blake3::hash(&self.body).as_bytes();
        Head { origin, incarnation, seq, first_message, flags: self.flags(), messages, body }
    }

    fn leaf(&self, network: &[u8; 32]) -> Hash {
        self.head().leaf(network)
    }
}

fn sign_batch(segments: &mut [Segment], keypair: &Keypair, network: &[u8; 32], signed_at: u64) {
    let leaves = segments.iter().map(|segment| segment.leaf(network)).collect();
    let Some((root, proofs)) = hash_tree::build(leaves) else { return };
    let signature = Signature::new(keypair.sign(&signed_text(&root, signed_at)));
    for (segment, proof) in segments.iter_mut().zip(proofs) {
        segment.seal = Some(Seal { signature: signature.clone(), signed_at, proof });
    }
}

/// Returns whether the writer has signed this root at this time, in this network.
pub(crate) fn is_signed(
    (root, time): (&Hash, u64),
    signature: &Signature,
    writer: &NodeId,
    network: &[u8; 32],
) -> bool {
    signature.verify(writer, network, || signed_text(root, time))
}

/// Returns whether a segment may have these flags and this number of whole messages.
pub(crate) fn has_sane_flags(flags: u8, messages: u32) -> bool {
    let is_end = MessageKind::from_bits(flags >> 4) == MessageKind::End;
    match flags & 15 {
        0 => (1..=MAX_MESSAGES).contains(&messages),
        1 | 3 | 5 | 7 => messages == 0 && !is_end,
        _ => false,
    }
}

fn signed_text(root: &Hash, time: u64) -> Vec<u8> {
    [&b"smokesignal seal 1\0"[..], root, &time.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: [u8; 32] = [5; 32];
    const TIME: u64 = 1_800_000_000;

    fn batch(count: u64) -> Vec<Segment> {
        let keypair = Keypair::from_seed(&[1; 32]);
        let (origin, incarnation, kind, seal) = (keypair.id(), 1, SegmentKind::Whole { messages: 1 }, None);
        let segment = |seq| {
            let (first_message, seal, body) = (seq, seal.clone(), vec![1, seq as u8].into());
            let message_kind = MessageKind::Application;
            Segment { origin, incarnation, seq, first_message, kind, message_kind, body, seal }
        };
        let mut segments: Vec<_> = (1..=count).map(segment).collect();
        sign_batch(&mut segments, &keypair, &NETWORK, TIME);
        segments
    }

    #[test]
    fn each_segment_of_a_batch_of_any_size_can_be_checked_alone() {
        for count in 1..=MAX_LEAVES as u64 {
            for segment in batch(count) {
                assert!(segment.verify(&NETWORK), "{} of {count}", segment.seq);
            }
        }
    }

    #[test]
    fn after_the_first_of_a_batch_the_others_are_only_hashed_and_a_changed_one_is_refused() {
        let segments = batch(7);
        let mut last = None;
        assert!(segments[0].verify_after(&NETWORK, &mut last));
        let root = last.clone();
        assert!(segments[6].verify_after(&NETWORK, &mut last));
        assert_eq!(last, root);
        let changed: [fn(&mut Segment); 8] = [
            |segment| segment.message_kind = MessageKind::Query,
            |segment| segment.body = vec![1, 99].into(),
            |segment| segment.seq += 1,
            |segment| segment.first_message += 1,
            |segment| segment.incarnation += 1,
            |segment| segment.seal.as_mut().unwrap().signed_at += 1,
            |segment| segment.seal.as_mut().unwrap().proof.hashes[1][0] ^= 1,
            |segment| segment.seal.as_mut().unwrap().proof.left ^= 1,
        ];
        for change in changed {
            let mut segment = segments[3].clone();
            change(&mut segment);
            assert!(!segment.verify_after(&NETWORK, &mut last));
        }
        assert!(!segments[3].clone().verify_after(&[6; 32], &mut last), "another network");
        // The hashes lead to the known root, but the signature is not the one that holds for it: it
        // may not be passed on.
        let mut forged = segments[3].clone();
        forged.seal.as_mut().unwrap().signature = Signature::new([9; 64]);
        assert!(!forged.verify_after(&NETWORK, &mut last));
    }

    #[test]
    fn another_writer_s_root_does_not_help() {
        let mut last = None;
        let segments = batch(2);
        assert!(segments[0].verify_after(&NETWORK, &mut last));
        let stranger = Keypair::from_seed(&[2; 32]);
        let mut segment = segments[1].clone();
        segment.origin = stranger.id();
        assert!(!segment.verify_after(&NETWORK, &mut last));
    }
}
