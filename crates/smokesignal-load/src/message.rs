//! The header that each message of the workload carries.

use std::sync::OnceLock;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of the header, and so the shortest message: the time at which it was due, its number, its
/// writer and its kind.
pub const LEAST_SIZE: usize = 24;

/// The kind of a message that only shows that its writer can be heard. All others have kind 0.
const PROBE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// When the message was due, as a time of [`clock`].
    pub(crate) due: u64,
    /// The number of the message. Each writer counts from 0.
    pub(crate) seq: u64,
    /// The number of the writer.
    pub(crate) writer: u32,
    /// Whether this is a probe, which counts neither as a delivery nor for latency.
    pub(crate) probe: bool,
}

impl Header {
    /// Returns a message as long as `filler`, which begins with this header.
    pub(crate) fn message(self, filler: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(filler.len().max(LEAST_SIZE));
        bytes.put_u64_le(self.due);
        bytes.put_u64_le(self.seq);
        bytes.put_u32_le(self.writer);
        bytes.put_u32_le(if self.probe { PROBE } else { 0 });
        bytes.extend_from_slice(filler.get(LEAST_SIZE..).unwrap_or_default());
        bytes.freeze()
    }

    /// Reads the header of a message. Returns `None` if the message is too short to have one.
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let (due, rest) = message.split_first_chunk()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let (writer, rest) = rest.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        Some(Self {
            due: u64::from_le_bytes(*due),
            seq: u64::from_le_bytes(*seq),
            writer: u32::from_le_bytes(*writer),
            probe: u32::from_le_bytes(*kind) == PROBE,
        })
    }
}

/// Returns the nanoseconds since the first call in this process.
pub(crate) fn clock() -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = Header { due: 7, seq: 8, writer: 9, probe: true };
        let message = header.message(&[1; 64]);
        assert_eq!((message.len(), Header::read(&message)), (64, Some(header)));
        assert_eq!(header.message(&[]).len(), LEAST_SIZE);
        assert_eq!(Header::read(&message[..LEAST_SIZE - 1]), None);
    }
}
