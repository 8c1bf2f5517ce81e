//! The commands as people and scripts use them: arguments, exit codes, what is on stdout.
#![cfg(unix)]

mod common;

use std::net::{IpAddr, TcpListener};
use std::time::{Duration, Instant};

use common::{
    DEADLINE, Finished, Plain, Process, free_port, gather, network, program, refs, run, run_command,
};
use serde_json::json;

/// Exit code, an empty stdout, and a text on stderr that has all of these in it.
#[track_caller]
fn assert_refused(args: &[&str], code: i32, parts: &[&str]) -> Finished {
    let finished = run(args);
    assert_eq!(finished.code, Some(code), "{args:?}: {}", finished.stderr);
    assert_eq!(finished.stdout, "", "{args:?}: stdout is for data");
    for part in parts {
        assert!(finished.stderr.contains(part), "{args:?} does not name {part:?}: {}", finished.stderr);
    }
    assert!(!finished.stderr.contains("panicked"), "{args:?}: {}", finished.stderr);
    finished
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    assert_refused(&["run", "--json", "--port", &port], 1, &[&port]);
    assert_refused(&["pipe", "--port", &port], 1, &[&port]);
}

#[test]
fn an_address_that_is_not_ours_is_named() {
    assert_refused(&["run", "--json", "--address", "203.0.113.7"], 1, &["203.0.113.7"]);
    assert_refused(&["run", "--json", "--address", "203.0.113.0/24"], 1, &["203.0.113.0/24"]);
    assert_refused(&["run", "--json", "--address", "over there"], 2, &["over there"]);
}

#[test]
fn a_key_that_cannot_be_read_is_named_and_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("broken key");
    std::fs::write(&path, "this is no key").expect("a file can be written");
    let name = path.to_string_lossy();
    assert_refused(&["run", "--json", "--key", &name], 1, &[&name]);
    assert_refused(&["id", "--key", &name], 1, &[&name]);
    assert_eq!(std::fs::read_to_string(&path).expect("it is still there"), "this is no key");
    let folder = directory.path().to_string_lossy();
    assert_refused(&["run", "--json", "--key", &folder], 1, &[&folder]);
}

#[test]
fn wrong_options_are_named() {
    assert_refused(&["run", "--json", "--seed", "nowhere"], 2, &["nowhere"]);
    assert_refused(&["run", "--json", "--seed", "127.0.0.1:99999"], 2, &["99999"]);
    assert_refused(&["run", "--json", "--max-peers", "0"], 2, &["0"]);
    assert_refused(&["run", "--json", "--max-peers", "several"], 2, &["several"]);
    assert_refused(&["run", "--json", "--min-peers", "6", "--max-peers", "5"], 2, &["6", "5"]);
    assert_refused(&["run", "--json", "--ping-timeout", "0s"], 2, &["0s"]);
    assert_refused(&["run", "--json", "--ping-timeout", "soon"], 2, &["soon"]);
    assert_refused(&["shout"], 2, &["shout"]);
}

#[test]
fn a_secret_that_is_too_short_is_refused_with_the_cure() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("secret");
    std::fs::write(&path, "abc\n").expect("a file can be written");
    let name = path.to_string_lossy();
    let finished = run(&["run", "--json", "--network-secret-file", &name]);
    assert!(matches!(finished.code, Some(1 | 2)), "{finished:?}");
    assert_eq!(finished.stdout, "");
    assert!(
        finished.stderr.contains("secret") && finished.stderr.contains("at least"),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("abc"), "the secret is shown: {}", finished.stderr);
    let missing = directory.path().join("missing").to_string_lossy().into_owned();
    assert_refused(&["run", "--json", "--network-secret-file", &missing], 1, &[&missing]);
}

#[test]
fn options_are_environment_variables_as_well() {
    let mut command = program(&["run", "--json"]);
    let finished = run_command(command.env("SMOKESIGNAL_MAX_PEERS", "1"), DEADLINE);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let finished =
        run_command(program(&["run", "--json"]).env("SMOKESIGNAL_ADDRESS", "203.0.113.7"), DEADLINE);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("203.0.113.7"), "{finished:?}");
}

