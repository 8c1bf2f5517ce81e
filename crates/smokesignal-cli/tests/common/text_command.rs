//! A command that reads and writes bytes or text, such as `pipe` or `chat`.

use std::io::Read as _;
use std::process::{Child, ChildStdout};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread;

use super::command::{collect_stderr, exit_within, feed_stdin, kill, program, signal, spawn, wait_collected};
use super::wait::{DEADLINE, lock, notify, wait_or};

/// A process of a command that reads and writes bytes or text. It is killed when this is dropped.
pub struct TextCommand {
    child: Child,
    stdin: Option<Sender<Vec<u8>>>,
    stdout: Arc<Mutex<Stdout>>,
    stderr: Arc<Mutex<String>>,
}

/// All that the process has written to stdout so far.
#[derive(Default)]
struct Stdout {
    bytes: Vec<u8>,
    ended: bool,
}

impl TextCommand {
    /// Starts a command. Its stdin stays open.
    pub fn start(args: &[&str]) -> Self {
        let mut command = Self::start_unread(args);
        let source = command.child.stdout.take().expect("stdout is piped");
        let shared = Arc::clone(&command.stdout);
        thread::spawn(move || collect_stdout(source, &shared));
        command
    }

    /// Starts a command whose stdout nobody reads; see [`Self::close_stdout`].
    pub fn start_unread(args: &[&str]) -> Self {
        let mut child = spawn(&mut program(args));
        let stderr = collect_stderr(&mut child);
        let stdin = Some(feed_stdin(&mut child));
        Self { child, stdin, stdout: Arc::default(), stderr }
    }

    /// Closes the reading end of its stdout.
    pub fn close_stdout(&mut self) {
        drop(self.child.stdout.take());
    }

    /// Writes to its stdin.
    pub fn write(&self, bytes: impl Into<Vec<u8>>) {
        drop(self.stdin.as_ref().expect("stdin is open").send(bytes.into()));
    }

    /// Closes its stdin once all is written.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until `check` holds for its whole stdout so far.
    pub fn wait_stdout(&self, what: &str, check: impl Fn(&[u8]) -> bool) {
        let ended = || lock(&self.stdout).ended;
        let found = || check(&lock(&self.stdout).bytes).then_some(());
        wait_or(DEADLINE, found, ended, |why| {
            let stdout = lock(&self.stdout).bytes.clone();
            let start = String::from_utf8_lossy(&stdout[..stdout.len().min(2000)]).into_owned();
            let (length, stderr) = (stdout.len(), lock(&self.stderr));
            panic!("{why} while waiting for: {what}\nstdout, {length} bytes: {start}\nstderr: {stderr}")
        });
    }

    /// Waits until `check` finds something in its whole stderr so far.
    pub fn wait_stderr<T>(&self, what: &str, check: impl Fn(&str) -> Option<T>) -> T {
        let found = || check(&lock(&self.stderr));
        let ended = || lock(&self.stdout).ended;
        wait_or(DEADLINE, found, ended, |why| {
            panic!("{why} while waiting for: {what}\nstderr: {}", lock(&self.stderr))
        })
    }

    /// Waits until it has written where it listens, and returns its id.
    pub fn wait_id(&self) -> String {
        self.wait_stderr("its id", |text| {
            let (_, rest) = text.split_once("listening on ")?;
            let id = rest.split_once(" as ")?.1.get(..64)?;
            rest.contains('\n').then(|| id.to_owned())
        })
    }

    /// Returns its whole stdout so far.
    pub fn stdout(&self) -> Vec<u8> {
        lock(&self.stdout).bytes.clone()
    }

    /// Sends a signal by its name without `SIG`: `signal("TERM")`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end, and returns its exit code and its whole stderr.
    pub fn exit_code(&mut self) -> (Option<i32>, String) {
        let code = exit_within(&mut self.child, DEADLINE);
        wait_collected(&self.stderr);
        (code, lock(&self.stderr).clone())
    }
}

impl Drop for TextCommand {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

fn collect_stdout(mut source: ChildStdout, shared: &Mutex<Stdout>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = source.read(&mut buffer) {
        lock(shared).bytes.extend_from_slice(&buffer[..count]);
        notify();
    }
    lock(shared).ended = true;
    notify();
}
