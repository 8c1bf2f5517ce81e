//! Connections that serve streams only: no links, in nobody's view, and kept alive like links.

use std::net::SocketAddr;

use super::{Conn, Effect, Membership, Phase, Purpose};
use crate::id::NodeId;
use crate::ids::{LinkId, Target};
use crate::message::Control;
use crate::output::{CloseReason, Output};
use crate::record::Record;
use crate::time::Instant;

/// Connections to one node that serve streams, at most: both may have dialled at the same time.
const MAX_FOR_ONE: usize = 2;
/// Connections that serve streams only, at most; a new one is closed. Others may take three quarters of them.
pub(super) const MAX_STREAM_ONLY: usize = 256;

impl Membership {
    /// A link, or a connection for streams, to this node.
    pub(crate) fn link_for_streams(&self, id: &NodeId) -> Option<LinkId> {
        let serves =
            |conn: &&Conn| conn.peer == *id && matches!(conn.phase, Phase::Active | Phase::StreamOnly);
        let found = self.conns.iter().filter(|(_, conn)| serves(conn));
        found.max_by_key(|(_, conn)| (conn.phase == Phase::Active, !conn.relayed)).map(|(link, _)| *link)
    }

    /// Where the node can be dialled, as far as this one knows.
    pub(crate) fn known_address(&self, id: &NodeId) -> Option<SocketAddr> {
        self.known_records().filter(|record| record.id == *id).find_map(|record| self.address_of(record))
    }

    pub(crate) fn address_of(&self, record: &Record) -> Option<SocketAddr> {
        record.dialable_from(&self.addresses)
    }

    /// Somebody who was looked for has said where it is: the next time nobody has to be asked.
    pub(crate) fn remember(&mut self, record: &Record) {
        self.learn_of(record);
    }

    pub(crate) fn own_record(&self) -> Record {
        self.record.clone()
    }

    /// Dials the node for streams. Returns whether there was room for a dial.
    pub(crate) fn dial_for_streams(&mut self, id: NodeId, address: SocketAddr, now: Instant) -> bool {
        let before = self.dials.len();
        self.dial(Purpose::Streams { relayed: false }, Target::Address(address), Some(id), now);
        self.dials.len() > before
    }

    /// Connects to the node through others, for streams. Returns whether there was room for a dial.
    pub(crate) fn dial_relayed(&mut self, id: NodeId, via: LinkId, query: u64, now: Instant) -> bool {
        let purpose = Purpose::Streams { relayed: true };
        let Some(dial) = self.begin_dial(purpose, Some(id), now) else { return false };
        self.out.push(Effect::Dial(Output::DialRelayed { dial, via, query, id }));
        true
    }

    /// Somebody has reached this node through others.
    pub(crate) fn relayed(&mut self, link: LinkId, peer: NodeId, now: Instant) {
        if peer == self.me || self.leaving {
            return self.out.push(Effect::Close(link, CloseReason::RelayRefused));
        }
        let conn = Conn { relayed: true, ..Conn::new(peer, false, Purpose::None, &self.config, now) };
        self.conns.insert(link, conn);
        self.serve(link, now);
    }

    /// The connection that was dialled for streams is up: the other side is told what it is for.
    pub(super) fn serve_dialled(&mut self, link: LinkId, now: Instant) {
        self.send(link, Control::Streams);
        self.serve(link, now);
    }

    /// The other side says that the connection is for streams only.
    pub(super) fn on_streams(&mut self, link: LinkId, now: Instant) {
        if self.conns.get(&link).is_some_and(|conn| conn.phase == Phase::Session) {
            self.serve(link, now);
        }
    }

    fn serve(&mut self, link: LinkId, now: Instant) {
        let Some((peer, dialled)) = self.conns.get(&link).map(|conn| (conn.peer, conn.dialled)) else {
            return;
        };
        let same =
            self.conns.values().filter(|conn| conn.peer == peer && conn.phase == Phase::StreamOnly).count();
        let room = if dialled { MAX_STREAM_ONLY } else { MAX_STREAM_ONLY * 3 / 4 };
        if same >= MAX_FOR_ONE || self.stream_only() >= room {
            let relayed = self.conns.get(&link).is_some_and(|conn| conn.relayed);
            if dialled {
                self.out.push(Effect::NotReached { peer, relayed });
            }
            return self.drop_link(link, CloseReason::TooManyStreams, now);
        }
        let Some(conn) = self.conns.get_mut(&link) else { return };
        (conn.phase, conn.since) = (Phase::StreamOnly, now);
        self.out.push(Effect::StreamOnly(link));
    }

    pub(super) fn stream_only(&self) -> usize {
        self.conns.values().filter(|conn| conn.phase == Phase::StreamOnly).count()
    }

    pub(crate) fn keep_for_streams(
        &mut self,
        link: LinkId,
        peer: NodeId,
        dialled: bool,
        now: Instant,
    ) -> bool {
        if self.stream_only() >= MAX_STREAM_ONLY || self.leaving || self.conns.contains_key(&link) {
            return false;
        }
        let conn =
            Conn { phase: Phase::StreamOnly, ..Conn::new(peer, dialled, Purpose::None, &self.config, now) };
        self.conns.insert(link, conn);
        true
    }

    pub(crate) fn close_streams(&mut self, link: LinkId, now: Instant) {
        if self.conns.get(&link).is_some_and(|conn| conn.phase == Phase::StreamOnly) {
            self.drop_link(link, CloseReason::NoStreams, now);
        }
    }

    /// Whether a search from this neighbour is heeded: each costs the whole network something.
    pub(crate) fn affords_search(&mut self, link: LinkId) -> bool {
        let Some(conn) = self.conns.get_mut(&link) else { return false };
        if conn.phase != Phase::Active || conn.searches == 0 {
            return false;
        }
        conn.searches -= 1;
        true
    }

    /// A random number.
    pub(crate) fn number(&mut self) -> u64 {
        self.rng.next()
    }
}
