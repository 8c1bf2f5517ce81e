//! Strangers on the port, killed and frozen processes, wrong secrets: the other nodes go on as
//! before.
#![cfg(unix)]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use smokesignal::Identity;
use smokesignal::transport::{Connection, Credentials, TcpTransport, Transport as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use common::{JsonNode, TextCommand, assert_received, refs, start_network, wait, wait_connected};

/// A node promises to close the connection of a stranger within 5 s; the rest is for a busy
/// machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(8);
const MIB: u64 = 1 << 20;

fn dial(address: &str) -> TcpStream {
    TcpStream::connect(address).expect("the node listens")
}

/// Sends a greeting and then nothing more. Fails unless the node closes the connection in time.
fn assert_closed_by_node(mut stream: &TcpStream, greeting: &[u8]) {
    let start = Instant::now();
    // The node may close the connection before all is written.
    drop(stream.write_all(greeting));
    let mut buffer = [0; 4096];
    loop {
        let left = CLOSED_WITHIN.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).expect("a timeout can be set");
        match stream.read(&mut buffer) {
            // Perhaps a TLS alert.
            Ok(1..) if start.elapsed() < CLOSED_WITHIN => {}
            Ok(1..) => panic!("the node still writes after {CLOSED_WITHIN:?}"),
            Ok(0) => return,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("still open after {CLOSED_WITHIN:?}")
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Returns bytes without a pattern, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// Lets each of the two nodes write a message and waits until the other one has read it.
fn exchange(a: &JsonNode, b: &JsonNode, round: &str) {
    for (writer, reader) in [(a, b), (b, a)] {
        let count = reader.transcript().from(&writer.id).len();
        writer.broadcast(round);
        reader.wait_received(&writer.id, count + 1);
        assert_eq!(reader.transcript().from(&writer.id).last().map(String::as_str), Some(round));
    }
}

#[test]
fn a_connection_that_sends_garbage_is_closed_and_costs_the_node_nothing() {
    let nodes = start_network(2, &[]);
    wait_connected(&refs(&nodes), 1);
    let (target, other) = (&nodes[0], &nodes[1]);
    exchange(target, other, "before");
    let before = target.memory("VmRSS");

    let mut record = vec![0x16, 0x03, 0x01, 0x40, 0x00];
    let greetings = [
        noise(64 << 10),
        vec![0; 64 << 10],
        vec![0xff; 7],
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec(),
        // A TLS record that announces 16 KiB: without content, filled with noise, cut short.
        record.clone(),
        [record.clone(), noise(16 << 10)].concat(),
        [record.clone(), noise(100)].concat(),
        // An alert record, and handshake messages that claim to have 16 MiB.
        vec![0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28],
        {
            record.extend([0x01, 0xff, 0xff, 0xff]);
            record.extend(noise((16 << 10) - 4));
            record.repeat(64)
        },
    ];
    let address = target.address();
    let strangers: Vec<_> = greetings
        .into_iter()
        .map(|greeting| {
            let address = address.clone();
            thread::spawn(move || assert_closed_by_node(&dial(&address), &greeting))
        })
        .collect();
    // Meanwhile the nodes exchange messages, until the last stranger is gone.
    let mut round = 0;
    while round < 20 || strangers.iter().any(|stranger| !stranger.is_finished()) {
        exchange(target, other, &format!("round {round}"));
        round += 1;
    }
    for stranger in strangers {
        stranger.join().expect("the node closes the connection in time");
    }
    let grown = target.memory("VmRSS").saturating_sub(before);
    assert!(grown < 32 * MIB, "grew by {} MiB", grown / MIB);
    for (node, peer) in [(target, other), (other, target)] {
        let transcript = node.transcript();
        assert_eq!(transcript.peers.iter().collect::<Vec<_>>(), [&peer.id], "strangers are not peers");
        assert_eq!(transcript.first("peer_removed"), None);
        assert_eq!(transcript.gaps, []);
    }
}

#[test]
fn a_node_can_join_through_one_that_has_a_hundred_silent_connections() {
    let nodes = start_network(2, &[]);
    wait_connected(&refs(&nodes), 1);
    let (target, other) = (&nodes[0], &nodes[1]);
    exchange(target, other, "before");
    let before = target.memory("VmRSS");

    let address = target.address();
    let silent: Vec<_> = (0..100)
        .map(|_| {
            let stream = dial(&address);
            thread::spawn(move || assert_closed_by_node(&stream, b""))
        })
        .collect();
    let newcomer = JsonNode::join(target, &[]);
    exchange(target, other, "meanwhile");
    wait_connected(&[target, other, &newcomer], 1);
    newcomer.broadcast("made it");
    for reader in [target, other] {
        reader.wait_received(&newcomer.id, 1);
        assert_received(reader, &newcomer.id, &["made it".to_owned()]);
    }
    for stranger in silent {
        stranger.join().expect("the node closes the connection in time");
    }
    exchange(target, other, "afterwards");
    let grown = target.memory("VmRSS").saturating_sub(before);
    assert!(grown < 32 * MIB, "grew by {} MiB", grown / MIB);
    assert_eq!(target.transcript().first("peer_removed"), None);
}

/// Sets the title of the window, clears the screen, changes the colour, turns the text around, and
/// imitates a line of the program.
const CONTROLS: &str = "\x1b]0;title\x07\x1b[2J\u{9b}31m\u{202e}\r\nsmokesignal: forged";

/// Runs a node that resets all streams of these names, with a reason that controls terminals.
/// Returns its id and where it listens.
fn start_resetting(names: &'static [&'static str]) -> (String, String) {
    let (started, start) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let node = smokesignal::Node::builder().build().expect("the defaults are valid");
            node.start().await.expect("loopback has free ports");
            let address = node.local_addr().expect("it listens").to_string();
            let mut resetting = tokio::task::JoinSet::new();
            for name in names {
                let mut acceptor = node.accept(name).expect("the names differ");
                resetting.spawn(async move {
                    while let Some(stream) = acceptor.recv().await {
                        stream.reset(CONTROLS);
                    }
                });
            }
            started.send((node.id().to_string(), address)).expect("the test waits");
            resetting.join_all().await;
        });
    });
    start.recv().expect("the node starts")
}

