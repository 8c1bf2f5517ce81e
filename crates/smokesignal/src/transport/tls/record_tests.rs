//! The records against those of rustls, and against records that no honest node sends.

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use rustls::crypto::ring::cipher_suite;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::keys::{ALERT, DATA, HANDSHAKE};
use super::writer::KEY_UPDATE;
use super::*;

/// More than any connection of these tests carries.
const ROOM: usize = 4 * 1024 * 1024;

fn tls(seed: u8) -> Tls {
    Tls::new(&Identity::from_seed([seed; 32]))
}

/// Creates one direction of a connection over a carrier of this capacity; bytes written to
/// `writer.io` are not sealed.
async fn line(room: usize) -> (Writer<WriteHalf<DuplexStream>>, Reader<ReadHalf<DuplexStream>>) {
    let (a, b) = tokio::io::duplex(room);
    let (dialler, acceptor) = (tls(1), tls(2));
    let (dialled, accepted) = tokio::join!(dialler.connect(a, None), acceptor.accept(b));
    (dialled.ok().unwrap().writer, accepted.ok().unwrap().reader)
}

fn bytes(count: u32) -> Vec<u8> {
    (0..count).map(|i| (i % 251) as u8).collect()
}

/// Connects rustls as the dialler, which offers this suite only, with this crate as the acceptor.
async fn with_rustls(suite: SupportedCipherSuite) -> (TlsStream<DuplexStream>, Secured<DuplexStream>) {
    let (dialler, acceptor) = (tls(1), tls(2));
    let provider = CryptoProvider { cipher_suites: vec![suite], ..ring_provider::default_provider() };
    let key = Arc::new(AlwaysResolvesClientRawPublicKeys::new(dialler.key.clone()));
    let config = client_config(&Arc::new(provider), key, ALPN, None);
    let (a, b) = tokio::io::duplex(ROOM);
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let connect = TlsConnector::from(Arc::new(config)).connect(name, a);
    let (theirs, ours) = tokio::join!(connect, acceptor.accept(b));
    (theirs.unwrap(), ours.ok().unwrap())
}

/// Checks that bytes written on one side are read on the other.
async fn carry(writer: &mut (impl AsyncWrite + Unpin), reader: &mut (impl AsyncRead + Unpin), sent: &[u8]) {
    let mut read = vec![0; sent.len()];
    let write = async {
        writer.write_all(sent).await?;
        writer.flush().await
    };
    tokio::try_join!(write, reader.read_exact(&mut read)).unwrap();
    assert!(read == sent);
}

/// Reads until the end.
async fn rest(reader: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await.unwrap();
    read
}

