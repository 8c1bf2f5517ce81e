//! Spawns the built program and waits for what it says. Nothing here sleeps: all reader threads ring one bell,
//! and whoever waits looks again when the bell rings.
#![allow(dead_code, unreachable_pub)]

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_smokesignal");
/// Longest wait for anything.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Payloads longer than this are kept as their digest.
const KEEP: usize = 1024;
/// Events and lines of stderr shown when a wait fails.
const TAIL: usize = 10;

/// Counts what all processes of this test program have said.
static BELL: Mutex<u64> = Mutex::new(0);
static RUNG: Condvar = Condvar::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ring() {
    *lock(&BELL) += 1;
    RUNG.notify_all();
}

/// Waits until `check` gives something; looks again whenever a process has said something.
/// Fails when the deadline is over, or when one of the processes has ended without it.
pub fn wait<T>(what: &str, processes: &[&Process], check: impl FnMut() -> Option<T>) -> T {
    wait_within(DEADLINE, what, processes, check)
}

/// The same, where how long it takes is part of the promise.
pub fn wait_within<T>(
    limit: Duration,
    what: &str,
    processes: &[&Process],
    check: impl FnMut() -> Option<T>,
) -> T {
    let gone = || {
        if let Some(wrong) = processes.iter().find_map(|process| process.state().wrong.clone()) {
            panic!("{wrong}, while waiting for: {what}");
        }
        processes.iter().any(|process| process.state().ended)
    };
    wait_or(limit, check, gone, |why| {
        let tails: String = processes.iter().map(|process| process.tail()).collect();
        panic!("{why} while waiting for: {what}\n{tails}")
    })
}

fn wait_or<T>(
    limit: Duration,
    mut check: impl FnMut() -> Option<T>,
    gone: impl Fn() -> bool,
    fail: impl FnOnce(&str) -> T,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let seen = *lock(&BELL);
        // In this order: what a process said before it ended still counts.
        let gone = gone();
        if let Some(found) = check() {
            return found;
        }
        if gone {
            return fail("a process ended");
        }
        let mut bell = lock(&BELL);
        while *bell == seen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(bell);
                return fail("the deadline passed");
            }
            bell = RUNG.wait_timeout(bell, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(bell);
        if Instant::now() >= deadline {
            // Other processes may ring for ever.
            return check().unwrap_or_else(|| fail("the deadline passed"));
        }
    }
}

/// What a `run --json` process has said so far.
#[derive(Debug, Default)]
pub struct State {
    /// All events; long payloads as digests.
    pub events: Vec<Value>,
    /// Ids added and not removed.
    pub peers: BTreeSet<String>,
    /// The largest number of peers at any time.
    pub most_peers: usize,
    /// Payloads by writer, in the order of arrival; long ones as digests.
    pub heard: BTreeMap<String, Vec<String>>,
    /// Sequence numbers by writer, in the order of arrival.
    pub seqs: BTreeMap<String, Vec<u64>>,
    /// Writer and count of every gap.
    pub gaps: Vec<(String, u64)>,
    /// What no node may ever say: fails every wait.
    pub wrong: Option<String>,
    /// stdout is closed.
    pub ended: bool,
}

impl State {
    /// What one writer wrote, as far as it arrived.
    pub fn from(&self, writer: &str) -> &[String] {
        self.heard.get(writer).map_or(&[], Vec::as_slice)
    }

    /// The first event of this kind.
    pub fn first(&self, kind: &str) -> Option<&Value> {
        self.events.iter().find(|event| event["event"] == kind)
    }

