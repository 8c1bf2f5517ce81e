//! Mutual authentication and encryption: TLS 1.3 with raw public keys. All calls to rustls are
//! here.
//!
//! rustls performs the handshake. The records behind it are sealed and opened by `tls/writer.rs`
//! and `tls/reader.rs` (RFC 8446, section 5), because rustls reads 4 KiB at a time, copies each
//! incoming byte three times, and does not let its two directions run in parallel. There is one
//! difference on the wire: a broken record ends the connection without an alert.
//!
//! TLS 1.3 only. Both sides show an ed25519 public key instead of a certificate (RFC 7250) and
//! prove that they hold its private half; the key is the node's id, so there is no authority to
//! trust and no name to verify. The version of the protocol is agreed by ALPN. There is no
//! resumption and no early data: no received data can be a replay.

mod handshake;
pub(crate) mod keys;
mod reader;
#[cfg(test)]
mod record_tests;
mod writer;

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, ring as ring_provider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Connection, DigitallySignedStruct,
    DistinguishedName, Error, ExtractedSecrets, OtherError, PeerMisbehaved, ServerConfig, ServerConnection,
    SignatureScheme, SupportedCipherSuite,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};

use crate::identity::Identity;
use smokesignal_proto::NodeId;

use keys::{Keys, Secrets, Suite};
use reader::{Opening, Reader};
use writer::{Sealing, Writer};

/// The protocol. Its version is not part of it but of HELLO: otherwise a node without a common
/// version would learn nothing about the other one.
const ALPN: &str = "smokesignal";

/// The server name. Every dialler sends it in clear, so it is the same for all nodes and reveals
/// nothing.
const SERVER_NAME: &str = "smokesignal";

/// Label of the bytes that only the two ends of one connection can compute (RFC 8446, section 7.5).
const EXPORTER: &[u8] = b"EXPORTER-smokesignal-secret";

/// A `SubjectPublicKeyInfo` of ed25519 is this and the 32 bytes of the key (RFC 8410, section 4).
const PUBLIC_KEY_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A PKCS#8 key of ed25519 is this and the 32 bytes of the seed (RFC 8410, section 7).
const PRIVATE_KEY_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// One node's configuration of TLS, for dialling and accepting.
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
    server: Arc<ServerConfig>,
}

/// A connection whose other end is known.
pub(crate) struct Secured<S> {
    pub(crate) peer: NodeId,
    pub(crate) reader: Reader<ReadHalf<S>>,
    pub(crate) writer: Writer<WriteHalf<S>>,
    /// 32 bytes that are the same at both ends and different for every connection.
    pub(crate) exporter: [u8; 32],
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("expected node {expected}, reached {found}")]
    WrongNode { expected: NodeId, found: NodeId },
    #[error("it closed the connection during the handshake")]
    ClosedEarly,
    #[error("{0}")]
    Handshake(String),
    #[error(transparent)]
    Io(io::Error),
}

impl Tls {
    pub(crate) fn new(identity: &Identity) -> Self {
        let provider = Arc::new(ring_provider::default_provider());
        let key = Arc::new(certified_key(&provider, identity.seed(), &identity.id()));
        let server = Arc::new(server_config(&provider, &key));
        Self { provider, key, server }
    }

