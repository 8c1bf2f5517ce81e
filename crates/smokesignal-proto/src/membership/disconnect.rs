//! The end of a link: with a goodbye, after which both sides know that it is over, or by a break.
//!
//! A goodbye names other nodes to link with instead. A node that leaves hands each neighbour the
//! next one in a row, so that no path is lost. After a break the node asks known nodes for links if
//! too few are left (`upkeep.rs`). The node at the other end is probed (`state/reconnect.rs`), and
//! so are others: more than a link may be gone.

use super::Membership;
use super::state::conn::Conn;
use super::state::dials::Purpose;
use crate::context::Cx;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::message::{Control, DisconnectReason, Priority};
use crate::output::{CloseReason, Fact, Output, RequestFailure};
use crate::record::Record;

impl Membership {
    /// The node is about to leave: no new links are made, and open requests fail.
    pub(crate) fn leave(&mut self, cx: &mut Cx<'_>) {
        for request in self.dials.abandon() {
            cx.out.push(Output::Requested { request, outcome: Err(RequestFailure::Closed) });
        }
    }

    /// Says goodbye to every neighbour and closes every connection.
    pub(crate) fn say_goodbye_to_all(&mut self, cx: &mut Cx<'_>) {
        // Each neighbour is named the next one in a row as its successor, and the last one nobody:
        // the reverse of a split.
        let neighbours = self.conns.active().map(|(_, conn)| conn.record().cloned());
        let mut successors = neighbours.skip(1).chain([None]).collect::<Vec<_>>().into_iter();
        let links: Vec<_> = self.conns.iter().map(|(link, _)| link).collect();
        for link in links {
            if self.conns.is_active(link) {
                let successor = successors.next().flatten();
                self.leave_with(cx, link, DisconnectReason::Leaving, successor);
            } else {
                self.drop_link(cx, link, CloseReason::Ended(DisconnectReason::Leaving));
            }
        }
    }

    /// The user closed this link: the pair leaves each other alone for a while.
    pub(crate) fn close_by_user(&mut self, cx: &mut Cx<'_>, peer: &NodeId) {
        if let Some((link, _)) = self.conns.link_to(peer) {
            self.say_goodbye(cx, link, DisconnectReason::Closed);
            self.cool_down(cx, *peer);
        }
    }

    fn cool_down(&mut self, cx: &Cx<'_>, peer: NodeId) {
        self.admission.cool_down(cx, peer);
        self.known.passive_mut().avoid(&peer, cx.now + cx.config.pair_backoff);
    }

    pub(super) fn say_goodbye(&mut self, cx: &mut Cx<'_>, link: LinkId, reason: DisconnectReason) {
        self.leave_with(cx, link, reason, None);
    }

    /// Says goodbye and names the successor, which takes this node's place at the other end.
    fn leave_with(
        &mut self,
        cx: &mut Cx<'_>,
        link: LinkId,
        reason: DisconnectReason,
        successor: Option<Record>,
    ) {
        let Some(conn) = self.conns.get(link) else { return };
        let (peer, record) = (conn.peer(), conn.record().cloned());
        let mut records: Vec<_> = successor.into_iter().collect();
        records.extend(self.sample(cx, 8, 7, &peer));
        cx.out.send(link, Control::Disconnect { reason, records });
        self.end_link(cx, link, CloseReason::Ended(reason));
        if let Some(record) = record {
            self.learn_of(cx, &record);
            self.known.passive_mut().avoid(&peer, cx.now + cx.config.pair_backoff / 3);
        }
    }

