//! The encrypted stream once both ends are known: many records with one call of the system.
//!
//! rustls asks for 4 KiB at a time, and a call of the system costs as much as decrypting 16 KiB. So what the socket holds
//! is taken at once, into memory that all connections of a thread share, and given to rustls from there; what comes out
//! goes straight into the caller's buffer.

use std::cell::Cell;
use std::io::{self, BufRead as _, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Taken from the socket at once: 128 KiB, two full segments, and with what is made of it it fits into a core's cache.
const READ_MAX: usize = 128 * 1024;
/// Taken from the socket beyond what the caller has room for: the frames of the records.
const READ_MORE: usize = 4 * 1024;
/// Decrypted and not yet read by the caller at most; rustls refuses more.
const PLAIN_MAX: usize = 16 * 1024;
/// Encrypted and not yet written at most: all that a link hands over at once, so that it leaves in one piece.
const WRITE_MAX: usize = 256 * 1024;

thread_local! {
    /// Taken out while it is used: a connection may run inside another one.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An encrypted stream over `S`.
pub(crate) struct Records<S> {
    io: S,
    session: Connection,
    /// Taken from the socket, and the caller had no room for more.
    rest: Vec<u8>,
    closing: bool,
}

impl<S> Records<S> {
    pub(super) fn new(io: S, mut session: Connection) -> Self {
        session.set_buffer_limit(Some(WRITE_MAX));
        Self { io, session, rest: Vec::new(), closing: false }
    }

    /// The stream that carries the encrypted bytes.
    pub(crate) fn carrier(&mut self) -> &mut S {
        &mut self.io
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Records<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        loop {
            let ended = this.take_plain(buf)?;
            if ended || buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.rest.is_empty() {
                ready!(this.take_from_socket(cx, buf))?;
            } else {
                let rest = std::mem::take(&mut this.rest);
                this.decrypt(&rest, cx, buf)?;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Records<S> {
    /// Moves what is decrypted to the caller. True: there will be nothing more.
    fn take_plain(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        while buf.remaining() > 0 {
            let mut reader = self.session.reader();
            let record = match reader.fill_buf() {
                Ok([]) => return Ok(true),
                Ok(record) => record,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let part = record.len().min(buf.remaining());
            buf.put_slice(&record[..part]);
            reader.consume(part);
        }
        Ok(false)
    }

    fn take_from_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut scratch = SCRATCH.take();
        if scratch.is_empty() {
            scratch = vec![0; READ_MAX];
        }
        let most = READ_MAX.min(buf.remaining() + READ_MORE);
        let mut taken = ReadBuf::new(&mut scratch[..most]);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut taken);
        let outcome = match polled {
            Poll::Ready(Ok(())) => Poll::Ready(self.decrypt(taken.filled(), cx, buf)),
            other => other,
        };
        SCRATCH.set(scratch);
        outcome
    }

    /// Decrypts what the socket gave; nothing means that it has ended.
    fn decrypt(&mut self, mut bytes: &[u8], cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        loop {
            self.session.read_tls(&mut bytes)?;
            let state = match self.session.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // It may have something to say about it; that the connection is over anyway is the error to tell.
                    let _last_words = self.write_out(cx);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            };
            let mut waiting = state.plaintext_bytes_to_read();
            if waiting > 0 && buf.remaining() > 0 {
                waiting = waiting.saturating_sub(buf.remaining());
                self.take_plain(buf)?;
            }
            // Behind the end rustls takes nothing more, and nothing more counts.
            if bytes.is_empty() || state.peer_has_closed() {
                return Ok(());
            }
            if waiting > PLAIN_MAX {
                self.rest = bytes.to_vec();
                return Ok(());
            }
        }
    }

    /// Writes what is encrypted, as far as the socket takes it.
    fn write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut socket = Socket { io: &mut self.io, cx };
            match self.session.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write_with(
        &mut self,
        cx: &mut Context<'_>,
        encrypt: impl FnOnce(&mut Connection) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        // What was encrypted before goes first; only where the socket takes none of it is there something to wait for.
        let blocked = self.write_out(cx)?.is_pending();
        let taken = encrypt(&mut self.session)?;
        if taken == 0 && blocked {
            return Poll::Pending;
        }
        if !blocked {
            let _rest_goes_with_the_flush = self.write_out(cx)?;
        }
        Poll::Ready(Ok(taken))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Records<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.write_with(cx, |session| session.writer().write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.write_with(cx, |session| session.writer().write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_out(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.closing, true) {
            self.session.send_close_notify();
        }
        ready!(self.write_out(cx))?;
        match ready!(Pin::new(&mut self.io).poll_shutdown(cx)) {
            // The other side was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            outcome => Poll::Ready(outcome),
        }
    }
}

/// What rustls writes to: an asynchronous stream that says when it would block.
struct Socket<'a, 'b, S> {
    io: &'a mut S,
    cx: &'a mut Context<'b>,
}

impl<S: AsyncWrite + Unpin> Write for Socket<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.io).poll_write(self.cx, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        // A single record is cheaper to send alone.
        match bufs {
            [only] => self.write(only),
            bufs => or_would_block(Pin::new(&mut *self.io).poll_write_vectored(self.cx, bufs)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        or_would_block(Pin::new(&mut *self.io).poll_flush(self.cx))
    }
}

fn or_would_block<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::Identity;
    use crate::tls::Tls;

    async fn pair() -> (Records<DuplexStream>, Records<DuplexStream>) {
        let tls = [1, 2].map(|seed| Tls::new(&Identity::from_seed([seed; 32])));
        let (a, b) = tokio::io::duplex(1024 * 1024);
        let (dialled, accepted) = tokio::join!(tls[0].connect(a, None), tls[1].accept(b));
        (dialled.ok().unwrap().stream, accepted.ok().unwrap().stream)
    }

    #[tokio::test]
    async fn what_comes_behind_the_end_is_not_waited_for() {
        let (mut rude, mut polite) = pair().await;
        rude.write_all(b"last words").await.unwrap();
        rude.session.send_close_notify();
        rude.flush().await.unwrap();
        rude.carrier().write_all(&[7; 20_000]).await.unwrap();
        let mut read = Vec::new();
        polite.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"last words");
    }

    #[tokio::test]
    async fn many_records_come_whole_through_a_buffer_of_any_size() {
        let sent: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        for size in [1, 100, 5_000, 300_000] {
            let (mut writer, mut reader) = pair().await;
            for part in sent.chunks(7_000) {
                writer.write_all(part).await.unwrap();
            }
            writer.shutdown().await.unwrap();
            let (mut read, mut buffer) = (Vec::new(), vec![0; size]);
            loop {
                match reader.read(&mut buffer).await.unwrap() {
                    0 => break,
                    part => read.extend_from_slice(&buffer[..part]),
                }
            }
            assert!(read == sent, "through a buffer of {size}");
        }
    }
}
