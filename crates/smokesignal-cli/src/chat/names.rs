//! The names that nodes give themselves.
//!
//! Names travel in messages: a node learns the name of another one from its first line, or from its
//! introduction to a new neighbour. A name is only a claim: two nodes may use the same one, and
//! only the id is proven. Therefore a name that several nodes use is always shown together with the
//! id.

use std::collections::HashMap;

use smokesignal::NodeId;

/// Names that are remembered. Beyond that, the node that has been silent for longest is forgotten,
/// and is shown by its id. A guess.
const REMEMBERED: usize = 4096;

/// The names of all known nodes, at most [`REMEMBERED`].
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<NodeId, Known>,
    /// Counts the messages heard. It stands for the time, because only their order matters.
    clock: u64,
}

/// The name of a node, and when it was last heard.
#[derive(Debug)]
struct Known {
    name: String,
    /// The time of the last message, by `clock`.
    heard: u64,
}

/// The node that a text like `ann` or `3fa9` refers to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The text fits a single node.
    One(NodeId),
    /// The text fits no node.
    Nobody,
    /// The text fits all of these, so the person has to choose one.
    Several(Vec<NodeId>),
}

impl Names {
    /// Remembers the name of a node, and returns whether it is new or has changed.
    pub(super) fn learn(&mut self, id: NodeId, name: &str) -> bool {
        self.clock += 1;
        let heard = self.clock;
        let before = self.known.insert(id, Known { name: name.to_owned(), heard });
        if self.known.len() > REMEMBERED {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.heard).map(|(id, _)| *id);
            oldest.and_then(|id| self.known.remove(&id));
        }
        before.is_none_or(|before| before.name != name)
    }

    /// Returns all nodes whose names are known.
    pub(super) fn known(&self) -> impl Iterator<Item = NodeId> {
        self.known.keys().copied()
    }

    /// Returns the name of a node, with its short id if other nodes use the same name. Returns the
    /// short id alone if the name is not known.
    pub(super) fn show(&self, id: NodeId) -> String {
        let Some(Known { name, .. }) = self.known.get(&id) else { return id.short() };
        let others = self.known.iter().any(|(other, known)| *other != id && known.name == *name);
        if others { format!("{name} ({})", id.short()) } else { name.clone() }
    }

    /// Finds a node among these by its name, or else by the beginning of its id.
    pub(super) fn find(&self, text: &str, among: &[NodeId]) -> Found {
        let named = |id: &NodeId| self.known.get(id).is_some_and(|known| known.name == text);
        let mut found: Vec<NodeId> = among.iter().copied().filter(named).collect();
        if found.is_empty() && !text.is_empty() {
            let prefix = text.to_ascii_lowercase();
            found = among.iter().copied().filter(|id| id.to_string().starts_with(&prefix)).collect();
        }
        match found[..] {
            [] => Found::Nobody,
            [one] => Found::One(one),
            _ => Found::Several(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8) -> NodeId {
        NodeId::from_bytes([first; 32])
    }

    #[test]
    fn two_nodes_with_the_same_name_are_shown_with_their_ids() {
        let mut names = Names::default();
        assert!(names.learn(id(0xaa), "ann"));
        assert_eq!(names.show(id(0xaa)), "ann");
        assert!(names.learn(id(0xbb), "ann"));
        assert_eq!(names.show(id(0xaa)), "ann (aaaaaaaaaa)");
        assert!(names.learn(id(0xbb), "bob"));
        assert!(!names.learn(id(0xbb), "bob"), "known already");
        assert_eq!(names.show(id(0xaa)), "ann");
        assert_eq!(names.show(id(0xcc)), "cccccccccc");
    }

    #[test]
    fn a_node_is_found_by_name_or_by_the_beginning_of_its_id() {
        let mut names = Names::default();
        let all = [id(0xaa), id(0xab), id(0xcc)];
        names.learn(id(0xaa), "ann");
        names.learn(id(0xcc), "ann");
        names.learn(id(0xab), "bob");
        assert_eq!(names.find("bob", &all), Found::One(id(0xab)));
        assert_eq!(names.find("ann", &all), Found::Several(vec![id(0xaa), id(0xcc)]));
        assert_eq!(names.find("CC", &all), Found::One(id(0xcc)));
        assert_eq!(names.find("a", &all), Found::Several(vec![id(0xaa), id(0xab)]));
        assert_eq!(names.find("", &all), Found::Nobody);
        assert_eq!(names.find("bob", &[id(0xaa)]), Found::Nobody);
    }

    #[test]
    fn beyond_the_limit_the_oldest_name_is_forgotten() {
        let mut names = Names::default();
        for n in 0..=REMEMBERED {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
            names.learn(NodeId::from_bytes(bytes), "x");
        }
        assert_eq!(names.known.len(), REMEMBERED);
        assert!(!names.known.contains_key(&id(0)));
    }
}
