//! Many rows: a process for each, so that none is measured in what an earlier one has left in memory.

use std::process::Stdio;

use tokio::process::Command;

use super::report::Format;
use crate::outcome::{Exit, Failure};
use crate::output::print;

/// Runs this command again for each row, and shows the rows as one table.
pub(super) async fn each(rows: usize, format: Format) -> Result<Exit, Failure> {
    let (mut failed, mut begun) = (0, false);
    for row in 0..rows {
        let (text, exit) = one(row).await?;
        print(rest(&text, begun && format != Format::Json))?;
        begun |= !text.is_empty();
        match exit {
            Some(0) => {}
            Some(130) => return Ok(Exit::Interrupted),
            // It has said why.
            _ => failed += 1,
        }
    }
    if failed == 0 { Ok(Exit::Done) } else { Err(Failure::Failed(format!("{failed} of {rows} rows failed"))) }
}

/// What it prints, and its exit code. It ends with this process.
async fn one(row: usize) -> Result<(String, Option<i32>), Failure> {
    let failed = |error| Failure::Failed(format!("cannot start a process for row {}: {error}", row + 1));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(std::env::args_os().skip(1)).arg("--row").arg(row.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let child = command.spawn().map_err(failed)?;
    let output = child.wait_with_output().await.map_err(failed)?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code()))
}

/// Each process prints the headings; they are wanted once.
fn rest(text: &str, without_headings: bool) -> &str {
    match text.split_once('\n') {
        Some((_, row)) if without_headings => row,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_shown_once() {
        assert_eq!(rest("a,b\n1,2\n", false), "a,b\n1,2\n");
        assert_eq!(rest("a,b\n3,4\n", true), "3,4\n");
        assert_eq!(rest("", true), "");
    }
}
