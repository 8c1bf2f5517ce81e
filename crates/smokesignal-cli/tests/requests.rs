//! `run --json`: a command with a request is answered exactly once.

#![cfg(unix)]

mod common;

use std::net::TcpListener;

use common::JsonNode;
use serde_json::{Value, json};

/// Returns the answers to this request: the events `ok` and `error` that carry it.
fn answers(node: &JsonNode, request: &Value) -> Vec<Value> {
    let transcript = node.transcript();
    let is_answer = |event: &&Value| event["event"] == "ok" || event["event"] == "error";
    transcript.events.iter().filter(is_answer).filter(|event| event["request"] == *request).cloned().collect()
}

/// Waits for the answer to this request.
fn answer(node: &JsonNode, request: &Value) -> Value {
    node.wait_for(&format!("the answer to {request}"), |transcript| {
        let mut events = transcript.all("ok").chain(transcript.all("error"));
        events.find(|event| event["request"] == *request).cloned()
    })
}

/// Sends a command with this request.
fn request(node: &JsonNode, request: &Value, mut command: Value) {
    command["request"] = request.clone();
    node.send(&command);
}

/// Sends a command with this request, and waits until it is done.
#[track_caller]
fn assert_ok(node: &JsonNode, label: &Value, command: Value) {
    request(node, label, command);
    assert_eq!(answer(node, label), json!({"event": "ok", "request": label}));
}

/// Sends a command with this request, and waits for an error with all of these parts.
#[track_caller]
fn assert_fails(node: &JsonNode, label: &Value, command: Value, parts: &[&str]) {
    request(node, label, command);
    let answer = answer(node, label);
    assert_eq!(answer["event"], "error", "{answer}");
    let message = answer["message"].as_str().unwrap_or_default();
    assert!(parts.iter().all(|part| message.contains(part)), "{answer}");
}

#[test]
fn every_command_with_a_request_is_answered_once_when_it_is_done() {
    let (node, other) = (JsonNode::start(&[]), JsonNode::start(&[]));
    assert_ok(&node, &json!(1), json!({"cmd": "add_peer", "address": "127.0.0.1", "port": other.port}));
    node.wait_peer_added(&other.id);
    assert_ok(&node, &json!("broadcast"), json!({"cmd": "broadcast", "data": "hello"}));
    assert_ok(&node, &json!("direct ä"), json!({"cmd": "direct", "to": other.id, "data": "you"}));
    for (cmd, label) in [("peers", json!(-1.5)), ("metrics", json!(""))] {
        assert_ok(&node, &label, json!({"cmd": cmd}));
        let transcript = node.transcript();
        let at = |event: &Value| transcript.events.iter().position(|other| other == event).unwrap();
        let product = transcript.first(cmd).unwrap();
        assert_eq!(product["request"], label);
        assert!(at(product) < at(&json!({"event": "ok", "request": label})), "before the answer");
    }
    other.wait_received(&node.id, 1);
    other.wait_until("the direct message", |transcript| transcript.first("direct").is_some());
    assert_ok(&node, &json!(6), json!({"cmd": "close_peer", "id": other.id}));
    node.wait_peer_removed(&other.id);

    let mut node = node;
    request(&node, &json!("the end"), json!({"cmd": "stop"}));
    assert_eq!(node.exit_status().code(), Some(0), "{}", node.stderr());
    let transcript = node.transcript();
    let [.., stopped, ok] = &transcript.events[..] else { panic!("two events") };
    assert_eq!((&stopped["event"], &stopped["request"]), (&json!("stopped"), &json!("the end")));
    assert_eq!(*ok, json!({"event": "ok", "request": "the end"}));
    assert_eq!(transcript.all("ok").count(), 7);
    assert_eq!(transcript.all("error").count(), 0);
}

#[test]
fn the_broadcasts_of_one_program_are_answered_in_order() {
    let (node, other) = (JsonNode::start(&[]), JsonNode::start(&[]));
    node.send(&json!({"cmd": "add_peer", "address": "127.0.0.1", "port": other.port}));
    for number in 0..1000 {
        request(&node, &json!(number), json!({"cmd": "broadcast", "data": number.to_string()}));
    }
    node.wait_until("all answers", |transcript| transcript.all("ok").count() == 1000);
    let transcript = node.transcript();
    let requests: Vec<_> = transcript.all("ok").map(|ok| ok["request"].as_u64().unwrap()).collect();
    assert_eq!(requests, (0..1000).collect::<Vec<_>>());
    other.wait_received(&node.id, 1000);
}

