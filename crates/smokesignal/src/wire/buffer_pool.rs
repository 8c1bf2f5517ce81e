//! The memory that bytes pass through, used again and again: what the system gives anew costs more than the reading.
//!
//! A connection reads into a chunk from its front to its end, and what it reads stays there while it is retained or not
//! read by the application. A chunk that is full comes here, and is given out again once nobody looks at it any more.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// Bytes in one chunk that connections read into: 256 KiB, four full segments.
pub(crate) const CHUNK: usize = 256 * 1024;
/// What waits until nobody looks at it, in bytes; of more the oldest is forgotten. Of chunks 128 MiB, twice what a node
/// retains; of each kind of frames 32 MiB.
const WAITING: usize = 128 * 1024 * 1024;
const FRAMES_WAITING: usize = 32 * 1024 * 1024;
/// Free chunks that are kept while some are wanted.
const SPARE: usize = 16;
/// Chunks looked at when one is wanted: the oldest is free first, or one of the next.
const LOOKED_AT: usize = 8;

/// Chunks of one size.
#[derive(Debug)]
pub(crate) struct Chunks {
    size: usize,
    /// Of those that wait at most.
    most: usize,
    pool: Mutex<Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    /// The one that was full first in front.
    waiting: VecDeque<BytesMut>,
    wanted: bool,
}

impl Chunks {
    fn new(size: usize, waiting: usize) -> Self {
        Self { size, most: waiting / size, pool: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty chunk.
    pub(crate) fn take(&self) -> BytesMut {
        let mut pool = self.lock();
        pool.wanted = true;
        let free = pool.waiting.iter_mut().take(LOOKED_AT).position(|chunk| chunk.try_reclaim(self.size));
        if let Some(chunk) = free.and_then(|at| pool.waiting.remove(at)) {
            return chunk;
        }
        // One that is kept for long must not stand in front for ever; the others keep their order.
        if let Some(kept) = pool.waiting.pop_front() {
            pool.waiting.push_back(kept);
        }
        drop(pool);
        BytesMut::with_capacity(self.size)
    }

    /// The end of a chunk of which parts may still be in use.
    pub(crate) fn put(&self, mut rest: BytesMut) {
        rest.clear();
        let mut pool = self.lock();
        pool.waiting.push_back(rest);
        if pool.waiting.len() > self.most {
            pool.waiting.pop_front();
        }
    }

    /// Called now and then: gives free chunks back to the system, all if none was wanted since the last time.
    pub(crate) fn trim(&self) {
        let mut pool = self.lock();
        let mut keep = if std::mem::take(&mut pool.wanted) { SPARE } else { 0 };
        pool.waiting.retain_mut(|chunk| {
            let is_free = chunk.try_reclaim(self.size);
            let kept = !is_free || keep > 0;
            keep = keep.saturating_sub(usize::from(is_free));
            kept
        });
        let left = pool.waiting.len();
        pool.waiting.shrink_to(2 * left);
    }
}

/// The memory of one node's connections.
#[derive(Debug)]
pub(crate) struct Memory {
    /// What connections read into, and what is written to streams.
    pub(crate) chunks: Chunks,
    /// What was read and may stay for long: one frame in each, because it must not keep more alive.
    frames: [Chunks; 2],
}

/// Frames up to these sizes are copied into memory that is used again: stream data, and segments of a quarter to half a
/// full one.
const FRAMES: [usize; 2] = [16 * 1024, 32 * 1024];
/// What is smaller gets memory of its own size.
const FRAME_FROM: usize = 8 * 1024;

impl Default for Memory {
    fn default() -> Self {
        let frames = FRAMES.map(|size| Chunks::new(size, FRAMES_WAITING));
        Self { chunks: Chunks::new(CHUNK, WAITING), frames }
    }
}

impl Memory {
    /// A copy of a frame's data, which keeps about twice its size alive at most.
    pub(crate) fn copy(&self, data: &[u8]) -> Bytes {
        let fits = |frames: &&Chunks| data.len() >= FRAME_FROM && data.len() <= frames.size;
        let Some(frames) = self.frames.iter().find(fits) else { return Bytes::copy_from_slice(data) };
        let mut chunk = frames.take();
        chunk.extend_from_slice(data);
        let copy = chunk.split().freeze();
        frames.put(chunk);
        copy
    }

    /// See [`Chunks::trim`].
    pub(crate) fn trim(&self) {
        self.chunks.trim();
        self.frames.iter().for_each(Chunks::trim);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_used_again_once_nobody_looks_at_it() {
        let chunks = Chunks::new(CHUNK, WAITING);
        let mut chunk = chunks.take();
        let memory = chunk.as_ptr();
        chunk.extend_from_slice(&[7; CHUNK]);
        let message = chunk.split_to(CHUNK - 1).freeze();
        chunks.put(chunk);
        let other = chunks.take();
        assert_ne!(other.as_ptr(), memory);
        assert!(message.iter().all(|byte| *byte == 7));
        drop(message);
        let again = chunks.take();
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (memory, 0, CHUNK));
    }

    #[test]
    fn free_chunks_go_back_to_the_system_when_none_is_wanted() {
        let chunks = Chunks::new(CHUNK, WAITING);
        let mut chunk = chunks.take();
        chunk.extend_from_slice(b"retained");
        let retained = chunk.split().freeze();
        chunks.put(chunk);
        chunks.put(BytesMut::with_capacity(CHUNK));
        chunks.trim();
        assert_eq!(chunks.lock().waiting.len(), 2, "one was wanted just before");
        chunks.trim();
        assert_eq!(chunks.lock().waiting.len(), 1, "one is in use");
        drop(retained);
        chunks.trim();
        assert_eq!(chunks.lock().waiting.len(), 0);
    }

    #[test]
    fn a_copied_frame_keeps_no_more_than_its_own_chunk() {
        let memory = Memory::default();
        for (size, kept) in [(100, [0, 0]), (10_000, [1, 0]), (20_000, [1, 1]), (40_000, [1, 1])] {
            assert_eq!(memory.copy(&vec![7; size]), vec![7; size]);
            assert_eq!([0, 1].map(|at| memory.frames[at].lock().waiting.len()), kept, "{size}");
        }
    }
}
