//! The native half of the npm package `smokesignal-p2p`. It converts and forwards; every decision
//! is the library's, and what users of Node.js see (streams, events, promises) is made in
//! `lib/*.js`.
//!
//! # How the two halves meet
//!
//! Nothing here waits. JavaScript polls the library's futures and streams on its own thread, each
//! with a waker that stands for a number ([`wake_queue`]). Numbers that were woken are collected,
//! and one call tells JavaScript that there are some: a burst costs one call, however many
//! messages, streams and nodes it concerns. Messages cross in batches, many in one buffer with a
//! table of their lengths ([`batch`]), and a future is stored only for what has to wait.

#![cfg_attr(test, allow(dead_code, reason = "in a build for tests napi exports nothing"))]

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

mod accept;
mod batch;
mod broadcast;
mod events;
mod failure;
mod identity;
mod log;
mod memory_network;
mod node;
mod operation;
mod question;
mod runtime;
mod stream;
mod wake_queue;
