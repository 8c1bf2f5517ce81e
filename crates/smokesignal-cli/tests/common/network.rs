//! Networks of several nodes, and what their nodes have to agree on.

use std::collections::{BTreeMap, BTreeSet};

use super::json_node::JsonNode;
use super::transcript::Transcript;
use super::wait::wait;

/// Starts `count` nodes; the first one is the seed of the others.
pub fn start_network(count: usize, args: &[&str]) -> Vec<JsonNode> {
    let mut nodes = vec![JsonNode::start(args)];
    while nodes.len() < count {
        nodes.push(JsonNode::join(&nodes[0], args));
    }
    nodes
}

/// Waits until each node has at least `least` peers and the nodes form a single network. A link
/// counts when both sides report it.
pub fn wait_connected(nodes: &[&JsonNode], least: usize) {
    wait(&format!("one network with at least {least} peers each"), nodes, || {
        let views: BTreeMap<&str, BTreeSet<String>> =
            nodes.iter().map(|node| (node.id.as_str(), node.transcript().peers.clone())).collect();
        if views.values().any(|peers| peers.len() < least) {
            return None;
        }
        let (first, _) = views.first_key_value()?;
        let (mut reached, mut open) = (BTreeSet::from([*first]), vec![*first]);
        while let Some(id) = open.pop() {
            for (other, peers) in &views {
                if views[id].contains(*other) && peers.contains(id) && reached.insert(other) {
                    open.push(other);
                }
            }
        }
        (reached.len() == nodes.len()).then_some(())
    });
}

/// Checks that exactly these messages have arrived from this writer, in order, and that the reader
/// has no gap of any writer.
#[track_caller]
pub fn assert_received(reader: &JsonNode, writer: &str, expected: &[String]) {
    let transcript = reader.transcript();
    let received = transcript.from(writer);
    let difference = received.iter().zip(expected).position(|(received, expected)| received != expected);
    if let Some(place) = difference {
        let (got, wanted) = (&received[place], &expected[place]);
        panic!("{:.8} read {got:?} from {writer:.8} as number {place}, not {wanted:?}", reader.id);
    }
    assert_eq!(received.len(), expected.len(), "messages of {writer:.8} at {:.8}", reader.id);
    assert_eq!(transcript.gaps, [], "gaps at {:.8}", reader.id);
    assert_in_order(&transcript, writer);
}

/// Checks that no message of this writer has arrived twice or out of order.
#[track_caller]
pub fn assert_in_order(transcript: &Transcript, writer: &str) {
    let seqs = transcript.seqs.get(writer).map_or(&[][..], Vec::as_slice);
    let wrong = seqs.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(wrong, None, "sequence numbers of {writer:.8} do not rise");
}

/// Returns a port that was free a moment ago.
pub fn free_port() -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    listener.local_addr().expect("a bound socket has an address").port().to_string()
}

/// Returns references to the nodes, for functions that take a selection of them.
pub fn refs(nodes: &[JsonNode]) -> Vec<&JsonNode> {
    nodes.iter().collect()
}
