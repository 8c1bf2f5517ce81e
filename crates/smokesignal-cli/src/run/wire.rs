//! The JSON lines of `run --json`: [`JsonEvent`] for those that are printed, and [`Command`] for
//! those that are read.
//!
//! The names of their fields and the order of these are a promise to other programs; fields may be
//! added, but none may change. So programs should ignore fields and events that they do not know,
//! as this one ignores the unknown fields of a command.

use std::fmt::Debug;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;
use smokesignal::{LinkMetrics, Metrics, NodeId, Peer, Stopped, VersionMismatch, Versions, WriterMetrics};

use crate::output::Output;
use crate::request::Request;

/// The most characters of a bad line that its error quotes. A guess.
const QUOTED: usize = 80;

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
        match serde_json::to_vec(value) {
            Ok(mut line) => {
                line.push(b'\n');
                self.0.write(line).await;
            }
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

/// A line that is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Sends a message to everyone.
    Broadcast(Bytes),
    /// Sends a message to one node, neighbour or not.
    Direct { to: NodeId, data: Bytes },
    /// Connects to `HOST:PORT`, and keeps that node as a peer.
    AddPeer { address: String },
    /// Closes the link to a peer. It may become a peer again, but not within 30 s.
    ClosePeer { id: NodeId },
    /// Prints the peers.
    Peers,
    /// Prints what the node has counted.
    Metrics,
    /// Sends all queued messages, leaves the network, and ends the process.
    Stop,
}

/// The fields of all commands. Unknown fields are ignored, because later versions may have more.
#[derive(Deserialize)]
struct Fields {
    cmd: Option<String>,
    data: Option<String>,
    base64: Option<String>,
    to: Option<String>,
    address: Option<String>,
    port: Option<u16>,
    id: Option<String>,
    request: Option<Box<RawValue>>,
}

/// The request of a line whose other fields are wrong.
#[derive(Deserialize)]
struct Label {
    request: Option<Box<RawValue>>,
}

impl Command {
    /// Parses a line, and returns its request as well, even if the rest of it is wrong. A wrong
    /// request makes the line wrong. The error states what is wrong, but does not quote the line.
    pub(super) fn parse_line(line: &[u8]) -> (Option<Request>, Result<Self, String>) {
        let mut request = None;
        let command = parse_fields(line, &mut request).and_then(Self::of);
        match request.map(Request::new).transpose() {
            Ok(request) => (request, command),
            Err(error) => (None, Err(error)),
        }
    }

    fn of(mut fields: Fields) -> Result<Self, String> {
        let command = fields.cmd.take().ok_or("\"cmd\" is missing")?;
        match command.as_str() {
            "broadcast" => Ok(Self::Broadcast(fields.payload()?)),
            "direct" => Ok(Self::Direct { to: node_id("to", fields.to.take())?, data: fields.payload()? }),
            "add_peer" => Ok(Self::AddPeer { address: fields.socket_address()? }),
            "close_peer" => Ok(Self::ClosePeer { id: node_id("id", fields.id)? }),
            "peers" => Ok(Self::Peers),
            "metrics" => Ok(Self::Metrics),
            "stop" => Ok(Self::Stop),
            other => {
                let other: String = other.chars().take(QUOTED).collect();
                Err(format!(
                    "unknown command `{other}`; use broadcast, direct, add_peer, close_peer, peers, metrics or stop"
                ))
            }
        }
    }
}

/// Parses the fields of a line. Takes out the request, also where other fields are wrong.
fn parse_fields(line: &[u8], request: &mut Option<Box<RawValue>>) -> Result<Fields, String> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8; send bytes as \"base64\"".to_owned())?;
    // Without this check serde would also accept an array with the values of all fields.
    if !line.trim_start().starts_with('{') {
        return Err("not a JSON object".to_owned());
    }
    match serde_json::from_str::<Fields>(line) {
        Ok(mut fields) => {
            *request = fields.request.take();
            Ok(fields)
        }
        Err(error) => {
            *request = serde_json::from_str::<Label>(line).ok().and_then(|label| label.request);
            // The text of serde names "line 1", which is always true for a single line and
            // misleading.
            Err(format!("not a valid command: {}", error.to_string().replace("line 1 ", "")))
        }
    }
}

impl Fields {
    /// Returns the payload from the one of the two fields that is present.
    fn payload(self) -> Result<Bytes, String> {
        match (self.data, self.base64) {
            (Some(text), None) => Ok(text.into()),
            (None, Some(text)) => Ok(BASE64_STANDARD
                .decode(text)
                .map_err(|error| format!("\"base64\" is not standard base64 with padding: {error}"))?
                .into()),
            (None, None) => Err("\"data\" or \"base64\" is missing".to_owned()),
            (Some(_), Some(_)) => {
                Err("\"data\" and \"base64\" exclude each other; send one of them".to_owned())
            }
        }
    }

