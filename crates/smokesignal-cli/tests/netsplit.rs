//! Real processes on two hosts, which are network namespaces, and the cable between the two is pulled. Needs Linux,
//! root and `ip`; where these are not to be had it says so and passes.
#![cfg(target_os = "linux")]

mod common;

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use common::{Process, State, assert_rising, gather, program_in, refs, wait, wait_within};

/// "Reported by the cut-off side within 40 s."
const NOTICED: Duration = Duration::from_secs(40);
/// Nodes on each host.
const HALF: usize = 3;
/// In a namespace of their own all ports are free, so that the seed can be told its own address.
const FIRST_PORT: u16 = 8495;

/// "Two halves in network namespaces with the cable pulled (real processes): reported by the cut-off side within 40 s,
/// resolved after, everyone hears everyone, nothing twice."
#[test]
fn the_half_without_the_seed_reports_the_pulled_cable_and_in_the_end_everyone_hears_everyone() {
    let hosts = match Hosts::new() {
        Ok(hosts) => hosts,
        Err(why) => return skip(&why),
    };
    let nodes: Vec<Process> = (0..2 * HALF).map(|n| hosts.start(n / HALF, n % HALF)).collect();
    let (with_seed, cut_off) = nodes.split_at(HALF);
    gather(&refs(&nodes), 3);
    talk("whole", &nodes);

    for cut in 1..=2 {
        let told = |event: &str| {
            let all = cut_off.iter().all(|node| node.state().of(event).count() == cut);
            all.then_some(())
        };
        be_counted();
        hosts.cable("down");
        wait_within(NOTICED, "a netsplit at all who are cut off", &refs(cut_off), || told("netsplit"));
        talk(&format!("with the seed, {cut}"), with_seed);
        talk(&format!("cut off, {cut}"), cut_off);
        hosts.cable("up");
        wait("its end at all who were cut off", &refs(cut_off), || told("netsplit_resolved"));
        talk(&format!("whole again, {cut}"), &nodes);
    }

    for reader in &nodes {
        assert_netsplits_in_turn(reader, if reader.ip == cut_off[0].ip { 2 } else { 0 });
        assert_connects_in_turn(&reader.state());
        for writer in nodes.iter().filter(|writer| writer.id != reader.id) {
            assert_nothing_twice_and_the_rest_counted(reader, writer, 5);
        }
    }
}

/// Each writes one message, and all of these hear it.
fn talk(word: &str, nodes: &[Process]) {
    for node in nodes {
        node.write(word);
    }
    for reader in nodes {
        for writer in nodes.iter().filter(|writer| writer.id != reader.id) {
            let what = format!("`{word}` from {:.8}", writer.id);
            reader.wait_until(&what, |state| state.from(&writer.id).iter().any(|heard| heard == word));
        }
    }
}

/// A seed is lost only if it was counted as part of the network. No event says that; it takes two or three beats of
/// 1.65 s, and two seconds more until the number of nodes is taken for steady.
fn be_counted() {
    std::thread::sleep(Duration::from_secs(10));
}

fn assert_netsplits_in_turn(node: &Process, count: usize) {
    let state = node.state();
    let told: Vec<_> = state
        .events
        .iter()
        .filter(|event| event["event"].as_str().is_some_and(|name| name.starts_with("netsplit")))
        .collect();
    assert_eq!(told.len(), 2 * count, "{:.8} was told {told:?}", node.id);
    for pair in told.chunks(2) {
        let (split, resolved) = (pair[0], pair[1]);
        assert_eq!((&split["event"], &resolved["event"]), (&"netsplit".into(), &"netsplit_resolved".into()));
        assert_eq!(split["size_before"], 2 * HALF, "{split}");
        assert!(split["size"].as_u64().is_some_and(|size| (1..=HALF as u64).contains(&size)), "{split}");
        assert_eq!(split.get("other_size"), None, "the seed was not to be reached: {split}");
        assert!(resolved["duration_ms"].as_u64().is_some_and(|duration| duration > 3000), "{resolved}");
    }
}

fn assert_connects_in_turn(state: &State) {
    let names = state.events.iter().filter_map(|event| event["event"].as_str());
    let told: Vec<_> = names.filter(|name| ["connect", "disconnect"].contains(name)).collect();
    assert_eq!(told.first(), Some(&"connect"));
    assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "{told:?}");
}

/// What the other half wrote meanwhile is heard later if it is still retained, and is a gap if not.
fn assert_nothing_twice_and_the_rest_counted(reader: &Process, writer: &Process, written: u64) {
    let state = reader.state();
    assert_rising(&state, &writer.id);
    let missed: u64 =
        state.gaps.iter().filter(|(from, _)| *from == writer.id).map(|(_, missed)| missed).sum();
    let heard = state.from(&writer.id);
    assert_eq!(heard.len() as u64 + missed, written, "{:.8} has heard {heard:?}", reader.id);
}

/// Two namespaces, each with a bridge that has the host's address, and a cable between the bridges. (A cable without
/// bridges would take the hosts' addresses along when it is pulled.)
struct Hosts([String; 2]);

impl Hosts {
    fn new() -> Result<Self, String> {
        let hosts = Self(["a", "b"].map(|side| format!("smokesignal-{}-{side}", std::process::id())));
        for name in &hosts.0 {
            ip(&["netns", "add", name])?;
        }
        let [a, b] = hosts.0.each_ref().map(String::as_str);
        ip(&["-n", a, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b])?;
        for (side, name) in hosts.0.iter().enumerate() {
            let address = format!("{}/24", Self::address(side));
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            ip(&["-n", name, "link", "add", "bridge", "type", "bridge"])?;
            ip(&["-n", name, "address", "add", &address, "dev", "bridge"])?;
            ip(&["-n", name, "link", "set", "bridge", "up"])?;
            ip(&["-n", name, "link", "set", "cable", "master", "bridge", "up"])?;
        }
        Ok(hosts)
    }

    fn address(side: usize) -> String {
        format!("10.84.95.{}", side + 1)
    }

    fn start(&self, side: usize, number: usize) -> Process {
        let port = (usize::from(FIRST_PORT) + number).to_string();
        let seed = format!("{}:{FIRST_PORT}", Self::address(0));
        let program = program_in(&self.0[side], &[]);
        Process::start_on(&Self::address(side), program, &["--port", &port, "--seed", &seed])
    }

    /// Pulled out (`down`), packets vanish without an answer.
    fn cable(&self, state: &str) {
        ip(&["-n", &self.0[0], "link", "set", "cable", state]).expect("what was set up can be changed");
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.0 {
            // Fails if the set-up did not come so far.
            drop(ip(&["netns", "delete", name]));
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let command = format!("`ip {}`", args.join(" "));
    let output = Command::new("ip").args(args).output().map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Past the test harness, which shows nothing of tests that pass.
fn skip(why: &str) {
    let text = format!("\nSKIPPED, needs root and network namespaces: {why}\n");
    std::io::stderr().write_all(text.as_bytes()).expect("stderr takes a line");
}
