//! The commands as people and scripts use them: arguments, exit codes, stdout and stderr.
#![cfg(unix)]

mod common;

use std::net::{IpAddr, TcpListener};
use std::time::{Duration, Instant};

use common::{
    DEADLINE, Finished, JsonNode, TextCommand, free_port, program, refs, run, run_command, start_network,
    wait_connected,
};
use serde_json::json;

/// Runs a command that has to fail with this exit code, print nothing to stdout, and name all of
/// these parts on stderr.
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
fn the_error_names_a_port_that_is_in_use() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    assert_refused(&["run", "--json", "--port", &port], 1, &[&port]);
    assert_refused(&["pipe", "--port", &port], 1, &[&port]);
}

#[test]
fn the_error_names_an_address_that_this_machine_does_not_have() {
    assert_refused(&["run", "--json", "--address", "203.0.113.7"], 1, &["203.0.113.7"]);
    assert_refused(&["run", "--json", "--address", "203.0.113.0/24"], 1, &["203.0.113.0/24"]);
    assert_refused(&["run", "--json", "--address", "over there"], 2, &["over there"]);
}

#[test]
fn the_error_names_a_broken_key_file_and_the_file_is_not_overwritten() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("broken key");
    std::fs::write(&path, "not a key").expect("a file can be written");
    let name = path.to_string_lossy();
    assert_refused(&["run", "--json", "--key", &name], 1, &[&name]);
    assert_refused(&["id", "--key", &name], 1, &[&name]);
    assert_eq!(std::fs::read_to_string(&path).expect("it is still there"), "not a key");
    let folder = directory.path().to_string_lossy();
    assert_refused(&["run", "--json", "--key", &folder], 1, &[&folder]);
}

#[test]
fn the_error_names_the_value_of_a_wrong_option() {
    assert_refused(&["run", "--json", "--seed", "nowhere"], 2, &["nowhere"]);
    assert_refused(&["run", "--json", "--seed", "127.0.0.1:99999"], 2, &["99999"]);
    assert_refused(&["run", "--json", "--max-peers", "0"], 2, &["0"]);
    assert_refused(&["run", "--json", "--max-peers", "several"], 2, &["several"]);
    assert_refused(&["run", "--json", "--min-peers", "6", "--max-peers", "5"], 2, &["6", "5"]);
    let cure =
        ["--min-peers 3 is above --max-peers 2", "give --min-peers 2 as well", "raise --max-peers to 3"];
    let refused = assert_refused(&["run", "--json", "--max-peers", "2"], 2, &cure);
    assert!(!refused.stderr.contains("min_peers"), "the name of the library's option: {}", refused.stderr);
    assert_refused(&["pipe", "--min-peers", "0"], 2, &["--min-peers is 0", "1 or more"]);
    assert_refused(&["bench", "--max-peers", "2"], 2, &["--min-peers", "--max-peers 2"]);
    assert_refused(&["run", "--json", "--ping-timeout", "0s"], 2, &["0s"]);
    assert_refused(&["run", "--json", "--ping-timeout", "soon"], 2, &["soon"]);
    let cure = "no reader is that fast; use a time above 0s, for example 60s, or leave it out for no limit";
    for zero in ["0", "0s"] {
        assert_refused(&["pipe", "--reader-timeout", zero], 2, &[zero, cure]);
    }
    assert_refused(&["pipe", "--reader-timeout", "soon"], 2, &["soon", "60s"]);
    assert_refused(&["run", "--json", "--preset", "moon"], 2, &["moon", "lan", "internet"]);
    assert_refused(&["run", "--json", "--retention", "31MiB"], 2, &["31MiB", "32MiB or more"]);
    assert_refused(&["run", "--json", "--retention-age", "0.5s"], 2, &["0.5s", "1s or more"]);
    assert_refused(&["run", "--json", "--pace", "some"], 2, &["some", "most", "all", "none"]);
    assert_refused(&["run", "--json", "--upload-limit", "fast"], 2, &["fast", "500k"]);
    assert_refused(
        &["run", "--json", "--upload-limit", "1k"],
        2,
        &["--upload-limit 1000", "43690 or more", "--ping-timeout 3s"],
    );
    assert_refused(&["shout"], 2, &["shout"]);
}

