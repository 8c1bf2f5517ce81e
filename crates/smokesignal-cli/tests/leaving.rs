//! Leaving the network: nothing that was sent is lost in silence, and the end of a stream is known.

#![cfg(unix)]

mod common;

use common::{JsonNode, TextCommand, free_port, wait};
use serde_json::json;

/// Starts `pipe --until-end` with further arguments, and closes its stdin.
fn reader(args: &[&str]) -> TextCommand {
    let mut reader = TextCommand::start(&[&["pipe", "--until-end"], args].concat());
    reader.close_stdin();
    reader
}

/// Ends a command and checks its exit code and that its stderr contains all of these parts.
#[track_caller]
fn assert_ends(mut command: TextCommand, code: i32, parts: &[&str]) {
    let (found, stderr) = command.exit_code();
    assert_eq!(found, Some(code), "{stderr}");
    assert!(parts.iter().all(|part| stderr.contains(part)), "{stderr}");
}

#[test]
fn pipe_until_end_ends_with_the_whole_stream_and_the_writer_names_how_many_have_it() {
    let port = free_port();
    let seed = format!("127.0.0.1:{port}");
    let readers = [reader(&["--port", &port]), reader(&["--seed", &seed]), reader(&["--seed", &seed])];
    readers[1..].iter().for_each(|reader| {
        reader.wait_id();
    });
    let watcher = JsonNode::start(&["--seed", &seed]);
    wait("all four are linked", &[&watcher], || (watcher.transcript().peers.len() == 3).then_some(()));
    let data: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    let mut writer = TextCommand::start(&["pipe", "--seed", &seed]);
    writer.write(data.clone());
    writer.close_stdin();
    for reader in readers {
        reader.wait_stdout("all of it", |stdout| stdout == data);
        assert_ends(reader, 0, &[]);
    }
    assert_ends(writer, 0, &["all of it"]);
}

#[test]
fn pipe_progress_prints_lines_where_stderr_is_not_a_terminal_and_one_about_all_of_it() {
    let port = free_port();
    let reader = reader(&["--port", &port, "--progress"]);
    reader.wait_id();
    let seed = format!("127.0.0.1:{port}");
    let mut writer = TextCommand::start(&["pipe", "--seed", &seed, "--progress", "--upload-limit", "500k"]);
    writer.write(vec![7; 1_500_000]);
    writer.close_stdin();
    // More than a second passes at that limit.
    let moves = |what| {
        move |stderr: &str| {
            stderr.lines().any(|line| line.contains(what) && line.contains("/s")).then_some(())
        }
    };
    writer.wait_stderr("a line while it sends", moves("sent, "));
    writer.wait_stderr("how many have it", |stderr| stderr.contains("; 1 node has ").then_some(()));
    reader.wait_stderr("a line while it receives", moves("received, "));
    assert_ends(writer, 0, &["1.50 MB sent, ", " s\n", "1 node has all of it"]);
    assert_ends(reader, 0, &["1.50 MB received, "]);
}

#[test]
fn pipe_pace_all_ends_with_0_without_a_reader_that_timed_out_and_says_so() {
    let port = free_port();
    let seed = format!("127.0.0.1:{port}");
    let fast = reader(&["--port", &port]);
    fast.wait_id();
    let mut stuck = TextCommand::start_unread(&["pipe", "--until-end", "--seed", &seed]);
    stuck.close_stdin();
    let id = stuck.wait_id();
    let watcher = JsonNode::start(&["--seed", &seed]);
    wait("all are linked", &[&watcher], || (watcher.transcript().peers.len() == 2).then_some(()));
    let limited = ["pipe", "--pace", "all", "--reader-timeout", "2s", "--seed", &seed];
    let mut writer = TextCommand::start(&limited);
    // A reader whose program does not read takes less: 8 MiB, and what waits before its stdout.
    let data: Vec<u8> = (0..40_000_000_u32).map(|number| number as u8).collect();
    writer.write(data.clone());
    writer.close_stdin();
    fast.wait_stdout("all of it", |stdout| stdout == data);
    assert_ends(fast, 0, &[]);
    let line = format!("reader {} has confirmed nothing for 2s: it is no longer waited for", &id[..16]);
    assert_ends(writer, 0, &[&line, "have all of it; 1 node is behind by up to"]);
}

