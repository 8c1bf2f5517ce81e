//! The handshake, which is all that rustls does for a connection.
//!
//! [`Inwards`] hands rustls one record at a time, so that bytes behind the handshake never reach
//! it: they are returned, and `tls/reader.rs` goes on with them.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::keys::HEAD;
use super::writer::poll_write_all;

/// Bytes per read: more than an honest handshake has.
const READ: usize = 2 * 1024;

/// Performs the handshake, and returns the bytes that were read beyond it.
pub(super) async fn shake<S>(io: &mut S, session: &mut Connection) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut inwards, mut outwards) = (Inwards::default(), Outwards::default());
    loop {
        outwards.take_from(session)?;
        if !session.is_handshaking() {
            poll_fn(|cx| outwards.poll_write(io, cx)).await?;
            return Ok(inwards.wire);
        }
        // Reading and writing do not wait for each other: the other side may be writing, too, or
        // may have refused this one and gone, with an alert that says why.
        poll_fn(|cx| match (outwards.poll_write(io, cx), inwards.poll_read(io, cx)) {
            (Poll::Ready(Err(error)), Poll::Pending | Poll::Ready(Err(_))) => Poll::Ready(Err(error)),
            (_, read) => read,
        })
        .await?;
        if let Err(error) = inwards.give_to(session) {
            outwards.take_from(session)?;
            // rustls may have an alert to send, which is not waited for.
            poll_fn(|cx| {
                let _last_words = outwards.poll_write(io, cx);
                Poll::Ready(())
            })
            .await;
            return Err(error);
        }
    }
}

/// Bytes that were read and not handed to rustls yet.
#[derive(Default)]
struct Inwards {
    wire: Vec<u8>,
    /// Bytes left of the record that rustls is reading.
    left: usize,
}

impl Inwards {
    fn poll_read<S: AsyncRead + Unpin>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut read = [0; READ];
        let mut read = ReadBuf::new(&mut read);
        ready!(Pin::new(io).poll_read(cx, &mut read))?;
        self.wire.extend_from_slice(read.filled());
        let ended = read.filled().is_empty();
        Poll::Ready(if ended { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) })
    }

    /// Yields the bytes record by record, as long as they belong to the handshake.
    fn give_to(&mut self, session: &mut Connection) -> io::Result<()> {
        while session.is_handshaking() {
            if self.left == 0
                && let Some(&[_, _, _, high, low]) = self.wire.first_chunk::<HEAD>()
            {
                self.left = HEAD + usize::from(u16::from_be_bytes([high, low]));
            }
            let mut part = &self.wire[..self.left.min(self.wire.len())];
            if part.is_empty() {
                break;
            }
            let taken = session.read_tls(&mut part)?;
            if taken == 0 {
                // As rustls does behind `close_notify`, which has no place in a handshake.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.wire.drain(..taken);
            self.left -= taken;
            session
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(())
    }
}

/// Bytes that rustls wants to be written.
#[derive(Default)]
struct Outwards {
    wire: Vec<u8>,
    written: usize,
}

impl Outwards {
    fn take_from(&mut self, session: &mut Connection) -> io::Result<()> {
        while session.wants_write() {
            session.write_tls(&mut self.wire)?;
        }
        Ok(())
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(poll_write_all(io, cx, &self.wire, &mut self.written))?;
        Pin::new(io).poll_flush(cx)
    }
}
