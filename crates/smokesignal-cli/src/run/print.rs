//! The JSON lines that `run --json` prints: [`JsonEvent`] and its parts, and the [`Emitter`] that
//! writes them to stdout.
//!
//! The names of their fields and the order of these are a promise to other programs; fields may be
//! added, but none may change. So programs should ignore fields and events that they do not know.

use std::fmt::Debug;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use smokesignal::{LinkMetrics, Metrics, Peer, Stopped, VersionMismatch, Versions, WriterMetrics};

use super::escape::escaped;
use crate::output::Output;
use crate::request::Request;

/// A line that is printed. Ids are 64 hex digits.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum JsonEvent<'a> {
    /// The node has started. This is the first line, so that a program knows where to send others.
    Listening {
        /// The id of this node.
        id: String,
        /// Where it listens; with `--port 0` this is how a program learns the port.
        address: IpAddr,
        port: u16,
    },
    /// The node has its first peer.
    Connect,
    /// The node has lost its last peer.
    Disconnect,
    /// A node has become a peer.
    PeerAdded(PeerInfo),
    /// A node is not a peer any more.
    PeerRemoved {
        /// The id of that node.
        id: String,
    },
    /// A broadcast message has arrived. Those of one writer arrive in order.
    Message {
        /// The id of the writer.
        from: String,
        /// The number of the message. Each writer counts from 1.
        seq: u64,
        /// How long ago its writer wrote it, in milliseconds, as the nodes on the way claim it.
        age_ms: u64,
        #[serde(flatten)]
        payload: Payload<'a>,
    },
    /// Messages of a writer were lost, and are not going to arrive.
    Gap {
        /// The id of the writer.
        from: String,
        /// The number of lost messages.
        missed: u64,
    },
    /// A writer has ended its stream, or has left.
    End {
        /// The id of the writer.
        from: String,
    },
    /// A writer has started again: its next message has the number 1.
    Restarted {
        /// The id of the writer.
        from: String,
    },
    /// This node is more than a second behind in what a node writes.
    Lagging {
        /// The id of the writer.
        from: String,
        /// Messages that are missing here.
        messages: u64,
        /// Their size in bytes, an estimate.
        bytes: u64,
    },
    /// This node has caught up with what a node writes.
    CaughtUp {
        /// The id of the writer.
        from: String,
    },
    /// A reader has confirmed nothing for `--reader-timeout`, and this node's messages do not wait
    /// for it any more.
    ReaderTimedOut {
        /// The first 16 digits of the id of the reader.
        reader: String,
    },
    /// Another live process has this node's key.
    IdentityConflict {
        /// The id of both.
        id: String,
        /// Whether this process was started first, and can broadcast nothing any more.
        superseded: bool,
    },
    /// A direct message has arrived.
    Direct {
        /// The id of the sender.
        from: String,
        #[serde(flatten)]
        payload: Payload<'a>,
    },
    /// A node cannot be connected to, because it and this one speak no common version of the
    /// protocol.
    Incompatible {
        /// The host of the other node.
        address: IpAddr,
        /// What this node speaks.
        ours: VersionRange,
        /// What the other node speaks.
        theirs: VersionRange,
        /// The node that is too old: `this` or `other`.
        upgrade: &'static str,
    },
    /// A seed has left this node's part of the network, and cannot be reached.
    Netsplit {
        /// The id of the seed.
        seed: String,
        /// Number of nodes in this part of the network.
        size: usize,
        /// Number of nodes before the netsplit.
        size_before: usize,
        /// Number of nodes in the other part, if the seed has answered from there.
        #[serde(skip_serializing_if = "Option::is_none")]
        other_size: Option<usize>,
    },
    /// All seeds are in this node's part of the network again.
    NetsplitResolved {
        /// How long the netsplit has lasted, in milliseconds.
        duration_ms: u64,
        /// Number of nodes in the network.
        size: usize,
    },
    /// The answer to the command `peers`.
    Peers {
        /// The present peers.
        peers: Vec<LinkInfo>,
        /// Number of nodes in the whole network.
        size: usize,
        /// How far this node is behind in what others write.
        writers: Vec<WriterInfo>,
    },
    /// The answer to the command `metrics`: what the node has counted since its start.
    Metrics(MetricsInfo),
    /// The node has left, after the command `stop`. This is the last line.
    Stopped(StoppedInfo),
    /// The command with this request is done.
    Ok {
        /// The request, as it was read.
        request: Request,
    },
    /// A command has failed, or a person should know something. The process goes on.
    Error {
        /// The request of the command, if it had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<Request>,
        /// The text names the line of the command, if there is one.
        message: String,
    },
}

