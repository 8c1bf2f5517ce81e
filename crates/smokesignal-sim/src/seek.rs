//! Nodes that look for other nodes, to talk to them: who is found, how, and how soon; and the connections that are
//! carried by others. Carriers see only encrypted bytes: what they can do is to hold them up or to break them.

use std::collections::{BTreeMap, BTreeSet};

use smokesignal_proto::{DialFailure, DialId, LinkId, NodeId, Relay, RequestId, Unreachable};

use crate::hostile::Behaviour;
use crate::link::End;
use crate::stats::Histogram;
use crate::world::{Event, World};

/// A connection that is to be carried and is not answered fails after this long: 4 s, as the library does it.
const CARRY_TIMEOUT: u64 = 4_000_000;
/// Whoever was reached is talked to for up to this long: 20 s.
const TALK: u64 = 20_000_000;

/// What was looked for, what came of it, and what is carried.
#[derive(Debug, Default)]
pub(crate) struct Seeking {
    next: u64,
    open: BTreeMap<RequestId, Wish>,
    circuits: BTreeMap<u32, Circuit>,
    /// Links that were given up, and go on for what they carry.
    kept: BTreeSet<LinkId>,
    found: Found,
}

#[derive(Debug)]
struct Wish {
    ix: usize,
    start: u64,
    /// `None`: there is no such node.
    target: Option<usize>,
    since: u64,
}

#[derive(Debug)]
struct Circuit {
    way: Vec<LinkId>,
    carriers: Vec<usize>,
}

/// Sums over all searches that have ended.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Microseconds until a connection stood: that was there, that was dialled, that is carried.
    pub(crate) there: u64,
    pub(crate) direct: Histogram,
    pub(crate) carried: Histogram,
    /// Links that a carried connection goes over.
    pub(crate) hops: Histogram,
    /// Living, honest nodes that were not found, or not reached.
    pub(crate) failed: u64,
    /// Those whose end was not there, and how long it took to say so.
    pub(crate) absent: Histogram,
    /// Carried connections that a carrier's death has ended.
    pub(crate) cut: u64,
}

impl World {
    /// This node wants to talk to that one; `None`: to somebody who does not exist.
    pub(crate) fn seek(&mut self, ix: usize, target: Option<usize>) {
        self.seeking.next += 1;
        let request = RequestId(self.seeking.next);
        let wish = Wish { ix, start: self.members[ix].start, target, since: self.now };
        let nobody = || NodeId::from_bytes([self.seeking.next as u8; 32]);
        let id = target.map_or_else(nobody, |target| self.members[target].id);
        self.seeking.open.insert(request, wish);
        self.with(ix, |node, now| node.reach(request, id, now));
    }

    pub(crate) fn on_reached(&mut self, ix: usize, request: RequestId, outcome: Result<LinkId, Unreachable>) {
        let Some(wish) = self.seeking.open.remove(&request) else {
            return self.violate("S1", ix, format!("{request:?} is answered a second time"));
        };
        let took = self.now - wish.since;
        let slot = outcome.ok().and_then(|link| self.links.slot(link));
        let reached = slot.map(|slot| self.links.get(slot).other(ix));
        if outcome.is_ok() && reached != wish.target {
            return self.violate(
                "S2",
                ix,
                format!("it looked for {:?} and reached {reached:?}", wish.target),
            );
        }
        let found = &mut self.seeking.found;
        match (slot, wish.target) {
            (Some(_), _) if took == 0 => found.there += 1,
            (Some(slot), _) => match self.seeking.circuits.get(&slot) {
                Some(circuit) => {
                    found.carried.add(took);
                    found.hops.add(circuit.way.len() as u64);
                }
                None => found.direct.add(took),
            },
            (None, Some(target)) if self.members[target].awake() && self.members[target].honest() => {
                found.failed += 1;
            }
            (None, _) => found.absent.add(took),
        }
    }

    /// What came of all searches so far.
    pub(crate) const fn found(&self) -> &Found {
        &self.seeking.found
    }

    /// A connection serves streams: they are over some time.
    pub(crate) fn on_serving(&mut self, ix: usize, link: LinkId) {
        let at = self.now + self.chance.between(TALK / 4, TALK);
        self.queue.push(at, Event::TalkOver { ix: ix as u32, link });
    }

    pub(crate) fn on_talk_over(&mut self, ix: usize, link: LinkId) {
        if self.members[ix].awake() {
            self.with(ix, |node, now| node.close_streams(link, now));
        }
    }

    /// Every wish is answered within three times the time to find somebody. Kept links are closed once nothing needs them.
    pub(crate) fn check_seeking(&mut self) {
        let late = 3 * crate::world::micros(self.setup.config.find_timeout) + 1_000_000;
        let lost = |world: &Self, wish: &Wish| {
            let member = &world.members[wish.ix];
            !member.awake() || member.start != wish.start
        };
        let open = std::mem::take(&mut self.seeking.open);
        for (request, wish) in open {
            if lost(self, &wish) {
                continue;
            }
            if self.now - wish.since > late {
                self.violate("S1", wish.ix, format!("{request:?} has no answer after {late} us"));
            }
            self.seeking.open.insert(request, wish);
        }
        let used: BTreeSet<_> =
            self.seeking.circuits.values().flat_map(|circuit| circuit.way.iter().copied()).collect();
        let idle: Vec<_> = self.seeking.kept.iter().filter(|link| !used.contains(link)).copied().collect();
        for link in idle {
            self.seeking.kept.remove(&link);
            let ends = self.links.slot(link).map(|slot| self.links.get(slot).ends);
            ends.into_iter().flatten().for_each(|ix| self.on_talk_over(ix as usize, link));
        }
    }

