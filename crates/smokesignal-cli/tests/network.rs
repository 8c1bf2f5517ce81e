//! Real processes: what is written arrives, in order and once, also when others die, freeze or join.
#![cfg(unix)]

mod common;

use common::{Process, assert_all_heard, assert_rising, digest, free_port, gather, network, refs, wait};
use serde_json::json;

const MIB: u64 = 1 << 20;

/// What one writer writes: numbered, and different from what others write.
fn numbered(writer: &Process, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{number} of {:.8}", writer.id)).collect()
}

fn write_all(writer: &Process, messages: &[String]) {
    for message in messages {
        writer.write(message);
    }
}

#[test]
fn six_write_at_once_and_everyone_reads_the_others_in_order() {
    let nodes = network(6, &[]);
    gather(&refs(&nodes), 3);
    let written: Vec<Vec<String>> = nodes.iter().map(|node| numbered(node, 0..200)).collect();
    for number in 0..200 {
        for (node, messages) in nodes.iter().zip(&written) {
            node.write(&messages[number]);
        }
    }
    for reader in &nodes {
        for (writer, messages) in nodes.iter().zip(&written) {
            if writer.id == reader.id {
                continue;
            }
            reader.wait_heard(&writer.id, messages.len());
        }
    }
    for reader in &nodes {
        for (writer, messages) in nodes.iter().zip(&written) {
            let own = writer.id == reader.id;
            assert_all_heard(reader, &writer.id, if own { &[] } else { messages });
        }
        assert!(reader.state().first("connect").is_some(), "the first peer is reported as connect");
        assert_eq!(reader.state().first("disconnect"), None);
    }
}

#[test]
fn half_of_sixteen_are_killed_in_mid_stream_and_the_others_miss_nothing() {
    const MESSAGES: usize = 1500;
    let mut nodes = network(16, &["--ping-timeout", "2s"]);
    gather(&refs(&nodes), 3);
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
    let writers: Vec<&Process> = survivors[..3].iter().collect();
    for (writer, messages) in writers.iter().zip(&written) {
        write_all(writer, &messages[..MESSAGES - 200]);
    }
    let watcher = &survivors[7];
    for writer in &writers {
        watcher.wait_heard(&writer.id, 100);
    }
    for node in &mut killed {
        node.kill();
    }
    for (writer, messages) in writers.iter().zip(&written) {
        write_all(writer, &messages[MESSAGES - 200..]);
    }
    let all = refs(&survivors);
    wait("everything from the survivors at the survivors", &all, || {
        let complete = |reader: &Process| {
            let state = reader.state();
            writers.iter().all(|writer| writer.id == reader.id || state.from(&writer.id).len() >= MESSAGES)
        };
        survivors.iter().all(complete).then_some(())
    });
    for reader in &survivors {
        for (writer, messages) in writers.iter().zip(&written) {
            let own = writer.id == reader.id;
            assert_all_heard(reader, &writer.id, if own { &[] } else { messages });
        }
    }
    // The dead are noticed, and the survivors have found each other.
    wait("the dead to be gone", &all, || {
        let dead = |id: &String| killed.iter().any(|node| node.id == *id);
        survivors.iter().all(|node| !node.state().peers.iter().any(dead)).then_some(())
    });
    gather(&all, 3);
}

#[test]
fn a_seventh_joins_a_full_group_of_six() {
    let args = ["--min-peers", "5", "--max-peers", "5"];
    let mut nodes = network(6, &args);
    gather(&refs(&nodes), 5);
    nodes.push(Process::join(&nodes[0], &args));
    let seventh = &nodes[6];
    seventh.wait_until("two peers at least", |state| state.peers.len() >= 2);
    gather(&refs(&nodes), 2);
    for node in &nodes {
        node.write(&format!("from {}", node.id));
    }
    for reader in &nodes {
        for writer in nodes.iter().filter(|writer| writer.id != reader.id) {
            reader.wait_heard(&writer.id, 1);
            assert_all_heard(reader, &writer.id, &[format!("from {}", writer.id)]);
        }
        // Room is made before a link breaks: up to two more for a moment.
        assert!(reader.state().most_peers <= 7, "far more than --max-peers");
        reader.wait_until("no more than --max-peers", |state| state.peers.len() <= 5);
    }
}

