//! The dials under way, and what each of them is for.
//!
//! The caller reports the end of every dial, with a connection or a failure, and the purpose noted
//! here decides what follows. A user's request is always dialled; everything else waits for the
//! next tick when there are too many.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Config;
use crate::context::Cx;
use crate::id::NodeId;
use crate::ids::{DialId, RequestId};
use crate::message::Priority;
use crate::time::Instant;

/// Why a connection is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// None: another node dialled.
    None,
    /// A seed, by its place in the list: join through it.
    Contact(usize),
    /// A known node: ask for a link.
    Link { priority: Priority, token: Option<u64> },
    /// A known node: find out which partition it is part of.
    Probe,
    /// A connection for streams, by dialling or through other nodes.
    Streams { relayed: bool },
    /// A known node: measure how near it is, and ask for a link if it is near.
    Nearer,
    /// The user's request for a link.
    Pin(RequestId),
}

/// One dial under way.
#[derive(Debug)]
pub(crate) struct Dial {
    purpose: Purpose,
    peer: Option<NodeId>,
    since: Instant,
}

impl Dial {
    /// Returns the node that is expected to answer.
    pub(crate) fn peer(&self) -> Option<NodeId> {
        self.peer
    }

    /// Returns how long the dial has taken so far.
    pub(crate) fn took(&self, now: Instant) -> Duration {
        now - self.since
    }

    pub(crate) fn into_purpose(self) -> Purpose {
        self.purpose
    }
}

/// Dials that a node makes in a row on another's word, without having asked. Default 3: as many as
/// walks of one bridge.
const HEARSAY_MOST: u32 = 3;
/// The time until it may make one more of them. Default 3 s: with addresses in one prefix, a
/// neighbour of 1 000 nodes causes 333 dials a second at most.
const HEARSAY_EVERY: Duration = Duration::from_secs(3);
/// An address is dialled again on another's word after this time. Default 60 s: with one address,
/// it causes 17.
const SAME_AFTER: Duration = Duration::from_secs(60);
/// Maximum number of such addresses that are remembered; of more, which cannot be dialled within
/// [`SAME_AFTER`], the oldest would lose.
const REMEMBERED: usize = 32;

/// The dials under way.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    open: BTreeMap<DialId, Dial>,
    last: u64,
    /// The addresses that were dialled on another's word, and when, the oldest first.
    hearsay: VecDeque<(SocketAddr, Instant)>,
}

impl Dials {
    /// Notes a dial and names it, unless there are too many. One place is kept for the seeds:
    /// whether they answer says more than what others say.
    pub(crate) fn begin(&mut self, cx: &Cx<'_>, purpose: Purpose, peer: Option<NodeId>) -> Option<DialId> {
        let limit = match purpose {
            Purpose::Pin(_) => usize::MAX,
            Purpose::Contact(_) => cx.config.max_dials,
            _ => cx.config.max_dials - 1,
        };
        if self.open.len() >= limit {
            return None;
        }
        self.last += 1;
        let dial = DialId(self.last);
        self.open.insert(dial, Dial { purpose, peer, since: cx.now });
        Some(dial)
    }

    /// Returns whether an address may be dialled on another's word. Anybody could make all nodes
    /// dial a victim otherwise.
    pub(crate) fn may_follow(&self, address: SocketAddr, now: Instant) -> bool {
        let lately = |time: Duration| self.hearsay.iter().filter(move |(_, at)| now - *at < time);
        let in_a_row = lately(HEARSAY_EVERY * HEARSAY_MOST).count();
        in_a_row < HEARSAY_MOST as usize && lately(SAME_AFTER).all(|(other, _)| *other != address)
    }

    /// Notes that an address is dialled on another's word.
    pub(crate) fn follow(&mut self, address: Option<SocketAddr>, now: Instant) {
        self.hearsay.extend(address.map(|address| (address, now)));
        if self.hearsay.len() > REMEMBERED {
            self.hearsay.pop_front();
        }
    }

    /// Takes a dial that has ended.
    pub(crate) fn take(&mut self, dial: DialId) -> Option<Dial> {
        self.open.remove(&dial)
    }

    /// Returns how many more dials there is room for.
    pub(crate) fn room(&self, config: &Config) -> usize {
        config.max_dials.saturating_sub(self.open.len())
    }

    /// Returns the dials that count against the limit: all but those of the user.
    pub(crate) fn counted(&self) -> usize {
        self.open.values().filter(|dial| !matches!(dial.purpose, Purpose::Pin(_))).count()
    }

    /// Returns how many of the dials may become links.
    pub(crate) fn for_links(&self) -> usize {
        let for_link = |dial: &&Dial| matches!(dial.purpose, Purpose::Link { .. } | Purpose::Nearer);
        self.open.values().filter(for_link).count()
    }

    pub(crate) fn is_dialling(&self, peer: &NodeId) -> bool {
        self.open.values().any(|dial| dial.peer == Some(*peer))
    }

    pub(crate) fn is_dialling_seed(&self, seed: usize) -> bool {
        self.open.values().any(|dial| dial.purpose == Purpose::Contact(seed))
    }

    /// Returns the dials that the caller has not answered for far too long.
    pub(crate) fn overdue(&self, cx: &Cx<'_>) -> Vec<DialId> {
        let longest = cx.config.session_timeout * 3;
        let overdue = |(_, dial): &(&DialId, &Dial)| cx.now - dial.since > longest;
        self.open.iter().filter(overdue).map(|(id, _)| *id).collect()
    }

    /// Starts all time-outs anew, because this node itself had stopped.
    pub(crate) fn forgive(&mut self, now: Instant) {
        self.open.values_mut().for_each(|dial| dial.since = now);
    }

    /// Forgets all dials and returns the user's requests among them.
    pub(crate) fn abandon(&mut self) -> Vec<RequestId> {
        let request =
            |dial: Dial| if let Purpose::Pin(request) = dial.purpose { Some(request) } else { None };
        std::mem::take(&mut self.open).into_values().filter_map(request).collect()
    }
}
