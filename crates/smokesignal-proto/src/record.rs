//! A node's signed statement of where it can be reached.
//!
//! Walks and shuffles carry records from node to node, so most of them come from nodes other than
//! their owner. The signature makes that safe: nobody can send others to an address that its owner
//! has not named. A record also says which network it is for and which start of the node it belongs
//! to, so that an old one never replaces a new one.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{Keypair, NodeId, Signature};

/// Addresses in one record at most. A host has few addresses worth trying; more would be a dial
/// amplifier.
pub const MAX_ADDRESSES: usize = 4;

/// "I am `id` and listen at `addresses`", signed by `id`.
///
/// Records travel from node to node in walks and shuffles. Nobody dials an address on a stranger's
/// word: the signature proves that the owner of the id named it, and the transport proves who
/// answers there.
///
/// A record is shared, not copied: a node knows hundreds, and checks the signature of each only
/// once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Statement", into = "Statement")]
pub struct Record(Arc<Statement>);

/// The contents of a [`Record`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The owner of the record.
    pub id: NodeId,
    /// Where it listens, best first, at most [`MAX_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
    /// The higher replaces the lower. Unix milliseconds of the node's start.
    pub version: u64,
    signature: Signature,
}

impl Deref for Record {
    type Target = Statement;

    fn deref(&self) -> &Statement {
        &self.0
    }
}

impl From<Statement> for Record {
    fn from(statement: Statement) -> Self {
        Self(Arc::new(statement))
    }
}

impl From<Record> for Statement {
    fn from(record: Record) -> Self {
        Arc::unwrap_or_clone(record.0)
    }
}

impl Record {
    /// A record of the key's owner, valid in the network with this id only.
    pub fn sign(keypair: &Keypair, network: &[u8; 32], mut addresses: Vec<SocketAddr>, version: u64) -> Self {
        addresses.truncate(MAX_ADDRESSES);
        let text = signed_text(keypair.id(), network, &addresses, version);
        let signature = Signature::new(keypair.sign(&text));
        Statement { id: keypair.id(), addresses, version, signature }.into()
    }

    /// Whether the record may be believed in this network: signed by its owner and within the
    /// limits.
    pub fn verify(&self, network: &[u8; 32]) -> bool {
        let text = || signed_text(self.id, network, &self.addresses, self.version);
        self.addresses.len() <= MAX_ADDRESSES && self.signature.verify(&self.id, network, text)
    }

    /// The address to dial for a node that listens at `own`: the first one that such a node can
    /// mean. A learnt address must not make us probe our own host or network for somebody outside
    /// of it.
    pub(crate) fn dialable_from(&self, own: &[SocketAddr]) -> Option<SocketAddr> {
        self.addresses.iter().copied().find(|address| may_dial(*address, own))
    }
}

fn signed_text(id: NodeId, network: &[u8; 32], addresses: &[SocketAddr], version: u64) -> Vec<u8> {
    let mut text = b"smokesignal record 1\0".to_vec();
    text.extend_from_slice(network);
    text.extend_from_slice(id.as_bytes());
    text.extend_from_slice(&version.to_be_bytes());
    for address in addresses {
        match address.ip() {
            IpAddr::V4(ip) => text.extend_from_slice(&ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => text.extend_from_slice(&ip.octets()),
        }
        text.extend_from_slice(&address.port().to_be_bytes());
    }
    text
}

fn may_dial(address: SocketAddr, own: &[SocketAddr]) -> bool {
    let ip = address.ip();
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
        return false;
    }
    let reach = reach(ip);
    reach == Reach::Global || own.iter().any(|own| reach >= self::reach(own.ip()))
}

/// From near to far: a node may be sent to its own class or farther, never nearer.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Loopback,
    LinkLocal,
    Private,
    Global,
}

fn reach(ip: IpAddr) -> Reach {
    match ip.to_canonical() {
        ip if ip.is_loopback() => Reach::Loopback,
        IpAddr::V4(ip) if ip.is_link_local() => Reach::LinkLocal,
        IpAddr::V4(ip) if ip.is_private() => Reach::Private,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Reach::LinkLocal,
        IpAddr::V6(ip) if ip.is_unique_local() => Reach::Private,
        _ => Reach::Global,
    }
}