    /// All events of this kind.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["event"] == kind)
    }

    /// The first error whose text has all of these in it.
    pub fn error_with(&self, parts: &[&str]) -> Option<String> {
        let mut texts = self.of("error").filter_map(|event| event["message"].as_str());
        texts.find(|text| parts.iter().all(|part| text.contains(part))).map(str::to_owned)
    }

    fn take(&mut self, mut event: Value) {
        for field in ["data", "base64"] {
            let short = event[field].as_str().filter(|text| text.len() > KEEP).map(digest);
            if let Some(short) = short {
                event[field] = short.into();
            }
        }
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            Some("peer_added") if !self.peers.insert(text("id")) => {
                self.wrong = Some(format!("added twice: {event}"));
            }
            Some("peer_removed") if !self.peers.remove(&text("id")) => {
                self.wrong = Some(format!("removed but not there: {event}"));
            }
            Some("NOT JSON") => self.wrong = Some(format!("stdout is for JSON only: {event}")),
            Some("message") => {
                let payload = if event["base64"].is_string() { text("base64") } else { text("data") };
                self.heard.entry(text("from")).or_default().push(payload);
                match event["seq"].as_u64() {
                    Some(seq) => self.seqs.entry(text("from")).or_default().push(seq),
                    None => self.wrong = Some(format!("a message without seq: {event}")),
                }
            }
            Some("gap") => match event["missed"].as_u64() {
                Some(missed) => self.gaps.push((text("from"), missed)),
                None => self.wrong = Some(format!("a gap without a count: {event}")),
            },
            _ => {}
        }
        self.most_peers = self.most_peers.max(self.peers.len());
        self.events.push(event);
    }
}

