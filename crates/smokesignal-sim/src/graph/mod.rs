//! The overlay as a graph: its components, its distances, and what a flood over it would cost.

mod spectrum;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::cluster::Cluster;
use crate::net::Net;

/// The links of one moment. A link that only one side counts is not part of it.
#[derive(Debug)]
pub struct Graph {
    /// Each node's neighbours and the base delays to them, by node number; empty for the dead.
    near: Vec<Vec<(u32, u64)>>,
    /// The living nodes.
    nodes: Vec<usize>,
}

/// Number of nodes up to which the diameter is exact.
const EXACT: usize = 2_000;
/// Number of nodes, about, from which distances are measured in larger graphs.
const SAMPLES: usize = 64;

impl Graph {
    /// Returns the links that stand now: between living nodes, open on both sides, not cut.
    pub(crate) fn of(cluster: &Cluster, net: &Net) -> Self {
        let mut near = vec![Vec::new(); cluster.len()];
        for (ix, near) in near.iter_mut().enumerate() {
            let Some(node) = cluster.node(ix) else { continue };
            for (id, _) in node.peers() {
                let Some(slot) = net.slot(id) else { continue };
                let link = net.link(slot);
                let other = link.other(ix);
                if link.is_open() && cluster.is_alive(other) && !net.is_cut(ix, other) {
                    near.push((other as u32, link.delay()));
                }
            }
        }
        Self { near, nodes: cluster.alive() }
    }

    /// Returns the sizes of the components, the largest first.
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

    /// Returns the numbers of a node's neighbours.
    pub fn neighbours(&self, ix: usize) -> Vec<usize> {
        self.near[ix].iter().map(|(other, _)| *other as usize).collect()
    }

    /// Returns how many links a node has.
    pub fn degree(&self, ix: usize) -> usize {
        self.near[ix].len()
    }

    /// Returns the longest of all shortest paths, in hops, over all components. Exact up to 2 000
    /// nodes; above that it is the largest distance from a sample of the nodes.
    pub fn diameter(&self) -> usize {
        let step = if self.nodes.len() <= EXACT { 1 } else { self.nodes.len() / SAMPLES };
        let starts = self.nodes.iter().step_by(step.max(1));
        starts.map(|start| self.walk(*start, &mut vec![false; self.near.len()]).1).max().unwrap_or(0)
    }

    /// Returns for each node, by number, whether it can be reached from `start`.
    pub(crate) fn reached_from(&self, start: usize) -> Vec<bool> {
        let mut seen = vec![false; self.near.len()];
        self.walk(start, &mut seen);
        seen
    }

    /// Returns for each node, by number, whether it can be reached from `start` without a way over
    /// one that is `avoided`.
    pub(crate) fn reached_past(&self, start: usize, avoided: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut seen: Vec<_> = (0..self.near.len()).map(&avoided).collect();
        self.walk(start, &mut seen);
        seen.into_iter().enumerate().map(|(ix, seen)| seen && !avoided(ix)).collect()
    }

    /// Visits all nodes that can be reached and were not seen yet, breadth first. Returns how many
    /// they are, and how many hops away the last one is.
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

    /// Returns the delays of the fastest paths from one node to all others, in microseconds: the
    /// times that a flood would take (Dijkstra, 1959).
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

    /// Returns the redundant copies that a flood makes per node that needs one. Every node sends on
    /// over all its links but the one over which its first copy came.
    pub fn flood_redundancy(&self) -> f64 {
        let ends: usize = self.nodes.iter().map(|ix| self.near[*ix].len()).sum();
        let others = self.nodes.len().saturating_sub(1).max(1);
        (ends as f64 - others as f64) / others as f64 - 1.0
    }
}
