//! Checks streams from the inside: what nodes hold of them, believe of their neighbours, and get
//! from whom.
//!
//! To look at all streams every second would take longer than the run. The check looks at one
//! writer's stream in all nodes for some seconds, and then at the next one's. A node's belief may
//! be wrong for a moment, while a message is under way. Such a finding is a suspicion, and becomes
//! a violation once it was seen in several looks in a row.

use super::{Check, Observed, View, Violation};
use crate::invariant::Invariant;
use smokesignal_proto::StreamView;

/// Seconds for which the check looks at one writer's stream.
const TURN: u64 = 8;
/// Looks in a row, one per second, after which a suspicion counts.
const LOOKS: u32 = 6;
/// A link belongs to the streams' trees this long after its connection was opened: 15 s, because a
/// joiner's connection may become a link late.
const LINKED: u64 = 15_000_000;

/// Remembers what was not as it should be a second ago.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// The number of the present turn, which decides the writer.
    turn: u64,
    /// Suspicions, and in how many looks in a row each was seen.
    suspicions: Vec<(Suspicion, u32)>,
}

/// Something that may be so for a moment only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suspicion {
    invariant: Invariant,
    node: usize,
    neighbour: usize,
    /// Where the node is in the stream, if that matters: a node that advances is not stuck.
    position: u64,
}

/// One stream in all nodes, by node number; `None` for the dead and the hostile.
type Views = [Option<StreamView>];

impl Check for Streams {
    fn on_event(&mut self, view: &View<'_>, event: &Observed<'_>) -> Result<(), Violation> {
        match event {
            Observed::Second => self.look(view),
            Observed::AtRest { .. } => one_source(view),
            _ => Ok(()),
        }
    }
}

impl Streams {
    /// Looks at one writer's stream in all nodes.
    fn look(&mut self, view: &View<'_>) -> Result<(), Violation> {
        let writers = view.traffic.writers();
        if writers.is_empty() {
            return Ok(());
        }
        let turn = view.now / 1_000_000 / TURN;
        let writer = writers[turn as usize % writers.len()].node;
        let honest = |ix: &usize| view.cluster.is_honest(*ix);
        let views: Vec<_> =
            view.nodes().map(|ix| Some(ix).filter(honest).and_then(|ix| view.stream(ix, writer))).collect();
        not_ahead_of_writer(view, writer, &views)?;
        let mut found = false_positions(view, &views);
        found.extend(parent_cycles(view, &views));
        self.suspect(turn, found).map_or(Ok(()), |certain| report(view, writer, certain))
    }

    /// Counts in how many looks in a row each suspicion was seen. Returns one that is certain by
    /// now.
    fn suspect(&mut self, turn: u64, found: Vec<Suspicion>) -> Option<Suspicion> {
        let before = std::mem::take(&mut self.suspicions);
        let before = if self.turn == turn { before } else { Vec::new() };
        let times = |suspicion: &Suspicion| {
            before.iter().find(|(was, _)| was == suspicion).map_or(1, |(_, times)| times + 1)
        };
        self.suspicions = found.into_iter().map(|suspicion| (suspicion, times(&suspicion))).collect();
        self.turn = turn;
        self.suspicions.iter().find(|(_, times)| *times >= LOOKS).map(|(suspicion, _)| *suspicion)
    }
}

/// Makes a violation of a suspicion, with all that both nodes hold of the stream.
fn report(view: &View<'_>, writer: usize, certain: Suspicion) -> Result<(), Violation> {
    let Suspicion { invariant, node, neighbour, .. } = certain;
    let what = if invariant == Invariant::TRUE_POSITIONS {
        format!("it believes node {neighbour} to have more than that one has")
    } else {
        format!("its parents form a cycle, and node {neighbour} beside it is ahead")
    };
    let (here, there) = (view.stream(node, writer), view.stream(neighbour, writer));
    view.violated(invariant, node, format!("{what}, of writer node {writer}: {here:?}; {there:?}"))
}

