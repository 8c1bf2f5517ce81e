//! TLS 1.3 as a ceiling: rustls performs the handshake and exports its keys; records are sealed and
//! opened here, in place, in large buffers. The bytes on the wire are the same, without the cost of
//! rustls' buffers.

use std::io;
use std::sync::Arc;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use rustls::ConnectionTrafficSecrets;
use rustls::ConnectionTrafficSecrets::Aes128Gcm;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Bytes of payload in a record (RFC 8446, 5.1).
const RECORD: usize = 16 * 1024;
/// Before each record: its type, version and length.
const HEAD: usize = 5;
const TAG: usize = 16;
/// The type of data, outside and inside of the seal.
const DATA: u8 = 23;

/// Opens what one end reads.
pub(crate) struct Open(Keys);

/// Seals what one end writes.
pub(crate) struct Seal(Keys);

struct Keys {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    /// The number of the next record.
    next: u64,
}

/// Both ends' keys after a handshake. Neither end may have written anything else yet.
pub(crate) async fn shake(
    client: TcpStream,
    server: TcpStream,
) -> io::Result<((TcpStream, (Open, Seal)), (TcpStream, (Open, Seal)))> {
    let (mut client_config, mut server_config) = configs::new().map_err(io::Error::other)?;
    client_config.enable_secret_extraction = true;
    server_config.enable_secret_extraction = true;
    let name = ServerName::try_from(configs::NAME).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(client_config));
    let acceptor = TlsAcceptor::from(Arc::new(server_config));
    let (client, server) = tokio::try_join!(connector.connect(name, client), acceptor.accept(server))?;
    let ((client, client_state), (server, server_state)) = (client.into_inner(), server.into_inner());
    let client_secrets = client_state.dangerous_extract_secrets().map_err(io::Error::other)?;
    let server_secrets = server_state.dangerous_extract_secrets().map_err(io::Error::other)?;
    Ok((
        (client, (Open(Keys::new(client_secrets.rx)?), Seal(Keys::new(client_secrets.tx)?))),
        (server, (Open(Keys::new(server_secrets.rx)?), Seal(Keys::new(server_secrets.tx)?))),
    ))
}

impl Keys {
    fn new((next, secrets): (u64, ConnectionTrafficSecrets)) -> io::Result<Self> {
        let Aes128Gcm { key, iv } = secrets else {
            return Err(io::Error::other("another cipher than AES-128-GCM"));
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref())
            .map_err(|_| io::Error::other("a key of the wrong length"))?;
        let iv = iv.as_ref().try_into().map_err(io::Error::other)?;
        Ok(Self { key: LessSafeKey::new(key), iv, next })
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(self.next.to_be_bytes()) {
            *byte ^= number;
        }
        self.next += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Seal {
    /// Appends the records that carry these bytes.
    pub(crate) fn seal(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), Unspecified> {
        for part in bytes.chunks(RECORD) {
            let head = head(part.len() + 1 + TAG);
            wire.extend_from_slice(&head);
            let from = wire.len();
            wire.extend_from_slice(part);
            wire.push(DATA);
            let nonce = self.0.nonce();
            let tag = self.0.key.seal_in_place_separate_tag(nonce, Aad::from(head), &mut wire[from..])?;
            wire.extend_from_slice(tag.as_ref());
        }
        Ok(())
    }
}

impl Open {
    /// Opens the complete records, appends their payload to `plain`, and returns their length in
    /// bytes.
    pub(crate) fn open(&mut self, wire: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, Unspecified> {
        let mut at = 0;
        while let Some(&head) = wire[at..].first_chunk::<HEAD>() {
            let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
            let from = at + HEAD;
            let Some(record) = wire.get_mut(from..from + len) else { break };
            let nonce = self.0.nonce();
            let opened = self.0.key.open_in_place(nonce, Aad::from(head), record)?;
            let Some((&DATA, payload)) = opened.split_last() else { return Err(Unspecified) };
            plain.extend_from_slice(payload);
            at = from + len;
        }
        Ok(at)
    }
}

fn head(len: usize) -> [u8; HEAD] {
    let [high, low] = (len as u16).to_be_bytes();
    [DATA, 3, 3, high, low]
}
