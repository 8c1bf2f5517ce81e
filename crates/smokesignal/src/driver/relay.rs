//! The desk of relayed connections, for both roles of this node.
//!
//! A node that cannot be dialled is reached through its neighbours: the stream that asks for it is
//! passed on from link to link along the path of the lookup's answer. Each hop is an ordinary
//! stream with flow control; end to end the bytes are a full TLS connection, so a relay can neither
//! read nor change them without ending the connection. As a relay, this node copies between two
//! such streams until both end or nothing has moved for the idle timeout. As the target, it accepts
//! the stream as a connection like one that was dialled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smokesignal_proto::{LinkId, NodeId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::Instrument as _;

use crate::error::StreamErrorKind;
use crate::stream::handle::NodeStream;
use crate::stream::relay_request::RelayRequest;
use crate::transport::{Connection, Credentials, DialError};
use crate::wire::frame::Reset;

/// Maximum number of connections that this node relays; further ones are refused.
const MAX_RELAYED: usize = 64;
/// Maximum number of these that one neighbour may have requested.
const MAX_FOR_ONE: usize = 16;
/// Maximum number of relayed connections to this node itself that are not authenticated yet.
const MAX_ARRIVING: usize = 64;
/// Time for the handshake with the other end, as long as a dial takes at most.
const TIMEOUT: Duration = Duration::from_secs(4);
/// A connection on which nothing has moved for this long, or for twice the ping timeout if that is
/// longer, is not relayed any more: its ends ping each other sooner.
const IDLE: Duration = Duration::from_secs(30);
/// Maximum number of requests that wait for the driver; further ones are refused.
const REQUESTS: usize = 64;

/// Connections that this node relays for others, and those that arrive for itself.
#[derive(Debug)]
pub(super) struct Relays {
    requests: mpsc::Receiver<RelayRequest>,
    credentials: Credentials,
    idle: Duration,
    /// The connections relayed for others; each task returns the link that the request came over.
    forwarded: JoinSet<LinkId>,
    by_link: BTreeMap<LinkId, usize>,
    arriving: JoinSet<Option<Connection>>,
}

/// What the driver has to react to.
pub(super) enum RelayEvent {
    /// A neighbour requests that a stream is relayed.
    Requested(RelayRequest),
    /// A connection has come in through other nodes and is authenticated.
    Arrived(Connection),
}

impl Relays {
    /// Makes the desk, and the sender of the requests it handles.
    pub(super) fn new(credentials: Credentials, idle: Duration) -> (Self, mpsc::Sender<RelayRequest>) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let (forwarded, arriving) = (JoinSet::new(), JoinSet::new());
        let (idle, by_link) = (idle.max(IDLE), BTreeMap::new());
        (Self { requests, credentials, idle, forwarded, by_link, arriving }, sender)
    }

    /// Relays a request over the stream that `onward` opens, or refuses it.
    pub(super) fn forward(&mut self, request: RelayRequest, onward: impl FnOnce() -> Option<NodeStream>) {
        let count = self.by_link.get(&request.via).copied().unwrap_or(0);
        if count >= MAX_FOR_ONE || self.forwarded.len() >= MAX_RELAYED {
            return request.stream.refuse(Reset::Busy);
        }
        let Some(onward) = onward() else { return request.stream.refuse(Reset::Busy) };
        self.by_link.insert(request.via, count + 1);
        let idle = self.idle;
        self.forwarded.spawn(async move {
            relay(request.stream, onward, idle).await;
            request.via
        });
    }

    /// Authenticates the other end of a request for this node itself, or refuses it.
    pub(super) fn accept(&mut self, request: RelayRequest, remote: SocketAddr) {
        if self.arriving.len() >= MAX_ARRIVING {
            return request.stream.refuse(Reset::Busy);
        }
        let credentials = self.credentials.clone();
        let arriving = async move {
            match timeout(TIMEOUT, credentials.accept_relayed(request.stream, remote)).await {
                Ok(Ok(connection)) => return Some(connection),
                Ok(Err(error)) => tracing::debug!(%error, "a relayed connection failed its handshake"),
                Err(_) => tracing::debug!("a relayed connection did not finish its handshake in time"),
            }
            None
        };
        self.arriving.spawn(arriving.in_current_span());
    }

    /// Waits for the next request or connection; for ever where none comes. Cancel safe.
    pub(super) async fn next(&mut self) -> RelayEvent {
        loop {
            tokio::select! {
                biased;
                Some(request) = self.requests.recv() => return RelayEvent::Requested(request),
                Some(done) = self.forwarded.join_next() => if let Ok(via) = done {
                    self.ended(via);
                },
                Some(arrived) = self.arriving.join_next() => if let Ok(Some(connection)) = arrived {
                    return RelayEvent::Arrived(connection);
                },
                else => std::future::pending().await,
            }
        }
    }

    fn ended(&mut self, via: LinkId) {
        if let Some(count) = self.by_link.get_mut(&via) {
            *count -= 1;
            if *count == 0 {
                self.by_link.remove(&via);
            }
        }
    }
}

