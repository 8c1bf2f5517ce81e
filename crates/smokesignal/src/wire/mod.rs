//! What goes over one connection, below anything that has a meaning: frames, the buffers their
//! bytes live in, and how they are written.

pub(crate) mod batch;
pub(crate) mod buffer_pool;
pub(crate) mod frame;
pub(crate) mod writer;
