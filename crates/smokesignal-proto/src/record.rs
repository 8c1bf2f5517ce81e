//! A node's signed statement of where it can be reached.
//!
//! Walks and shuffles carry records from node to node, so most of them come from nodes other than
//! their owner. The signature makes that safe: nobody can send others to an address that its owner
//! has not named. A record also says which network it is for and which start of the node it belongs
//! to, so that an old one never replaces a new one.
//!
//! An address has a kind. One of a kind that this program does not know is kept as it is, bounded
//! in length and in number, and passed on with the record, whose signature covers it: so the nodes
//! of a later version that know it hear of it through those that do not (as with the optional
//! transitive attributes of BGP, RFC 4271, section 5).

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{Keypair, NodeId, Signature};

/// Addresses of IP in one record at most. A host has few addresses worth trying; more would be a
/// dial amplifier.
pub const MAX_ADDRESSES: usize = 4;
/// Addresses of other kinds in one record at most: as many again.
pub const MAX_OTHER_ADDRESSES: usize = 4;
/// Bytes of an address of another kind at most. 96: a key, a host name of usual length and a port.
pub const MAX_ADDRESS_BYTES: usize = 96;

/// The kinds of addresses on the wire.
const IPV4: u8 = 0;
const IPV6: u8 = 1;
/// Stands for what the next version adds: all bytes of it are the kind.
#[cfg(smokesignal_next)]
const NEXT: u8 = 77;

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The node listens at an address of the internet.
    Ip(SocketAddr),
    /// The node listens somewhere that only nodes of a later version understand.
    Other {
        /// Says how to read the bytes; neither 0 nor 1, which are those of IP.
        kind: u8,
        /// The address itself, of at most [`MAX_ADDRESS_BYTES`].
        bytes: Box<[u8]>,
    },
}

impl Address {
    /// Stands for an address of the kind that the next version adds.
    #[cfg(smokesignal_next)]
    pub(crate) fn next() -> Self {
        Self::Other { kind: NEXT, bytes: [NEXT; MAX_ADDRESS_BYTES].into() }
    }

    /// Returns the address of a kind, if the bytes are one.
    fn from_wire(kind: u8, bytes: &[u8]) -> Option<Self> {
        let port = |port: &[u8; 2]| u16::from_be_bytes(*port);
        match kind {
            IPV4 => {
                let (ip, rest) = bytes.split_first_chunk::<4>()?;
                Some(Self::Ip(SocketAddr::from((*ip, port(rest.try_into().ok()?)))))
            }
            IPV6 => {
                let (ip, rest) = bytes.split_first_chunk::<16>()?;
                Some(Self::Ip(SocketAddr::from((*ip, port(rest.try_into().ok()?)))))
            }
            #[cfg(smokesignal_next)]
            NEXT => (*bytes == [NEXT; MAX_ADDRESS_BYTES]).then(Self::next),
            kind => (bytes.len() <= MAX_ADDRESS_BYTES).then(|| Self::Other { kind, bytes: bytes.into() }),
        }
    }

    /// Calls `read` with the kind and the bytes of the address.
    fn with_wire<T>(&self, read: impl FnOnce(u8, &[u8]) -> T) -> T {
        match self {
            Self::Ip(address) => {
                let mut bytes = [0; 18];
                let (kind, length) = match address.ip() {
                    IpAddr::V4(ip) => {
                        bytes[..4].copy_from_slice(&ip.octets());
                        (IPV4, 4)
                    }
                    IpAddr::V6(ip) => {
                        bytes[..16].copy_from_slice(&ip.octets());
                        (IPV6, 16)
                    }
                };
                bytes[length..length + 2].copy_from_slice(&address.port().to_be_bytes());
                read(kind, &bytes[..length + 2])
            }
            Self::Other { kind, bytes } => read(*kind, bytes),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_wire(|kind, bytes| (kind, bytes).serialize(serializer))
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (kind, bytes) = <(u8, &[u8])>::deserialize(deserializer)?;
        Self::from_wire(kind, bytes).ok_or_else(|| D::Error::custom("a malformed address"))
    }
}

/// Reads the addresses of a record, no more than one may have.
fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    struct Addresses;

    impl<'de> Visitor<'de> for Addresses {
        type Value = Vec<Address>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the addresses of a record")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Address>, A::Error> {
            let mut addresses = Vec::new();
            while let Some(address) = seq.next_element()? {
                if addresses.len() == MAX_ADDRESSES + MAX_OTHER_ADDRESSES {
                    return Err(A::Error::custom("too many addresses"));
                }
                addresses.push(address);
            }
            Ok(addresses)
        }
    }

    deserializer.deserialize_seq(Addresses)
}

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
    /// Where it listens, best first: at most [`MAX_ADDRESSES`] of IP and [`MAX_OTHER_ADDRESSES`]
    /// others.
    #[serde(deserialize_with = "addresses")]
    pub addresses: Vec<Address>,
    /// The higher replaces the lower. Unix milliseconds of the node's start.
    pub version: u64,
    signature: Signature,
}

