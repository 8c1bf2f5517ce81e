use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use ring::hmac;
use smokesignal_proto::Features;

use crate::carrier::{Carrier, finish};
use crate::identity::Identity;
use crate::input::Input;
use crate::transport::Credentials;
use crate::transport::hello::{Role, read_hello};
use crate::version::Versions;

const SECRET: &[u8] = b"the secret of a network";
const HEAD: usize = 4;
/// Flags, features and proof.
const LEAST_BODY: usize = 1 + 8 + 32;
const LONGEST_BODY: usize = 512;

/// A node of an open network, and one with a secret.
static NODES: LazyLock<[Credentials; 2]> = LazyLock::new(|| {
    [None, Some(SECRET)].map(|secret| Credentials::new(Identity::from_seed([1; 32]), secret))
});

/// Reads a HELLO that arrives in pieces. The first byte chooses whether the node holds a secret,
/// which side it is, and whether the harness puts in the right proof, because no fuzzer guesses
/// it; the next ones are the size of the pieces and the exporter. The rules of docs/protocol.md
/// stand here once more, and the library has to come to the same result.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let (flags, size, exporter) = (input.byte(), usize::from(input.byte()), [input.byte(); 32]);
    let secret = (flags & 1 != 0).then_some(SECRET);
    let node = &NODES[usize::from(secret.is_some())];
    let (from, role) = if flags & 2 == 0 { (Role::Dialler, 0) } else { (Role::Acceptor, 1) };
    let mut sent = input.rest().to_vec();
    if let Some(proof) = sent.get_mut(13..45).filter(|_| flags & 4 != 0) {
        proof.copy_from_slice(&proof_of(secret, role, &exporter));
    }

    let mut reader = Carrier::new(sent.clone(), size);
    let theirs = finish(read_hello(&mut reader));
    let is_read = theirs.is_ok();
    let checked = theirs.and_then(|hello| node.check_hello(&hello, from, &exporter));
    let right = expected(&sent, secret, role, &exporter);
    assert_eq!(checked.as_ref().ok().copied(), right, "{checked:?}");
    if let Err(error) = &checked {
        assert!(!error.to_string().is_empty());
    }
    let read = reader.read.load(Ordering::Relaxed);
    assert!(read <= HEAD + LONGEST_BODY, "{read} bytes were read");
    if is_read {
        assert_eq!(read, HEAD + usize::from(u16::from_be_bytes([sent[2], sent[3]])));
    }

    // The node's own HELLO is right for every exporter.
    let hello = node.hello(from, &exporter);
    let hello = finish(read_hello(&mut Carrier::new(hello, size)));
    let common = hello.and_then(|hello| node.check_hello(&hello, from, &exporter));
    assert_eq!(common, Ok(Features::OURS));
}

fn proof_of(secret: Option<&[u8]>, role: u8, exporter: &[u8; 32]) -> [u8; 32] {
    let mut proof = [0; 32];
    if let Some(secret) = secret {
        let proven = [&b"smokesignal network secret"[..], &[role], exporter].concat();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        proof.copy_from_slice(hmac::sign(&key, &proven).as_ref());
    }
    proof
}

/// Returns the common features, if these bytes begin with a HELLO that is right.
fn expected(sent: &[u8], secret: Option<&[u8]>, role: u8, exporter: &[u8; 32]) -> Option<Features> {
    let (&[oldest, newest, high, low], rest) = sent.split_first_chunk::<HEAD>()?;
    let (ours, length) = (Versions::OURS, usize::from(u16::from_be_bytes([high, low])));
    let is_common = oldest <= newest && oldest <= ours.newest && newest >= ours.oldest;
    let has_room = (LEAST_BODY..=LONGEST_BODY).contains(&length);
    let body = rest.get(..length).filter(|_| is_common && has_room)?;
    let features = u64::from_be_bytes(*body[1..].first_chunk()?);
    let right = (body[0] & 1 == 1) == secret.is_some() && body[9..41] == proof_of(secret, role, exporter);
    right.then(|| Features::from_bits(features & Features::OURS.bits()))
}
