//! What happens to a node: the library's events, one by one, in the form that JavaScript gets.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_core::Stream as _;
use napi_derive::napi;
use smokesignal::{Event, Events, Peer, VersionMismatch, Versions};

use crate::failure::Failure;
use crate::stream::Stream;
use crate::wake_queue::WakeQueue;

/// One event. Its name decides which of the fields are set; `lib/node-events.js` handles each name.
#[napi(object)]
#[derive(Default)]
pub struct NativeEvent {
    /// One of `connect`, `disconnect`, `added`, `removed`, `unreachable`, `incompatible`,
    /// `netsplit`, `resolved`, `lagging`, `caught up`, `timed out`, `conflict` and `missed`.
    pub name: String,
    /// The id of the peer, of the seed that was lost, or of a writer; the beginning of that of a
    /// reader.
    pub id: Option<String>,
    /// `HOST:PORT` of a seed that cannot be reached.
    pub seed: Option<String>,
    /// The number of nodes in this node's part of the network.
    pub size: Option<u32>,
    /// The number of nodes in the network before the netsplit.
    pub size_before: Option<u32>,
    /// The number of nodes in the part of the lost seed, if it has answered.
    pub other_size: Option<u32>,
    /// How long the netsplit lasted, in milliseconds.
    pub duration: Option<f64>,
    /// How many messages this node lacks, and their size in bytes.
    pub messages: Option<f64>,
    pub bytes: Option<f64>,
    /// Whether another process with this node's key was started later.
    pub superseded: Option<bool>,
    /// How many events were dropped.
    pub missed: Option<f64>,
    /// Why the seed cannot be reached.
    pub failure: Option<Failure>,
    /// The host of a node of another version.
    pub address: Option<String>,
    /// What this node and that one speak.
    pub versions: Option<NativeVersions>,
}

/// The versions of the protocol that two nodes speak, of which none is common to both.
#[napi(object)]
pub struct NativeVersions {
    /// What this node speaks.
    pub ours: NativeVersionRange,
    /// What the other node speaks.
    pub theirs: NativeVersionRange,
    /// The node that is too old: `this` or `other`.
    pub upgrade: String,
    /// All of it for people.
    pub text: String,
}

/// A range of versions of the protocol.
#[napi(object)]
pub struct NativeVersionRange {
    /// The oldest one.
    pub oldest: u32,
    /// The newest one.
    pub newest: u32,
}

impl From<Versions> for NativeVersionRange {
    fn from(Versions { oldest, newest }: Versions) -> Self {
        Self { oldest: oldest.into(), newest: newest.into() }
    }
}

impl From<VersionMismatch> for NativeVersions {
    fn from(mismatch: VersionMismatch) -> Self {
        let upgrade = if mismatch.is_ours_older() { "this" } else { "other" };
        Self {
            ours: mismatch.ours.into(),
            theirs: mismatch.theirs.into(),
            upgrade: upgrade.to_owned(),
            text: mismatch.to_string(),
        }
    }
}

/// The events of a node, in order.
#[napi]
pub struct NativeEvents {
    events: Events,
    /// The peer of the last `added`, until JavaScript takes it.
    added: Option<Peer>,
    waker: Waker,
}

#[napi]
impl NativeEvents {
    /// Wraps the library's events. `waker` is woken when there is one.
    pub(crate) fn new(events: Events, waker: Waker) -> Self {
        Self { events, added: None, waker }
    }

    /// Returns the next event, if there is one.
    #[napi]
    pub fn poll(&mut self) -> Option<NativeEvent> {
        loop {
            let polled = Pin::new(&mut self.events).poll_next(&mut Context::from_waker(&self.waker));
            let Poll::Ready(Some(event)) = polled else { return None };
            if let Some(event) = self.convert(event) {
                return Some(event);
            }
        }
    }

    /// Returns `None` for an event that JavaScript does not know.
    fn convert(&mut self, event: Event) -> Option<NativeEvent> {
        let count = |number: usize| Some(u32::try_from(number).unwrap_or(u32::MAX));
        let named = |name: &str| NativeEvent { name: name.to_owned(), ..NativeEvent::default() };
        Some(match event {
            Event::Connect => named("connect"),
            Event::Disconnect => named("disconnect"),
            Event::PeerAdded(peer) => {
                let id = Some(peer.id().to_string());
                self.added = Some(peer);
                NativeEvent { id, ..named("added") }
            }
            Event::PeerRemoved(peer) => NativeEvent { id: Some(peer.id().to_string()), ..named("removed") },
            Event::SeedUnreachable { seed, error } => {
                NativeEvent { seed: Some(seed), failure: Some(error.into()), ..named("unreachable") }
            }
            Event::Incompatible { address, versions } => NativeEvent {
                address: Some(address.to_string()),
                versions: Some(versions.into()),
                ..named("incompatible")
            },
            Event::Netsplit { seed, size, size_before, other_size } => NativeEvent {
                id: Some(seed.to_string()),
                size: count(size),
                size_before: count(size_before),
                other_size: other_size.and_then(count),
                ..named("netsplit")
            },
            Event::NetsplitResolved { duration, size } => NativeEvent {
                duration: Some(duration.as_secs_f64() * 1000.0),
                size: count(size),
                ..named("resolved")
            },
            Event::Lagging { from, messages, bytes } => NativeEvent {
                id: Some(from.to_string()),
                messages: Some(messages as f64),
                bytes: Some(bytes as f64),
                ..named("lagging")
            },
            Event::CaughtUp { from } => NativeEvent { id: Some(from.to_string()), ..named("caught up") },
            Event::ReaderTimedOut { reader } => NativeEvent { id: Some(reader), ..named("timed out") },
            Event::IdentityConflict { id, superseded } => {
                NativeEvent { id: Some(id.to_string()), superseded: Some(superseded), ..named("conflict") }
            }
            Event::Missed(missed) => NativeEvent { missed: Some(missed as f64), ..named("missed") },
            _ => return None,
        })
    }

    /// Returns the peer of the last `added`. Its reads and writes make `number` due.
    #[napi]
    pub fn take_peer(&mut self, wake_queue: &WakeQueue, number: u32) -> Option<Stream> {
        self.added.take().map(|peer| Stream::of_peer(peer, wake_queue.waker(number)))
    }
}