    /// Performs the handshake as the dialler. A node other than `expect` learns neither this node's
    /// id nor anything else.
    pub(crate) async fn connect<S>(&self, stream: S, expect: Option<NodeId>) -> Result<Secured<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let client_key = Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.key.clone()));
        self.connect_as(client_key, ALPN, stream, expect).await
    }

    async fn connect_as<S>(
        &self,
        key: Arc<dyn ResolvesClientCert>,
        alpn: &str,
        stream: S,
        expect: Option<NodeId>,
    ) -> Result<Secured<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let secrets = Arc::new(Secrets::default());
        let mut config = client_config(&self.provider, key, alpn, expect);
        config.key_log = secrets.clone();
        let name = ServerName::try_from(SERVER_NAME).expect("a valid name");
        let session = ClientConnection::new(Arc::new(config), name)?;
        Secured::new(stream, session.into(), &secrets).await
    }

    /// Performs the handshake as the acceptor.
    pub(crate) async fn accept<S>(&self, stream: S) -> Result<Secured<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let secrets = Arc::new(Secrets::default());
        let mut config = ServerConfig::clone(&self.server);
        config.key_log = secrets.clone();
        let session = ServerConnection::new(Arc::new(config))?;
        Secured::new(stream, session.into(), &secrets).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secured<S> {
    async fn new(mut io: S, mut session: Connection, secrets: &Secrets) -> Result<Self, TlsError> {
        let read = handshake::shake(&mut io, &mut session).await?;
        // A dialler that offers no protocol at all gets this far.
        if session.alpn_protocol() != Some(ALPN.as_bytes()) {
            return Err(Error::NoApplicationProtocol.into());
        }
        let certificates = session.peer_certificates().unwrap_or_default();
        let peer = certificates.first().ok_or(Error::NoCertificatesPresented).and_then(node_id)?;
        let exporter = session.export_keying_material([0; 32], EXPORTER, None)?;
        let (inwards, outwards) = keys(session, secrets)?;
        let asked = Arc::default();
        let opening = Opening::new(inwards, read, Arc::clone(&asked));
        let (reader, writer) = halves(io, opening, Sealing::new(outwards, asked));
        Ok(Self { peer, reader, writer, exporter })
    }

    /// Returns the same stream over another carrier of the encrypted bytes.
    pub(crate) fn over<T: AsyncRead + AsyncWrite>(self, carrier: impl FnOnce(S) -> T) -> Secured<T> {
        let Self { peer, reader, writer, exporter } = self;
        let io = carrier(reader.io.unsplit(writer.io));
        let (reader, writer) = halves(io, reader.opening, writer.sealing);
        Secured { peer, reader, writer, exporter }
    }
}

fn halves<S: AsyncRead + AsyncWrite>(
    io: S,
    opening: Opening,
    sealing: Sealing,
) -> (Reader<ReadHalf<S>>, Writer<WriteHalf<S>>) {
    let (reader, writer) = tokio::io::split(io);
    (Reader { io: reader, opening }, Writer { io: writer, sealing })
}

/// Returns the first keys of both directions, at the end of the handshake.
fn keys(session: Connection, secrets: &Secrets) -> Result<(Keys, Keys), Error> {
    let Some(SupportedCipherSuite::Tls13(suite)) = session.negotiated_cipher_suite() else {
        return Err(Error::HandshakeNotComplete);
    };
    let suite = Suite::new(suite)?;
    let [client, server] = secrets.take().map(|secret| Keys::new(suite, &secret));
    let (inwards, outwards) = match session {
        Connection::Client(_) => (server?, client?),
        Connection::Server(_) => (client?, server?),
    };
    // A record that rustls had sealed or opened with these keys would have used up the first
    // number.
    let ExtractedSecrets { tx: (sealed, _), rx: (opened, _) } = session.dangerous_extract_secrets()?;
    if (sealed, opened) != (0, 0) {
        return Err(Error::General("there was data in the handshake".to_owned()));
    }
    Ok((inwards, outwards))
}

fn certified_key(provider: &CryptoProvider, seed: &[u8; 32], shown: &NodeId) -> CertifiedKey {
    let private = PrivatePkcs8KeyDer::from([&PRIVATE_KEY_PREFIX[..], seed].concat());
    let private = provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(private));
    let public = [&PUBLIC_KEY_PREFIX[..], shown.as_bytes()].concat();
    CertifiedKey::new(vec![public.into()], private.expect("any 32 bytes are an ed25519 seed"))
}

