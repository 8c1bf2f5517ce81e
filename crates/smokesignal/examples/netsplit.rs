//! A program's own protocol under a netsplit, in virtual time:
//! `cargo run -p smokesignal-p2p --example netsplit`
//!
//! The protocol is a counter that every node may raise. Each node broadcasts how often it has been
//! raised there, as a total and not as a step: a missed message does no harm, and the counter is
//! the sum of the latest totals.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use smokesignal::transport::MemoryNetwork;
use smokesignal::{Broadcast, BroadcastSender, Event, Events, Identity, Incoming, Node, NodeId, SendError};
use tokio::time::{Instant, sleep, timeout};

// `start_paused`: the clock jumps whenever all tasks wait. It needs tokio's feature `test-util`.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let real = std::time::Instant::now();
    let start = Instant::now();
    for (at, what) in netsplit(1).await? {
        println!("{:7.3} s  {what}", at.as_secs_f64());
    }
    println!("{:.1} s of virtual time took {:?}", start.elapsed().as_secs_f64(), real.elapsed());
    Ok(())
}

/// The program under test.
struct Counter {
    node: Node,
    totals: Arc<Mutex<BTreeMap<NodeId, u64>>>,
    others: BroadcastSender,
}

impl Counter {
    async fn start(node: Node) -> Result<Self, Box<dyn Error>> {
        let totals = Arc::new(Mutex::new(BTreeMap::new()));
        let network = node.broadcast();
        let others = network.sender();
        node.start().await?;
        tokio::spawn(listen(network, Arc::clone(&totals)));
        Ok(Self { node, totals, others })
    }

    async fn raise(&self) -> Result<(), SendError> {
        let total = {
            let mut totals = lock(&self.totals);
            let total = totals.entry(self.node.id()).or_default();
            *total += 1;
            *total
        };
        self.others.send(total.to_be_bytes().to_vec()).await
    }

    fn value(&self) -> u64 {
        lock(&self.totals).values().sum()
    }
}

async fn listen(mut network: Broadcast, totals: Arc<Mutex<BTreeMap<NodeId, u64>>>) {
    while let Some(incoming) = network.recv().await {
        let Incoming::Message { from, data, .. } = incoming else { continue }; // A gap: the next total makes up for it.
        let Ok(total) = data.as_ref().try_into().map(u64::from_be_bytes) else { continue };
        lock(&totals).insert(from, total);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The events that were seen, and when.
pub(crate) type Log = Vec<(Duration, String)>;

/// Runs ten nodes in two halves: all raise, the halves are cut apart, all raise again, the cut
/// heals.
pub(crate) async fn netsplit(rng_seed: u64) -> Result<Log, Box<dyn Error>> {
    let start = Instant::now();
    let mut log = Log::new();
    let mut note = |what: String| log.push((start.elapsed(), what));

    let (least, most) = (Duration::from_millis(5), Duration::from_millis(20));
    let network = MemoryNetwork::new().latency(least..=most).rng_seed(rng_seed);
    let hosts =
        |net: u8| (1..=5).map(|host| SocketAddr::from(([10, 0, net, host], 8495))).collect::<Vec<_>>();
    let (west, east) = (hosts(1), hosts(2));
    let mut counters = Vec::new();
    for (n, address) in (1_u8..).zip(west.iter().chain(&east)) {
        // Both halves know both seeds: a node that has lost one goes on dialling it, and so finds
        // the other half again.
        let node = Node::builder()
            .transport(network.clone())
            .address(address.ip())
            .port(address.port())
            .seed(west[0].to_string())
            .seed(east[0].to_string())
            .identity(Identity::from_seed([n; 32]))
            .rng_seed(rng_seed)
            .build()?;
        counters.push(Counter::start(node).await?);
    }
    let (western, eastern) = counters.split_at(west.len());

    // A joiner reads what is written from then on, so no node raises before all have joined.
    until(|| counters.iter().all(|counter| !counter.node.peers().is_empty())).await?;
    note("all have joined".into());
    raise_all(&counters).await?;
    all_show(&counters, 10).await?;
    note("all ten count 10".into());
    until(|| counters.iter().all(|counter| counter.node.network_size() == 10)).await?;
    note("all ten know that they are ten".into());
    sleep(Duration::from_secs(10)).await; // Only what was whole for a moment can come apart.

    let mut events: Vec<Events> = counters.iter().map(|counter| counter.node.events()).collect();
    network.partition(&[&west, &east]);
    note("cut in two".into());
    // Here a program may show that it is on its own now, or refuse work that needs all nodes. Each
    // node gets the event.
    for events in &mut events {
        let told = next(events, |event| match event {
            Event::Netsplit { size, size_before, .. } => Some((size, size_before)),
            _ => None,
        });
        assert_eq!(told.await?, (5, 10));
    }
    note("netsplit: all learn that five of ten nodes are left on their side".into());

    raise_all(western).await?;
    all_show(western, 15).await?;
    raise_all(eastern).await?;
    raise_all(eastern).await?;
    all_show(eastern, 20).await?;
    note(format!("the west counts {}, the east {}", western[0].value(), eastern[0].value()));

    sleep(Duration::from_secs(30)).await;
    network.heal();
    note("healed".into());
    // ... and here that all is well again, and do the work that it had postponed.
    let mut longest = Duration::ZERO;
    for events in &mut events {
        let told = next(events, |event| match event {
            Event::NetsplitResolved { duration, .. } => Some(duration),
            _ => None,
        });
        longest = longest.max(told.await?);
    }
    note(format!("all learn that it is over, after {:.1} s", longest.as_secs_f64()));
    raise_all(&counters).await?;
    all_show(&counters, 35).await?;
    note("all ten count 35".into());

    for counter in &counters {
        counter.node.stop().await;
    }
    Ok(log)
}

/// Returns the next wanted event, within two virtual minutes.
async fn next<T>(events: &mut Events, wanted: impl Fn(Event) -> Option<T>) -> Result<T, Box<dyn Error>> {
    let looking = async {
        while let Some(event) = events.recv().await {
            if let Some(found) = wanted(event) {
                return Ok(found);
            }
        }
        Err("the node was dropped".into())
    };
    timeout(Duration::from_secs(120), looking).await?
}

async fn raise_all(counters: &[Counter]) -> Result<(), SendError> {
    for counter in counters {
        counter.raise().await?;
    }
    Ok(())
}

async fn all_show(counters: &[Counter], value: u64) -> Result<(), Box<dyn Error>> {
    until(|| counters.iter().all(|counter| counter.value() == value)).await.map_err(|_| {
        let shown: Vec<_> = counters.iter().map(Counter::value).collect();
        format!("all should count {value}, and count {shown:?}").into()
    })
}

/// Checks every virtual millisecond, for two virtual minutes at most.
async fn until(holds: impl Fn() -> bool) -> Result<(), tokio::time::error::Elapsed> {
    let looking = async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(120), looking).await
}
