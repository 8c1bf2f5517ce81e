//! What the library has in `wire`, as far as it is fuzzed.

#[path = "../../crates/smokesignal/src/wire/buffer_pool.rs"]
#[allow(dead_code, reason = "the library uses all of it")]
pub(crate) mod buffer_pool;
#[path = "../../crates/smokesignal/src/wire/frame.rs"]
pub(crate) mod frame;
