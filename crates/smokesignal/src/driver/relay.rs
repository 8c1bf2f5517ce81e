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
use tracing::Instrument as _;

use crate::error::StreamError;
use crate::stream::handle::NodeStream;
use crate::stream::relay_request::RelayRequest;
use crate::transport::{Connection, Credentials, DialError};
use crate::wire::frame::Reset;
use smokesignal_proto::NodeId;

/// Connections that a node carries for others at most; more are refused.
const MAX_RELAYED: usize = 64;
/// Of these, those that one neighbour has asked for.
const MAX_FOR_ONE: usize = 16;
/// Connections to this node itself that have come through others and are not authenticated yet, at most.
const MAX_ARRIVING: usize = 64;
/// Until the other end has answered: as long as a dial takes at most.
const TIMEOUT: Duration = Duration::from_secs(4);
/// A connection with nothing under way for this long, or for twice the ping timeout, is not carried any more: its ends ping
/// each other sooner.
const IDLE: Duration = Duration::from_secs(30);

/// What is being carried here for others, and what is arriving.
#[derive(Debug)]
pub(crate) struct Relays {
    idle: Duration,
    relays: JoinSet<LinkId>,
    by_link: BTreeMap<LinkId, usize>,
    arriving: JoinSet<Option<Connection>>,
}

impl Relays {
    pub(crate) fn new(idle: Duration) -> Self {
        let (relays, arriving) = (JoinSet::new(), JoinSet::new());
        Self { idle: idle.max(IDLE), relays, by_link: BTreeMap::new(), arriving }
    }

    /// Carries between the two, or refuses.
    pub(crate) fn relay(&mut self, request: RelayRequest, onward: impl FnOnce() -> Option<NodeStream>) {
        let count = self.by_link.get(&request.via).copied().unwrap_or(0);
        if count >= MAX_FOR_ONE || self.relays.len() >= MAX_RELAYED {
            return request.stream.refuse(Reset::Busy);
        }
        let Some(onward) = onward() else { return request.stream.refuse(Reset::Busy) };
        self.by_link.insert(request.via, count + 1);
        let idle = self.idle;
        self.relays.spawn(async move {
            relay(request.stream, onward, idle).await;
            request.via
        });
    }

    /// Finds out who is at the other end, or refuses.
    pub(crate) fn arrive(&mut self, request: RelayRequest, credentials: Credentials, remote: SocketAddr) {
        if self.arriving.len() >= MAX_ARRIVING {
            return request.stream.refuse(Reset::Busy);
        }
        let arriving = async move {
            match timeout(TIMEOUT, credentials.accept(request.stream, remote)).await {
                Ok(Ok(connection)) => return Some(connection),
                Ok(Err(error)) => tracing::debug!(%error, "a relayed connection was not completed"),
                Err(_) => tracing::debug!("a relayed connection was not completed in time"),
            }
            None
        };
        self.arriving.spawn(arriving.in_current_span());
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
    let Some(stream) = stream else { return Err(DialError::Io("no neighbour can relay".into())) };
    timeout(TIMEOUT, credentials.connect(stream, remote, Some(id))).await.unwrap_or(Err(DialError::TimedOut))
}

/// Passes everything on between two streams, ends and resets included.
async fn relay(one: NodeStream, other: NodeStream, patience: Duration) {
    let moved = AtomicU64::new(0);
    let idle = async {
        let mut last = u64::MAX;
        while last != moved.load(Ordering::Relaxed) {
            last = moved.load(Ordering::Relaxed);
            sleep(patience).await;
        }
    };
    let both = async { tokio::join!(pump(&one, &other, &moved), pump(&other, &one, &moved)) };
    tokio::select! {
        biased;
        _ = both => {}
        () = idle => {
            one.abort("relay idle timeout");
            other.abort("relay idle timeout");
        }
    }
}

async fn pump(from: &NodeStream, to: &NodeStream, moved: &AtomicU64) {
    loop {
        match from.read_fragment().await {
            Ok(Some((data, end))) => {
                moved.fetch_add(1, Ordering::Relaxed);
                if to.put(data, end).await.is_err() {
                    return from.stop_reading();
                }
            }
            Ok(None) => return to.finish(),
            Err(StreamError::Reset(reason)) => return to.abort(&reason),
            Err(error) => return to.abort(&format!("at a relay: {error}")),
        }
    }
}

/// What carriers can do to what they carry.
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

    /// What a hostile carrier does to each piece that passes.
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
        let (handle, run) = link::open(link, connection, Arc::clone(&streams), reports);
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

    /// Writes chunks, each of which says which one it is, and returns how many of them the other side read, the last ones
    /// through the end of the stream; panics where one is wrong.
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

    /// Rule: bytes arrive in order or the stream fails; they are never wrong, and never silently short.
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
