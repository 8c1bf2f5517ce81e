//! One node: a swarm in a task of its own.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt as _;
use harness::{Error, Sink};
use libp2p::gossipsub::{Behaviour, Event, IdentTopic, PublishError};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::{LONG, Settings, behaviour};

const TOPIC: &str = "bench";
/// Messages handed to the swarm's task at most; then the writer waits.
const TO_SWARM: usize = 64;

/// A node at work.
pub(crate) struct Node {
    pub(crate) address: Multiaddr,
    pub(crate) publish: mpsc::Sender<Bytes>,
    /// Becomes true once all neighbours have announced their subscriptions.
    pub(crate) subscribed: watch::Receiver<bool>,
    /// Messages that have been named: each copy received, and each message written.
    pub(crate) named: Arc<AtomicU64>,
    /// Messages written.
    pub(crate) written: Arc<AtomicU64>,
    pub(crate) task: JoinHandle<()>,
}

impl Node {
    pub(crate) async fn start(
        settings: Settings,
        neighbours: Vec<Multiaddr>,
        degree: usize,
        sink: Sink,
    ) -> Result<Self, Error> {
        let (named, written) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
            .with_quic()
            .with_behaviour(|key| behaviour(key, settings, Arc::clone(&named)))?
            .with_swarm_config(|config| config.with_idle_connection_timeout(LONG))
            .build();
        swarm.behaviour_mut().subscribe(&IdentTopic::new(TOPIC))?;
        let ip = Ipv4Addr::LOCALHOST;
        let listen =
            if settings.quic { format!("/ip4/{ip}/udp/0/quic-v1") } else { format!("/ip4/{ip}/tcp/0") };
        swarm.listen_on(listen.parse()?)?;
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        for neighbour in neighbours {
            swarm.dial(neighbour)?;
        }
        let (publish, to_publish) = mpsc::channel(TO_SWARM);
        let (tell, subscribed) = watch::channel(false);
        let task = tokio::spawn(run(swarm, to_publish, Arc::clone(&written), tell, degree, sink));
        Ok(Self { address, publish, subscribed, named, written, task })
    }
}

async fn run(
    mut swarm: Swarm<Behaviour>,
    mut to_publish: mpsc::Receiver<Bytes>,
    written: Arc<AtomicU64>,
    subscribed: watch::Sender<bool>,
    degree: usize,
    sink: Sink,
) {
    let topic = IdentTopic::new(TOPIC).hash();
    let mut subscribers = 0;
    loop {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(Event::Message { message, .. }) => sink.lock().arrived(&message.data),
                SwarmEvent::Behaviour(Event::Subscribed { .. }) => {
                    subscribers += 1;
                    if subscribers == degree {
                        subscribed.send_replace(true);
                    }
                }
                _ => {}
            },
            Some(message) = to_publish.recv() => {
                written.fetch_add(1, Ordering::Relaxed);
                match swarm.behaviour_mut().publish(topic.clone(), message) {
                    // A full queue has lost the message, as the ratio of deliveries will show.
                    Ok(_) | Err(PublishError::AllQueuesFull(_)) => {}
                    Err(error) => eprintln!("gossipsub: not published: {error}"),
                }
            }
        }
    }
}
