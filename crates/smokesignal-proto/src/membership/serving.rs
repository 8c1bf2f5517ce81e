//! Connections that serve streams only: no links, in nobody's view, and kept alive like links.

use std::net::SocketAddr;

use super::{Conn, Effect, Membership, Phase, Purpose};
use crate::Target;
use crate::id::NodeId;
use crate::message::Control;
use crate::node::LinkId;
use crate::record::Record;
use crate::time::Instant;

/// Connections to one node that serve streams, at most: both may have dialled at the same time.
const MAX_FOR_ONE: usize = 2;
/// Connections that serve streams only, at most; a new one is closed. Others may take three quarters of them.
pub(super) const MAX_SERVING: usize = 256;

impl Membership {
    /// A link, or a connection for streams, to this node.
    pub(crate) fn link_for_streams(&self, id: &NodeId) -> Option<LinkId> {
        let serves = |conn: &&Conn| conn.peer == *id && matches!(conn.phase, Phase::Active | Phase::Serving);
        let found = self.conns.iter().filter(|(_, conn)| serves(conn));
        found.max_by_key(|(_, conn)| (conn.phase == Phase::Active, !conn.carried)).map(|(link, _)| *link)
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

    /// False: there is no room for a dial now.
    pub(crate) fn dial_for_streams(&mut self, id: NodeId, target: Target, now: Instant) -> bool {
        let before = self.dials.len();
        let carried = matches!(target, Target::Carried { .. });
        self.dial(Purpose::Streams { carried }, target, Some(id), now);
        self.dials.len() > before
    }

    /// Somebody has reached this node through others.
    pub(crate) fn carried(&mut self, link: LinkId, peer: NodeId, now: Instant) {
        if peer == self.me || self.leaving {
            return self.out.push(Effect::Close(link, "nothing to be carried here"));
        }
        let conn = Conn { carried: true, ..Conn::new(peer, false, Purpose::None, &self.config, now) };
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
            self.conns.values().filter(|conn| conn.peer == peer && conn.phase == Phase::Serving).count();
        let room = if dialled { MAX_SERVING } else { MAX_SERVING * 3 / 4 };
        if same >= MAX_FOR_ONE || self.serving() >= room {
            let carried = self.conns.get(&link).is_some_and(|conn| conn.carried);
            if dialled {
                self.out.push(Effect::NotServing { peer, carried });
            }
            return self.drop_link(link, "too many connections for streams", now);
        }
        let Some(conn) = self.conns.get_mut(&link) else { return };
        (conn.phase, conn.since) = (Phase::Serving, now);
        self.out.push(Effect::Serving(link));
    }

    pub(super) fn serving(&self) -> usize {
        self.conns.values().filter(|conn| conn.phase == Phase::Serving).count()
    }

    pub(crate) fn keep_for_streams(
        &mut self,
        link: LinkId,
        peer: NodeId,
        dialled: bool,
        now: Instant,
    ) -> bool {
        if self.serving() >= MAX_SERVING || self.leaving || self.conns.contains_key(&link) {
            return false;
        }
        let conn =
            Conn { phase: Phase::Serving, ..Conn::new(peer, dialled, Purpose::None, &self.config, now) };
        self.conns.insert(link, conn);
        true
    }

    pub(crate) fn close_streams(&mut self, link: LinkId, now: Instant) {
        if self.conns.get(&link).is_some_and(|conn| conn.phase == Phase::Serving) {
            self.drop_link(link, "no stream has used it for a while", now);
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
