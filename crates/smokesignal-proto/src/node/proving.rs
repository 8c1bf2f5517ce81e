//! How [`Node`] asks for proofs of what its neighbours claim, and gives them; see `claims.rs`.

use super::Node;
use crate::id::NodeId;
use crate::ids::LinkId;
use crate::message::{Control, Mark};
use crate::output::CloseReason;
use crate::proof::SegmentProof;
use crate::streams::{Position, Stream, StreamIx};
use crate::time::Instant;

impl Node {
    /// Makes room for a stream that this neighbour names and that is not known. Returns whether
    /// there is room.
    pub(super) fn has_room_for_claim(&mut self, link: LinkId, now: Instant) -> bool {
        if !self.context.config.signed {
            return true;
        }
        match self.claims.loser(link, &self.context.config) {
            Ok(None) => true,
            Ok(Some(ix)) => {
                self.drop_claim(ix, now);
                true
            }
            Err(_) => false,
        }
    }

    /// Notes that a new stream is only what this neighbour says.
    pub(super) fn note_claim(&mut self, link: LinkId, ix: StreamIx, now: Instant) {
        let stream = self.streams.get(ix);
        if self.context.config.signed && !stream.proven {
            let (writer, is_new) = (stream.origin, !self.settling.is_settled());
            self.streams.set_claimed(ix, true);
            self.claims.add(ix, (link, writer), is_new, now);
        }
    }

    /// Begins to read a stream that is only claimed where the smallest of the claims is, so that
    /// none of them can make this node leave out what is written from now on.
    pub(super) fn begin_at_smallest(&mut self, ix: StreamIx, mark: &Mark) {
        let stream = self.streams.get(ix);
        let is_same = stream.incarnation == mark.incarnation;
        if stream.claimed && is_same && mark.have < stream.have {
            self.streams.rebase(ix, mark.have);
        }
    }

    /// Sends the questions that may be asked now.
    pub(super) fn ask_for_proofs(&mut self, now: Instant) {
        while let Some((link, writers)) = self.claims.next_question(now) {
            self.send(link, Control::Prove { writers });
        }
    }

    /// Gives a neighbour what this node can prove, at a limited rate.
    pub(super) fn on_prove(&mut self, link: LinkId, writers: &[NodeId], now: Instant) {
        if !self.membership.is_active(link) {
            return;
        }
        let most = self.claims.give(link, writers.len(), now);
        let proof = |writer: &NodeId| self.streams.get(self.streams.find(writer)?).proof();
        let mut proofs: Vec<_> = writers.iter().take(most).filter_map(proof).collect();
        if let [writer] = &writers[..most] {
            // A neighbour that has read less of the incarnation before may be asking.
            let stream = self.streams.find(writer).map(|ix| self.streams.get(ix));
            proofs.extend(stream.and_then(Stream::former_proof));
        }
        let proofs = proofs.into_iter().map(|proof| (*proof).clone()).collect();
        self.send(link, Control::Proofs { proofs });
    }

    /// Takes a neighbour's answer to the oldest question.
    pub(super) fn on_proofs(&mut self, link: LinkId, proofs: Vec<SegmentProof>, now: Instant) {
        let asked = self.claims.answered(link);
        let mut proven = Vec::new();
        for proof in proofs.into_iter().filter(|proof| asked.contains(&proof.origin())) {
            if !proof.verify(&self.context.config.network) {
                return self.violation(link, CloseReason::ForgedSegment, now);
            }
            proven.push((proof.origin(), proof.head.incarnation));
            self.take_proof(proof, now);
        }
        for (writer, incarnation) in proven {
            self.end_answered(link, (&writer, incarnation), now);
        }
        self.answer_is_over(link, &asked, now);
    }