#[test]
fn the_error_for_a_secret_that_is_too_short_states_the_minimum_and_hides_the_secret() {
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
fn a_secret_file_that_others_can_read_is_used_with_a_warning_that_has_the_cure() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let [secret, key] = ["secret", "key"].map(|name| directory.path().join(name));
    std::fs::write(&secret, "x".repeat(32)).expect("a file can be written");
    std::fs::write(&key, "0".repeat(64)).expect("a file can be written");
    let start = |mode| {
        for file in [&secret, &key] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file, mode).expect("it is this user's");
        }
        let [secret, key] = [&secret, &key].map(|path| path.to_string_lossy().into_owned());
        let mut node = JsonNode::start(&["--network-secret-file", &secret, "--key", &key]);
        node.send(&json!({"cmd": "stop"}));
        assert!(node.exit_status().success());
        let shown = run(&["id", "--key", &key]);
        assert_eq!((shown.code, shown.stdout.trim()), (Some(0), node.id.as_str()));
        [(node.stderr(), secret), (node.stderr(), key.clone()), (shown.stderr, key)]
    };
    for mode in [0o644, 0o640] {
        for (stderr, file) in start(mode) {
            let cure = format!("(mode {mode:03o}); run `chmod 600 {file}`");
            assert_eq!(stderr.matches(&cure).count(), 1, "{stderr}");
        }
    }
    for (stderr, _) in start(0o600) {
        assert!(!stderr.contains("chmod"), "{stderr}");
    }
}

#[test]
fn environment_variables_set_options() {
    let mut command = program(&["run", "--json"]);
    let finished = run_command(command.env("SMOKESIGNAL_MAX_PEERS", "1"), DEADLINE);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    for (name, wrong) in [
        ("SMOKESIGNAL_PRESET", "moon"),
        ("SMOKESIGNAL_RETENTION", "1MiB"),
        ("SMOKESIGNAL_RETENTION_AGE", "1ms"),
    ] {
        let finished = run_command(program(&["run", "--json"]).env(name, wrong), DEADLINE);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(wrong), "{finished:?}");
    }
    let finished =
        run_command(program(&["run", "--json"]).env("SMOKESIGNAL_ADDRESS", "203.0.113.7"), DEADLINE);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("203.0.113.7"), "{finished:?}");
}

