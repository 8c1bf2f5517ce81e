//! How [`Node`] leaves: it waits until its neighbours have read what it wrote, and says goodbye.
//!
//! A node that is alone with messages that nobody was handed behaves as before meanwhile: it looks
//! for peers, and lets others in. As soon as it has a neighbour, or nothing is left to hand over,
//! it makes no new links. One that knows nobody to dial does not wait to be found, nor does one
//! that the others have left.

use super::Node;
use crate::config::Pace;
use crate::output::{Farewell, Output};
use crate::spread::Summary;
use crate::streams::OWN;
use crate::time::Instant;

impl Node {
    /// Leaves if nothing is left to wait for, or the node has waited long enough.
    pub(super) fn leave_when_done(&mut self, now: Instant) {
        let head = self.streams.get(OWN).have;
        let unsent = self.unsent();
        let is_alone = self.membership.degree() == 0;
        let so_far = head + self.spread.own_position() + self.spread.own_progress();
        let overdue = self.departure.is_overdue(so_far, now);
        // Messages that a first link took along when it broke cannot be handed over again.
        let handed = match is_alone {
            true => unsent == 0 || !self.expects_peer(),
            false => !self.publisher.is_waiting(),
        };
        let own_done = handed && self.is_read(now);
        let done = own_done && (self.is_handed_over(now) || self.departure.may_go(now));
        self.set_leaving(!is_alone || unsent == 0, now);
        if done || overdue {
            let farewell = Farewell { timed_out: !done, ..self.farewell(now) };
            self.departure.leave();
            self.set_leaving(true, now);
            let reports = self.spread.last_reports(&self.context.at(now), &self.streams);
            reports.into_iter().for_each(|(link, control)| self.send(link, control));
            self.membership.say_goodbye_to_all(&mut self.context.at(now));
            self.perform_all(now);
            self.out.push_back(Output::Left(farewell));
        }
    }

    pub(super) fn set_leaving(&mut self, leaving: bool, now: Instant) {
        let before = self.context.me.is_leaving();
        self.context.me.set_leaving(leaving);
        if leaving && !before {
            self.membership.leave(&mut self.context.at(now));
            self.perform_all(now);
        }
    }

    /// Returns how many messages of the own stream were handed to nobody.
    fn unsent(&self) -> u64 {
        self.publisher.messages() + self.streams.get(OWN).messages_after(self.spread.own_handed())
    }

    /// Returns whether all that the own stream waits for have read it: all readers that keep up, or
    /// the neighbours, if nobody reports how far others are.
    fn is_read(&mut self, now: Instant) -> bool {
        let head = self.streams.get(OWN).have;
        let pace = self.context.config.pace;
        let readers = self.spread.readers(&self.context.at(now), &self.streams);
        let near_have_read = self.spread.own_unread(head).next().is_none();
        match readers.filter(|_| pace != Pace::None) {
            Some(readers) if readers.position >= head && self.spread.children_report(head) => true,
            // Readers whose link has just broken may come to this node.
            Some(_) => {
                let waited = self.departure.stands_still(now) && !self.spread.has_own_ghost(now);
                near_have_read && pace == Pace::Most && waited
            }
            None => near_have_read,
        }
    }

    /// Returns whether nothing more would come of waiting: no reader is behind, and what this node
    /// passes on for others has arrived.
    fn is_handed_over(&mut self, now: Instant) -> bool {
        // In the first moments of a stream not all nodes below have reported.
        let others = self.network_size().saturating_sub(1);
        let cx = &self.context.at(now);
        let lacks = |readers: Summary| readers.behind > 0 || readers.nodes < others;
        let some_lack = self.spread.readers(cx, &self.streams).is_some_and(lacks);
        !some_lack && self.spread.is_idle() && self.spread.ends_are_confirmed(cx, &self.streams)
    }

    /// Returns what is known now of those who read the own stream. It counts the messages that are
    /// retained, so it is for the end only.
    fn farewell(&mut self, now: Instant) -> Farewell {
        let readers = self.spread.readers(&self.context.at(now), &self.streams);
        let own = self.streams.get(OWN);
        let (near, unsent) = (self.departure.readers(own.have), self.unsent());
        if let Some(readers) = readers.filter(|readers| readers.nodes > 0) {
            let (have, behind) = readers.have_read(own.have);
            let missing = own.messages_after(readers.lowest).max(readers.missed);
            return Farewell { confirmed: near.max(have), behind, missing, unsent, timed_out: false };
        }
        let unread = || self.spread.own_unread(own.have);
        // Messages that were handed to links which broke have reached nobody, as far as is known.
        let unsent = match self.membership.degree() {
            0 => unsent.max(self.publisher.messages() + own.messages_after(self.spread.own_read())),
            _ => unsent,
        };
        Farewell {
            confirmed: near,
            behind: unread().count(),
            missing: unread().min().map_or(0, |known| own.messages_after(known)),
            unsent,
            timed_out: false,
        }
    }
}
