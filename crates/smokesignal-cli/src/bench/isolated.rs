//! Runs each row of a benchmark in a process of its own, because memory and threads that one run
//! leaves behind would distort the next one.
//!
//! Each process gets the arguments of this one, with the hidden option `--row` added. Its stdout is
//! collected and printed when it has ended, and its stderr is this one's. A row that fails does not
//! stop the others; the exit code is 1 at the end. Ctrl-C reaches both processes, and ends the run.

use std::process::Stdio;

use tokio::process::Command;

use super::report::Format;
use crate::outcome::{Exit, Failure};
use crate::output::print;

/// Runs this program again for each row, and prints the rows as one table.
pub(super) async fn run_each(rows: usize, format: Format) -> Result<Exit, Failure> {
    // The header comes from the first row that prints anything.
    let (mut failed, mut has_header) = (0, false);
    for row in 0..rows {
        let (text, exit) = run_row(row).await?;
        print(if has_header && format != Format::Json { without_header(&text) } else { &text })?;
        has_header |= !text.is_empty();
        match exit {
            Some(0) => {}
            // A signal has ended that process.
            Some(130) => return Ok(Exit::Interrupted),
            // That process has printed the reason to stderr.
            _ => failed += 1,
        }
    }
    match failed {
        0 => Ok(Exit::Done),
        _ => Err(Failure::Failed(format!("{failed} of {rows} rows failed, for the reasons above"))),
    }
}

/// Runs one row in a process that ends with this one. Returns its stdout and its exit code.
async fn run_row(row: usize) -> Result<(String, Option<i32>), Failure> {
    let failed = |error| Failure::Failed(format!("cannot start a process for row {}: {error}", row + 1));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(std::env::args_os().skip(1)).arg("--row").arg(row.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let child = command.spawn().map_err(failed)?;
    let output = child.wait_with_output().await.map_err(failed)?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code()))
}

/// Returns the text without its first line, which every process prints.
fn without_header(text: &str) -> &str {
    text.split_once('\n').map_or(text, |(_, row)| row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_removed_from_later_rows() {
        assert_eq!(without_header("a,b\n3,4\n"), "3,4\n");
        assert_eq!(without_header(""), "");
    }
}
