//! HELLO: the first message of each side, before the two nodes trust each other.
//!
//! Each side says which versions of the protocol it speaks and which features it understands, and
//! proves the network secret, if there is one, by an HMAC over the TLS exporter, so that a proof is
//! worthless on another connection. Nobody can change HELLO on its way: TLS has proved the other
//! end's key before. Until HELLO is right, [`Metered`] lets a stranger send 4 KiB at most.
//!
//! HELLO is made to grow. Its first four bytes mean the same in every version, so that two nodes
//! always find out whether they can speak with each other, and what is behind the parts that a node
//! knows it ignores. So that no node comes to rely on the absence of what it does not know, each
//! one sends a bit and some bytes that mean nothing (as RFC 8701 does it in TLS).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf as _;
use ring::hmac;
use smokesignal_proto::Features;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::{Connection, Credentials, DialError};
use crate::transport::tls::{Secured, TlsError};
use crate::version::{VersionMismatch, Versions};

// HELLO, the first bytes inside TLS. Each side sends its own without waiting for the other's:
//
//   byte  0       the oldest version of the protocol that the sender speaks
//   byte  1       the newest one
//   bytes 2..4    how many bytes follow, big endian; at most 512 where there is a common version
//
// In version 1 these follow:
//
//   byte  4       flags; bit 0: the sender holds a network secret. Others: send 0, ignore
//   bytes 5..13   the features that the sender understands, big endian
//   bytes 13..45  the proof of the secret, or zeros without one:
//                 HMAC-SHA256(secret, "smokesignal network secret" ‖ role ‖ exporter)
//                 role: one byte, 0 the dialler, 1 the acceptor, so that no side can send a proof
//                 back to its maker;
//                 exporter: 32 bytes of TLS exporter (RFC 8446, section 7.5) for the label
//                 "EXPORTER-smokesignal-secret" without context, so that a proof is worthless on
//                 another connection.
//   from 45 on    ignored. Zeros are sent, up to 7 of them.
//
// Nothing else is sent before the other's HELLO has been read and found right.

const HEAD_BYTES: usize = 4;
/// What follows the head in version 1.
const BODY_BYTES: usize = 1 + 8 + PROOF_BYTES;
const PROOF_BYTES: usize = 32;
/// The longest body that is read. 512: room for ten times what there is, and far below the 4 KiB
/// that a stranger may send.
const MAX_BODY: usize = 512;
const FLAG_SECRET: u8 = 1;
const PROOF_LABEL: &[u8] = b"smokesignal network secret";

