//! Lookups: nodes that look for another node by its id, to open a stream to it.
//!
//! [`Lookups`] remembers what was asked and sums up what came of it: how the target was reached,
//! how long it took, and which targets were not reached. That every lookup is answered, once and
//! with the right node, is for `check/lookups.rs` to check.

use std::collections::BTreeMap;

use smokesignal_proto::RequestId;

use crate::stats::Histogram;

/// All lookups of a world.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    /// The number of the last one.
    last: u64,
    /// Those without an answer.
    open: BTreeMap<RequestId, Lookup>,
    outcomes: Outcomes,
}

/// One lookup.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookup {
    /// The node that asks, and which start of it.
    pub(crate) node: usize,
    pub(crate) start: u64,
    /// The node that is looked for, or `None` for an id that no node has.
    pub(crate) target: Option<usize>,
    /// When it began, in virtual microseconds.
    pub(crate) since: u64,
}

/// How a lookup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The connection was there.
    Connected,
    /// The target was dialled.
    Dialled,
    /// Other nodes relay the connection, over this number of links.
    Relayed { links: usize },
    /// The target is alive and honest, and was not reached.
    Failed,
    /// There is nobody to be reached.
    Absent,
}

/// Sums over all lookups that have ended.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    /// Targets to which a connection stood already.
    pub(crate) connected: u64,
    /// Microseconds until a connection stood, by kind.
    pub(crate) dialled: Histogram,
    pub(crate) relayed: Histogram,
    /// Links that relayed connections run over.
    pub(crate) hops: Histogram,
    /// Living, honest targets that were not reached.
    pub(crate) failed: u64,
    /// Microseconds until a lookup of an absent target failed.
    pub(crate) absent: Histogram,
    /// Relayed connections that ended with one of their links.
    pub(crate) cut: u64,
}

impl Lookups {
    /// Remembers a lookup that begins.
    pub(crate) fn begin(&mut self, lookup: Lookup) -> RequestId {
        self.last += 1;
        let request = RequestId(self.last);
        self.open.insert(request, lookup);
        request
    }

    /// Removes a lookup that was answered, or `None` if it is not open.
    pub(crate) fn answered(&mut self, request: RequestId) -> Option<Lookup> {
        self.open.remove(&request)
    }

    /// Counts an outcome, which took this many microseconds.
    pub(crate) fn count(&mut self, outcome: Outcome, took: u64) {
        let sums = &mut self.outcomes;
        match outcome {
            Outcome::Connected => sums.connected += 1,
            Outcome::Dialled => sums.dialled.add(took),
            Outcome::Relayed { links } => {
                sums.relayed.add(took);
                sums.hops.add(links as u64);
            }
            Outcome::Failed => sums.failed += 1,
            Outcome::Absent => sums.absent.add(took),
        }
    }

    /// Counts a relayed connection that ended with one of its links.
    pub(crate) fn relay_broke(&mut self) {
        self.outcomes.cut += 1;
    }

    /// Forgets the lookups whose nodes cannot get an answer any more.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Lookup) -> bool) {
        self.open.retain(|_, lookup| keep(lookup));
    }

    /// Returns the lookups without an answer.
    pub(crate) fn open(&self) -> impl Iterator<Item = (RequestId, &Lookup)> {
        self.open.iter().map(|(request, lookup)| (*request, lookup))
    }

    /// Returns how many lookups have begun: the number of the last one.
    pub(crate) const fn count_begun(&self) -> u64 {
        self.last
    }

    pub(crate) const fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }
}
