//! A tree: a node forwards everything that arrives on one link over all others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::Node;
use crate::frame::{Assembly, Format, Frame};
use crate::link;

/// Reads one link of a node.
pub(crate) struct Reader {
    node: Arc<Node>,
    link: usize,
    /// In a tree all that one origin writes comes by the same link.
    begun: Vec<Assembly>,
}

impl Reader {
    pub(crate) fn new(node: Arc<Node>, link: usize) -> Self {
        Self { node, link, begun: Vec::new() }
    }
}

impl link::Reader for Reader {
    fn read(&mut self, bytes: &[u8]) -> usize {
        let (mut at, mut copies) = (0, 0);
        let mut inbox = self.node.sink.lock();
        while let Some(frame) = Frame::first(&bytes[at..], Format::Plain) {
            at += frame.len;
            if self.begun.len() <= frame.origin {
                self.begun.resize_with(frame.origin + 1, Assembly::default);
            }
            self.begun[frame.origin].add(frame.piece, frame.more, |message| {
                inbox.arrived(message);
                copies += 1;
            });
        }
        drop(inbox);
        if at > 0 {
            self.node.copies.fetch_add(copies, Ordering::Relaxed);
            for (_, link) in self.node.links.iter().enumerate().filter(|(link, _)| *link != self.link) {
                link.push(&[&bytes[..at]]);
            }
        }
        at
    }

    async fn room(&self) {
        for (_, link) in self.node.links.iter().enumerate().filter(|(link, _)| *link != self.link) {
            link.room().await;
        }
    }
}
