//! The desk of outgoing connections: from an address or a name to a connection, or to an error that
//! names it.
//!
//! Every dial runs in a task of its own, so that a slow one holds up nothing. A host name is
//! resolved first, and its addresses are tried one after the other. A failure is kept while the
//! core works on it, because a request of the application may be answered with it, and is reported
//! as an event if it is a new one of a seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smokesignal_proto::{DialFailure, DialId, NodeId, Target};
use tokio::task::JoinSet;

use crate::driver::relay;
use crate::error::ConnectError;
use crate::event::{Event, EventBus};
use crate::stream::handle::{NodeStream, Path};
use crate::transport::{Connection, Credentials, DialError, Endpoint};

/// Maximum number of addresses of one host name that are tried.
const MAX_RESOLVED: usize = 4;

/// Dials that are under way, and what is known of failed ones.
#[derive(Debug)]
pub(super) struct Dialing {
    endpoint: Arc<dyn Endpoint>,
    credentials: Credentials,
    seeds: Vec<String>,
    tasks: JoinSet<Dialled>,
    /// Why a dial failed, while the core works on it.
    failures: BTreeMap<DialId, ConnectError>,
    /// The last failure of each seed, so that each cause is reported once.
    troubles: BTreeMap<String, ConnectError>,
}

/// A dial that has ended.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) dial: DialId,
    pub(super) path: Path,
    /// The host name that was dialled, if it was one.
    name: Option<String>,
    outcome: Result<Connection, ConnectError>,
}

impl Dialing {
    pub(super) fn new(endpoint: Arc<dyn Endpoint>, credentials: Credentials, seeds: Vec<String>) -> Self {
        let (failures, troubles) = (BTreeMap::new(), BTreeMap::new());
        Self { endpoint, credentials, seeds, tasks: JoinSet::new(), failures, troubles }
    }

    /// Dials a target, for at most `timeout`.
    pub(super) fn dial(
        &mut self,
        dial: DialId,
        target: Target,
        expect: Option<NodeId>,
        timeout: Option<Duration>,
    ) {
        let endpoint = Arc::clone(&self.endpoint);
        self.tasks.spawn(async move {
            let timeout = timeout.unwrap_or(Duration::MAX);
            let outcome = tokio::time::timeout(timeout, connect(&*endpoint, &target, expect)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(explain("a known node", DialError::TimedOut)));
            let name = if let Target::Name(name) = target { Some(name) } else { None };
            Dialled { dial, path: Path::Direct, name, outcome }
        });
    }

    /// Connects to `id` over a stream that others relay; `None` if no neighbour can.
    pub(super) fn dial_relayed(
        &mut self,
        dial: DialId,
        stream: Option<NodeStream>,
        remote: SocketAddr,
        id: NodeId,
    ) {
        let connecting = relay::connect(stream, self.credentials.clone(), remote, id);
        self.tasks.spawn(async move {
            let outcome = connecting.await.map_err(|error| explain("a relayed node", error));
            Dialled { dial, path: Path::Relayed, name: None, outcome }
        });
    }

    /// Waits for the next dial to end; for ever while none is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Dialled {
        match self.tasks.join_next().await {
            Some(Ok(dialled)) => dialled,
            // A task that panicked or was aborted has no outcome.
            _ => std::future::pending().await,
        }
    }

    /// Returns the connection that a dial has made, or what the core should know about its failure.
    pub(super) fn finish(&mut self, dialled: Dialled, events: &EventBus) -> Result<Connection, DialFailure> {
        let Dialled { dial, path, name, outcome } = dialled;
        match outcome {
            Ok(connection) => {
                if let Some(name) = name {
                    self.troubles.remove(&name);
                }
                Ok(connection)
            }
            Err(error) => {
                tracing::debug!(?name, ?path, %error, "cannot connect");
                self.note_incompatible(name.as_deref(), &error);
                self.report_trouble(name, &error, events);
                // Where a node answers, even if it is another one, the host is reachable.
                let refused = matches!(
                    error,
                    ConnectError::Refused(_)
                        | ConnectError::WrongNode { .. }
                        | ConnectError::NoCommonVersion { .. }
                );
                self.failures.insert(dial, error);
                Err(if refused { DialFailure::Refused } else { DialFailure::Unanswered })
            }
        }
    }

    /// Notes a known node of another version. A request to dial a name is answered with the error
    /// itself.
    fn note_incompatible(&self, name: Option<&str>, error: &ConnectError) {
        if let (None, ConnectError::NoCommonVersion { address, versions }) = (name, error)
            && let Ok(address) = address.parse::<SocketAddr>()
        {
            self.credentials.incompatible().note(address.ip(), *versions);
        }
    }

    fn report_trouble(&mut self, name: Option<String>, error: &ConnectError, events: &EventBus) {
        let Some(seed) = name.filter(|name| self.seeds.contains(name)) else { return };
        if self.troubles.get(&seed) != Some(error) {
            self.troubles.insert(seed.clone(), error.clone());
            events.emit(&Event::SeedUnreachable { seed, error: error.clone() });
        }
    }

    /// Returns why a dial failed that the core still works on.
    pub(super) fn failure(&self, dial: DialId) -> Option<ConnectError> {
        self.failures.get(&dial).cloned()
    }

    /// Forgets why a dial failed: the core is done with it.
    pub(super) fn forget(&mut self, dial: DialId) {
        self.failures.remove(&dial);
    }

    /// Aborts all dials.
    pub(super) fn abort(&mut self) {
        self.tasks.abort_all();
    }
}

/// Dials the target's addresses one after the other, until the expected node answers.
async fn connect(
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

/// Returns the addresses of `HOST:PORT`, or the system's reason for finding none.
pub(crate) async fn resolve(name: &str) -> Result<Vec<SocketAddr>, String> {
    // An address needs no resolver, whose thread would hold up virtual time.
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    match tokio::net::lookup_host(name).await {
        Ok(found) => Ok(found.take(MAX_RESOLVED).collect()),
        Err(error) => Err(error.to_string()),
    }
}

/// Adds the address that was asked for to a transport's error.
fn explain(address: &str, error: DialError) -> ConnectError {
    let address = address.to_owned();
    match error {
        DialError::Refused => ConnectError::Refused(address),
        DialError::TimedOut => ConnectError::TimedOut(address),
        DialError::WrongNode { expected, found } => ConnectError::WrongNode { address, expected, found },
        DialError::WrongSecret => ConnectError::WrongSecret(address),
        DialError::NoCommonVersion(versions) => ConnectError::NoCommonVersion { address, versions },
        DialError::ClosedEarly => ConnectError::ClosedEarly(address),
        DialError::Handshake(cause) => ConnectError::Handshake { address, cause },
        DialError::Io(cause) => ConnectError::Io { address, cause },
    }
}
