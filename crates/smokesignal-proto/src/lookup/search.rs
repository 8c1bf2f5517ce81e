//! The search for one node, as a state machine.
//!
//! ```text
//!              known address               answer with an address
//!   begin ──► Dialling(Known) ──┐      ┌──► Dialling(Told) ──┐
//!     │                         │      │                     │ failed, or
//!     │ no address       failed, or    │                     │ no answer for 500 ms
//!     │           no answer for 500 ms │                     ▼
//!     └───────────────────────► ▼      │      answer    ┌► Relaying ──┐
//!                             Asking ──┴────────────────┘             │ failed: by a new number, and not over
//!                               ▲                                     │ the same neighbour; twice at most
//!                               └─────────────────────────────────────┘
//! ```
//!
//! A dial that is slow goes on while the next state is tried; a connection, however it was made,
//! ends the search. A search without an answer fails after `find_timeout`, one with an answer after
//! twice that time more.

use std::net::SocketAddr;
use std::time::Duration;

use crate::context::Cx;
use crate::ids::LinkId;
use crate::output::Unreachable;
use crate::time::Instant;

/// A node that has answered may be tried for this many times the time to find it: a dial takes 4 s
/// at most, and a relayed connection as well.
pub(super) const LOCATED: u32 = 2;
/// A dial that is not answered has this long for itself. Default 500 ms: two to three round trips
/// to the other side of the earth (RFC 8305 waits 250 ms between two addresses).
const DIAL_ALONE: Duration = Duration::from_millis(500);
/// Other paths through the network that are looked for after one that could not be used.
const OTHER_PATHS: usize = 2;
/// The query is sent again, as links may have changed, after this share of the time there is.
const AGAIN: u32 = 2;

/// A step that the node takes for the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look up the known address, and report it by `on_known_address`.
    DialKnown,
    /// Dial this address.
    Dial(SocketAddr),
    /// Connect through the neighbour that the answer to this query came from.
    Relay { via: LinkId, query: u64 },
    /// Ask all nodes, but not over links that have led nowhere.
    Flood { query: u64, except: Vec<LinkId> },
}

/// A way to reach the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// Dials the address that is known.
    Known,
    /// Dials the address in the node's answer.
    Told(SocketAddr),
    /// Connects through the nodes that the answer came through.
    Relay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The attempt waits for room for a dial.
    Waiting(Attempt),
    /// The attempt is under way.
    Trying(Attempt),
    /// The network is being asked.
    Asking,
}

/// The search for one node.
#[derive(Debug)]
pub(crate) struct Search {
    state: State,
    /// Names the query.
    query: u64,
    ask_again: Instant,
    until: Instant,
    /// An address is being dialled: from then on another way is tried as well.
    alone_until: Option<Instant>,
    /// The link that the node's answer came from, and the number of the query it answered.
    path: Option<(LinkId, u64)>,
    /// The address that was known and dialled.
    tried_address: Option<SocketAddr>,
    /// Neighbours through which the node could not be reached.
    failed_vias: Vec<LinkId>,
}

impl Search {
    pub(super) fn new(query: u64, cx: &Cx<'_>) -> Self {
        let until = cx.now + cx.config.find_timeout;
        Self {
            state: State::Waiting(Attempt::Known),
            query,
            ask_again: until,
            until,
            alone_until: None,
            path: None,
            tried_address: None,
            failed_vias: Vec::new(),
        }
    }

    pub(super) fn query(&self) -> u64 {
        self.query
    }

    // What happens.

    pub(super) fn on_known_address(&mut self, address: Option<SocketAddr>, cx: &Cx<'_>) -> Step {
        let Some(address) = address else { return self.ask(cx) };
        self.tried_address = Some(address);
        self.dial(Attempt::Known, address, cx)
    }

    pub(super) fn on_dial_begun(&mut self) {
        if let State::Waiting(attempt) = self.state {
            self.state = State::Trying(attempt);
        }
    }