impl Statement {
    /// Returns the addresses that this program understands, best first.
    pub fn socket_addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().filter_map(|address| match address {
            Address::Ip(address) => Some(*address),
            Address::Other { .. } => None,
        })
    }

    /// Returns whether there are no more addresses, and no longer ones, than may be.
    fn is_within_limits(&self) -> bool {
        let ips = self.socket_addrs().count();
        let fits = |address: &Address| address.with_wire(|_, bytes| bytes.len() <= MAX_ADDRESS_BYTES);
        ips <= MAX_ADDRESSES
            && self.addresses.len() - ips <= MAX_OTHER_ADDRESSES
            && self.addresses.iter().all(fits)
    }
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
        Self::sign_all(keypair, network, addresses.into_iter().map(Address::Ip).collect(), version)
    }

    /// The same, with addresses of any kind. Others refuse it if there are more of them, or longer
    /// ones, than may be.
    pub fn sign_all(keypair: &Keypair, network: &[u8; 32], addresses: Vec<Address>, version: u64) -> Self {
        let text = signed_text(keypair.id(), network, &addresses, version);
        let signature = Signature::new(keypair.sign(&text));
        Statement { id: keypair.id(), addresses, version, signature }.into()
    }

    /// Whether the record may be believed in this network: signed by its owner and within the
    /// limits.
    pub fn verify(&self, network: &[u8; 32]) -> bool {
        let text = || signed_text(self.id, network, &self.addresses, self.version);
        self.is_within_limits() && self.signature.verify(&self.id, network, text)
    }

    /// The address to dial for a node that listens at `own`: the first one that such a node can
    /// mean. A learnt address must not make us probe our own host or network for somebody outside
    /// of it.
    pub(crate) fn dialable_from(&self, own: &[SocketAddr]) -> Option<SocketAddr> {
        self.socket_addrs().find(|address| may_dial(*address, own))
    }
}

fn signed_text(id: NodeId, network: &[u8; 32], addresses: &[Address], version: u64) -> Vec<u8> {
    let mut text = b"smokesignal record 1\0".to_vec();
    text.extend_from_slice(network);
    text.extend_from_slice(id.as_bytes());
    text.extend_from_slice(&version.to_be_bytes());
    for address in addresses {
        address.with_wire(|kind, bytes| {
            text.extend_from_slice(&[kind, bytes.len() as u8]);
            text.extend_from_slice(bytes);
        });
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
    use proptest::collection;
    use proptest::prelude::*;

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
        let stranger = Keypair::from_seed(&[2; 32]).id();
        assert!(!changed(Statement { id: stranger, ..said() }).verify(&NETWORK));
        let elsewhere = vec![ip("10.0.0.2:8495")];
        assert!(!changed(Statement { addresses: elsewhere, ..said() }).verify(&NETWORK));
        let more = vec![ip("10.0.0.1:8495"), other(9, 3)];
        assert!(!changed(Statement { addresses: more, ..said() }).verify(&NETWORK));
    }

    fn ip(address: &str) -> Address {
        Address::Ip(address.parse().unwrap())
    }

    fn other(kind: u8, length: usize) -> Address {
        Address::Other { kind, bytes: vec![kind; length].into() }
    }

    fn signed(addresses: Vec<Address>) -> Record {
        Record::sign_all(&Keypair::from_seed(&[1; 32]), &NETWORK, addresses, 7)
    }

    fn on_the_wire(record: &Record) -> Result<Record, postcard::Error> {
        postcard::from_bytes(&postcard::to_allocvec(record).unwrap())
    }

    #[test]
    fn four_addresses_of_ip_and_four_others_are_believed_and_no_more() {
        let many = |ips, others| {
            let ips = std::iter::repeat_n(ip("10.0.0.1:1"), ips);
            signed(ips.chain(std::iter::repeat_n(other(200, 96), others)).collect())
        };
        for (ips, others) in [(0, 0), (4, 0), (0, 4), (4, 4)] {
            assert_eq!(on_the_wire(&many(ips, others)).unwrap(), many(ips, others));
            assert!(many(ips, others).verify(&NETWORK), "{ips} and {others}");
        }
        for (ips, others) in [(5, 0), (0, 5), (5, 3), (3, 5), (5, 5)] {
            assert!(!many(ips, others).verify(&NETWORK), "{ips} and {others}");
        }
        assert!(on_the_wire(&many(4, 5)).is_err(), "nine in all are not even read");
        assert!(!signed(vec![other(200, 97)]).verify(&NETWORK));
        assert!(on_the_wire(&signed(vec![other(200, 97)])).is_err());
    }

    /// A node that does not know a kind of address stands between two that do: what it passes on is
    /// what the owner has signed.
    #[test]
    fn an_address_of_an_unknown_kind_is_kept_passed_on_and_not_dialled() {
        let record = signed(vec![other(255, 0), ip("10.0.0.1:8495"), other(2, 96), ip("[::1]:1")]);
        let passed_on = on_the_wire(&on_the_wire(&record).unwrap()).unwrap();
        assert_eq!(passed_on, record);
        assert!(passed_on.verify(&NETWORK));
        let own = ["10.0.0.9:1".parse().unwrap()];
        assert_eq!(passed_on.dialable_from(&own), Some("10.0.0.1:8495".parse().unwrap()));
        assert_eq!(signed(vec![other(3, 6)]).dialable_from(&own), None);
        let changed = Statement { addresses: vec![other(255, 1)], ..on_the_wire(&record).unwrap().into() };
        assert!(!Record::from(changed).verify(&NETWORK));
    }

    #[test]
    fn an_address_of_a_known_kind_has_the_length_of_its_kind() {
        for length in 0..=MAX_ADDRESS_BYTES {
            let parsed = [IPV4, IPV6].map(|kind| Address::from_wire(kind, &vec![1; length]).is_some());
            assert_eq!(parsed, [length == 6, length == 18], "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn every_address_survives_the_wire(kind in any::<u8>(), bytes in collection::vec(any::<u8>(), 0..100)) {
            let Some(address) = Address::from_wire(kind, &bytes) else { return Ok(()) };
            prop_assert!(bytes.len() <= MAX_ADDRESS_BYTES);
            prop_assert!(address.with_wire(|its_kind, its_bytes| (its_kind, its_bytes) == (kind, &bytes[..])));
            let record = signed(vec![address]);
            prop_assert_eq!(&on_the_wire(&record).unwrap(), &record);
            prop_assert!(record.verify(&NETWORK));
        }
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
