//! `demo`: a network in this process shows what it does: gather, broadcast, lose some, heal.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use smokesignal::{Broadcast, Incoming, Node, NodeId};
use tokio::sync::Notify;

use crate::options::{self, Failure};
use crate::tools;

/// A phase that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(60);
/// Messages of each writer in each round.
const ROUND: u64 = 50;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many nodes.
    #[arg(default_value_t = 12, value_parser = clap::value_parser!(u16).range(3..=200))]
    nodes: u16,
    /// Plain lines instead of a progress bar.
    #[arg(long)]
    headless: bool,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    allow_open_files();
    let mut demo = Demo::new(usize::from(args.nodes), args.headless);
    let outcome = tokio::select! {
        outcome = demo.play() => outcome,
        () = options::interrupted() => Err(Failure::Interrupted),
    };
    demo.picture.finish_and_clear();
    demo.summary(outcome.is_ok())?;
    outcome
}

/// Many nodes in one process need more open files than a shell allows by default.
fn allow_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// The phases so far, and the network.
struct Demo {
    count: usize,
    nodes: Vec<Member>,
    board: Arc<Board>,
    picture: ProgressBar,
    headless: bool,
    phases: Vec<(&'static str, String, Duration)>,
}

struct Member {
    node: Node,
    reader: tokio::task::JoinHandle<()>,
}

/// What every node has read, and anything that should not have been.
#[derive(Default)]
struct Board {
    state: Mutex<Read>,
    changed: Notify,
}

#[derive(Default)]
struct Read {
    /// How far each reader is with each writer, who numbers its messages from 1.
    upto: BTreeMap<(NodeId, NodeId), u64>,
    wrong: Vec<String>,
}

impl Demo {
    fn new(count: usize, headless: bool) -> Self {
        let headless = headless || !std::io::stderr().is_terminal();
        let picture = if headless { ProgressBar::hidden() } else { ProgressBar::new(1) };
        let style = ProgressStyle::with_template("{spinner} {msg:50} [{bar:30}] {pos}/{len}");
        picture.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { count, nodes: Vec::new(), board: Arc::default(), picture, headless, phases: Vec::new() }
    }

    async fn play(&mut self) -> Result<(), Failure> {
        self.gather().await?;
        self.everyone_writes().await?;
        self.some_die().await?;
        self.everyone_writes_again().await?;
        self.leave().await
    }

    async fn gather(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut seed = None;
        for _ in 0..self.count {
            let mut builder = Node::builder();
            if let Some(seed) = seed {
                builder = builder.seed(format!("{seed}"));
            }
            let node = builder.build().map_err(Failure::failed)?;
            let broadcast = node.broadcast();
            node.start().await.map_err(Failure::failed)?;
            seed = seed.or(node.local_addr());
            let reader = tokio::spawn(Arc::clone(&self.board).read(node.id(), broadcast));
            self.nodes.push(Member { node, reader });
        }
        let (count, links) = (self.count, self.wait_for_peers("gathering").await?);
        let text =
            format!("{count} nodes with one seed have {links} links, {} or more each", self.min_peers());
        self.done("gather", text, begun);
        Ok(())
    }

    async fn everyone_writes(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        let writing = (0..self.nodes.len()).map(|ix| self.write(ix, 1, ROUND)).collect::<Vec<_>>();
        for writer in writing {
            writer.await.map_err(Failure::failed)?.map_err(Failure::failed)?;
        }
        let read = self.wait_until_read("everyone writes to everyone", ROUND).await?;
        self.done("broadcast", format!("{read} messages read, all in order, each once"), begun);
        Ok(())
    }

    /// A third of the nodes, the seed first, end without a goodbye in the middle of a stream.
    async fn some_die(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        let dying = (self.count / 3).max(1);
        let writing = (dying..self.count).map(|ix| self.write(ix, ROUND + 1, 2 * ROUND)).collect::<Vec<_>>();
        for member in self.nodes.drain(..dying) {
            member.reader.abort();
            drop(member);
        }
        for writer in writing {
            writer.await.map_err(Failure::failed)?.map_err(Failure::failed)?;
        }
        let read = self.wait_until_read("some are killed in mid-stream", 2 * ROUND).await?;
        let text = format!("{dying} killed, the seed too; {read} messages read by the rest, none missing");
        self.done("kill", text, begun);
        let begun = Instant::now();
        let links = self.wait_for_peers("the network refills").await?;
        self.done(
            "heal",
            format!("{} nodes have {links} links, {} or more each", self.nodes.len(), self.min_peers()),
            begun,
        );
        Ok(())
    }

    async fn everyone_writes_again(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        for ix in 0..self.nodes.len() {
            self.write(ix, 2 * ROUND + 1, 3 * ROUND)
                .await
                .map_err(Failure::failed)?
                .map_err(Failure::failed)?;
        }
        let read = self.wait_until_read("everyone writes again", 3 * ROUND).await?;
        self.done("broadcast", format!("{read} messages read in all, 0 gaps, 0 doubles"), begun);
        Ok(())
    }

