//! Lines for people. They go to stderr, or above the prompt while the line editor runs.
//!
//! Each line begins with the name of the program, because all programs of a pipeline share one
//! terminal.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

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
    write(format!("smokesignal: {text}\n"));
}

/// Writes a text, which brings its own newline.
pub(crate) fn write(text: String) {
    match ABOVE_PROMPT.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        Some(print) => print(text),
        // If stderr is closed, nobody wants to read the text.
        None => drop(io::stderr().lock().write_all(text.as_bytes())),
    }
}
