//! Connections whose bytes other nodes carry: to a node that is no neighbour and cannot be dialled. Hop by hop they are
//! streams with credit like all others. From end to end they are what a dialled connection is, TLS and all, so that
//! carriers read nothing, and what they change or leave out ends the connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smokesignal_proto::LinkId;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::frame::Reset;
use crate::transport::{Connection, Credentials, DialError};
use crate::{NodeId, NodeStream, StreamError};

/// Connections that a node carries for others at most; more are refused.
const MAX_CARRIED: usize = 64;
/// Of these, those that one neighbour has asked for.
const MAX_FOR_ONE: usize = 16;
/// Connections to this node itself that have come through others and are not authenticated yet, at most.
const MAX_ARRIVING: usize = 64;
/// Until the other end has answered: as long as a dial takes at most.
const TIMEOUT: Duration = Duration::from_secs(4);
/// A connection with nothing under way for this long is not carried any more: its ends ping each other sooner.
const IDLE: Duration = Duration::from_secs(30);

/// What a neighbour wants to be carried.
#[derive(Debug)]
pub(crate) struct Circuit {
    pub(crate) via: LinkId,
    pub(crate) query: u64,
    pub(crate) target: NodeId,
    pub(crate) stream: NodeStream,
}

/// What is being carried here for others, and what is arriving.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    relays: JoinSet<LinkId>,
    by_link: BTreeMap<LinkId, usize>,
    arriving: JoinSet<Option<Connection>>,
}

impl Carried {
    /// Carries between the two, or refuses.
    pub(crate) fn relay(&mut self, circuit: Circuit, onward: impl FnOnce() -> Option<NodeStream>) {
        let count = self.by_link.entry(circuit.via).or_default();
        if *count >= MAX_FOR_ONE || self.relays.len() >= MAX_CARRIED {
            return circuit.stream.refuse(Reset::Busy);
        }
        let Some(onward) = onward() else { return circuit.stream.refuse(Reset::Busy) };
        *count += 1;
        self.relays.spawn(async move {
            relay(circuit.stream, onward).await;
            circuit.via
        });
    }

    /// Finds out who is at the other end, or refuses.
    pub(crate) fn arrive(&mut self, circuit: Circuit, credentials: Credentials, remote: SocketAddr) {
        if self.arriving.len() >= MAX_ARRIVING {
            return circuit.stream.refuse(Reset::Busy);
        }
        self.arriving.spawn(async move {
            match timeout(TIMEOUT, credentials.accept(circuit.stream, remote)).await {
                Ok(Ok(connection)) => return Some(connection),
                Ok(Err(error)) => tracing::debug!(%error, "a carried connection was not completed"),
                Err(_) => tracing::debug!("a carried connection was not completed in time"),
            }
            None
        });
    }

    /// The next connection that has come through others. Waits for ever where there is none; nothing is lost if the
    /// future is dropped.
    pub(crate) async fn arrived(&mut self) -> Connection {
        loop {
            tokio::select! {
                biased;
                Some(done) = self.relays.join_next() => if let Ok(via) = done
                    && let Some(count) = self.by_link.get_mut(&via)
                {
                    *count -= 1;
                    if *count == 0 {
                        self.by_link.remove(&via);
                    }
                },
                Some(arrived) = self.arriving.join_next() => if let Ok(Some(connection)) = arrived {
                    return connection;
                },
                else => std::future::pending().await,
            }
        }
    }
}

/// Reaches `id` over a stream that others carry.
pub(crate) async fn connect(
    stream: Option<NodeStream>,
    credentials: Credentials,
    remote: SocketAddr,
    id: NodeId,
) -> Result<Connection, DialError> {
    let Some(stream) = stream else { return Err(DialError::Io("there is no neighbour that carries".into())) };
    timeout(TIMEOUT, credentials.connect(stream, remote, Some(id))).await.unwrap_or(Err(DialError::TimedOut))
}

/// Passes everything on between two streams, ends and resets included.
async fn relay(one: NodeStream, other: NodeStream) {
    let moved = AtomicU64::new(0);
    let idle = async {
        let mut last = u64::MAX;
        while last != moved.load(Ordering::Relaxed) {
            last = moved.load(Ordering::Relaxed);
            sleep(IDLE).await;
        }
    };
    let both = async { tokio::join!(pump(&one, &other, &moved), pump(&other, &one, &moved)) };
    tokio::select! {
        biased;
        _ = both => {}
        () = idle => {
            one.break_off("nothing was carried for 30 s");
            other.break_off("nothing was carried for 30 s");
        }
    }
}

async fn pump(from: &NodeStream, to: &NodeStream, moved: &AtomicU64) {
    loop {
        match from.piece().await {
            Ok(Some((data, end))) => {
                moved.fetch_add(1, Ordering::Relaxed);
                if to.put(data, end).await.is_err() {
                    return from.stop_reading();
                }
            }
            Ok(None) => return to.finish(),
            Err(StreamError::Reset(reason)) => return to.break_off(&reason),
            Err(error) => return to.break_off(&format!("a carrier: {error}")),
        }
    }
}
