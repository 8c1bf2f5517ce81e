//! One connection between two nodes: a task reads each end, and a task writes it.

use std::future::Future;
use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::outgoing::Outgoing;
use crate::tls::{self, Open, Seal};

/// Bytes per read at most. A system call costs microseconds, and small ones save nothing.
const READ: usize = 256 * 1024;
/// Bytes sealed before they are written: they are still in the cache then.
const WRITE: usize = 128 * 1024;

/// The kind of the links.
#[derive(Clone, Copy)]
pub(crate) enum Wire {
    /// Bare TCP.
    Tcp,
    /// TLS 1.3 over TCP.
    Tls,
}

/// How a node handles what it reads.
pub(crate) trait Reader: Send + 'static {
    /// Takes the complete frames, and returns their length in bytes.
    fn read(&mut self, bytes: &[u8]) -> usize;
    /// Waits until more can be forwarded.
    fn room(&self) -> impl Future<Output = ()> + Send;
}

/// The reading side of an end.
pub(crate) struct Source {
    tcp: OwnedReadHalf,
    open: Option<Open>,
}

/// The writing side of an end.
pub(crate) struct Drain {
    tcp: OwnedWriteHalf,
    seal: Option<Seal>,
}

/// Both ends of a new connection over the loopback device.
pub(crate) async fn connect(wire: Wire) -> io::Result<((Source, Drain), (Source, Drain))> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let a = TcpStream::connect(listener.local_addr()?).await?;
    let (b, _) = listener.accept().await?;
    a.set_nodelay(true)?;
    b.set_nodelay(true)?;
    Ok(match wire {
        Wire::Tcp => (end(a, None), end(b, None)),
        Wire::Tls => {
            let ((a, keys_a), (b, keys_b)) = tls::shake(a, b).await?;
            (end(a, Some(keys_a)), end(b, Some(keys_b)))
        }
    })
}

fn end(tcp: TcpStream, keys: Option<(Open, Seal)>) -> (Source, Drain) {
    let (read, write) = tcp.into_split();
    let (open, seal) = keys.unzip();
    (Source { tcp: read, open }, Drain { tcp: write, seal })
}

impl Source {
    /// Reads until the other end is gone.
    pub(crate) async fn run(mut self, mut reader: impl Reader) {
        // Wire bytes up to `filled`; under TLS what was opened of them is moved to `plain`.
        let (mut wire, mut filled) = (vec![0; READ], 0);
        let mut plain = Vec::new();
        while let Ok(read @ 1..) = self.tcp.read(&mut wire[filled..]).await {
            filled += read;
            let taken = match &mut self.open {
                None => reader.read(&wire[..filled]),
                Some(open) => {
                    let Ok(taken) = open.open(&mut wire[..filled], &mut plain) else { return };
                    let whole = reader.read(&plain);
                    plain.drain(..whole);
                    taken
                }
            };
            wire.copy_within(taken..filled, 0);
            filled -= taken;
            reader.room().await;
        }
    }
}

impl Drain {
    /// Writes what comes, until the other end is gone.
    pub(crate) async fn run(mut self, outgoing: &Outgoing) {
        let (mut frames, mut sealed) = (Vec::new(), Vec::new());
        loop {
            outgoing.take(&mut frames).await;
            let written = match &mut self.seal {
                None => self.tcp.write_all(&frames).await,
                Some(seal) => write_sealed(&mut self.tcp, seal, &frames, &mut sealed).await,
            };
            if written.is_err() {
                return;
            }
        }
    }
}

async fn write_sealed(
    tcp: &mut OwnedWriteHalf,
    seal: &mut Seal,
    frames: &[u8],
    sealed: &mut Vec<u8>,
) -> io::Result<()> {
    for part in frames.chunks(WRITE) {
        sealed.clear();
        seal.seal(part, sealed).map_err(|_| io::ErrorKind::InvalidData)?;
        tcp.write_all(sealed).await?;
    }
    Ok(())
}