fn server_config(provider: &Arc<CryptoProvider>, key: &Arc<CertifiedKey>) -> ServerConfig {
    let verifier = Arc::new(Verifier { provider: provider.clone(), expect: None });
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("ring offers TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key.clone())));
    config.alpn_protocols = vec![ALPN.into()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.enable_secret_extraction = true;
    config
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    key: Arc<dyn ResolvesClientCert>,
    alpn: &str,
    expect: Option<NodeId>,
) -> ClientConfig {
    let verifier = Arc::new(Verifier { provider: provider.clone(), expect });
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("ring offers TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(key);
    config.alpn_protocols = vec![alpn.into()];
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    config
}

/// Accepts exactly one ed25519 public key and checks that the other side can sign with it.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    expect: Option<NodeId>,
}

impl Verifier {
    fn check_key(&self, key: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        let found = node_id(key)?;
        if !more.is_empty() {
            return Err(CertificateError::BadEncoding.into());
        }
        match self.expect {
            Some(expected) if expected != found => {
                let wrong_node = OtherError(Arc::new(TlsError::WrongNode { expected, found }));
                Err(CertificateError::Other(wrong_node).into())
            }
            _ => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
    }
}

fn node_id(key: &CertificateDer<'_>) -> Result<NodeId, Error> {
    key.strip_prefix(&PUBLIC_KEY_PREFIX)
        .and_then(|key| key.try_into().ok())
        .map(NodeId::from_bytes)
        // Anybody could sign for such a key.
        .filter(|id| !id.is_weak())
        .ok_or_else(|| CertificateError::BadEncoding.into())
}

/// Is never called: only TLS 1.3 is offered and accepted.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("only TLS 1.3 is spoken".to_owned()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_key(key, more).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_key(key, more).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        if let Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = &error
            && let Some(Self::WrongNode { expected, found }) = cause.downcast_ref()
        {
            return Self::WrongNode { expected: *expected, found: *found };
        }
        Self::Handshake(match error {
            Error::NoApplicationProtocol | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                format!("it does not speak {ALPN}; use the same release on both sides")
            }
            Error::InvalidMessage(_) => format!("it does not speak TLS ({error})"),
            error => error.to_string(),
        })
    }
}

