//! One signature for many segments, of which each can be checked alone.
//!
//! A signature takes as long to check as 64 KiB take to pass a node. So a writer that has many segments to send hashes
//! them into a tree and signs its root (R. Merkle, "A Digital Signature Based on a Conventional Encryption Function", 1987).
//! Each segment carries the signature and the hashes beside its way to the root: whoever has checked the signature once
//! only hashes the others, and whoever begins to read in the middle needs nothing that came before.

use crate::config::Config;
use crate::id::{Keypair, Signature};
use crate::message::Segment;
use crate::time::Instant;

/// Segments under one signature at most: 16, so that the way has four hashes and checking costs a tenth of the passing.
pub(crate) const MAX_SEALED: usize = 16;
/// Hashes on the way from a segment to the root at most.
pub(crate) const MAX_WAY: usize = 4;

type Hash = [u8; 32];

/// The writer's signature for a batch of segments, and the way from one of them to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    pub(crate) signature: Signature,
    /// The hashes beside the way, from the segment up; at most [`MAX_WAY`].
    pub(crate) way: Vec<Hash>,
    /// Bit n: the n-th of them stands on the left.
    pub(crate) left: u8,
}

/// A root whose signature was found right, with it: others that lead to it need no check but hashing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    hash: Hash,
    signature: [u8; 64],
}

/// Signs the segments, at most [`MAX_SEALED`], with their writer's key for this network.
pub(crate) fn seal(segments: &mut [Segment], keypair: &Keypair, network: &[u8; 32]) {
    let mut ways: Vec<(Vec<Hash>, u8)> = vec![(Vec::new(), 0); segments.len()];
    let mut level: Vec<Hash> = segments.iter().map(|segment| leaf(segment, network)).collect();
    // How many segments one hash of this level stands for.
    let mut span = 1;
    while level.len() > 1 {
        for (ix, (way, left)) in ways.iter_mut().enumerate() {
            // The last hash of an odd level moves up alone.
            let beside = (ix / span) ^ 1;
            if let Some(hash) = level.get(beside) {
                *left |= u8::from(beside < ix / span) << way.len();
                way.push(*hash);
            }
        }
        level = level.chunks(2).map(|pair| if let [a, b] = pair { join(a, b) } else { pair[0] }).collect();
        span *= 2;
    }
    let Some(root) = level.first() else { return };
    let signature = Signature::new(keypair.sign(&signed_text(root)));
    for (segment, (way, left)) in segments.iter_mut().zip(ways) {
        segment.seal = Some(Seal { signature: signature.clone(), way, left });
    }
}

/// Whether the segment's writer wrote it, in this network. `last` is the root that was checked last for this writer, and
/// becomes this one's.
pub(crate) fn verify(segment: &Segment, network: &[u8; 32], last: &mut Option<Root>) -> bool {
    let Some(Seal { signature, way, left }) = &segment.seal else { return false };
    if signature.was_verified(&segment.origin, network) {
        return true;
    }
    let mut hash = leaf(segment, network);
    for (n, beside) in way.iter().enumerate() {
        hash = if left >> n & 1 == 1 { join(beside, &hash) } else { join(&hash, beside) };
    }
    let root = Root { hash, signature: *signature.as_bytes() };
    if last.as_ref() == Some(&root) {
        signature.remember(&segment.origin, network);
        return true;
    }
    let holds = signature.verify(&segment.origin, network, || signed_text(&hash));
    if holds {
        *last = Some(root);
    }
    holds
}

/// When the writer may sign again: a few signatures at once, then one now and then (the generic cell rate algorithm of
/// ITU-T I.371). A signature costs its writer little and each reader much.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When all that was signed would have been signed in even steps; a burst ahead at most.
    even: Instant,
}

impl Pace {
    /// The next signature may be made from then on.
    pub(crate) fn next(&self, config: &Config) -> Instant {
        let ahead = config.sign_every * config.sign_burst.saturating_sub(1);
        Instant::ZERO + self.even.since(Instant::ZERO + ahead)
    }

    pub(crate) fn signed(&mut self, now: Instant, config: &Config) {
        // Who signs more often, because of `sign_bytes`, does not pay for it later: nothing waits longer than one step.
        let latest = now + config.sign_every * config.sign_burst;
        self.even = (self.even.max(now) + config.sign_every).min(latest);
    }
}

fn signed_text(root: &Hash) -> Vec<u8> {
    [&b"smokesignal seal 1\0"[..], root].concat()
}

