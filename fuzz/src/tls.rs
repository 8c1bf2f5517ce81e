#[path = "../../crates/smokesignal/src/transport/tls/keys.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "private parts of `transport`, which uses all of them")]
mod keys;
#[path = "../../crates/smokesignal/src/transport/tls/reader.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "private parts of `transport`, which uses all of them")]
mod reader;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use rustls::crypto::ring::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use tokio::io::AsyncReadExt as _;

use self::keys::{ALERT, DATA, HANDSHAKE, Keys, RECORD_MAX, Suite};
use self::reader::{Opening, Reader};
use crate::carrier::{Carrier, finish};
use crate::identity::Identity;
use crate::input::Input;
use crate::transport::Credentials;

/// The bytes that a node reads before the other end has proved its id.
const STRANGER_MAX: usize = 4096;
/// Records in a row without data that are accepted.
const IDLE_MAX: usize = 32;
const KEY_UPDATE: u8 = 24;

static NODE: LazyLock<Credentials> = LazyLock::new(|| Credentials::new(Identity::from_seed([1; 32]), None));

/// Either the first bytes of a connection, or records behind the handshake, which are sealed with
/// the right keys, because no fuzzer guesses those.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    match input.byte() % 4 {
        0 => stranger(input, false),
        1 => stranger(input, true),
        _ => records(input),
    }
}

/// Feeds the input to a handshake. It fails, and reads no more than a stranger may send.
fn stranger(mut input: Input<'_>, dials: bool) {
    let size = usize::from(input.byte()).pow(2);
    let carrier = Carrier::new(input.rest().to_vec(), size);
    let (read, nowhere) = (Arc::clone(&carrier.read), SocketAddr::from(([0, 0, 0, 0], 0)));
    let outcome = if dials {
        finish(NODE.connect(carrier, nowhere, None))
    } else {
        finish(NODE.accept(carrier, nowhere))
    };
    let Err(error) = outcome else { panic!("nobody has signed anything, and is let in") };
    assert!(!error.to_string().is_empty());
    let read = read.load(Ordering::Relaxed);
    assert!(read <= STRANGER_MAX, "{read} bytes were read");
}

/// The outcome of reading the records that were sealed.
#[derive(Default)]
struct Expected {
    data: Vec<u8>,
    /// Whether the reader goes no further, and if so, whether that is the orderly end.
    ended: Option<bool>,
    /// Whether the harness does not know what follows `data`.
    unsure: bool,
    idle: usize,
}

impl Expected {
    /// Notes a record that is sealed: a type, and what it carries with the zeros behind it.
    fn record(&mut self, kind: u8, data: &[u8], padding: usize) {
        if self.ended.is_some() || self.unsure {
            return;
        }
        self.idle += 1;
        match (kind, data) {
            _ if data.len() + padding > RECORD_MAX => self.ended = Some(false),
            (DATA, []) => {}
            (DATA, data) => {
                self.idle = 0;
                self.data.extend_from_slice(data);
            }
            (ALERT, [_, 0]) => self.ended = Some(true),
            (ALERT, [_, 90]) => {}
            (HANDSHAKE, _) => {}
            _ => self.ended = Some(false),
        }
        if self.idle > IDLE_MAX && self.ended.is_none() {
            self.ended = Some(false);
        }
    }

    /// Notes bytes that do not make a record.
    fn broken(&mut self) {
        if !self.unsure {
            self.ended.get_or_insert(false);
        }
    }
}

fn records(mut input: Input<'_>) {
    let suites = [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    let suite = suites[input.below(suites.len())].tls13().expect("a suite of TLS 1.3");
    let secret = vec![7; suite.common.hash_provider.output_len()];
    let keys = || {
        let suite = Suite::new(suite).expect("a suite that is offered");
        Keys::new(suite, &secret).expect("a secret as long as the hash")
    };
    let (mut sealing, mut wire, mut expected) = (keys(), Vec::new(), Expected::default());
    let (size, room) = (usize::from(input.byte()).pow(2), usize::from(input.byte()).pow(2) + 1);
    let early = input.short();
    while let Some(step) = input.next() {
        match step % 8 {
            0 | 1 => {
                let data = input.piece();
                sealing.seal(DATA, [data], &mut wire);
                expected.record(DATA, data, 0);
            }
            2 => {
                let data = vec![input.byte(); usize::from(input.short()) % (RECORD_MAX + 250)];
                sealing.seal(DATA, [&data[..]], &mut wire);
                expected.record(DATA, &data, 0);
            }
            3 => {
                // The zeros behind the type are padding; `seal` adds the last one.
                let (kind, data, padding) = (input.byte().max(1), input.piece(), input.below(20));
                sealing.seal(0, [data, &[kind], &vec![0; padding]], &mut wire);
                if kind == HANDSHAKE && expected.ended.is_none() {
                    expected.unsure = true; // It may be an update of the reader's keys.
                }
                expected.record(kind, data, padding + 1);
            }
            4 => {
                let update = [KEY_UPDATE, 0, 0, 1, input.byte() & 1];
                sealing.seal(HANDSHAKE, [&update[..]], &mut wire);
                sealing.update();
                expected.record(HANDSHAKE, &update, 0);
            }
            5 => {
                let alert = [1, [0, 90, 20][input.below(3)]];
                sealing.seal(ALERT, [&alert[..]], &mut wire);
                expected.record(ALERT, &alert, 0);
            }
            6 => {
                let raw = input.piece();
                wire.extend_from_slice(raw);
                if !raw.is_empty() {
                    expected.broken();
                }
            }
            _ => {
                let begin = wire.len();
                sealing.seal(DATA, [input.piece()], &mut wire);
                let at = begin + usize::from(input.short()) % (wire.len() - begin);
                // The version in the header has lost its meaning, but it is authenticated.
                wire[at] ^= input.byte().max(1);
                expected.broken();
            }
        }
    }

    // Some of it was read together with the end of the handshake.
    let late = wire.split_off(usize::from(early).min(wire.len()));
    let asked = Arc::new(AtomicBool::new(false));
    let opening = Opening::new(keys(), wire, Arc::clone(&asked));
    let mut reader = Reader { io: Carrier::new(late, size), opening };
    let (mut read, mut buffer) = (Vec::new(), vec![0; room]);
    let ended = loop {
        match finish(reader.read(&mut buffer)) {
            Ok(0) => break true,
            Ok(count) => read.extend_from_slice(&buffer[..count]),
            Err(_) => break false,
        }
    };
    if expected.unsure {
        assert!(read.starts_with(&expected.data), "{} bytes", read.len());
    } else {
        assert!(read == expected.data, "{} bytes in place of {}", read.len(), expected.data.len());
        // The end of the bytes without `close_notify` is an error: somebody may have cut them.
        assert_eq!(ended, expected.ended.unwrap_or(false));
    }
    assert_eq!(matches!(finish(reader.read(&mut buffer)), Ok(0)), ended, "the end stays what it was");
}
