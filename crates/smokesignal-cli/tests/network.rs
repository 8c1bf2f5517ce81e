//! Real processes: messages arrive once and in order, also when other nodes die, freeze or join.
#![cfg(unix)]

mod common;

use std::process::Command;

use common::{
    JsonNode, PROGRAM, assert_in_order, assert_received, digest, free_port, program, refs, start_network,
    wait, wait_connected,
};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// Returns numbered messages that no other node writes.
fn numbered(writer: &JsonNode, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{number} of {:.8}", writer.id)).collect()
}

fn broadcast_all(writer: &JsonNode, messages: &[String]) {
    for message in messages {
        writer.broadcast(message);
    }
}

#[test]
fn six_nodes_write_concurrently_and_each_reads_the_others_in_order() {
    let nodes = start_network(6, &[]);
    wait_connected(&refs(&nodes), 3);
    let written: Vec<Vec<String>> = nodes.iter().map(|node| numbered(node, 0..200)).collect();
    for number in 0..200 {
        for (node, messages) in nodes.iter().zip(&written) {
            node.broadcast(&messages[number]);
        }
    }
    for reader in &nodes {
        for (writer, messages) in nodes.iter().zip(&written) {
            if writer.id == reader.id {
                continue;
            }
            reader.wait_received(&writer.id, messages.len());
        }
    }
    for reader in &nodes {
        for (writer, messages) in nodes.iter().zip(&written) {
            let own = writer.id == reader.id;
            assert_received(reader, &writer.id, if own { &[] } else { messages });
        }
        assert!(reader.transcript().first("connect").is_some(), "the event of the first peer");
        assert_eq!(reader.transcript().first("disconnect"), None);
    }
}

#[test]
fn when_half_of_sixteen_nodes_are_killed_mid_stream_the_others_miss_nothing() {
    const MESSAGES: usize = 1500;
    let mut nodes = start_network(16, &["--ping-timeout", "2s"]);
    wait_connected(&refs(&nodes), 3);
    // The seed and every second node after it.
    let (mut killed, mut survivors) = (Vec::new(), Vec::new());
    for (number, node) in nodes.drain(..).enumerate() {
        if number % 2 == 0 { killed.push(node) } else { survivors.push(node) }
    }
    let padding = "x".repeat(500);
    let pad = |message: String| message + " " + &padding;
    let written: Vec<Vec<String>> = survivors[..3]
        .iter()
        .map(|writer| numbered(writer, 0..MESSAGES).into_iter().map(pad).collect())
        .collect();
    let writers: Vec<&JsonNode> = survivors[..3].iter().collect();
    for (writer, messages) in writers.iter().zip(&written) {
        broadcast_all(writer, &messages[..MESSAGES - 200]);
    }
    let watcher = &survivors[7];
    for writer in &writers {
        watcher.wait_received(&writer.id, 100);
    }
    for node in &mut killed {
        node.kill();
    }
    for (writer, messages) in writers.iter().zip(&written) {
        broadcast_all(writer, &messages[MESSAGES - 200..]);
    }
    let all = refs(&survivors);
    wait("all messages of the survivors at all survivors", &all, || {
        let complete = |reader: &JsonNode| {
            let transcript = reader.transcript();
            writers
                .iter()
                .all(|writer| writer.id == reader.id || transcript.from(&writer.id).len() >= MESSAGES)
        };
        survivors.iter().all(complete).then_some(())
    });
    for reader in &survivors {
        for (writer, messages) in writers.iter().zip(&written) {
            let own = writer.id == reader.id;
            assert_received(reader, &writer.id, if own { &[] } else { messages });
        }
    }
    // The survivors drop the dead nodes and form one network.
    wait("the removal of the dead nodes", &all, || {
        let dead = |id: &String| killed.iter().any(|node| node.id == *id);
        survivors.iter().all(|node| !node.transcript().peers.iter().any(dead)).then_some(())
    });
    wait_connected(&all, 3);
}