/// Says all about the segment, its writer and its network. The body is hashed on its own, because its hash is fastest
/// from a whole buffer.
fn leaf(segment: &Segment, network: &[u8; 32]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"smokesignal segment 1\0").update(network).update(segment.origin.as_bytes());
    for number in [segment.incarnation, segment.seq, segment.first_message] {
        hasher.update(&number.to_be_bytes());
    }
    hasher.update(&[segment.kind.bits()]).update(blake3::hash(&segment.body).as_bytes());
    *hasher.finalize().as_bytes()
}

fn join(left: &Hash, right: &Hash) -> Hash {
    *blake3::Hasher::new().update(b"smokesignal pair 1\0").update(left).update(right).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::SegmentKind;

    const NETWORK: [u8; 32] = [5; 32];

    fn batch(count: u64) -> Vec<Segment> {
        let keypair = Keypair::from_seed(&[1; 32]);
        let (origin, incarnation, kind, seal) = (keypair.id(), 1, SegmentKind::Whole { messages: 1 }, None);
        let segment = |seq| {
            let (first_message, seal, body) = (seq, seal.clone(), vec![1, seq as u8].into());
            Segment { origin, incarnation, seq, first_message, kind, body, seal }
        };
        let mut segments: Vec<_> = (1..=count).map(segment).collect();
        super::seal(&mut segments, &keypair, &NETWORK);
        segments
    }

    #[test]
    fn each_segment_of_a_batch_of_any_size_can_be_checked_alone() {
        for count in 1..=MAX_SEALED as u64 {
            for segment in batch(count) {
                assert!(segment.seal.as_ref().unwrap().way.len() <= MAX_WAY);
                assert!(verify(&segment, &NETWORK, &mut None), "{} of {count}", segment.seq);
            }
        }
    }

    #[test]
    fn after_the_first_of_a_batch_the_others_are_only_hashed_and_still_not_believed_blindly() {
        let segments = batch(7);
        let mut last = None;
        assert!(verify(&segments[0], &NETWORK, &mut last));
        let root = last.clone();
        assert!(verify(&segments[6], &NETWORK, &mut last));
        assert_eq!(last, root);
        let changed: [fn(&mut Segment); 6] = [
            |segment| segment.body = vec![1, 99].into(),
            |segment| segment.seq += 1,
            |segment| segment.first_message += 1,
            |segment| segment.incarnation += 1,
            |segment| segment.seal.as_mut().unwrap().way[1][0] ^= 1,
            |segment| segment.seal.as_mut().unwrap().left ^= 1,
        ];
        for change in changed {
            let mut segment = segments[3].clone();
            change(&mut segment);
            assert!(!verify(&segment, &NETWORK, &mut last));
        }
        assert!(!verify(&segments[3].clone(), &[6; 32], &mut last), "another network");
        // The hashes lead to the known root, but the signature is not the one that holds for it: it may not be passed on.
        let mut forged = segments[3].clone();
        forged.seal.as_mut().unwrap().signature = Signature::new([9; 64]);
        assert!(!verify(&forged, &NETWORK, &mut last));
    }

    #[test]
    fn a_few_signatures_are_made_at_once_and_then_one_each_4_ms() {
        let config = Config::default();
        let (mut pace, mut now, mut at) = (Pace::default(), Instant::ZERO, Vec::new());
        let begin = now;
        for _ in 0..11 {
            now = now.max(pace.next(&config));
            pace.signed(now, &config);
            at.push((now - begin).as_millis());
        }
        assert_eq!(at, [0, 0, 0, 0, 0, 0, 0, 0, 4, 8, 12]);
        // Whoever signed without being asked to wait has no debt.
        (0..1000).for_each(|_| pace.signed(now, &config));
        assert_eq!(pace.next(&config), now + config.sign_every);
        // Idle time is saved up, but not beyond a burst.
        now = now + config.sign_every * 100;
        for _ in 0..8 {
            assert!(pace.next(&config) <= now);
            pace.signed(now, &config);
        }
        assert!(pace.next(&config) > now);
    }

    #[test]
    fn another_writer_s_root_does_not_help() {
        let mut last = None;
        let segments = batch(2);
        assert!(verify(&segments[0], &NETWORK, &mut last));
        let stranger = Keypair::from_seed(&[2; 32]);
        let mut segment = segments[1].clone();
        segment.origin = stranger.id();
        assert!(!verify(&segment, &NETWORK, &mut last));
    }
}
