//! What a message of the workload says about itself.

use std::sync::OnceLock;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

/// A message's own account: when it was due, who wrote it, its number, its kind.
pub const LEAST_SIZE: usize = 24;

/// A message that only shows that its writer is heard.
const PROBE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Nanoseconds since the process' first look at the clock.
    pub(crate) due: u64,
    /// From 0, for each writer.
    pub(crate) seq: u64,
    pub(crate) writer: u32,
    pub(crate) probe: bool,
}

impl Header {
    pub(crate) fn message(self, filler: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(filler.len().max(LEAST_SIZE));
        bytes.put_u64_le(self.due);
        bytes.put_u64_le(self.seq);
        bytes.put_u32_le(self.writer);
        bytes.put_u32_le(if self.probe { PROBE } else { 0 });
        bytes.extend_from_slice(filler.get(LEAST_SIZE..).unwrap_or_default());
        bytes.freeze()
    }

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

/// Nanoseconds since the first call in this process.
pub(crate) fn clock() -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_what_was_put_in() {
        let header = Header { due: 7, seq: 8, writer: 9, probe: true };
        let message = header.message(&[1; 64]);
        assert_eq!((message.len(), Header::read(&message)), (64, Some(header)));
        assert_eq!(header.message(&[]).len(), LEAST_SIZE);
        assert_eq!(Header::read(&message[..LEAST_SIZE - 1]), None);
    }
}
