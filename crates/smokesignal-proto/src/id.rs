//! The identity of a node: its ed25519 public key, and the key pair that proves it.
//!
//! An id is a public key, so nothing has to vouch for it: the transport proves that the other side
//! holds the private half, and signatures prove what it has said to nodes that are not linked to
//! it. A [`Signature`] remembers that it was verified, because one process may hold many nodes that
//! are handed the same message.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// A node's name in the network: its ed25519 public key (32 bytes, written as 64 hex digits).
///
/// Nobody can take another node's id, because the transport proves possession of the private key.
///
/// ```
/// use smokesignal_proto::NodeId;
///
/// let text = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
/// let id: NodeId = text.parse()?;
/// assert_eq!((id.to_string(), id.short()), (text.to_owned(), "ea4a6c63e2".to_owned()));
/// # Ok::<_, smokesignal_proto::ParseNodeIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId([u8; 32]);

/// The public keys of small order, in all encodings and without the bit of the sign. Anybody can
/// make signatures that hold for them, without a private key, and ring accepts those. The first
/// five are the points with y = 0, 1 and -1, the last two those of order 8.
const WEAK: [[u8; 32]; 7] = [
    filled(0, 0, 0),
    filled(1, 0, 0),
    filled(0xec, 0xff, 0x7f),
    filled(0xed, 0xff, 0x7f),
    filled(0xee, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

const fn filled(first: u8, others: u8, last: u8) -> [u8; 32] {
    let mut bytes = [others; 32];
    (bytes[0], bytes[31]) = (first, last);
    bytes
}

impl NodeId {
    /// The id with these 32 bytes. Whether they are a usable key shows when a signature is checked.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the first 8 bytes as one number, the short name of a node on the wire.
    ///
    /// ```
    /// use smokesignal_proto::NodeId;
    ///
    /// assert_eq!(NodeId::from_bytes([1; 32]).prefix(), 0x0101_0101_0101_0101);
    /// ```
    pub fn prefix(&self) -> u64 {
        self.0.iter().take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
    }

    /// The first 10 hex digits: enough for people to tell the nodes of one network apart.
    pub fn short(&self) -> String {
        self.to_string()[..10].to_owned()
    }

    /// Whether no key pair has this id: it is a key of small order, with which anybody could sign.
    /// Such a node is never connected to, and nothing that it is said to have signed holds.
    pub fn is_weak(&self) -> bool {
        let mut key = self.0;
        key[31] &= 0x7f;
        WEAK.contains(&key)
    }

    /// Whether `signature` over `message` was made with this id's private key.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        !self.is_weak() && UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// The text is not a node id.
///
/// ```
/// let error = "ann".parse::<smokesignal_proto::NodeId>().unwrap_err();
/// assert!(error.to_string().starts_with("`ann` is not a node id: expected 64 hex digits"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a node id: {why}")]
pub struct ParseNodeIdError {
    text: String,
    why: &'static str,
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |why| ParseNodeIdError { text: text.chars().take(80).collect(), why };
        let error = || refused("expected 64 hex digits, as `smokesignal id` prints them");
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| error())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
        }
        let id = Self(bytes);
        if id.is_weak() {
            Err(refused("no key pair has it; use one that `smokesignal id` has printed"))
        } else {
            Ok(id)
        }
    }
}

/// A node's private key with its public half. Signs; never leaves the process.
///
/// ```
/// use smokesignal_proto::Keypair;
///
/// let keypair = Keypair::from_seed(&[7; 32]);
/// let signature = keypair.sign(b"a text");
/// assert!(keypair.id().verify(b"a text", &signature));
/// assert!(!keypair.id().verify(b"another text", &signature));
/// ```
pub struct Keypair {
    pair: Ed25519KeyPair,
    id: NodeId,
}

impl Keypair {
    /// The key pair of this 32-byte ed25519 seed. The same seed gives the same id.
    #[expect(clippy::missing_panics_doc, reason = "every 32-byte string is an ed25519 seed")]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an ed25519 seed");
        let mut id = [0; 32];
        id.copy_from_slice(pair.public_key().as_ref());
        Self { pair, id: NodeId(id) }
    }

    /// The public half.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The 64-byte ed25519 signature over `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({:?}, private half not shown)", self.id)
    }
}

