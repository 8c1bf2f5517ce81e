//! Publishing: turns what the application writes into signed segments of the node's own stream.
//!
//! Messages wait in the packer (`writer.rs`) until the links take more. Then up to 16 segments are
//! made and signed together, as often as the signature rate allows; what is written meanwhile
//! shares the next signature. A leaving node, and one with much to send, does not wait.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::age::Age;
use crate::context::Cx;
use crate::hash_tree::MAX_LEAVES;
use crate::segment::{MessageKind, Segment};
use crate::signature_rate::SignatureRate;
use crate::time::Instant;
use crate::writer::{Packed, Writer};

/// Writes that are not yet part of the node's own stream.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    writer: Writer,
    rate: SignatureRate,
    /// Segments that are made, and their bytes: what waits behind them is made into segments, and
    /// signed, together.
    ready: VecDeque<(Arc<Segment>, Age)>,
    ready_bytes: usize,
    /// When the next signature may be made, if something waits for it.
    sign_at: Option<Instant>,
    /// The kind of what was written last.
    last_kind: Option<MessageKind>,
}

impl Publisher {
    /// Queues a message that was written at this time, and returns its number in this incarnation.
    pub(crate) fn push(&mut self, kind: MessageKind, message: Bytes, written: Instant) -> u64 {
        self.last_kind = Some(kind);
        self.writer.push(kind, message, written)
    }

    /// Queues the end of the stream after all that was written, unless that is an end already, or
    /// nothing was written at all.
    pub(crate) fn end(&mut self, now: Instant) {
        if self.last_kind.is_some_and(|kind| kind != MessageKind::End) {
            self.push(MessageKind::End, Bytes::new(), now);
        }
    }

    /// Returns the bytes waiting.
    pub(crate) fn bytes(&self) -> usize {
        self.writer.bytes() + self.ready_bytes
    }

    /// Returns whether anything waits.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.ready.is_empty() || self.writer.messages() > 0
    }

    /// Returns the messages waiting, the half-sent one included, and an end not.
    pub(crate) fn messages(&self) -> u64 {
        let ready =
            self.ready.front().map_or(0, |(segment, _)| self.writer.packed() + 1 - segment.first_message);
        let ends = self.ready.iter().filter(|(segment, _)| segment.message_kind == MessageKind::End).count();
        let is_end = self.last_kind == Some(MessageKind::End) && self.writer.messages() > 0;
        ready + self.writer.messages() as u64 - ends as u64 - u64::from(is_end)
    }

    /// Returns the number of the last message that is completely part of the own stream.
    pub(crate) fn published(&self) -> u64 {
        self.ready.front().map_or(self.writer.packed(), |(segment, _)| segment.first_message - 1)
    }

    /// Returns when to call [`Publisher::next`] again, if something waits for a signature.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.sign_at
    }

    /// Forgets the deadline; the next call of [`Publisher::next`] may set it again.
    pub(crate) fn stop_waiting(&mut self) {
        self.sign_at = None;
    }

    /// Frees memory that a busy time has left.
    pub(crate) fn trim(&mut self) {
        self.writer.trim();
        self.ready.shrink_to(2 * self.ready.len());
    }

    /// Returns the segment that comes after number `last` of the own stream; `None` where nothing
    /// waits, or has to wait for its signature.
    pub(crate) fn next(&mut self, cx: &Cx<'_>, last: u64) -> Option<(Arc<Segment>, Age)> {
        if self.ready.is_empty() {
            self.sign_at = self.wait_until(cx);
            if self.sign_at.is_some() {
                return None;
            }
            self.make_segments(cx, last + 1);
        }
        let (segment, age) = self.ready.pop_front()?;
        self.ready_bytes -= segment.body.len();
        Some((segment, age))
    }

    /// Returns until when what was written has to wait for its signature, if it has to.
    fn wait_until(&self, cx: &Cx<'_>) -> Option<Instant> {
        let next = self.rate.next(cx.config);
        let limited = cx.config.signed && !cx.me.is_leaving() && self.writer.bytes() < cx.config.sign_bytes;
        (limited && cx.now < next).then_some(next)
    }

    /// Makes segments, from number `first` on, of what was written: as many as go under one
    /// signature.
    fn make_segments(&mut self, cx: &Cx<'_>, first: u64) {
        let (origin, incarnation) = (cx.me.id(), cx.me.incarnation());
        let (mut batch, mut ages) = (Vec::new(), Vec::new());
        for seq in (first..).take(MAX_LEAVES) {
            let Some(Packed { kind, message_kind, first_message, body, written }) = self.writer.next() else {
                break;
            };
            let seal = None;
            ages.push(Age::written(written));
            batch.push(Segment { origin, incarnation, seq, first_message, kind, message_kind, body, seal });
        }
        if cx.config.signed {
            self.rate.signed(cx.now, cx.config);
            Segment::sign_all(&mut batch, cx.me.keypair(), &cx.config.network, cx.unix_time());
        }
        self.ready_bytes += batch.iter().map(|segment| segment.body.len()).sum::<usize>();
        self.ready.extend(batch.into_iter().map(Arc::new).zip(ages));
    }
}