    async fn leave(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        let count = self.nodes.len();
        for member in self.nodes.drain(..) {
            let stopped = tokio::time::timeout(DEADLINE, member.node.stop()).await;
            stopped.map_err(|_| Failure::Failed(format!("a node did not stop within {DEADLINE:?}")))?;
            member.reader.await.map_err(Failure::failed)?;
        }
        self.done("leave", format!("{count} nodes left properly"), begun);
        Ok(())
    }

    fn min_peers(&self) -> usize {
        3.min(self.nodes.len() - 1)
    }

    fn write(
        &self,
        ix: usize,
        from: u64,
        to: u64,
    ) -> tokio::task::JoinHandle<Result<(), smokesignal::SendError>> {
        let sender = self.nodes[ix].node.broadcast().sender();
        tokio::spawn(async move {
            for number in from..=to {
                sender.send(number.to_string()).await?;
                tokio::task::yield_now().await;
            }
            Ok(())
        })
    }

    /// Until each node has its peers; how many links there are then.
    async fn wait_for_peers(&self, what: &'static str) -> Result<usize, Failure> {
        let mut watched: Vec<_> =
            self.nodes.iter().map(|member| (member.node.peers(), member.node.events())).collect();
        self.begin(what, self.nodes.len() as u64);
        let waiting = async {
            for (peers, events) in &mut watched {
                while peers.len() < self.min_peers() {
                    if events.recv().await.is_none() {
                        break;
                    }
                }
                self.picture.inc(1);
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            let counts: Vec<_> = self.nodes.iter().map(|member| member.node.peers().len()).collect();
            return Err(Failure::Failed(format!(
                "{what}: not all have peers after {DEADLINE:?}: {counts:?}"
            )));
        }
        Ok(self.nodes.iter().map(|member| member.node.peers().len()).sum::<usize>() / 2)
    }

    /// Until each node has read `upto` messages of each other; how many that are.
    async fn wait_until_read(&self, what: &'static str, upto: u64) -> Result<u64, Failure> {
        let ids: BTreeSet<_> = self.nodes.iter().map(|member| member.node.id()).collect();
        let pairs = ids.iter().flat_map(|reader| ids.iter().map(move |writer| (*reader, *writer)));
        let pairs: Vec<_> = pairs.filter(|(reader, writer)| reader != writer).collect();
        let goal = upto * pairs.len() as u64;
        self.begin(what, goal);
        let waiting = async {
            loop {
                let changed = self.board.changed.notified();
                let read: u64 = {
                    let state = self.board.lock();
                    pairs.iter().map(|pair| state.upto.get(pair).copied().unwrap_or(0).min(upto)).sum()
                };
                self.picture.set_position(read);
                if read == goal {
                    return;
                }
                changed.await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, waiting).await.is_ok();
        let state = self.board.lock();
        if let Some(wrong) = state.wrong.first() {
            return Err(Failure::Failed(format!("{what}: {wrong}")));
        }
        if !in_time {
            let read: u64 =
                pairs.iter().map(|pair| state.upto.get(pair).copied().unwrap_or(0).min(upto)).sum();
            return Err(Failure::Failed(format!(
                "{what}: {read} of {goal} messages read after {DEADLINE:?}"
            )));
        }
        Ok(goal)
    }

    fn begin(&self, what: &'static str, goal: u64) {
        self.picture.reset();
        self.picture.set_length(goal);
        self.picture.set_message(what);
        if self.headless {
            eprintln!("{what} ...");
        }
    }

    fn done(&mut self, phase: &'static str, text: String, begun: Instant) {
        let took = begun.elapsed();
        if self.headless {
            eprintln!("{phase}: {text} ({:.2} s)", took.as_secs_f64());
        } else {
            self.picture.suspend(|| eprintln!("✔ {phase}: {text} ({:.2} s)", took.as_secs_f64()));
        }
        self.phases.push((phase, text, took));
    }

    fn summary(&self, held: bool) -> Result<(), Failure> {
        let mut table = format!("{:<10} {:>8}  {}\n", "phase", "seconds", "what was seen");
        for (phase, text, took) in &self.phases {
            table.push_str(&format!("{phase:<10} {:>8.2}  {text}\n", took.as_secs_f64()));
        }
        table.push_str(if held { "all of it held\n" } else { "NOT all of it held\n" });
        tools::print(&table)
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Read> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a node reads, and whatever breaks the promise: a gap, a double, a wrong order.
    async fn read(self: Arc<Self>, reader: NodeId, mut broadcast: Broadcast) {
        while let Some(incoming) = broadcast.recv().await {
            let mut state = self.lock();
            match incoming {
                Incoming::Message { from, data, .. } => {
                    let upto = state.upto.entry((reader, from)).or_default();
                    let number = std::str::from_utf8(&data).ok().and_then(|text| text.parse::<u64>().ok());
                    if number == Some(*upto + 1) {
                        *upto += 1;
                    } else {
                        let expected = *upto + 1;
                        let text = format!("{reader:?} read {number:?} of {from:?}, expected {expected}");
                        state.wrong.push(text);
                    }
                }
                Incoming::Gap { from, missed } => {
                    state.wrong.push(format!("{reader:?} missed {missed} messages of {from:?}"));
                }
            }
            drop(state);
            self.changed.notify_waiters();
        }
    }
}
