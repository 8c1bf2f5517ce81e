//! What goes over one connection, below anything that has a meaning.
//!
//! A connection carries [frames](frame). Reading: bytes land in a buffer of the [pool](buffer_pool)
//! and are decoded where they lie. Writing: frames are collected in a [batch](batch), and a
//! [writer](writer) hands the batch to the connection in as few system calls as possible.
//! [Traffic](traffic) is what is counted meanwhile. Nothing
//! here knows a peer, a stream's state or the protocol's rules.

pub(crate) mod batch;
pub(crate) mod buffer_pool;
pub(crate) mod frame;
pub(crate) mod traffic;
pub(crate) mod writer;