    /// Returns `HOST:PORT`, with brackets around an IPv6 address.
    fn socket_address(self) -> Result<String, String> {
        let address = self.address.ok_or("\"address\" is missing")?;
        let port = self.port.ok_or("\"port\" is missing")?;
        let bare_v6 = address.contains(':') && !address.starts_with('[');
        Ok(if bare_v6 { format!("[{address}]:{port}") } else { format!("{address}:{port}") })
    }
}

/// Parses the id in this field.
fn node_id(field: &str, text: Option<String>) -> Result<NodeId, String> {
    let text = text.ok_or_else(|| format!("\"{field}\" is missing"))?;
    text.parse().map_err(|error| format!("\"{field}\": {error}"))
}

/// Returns the beginning of a line, to be quoted in an error.
pub(super) fn quote(line: &[u8]) -> String {
    // A character has four bytes at most.
    let start = String::from_utf8_lossy(&line[..line.len().min(4 * QUOTED)]);
    let mut quoted: String = start.chars().take(QUOTED).collect();
    if quoted.len() < line.len() {
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn all_commands_are_parsed() {
        let id = "ab".repeat(32);
        let to = id.parse().unwrap();
        let cases = [
            (r#"{"cmd":"broadcast","data":"hi"}"#.to_owned(), Command::Broadcast("hi".into())),
            (r#"{"base64":"/wA=","cmd":"broadcast"}"#.to_owned(), Command::Broadcast(vec![0xff, 0].into())),
            (
                format!(r#"{{"cmd":"direct","to":"{id}","data":""}}"#),
                Command::Direct { to, data: Bytes::new() },
            ),
            (
                r#"{"cmd":"add_peer","address":"::1","port":80}"#.to_owned(),
                Command::AddPeer { address: "[::1]:80".to_owned() },
            ),
            (
                r#"{"cmd":"add_peer","address":"host","port":80}"#.to_owned(),
                Command::AddPeer { address: "host:80".to_owned() },
            ),
            (format!(r#"{{"cmd":"close_peer","id":"{id}"}}"#), Command::ClosePeer { id: to }),
            (r#"{"cmd":"peers","later":[1]}"#.to_owned(), Command::Peers),
            (r#"{"cmd":"stop"}"#.to_owned(), Command::Stop),
        ];
        for (line, expected) in cases {
            assert_eq!(Command::parse_line(line.as_bytes()), (None, Ok(expected)), "{line}");
        }
    }

    #[test]
    fn a_request_is_found_also_where_the_rest_of_the_line_is_wrong() {
        for (line, is_command) in [
            (r#"{"cmd":"stop","request":7}"#, true),
            (r#"{"request":7}"#, false),
            (r#"{"cmd":"sing","request":7}"#, false),
            (r#"{"cmd":7,"request":7}"#, false),
            (r#"{"cmd":"add_peer","address":"a","port":70000,"request":7}"#, false),
        ] {
            let (found, command) = Command::parse_line(line.as_bytes());
            assert_eq!((found, command.is_ok()), (Some(request("7")), is_command), "{line}");
        }
        assert_eq!(Command::parse_line(br#"{"cmd":"stop","request":null}"#), (None, Ok(Command::Stop)));
    }

    #[test]
    fn a_line_with_a_wrong_request_is_wrong_and_has_none() {
        for line in [
            r#"{"cmd":"stop","request":{}}"#,
            r#"{"cmd":"stop","request":[7]}"#,
            r#"{"cmd":"stop","request":true}"#,
            r#"{"cmd":"stop","request":7,"request":8}"#,
            r#"{"cmd":"stop","request":7"#,
        ] {
            let (found, command) = Command::parse_line(line.as_bytes());
            assert!(found.is_none() && command.is_err(), "{line}: {command:?}");
        }
    }

    #[test]
    fn the_error_for_a_bad_line_states_what_is_wrong() {
        let cases: [(&[u8], &str); 11] = [
            (b"", "not a JSON object"),
            (b"hello", "not a JSON object"),
            (b"[]", "not a JSON object"),
            (b"{}", "\"cmd\" is missing"),
            (b"\xff", "not UTF-8"),
            (br#"{"cmd":"sing"}"#, "unknown command `sing`"),
            (br#"{"cmd":"broadcast"}"#, "\"data\" or \"base64\" is missing"),
            (br#"{"cmd":"broadcast","data":"a","base64":"YQ=="}"#, "exclude each other"),
            (br#"{"cmd":"broadcast","base64":"YQ"}"#, "base64"),
            (br#"{"cmd":"direct","to":"me","data":"a"}"#, "64 hex digits"),
            (br#"{"cmd":"add_peer","address":"a","port":70000}"#, "70000"),
        ];
        for (line, why) in cases {
            let error = Command::parse_line(line).1.unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_long_line_is_quoted_in_part() {
        assert_eq!(quote(b"short"), "short");
        assert_eq!(quote("ä".repeat(1000).as_bytes()).chars().count(), QUOTED + 1);
        assert!(quote(&[0xff; 1000]).chars().count() <= QUOTED + 1);
    }
}