#[test]
fn a_seventh_node_joins_six_nodes_that_are_all_full() {
    let args = ["--min-peers", "5", "--max-peers", "5"];
    let mut nodes = start_network(6, &args);
    wait_connected(&refs(&nodes), 5);
    nodes.push(JsonNode::join(&nodes[0], &args));
    let seventh = &nodes[6];
    seventh.wait_until("two peers at least", |transcript| transcript.peers.len() >= 2);
    wait_connected(&refs(&nodes), 2);
    for node in &nodes {
        node.broadcast(&format!("from {}", node.id));
    }
    for reader in &nodes {
        for writer in nodes.iter().filter(|writer| writer.id != reader.id) {
            reader.wait_received(&writer.id, 1);
            assert_received(reader, &writer.id, &[format!("from {}", writer.id)]);
        }
        // A new link is made before an old one is closed: up to two more for a moment.
        assert!(reader.transcript().most_peers <= 7, "more than two above --max-peers");
        reader.wait_until("no more than --max-peers", |transcript| transcript.peers.len() <= 5);
    }
}

/// What lies in front of a frozen process has an age, too: its program can skip to now. That is
/// also true of a link that has carried no message before, and of one that passes others on.
#[test]
fn after_a_freeze_old_messages_are_told_from_new_ones() {
    let nodes = start_network(3, &[]);
    wait_connected(&refs(&nodes), 2);
    let (other, writer, frozen) = (&nodes[0], &nodes[1], &nodes[2]);
    let ages = |node: &JsonNode| -> Vec<u64> {
        let transcript = node.transcript();
        let messages = transcript.events.iter().filter(|event| event["event"] == "message");
        messages.map(|event| event["age_ms"].as_u64().expect("a message has an age")).collect()
    };
    frozen.signal("STOP");
    writer.broadcast("while it is frozen");
    other.wait_received(&writer.id, 1);
    for node in [other, writer] {
        node.wait_peer_removed(&frozen.id);
    }
    frozen.signal("CONT");
    frozen.wait_received(&writer.id, 1);
    // The others drop it after the ping timeout, 3 s.
    assert!(ages(frozen)[0] >= 2_000, "{:?}", ages(frozen));
    assert!(ages(other).iter().all(|age| *age < 2_000), "{:?}", ages(other));
    // A busy machine may hold up one message, but not each of them.
    let is_fresh = (2..12).any(|count| {
        writer.broadcast("after");
        frozen.wait_received(&writer.id, count);
        ages(frozen)[count - 1] < 1_000
    });
    assert!(is_fresh, "{:?}", ages(frozen));
}

#[test]
fn a_frozen_process_costs_the_others_neither_messages_nor_memory() {
    const MESSAGES: usize = 256;
    let nodes = start_network(6, &[]);
    wait_connected(&refs(&nodes), 3);
    let (writer, frozen) = (&nodes[1], &nodes[4]);
    let others: Vec<&JsonNode> = nodes.iter().filter(|node| node.id != frozen.id).collect();
    let readers: Vec<&JsonNode> = others.iter().copied().filter(|node| node.id != writer.id).collect();

    writer.broadcast("before");
    for node in readers.iter().chain([&frozen]) {
        node.wait_received(&writer.id, 1);
    }
    let before: Vec<u64> = others.iter().map(|node| node.memory("VmRSS")).collect();
    frozen.signal("STOP");

    let payload = "0123456789abcdef".repeat((256 << 10) / 16 - 1);
    let mut expected = vec!["before".to_owned()];
    for number in 0..MESSAGES {
        let message = format!("{number:015} {payload}");
        assert_eq!(message.len(), 256 << 10);
        writer.broadcast(&message);
        expected.push(digest(&message));
    }
    for reader in &readers {
        reader.wait_received(&writer.id, expected.len());
        assert_received(reader, &writer.id, &expected);
    }
    for node in &others {
        node.wait_peer_removed(&frozen.id);
    }
    for (node, before) in others.iter().zip(before) {
        let grown = node.memory("VmHWM").saturating_sub(before);
        assert!(grown < 200 * MIB, "{:.8} grew by {} MiB", node.id, grown / MIB);
    }

    frozen.signal("CONT");
    wait("the resumed process to be a peer again", &others, || {
        others.iter().any(|node| node.transcript().peers.contains(&frozen.id)).then_some(())
    });
    writer.broadcast("after");
    expected.push("after".to_owned());
    frozen.wait_until("the message written after it resumed", |transcript| {
        transcript.from(&writer.id).last().is_some_and(|last| last == "after")
    });
    for reader in &readers {
        reader.wait_received(&writer.id, expected.len());
        assert_received(reader, &writer.id, &expected);
    }
    // Nothing arrives twice or out of order, and gaps count exactly what is missing.
    let transcript = frozen.transcript();
    let received = transcript.from(&writer.id);
    let mut rest = expected.iter();
    assert!(
        received.iter().all(|message| rest.any(|expected| expected == message)),
        "twice, or out of order"
    );
    assert_in_order(&transcript, &writer.id);
    let missed = transcript.missed(&writer.id);
    assert_eq!(received.len() as u64 + missed, expected.len() as u64, "messages and gaps together");
}