/// Converts errors of the handshake, which wrap those of rustls.
impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> Self {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            return error.clone().into();
        }
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Self::ClosedEarly,
            InvalidData => Self::Handshake(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::SignatureAlgorithm;
    use rustls::sign::{Signer, SigningKey};
    use tokio::io::DuplexStream;
    use tokio_rustls::TlsConnector;

    use super::*;

    type Outcome = Result<Secured<DuplexStream>, TlsError>;

    fn node(seed: u8) -> (Tls, NodeId) {
        let identity = Identity::from_seed([seed; 32]);
        (Tls::new(&identity), identity.id())
    }

    async fn handshake(dialler: &Tls, acceptor: &Tls, expect: Option<NodeId>) -> (Outcome, Outcome) {
        let (a, b) = tokio::io::duplex(64 * 1024);
        tokio::join!(dialler.connect(a, expect), acceptor.accept(b))
    }

    /// Dials with another key or another protocol than honest nodes do.
    async fn dial_as(key: Arc<dyn ResolvesClientCert>, alpn: &str) -> (Outcome, Outcome) {
        let ((dialler, _), (acceptor, _)) = (node(1), node(2));
        let (a, b) = tokio::io::duplex(64 * 1024);
        tokio::join!(dialler.connect_as(key, alpn, a, None), acceptor.accept(b))
    }

    fn client_key(tls: &Tls) -> Arc<dyn ResolvesClientCert> {
        Arc::new(AlwaysResolvesClientRawPublicKeys::new(tls.key.clone()))
    }

    #[tokio::test]
    async fn both_sides_learn_who_the_other_is_and_share_a_secret_of_this_connection() {
        let ((a, id_a), (b, id_b)) = (node(1), node(2));
        let (dialled, accepted) = handshake(&a, &b, Some(id_b)).await;
        let (dialled, accepted) = (dialled.ok().unwrap(), accepted.ok().unwrap());
        assert_eq!((dialled.peer, accepted.peer), (id_b, id_a));
        assert_eq!(dialled.exporter, accepted.exporter);
        let (again, _) = handshake(&a, &b, Some(id_b)).await;
        assert_ne!(again.ok().unwrap().exporter, dialled.exporter);
    }

    #[tokio::test]
    async fn another_node_than_expected_is_refused_and_learns_nothing() {
        let ((a, _), (b, id_b), (_, id_c)) = (node(1), node(2), node(3));
        let (dialled, accepted) = handshake(&a, &b, Some(id_c)).await;
        let Err(TlsError::WrongNode { expected, found }) = dialled else { panic!("not refused") };
        assert_eq!((expected, found), (id_c, id_b));
        assert!(matches!(accepted, Err(TlsError::Handshake(_))), "the dialler went on");
    }

    #[tokio::test]
    async fn another_protocol_is_refused_and_both_sides_know_why() {
        let (dialled, accepted) = dial_as(client_key(&node(1).0), "smokesignal/1").await;
        for outcome in [dialled, accepted] {
            let error = outcome.err().unwrap().to_string();
            assert!(error.contains("does not speak smokesignal"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_dialler_that_names_no_protocol_is_refused() {
        let ((dialler, _), (acceptor, _)) = (node(1), node(2));
        let mut config = client_config(&dialler.provider, client_key(&dialler), ALPN, None);
        config.alpn_protocols.clear();
        let (a, b) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let connect = TlsConnector::from(Arc::new(config)).connect(name, a);
        let (_dialled, accepted) = tokio::join!(connect, acceptor.accept(b));
        assert!(accepted.err().unwrap().to_string().contains("does not speak"));
    }

    /// Shows another node's public key and signs with its own.
    #[tokio::test]
    async fn showing_another_nodes_key_does_not_help() {
        let (liar, _) = node(1);
        let (_, victim) = node(3);
        let key = Arc::new(certified_key(&liar.provider, &[1; 32], &victim));
        let (_, accepted) = dial_as(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)), ALPN).await;
        assert!(matches!(accepted, Err(TlsError::Handshake(_))));
    }

    /// Signs for a key of small order, as anybody can: no private key takes part in it.
    #[derive(Debug, Clone)]
    struct Forger;

    impl SigningKey for Forger {
        fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
            Some(Box::new(self.clone()))
        }
        fn algorithm(&self) -> SignatureAlgorithm {
            SignatureAlgorithm::ED25519
        }
    }

    impl Signer for Forger {
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
            let mut signature = vec![0; 64];
            signature[0] = 1;
            Ok(signature)
        }
        fn scheme(&self) -> SignatureScheme {
            SignatureScheme::ED25519
        }
    }

    #[tokio::test]
    async fn a_node_whose_key_is_of_small_order_is_refused() {
        let mut weak = [0; 32];
        weak[0] = 1;
        let public = [&PUBLIC_KEY_PREFIX[..], &weak].concat();
        let key = Arc::new(CertifiedKey::new(vec![public.into()], Arc::new(Forger)));
        let (_, accepted) = dial_as(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)), ALPN).await;
        assert!(matches!(accepted, Err(TlsError::Handshake(_))));
    }

    #[derive(Debug)]
    struct NoKey;

    impl ResolvesClientCert for NoKey {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }
        fn only_raw_public_keys(&self) -> bool {
            true
        }
        fn has_certs(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn a_dialler_without_a_key_is_refused() {
        let (_, accepted) = dial_as(Arc::new(NoKey), ALPN).await;
        assert!(matches!(accepted, Err(TlsError::Handshake(_))));
    }

    #[test]
    fn only_a_whole_ed25519_key_is_a_node_id() {
        let key = [&PUBLIC_KEY_PREFIX[..], &[7; 32]].concat();
        assert_eq!(node_id(&key.clone().into()), Ok(NodeId::from_bytes([7; 32])));
        let mut other_algorithm = key.clone();
        other_algorithm[8] = 0x71; // ed448
        for bad in [&key[..43], &[&key[..], &[0]].concat(), &other_algorithm, &[]] {
            assert!(node_id(&bad.to_vec().into()).is_err());
        }
    }
}
