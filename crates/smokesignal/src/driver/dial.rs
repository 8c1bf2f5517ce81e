//! From the name of a target to a connection, or to a reason that names it.

use std::net::SocketAddr;

use smokesignal_proto::{NodeId, Target};

use crate::error::ConnectError;
use crate::transport::{Connection, DialError, Endpoint};

/// Addresses of one host name that are tried.
const MAX_RESOLVED: usize = 4;

/// Dials the target's addresses one after the other, until one answers as the node that is expected.
pub(crate) async fn connect(
    endpoint: &dyn Endpoint,
    target: &Target,
    expect: Option<NodeId>,
) -> Result<Connection, ConnectError> {
    let (name, addresses) = match target {
        Target::Address(address) => (address.to_string(), vec![*address]),
        Target::Name(name) => {
            let found = resolve(name).await;
            (name.clone(), found.map_err(|cause| ConnectError::Resolve { address: name.clone(), cause })?)
        }
    };
    let mut failure = ConnectError::Resolve { address: name.clone(), cause: "it has no address".into() };
    for address in addresses {
        match endpoint.dial(address, expect).await {
            Ok(connection) => return Ok(connection),
            Err(error) => failure = explain(&name, error),
        }
    }
    Err(failure)
}

/// The addresses of `HOST:PORT`, or what the system says instead.
pub(crate) async fn resolve(name: &str) -> Result<Vec<SocketAddr>, String> {
    // Without the system's resolver, whose thread would hold up virtual time.
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    match tokio::net::lookup_host(name).await {
        Ok(found) => Ok(found.take(MAX_RESOLVED).collect()),
        Err(error) => Err(error.to_string()),
    }
}

/// The same, for who asked for it.
pub(crate) fn explain(address: &str, error: DialError) -> ConnectError {
    let address = address.to_owned();
    match error {
        DialError::Refused => ConnectError::Refused(address),
        DialError::TimedOut => ConnectError::TimedOut(address),
        DialError::WrongNode { expected, found } => ConnectError::WrongNode { address, expected, found },
        DialError::WrongSecret => ConnectError::WrongSecret(address),
        DialError::Handshake(cause) => ConnectError::Handshake { address, cause },
        DialError::Io(cause) => ConnectError::Io { address, cause },
    }
}