#[test]
fn a_message_of_sixteen_mebibytes_arrives_and_one_byte_more_is_refused() {
    const LIMIT: usize = 16 << 20;
    let nodes = start_network(4, &[]);
    wait_connected(&refs(&nodes), 3);
    let writer = &nodes[0];
    let text: String =
        (0..).flat_map(|n: u32| format!("{n} ").into_bytes()).map(char::from).take(LIMIT).collect();
    writer.broadcast(&text);
    writer.broadcast(&format!("{text}x"));
    let error = writer.wait_for("an error that names both sizes", |transcript| {
        transcript.error_with(&["16777217", "16777216"])
    });
    assert!(!error.contains('\n'), "one line: {error}");
    // The process goes on, and identical payloads are different messages.
    for _ in 0..3 {
        writer.broadcast("the same");
    }
    let same = "the same".to_owned();
    let expected = [digest(&text), same.clone(), same.clone(), same];
    for reader in &nodes[1..] {
        reader.wait_received(&writer.id, expected.len());
        assert_received(reader, &writer.id, &expected);
    }
}

#[test]
fn payloads_that_are_not_utf_8_are_reported_as_base64() {
    let nodes = start_network(2, &[]);
    wait_connected(&refs(&nodes), 1);
    nodes[0].send(&json!({"cmd": "broadcast", "base64": "/wD+gA=="}));
    nodes[0].send(&json!({"cmd": "broadcast", "base64": "aGVsbG8="}));
    nodes[0].broadcast("");
    nodes[1].wait_received(&nodes[0].id, 3);
    assert_received(&nodes[1], &nodes[0].id, &["/wD+gA==".into(), "hello".into(), String::new()]);
    let transcript = nodes[1].transcript();
    let fields: Vec<bool> = transcript.all("message").map(|message| message["base64"].is_string()).collect();
    assert_eq!(fields, [true, false, false], "base64 only where it is not UTF-8");
}

#[test]
fn a_direct_message_is_read_by_its_receiver_only() {
    let nodes = start_network(3, &[]);
    wait_connected(&refs(&nodes), 2);
    let (a, b, c) = (&nodes[0], &nodes[1], &nodes[2]);
    a.direct(&b.id, "to b");
    b.direct(&a.id, "to a");
    for (reader, from, text) in [(b, a, "to b"), (a, b, "to a")] {
        let event = reader.wait_for("a direct message", |transcript| transcript.first("direct").cloned());
        assert_eq!(event["from"], from.id.as_str());
        assert_eq!(event["data"], text);
    }
    let stranger = "ab".repeat(32);
    a.direct(&stranger, "is anybody there?");
    a.wait_for("an error that names the stranger", |transcript| transcript.error_with(&[&stranger]));
    // The node goes on, and nobody else has read any of the messages.
    a.broadcast("the last");
    c.wait_received(&a.id, 1);
    assert_eq!(c.transcript().first("direct"), None);
}

#[test]
fn peers_can_be_added_listed_and_closed() {
    let (a, b) = (JsonNode::start(&[]), JsonNode::start(&[]));
    a.send(&json!({"cmd": "add_peer", "address": "127.0.0.1", "port": b.port}));
    a.wait_peer_added(&b.id);
    b.wait_peer_added(&a.id);
    a.send(&json!({"cmd": "peers"}));
    let listed = a.wait_for("the list of peers", |transcript| transcript.first("peers").cloned());
    let peer = &listed["peers"][0];
    assert_eq!(
        (&peer["id"], &peer["address"], &peer["port"]),
        (&json!(b.id), &json!("127.0.0.1"), &json!(b.port))
    );
    assert!(listed["peers"][1].is_null() && has_figures(peer), "{listed}");
    a.send(&json!({"cmd": "close_peer", "id": b.id}));
    b.wait_until("the end of the link", |transcript| transcript.first("peer_removed").is_some());
    a.wait_until("the end of the link", |transcript| transcript.first("peer_removed").is_some());
}