#[test]
fn pipe_until_end_fails_without_the_beginning_and_names_the_cure() {
    let seed = JsonNode::start(&[]);
    let address = seed.address();
    let mut writer = TextCommand::start(&["pipe", "--lines", "--seed", &address]);
    let id = writer.wait_id();
    writer.write("early\n");
    wait("the first line", &[&seed], || (seed.transcript().from(&id).len() == 1).then_some(()));
    let late = reader(&["--seed", &address]);
    let oldest = reader(&["--seed", &address, "--lines", "--read-from", "oldest", "--from", &id]);
    oldest.wait_stdout("what is retained", |stdout| stdout == b"early\n");
    let late_id = late.wait_id();
    wait("the late reader is linked", &[&seed], || seed.transcript().peers.contains(&late_id).then_some(()));
    writer.write("late\n");
    writer.close_stdin();
    assert_ends(writer, 0, &["2 messages sent"]);
    oldest.wait_stdout("all of it", |stdout| stdout == b"early\nlate\n");
    assert_ends(oldest, 0, &[]);
    assert_ends(late, 1, &["missing", "--read-from oldest"]);
}

#[test]
fn sigterm_before_others_have_what_pipe_sent_is_a_failure() {
    let frozen = JsonNode::start(&["--ping-timeout", "1h"]);
    let address = frozen.address();
    let writer =
        TextCommand::start(&["pipe", "--lines", "--progress", "--ping-timeout", "1h", "--seed", &address]);
    let id = writer.wait_id();
    frozen.wait_peer_added(&id);
    frozen.signal("STOP");
    writer.write("unread\n");
    writer.wait_stderr("that it was sent", |stderr| stderr.contains("sent, ").then_some(()));
    writer.signal("TERM");
    // The link is closed once the reader has confirmed nothing for 3 s.
    assert_ends(writer, 1, &["ended by SIGTERM too early", "1 message reached nobody"]);
}

#[test]
fn pipe_until_end_fails_when_the_writer_was_killed_and_nobody_is_left() {
    let port = free_port();
    let reader = reader(&["--lines", "--port", &port, "--leave-timeout", "300ms"]);
    let id = reader.wait_id();
    let mut writer = JsonNode::start(&["--seed", &format!("127.0.0.1:{port}")]);
    writer.wait_peer_added(&id);
    writer.broadcast("one");
    writer.broadcast("two");
    reader.wait_stdout("what was sent", |stdout| stdout == b"one\ntwo\n");
    writer.kill();
    assert_ends(
        reader,
        1,
        &["has not ended its stream", "no peer for 300ms", "after message 2", "send it again"],
    );
}

#[test]
fn pipe_until_end_waits_for_a_stream_that_has_not_begun() {
    let port = free_port();
    let reader = reader(&["--lines", "--port", &port, "--leave-timeout", "0s"]);
    let id = reader.wait_id();
    let seed = format!("127.0.0.1:{port}");
    let mut silent = JsonNode::start(&["--seed", &seed]);
    silent.wait_peer_added(&id);
    silent.send(&json!({"cmd": "stop"}));
    silent.exit_status();
    // It has had company that is gone, and still waits for the first message.
    let mut writer = TextCommand::start(&["pipe", "--lines", "--seed", &seed]);
    writer.write("here\n");
    writer.close_stdin();
    reader.wait_stdout("what was sent", |stdout| stdout == b"here\n");
    assert_ends(reader, 0, &[]);
}

/// Two lines into `run --json`, the second of which is `stop`.
#[test]
fn what_is_sent_before_the_first_peer_arrives_although_stop_follows() {
    let seed = JsonNode::start(&[]);
    for number in 0..10 {
        let mut writer = JsonNode::start(&["--seed", &seed.address()]);
        writer.send(&json!({"cmd": "broadcast", "data": format!("early {number}")}));
        writer.send(&json!({"cmd": "stop"}));
        let status = writer.exit_status();
        assert_eq!(status.code(), Some(0), "{}", writer.stderr());
        wait("the message and the end", &[&seed], || {
            let transcript = seed.transcript();
            let read = transcript.from(&writer.id) == [format!("early {number}")];
            (read && transcript.all("end").any(|end| end["from"] == *writer.id)).then_some(())
        });
        let stopped = writer.transcript().first("stopped").cloned();
        assert_eq!(
            stopped,
            Some(json!({
                "event": "stopped", "confirmed": 1, "behind": 0, "missing": 0, "unsent": 0,
                "timed_out": false
            }))
        );
    }
}

#[test]
fn without_anybody_the_command_ends_with_1_and_says_what_is_lost() {
    let args = ["--seed", "127.0.0.1:1", "--leave-timeout", "300ms"];
    let mut writer = JsonNode::start(&args);
    writer.send(&json!({"cmd": "broadcast", "data": "lost"}));
    writer.send(&json!({"cmd": "stop"}));
    assert_eq!(writer.exit_status().code(), Some(1));
    let stopped = writer.transcript().first("stopped").cloned().unwrap();
    assert_eq!(stopped["unsent"], 1, "{stopped}");
    assert!(writer.stderr().contains("1 message reached nobody"), "{}", writer.stderr());
}
