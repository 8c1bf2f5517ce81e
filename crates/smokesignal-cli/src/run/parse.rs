//! The JSON lines that `run --json` reads: a line is parsed into a [`Command`] and its request.
//!
//! The names of the fields are a promise to other programs; fields may be added, but none may
//! change. Unknown fields of a command are ignored.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use smokesignal::NodeId;

use crate::request::Request;

/// The most characters of a bad line that its error quotes. A guess.
const QUOTED: usize = 80;

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

    fn request(text: &str) -> Request {
        Request::new(RawValue::from_string(text.to_owned()).unwrap()).unwrap()
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
