//! Real processes on seven hosts, one of them behind a slow line. The hosts are network namespaces.
//!
//! Each test takes 25 s and prints how much has arrived. They measure real time, so they run on
//! demand only; the simulator's test of lines checks the same in virtual time. They need Linux,
//! root, `ip` and `tc`; without them they print that they were skipped, and pass.
//!
//! ```text
//! cargo test -p smokesignal-cli --test slow_line -- --ignored --nocapture --test-threads 1
//! ```
#![cfg(target_os = "linux")]

mod common;

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{JsonNode, program_in, refs, wait_connected};

/// The number of hosts; the last one has the slow line.
const HOSTS: usize = 7;
/// The line of the slow host, each way: 1 Mbit/s, with a router that queues 400 ms of it.
const LINE: [&str; 6] = ["rate", "1mbit", "burst", "4kb", "latency", "400ms"];
/// The time for which more is written than the line carries.
const OVERLOAD: Duration = Duration::from_secs(20);
/// The size of one message. 16 kB.
const MESSAGE: usize = 16_000;
/// The port of all nodes, each on a host of its own.
const PORT: &str = "8495";
/// The least that has to arrive, in Mbit/s. The goal is 0.85; here the first seconds count, in
/// which the nodes find out what the line carries.
const CARRIED: f64 = 0.7;

/// The writers write 2.56 Mbit/s. What the line carries arrives, once.
#[test]
#[ignore = "measures real time: on a quiet machine only"]
fn a_reader_behind_a_slow_line_gets_what_it_carries() {
    let Some((_hosts, nodes)) = start("reader") else { return };
    let (slow, writers) = nodes.split_last().expect("there are hosts");
    write_for(&mut writers.iter().cycle(), Duration::from_millis(50));
    let read = writers.iter().map(|writer| slow.transcript().from(&writer.id).len()).sum();
    check(read);
}

/// One node writes 3.8 Mbit/s over a line with 1 Mbit/s: each byte has to leave it once.
#[test]
#[ignore = "measures real time: on a quiet machine only"]
fn a_writer_behind_a_slow_line_sends_each_byte_once() {
    let Some((_hosts, nodes)) = start("writer") else { return };
    let (slow, readers) = nodes.split_last().expect("there are hosts");
    write_for(&mut std::iter::repeat(slow), Duration::from_millis(33));
    let read = readers.iter().map(|reader| reader.transcript().from(&slow.id).len()).min();
    check(read.expect("there are readers"));
}

fn start(test: &str) -> Option<(Hosts, Vec<JsonNode>)> {
    match Hosts::new(test) {
        Ok(hosts) => {
            let nodes: Vec<JsonNode> = (0..HOSTS).map(|host| hosts.start(host)).collect();
            wait_connected(&refs(&nodes), 3);
            Some((hosts, nodes))
        }
        Err(why) => {
            skip(&why);
            None
        }
    }
}

/// Writes a message after each pause, by the next of these nodes.
fn write_for<'a>(writers: &mut impl Iterator<Item = &'a JsonNode>, pause: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < OVERLOAD {
        writers.next().expect("it goes on").broadcast(&"x".repeat(MESSAGE));
        std::thread::sleep(pause);
    }
}

/// Panics if fewer messages have been read than the line carries. That no link is lost is a test of
/// the simulator: here TCP may give up a packet too often on a busy machine.
fn check(read: usize) {
    let rate = (read * MESSAGE * 8) as f64 / OVERLOAD.as_secs_f64() / 1e6;
    println!("{read} messages were read, {rate:.2} Mbit/s");
    assert!(rate >= CARRIED, "{rate:.2} Mbit/s of 1 have arrived");
}

/// Network namespaces, each with a cable to a switch, which is one of its own.
struct Hosts(Vec<String>);

impl Hosts {
    fn new(test: &str) -> Result<Self, String> {
        let name = |host: usize| format!("smokesignal-{}-{test}-{host}", std::process::id());
        let hosts = Self((0..=HOSTS).map(name).collect());
        for name in &hosts.0 {
            run("ip", &["netns", "add", name])?;
        }
        let switch = hosts.0[HOSTS].as_str();
        run("ip", &["-n", switch, "link", "add", "switch", "type", "bridge"])?;
        run("ip", &["-n", switch, "link", "set", "switch", "up"])?;
        for (host, name) in hosts.0[..HOSTS].iter().enumerate() {
            let (cable, address) = (format!("cable{host}"), format!("{}/24", Self::address(host)));
            let ends = ["type", "veth", "peer", "name", &cable, "netns", switch];
            run("ip", &[&["-n", name, "link", "add", "cable"][..], &ends].concat())?;
            run("ip", &["-n", name, "link", "set", "lo", "up"])?;
            run("ip", &["-n", name, "address", "add", &address, "dev", "cable"])?;
            run("ip", &["-n", name, "link", "set", "cable", "up"])?;
            run("ip", &["-n", switch, "link", "set", &cable, "master", "switch", "up"])?;
        }
        let (slow, cable) = (hosts.0[HOSTS - 1].as_str(), format!("cable{}", HOSTS - 1));
        for (name, device) in [(slow, "cable"), (switch, cable.as_str())] {
            let shape = ["netns", "exec", name, "tc", "qdisc", "add", "dev", device, "root", "tbf"];
            run("ip", &[&shape[..], &LINE].concat())?;
        }
        Ok(hosts)
    }

    fn address(host: usize) -> String {
        format!("10.84.96.{}", host + 1)
    }

    fn start(&self, host: usize) -> JsonNode {
        let seed = format!("{}:{PORT}", Self::address(0));
        let program = program_in(&self.0[host], &[]);
        JsonNode::start_on(&Self::address(host), program, &["--port", PORT, "--seed", &seed])
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.0 {
            // Fails if the set-up did not reach this namespace.
            drop(run("ip", &["netns", "delete", name]));
        }
    }
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let command = format!("`{program} {}`", args.join(" "));
    let output = Command::new(program).args(args).output().map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Prints that the test was skipped. Writes to stderr directly, because the test harness hides what
/// a passing test prints.
fn skip(why: &str) {
    let text = format!("\nSKIPPED, needs root, network namespaces and tc: {why}\n");
    std::io::stderr().write_all(text.as_bytes()).expect("stderr takes a line");
}
