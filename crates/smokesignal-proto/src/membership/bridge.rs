//! Bridges: the links by which two partitions become one.
//!
//! Over the first link between them the node that asked for it names some nodes of its partition.
//! The receiver sends walks with them into its own partition, and each walk's end links with one of
//! them, so that the merged network does not hang on one link.
//!
//! A node that joins two partitions at the same time makes them one over links that nobody asked
//! for as bridges. Its new neighbour's beat shows it, and the side that takes the other one's root
//! names those of its neighbours that know its own.

use std::time::Duration;

use super::Membership;
use super::state::conn::Conn;
use crate::context::Cx;
use crate::ids::LinkId;
use crate::message::{Control, Priority};
use crate::record::Record;

/// Walks that the receiver sends out over a new bridge. Default 3, so that about four links join
/// the two partitions.
const BRIDGE_WALKS: usize = 3;
/// From this number of hops before its end on, a walk ends at the first node that has no bridge,
/// and no link to the nodes it names. Default 3: half of the way.
const ENDS_FROM: u8 = 3;

/// A link that is older than this joins no partitions: new beats over it tell of what others have
/// joined. Default 10 s: six beats.
const MEETS_WITHIN: Duration = Duration::from_secs(10);

impl Membership {
    /// A neighbour's beat is of another partition. `former` are the neighbours in this node's own
    /// one, if it is this node that changes sides, and so names some of its own one.
    pub(crate) fn met(&mut self, cx: &mut Cx<'_>, link: LinkId, former: Option<Vec<LinkId>>) {
        if !self.conns.meets(cx, link, MEETS_WITHIN) {
            return;
        }
        let Some(former) = former else { return self.conns.set_bridge_first(link) };
        let record = |link: &LinkId| self.conns.get(*link)?.record().cloned();
        let records: Vec<_> = former.iter().filter_map(record).take(8).collect();
        if !records.is_empty() {
            cx.out.send(link, Control::Bridge { ttl: cx.config.walk_ttl, records });
        }
    }

    /// The new link, which this node asked for, joins two partitions: sends the other one some
    /// nodes that it can reach now.
    pub(super) fn bridged(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        if !self.conns.bridged(cx, link) {
            return;
        }
        let Some(peer) = self.conns.peer(link) else { return };
        let records = self.sample(cx, 8, 0, &peer);
        if !records.is_empty() {
            cx.out.send(link, Control::Bridge { ttl: cx.config.walk_ttl, records });
        }
    }

    pub(super) fn on_bridge(&mut self, cx: &mut Cx<'_>, from: LinkId, ttl: u8, records: Vec<Record>) {
        let first = self.conns.take_bridge_first(from, cx.now) && ttl >= cx.config.walk_ttl;
        if first {
            self.learn(cx, from, &records);
            return self.start_bridge_walks(cx, from, ttl.min(cx.config.walk_ttl), &records);
        }
        if ttl >= cx.config.walk_ttl {
            return; // As far as this node knows, the link joins nothing.
        }
        self.learn(cx, from, &records);
        // Once the two are one, a walk may have come back to where its nodes are; and a node that
        // has a bridge needs no second one.
        let has_way = |(_, conn): (LinkId, &Conn)| {
            conn.is_bridge(cx.now) || records.iter().any(|record| record.id == conn.peer())
        };
        let ends = ttl == 0 || (ttl <= ENDS_FROM && !self.conns.active().any(has_way));
        if ends || !self.walk_to_bridge(cx, from, ttl, records.clone()) {
            self.build_bridge(cx, &records);
        }
    }

    /// Sends the walks over different links, each with other nodes, so that they make links which
    /// have no end in common.
    fn start_bridge_walks(&self, cx: &mut Cx<'_>, from: LinkId, ttl: u8, records: &[Record]) {
        let mut hops = self.bridge_hops(cx, from);
        cx.rng.shuffle(&mut hops);
        let walks = BRIDGE_WALKS.min(records.len());
        for (walk, hop) in (0..walks).zip(hops.into_iter().cycle()) {
            let records = records.iter().skip(walk).step_by(walks).cloned().collect();
            cx.out.send(hop, Control::Bridge { ttl: ttl.saturating_sub(1), records });
        }
    }

    /// Passes a walk on. Returns whether there is a way.
    fn walk_to_bridge(&self, cx: &mut Cx<'_>, from: LinkId, ttl: u8, records: Vec<Record>) -> bool {
        let hops = self.bridge_hops(cx, from);
        let Some(hop) = cx.rng.pick(&hops).copied() else { return false };
        cx.out.send(hop, Control::Bridge { ttl: ttl.saturating_sub(1), records });
        true
    }

    /// Returns the links over which a walk stays in this node's own partition, as far as it knows;
    /// if there are none, all others.
    fn bridge_hops(&self, cx: &Cx<'_>, from: LinkId) -> Vec<LinkId> {
        let others = || self.conns.active().filter(|(link, _)| *link != from);
        let inner: Vec<_> =
            others().filter(|(_, conn)| !conn.is_bridge(cx.now)).map(|(link, _)| link).collect();
        if inner.is_empty() { others().map(|(link, _)| link).collect() } else { inner }
    }

    /// The walk ends here: links with one of the other partition's nodes.
    fn build_bridge(&mut self, cx: &mut Cx<'_>, records: &[Record]) {
        let fits = |record: &&Record| {
            let address = self.known.address_of(record);
            !self.is_known_link(cx.me, &record.id)
                && address.is_some_and(|address| self.dials.may_follow(address, cx.now))
        };
        let fitting: Vec<_> = records.iter().filter(fits).collect();
        let Some(record) = cx.rng.pick(&fitting).copied() else { return };
        if self.committed() < cx.config.hard_max() && self.dials.room(cx.config) > 0 {
            self.dials.follow(self.known.address_of(record), cx.now);
            self.dial_record(cx, record, Priority::Bridge, None);
        }
    }
}