    /// Returns whether an answer to this query that came over `link` is awaited.
    pub(super) fn awaits(&self, link: LinkId, query: u64) -> bool {
        self.state == State::Asking && self.query == query && !self.failed_vias.contains(&link)
    }

    /// The node has answered. An address that was dialled before is not dialled again.
    pub(super) fn on_located(
        &mut self,
        path: (LinkId, u64),
        address: Option<SocketAddr>,
        cx: &Cx<'_>,
    ) -> Step {
        if self.path.replace(path).is_none() {
            self.until = cx.now + LOCATED * cx.config.find_timeout;
        }
        match address.filter(|address| self.tried_address != Some(*address)) {
            Some(address) => self.dial(Attempt::Told(address), address, cx),
            None => self.relay(cx),
        }
    }

    /// A dial has failed: the attempt under way, or an earlier one that was not waited for.
    pub(super) fn on_dial_failed(
        &mut self,
        relayed: bool,
        cx: &mut Cx<'_>,
    ) -> Result<Option<Step>, Unreachable> {
        match self.state {
            State::Trying(Attempt::Known) => Ok(Some(self.ask(cx))),
            State::Trying(Attempt::Told(_)) => Ok(Some(self.relay(cx))),
            State::Trying(Attempt::Relay) if relayed => {
                self.query = cx.rng.next();
                self.failed_vias.extend(self.path.map(|(via, _)| via));
                if self.failed_vias.len() > OTHER_PATHS {
                    return Err(Unreachable::NoWay);
                }
                Ok(Some(self.ask(cx)))
            }
            _ => Ok(None),
        }
    }

    /// Returns the next step if the dial under way has not been answered for a while.
    pub(super) fn on_slow_dial(&mut self, cx: &Cx<'_>) -> Option<Step> {
        let State::Trying(attempt) = self.state else { return None };
        self.alone_until.take_if(|until| *until <= cx.now)?;
        match attempt {
            Attempt::Known => Some(self.ask(cx)),
            Attempt::Told(_) => Some(self.relay(cx)),
            Attempt::Relay => None,
        }
    }

    // What time brings.

    /// Returns the step that waits for room for a dial, to be tried again.
    pub(super) fn on_room(&mut self, cx: &Cx<'_>) -> Option<Step> {
        match self.state {
            State::Waiting(Attempt::Known) => Some(Step::DialKnown),
            State::Waiting(Attempt::Told(address)) => Some(self.dial(Attempt::Told(address), address, cx)),
            State::Waiting(Attempt::Relay) => Some(self.relay(cx)),
            _ => None,
        }
    }

    /// Returns why the search has failed if its time is over.
    pub(super) fn is_over(&self, now: Instant) -> Option<Unreachable> {
        let why = if self.path.is_some() { Unreachable::NoWay } else { Unreachable::NotFound };
        (self.until <= now).then_some(why)
    }

    /// Asks once more, by a new number, if it is time.
    pub(super) fn ask_again(&mut self, cx: &mut Cx<'_>) -> Option<Step> {
        if self.state != State::Asking || self.ask_again > cx.now {
            return None;
        }
        (self.query, self.ask_again) = (cx.rng.next(), self.until);
        Some(self.flood())
    }

    // The states.

    fn ask(&mut self, cx: &Cx<'_>) -> Step {
        (self.state, self.ask_again) = (State::Asking, cx.now + cx.config.find_timeout / AGAIN);
        self.flood()
    }

    fn flood(&self) -> Step {
        Step::Flood { query: self.query, except: self.failed_vias.clone() }
    }

    fn dial(&mut self, attempt: Attempt, address: SocketAddr, cx: &Cx<'_>) -> Step {
        (self.state, self.alone_until) = (State::Waiting(attempt), Some(cx.now + DIAL_ALONE));
        Step::Dial(address)
    }

