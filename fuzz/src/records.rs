use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use smokesignal_proto::{
    Address, Beat, Control, Keypair, MAX_ADDRESSES, MAX_OTHER_ADDRESSES, Message, Record, SegmentProof,
    decode, encode,
};

use crate::input::Input;

/// The network of the test vectors.
const NETWORK: [u8; 32] = [0; 32];

/// Reads the input as each kind of signed statement; and signs statements about the input, of which
/// no other byte may be believed.
pub fn run(input: &[u8]) {
    if let Some(record) = read::<Record>(input) {
        let ips = record.socket_addrs().count();
        assert!(record.addresses.len() <= MAX_ADDRESSES + MAX_OTHER_ADDRESSES, "{record:?}");
        assert!(!record.verify(&NETWORK) || ips <= MAX_ADDRESSES, "{record:?}");
    }
    if let Some(beat) = read::<Beat>(input) {
        let _is_believed = beat.verify(&NETWORK);
    }
    if let Some(proof) = read::<SegmentProof>(input) {
        let _writer = proof.origin();
    }
    forge(input);
}

/// Returns the statement that the bytes begin with. It is encoded again, and decodes to itself.
fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let (statement, _rest) = postcard::take_from_bytes::<T>(bytes).ok()?;
    let again = postcard::to_allocvec(&statement).expect("writing plain data to memory");
    assert_eq!(postcard::from_bytes::<T>(&again).as_ref(), Ok(&statement));
    Some(statement)
}

/// Signs a record with the addresses that the input names, changes a byte of it, and asserts that
/// it is believed only if it is the same.
fn forge(input: &[u8]) {
    let mut input = Input::new(input);
    let keypair = Keypair::from_seed(&[input.byte(); 32]);
    let (at, change, version) = (input.short(), input.byte(), input.number());
    let mut addresses = Vec::new();
    for _ in 0..input.below(MAX_ADDRESSES + 1) {
        let octets: [u8; 4] = std::array::from_fn(|_| input.byte());
        addresses.push(Address::Ip((octets, input.short()).into()));
    }
    for _ in 0..input.below(MAX_OTHER_ADDRESSES + 1) {
        let (kind, length) = (input.byte().max(2), input.below(96));
        let bytes = (0..length).map(|_| input.byte()).collect();
        addresses.push(Address::Other { kind, bytes });
    }
    let record = Record::sign_all(&keypair, &NETWORK, addresses, version);
    assert!(record.verify(&NETWORK), "{record:?}");
    let mut wire = Vec::new();
    encode(&Control::Join { record: record.clone(), want: 3 }.into(), &mut wire);
    let at = usize::from(at) % wire.len();
    wire[at] ^= change;
    let Ok(Message::Control(control)) = decode(wire.into()) else { return };
    if let Control::Join { record: changed, .. } = *control {
        assert!(changed == record || !changed.verify(&NETWORK), "a forged record is believed: {changed:?}");
    }
}
