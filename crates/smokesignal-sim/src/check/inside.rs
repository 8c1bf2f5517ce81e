//! What nodes know and hold, seen from inside: A7, A8, A12, A13, B2, C8 and C11 while the world runs.
//!
//! To look at everything all the time would take longer than the run. Each second one writer's stream is looked at in
//! all nodes, one node's records, and the limits of some hundred nodes; each has its turn.

use smokesignal_proto::{CloseReason, NodeId, StreamView};

use crate::member::Member;
use crate::rule::Fault;
use crate::world::{World, micros};

/// One writer's stream is looked at for so many seconds.
const TURN: u64 = 8;
/// What may be so for a moment only is seen in so many looks, one a second, until it counts.
const LOOKS: u32 = 6;
/// Nodes whose limits are looked at each second, about.
const NODES: usize = 500;
/// Records whose signatures are checked each second.
const RECORDS: usize = 8;
/// Until a dead root is forgotten, on top of its age: 1 s (B2), and the check's own rhythm.
const ROOT_SLACK: u64 = 2_000_000;
/// A wish has come to the other end after this long, if lines are not slow.
const WISH_HEARD: u64 = 1_000_000;
/// Whether a link that was not broken was ended for this reason, for the sake of others.
const fn is_choice(reason: CloseReason) -> bool {
    use smokesignal_proto::DisconnectReason::{Nearer, Split, Surplus};
    matches!(
        reason,
        CloseReason::EndedByPeer(Split | Surplus | Nearer)
            | CloseReason::EnoughPeers
            | CloseReason::NotNearer
    )
}

/// What was not as it should be a second ago.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    /// Whose stream is looked at.
    turn: u64,
    /// And how often in a row.
    seen: Vec<(Suspect, u32)>,
}

