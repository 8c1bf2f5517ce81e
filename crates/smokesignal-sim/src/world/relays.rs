//! Connections over other nodes, as the library's driver makes them.
//!
//! A lookup leaves a trail: each node that passed the query on remembers from which link the answer
//! came. A relayed dial follows this trail from node to node, at the moment of the dial. At its end
//! a connection is opened that runs over the links of the trail. When one of these
//! links ends, the connection ends; when the protocol only demotes one, it stays open for what runs
//! over it.

use smokesignal_proto::{DialFailure, DialId, LinkId, NodeId, Relay};

use super::World;
use crate::kernel::Event;
use crate::net::{Dial, RelayPath};

/// The time after which a relayed dial that is not answered fails: 4 s, as in the library.
const RELAY_TIMEOUT: u64 = 4_000_000;
/// The most time for which a connection that serves streams is used: 20 s.
const TALK: u64 = 20_000_000;

/// Why a relayed dial fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// A node on the way refuses, `delay` microseconds away, one way.
    Refused { delay: u64 },
    /// A node on the way does not answer.
    Unanswered,
}

impl World {
    /// Dials a node over the path that a lookup has found, and which begins with link `via`.
    pub(super) fn dial_relayed(
        &mut self,
        ix: usize,
        dial: DialId,
        (via, query): (LinkId, u64),
        target: &NodeId,
    ) {
        self.count_dial(ix);
        let start = self.cluster.starts(ix);
        let wait = match self.follow(ix, via, query, target) {
            Ok((to, path)) => {
                let dial = Dial { id: dial, from: ix, start };
                return self.net.open_relayed(&mut self.kernel, dial, to, path);
            }
            Err(Failure::Refused { delay }) => 2 * delay,
            Err(Failure::Unanswered) => RELAY_TIMEOUT,
        };
        let failure = DialFailure::Refused;
        let failed = Event::DialFailed { ix: ix as u32, start, dial, failure };
        self.kernel.schedule_in(wait, failed);
    }

    /// Follows the path of a lookup from node to node. Returns the node at its end.
    fn follow(
        &self,
        ix: usize,
        via: LinkId,
        query: u64,
        target: &NodeId,
    ) -> Result<(usize, RelayPath), Failure> {
        let mut path = RelayPath { links: Vec::new(), relays: Vec::new(), delay: 0 };
        let (mut at, mut link) = (ix, via);
        loop {
            path.links.push(link);
            let slot = self.net.slot(link).filter(|slot| self.net.link(*slot).is_open());
            let Some(slot) = slot else { return Err(Failure::Refused { delay: path.delay }) };
            let next = self.net.link(slot).other(at);
            if self.net.is_cut(at, next) || self.net.blocks(next) {
                return Err(Failure::Unanswered);
            }
            (at, path.delay) = (next, path.delay + self.net.link(slot).delay());
            let Some(node) = self.cluster.node(at) else { return Err(Failure::Unanswered) };
            match node.relay(self.net.id(slot), query, target) {
                Relay::Accept => return Ok((at, path)),
                Relay::Forward(onward) => {
                    path.relays.push(at);
                    link = onward;
                }
                Relay::Refuse => return Err(Failure::Refused { delay: path.delay }),
            }
        }
    }

    /// Demotes a link: it is closed, unless connections run over it.
    pub(super) fn demote(&mut self, ix: usize, link: LinkId) {
        let slot = self.net.slot(link).filter(|_| !self.net.relayed_over_link(link).is_empty());
        let kept = slot.is_some_and(|slot| {
            let connection = self.net.link(slot);
            let (dialled, peer) = (connection.side_of(ix) == 0, self.cluster.id(connection.other(ix)));
            self.with(ix, |node, now| node.keep_for_streams(link, peer, dialled, now)) == Some(true)
        });
        if kept {
            self.net.keep_for_relaying(link);
        } else {
            self.close(ix, link);
        }
    }

    /// Ends the connections that ran over a link that is gone.
    pub(super) fn end_relayed(&mut self, link: LinkId) {
        for slot in self.net.relayed_over_link(link) {
            self.net.forget_path(slot);
            if !self.net.is_closed(slot) {
                self.lookups.relay_broke();
                self.reset(slot);
            }
        }
    }

    /// Notes that a connection serves streams, which end after a while.
    pub(super) fn on_streams(&mut self, ix: usize, link: LinkId) {
        let time = self.kernel.rng().between(TALK / 4, TALK);
        self.kernel.schedule_in(time, Event::StreamsEnd { ix: ix as u32, link });
    }

    pub(super) fn on_streams_end(&mut self, ix: usize, link: LinkId) {
        if self.net.is_awake(ix) {
            self.with(ix, |node, now| node.close_streams(link, now));
        }
    }

    /// Ends the demoted links that no connection runs over any longer.
    pub(super) fn end_idle_links(&mut self) {
        for link in self.net.take_idle_links() {
            let ends = self.net.slot(link).map(|slot| self.net.ends(slot));
            ends.into_iter().flatten().for_each(|ix| self.on_streams_end(ix, link));
        }
    }
}
