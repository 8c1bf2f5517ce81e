//! The invariants that are checked while a world runs, each with a name and a sentence.
//!
//! An invariant is a constant, such as [`Invariant::IN_ORDER`]. Reports print its name and its
//! sentence; the checks in `check/` use the constant. Invariants were once known by codes such as
//! `A1`, which [`Invariant::find`] still understands. `docs/simulation.md` lists all of them, and
//! where each is checked.

use std::fmt;

use serde::{Serialize, Serializer};

/// A promise of the protocol that every run has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invariant {
    name: &'static str,
    sentence: &'static str,
    /// The code under which older versions know it.
    code: &'static str,
}

/// Declares the invariants, and a list of all of them.
macro_rules! invariants {
    ($($constant:ident = $name:literal, $code:literal, $sentence:literal;)*) => {
        impl Invariant {
            $(
                #[doc = $sentence]
                pub const $constant: Self =
                    Self { name: $name, sentence: $sentence, code: $code };
            )*

            /// All invariants.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];
        }
    };
}

invariants! {
    IN_ORDER = "in-order", "A1",
        "a reader gets the messages of a writer in the order of their numbers, none twice";
    UNALTERED = "unaltered", "A2",
        "a message is delivered byte for byte as its writer wrote it";
    ACCOUNTED = "accounted", "A3",
        "deliveries and reported gaps add up: nothing is missing without a report";
    NO_NEEDLESS_GAP = "no-needless-gap", "A4",
        "no gap is reported in the stream of a living writer that was never restarted";
    ONE_SOURCE = "one-source", "A5",
        "in a quiescent network each stream is sent to a node over one link only";
    COMPLETE = "complete", "A6",
        "in a quiescent network every node has everything that the writers in its component wrote";
    NO_PARENT_CYCLE = "no-parent-cycle", "A7",
        "no node stays in a cycle of parents while a neighbour is ahead of it";
    WITHIN_LIMITS = "within-limits", "A8",
        "no collection of a node holds more than its limit";
    WRITER_RESUMES = "writer-resumes", "A9",
        "a writer with a healthy link may write again before its stalled neighbours time out twice";
    QUIESCENT_STREAMS = "quiescent-streams", "A11",
        "in a quiescent network no segment is sent";
    TRUE_POSITIONS = "true-positions", "A12",
        "a node does not go on believing that its neighbour has segments which it does not have";
    NOT_AHEAD_OF_WRITER = "not-ahead-of-writer", "A13",
        "no node holds a proven position beyond what the writer has signed";
    SAME_ROOT = "same-root", "B1",
        "all nodes of a quiescent component know its smallest id as their root, and its exact size";
    DEAD_ROOT_FORGOTTEN = "dead-root-forgotten", "B2",
        "a root that has died is forgotten once its last beacon is too old";
    FEW_BEACONS = "few-beacons", "B3",
        "a beacon crosses each link twice per period at most";
    FEW_SEED_DIALS = "few-seed-dials", "B4",
        "a quiescent component dials the seeds no more often than its probes account for";
    NO_FALSE_NETSPLIT = "no-false-netsplit", "B5",
        "no netsplit is reported in a network that was not cut";
    NETSPLIT_REPORTED = "netsplit-reported", "B6",
        "every node that has lost its seed for 30 s has reported a netsplit";
    MERGE_REPORTED = "merge-reported", "B7",
        "every node that has reported a netsplit reports its end once the network is whole";
    NETSPLITS_ALTERNATE = "netsplits-alternate", "B8",
        "a node reports netsplits and their ends by turns";
    SYMMETRIC_LINKS = "symmetric-links", "C1",
        "in a quiescent network each link is counted by both of its ends";
    LINK_LIMIT = "link-limit", "C2",
        "a node has at most max_peers + 2 links at any time, and max_peers in a quiescent network";
    REFILLED = "refilled", "C3",
        "a node that has lost links has min_peers again within the time that the run allows";
    ONE_COMPONENT = "one-component", "C4",
        "while nothing fails, all nodes that joined 30 s ago are in one component";
    NOT_ALONE = "not-alone", "C5",
        "no node is without a link for more than 30 s while a seed can be reached";
    DISTINCT_PEERS = "distinct-peers", "C6",
        "a node has no link to itself and no two links to the same peer";
    DIAL_LIMIT = "dial-limit", "C7",
        "a node has at most max_dials dials under way, and one more for each request of its user";
    SIGNED_RECORDS = "signed-records", "C8",
        "every node that is known by a record has signed that record";
    SHORT_PATHS = "short-paths", "C9",
        "the diameter of a quiescent network of 64 nodes or more is at most 2 log2 of their number";
    SEED_LINK_LIMIT = "seed-link-limit", "C10",
        "in a quiescent network a seed has at most max_peers links, as any other node";
    PINNED_LINKS_KEPT = "pinned-links-kept", "C11",
        "a link that its user has pinned is never closed in favour of another";
    LOOKUPS_ANSWERED = "lookups-answered", "S1",
        "every lookup is answered, once and within three times its timeout";
    RIGHT_NODE_FOUND = "right-node-found", "S2",
        "a lookup leads to the node with the id that was looked for";
    REPEATABLE = "repeatable", "replay",
        "two runs with the same seed are the same, event by event";
}

impl Invariant {
    /// Returns its name, such as `in-order`.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Returns what it promises, as a sentence without a full stop.
    pub const fn sentence(self) -> &'static str {
        self.sentence
    }

    /// Finds an invariant by its name, or by the code that older versions printed, such as `A1`.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.name == name || one.code == name)
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for Invariant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invariant_is_found_by_its_name_and_by_its_old_code() {
        for one in Invariant::ALL {
            assert_eq!(Invariant::find(one.name), Some(*one));
            assert_eq!(Invariant::find(one.code), Some(*one));
        }
        assert_eq!(Invariant::find("A10"), None);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Invariant::ALL.iter().map(|one| one.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Invariant::ALL.len());
    }
}