#[test]
fn sigterm_and_sigint_leave_the_network_properly() {
    // The peers would wait this long for a node that says nothing.
    let mut nodes = network(3, &["--ping-timeout", "50s"]);
    gather(&refs(&nodes), 2);
    for name in ["TERM", "INT"] {
        let mut leaving = nodes.pop().expect("three nodes");
        let start = Instant::now();
        leaving.signal(name);
        for node in &nodes {
            node.wait_peer(&leaving.id, false);
        }
        assert!(start.elapsed() < Duration::from_secs(10), "noticed after {:?}", start.elapsed());
        assert_eq!(leaving.exit_status().code(), Some(130), "{}", leaving.stderr());
    }
}

#[test]
fn a_bad_line_is_answered_with_its_number() {
    let nodes = network(2, &[]);
    gather(&refs(&nodes), 1);
    let (node, other) = (&nodes[0], &nodes[1]);
    node.send(&json!({"cmd": "peers"}));
    node.send_line("{\"cmd\": \"broadcast\", ");
    node.send(&json!({"cmd": "dance"}));
    node.send(&json!({"cmd": "broadcast"}));
    node.send(&json!({"cmd": "broadcast", "base64": "***"}));
    node.send(&json!({"cmd": "direct", "to": "nobody", "data": "x"}));
    node.send(&json!(["peers"]));
    node.write("and on it goes");
    for line in 2..=7 {
        let number = format!("line {line}");
        node.wait_for(&format!("an error for {number}"), |state| state.error_with(&[&number]));
    }
    other.wait_heard(&node.id, 1);
    assert_eq!(other.state().from(&node.id), ["and on it goes"]);
    assert_eq!(node.state().of("error").count(), 6);
    assert_eq!(node.state().first("NOT JSON"), None);
}

#[test]
fn a_line_that_is_no_text_is_a_bad_line() {
    let mut plain = Plain::start(&["run", "--json"]);
    plain.write(b"\xff\xfe\n{\"cmd\":\"stop\"}\n".as_slice());
    let (code, errors) = plain.exit_code();
    assert_eq!(code, Some(0), "{errors}");
    plain.wait_stdout("an error for line 1", |stdout| String::from_utf8_lossy(stdout).contains("line 1"));
}

#[test]
fn pipe_lines_sends_each_line_and_ends_with_its_input() {
    let port = free_port();
    let mut listener = Plain::start(&["pipe", "--lines", "--port", &port]);
    let mut sender = Plain::start(&["pipe", "--lines", "--seed", &format!("127.0.0.1:{port}")]);
    sender.write("a\nb\n");
    sender.close_stdin();
    let (code, errors) = sender.exit_code();
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(sender.stdout(), b"", "one's own lines do not come back");
    listener.wait_stdout("both lines", |stdout| stdout.ends_with(b"b\n"));
    listener.signal("TERM");
    let (code, errors) = listener.exit_code();
    assert_eq!(code, Some(130), "{errors}");
    assert_eq!(String::from_utf8_lossy(&listener.stdout()), "a\nb\n");
}

#[test]
fn pipe_carries_bytes_unchanged() {
    let port = free_port();
    let listener = Plain::start(&["pipe", "--port", &port]);
    let mut sender = Plain::start(&["pipe", "--seed", &format!("127.0.0.1:{port}")]);
    // No pattern that a shifted or doubled piece would fit.
    let bytes: Vec<u8> = (0..5_u32 << 18)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes())
        .collect();
    assert_eq!(bytes.len(), 5 << 20);
    sender.write(bytes.clone());
    sender.close_stdin();
    let (code, errors) = sender.exit_code();
    assert_eq!(code, Some(0), "{errors}");
    listener.wait_stdout("5 MiB", |stdout| stdout.len() >= bytes.len());
    assert!(listener.stdout() == bytes, "the bytes differ");
}

