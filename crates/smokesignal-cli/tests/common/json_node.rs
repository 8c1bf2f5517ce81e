//! A node in a process of its own, driven by JSON lines.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};

use super::command::{collect_stderr, feed_stdin, kill, program, signal, spawn, wait_collected};
use super::transcript::Transcript;
use super::wait::{lock, notify, wait};

/// Lines of stderr shown when a wait fails.
const TAIL: usize = 10;

/// A process of `smokesignal run --json`. It is killed when this is dropped.
pub struct JsonNode {
    child: Child,
    stdin: Option<Sender<Vec<u8>>>,
    transcript: Arc<Mutex<Transcript>>,
    stderr: Arc<Mutex<String>>,
    /// The id of the node: 64 hex digits.
    pub id: String,
    /// The address that it listens on.
    pub ip: String,
    /// The port that it listens on.
    pub port: u16,
}

impl JsonNode {
    /// Starts a node and waits until it listens.
    pub fn start(args: &[&str]) -> Self {
        Self::start_on("127.0.0.1", program(&[]), args)
    }

    /// Starts a node on this address by a command that runs the program, directly or indirectly.
    pub fn start_on(ip: &str, mut program: Command, args: &[&str]) -> Self {
        let mut child = spawn(program.args(["run", "--json", "--address", ip, "-v"]).args(args));
        let transcript = Arc::new(Mutex::new(Transcript::default()));
        let stdout = child.stdout.take().expect("stdout is piped");
        thread::spawn({
            let transcript = Arc::clone(&transcript);
            move || read_events(stdout, &transcript)
        });
        let stderr = collect_stderr(&mut child);
        let stdin = Some(feed_stdin(&mut child));
        let (id, ip) = (String::new(), ip.to_owned());
        let mut node = Self { child, stdin, transcript, stderr, id, ip, port: 0 };
        let first = node.wait_for("the first event", |transcript| transcript.events.first().cloned());
        assert_eq!(first["event"], "listening", "the first event is not `listening`: {first}");
        node.id = first["id"].as_str().expect("listening has an id").to_owned();
        assert_eq!(node.id.len(), 64, "an id is 64 hex digits");
        assert_eq!(first["address"], node.ip.as_str());
        node.port =
            first["port"].as_u64().and_then(|port| port.try_into().ok()).expect("listening has a port");
        assert_ne!(node.port, 0, "a node cannot listen on port 0");
        node
    }

    /// Starts a node that joins through another one.
    pub fn join(seed: &Self, args: &[&str]) -> Self {
        let seed = seed.address();
        Self::start(&[&["--seed", seed.as_str()], args].concat())
    }

    /// Returns where it listens, as `127.0.0.1:8495`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }

    /// Returns what it has printed so far.
    pub fn transcript(&self) -> MutexGuard<'_, Transcript> {
        lock(&self.transcript)
    }

    /// Returns everything that it has written to stderr so far.
    pub fn stderr(&self) -> String {
        lock(&self.stderr).clone()
    }

    /// Waits until `check` finds something in what the process has printed.
    pub fn wait_for<T>(&self, what: &str, mut check: impl FnMut(&Transcript) -> Option<T>) -> T {
        wait(what, &[self], || check(&self.transcript()))
    }

    /// Waits until `check` holds.
    pub fn wait_until(&self, what: &str, mut check: impl FnMut(&Transcript) -> bool) {
        self.wait_for(what, |transcript| check(transcript).then_some(()));
    }

    /// Waits until another node is a peer.
    pub fn wait_peer_added(&self, other: &str) {
        self.wait_until(&format!("peer {other}"), |transcript| transcript.peers.contains(other));
    }

    /// Waits until another node is not a peer any more.
    pub fn wait_peer_removed(&self, other: &str) {
        let what = format!("the removal of peer {other}");
        self.wait_until(&what, |transcript| !transcript.peers.contains(other));
    }

    /// Waits until `count` messages of this writer have arrived.
    pub fn wait_received(&self, writer: &str, count: usize) {
        let what = format!("{count} messages from {writer}");
        self.wait_until(&what, |transcript| transcript.from(writer).len() >= count);
    }

    /// Sends a command.
    pub fn send(&self, command: &Value) {
        self.send_line(&command.to_string());
    }

    /// Sends a line, which need not be a command.
    pub fn send_line(&self, line: &str) {
        let stdin = self.stdin.as_ref().expect("stdin is open");
        // Fails only if the process has ended; the next wait reports that with the reasons.
        drop(stdin.send(format!("{line}\n").into_bytes()));
    }

    /// Broadcasts a message.
    pub fn broadcast(&self, data: &str) {
        self.send(&json!({"cmd": "broadcast", "data": data}));
    }

    /// Sends a message to one node.
    pub fn direct(&self, to: &str, data: &str) {
        self.send(&json!({"cmd": "direct", "to": to, "data": data}));
    }

    /// Closes stdin once all is written.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("wait after kill -9");
    }

    /// Sends a signal by its name without `SIG`: `signal("STOP")`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for the end of the process.
    pub fn exit_status(&mut self) -> ExitStatus {
        self.wait_for("the end of the process", |transcript| transcript.ended.then_some(()));
        let status = self.child.wait().expect("wait for a process that closed its stdout");
        wait_collected(&self.stderr);
        status
    }

    /// Returns a figure of the process' memory in bytes: `VmRSS` is the present one, `VmHWM` the
    /// largest so far.
    pub fn memory(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the process runs, on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field is there");
        let kilobytes = line.split_whitespace().nth(1).expect("`VmRSS:  123 kB`");
        kilobytes.parse::<u64>().expect("a number") * 1024
    }

    /// Returns what it has printed last, for the message of a failed wait.
    pub(super) fn tail(&self) -> String {
        let id = self.id.get(..8).unwrap_or("(no id)");
        let mut text = format!("--- {id} port {}: {}", self.port, self.transcript().tail());
        let stderr = self.stderr();
        let lines: Vec<&str> = stderr.lines().collect();
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            writeln!(text, "  stderr: {line}").expect("a String takes everything");
        }
        text
    }
}

impl Drop for JsonNode {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

fn read_events(stdout: ChildStdout, transcript: &Mutex<Transcript>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        lock(transcript).add_line(&line);
        notify();
    }
    lock(transcript).ended = true;
    notify();
}
