//! The overlay as a graph: components, distances, what a flood would cost.

mod spectrum;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::world::World;

/// Who is linked to whom at one moment: links that stand on both sides, between living nodes.
#[derive(Debug)]
pub struct Graph {
    /// Neighbours and the base delay of the way to them, by node number; empty for the dead.
    near: Vec<Vec<(u32, u64)>>,
    nodes: Vec<usize>,
}

/// Up to so many nodes the diameter is exact; above it is the largest distance from so many random ones.
const EXACT: usize = 2_000;
const SAMPLES: usize = 64;

impl World {
    /// The links that stand now. A link that only one side counts is not in it.
    pub fn graph(&self) -> Graph {
        let mut near = vec![Vec::new(); self.members.len()];
        for (ix, member) in self.members.iter().enumerate() {
            let Some(node) = &member.node else { continue };
            for (id, _) in node.peers() {
                let Some(slot) = self.links.slot(id) else { continue };
                let link = self.links.get(slot);
                let other = link.other(ix);
                let mutual = link.is_open() && self.members[other].node.is_some() && !self.is_cut(ix, other);
                if mutual {
                    near[ix].push((other as u32, link.delay));
                }
            }
        }
        Graph { near, nodes: self.alive() }
    }
}

impl Graph {
    /// Sizes of the components, the largest first.
    pub fn components(&self) -> Vec<usize> {
        let mut seen = vec![false; self.near.len()];
        let mut sizes = Vec::new();
        for start in &self.nodes {
            if !seen[*start] {
                sizes.push(self.walk(*start, &mut seen).0);
            }
        }
        sizes.sort_unstable_by_key(|size| Reverse(*size));
        sizes
    }

    /// Numbers of this node's neighbours.
    pub fn neighbours(&self, ix: usize) -> Vec<usize> {
        self.near[ix].iter().map(|(other, _)| *other as usize).collect()
    }

    /// Links of this node.
    pub fn degree(&self, ix: usize) -> usize {
        self.near[ix].len()
    }

    /// Longest way in hops within the component of the first node. Exact for small graphs.
    pub fn diameter(&self) -> usize {
        let step = if self.nodes.len() <= EXACT { 1 } else { self.nodes.len() / SAMPLES };
        let starts = self.nodes.iter().step_by(step.max(1));
        starts.map(|start| self.walk(*start, &mut vec![false; self.near.len()]).1).max().unwrap_or(0)
    }

    /// Which nodes can be reached, by number.
    pub(crate) fn reached_from(&self, start: usize) -> Vec<bool> {
        let mut seen = vec![false; self.near.len()];
        self.walk(start, &mut seen);
        seen
    }

    /// Visits all that can be reached. Returns how many, and how far the last one was.
    fn walk(&self, start: usize, seen: &mut [bool]) -> (usize, usize) {
        let mut layer = vec![start];
        seen[start] = true;
        let (mut size, mut depth) = (1, 0);
        loop {
            let mut next = Vec::new();
            for ix in layer {
                for (other, _) in &self.near[ix] {
                    if !std::mem::replace(&mut seen[*other as usize], true) {
                        next.push(*other as usize);
                    }
                }
            }
            if next.is_empty() {
                return (size, depth);
            }
            size += next.len();
            depth += 1;
            layer = next;
        }
    }

    /// Base delays of the fastest ways from one node, in microseconds: what a flood would take.
    pub fn fastest_from(&self, start: usize) -> Vec<u64> {
        let mut best = vec![u64::MAX; self.near.len()];
        let mut heap = BinaryHeap::from([(Reverse(0), start)]);
        best[start] = 0;
        while let Some((Reverse(time), ix)) = heap.pop() {
            if time > best[ix] {
                continue;
            }
            for (other, delay) in &self.near[ix] {
                let (other, time) = (*other as usize, time + delay);
                if time < best[other] {
                    best[other] = time;
                    heap.push((Reverse(time), other));
                }
            }
        }
        self.nodes.iter().map(|ix| best[*ix]).filter(|time| *time > 0 && *time < u64::MAX).collect()
    }

    /// Copies of a flood per node that needs one, less one: every link carries it once or twice, save the way in.
    pub fn flood_redundancy(&self) -> f64 {
        let ends: usize = self.nodes.iter().map(|ix| self.near[*ix].len()).sum();
        let others = self.nodes.len().saturating_sub(1).max(1);
        (ends as f64 - others as f64) / others as f64 - 1.0
    }
}
