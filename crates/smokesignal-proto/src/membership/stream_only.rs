//! Connections that serve streams only. A stream here is one that a user opens to one node, not a
//! writer's segments: nothing of the broadcast goes over such a connection. It is not a link, is in
//! no view, and is kept alive like a link.
//!
//! The side that dialled says what the connection is for (`Streams`). A link that was demoted while
//! streams used it goes on as such a connection, on each side by itself.

use std::net::SocketAddr;

use super::Membership;
use super::state::conn::{Conn, Phase};
use super::state::dials::Purpose;
use crate::context::Cx;
use crate::features::OtherEnd;
use crate::id::NodeId;
use crate::ids::{LinkId, Target};
use crate::message::Control;
use crate::output::{CloseReason, Fact, Output};
use crate::record::Record;

impl Membership {
    /// Returns a link, or a connection for streams, to this node.
    pub(crate) fn link_for_streams(&self, id: &NodeId) -> Option<LinkId> {
        self.conns.for_streams_to(id)
    }

    /// Returns where the node can be dialled, as far as this one knows.
    pub(crate) fn known_address(&self, id: &NodeId) -> Option<SocketAddr> {
        self.known_records().filter(|record| record.id == *id).find_map(|record| self.address_of(record))
    }

    pub(crate) fn address_of(&self, record: &Record) -> Option<SocketAddr> {
        self.known.address_of(record)
    }

    /// Remembers a node that was looked for and has said where it is: the next time no other node
    /// has to be asked.
    pub(crate) fn remember(&mut self, cx: &mut Cx<'_>, record: &Record) {
        self.learn_of(cx, record);
    }

    /// Dials the node for streams. Returns whether there was room for a dial.
    pub(crate) fn dial_for_streams(&mut self, cx: &mut Cx<'_>, id: NodeId, address: SocketAddr) -> bool {
        let Some(dial) = self.dials.begin(cx, Purpose::Streams { relayed: false }, Some(id)) else {
            return false;
        };
        let target = Target::Address(address);
        cx.out.push(Output::Dial { dial, target, expect: Some(id), timeout: None });
        true
    }

    /// Connects to the node through others, for streams. Returns whether there was room for a dial.
    pub(crate) fn dial_relayed(&mut self, cx: &mut Cx<'_>, id: NodeId, via: LinkId, query: u64) -> bool {
        let Some(dial) = self.dials.begin(cx, Purpose::Streams { relayed: true }, Some(id)) else {
            return false;
        };
        cx.out.push(Output::DialRelayed { dial, via, query, id });
        true
    }

    /// A node has reached this one through others.
    pub(crate) fn relayed(&mut self, cx: &mut Cx<'_>, link: LinkId, peer: OtherEnd) {
        if peer.id == cx.me.id() {
            return cx.out.note(Fact::OwnId(link));
        }
        if cx.me.is_leaving() {
            return cx.out.close(link, CloseReason::RelayRefused);
        }
        self.conns.insert(link, Conn::new(cx, peer, false, Purpose::None).through_others());
        self.serve(cx, link);
    }

    /// The connection that was dialled for streams is up: announces its purpose to the other side.
    pub(super) fn serve_dialled(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        cx.out.send(link, Control::Streams);
        self.serve(cx, link);
    }

    /// The other side says that the connection is for streams only.
    pub(super) fn on_streams(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        if self.conns.get(link).is_some_and(|conn| conn.phase() == Phase::Session) {
            self.serve(cx, link);
        }
    }

    fn serve(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        if self.conns.serve_streams(cx, link) {
            return cx.out.note(Fact::StreamOnly(link));
        }
        let Some(conn) = self.conns.get(link) else { return };
        if conn.is_dialled() {
            cx.out.note(Fact::NotReached { peer: conn.peer(), relayed: conn.is_relayed() });
        }
        self.drop_link(cx, link, CloseReason::TooManyStreams);
    }

    /// Lets a demoted link go on as a connection for streams. Returns whether there is room for it.
    pub(crate) fn keep_for_streams(
        &mut self,
        cx: &Cx<'_>,
        link: LinkId,
        peer: OtherEnd,
        dialled: bool,
    ) -> bool {
        let conn = Conn::new(cx, peer, dialled, Purpose::None);
        !cx.me.is_leaving() && self.conns.keep_for_streams(link, conn)
    }

    pub(crate) fn close_streams(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        if self.conns.get(link).is_some_and(|conn| conn.phase() == Phase::StreamOnly) {
            self.drop_link(cx, link, CloseReason::NoStreams);
        }
    }
}