#[test]
fn pipe_to_one_node_is_read_by_nobody_else() {
    let nodes = network(2, &[]);
    gather(&refs(&nodes), 1);
    let (one, other) = (&nodes[0], &nodes[1]);
    let mut sender = Plain::start(&["pipe", "--lines", "--to", &one.id, "--seed", &one.address()]);
    sender.write("for you only\n");
    sender.close_stdin();
    let event = one.wait_for("the line", |state| state.first("direct").cloned());
    assert_eq!(event["data"], "for you only");
    let (code, errors) = sender.exit_code();
    assert_eq!(code, Some(0), "{errors}");
    one.write("the last");
    other.wait_heard(&one.id, 1);
    assert_eq!(other.state().first("direct"), None);
    assert_eq!(other.state().heard.len(), 1, "read from somebody else");
}

#[test]
fn pipe_ends_quietly_when_nobody_reads_its_output() {
    let node = Process::start(&[]);
    let mut pipe = Plain::start_unread(&["pipe", "--seed", &node.address()]);
    node.wait_until("the pipe as a peer", |state| !state.peers.is_empty());
    pipe.drop_stdout();
    node.write("anyone?");
    let (code, errors) = pipe.exit_code();
    assert_eq!(code, Some(0), "{errors}");
    assert!(!errors.contains("panicked") && !errors.contains("roken pipe"), "{errors}");
}

#[test]
fn two_people_chat() {
    let port = free_port();
    let ann = Plain::start(&["chat", "--name", "ann", "--port", &port]);
    let mut bob = Plain::start(&["chat", "--name", "bob", "--seed", &format!("127.0.0.1:{port}")]);
    let line = |name: &'static str, words: &'static str| {
        move |stdout: &[u8]| {
            let text = String::from_utf8_lossy(stdout);
            text.lines().any(|line| line.contains(name) && line.contains(words))
        }
    };
    bob.write("hello from here\n");
    ann.wait_stdout("the words of bob", line("bob", "hello from here"));
    ann.write("and hello back\n");
    bob.wait_stdout("the words of ann", line("ann", "and hello back"));
    bob.write("/quit\n");
    let (code, errors) = bob.exit_code();
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn id_is_the_same_each_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key").to_string_lossy().into_owned();
    let (first, second) = (run(&["id", "--key", &key]), run(&["id", "--key", &key]));
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!(first.stdout, second.stdout);
    let id = first.stdout.trim_end();
    assert!(id.len() == 64 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{first:?}");
    assert_eq!(first.stdout, format!("{id}\n"));
    let node = Process::start(&["--key", &key]);
    assert_eq!(node.id, id);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&key).expect("the key is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "others can read the key: {mode:o}");
}

#[test]
fn localip_prints_an_address() {
    for subnet in ["127.0.0.0/8", "127.0.0.1/255.0.0.0"] {
        let finished = run(&["localip", subnet]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let address: IpAddr = finished.stdout.trim_end().parse().expect("an address");
        assert!(address.is_loopback(), "{address}");
    }
    assert_refused(&["localip", "203.0.113.0/24"], 1, &["203.0.113.0/24"]);
    assert_refused(&["localip", "127.0.0.0/99"], 2, &["127.0.0.0/99"]);
}

#[test]
fn completions_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let finished = run(&["completions", shell]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stdout.contains("smokesignal"), "{finished:?}");
    }
}

#[test]
fn help_and_version_are_printed() {
    for args in
        [&["--help"][..], &["--version"], &["run", "--help"], &["pipe", "--help"], &["chat", "--help"]]
    {
        let finished = run(args);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stdout.contains("smokesignal") && finished.stderr.is_empty(), "{finished:?}");
    }
}

#[test]
fn the_demo_holds() {
    let finished = run_command(&mut program(&["demo", "6", "--headless"]), 2 * DEADLINE);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.lines().count() >= 2, "no summary: {finished:?}");
    assert!(!finished.stdout.contains('\x1b'), "--headless prints plain lines: {finished:?}");
}
