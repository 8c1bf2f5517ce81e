//! Bridges: the links by which two partitions become one.
//!
//! Over the first link between them the node that asked for it names some nodes of its partition.
//! The receiver sends walks with them into its own partition, and each walk's end links with one of
//! them, so that the merged network does not hang on one link.

use super::Membership;
use crate::context::Cx;
use crate::ids::LinkId;
use crate::message::{Control, Priority};
use crate::record::Record;

/// Walks that the receiver sends out over a new bridge. Default 3, so that about four links join
/// the two partitions.
const BRIDGE_WALKS: usize = 3;

impl Membership {
    /// The new link, which this node asked for, joins two partitions: sends the other one some
    /// nodes that it can reach now.
    pub(super) fn bridged(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        if !self.conns.bridged(cx, link) {
            return;
        }
        let Some(peer) = self.conns.peer(link) else { return };
        let records = self.sample(cx, 8, 8, &peer);
        if !records.is_empty() {
            cx.out.send(link, Control::Bridge { ttl: cx.config.walk_ttl, records });
        }
    }

    pub(super) fn on_bridge(&mut self, cx: &mut Cx<'_>, from: LinkId, ttl: u8, records: Vec<Record>) {
        let first = self.conns.take_bridge_first(from, cx.now) && ttl >= cx.config.walk_ttl;
        self.learn(cx, from, &records);
        let me = cx.me.id();
        if first {
            for _ in 0..BRIDGE_WALKS {
                if let Some(hop) = self.next_hop(cx, from, &me) {
                    let ttl = ttl.min(cx.config.walk_ttl) - 1;
                    cx.out.send(hop, Control::Bridge { ttl, records: records.clone() });
                }
            }
            return;
        }
        match self.next_hop(cx, from, &me) {
            Some(hop) if ttl > 0 => {
                let ttl = ttl.min(cx.config.walk_ttl) - 1;
                cx.out.send(hop, Control::Bridge { ttl, records });
            }
            _ => self.build_bridge(cx, &records),
        }
    }

    /// The walk ends here: links with one of the other partition's nodes.
    fn build_bridge(&mut self, cx: &mut Cx<'_>, records: &[Record]) {
        let unknown = |record: &&Record| !self.is_known_link(cx.me, &record.id);
        let unknown: Vec<_> = records.iter().filter(unknown).collect();
        let Some(record) = cx.rng.pick(&unknown).copied() else { return };
        if self.committed() < cx.config.hard_max() && self.dials.room(cx.config) > 0 {
            self.dial_record(cx, record, Priority::Bridge, None);
        }
    }
}
