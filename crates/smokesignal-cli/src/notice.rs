//! Lines for people. They go to stderr, or above the prompt while the line editor runs.
//!
//! Each line begins with the name of the program, because all programs of a pipeline share one
//! terminal.
//!
//! Some lines have words of others in them, such as the reason why a stream was reset. What could
//! control the terminal is taken out of every line.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use smokesignal::printable;

type Printer = Box<dyn FnMut(String) + Send>;

/// The printer of the line editor, while one runs. It is global because notices and log
/// lines come from every task and thread.
static ABOVE_PROMPT: Mutex<Option<Printer>> = Mutex::new(None);

/// Prints one line to the person at the terminal: `notice!("listening on {address}")`.
macro_rules! notice {
    ($($text:tt)*) => { $crate::notice::print(format_args!($($text)*)) };
}

/// Makes all further lines go to this printer, which owns the terminal.
pub(crate) fn print_above_prompt(printer: impl FnMut(String) + Send + 'static) {
    *ABOVE_PROMPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(printer));
}

/// Makes all further lines go to stderr again, after the line editor has ended.
pub(crate) fn print_to_stderr() {
    *ABOVE_PROMPT.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Prints one line; the function behind [`notice!`].
pub(crate) fn print(text: fmt::Arguments<'_>) {
    write(format!("smokesignal: {}\n", safe(&text.to_string())));
}

/// Writes a line of the log, which brings its own newline and may have colours.
pub(crate) fn write_log(line: &str) {
    write(safe_log(line));
}

/// Returns the text as [`printable`] does, but with its lines.
fn safe(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// The same, but with sequences for colours: the subscriber writes some, and lets none pass that
/// come from elsewhere.
fn safe_log(line: &str) -> String {
    let mut pieces = line.split("\x1b[");
    let mut clean = safe(pieces.next().unwrap_or_default());
    for piece in pieces {
        let digits = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        let is_colour = digits.starts_with('m');
        clean.push_str(if is_colour { "\x1b[" } else { "\u{fffd}[" });
        clean.push_str(&safe(piece));
    }
    clean
}

/// Writes a text.
fn write(text: String) {
    match ABOVE_PROMPT.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        Some(print) => print(text),
        // If stderr is closed, nobody wants to read the text.
        None => drop(io::stderr().lock().write_all(text.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_keeps_its_lines_and_a_log_line_its_colours_and_nothing_else_that_controls_a_terminal() {
        assert_eq!(safe("one\n\ttwo\x1b[2J\u{9b}3\u{202e}"), "one\n two\u{fffd}[2J\u{fffd}3\u{fffd}");
        let coloured = "\x1b[2m2026\x1b[0m \x1b[33m WARN\x1b[0m a line\n";
        assert_eq!(safe_log(coloured), coloured);
        assert_eq!(
            safe_log("\x1b[2J\x1b]0;title\x07\x1b[1;31mred\n"),
            "\u{fffd}[2J\u{fffd}]0;title\u{fffd}\x1b[1;31mred\n"
        );
    }
}