#[test]
fn the_old_name_of_unsigned_messages_works_and_is_not_in_the_help() {
    let seed = JsonNode::start(&["--unsigned-messages"]);
    let address = seed.address();
    let by_variable = |name: &str| {
        let mut command = program(&[]);
        command.env(name, "true");
        JsonNode::start_on("127.0.0.1", command, &["--seed", &address])
    };
    let unsigned = [
        JsonNode::join(&seed, &["--trusted"]),
        by_variable("SMOKESIGNAL_TRUSTED"),
        by_variable("SMOKESIGNAL_UNSIGNED_MESSAGES"),
    ];
    // A node that signs would find no peer here: the two kinds of network do not mix.
    for node in &unsigned {
        node.wait_until("a peer", |state| !state.peers.is_empty());
    }

    for command in ["run", "bench"] {
        let help = run(&[command, "--help"]).stdout;
        assert!(help.contains("--unsigned-messages"), "{help}");
        assert!(!help.to_lowercase().contains("--trusted") && !help.contains("_TRUSTED"), "{help}");
    }
    let row = ["bench", "--nodes", "2", "--seconds", "0.1", "--warm-up", "0", "--json", "--trusted"];
    let finished = run(&row);
    assert!(finished.stdout.contains(r#""mode":"unsigned""#), "{finished:?}");
}

#[test]
fn a_node_that_gets_sigterm_or_sigint_says_goodbye_to_its_peers() {
    // Without a goodbye the peers would wait this long.
    let mut nodes = start_network(3, &["--ping-timeout", "50s"]);
    wait_connected(&refs(&nodes), 2);
    for name in ["TERM", "INT"] {
        let mut leaving = nodes.pop().expect("three nodes");
        let start = Instant::now();
        leaving.signal(name);
        for node in &nodes {
            node.wait_peer_removed(&leaving.id);
        }
        assert!(start.elapsed() < Duration::from_secs(10), "noticed after {:?}", start.elapsed());
        let code = if name == "TERM" { 0 } else { 130 };
        assert_eq!(leaving.exit_status().code(), Some(code), "{}", leaving.stderr());
    }
}

#[test]
fn sigterm_ends_commands_that_run_until_then_with_0_and_sigint_with_130() {
    let seed = JsonNode::start(&[]);
    let address = seed.address();
    let commands: [&[&str]; 4] = [
        &["pipe", "--seed", &address],
        &["pipe", "--lines", "--keep", "--seed", "127.0.0.1:1"],
        &["forward", "--allow", "127.0.0.1:1", "--seed", &address],
        &["chat", "--name", "ann", "--seed", &address],
    ];
    for (args, (name, code)) in commands.iter().flat_map(|args| [(*args, ("TERM", 0)), (*args, ("INT", 130))])
    {
        let mut command = TextCommand::start(args);
        command.wait_id();
        command.signal(name);
        let (found, stderr) = command.exit_code();
        assert_eq!(found, Some(code), "{args:?} after SIG{name}: {stderr}");
    }
}

#[test]
fn sigterm_before_the_end_of_a_stream_is_a_failure_of_pipe_until_end() {
    let mut reader = TextCommand::start(&["pipe", "--until-end"]);
    reader.wait_id();
    reader.signal("TERM");
    let (code, stderr) = reader.exit_code();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("before the end of the stream"), "{stderr}");
}

#[test]
fn a_bad_line_is_answered_with_an_error_that_names_its_number() {
    let nodes = start_network(2, &[]);
    wait_connected(&refs(&nodes), 1);
    let (node, other) = (&nodes[0], &nodes[1]);
    node.send(&json!({"cmd": "peers"}));
    node.send_line("{\"cmd\": \"broadcast\", ");
    node.send(&json!({"cmd": "dance"}));
    node.send(&json!({"cmd": "broadcast"}));
    node.send(&json!({"cmd": "broadcast", "base64": "***"}));
    node.send(&json!({"cmd": "direct", "to": "nobody", "data": "x"}));
    node.send(&json!(["peers"]));
    node.broadcast("still working");
    for line in 2..=7 {
        let number = format!("line {line}");
        node.wait_for(&format!("an error for {number}"), |transcript| transcript.error_with(&[&number]));
    }
    other.wait_received(&node.id, 1);
    assert_eq!(other.transcript().from(&node.id), ["still working"]);
    assert_eq!(node.transcript().all("error").count(), 6);
    assert_eq!(node.transcript().wrong, None);
}

#[test]
fn a_line_that_is_not_utf_8_is_answered_with_an_error() {
    let mut node = TextCommand::start(&["run", "--json"]);
    node.write(b"\xff\xfe\n{\"cmd\":\"stop\"}\n".as_slice());
    let (code, stderr) = node.exit_code();
    assert_eq!(code, Some(0), "{stderr}");
    node.wait_stdout("an error for line 1", |stdout| String::from_utf8_lossy(stdout).contains("line 1"));
}

#[test]
fn pipe_with_lines_sends_each_line_and_ends_with_its_input() {
    let port = free_port();
    let mut listener = TextCommand::start(&["pipe", "--lines", "--port", &port]);
    let mut sender = TextCommand::start(&["pipe", "--lines", "--seed", &format!("127.0.0.1:{port}")]);
    sender.write("a\nb\n");
    sender.close_stdin();
    let (code, stderr) = sender.exit_code();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(sender.stdout(), b"", "a node does not read its own lines");
    listener.wait_stdout("both lines", |stdout| stdout.ends_with(b"b\n"));
    listener.signal("TERM");
    let (code, stderr) = listener.exit_code();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&listener.stdout()), "a\nb\n");
}

