//! Checks what readers get: messages in order, unaltered and complete, and gaps that add up.
//!
//! A message carries its writer, its number and the writer's start, so that a delivery can be
//! judged from the message and from the books of its reader, which still hold the delivery before.
//! If the reader has delivered message 7 and then reported a gap of 2, the next number is 10. A
//! message 9 would violate `accounted`, a message 7 `in-order`, and one with a changed byte
//! `unaltered`. At rest the books have to agree with what the writers wrote.

use smokesignal_proto::NodeId;

use super::{Check, Observed, View, Violation};
use crate::invariant::Invariant;
use crate::workload::Head;

/// Compares every delivery with what its reader has read before. It remembers nothing itself.
#[derive(Debug)]
pub(super) struct Deliveries;

impl Check for Deliveries {
    fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation> {
        match *event {
            Observed::Delivered { node, from, seq, data } => delivery(view, node, from, seq, data),
            Observed::Gap { node, from, missed } => gap(view, node, from, missed),
            Observed::Wrote { writer, number, as_number: false } => {
                let what = format!("its message {number} got another number");
                view.violated(Invariant::IN_ORDER, view.writer(writer).node, what)
            }
            Observed::AtRest { .. } | Observed::AtRestAmongLiars => everyone_has_everything(view),
            _ => Ok(()),
        }
    }
}

/// Checks that a message follows the last one of its writer at this reader.
fn delivery(view: &View<'_>, node: usize, from: NodeId, seq: u64, data: &[u8]) -> Result<(), Violation> {
    let Some(writer) = view.writer_number(&from) else {
        let what = format!("a message of {from:?}, which never wrote");
        return view.violated(Invariant::UNALTERED, node, what);
    };
    let head = Head::of_unaltered(data);
    let Some(head) = head.filter(|head| (head.writer, head.number) == (writer, seq)) else {
        let what = format!("message {seq} of writer {writer} is not what was written");
        return view.violated(Invariant::UNALTERED, node, what);
    };
    // A first message may be any: a node that joins starts at now.
    let read = view.traffic.read(node, writer).filter(|read| read.start > 0);
    let Some(read) = read else { return Ok(()) };
    let (start, last, gap) = (u64::from(head.start), read.last, read.pending_gap);
    if start < read.start || (start == read.start && seq <= last) {
        let what = format!("message {seq} of writer {writer}, start {start}, came after {last}");
        return view.violated(Invariant::IN_ORDER, node, what);
    }
    // Across a writer's restart gaps are estimates.
    if start == read.start && seq != last + 1 + gap {
        let what = format!("message {seq} of writer {writer} came after {last} and a gap of {gap}");
        return view.violated(Invariant::ACCOUNTED, node, what);
    }
    Ok(())
}

/// Checks that a gap has a cause: the run expects gaps, or the writer has died meanwhile.
fn gap(view: &View<'_>, node: usize, from: NodeId, missed: u64) -> Result<(), Violation> {
    let Some(writer) = view.writer_number(&from) else {
        // A recording was written once, and is a gap because nobody proves its writer to live.
        if view.nodes().any(|ix| view.cluster.plays(ix, &from)) {
            return Ok(());
        }
        let what = format!("a gap of {from:?}, which never wrote");
        return view.violated(Invariant::ACCOUNTED, node, what);
    };
    // Nobody can repeat what only a dead node had.
    let writer_node = view.writer(writer).node;
    let lives = view.cluster.is_alive(writer_node) && view.cluster.starts(writer_node) == 1;
    if !lives || view.setup.expect.gaps {
        return Ok(());
    }
    let last = view.read(node, writer).last;
    let what = format!("a gap of {missed} after message {last} of the living writer {writer}");
    view.violated(Invariant::NO_NEEDLESS_GAP, node, what)
}

/// Checks that all honest nodes have read what the writers in their component have written, and
/// with it that what was delivered and what was missed is all there is.
fn everyone_has_everything(view: &View<'_>) -> Result<(), Violation> {
    let graph = view.graph();
    for (number, writer) in view.traffic.writers().iter().enumerate() {
        if !view.net.is_awake(writer.node) || !view.cluster.is_honest(writer.node) {
            continue;
        }
        let reached = graph.reached_past(writer.node, |ix| !view.cluster.is_honest(ix));
        for node in view.awake().filter(|ix| reached[*ix] && *ix != writer.node) {
            has_everything(view, node, number as u32)?;
        }
    }
    Ok(())
}

/// Checks that a node has read the last message of a writer, or has reported what is missing.
fn has_everything(view: &View<'_>, node: usize, number: u32) -> Result<(), Violation> {
    let writer = view.writer(number);
    let (written, start) = (writer.written, view.cluster.starts(writer.node));
    let read = view.read(node, number);
    // A node is due what was written after it was connected, wherever it began to read.
    let lost = view.traffic.unaccounted(node, number, start, written);
    if written == 0 || (read.start == 0 && lost == 0) {
        return Ok(()); // A node that came after the last message has nothing to have.
    }
    let (last, gap) = (read.last, read.pending_gap);
    let complete = read.start == start && last + gap == written;
    // Gaps before the first delivery count too: the sum may be more than what is due.
    let adds_up = read.delivered + read.missed > last.saturating_sub(read.first);
    if complete && adds_up && lost == 0 {
        return Ok(());
    }
    let what = format!(
        "of writer {number} it has up to {last} of start {} and a gap of {gap}, written are {written} \
         of start {start}; {lost} of those that are due are neither read nor missed",
        read.start
    );
    view.violated(Invariant::COMPLETE, node, what)
}
