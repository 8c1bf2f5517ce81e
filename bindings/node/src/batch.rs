//! How chunks and messages cross between JavaScript and Rust, many in one call.
//!
//! On the way to JavaScript, the bytes of all chunks lie in one buffer, one behind the other, and a
//! table says what they are ([`BatchBuilder`]). On the way back, JavaScript passes one buffer and
//! the lengths of the chunks in it ([`contiguous`]), and gets a `u32` with the number of chunks
//! that were taken and the state of the writer ([`WAITS`], [`CLOSED`]). `lib/batch-reader.js` and
//! `lib/batch-writer.js` have the other end of this layout.

use bytes::Bytes;
use napi::Result;

/// Words of a table's header: the number of entries, the bytes that were written, the bytes that
/// the next chunk needs if it had no room, and flags.
const HEADER_WORDS: usize = 4;

/// Flag: the stream has ended.
const ENDED: u32 = 1;
/// Flag: JavaScript has to call again, because the table or the buffer was full.
const MORE: u32 = 2;

/// Bits of the result of a write, above those for the count. The next chunk has to wait until the
/// writer's number is due.
pub(crate) const WAITS: u32 = 1 << 30;
/// The stream or the node is closed and takes nothing.
pub(crate) const CLOSED: u32 = 1 << 31;

/// Fills a buffer with chunks, and a table with what they are. `WORDS` is the number of words of
/// one entry.
pub(crate) struct BatchBuilder<'a, const WORDS: usize> {
    buffer: &'a mut [u8],
    /// Words of 32 bits in this machine's byte order, which JavaScript sees as a `Uint32Array`.
    table: &'a mut [u8],
    /// Entries that the table has room for.
    room: usize,
    count: usize,
    bytes: usize,
    /// Bytes of a chunk that had no room.
    needed: usize,
    flags: u32,
}

impl<'a, const WORDS: usize> BatchBuilder<'a, WORDS> {
    /// Begins a batch. The table has room for as many entries as its length allows.
    pub(crate) fn new(buffer: &'a mut [u8], table: &'a mut [u8]) -> Self {
        let room = (table.len() / size_of::<u32>()).saturating_sub(HEADER_WORDS) / WORDS;
        Self { buffer, table, room, count: 0, bytes: 0, needed: 0, flags: 0 }
    }

    /// Returns whether the table has room for another entry.
    pub(crate) fn has_room(&self) -> bool {
        self.count < self.room
    }

    /// Copies a chunk into the buffer. Returns false if it has no room; the caller keeps it then
    /// and finishes the batch.
    pub(crate) fn copy(&mut self, data: &[u8]) -> bool {
        let Some(place) = self.buffer[self.bytes..].get_mut(..data.len()) else {
            self.needed = data.len();
            return false;
        };
        place.copy_from_slice(data);
        self.bytes += data.len();
        true
    }

    /// Adds an entry to the table.
    pub(crate) fn entry(&mut self, words: [u32; WORDS]) {
        self.put(HEADER_WORDS + self.count * WORDS, &words);
        self.count += 1;
    }

    /// Notes that the stream has ended.
    pub(crate) fn end(&mut self) {
        self.flags |= ENDED;
    }

    /// Sets a flag that only the caller and its JavaScript side know.
    pub(crate) fn flag(&mut self, flag: u32) {
        self.flags |= flag;
    }

    /// Writes the table's header.
    pub(crate) fn finish(mut self) {
        if self.needed > 0 || self.count == self.room {
            self.flags |= MORE;
        }
        let header = [self.count as u32, self.bytes as u32, self.needed as u32, self.flags];
        self.put(0, &header);
    }

    /// Writes words into the table, from the word number `at` on.
    fn put(&mut self, at: usize, words: &[u32]) {
        let places = self.table[at * size_of::<u32>()..].chunks_exact_mut(size_of::<u32>());
        places.zip(words).for_each(|(place, word)| place.copy_from_slice(&word.to_ne_bytes()));
    }
}

/// Returns a copy of the bytes of `count` chunks that lie one behind the other in `buffer`, and the
/// lengths of these chunks.
pub(crate) fn contiguous<'a>(buffer: &[u8], lengths: &'a [u32], count: u32) -> Result<(Bytes, &'a [u32])> {
    let lengths = lengths.get(..count as usize);
    let total = lengths.map(|lengths| lengths.iter().map(|length| *length as usize).sum());
    let data = total.and_then(|total: usize| buffer.get(..total));
    match data.zip(lengths) {
        Some((data, lengths)) => Ok((Bytes::copy_from_slice(data), lengths)),
        None => {
            let text = format!(
                "{count} chunks do not fit into {} bytes; the memory of one may have been transferred",
                buffer.len()
            );
            Err(napi::Error::from_reason(text))
        }
    }
}