#[test]
fn a_frozen_process_costs_the_others_neither_messages_nor_memory() {
    const MESSAGES: usize = 256;
    let nodes = network(6, &[]);
    gather(&refs(&nodes), 3);
    let (writer, frozen) = (&nodes[1], &nodes[4]);
    let others: Vec<&Process> = nodes.iter().filter(|node| node.id != frozen.id).collect();
    let readers: Vec<&Process> = others.iter().copied().filter(|node| node.id != writer.id).collect();

    writer.write("before");
    for node in readers.iter().chain([&frozen]) {
        node.wait_heard(&writer.id, 1);
    }
    let before: Vec<u64> = others.iter().map(|node| node.memory("VmRSS")).collect();
    frozen.signal("STOP");

    let payload = "0123456789abcdef".repeat((256 << 10) / 16 - 1);
    let mut expected = vec!["before".to_owned()];
    for number in 0..MESSAGES {
        let message = format!("{number:015} {payload}");
        assert_eq!(message.len(), 256 << 10);
        writer.write(&message);
        expected.push(digest(&message));
    }
    for reader in &readers {
        reader.wait_heard(&writer.id, expected.len());
        assert_all_heard(reader, &writer.id, &expected);
    }
    for node in &others {
        node.wait_peer(&frozen.id, false);
    }
    for (node, before) in others.iter().zip(before) {
        let grown = node.memory("VmHWM").saturating_sub(before);
        assert!(grown < 200 * MIB, "{:.8} grew by {} MiB", node.id, grown / MIB);
    }

    frozen.signal("CONT");
    wait("the thawed one to be a peer again", &others, || {
        others.iter().any(|node| node.state().peers.contains(&frozen.id)).then_some(())
    });
    writer.write("after");
    expected.push("after".to_owned());
    frozen.wait_until("the message written afterwards", |state| {
        state.from(&writer.id).last().is_some_and(|last| last == "after")
    });
    for reader in &readers {
        reader.wait_heard(&writer.id, expected.len());
        assert_all_heard(reader, &writer.id, &expected);
    }
    // Nothing twice, nothing out of order, and what is missing is counted.
    let state = frozen.state();
    let heard = state.from(&writer.id);
    let mut rest = expected.iter();
    assert!(heard.iter().all(|message| rest.any(|expected| expected == message)), "twice, or out of order");
    assert_rising(&state, &writer.id);
    let missed: u64 =
        state.gaps.iter().filter(|(from, _)| *from == writer.id).map(|(_, missed)| missed).sum();
    assert_eq!(heard.len() as u64 + missed, expected.len() as u64, "messages and gaps together");
}

#[test]
fn sixteen_mebibytes_arrive_whole_and_one_byte_more_is_refused() {
    const LIMIT: usize = 16 << 20;
    let nodes = network(4, &[]);
    gather(&refs(&nodes), 3);
    let writer = &nodes[0];
    let text: String =
        (0..).flat_map(|n: u32| format!("{n} ").into_bytes()).map(char::from).take(LIMIT).collect();
    writer.write(&text);
    writer.write(&format!("{text}x"));
    let error = writer
        .wait_for("an error that names both sizes", |state| state.error_with(&["16777217", "16777216"]));
    assert!(!error.contains('\n'), "one line: {error}");
    // The process lives on; identical payloads are different messages.
    for _ in 0..3 {
        writer.write("the same");
    }
    let same = "the same".to_owned();
    let expected = [digest(&text), same.clone(), same.clone(), same];
    for reader in &nodes[1..] {
        reader.wait_heard(&writer.id, expected.len());
        assert_all_heard(reader, &writer.id, &expected);
    }
}

#[test]
fn bytes_that_are_no_text_travel_as_base64() {
    let nodes = network(2, &[]);
    gather(&refs(&nodes), 1);
    nodes[0].send(&json!({"cmd": "broadcast", "base64": "/wD+gA=="}));
    nodes[0].send(&json!({"cmd": "broadcast", "base64": "aGVsbG8="}));
    nodes[0].write("");
    nodes[1].wait_heard(&nodes[0].id, 3);
    assert_all_heard(&nodes[1], &nodes[0].id, &["/wD+gA==".into(), "hello".into(), String::new()]);
    let state = nodes[1].state();
    let fields: Vec<bool> = state.of("message").map(|message| message["base64"].is_string()).collect();
    assert_eq!(fields, [true, false, false], "base64 only where it is not UTF-8");
}