    pub(super) fn on_disconnect(
        &mut self,
        cx: &mut Cx<'_>,
        link: LinkId,
        reason: DisconnectReason,
        records: &[Record],
    ) {
        self.learn(cx, link, records);
        let Some(conn) = self.conns.get(link) else { return };
        let (peer, record) = (conn.peer(), conn.record().cloned());
        // Not too often: a node that says goodbye again and again is not to be dialled each time.
        let again = conn.is_pinned() && conn.age(cx.now) > cx.config.pair_backoff / 3;
        self.end_link(cx, link, CloseReason::EndedByPeer(reason));
        match (reason, &record) {
            (DisconnectReason::Leaving, _) => {
                self.reconnect.forget(&peer);
                self.known.passive_mut().forget(&peer);
                self.take_over(cx, records);
            }
            (_, Some(record)) => self.learn_of(cx, record),
            _ => {}
        }
        match reason {
            DisconnectReason::Closed => self.cool_down(cx, peer),
            DisconnectReason::Leaving => {}
            // It ended the link before it had heard that the link is pinned.
            _ if again => {
                if let Some(record) = &record {
                    self.dial_record(cx, record, Priority::Explicit, None);
                }
            }
            _ => self.known.passive_mut().avoid(&peer, cx.now + cx.config.pair_backoff / 3),
        }
    }

    /// Links with the first node that a leaving neighbour has named: its successor, so that the
    /// path over it stays, or, at the end of the row, any node.
    fn take_over(&mut self, cx: &mut Cx<'_>, records: &[Record]) {
        let Some(successor) = records.first() else { return };
        let room = self.committed() < cx.config.automatic_max();
        if room && !self.is_known_link(cx.me, &successor.id) && !cx.me.is_leaving() {
            self.dial_record(cx, successor, Priority::Need, None);
        }
    }

    /// Ends a link. One that was ended for the sake of others may live on as a connection for
    /// streams.
    fn end_link(&mut self, cx: &mut Cx<'_>, link: LinkId, reason: CloseReason) {
        use DisconnectReason::{Nearer, Split, Surplus};
        let (CloseReason::Ended(why) | CloseReason::EndedByPeer(why)) = reason else {
            return self.drop_link(cx, link, reason);
        };
        if matches!(why, Split | Surplus | Nearer) && self.conns.is_active(link) {
            self.remove(cx, link, reason);
            cx.out.push(Output::Demoted { link, reason });
        } else {
            self.drop_link(cx, link, reason);
        }
    }

    /// Ends a connection in good order.
    pub(super) fn drop_link(&mut self, cx: &mut Cx<'_>, link: LinkId, reason: CloseReason) {
        self.remove(cx, link, reason);
        cx.out.close(link, reason);
    }

    /// Closes a connection that was made for nothing.
    pub(super) fn close(&mut self, cx: &mut Cx<'_>, link: LinkId, reason: CloseReason) {
        self.conns.remove(link);
        cx.out.close(link, reason);
    }

    /// The connection broke, or was found dead.
    pub(crate) fn disconnected(&mut self, cx: &mut Cx<'_>, link: LinkId, reason: CloseReason) {
        if let Some(conn) = self.remove(cx, link, reason) {
            self.link_broke(cx, &conn);
        }
    }

    /// Forgets a connection. Returns it if it was a link.
    fn remove(&mut self, cx: &mut Cx<'_>, link: LinkId, reason: CloseReason) -> Option<Conn> {
        let conn = self.conns.remove(link)?;
        self.splits.link_down(link);
        if let Purpose::Pin(request) = *conn.purpose() {
            self.settle_request(cx, request, conn.peer(), RequestFailure::Closed);
        }
        if !conn.is_active() {
            return None;
        }
        cx.out.note(Fact::Down(link, reason));
        self.shuffle.reset(cx);
        self.refill.link_down(cx);
        if self.degree() <= cx.config.min_peers {
            self.announce_degree(cx);
        }
        Some(conn)
    }

    /// A link ended without a goodbye: the node may be dead, or cut off, and not alone.
    fn link_broke(&mut self, cx: &mut Cx<'_>, conn: &Conn) {
        self.probing.link_broke(self.known.passive().counts().0);
        if let Some(record) = conn.record() {
            self.learn_of(cx, record);
            self.known.passive_mut().failed(&conn.peer(), cx.now, cx.config);
            self.reconnect.remember(cx, record.clone());
        }
        self.seeds.link_broke(cx, &conn.peer(), conn.degree());
    }
}
