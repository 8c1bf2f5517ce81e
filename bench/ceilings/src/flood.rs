//! A flood: a node forwards each message that is new to it over all links but the one it came from.
//!
//! Links keep the order, and so does each node: a node never sees number 7 of an origin before
//! number 6. One number per origin therefore says what it has seen.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Node;
use crate::frame::{self, Assembly, Format, Frame};
use crate::link;

/// Remembers what one node has seen.
pub(crate) struct Seen {
    origins: Mutex<Vec<Origin>>,
}

#[derive(Default)]
struct Origin {
    /// The number that comes next.
    next: u32,
    begun: Assembly,
}

impl Seen {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { origins: Mutex::new((0..nodes).map(|_| Origin::default()).collect()) }
    }

    /// The node writes a piece of its own.
    pub(crate) fn write(&self, node: &Node, piece: &[u8], more: bool) {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        let own = &mut origins[node.number];
        let head = frame::head(node.number, piece.len(), more);
        for link in &node.links {
            link.push(&[&head, &own.next.to_le_bytes(), piece]);
        }
        own.next = own.next.wrapping_add(1);
    }
}

/// Reads one link of a node.
pub(crate) struct Reader {
    node: Arc<Node>,
    seen: Arc<Seen>,
    link: usize,
}

impl Reader {
    pub(crate) fn new(node: Arc<Node>, seen: Arc<Seen>, link: usize) -> Self {
        Self { node, seen, link }
    }

    fn pass_on(&self, frames: &[u8]) {
        if frames.is_empty() {
            return;
        }
        for (_, link) in self.node.links.iter().enumerate().filter(|(link, _)| *link != self.link) {
            link.push(&[frames]);
        }
    }
}

impl link::Reader for Reader {
    fn read(&mut self, bytes: &[u8]) -> usize {
        // New frames that are adjacent are forwarded as one block.
        let (mut at, mut new_from, mut copies) = (0, 0, 0);
        // Held until everything is forwarded, which keeps the order.
        let mut origins = self.seen.origins.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inbox = self.node.sink.lock();
        while let Some(frame) = Frame::first(&bytes[at..], Format::Numbered) {
            copies += u64::from(!frame.more);
            let Some(origin) = origins.get_mut(frame.origin) else { break };
            if frame.number == origin.next {
                origin.next = origin.next.wrapping_add(1);
                origin.begun.add(frame.piece, frame.more, |message| inbox.arrived(message));
            } else {
                self.pass_on(&bytes[new_from..at]);
                new_from = at + frame.len;
            }
            at += frame.len;
        }
        drop(inbox);
        self.pass_on(&bytes[new_from..at]);
        drop(origins);
        self.node.copies.fetch_add(copies, Ordering::Relaxed);
        at
    }

    async fn room(&self) {}
}