/// An event in answer to a command.
#[derive(Debug, Serialize)]
struct Requested<'a> {
    #[serde(flatten)]
    event: &'a JsonEvent<'a>,
    /// The request of the command.
    request: &'a Request,
}

/// A peer and where it listens.
#[derive(Debug, Serialize)]
pub(super) struct PeerInfo {
    id: String,
    address: IpAddr,
    port: u16,
}

impl PeerInfo {
    /// Describes a peer.
    pub(super) fn of(peer: &Peer) -> Self {
        let address = peer.remote_addr();
        Self { id: peer.id().to_string(), address: address.ip(), port: address.port() }
    }
}

/// A peer, where it listens, and the link to it.
#[derive(Debug, Serialize)]
pub(super) struct LinkInfo {
    #[serde(flatten)]
    peer: PeerInfo,
    #[serde(flatten)]
    figures: LinkFigures,
}

impl LinkInfo {
    /// Describes a peer and the link to it.
    pub(super) fn of(peer: &Peer) -> Self {
        Self { peer: PeerInfo::of(peer), figures: LinkFigures::of(&peer.metrics()) }
    }
}

/// How fast a link carries and what waits for it, as [`LinkMetrics`] explains it.
#[derive(Debug, Serialize)]
struct LinkFigures {
    bytes_sent_per_second: u64,
    bytes_received_per_second: u64,
    /// As it was when the link was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_ms: Option<f64>,
    bytes_unsent: usize,
}

impl LinkFigures {
    fn of(metrics: &LinkMetrics) -> Self {
        Self {
            bytes_sent_per_second: metrics.bytes_sent_per_second,
            bytes_received_per_second: metrics.bytes_received_per_second,
            round_trip_ms: metrics.round_trip.map(|time| time.as_micros() as f64 / 1000.0),
            bytes_unsent: metrics.bytes_unsent,
        }
    }
}

/// One of the links in the event `metrics`.
#[derive(Debug, Serialize)]
struct LinkMetricsInfo {
    id: String,
    #[serde(flatten)]
    figures: LinkFigures,
}

impl LinkMetricsInfo {
    fn of(metrics: &LinkMetrics) -> Self {
        Self { id: metrics.peer.to_string(), figures: LinkFigures::of(metrics) }
    }
}

/// The versions of the protocol that a node speaks.
#[derive(Debug, Serialize)]
pub(super) struct VersionRange {
    oldest: u8,
    newest: u8,
}

impl VersionRange {
    fn of(versions: Versions) -> Self {
        let Versions { oldest, newest } = versions;
        Self { oldest, newest }
    }
}

impl JsonEvent<'_> {
    /// Describes a node of another version.
    pub(super) fn incompatible(address: IpAddr, versions: VersionMismatch) -> Self {
        let upgrade = if versions.is_ours_older() { "this" } else { "other" };
        let (ours, theirs) = (VersionRange::of(versions.ours), VersionRange::of(versions.theirs));
        Self::Incompatible { address, ours, theirs, upgrade }
    }
}

/// The counters and gauges of the node, as [`Metrics`] explains them.
#[derive(Debug, Serialize)]
pub(super) struct MetricsInfo {
    network_size: usize,
    peers: usize,
    messages_waiting: usize,
    bytes_retained: usize,
    bytes_unread: usize,
    readers: usize,
    readers_behind: usize,
    bytes_unconfirmed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    slowest_reader: Option<String>,
    messages_sent: u64,
    bytes_sent: u64,
    messages_received: u64,
    bytes_received: u64,
    messages_missed: u64,
    duplicates_received: u64,
    messages_unknown: u64,
    frames_unknown: u64,
    links: Vec<LinkMetricsInfo>,
    writers: Vec<WriterInfo>,
}

/// How far this node is behind in what another one writes, as [`WriterMetrics`] explains it.
#[derive(Debug, Serialize)]
pub(super) struct WriterInfo {
    id: String,
    messages_behind: u64,
    bytes_behind: u64,
    /// The time, rounded to milliseconds.
    seconds_behind: f64,
}

impl WriterInfo {
    /// Copies the figures of one writer.
    pub(super) fn of(metrics: &WriterMetrics) -> Self {
        Self {
            id: metrics.writer.to_string(),
            messages_behind: metrics.messages_behind,
            bytes_behind: metrics.bytes_behind,
            seconds_behind: metrics.time_behind.as_millis() as f64 / 1000.0,
        }
    }
}

