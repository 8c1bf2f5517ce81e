//! TLS as all ceilings use it: version 1.3, AES-128-GCM, ring, a certificate that was made a moment
//! ago.

use std::sync::Arc;

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The name that the certificate is for.
pub const NAME: &str = "localhost";

/// A new certificate, and both sides that agree on it.
///
/// # Errors
/// The cryptography library refused what it is known to do.
pub fn new() -> Result<(ClientConfig, ServerConfig), harness::Error> {
    let own = rcgen::generate_simple_self_signed([NAME.to_string()])?;
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der())?;
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone())?;
    let suites = vec![TLS13_AES_128_GCM_SHA256];
    let provider = Arc::new(CryptoProvider { cipher_suites: suites, ..provider::default_provider() });
    let versions = [&rustls::version::TLS13];
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    // Tickets would be records that nobody reads here.
    server.send_tls13_tickets = 0;
    Ok((client, server))
}
