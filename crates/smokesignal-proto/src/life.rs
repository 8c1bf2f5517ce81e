//! Signs of life: what a writer signs to show that it is there now, and what streams count as
//! without one; see `node/liveness.rs`.

use serde::{Deserialize, Serialize};

use crate::context::Cx;
use crate::id::{Keypair, NodeId, Signature};

/// A random number that a writer has to sign.
pub type Nonce = [u8; 16];

/// A writer's answer to a [`Control::Challenge`](crate::Control::Challenge).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeSign {
    /// The writer.
    pub writer: NodeId,
    /// Its start.
    pub incarnation: u64,
    /// The time by its clock, in seconds since 1970.
    pub time: u64,
    /// The number that it was sent.
    pub nonce: Nonce,
    signature: Signature,
}

/// Whether the writer of a stream is known to live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Life {
    /// Nothing of the stream has been taken.
    #[default]
    Unknown,
    /// This number of bytes was taken as written before this node joined.
    Recorded(usize),
    /// It has lived since this node joined.
    Alive,
}

impl LifeSign {
    /// Signs a challenge with the writer's key, for this network. The time is in seconds since
    /// 1970.
    pub fn sign(keypair: &Keypair, network: &[u8; 32], incarnation: u64, time: u64, nonce: Nonce) -> Self {
        let signature = Signature::new([0; 64]);
        let mut sign = Self { writer: keypair.id(), incarnation, time, nonce, signature };
        sign.signature = Signature::new(keypair.sign(&sign.signed_text(network)));
        sign
    }

    /// Answers a challenge for this node.
    pub(crate) fn of_own(cx: &Cx<'_>, nonce: Nonce) -> Self {
        let (me, network) = (cx.me, &cx.config.network);
        Self::sign(me.keypair(), network, me.incarnation(), cx.unix_time(), nonce)
    }

    /// Returns whether its writer has signed it, in this network.
    pub fn verify(&self, network: &[u8; 32]) -> bool {
        self.signature.verify(&self.writer, network, || self.signed_text(network))
    }

    fn signed_text(&self, network: &[u8; 32]) -> Vec<u8> {
        let mut text = b"smokesignal alive 1\0".to_vec();
        text.extend_from_slice(network);
        text.extend_from_slice(&self.incarnation.to_be_bytes());
        text.extend_from_slice(&self.time.to_be_bytes());
        text.extend_from_slice(&self.nonce);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_with_any_other_number_proves_nothing() {
        let network = [5; 32];
        let sign = LifeSign::sign(&Keypair::from_seed(&[1; 32]), &network, 7, 9, [3; 16]);
        assert!(sign.verify(&network));
        assert!(!sign.clone().verify(&[6; 32]), "another network");
        let changes: [fn(&mut LifeSign); 4] = [
            |sign| sign.writer = Keypair::from_seed(&[2; 32]).id(),
            |sign| sign.incarnation += 1,
            |sign| sign.time += 1,
            |sign| sign.nonce[15] ^= 1,
        ];
        for change in changes {
            let mut changed = sign.clone();
            change(&mut changed);
            assert!(!changed.verify(&network), "{changed:?}");
        }
    }
}