/// Whether a peer or a link has all figures of the link.
fn has_figures(link: &Value) -> bool {
    ["bytes_sent_per_second", "bytes_received_per_second", "bytes_unsent"]
        .iter()
        .all(|name| link[name].is_u64())
        && link["round_trip_ms"].as_f64().is_some_and(|time| (0.001..5_000.0).contains(&time))
}

#[test]
fn metrics_count_the_messages_of_both_sides() {
    let a = JsonNode::start(&[]);
    let b = JsonNode::join(&a, &[]);
    a.wait_peer_added(&b.id);
    a.send(&json!({"cmd": "broadcast", "data": "hello"}));
    b.wait_until("the message", |transcript| transcript.first("message").is_some());
    for (node, sent, received) in [(&a, 1, 0), (&b, 0, 1)] {
        node.send(&json!({"cmd": "metrics"}));
        let metrics = node.wait_for("the metrics", |transcript| transcript.first("metrics").cloned());
        assert_eq!((&metrics["messages_sent"], &metrics["bytes_sent"]), (&json!(sent), &json!(5 * sent)));
        assert_eq!(
            (&metrics["messages_received"], &metrics["messages_missed"]),
            (&json!(received), &json!(0))
        );
        assert_eq!((&metrics["peers"], &metrics["messages_waiting"]), (&json!(1), &json!(0)));
        assert!(metrics["bytes_retained"].as_u64().is_some_and(|bytes| bytes > 5), "{metrics}");
        assert!(metrics["links"][0]["id"].is_string() && has_figures(&metrics["links"][0]), "{metrics}");
        assert!(metrics["bytes_unread"].is_u64() && metrics["duplicates_received"].is_u64(), "{metrics}");
    }
}

#[test]
fn peers_and_metrics_say_how_far_a_node_is_behind_in_what_others_write() {
    let a = JsonNode::start(&[]);
    let b = JsonNode::join(&a, &[]);
    a.broadcast("hello");
    b.wait_received(&a.id, 1);
    for command in ["metrics", "peers"] {
        // The figures are a tenth of a second old.
        let mut asked = 0;
        let writers = b.wait_for("the writer", |transcript| {
            let answers: Vec<_> = transcript.all(command).collect();
            if answers.len() == asked {
                b.send(&json!({"cmd": command}));
                asked += 1;
            }
            let writers = answers.last()?["writers"].clone();
            (!writers.as_array().expect("a list").is_empty()).then_some(writers)
        });
        let none = json!([{"id": a.id, "messages_behind": 0, "bytes_behind": 0, "seconds_behind": 0.0}]);
        assert_eq!(writers, none, "{command}");
    }
    a.send(&json!({"cmd": "metrics"}));
    let metrics = a.wait_for("the metrics", |transcript| transcript.first("metrics").cloned());
    assert_eq!(metrics["writers"], json!([]), "its own stream is not one of them");
}

#[test]
fn a_node_with_a_preset_retains_for_as_long_as_its_options_say() {
    let args = ["--preset", "lan", "--retention", "32MiB", "--retention-age", "1s"];
    let a = JsonNode::start(&args);
    let b = JsonNode::join(&a, &args);
    a.wait_peer_added(&b.id);
    a.broadcast("hello");
    b.wait_received(&a.id, 1);
    // The process is asked again and again, because the time is real.
    let mut asked = 0;
    b.wait_until("the end of the message's time", |transcript| {
        let answers: Vec<_> = transcript.all("metrics").collect();
        if answers.len() == asked {
            b.send(&json!({"cmd": "metrics"}));
            asked += 1;
        }
        answers.last().is_some_and(|metrics| metrics["bytes_retained"] == 0)
    });
}

#[test]
fn a_node_goes_on_after_the_end_of_its_stdin() {
    let mut quiet = JsonNode::start(&[]);
    quiet.close_stdin();
    let other = JsonNode::join(&quiet, &[]);
    wait_connected(&[&quiet, &other], 1);
    other.broadcast("are you there?");
    quiet.wait_received(&other.id, 1);
}

