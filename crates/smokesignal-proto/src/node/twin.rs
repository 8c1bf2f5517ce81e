//! Twins: two live processes with one key, such as a copied image of a machine, or a container that
//! was started twice.
//!
//! Readers follow the later start of a writer, and what the other process writes would vanish. So a
//! node that meets something which it has not written, in its own name, looks for itself. That may
//! be of an earlier start, and then nobody answers. A connection to its own id proves that somebody
//! else has the key, or that the node has dialled itself: both ends say which process they are. The
//! process that was started first writes nothing any more, and both report the conflict.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Node;
use crate::context::Context;
use crate::ids::LinkId;
use crate::message::{Control, Message};
use crate::output::{CloseReason, Output};
use crate::streams::OWN;
use crate::time::Instant;

/// Connections to its own id at the same time; further ones are closed.
const MAX_LINKS: usize = 8;
/// The other end of such a connection has to say within this time which process it is. 3 s: the
/// default of a time-out of silence.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// A node waits with its first message for the search for itself, for this long at most. 500 ms:
/// two to three round trips to the other side of the earth, and many within a region.
const HOLD: Duration = Duration::from_millis(500);
/// The pause between two searches: the first one, which doubles, and the longest one. From 3 s, so
/// that a twin is found within 5 s, to 10 min: a search floods the network.
const PAUSE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(600));
/// Processes that were started within this time of each other go by their incarnations. 5 s: longer
/// than a connection takes, and shorter than a wrong clock matters.
const SAME_TIME: Duration = Duration::from_secs(5);

/// What a node knows of other processes with its key.
#[derive(Debug)]
pub(super) struct Twins {
    /// A number that tells this process from another one.
    process: u64,
    started: Instant,
    /// The connections to this node's own id, and since when there are.
    links: BTreeMap<LinkId, Instant>,
    /// When the last search began, and the pause before the next one.
    search: Option<Instant>,
    pause: Duration,
    conflict: Option<Role>,
}

/// Which of two processes with one key this one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The one that was started first: it writes nothing any more.
    First,
    Second,
}

/// What one of two processes with one key says of itself.
#[derive(Debug, Clone, Copy)]
struct Process {
    number: u64,
    incarnation: u64,
    uptime: Duration,
}

impl Process {
    /// Returns whether this process was started before the other one. Both ends agree, unless the
    /// two differ by [`SAME_TIME`] to a round trip, and their clocks are wrong, too.
    fn is_before(&self, other: &Self) -> bool {
        if self.uptime.abs_diff(other.uptime) >= SAME_TIME {
            return self.uptime > other.uptime;
        }
        (self.incarnation, self.number) < (other.incarnation, other.number)
    }
}

impl Twins {
    pub(super) fn new(process: u64, now: Instant) -> Self {
        Self { process, started: now, links: BTreeMap::new(), search: None, pause: PAUSE.0, conflict: None }
    }

    pub(super) fn has(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Returns whether it is time for another search.
    fn begins_search(&mut self, now: Instant) -> bool {
        if self.conflict.is_some() || self.search.is_some_and(|began| now - began < self.pause) {
            return false;
        }
        if self.search.replace(now).is_some() {
            self.pause = PAUSE.1.min(2 * self.pause);
        }
        true
    }

    /// Returns until when the first message waits for a search.
    pub(super) fn holds_until(&self, now: Instant) -> Option<Instant> {
        let until = self.search? + HOLD;
        (self.conflict.is_none() && now < until).then_some(until)
    }
}

impl Node {
    /// Returns whether another process with this node's key has taken its place: readers follow
    /// that one, and what this one writes reaches nobody. The caller refuses what is written then.
    pub fn is_superseded(&self) -> bool {
        self.twins.conflict == Some(Role::First)
    }

    /// Something in this node's name has arrived that this process has not made.
    pub(super) fn suspect_twin(&mut self, now: Instant) {
        if self.departure.is_leaving() || !self.twins.begins_search(now) {
            return;
        }
        let id = self.id();
        let action = self.lookups.begin_unasked(&mut self.context.at(now), id);
        self.take_action(id, action, now);
    }

