//! The events that a `run --json` process has printed, sorted for the questions that tests ask.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};

use serde_json::Value;

/// Longer payloads are kept as their digest, in bytes.
const KEEP: usize = 1024;
/// Events shown when a wait fails.
const TAIL: usize = 10;

/// Records what a `run --json` process prints.
#[derive(Debug, Default)]
pub struct Transcript {
    /// All events; long payloads are replaced by their digests.
    pub events: Vec<Value>,
    /// The ids of the present peers.
    pub peers: BTreeSet<String>,
    /// The largest number of peers at any time.
    pub most_peers: usize,
    /// The payloads of each writer in the order of arrival; long ones are replaced by their
    /// digests.
    pub received: BTreeMap<String, Vec<String>>,
    /// The sequence numbers of each writer in the order of arrival.
    pub seqs: BTreeMap<String, Vec<u64>>,
    /// The writer and the size of every gap.
    pub gaps: Vec<(String, u64)>,
    /// The first event that no node may ever print. It fails every wait.
    pub wrong: Option<String>,
    /// Whether stdout is closed.
    pub ended: bool,
}

impl Transcript {
    /// Returns the payloads that have arrived from one writer.
    pub fn from(&self, writer: &str) -> &[String] {
        self.received.get(writer).map_or(&[], Vec::as_slice)
    }

    /// Returns the first event of this kind.
    pub fn first(&self, kind: &str) -> Option<&Value> {
        self.events.iter().find(|event| event["event"] == kind)
    }

    /// Returns all events of this kind.
    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["event"] == kind)
    }

    /// Returns the text of the first error that contains all of these parts.
    pub fn error_with(&self, parts: &[&str]) -> Option<String> {
        let mut texts = self.all("error").filter_map(|event| event["message"].as_str());
        texts.find(|text| parts.iter().all(|part| text.contains(part))).map(str::to_owned)
    }

    /// Returns how many messages of this writer were reported as missed.
    pub fn missed(&self, writer: &str) -> u64 {
        self.gaps.iter().filter(|(from, _)| from == writer).map(|(_, missed)| missed).sum()
    }

    /// Adds a line of stdout.
    pub(super) fn add_line(&mut self, line: &str) {
        match serde_json::from_str(line) {
            Ok(event) => self.add(event),
            Err(error) => self.wrong = Some(format!("not JSON ({error}): {line}")),
        }
    }

    fn add(&mut self, mut event: Value) {
        for field in ["data", "base64"] {
            let short = event[field].as_str().filter(|text| text.len() > KEEP).map(digest);
            if let Some(short) = short {
                event[field] = short.into();
            }
        }
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            Some("peer_added") if !self.peers.insert(text("id")) => {
                self.wrong = Some(format!("added twice: {event}"));
            }
            Some("peer_removed") if !self.peers.remove(&text("id")) => {
                self.wrong = Some(format!("removed but not there: {event}"));
            }
            Some("message") => {
                let payload = if event["base64"].is_string() { text("base64") } else { text("data") };
                self.received.entry(text("from")).or_default().push(payload);
                match event["seq"].as_u64() {
                    Some(seq) => self.seqs.entry(text("from")).or_default().push(seq),
                    None => self.wrong = Some(format!("a message without seq: {event}")),
                }
            }
            Some("gap") => match event["missed"].as_u64() {
                Some(missed) => self.gaps.push((text("from"), missed)),
                None => self.wrong = Some(format!("a gap without a count: {event}")),
            },
            _ => {}
        }
        self.most_peers = self.most_peers.max(self.peers.len());
        self.events.push(event);
    }

    /// Returns a summary and the last events, for the message of a failed wait.
    pub(super) fn tail(&self) -> String {
        let ended = if self.ended { ", ended" } else { "" };
        let (events, peers, gaps) = (self.events.len(), self.peers.len(), self.gaps.len());
        let mut text = format!("{events} events, {peers} peers, {gaps} gaps{ended}\n");
        for (writer, received) in &self.received {
            writeln!(text, "  {} messages from {writer:.8}", received.len())
                .expect("a String takes everything");
        }
        for event in &self.events[self.events.len().saturating_sub(TAIL)..] {
            writeln!(text, "  {:.300}", event.to_string()).expect("a String takes everything");
        }
        text
    }
}

/// Returns a short text that stands for a long payload. Short payloads stand for themselves.
pub fn digest(text: &str) -> String {
    if text.len() <= KEEP {
        return text.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let head: String = text.chars().take(24).collect();
    format!("{head}… {} bytes {:016x}", text.len(), hasher.finish())
}
