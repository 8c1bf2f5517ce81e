//! All nodes of the demo, and the phases they go through.
//!
//! Each phase is a method that causes something, waits until every node shows the effect, checks
//! the ledgers, and returns one line about what has passed. It waits by watching a counter that
//! every event of every node increments, and looks again at all nodes whenever the counter changes.
//! So a phase takes as long as the network needs, and not a fixed time; [`super`] limits it.
//!
//! To kill a node is to drop it: its sockets close without a goodbye, as after `kill -9`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use smokesignal::NodeId;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::member::Member;
use super::report::{LiveView, Passed};

/// The library's default of `min_peers`.
const MIN_PEERS: usize = 3;

/// All nodes of the demo.
pub(super) struct Swarm {
    /// Number of nodes at the beginning.
    size: usize,
    /// The nodes that run. The first of them is the seed until it is killed.
    members: Vec<Member>,
    /// Counts the events of all nodes.
    changes: watch::Sender<u64>,
    /// While the nodes write in the background: the switch that ends it, and the writing tasks.
    writing: Option<(watch::Sender<bool>, Writers)>,
    /// The nodes that were killed. Gaps in what they wrote are allowed.
    killed: HashSet<NodeId>,
}

/// The writing tasks. Each returns its node and the number of that node's last message.
type Writers = JoinSet<(NodeId, Result<u64, String>)>;

/// The result of a phase: what has passed, or why it failed.
type Phase = Result<Passed, String>;

impl Swarm {
    /// Creates a swarm of this size. No node is started yet.
    pub(super) fn new(size: usize) -> Self {
        let (changes, _) = watch::channel(0);
        Self { size, members: Vec::new(), changes, writing: None, killed: HashSet::new() }
    }

    /// Returns the number of nodes at the beginning.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// All nodes join through the first one.
    pub(super) async fn gather(&mut self, view: &LiveView) -> Phase {
        view.set_steps(self.size);
        let seed = Member::start(None, self.changes.clone()).await?;
        let address = seed.address()?;
        self.members.push(seed);
        while self.members.len() < self.size {
            self.members.push(Member::start(Some(address), self.changes.clone()).await?);
        }
        let target = self.wait_until_whole(view).await?;
        Ok(Passed::new(
            format!("all nodes are in one network, each with {target} peers or more"),
            format!("{} nodes", self.size),
        ))
    }

    /// All nodes write concurrently, and each receives everything.
    pub(super) async fn broadcast(&mut self, each: u64, view: &LiveView) -> Phase {
        let mut writers = JoinSet::new();
        for member in &self.members {
            let (id, sender, written) = (member.id(), member.sender(), member.written);
            writers.spawn(async move { (id, Member::write(sender, written, each).await) });
        }
        let deliveries = each as usize * self.size * (self.size - 1);
        self.wait_until_all_read(&mut writers, view).await?;
        Ok(Passed::new(
            "every node received everything once, in order, without a gap".to_owned(),
            format!("{} written, {deliveries} delivered", each as usize * self.size),
        ))
    }

    /// All nodes write in the background. Once each has read from all others, a third of the nodes
    /// is killed, including the seed.
    pub(super) async fn kill_mid_stream(&mut self, every: Duration, view: &LiveView) -> Phase {
        let (end, ended) = watch::channel(false);
        let mut writers = JoinSet::new();
        let mut running = HashMap::new();
        for member in &self.members {
            let (id, sender, written, ended) = (member.id(), member.sender(), member.written, ended.clone());
            // One new message of each is enough to know that it is writing.
            running.insert(id, written + 1);
            writers.spawn(async move { (id, Member::write_until(sender, written, every, ended).await) });
        }
        self.writing = Some((end, writers));
        view.set_steps(self.size);
        for (count, member) in self.members.iter().enumerate() {
            member.wait_until_read(&running).await?;
            view.set_done(count + 1);
        }
        // The first third, so that the seed is among them.
        let victims: Vec<Member> = self.members.drain(..self.size / 3).collect();
        self.killed = victims.iter().map(Member::id).collect();
        drop(victims);
        Ok(Passed::new(
            "nodes were killed while all were writing, including the seed".to_owned(),
            format!("{} of {} nodes", self.killed.len(), self.size),
        ))
    }

    /// The survivors go on writing, and replace the links that they have lost.
    pub(super) async fn refill(&mut self, view: &LiveView) -> Phase {
        view.set_steps(self.members.len());
        let target = self.wait_until_whole(view).await?;
        Ok(Passed::new(
            format!("one network again, each node with {target} living peers or more"),
            format!("{} nodes", self.members.len()),
        ))
    }

    /// The survivors stop writing, and each receives every message of every other survivor.
    pub(super) async fn complete(&mut self, view: &LiveView) -> Phase {
        let Some((end, mut writers)) = self.writing.take() else {
            return Err("nobody was writing".to_owned());
        };
        end.send_replace(true);
        let expected = self.wait_until_all_read(&mut writers, view).await?;
        let written: u64 = expected.values().sum();
        // A message may have reached nobody, or only nodes that were killed, when its writer died.
        // Those are counted and shown. They do not break the promise, because the writer is gone.
        let dead: HashMap<NodeId, u64> = self.killed.iter().map(|id| (*id, 0)).collect();
        let cut: u64 = self.members.iter().map(|member| member.ledger().gaps_of(&dead)).sum();
        let cut = if cut == 0 { String::new() } else { format!(", gaps of {cut} messages of killed nodes") };
        Ok(Passed::new(
            "every survivor received everything of the others once, in order, without a gap".to_owned(),
            format!("{written} written{cut}"),
        ))
    }