#[test]
fn a_failing_command_is_answered_with_an_error_that_carries_its_request() {
    let node = JsonNode::start(&[]);
    let stranger = "ab".repeat(32);
    assert_fails(&node, &json!(1), json!({"cmd": "sing"}), &["line 1", "unknown command `sing`"]);
    assert_fails(&node, &json!(2), json!({}), &["line 2", "\"cmd\" is missing"]);
    assert_fails(&node, &json!(3), json!({"cmd": "broadcast"}), &["line 3", "\"data\" or \"base64\""]);
    assert_fails(&node, &json!(4), json!({"cmd": "close_peer", "id": stranger}), &["line 4", &stranger]);
    let nowhere = json!({"cmd": "add_peer", "address": "127.0.0.1", "port": 1});
    assert_fails(&node, &json!(5), nowhere, &["line 5", "127.0.0.1:1"]);
    assert_fails(&node, &json!(6), json!({"cmd": "add_peer", "address": 7, "port": 1}), &["line 6"]);
    let direct = json!({"cmd": "direct", "to": stranger, "data": "anybody?"});
    assert_fails(&node, &json!(7), direct, &["line 7", &stranger]);
    let large = json!({"cmd": "broadcast", "data": "x".repeat((16 << 20) + 1)});
    assert_fails(&node, &json!(8), large, &["line 8", "16777217"]);
    for label in 1..=8 {
        assert_eq!(answers(&node, &json!(label)).len(), 1, "request {label}");
    }
    assert_eq!(node.transcript().all("error").count(), 8);
}

#[test]
fn a_wrong_request_and_a_line_without_json_are_one_error_that_has_none() {
    let node = JsonNode::start(&[]);
    let lines = [
        r#"{"cmd":"peers","request":{"a":1}}"#.to_owned(),
        r#"{"cmd":"peers","request":[1]}"#.to_owned(),
        r#"{"cmd":"peers","request":true}"#.to_owned(),
        format!(r#"{{"cmd":"peers","request":"{}"}}"#, "x".repeat(257)),
        r#"{"cmd":"peers","request":7"#.to_owned(),
        "request 7".to_owned(),
    ];
    lines.iter().for_each(|line| node.send_line(line));
    let longest = json!("x".repeat(256));
    assert_ok(&node, &longest, json!({"cmd": "peers"}));
    let transcript = node.transcript();
    let errors: Vec<_> = transcript.all("error").collect();
    assert_eq!(errors.len(), lines.len());
    for (number, error) in (1..).zip(&errors) {
        assert!(error["message"].as_str().unwrap().starts_with(&format!("line {number}: ")), "{error}");
        assert_eq!(error.as_object().unwrap().len(), 2, "{error}");
    }
    assert!(errors[0]["message"].as_str().unwrap().contains("a number or a string"), "{}", errors[0]);
    assert!(errors[3]["message"].as_str().unwrap().contains("256"), "{}", errors[3]);
    // None of them was executed.
    assert_eq!(transcript.all("peers").count(), 1);
}

#[test]
fn a_request_that_waits_holds_up_no_other_and_is_answered_at_the_latest_by_stop() {
    // Takes connections and says nothing.
    let silent = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let port = silent.local_addr().expect("it is bound").port();
    let mut node = JsonNode::start(&["--ping-timeout", "1h", "--leave-timeout", "300ms"]);
    request(&node, &json!("dial"), json!({"cmd": "add_peer", "address": "127.0.0.1", "port": port}));
    node.send(&json!({"cmd": "add_peer", "address": "127.0.0.1", "port": port}));
    assert_ok(&node, &json!("peers"), json!({"cmd": "peers"}));
    assert_eq!(answers(&node, &json!("dial")).len(), 0);
    request(&node, &json!("stop"), json!({"cmd": "stop"}));
    node.exit_status();
    let transcript = node.transcript();
    assert_eq!(transcript.all("error").count(), 1, "nobody hears of a dial without a request");
    let dial = transcript.first("error").unwrap();
    assert_eq!(dial["request"], "dial");
    let [.., stopped, ok] = &transcript.events[..] else { panic!("two events") };
    assert_eq!(
        (&stopped["event"], &ok["event"], &ok["request"]),
        (&json!("stopped"), &json!("ok"), &json!("stop"))
    );
}

#[test]
fn a_stop_that_leaves_something_unsent_is_answered_with_an_error() {
    let mut node = JsonNode::start(&["--seed", "127.0.0.1:1", "--leave-timeout", "300ms"]);
    assert_ok(&node, &json!(1), json!({"cmd": "broadcast", "data": "nobody reads this"}));
    request(&node, &json!(2), json!({"cmd": "stop"}));
    assert_eq!(node.exit_status().code(), Some(1));
    let transcript = node.transcript();
    let last = transcript.events.last().unwrap();
    assert_eq!((&last["event"], &last["request"]), (&json!("error"), &json!(2)));
    assert!(last["message"].as_str().unwrap().contains("1 message reached nobody"), "{last}");
}

/// Twice what the node takes before its first peer is written; the rest waits in the program.
#[test]
fn what_was_not_handed_to_the_network_when_the_node_stopped_is_answered_with_an_error() {
    let mut node = JsonNode::start(&["--seed", "127.0.0.1:1", "--leave-timeout", "300ms"]);
    for label in 0..40 {
        request(&node, &json!(label), json!({"cmd": "broadcast", "data": "x".repeat(100_000)}));
    }
    request(&node, &json!("stop"), json!({"cmd": "stop"}));
    assert_eq!(node.exit_status().code(), Some(1));
    for label in 0..40 {
        assert_eq!(answers(&node, &json!(label)).len(), 1, "request {label}");
    }
    assert!(node.transcript().all("ok").count() >= 10);
    assert_eq!(answers(&node, &json!(39))[0]["event"], "error");
    assert_eq!(answers(&node, &json!("stop"))[0]["event"], "error");
}
