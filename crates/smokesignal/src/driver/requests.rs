//! The desk of the application's requests: neighbours it wants, and streams to other nodes.
//!
//! A request is handed to the core under a number, and the core answers that number when it knows
//! the outcome. A stream whose connection ended just before it could open waits until the driver
//! has dropped that connection, and is requested again.

use std::collections::BTreeMap;
use std::time::Duration;

use smokesignal_proto::{LinkId, NodeId, RequestFailure, RequestId, Unreachable};
use tokio::sync::oneshot;

use super::Driver;
use crate::broadcast::query::ANSWERS;
use crate::error::{ConnectError, OpenError};
use crate::stream::handle::NodeStream;
use crate::stream::mux::NoStream;

/// Requests that are not answered yet.
#[derive(Debug)]
pub(super) struct Requests {
    /// The number of the latest request.
    last: u64,
    neighbours: BTreeMap<RequestId, AddPeer>,
    streams: BTreeMap<RequestId, OpenStream>,
    /// Streams that were led to a connection which had just ended.
    retries: Vec<(LinkId, OpenStream)>,
    /// How long the core looks for a node, for the error's text.
    find_timeout: Duration,
}

/// A neighbour that the application wants.
#[derive(Debug)]
pub(super) struct AddPeer {
    pub(super) address: String,
    pub(super) answer: oneshot::Sender<Result<NodeId, ConnectError>>,
}

/// A stream that the application opens.
#[derive(Debug)]
pub(super) struct OpenStream {
    pub(super) id: NodeId,
    pub(super) name: String,
    pub(super) answer: oneshot::Sender<Result<NodeStream, OpenError>>,
}

impl Requests {
    pub(super) fn new(find_timeout: Duration) -> Self {
        let (neighbours, streams) = (BTreeMap::new(), BTreeMap::new());
        Self { last: 0, neighbours, streams, retries: Vec::new(), find_timeout }
    }

    fn number(&mut self) -> RequestId {
        self.last += 1;
        RequestId(self.last)
    }

    /// Returns whether all streams that wait for a connection to this node carry answers.
    pub(super) fn is_only_answered(&self, id: &NodeId) -> bool {
        let mut names = self.streams.values().filter(|open| open.id == *id).map(|open| &open.name);
        names.next().is_some_and(|name| name == ANSWERS) && names.all(|name| name == ANSWERS)
    }

    /// Takes the streams that waited for the end of this connection.
    fn take_retries(&mut self, link: LinkId) -> Vec<OpenStream> {
        let retries = std::mem::take(&mut self.retries);
        let (over, rest) = retries.into_iter().partition::<Vec<_>, _>(|(gone, _)| *gone == link);
        self.retries = rest;
        over.into_iter().map(|(_, open)| open).collect()
    }
}

impl Driver {
    pub(super) fn add_peer(&mut self, request: AddPeer) {
        let (number, address) = (self.requests.number(), request.address.clone());
        self.requests.neighbours.insert(number, request);
        self.core.request_peer(number, address, self.clock.now());
    }

    /// Answers a request for a neighbour.
    pub(super) fn requested(&mut self, request: RequestId, outcome: Result<NodeId, RequestFailure>) {
        let Some(AddPeer { address, answer }) = self.requests.neighbours.remove(&request) else { return };
        let outcome = match outcome {
            Ok(id) if self.shared.peers.contains(&id) => Ok(id),
            Ok(_) | Err(RequestFailure::Closed) => Err(ConnectError::Closed(address)),
            Err(RequestFailure::Dial(dial)) => {
                Err(self.dialing.failure(dial).unwrap_or(ConnectError::TimedOut(address)))
            }
            Err(RequestFailure::Myself) => Err(ConnectError::Myself(address)),
            Err(RequestFailure::Full) => Err(ConnectError::Full(address)),
        };
        if answer.send(outcome).is_err() {
            tracing::debug!("the caller of add_peer has gone");
        }
    }

    pub(super) fn open_stream(&mut self, open: OpenStream) {
        let (number, id) = (self.requests.number(), open.id);
        self.requests.streams.insert(number, open);
        self.core.reach(number, id, self.clock.now());
    }

    /// Opens a stream over the connection that the core has found, or reports why there is none.
    pub(super) fn reached(&mut self, request: RequestId, outcome: Result<LinkId, Unreachable>) {
        let Some(open) = self.requests.streams.remove(&request) else { return };
        let id = open.id;
        let outcome = match outcome {
            Ok(link) => match self.links.get(link).map(|link| link.streams().open(&open.name)) {
                Some(Ok(stream)) => Ok(stream),
                Some(Err(NoStream::Gone)) => return self.requests.retries.push((link, open)),
                // `None` cannot be: the core names no connection that the driver has dropped.
                Some(Err(NoStream::TooMany)) | None => Err(OpenError::TooMany(id)),
            },
            Err(Unreachable::Myself) => Err(OpenError::Myself(id)),
            Err(Unreachable::NotFound) => Err(OpenError::NotFound { id, waited: self.requests.find_timeout }),
            Err(Unreachable::NoWay) => Err(OpenError::Unreachable(id)),
            Err(Unreachable::Busy) => Err(OpenError::Busy),
        };
        if open.answer.send(outcome).is_err() {
            tracing::debug!(?id, "the caller of open has gone");
        }
    }

    /// Requests the streams again that were led to this connection just as it ended.
    pub(super) fn retry_streams(&mut self, link: LinkId) {
        for open in self.requests.take_retries(link) {
            self.open_stream(open);
        }
    }
}