/// Records that were found right lately, so that one that comes again is compared and not checked:
/// walks and shuffles bring each many times, and a check takes 50 µs.
#[derive(Debug, Default)]
pub(crate) struct VerifiedRecords {
    /// Each one's hash, signature included.
    hashes: BTreeSet<[u8; 32]>,
    /// The oldest in front.
    order: VecDeque<[u8; 32]>,
}

/// Records that are remembered; the oldest loses. 1024: more than a node knows, in 100 KiB.
const MAX_VERIFIED: usize = 1024;

impl VerifiedRecords {
    /// Whether the record may be believed in this network, always the same one.
    pub(crate) fn verify(&mut self, record: &Record, network: &[u8; 32]) -> bool {
        let mut text = signed_text(record.id, network, &record.addresses, record.version);
        text.extend_from_slice(record.signature.as_bytes());
        let hash = *blake3::hash(&text).as_bytes();
        if self.hashes.contains(&hash) {
            return true;
        }
        let holds = record.verify(network);
        if holds {
            self.hashes.insert(hash);
            self.order.push_back(hash);
            if self.order.len() > MAX_VERIFIED
                && let Some(oldest) = self.order.pop_front()
            {
                self.hashes.remove(&oldest);
            }
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: [u8; 32] = [9; 32];

    fn record(addresses: &[&str]) -> Record {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Record::sign(&Keypair::from_seed(&[1; 32]), &NETWORK, addresses, 7)
    }

    #[test]
    fn a_record_is_believed_only_unchanged_and_in_its_own_network() {
        let good = record(&["10.0.0.1:8495"]);
        assert!(good.verify(&NETWORK));
        assert!(!good.verify(&[8; 32]));
        let said = || Statement::from(good.clone());
        let changed = |statement: Statement| Record::from(statement);
        assert!(!changed(Statement { version: 8, ..said() }).verify(&NETWORK));
        let other = Keypair::from_seed(&[2; 32]).id();
        assert!(!changed(Statement { id: other, ..said() }).verify(&NETWORK));
        let elsewhere = vec!["10.0.0.2:8495".parse().unwrap()];
        assert!(!changed(Statement { addresses: elsewhere, ..said() }).verify(&NETWORK));
    }

    #[test]
    fn at_most_four_addresses_are_believed() {
        let addresses = vec!["10.0.0.1:1".parse().unwrap(); 5];
        let many = Statement { addresses, ..record(&["10.0.0.1:1"]).into() };
        assert!(!Record::from(many).verify(&NETWORK));
    }

    #[test]
    fn a_learnt_address_never_points_nearer_than_the_node_itself_lives() {
        let dial = |to: &str, own: &str| record(&[to]).dialable_from(&[own.parse().unwrap()]).is_some();
        assert!(dial("127.0.0.1:9", "127.0.0.1:1"));
        assert!(!dial("127.0.0.1:9", "10.0.0.1:1"));
        assert!(!dial("[::1]:9", "10.0.0.1:1"));
        assert!(!dial("[::ffff:127.0.0.1]:9", "10.0.0.1:1"));
        assert!(dial("10.0.0.9:9", "10.0.0.1:1"));
        assert!(!dial("10.0.0.9:9", "8.8.8.8:1"));
        assert!(dial("8.8.8.8:9", "10.0.0.1:1"));
        for never in ["0.0.0.0:9", "224.0.0.1:9", "10.0.0.9:0"] {
            assert!(!dial(never, "127.0.0.1:1"), "{never}");
        }
    }

    #[test]
    fn a_record_that_was_proved_is_known_again_and_a_changed_one_is_not() {
        let (keypair, mut proved) = (Keypair::from_seed(&[1; 32]), VerifiedRecords::default());
        let record = |version| Record::sign(&keypair, &NETWORK, vec![], version);
        assert!(proved.verify(&record(1), &NETWORK) && proved.verify(&record(1), &NETWORK));
        assert_eq!(proved.hashes.len(), 1);
        let forged: Record = Statement { version: 2, ..record(1).into() }.into();
        assert!(!proved.verify(&forged, &NETWORK) && !proved.verify(&forged, &NETWORK));
        let unsigned: Record = Statement { signature: Signature::new([0; 64]), ..record(1).into() }.into();
        assert!(!proved.verify(&unsigned, &NETWORK));
        (2..2 + MAX_VERIFIED as u64).for_each(|version| assert!(proved.verify(&record(version), &NETWORK)));
        assert_eq!((proved.hashes.len(), proved.order.len()), (MAX_VERIFIED, MAX_VERIFIED));
    }
}
