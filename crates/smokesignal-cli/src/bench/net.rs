//! A network of real nodes in this process, connected by TCP and TLS over loopback.
//!
//! Nodes are started while fewer than `joining` of them lack peers; each one that has enough makes
//! room for the next. So a large network grows as fast as the machine can do the handshakes, and
//! not so fast that they time out.

use std::time::Duration;

use smokesignal::{Event, Events, Node, NodeBuilder};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::bar::Bar;
use super::process;
use crate::outcome::Failure;

/// All nodes have to join within this time, and [`JOIN_PER_NODE`] for each. A guess, generous
/// because it only has to end a run that would never end.
const JOIN: Duration = Duration::from_secs(60);
/// Each node adds this to the time in which all have to join.
const JOIN_PER_NODE: Duration = Duration::from_millis(200);

/// The nodes have settled when no task has started or ended for this long. A guess.
const SETTLED: Duration = Duration::from_secs(5);
/// The longest wait for the nodes to settle; after that the run goes on. A guess.
const SETTLE: Duration = Duration::from_secs(60);
/// Interval between two looks at the number of tasks.
const POLL: Duration = Duration::from_millis(100);

/// The options of all nodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeKind {
    /// The number of peers below which a node looks for more. A node with this many has joined.
    pub(super) min_peers: usize,
    /// The most peers of a node.
    pub(super) max_peers: usize,
    /// Whether messages are sent without signatures.
    pub(super) unsigned_messages: bool,
    /// The most nodes that join at the same time.
    pub(super) joining: usize,
}

impl NodeKind {
    /// Returns a builder with these options.
    fn builder(self) -> NodeBuilder {
        Node::builder()
            .min_peers(self.min_peers)
            .max_peers(self.max_peers)
            .unsigned_messages(self.unsigned_messages)
    }

    /// Checks whether the library accepts these options, before anything runs.
    pub(super) fn check(self) -> Result<(), Failure> {
        self.builder().build().map(drop).map_err(Failure::from)
    }

    /// Returns the mode that results are labelled with.
    pub(super) fn mode(self) -> &'static str {
        if self.unsigned_messages { "unsigned" } else { "signed" }
    }
}

/// A network. Clones share the same nodes, which end abruptly when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct Net {
    pub(super) nodes: Vec<Node>,
}

impl Net {
    /// Starts all nodes, with the first one as the seed of the others, and waits until each has
    /// `min_peers` peers. Calls `progress` with the number of nodes that have them.
    pub(super) async fn join(count: usize, kind: NodeKind, progress: impl Fn(usize)) -> Result<Self, String> {
        let (changed, mut changes) = watch::channel(());
        let (mut watchers, mut nodes, mut waiting) = (JoinSet::new(), Vec::new(), Vec::new());
        let limit = JOIN + JOIN_PER_NODE * u32::try_from(count).unwrap_or(u32::MAX);
        let deadline = Instant::now() + limit;
        // The first nodes cannot have more peers than there are other nodes.
        let lacks_peers = |node: &Node, of: usize| node.peers().len() < kind.min_peers.min(of - 1);
        while nodes.len() < count || !waiting.is_empty() {
            if nodes.len() < count && waiting.len() < kind.joining {
                let node = start(kind, nodes.first(), &mut watchers, &changed).await?;
                waiting.push(node.clone());
                nodes.push(node);
            } else if timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(format!(
                    "after {} s only {} of {count} nodes have started, of which {} have too few peers; if the machine \
                     is busy, use fewer nodes or a smaller --joining",
                    limit.as_secs(),
                    nodes.len(),
                    waiting.len()
                ));
            }
            waiting.retain(|node| lacks_peers(node, nodes.len()));
            if waiting.is_empty() && nodes.len() == count {
                // Some may have lost peers in the meantime.
                waiting.extend(nodes.iter().filter(|node| lacks_peers(node, count)).cloned());
            }
            progress(nodes.len() - waiting.len());
        }
        Ok(Self { nodes })
    }

    /// Waits until only links are left: the connections through which nodes joined are closed a
    /// while later. Returns how many seconds that took.
    ///
    /// No event reports the end of such a connection, but each connection has a task, so the number
    /// of tasks shows it.
    pub(super) async fn settle(&self, bar: &Bar) -> f64 {
        bar.phase("settling");
        let begun = Instant::now();
        let mut last = (process::tasks(), begun);
        while begun.elapsed() < SETTLE && last.1.elapsed() < SETTLED {
            sleep(POLL).await;
            let tasks = process::tasks();
            if tasks != last.0 {
                last = (tasks, Instant::now());
            }
        }
        begun.elapsed().as_secs_f64()
    }

    /// Returns the number of links between the nodes. Both ends of a link list it.
    pub(super) fn links(&self) -> usize {
        self.nodes.iter().map(|node| node.peers().len()).sum::<usize>() / 2
    }

    /// Stops all nodes.
    pub(super) async fn stop(self) {
        let mut stopping = JoinSet::new();
        for node in self.nodes {
            stopping.spawn(async move { node.stop().await });
        }
        stopping.join_all().await;
    }
}

/// Starts a node, and a task that notifies about changes of its peers.
async fn start(
    kind: NodeKind,
    seed: Option<&Node>,
    watchers: &mut JoinSet<()>,
    changed: &watch::Sender<()>,
) -> Result<Node, String> {
    let mut builder = kind.builder();
    if let Some(seed) = seed.and_then(Node::local_addr) {
        builder = builder.seed(seed.to_string());
    }
    let node = builder.build().map_err(|error| error.to_string())?;
    watchers.spawn(watch_peers(node.events(), changed.clone()));
    node.start().await.map_err(|error| error.to_string())?;
    Ok(node)
}

/// Notifies whenever the peers of a node may have changed. Missed events may have been about peers.
async fn watch_peers(mut events: Events, changed: watch::Sender<()>) {
    while let Some(event) = events.recv().await {
        if matches!(event, Event::PeerAdded(_) | Event::PeerRemoved(_) | Event::Missed(_)) {
            changed.send_replace(());
        }
    }
}