#[test]
fn a_node_that_restarts_with_its_key_has_the_same_id() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key").to_string_lossy().into_owned();
    let port = free_port();
    let args = ["--key", &key, "--port", &port];
    let mut seed = JsonNode::start(&args);
    let other = JsonNode::join(&seed, &[]);
    wait_connected(&[&seed, &other], 1);
    seed.broadcast("before");
    other.wait_received(&seed.id, 1);
    let id = seed.id.clone();
    seed.send(&json!({"cmd": "stop"}));
    assert_eq!(seed.exit_status().code(), Some(0), "{}", seed.stderr());
    other.wait_peer_removed(&id);
    other.wait_until("the removal of the last peer", |transcript| transcript.first("disconnect").is_some());

    // The new process knows nobody; the other node dials its seed until it is back.
    let seed = JsonNode::start(&args);
    assert_eq!((&seed.id, seed.port.to_string()), (&id, port), "the same node at the same place");
    wait_connected(&[&seed, &other], 1);
    seed.broadcast("after");
    other.broadcast("welcome back");
    other.wait_received(&id, 2);
    seed.wait_received(&other.id, 1);
    assert_eq!(other.transcript().from(&id), ["before", "after"]);
    assert_eq!(other.transcript().gaps, []);
}

/// A board without a battery begins in 1970, and a clock may have been wrong before: the start that
/// runs now is the newest all the same, with the number of the last start beside the key and
/// without it.
#[test]
fn a_writer_that_restarts_is_read_whatever_its_clock_says_and_said() {
    if Command::new("faketime").arg("--version").output().is_err() {
        eprintln!("skipped: faketime is not installed; for example: apt-get install faketime");
        return;
    }
    let clocks = [("", "@1970-01-02 00:00:00"), ("@2099-01-01 00:00:00", ""), ("", "-1h")];
    let readers = start_network(4, &[]);
    wait_connected(&refs(&readers), 2);
    for ((first, second), keeps_file) in
        clocks.into_iter().flat_map(|clocks| [(clocks, false), (clocks, true)])
    {
        let directory = tempfile::tempdir().expect("a directory");
        let key = directory.path().join("key").to_string_lossy().into_owned();
        let start = |clock: &str| {
            let seed = readers[0].address();
            JsonNode::start_on("127.0.0.1", at_time(clock), &["--seed", &seed, "--key", &key])
        };
        let before = start(first);
        before.wait_until("a peer", |transcript| transcript.first("connect").is_some());
        (1..=3).for_each(|number| before.broadcast(&format!("before {number}")));
        readers.iter().for_each(|reader| reader.wait_received(&before.id, 3));
        drop(before); // It is killed.
        if !keeps_file {
            // Only the network says which start was the last.
            std::fs::remove_file(format!("{key}.incarnation")).expect("the number of the last start");
        }
        let after = start(second);
        after.wait_until("a peer", |transcript| transcript.first("connect").is_some());
        (1..=3).for_each(|number| after.broadcast(&format!("after {number}")));
        for reader in &readers {
            reader.wait_received(&after.id, 6);
            let expected = ["before 1", "before 2", "before 3", "after 1", "after 2", "after 3"];
            assert_eq!(reader.transcript().from(&after.id), expected, "{first:?}, then {second:?}");
            assert_eq!(reader.transcript().gaps, []);
        }
    }
}

/// The time in a signature shows that it is not a recording. Where clocks are wrong, writers prove
/// that they live.
#[test]
fn nodes_read_each_other_whatever_their_clocks_say() {
    if Command::new("faketime").arg("--version").output().is_err() {
        eprintln!("skipped: faketime is not installed; for example: apt-get install faketime");
        return;
    }
    let few_links = ["--min-peers", "1", "--max-peers", "2"];
    let mut nodes = start_network(3, &few_links);
    let seed = nodes[0].address();
    let arguments = [&["--seed", &seed], &few_links[..]].concat();
    let clocks = ["@1970-01-02 00:00:00", "@2001-01-01 00:00:00", "@2099-01-01 00:00:00", "-26h"];
    nodes.extend(clocks.map(|clock| JsonNode::start_on("127.0.0.1", at_time(clock), &arguments)));
    for node in &nodes {
        node.wait_until("the network", |transcript| transcript.first("connect").is_some());
    }
    let words: Vec<String> = (0..20).map(|number| format!("word {number}")).collect();
    for node in &nodes {
        words.iter().for_each(|word| node.broadcast(word));
    }
    for (reader, writer) in nodes.iter().flat_map(|reader| nodes.iter().map(move |writer| (reader, writer))) {
        if reader.id != writer.id {
            reader.wait_received(&writer.id, words.len());
            assert_received(reader, &writer.id, &words);
        }
        assert_eq!(reader.transcript().gaps, []);
    }
}

