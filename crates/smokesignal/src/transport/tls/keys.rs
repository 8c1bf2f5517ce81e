//! The keys of one direction (RFC 8446, section 7).
//!
//! [`Keys`] seals or opens one record at a time in place, counts records, and derives the next
//! generation of keys before the present one is worn out.

use std::fmt;
use std::io;

use crate::lock::Lock;
use ring::aead::{self, AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce};
use ring::hkdf::{self, HKDF_SHA256, HKDF_SHA384, KeyType, Okm, Prk};
use rustls::{CipherSuite, Error, KeyLog, Tls13CipherSuite};

/// Length of a record's header: its type, a version that has lost its meaning, two bytes of length.
pub(super) const HEAD: usize = 5;
/// Length of the authentication tag behind each record.
const TAG: usize = 16;
/// Overhead of a record: header, tag, and the inner type, which is sealed with the data.
pub(super) const OVERHEAD: usize = HEAD + 1 + TAG;
/// Maximum number of bytes that one record carries (RFC 8446, section 5.1).
pub(super) const RECORD_MAX: usize = 16 * 1024;

/// Returns how long this many bytes are in records.
pub(crate) const fn sealed_size(bytes: usize) -> usize {
    bytes + OVERHEAD * bytes.div_ceil(RECORD_MAX)
}

/// Maximum number of bytes behind the header, for any cipher (section 5.2).
const SEALED_MAX: usize = RECORD_MAX + 256;

/// The types of records.
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const DATA: u8 = 23;

/// The algorithms of a cipher suite.
#[derive(Clone, Copy)]
pub(super) struct Suite {
    hash: hkdf::Algorithm,
    cipher: &'static aead::Algorithm,
    /// Number of records that may be sealed with one key (RFC 8446, section 5.5).
    pub(super) limit: u64,
}

impl Suite {
    pub(super) fn new(suite: &Tls13CipherSuite) -> Result<Self, Error> {
        let (hash, cipher) = match suite.common.suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => (HKDF_SHA256, &AES_128_GCM),
            CipherSuite::TLS13_AES_256_GCM_SHA384 => (HKDF_SHA384, &AES_256_GCM),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => (HKDF_SHA256, &CHACHA20_POLY1305),
            other => return Err(Error::General(format!("the cipher suite {other:?} was never offered"))),
        };
        Ok(Self { hash, cipher, limit: suite.common.confidentiality_limit })
    }
}

/// The key of one direction, and the number of its next record.
pub(super) struct Keys {
    pub(super) suite: Suite,
    secret: Prk,
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    pub(super) next: u64,
}

impl Keys {
    /// Returns the key that both ends begin with after the handshake.
    pub(super) fn new(suite: Suite, secret: &[u8]) -> Result<Self, Error> {
        // HKDF accepts an empty secret, from which anybody could derive the keys.
        if secret.len() != suite.hash.len() {
            return Err(Error::General("the handshake has exported no secret".to_owned()));
        }
        Ok(Self::of(suite, Prk::new_less_safe(suite.hash, secret)))
    }

    /// Moves on to the next generation of keys (section 7.2).
    pub(super) fn update(&mut self) {
        let secret = expand(&self.secret, b"traffic upd", self.suite.hash, |okm| okm.into());
        *self = Self::of(self.suite, secret);
    }

    fn of(suite: Suite, secret: Prk) -> Self {
        let key = expand(&secret, b"key", suite.cipher, |okm| LessSafeKey::new(okm.into()));
        let mut iv = [0; NONCE_LEN];
        expand(&secret, b"iv", Bytes(NONCE_LEN), |okm| okm.fill(&mut iv)).expect("as long as asked for");
        Self { suite, secret, key, iv, next: 0 }
    }

    /// Returns whether the only record left for this key is the update to the next one.
    pub(super) fn is_worn(&self) -> bool {
        self.next >= self.suite.limit - 1
    }

