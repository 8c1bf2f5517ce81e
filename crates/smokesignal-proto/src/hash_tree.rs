//! A hash tree over a few leaves: one root stands for all of them, and each leaf can be checked
//! alone.
//!
//! Neighbouring hashes are joined level by level (R. Merkle, "A Digital Signature Based on a
//! Conventional Encryption Function", 1987); the last hash of an odd level moves up unchanged. The
//! proof that a leaf belongs to a root is the list of hashes beside its path, from the leaf up. The
//! receiver joins them in turn and compares the result with the root.

/// Leaves of one tree at most. Default 16, so that a proof has four hashes and checking one costs a
/// tenth of passing the segment on.
pub(crate) const MAX_LEAVES: usize = 16;
/// Hashes in a proof at most: the tree's height.
pub(crate) const MAX_PROOF: usize = 4;

/// A BLAKE3 hash.
pub(crate) type Hash = [u8; 32];

/// The hashes that lead from one leaf to the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InclusionProof {
    /// The hashes beside the path, from the leaf up; at most [`MAX_PROOF`].
    pub(crate) hashes: Vec<Hash>,
    /// Bit n is set where hash n stands on the left of the path.
    pub(crate) left: u8,
}

impl InclusionProof {
    /// Returns the root that this proof leads to from `leaf`.
    pub(crate) fn root(&self, leaf: Hash) -> Hash {
        let join = |below: Hash, (n, beside): (usize, &Hash)| {
            if self.left >> n & 1 == 1 { join(beside, &below) } else { join(&below, beside) }
        };
        self.hashes.iter().enumerate().fold(leaf, join)
    }
}

/// Returns the root over the leaves, and each leaf's proof; `None` without leaves.
pub(crate) fn build(leaves: Vec<Hash>) -> Option<(Hash, Vec<InclusionProof>)> {
    let mut proofs = vec![InclusionProof::default(); leaves.len()];
    let mut level = leaves;
    // The number of leaves that one hash of this level stands for.
    let mut span = 1;
    while level.len() > 1 {
        for (ix, proof) in proofs.iter_mut().enumerate() {
            let beside = (ix / span) ^ 1;
            if let Some(hash) = level.get(beside) {
                proof.left |= u8::from(beside < ix / span) << proof.hashes.len();
                proof.hashes.push(*hash);
            }
        }
        level = level.chunks(2).map(|pair| if let [a, b] = pair { join(a, b) } else { pair[0] }).collect();
        span *= 2;
    }
    level.first().map(|root| (*root, proofs))
}

fn join(left: &Hash, right: &Hash) -> Hash {
    *blake3::Hasher::new().update(b"smokesignal pair 1\0").update(left).update(right).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_of_a_tree_of_any_size_leads_to_its_root_and_no_other_leaf_does() {
        for count in 1..=MAX_LEAVES as u8 {
            let leaves: Vec<Hash> = (0..count).map(|n| [n; 32]).collect();
            let (root, proofs) = build(leaves.clone()).unwrap();
            for (leaf, proof) in leaves.into_iter().zip(proofs) {
                assert!(proof.hashes.len() <= MAX_PROOF);
                assert_eq!(proof.root(leaf), root);
                assert_ne!(proof.root([99; 32]), root);
            }
        }
        assert!(build(Vec::new()).is_none());
    }
}
