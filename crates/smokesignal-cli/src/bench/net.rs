//! Real nodes of the library in this process, one network over loopback TCP and TLS.

use std::time::Duration;

use smokesignal::{Event, Events, Node, NodeBuilder};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::process;
use super::show::Bar;
use crate::outcome::Failure;

/// All nodes have to be joined within this time: a floor, and more for each node. Generous: it only has to end what
/// would never end.
const JOIN: Duration = Duration::from_secs(60);
const JOIN_PER_NODE: Duration = Duration::from_millis(200);

/// Nodes have settled when no task has come or gone for so long; at some time one goes on without.
const SETTLED: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(60);
/// How often is looked whether they have.
const LOOK: Duration = Duration::from_millis(100);

/// What the nodes are like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) min_peers: usize,
    pub(super) max_peers: usize,
    pub(super) unsigned_messages: bool,
    /// So many of them join at the same time at most.
    pub(super) joining: usize,
}

impl Kind {
    fn builder(self) -> NodeBuilder {
        Node::builder()
            .min_peers(self.min_peers)
            .max_peers(self.max_peers)
            .unsigned_messages(self.unsigned_messages)
    }

    /// Whether there can be such a node: known before anything runs.
    pub(super) fn check(self) -> Result<(), Failure> {
        self.builder().build().map(drop).map_err(Failure::from)
    }

    /// For people and programs.
    pub(super) fn mode(self) -> &'static str {
        if self.unsigned_messages { "unsigned" } else { "signed" }
    }
}

/// A network. Clones are the same one; when the last one is dropped, its nodes end at once.
#[derive(Debug, Clone)]
pub(super) struct Net {
    pub(super) nodes: Vec<Node>,
}

impl Net {
    /// Starts all nodes, each with the first one as its seed, and waits until each has enough peers, no longer. How many
    /// have them so far is told on the way.
    pub(super) async fn join(count: usize, kind: Kind, tell: impl Fn(usize)) -> Result<Self, String> {
        let (changed, mut changes) = watch::channel(());
        let (mut watchers, mut nodes, mut waiting) = (JoinSet::new(), Vec::new(), Vec::new());
        let patience = JOIN + JOIN_PER_NODE * u32::try_from(count).unwrap_or(u32::MAX);
        let deadline = Instant::now() + patience;
        let lacks_peers = |node: &Node, of: usize| node.peers().len() < kind.min_peers.min(of - 1);
        while nodes.len() < count || !waiting.is_empty() {
            if nodes.len() < count && waiting.len() < kind.joining {
                let node = start(kind, nodes.first(), &mut watchers, &changed).await?;
                waiting.push(node.clone());
                nodes.push(node);
            } else if timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(format!(
                    "after {} s {} of {count} nodes are started, and {} of these lack peers; is the machine busy? Take \
                     fewer nodes, or a smaller --joining",
                    patience.as_secs(),
                    nodes.len(),
                    waiting.len()
                ));
            }
            waiting.retain(|node| lacks_peers(node, nodes.len()));
            if waiting.is_empty() && nodes.len() == count {
                // Some may have lost peers since.
                waiting.extend(nodes.iter().filter(|node| lacks_peers(node, count)).cloned());
            }
            tell(nodes.len() - waiting.len());
        }
        Ok(Self { nodes })
    }

    /// Waits until nothing but the links is left: the connections that the nodes joined through are kept for a while.
    /// How long that took, in seconds.
    pub(super) async fn settle(&self, bar: &Bar) -> f64 {
        bar.phase("the nodes settle");
        let begun = Instant::now();
        let mut last = (process::tasks(), begun);
        while begun.elapsed() < SETTLE && last.1.elapsed() < SETTLED {
            sleep(LOOK).await;
            let tasks = process::tasks();
            if tasks != last.0 {
                last = (tasks, Instant::now());
            }
        }
        begun.elapsed().as_secs_f64()
    }

    /// Links between the nodes; both ends are here.
    pub(super) fn links(&self) -> usize {
        self.nodes.iter().map(|node| node.peers().len()).sum::<usize>() / 2
    }

    /// All leave properly.
    pub(super) async fn stop(self) {
        let mut stopping = JoinSet::new();
        for node in self.nodes {
            stopping.spawn(async move { node.stop().await });
        }
        stopping.join_all().await;
    }
}

async fn start(
    kind: Kind,
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

/// Tells whenever a node's peers may have changed.
async fn watch_peers(mut events: Events, changed: watch::Sender<()>) {
    while let Some(event) = events.recv().await {
        if matches!(event, Event::PeerAdded(_) | Event::PeerRemoved(_) | Event::Missed(_)) {
            changed.send_replace(());
        }
    }
}