/// Invariant, node, neighbour, and for A7 how far the node is: whoever gets on is not stuck.
type Suspect = (&'static str, usize, usize, u64);

impl World {
    pub(crate) fn check_inside(&mut self) {
        let second = self.now / 1_000_000;
        let share = 1 + self.members.len() / NODES;
        for ix in (second as usize % share..self.members.len()).step_by(share) {
            self.check_limits(ix);
        }
        self.check_records(second);
        self.check_roots();
        if !self.writers.is_empty() {
            self.check_stream(second / TURN);
        }
    }

    /// A8, and C8 with it.
    fn check_limits(&mut self, ix: usize) {
        let Some(node) = &self.members[ix].node else { return };
        if let Some(held) = node.held().into_iter().find(|held| held.amount > held.limit) {
            self.violate("A8", ix, format!("{}: {}, {} is the limit", held.what, held.amount, held.limit));
        }
    }

    /// C8: whoever is known has said so itself.
    fn check_records(&mut self, second: u64) {
        if self.members.is_empty() {
            return;
        }
        let ix = second as usize % self.members.len();
        let network = self.setup.config.network;
        let Some(node) = &self.members[ix].node else { return };
        let forged = node.known_records().take(RECORDS).find(|record| !record.verify(&network));
        if let Some(id) = forged.map(|record| record.id) {
            self.violate("C8", ix, format!("it knows {id:?} by a record that is not signed"));
        }
    }

    /// B2, in networks where beats are neither held up nor clocks wrong.
    fn check_roots(&mut self) {
        let undisturbed = self.rules.iter().all(|rule| {
            matches!(
                rule.fault,
                Fault::Kill { .. } | Fault::KillSeeds { .. } | Fault::Restart { .. } | Fault::Churn { .. }
            )
        });
        if !undisturbed {
            return;
        }
        let limit = micros(self.setup.config.root_max_age) + ROOT_SLACK;
        for ix in 0..self.members.len() {
            let Some(root) = self.members[ix].node.as_ref().map(|node| node.root()) else { continue };
            let Some(of) = self.numbers.get(&root).map(|of| &self.members[*of as usize]) else { continue };
            if !of.alive() && self.now - of.died_at > limit {
                let ago = (self.now - of.died_at) as f64 / 1e6;
                return self.violate("B2", ix, format!("its root {root:?} died {ago:.1} s ago"));
            }
        }
    }

    fn check_stream(&mut self, turn: u64) {
        let number = turn as usize % self.writers.len();
        let writer = self.members[self.writers[number] as usize].id;
        let honest = |member: &&Member| member.honest();
        let view = |member: &Member| member.node.as_ref()?.stream_of(&writer);
        let views: Vec<Option<StreamView>> =
            self.members.iter().map(|member| Some(member).filter(honest).and_then(view)).collect();
        self.check_proof(self.writers[number] as usize, &views);
        let mut found = Vec::new();
        for ix in 0..views.len() {
            self.look_at_claims(ix, &views, &mut found);
        }
        self.look_at_cycles(&views, &mut found);
        self.suspect(turn, found);
    }

    /// A13: nobody is past what the writer has signed.
    pub(super) fn check_proof(&mut self, writer: usize, views: &[Option<StreamView>]) {
        let Some(own) = &views[writer] else { return };
        let past =
            |view: &StreamView| view.proven && view.incarnation == own.incarnation && view.have > own.have;
        if let Some(ix) = views.iter().position(|view| view.as_ref().is_some_and(past)) {
            let have = views[ix].as_ref().map_or(0, |view| view.have);
            let what =
                format!("it has segment {have} of writer node {writer}, which has written {}", own.have);
            self.violate("A13", ix, what);
        }
    }

    /// A12: what a node believes its neighbour to have, that one has.
    fn look_at_claims(&self, ix: usize, views: &[Option<StreamView>], found: &mut Vec<Suspect>) {
        let awake = |ix: usize| views[ix].as_ref().filter(|_| self.members[ix].awake());
        let Some(view) = awake(ix) else { return };
        for link in &view.links {
            let Some(slot) = self.links.slot(link.link) else { continue };
            let other = self.links.get(slot).other(ix);
            let Some(theirs) = awake(other) else { continue };
            if theirs.incarnation == view.incarnation && link.claims > theirs.have {
                found.push(("A12", ix, other, 0));
            }
        }
    }

    /// A7: who is part of a circle of parents and behind a neighbour.
    pub(super) fn look_at_cycles(&self, views: &[Option<StreamView>], found: &mut Vec<Suspect>) {
        if self.members.iter().any(|member| member.upload.is_some() || member.download.is_some()) {
            return; // Whoever is behind for long there may still be served, slowly.
        }
        let other_end = |ix: usize, link| self.links.slot(link).map(|slot| self.links.get(slot).other(ix));
        let parent = |ix: usize| views[ix].as_ref()?.parent.and_then(|link| other_end(ix, link));
        // By node: which walk has been here.
        let mut seen = vec![usize::MAX; views.len()];
        for begin in 0..views.len() {
            let mut at = begin;
            while seen[at] == usize::MAX {
                seen[at] = begin;
                let Some(next) = parent(at) else { break };
                at = next;
            }
            let circle = seen[at] == begin && parent(at).is_some_and(|next| seen[next] == begin);
            if !circle || !self.is_on_circle(at, &parent) {
                continue;
            }
            let mut member = at;
            loop {
                let have = views[member].as_ref().map_or(0, |view| view.have);
                found.extend(self.ahead_of(member, views).map(|other| ("A7", member, other, have)));
                member = parent(member).unwrap_or(at);
                if member == at {
                    break;
                }
            }
        }
    }

    fn is_on_circle(&self, begin: usize, parent: &impl Fn(usize) -> Option<usize>) -> bool {
        let mut at = begin;
        for _ in 0..self.members.len() {
            match parent(at) {
                Some(next) if next == begin => return true,
                Some(next) => at = next,
                None => return false,
            }
        }
        false
    }

    fn ahead_of(&self, ix: usize, views: &[Option<StreamView>]) -> Option<usize> {
        let view = views[ix].as_ref().filter(|_| self.members[ix].awake())?;
        let others = view.links.iter().filter_map(|link| self.links.slot(link.link));
        others.map(|slot| self.links.get(slot).other(ix)).find(|other| {
            let theirs = views[*other].as_ref().filter(|_| self.members[*other].awake());
            // Who retains nothing of it cannot help: the next segment will show how much was missed.
            theirs.is_some_and(|theirs| {
                let retains = theirs.floor <= theirs.have;
                theirs.incarnation == view.incarnation && theirs.have > view.have && retains
            })
        })
    }

    /// What is found again and again is a violation.
    pub(super) fn suspect(&mut self, turn: u64, found: Vec<Suspect>) {
        let before =
            if self.suspects.turn == turn { std::mem::take(&mut self.suspects.seen) } else { Vec::new() };
        let again =
            |what: &Suspect| before.iter().find(|(was, _)| was == what).map_or(1, |(_, times)| times + 1);
        let seen: Vec<_> = found.into_iter().map(|what| (what, again(&what))).collect();
        let certain = seen.iter().find(|(_, times)| *times >= LOOKS).map(|(what, _)| *what);
        self.suspects = Suspects { turn, seen };
        if let Some((invariant, ix, other, _)) = certain {
            let what = match invariant {
                "A12" => format!("it believes node {other} to have more than that one has"),
                _ => format!("its parents form a circle, and node {other} beside it is ahead"),
            };
            let writer = self.writers[turn as usize % self.writers.len()] as usize;
            let id = self.members[writer].id;
            let view = |ix: usize| self.members[ix].node.as_ref().and_then(|node| node.stream_of(&id));
            let what = format!("{what}, of writer node {writer}: {:?}; {:?}", view(ix), view(other));
            self.violate(invariant, ix, what);
        }
    }

    /// C11: a link that somebody asked for by name is never ended for the sake of others.
    pub(crate) fn check_lost_peer(&mut self, ix: usize, peer: Option<NodeId>, reason: CloseReason) {
        let Some(peer) = peer else { return };
        // Until the other end has heard of the wish it may give the link up, and it is made again.
        let now = self.now;
        let known = |at: u64| now - at > WISH_HEARD;
        let wished =
            |member: &Member, of: &NodeId| member.explicit.iter().any(|(wish, at)| wish == of && known(*at));
        let other = self.numbers.get(&peer).map(|other| &self.members[*other as usize]);
        let mutual = wished(&self.members[ix], &peer)
            || other.is_some_and(|other| wished(other, &self.members[ix].id));
        if mutual && is_choice(reason) {
            self.violate("C11", ix, format!("its link to {peer:?}, which was wished for, ended: {reason}"));
        }
        self.members[ix].explicit.retain(|(wish, _)| *wish != peer);
    }
}

/// A link is one for the streams, too, this long after its connection was opened: 15 s, because a joiner's connection
/// may become a link late.
const LINKED: u64 = 15_000_000;

impl World {
    /// A5: from where this writer's stream is sent to a node, over links that were there when it last wrote.
    pub(crate) fn sources(&self, ix: usize, writer: usize) -> Vec<usize> {
        let Some(last) = self.members[writer].writer.as_ref().map(|writer| writer.written_at) else {
            return Vec::new();
        };
        let writer = self.members[writer].id;
        let pushes = |slot: &&u32| {
            let link = self.links.get(**slot);
            let other = link.other(ix);
            let id = self.links.id(**slot);
            let view = self.members[other].node.as_ref().and_then(|node| node.stream_of(&writer));
            // What is sent to nobody because he has it by then is never declined, either.
            let pushed = view.is_some_and(|view| {
                view.links.iter().any(|link| link.link == id && link.push && link.sent == view.have)
            });
            pushed && link.is_open() && link.opened_at + LINKED < last
        };
        let from = self.members[ix].links.iter().filter(pushes);
        from.map(|slot| self.links.get(*slot).other(ix)).collect()
    }
}