#[tokio::test]
async fn rustls_understands_each_suite_in_both_directions_and_through_updates_of_the_keys() {
    let sent = bytes(100_000);
    for suite in ring_provider::ALL_CIPHER_SUITES.iter().copied().filter(|suite| suite.tls13().is_some()) {
        let (mut theirs, Secured { mut reader, mut writer, .. }) = with_rustls(suite).await;
        for round in 0..4 {
            carry(&mut theirs, &mut reader, &sent).await;
            carry(&mut writer, &mut theirs, &sent).await;
            match round {
                // It requests one in return.
                0 | 1 => theirs.get_mut().1.refresh_traffic_keys().unwrap(),
                _ => writer.sealing.keys.suite.limit = writer.sealing.keys.next,
            }
        }
        // What was carried in one round makes seven records; a key that seals seven seals six, and
        // its update.
        assert_eq!((reader.opening.keys.next, writer.sealing.keys.next), (2 * 7, 1), "{suite:?}");
        theirs.shutdown().await.unwrap();
        assert_eq!(reader.read(&mut [0; 1]).await.unwrap(), 0);
        writer.shutdown().await.unwrap();
        assert_eq!(theirs.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn rustls_as_the_acceptor_may_send_tickets() {
    let (dialler, acceptor) = (tls(1), tls(2));
    let mut config = ServerConfig::clone(&acceptor.server);
    config.send_tls13_tickets = 3;
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    let (a, b) = tokio::io::duplex(ROOM);
    let accept = TlsAcceptor::from(Arc::new(config)).accept(b);
    let (ours, theirs) = tokio::join!(dialler.connect(a, None), accept);
    let (mut ours, mut theirs) = (ours.ok().unwrap(), theirs.unwrap());
    carry(&mut theirs, &mut ours.reader, &bytes(50_000)).await;
    carry(&mut ours.writer, &mut theirs, &bytes(50_000)).await;
}

#[tokio::test]
async fn many_records_come_whole_through_buffers_and_carriers_of_any_size() {
    let sent = bytes(100_000);
    for (size, room) in [(1, ROOM), (100, 1), (5_000, 7), (300_000, 1_000), (20_000, 30_000), (300_000, ROOM)]
    {
        let (mut writer, mut reader) = line(room).await;
        let write = async {
            for part in sent.chunks(7_000) {
                writer.write_all(part).await.unwrap();
            }
            writer.shutdown().await.unwrap();
        };
        let read = async {
            let (mut read, mut buffer) = (Vec::new(), vec![0; size]);
            loop {
                match reader.read(&mut buffer).await.unwrap() {
                    0 => break read,
                    part => read.extend_from_slice(&buffer[..part]),
                }
            }
        };
        let ((), read) = tokio::join!(write, read);
        assert!(read == sent, "through a buffer of {size} over a carrier of {room}");
    }
}

#[tokio::test]
async fn pieces_from_many_places_are_written_as_one() {
    let (mut writer, mut reader) = line(ROOM).await;
    let sent = bytes(300_000);
    let (a, rest) = sent.split_at(5);
    let (b, c) = rest.split_at(40_000);
    let pieces = [&[][..], a, b, &[], c].map(std::io::IoSlice::new);
    let taken = writer.write_vectored(&pieces).await.unwrap();
    assert_eq!(taken, 256 * 1024);
    writer.flush().await.unwrap();
    let mut read = vec![0; taken];
    reader.read_exact(&mut read).await.unwrap();
    assert!(read == sent[..taken]);
}

/// A carrier that takes nothing the first time.
struct FailsOnce<W>(W, bool);

impl<W: AsyncWrite + Unpin> AsyncWrite for FailsOnce<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !std::mem::replace(&mut self.1, true) {
            return Poll::Ready(Err(ErrorKind::OutOfMemory.into()));
        }
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn what_was_taken_is_not_sealed_again_after_an_error() {
    let (writer, mut reader) = line(ROOM).await;
    let mut writer = Writer { io: FailsOnce(writer.io, false), sealing: writer.sealing };
    assert_eq!(writer.write(b"once").await.unwrap(), 4);
    writer.shutdown().await.unwrap();
    assert_eq!(rest(&mut reader).await, b"once");
}

#[tokio::test]
async fn what_comes_behind_the_end_is_not_waited_for() {
    let (mut writer, mut reader) = line(ROOM).await;
    writer.write_all(b"last words").await.unwrap();
    writer.sealing.close();
    writer.flush().await.unwrap();
    writer.io.write_all(&[7; 20_000]).await.unwrap();
    assert_eq!(rest(&mut reader).await, b"last words");
    assert_eq!(writer.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn an_end_without_a_word_is_an_error() {
    let (mut writer, mut reader) = line(ROOM).await;
    writer.write_all(b"last words").await.unwrap();
    writer.io.shutdown().await.unwrap();
    let error = reader.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

/// Returns the reader's error for these bytes, behind some that are right. The error must repeat,
/// and the reader must never read on.
async fn refused(wire: impl FnOnce(&mut Keys, &mut Vec<u8>)) -> String {
    let (mut writer, mut reader) = line(ROOM).await;
    let mut sealed = Vec::new();
    writer.sealing.keys.seal(DATA, [&b"right"[..]], &mut sealed);
    wire(&mut writer.sealing.keys, &mut sealed);
    writer.sealing.keys.seal(DATA, [&b"behind"[..]], &mut sealed);
    writer.io.write_all(&sealed).await.unwrap();
    let mut read = Vec::new();
    let error = reader.read_to_end(&mut read).await.unwrap_err();
    assert_eq!(read, b"right");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert_eq!(reader.read(&mut [0; 9]).await.unwrap_err().kind(), ErrorKind::InvalidData);
    error.to_string()
}

fn one(kind: u8, carries: &'static [u8]) -> impl FnOnce(&mut Keys, &mut Vec<u8>) {
    move |keys, wire| keys.seal(kind, [carries], wire)
}

#[tokio::test]
async fn a_changed_repeated_missing_or_shifted_record_is_never_read() {
    let changed = |at: usize| {
        move |keys: &mut Keys, wire: &mut Vec<u8>| {
            let begin = wire.len();
            keys.seal(DATA, [&[7; 100][..]], wire);
            wire[begin + at] ^= 1;
        }
    };
    // The version in the header has no meaning, but it is authenticated, too.
    for at in [1, 2, 5, 50, 104, 105, 106, 121] {
        assert!(refused(changed(at)).await.contains("changed on its way"), "byte {at}");
    }
    assert!(refused(|_, wire| wire.extend_from_within(..)).await.contains("changed on its way"));
    assert!(refused(|keys, _| keys.seal(DATA, [&b"lost"[..]], &mut Vec::new())).await.contains("changed"));
    assert!(refused(|_, wire| wire.extend([DATA, 3, 3, 0, 28])).await.contains("changed on its way"));
}

#[tokio::test]
async fn what_is_no_record_is_refused_before_it_is_waited_for() {
    for head in [[22, 3, 3, 0, 40], [DATA, 3, 3, 0, 16], [DATA, 3, 3, 0x41, 1], [DATA, 3, 3, 0xff, 0xff]] {
        let error = refused(|_, wire| wire.extend(head)).await;
        assert!(error.contains("type is 22") || error.contains("cannot have"), "{error}");
    }
    for long in [&[7; 16_385][..], &[0; 16_385]] {
        let seal = |keys: &mut Keys, wire: &mut Vec<u8>| keys.seal(DATA, [long], wire);
        assert!(refused(seal).await.contains("more than it may"));
    }
    assert!(refused(one(0, &[0; 9])).await.contains("no type"));
    assert!(refused(one(20, &[1])).await.contains("type 20"));
}

#[tokio::test]
async fn only_updates_of_the_key_and_tickets_may_come_behind_the_handshake() {
    let messages: [&'static [u8]; 7] = [
        &[],
        &[24, 0, 0, 1],
        &[24, 0, 0, 1, 2],
        &[24, 0, 0, 2, 0, 0],
        &[24, 0, 0, 1, 0, 4, 0, 0, 0],
        &[1, 0, 0, 1, 0],
        &[4, 0, 0, 9, 0],
    ];
    for carried in messages {
        let error = refused(one(HANDSHAKE, carried)).await;
        assert!(error.contains("half a message") || error.contains("no place here"), "{error}");
    }
    let many = |keys: &mut Keys, wire: &mut Vec<u8>| {
        for _ in 0..33 {
            keys.seal(HANDSHAKE, [&KEY_UPDATE[..]], wire);
            keys.update();
        }
    };
    assert!(refused(many).await.contains("too many in a row"));
}

#[tokio::test]
async fn records_without_data_come_to_an_end() {
    let many = |kind: u8, carries: &'static [u8]| {
        move |keys: &mut Keys, wire: &mut Vec<u8>| (0..33).for_each(|_| one(kind, carries)(keys, wire))
    };
    for (kind, carries) in [(DATA, &[][..]), (ALERT, &[1, 90]), (HANDSHAKE, &[4, 0, 0, 1, 7, 4, 0, 0, 0])] {
        assert!(refused(many(kind, carries)).await.contains("too many in a row"));
    }
}

#[tokio::test]
async fn an_alert_is_told_by_its_name() {
    assert!(refused(one(ALERT, &[2, 42])).await.contains("BadCertificate"));
    assert!(refused(one(ALERT, &[2])).await.contains("no alert"));
}

#[tokio::test]
async fn empty_records_and_padding_carry_nothing() {
    let (mut writer, mut reader) = line(ROOM).await;
    let mut sealed = Vec::new();
    let keys = &mut writer.sealing.keys;
    keys.seal(DATA, [], &mut sealed);
    // A padded record: payload, type, and zeros, the last of which is where the type would be.
    keys.seal(0, [&b"padded"[..], &[DATA], &[0; 200]], &mut sealed);
    keys.seal(ALERT, [&[1, 90][..]], &mut sealed);
    writer.io.write_all(&sealed).await.unwrap();
    writer.shutdown().await.unwrap();
    assert_eq!(rest(&mut reader).await, b"padded");
}

#[tokio::test]
async fn keys_are_changed_before_they_are_worn() {
    let (mut writer, mut reader) = line(ROOM).await;
    writer.sealing.keys.suite.limit = 5;
    carry(&mut writer, &mut reader, &bytes(1_000_000)).await;
    // Sixty-two records, of which each fifth is an update.
    assert_eq!((writer.sealing.keys.next, reader.opening.keys.next), (2, 2));
    assert!(!reader.opening.asked.load(Ordering::Relaxed), "the other direction may go on with its key");
}

#[test]
fn keys_are_those_of_rfc_8448() {
    // Section 3, "Simple 1-RTT Handshake": the server's first secret for data, and the key and iv
    // from it. Sealed bytes are compared, since ring does not export keys.
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let secret = hex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
    let suite = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let mut keys = Keys::new(Suite::new(suite).unwrap(), &secret).unwrap();
    assert!(Keys::new(Suite::new(suite).unwrap(), &[]).is_err());
    let mut expected = Vec::new();
    let key = ring::aead::UnboundKey::new(&ring::aead::AES_128_GCM, &hex("9f02283b6c9c07efc26bb9f2ac92e356"));
    let key = ring::aead::LessSafeKey::new(key.unwrap());
    let iv: [u8; 12] = hex("cf782b88dd83549aadf1e984").try_into().unwrap();
    let head = [DATA, 3, 3, 0, 3 + 17];
    expected.extend_from_slice(b"abc\x17");
    let nonce = ring::aead::Nonce::assume_unique_for_key(iv);
    key.seal_in_place_append_tag(nonce, ring::aead::Aad::from(head), &mut expected).unwrap();
    let mut sealed = Vec::new();
    keys.seal(DATA, [&b"abc"[..]], &mut sealed);
    assert_eq!(sealed, [&head[..], &expected].concat());
}
