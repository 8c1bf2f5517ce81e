//! Real processes that talk to nodes which are no neighbours of theirs.
#![cfg(unix)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use common::{Plain, Process, gather, network, refs, wait};

/// Ten nodes, of which each has five neighbours at most.
fn ten() -> Vec<Process> {
    let nodes = network(10, &[]);
    gather(&refs(&nodes), 3);
    nodes
}

#[test]
fn direct_messages_reach_every_node_and_keep_their_order() {
    const MESSAGES: usize = 50;
    let nodes = ten();
    let writer = &nodes[3];
    let readers: Vec<&Process> = nodes.iter().filter(|node| node.id != writer.id).collect();
    let strangers = readers.iter().filter(|reader| !writer.state().peers.contains(&reader.id)).count();
    assert!(strangers >= 4, "{strangers}");
    for number in 0..MESSAGES {
        readers.iter().for_each(|reader| writer.direct(&reader.id, &format!("{number}")));
    }
    let expected: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    for reader in &readers {
        let got = wait("all direct messages", &[*reader, writer], || {
            let state = reader.state();
            let got: Vec<String> = state
                .of("direct")
                .filter(|event| event["from"] == writer.id.as_str())
                .map(|event| event["data"].as_str().unwrap_or_default().to_owned())
                .collect();
            (got.len() >= MESSAGES).then_some(got)
        });
        assert_eq!(got, expected);
        assert_eq!(reader.state().of("message").count(), 0, "nobody else reads it");
    }
}

/// The id that a command says it has.
fn id_of(plain: &Plain) -> String {
    plain.wait_stderr("its id", |text| {
        let (_, rest) = text.split_once("listening on ")?;
        let id = rest.split_once(" as ")?.1.get(..64)?;
        rest.contains('\n').then(|| id.to_owned())
    })
}

#[test]
fn two_pipes_talk_to_each_other_through_a_network() {
    let nodes = ten();
    let key = tempfile::tempdir().expect("a directory");
    let file = key.path().join("key").to_string_lossy().into_owned();
    let made = common::run(&["id", "--key", &file]);
    let id = made.stdout.trim().to_owned();
    let mut one = Plain::start(&["pipe", "--to", &id, "--seed", &nodes[1].address()]);
    one.wait_stderr("that nobody is there", |text| text.contains("trying again").then_some(()));
    let other_id = id_of(&one);
    let other = ["pipe", "--keep", "--to", &other_id, "--seed", &nodes[8].address(), "--key", &file];
    let mut other = Plain::start(&other);
    let bytes: Vec<u8> = (0..3 << 20).map(|at: u32| (at % 251) as u8).collect();
    one.write(bytes.clone());
    other.write("and back");
    one.wait_stdout("what the other one writes", |stdout| stdout == b"and back");
    one.close_stdin();
    let (code, errors) = one.exit_code();
    assert_eq!(code, Some(0), "{errors}");
    other.wait_stdout("all bytes", |stdout| stdout.len() >= bytes.len());
    assert!(other.stdout() == bytes);
    other.signal("TERM");
    assert_eq!(other.exit_code().0, Some(130));
}

/// A server that sends back what it reads, once that has ended.
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

fn port_of(plain: &Plain) -> String {
    plain.wait_stderr("where it takes connections", |text| {
        Some(text.split_once("connections to ")?.1.split_once(" go to")?.0.to_owned())
    })
}

#[test]
fn a_port_of_one_node_is_reached_on_another_and_only_what_is_allowed() {
    let (nodes, server, other_server) = (ten(), echo_server(), echo_server());
    let serving = Plain::start(&["forward", "--allow", &server, "--seed", &nodes[2].address()]);
    let id = id_of(&serving);
    let listen = |target: &str, id: &str| {
        let seed = nodes[7].address();
        Plain::start(&[
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
    let address = port_of(&forward);
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

    // Something else that is there, but was not allowed.
    let refused = listen(&other_server, &id);
    let mut socket = TcpStream::connect(port_of(&refused)).expect("it listens");
    assert!(matches!(socket.read(&mut [0]), Ok(0) | Err(_)), "nothing comes");
    refused.wait_stderr("why", |text| text.contains(&format!("--allow {other_server}")).then_some(()));

    // Only for somebody else.
    let restricted = ["forward", "--allow", &server, "--from", &nodes[0].id, "--seed", &nodes[4].address()];
    let restricted = Plain::start(&restricted);
    let kept_out = listen(&server, &id_of(&restricted));
    let mut socket = TcpStream::connect(port_of(&kept_out)).expect("it listens");
    assert!(matches!(socket.read(&mut [0]), Ok(0) | Err(_)), "nothing comes");
    kept_out.wait_stderr("why", |text| text.contains("not allowed").then_some(()));

    forward.signal("INT");
    assert_eq!(forward.exit_code().0, Some(130));
}

#[test]
fn people_whisper_to_those_they_have_heard_of() {
    let nodes = ten();
    let ann = Plain::start(&["chat", "--name", "ann", "--seed", &nodes[1].address()]);
    let bob = Plain::start(&["chat", "--name", "bob", "--seed", &nodes[8].address()]);
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
