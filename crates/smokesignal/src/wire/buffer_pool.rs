//! A pool of buffers that connections read into and streams copy into.
//!
//! Faulting in fresh pages costs more than the read itself, so buffers are used again. A connection
//! reads into a buffer from its front to its end. The messages decoded from it are slices of it and
//! keep it alive while they are retained or not read by the application. A full buffer is put into
//! the pool and is given out again once nothing refers to it any more.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::lock::Lock;

/// Bytes in one buffer that connections read into: 256 KiB, four full segments.
pub(crate) const BUFFER_SIZE: usize = 256 * 1024;
/// Limit, in bytes, of the read buffers that wait to be reused: 128 MiB, twice what a node retains.
/// Above it the pool forgets the oldest.
const WAITING: usize = 128 * 1024 * 1024;
/// The same limit for each of the two sizes of frame buffers: 32 MiB.
const FRAMES_WAITING: usize = 32 * 1024 * 1024;
/// Maximum number of free buffers that [`BufferPool::trim`] keeps while buffers are in demand.
const SPARE: usize = 16;
/// Number of waiting buffers that [`BufferPool::take`] checks before it allocates a new one.
/// Buffers become free about in the order in which they were put into the pool.
const LOOKED_AT: usize = 8;

/// Reusable buffers of one size.
#[derive(Debug)]
pub(crate) struct BufferPool {
    size: usize,
    /// Maximum number of waiting buffers.
    limit: usize,
    state: Lock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Buffers that may still be referred to, the oldest in front.
    waiting: VecDeque<BytesMut>,
    /// Whether a buffer was taken since the last trim.
    in_demand: bool,
}

impl BufferPool {
    fn new(size: usize, waiting: usize) -> Self {
        Self { size, limit: waiting / size, state: Lock::default() }
    }

    /// Returns an empty buffer: a waiting one that is free, or a new one.
    pub(crate) fn take(&self) -> BytesMut {
        let mut state = self.state.lock();
        state.in_demand = true;
        let free = state.waiting.iter_mut().take(LOOKED_AT).position(|buffer| buffer.try_reclaim(self.size));
        if let Some(buffer) = free.and_then(|at| state.waiting.remove(at)) {
            return buffer;
        }
        // A buffer that stays in use must not remain in front for ever; the others keep their
        // order.
        if let Some(in_use) = state.waiting.pop_front() {
            state.waiting.push_back(in_use);
        }
        drop(state);
        BytesMut::with_capacity(self.size)
    }

    /// Puts a buffer into the pool, of which parts may still be in use.
    pub(crate) fn put(&self, mut rest: BytesMut) {
        rest.clear();
        let mut state = self.state.lock();
        state.waiting.push_back(rest);
        if state.waiting.len() > self.limit {
            state.waiting.pop_front();
        }
    }

    /// Gives free buffers back to the system; all of them if none was taken since the last call.
    pub(crate) fn trim(&self) {
        let mut state = self.state.lock();
        let mut keep = if std::mem::take(&mut state.in_demand) { SPARE } else { 0 };
        state.waiting.retain_mut(|buffer| {
            let is_free = buffer.try_reclaim(self.size);
            let kept = !is_free || keep > 0;
            keep = keep.saturating_sub(usize::from(is_free));
            kept
        });
        let left = state.waiting.len();
        state.waiting.shrink_to(2 * left);
    }
}

/// The buffer pools that all connections of one node share.
#[derive(Debug)]
pub(crate) struct BufferPools {
    /// Buffers that connections read into, and that large writes to streams are copied into.
    pub(crate) large: BufferPool,
    /// Buffers for single frames that may be kept for long: a frame in a buffer of its own keeps no
    /// other one alive.
    frames: [BufferPool; 2],
}

/// Sizes of the frame buffers: one for stream data, one for segments of a quarter to half of the
/// largest size.
const FRAMES: [usize; 2] = [16 * 1024, 32 * 1024];
/// Smaller frames are copied into memory of their own size, outside of the pools.
const FRAME_FROM: usize = 8 * 1024;

impl Default for BufferPools {
    fn default() -> Self {
        let frames = FRAMES.map(|size| BufferPool::new(size, FRAMES_WAITING));
        Self { large: BufferPool::new(BUFFER_SIZE, WAITING), frames }
    }
}

impl BufferPools {
    /// Copies a frame's data; the copy keeps at most about twice its size alive.
    pub(crate) fn copy(&self, data: &[u8]) -> Bytes {
        let fits = |frames: &&BufferPool| data.len() >= FRAME_FROM && data.len() <= frames.size;
        let Some(frames) = self.frames.iter().find(fits) else { return Bytes::copy_from_slice(data) };
        let mut buffer = frames.take();
        buffer.extend_from_slice(data);
        let copy = buffer.split().freeze();
        frames.put(buffer);
        copy
    }

    /// Trims all pools, see [`BufferPool::trim`].
    pub(crate) fn trim(&self) {
        self.large.trim();
        self.frames.iter().for_each(BufferPool::trim);
    }
}

#[cfg(test)]
impl BufferPool {
    /// Returns the bytes of the buffers that were put here and that something still refers to.
    pub(crate) fn bytes_in_use(&self) -> usize {
        let mut state = self.state.lock();
        state
            .waiting
            .iter_mut()
            .filter_map(|buffer| (!buffer.try_reclaim(self.size)).then_some(self.size))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_nothing_refers_to_it() {
        let pool = BufferPool::new(BUFFER_SIZE, WAITING);
        let mut buffer = pool.take();
        let memory = buffer.as_ptr();
        buffer.extend_from_slice(&[7; BUFFER_SIZE]);
        let message = buffer.split_to(BUFFER_SIZE - 1).freeze();
        pool.put(buffer);
        let other = pool.take();
        assert_ne!(other.as_ptr(), memory);
        assert!(message.iter().all(|byte| *byte == 7));
        drop(message);
        let again = pool.take();
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (memory, 0, BUFFER_SIZE));
    }

    #[test]
    fn free_buffers_go_back_to_the_system_when_none_is_in_demand() {
        let pool = BufferPool::new(BUFFER_SIZE, WAITING);
        let mut buffer = pool.take();
        buffer.extend_from_slice(b"retained");
        let retained = buffer.split().freeze();
        pool.put(buffer);
        pool.put(BytesMut::with_capacity(BUFFER_SIZE));
        pool.trim();
        assert_eq!(pool.state.lock().waiting.len(), 2, "one was taken just before");
        pool.trim();
        assert_eq!(pool.state.lock().waiting.len(), 1, "one is in use");
        drop(retained);
        pool.trim();
        assert_eq!(pool.state.lock().waiting.len(), 0);
    }

    #[test]
    fn a_copied_frame_keeps_only_its_own_buffer_alive() {
        let buffers = BufferPools::default();
        for (size, kept) in [(100, [0, 0]), (10_000, [1, 0]), (20_000, [1, 1]), (40_000, [1, 1])] {
            assert_eq!(buffers.copy(&vec![7; size]), vec![7; size]);
            assert_eq!([0, 1].map(|at| buffers.frames[at].state.lock().waiting.len()), kept, "{size}");
        }
    }
}
