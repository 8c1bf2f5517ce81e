//! Real processes that send messages and streams to nodes that are not their neighbours.
#![cfg(unix)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use serde_json::json;

use common::{JsonNode, TextCommand, refs, start_network, wait, wait_connected};

/// Starts ten nodes, each with at most five neighbours.
fn start_ten_nodes() -> Vec<JsonNode> {
    let nodes = start_network(10, &["--no-prefer-near-peers"]);
    wait_connected(&refs(&nodes), 3);
    nodes
}

#[test]
fn direct_messages_reach_every_node_in_order() {
    const MESSAGES: usize = 50;
    let nodes = start_ten_nodes();
    // A node may have a link too many for a moment.
    let writer = nodes.iter().min_by_key(|node| node.transcript().peers.len()).expect("ten nodes");
    let readers: Vec<&JsonNode> = nodes.iter().filter(|node| node.id != writer.id).collect();
    let strangers = readers.iter().filter(|reader| !writer.transcript().peers.contains(&reader.id)).count();
    assert!(strangers >= 4, "only {strangers} readers are not neighbours");
    for number in 0..MESSAGES {
        readers.iter().for_each(|reader| writer.direct(&reader.id, &format!("{number}")));
    }
    let expected: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    for reader in &readers {
        let got = wait("all direct messages", &[*reader, writer], || {
            let transcript = reader.transcript();
            let got: Vec<String> = transcript
                .all("direct")
                .filter(|event| event["from"] == writer.id.as_str())
                .map(|event| event["data"].as_str().unwrap_or_default().to_owned())
                .collect();
            (got.len() >= MESSAGES).then_some(got)
        });
        assert_eq!(got, expected);
        assert_eq!(reader.transcript().all("message").count(), 0, "nobody else reads it");
    }
}

/// A link that is closed, or whose other end goes, takes the streams along.
#[test]
fn a_node_that_stops_tells_of_lost_direct_messages_and_not_of_a_lost_end() {
    let seed = JsonNode::start(&[]);
    let mut nodes = [(); 2].map(|()| JsonNode::join(&seed, &[]));
    for node in &nodes {
        node.wait_peer_added(&seed.id);
        node.direct(&seed.id, "first");
    }
    seed.wait_until("all messages", |transcript| transcript.all("direct").count() == 2);
    // It answers nothing any more, so the closed link takes nothing more.
    seed.signal("STOP");
    let [complete, incomplete] = &mut nodes;
    // More than the stream takes before the other side reads.
    incomplete.direct(&seed.id, &"last ".repeat(60_000));
    for node in [&mut *complete, &mut *incomplete] {
        node.send(&json!({"cmd": "close_peer", "id": seed.id}));
        node.wait_peer_removed(&seed.id);
        node.send(&json!({"cmd": "stop"}));
        assert!(node.exit_status().success());
    }
    assert_eq!(complete.transcript().first("error"), None);
    let lost = ["line 2: not sent", &seed.id, "ended before the stream did"];
    assert!(incomplete.transcript().error_with(&lost).is_some(), "{:?}", incomplete.transcript().events);
}

#[test]
fn two_pipes_exchange_bytes_across_a_network() {
    let nodes = start_ten_nodes();
    let key = tempfile::tempdir().expect("a directory");
    let file = key.path().join("key").to_string_lossy().into_owned();
    let made = common::run(&["id", "--key", &file]);
    let id = made.stdout.trim().to_owned();
    let mut one = TextCommand::start(&["pipe", "--to", &id, "--seed", &nodes[1].address()]);
    one.wait_stderr("that the node is missing", |text| text.contains("trying again").then_some(()));
    let other_id = one.wait_id();
    let other = ["pipe", "--keep", "--to", &other_id, "--seed", &nodes[8].address(), "--key", &file];
    let mut other = TextCommand::start(&other);
    let bytes: Vec<u8> = (0..3 << 20).map(|at: u32| (at % 251) as u8).collect();
    one.write(bytes.clone());
    other.write("and back");
    one.wait_stdout("the answer", |stdout| stdout == b"and back");
    one.close_stdin();
    let (code, stderr) = one.exit_code();
    assert_eq!(code, Some(0), "{stderr}");
    other.wait_stdout("all bytes", |stdout| stdout.len() >= bytes.len());
    assert!(other.stdout() == bytes);
    other.signal("TERM");
    assert_eq!(other.exit_code().0, Some(0));
}

