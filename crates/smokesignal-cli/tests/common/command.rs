//! Starts, signals and ends processes of the program.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::wait::{DEADLINE, lock, notify, wait_or};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_smokesignal");

/// The result of a command that ends by itself.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` if a signal ended the process.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

/// Runs the program to its end, with empty input.
pub fn run(args: &[&str]) -> Finished {
    run_command(&mut program(args), DEADLINE)
}

/// Runs a command to its end, with empty input. Kills it and fails the test after `limit`.
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

/// Returns the program with these arguments, without the settings of the person who runs the tests.
pub fn program(args: &[&str]) -> Command {
    without_settings(Command::new(PROGRAM), args)
}

/// Returns the program with these arguments in a network namespace.
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

pub(super) fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// Starts a thread that feeds the stdin of a process, because a process may read more slowly than a
/// test writes. Dropping the returned sender closes stdin once all is written.
pub(super) fn feed_stdin(child: &mut Child) -> Sender<Vec<u8>> {
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let (sender, pieces) = mpsc::channel::<Vec<u8>>();
    thread::spawn(move || {
        for piece in pieces {
            if std::io::Write::write_all(&mut stdin, &piece).is_err() {
                return;
            }
        }
    });
    sender
}

/// Starts a thread that collects the stderr of a process.
pub(super) fn collect_stderr(child: &mut Child) -> Arc<Mutex<String>> {
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let text = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&text);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut buffer) {
            lock(&shared).push_str(&String::from_utf8_lossy(&buffer[..count]));
            notify();
        }
        drop(shared);
        notify();
    });
    text
}

/// Waits until all of a process that has ended is collected.
pub(super) fn wait_collected(text: &Arc<Mutex<String>>) {
    // The collecting thread has the other reference.
    let collected = || (Arc::strong_count(text) == 1).then_some(());
    wait_or(DEADLINE, collected, || false, |why| panic!("{why} while waiting for the end of stderr"));
}

/// Sends a signal by its name without `SIG`: `signal(pid, "STOP")`, which also waits until the
/// process has stopped: on a busy machine some of its threads run for a moment longer.
pub(super) fn signal(pid: u32, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(status.expect("sh runs").success(), "kill -{name} {pid}");
    let since = Instant::now();
    while name == "STOP" && !has_stopped(pid) {
        assert!(since.elapsed() < DEADLINE, "process {pid} goes on after SIGSTOP");
        // Nothing tells when the last thread has stopped.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns whether all threads of a process have stopped. Without `/proc` they are taken to have.
fn has_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    let is_stopped = |path: PathBuf| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        // The name, which may have any characters, is in parentheses; the state follows.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    };
    threads.flatten().all(|thread| is_stopped(thread.path()))
}

/// Kills a process that may be frozen or may have ended already.
pub(super) fn kill(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        // SIGKILL also ends frozen processes.
        drop(child.kill());
        drop(child.wait());
    }
}

/// Waits for the end of a process and returns its exit code. Kills it and fails the test after
/// `limit`.
pub(super) fn exit_within(child: &mut Child, limit: Duration) -> Option<i32> {
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

/// Runs `ip` with these arguments.
pub fn ip(args: &[&str]) -> Result<(), String> {
    let command = format!("`ip {}`", args.join(" "));
    let output = Command::new("ip").args(args).output().map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