#[test]
fn a_reason_that_a_node_gives_controls_nobody_s_terminal() {
    let (id, address) = start_resetting(&["direct", "forward 127.0.0.1:9"]);
    let pipe = TextCommand::start(&["pipe", "--to", &id, "--seed", &address, "-vv"]);
    pipe.write("lost");
    let chat = TextCommand::start(&["chat", "--name", "ann", "--seed", &address, "-vv"]);
    chat.wait_stderr("connected", |text| text.contains(": connected").then_some(()));
    chat.write(format!("/msg {id} lost\n"));
    let listen = ["forward", "--listen", "127.0.0.1:0", "--to", &id, "--connect", "127.0.0.1:9", "-vv"];
    let forward = TextCommand::start(&[&listen[..], &["--seed", &address]].concat());
    let entrance = forward.wait_stderr("where it accepts connections", |text| {
        Some(text.split_once("connections to ")?.1.split_once(" go to")?.0.to_owned())
    });
    // An attempt before it is in the network reaches nobody.
    forward.wait_stderr("a peer", |text| text.contains("peer added").then_some(()));
    let _connection = dial(&entrance);
    let reason = "the other side has reset the stream";
    for (command, notice) in [(&pipe, reason), (&chat, "your line 1 to"), (&forward, reason)] {
        let shown = command.wait_stderr("the reason", |text| {
            let whole = text.rsplit_once('\n')?.0;
            (whole.contains(notice) && whole.contains("forged")).then(|| whole.to_owned())
        });
        let controls = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!shown.contains(controls), "{shown:?}");
        assert!(!shown.contains("\nsmokesignal: forged"), "{shown:?}");
    }
}

#[test]
fn a_peer_that_breaks_the_rules_is_one_line_of_the_log_and_many_are_ten() {
    const STRANGERS: u8 = 30;
    let node = JsonNode::start(&[]);
    let address = node.address().parse().expect("an address");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for stranger in 1..=STRANGERS {
            let me = Credentials::new(Identity::from_seed([stranger; 32]), None);
            let endpoint = TcpTransport::new().bind("127.0.0.1:0".parse().expect("an address"), me).await;
            let dialled = endpoint.expect("loopback has free ports").dial(address, None).await;
            let Connection { mut reader, mut writer, .. } = dialled.expect("the node lets everybody in");
            // A frame that is longer than any may be.
            let _closed = writer.write_all(&[0xff; 8]).await;
            let _closed = writer.flush().await;
            // The node closes the connection once the line is written.
            let _closed = reader.read_to_end(&mut Vec::new()).await;
        }
    });
    // What is written to one pipe arrives in order.
    let friend = JsonNode::join(&node, &[]);
    wait("the log of a new peer", &[&node, &friend], || node.stderr().contains("peer added").then_some(()));
    let log = node.stderr();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(lines.len(), 10, "{log}");
    assert!(lines.iter().all(|line| line.contains("broke the rules")), "{log}");
}

#[test]
fn a_killed_process_is_removed_from_the_peers() {
    let mut nodes = start_network(3, &["--ping-timeout", "1s"]);
    wait_connected(&refs(&nodes), 2);
    let mut killed = nodes.remove(2);
    killed.kill();
    for node in &nodes {
        node.wait_peer_removed(&killed.id);
    }
    exchange(&nodes[0], &nodes[1], "still here");
}

#[test]
fn a_frozen_process_is_removed_from_the_peers() {
    let nodes = start_network(3, &["--ping-timeout", "1s"]);
    wait_connected(&refs(&nodes), 2);
    nodes[2].signal("STOP");
    for node in &nodes[..2] {
        node.wait_peer_removed(&nodes[2].id);
    }
    exchange(&nodes[0], &nodes[1], "still here");
}

#[test]
fn only_nodes_with_the_same_secret_connect() {
    let directory = tempfile::tempdir().expect("a directory");
    let secret = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path.to_string_lossy().into_owned()
    };
    let ours = secret("ours", "correct horse battery staple, and some more\n");
    let theirs = secret("theirs", "Tr0ub4dor&3 is what everybody guesses first\n");

    let seed = JsonNode::start(&["--network-secret-file", &ours]);
    let wrong = JsonNode::join(&seed, &["--network-secret-file", &theirs]);
    let none = JsonNode::join(&seed, &[]);
    let friend = JsonNode::join(&seed, &["--network-secret-file", &ours]);
    wait_connected(&[&seed, &friend], 1);
    exchange(&seed, &friend, "among us");
    for outsider in [&wrong, &none] {
        wait("an error that mentions the secret", &[outsider], || {
            outsider.transcript().error_with(&["secret"])
        });
        assert_eq!(outsider.transcript().first("peer_added"), None);
        assert_eq!(outsider.transcript().first("connect"), None);
    }
    for insider in [&seed, &friend] {
        assert_eq!(insider.transcript().all("peer_added").count(), 1, "an outsider became a peer");
    }
    // Nobody prints the secret.
    for node in [&seed, &wrong, &friend] {
        assert!(!node.stderr().contains("battery") && !node.stderr().contains("Tr0ub4dor"));
    }
}
