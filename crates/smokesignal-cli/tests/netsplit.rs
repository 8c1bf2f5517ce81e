//! Real processes on two hosts, with the cable between them pulled. The hosts are network
//! namespaces.
//!
//! The test needs Linux, root and `ip`; without them it prints that it was skipped, and passes.
#![cfg(target_os = "linux")]

mod common;

use std::io::Write as _;
use std::time::Duration;

use common::{
    JsonNode, Transcript, assert_in_order, ip, program_in, refs, wait, wait_connected, wait_within,
};

/// The cut-off side has to report the netsplit within this time.
const REPORTED_WITHIN: Duration = Duration::from_secs(40);
/// Nodes on each host.
const HALF: usize = 3;
/// The port of the seed. All ports of a new namespace are free, so that all nodes, the seed
/// included, can name it from the start.
const FIRST_PORT: u16 = 8495;

/// The half without the seed reports the netsplit and its end, both times that the cable is pulled.
/// In the end every node reads every other one, and no message arrives twice.
#[test]
fn the_half_without_the_seed_reports_a_pulled_cable_and_both_halves_reunite() {
    let hosts = match Hosts::new() {
        Ok(hosts) => hosts,
        Err(why) => return skip(&why),
    };
    let nodes: Vec<JsonNode> = (0..2 * HALF).map(|n| hosts.start(n / HALF, n % HALF)).collect();
    let (with_seed, cut_off) = nodes.split_at(HALF);
    wait_connected(&refs(&nodes), 3);
    exchange("whole", &nodes);

    for cut in 1..=2 {
        let reported = |event: &str| {
            let all = cut_off.iter().all(|node| node.transcript().all(event).count() == cut);
            all.then_some(())
        };
        wait_until_counted();
        hosts.cable("down");
        let what = "a netsplit at all nodes that are cut off";
        wait_within(REPORTED_WITHIN, what, &refs(cut_off), || reported("netsplit"));
        exchange(&format!("with the seed, {cut}"), with_seed);
        exchange(&format!("cut off, {cut}"), cut_off);
        hosts.cable("up");
        wait("its end at all nodes that were cut off", &refs(cut_off), || reported("netsplit_resolved"));
        exchange(&format!("whole again, {cut}"), &nodes);
    }

    for reader in &nodes {
        assert_netsplits_resolved(reader, if reader.ip == cut_off[0].ip { 2 } else { 0 });
        assert_connects_and_disconnects_alternate(&reader.transcript());
        for writer in nodes.iter().filter(|writer| writer.id != reader.id) {
            assert_read_or_missed(reader, writer, 5);
        }
    }
}

/// Lets each node write a message and waits until all others have read it.
fn exchange(word: &str, nodes: &[JsonNode]) {
    for node in nodes {
        node.broadcast(word);
    }
    for reader in nodes {
        for writer in nodes.iter().filter(|writer| writer.id != reader.id) {
            let what = format!("`{word}` from {:.8}", writer.id);
            reader.wait_until(&what, |transcript| {
                transcript.from(&writer.id).iter().any(|received| received == word)
            });
        }
    }
}

/// Waits until the seed is counted as part of the network, because only then can it be lost. No
/// event reports that; it takes two or three heartbeats of 1.65 s, and 2 s more until the number of
/// nodes counts as stable.
fn wait_until_counted() {
    std::thread::sleep(Duration::from_secs(10));
}

/// Checks that a node has reported `count` netsplits, each followed by its end.
fn assert_netsplits_resolved(node: &JsonNode, count: usize) {
    let transcript = node.transcript();
    let reported: Vec<_> = transcript
        .events
        .iter()
        .filter(|event| event["event"].as_str().is_some_and(|name| name.starts_with("netsplit")))
        .collect();
    assert_eq!(reported.len(), 2 * count, "{:.8} reported {reported:?}", node.id);
    for pair in reported.chunks(2) {
        let (split, resolved) = (pair[0], pair[1]);
        assert_eq!((&split["event"], &resolved["event"]), (&"netsplit".into(), &"netsplit_resolved".into()));
        assert_eq!(split["size_before"], 2 * HALF, "{split}");
        assert!(split["size"].as_u64().is_some_and(|size| (1..=HALF as u64).contains(&size)), "{split}");
        assert_eq!(split.get("other_size"), None, "the seed could not be reached: {split}");
        assert!(resolved["duration_ms"].as_u64().is_some_and(|duration| duration > 3000), "{resolved}");
    }
}

fn assert_connects_and_disconnects_alternate(transcript: &Transcript) {
    let names = transcript.events.iter().filter_map(|event| event["event"].as_str());
    let reported: Vec<_> = names.filter(|name| ["connect", "disconnect"].contains(name)).collect();
    assert_eq!(reported.first(), Some(&"connect"));
    assert!(reported.windows(2).all(|pair| pair[0] != pair[1]), "{reported:?}");
}

/// Checks that the reader has read all `written` messages of the writer, each once and in order, or
/// has reported them as a gap. A message written while the cable was pulled is read later if it is
/// still retained then.
fn assert_read_or_missed(reader: &JsonNode, writer: &JsonNode, written: u64) {
    let transcript = reader.transcript();
    assert_in_order(&transcript, &writer.id);
    let (received, missed) = (transcript.from(&writer.id), transcript.missed(&writer.id));
    assert_eq!(received.len() as u64 + missed, written, "{:.8} has read {received:?}", reader.id);
}

/// Two network namespaces, each with a bridge that has the host's address, and a cable between the
/// bridges. Without bridges the hosts would lose their addresses when the cable is pulled.
struct Hosts([String; 2]);

impl Hosts {
    fn new() -> Result<Self, String> {
        let hosts = Self(["a", "b"].map(|side| format!("smokesignal-{}-{side}", std::process::id())));
        for name in &hosts.0 {
            ip(&["netns", "add", name])?;
        }
        let [a, b] = hosts.0.each_ref().map(String::as_str);
        ip(&["-n", a, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b])?;
        for (side, name) in hosts.0.iter().enumerate() {
            let address = format!("{}/24", Self::address(side));
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            ip(&["-n", name, "link", "add", "bridge", "type", "bridge"])?;
            ip(&["-n", name, "address", "add", &address, "dev", "bridge"])?;
            ip(&["-n", name, "link", "set", "bridge", "up"])?;
            ip(&["-n", name, "link", "set", "cable", "master", "bridge", "up"])?;
        }
        Ok(hosts)
    }

    fn address(side: usize) -> String {
        format!("10.84.95.{}", side + 1)
    }

    fn start(&self, side: usize, number: usize) -> JsonNode {
        let port = (usize::from(FIRST_PORT) + number).to_string();
        let seed = format!("{}:{FIRST_PORT}", Self::address(0));
        let program = program_in(&self.0[side], &[]);
        JsonNode::start_on(&Self::address(side), program, &["--port", &port, "--seed", &seed])
    }

    /// Plugs the cable in (`up`) or pulls it (`down`). While it is pulled, packets are lost without
    /// an error.
    fn cable(&self, up_or_down: &str) {
        ip(&["-n", &self.0[0], "link", "set", "cable", up_or_down]).expect("the cable was set up");
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.0 {
            // Fails if the set-up did not reach this namespace.
            drop(ip(&["netns", "delete", name]));
        }
    }
}

/// Prints that the test was skipped. Writes to stderr directly, because the test harness hides what
/// a passing test prints.
fn skip(why: &str) {
    let text = format!("\nSKIPPED, needs root and network namespaces: {why}\n");
    std::io::stderr().write_all(text.as_bytes()).expect("stderr takes a line");
}