/// Stands for a long payload. Short ones stand for themselves.
pub fn digest(text: &str) -> String {
    if text.len() <= KEEP {
        return text.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let head: String = text.chars().take(24).collect();
    format!("{head}… {} bytes {:016x}", text.len(), hasher.finish())
}

/// A `smokesignal run --json` of its own, killed when dropped.
pub struct Process {
    child: Child,
    input: Option<Sender<String>>,
    state: Arc<Mutex<State>>,
    errors: Arc<Mutex<String>>,
    /// The node's id: 64 hex digits.
    pub id: String,
    /// Where it listens.
    pub ip: String,
    /// Where it listens.
    pub port: u16,
}

impl Process {
    /// Starts a node and waits until it listens.
    pub fn start(args: &[&str]) -> Self {
        Self::start_on("127.0.0.1", program(&[]), args)
    }

    /// Starts a node on this address, by a command that is the program or leads to it.
    pub fn start_on(ip: &str, mut program: Command, args: &[&str]) -> Self {
        let mut child = spawn(program.args(["run", "--json", "--address", ip, "-v"]).args(args));
        let state = Arc::new(Mutex::new(State::default()));
        let stdout = child.stdout.take().expect("stdout is piped");
        thread::spawn({
            let state = Arc::clone(&state);
            move || read_events(stdout, &state)
        });
        let errors = collect_text(child.stderr.take().expect("stderr is piped"));
        let (input, lines) = mpsc::channel::<String>();
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // A thread, because the node reads no faster than it can send.
        thread::spawn(move || {
            for line in lines {
                if stdin.write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        });
        let (id, ip) = (String::new(), ip.to_owned());
        let mut process = Self { child, input: Some(input), state, errors, id, ip, port: 0 };
        let first = process.wait_for("the first event", |state| state.events.first().cloned());
        assert_eq!(first["event"], "listening", "the first event is not `listening`: {first}");
        process.id = first["id"].as_str().expect("listening has an id").to_owned();
        assert_eq!(process.id.len(), 64, "an id is 64 hex digits");
        assert_eq!(first["address"], process.ip.as_str());
        process.port =
            first["port"].as_u64().and_then(|port| port.try_into().ok()).expect("listening has a port");
        assert_ne!(process.port, 0, "port 0 is nowhere");
        process
    }

    /// Starts a node that enters through another one.
    pub fn join(seed: &Self, args: &[&str]) -> Self {
        let seed = seed.address();
        Self::start(&[&["--seed", seed.as_str()], args].concat())
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }

    /// What it has said so far.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Everything it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        lock(&self.errors).clone()
    }

    /// Waits until `check` finds something in what the process said.
    pub fn wait_for<T>(&self, what: &str, mut check: impl FnMut(&State) -> Option<T>) -> T {
        wait(what, &[self], || check(&self.state()))
    }

    /// Waits until this holds.
    pub fn wait_until(&self, what: &str, mut check: impl FnMut(&State) -> bool) {
        self.wait_for(what, |state| check(state).then_some(()));
    }

    /// Waits until another node is (or is no more) a peer.
    pub fn wait_peer(&self, other: &str, there: bool) {
        let what = format!("peer {other} {}", if there { "there" } else { "gone" });
        self.wait_until(&what, |state| state.peers.contains(other) == there);
    }

    /// Waits until `count` messages of this writer are here.
    pub fn wait_heard(&self, writer: &str, count: usize) {
        let what = format!("{count} messages from {writer}");
        self.wait_until(&what, |state| state.from(writer).len() >= count);
    }

    /// One command.
    pub fn send(&self, command: &Value) {
        self.send_line(&command.to_string());
    }

    /// One line, whatever it is.
    pub fn send_line(&self, line: &str) {
        let input = self.input.as_ref().expect("stdin is open");
        // Fails only if the process has ended; the next wait shows that with its reasons.
        drop(input.send(format!("{line}\n")));
    }

    /// Writes one message to everyone.
    pub fn write(&self, data: &str) {
        self.send(&json!({"cmd": "broadcast", "data": data}));
    }

    /// Writes one message to one node.
    pub fn direct(&self, to: &str, data: &str) {
        self.send(&json!({"cmd": "direct", "to": to, "data": data}));
    }

    /// End of input, once all is read.
    pub fn close_stdin(&mut self) {
        self.input = None;
    }

    /// kill -9
    pub fn kill(&mut self) {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("wait after kill -9");
    }

    /// `signal("STOP")`
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end.
    pub fn exit_status(&mut self) -> ExitStatus {
        self.wait_for("the end of the process", |state| state.ended.then_some(()));
        self.child.wait().expect("wait for a process that closed its stdout")
    }

    /// `memory("VmRSS")`: now in memory, `memory("VmHWM")`: most ever. In bytes.
    pub fn memory(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the process runs, on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field is there");
        let kilobytes = line.split_whitespace().nth(1).expect("`VmRSS:  123 kB`");
        kilobytes.parse::<u64>().expect("a number") * 1024
    }

    fn tail(&self) -> String {
        let state = self.state();
        let mut text = format!(
            "--- {} port {}: {} events, {} peers, {} gaps{}\n",
            &self.id.get(..8).unwrap_or("(no id)"),
            self.port,
            state.events.len(),
            state.peers.len(),
            state.gaps.len(),
            if state.ended { ", ended" } else { "" }
        );
        for (writer, heard) in &state.heard {
            writeln!(text, "  {} messages from {:.8}", heard.len(), writer)
                .expect("a String takes everything");
        }
        for event in state.events.iter().rev().take(TAIL).rev() {
            writeln!(text, "  {event:.300}", event = event.to_string()).expect("a String takes everything");
        }
        let errors = self.stderr();
        let lines: Vec<&str> = errors.lines().collect();
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            writeln!(text, "  stderr: {line}").expect("a String takes everything");
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn read_events(stdout: ChildStdout, state: &Mutex<State>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let event = serde_json::from_str(&line)
            .unwrap_or_else(|error| json!({"event": "NOT JSON", "line": line, "error": error.to_string()}));
        lock(state).take(event);
        ring();
    }
    lock(state).ended = true;
    ring();
}

fn collect_text(mut source: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&text);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = source.read(&mut buffer) {
            lock(&shared).push_str(&String::from_utf8_lossy(&buffer[..count]));
            ring();
        }
    });
    text
}