#[test]
fn neighbours_write_to_each_other_directly() {
    let nodes = network(3, &[]);
    gather(&refs(&nodes), 2);
    let (a, b, c) = (&nodes[0], &nodes[1], &nodes[2]);
    a.direct(&b.id, "to b");
    b.direct(&a.id, "to a");
    for (reader, from, text) in [(b, a, "to b"), (a, b, "to a")] {
        let event = reader.wait_for("a direct message", |state| state.first("direct").cloned());
        assert_eq!(event["from"], from.id.as_str());
        assert_eq!(event["data"], text);
    }
    let stranger = "ab".repeat(32);
    a.direct(&stranger, "is anybody there?");
    a.wait_for("an error that names the stranger", |state| state.error_with(&[&stranger]));
    // The node lives on, and nobody else has read any of it.
    a.write("the last");
    c.wait_heard(&a.id, 1);
    assert_eq!(c.state().first("direct"), None);
}

#[test]
fn peers_can_be_added_listed_and_closed() {
    let (a, b) = (Process::start(&[]), Process::start(&[]));
    a.send(&json!({"cmd": "add_peer", "address": "127.0.0.1", "port": b.port}));
    a.wait_peer(&b.id, true);
    b.wait_peer(&a.id, true);
    a.send(&json!({"cmd": "peers"}));
    let listed = a.wait_for("the list of peers", |state| state.first("peers").cloned());
    assert_eq!(listed["peers"], json!([{"id": b.id, "address": "127.0.0.1", "port": b.port}]));
    a.send(&json!({"cmd": "close_peer", "id": b.id}));
    b.wait_until("the end of the link", |state| state.first("peer_removed").is_some());
    a.wait_until("the end of the link", |state| state.first("peer_removed").is_some());
}

#[test]
fn the_end_of_input_does_not_end_the_node() {
    let mut quiet = Process::start(&[]);
    quiet.close_stdin();
    let other = Process::join(&quiet, &[]);
    gather(&[&quiet, &other], 1);
    other.write("are you there?");
    quiet.wait_heard(&other.id, 1);
}

#[test]
fn a_node_with_a_key_comes_back_as_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key").to_string_lossy().into_owned();
    let port = free_port();
    let args = ["--key", &key, "--port", &port];
    let mut seed = Process::start(&args);
    let other = Process::join(&seed, &[]);
    gather(&[&seed, &other], 1);
    seed.write("before");
    other.wait_heard(&seed.id, 1);
    let id = seed.id.clone();
    seed.send(&json!({"cmd": "stop"}));
    assert_eq!(seed.exit_status().code(), Some(0), "{}", seed.stderr());
    other.wait_peer(&id, false);
    other.wait_until("the last peer gone", |state| state.first("disconnect").is_some());

    // It knows nobody; the other one tries its seed until that is back.
    let seed = Process::start(&args);
    assert_eq!((&seed.id, seed.port.to_string()), (&id, port), "the same node at the same place");
    gather(&[&seed, &other], 1);
    seed.write("after");
    other.write("welcome back");
    other.wait_heard(&id, 2);
    seed.wait_heard(&other.id, 1);
    assert_eq!(other.state().from(&id), ["before", "after"]);
    assert_eq!(other.state().gaps, []);
}

#[test]
fn what_was_accepted_before_stop_still_arrives() {
    let mut nodes = network(3, &[]);
    gather(&refs(&nodes), 2);
    let writer = nodes.remove(0);
    let messages = numbered(&writer, 0..500);
    write_all(&writer, &messages);
    writer.send(&json!({"cmd": "stop"}));
    for reader in &nodes {
        reader.wait_heard(&writer.id, messages.len());
        assert_all_heard(reader, &writer.id, &messages);
    }
}

#[test]
fn what_is_written_before_the_first_peer_waits_for_it() {
    let early = Process::start(&[]);
    early.write("I was early");
    let late = Process::join(&early, &[]);
    late.wait_heard(&early.id, 1);
    assert_all_heard(&late, &early.id, &["I was early".to_owned()]);
}
