//! Writing under the node's upload limit.
//!
//! The link's task takes as much from its queue as leaves in one turn, and writes it in pieces,
//! each of which waits for the link's [turn](Share::turn). Urgent messages go before everything
//! that has not begun to leave, also before what was queued earlier: only segments, parts of them
//! and digests are overtaken, as the core itself does it when a line is slow. A message after a
//! farewell stays behind it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use smokesignal_proto::{Control, LinkId, Message};
use tokio::sync::mpsc;

use super::{Outgoing, Queue, Report};
use crate::stream::mux::Mux;
use crate::upload::Share;
use crate::wire::writer::FrameWriter;

/// Returns whether the message is small and keeps a link alive or a stream going, so that it may
/// overtake others.
fn is_urgent(message: &Message) -> bool {
    match message {
        Message::Data(..) | Message::Part(_) => false,
        Message::Control(control) => {
            !matches!(**control, Control::Digest { .. } | Control::Disconnect { .. })
        }
    }
}

/// Returns whether all of these messages are urgent.
pub(super) fn are_urgent(messages: &[Message]) -> bool {
    messages.iter().all(is_urgent)
}

impl Queue {
    /// Moves what may go first to the writer.
    fn push_urgent(&mut self, writer: &mut FrameWriter) {
        let is_farewell = |message: &Message| matches!(message, Message::Control(control) if matches!(**control, Control::Disconnect { .. }));
        let end = self.messages.iter().position(is_farewell).unwrap_or(self.messages.len());
        let urgent = self.messages.extract_if(..end, |message| is_urgent(message));
        urgent.for_each(|message| writer.push_message(message));
    }

    /// Moves what goes next to the writer: one message, and more of them up to `most` bytes.
    fn push_next(&mut self, most: usize, writer: &mut FrameWriter) {
        let mut costs = self.messages.iter().map(Message::cost);
        let mut sum = costs.next().unwrap_or(0);
        let more = costs.take_while(|cost| {
            sum += cost;
            sum <= most
        });
        let count = self.messages.len().min(1 + more.count());
        self.messages.drain(..count).for_each(|message| writer.push_message(message));
    }
}

/// Writes as the link's other loop does, in turns with all other connections of the node.
pub(super) async fn write(
    link: LinkId,
    out: &Outgoing,
    mut share: Share,
    streams: &Mux,
    reports: mpsc::Sender<(LinkId, Report)>,
) -> bool {
    let Some(mut writer) = out.queue.lock().writer.take() else { return false };
    loop {
        let closing = {
            let mut queue = out.queue.lock();
            queue.push_urgent(&mut writer);
            queue.closing
        };
        let written = if !writer.is_done() {
            // Urgent, or what the driver has begun to write.
            share.urgent(writer.left()).await;
            writer.write_piece(writer.left()).await
        } else if has_more(out, streams) {
            if !is_turn(out, streams, &mut share).await {
                continue;
            }
            out.queue.lock().push_next(share.piece(), &mut writer);
            streams.take(1).iter().for_each(|frame| writer.push_frame(frame));
            write_batch(out, &mut writer, &mut share).await
        } else if closing {
            return writer.close().await.is_ok();
        } else {
            out.queue.lock().writer = Some(writer);
            streams.send_queue.wake.notified().await;
            // It is gone only if the link has ended.
            let Some(back) = out.queue.lock().writer.take() else { return false };
            writer = back;
            continue;
        };
        let cost = match written {
            Ok(cost) => cost,
            Err(error) => {
                tracing::debug!(?link, %error, "cannot write to the connection");
                return false;
            }
        };
        let tell = out.note_sent(&mut out.queue.lock(), cost);
        if tell && reports.send((link, Report::Sent)).await.is_err() && !closing {
            return false;
        }
    }
}

fn has_more(out: &Outgoing, streams: &Mux) -> bool {
    !out.queue.lock().messages.is_empty() || streams.has_frames()
}

/// Waits for the link's turn. Returns false if something was queued before it came: it may be
/// urgent.
async fn is_turn(out: &Outgoing, streams: &Mux, share: &mut Share) -> bool {
    tokio::select! {
        biased;
        () = turn(out, share, true) => true,
        () = streams.send_queue.wake.notified() => false,
    }
}

/// Waits for the link's turn. A link that waits for that does not stand still.
async fn turn(out: &Outgoing, share: &mut Share, begins: bool) {
    let waits = Waits(&out.waits_for_turn);
    waits.0.store(true, Ordering::Relaxed);
    share.turn(begins).await;
}

struct Waits<'a>(&'a AtomicBool);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Writes what was pushed, in pieces, of which the first one has its turn. Returns its cost.
async fn write_batch(out: &Outgoing, writer: &mut FrameWriter, share: &mut Share) -> io::Result<usize> {
    let size = writer.left();
    loop {
        let piece = share.piece().min(writer.left());
        share.pay(piece);
        let cost = writer.write_piece(piece).await?;
        if writer.left() == 0 {
            share.end_batch(size);
            return Ok(cost);
        }
        turn(out, share, false).await;
    }
}
