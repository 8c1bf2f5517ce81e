//! The graph of links: which nodes are connected.

/// How the network is drawn.
#[derive(Clone, Copy)]
pub(crate) enum Topology {
    /// The first node has four below it, and each of them has four in turn: degrees of 4, 5, and 1
    /// for the leaves.
    Tree,
    /// A cycle with random chords until most nodes have four links: degrees of 3 to 5.
    Graph,
}

const BELOW: usize = 4;
const LEAST: usize = 3;
const MOST: usize = 5;

impl Topology {
    /// The links between this many nodes.
    pub(crate) fn edges(self, nodes: usize) -> Vec<(usize, usize)> {
        match self {
            Self::Tree => (1..nodes).map(|node| ((node - 1) / BELOW, node)).collect(),
            Self::Graph => graph(nodes),
        }
    }
}

fn graph(nodes: usize) -> Vec<(usize, usize)> {
    if nodes <= LEAST + 1 {
        return (1..nodes).flat_map(|a| (0..a).map(move |b| (b, a))).collect();
    }
    let mut chance = Chance(0x5eed);
    // A draw can end with a node that has no partner left: then it is drawn again.
    loop {
        let mut edges: Vec<_> = (0..nodes).map(|node| (node, (node + 1) % nodes)).collect();
        let mut degrees = vec![2; nodes];
        for _ in 0..20 * nodes {
            let (a, b) = (chance.below(nodes), chance.below(nodes));
            let known = edges.contains(&(a, b)) || edges.contains(&(b, a));
            let full = edges.len() >= 2 * nodes && degrees[a] >= LEAST && degrees[b] >= LEAST;
            if a != b && !known && !full && degrees[a] < MOST && degrees[b] < MOST {
                edges.push((a, b));
                degrees[a] += 1;
                degrees[b] += 1;
            }
        }
        if degrees.iter().all(|degree| (LEAST..=MOST).contains(degree)) {
            return edges;
        }
    }
}

/// The same random numbers in each run (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn degrees(edges: &[(usize, usize)], nodes: usize) -> Vec<usize> {
        (0..nodes).map(|node| edges.iter().filter(|(a, b)| *a == node || *b == node).count()).collect()
    }

    #[test]
    fn a_tree_has_one_link_less_than_nodes() {
        let edges = Topology::Tree.edges(20);
        assert_eq!(edges.len(), 19);
        assert_eq!(degrees(&edges, 20).into_iter().max(), Some(5));
    }

    #[test]
    fn a_graph_has_three_to_five_links_at_each_node() {
        for nodes in [6, 10, 20, 40, 200] {
            let edges = Topology::Graph.edges(nodes);
            assert!(degrees(&edges, nodes).iter().all(|degree| (3..=5).contains(degree)), "{nodes} nodes");
        }
        assert_eq!(Topology::Graph.edges(2), [(0, 1)]);
    }
}