/// Checks that no node has a position beyond the last segment that the writer has signed.
fn not_ahead_of_writer(view: &View<'_>, writer: usize, views: &Views) -> Result<(), Violation> {
    let Some(own) = &views[writer] else { return Ok(()) };
    let ahead = |stream: &StreamView| {
        stream.proven && stream.incarnation == own.incarnation && stream.have > own.have
    };
    let mut streams = views.iter().enumerate().filter_map(|(ix, stream)| Some((ix, stream.as_ref()?)));
    let Some((ix, stream)) = streams.find(|(_, stream)| ahead(stream)) else { return Ok(()) };
    let (have, written) = (stream.have, own.have);
    let what = format!("it has segment {have} of writer node {writer}, which has written {written}");
    view.violated(Invariant::NOT_AHEAD_OF_WRITER, ix, what)
}

/// Returns what a node holds of the stream, if its process runs.
fn awake<'a>(view: &View<'_>, views: &'a Views, ix: usize) -> Option<&'a StreamView> {
    views[ix].as_ref().filter(|_| view.net.is_awake(ix))
}

/// Finds nodes that believe a neighbour to have more than it has.
fn false_positions(view: &View<'_>, views: &Views) -> Vec<Suspicion> {
    let mut found = Vec::new();
    for node in view.nodes() {
        let Some(here) = awake(view, views, node) else { continue };
        for link in &here.links {
            let Some(neighbour) = view.net.other_end(node, link.link) else { continue };
            let Some(there) = awake(view, views, neighbour) else { continue };
            if there.incarnation == here.incarnation && link.claims > there.have {
                let invariant = Invariant::TRUE_POSITIONS;
                found.push(Suspicion { invariant, node, neighbour, position: 0 });
            }
        }
    }
    found
}

/// Finds nodes in a cycle of parents that are behind a neighbour.
///
/// Each node has one parent at most, so the parents are followed from every node that no walk has
/// visited before. A walk that comes back to one of its own nodes has found a cycle.
fn parent_cycles(view: &View<'_>, views: &Views) -> Vec<Suspicion> {
    let mut found = Vec::new();
    if view.net.has_slow_hosts() {
        return found; // A node that is behind for long may still be served there, slowly.
    }
    let parent = |ix: usize| {
        let link = views[ix].as_ref()?.parent?;
        view.net.other_end(ix, link)
    };
    let mut visited_by = vec![usize::MAX; views.len()];
    for walk in 0..views.len() {
        let mut at = walk;
        while visited_by[at] == usize::MAX {
            visited_by[at] = walk;
            let Some(next) = parent(at) else { break };
            at = next;
        }
        let closed = visited_by[at] == walk && parent(at).is_some_and(|next| visited_by[next] == walk);
        if !closed || !is_on_cycle(at, views.len(), &parent) {
            continue;
        }
        let mut node = at;
        loop {
            let position = views[node].as_ref().map_or(0, |stream| stream.have);
            let invariant = Invariant::NO_PARENT_CYCLE;
            found.extend(ahead_of(view, views, node).map(|neighbour| Suspicion {
                invariant,
                node,
                neighbour,
                position,
            }));
            node = parent(node).unwrap_or(at);
            if node == at {
                break;
            }
        }
    }
    found
}

/// Returns whether following the parents leads back to where it began.
fn is_on_cycle(begin: usize, nodes: usize, parent: &impl Fn(usize) -> Option<usize>) -> bool {
    std::iter::successors(parent(begin), |at| parent(*at)).take(nodes).any(|at| at == begin)
}

/// Returns a neighbour that is ahead of a node and could help it.
fn ahead_of(view: &View<'_>, views: &Views, node: usize) -> Option<usize> {
    let here = awake(view, views, node)?;
    let mut neighbours = here.links.iter().filter_map(|link| view.net.other_end(node, link.link));
    neighbours.find(|neighbour| {
        awake(view, views, *neighbour).is_some_and(|there| {
            // A node that retains nothing cannot help: the next segment will show what was missed.
            let retains = there.floor <= there.have;
            there.incarnation == here.incarnation && there.have > here.have && retains
        })
    })
}

/// Checks that no stream comes to a node over two links.
fn one_source(view: &View<'_>) -> Result<(), Violation> {
    for writer in view.traffic.writers() {
        let last = writer.written_at;
        for ix in view.awake() {
            let from = sources(view, ix, writer.node, last);
            if from.len() > 1 {
                let parent = |ix: &usize| {
                    let link = view.stream(*ix, writer.node)?.parent?;
                    Some((*ix, view.net.other_end(*ix, link)?))
                };
                let parents: Vec<_> = from.iter().chain([&ix]).map(parent).collect();
                let what = format!(
                    "the stream of node {} comes to it from {from:?}; parents: {parents:?}",
                    writer.node
                );
                view.violated(Invariant::ONE_SOURCE, ix, what)?;
            }
        }
    }
    Ok(())
}

