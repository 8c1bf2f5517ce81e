//! Runs a system: a process that prints one JSON object.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::results::Measured;

/// The longest run. A system that takes longer hangs, and is killed. A guess.
const LONGEST: Duration = Duration::from_secs(180);
/// The longest error in a table, in characters; the rest is cut off. A guess.
const ERROR_LENGTH: usize = 200;

/// The output of a process.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// The version of the measured library.
    pub(crate) version: Option<String>,
    /// The figures.
    pub(crate) measured: Option<Measured>,
    /// Why the process failed. It may have figures all the same, for example if messages were lost.
    pub(crate) error: Option<String>,
}

/// Runs a process to its end, and kills it after [`LONGEST`].
pub(crate) async fn run(mut command: Command) -> Parsed {
    command.stdin(Stdio::null()).kill_on_drop(true);
    match timeout(LONGEST, command.output()).await {
        Err(_) => failed(format!("killed after {} s", LONGEST.as_secs())),
        Ok(Err(error)) => failed(format!("cannot be started: {error}")),
        Ok(Ok(output)) => parse(&output),
    }
}

fn failed(error: String) -> Parsed {
    Parsed { error: Some(error), ..Parsed::default() }
}

fn parse(output: &Output) -> Parsed {
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
        Ok(measured) => Parsed { version, measured: Some(measured), error },
        Err(unreadable) => Parsed {
            version,
            error: error.or(Some(format!("it printed no valid outcome: {unreadable}"))),
            measured: None,
        },
    }
}

/// Returns the line of stderr that explains a failure: the one that begins with `error`, or else
/// the last one. Removes folders of this machine from it, because the text goes into a report.
pub(crate) fn reason(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.clone().find(|line| line.starts_with("error")).or_else(|| lines.next_back());
    let words = line.unwrap_or_default().split(' ').map(|word| match word.rsplit_once('/') {
        Some((folder, file)) if folder.starts_with('/') && folder.len() > 1 => file,
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ").chars().take(ERROR_LENGTH).collect()
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
    async fn a_failure_is_described_by_the_last_line_of_stderr() {
        let output = run(shell("echo first >&2; echo it went wrong >&2; exit 1")).await;
        assert_eq!(output.error.as_deref(), Some("it went wrong"));
        assert!(output.measured.is_none());
        assert!(
            run(Command::new("./there-is-no-such-program"))
                .await
                .error
                .unwrap()
                .starts_with("cannot be started")
        );
        assert!(run(shell("exit 0")).await.error.unwrap().contains("no valid outcome"));
    }

    #[test]
    fn a_reason_does_not_name_folders_of_this_machine() {
        let text =
            b"warning: old\nerror: unknown key at /home/me/lib/config.rs:8\n\nFor more, try '--help'\n";
        assert_eq!(reason(text), "error: unknown key at config.rs:8");
        assert_eq!(reason(b"one\ntwo, 1/2\n\n"), "two, 1/2");
    }

    #[tokio::test]
    async fn the_figures_of_a_program_that_failed_are_kept() {
        let json = r#"{"version":"1.2","mb_per_s":1.5,"round_trip":{"p50":1.0,"p99":2.0,"max":3.0}}"#;
        let output = run(shell(&format!("echo '{json}'; echo lost some >&2; exit 1"))).await;
        assert_eq!((output.version.as_deref(), output.error.as_deref()), (Some("1.2"), Some("lost some")));
        assert!(matches!(output.measured, Some(Measured::Direct(direct)) if direct.mb_per_s == 1.5));
    }
}
