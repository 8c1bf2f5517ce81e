//! What is fuzzed: one function for each target, which takes any bytes and panics where a promise
//! does not hold.
//!
//! The targets in `fuzz_targets` hand libFuzzer's inputs to these functions, and the test in
//! `tests` the files of `seeds`, on stable Rust and without a sanitizer. A module of the library or
//! of the program that is private is compiled a second time here, from where it is.

/// The codec of messages.
pub mod codec;
/// Key files, secrets, ids and addresses: what a user hands to the library as text.
pub mod files;
/// The frames that a connection carries.
pub mod frames;
/// HELLO, which a stranger sends first inside TLS.
pub mod hello;
/// The streams of one connection, whose other side sends frames in any order.
pub mod mux;
/// The lines that `smokesignal run --json` reads.
pub mod ndjson;
/// The core, which is fed decodable messages in any order.
pub mod node;
/// Signed statements: records, beats, proofs.
pub mod records;
/// The bytes of a TLS connection: what a stranger sends, and records behind the handshake.
pub mod tls;

mod carrier;
mod input;

// What the library's private modules import from its front page.

#[path = "../../crates/smokesignal/src/error.rs"]
#[allow(dead_code, unreachable_pub, reason = "the library uses and shows all of it")]
mod error;
#[path = "../../crates/smokesignal/src/identity.rs"]
#[allow(dead_code, unreachable_pub, reason = "the library uses and shows all of it")]
mod identity;
#[path = "../../crates/smokesignal/src/lock.rs"]
#[allow(dead_code, reason = "the library uses all of it")]
mod lock;
#[path = "../../crates/smokesignal/src/printable.rs"]
#[allow(dead_code, unreachable_pub, reason = "the library uses and shows all of it")]
mod printable;
#[path = "../../crates/smokesignal-cli/src/request.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod request;
#[path = "../../crates/smokesignal/src/stream/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the library uses and shows all of it")]
mod stream;
#[path = "../../crates/smokesignal/src/transport/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the library uses and shows all of it")]
mod transport;
#[path = "../../crates/smokesignal/src/version.rs"]
#[allow(dead_code, unreachable_pub, reason = "the library uses and shows all of it")]
mod version;
mod wire;