/// Starts a server that reads each connection to its end and then sends everything back. Returns
/// its address.
fn echo_server() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound socket has an address").to_string();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a connection");
            thread::spawn(move || {
                let mut bytes = Vec::new();
                socket.read_to_end(&mut bytes).expect("all that was sent");
                socket.write_all(&bytes).expect("it is read");
            });
        }
    });
    address
}

/// Waits until a `forward --listen` accepts connections, and returns its address.
fn wait_listener(forward: &TextCommand) -> String {
    forward.wait_stderr("where it accepts connections", |text| {
        Some(text.split_once("connections to ")?.1.split_once(" go to")?.0.to_owned())
    })
}

#[test]
fn forward_reaches_the_allowed_port_of_another_node_and_nothing_else() {
    let (nodes, server, other_server) = (start_ten_nodes(), echo_server(), echo_server());
    let serving = TextCommand::start(&["forward", "--allow", &server, "--seed", &nodes[2].address()]);
    let id = serving.wait_id();
    let listen = |target: &str, id: &str| {
        let seed = nodes[7].address();
        TextCommand::start(&[
            "forward",
            "--listen",
            "127.0.0.1:0",
            "--to",
            id,
            "--connect",
            target,
            "--seed",
            &seed,
        ])
    };
    let mut forward = listen(&server, &id);
    let address = wait_listener(&forward);
    let sent: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 253) as u8).collect();
    let connections: Vec<_> = (0..8)
        .map(|_| {
            let (address, sent) = (address.clone(), sent.clone());
            thread::spawn(move || {
                let mut socket = TcpStream::connect(address).expect("it listens");
                socket.write_all(&sent).expect("it reads");
                socket.shutdown(Shutdown::Write).expect("half is closed");
                let mut bytes = Vec::new();
                socket.read_to_end(&mut bytes).expect("all comes back");
                assert!(bytes == sent);
            })
        })
        .collect();
    connections.into_iter().for_each(|connection| connection.join().expect("an echo"));

    // An existing server that is not allowed.
    let refused = listen(&other_server, &id);
    let mut socket = TcpStream::connect(wait_listener(&refused)).expect("it listens");
    assert!(matches!(socket.read(&mut [0]), Ok(0) | Err(_)), "bytes from a forbidden server");
    refused.wait_stderr("why", |text| text.contains(&format!("--allow {other_server}")).then_some(()));

    // An allowed server, but for another node only.
    let restricted = ["forward", "--allow", &server, "--from", &nodes[0].id, "--seed", &nodes[4].address()];
    let restricted = TextCommand::start(&restricted);
    let excluded = listen(&server, &restricted.wait_id());
    let mut socket = TcpStream::connect(wait_listener(&excluded)).expect("it listens");
    assert!(matches!(socket.read(&mut [0]), Ok(0) | Err(_)), "bytes for a node that is not allowed");
    excluded.wait_stderr("why", |text| text.contains("not allowed").then_some(()));

    forward.signal("INT");
    assert_eq!(forward.exit_code().0, Some(130));
}

#[test]
fn msg_reaches_people_who_are_known_by_name_or_id() {
    let nodes = start_ten_nodes();
    let ann = TextCommand::start(&["chat", "--name", "ann", "--seed", &nodes[1].address()]);
    let bob = TextCommand::start(&["chat", "--name", "bob", "--seed", &nodes[8].address()]);
    for chat in [&ann, &bob] {
        chat.wait_stderr("connected", |text| text.contains("connected").then_some(()));
    }
    ann.write("hello\n");
    bob.wait_stdout("ann", |stdout| stdout.ends_with(b"<ann> hello\n"));
    bob.write("/msg ann for you only\n");
    ann.wait_stdout("bob", |stdout| stdout.ends_with(b"[bob to you] for you only\n"));
    bob.write("/msg nobody hm\n");
    bob.wait_stderr("an error", |text| text.contains("is called nobody").then_some(()));
    let stranger = "ab".repeat(32);
    bob.write(format!("/msg {stranger} hm\n"));
    bob.wait_stderr("an error", |text| text.contains("was not found").then_some(()));
}
