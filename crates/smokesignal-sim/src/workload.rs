//! Who writes what. A message says by whom, in which start, as which one and when it was written, so that its
//! receiver can check it without a second copy of it anywhere.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use smokesignal_proto::NodeId;

use crate::member::Writer;
use crate::world::{Event, World, micros};

/// Steady writing.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// How many nodes write.
    pub writers: usize,
    /// Messages per second of each.
    pub per_second: f64,
    /// Bytes of each message, 24 at least.
    pub size: usize,
    /// For how long.
    pub lasts: Duration,
}

/// Bytes of a message's head.
const HEAD: usize = 24;
/// A writer that may not write asks again after this long: 5 ms. A guess, far below what is measured.
const AGAIN: u64 = 5_000;

/// What a message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) writer: u32,
    pub(crate) start: u32,
    pub(crate) number: u64,
    pub(crate) written_at: u64,
}

impl Head {
    pub(crate) fn message(&self, size: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(size.max(HEAD));
        bytes.put_u32(self.writer);
        bytes.put_u32(self.start);
        bytes.put_u64(self.number);
        bytes.put_u64(self.written_at);
        bytes.resize(size.max(HEAD), self.filler());
        bytes.freeze()
    }

    /// The head of a message whose every byte is as it was written.
    pub(crate) fn of(message: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_be_bytes(message.get(at..at + 8)?.try_into().ok()?));
        let who = word(0)?;
        let head =
            Self { writer: (who >> 32) as u32, start: who as u32, number: word(8)?, written_at: word(16)? };
        message[HEAD..].iter().all(|byte| *byte == head.filler()).then_some(head)
    }

    fn filler(&self) -> u8 {
        (self.number as u8) ^ (self.writer as u8) ^ 0x5A
    }
}

impl World {
    /// Random honest nodes begin to write.
    pub fn write(&mut self, workload: Workload) {
        let candidates = self.alive().into_iter().filter(|ix| self.members[*ix].honest()).collect();
        for ix in self.chance.sample(candidates, workload.writers) {
            let number = self.writers.len() as u32;
            self.members[ix].writer = Some(Writer { number, written: 0, written_at: 0, blocked_since: None });
            self.writers.push(ix as u32);
            let first = self.chance.between(0, (1e6 / workload.per_second) as u64);
            self.queue.push(self.now + first, Event::Write(number));
        }
        self.workload = Some(Workload { lasts: self.now() + workload.lasts, ..workload });
    }

    pub(crate) fn writer_number(&self, id: &NodeId) -> Option<u32> {
        let ix = *self.numbers.get(id)? as usize;
        Some(self.members[ix].writer.as_ref()?.number)
    }

    pub(crate) fn on_write(&mut self, number: u32) {
        let Some(workload) = self.workload else { return };
        if self.now >= micros(workload.lasts) {
            return;
        }
        let ix = self.writers[number as usize] as usize;
        let period = 1e6 / workload.per_second;
        // 10 % to and fro, so that writers do not march in step.
        let next = self.chance.between((period * 0.9) as u64, (period * 1.1) as u64 + 1);
        let now = self.now;
        let member = &mut self.members[ix];
        let (Some(node), Some(writer), false) = (&mut member.node, &mut member.writer, member.frozen) else {
            return self.queue.push(now + next.max(AGAIN), Event::Write(number));
        };
        if !node.can_write(workload.size) {
            writer.blocked_since.get_or_insert(now);
            self.check_blocked(ix);
            return self.queue.push(now + AGAIN, Event::Write(number));
        }
        writer.blocked_since = None;
        let head =
            Head { writer: number, start: member.start as u32, number: writer.written + 1, written_at: now };
        if node.broadcast(head.message(workload.size)) == Ok(head.number) {
            (writer.written, writer.written_at) = (head.number, now);
        } else {
            self.violate("A1", ix, format!("its message {} got another number", head.number));
        }
        self.queue.push(now + next, Event::Write(number));
        self.settle(ix);
    }

    /// Messages that the living, honest writers have written in their present start.
    pub fn written(&self) -> u64 {
        let writers = self.writers.iter().map(|ix| &self.members[*ix as usize]);
        writers
            .filter(|member| member.alive())
            .filter_map(|member| member.writer.as_ref())
            .map(|w| w.written)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_message_is_recognised() {
        let head = Head { writer: 3, start: 1, number: 77, written_at: 123_456 };
        let message = head.message(100);
        assert_eq!((message.len(), Head::of(&message)), (100, Some(head)));
        let mut changed = message.to_vec();
        changed[99] ^= 1;
        assert_eq!(Head::of(&changed), None);
        assert_eq!(Head::of(&message[..20]), None);
    }
}
