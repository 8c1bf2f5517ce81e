//! One run: a process that prints one JSON object.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::results::Measured;

/// A system that has not ended by then hangs.
const LONGEST: Duration = Duration::from_secs(180);
/// Letters of an error that a table has room for.
const ERROR_LETTERS: usize = 200;

/// The output of a process.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) version: Option<String>,
    pub(crate) measured: Option<Measured>,
    /// Both can be present: some messages were lost, and this many were not.
    pub(crate) error: Option<String>,
}

/// Runs it until it ends or hangs.
pub(crate) async fn run(mut command: Command) -> Said {
    command.stdin(Stdio::null()).kill_on_drop(true);
    match timeout(LONGEST, command.output()).await {
        Err(_) => failed(format!("killed: it had not ended after {} s", LONGEST.as_secs())),
        Ok(Err(error)) => failed(format!("cannot be started: {error}")),
        Ok(Ok(output)) => said(&output),
    }
}

fn failed(error: String) -> Said {
    Said { error: Some(error), ..Said::default() }
}

fn said(output: &Output) -> Said {
    let error = match (output.status.success(), reason(&output.stderr)) {
        (true, _) => None,
        (false, text) if text.is_empty() => Some(format!("ended with {}", output.status)),
        (false, text) => Some(text),
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
    let value: Value = serde_json::from_str(line).unwrap_or_default();
    let version = value["version"].as_str().map(str::to_owned);
    match Measured::of(value) {
        Ok(measured) => Said { version, measured: Some(measured), error },
        Err(unreadable) => Said {
            version,
            error: error.or(Some(format!("what it printed is not an outcome: {unreadable}"))),
            measured: None,
        },
    }
}

/// Returns the line of a program's output that is marked as the error, or the last one that is not
/// empty, without the paths of this machine.
pub(crate) fn reason(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.clone().find(|line| line.starts_with("error")).or_else(|| lines.next_back());
    let words = line.unwrap_or_default().split(' ').map(|word| match word.rsplit_once('/') {
        Some((folder, file)) if folder.starts_with('/') && folder.len() > 1 => file,
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ").chars().take(ERROR_LETTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_failure_is_told_in_the_program_s_own_words() {
        let said = run(shell("echo first >&2; echo it went wrong >&2; exit 1")).await;
        assert_eq!(said.error.as_deref(), Some("it went wrong"));
        assert!(said.measured.is_none());
        assert!(
            run(Command::new("./there-is-no-such-program"))
                .await
                .error
                .unwrap()
                .starts_with("cannot be started")
        );
        assert!(run(shell("exit 0")).await.error.unwrap().contains("not an outcome"));
    }

    #[test]
    fn a_reason_names_no_folder_of_this_machine() {
        let text =
            b"warning: old\nerror: unknown key at /home/me/lib/config.rs:8\n\nFor more, try '--help'\n";
        assert_eq!(reason(text), "error: unknown key at config.rs:8");
        assert_eq!(reason(b"one\ntwo, 1/2\n\n"), "two, 1/2");
    }

    #[tokio::test]
    async fn what_was_measured_counts_although_the_program_failed() {
        let json = r#"{"version":"1.2","mb_per_s":1.5,"round_trip":{"p50":1.0,"p99":2.0,"max":3.0}}"#;
        let said = run(shell(&format!("echo '{json}'; echo lost some >&2; exit 1"))).await;
        assert_eq!((said.version.as_deref(), said.error.as_deref()), (Some("1.2"), Some("lost some")));
        assert!(matches!(said.measured, Some(Measured::Direct(direct)) if direct.mb_per_s == 1.5));
    }
}
