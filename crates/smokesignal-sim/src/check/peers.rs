//! Who is linked to whom while the world runs: C2 to C7.

use smokesignal_proto::NodeId;

use crate::world::{CHECK_EVERY, Event, World, micros};

/// Nobody may be alone for longer while a seed lives: 30 s (C5).
const ALONE: u64 = 30_000_000;
/// A newcomer belongs to the network's one component after this long: 30 s, because seeds that start together may
/// first have to find out that they are not alone (C4).
const JOINED: u64 = 30_000_000;

impl World {
    pub(crate) fn check_new_peer(&mut self, ix: usize, peer: NodeId) {
        let Some(node) = &self.members[ix].node else { return };
        let (degree, same) =
            node.peers().fold((0, 0), |(all, same), (_, id)| (all + 1, same + usize::from(id == peer)));
        let limit = self.setup.config.max_peers.saturating_add(2);
        if peer == node.id() {
            self.violate("C6", ix, "it is linked to itself".to_owned());
        } else if same > 1 {
            self.violate("C6", ix, format!("it has {same} links to {peer:?}"));
        } else if degree > limit {
            self.violate("C2", ix, format!("it has {degree} links, {limit} is the limit at any time"));
        }
    }

    pub(crate) fn check_dials(&mut self, ix: usize) {
        // What a user asks for comes on top.
        let (dials, limit) = (self.members[ix].dials, self.setup.config.max_dials + self.members[ix].wishes);
        if dials > limit {
            self.violate("C7", ix, format!("it makes {dials} dials at once, {limit} are allowed"));
        }
    }

    pub(crate) fn on_check(&mut self) {
        self.queue.push(self.now + CHECK_EVERY, Event::Check);
        let reachable = |world: &Self, ix: usize| {
            world.members[ix].awake() && world.members[ix].side == 0 && !world.members[ix].unplugged
        };
        let seed = (0..self.setup.seeds.min(self.members.len())).any(|ix| reachable(self, ix));
        self.seed_since = if seed { self.seed_since.or(Some(self.now)) } else { None };
        let alive = self.members.iter().filter(|member| member.alive()).count();
        for ix in 0..self.members.len() {
            self.check_links(ix, alive);
        }
        if self.setup.expect.failure_free {
            self.check_component();
        }
        self.check_inside();
        self.check_seeking();
    }

    fn check_links(&mut self, ix: usize, alive: usize) {
        let now = self.now;
        let (seed_since, disturbed_at) = (self.seed_since, self.disturbed_at);
        let target = self.setup.config.min_peers.min(alive.saturating_sub(1));
        let refill = self.setup.expect.refill.map(micros);
        let member = &mut self.members[ix];
        let counts = member.awake() && member.honest() && alive > 1;
        if !counts {
            (member.alone_since, member.low_since) = (None, None);
            return;
        }
        let degree = member.degree();
        member.low_since = if degree < target { member.low_since.or(Some(now)) } else { None };
        // Somebody is there to be found: a seed that is on this node's side.
        let findable = seed_since.is_some() && member.side == 0;
        member.alone_since = if degree == 0 && findable { member.alone_since.or(Some(now)) } else { None };
        let (alone, low) = (member.alone_since, member.low_since);
        if alone.is_some_and(|since| now - since > ALONE) && ix >= self.setup.seeds {
            return self.violate("C5", ix, "it is alone for more than 30 s although a seed lives".to_owned());
        }
        if let (Some(refill), Some(since), 0) = (refill, low, self.active_rules)
            && now - since.max(disturbed_at) > refill
        {
            let seconds = (now - since.max(disturbed_at)) as f64 / 1e6;
            self.violate("C3", ix, format!("it has {degree} links and {target} are due, for {seconds:.0} s"));
        }
    }

    fn check_component(&mut self) {
        let settled: Vec<_> = (0..self.members.len())
            .filter(|ix| self.members[*ix].alive() && self.now - self.members[*ix].started_at > JOINED)
            .collect();
        let Some(first) = settled.first().copied() else { return };
        let reached = self.graph().reached_from(first);
        if let Some(lost) = settled.into_iter().find(|ix| !reached[*ix]) {
            let (with, all) = (reached.iter().filter(|reached| **reached).count(), self.alive().len());
            let what = format!(
                "it is not among the {with} of {all} nodes around node {first}, and nothing has failed"
            );
            self.violate("C4", lost, what);
        }
    }
}