/// The program with these arguments and without settings of the person who runs the tests.
pub fn program(args: &[&str]) -> Command {
    without_settings(Command::new(PROGRAM), args)
}

/// The same in a network namespace.
pub fn program_in(namespace: &str, args: &[&str]) -> Command {
    let ip = Command::new("ip");
    without_settings(ip, &[&["netns", "exec", namespace, PROGRAM], args].concat())
}

fn without_settings(mut command: Command, args: &[&str]) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SMOKESIGNAL_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").env("NO_COLOR", "1").args(args);
    command
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(status.expect("sh runs").success(), "kill -{name} {pid}");
}

/// Ends a process that may be frozen, or has ended already.
fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        // SIGKILL works on frozen processes as well.
        drop(child.kill());
        drop(child.wait());
    }
}

/// A command that speaks bytes or text: `pipe`, `chat`.
pub struct Plain {
    child: Child,
    stdin: Option<Sender<Vec<u8>>>,
    stdout: Arc<Mutex<(Vec<u8>, bool)>>,
    errors: Arc<Mutex<String>>,
}

impl Plain {
    /// Starts it; stdin stays open.
    pub fn start(args: &[&str]) -> Self {
        let mut plain = Self::start_unread(args);
        let mut source = plain.child.stdout.take().expect("stdout is piped");
        let shared = Arc::clone(&plain.stdout);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                lock(&shared).0.extend_from_slice(&buffer[..count]);
                ring();
            }
            lock(&shared).1 = true;
            ring();
        });
        plain
    }

    /// Starts it with nobody reading its stdout yet; see [`Self::drop_stdout`].
    pub fn start_unread(args: &[&str]) -> Self {
        let mut child = spawn(&mut program(args));
        let errors = collect_text(child.stderr.take().expect("stderr is piped"));
        let mut target = child.stdin.take().expect("stdin is piped");
        let (stdin, pieces) = mpsc::channel::<Vec<u8>>();
        thread::spawn(move || {
            for piece in pieces {
                if target.write_all(&piece).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin: Some(stdin), stdout: Arc::default(), errors }
    }

    /// The reader of its stdout goes away.
    pub fn drop_stdout(&mut self) {
        drop(self.child.stdout.take());
    }

    /// More input.
    pub fn write(&self, bytes: impl Into<Vec<u8>>) {
        drop(self.stdin.as_ref().expect("stdin is open").send(bytes.into()));
    }

    /// End of input, once all is read.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until this holds for its whole stdout so far.
    pub fn wait_stdout(&self, what: &str, check: impl Fn(&[u8]) -> bool) {
        let gone = || lock(&self.stdout).1;
        let found = || check(&lock(&self.stdout).0).then_some(());
        wait_or(DEADLINE, found, gone, |why| {
            let stdout = lock(&self.stdout).0.clone();
            let start = String::from_utf8_lossy(&stdout[..stdout.len().min(2000)]).into_owned();
            let (length, errors) = (stdout.len(), lock(&self.errors));
            panic!("{why} while waiting for: {what}\nstdout, {length} bytes: {start}\nstderr: {errors}")
        });
    }

    /// What it says to people: waits until `check` finds something there.
    pub fn wait_stderr<T>(&self, what: &str, check: impl Fn(&str) -> Option<T>) -> T {
        let found = || check(&lock(&self.errors));
        let gone = || lock(&self.stdout).1;
        wait_or(DEADLINE, found, gone, |why| {
            panic!("{why} while waiting for: {what}\nstderr: {}", lock(&self.errors))
        })
    }

    /// Its whole stdout so far.
    pub fn stdout(&self) -> Vec<u8> {
        lock(&self.stdout).0.clone()
    }

    /// `signal("TERM")`
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end: exit code and stderr.
    pub fn exit_code(&mut self) -> (Option<i32>, String) {
        let code = exit_within(&mut self.child, DEADLINE);
        (code, lock(&self.errors).clone())
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// The exit code; a process that runs longer is killed and fails the test.
fn exit_within(child: &mut Child, limit: Duration) -> Option<i32> {
    let (pid, (done, guard)) = (child.id(), mpsc::channel::<()>());
    let watchdog = thread::spawn(move || {
        let late = guard.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            signal(pid, "KILL");
        }
        late
    });
    let status = child.wait().expect("wait for a child");
    drop(done);
    let late = watchdog.join().expect("the watchdog does not panic");
    assert!(!late, "the process was still running after {limit:?}");
    status.code()
}

/// What a command that ends by itself left behind.
#[derive(Debug)]
pub struct Finished {
    /// Exit code.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

/// Runs a command to its end, with empty input.
pub fn run(args: &[&str]) -> Finished {
    run_command(&mut program(args), DEADLINE)
}

/// Runs a command to its end, with empty input.
pub fn run_command(command: &mut Command, limit: Duration) -> Finished {
    let mut child = spawn(command);
    drop(child.stdin.take());
    let read = |mut source: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            source.read_to_end(&mut bytes).expect("output can be read");
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = read(Box::new(child.stdout.take().expect("stdout is piped")));
    let stderr = read(Box::new(child.stderr.take().expect("stderr is piped")));
    let code = exit_within(&mut child, limit);
    let stdout = stdout.join().expect("stdout is read");
    let stderr = stderr.join().expect("stderr is read");
    Finished { code, stdout, stderr }
}

/// A port that was free a moment ago.
pub fn free_port() -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    listener.local_addr().expect("a bound socket has an address").port().to_string()
}

/// `count` nodes, the first one is the seed of the others.
pub fn network(count: usize, args: &[&str]) -> Vec<Process> {
    let mut nodes = vec![Process::start(args)];
    while nodes.len() < count {
        nodes.push(Process::join(&nodes[0], args));
    }
    nodes
}

/// Waits until each has enough peers and all are one network: links count when both sides report them.
pub fn gather(nodes: &[&Process], enough: usize) {
    wait(&format!("one network with at least {enough} peers each"), nodes, || {
        let views: BTreeMap<&str, BTreeSet<String>> =
            nodes.iter().map(|node| (node.id.as_str(), node.state().peers.clone())).collect();
        if views.values().any(|peers| peers.len() < enough) {
            return None;
        }
        let (first, _) = views.first_key_value()?;
        let (mut seen, mut open) = (BTreeSet::from([*first]), vec![*first]);
        while let Some(id) = open.pop() {
            for (other, peers) in &views {
                if views[id].contains(*other) && peers.contains(id) && seen.insert(other) {
                    open.push(other);
                }
            }
        }
        (seen.len() == nodes.len()).then_some(())
    });
}

/// All of these and nothing else arrived from this writer, in order, and no gap from anyone.
pub fn assert_all_heard(reader: &Process, writer: &str, expected: &[String]) {
    let state = reader.state();
    let heard = state.from(writer);
    let differs = heard.iter().zip(expected).position(|(heard, expected)| heard != expected);
    if let Some(place) = differs {
        let (got, wanted) = (&heard[place], &expected[place]);
        panic!("{:.8} read {got:?} from {writer:.8} as number {place}, not {wanted:?}", reader.id);
    }
    assert_eq!(heard.len(), expected.len(), "{:.8} read so many from {writer:.8}", reader.id);
    assert_eq!(state.gaps, [], "gaps at {:.8}", reader.id);
    assert_rising(&state, writer);
}

/// No message of this writer came twice or out of order.
pub fn assert_rising(state: &State, writer: &str) {
    let seqs = state.seqs.get(writer).map_or(&[][..], Vec::as_slice);
    let wrong = seqs.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(wrong, None, "sequence numbers of {writer:.8} do not rise");
}

/// References, for the functions that take some of the nodes.
pub fn refs(nodes: &[Process]) -> Vec<&Process> {
    nodes.iter().collect()
}
