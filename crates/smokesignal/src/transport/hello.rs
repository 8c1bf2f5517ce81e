//! HELLO: the first message of each side, before the two nodes trust each other.
//!
//! Each side sends 34 bytes and waits for the other's. A network secret is proved by an HMAC over
//! the TLS exporter, so that a proof is worthless on another connection. Until HELLO is right,
//! [`Metered`] lets a stranger send 4 KiB at most.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use ring::hmac;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::{Connection, Credentials, DialError};
use crate::transport::tls::{Secured, TlsError};

// HELLO, the first bytes inside TLS. Each side sends its own without waiting for the other's:
//
//   byte  0       the format, 1
//   byte  1       flags; bit 0: the sender holds a network secret. Others: send 0, ignore
//   bytes 2..34   the proof of the secret, or zeros without one:
//                 HMAC-SHA256(secret, "smokesignal network secret" ‖ role ‖ exporter)
//                 role: one byte, 0 the dialler, 1 the acceptor, so that no side can send a proof
//                 back to its maker;
//                 exporter: 32 bytes of TLS exporter (RFC 8446, section 7.5) for the label
//                 "EXPORTER-smokesignal-secret" without context, so that a proof is worthless on
//                 another connection.
//
// Nothing else is sent before the other's HELLO has been read and found right.

const HELLO_BYTES: usize = 34;
const HELLO_FORMAT: u8 = 1;
const FLAG_SECRET: u8 = 1;
const PROOF_LABEL: &[u8] = b"smokesignal network secret";

#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Dialler = 0,
    Acceptor = 1,
}

impl Role {
    fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

impl Credentials {
    /// Performs the last step of a handshake, on either side.
    pub(super) async fn exchange_hellos<S>(
        &self,
        mut secured: Secured<Metered<S>>,
        role: Role,
        remote: SocketAddr,
    ) -> Result<Connection, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut theirs = [0; HELLO_BYTES];
        let ours = self.hello(role, &secured.exporter);
        secured.writer.write_all(&ours).await.map_err(TlsError::from)?;
        secured.writer.flush().await.map_err(TlsError::from)?;
        secured.reader.read_exact(&mut theirs).await.map_err(TlsError::from)?;
        if let Err(refusal) = self.check_hello(&theirs, role.other(), &secured.exporter) {
            // An orderly end, so that our HELLO arrives and shows the other side why.
            if let Err(error) = secured.writer.shutdown().await {
                tracing::debug!(%remote, %error, "refused the connection, and could not close it in order");
            }
            return Err(refusal);
        }
        let Secured { peer, reader, writer, .. } = secured.over(Metered::lift);
        Ok(Connection { peer, remote, reader: Box::new(reader), writer: Box::new(writer) })
    }

    fn hello(&self, role: Role, exporter: &[u8; 32]) -> [u8; HELLO_BYTES] {
        let mut hello = [0; HELLO_BYTES];
        hello[0] = HELLO_FORMAT;
        if let Some(secret) = &self.secret {
            hello[1] = FLAG_SECRET;
            hello[2..].copy_from_slice(hmac::sign(secret, &proven(role, exporter)).as_ref());
        }
        hello
    }

    fn check_hello(
        &self,
        hello: &[u8; HELLO_BYTES],
        from: Role,
        exporter: &[u8; 32],
    ) -> Result<(), DialError> {
        if hello[0] != HELLO_FORMAT {
            return Err(DialError::Handshake(format!("it sent a HELLO of the unknown format {}", hello[0])));
        }
        let proves = hello[1] & FLAG_SECRET != 0;
        let right = match &self.secret {
            None => !proves && hello[2..].iter().all(|byte| *byte == 0),
            Some(secret) => proves && hmac::verify(secret, &proven(from, exporter), &hello[2..]).is_ok(),
        };
        right.then_some(()).ok_or(DialError::WrongSecret)
    }

    /// Returns whether both sides hold the same secret, or neither holds one.
    pub(super) fn same_secret(&self, other: &Self) -> bool {
        match (&self.secret, &other.secret) {
            (None, None) => true,
            (Some(a), Some(b)) => hmac::verify(a, PROOF_LABEL, hmac::sign(b, PROOF_LABEL).as_ref()).is_ok(),
            _ => false,
        }
    }
}

fn proven(role: Role, exporter: &[u8; 32]) -> Vec<u8> {
    [PROOF_LABEL, &[role as u8], exporter].concat()
}

/// Bytes read from a connection before its other end is known. 4 KiB: an honest handshake needs
/// less than 1 KiB.
const UNAUTHENTICATED_MAX: usize = 4096;

/// Reads at most [`UNAUTHENTICATED_MAX`] bytes of `stream` until it is [lifted](Self::lift).
pub(super) struct Metered<S> {
    stream: S,
    left: usize,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, left: UNAUTHENTICATED_MAX }
    }

    fn lift(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            let text = format!("it sent more than {UNAUTHENTICATED_MAX} bytes without saying who it is");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        let room = buf.remaining().min(self.left);
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        let read = part.filled().len();
        buf.advance(read);
        self.left -= read;
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::vectors::{hex, vectors};

    #[test]
    fn a_proof_is_good_for_one_sender_and_one_connection() {
        let node = Credentials::new(Identity::from_seed([1; 32]), Some(b"the secret of our network"));
        let hello = node.hello(Role::Dialler, &[5; 32]);
        assert_eq!(node.check_hello(&hello, Role::Dialler, &[5; 32]), Ok(()));
        assert_eq!(node.check_hello(&hello, Role::Acceptor, &[5; 32]), Err(DialError::WrongSecret));
        assert_eq!(node.check_hello(&hello, Role::Dialler, &[6; 32]), Err(DialError::WrongSecret));
        let mut later_format = hello;
        later_format[0] = 2;
        let error = node.check_hello(&later_format, Role::Dialler, &[5; 32]).unwrap_err();
        assert!(error.to_string().contains("unknown format 2"), "{error}");
    }

    #[test]
    fn hellos_are_those_of_the_test_vectors() {
        let hello = |secret, role| {
            let node = Credentials::new(Identity::from_seed([7; 32]), secret);
            hex(&node.hello(role, &[5; 32]))
        };
        let (vectors, secret) = (vectors(), Some(&b"the secret of our network"[..]));
        assert_eq!(vectors["HELLO: open"], hello(None, Role::Dialler));
        assert_eq!(vectors["HELLO: secret, dialler"], hello(secret, Role::Dialler));
        assert_eq!(vectors["HELLO: secret, acceptor"], hello(secret, Role::Acceptor));
    }

    #[test]
    fn without_a_secret_the_proof_is_zeros_and_unknown_flags_are_ignored() {
        let node = Credentials::new(Identity::from_seed([1; 32]), None);
        let mut hello = node.hello(Role::Dialler, &[5; 32]);
        assert_eq!(hello[1..], [0; 33]);
        hello[1] = 0xfe;
        assert_eq!(node.check_hello(&hello, Role::Dialler, &[5; 32]), Ok(()));
        hello[33] = 1;
        assert_eq!(node.check_hello(&hello, Role::Dialler, &[5; 32]), Err(DialError::WrongSecret));
    }
}