    /// Appends the record that carries these pieces, [`RECORD_MAX`] bytes at most.
    pub(super) fn seal<'a>(
        &mut self,
        kind: u8,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        wire: &mut Vec<u8>,
    ) {
        let begin = wire.len();
        wire.extend_from_slice(&[DATA, 3, 3, 0, 0]);
        pieces.into_iter().for_each(|piece| wire.extend_from_slice(piece));
        wire.push(kind);
        let length = (wire.len() - begin - HEAD + TAG) as u16;
        let (head, sealed) = wire[begin..].split_at_mut(HEAD);
        head[3..].copy_from_slice(&length.to_be_bytes());
        let nonce = self.nonce();
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(&*head), sealed);
        wire.extend_from_slice(tag.expect("a record is not too long to be sealed").as_ref());
    }

    /// Opens a complete record, and returns its type and payload.
    pub(super) fn open<'a>(&mut self, record: &'a mut [u8]) -> io::Result<(u8, &'a [u8])> {
        let (head, sealed) = record.split_at_mut(HEAD);
        let nonce = self.nonce();
        let opened = self.key.open_in_place(nonce, Aad::from(&*head), sealed);
        let opened = opened.map_err(|_| broken("it was changed on its way"))?;
        if opened.len() > RECORD_MAX + 1 {
            return Err(broken("it carries more than it may"));
        }
        // The bytes behind the type are padding.
        let at = opened.iter().rposition(|byte| *byte != 0).ok_or_else(|| broken("it has no type"))?;
        Ok((opened[at], &opened[..at]))
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(self.next.to_be_bytes()) {
            *byte ^= number;
        }
        self.next += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Returns the length of the record that begins here, header included; `None` if the header is not
/// complete.
pub(super) fn record_len(wire: &[u8]) -> io::Result<Option<usize>> {
    let Some(&[kind, _, _, high, low]) = wire.first_chunk::<HEAD>() else { return Ok(None) };
    let sealed = usize::from(u16::from_be_bytes([high, low]));
    match kind {
        DATA if (TAG + 1..=SEALED_MAX).contains(&sealed) => Ok(Some(HEAD + sealed)),
        DATA => Err(broken(&format!("a record cannot have {sealed} bytes"))),
        other => Err(broken(&format!("its type is {other}"))),
    }
}

pub(super) fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a broken TLS record: {why}"))
}

/// Computes `HKDF-Expand-Label` without a context.
fn expand<L: KeyType, T>(secret: &Prk, label: &[u8], len: L, make: impl FnOnce(Okm<'_, L>) -> T) -> T {
    let bytes = (len.len() as u16).to_be_bytes();
    let prefix = b"tls13 ";
    let info = [&bytes, &[(prefix.len() + label.len()) as u8][..], prefix, label, &[0]];
    make(secret.expand(&info, len).expect("no key is as long as HKDF's limit"))
}

struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// Collects the first secrets of both directions from one handshake. rustls exports them in no
/// other way: its `ExtractedSecrets` are keys, from which the next ones cannot be derived.
#[derive(Default)]
pub(super) struct Secrets {
    client: Lock<Vec<u8>>,
    server: Lock<Vec<u8>>,
}

impl Secrets {
    fn of(&self, label: &str) -> Option<&Lock<Vec<u8>>> {
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => Some(&self.client),
            "SERVER_TRAFFIC_SECRET_0" => Some(&self.server),
            _ => None,
        }
    }

    /// The secrets of the client and of the server; empty before the handshake is complete.
    pub(super) fn take(&self) -> [Vec<u8>; 2] {
        [&self.client, &self.server].map(|secret| std::mem::take(&mut *secret.lock()))
    }
}

impl KeyLog for Secrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if let Some(kept) = self.of(label) {
            *kept.lock() = secret.to_vec();
        }
    }

    fn will_log(&self, label: &str) -> bool {
        self.of(label).is_some()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}