/// What the other side's HELLO says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    features: Features,
    proves_secret: bool,
    proof: [u8; PROOF_BYTES],
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
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
        let ours = self.hello(role, &secured.exporter);
        secured.writer.write_all(&ours).await.map_err(TlsError::from)?;
        secured.writer.flush().await.map_err(TlsError::from)?;
        let theirs = read_hello(&mut secured.reader).await;
        let right = theirs.and_then(|hello| self.check_hello(&hello, role.other(), &secured.exporter));
        let features = match right {
            Ok(features) => features,
            Err(refusal) => {
                // An orderly end, so that our HELLO arrives and shows the other side why.
                if let Err(error) = secured.writer.shutdown().await {
                    tracing::debug!(%remote, %error, "refused the connection, and could not close it in order");
                }
                return Err(refusal);
            }
        };
        let Secured { peer, reader, writer, .. } = secured.over(Metered::lift);
        Ok(Connection { peer, remote, features, reader: Box::new(reader), writer: Box::new(writer) })
    }

    pub(crate) fn hello(&self, role: Role, exporter: &[u8; 32]) -> Vec<u8> {
        let (flags, proof) = match &self.secret {
            None => (0, [0; PROOF_BYTES]),
            Some(secret) => {
                let mut proof = [0; PROOF_BYTES];
                proof.copy_from_slice(hmac::sign(secret, &proven(role, exporter)).as_ref());
                (FLAG_SECRET, proof)
            }
        };
        // Chosen by the exporter, which is different in each connection and known in a test.
        let [bit, tail, ..] = exporter.map(usize::from);
        let features = Features::OURS | meaningless(bit + role as usize);
        let tail = tail % 8;
        let mut hello = vec![Versions::OURS.oldest, Versions::OURS.newest];
        hello.extend_from_slice(&((BODY_BYTES + tail) as u16).to_be_bytes());
        hello.push(flags);
        hello.extend_from_slice(&features.bits().to_be_bytes());
        hello.extend_from_slice(&proof);
        hello.resize(hello.len() + tail, 0);
        hello
    }

    /// Returns the features that both sides understand.
    pub(crate) fn check_hello(
        &self,
        hello: &Hello,
        from: Role,
        exporter: &[u8; 32],
    ) -> Result<Features, DialError> {
        let Hello { features, proves_secret, proof } = hello;
        let right = match &self.secret {
            None => !proves_secret && proof.iter().all(|byte| *byte == 0),
            Some(secret) => *proves_secret && hmac::verify(secret, &proven(from, exporter), proof).is_ok(),
        };
        right.then_some(Features::OURS.common(*features)).ok_or(DialError::WrongSecret)
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

/// Reads the other side's HELLO, of whatever version it is.
pub(crate) async fn read_hello(reader: &mut (impl AsyncRead + Unpin)) -> Result<Hello, DialError> {
    let mut head = [0; HEAD_BYTES];
    reader.read_exact(&mut head).await.map_err(TlsError::from)?;
    let [oldest, newest, length @ ..] = head;
    let (theirs, length) = (Versions { oldest, newest }, usize::from(u16::from_be_bytes(length)));
    let malformed = || DialError::Handshake(format!("it sent a malformed HELLO, for {theirs}"));
    if oldest > newest {
        return Err(malformed());
    }
    let ours = Versions::OURS;
    if ours.common(theirs).is_none() {
        return Err(DialError::NoCommonVersion(VersionMismatch { ours, theirs }));
    }
    if !(BODY_BYTES..=MAX_BODY).contains(&length) {
        return Err(malformed());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.map_err(TlsError::from)?;
    let mut rest = &body[..];
    let (flags, features) = (rest.get_u8(), Features::from_bits(rest.get_u64()));
    let proof = *rest.first_chunk().ok_or_else(malformed)?;
    Ok(Hello { features, proves_secret: flags & FLAG_SECRET != 0, proof })
}

/// One of the bits that stand for no feature.
fn meaningless(number: usize) -> Features {
    let reserved = Features::RESERVED.bits();
    Features::from_bits(1 << (reserved.trailing_zeros() + number as u32 % reserved.count_ones()))
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

    const EXPORTER: [u8; 32] = [5; 32];

    fn open_node() -> Credentials {
        Credentials::new(Identity::from_seed([1; 32]), None)
    }

    /// Returns what `node` makes of the HELLO that a side in this role has sent.
    fn read_by(node: &Credentials, hello: &[u8], from: Role) -> Result<Features, DialError> {
        read_by_with(node, hello, from, &EXPORTER)
    }

    fn read_by_with(
        node: &Credentials,
        mut hello: &[u8],
        from: Role,
        exporter: &[u8; 32],
    ) -> Result<Features, DialError> {
        let reading = std::pin::pin!(read_hello(&mut hello));
        let Poll::Ready(read) = reading.poll(&mut Context::from_waker(std::task::Waker::noop())) else {
            panic!("all of it is there")
        };
        node.check_hello(&read?, from, exporter)
    }

    #[test]
    fn a_proof_is_good_for_one_sender_and_one_connection() {
        let node = Credentials::new(Identity::from_seed([1; 32]), Some(b"the secret of our network"));
        let hello = node.hello(Role::Dialler, &EXPORTER);
        assert_eq!(read_by(&node, &hello, Role::Dialler), Ok(Features::OURS));
        assert_eq!(read_by(&node, &hello, Role::Acceptor), Err(DialError::WrongSecret));
        let elsewhere = read_by_with(&node, &hello, Role::Dialler, &[6; 32]);
        assert_eq!(elsewhere, Err(DialError::WrongSecret));
    }

    #[test]
    fn hellos_are_those_of_the_test_vectors() {
        let hello = |secret, role| {
            let node = Credentials::new(Identity::from_seed([7; 32]), secret);
            hex(&node.hello(role, &EXPORTER))
        };
        let (vectors, secret) = (vectors(), Some(&b"the secret of our network"[..]));
        assert_eq!(vectors["HELLO: open"], hello(None, Role::Dialler));
        assert_eq!(vectors["HELLO: secret, dialler"], hello(secret, Role::Dialler));
        assert_eq!(vectors["HELLO: secret, acceptor"], hello(secret, Role::Acceptor));
    }

    #[test]
    fn without_a_secret_the_proof_is_zeros_and_what_is_unknown_is_ignored() {
        let node = open_node();
        let mut hello = node.hello(Role::Dialler, &EXPORTER);
        assert_eq!(hello[13..], [0; PROOF_BYTES + 5]);
        hello[4] = 0xfe;
        hello[5..13].fill(0xff);
        hello.extend_from_slice(&[0xff; 100]);
        hello[3] += 100;
        assert_eq!(read_by(&node, &hello, Role::Dialler), Ok(Features::OURS));
        hello[44] = 1;
        assert_eq!(read_by(&node, &hello, Role::Dialler), Err(DialError::WrongSecret));
    }

    /// Each side sends one bit that means nothing, and the two sides of a connection not the same.
    #[test]
    fn what_means_nothing_is_sent_and_is_never_common() {
        for first in 0..=255 {
            let sent = [Role::Dialler, Role::Acceptor].map(|role| {
                let hello = open_node().hello(role, &[first; 32]);
                assert_eq!(usize::from(hello[3]), hello.len() - HEAD_BYTES);
                u64::from_be_bytes(hello[5..13].try_into().unwrap()) & Features::RESERVED.bits()
            });
            assert_eq!(sent.map(u64::count_ones), [1, 1]);
            assert_ne!(sent[0], sent[1]);
        }
    }

    #[test]
    fn without_a_common_version_both_sides_know_which_one_is_to_be_upgraded() {
        let ours = Versions::OURS;
        for (theirs, upgrade) in [((200, 201), "this node"), ((0, 0), "the other node")] {
            // Nothing is known of what follows the head.
            let hello = [theirs.0, theirs.1, 0xff, 0xff];
            let error = read_by(&open_node(), &hello, Role::Dialler).unwrap_err();
            let theirs = Versions { oldest: theirs.0, newest: theirs.1 };
            assert_eq!(error, DialError::NoCommonVersion(VersionMismatch { ours, theirs }));
            assert!(error.to_string().ends_with(&format!("upgrade {upgrade}")), "{error}");
        }
        let later = [ours.newest, 255, 0, 0];
        assert!(!matches!(read_by(&open_node(), &later, Role::Dialler), Err(DialError::NoCommonVersion(_))));
    }

    #[test]
    fn a_hello_of_a_wrong_length_or_an_impossible_range_is_refused() {
        let node = open_node();
        let good = node.hello(Role::Dialler, &EXPORTER);
        let with_length = |length: usize| {
            let mut hello = good.clone();
            hello[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            hello.resize(HEAD_BYTES + length, 0);
            read_by(&node, &hello, Role::Dialler)
        };
        assert!(with_length(BODY_BYTES).is_ok() && with_length(MAX_BODY).is_ok());
        for length in [0, BODY_BYTES - 1, MAX_BODY + 1] {
            let error = with_length(length).unwrap_err();
            assert!(error.to_string().contains("malformed HELLO"), "{length}: {error}");
        }
        let mut upside_down = good.clone();
        (upside_down[0], upside_down[1]) = (2, 1);
        assert!(matches!(read_by(&node, &upside_down, Role::Dialler), Err(DialError::Handshake(_))));
        for cut in 0..good.len() {
            assert!(read_by(&node, &good[..cut], Role::Dialler).is_err(), "cut at {cut}");
        }
    }
}