impl MetricsInfo {
    /// Copies the metrics of a node.
    pub(super) fn of(metrics: &Metrics) -> Self {
        Self {
            network_size: metrics.network_size,
            peers: metrics.peers,
            messages_waiting: metrics.messages_waiting,
            bytes_retained: metrics.bytes_retained,
            bytes_unread: metrics.bytes_unread,
            readers: metrics.readers,
            readers_behind: metrics.readers_behind,
            bytes_unconfirmed: metrics.bytes_unconfirmed,
            slowest_reader: metrics.slowest_reader.clone(),
            messages_sent: metrics.messages_sent,
            bytes_sent: metrics.bytes_sent,
            messages_received: metrics.messages_received,
            bytes_received: metrics.bytes_received,
            messages_missed: metrics.messages_missed,
            duplicates_received: metrics.duplicates_received,
            messages_unknown: metrics.messages_unknown,
            frames_unknown: metrics.frames_unknown,
            links: metrics.links.iter().map(LinkMetricsInfo::of).collect(),
            writers: metrics.writers.iter().map(WriterInfo::of).collect(),
        }
    }
}

/// The readers of what this node sent, as [`Stopped`] explains it.
#[derive(Debug, Serialize)]
pub(super) struct StoppedInfo {
    confirmed: usize,
    behind: usize,
    missing: u64,
    unsent: u64,
    timed_out: bool,
}

impl StoppedInfo {
    /// Copies the figures of a node that has left.
    pub(super) fn of(stopped: &Stopped) -> Self {
        let Stopped { confirmed, behind, missing, unsent, timed_out, .. } = *stopped;
        Self { confirmed, behind, missing, unsent, timed_out }
    }
}

/// A payload: the field `data` if the bytes are UTF-8, or else `base64`.
#[derive(Debug)]
pub(super) enum Payload<'a> {
    /// The bytes as text.
    Data(&'a str),
    /// The bytes in standard base64 with padding.
    Base64(String),
}

impl<'a> Payload<'a> {
    /// Chooses the field for these bytes. JSON has no bytes, and escaping them as text would change
    /// them.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        std::str::from_utf8(bytes).map_or_else(|_| Self::Base64(BASE64_STANDARD.encode(bytes)), Self::Data)
    }
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Data(text) => map.serialize_entry("data", text)?,
            Self::Base64(text) => map.serialize_entry("base64", text)?,
        }
        map.end()
    }
}

/// Prints events to stdout, one per line. Clones print to the same place.
#[derive(Debug, Clone)]
pub(super) struct Emitter(Output);

impl Emitter {
    /// Creates an emitter that prints to this output.
    pub(super) fn to(output: Output) -> Self {
        Self(output)
    }

    /// Prints an event. Waits while the reader of stdout is slow.
    pub(super) async fn emit(&self, event: &JsonEvent<'_>) {
        self.print(event).await;
    }

    /// Prints the event that a command asks for, with the request of the command if it has one.
    pub(super) async fn emit_for(&self, request: Option<&Request>, event: &JsonEvent<'_>) {
        match request {
            Some(request) => self.print(&Requested { event, request }).await,
            None => self.print(event).await,
        }
    }

    async fn print(&self, value: &(impl Serialize + Debug)) {
        match serde_json::to_string(value) {
            Ok(line) => self.0.write((escaped(line) + "\n").into_bytes()).await,
            Err(error) => notice!("cannot encode {value:?} as JSON: {error}"),
        }
    }

    /// Answers a command with its outcome: one that is done only if it has a request.
    pub(super) async fn answer(&self, request: Option<Request>, outcome: Result<(), String>) {
        match (outcome, request) {
            (Ok(()), Some(request)) => self.emit(&JsonEvent::Ok { request }).await,
            (Ok(()), None) => {}
            (Err(message), request) => self.emit(&JsonEvent::Error { request, message }).await,
        }
    }