/// A copied image of a machine, or a container that was started twice.
#[test]
fn two_processes_with_one_key_are_both_told_and_the_first_one_can_write_no_more() {
    let others = start_network(4, &[]);
    wait_connected(&refs(&others), 2);
    for first_has_written in [true, false] {
        let directory = tempfile::tempdir().expect("a directory");
        let key = directory.path().join("key").to_string_lossy().into_owned();
        let start = |seed: &JsonNode| {
            let node = JsonNode::start(&["--seed", &seed.address(), "--key", &key]);
            node.wait_until("a peer", |transcript| transcript.first("connect").is_some());
            node
        };
        let first = start(&others[0]);
        let mut expected = Vec::new();
        if first_has_written {
            first.broadcast("of the first");
            expected.push("of the first".to_owned());
            others.iter().for_each(|reader| reader.wait_received(&first.id, 1));
        }
        let second = start(&others[2]);
        assert_eq!(first.id, second.id);
        if !first_has_written {
            // Nobody can know of the second one until either writes.
            second.broadcast("of the second");
            expected.push("of the second".to_owned());
        }
        for (node, superseded) in [(&first, true), (&second, false)] {
            let conflict = node.wait_for("the conflict", |transcript| {
                Some(transcript.first("identity_conflict")?["superseded"].clone())
            });
            assert_eq!(conflict, superseded);
        }
        first.broadcast("nobody would read this");
        first.wait_until("an error", |transcript| {
            transcript.error_with(&["another process with this node's key was started later"]).is_some()
        });
        second.broadcast("the last one");
        expected.push("the last one".to_owned());
        for reader in &others {
            reader.wait_received(&first.id, expected.len());
            assert_eq!(reader.transcript().from(&first.id), expected);
        }
    }
}

/// After `kill -9` the neighbours still count the link, until the ping timeout.
#[test]
fn a_node_that_is_killed_and_started_again_at_the_same_moment_is_no_second_process() {
    let others = start_network(4, &[]);
    wait_connected(&refs(&others), 2);
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key").to_string_lossy().into_owned();
    for round in 1..=3 {
        let node = JsonNode::start(&["--seed", &others[0].address(), "--key", &key]);
        node.wait_until("a peer", |transcript| transcript.first("connect").is_some());
        node.broadcast(&format!("round {round}"));
        others.iter().for_each(|reader| reader.wait_received(&node.id, round));
        assert!(node.transcript().first("identity_conflict").is_none());
    }
}

/// Returns a command that runs the program at this time of the system's clock, as `faketime` reads
/// it.
fn at_time(clock: &str) -> Command {
    if clock.is_empty() {
        return program(&[]);
    }
    let mut command = Command::new("faketime");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").args(["-f", clock, PROGRAM]);
    command
}

#[test]
fn messages_accepted_before_stop_still_arrive() {
    let mut nodes = start_network(3, &[]);
    wait_connected(&refs(&nodes), 2);
    let writer = nodes.remove(0);
    let messages = numbered(&writer, 0..500);
    broadcast_all(&writer, &messages);
    writer.send(&json!({"cmd": "stop"}));
    for reader in &nodes {
        reader.wait_received(&writer.id, messages.len());
        assert_received(reader, &writer.id, &messages);
    }
}

#[test]
fn messages_written_before_the_first_peer_are_delivered_to_it() {
    let early = JsonNode::start(&[]);
    early.broadcast("I was early");
    let late = JsonNode::join(&early, &[]);
    late.wait_received(&early.id, 1);
    assert_received(&late, &early.id, &["I was early".to_owned()]);
}
