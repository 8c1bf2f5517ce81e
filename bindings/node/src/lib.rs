//! The native half of the npm package `smokesignal-p2p`: it converts and forwards. Every decision is the library's; what
//! Node.js users see (streams, events, promises) is made in `lib/*.js` beside it.
//!
//! # How the two halves meet
//!
//! Nothing here waits. JavaScript polls the library's futures and streams on its own thread, each with a waker that names
//! a number ([`bell::Token`]). What the library wakes is collected, and one call of [`bell::Bell`] tells JavaScript that
//! something is due: one wake-up for a burst, however many messages, streams and nodes it concerns. Messages cross in
//! batches, many in one buffer with a table of their lengths, and a future is made only for what has to wait.

#![cfg_attr(test, allow(dead_code, reason = "in a build for tests napi exports nothing"))]

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

mod bell;
mod broadcast;
mod events;
mod failure;
mod identity;
mod log;
mod memory;
mod node;
mod op;
mod question;
mod runtime;
mod stream;
