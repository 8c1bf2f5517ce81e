//! All nodes of the demo and what is done with them. Each phase waits for what it wants to see, and says in one
//! line what held.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use smokesignal::NodeId;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::member::Member;
use super::show::{Held, Show};

/// The default of the library: below this many peers a node looks for more.
const MIN_PEERS: usize = 3;

pub(super) struct Swarm {
    size: usize,
    members: Vec<Member>,
    /// Counts the peers that came or went, anywhere.
    changes: watch::Sender<u64>,
    /// While the nodes write on: how to end it, and the numbers of their last messages.
    writing: Option<(watch::Sender<bool>, Writers)>,
    killed: HashSet<NodeId>,
}

/// Each ends with its node and the number of its last message.
type Writers = JoinSet<(NodeId, Result<u64, String>)>;

type Phase = Result<Held, String>;

impl Swarm {
    pub(super) fn new(size: usize) -> Self {
        let (changes, _) = watch::channel(0);
        Self { size, members: Vec::new(), changes, writing: None, killed: HashSet::new() }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// All join through the first one.
    pub(super) async fn gather(&mut self, show: &Show) -> Phase {
        show.of(self.size);
        let seed = Member::start(None, self.changes.clone()).await?;
        let address = seed.address()?;
        self.members.push(seed);
        while self.members.len() < self.size {
            self.members.push(Member::start(Some(address), self.changes.clone()).await?);
        }
        let target = self.until_whole(show).await?;
        Ok(Held::new(
            format!("all in one network, each with {target} peers or more"),
            format!("{} nodes", self.size),
        ))
    }

    /// Everyone writes at once; everyone gets all of it.
    pub(super) async fn broadcast(&mut self, each: u64, show: &Show) -> Phase {
        let mut writers = JoinSet::new();
        for member in &self.members {
            let (id, sender, written) = (member.id(), member.sender(), member.written);
            writers.spawn(async move { (id, Member::write(sender, written, each).await) });
        }
        let arrivals = each as usize * self.size * (self.size - 1);
        self.until_all_heard(&mut writers, show).await?;
        Ok(Held::new(
            "everyone got everything: once, in order, no gap".to_owned(),
            format!("{} written, {arrivals} arrived", each as usize * self.size),
        ))
    }

    /// Everyone writes on; when the stream runs everywhere, a third of the nodes die, the seed first.
    pub(super) async fn kill_mid_stream(&mut self, pace: Duration, show: &Show) -> Phase {
        let (end, ended) = watch::channel(false);
        let mut writers = JoinSet::new();
        let mut running = HashMap::new();
        for member in &self.members {
            let (id, sender, written, ended) = (member.id(), member.sender(), member.written, ended.clone());
            running.insert(id, written + 1);
            writers.spawn(async move { (id, Member::write_until(sender, written, pace, ended).await) });
        }
        self.writing = Some((end, writers));
        show.of(self.size);
        for (count, member) in self.members.iter().enumerate() {
            member.has_heard(&running).await?;
            show.at(count + 1);
        }
        let victims: Vec<Member> = self.members.drain(..self.size / 3).collect();
        self.killed = victims.iter().map(Member::id).collect();
        drop(victims);
        Ok(Held::new(
            "died without a word while all were writing, the seed too".to_owned(),
            format!("{} of {} nodes", self.killed.len(), self.size),
        ))
    }

    /// The survivors, who write on, close the holes.
    pub(super) async fn refill(&mut self, show: &Show) -> Phase {
        show.of(self.members.len());
        let target = self.until_whole(show).await?;
        Ok(Held::new(
            format!("one network again, each with {target} living peers or more"),
            format!("{} nodes", self.members.len()),
        ))
    }

    /// The survivors stop writing; every one has every message of every other.
    pub(super) async fn complete(&mut self, show: &Show) -> Phase {
        let Some((end, mut writers)) = self.writing.take() else {
            return Err("nobody was writing".to_owned());
        };
        end.send_replace(true);
        let expected = self.until_all_heard(&mut writers, show).await?;
        let written: u64 = expected.values().sum();
        let dead: HashMap<NodeId, u64> = self.killed.iter().map(|id| (*id, 0)).collect();
        let cut: u64 = self.members.iter().map(|member| member.book().gaps_of(&dead)).sum();
        let cut = if cut == 0 { String::new() } else { format!(", {cut} of the dead reported missing") };
        Ok(Held::new(
            "every survivor got everything of every survivor: once, in order, no gap".to_owned(),
            format!("{written} written{cut}"),
        ))
    }

    /// Half of them say goodbye; the others notice and close ranks. Then the rest goes.
    pub(super) async fn leave(&mut self, show: &Show) -> Phase {
        let count = self.members.len();
        show.of(count);
        let leaving: Vec<Member> = self.members.drain(..count / 2).collect();
        let ids: HashSet<NodeId> = leaving.iter().map(Member::id).collect();
        stop(leaving).await?;
        let mut changes = self.changes.subscribe();
        let none_listed =
            |_: &u64| self.members.iter().all(|m| m.peers().iter().all(|peer| !ids.contains(peer)));
        changes.wait_for(none_listed).await.map_err(|_| "the nodes stopped by themselves".to_owned())?;
        drop(changes);
        self.until_whole(show).await?;
        stop(self.members.drain(..).collect()).await?;
        Ok(Held::new("left properly; nobody lists one that has gone".to_owned(), format!("{count} nodes")))
    }

    /// After success, failure or Ctrl-C.
    pub(super) async fn stop_all(&mut self) {
        self.writing = None;
        if let Err(error) = stop(self.members.drain(..).collect()).await {
            notice!("{error}");
        }
    }

    /// For the error when a phase takes too long.
    pub(super) fn state(&self) -> String {
        let peers: Vec<usize> = self.members.iter().map(|member| member.peers().len()).collect();
        let heard: Vec<u64> = self.members.iter().map(|member| member.book().total).collect();
        format!(
            "{} nodes live with {}..{} peers each, {} of them in one piece, {}..{} messages heard",
            self.members.len(),
            peers.iter().min().unwrap_or(&0),
            peers.iter().max().unwrap_or(&0),
            self.reached(),
            heard.iter().min().unwrap_or(&0),
            heard.iter().max().unwrap_or(&0),
        )
    }

    /// Waits until every node has enough living peers and all are one network. Says what is enough.
    async fn until_whole(&self, show: &Show) -> Result<usize, String> {
        let target = MIN_PEERS.min(self.members.len().saturating_sub(1));
        let living: HashSet<NodeId> = self.members.iter().map(Member::id).collect();
        let enough = |member: &&Member| {
            let peers = member.peers();
            peers.len() >= target && peers.iter().all(|peer| living.contains(peer))
        };
        let mut changes = self.changes.subscribe();
        changes
            .wait_for(|_| {
                let filled = self.members.iter().filter(enough).count();
                show.at(filled);
                filled == self.members.len() && self.reached() == filled
            })
            .await
            .map_err(|_| "the nodes stopped by themselves".to_owned())?;
        Ok(target)
    }

    /// How many nodes the first one can reach, itself included.
    fn reached(&self) -> usize {
        let links: HashMap<NodeId, Vec<NodeId>> = self.members.iter().map(|m| (m.id(), m.peers())).collect();
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

    /// Waits for the writers to end, then until everyone has all of it; looks at every book.
    async fn until_all_heard(
        &mut self,
        writers: &mut Writers,
        show: &Show,
    ) -> Result<HashMap<NodeId, u64>, String> {
        let mut expected = HashMap::new();
        while let Some(done) = writers.join_next().await {
            let (id, written) = done.map_err(|error| format!("a writer failed: {error}"))?;
            // Those of killed nodes fail, of course.
            if let Some(member) = self.members.iter_mut().find(|member| member.id() == id) {
                member.written = written?;
                expected.insert(id, member.written);
            }
        }
        show.of(self.members.len());
        for (count, member) in self.members.iter().enumerate() {
            let heard = member.has_heard(&expected);
            tokio::pin!(heard);
            // The picture moves on while this one waits for its last messages.
            show.at(count);
            heard
                .await
                .map_err(|error| format!("{error}; {} messages are missing", member.missing(&expected)))?;
        }
        show.at(self.members.len());
        self.check_books(&expected)?;
        Ok(expected)
    }

    fn check_books(&self, writers: &HashMap<NodeId, u64>) -> Result<(), String> {
        for member in &self.members {
            let (me, book) = (member.id().short(), member.book());
            if let Some(fault) = book.faults.first() {
                return Err(format!("at node {me}: {fault}"));
            }
            let gaps = book.gaps_of(writers);
            if gaps > 0 {
                return Err(format!("node {me} misses {gaps} messages of living writers"));
            }
        }
        Ok(())
    }
}

async fn stop(members: Vec<Member>) -> Result<(), String> {
    let mut stopping = JoinSet::new();
    for member in members {
        stopping.spawn(async move { member.stop().await });
    }
    while let Some(stopped) = stopping.join_next().await {
        stopped.map_err(|error| format!("a node failed while it stopped: {error}"))?;
    }
    Ok(())
}