    /// Follows the way of a search from node to node, as the library's driver does it.
    pub(crate) fn dial_relayed(&mut self, ix: usize, dial: DialId, first: (LinkId, u64), target: &NodeId) {
        self.count_dial(ix);
        let (via, query) = first;
        let (mut at, mut delay, mut carriers) = (ix, 0, Vec::new());
        let mut way = vec![via];
        let found = loop {
            let slot = way.last().and_then(|link| self.links.slot(*link));
            let Some(slot) = slot.filter(|slot| self.links.get(*slot).is_open()) else { break Err(false) };
            let next = self.links.get(slot).other(at);
            if self.is_cut(at, next) || self.holds_up(next) {
                break Err(true);
            }
            (at, delay) = (next, delay + self.links.get(slot).delay);
            let Some(node) = &self.members[at].node else { break Err(true) };
            match node.relay(self.links.id(slot), query, target) {
                Relay::Accept => break Ok(at),
                Relay::Forward(link) => {
                    way.push(link);
                    carriers.push(at);
                }
                Relay::Refuse => break Err(false),
            }
        };
        let start = self.members[ix].start;
        let Ok(peer) = found else {
            let wait = if found == Err(true) { CARRY_TIMEOUT } else { 2 * delay };
            let failure = DialFailure::Refused;
            let failed = Event::DialFailed { ix: ix as u32, start, dial, failure };
            return self.queue.push(self.now + wait, failed);
        };
        let slot = self.links.open(ix, peer, delay, self.now);
        self.links.get_mut(slot).pending = 1;
        self.members[peer].links.push(slot);
        self.members[ix].links.push(slot);
        self.seeking.circuits.insert(slot, Circuit { way, carriers });
        // TLS alone: one round trip, and the proof of the secret half of one.
        self.queue.push(self.now + 3 * delay, Event::Dialled { slot, start, dial });
    }

    /// What this node should carry goes nowhere.
    fn holds_up(&self, ix: usize) -> bool {
        let member = &self.members[ix];
        member.frozen || matches!(member.hostile, Some(Behaviour::Drop | Behaviour::Hoard))
    }

    pub(crate) fn is_carried(&self, slot: u32) -> bool {
        self.seeking.circuits.contains_key(&slot)
    }

    /// Whether packets between the ends of this connection do not arrive.
    pub(crate) fn is_held_up(&self, slot: u32) -> bool {
        if let Some(circuit) = self.seeking.circuits.get(&slot) {
            let cut = |link: &LinkId| {
                let ends = self.links.slot(*link).map(|slot| self.links.get(slot).ends);
                ends.is_some_and(|[a, b]| self.is_cut(a as usize, b as usize))
            };
            return circuit.carriers.iter().any(|ix| self.holds_up(*ix)) || circuit.way.iter().any(cut);
        }
        let [a, b] = self.links.get(slot).ends;
        self.is_cut(a as usize, b as usize)
    }

    /// A carrier that changes bytes is found out by the next that arrive.
    pub(crate) fn is_tampered_with(&self, slot: u32) -> bool {
        let tampers = |ix: &usize| self.members[*ix].hostile == Some(Behaviour::Forge);
        self.seeking.circuits.get(&slot).is_some_and(|circuit| circuit.carriers.iter().any(tampers))
    }

    /// The network gives a link up: what is carried over it goes on.
    pub(crate) fn give_up(&mut self, ix: usize, link: LinkId) {
        let carries = self.seeking.circuits.values().any(|circuit| circuit.way.contains(&link));
        let slot = self.links.slot(link).filter(|_| carries);
        let kept = slot.is_some_and(|slot| {
            let (dialled, peer) = {
                let link = self.links.get(slot);
                (link.side_of(ix) == 0, self.members[link.other(ix)].id)
            };
            self.with(ix, |node, now| node.keep_for_streams(link, peer, dialled, now)) == Some(true)
        });
        if kept {
            self.seeking.kept.insert(link);
        } else {
            self.close(ix, link);
        }
    }

    /// A link is gone, and what it carried.
    pub(crate) fn end_circuits(&mut self, link: LinkId) {
        let over = |circuit: &Circuit| circuit.way.contains(&link);
        let over: Vec<_> = self
            .seeking
            .circuits
            .iter()
            .filter(|(_, circuit)| over(circuit))
            .map(|(slot, _)| *slot)
            .collect();
        for slot in over {
            self.seeking.circuits.remove(&slot);
            if self.links.get(slot).states != [End::Closed; 2] {
                self.seeking.found.cut += 1;
                self.reset_link(slot);
            }
        }
    }

    /// The slot is free again.
    pub(crate) fn forget_circuit(&mut self, slot: u32) {
        self.seeking.circuits.remove(&slot);
    }
}