    /// The neighbour has proven how far it is in this incarnation of a writer. Its claims count
    /// until then: it may have proofs of later incarnations only.
    fn end_answered(&mut self, link: LinkId, (writer, incarnation): (&NodeId, u64), now: Instant) {
        let Some(ix) = self.streams.find(writer) else { return };
        let stream = self.streams.get(ix);
        if stream.newer.is_none() || stream.incarnation != incarnation {
            return;
        }
        let claim = self.spread.claims_beyond(ix, stream.have).find(|(other, _)| *other == link);
        if let Some((_, claimed)) = claim {
            self.streams.note_end_answered(ix, link, claimed);
        }
        self.switch_if_drained(ix, now);
    }

    fn take_proof(&mut self, proof: SegmentProof, now: Instant) {
        let incarnation = proof.head.incarnation;
        if proof.origin() == self.id() {
            return self.begin_after(incarnation, now);
        }
        let Some(ix) = self.streams.find(&proof.origin()) else { return };
        let stream = self.streams.get(ix);
        if stream.read {
            if stream.incarnation == incarnation && stream.newer.is_some() {
                self.streams.prove_end(ix, &proof);
            }
            return;
        }
        let from = Position { incarnation, have: proof.head.seq, next_message: None };
        if self.stream(&proof.origin(), from, now) == Some(ix) {
            self.claims.forget(ix);
            self.streams.prove(ix, proof);
            self.want(ix, now);
        }
    }

    /// Asks the neighbours that claim more of a writer's incarnation than this node has read for
    /// proofs, because a newer one has begun. The node neither waits for what a neighbour claims
    /// beyond its proof, nor reports it as missed.
    pub(super) fn ask_for_end(&mut self, ix: StreamIx, now: Instant) {
        if !self.context.config.signed {
            return;
        }
        let (writer, have) = (self.streams.get(ix).origin, self.streams.get(ix).have);
        let links: Vec<_> = self.spread.claims_beyond(ix, have).map(|(link, _)| link).collect();
        for link in links {
            if self.claims.ask_for_one(writer, link, now) {
                self.send(link, Control::Prove { writers: vec![writer] });
            }
        }
    }

    /// Returns up to which segment there is more of an incarnation that is over, as far as it is
    /// proven or as neighbours claim that have not been asked or have not answered.
    pub(super) fn end_of(&self, ix: StreamIx) -> u64 {
        let stream = self.streams.get(ix);
        let (have, end) = (stream.have, &stream.end);
        let claims = self.spread.claims_beyond(ix, have);
        let claims = claims.filter(|(link, claimed)| !end.is_answered(*link, *claimed));
        let proven = end.proven.map_or(have, |(seq, _)| seq);
        claims.map(|(_, claimed)| claimed).max().unwrap_or(have).max(proven)
    }

    /// The neighbour has answered a question, or has not answered it in time: what it has not
    /// proven another one has to prove.
    fn answer_is_over(&mut self, link: LinkId, asked: &[NodeId], now: Instant) {
        for writer in asked {
            if *writer == self.id() {
                self.claims.own_answered(link);
            } else if let Some(ix) = self.streams.find(writer) {
                self.claims.unproven(ix, |asked| self.spread.claimer(ix, asked));
            }
        }
        self.ask_for_proofs(now);
        self.tell_all_settled();
    }

    /// The link to a neighbour is gone that has claimed something.
    pub(super) fn claimer_down(&mut self, link: LinkId, now: Instant) {
        for ix in self.claims.link_down(link) {
            self.claims.unproven(ix, |asked| self.spread.claimer(ix, asked));
            if !self.claims.passes_to(ix, self.spread.claimer(ix, &[])) {
                self.drop_claim(ix, now);
            }
        }
        self.ask_for_proofs(now);
        self.tell_all_settled();
    }

    /// Gives up on answers that are late, and on claims that nobody has proven.
    pub(super) fn expire_claims(&mut self, now: Instant) {
        while let Some(link) = self.claims.late(now) {
            let asked = self.claims.answered(link);
            self.answer_is_over(link, &asked, now);
        }
        for ix in self.claims.expired(now) {
            self.drop_claim(ix, now);
        }
    }

    fn drop_claim(&mut self, ix: StreamIx, now: Instant) {
        self.forget_stream(ix);
        self.streams.vacate(ix, now);
    }
}