#[test]
fn pipe_transfers_bytes_unchanged() {
    let port = free_port();
    let listener = TextCommand::start(&["pipe", "--port", &port]);
    let mut sender = TextCommand::start(&["pipe", "--seed", &format!("127.0.0.1:{port}")]);
    // Without a pattern, so that a shifted or repeated piece is noticed.
    let bytes: Vec<u8> = (0..5_u32 << 18)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes())
        .collect();
    assert_eq!(bytes.len(), 5 << 20);
    sender.write(bytes.clone());
    sender.close_stdin();
    let (code, stderr) = sender.exit_code();
    assert_eq!(code, Some(0), "{stderr}");
    listener.wait_stdout("5 MiB", |stdout| stdout.len() >= bytes.len());
    assert!(listener.stdout() == bytes, "the bytes differ");
}

#[test]
fn nobody_else_reads_what_pipe_sends_to_one_node() {
    let nodes = start_network(2, &[]);
    wait_connected(&refs(&nodes), 1);
    let (one, other) = (&nodes[0], &nodes[1]);
    let mut sender = TextCommand::start(&["pipe", "--lines", "--to", &one.id, "--seed", &one.address()]);
    sender.write("for you only\n");
    sender.close_stdin();
    let event = one.wait_for("the line", |transcript| transcript.first("direct").cloned());
    assert_eq!(event["data"], "for you only");
    let (code, stderr) = sender.exit_code();
    assert_eq!(code, Some(0), "{stderr}");
    one.broadcast("the last");
    other.wait_received(&one.id, 1);
    assert_eq!(other.transcript().first("direct"), None);
    assert_eq!(other.transcript().received.len(), 1, "messages of another writer");
}

#[test]
fn pipe_ends_without_an_error_when_its_stdout_is_closed() {
    let node = JsonNode::start(&[]);
    let mut pipe = TextCommand::start_unread(&["pipe", "--seed", &node.address()]);
    node.wait_until("the pipe as a peer", |transcript| !transcript.peers.is_empty());
    pipe.close_stdout();
    node.broadcast("anyone?");
    let (code, stderr) = pipe.exit_code();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("roken pipe"), "{stderr}");
}

#[test]
fn two_people_can_chat() {
    let port = free_port();
    let ann = TextCommand::start(&["chat", "--name", "ann", "--port", &port]);
    let mut bob = TextCommand::start(&["chat", "--name", "bob", "--seed", &format!("127.0.0.1:{port}")]);
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
    let (code, stderr) = bob.exit_code();
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn the_id_of_a_key_file_is_always_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key").to_string_lossy().into_owned();
    let (first, second) = (run(&["id", "--key", &key]), run(&["id", "--key", &key]));
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!(first.stdout, second.stdout);
    let id = first.stdout.trim_end();
    assert!(id.len() == 64 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{first:?}");
    assert_eq!(first.stdout, format!("{id}\n"));
    let node = JsonNode::start(&["--key", &key]);
    assert_eq!(node.id, id);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&key).expect("the key is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "others can read the key: {mode:o}");
}

#[test]
fn localip_prints_the_address_of_this_machine_in_a_subnet() {
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
fn completions_are_printed_for_each_shell() {
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
fn the_demo_passes() {
    let finished = run_command(&mut program(&["demo", "6", "--headless"]), 2 * DEADLINE);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.lines().count() >= 2, "no summary: {finished:?}");
    assert!(!finished.stdout.contains('\x1b'), "--headless prints plain lines: {finished:?}");
}