    /// Half of the nodes leave. The others notice, and replace the links. Then they leave, too.
    pub(super) async fn leave(&mut self, view: &LiveView) -> Phase {
        let count = self.members.len();
        view.set_steps(count);
        let leaving: Vec<Member> = self.members.drain(..count / 2).collect();
        let ids: HashSet<NodeId> = leaving.iter().map(Member::id).collect();
        stop(leaving).await?;
        // The goodbye takes its time to arrive.
        let mut changes = self.changes.subscribe();
        let none_listed =
            |_: &u64| self.members.iter().all(|m| m.peers().iter().all(|peer| !ids.contains(peer)));
        changes.wait_for(none_listed).await.map_err(|_| "the nodes stopped unexpectedly".to_owned())?;
        drop(changes);
        self.wait_until_whole(view).await?;
        stop(self.members.drain(..).collect()).await?;
        Ok(Passed::new(
            "all nodes left, and no node listed one that had left".to_owned(),
            format!("{count} nodes"),
        ))
    }

    /// Stops all nodes that still run, after success, failure or Ctrl-C.
    pub(super) async fn stop_all(&mut self) {
        self.writing = None;
        if let Err(error) = stop(self.members.drain(..).collect()).await {
            notice!("{error}");
        }
    }

    /// Describes the present state, for the error of a phase that takes too long.
    pub(super) fn state(&self) -> String {
        let peers: Vec<usize> = self.members.iter().map(|member| member.peers().len()).collect();
        let read: Vec<u64> = self.members.iter().map(|member| member.ledger().total).collect();
        format!(
            "{} nodes run with {} to {} peers each, {} of them connected to the first one, and each has read {} to \
             {} messages",
            self.members.len(),
            peers.iter().min().unwrap_or(&0),
            peers.iter().max().unwrap_or(&0),
            self.reached(),
            read.iter().min().unwrap_or(&0),
            read.iter().max().unwrap_or(&0),
        )
    }

    /// Waits until the nodes form a single network and each has enough peers, all of them living.
    /// Returns how many peers are enough.
    async fn wait_until_whole(&self, view: &LiveView) -> Result<usize, String> {
        let target = MIN_PEERS.min(self.members.len().saturating_sub(1));
        let living: HashSet<NodeId> = self.members.iter().map(Member::id).collect();
        // Dead peers do not count: a node lists them until its ping timeout.
        let enough = |member: &&Member| {
            let peers = member.peers();
            peers.len() >= target && peers.iter().all(|peer| living.contains(peer))
        };
        let mut changes = self.changes.subscribe();
        changes
            .wait_for(|_| {
                let filled = self.members.iter().filter(enough).count();
                view.set_done(filled);
                filled == self.members.len() && self.reached() == filled
            })
            .await
            .map_err(|_| "the nodes stopped unexpectedly".to_owned())?;
        Ok(target)
    }

    /// Returns how many nodes the first one can reach over links, itself included.
    fn reached(&self) -> usize {
        let links: HashMap<NodeId, Vec<NodeId>> = self.members.iter().map(|m| (m.id(), m.peers())).collect();
        // Breadth-first search from the first node.
        let mut seen = HashSet::new();
        let mut queue: VecDeque<NodeId> = self.members.first().map(Member::id).into_iter().collect();
        while let Some(id) = queue.pop_front() {
            if let Some(peers) = links.get(&id)
                && seen.insert(id)
            {
                queue.extend(peers);
            }
        }
        seen.len()
    }

    /// Waits until the writers have ended and every node has read all of their messages, and checks
    /// every ledger. Returns the number of the last message of each writer.
    async fn wait_until_all_read(
        &mut self,
        writers: &mut Writers,
        view: &LiveView,
    ) -> Result<HashMap<NodeId, u64>, String> {
        let mut expected = HashMap::new();
        while let Some(done) = writers.join_next().await {
            let (id, written) = done.map_err(|error| format!("a writer failed: {error}"))?;
            // The writers of killed nodes fail, and are ignored.
            if let Some(member) = self.members.iter_mut().find(|member| member.id() == id) {
                member.written = written?;
                expected.insert(id, member.written);
            }
        }
        view.set_steps(self.members.len());
        for (count, member) in self.members.iter().enumerate() {
            view.set_done(count);
            member
                .wait_until_read(&expected)
                .await
                .map_err(|error| format!("{error}; {} messages are missing", member.missing(&expected)))?;
        }
        view.set_done(self.members.len());
        self.check_ledgers(&expected)?;
        Ok(expected)
    }

    /// Checks that no ledger has a fault, or a gap of one of these writers.
    fn check_ledgers(&self, writers: &HashMap<NodeId, u64>) -> Result<(), String> {
        for member in &self.members {
            let (id, ledger) = (member.id().short(), member.ledger());
            if let Some(fault) = ledger.faults.first() {
                return Err(format!("node {id} {fault}"));
            }
            let gaps = ledger.gaps_of(writers);
            if gaps > 0 {
                return Err(format!("node {id} misses {gaps} messages of living writers"));
            }
        }
        Ok(())
    }
}

/// Stops these nodes concurrently.
async fn stop(members: Vec<Member>) -> Result<(), String> {
    let mut stopping = JoinSet::new();
    for member in members {
        stopping.spawn(async move { member.stop().await });
    }
    while let Some(stopped) = stopping.join_next().await {
        stopped.map_err(|error| format!("a node failed while stopping: {error}"))?;
    }
    Ok(())
}
