//! What a writer has signed of a segment, without its body: it proves how far the stream is.
//!
//! A neighbour's mark is a claim. A node that enters a network begins to read a stream where its
//! neighbours are, and announces that position to the next node; if it believed them, one lie would
//! travel on and on. So it asks for a proof ([`Control::Prove`](crate::Control::Prove)): the head
//! of a segment, the hash of its body, and the way to the root that the writer has signed, some 300
//! bytes. Each node keeps the last one of each stream, so that it can prove what it has not read
//! itself, or retains no more.

use serde::{Deserialize, Serialize};

use crate::hash_tree::{Hash, InclusionProof, MAX_PROOF};
use crate::id::{NodeId, Signature};
use crate::segment::{self, MessageKind, Seal, Segment};

/// Everything that is signed of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) origin: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) seq: u64,
    pub(crate) first_message: u64,
    /// What the body holds, and whom it is for, as on the wire.
    pub(crate) flags: u8,
    /// The whole messages in it; 0 in a fragment.
    pub(crate) messages: u32,
    pub(crate) body: Hash,
}

/// A proof that a writer has written a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentProof {
    pub(crate) head: Head,
    signature: Signature,
    /// As in the seal of the segment.
    signed_at: u64,
    left: u8,
    hashes: Vec<Hash>,
}

impl Head {
    /// Returns the number of the first message that begins after the segment.
    pub(crate) fn next_message(&self) -> u64 {
        self.first_message + u64::from(self.messages.max(1))
    }

    /// Returns the same, but that of an end if the segment is one: an end is not missed.
    pub(crate) fn next_missed(&self) -> u64 {
        match MessageKind::from_bits(self.flags >> 4) {
            MessageKind::End => self.first_message,
            _ => self.next_message(),
        }
    }

    pub(crate) fn leaf(&self, network: &[u8; 32]) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"smokesignal segment 1\0").update(network).update(self.origin.as_bytes());
        for number in [self.incarnation, self.seq, self.first_message] {
            hasher.update(&number.to_be_bytes());
        }
        hasher.update(&[self.flags]).update(&self.messages.to_be_bytes()).update(&self.body);
        *hasher.finalize().as_bytes()
    }
}

impl SegmentProof {
    /// Returns the proof that a segment carries; `None` where segments are not signed.
    pub fn of(segment: &Segment) -> Option<Self> {
        let Seal { signature, signed_at, proof } = segment.seal.clone()?;
        let InclusionProof { hashes, left } = proof;
        Some(Self { head: segment.head(), signature, signed_at, left, hashes })
    }

    /// Returns the writer.
    pub fn origin(&self) -> NodeId {
        self.head.origin
    }

    /// Returns whether all numbers are in their range. The decoder refuses others.
    pub(crate) fn is_sane(&self) -> bool {
        let Head { incarnation, seq, first_message, .. } = self.head;
        let sane = 1..1 << 62;
        [incarnation, seq, first_message].iter().all(|number| sane.contains(number))
            && self.hashes.len() <= MAX_PROOF
            && u32::from(self.left) >> self.hashes.len() == 0
            && segment::has_sane_flags(self.head.flags, self.head.messages)
    }

    /// Returns whether the writer wrote it, in this network.
    pub(crate) fn verify(&self, network: &[u8; 32]) -> bool {
        let proof = InclusionProof { hashes: self.hashes.clone(), left: self.left };
        let root = proof.root(self.head.leaf(network));
        segment::is_signed((&root, self.signed_at), &self.signature, &self.head.origin, network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MAX_MESSAGES;
    use crate::id::Keypair;
    use crate::segment::SegmentKind;

    const NETWORK: [u8; 32] = [5; 32];

    fn proofs() -> Vec<SegmentProof> {
        let keypair = Keypair::from_seed(&[1; 32]);
        let segment = |seq| Segment {
            origin: keypair.id(),
            incarnation: 7,
            seq,
            first_message: seq,
            kind: SegmentKind::Whole { messages: 1 },
            message_kind: MessageKind::Application,
            body: vec![1, seq as u8].into(),
            seal: None,
        };
        let mut batch: Vec<_> = (1..=5).map(segment).collect();
        Segment::sign_all(&mut batch, &keypair, &NETWORK, 9);
        batch.iter().filter_map(SegmentProof::of).collect()
    }

    #[test]
    fn each_segment_of_a_batch_is_proven_without_its_body() {
        let proofs = proofs();
        assert_eq!(proofs.len(), 5);
        assert!(proofs.iter().all(|proof| proof.is_sane() && proof.verify(&NETWORK)));
        assert!(!proofs[0].verify(&[6; 32]), "another network");
    }

    #[test]
    fn a_proof_with_any_other_number_proves_nothing() {
        let changes: [fn(&mut SegmentProof); 9] = [
            |proof| proof.head.origin = Keypair::from_seed(&[2; 32]).id(),
            |proof| proof.head.incarnation += 1,
            |proof| proof.head.seq += 1,
            |proof| proof.head.first_message += 1,
            |proof| proof.head.messages += 1,
            |proof| proof.head.flags ^= 16,
            |proof| proof.head.body[0] ^= 1,
            |proof| proof.hashes[0][0] ^= 1,
            |proof| proof.signed_at += 1,
        ];
        for change in changes {
            let mut proof = proofs()[2].clone();
            change(&mut proof);
            assert!(!proof.verify(&NETWORK), "{proof:?}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_not_sane() {
        let changes: [fn(&mut SegmentProof); 7] = [
            |proof| proof.head.messages = MAX_MESSAGES + 1,
            |proof| proof.head.seq = 0,
            |proof| proof.head.seq = 1 << 62,
            |proof| proof.hashes = vec![[0; 32]; MAX_PROOF + 1],
            |proof| proof.left = 0xff,
            |proof| proof.head.flags = 2,
            |proof| proof.head.messages = 0,
        ];
        for change in changes {
            let mut proof = proofs()[2].clone();
            change(&mut proof);
            assert!(!proof.is_sane(), "{proof:?}");
        }
    }
}