/// Returns the neighbours that send a writer's stream to a node, over links that were there when
/// the writer wrote last.
fn sources(view: &View<'_>, ix: usize, writer: usize, last: u64) -> Vec<usize> {
    let sends = |slot: &&u32| {
        let (link, id) = (view.net.link(**slot), view.net.id(**slot));
        // A segment that is never sent, because the node has it by then, causes no prune either.
        let sent = view.stream(link.other(ix), writer).is_some_and(|stream| {
            stream.links.iter().any(|link| link.link == id && link.push && link.sent == stream.have)
        });
        sent && link.is_open() && link.opened_at() + LINKED < last
    };
    let connections = view.net.connections(ix).iter().filter(sends);
    connections.map(|slot| view.net.link(*slot).other(ix)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::setup::Setup;
    use crate::workload::Workload;
    use crate::world::World;

    /// A world of three nodes that have all written and read, the number of a writing node, and
    /// what each node holds of its stream.
    fn written() -> (World, usize, Vec<Option<StreamView>>) {
        let mut world = World::new(Setup::new(1));
        world.join(3, 1000.0);
        world.run(Duration::from_millis(10));
        let lasts = Duration::from_secs(3);
        world.write(Workload { writers: 3, per_second: 1.0, size: 24, lasts });
        world.run(2 * lasts);
        let view = world.view();
        let writer = view.writer(0).node;
        let views = view.nodes().map(|ix| view.stream(ix, writer)).collect();
        (world, writer, views)
    }

    #[test]
    fn a_node_that_is_ahead_of_the_writer_is_seen() {
        let (world, writer, mut views) = written();
        assert_eq!(not_ahead_of_writer(&world.view(), writer, &views), Ok(()));
        views[(writer + 1) % 3].as_mut().unwrap().have += 1;
        let violation = not_ahead_of_writer(&world.view(), writer, &views).unwrap_err();
        assert_eq!(violation.invariant, Invariant::NOT_AHEAD_OF_WRITER);
    }

    #[test]
    fn a_node_that_is_behind_in_a_cycle_of_parents_is_found() {
        let (world, _, mut views) = written();
        let view = world.view();
        let link_to = |ix: usize, other: usize| {
            let leads_there = |slot: &&u32| view.net.link(**slot).other(ix) == other;
            let slot = view.net.connections(ix).iter().find(leads_there);
            slot.map(|slot| view.net.id(*slot))
        };
        for (ix, stream) in views.iter_mut().enumerate() {
            stream.as_mut().unwrap().parent = link_to(ix, (ix + 1) % 3);
        }
        assert_eq!(parent_cycles(&view, &views), [], "nobody is behind");
        views[1].as_mut().unwrap().have -= 1;
        let found = parent_cycles(&view, &views);
        assert!(found.iter().all(|found| found.node == 1) && found.len() == 1, "{found:?}");
        views[2].as_mut().unwrap().parent = None;
        assert_eq!(parent_cycles(&view, &views), [], "there is no cycle");
    }

    #[test]
    fn a_suspicion_counts_once_it_was_seen_in_six_looks_in_a_row() {
        let suspicion =
            Suspicion { invariant: Invariant::TRUE_POSITIONS, node: 0, neighbour: 1, position: 0 };
        let certain = |looks: u32| {
            let mut streams = Streams::default();
            (0..looks).filter_map(|_| streams.suspect(1, vec![suspicion])).next()
        };
        assert_eq!((certain(LOOKS - 1), certain(LOOKS)), (None, Some(suspicion)));
        let mut streams = Streams::default();
        (1..LOOKS).for_each(|_| assert_eq!(streams.suspect(1, vec![suspicion]), None));
        assert_eq!(streams.suspect(2, vec![suspicion]), None, "another stream");
    }

    #[test]
    fn a_walk_that_only_ends_in_a_cycle_is_not_on_it() {
        // 0 leads to 1, 1 and 2 lead to each other, 3 has no parent.
        let parents = [Some(1), Some(2), Some(1), None];
        let on_cycle = |ix: usize| is_on_cycle(ix, parents.len(), &|ix: usize| parents[ix]);
        assert_eq!([0, 1, 2, 3].map(on_cycle), [false, true, true, false]);
    }
}