    fn relay(&mut self, cx: &Cx<'_>) -> Step {
        let Some((via, query)) = self.path else { return self.ask(cx) };
        self.state = State::Waiting(Attempt::Relay);
        Step::Relay { via, query }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::context::Context;
    use crate::id::Keypair;

    const VIA: LinkId = LinkId(3);

    fn context() -> Context {
        Context::new(Keypair::from_seed(&[1; 32]), Config::default(), 1)
    }

    fn address() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 8495))
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_known_address_is_dialled_and_after_it_has_failed_the_network_is_asked() {
        let mut context = context();
        let mut search = Search::new(7, &context.at(at(0)));
        assert_eq!(search.on_room(&context.at(at(0))), Some(Step::DialKnown));
        assert_eq!(search.on_known_address(Some(address()), &context.at(at(0))), Step::Dial(address()));
        search.on_dial_begun();
        let failed = search.on_dial_failed(false, &mut context.at(at(0)));
        assert_eq!(failed, Ok(Some(Step::Flood { query: 7, except: vec![] })));
    }

    #[test]
    fn without_a_known_address_the_network_is_asked_and_asked_once_more_by_a_new_number() {
        let mut context = context();
        let mut search = Search::new(7, &context.at(at(0)));
        let asked = search.on_known_address(None, &context.at(at(0)));
        assert_eq!(asked, Step::Flood { query: 7, except: vec![] });
        assert_eq!(search.ask_again(&mut context.at(at(1))), None);
        let again = search.ask_again(&mut context.at(at(3)));
        assert!(matches!(again, Some(Step::Flood { query, .. }) if query != 7));
        assert!(!search.awaits(VIA, 7), "the answer to the former query comes too late");
        assert_eq!(search.is_over(at(4)), None);
        assert_eq!(search.is_over(at(5)), Some(Unreachable::NotFound));
    }

    #[test]
    fn an_answer_is_dialled_and_a_slow_dial_is_joined_by_a_relay() {
        let mut context = context();
        let mut search = Search::new(7, &context.at(at(0)));
        search.on_known_address(None, &context.at(at(0)));
        assert!(search.awaits(VIA, 7));
        let located = search.on_located((VIA, 7), Some(address()), &context.at(at(0)));
        assert_eq!(located, Step::Dial(address()));
        assert_eq!(search.on_slow_dial(&context.at(at(1))), None, "it waits for room and has not begun");
        search.on_dial_begun();
        assert_eq!(search.on_slow_dial(&context.at(at(1))), Some(Step::Relay { via: VIA, query: 7 }));
        assert_eq!(search.is_over(at(9)), None, "an answer gives it more time");
        assert_eq!(search.is_over(at(10)), Some(Unreachable::NoWay));
    }

    #[test]
    fn an_answer_with_the_address_that_has_failed_is_relayed() {
        let mut context = context();
        let mut search = Search::new(7, &context.at(at(0)));
        search.on_known_address(Some(address()), &context.at(at(0)));
        search.on_dial_begun();
        search.on_dial_failed(false, &mut context.at(at(0))).unwrap();
        let located = search.on_located((VIA, 7), Some(address()), &context.at(at(0)));
        assert_eq!(located, Step::Relay { via: VIA, query: 7 });
    }

    #[test]
    fn a_relay_that_fails_is_sought_over_other_neighbours_twice_and_then_the_search_fails() {
        let mut context = context();
        let mut search = Search::new(7, &context.at(at(0)));
        search.on_known_address(None, &context.at(at(0)));
        for (n, via) in [LinkId(1), LinkId(2), LinkId(3)].into_iter().enumerate() {
            let query = search.query();
            assert!(search.awaits(via, query));
            assert_eq!(search.on_located((via, query), None, &context.at(at(0))), Step::Relay { via, query });
            search.on_dial_begun();
            assert_eq!(search.on_dial_failed(false, &mut context.at(at(0))), Ok(None), "an earlier dial");
            match search.on_dial_failed(true, &mut context.at(at(0))) {
                Ok(Some(Step::Flood { except, .. })) if n < 2 => assert!(except.contains(&via)),
                Err(Unreachable::NoWay) => assert_eq!(n, 2),
                other => panic!("{other:?}"),
            }
            assert!(!search.awaits(via, search.query()), "it has led nowhere");
        }
    }
}
