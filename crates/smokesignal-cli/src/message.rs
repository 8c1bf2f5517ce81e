//! The JSON lines of `run --json`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smokesignal::Peer;

/// Bytes of one input line at most: the largest message in base64, and some.
pub(crate) const MAX_LINE: usize = 16 * 1024 * 1024 / 3 * 4 * 5 / 4 + 4096;

/// What comes out, one object a line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Out {
    Listening {
        id: String,
        address: String,
        port: u16,
    },
    Connect,
    Disconnect,
    PeerAdded(PeerInfo),
    PeerRemoved {
        id: String,
    },
    Message {
        from: String,
        seq: u64,
        #[serde(flatten)]
        payload: Payload,
    },
    Gap {
        from: String,
        missed: u64,
    },
    Direct {
        from: String,
        #[serde(flatten)]
        payload: Payload,
    },
    Peers {
        peers: Vec<PeerInfo>,
    },
    Error {
        message: String,
    },
}

/// A neighbour.
#[derive(Debug, Serialize)]
pub(crate) struct PeerInfo {
    id: String,
    address: String,
    port: u16,
}

impl From<&Peer> for PeerInfo {
    fn from(peer: &Peer) -> Self {
        let address = peer.remote_addr();
        Self { id: peer.id().to_string(), address: address.ip().to_string(), port: address.port() }
    }
}

/// `data` where it is UTF-8, `base64` otherwise.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Payload {
    Data(String),
    Base64(String),
}

impl From<&Bytes> for Payload {
    fn from(bytes: &Bytes) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Data(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(bytes)),
        }
    }
}

impl Out {
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_else(|error| {
            format!(r#"{{"event":"error","message":"cannot write an event: {error}"}}"#).into_bytes()
        });
        line.push(b'\n');
        line
    }
}

/// What goes in, one object a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum In {
    Broadcast(Bytes),
    Direct { to: String, data: Bytes },
    AddPeer { address: String, port: u16 },
    ClosePeer { id: String },
    Peers,
    Stop,
}

#[derive(Debug, Deserialize)]
struct Raw {
    cmd: String,
    data: Option<String>,
    base64: Option<String>,
    to: Option<String>,
    address: Option<String>,
    port: Option<u16>,
    id: Option<String>,
}

impl In {
    /// Reads a line. The error says what is wrong with it.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let cmd = raw.cmd.as_str();
        let missing = |field: &str| format!("`{cmd}` needs `{field}`");
        match cmd {
            "broadcast" => Ok(Self::Broadcast(payload(&raw)?)),
            "direct" => {
                let data = payload(&raw)?;
                Ok(Self::Direct { to: raw.to.clone().ok_or_else(|| missing("to"))?, data })
            }
            "add_peer" => Ok(Self::AddPeer {
                address: raw.address.clone().ok_or_else(|| missing("address"))?,
                port: raw.port.ok_or_else(|| missing("port"))?,
            }),
            "close_peer" => Ok(Self::ClosePeer { id: raw.id.clone().ok_or_else(|| missing("id"))? }),
            "peers" => Ok(Self::Peers),
            "stop" => Ok(Self::Stop),
            other => Err(format!(
                "unknown cmd `{}`; there are broadcast, direct, add_peer, close_peer, peers and stop",
                excerpt(other.as_bytes())
            )),
        }
    }
}

fn payload(raw: &Raw) -> Result<Bytes, String> {
    match (&raw.data, &raw.base64) {
        (Some(text), None) => Ok(text.clone().into()),
        (None, Some(text)) => match STANDARD.decode(text) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(format!("`base64` is not base64: {error}")),
        },
        _ => Err(format!("`{}` needs either `data` or `base64`", raw.cmd)),
    }
}

/// The beginning of a line, fit to be shown.
pub(crate) fn excerpt(line: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(&line[..line.len().min(320)]).chars().take(80).collect();
    if text.len() < line.len() { format!("{text}…") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_lines_are_understood() {
        let parse = |line: &str| In::parse(line.as_bytes()).unwrap();
        assert_eq!(parse(r#"{"cmd":"broadcast","data":"hi"}"#), In::Broadcast("hi".into()));
        assert_eq!(parse(r#"{"cmd":"broadcast","base64":"AP8="}"#), In::Broadcast(vec![0, 255].into()));
        assert_eq!(
            parse(r#"{"cmd":"direct","to":"x","data":""}"#),
            In::Direct { to: "x".into(), data: Bytes::new() }
        );
        let peer = In::AddPeer { address: "::1".into(), port: 7 };
        assert_eq!(parse(r#"{"cmd":"add_peer","address":"::1","port":7}"#), peer);
        assert_eq!(parse(r#"{"cmd":"stop"}"#), In::Stop);
    }

    #[test]
    fn bad_lines_are_explained() {
        let error = |line: &str| In::parse(line.as_bytes()).unwrap_err();
        assert!(error("hello").contains("expected"));
        assert!(error(r#"{"cmd":"dance"}"#).contains("unknown cmd `dance`"));
        assert!(error(r#"{"cmd":"broadcast"}"#).contains("`data` or `base64`"));
        assert!(error(r#"{"cmd":"broadcast","base64":"?"}"#).contains("not base64"));
        assert!(error(r#"{"cmd":"direct","data":"x"}"#).contains("`to`"));
        assert!(error(r#"{"cmd":"add_peer","address":"h","port":70000}"#).contains("70000"));
        assert_eq!(excerpt(&[b'x'; 500]).chars().count(), 81);
    }

    #[test]
    fn events_have_the_documented_shape() {
        let shown = |out: Out| String::from_utf8(out.line()).unwrap();
        let payload = Payload::from(&Bytes::from_static(b"hi"));
        let message = Out::Message { from: "ab".into(), seq: 3, payload };
        assert_eq!(shown(message), "{\"event\":\"message\",\"from\":\"ab\",\"seq\":3,\"data\":\"hi\"}\n");
        let payload = Payload::from(&Bytes::from_static(&[0, 255]));
        let direct = Out::Direct { from: "ab".into(), payload };
        assert_eq!(shown(direct), "{\"event\":\"direct\",\"from\":\"ab\",\"base64\":\"AP8=\"}\n");
        assert_eq!(shown(Out::Connect), "{\"event\":\"connect\"}\n");
        let gap = Out::Gap { from: "ab".into(), missed: 2 };
        assert_eq!(shown(gap), "{\"event\":\"gap\",\"from\":\"ab\",\"missed\":2}\n");
    }
}