    /// Prints an error event that belongs to no request.
    pub(super) async fn error(&self, message: impl Into<String>) {
        self.answer(None, Err(message.into())).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn json(event: &JsonEvent<'_>) -> String {
        serde_json::to_string(event).unwrap()
    }

    fn request(text: &str) -> Request {
        Request::new(RawValue::from_string(text.to_owned()).unwrap()).unwrap()
    }

    #[test]
    fn events_have_the_promised_fields_in_the_promised_order() {
        let from = "ab".repeat(32);
        let address = IpAddr::from([127, 0, 0, 1]);
        let cases = [
            (
                JsonEvent::Listening { id: from.clone(), address, port: 8495 },
                format!(r#"{{"event":"listening","id":"{from}","address":"127.0.0.1","port":8495}}"#),
            ),
            (JsonEvent::Connect, r#"{"event":"connect"}"#.to_owned()),
            (
                JsonEvent::PeerAdded(PeerInfo { id: from.clone(), address, port: 7 }),
                format!(r#"{{"event":"peer_added","id":"{from}","address":"127.0.0.1","port":7}}"#),
            ),
            (
                JsonEvent::Message {
                    from: from.clone(), seq: 3, age_ms: 12, payload: Payload::of("grüß\n".as_bytes())
                },
                format!(r#"{{"event":"message","from":"{from}","seq":3,"age_ms":12,"data":"grüß\n"}}"#),
            ),
            (
                JsonEvent::Direct { from: from.clone(), payload: Payload::of(&[0xff, 0]) },
                format!(r#"{{"event":"direct","from":"{from}","base64":"/wA="}}"#),
            ),
            (
                JsonEvent::Gap { from: from.clone(), missed: 2 },
                format!(r#"{{"event":"gap","from":"{from}","missed":2}}"#),
            ),
            (JsonEvent::End { from: from.clone() }, format!(r#"{{"event":"end","from":"{from}"}}"#)),
            (
                JsonEvent::Restarted { from: from.clone() },
                format!(r#"{{"event":"restarted","from":"{from}"}}"#),
            ),
            (
                JsonEvent::Stopped(StoppedInfo {
                    confirmed: 2,
                    behind: 1,
                    missing: 7,
                    unsent: 0,
                    timed_out: true,
                }),
                r#"{"event":"stopped","confirmed":2,"behind":1,"missing":7,"unsent":0,"timed_out":true}"#.to_owned(),
            ),
            (
                JsonEvent::incompatible(
                    address,
                    VersionMismatch {
                        ours: Versions { oldest: 1, newest: 1 },
                        theirs: Versions { oldest: 2, newest: 3 },
                    },
                ),
                r#"{"event":"incompatible","address":"127.0.0.1","ours":{"oldest":1,"newest":1},"theirs":{"oldest":2,"newest":3},"upgrade":"this"}"#.to_owned(),
            ),
            (
                JsonEvent::Lagging { from: from.clone(), messages: 7, bytes: 700 },
                format!(r#"{{"event":"lagging","from":"{from}","messages":7,"bytes":700}}"#),
            ),
            (JsonEvent::CaughtUp { from: from.clone() }, format!(r#"{{"event":"caught_up","from":"{from}"}}"#)),
            (
                JsonEvent::ReaderTimedOut { reader: "0123456789abcdef".to_owned() },
                r#"{"event":"reader_timed_out","reader":"0123456789abcdef"}"#.to_owned(),
            ),
            (
                JsonEvent::IdentityConflict { id: from.clone(), superseded: true },
                format!(r#"{{"event":"identity_conflict","id":"{from}","superseded":true}}"#),
            ),
            (
                JsonEvent::Netsplit { seed: from.clone(), size: 4, size_before: 9, other_size: None },
                format!(r#"{{"event":"netsplit","seed":"{from}","size":4,"size_before":9}}"#),
            ),
            (
                JsonEvent::NetsplitResolved { duration_ms: 1500, size: 9 },
                r#"{"event":"netsplit_resolved","duration_ms":1500,"size":9}"#.to_owned(),
            ),
            (
                JsonEvent::Peers { peers: Vec::new(), size: 1, writers: Vec::new() },
                r#"{"event":"peers","peers":[],"size":1,"writers":[]}"#.to_owned(),
            ),
            (JsonEvent::Ok { request: request("7") }, r#"{"event":"ok","request":7}"#.to_owned()),
            (
                JsonEvent::Error { request: None, message: "no".to_owned() },
                r#"{"event":"error","message":"no"}"#.to_owned(),
            ),
            (
                JsonEvent::Error { request: Some(request("\"a\"")), message: "no".to_owned() },
                r#"{"event":"error","request":"a","message":"no"}"#.to_owned(),
            ),
        ];
        for (event, expected) in cases {
            assert_eq!(json(&event), expected);
        }
        let peers = JsonEvent::Peers { peers: Vec::new(), size: 1, writers: Vec::new() };
        let answer = serde_json::to_string(&Requested { event: &peers, request: &request("1.50") });
        assert_eq!(answer.unwrap(), r#"{"event":"peers","peers":[],"size":1,"writers":[],"request":1.50}"#);
    }
}