    /// A connection to this node's own id is up.
    pub(super) fn reached_own_id(&mut self, link: LinkId, now: Instant) {
        if self.twins.links.len() >= MAX_LINKS {
            return self.context.out.close(link, CloseReason::Myself);
        }
        self.twins.links.insert(link, now);
        let Process { number, incarnation, uptime } = self.process(now);
        let uptime_ms = u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX);
        let message = Message::from(Control::Twin { process: number, incarnation, uptime_ms });
        self.out.push_back(Output::Send { link, message });
    }

    /// Returns this process as the other one is to see it. Before it has written anything, its
    /// incarnation is that of its start: a record of the other process may have raised it since.
    fn process(&self, now: Instant) -> Process {
        let has_written = self.streams.get(OWN).have > 0;
        let Context { me, config, .. } = &self.context;
        let incarnation = if has_written { me.incarnation() } else { config.incarnation };
        Process { number: self.twins.process, incarnation, uptime: now - self.twins.started }
    }

    /// Takes what comes over such a connection: nothing but the other end's word which process it
    /// is.
    pub(super) fn on_twin_message(&mut self, link: LinkId, message: &Message, now: Instant) {
        if let Message::Control(control) = message
            && let Control::Twin { process, incarnation, uptime_ms } = **control
        {
            let uptime = Duration::from_millis(uptime_ms);
            self.on_twin(link, Process { number: process, incarnation, uptime }, now);
            self.perform_all(now);
        }
    }

    fn on_twin(&mut self, link: LinkId, other: Process, now: Instant) {
        self.twins.links.remove(&link);
        self.context.out.close(link, CloseReason::Myself);
        let (own, id) = (self.process(now), self.id());
        if other.number == own.number {
            // The address is this node's own; the other process may be reached through others.
            self.not_reached(id, false, now);
            return;
        }
        self.lookups.end(&id);
        if self.twins.conflict.is_none() {
            let role = if own.is_before(&other) { Role::First } else { Role::Second };
            self.twins.conflict = Some(role);
            if role == Role::Second && self.streams.get(OWN).have == 0 {
                self.begin_after(other.incarnation, now);
            }
            self.out.push_back(Output::IdentityConflict { superseded: role == Role::First });
        }
    }

    /// A connection to this node's own id is gone. Returns whether it was one.
    pub(super) fn lost_own_id(&mut self, link: LinkId, now: Instant) -> bool {
        let was = self.twins.links.remove(&link).is_some();
        if was {
            self.not_reached(self.id(), false, now);
        }
        was
    }

    /// Closes the connections whose other end has not said which process it is.
    pub(super) fn expire_twins(&mut self, now: Instant) {
        let late = self.twins.links.iter().find(|(_, since)| now - **since > ANSWER_WITHIN);
        if let Some((link, _)) = late {
            let link = *link;
            self.context.out.close(link, CloseReason::Myself);
            self.lost_own_id(link, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn process(number: u64, incarnation: u64, uptime: Duration) -> Process {
        Process { number, incarnation, uptime }
    }

    #[test]
    fn the_process_that_has_run_for_longer_was_first_and_incarnations_decide_otherwise() {
        let first = process(2, 7, 60 * S);
        // Its clock is wrong.
        let second = process(1, 3, S);
        assert!(first.is_before(&second) && !second.is_before(&first));
        let (first, second) = (process(2, 3, S), process(1, 7, 4 * S));
        assert!(first.is_before(&second) && !second.is_before(&first));
        let (first, second) = (process(1, 7, S), process(2, 7, S));
        assert!(first.is_before(&second) && !second.is_before(&first));
    }

    #[test]
    fn searches_become_rare_and_hold_the_first_message_shortly() {
        let mut twins = Twins::new(1, Instant::ZERO);
        assert!(twins.begins_search(Instant::ZERO));
        assert_eq!(twins.holds_until(Instant::ZERO), Some(Instant::ZERO + HOLD));
        assert_eq!(twins.holds_until(Instant::ZERO + HOLD), None);
        let day = 24 * 3600;
        let searches = (0..day).filter(|second| twins.begins_search(Instant::ZERO + *second * S)).count();
        assert!((day as usize / 600..day as usize / 600 + 10).contains(&searches), "{searches} in a day");
    }
}