/// An ed25519 signature, which remembers that it was found to hold.
///
/// Checking one takes about 50 µs, and one process may hold many nodes that are given the same
/// message. The memory belongs to the signed message: a clone of it begins without, so change the
/// fields of a clone only.
#[derive(Serialize, Deserialize)]
#[serde(from = "Halves", into = "Halves")]
pub struct Signature {
    bytes: [u8; 64],
    /// The signer and the network that it was verified for.
    holds: OnceLock<(NodeId, [u8; 32])>,
}

/// Because serde knows arrays up to 32 bytes only.
type Halves = ([u8; 32], [u8; 32]);

impl Signature {
    /// These 64 bytes, which may or may not be anybody's signature.
    pub const fn new(bytes: [u8; 64]) -> Self {
        Self { bytes, holds: OnceLock::new() }
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.bytes
    }

    /// Whether `signer` signed `text`, which names the network.
    pub(crate) fn verify(&self, signer: &NodeId, network: &[u8; 32], text: impl FnOnce() -> Vec<u8>) -> bool {
        if self.was_verified(signer, network) {
            return true;
        }
        let holds = signer.verify(&text(), &self.bytes);
        if holds {
            self.remember(signer, network);
        }
        holds
    }

    /// Whether it was found to hold before.
    pub(crate) fn was_verified(&self, signer: &NodeId, network: &[u8; 32]) -> bool {
        self.holds.get().is_some_and(|(id, known)| id == signer && known == network)
    }

    /// It was found to hold.
    pub(crate) fn remember(&self, signer: &NodeId, network: &[u8; 32]) {
        self.holds.get_or_init(|| (*signer, *network));
    }
}

impl Clone for Signature {
    fn clone(&self) -> Self {
        Self::new(self.bytes)
    }
}

impl PartialEq for Signature {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Signature {}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature")
    }
}

impl From<Halves> for Signature {
    fn from((first, second): Halves) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&first);
        bytes[32..].copy_from_slice(&second);
        Self::new(bytes)
    }
}

impl From<Signature> for Halves {
    fn from(signature: Signature) -> Self {
        let mut halves = ([0; 32], [0; 32]);
        halves.0.copy_from_slice(&signature.bytes[..32]);
        halves.1.copy_from_slice(&signature.bytes[32..]);
        halves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = Keypair::from_seed(&[7; 32]).id();
        assert_eq!(id.to_string().parse::<NodeId>().unwrap(), id);
        assert_eq!(id.short().len(), 10);
    }

    #[test]
    fn other_texts_are_refused_with_the_cure() {
        for text in ["", "abc", &"g".repeat(64), &"ä".repeat(32)] {
            let error = text.parse::<NodeId>().unwrap_err().to_string();
            assert!(error.contains("64 hex digits"), "{error}");
        }
    }

    /// Everybody can make these signatures: they need no private key.
    #[test]
    fn a_key_of_small_order_is_no_id_and_signs_nothing() {
        for key in WEAK {
            for sign in [0, 0x80] {
                let mut key = key;
                key[31] |= sign;
                let id = NodeId(key);
                let mut forged = [0; 64];
                forged[0] = 1;
                let ring = UnparsedPublicKey::new(&ED25519, &key);
                let message = (0..=255_u8).map(|n| [n]).find(|message| ring.verify(message, &forged).is_ok());
                assert!(message.is_some(), "{id} does not sign everything, so it need not be refused");
                assert!(!id.verify(&message.unwrap(), &forged));
                let error = id.to_string().parse::<NodeId>().unwrap_err().to_string();
                assert!(error.contains(&id.to_string()) && error.contains("no key pair"), "{error}");
            }
        }
        assert!(!Keypair::from_seed(&[7; 32]).id().is_weak());
    }

    #[test]
    fn a_signature_holds_for_its_message_and_signer_only() {
        let (a, b) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
        let signature = a.sign(b"hello");
        assert!(a.id().verify(b"hello", &signature));
        assert!(!a.id().verify(b"hellO", &signature));
        assert!(!b.id().verify(b"hello", &signature));
    }
}
