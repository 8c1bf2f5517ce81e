//! The dials under way, and what each of them is for.
//!
//! The caller reports the end of every dial, with a connection or a failure, and the purpose noted
//! here decides what follows. A user's request is always dialled; everything else waits for the
//! next tick when there are too many.

use std::collections::BTreeMap;
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

/// The dials under way.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    open: BTreeMap<DialId, Dial>,
    last: u64,
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