/// Connects to `id` over a stream that other nodes relay.
pub(super) async fn connect(
    stream: Option<NodeStream>,
    credentials: Credentials,
    remote: SocketAddr,
    id: NodeId,
) -> Result<Connection, DialError> {
    let Some(stream) = stream else { return Err(DialError::Io("no neighbour can relay".into())) };
    timeout(TIMEOUT, credentials.connect(stream, remote, Some(id))).await.unwrap_or(Err(DialError::TimedOut))
}

/// Copies everything between two streams, including ends and resets.
async fn relay(one: NodeStream, other: NodeStream, patience: Duration) {
    let moved = AtomicU64::new(0);
    let idle = async {
        let mut last = u64::MAX;
        while last != moved.load(Ordering::Relaxed) {
            last = moved.load(Ordering::Relaxed);
            sleep(patience).await;
        }
    };
    let both = async { tokio::join!(copy(&one, &other, &moved), copy(&other, &one, &moved)) };
    tokio::select! {
        biased;
        _ = both => {}
        () = idle => {
            one.abort("relay idle timeout");
            other.abort("relay idle timeout");
        }
    }
}

async fn copy(from: &NodeStream, to: &NodeStream, moved: &AtomicU64) {
    loop {
        match from.read_fragment().await {
            Ok(Some((data, end))) => {
                moved.fetch_add(1, Ordering::Relaxed);
                if to.write_fragment(data, end).await.is_err() {
                    return from.stop_reading();
                }
            }
            Ok(None) => return to.finish(),
            Err(error) => {
                return match error.kind() {
                    StreamErrorKind::Reset(reason) => to.abort(reason),
                    kind => to.abort(&format!("at a relay: {kind}")),
                };
            }
        }
    }
}

