//! Strangers on the port, frozen processes, wrong secrets: the others notice nothing.
#![cfg(unix)]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use common::{Process, assert_all_heard, gather, network, refs, wait};

/// The promise is 5 seconds; the rest is for a busy machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(8);
const MIB: u64 = 1 << 20;

/// Says something, then nothing, and returns how long the node kept the connection.
fn stranger(address: &str, greeting: &[u8]) -> Duration {
    stay(&dial(address), greeting)
}

fn dial(address: &str) -> TcpStream {
    TcpStream::connect(address).expect("the node listens")
}

fn stay(mut stream: &TcpStream, greeting: &[u8]) -> Duration {
    let start = Instant::now();
    // The node may hang up in the middle.
    drop(stream.write_all(greeting));
    let mut buffer = [0; 4096];
    loop {
        let left = CLOSED_WITHIN.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).expect("a timeout can be set");
        match stream.read(&mut buffer) {
            // A TLS alert, perhaps.
            Ok(1..) if start.elapsed() < CLOSED_WITHIN => {}
            Ok(1..) => panic!("the node talks to a stranger for {CLOSED_WITHIN:?}"),
            Ok(0) => return start.elapsed(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("still open after {CLOSED_WITHIN:?}")
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return start.elapsed(),
        }
    }
}

/// Bytes without a pattern, the same in every run.
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

/// Both nodes read what the other one writes.
fn talk(a: &Process, b: &Process, round: &str) {
    for (writer, reader) in [(a, b), (b, a)] {
        let count = reader.state().from(&writer.id).len();
        writer.write(round);
        reader.wait_heard(&writer.id, count + 1);
        assert_eq!(reader.state().from(&writer.id).last().map(String::as_str), Some(round));
    }
}

#[test]
fn garbage_is_closed_and_costs_nothing() {
    let nodes = network(2, &[]);
    gather(&refs(&nodes), 1);
    let (target, other) = (&nodes[0], &nodes[1]);
    talk(target, other, "before");
    let before = target.memory("VmRSS");

    let mut record = vec![0x16, 0x03, 0x01, 0x40, 0x00];
    let greetings = [
        noise(64 << 10),
        vec![0; 64 << 10],
        vec![0xff; 7],
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec(),
        // A TLS record that announces 16 KiB: never filled, filled with noise, many of them.
        record.clone(),
        [record.clone(), noise(16 << 10)].concat(),
        [record.clone(), noise(100)].concat(),
        // An alert record, and a handshake message that claims to have 16 MiB.
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
            thread::spawn(move || stranger(&address, &greeting))
        })
        .collect();
    // Honest traffic flows meanwhile, until the last one is gone.
    let mut round = 0;
    while round < 20 || strangers.iter().any(|stranger| !stranger.is_finished()) {
        talk(target, other, &format!("round {round}"));
        round += 1;
    }
    for stranger in strangers {
        stranger.join().expect("the node closes the connection in time");
    }
    let grown = target.memory("VmRSS").saturating_sub(before);
    assert!(grown < 32 * MIB, "grew by {} MiB", grown / MIB);
    for (node, peer) in [(target, other), (other, target)] {
        let state = node.state();
        assert_eq!(state.peers.iter().collect::<Vec<_>>(), [&peer.id], "strangers are not peers");
        assert_eq!(state.first("peer_removed"), None);
        assert_eq!(state.gaps, []);
    }
}

#[test]
fn a_hundred_silent_connections_keep_nobody_out() {
    let nodes = network(2, &[]);
    gather(&refs(&nodes), 1);
    let (target, other) = (&nodes[0], &nodes[1]);
    talk(target, other, "before");
    let before = target.memory("VmRSS");

    let address = target.address();
    let silent: Vec<_> = (0..100)
        .map(|_| {
            let stream = dial(&address);
            thread::spawn(move || stay(&stream, b""))
        })
        .collect();
    let newcomer = Process::join(target, &[]);
    talk(target, other, "meanwhile");
    gather(&[target, other, &newcomer], 1);
    newcomer.write("made it");
    for reader in [target, other] {
        reader.wait_heard(&newcomer.id, 1);
        assert_all_heard(reader, &newcomer.id, &["made it".to_owned()]);
    }
    for stranger in silent {
        stranger.join().expect("the node closes the connection in time");
    }
    talk(target, other, "afterwards");
    let grown = target.memory("VmRSS").saturating_sub(before);
    assert!(grown < 32 * MIB, "grew by {} MiB", grown / MIB);
    assert_eq!(target.state().first("peer_removed"), None);
}

#[test]
fn a_process_that_is_killed_is_noticed() {
    let mut nodes = network(3, &["--ping-timeout", "1s"]);
    gather(&refs(&nodes), 2);
    let mut killed = nodes.remove(2);
    killed.kill();
    for node in &nodes {
        node.wait_peer(&killed.id, false);
    }
    talk(&nodes[0], &nodes[1], "still here");
}

#[test]
fn a_frozen_process_is_noticed() {
    let nodes = network(3, &["--ping-timeout", "1s"]);
    gather(&refs(&nodes), 2);
    nodes[2].signal("STOP");
    for node in &nodes[..2] {
        node.wait_peer(&nodes[2].id, false);
    }
    talk(&nodes[0], &nodes[1], "still here");
}

#[test]
fn only_those_with_the_same_secret_meet() {
    let directory = tempfile::tempdir().expect("a directory");
    let secret = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path.to_string_lossy().into_owned()
    };
    let ours = secret("ours", "correct horse battery staple, and some more\n");
    let theirs = secret("theirs", "Tr0ub4dor&3 is what everybody guesses first\n");

    let seed = Process::start(&["--network-secret-file", &ours]);
    let wrong = Process::join(&seed, &["--network-secret-file", &theirs]);
    let none = Process::join(&seed, &[]);
    let friend = Process::join(&seed, &["--network-secret-file", &ours]);
    gather(&[&seed, &friend], 1);
    talk(&seed, &friend, "among us");
    for outsider in [&wrong, &none] {
        wait("an error that speaks of the secret", &[outsider], || outsider.state().error_with(&["secret"]));
        assert_eq!(outsider.state().first("peer_added"), None);
        assert_eq!(outsider.state().first("connect"), None);
    }
    for insider in [&seed, &friend] {
        assert_eq!(insider.state().of("peer_added").count(), 1, "an outsider became a peer");
    }
    // The secret is not shown to anyone.
    for node in [&seed, &wrong, &friend] {
        assert!(!node.stderr().contains("battery") && !node.stderr().contains("Tr0ub4dor"));
    }
}