/// A hostile relay flips, drops, repeats, shifts, inserts or cuts.
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::sync::mpsc;

    use super::*;
    use crate::driver::link::{self, LinkHandle};
    use crate::identity::Identity;
    use crate::stream::accept::Acceptor;
    use crate::stream::accept::Acceptors;
    use crate::stream::handle::Path;
    use crate::stream::mux::{Mux, SharedStreams, Side};

    /// What a hostile relay does, once, to the bytes that pass.
    #[derive(Debug, Clone, Copy)]
    enum Harm {
        Flip,
        Drop,
        Twice,
        Swap,
        Insert,
        Cut,
    }

    const HARMS: [Harm; 6] = [Harm::Flip, Harm::Drop, Harm::Twice, Harm::Swap, Harm::Insert, Harm::Cut];

    /// A pseudo-random number below `n`.
    fn below(chance: &mut u64, n: u64) -> u64 {
        *chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*chance >> 33) % n
    }

    /// Passes on what comes, until it does harm, once, somewhere after `begin` bytes.
    async fn pass_on(
        mut from: impl tokio::io::AsyncRead + Unpin,
        mut to: impl tokio::io::AsyncWrite + Unpin,
        harm: Option<Harm>,
        begin: usize,
        mut chance: u64,
    ) {
        let (mut passed, mut harm) = (0, harm);
        let mut buffer = vec![0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let mut pieces = vec![buffer[..count].to_vec()];
            passed += count;
            if passed > begin
                && let Some(harm) = harm.take()
            {
                let at = below(&mut chance, count as u64) as usize;
                match harm {
                    Harm::Flip => pieces[0][at] ^= 1 << below(&mut chance, 8),
                    Harm::Drop => pieces.clear(),
                    Harm::Twice => pieces.push(pieces[0].clone()),
                    Harm::Swap => pieces[0].rotate_left(at.max(1).min(count - 1)),
                    Harm::Insert => pieces[0].insert(at, below(&mut chance, 256) as u8),
                    Harm::Cut => return,
                }
            }
            for piece in pieces {
                if to.write_all(&piece).await.is_err() {
                    return;
                }
            }
        }
    }

    fn through(harm: Harm, forth: bool, begin: usize, chance: u64) -> (DuplexStream, DuplexStream) {
        let ((one, near), (far, other)) = (duplex(64 * 1024), duplex(64 * 1024));
        let ((near_reader, near_writer), (far_reader, far_writer)) =
            (tokio::io::split(near), tokio::io::split(far));
        tokio::spawn(pass_on(near_reader, far_writer, forth.then_some(harm), begin, chance));
        tokio::spawn(pass_on(far_reader, near_writer, (!forth).then_some(harm), begin, chance));
        (one, other)
    }

    fn open(connection: Connection, number: u64, side: Side, acceptors: &SharedStreams) -> LinkHandle {
        let (reports, mut reported) = mpsc::channel(64);
        let link = LinkId(number);
        let streams = Mux::new(link, connection.peer, side, Path::Relayed, acceptors.clone());
        let (handle, run) = link::open(link, connection, Arc::clone(&streams), None, reports);
        tokio::spawn(run);
        // As the driver does it: who breaks the rules is dropped, and so is what is over.
        tokio::spawn(async move {
            while let Some((_, report)) = reported.recv().await {
                if matches!(report, link::Report::Violation(_) | link::Report::Gone) {
                    streams.connection_lost();
                    return;
                }
            }
        });
        handle
    }

    fn common() -> (SharedStreams, Acceptor) {
        let common = SharedStreams::new(1 << 20);
        let acceptor = Acceptors::accept(&common.acceptors, "test".into()).unwrap();
        (common, acceptor)
    }

    /// Writes chunks, each of which says which one it is, and returns how many of them the other
    /// side read, the last ones through the end of the stream; panics where one is wrong.
    async fn talk(one: DuplexStream, other: DuplexStream) -> Option<u32> {
        let [one_is, other_is] = [1, 2].map(|seed| Credentials::new(Identity::from_seed([seed; 32]), None));
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let dialled = one_is.connect(one, nowhere, Some(other_is.id()));
        let both = timeout(TIMEOUT, async { tokio::join!(dialled, other_is.accept(other, nowhere)) });
        let (Ok(dialled), Ok(accepted)) = both.await.ok()? else { return None };
        let ((here, _keep), (there, mut acceptor)) = (common(), common());
        let (one, _other) =
            (open(dialled, 1, Side::Dialler, &here), open(accepted, 2, Side::Acceptor, &there));
        let writing = one.streams.open("test").unwrap();
        tokio::spawn(async move {
            for number in 0..CHUNKS {
                let size = 10 + (number as usize * 977) % 5000;
                let mut chunk = vec![number as u8; size];
                chunk[..4].copy_from_slice(&number.to_be_bytes());
                if writing.send(chunk).await.is_err() {
                    return;
                }
            }
            writing.finish();
            // Held until the other side has read it all.
            let end = writing.recv().await;
            drop(end);
        });
        let reading = timeout(TIMEOUT, acceptor.recv()).await.ok()??;
        let mut read: u32 = 0;
        loop {
            match timeout(TIMEOUT, reading.recv()).await {
                Ok(Ok(Some(chunk))) => {
                    let expected = 10 + (read as usize * 977) % 5000;
                    assert_eq!(chunk.len(), expected, "chunk {read}");
                    assert_eq!(chunk[..4], read.to_be_bytes());
                    assert!(chunk[4..].iter().all(|byte| *byte == read as u8));
                    read += 1;
                }
                Ok(Ok(None)) => return Some(read),
                Ok(Err(_)) | Err(_) => return None,
            }
        }
    }

    const CHUNKS: u32 = 200;

    /// Rule: bytes arrive in order or the stream fails; they are never wrong, and never silently
    /// short.
    #[tokio::test(start_paused = true)]
    async fn a_relay_can_end_a_stream_but_neither_change_nor_shorten_what_is_read() {
        let mut chance = 1;
        for round in 0..120_u64 {
            let harm = HARMS[(round % 6) as usize];
            // In the middle of the handshake, and anywhere after it.
            let begin = if round % 4 == 0 { below(&mut chance, 1500) } else { below(&mut chance, 400_000) };
            let (one, other) = through(harm, round % 3 != 0, begin as usize, chance);
            let read = talk(one, other).await;
            assert!(
                read.is_none() || read == Some(CHUNKS),
                "round {round}, {harm:?} after {begin}: it ended after {read:?} chunks"
            );
        }
        // And without any harm all of it is read.
        let (one, other) = through(Harm::Flip, true, usize::MAX, 0);
        assert_eq!(talk(one, other).await, Some(CHUNKS));
    }
}
